"""Importing files of many lines into this registry's own database."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import click

from registry import imports, worker
from registry.cli.command import NO, choice, main, opening, writing
from registry.imports import Encoding
from registry.models import Import, ImportFormat, ImportKind, ImportState
from registry.runtime import Registry
from registry.schemas.imports import LINES

LOOK_EVERY = 0.5
"""Seconds between two looks at an import that the worker applies."""


@main.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kind", type=choice(ImportKind), required=True)
@click.option("--for", "organisation_id", type=click.UUID, required=True, help="Whose lines.")
@click.option("--format", "format_name", type=choice(ImportFormat), help="By the file's name.")
@click.option("--columns", "columns", multiple=True, metavar="FIELD=COLUMN")
@click.option("--defaults", help="JSON with values for what no column says, or @FILE with it.")
@click.option("--encoding", type=choice(Encoding), default="auto", show_default=True)
def run_import(
    file: Path,
    kind: str,
    organisation_id: UUID,
    format_name: str | None,
    columns: tuple[str, ...],
    defaults: str | None,
    encoding: str,
) -> None:
    """Import a CSV or NDJSON file, also a gzipped one, on behalf of an organisation.

    Interrupted, it goes on where it was: the worker takes it over. The result says what became
    of each line; lines that were applied before are known again and not repeated.
    """
    format_ = ImportFormat(format_name) if format_name else format_of(file)
    options = imports.options(
        LINES[ImportKind(kind)],
        format_,
        columns=columns_of(columns),
        defaults=defaults_of(defaults),
        encoding=Encoding(encoding),
    )
    with writing() as (opened, session):
        row = imports.create(
            session, organisation_id, ImportKind(kind), format_, file.name[:200], options,
            now=opened.clock(),
        )  # fmt: skip
    with opening() as opened:
        click.echo(f"import {row.id}")
        _send(opened, row, file)
        ended = _follow(opened, row.id)
    _show_outcome(ended)
    if ended.state is not ImportState.DONE:
        sys.exit(NO)


def format_of(file: Path) -> ImportFormat:
    """Return the format that a file's name tells."""
    endings = {suffix.lower() for suffix in file.suffixes}
    if endings & {".ndjson", ".jsonl"}:
        return ImportFormat.NDJSON
    if endings & {".csv", ".txt", ".tsv"}:
        return ImportFormat.CSV
    raise click.UsageError("--format is needed: the file's name does not tell it")


def columns_of(written: tuple[str, ...]) -> dict[str, str] | None:
    """Read what `--columns` says."""
    pairs = [each.partition("=") for each in written]
    if not all(field and column for field, _, column in pairs):
        raise click.UsageError("--columns takes FIELD=COLUMN")
    return {field: column for field, _, column in pairs} or None


def defaults_of(written: str | None) -> dict[str, Any]:
    """Read what `--defaults` says."""
    if written is None:
        return {}
    try:
        if written.startswith("@"):
            written = Path(written[1:]).read_text(encoding="utf-8")
        found = json.loads(written)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise click.UsageError("--defaults takes a JSON object, or @FILE with one")
    return found


def _send(opened: Registry, row: Import, file: Path) -> None:
    """Put the file into the data folder and start the import; one that fails is cancelled."""
    most = opened.policy.files.import_mebibytes
    try:
        with (
            file.open("rb") as source,
            click.progressbar(length=file.stat().st_size, label="sending ") as bar,
        ):
            imports.receive(
                opened.database, opened.imports, row.id, row.organisation_id, 0,
                _pieces(source, bar.update), most=most,
            )  # fmt: skip
        with opened.database.write() as session:
            imports.start(session, row.id, row.organisation_id)
    except BaseException:
        _cancel(opened, row.id, row.organisation_id)
        raise


def _pieces(source: BinaryIO, tell: Callable[[int], None]) -> Iterator[bytes]:
    while piece := source.read(imports.PIECE):
        yield piece
        tell(len(piece))


def _follow(opened: Registry, import_id: UUID) -> Import:
    """Apply an import, or watch the worker do it, until it ends or has to wait."""
    means = worker.import_means(opened)
    with click.progressbar(
        length=1000, label="applying", item_show_func=lambda lines: lines
    ) as bar:

        def look() -> bool:
            row = _read(opened, import_id)
            bar.update(round(imports.progress(row).share * 1000) - bar.pos, f"{row.lines} lines")
            return False

        while True:
            if not imports.run_next(means, stop=look, only=import_id):
                time.sleep(LOOK_EVERY)
            look()
            row = _read(opened, import_id)
            if row.state not in imports.UNFINISHED or row.problem is not None:
                return row


def _read(opened: Registry, import_id: UUID) -> Import:
    with opened.database.snapshot() as session:
        return imports.find(session, import_id)


def _show_outcome(row: Import) -> None:
    progress = imports.progress(row)
    speed = f", {progress.lines_per_second} a second" if progress.lines_per_second else ""
    click.echo(f"{row.state}: {row.lines} lines{speed}")
    for outcome, many in progress.counts.items():
        click.echo(f"  {many:9}  {outcome}")
    if row.problem:
        click.echo(f"  {row.problem}")
    if progress.has_result:
        click.echo(f"consent-registry imports result {row.id} shows what became of each line")


@main.group("imports")
def group() -> None:
    """Look after imports."""


@group.command("list")
@click.option("--for", "organisation_id", type=click.UUID, help="Of one organisation only.")
def list_imports(organisation_id: UUID | None) -> None:
    """List the newest imports."""
    with opening() as opened, opened.database.snapshot() as session:
        for row in imports.page(session, organisation_id):
            share = imports.progress(row).share
            click.echo(
                f"{row.id}  {row.recorded_at:%Y-%m-%d %H:%M}  {row.kind:13}  {row.state:9}"
                f"  {share:4.0%}  {row.lines} lines  {row.name or ''}"
            )


@group.command("show")
@click.argument("import_id", type=click.UUID)
def show_import(import_id: UUID) -> None:
    """Show how far an import has got."""
    with opening() as opened:
        row = _read(opened, import_id)
    click.echo(f"{row.kind} of {row.organisation_id}, {imports.progress(row).share:.0%} read")
    _show_outcome(row)


@group.command("cancel")
@click.argument("import_id", type=click.UUID)
def cancel_import(import_id: UUID) -> None:
    """End an import; what it has applied stays."""
    with opening() as opened:
        row = _cancel(opened, import_id, _read(opened, import_id).organisation_id)
    click.echo(row.state)


def _cancel(opened: Registry, import_id: UUID, organisation_id: UUID) -> Import:
    with opened.database.write() as session:
        row = imports.cancel(session, import_id, organisation_id, now=opened.clock())
    opened.imports.remove_source(import_id)
    return row


@group.command("result")
@click.argument("import_id", type=click.UUID)
@click.option("--to", "file", type=click.File("wb"), default="-", help="Where to, if not here.")
def show_result(import_id: UUID, file: BinaryIO) -> None:
    """Print what became of each line, as CSV."""
    with opening() as opened:
        for piece in imports.read_result(opened.imports, _read(opened, import_id)):
            file.write(piece)
