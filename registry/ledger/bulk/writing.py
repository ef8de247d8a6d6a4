"""Writing set-wise: many rows of one table at once, column by column.

On PostgreSQL they go by COPY in its binary form, which spares both sides the text of every value;
no row is ever in an error's text. While the server stores one block, the next is being made.
"""

import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import chain, repeat
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import uuid_utils
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Connection,
    Enum,
    Insert,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from registry.models import Base, Event, Instant, NumberToken, Sealed

Id = UUID | uuid_utils.UUID
"""An id: of rows that the database has, or, made in a seventh of the time, of new ones."""
T = TypeVar("T")

_long = struct.Struct("!iq").pack
_word = struct.Struct("!ii").pack
_short = struct.Struct("!ih").pack

BLOCK = 500
"""Rows that are made while the server stores as many."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Same:
    """One value for all rows of a block."""

    value: object


Column = Sequence[Any] | Same
Block = Mapping[str, Column]
"""Some rows of a table, by columns. Numbers are tokens and what is sealed is sealed already."""


def blocks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut rows into blocks."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def insert_many(session: Session, model: type[Base], made: Iterable[Block]) -> None:
    """Insert rows, block by block, each made when the one before is on its way."""
    connection = session.connection()
    table: Table = model.__table__  # type: ignore[assignment]
    if connection.dialect.name == "postgresql":
        _copy(connection, table, made)
        return
    for block in made:
        values = [
            repeat(column.value) if isinstance(column, Same) else column
            for column in block.values()
        ]
        rows = [dict(zip(block, row, strict=True)) for row in zip(*values, strict=False)]
        connection.execute(_insert(table, tuple(block)), rows)


@cache
def _insert(table: Table, names: tuple[str, ...]) -> Insert:
    """Return the statement that inserts rows whose numbers and texts are tokens and sealed."""
    stored = {
        name: bindparam(name, type_=LargeBinary())
        for name in names
        if isinstance(table.columns[name].type, NumberToken | Sealed)
    }
    return insert(table).values({**{name: bindparam(name) for name in names}, **stored})


def _copy(connection: Connection, table: Table, made: Iterable[Block]) -> None:
    ahead = iter(made)
    first = next(ahead, None)
    if first is None:
        return
    statement = f"COPY {table.name} ({', '.join(first)}) FROM STDIN (FORMAT binary)"
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(_HEADER)
            for block in chain([first], ahead):
                copy.write(_encode(table, block))
            copy.write(_TRAILER)
    except psycopg.Error as error:
        raise _translated(error, statement, connection) from error


def _translated(error: psycopg.Error, statement: str, connection: Connection) -> Exception:
    """Return a driver's error as the one that SQLAlchemy raises for it."""
    driver: Any = connection.connection.driver_connection
    return DBAPIError.instance(
        statement,
        None,
        error,
        psycopg.Error,
        hide_parameters=True,
        connection_invalidated=driver.closed,
        dialect=connection.dialect,
    )


def _encode(table: Table, block: Block) -> bytes:
    """Return rows as PostgreSQL reads them in COPY's binary form."""
    columns: list[Iterable[bytes]] = [repeat(struct.pack("!h", len(block)))]
    for name, values in block.items():
        field = _field(table, name)
        if isinstance(values, Same):
            value = values.value
            columns.append(repeat(_NULL if value is None else field(value)))
        else:
            columns.append([_NULL if value is None else field(value) for value in values])
    return b"".join(chain.from_iterable(zip(*columns, strict=False)))


@cache
def _field(table: Table, name: str) -> Callable[[Any], bytes]:
    """Return what writes a value of a column, after its length."""
    kind = table.columns[name].type
    for known, field in _FIELDS.items():
        if isinstance(kind, known):
            return field
    return _text


def _text(value: str) -> bytes:
    plain = value.encode()
    return len(plain).to_bytes(4) + plain


_FIELDS: dict[type[Any] | tuple[type[Any], ...], Callable[[Any], bytes]] = {
    Uuid: lambda value: b"\0\0\0\x10" + value.bytes,
    (NumberToken, Sealed, LargeBinary): lambda value: len(value).to_bytes(4) + value,
    Instant: lambda value: _long(8, (value - _EPOCH) // _MICROSECOND),
    BigInteger: lambda value: _long(8, value),
    Enum: cache(_text),
    SmallInteger: lambda value: _short(2, value),
    Integer: lambda value: _word(4, value),
    Boolean: lambda value: b"\0\0\0\x01\x01" if value else b"\0\0\0\x01\0",
}
"""By type; whatever else there is, is text."""


def draw_event_ids(connection: Connection, count: int) -> Sequence[int]:
    """Return ids for new events, which the caller draws after it took all its locks."""
    if connection.dialect.name == "postgresql":
        drawn = text("SELECT nextval('events_id_seq') FROM generate_series(1, :count)")
        return connection.scalars(drawn, {"count": count}).all()
    last = connection.scalar(select(func.coalesce(func.max(Event.id), 0))) or 0
    return range(last + 1, last + 1 + count)


def with_id(connection: Connection, column: Any, ids: Collection[UUID]) -> Any:
    """Return the condition that an id is one of some."""
    if connection.dialect.name == "postgresql":
        return column == any_(bindparam(None, list(ids), ARRAY(Uuid)))
    return column.in_(ids)
