"""The command `consent-registry`. Exit codes: 0 done or allowed, 1 the registry says no,
2 wrong usage, 3 the registry cannot be used now."""

import csv
import dataclasses
import json
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import click
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from registry import (
    access,
    audit,
    create_app,
    database,
    demo,
    feed,
    lookup,
    policy,
    receipts,
    runtime,
    senders,
    server,
    worker,
)
from registry.access import Scope
from registry.config import Settings
from registry.consent import Channel, MessageClass, Reason, Topic
from registry.errors import Kind, RegistryError
from registry.lookup import Asker, Question
from registry.messenger import delivery, outbox
from registry.messenger.backends import Accepted
from registry.models import OrganisationKind, OutboxState
from registry.numbers import parse_sending, parse_subscriber
from registry.observe import configure_logging
from registry.runtime import Registry
from registry.schemas.lookups import verdict_objects

NO, USAGE, UNUSABLE = 1, 2, 3
EXIT = {Kind.UNAVAILABLE: UNUSABLE, Kind.INTERNAL: UNUSABLE}


class RegistryGroup(click.Group):
    """Turns the registry's errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except RegistryError as error:
            click.echo(f"Error: {error.detail}", err=True)
            ctx.exit(EXIT.get(error.kind, NO))
        except SQLAlchemyError as error:
            click.echo(f"Error: the database failed ({type(error).__name__})", err=True)
            ctx.exit(UNUSABLE)


@click.group(cls=RegistryGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run and look after a consent registry.

    Settings come from the environment: REGISTRY_DATA_DIR (var), REGISTRY_HOST, REGISTRY_PORT
    (8080), REGISTRY_DATABASE_URL (SQLite in the data folder), REGISTRY_NUMBER_KEY or
    REGISTRY_NUMBER_KEY_FILE, REGISTRY_SIGNING_KEY_FILE, REGISTRY_POLICY (cn-2020-draft),
    REGISTRY_WORKERS (2) and REGISTRY_THREADS (4). Those of outgoing SMS and of the pages are in
    docs/operations.md.

    Exit codes: 0 done or allowed, 1 the registry says no, 2 wrong usage, 3 it cannot be used now.
    """


@contextmanager
def _opened() -> Iterator[Registry]:
    opened = runtime.open_registry(Settings.from_environment(), patience=None)
    try:
        yield opened
    finally:
        opened.database.close()


@contextmanager
def _writing() -> Iterator[tuple[Registry, Session]]:
    with _opened() as opened, opened.database.write() as session:
        yield opened, session


def _word(vocabulary: type[Any]) -> click.Choice[str]:
    return click.Choice([word.value for word in vocabulary])


# Setting up and running


@main.command()
def init() -> None:
    """Set up an empty registry: data folder, keys, schema. What is there is kept."""
    settings = Settings.from_environment()
    runtime.initialise(settings)
    click.echo(f"ready: {settings.data_dir.absolute()}")


@main.command()
@click.option("--worker/--no-worker", "with_worker", help="Also run the background worker.")
def serve(with_worker: bool) -> None:
    """Serve the registry over HTTP. An empty data folder is set up first."""
    settings = Settings.from_environment()
    if settings.embedded:
        runtime.initialise(settings)
    sys.exit(server.serve(settings, with_worker=with_worker))


@main.command("worker")
def run_worker() -> None:
    """Run the background work: the sequencer, outgoing SMS, what falls due, retention."""
    configure_logging()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _opened() as opened:
        worker.run(opened, stop)


@main.command("demo")
@click.option("--serve/--no-serve", "serving", default=True, help="Serve it, with a worker.")
def run_demo(serving: bool) -> None:
    """Fill an empty data folder with a demo world, serve it, and say what to try."""
    settings = Settings.from_environment()
    if not settings.embedded:
        raise RegistryError(
            Kind.CONFLICT, "a registry with REGISTRY_DATABASE_URL never becomes a demo; use serve"
        )
    runtime.initialise(settings)
    with _opened() as opened:
        if not opened.demo:
            click.echo("Filling the demo world ...", err=True)
            demo.fill(opened)
        text = demo.welcome(settings, opened.clock())
    if serving:
        sys.exit(server.serve(settings, with_worker=True, ready=lambda: click.echo(text)))
    click.echo(text)


@main.command("events")
@click.option("--after", default=0, show_default=True, help="The position to go on from.")
def show_events(after: int) -> None:
    """Print the log's events behind a position as JSON lines, numbers left out."""
    with _opened() as opened, opened.database.snapshot() as session:
        while rows := feed.after(session, after):
            for row in rows:
                click.echo(f'{{"position":{row.position},"event":{row.payload.decode()}}}')
            after = rows[-1].position or after


@main.group()
def db() -> None:
    """Look after the database's schema."""


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the schema to the newest revision."""
    settings = Settings.from_environment()
    database.upgrade(settings.url)
    click.echo("the schema is up to date")


@db.command("check")
def db_check() -> None:
    """Tell whether the registry can answer: schema, keys, clock."""
    with _opened() as opened:
        problems = opened.problems()
    for problem in problems:
        click.echo(problem)
    if problems:
        sys.exit(NO)
    click.echo("ready")


@main.command("export-openapi")
@click.argument("file", type=click.File("w"), default="-")
def export_openapi(file: TextIO) -> None:
    """Write the OpenAPI document of the API."""
    with _opened() as opened:
        app = create_app(opened)
        document = app.test_client().get("/openapi.json").get_data(as_text=True)
    file.write(document)


@main.group("policy")
def policies() -> None:
    """Show the rule sets."""


@policies.command("list")
def policy_list() -> None:
    """List the policies that come with the registry."""
    for name in policy.names():
        click.echo(f"{name:16} {policy.load(name).title}")


@policies.command("show")
@click.argument("name", default=policy.DEFAULT)
def policy_show(name: str) -> None:
    """Show what a policy says, by its name or its file."""
    click.echo(json.dumps(dataclasses.asdict(policy.load(name)), default=str, indent=1))


# Organisations, numbers, keys


@main.group()
def organisation() -> None:
    """Register organisations and keep them in order."""


@organisation.command("add")
@click.argument("kind", type=_word(OrganisationKind))
@click.argument("name")
@click.argument("uscc")
@click.argument("contact_phone")
def organisation_add(kind: str, name: str, uscc: str, contact_phone: str) -> None:
    """Register a legal entity by its unified social credit code."""
    with _writing() as (opened, session):
        row = senders.register(
            session,
            OrganisationKind(kind),
            name,
            uscc,
            contact_phone,
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(row.id)


@organisation.command("list")
def organisation_list() -> None:
    """List all organisations."""
    with _opened() as opened, opened.database.snapshot() as session:
        after = None
        while rows := senders.page(session, after):
            for row in rows:
                state = "suspended" if senders.suspension(session, row.id) else "active"
                click.echo(f"{row.id}  {row.kind:9}  {state:9}  {row.uscc}  {row.name}")
            after = rows[-1].id


@organisation.command("suspend")
@click.argument("organisation_id", type=click.UUID)
@click.option("--reason", required=True)
def organisation_suspend(organisation_id: UUID, reason: str) -> None:
    """Suspend an organisation from now on, for a recorded reason."""
    with _writing() as (opened, session):
        senders.suspend(session, organisation_id, reason, actor_id=None, now=opened.clock())
    click.echo("suspended")


@organisation.command("reinstate")
@click.argument("organisation_id", type=click.UUID)
def organisation_reinstate(organisation_id: UUID) -> None:
    """End an organisation's suspension."""
    with _writing() as (opened, session):
        senders.reinstate(session, organisation_id, actor_id=None, now=opened.clock())
    click.echo("active")


@organisation.command("limits")
@click.argument("organisation_id", type=click.UUID)
@click.option("--requests-per-second", type=click.IntRange(1))
@click.option("--lookup-numbers-per-day", type=click.IntRange(1))
@click.option("--assertion-numbers-per-day", type=click.IntRange(1))
def organisation_limits(organisation_id: UUID, **limits: int | None) -> None:
    """Set an organisation's limits; those not named become the policy's."""
    with _writing() as (opened, session):
        senders.limit(
            session,
            organisation_id,
            senders.Limits(**limits),
            actor_id=None,
            now=opened.clock(),
        )
    click.echo("set")


@main.group()
def number() -> None:
    """Record who holds which sending number."""


@number.command("hold")
@click.argument("organisation_id", type=click.UUID)
@click.argument("sending_number")
@click.option("--channel", "channels", type=_word(Channel), multiple=True, required=True)
@click.option("--usage", "usages", type=_word(MessageClass), multiple=True, required=True)
@click.option("--from", "held_from", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--until", "held_until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
def number_hold(
    organisation_id: UUID,
    sending_number: str,
    channels: tuple[str, ...],
    usages: tuple[str, ...],
    held_from: datetime | None,
    held_until: datetime | None,
) -> None:
    """Record that an organisation holds a sending number."""
    with _writing() as (opened, session):
        row = senders.hold(
            session,
            organisation_id,
            parse_sending(sending_number, opened.policy.default_region),
            senders.Holding(
                tuple(map(Channel, channels)),
                tuple(map(MessageClass, usages)),
                held_from,
                held_until,
            ),
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(f"{row.number}  {row.kind}")


@number.command("release")
@click.argument("organisation_id", type=click.UUID)
@click.argument("sending_number")
def number_release(organisation_id: UUID, sending_number: str) -> None:
    """End an organisation's holding of a sending number."""
    with _writing() as (opened, session):
        sending = parse_sending(sending_number, opened.policy.default_region)
        senders.release(session, organisation_id, sending, actor_id=None, now=opened.clock())
    click.echo("released")


@number.command("show")
@click.argument("sending_number")
def number_show(sending_number: str) -> None:
    """Tell who holds a sending number."""
    with _opened() as opened, opened.database.snapshot() as session:
        sending = parse_sending(sending_number, opened.policy.default_region)
        row = senders.holder(session, sending, opened.clock())
        click.echo(f"{row.number}  {row.kind}  {row.holder.id}  {row.holder.name}")


@main.group()
def key() -> None:
    """Make and revoke API keys; rotate the key that receipts are signed with."""


@key.command("issue")
@click.argument("organisation_id", type=click.UUID)
@click.option("--scope", "scopes", type=_word(Scope), multiple=True, required=True)
@click.option("--expires", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
def key_issue(organisation_id: UUID, scopes: tuple[str, ...], expires: datetime | None) -> None:
    """Make a key and show it, this once."""
    with _writing() as (opened, session):
        _row, text = access.issue(
            session,
            senders.find(session, organisation_id),
            list(map(Scope, scopes)),
            expires,
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(text)


@key.command("revoke")
@click.argument("organisation_id", type=click.UUID)
@click.argument("key_id", type=click.UUID)
def key_revoke(organisation_id: UUID, key_id: UUID) -> None:
    """End a key at once. Its id is what stands before the point."""
    with _writing() as (opened, session):
        access.revoke(session, organisation_id, key_id, actor_id=None, now=opened.clock())
    click.echo("revoked")


@key.command("rotate-signing")
def key_rotate_signing() -> None:
    """Sign receipts with a new key; the old ones stay published. Then send SIGHUP to serve."""
    click.echo(receipts.rotate(Settings.from_environment().signing_key_path))


# Outgoing SMS


@main.group("outbox")
def outgoing() -> None:
    """Look after the SMS that go to subscribers."""


@outgoing.command("list")
@click.option("--state", type=_word(OutboxState))
@click.option("--most", type=click.IntRange(1), default=100, show_default=True)
def outbox_list(state: str | None, most: int) -> None:
    """List SMS, the newest first, without what they say."""
    with _opened() as opened, opened.database.snapshot() as session:
        rows = outbox.newest(session, OutboxState(state) if state else None, most)
        for row in rows:
            click.echo(
                f"{row.id}  {row.state:9}  {row.notice:18}  {row.number}"
                f"  {row.recorded_at:%Y-%m-%dT%H:%MZ}  tried {row.attempts}"
            )


@outgoing.command("resend")
@click.argument("outbox_id", type=click.UUID)
def outbox_resend(outbox_id: UUID) -> None:
    """Send an uncertain or failed SMS again.

    An uncertain one may have gone out already; its reader then gets it twice.
    """
    with _writing() as (opened, session):
        outbox.resend(session, outbox_id, opened.clock())
    click.echo("waiting")


@outgoing.command("test")
@click.argument("subscriber")
def outbox_test(subscriber: str) -> None:
    """Send one SMS at once, past the outbox, to try the gateway's settings."""
    with _opened() as opened:
        outcome = delivery.send_test(
            opened.settings, parse_subscriber(subscriber, opened.policy.default_region)
        )
    said = outcome.reference if isinstance(outcome, Accepted) else outcome.reason
    click.echo(f"{type(outcome).__name__.lower()}: {said}")
    if not isinstance(outcome, Accepted):
        sys.exit(NO)


# Asking


def _question_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option("--from", "sending_number", help="The sending number."),
            click.option("--channel", type=_word(Channel), default="sms", show_default=True),
            click.option(
                "--class", "message_class", type=_word(MessageClass), default="commercial"
            ),
            click.option("--topic", type=_word(Topic)),
            click.option("--at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"])),
        )
    ):
        command = option(command)
    return command


@main.command("lookup")
@click.argument("numbers", nargs=-1)
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--column", help="The column of a CSV file that has the numbers.")
@_question_options
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
    with _opened() as opened:
        if opened.demo:
            sending_number = sending_number or demo.SMS_NUMBER
            topic = topic or demo.TOPIC
            at = at or demo.tomorrow_at_ten(opened.clock())
        if sending_number is None or (topic is None and message_class == "commercial"):
            raise click.UsageError("--from and, for commercial messages, --topic are needed")
        asking = _Asking(opened, sending_number, channel, message_class, topic, at)
        written = numbers if file is None else _column(file, column)
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


def _column(file: Path, column: str | None) -> Iterator[str]:
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


if __name__ == "__main__":
    main()
