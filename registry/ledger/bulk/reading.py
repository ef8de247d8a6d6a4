"""Reading set-wise: what is known of all numbers and lines of a group, a statement a table.

Tokens and keys have 16 bytes each and travel as one value, which the database cuts: that costs a
tenth of as many parameters.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    TextClause,
    bindparam,
    func,
    or_,
    select,
    text,
    type_coerce,
)

from registry.models import ANY, Base, Organisation, OrganisationKind, Reassignment, Refusal

_CUT = {
    # Of an array that comes from a subquery PostgreSQL expects few elements, and uses the index.
    "postgresql": "{} = ANY(ARRAY(SELECT substr(:values, 16 * i + 1, 16)"
    " FROM generate_series(0, :last) AS i))",
    "sqlite": "{} IN (WITH RECURSIVE items (i, value) AS (SELECT 0, substr(:values, 1, 16)"
    " UNION ALL SELECT i + 1, substr(:values, 16 * i + 17, 16) FROM items WHERE i < :last)"
    " SELECT value FROM items)",
}


def among(connection: Connection, column: str, values: Collection[bytes]) -> TextClause:
    """Return the condition that a column holds one of some values of 16 bytes."""
    condition = text(_CUT[connection.dialect.name].format(column))
    return condition.bindparams(
        bindparam("values", b"".join(values), LargeBinary), last=len(values) - 1
    )


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
    table: Any = model
    query = select(table.line_key, table.id).where(
        table.line_key.is_not(None),
        among(connection, f"{table.__tablename__}.line_key", keys),
    )
    with by_index(connection):
        return {bytes(key): row_id for key, row_id in connection.execute(query)}


def raw_number(column: Any) -> ColumnElement[bytes]:
    """Select a number's token as it is stored, not as the number."""
    return type_coerce(column, LargeBinary)


def tenure_starts(connection: Connection, tokens: Collection[bytes]) -> dict[bytes, Any]:
    """Return when the tenures of numbers began of which a reassignment is known."""
    query = (
        select(raw_number(Reassignment.number), func.max(Reassignment.reassigned_at))
        .where(
            Reassignment.cancelled_at.is_(None),
            among(connection, "reassignments.number", tokens),
        )
        .group_by(Reassignment.number)
    )
    return {bytes(token): start for token, start in connection.execute(query)}


def refused_topics(
    connection: Connection, tokens: Collection[bytes], sender_id: UUID
) -> dict[bytes, dict[str, set[str]]]:
    """Return the topics, `ANY` among them, that numbers refuse to a sender, by channel or `ANY`."""
    query = select(raw_number(Refusal.number), Refusal.channel, Refusal.topic).where(
        Refusal.ended_at.is_(None),
        Refusal.reassignment_id.is_(None),
        or_(Refusal.sender_id.is_(None), Refusal.sender_id == sender_id),
        among(connection, "refusals.number", tokens),
    )
    found: dict[bytes, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for token, channel, topic in connection.execute(query):
        found[bytes(token)][channel].add(topic)
    return found


Place = tuple[bytes, str, str, UUID | None]
"""A number's token, and what one refusal covers of it: channel, topic, sender."""


def standing_refusals(connection: Connection, tokens: Collection[bytes]) -> dict[Place, UUID]:
    """Return the standing refusals of numbers, by what they cover."""
    query = select(
        raw_number(Refusal.number), Refusal.channel, Refusal.topic, Refusal.sender_id, Refusal.id
    ).where(
        Refusal.ended_at.is_(None),
        Refusal.reassignment_id.is_(None),
        among(connection, "refusals.number", tokens),
    )
    return {
        (bytes(token), channel or ANY, topic or ANY, sender_id): refusal_id
        for token, channel, topic, sender_id, refusal_id in connection.execute(query)
    }


def organisation_kinds(
    connection: Connection, ids: Collection[UUID]
) -> dict[UUID, OrganisationKind]:
    """Return what some organisations are; ids that are nobody's are left out."""
    query = select(Organisation.id, Organisation.kind).where(Organisation.id.in_(ids))
    return {row.id: row.kind for row in connection.execute(query)}
