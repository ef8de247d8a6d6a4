"""A look at the beginning of a file that was received, so that somebody can say what is in it."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from marshmallow import Schema
from sqlalchemy.orm import Session

from registry.errors import Kind, RegistryError
from registry.imports.forms import Form, RefusedError, shown_name
from registry.imports.reading import (
    HEAD,
    CsvRows,
    Row,
    Source,
    UnreadableError,
    find_encoding,
    open_rows,
)
from registry.imports.receiving import Options, own_import, read_options
from registry.imports.store import Store
from registry.models import Import, ImportState
from registry.numbers import parse_subscriber

MOST_BYTES = 4 * 1024 * 1024
"""Of a file that unpacks to a lot no more than this is looked at."""
ROWS = 5
MOST_OF_A_CELL, LONGEST_CELL = 1000, 60
"""Characters of a cell that are looked at, and that are shown."""
_DIGITS = re.compile(r"[+＋]?\d(?:[\s().\-－—]*\d){6,}")
"""Seven digits of any script or more, with what people put between them."""


@dataclass(frozen=True)
class Look:
    """The names of a file's columns, and its first rows as people may see them.

    `columns` are as the file names them, `shown` without what may be somebody's number: where one
    is, the first row is no header. A row that cannot be read is the reason why.
    """

    columns: Sequence[str]
    shown: Sequence[str]
    rows: Sequence[Sequence[str] | str]
    headless: bool


def look(store: Store, row: Import, region: str) -> Look:
    """Look at the first rows of a file; raises `UnreadableError`, which says why."""
    with store.read(row.id, row.size) as file:
        most = max(row.size, MOST_BYTES)
        head = Source(file, most, row.size).read(HEAD)
        encoding = find_encoding(head, read_options(row).encoding)
        file.seek(0)
        found = open_rows(Source(file, most, row.size), row.format, encoding)
        rows = list(islice(_rows(found), ROWS))
    if isinstance(found, CsvRows):
        names: Sequence[str] = found.names
    else:
        names = list(dict.fromkeys(name for one in rows if isinstance(one, dict) for name in one))
    shown = [shown_name(name) for name in names]
    hidden = any(name == "#######" for name in shown)
    return Look(names, shown, [_shown(one, names, region) for one in rows], headless=hidden)


def _rows(found: Iterator[Row | None] | Any) -> Iterator[Row]:
    with contextlib.suppress(UnreadableError):
        for row in found:
            if row is not None:
                yield row


def _shown(row: Row, names: Sequence[str], region: str) -> Sequence[str] | str:
    if isinstance(row, RefusedError):
        return str(row)
    if isinstance(row, Mapping):
        row = [str(row.get(name, "")) for name in names]
    return [masked(cell, region) for cell in row]


def masked(cell: str, region: str) -> str:
    """Return what a cell says without the digits of a number: 138****8000."""
    text = cell[:MOST_OF_A_CELL].encode("utf-8", "replace").decode()
    text = "".join(mark if mark.isprintable() else " " for mark in text).strip()
    with contextlib.suppress(ValueError):
        datetime.fromisoformat(text)
        return text
    with contextlib.suppress(RegistryError):
        return str(parse_subscriber(text, region))
    text = _DIGITS.sub("#######", text)
    return text if len(text) <= LONGEST_CELL else text[:LONGEST_CELL] + "..."


def fields(schema: Schema) -> Mapping[str, bool]:
    """Return the fields of a line, by dotted names, and whether each line needs them."""
    form = Form(schema)
    return {name: name in form.required for name in form.names}


def choose(session: Session, import_id: UUID, organisation_id: UUID, options: Options) -> Import:
    """Say anew how the rows of a file are to be read, before it is started."""
    row = own_import(session, import_id, organisation_id, lock=True)
    if row.state is not ImportState.RECEIVING:
        raise RegistryError(Kind.CONFLICT, "this import takes no more of its file")
    row.options = options.written()
    session.flush()
    return row
