"""Using another registry over HTTP, as an organisation with a key of it does."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from uuid import UUID

import click

from registry.cli.command import NO, choice, main
from registry.cli.imports import columns_of, defaults_of, format_of
from registry.cli.lookup import column_of, question_options
from registry.client import Client, ImportProgress
from registry.consent import Channel, MessageClass, Reason, Topic
from registry.models import ImportFormat, ImportKind, ImportState


@main.group("remote")
@click.option("--url", required=True, envvar="REGISTRY_URL", help="Or REGISTRY_URL.")
@click.pass_context
def remote(ctx: click.Context, url: str) -> None:
    """Use another registry over HTTP, with the key in REGISTRY_KEY."""
    key = os.environ.get("REGISTRY_KEY")
    if not key:
        raise click.UsageError("REGISTRY_KEY is not set")
    ctx.obj = ctx.with_resource(Client(url, key))


@remote.command("lookup")
@click.argument("numbers", nargs=-1)
@click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--column", help="The column of a CSV file that has the numbers.")
@question_options
@click.pass_obj
def lookup(
    client: Client,
    numbers: tuple[str, ...],
    file: Path | None,
    column: str | None,
    sending_number: str | None,
    channel: str,
    message_class: str,
    topic: str | None,
    at: datetime | None,
) -> None:
    """Ask about numbers, or a CSV file of them; every receipt is checked.

    Exits with 1 when a number may not be contacted (with a file: never for that).
    """
    if bool(numbers) == bool(file):
        raise click.UsageError("give numbers, or a file")
    if sending_number is None:
        raise click.UsageError("--from is needed")
    written: Iterator[str] = iter(numbers) if file is None else column_of(file, column)
    verdicts = client.lookup_all(
        written,
        sending=sending_number,
        channel=Channel(channel),
        message_class=MessageClass(message_class),
        topic=Topic(topic) if topic else None,
        at=at,
    )
    counts: Counter[Reason] = Counter()
    for line, verdict in enumerate(verdicts, 1):
        mark = "yes" if verdict.allowed else "no "
        click.echo(f"{line:6}  {mark}  {verdict.reason:20}  {verdict.to}")
        counts[verdict.reason] += 1
    if file is None and not all(reason.allowed for reason in counts):
        sys.exit(NO)


@remote.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kind", type=choice(ImportKind), required=True)
@click.option("--format", "format_name", type=choice(ImportFormat), help="By the file's name.")
@click.option("--columns", "columns", multiple=True, metavar="FIELD=COLUMN")
@click.option("--defaults", help="JSON with values for what no column says, or @FILE with it.")
@click.option("--resume", type=click.UUID, help="Go on with an import that was interrupted.")
@click.option("--result", type=click.Path(dir_okay=False, path_type=Path), help="Where it goes.")
@click.pass_obj
def import_file(
    client: Client,
    file: Path,
    kind: str,
    format_name: str | None,
    columns: tuple[str, ...],
    defaults: str | None,
    resume: UUID | None,
    result: Path | None,
) -> None:
    """Send a CSV or NDJSON file, also a gzipped one, and wait until its lines are applied."""
    if resume is None:
        resume = client.create_import(
            file.name[:200],
            ImportKind(kind),
            ImportFormat(format_name) if format_name else format_of(file),
            columns=columns_of(columns),
            defaults=defaults_of(defaults),
        ).id
    click.echo(f"import {resume}")
    with click.progressbar(length=file.stat().st_size, label="sending ") as bar:
        client.resume_import(resume, file, sent=lambda place, _size: bar.update(place - bar.pos))
    ended = _follow(client, resume)
    click.echo(f"{ended.state}: {ended.lines} lines")
    for outcome, many in ended.counts.items():
        click.echo(f"  {many:9}  {outcome}")
    if ended.problem:
        click.echo(f"  {ended.problem}")
    if result is not None:
        client.import_result(resume, result)
    if ended.state is not ImportState.DONE:
        sys.exit(NO)


def _follow(client: Client, import_id: UUID) -> ImportProgress:
    with click.progressbar(length=1000, label="applying") as bar:

        def look(seen: ImportProgress) -> None:
            bar.update(round(seen.share * 1000) - bar.pos)

        return client.wait_for_import(import_id, seen=look)
