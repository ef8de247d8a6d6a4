"""Reading set-wise: what is known of all numbers and lines of a group, a statement a table.

Tokens and keys have 16 bytes each and travel as one value, which the database cuts: that costs a
tenth of as many parameters. Statements are built once.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Select,
    TextClause,
    bindparam,
    func,
    or_,
    select,
    text,
    type_coerce,
)

from registry.models import Base, Organisation, OrganisationKind, Reassignment, Refusal

_CUT = {
    # Of an array that comes from a subquery PostgreSQL expects few elements, and uses the index.
    "postgresql": "{} = ANY(ARRAY(SELECT substr(:values, 16 * i + 1, 16)"
    " FROM generate_series(0, :last) AS i))",
    "sqlite": "{} IN (WITH RECURSIVE items (i, value) AS (SELECT 0, substr(:values, 1, 16)"
    " UNION ALL SELECT i + 1, substr(:values, 16 * i + 17, 16) FROM items WHERE i < :last)"
    " SELECT value FROM items)",
}


def among(dialect: str, column: str) -> TextClause:
    """Return the condition that a column holds one of some values of 16 bytes: see `joined`."""
    return text(_CUT[dialect].format(column)).bindparams(
        bindparam("values", type_=LargeBinary), bindparam("last", type_=Integer)
    )


def joined(values: Collection[bytes]) -> dict[str, object]:
    """Return the parameters of `among`."""
    return {"values": b"".join(values), "last": len(values) - 1}


@contextmanager
def by_index(connection: Connection) -> Iterator[None]:
    """Let no statement in the block read a whole table.

    PostgreSQL cannot know how few rows meet the condition, and would try in tables of some size.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    yield
    connection.execute(text("SET LOCAL enable_seqscan TO DEFAULT"))


def known_keys(
    connection: Connection, model: type[Base], keys: Collection[bytes]
) -> dict[bytes, UUID]:
    """Return the ids of rows that lines with some of these keys led to before."""
    with by_index(connection):
        rows = connection.execute(_known_keys(connection.dialect.name, model), joined(keys))
        return {bytes(key): row_id for key, row_id in rows}


@cache
def _known_keys(dialect: str, model: type[Base]) -> Select[Any]:
    table: Any = model
    return select(table.line_key, table.id).where(
        table.line_key.is_not(None), among(dialect, f"{table.__tablename__}.line_key")
    )


def raw_number(column: Any) -> ColumnElement[bytes]:
    """Select a number's token as it is stored, not as the number."""
    return type_coerce(column, LargeBinary)


def tenure_starts(connection: Connection, tokens: Collection[bytes]) -> dict[bytes, datetime]:
    """Return when the tenures of numbers began of which a reassignment is known."""
    rows = connection.execute(_tenure_starts(connection.dialect.name), joined(tokens))
    return {bytes(token): start for token, start in rows}


@cache
def _tenure_starts(dialect: str) -> Select[bytes, datetime]:
    return (
        select(raw_number(Reassignment.number), func.max(Reassignment.reassigned_at))
        .where(Reassignment.cancelled_at.is_(None), among(dialect, "reassignments.number"))
        .group_by(Reassignment.number)
    )


def refused_topics(
    connection: Connection, tokens: Collection[bytes], sender_id: UUID
) -> dict[bytes, dict[str, set[str]]]:
    """Return the topics, `ANY` among them, that numbers refuse to a sender, by channel or `ANY`."""
    query = _refused_topics(connection.dialect.name)
    found: dict[bytes, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    rows = connection.execute(query, {"sender": sender_id, **joined(tokens)})
    for token, channel, topic in rows:
        found[bytes(token)][channel].add(topic)
    return found


@cache
def _refused_topics(dialect: str) -> Select[bytes, str, str]:
    return select(raw_number(Refusal.number), Refusal.channel, Refusal.topic).where(
        Refusal.ended_at.is_(None),
        Refusal.reassignment_id.is_(None),
        or_(Refusal.sender_id.is_(None), Refusal.sender_id == bindparam("sender")),
        among(dialect, "refusals.number"),
    )


Place = tuple[bytes, str, str, UUID | None]
"""A number's token, and what one refusal covers of it: channel, topic, sender."""


def standing_refusals(connection: Connection, tokens: Collection[bytes]) -> dict[Place, UUID]:
    """Return the standing refusals of numbers, by what they cover."""
    rows = connection.execute(_standing_refusals(connection.dialect.name), joined(tokens))
    return {
        (bytes(token), channel, topic, sender_id): refusal_id
        for token, channel, topic, sender_id, refusal_id in rows
    }


@cache
def _standing_refusals(dialect: str) -> Select[bytes, str, str, UUID | None, UUID]:
    return select(
        raw_number(Refusal.number), Refusal.channel, Refusal.topic, Refusal.sender_id, Refusal.id
    ).where(
        Refusal.ended_at.is_(None),
        Refusal.reassignment_id.is_(None),
        among(dialect, "refusals.number"),
    )


def organisation_kinds(
    connection: Connection, ids: Collection[UUID]
) -> dict[UUID, OrganisationKind]:
    """Return what some organisations are; ids that are nobody's are left out."""
    query = select(Organisation.id, Organisation.kind).where(Organisation.id.in_(ids))
    return {row.id: row.kind for row in connection.execute(query)}
