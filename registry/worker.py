"""Background work: the sequencer, the clocks, outgoing SMS, upkeep. Each in a thread of its own.

So none waits for another, a slow SMS gateway least of all, and what one cannot do stops none of
the others: it is logged and tried again.
"""

import gc
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from registry import evidence, feed, imports, ledger, maintenance, messenger
from registry.errors import RegistryError
from registry.messenger import delivery
from registry.messenger.backends import Backend, Unavailable
from registry.messenger.delivery import Lane
from registry.runtime import Registry
from registry.schemas.imports import LINES

log = logging.getLogger(__name__)

PAUSE = 0.05
"""Seconds between two looks for new events; a look at nothing costs one index probe."""
CLOCKS_EVERY = 5.0
UPKEEP_EVERY = 3600.0
TIDY_EVERY = 10.0
IMPORTS_EVERY = 1.0
COLLECTED = (100_000, 20, 20)
"""New objects, and rounds, after which garbage is collected."""
LOOK_EVERY = {True: 0.2, False: 1.0}
"""Seconds between two looks for SMS: for urgent ones, and for all."""
LANES = (True, False, False, False)
"""Threads that send SMS; the first sends urgent ones only, so they never wait for others."""
LONGEST_WAIT, LOG_EVERY = 5.0, 12
"""Seconds to the next try of what fails, and how many of its failures make a line in the log."""
LONGEST_PAUSE = 30.0
"""Seconds after which a gateway that takes nothing is tried again."""
FEW = 2
"""Failures that may be about single messages: for these alone nobody else has to wait long."""
GRACE = 10.0
"""Seconds that work under way may take once it is told to stop."""


@dataclass
class Job:
    """Something that is done again and again: `step` returns the seconds to its next time."""

    name: str
    step: Callable[[], float]

    def run(self, stop: threading.Event) -> None:
        """Do it until told to stop. What fails is tried again, more and more slowly."""
        pause, failures = 0.0, 0
        while not stop.wait(pause):
            try:
                pause, failures = self.step(), 0
            except Exception as error:
                # The text of an exception may quote data; its type never does.
                if failures % LOG_EVERY == 0:
                    log.warning("%s failed: %s", self.name, type(error).__name__)
                failures += 1
                pause = min(0.1 * float(1 << min(failures, 10)), LONGEST_WAIT)


def calm_collector() -> None:
    """Let the collector of garbage go through what is new only, and less often.

    Lines make many objects and no rings; looking for those took a third of the time of an import.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED)


def run(registry: Registry, stop: threading.Event) -> None:
    """Work until told to stop, then finish what is under way."""
    backend = _open_backend(registry)
    jobs = [
        *_clocks(registry),
        Job("upkeep", partial(_upkeep, registry)),
        Job("tidying of SMS", partial(_tidy, registry)),
        Job("imports", partial(_import, registry, stop)),
        *(_lane(registry, backend, urgent=urgent) for urgent in LANES if backend is not None),
    ]
    threads = [
        threading.Thread(target=job.run, args=[stop], name=job.name, daemon=True) for job in jobs
    ]
    for thread in threads:
        thread.start()
    Job("sequencer", partial(_sequence, registry)).run(stop)
    _join(threads, GRACE)
    if backend is not None:
        backend.close()
    _join(threads, 1.0)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _open_backend(registry: Registry) -> Backend | None:
    """Open the way to send SMS. Without one they wait, and all other work goes on."""
    try:
        backend = delivery.open_backend(registry.settings, demo=registry.demo)
    except RegistryError as error:
        log.error("SMS wait in the outbox: %s", error.detail)
        return None
    if backend is None:
        log.warning("SMS wait in the outbox: REGISTRY_SMS_URL is not set")
    elif registry.settings.portal_url is None and not registry.demo:
        # They would send people to an address of their own machine.
        log.error("SMS wait in the outbox: REGISTRY_PORTAL_URL is not set")
        backend.close()
        return None
    return backend


def _lane(registry: Registry, backend: Backend, *, urgent: bool) -> Job:
    lane = Lane(
        registry.database,
        backend,
        messenger.house(registry.settings),
        registry.clock,
        urgent=urgent,
        hours=None if registry.demo else registry.policy.contact_hours,
        digest_from=registry.policy.notices.digest_from,
        keep_codes=registry.demo,
    )
    return Job("sending of SMS", Pace(lane).step)


class Pace:
    """Sends as fast as a gateway takes it, and waits longer and longer when it takes nothing."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._failures = 0

    def step(self) -> float:
        """Deliver one message and return the seconds to the next."""
        outcome = self._lane.step()
        if isinstance(outcome, Unavailable):
            self._failures += 1
            pause = 0.5 * float(1 << min(self._failures, 6))
            if self._failures > FEW:
                pause = max(pause, outcome.retry_after)
            return min(pause, LONGEST_PAUSE)
        self._failures = 0
        return LOOK_EVERY[self._lane.urgent] if outcome is None else 0.0


def _clocks(registry: Registry) -> list[Job]:
    """Return what falls due by itself: requests without an answer, consents without evidence."""

    def lapse() -> float:
        ledger.lapse_due(registry.database, clock=registry.clock)
        return CLOCKS_EVERY

    def void() -> float:
        ledger.void_due(registry.database, clock=registry.clock)
        return CLOCKS_EVERY

    return [Job("lapsing of requests", lapse), Job("voiding of consents", void)]


def import_means(registry: Registry) -> imports.Means:
    """Return what applying imported files needs."""
    return imports.Means(
        registry.database, registry.imports, registry.policy, registry.clock, LINES
    )


def _import(registry: Registry, stop: threading.Event) -> float:
    """Give one import its turn. Told to stop, it stops after the group that is under way."""
    found = imports.run_next(import_means(registry), stop=stop.is_set)
    return 0.0 if found else IMPORTS_EVERY


def _sequence(registry: Registry) -> float:
    sequence(registry)
    return PAUSE


def _upkeep(registry: Registry) -> float:
    upkeep(registry, registry.clock())
    return UPKEEP_EVERY


def _tidy(registry: Registry) -> float:
    with registry.database.write() as session:
        delivery.tidy(session, registry.clock)
    return TIDY_EVERY


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
    """Prepare the audit's next months and remove what the policy keeps no longer.

    A new month locks the audit until it is committed, so nothing else is done meanwhile.
    """
    with registry.database.write() as session:
        made = maintenance.prepare_months(session, now)
    retention = registry.policy.retention
    removed = maintenance.purge(registry.database, retention, now)
    for group in evidence.purge(registry.database, registry.files, retention, now):
        removed["evidence"] = removed.get("evidence", 0) + len(group.evidence)
        removed["evidence_files"] = removed.get("evidence_files", 0) + len(group.files)
    removed["imports"] = imports.purge(
        registry.database, registry.imports, retention.import_days, now
    )
    if made or any(removed.values()):
        log.info("upkeep", extra={"fields": {"made": made, "removed": removed}})
