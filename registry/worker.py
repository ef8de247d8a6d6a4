"""Background work: the sequencer, the audit's months, and what retention removes."""

import logging
import threading
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from registry import feed, maintenance
from registry.runtime import Registry

log = logging.getLogger(__name__)

PAUSE = 0.05
"""Seconds between two looks for new events; a look at nothing costs one index probe."""
UPKEEP_EVERY = timedelta(hours=1)


def run(registry: Registry, stop: threading.Event) -> None:
    """Work until told to stop. A database that is away is tried again, more and more slowly."""
    upkeep_due = registry.clock()
    pause = PAUSE
    while not stop.wait(pause):
        try:
            sequence(registry)
            if registry.clock() >= upkeep_due:
                upkeep(registry, registry.clock())
                upkeep_due = registry.clock() + UPKEEP_EVERY
            pause = PAUSE
        except SQLAlchemyError as error:
            pause = min(pause * 2, 5.0)
            log.warning("the database does not answer: %s", type(error).__name__)


def sequence(registry: Registry) -> int:
    """Give positions to all committed events that have none; return to how many."""
    total = 0
    while _waiting(registry):
        with registry.database.write() as session:
            given = feed.sequence(session)
        if given == 0:
            break  # Another sequencer is at work.
        total += given
    return total


def _waiting(registry: Registry) -> bool:
    with registry.database.read() as connection:
        return feed.waiting(connection)


def upkeep(registry: Registry, now: datetime) -> None:
    """Prepare the audit's next months and remove what the policy keeps no longer."""
    with registry.database.write() as session:
        made = maintenance.prepare_months(session, now)
        removed = maintenance.purge(session, registry.policy.retention, now)
    if made or any(removed.values()):
        log.info("upkeep", extra={"fields": {"made": made, "removed": removed}})
