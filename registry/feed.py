"""The feed: committed events get gapless positions, in the order of their ids.

Ids are drawn before the commit, so a reader of `id > last` would miss what commits late.
Positions are given by one sequencer after the commit; a reader of positions misses nothing,
and sees one number's events in their true order, because its writers hold the number's lock
from before the id is drawn until the commit.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select, text
from sqlalchemy.orm import Session

from registry.database import SEQUENCER_LOCK
from registry.models import Event

GROUP = 10_000

_SEQUENCE = text(
    """
    UPDATE events SET position = sequenced.position
    FROM (
        SELECT
            id,
            (SELECT coalesce(max(position), 0) FROM events)
            + row_number() OVER (ORDER BY id) AS position
        FROM (
            SELECT id FROM events WHERE position IS NULL ORDER BY id LIMIT :most
        ) AS waiting
    ) AS sequenced
    WHERE events.id = sequenced.id
    """
)


def sequence(session: Session, most: int = GROUP) -> int:
    """Give positions to committed events and return to how many.

    One sequencer works at a time; where another holds the lock this one returns 0.
    """
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        lock = select(func.pg_try_advisory_xact_lock(*SEQUENCER_LOCK))
        if not connection.scalar(lock):
            return 0
    return connection.execute(_SEQUENCE, {"most": most}).rowcount


def waiting(connection: Connection) -> bool:
    """Tell whether a committed event has no position yet."""
    query = select(Event.id).where(Event.position.is_(None)).limit(1)
    return connection.scalar(query) is not None


def after(session: Session, position: int, most: int = GROUP) -> Sequence[Event]:
    """Return the events behind a position, in order."""
    query = select(Event).where(Event.position > position).order_by(Event.position).limit(most)
    return session.scalars(query).all()
