"""What falls due by itself, closed one by one: each in a transaction of its own.

So it can be stopped at any time and goes on where it was, and one row that cannot be closed is
logged and passed over; it stops none of the others.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from registry.database import Clock, Database

log = logging.getLogger(__name__)

GROUP = 100
"""Rows that are looked up at once."""

Place = tuple[datetime, UUID]
"""Where a row stands among those that are due: by what time it was, and its id."""


def close_each(
    database: Database,
    find: Callable[[Connection, datetime, Place | None, int], Sequence[Place]],
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
