"""Applying files: a worker takes an import that waits and applies it, a group of lines at a time.

A group is one transaction. It also moves the import's place in its file and the length of its
result, whose rows are on the disk before. So whenever a worker dies, everything is as the last
group left it, and whoever goes on begins just there. `claimed_at` is both the lease, which every
group renews, and the proof of whose it is: a worker that lost it finds another there, within the
transaction and under the row's lock, and applies nothing.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import count
from uuid import UUID

from marshmallow import Schema
from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from registry import budgets, senders
from registry.database import Clock, Database
from registry.errors import Kind, RegistryError
from registry.imports import results
from registry.imports.groups import Group, GroupReader
from registry.imports.kinds import COUNTED
from registry.imports.reading import UnreadableError
from registry.imports.recording import Recorder, group_size
from registry.imports.store import Store, write_durably
from registry.ledger.bulk import LineResult, Outcome
from registry.models import Import, ImportKind, ImportState, Organisation, Purpose, Suspension
from registry.policy import Policy

LEASE = timedelta(seconds=60)
"""After which another worker takes over from one that was not heard of."""
TURN = 300
"""Groups after which an import lets others have their turn."""
HOPELESS = 100_000
"""Rejected lines from which on a file must have more that are not."""
MEBIBYTE = 1024 * 1024
SUSPENDED = "the organisation is suspended"
SPENT = "today's budget of distinct numbers is used up; the operator can raise it"


class _LostError(Exception):
    """The import is no longer this worker's: it was cancelled, or another took it over."""


@dataclass(frozen=True)
class Means:
    """What applying needs; `schemas` says what the lines of each kind consist of."""

    database: Database
    store: Store
    policy: Policy
    clock: Clock
    schemas: Mapping[ImportKind, Schema]
    lease: timedelta = LEASE


def run_next(
    means: Means, *, stop: Callable[[], bool] = lambda: False, only: UUID | None = None
) -> bool:
    """Apply the next import, or `only` that one, and tell whether there was one to apply.

    It is applied until it ends, must wait, `stop` says so or, where others wait, its turn is
    over. Another call goes on with it.
    """
    taken = _take(means, only)
    if taken is None:
        return False
    try:
        with _opened(means, taken) as run:
            run.go(stop)
    except _LostError:
        pass
    return True


def _to_do(now: datetime, lease: timedelta) -> ColumnElement[bool]:
    suspended = exists().where(
        Suspension.organisation_id == Import.organisation_id,
        Suspension.ended_at.is_(None),
        Suspension.starts_at <= now,
    )
    waits = and_(
        Import.state == ImportState.WAITING,
        or_(Import.resume_at.is_(None), Import.resume_at <= now),
        ~suspended,
    )
    left = and_(Import.state == ImportState.RUNNING, Import.claimed_at <= now - lease)
    return or_(waits, left)


def _take(means: Means, only: UUID | None) -> Import | None:
    """Take the import whose turn it is: the one that has waited longest since its last turn."""
    now = means.clock()
    query = select(Import.id).where(_to_do(now, means.lease))
    if only is not None:
        query = query.where(Import.id == only)
    query = query.order_by(Import.claimed_at.nulls_first(), Import.id).limit(1)
    with means.database.read() as connection:
        if connection.scalar(query) is None:
            return None
    with means.database.write() as session:
        found = session.scalar(query.with_for_update(skip_locked=True))
        if found is None:
            return None
        row = session.get_one(Import, found)
        row.claimed_at = _later(now, row.claimed_at)
        row.started_at = row.started_at or now
        row.state, row.problem, row.resume_at = ImportState.RUNNING, None, None
        return row


def _later(now: datetime, claimed_at: datetime | None) -> datetime:
    """Return a time of a lease that no other one of this import has."""
    least = datetime.min.replace(tzinfo=UTC) if claimed_at is None else claimed_at
    return max(now, least + timedelta(microseconds=1))


@contextmanager
def _opened(means: Means, row: Import) -> Iterator["_Run"]:
    """Open what an import is read from and reported to; ends it when it cannot be read."""
    run = _Run(means, row)
    with ExitStack() as stack:
        try:
            run.reader = GroupReader(
                means.store.read(row.id, row.size),
                row,
                means.schemas[row.kind],
                key=means.database.key,
                region=means.policy.default_region,
                most=means.policy.files.import_mebibytes * MEBIBYTE,
                beat=run.renew,
            )
            stack.callback(run.reader.close)
            run.result = means.store.open_result(row.id, row.result_size)
            stack.callback(run.result.close)
        except UnreadableError as error:
            run.end(ImportState.FAILED, str(error))
            raise _LostError from None
        except FileNotFoundError:
            run.end(ImportState.FAILED, "the file is not in the data folder of this worker")
            raise _LostError from None
        yield run


class _Run:
    """One turn of an import."""

    reader: GroupReader
    result: io.FileIO

    def __init__(self, means: Means, row: Import) -> None:
        self._means = means
        self._id, self._kind = row.id, row.kind
        self._sender = row.organisation_id
        self._claimed_at = row.claimed_at
        self._recorder = Recorder(row.kind, row.organisation_id, means.policy, means.clock)

    def go(self, stop: Callable[[], bool]) -> None:
        """Apply group after group; while the database works on one, the next is read."""
        size = group_size(self._kind, self._means.database.dialect)
        with ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(self.reader.next_group, size)
            for turn in count(1):
                group = following.result()
                if not group.last:
                    following = ahead.submit(self.reader.next_group, size)
                if not self._apply(group) or group.last:
                    break
                if stop() or (turn >= TURN and self._others_wait()):
                    self._wait(None, None)
                    break

    def _apply(self, group: Group) -> bool:
        """Apply a group and tell whether to go on; what the budget leaves no room for waits."""
        part = group
        while True:
            try:
                going = self._apply_whole(part)
            except RegistryError as error:
                if error.kind is not Kind.BUDGET_EXHAUSTED:
                    raise
                if len(part.lines) < 2:
                    self._wait(_midnight(self._means.clock()), SPENT)
                    return False
                # The first half may still have room.
                part = part.first(len(part.lines) // 2)
                continue
            if part is group or not going:
                return going
            part = group = group.after(len(part.lines))

    def _apply_whole(self, group: Group) -> bool:
        began = self._means.clock()
        with self._hold() as (session, row):
            if senders.suspended(session, self._sender, began):
                row.state, row.problem = ImportState.WAITING, SUSPENDED
                return False
            found = self._recorder.record(session, group.lines)
            self._spend(session, group, found)
            counts = results.count(json.loads(row.counts), found)
            row.result_size = self._report(row.result_size, group, found)
            row.lines, row.offset, row.bytes_read = group.rows, group.offset, group.bytes_read
            row.counts = json.dumps(counts)
            row.milliseconds += round((self._means.clock() - began) / timedelta(milliseconds=1))
            problem = group.problem or self._hopeless(counts, row.result_size)
            if problem is not None or group.last:
                _close(row, problem, self._means.clock())
        if problem is not None or group.last:
            self._means.store.remove_source(self._id)
            return False
        return True

    def _report(self, size: int, group: Group, found: Sequence[LineResult]) -> int:
        """Write a group's rows to the result, durably, and return its new size.

        What a transaction reported that failed afterwards is written over.
        """
        header = b"" if size else results.HEADER
        self.result.truncate(size)
        self.result.seek(size)
        write_durably(self.result, header + results.written(group.lines, found))
        return self.result.tell()

    def _spend(self, session: Session, group: Group, found: Sequence[LineResult]) -> None:
        """Count the numbers of what was applied; raises `BUDGET_EXHAUSTED`."""
        if self._kind not in COUNTED:
            return
        numbers = [
            line.value.number
            for line, result in zip(group.lines, found, strict=True)
            if result.outcome is Outcome.APPLIED
        ]
        own = session.scalar(
            select(Organisation.assertion_numbers_per_day).where(Organisation.id == self._sender)
        )
        policy = self._means.policy.limits.assertion_numbers_per_day
        budgets.spend(
            session,
            self._sender,
            Purpose.ASSERTION,
            numbers,
            day=self._means.clock().date(),
            budget=policy if own is None else own,
        )

    def _hopeless(self, counts: Mapping[str, int], result_size: int) -> str | None:
        """Return why it makes no sense to go on, and would only fill the disk."""
        rejected = counts[Outcome.REJECTED]
        if rejected > HOPELESS and rejected > sum(counts.values()) / 2:
            return "most lines are rejected"
        most = self._means.policy.files.import_mebibytes * MEBIBYTE
        return "the result is larger than a file may be" if result_size > most else None

    def _others_wait(self) -> bool:
        others = select(Import.id).where(
            _to_do(self._means.clock(), self._means.lease), Import.id != self._id
        )
        with self._means.database.read() as connection:
            return connection.scalar(others.limit(1)) is not None

    def _wait(self, until: datetime | None, problem: str | None) -> None:
        with self._hold() as (_, row):
            row.state, row.resume_at, row.problem = ImportState.WAITING, until, problem

    def end(self, state: ImportState, problem: str | None) -> None:
        """End the import."""
        with self._hold() as (_, row):
            _close(row, problem, self._means.clock())
        self._means.store.remove_source(self._id)

    def renew(self) -> None:
        """Keep the import while nothing of it can be applied yet."""
        with self._hold():
            pass

    @contextmanager
    def _hold(self) -> Iterator[tuple[Session, Import]]:
        """Lend a transaction with the import locked and its lease renewed; raises `_LostError`."""
        with self._means.database.write() as session:
            row = session.get_one(Import, self._id, with_for_update=True)
            if row.state is not ImportState.RUNNING or row.claimed_at != self._claimed_at:
                raise _LostError
            renewed = row.claimed_at = _later(self._means.clock(), row.claimed_at)
            yield session, row
        self._claimed_at = renewed


def _close(row: Import, problem: str | None, now: datetime) -> None:
    row.state = ImportState.DONE if problem is None else ImportState.FAILED
    row.problem, row.finished_at = problem, now


def _midnight(now: datetime) -> datetime:
    """Return when the next day's budget begins."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def purge(database: Database, store: Store, days: int, now: datetime) -> int:
    """Remove the files of imports that ended, or came to nothing, so many days ago; return how
    many. Their rows stay and say when that was."""
    old = now - timedelta(days=days)
    idle = and_(Import.state == ImportState.RECEIVING, Import.recorded_at < old)
    query = select(Import.id).where(Import.purged_at.is_(None), or_(Import.finished_at < old, idle))
    with database.read() as connection:
        found = connection.scalars(query).all()
    for import_id in found:
        with database.write() as session:
            row = session.get_one(Import, import_id, with_for_update=True)
            if row.state is ImportState.RECEIVING:
                row.state, row.finished_at = ImportState.CANCELLED, now
            elif row.finished_at is None:
                continue  # It was started meanwhile.
        store.remove(import_id)  # Before that is recorded: what stays behind is found again.
        with database.write() as session:
            session.get_one(Import, import_id).purged_at = now
    return len(found)
