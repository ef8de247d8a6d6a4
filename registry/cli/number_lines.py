"""A list of who holds which sending number, as operators keep it in CSV, line by line."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import click
from marshmallow import Schema, ValidationError
from sqlalchemy.orm import Session

from registry import senders
from registry.errors import RegistryError
from registry.imports import Encoding
from registry.imports.forms import Form
from registry.imports.reading import HEAD, CsvRows, Row, Source, UnreadableError, find_encoding
from registry.imports.results import harmless
from registry.ledger.bulk import Outcome
from registry.numbers import parse_sending
from registry.runtime import Registry
from registry.schemas.numbers import ResourceSchema
from registry.schemas.organisations import credit_code

COLUMNS = ("line", "number", "outcome", "problem")
GROUP = 500
"""Lines that are recorded in one transaction."""
LARGEST = 256 * 1024 * 1024
"""Bytes of a list, unpacked."""


class HoldingLineSchema(ResourceSchema):
    """A line: the organisation's unified social credit code, and what it holds."""

    organisation = credit_code()


@dataclass
class Line:
    """A line, and what became of it."""

    place: int
    cells: dict[str, str]
    outcome: Outcome = Outcome.REJECTED
    problem: str = ""


def record(opened: Registry, file: Path, report: TextIO) -> Counter[str]:
    """Record the holdings of a file, write what became of each line, and count the outcomes.

    A line that cannot be recorded changes nothing, and every line may come again: whatever
    interrupts this, it is run once more.
    """
    writer = csv.writer(report, lineterminator="\n")
    writer.writerow(COLUMNS)
    counts: Counter[str] = Counter()
    with _reading(file) as lines:
        while group := list(islice(lines, GROUP)):
            with opened.database.write() as session:
                for line in group:
                    _record(opened, session, line)
            counts.update(line.outcome for line in group)
            writer.writerows(_reported(line) for line in group)
    return counts


def _reported(line: Line) -> tuple[int, str, str, str]:
    return line.place, harmless(line.cells.get("number", "")), line.outcome, line.problem


@contextmanager
def _reading(file: Path) -> Iterator[Iterator[Line]]:
    """Lend the lines of a file in UTF-8 or GB18030, packed or not."""
    with file.open("rb") as opened:
        head = Source(opened, LARGEST, file.stat().st_size).read(HEAD)
    try:
        source = Source(file.open("rb"), LARGEST, file.stat().st_size)
        try:
            rows = CsvRows(source, find_encoding(head, Encoding.AUTO))
            yield _lines(rows)
        finally:
            source.close()
    except UnreadableError as error:
        raise click.UsageError(str(error)) from None


def _lines(rows: CsvRows) -> Iterator[Line]:
    form = Form(HoldingLineSchema())
    if unknown := [name for name in rows.names if name not in form.names]:
        raise click.UsageError(f"there is no such column: {', '.join(unknown)[:200]}")
    if missing := [name for name in form.required if name not in rows.names]:
        raise click.UsageError(f"there is no column {', '.join(missing)}")
    for place, row in enumerate(rows, 2):
        if row is not None:
            yield _line(place, rows.names, row)


def _line(place: int, names: list[str], row: Row) -> Line:
    if isinstance(row, Exception):
        return Line(place, {}, problem=str(row))
    return Line(place, dict(zip(names, map(str.strip, row), strict=True)))


def _record(opened: Registry, session: Session, line: Line) -> None:
    """Record one line within its own savepoint, or say what keeps it from that."""
    if line.problem:
        return
    try:
        said = _load(line.cells)
        with session.begin_nested():
            _row, new = senders.hold_once(
                session,
                said["organisation"],
                parse_sending(said["number"], opened.policy.default_region),
                senders.Holding(
                    tuple(said["channels"]),
                    tuple(said["usages"]),
                    said["held_from"],
                    said["held_until"],
                ),
                actor_id=None,
                now=opened.clock(),
            )
    except ValidationError as error:
        line.problem = _first(error.messages)
    except RegistryError as error:
        line.problem = error.detail
    else:
        line.outcome = Outcome.APPLIED if new else Outcome.REPEATED


_SCHEMA: Schema = HoldingLineSchema()
_FORM = Form(_SCHEMA)


def _load(cells: dict[str, str]) -> dict[str, Any]:
    """Return what the cells of a line say; an empty one says nothing."""
    dated = {**cells, **{name: _instant(name, cells.get(name, "")) for name in _DATES}}
    said: dict[str, Any] = _SCHEMA.load(
        {name: _FORM.from_text(name, text) for name, text in dated.items() if text}
    )
    return said


_DATES = {"held_from": 0, "held_until": 1}
"""How many days after a date begins what it means: it is held until its last day is over."""


def _instant(name: str, text: str) -> str:
    """Return a time for a date that stands alone, as a spreadsheet has it: a day in China."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return text
    try:
        day = date.fromisoformat(text) + timedelta(days=_DATES[name])
    except (ValueError, OverflowError):
        return text
    return f"{day.isoformat()}T00:00:00+08:00"


def _first(messages: Any) -> str:
    """Return the first thing that is wrong with a line, with the name of its column."""
    column, found = next(iter(messages.items()))
    while isinstance(found, dict):
        found = next(iter(found.values()))
    return f"{column}: {found[0] if isinstance(found, list) else found}"
