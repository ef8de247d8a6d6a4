"""How long evidence is kept: so many months after all that rests on it is over (R7, R11).

A consent is over when its date has passed, when it ended, or when the number was reported to have
gone to somebody else, whichever came first. Evidence of which a consent is disputed or complained
of is kept until that is settled. What is removed are its texts and the files that nothing names any
more; that there was evidence, of which digest, the event of the consent says for good.

Each piece of evidence is looked at about once in a span, and exactly when it is due: what is known
of it at one look tells before when it cannot be due.
"""

import calendar
import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Select,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import tuple_ as row_of
from sqlalchemy.orm import Session

from registry import events
from registry.database import Database, lock_file
from registry.evidence.keeping import drop, named, remove
from registry.files import FileStore
from registry.models import (
    Challenge,
    Complaint,
    Consent,
    Document,
    Evidence,
    EvidenceFile,
    Grant,
    Instant,
    Reassignment,
)
from registry.policy import Retention

log = logging.getLogger(__name__)

GROUP = 200
"""Rows that one transaction looks at: few enough that nobody waits for it."""
STRAYS_KEPT = timedelta(days=1)
"""What is kept on the disk for longer than this without a name was never committed."""

Place = tuple[datetime, UUID]


@dataclass(frozen=True)
class Removed:
    """What one transaction removed: evidence by its ids, files by their digests."""

    evidence: tuple[UUID, ...] = ()
    files: tuple[str, ...] = ()


def cutoff(now: datetime, months: int) -> datetime:
    """Return what lies so many calendar months back: evidence that ended by then is due."""
    number = now.year * 12 + now.month - 1 - months
    year, month = number // 12, number % 12 + 1
    return now.replace(year=year, month=month, day=min(now.day, _days(year, month)))


def kept_until(ended: datetime, months: int) -> datetime:
    """Return when evidence is due that ended at a time: the first one whose cutoff is not before.

    From a day that the month lacks it is the beginning of the month after.
    """
    number = ended.year * 12 + ended.month - 1 + months
    year, month = number // 12, number % 12 + 1
    if ended.day <= _days(year, month):
        return ended.replace(year=year, month=month)
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def _days(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def over_at(session: Session, evidence_id: UUID) -> datetime | None:
    """Return when all that rests on evidence is over as things stand, None when nothing does."""
    return session.scalar(select(_last_end(session)).where(Evidence.id == evidence_id))


def _last_end(session: Session) -> ScalarSelect[datetime]:
    """Select when the last consent that rests on evidence is over."""
    earliest = func.min if session.get_bind().dialect.name == "sqlite" else func.least
    over = earliest(
        Consent.valid_until,
        func.coalesce(Consent.end_recorded_at, Consent.ended_at, Consent.valid_until),
        func.coalesce(Reassignment.recorded_at, Consent.valid_until),
        type_=Instant(),
    )
    return (
        select(func.max(over, type_=Instant()))
        .select_from(Grant)
        .join(Consent, Consent.grant_id == Grant.id)
        .outerjoin(Reassignment, Reassignment.id == Consent.reassignment_id)
        .where(Grant.evidence_id == Evidence.id)
        .correlate(Evidence)
        .scalar_subquery()
    )


def _disputed() -> ColumnElement[bool]:
    """Select evidence of a consent that is disputed, or whose sender is complained of."""
    challenged = exists().where(
        Grant.evidence_id == Evidence.id,
        Challenge.grant_id == Grant.id,
        Challenge.outcome.is_(None),
    )
    complained = exists().where(
        Grant.evidence_id == Evidence.id,
        Consent.grant_id == Grant.id,
        Complaint.number == Consent.number,
        or_(Complaint.sender_id.is_(None), Complaint.sender_id == Consent.sender_id),
        Complaint.outcome.is_(None),
    )
    return or_(challenged, complained)


_NEEDED = func.coalesce(Evidence.needed_at, Evidence.recorded_at)


def _candidates(
    session: Session, before: datetime, after: Place | None
) -> Select[*tuple[Any, ...]]:
    """Select a group of the evidence that may be due, in order, beginning after a place."""
    query = (
        select(
            Evidence.id,
            Evidence.sha256,
            _NEEDED.label("needed"),
            _last_end(session).label("last_end"),
            _disputed().label("disputed"),
        )
        .where(Evidence.purged_at.is_(None), before >= _NEEDED)
        .order_by(_NEEDED, Evidence.id)
        .limit(GROUP)
    )
    return query if after is None else query.where(row_of(_NEEDED, Evidence.id) > after)


def _is_due(row: Any, before: datetime) -> bool:
    over = row.last_end is None or row.last_end <= before
    return over and not row.disputed


def due(database: Database, retention: Retention, now: datetime) -> Iterator[Removed]:
    """Yield what a purge would remove now, and change nothing."""
    before = cutoff(now, retention.evidence_after_end)
    found: set[UUID] = set()
    digests: set[str] = set()
    after: Place | None = None
    with database.snapshot() as session:
        while rows := session.execute(_candidates(session, before, after)).all():
            ids = [row.id for row in rows if _is_due(row, before)]
            found.update(ids)
            digests.update(_digests(session, ids))
            yield Removed(evidence=tuple(ids))
            after = rows[-1].needed, rows[-1].id
        unneeded = select(EvidenceFile).where(EvidenceFile.needed_at <= before)
        files = {row.id: row for row in session.scalars(unneeded)}
        files |= {row.id: row for row in _files(session, digests)}
        going = [
            row.sha256
            for row in files.values()
            if row.recorded_at <= before and not _still_named(session, row, found)
        ]
        yield Removed(files=tuple(sorted(going)))


def _still_named(session: Session, row: EvidenceFile, going: set[UUID]) -> bool:
    """Tell whether a file is named by evidence other than that which is going."""
    query = (
        select(Evidence.id)
        .join(Grant, Grant.evidence_id == Evidence.id)
        .outerjoin(Challenge, Challenge.grant_id == Grant.id)
        .join(Consent, Consent.grant_id == Grant.id)
        .where(
            or_(Evidence.sha256 == row.sha256, Challenge.evidence_sha256 == row.sha256),
            Evidence.purged_at.is_(None),
            Consent.sender_id == row.organisation_id,
        )
        .distinct()
    )
    return any(evidence_id not in going for evidence_id in session.scalars(query))


def purge(
    database: Database, files: FileStore, retention: Retention, now: datetime
) -> Generator[Removed, None, None]:
    """Remove what is due, and yield what each short transaction has removed, once committed.

    Whoever stops in the middle has done a part, and the next purge goes on.
    """
    before = cutoff(now, retention.evidence_after_end)
    yield from _purge_evidence(database, files, before, now)
    yield from _purge_files(database, files, before, now)
    yield from _sweep(database, files, now)


def _purge_evidence(
    database: Database, files: FileStore, before: datetime, now: datetime
) -> Iterator[Removed]:
    after: Place | None = None
    while True:
        with database.write() as session:
            # Another purge has what is locked.
            group = _candidates(session, before, after).with_for_update(
                of=Evidence, skip_locked=True
            )
            rows = session.execute(group).all()
            if not rows:
                return
            _remember(session, [row for row in rows if (row.last_end or before) > before], now)
            due_now = [row.id for row in rows if _is_due(row, before)]
            removed = _empty(session, files, due_now, before, now)
        yield from _told(removed)
        after = rows[-1].needed, rows[-1].id


def _remember(session: Session, rows: Sequence[Any], now: datetime) -> None:
    """Note of evidence on which something still rests that it is needed, now or till its end."""
    if rows:
        statement = (
            update(Evidence.__table__)  # type: ignore[arg-type]
            .where(Evidence.__table__.c.id == bindparam("evidence_id"))
            .values(needed_at=bindparam("needed"))
        )
        known = [{"evidence_id": row.id, "needed": min(row.last_end, now)} for row in rows]
        session.connection().execute(statement, known)


def _empty(
    session: Session, files: FileStore, ids: Sequence[UUID], before: datetime, now: datetime
) -> Removed:
    """Empty the texts of evidence, remove the files that it alone named, and record that."""
    if not ids:
        return Removed()
    digests = _digests(session, ids)
    session.execute(
        update(Evidence)
        .where(Evidence.id.in_(ids))
        .values(notice_text="", notice_version=None, uri=None, purged_at=now)
    )
    grants = select(Grant.id).where(Grant.evidence_id.in_(ids))
    session.execute(
        update(Challenge)
        .where(Challenge.grant_id.in_(grants), Challenge.answered_at.is_not(None))
        .values(evidence_text="", evidence_uri=None)
        .execution_options(synchronize_session=False)
    )
    dropped = _drop_unnamed(session, files, _files(session, digests), before, now)
    removed = Removed(tuple(ids), dropped)
    _record(session, removed, now)
    return removed


def _digests(session: Session, ids: Sequence[UUID]) -> set[str]:
    """Return the digests that evidence, and what was brought of it in disputes, names."""
    named_there = select(Evidence.sha256).where(Evidence.id.in_(ids), Evidence.sha256.is_not(None))
    brought = (
        select(Challenge.evidence_sha256)
        .join(Grant, Grant.id == Challenge.grant_id)
        .where(Grant.evidence_id.in_(ids), Challenge.evidence_sha256.is_not(None))
    )
    return {
        digest for query in (named_there, brought) for digest in session.scalars(query) if digest
    }


def _files(session: Session, digests: Iterable[str]) -> Sequence[EvidenceFile]:
    return session.scalars(select(EvidenceFile).where(EvidenceFile.sha256.in_(digests))).all()


def _drop_unnamed(
    session: Session,
    files: FileStore,
    rows: Iterable[EvidenceFile],
    before: datetime,
    now: datetime,
) -> tuple[str, ...]:
    """Remove those files that no evidence names any more; return their digests.

    What was uploaded since `before` may be for evidence that is still to come. A file's lock is
    taken before its row's, as whoever uploads it does, and what the row says is read after that.
    """
    dropped = []
    for seen in sorted(rows, key=lambda row: row.sha256):  # Two purges wait in no ring.
        lock_file(session, seen.sha256)
        query = select(EvidenceFile).where(EvidenceFile.id == seen.id)
        row = session.scalar(query.execution_options(populate_existing=True))
        if row is None:
            continue
        if named(session, row):
            row.needed_at = now
        elif row.recorded_at > before:
            row.needed_at = row.recorded_at
        elif drop(session, files, row):
            dropped.append(row.sha256)
    session.flush()
    return tuple(dropped)


def _purge_files(
    database: Database, files: FileStore, before: datetime, now: datetime
) -> Iterator[Removed]:
    """Remove the files that nothing has named for as long as evidence is kept."""
    after: Place | None = None
    while True:
        query = (
            select(EvidenceFile)
            .where(EvidenceFile.needed_at <= before)
            .order_by(EvidenceFile.needed_at, EvidenceFile.id)
            .limit(GROUP)
        )
        if after is not None:
            query = query.where(row_of(EvidenceFile.needed_at, EvidenceFile.id) > after)
        with database.write() as session:
            rows = session.scalars(query).all()
            if not rows:
                return
            after = rows[-1].needed_at, rows[-1].id
            removed = Removed(files=_drop_unnamed(session, files, rows, before, now))
            _record(session, removed, now)
        yield from _told(removed)


def _sweep(database: Database, files: FileStore, now: datetime) -> Iterator[Removed]:
    """Remove from the disk what no row names: what was kept for a transaction that failed."""
    for _folder, digests in files.strays(now - STRAYS_KEPT):
        gone = []
        with database.read() as connection:
            unknown = _unknown(connection, digests)
        for digest in unknown:
            with database.write() as session:
                lock_file(session, digest)
                if _unknown(session, [digest]) and remove(files, digest):
                    gone.append(digest)
        yield from _told(Removed(files=tuple(gone)))


def _unknown(storage: Any, digests: Sequence[str]) -> list[str]:
    """Return those digests that no file of anybody has."""
    known = {
        digest
        for column in (EvidenceFile.sha256, Document.sha256)
        for digest in storage.scalars(select(column).where(column.in_(digests)))
    }
    return sorted(set(digests) - known)


def _record(session: Session, removed: Removed, now: datetime) -> None:
    if removed.evidence or removed.files:
        data = {"evidence": list(removed.evidence), "files": list(removed.files)}
        events.record(session, "evidence_purged", now, None, data)


def _told(removed: Removed) -> Iterator[Removed]:
    """Log what was removed, and yield it where it is anything."""
    if removed.evidence or removed.files:
        fields = {"evidence": list(map(str, removed.evidence)), "files": list(removed.files)}
        log.info("evidence purged", extra={"fields": fields})
        yield removed
