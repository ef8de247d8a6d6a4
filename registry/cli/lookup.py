"""Asking the registry, and checking what it said."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import click

from registry import audit, demo, lookup, receipts, senders
from registry.cli.command import NO, choice, main, opening
from registry.consent import Channel, MessageClass, Reason, Topic
from registry.errors import Kind, RegistryError
from registry.lookup import Asker, Question
from registry.numbers import parse_sending
from registry.runtime import Registry
from registry.schemas.lookups import verdict_objects


def question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command be told what is asked, numbers aside."""
    for option in reversed(
        (
            click.option("--from", "sending_number", help="The sending number."),
            click.option("--channel", type=choice(Channel), default="sms", show_default=True),
            click.option(
                "--class", "message_class", type=choice(MessageClass), default="commercial"
            ),
            click.option("--topic", type=choice(Topic)),
            click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"])),
        )
    ):
        command = option(command)
    return command


@main.command("lookup")
@click.argument("numbers", nargs=-1)
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--column", help="The column of a CSV file that has the numbers.")
@question_options
def run_lookup(
    numbers: tuple[str, ...],
    file: Path | None,
    column: str | None,
    sending_number: str | None,
    channel: str,
    message_class: str,
    topic: str | None,
    at: datetime | None,
) -> None:
    """Ask about numbers, or a CSV file of them, as the holder of the sending number.

    Reads the database of this registry. In a demo the sending number and topic are known, and
    the planned time is tomorrow 10:00 in China. Exits with 1 when a number may not be contacted
    (with a file: never for that).
    """
    if bool(numbers) == bool(file):
        raise click.UsageError("give numbers, or a file")
    with opening() as opened:
        if opened.demo:
            sending_number = sending_number or demo.SMS_NUMBER
            topic = topic or demo.TOPIC
            at = at or demo.tomorrow_at_ten(opened.clock())
        if sending_number is None or (topic is None and message_class == "commercial"):
            raise click.UsageError("--from and, for commercial messages, --topic are needed")
        asking = _Asking(opened, sending_number, channel, message_class, topic, at)
        written = numbers if file is None else column_of(file, column)
        counts = asking.show(iter(written))
    allowed = sum(many for reason, many in counts.items() if Reason(reason).allowed)
    click.echo(f"\n{allowed} of {sum(counts.values())} may be contacted")
    for reason, many in counts.most_common():
        click.echo(f"  {many:6}  {reason}")
    if file is None and allowed < sum(counts.values()):
        sys.exit(NO)


class _Asking:
    """Asks the registry's own database, batch by batch, and shows a line for each number."""

    def __init__(
        self,
        opened: Registry,
        sending_number: str,
        channel: str,
        message_class: str,
        topic: str | None,
        at: datetime | None,
    ) -> None:
        self.opened = opened
        self.sending = parse_sending(sending_number, opened.policy.default_region)
        self.channel = Channel(channel)
        self.message_class = MessageClass(message_class)
        self.topic = Topic(topic) if topic else None
        self.at = lookup.planned(at, opened.clock(), opened.policy)
        with opened.database.snapshot() as session:
            holder = senders.holder(session, self.sending, opened.clock()).holder
        self.asker = Asker(holder.id, holder.kind)

    def show(self, written: Iterator[str]) -> Counter[str]:
        """Answer all, record it, print it, and return how often each reason came."""
        counts: Counter[str] = Counter()
        line = 0
        while texts := list(islice(written, lookup.BATCH)):
            for verdict in self._batch(texts):
                line += 1
                mark = "yes" if verdict["allowed"] else "no "
                click.echo(f"{line:6}  {mark}  {verdict['reason']:20}  {verdict['to']}")
                counts[verdict["reason"]] += 1
        return counts

    def _batch(self, texts: list[str]) -> list[dict[str, Any]]:
        opened = self.opened
        region = opened.policy.default_region
        question = Question(
            sending=self.sending,
            numbers=lookup.parse_numbers(texts, self.channel, region),
            channel=self.channel,
            message_class=self.message_class,
            topic=self.topic,
            at=self.at,
        )
        with opened.database.read() as connection:
            answer = lookup.answer(
                connection, self.asker, question, now=opened.clock(), policy=opened.policy
            )
        with opened.database.write() as session:
            audit.write_batch(session, answer)
        return verdict_objects(answer, texts)


def column_of(file: Path, column: str | None) -> Iterator[str]:
    """Yield the cells of a CSV file's column; by default the one that is called like a phone."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.DictReader(opened)
        names = list(rows.fieldnames or [])
        known = [name for name in names if name.lower() in ("phone", "number", "mobile", "to")]
        chosen = column or next(iter(known or names), None)
        if chosen not in names:
            raise click.UsageError(f"the file has no column {column!r}; it has {', '.join(names)}")
        for row in rows:
            yield row[chosen] or ""


@main.command("verify-receipt")
@click.argument("receipt", type=click.File("r"))
@click.option(
    "--jwks",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The registry's published keys, /.well-known/jwks.json.",
)
@click.option(
    "--verdicts",
    type=click.File("r"),
    help="The answer of a batch, to check that the receipt was made over its verdicts.",
)
def verify_receipt(receipt: TextIO, jwks: Path, verdicts: TextIO | None) -> None:
    """Check a receipt offline and print what it proves. RECEIPT is a file, or - for input.

    It may hold the receipt alone, or the JSON answer that it came in.
    """
    text = receipt.read().strip()
    if text.startswith("{"):
        text = str(_json(text).get("receipt", ""))
    said = receipts.verify(text, _json(jwks.read_text(encoding="utf-8")))
    if verdicts is not None and not receipts.covers(
        said, _json(verdicts.read()).get("verdicts", [])
    ):
        raise RegistryError(Kind.INVALID, "the receipt was made over other verdicts")
    click.echo(_proof(said))


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RegistryError(Kind.MALFORMED, "the file is not a JSON object")
    return found


def _proof(said: dict[str, Any]) -> str:
    """Say in words what a verified receipt proves."""
    about = f" about {said['topic']}" if said["topic"] else ""
    lines = [
        "valid: this registry signed that",
        f"  at        {said['decided_at']}, under policy {said['policy']},"
        f" log position {said['position']}",
        f"  asked by  {said['asker']}",
        f"  for       {said['message_class']} {said['channel']}{about} from {said['from']}"
        f" (held by {said['sender'] or 'nobody'})",
        f"  planned   {said['at']}" + (" (a forecast)" if said["forecast"] else ""),
    ]
    if "verdict" in said:
        verdict = said["verdict"]
        answer = "allowed" if verdict["allowed"] else "not allowed"
        lines.append(f"  answer    {verdict['to']} {answer}: {verdict['reason']}")
        lines += [
            f"  {name:9} {verdict[field]}"
            for name, field in (("until", "valid_until"), ("from then", "retry_at"))
            if verdict[field]
        ]
        if said["contact"]:
            lines.append("  counted   as a contact that took place then")
    else:
        bound = said["verdicts"]
        lines.append(f"  answer    {bound['count']} verdicts with SHA-256 {bound['sha256']}")
    return "\n".join(lines)
