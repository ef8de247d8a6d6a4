"""What falls due by itself, closed one by one: each in a transaction of its own.

So it can be stopped at any time and goes on where it was, and one row that cannot be closed is
logged and passed over; it stops none of the others.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, select, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.database import Clock, Database

log = logging.getLogger(__name__)

GROUP = 100
"""Rows that are looked up at once."""

Place = tuple[datetime, UUID]
"""Where a row stands among those that are due: by what time it was, and its id."""

Find = Callable[[Connection, datetime, Place | None, int], Sequence[Place]]
"""Returns the next rows that are due at a time, behind a place, and no more than so many."""


def finder(
    by: InstrumentedAttribute[datetime],
    row_id: InstrumentedAttribute[UUID],
    still_open: ColumnElement[bool],
) -> Find:
    """Return what finds the rows that are still open after the time that they name."""

    def find(
        connection: Connection, now: datetime, after: Place | None, most: int
    ) -> Sequence[Place]:
        query = select(by, row_id).where(
            still_open, by <= now, true() if after is None else tuple_(by, row_id) > after
        )
        return connection.execute(query.order_by(by, row_id).limit(most)).all()

    return find


def close_each(
    database: Database,
    find: Find,
    close: Callable[[Session, UUID, Clock], bool],
    clock: Clock,
) -> int:
    """Close all that is due now, and return how many were.

    `find` returns the next group behind a place, `close` looks again under the number's lock
    and tells whether it was still due. Raises when the database does not answer.
    """
    closed, place, now = 0, None, clock()
    while True:
        with database.read() as connection:
            group = find(connection, now, place, GROUP)
        if not group:
            return closed
        for place in group:
            closed += _close(database, place[1], close, clock)


def _close(
    database: Database, row_id: UUID, close: Callable[[Session, UUID, Clock], bool], clock: Clock
) -> bool:
    try:
        with database.write() as session:
            return close(session, row_id, clock)
    except Exception as error:
        log.error("%s failed: %s", close.__name__.strip("_"), type(error).__name__)
        with database.read() as connection:
            connection.execute(select(1))  # Raises when it was not the row, but the database.
        return False
