"""Upkeep: the months of the audit, and what is kept no longer than the policy says."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    delete,
    func,
    inspect,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy.orm import Session

from registry.database import PARTITION_LOCK, Database
from registry.family import PATIENCE
from registry.models import (
    AskedNumber,
    Attempt,
    Base,
    FamilyLink,
    IdempotencyKey,
    InboundMessage,
    Lookup,
    LookupCount,
    MemberSession,
    OneTimeCode,
    OutboxItem,
    OutboxState,
    PortalSession,
    SpentBudget,
)
from registry.policy import Retention

GROUP = 2000
"""Rows that one transaction removes: few enough that nobody waits for it."""
CODES_KEPT = UNAGREED_KEPT = timedelta(days=2)
"""Codes are counted by the day, and whoever was asked in vain may be asked again."""
SESSIONS_KEPT = timedelta(days=1)
ATTEMPTS_KEPT = timedelta(days=2)
"""What was tried in vain is forgotten by whoever counts it after a day."""
FINISHED = (
    OutboxState.SENT,
    OutboxState.FAILED,
    OutboxState.UNCERTAIN,
    OutboxState.EXPIRED,
    OutboxState.MERGED,
)
MONTHS_AHEAD = 2
_PARTITIONS = text(
    "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'lookups'::regclass"
)


def prepare_months(session: Session, now: datetime) -> list[str]:
    """Make this month's and the next months' partitions of the audit; return the new ones.

    What a late worker finds in the default partition is moved before its month is attached;
    meanwhile writers of audits wait, and lookups without a count do not notice.
    """
    connection = session.connection()
    if connection.dialect.name != "postgresql":
        return []
    connection.execute(select(func.pg_advisory_xact_lock(*PARTITION_LOCK)))
    there = set(connection.scalars(_PARTITIONS))
    waiting = connection.scalar(text("SELECT min(decided_at) FROM lookups_default"))
    first = min(now, waiting) if waiting else now
    made = []
    for month, following in _months(first, now):
        name = f"lookups_{month:%Y%m}"
        if name not in there:
            _attach_month(connection, name, month, following)
            made.append(name)
    return made


def _months(first: datetime, now: datetime) -> Iterator[tuple[date, date]]:
    """Yield the months (first day, next month's first day) from `first` to some beyond `now`."""
    month = first.astimezone(UTC).date().replace(day=1)
    last = _next_month(now.astimezone(UTC).date(), MONTHS_AHEAD)
    while month <= last:
        yield month, _next_month(month)
        month = _next_month(month)


def _next_month(day: date, months: int = 1) -> date:
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def _attach_month(connection: Connection, name: str, month: date, following: date) -> None:
    # Names and dates are this module's own; DDL takes no parameters.
    span = f"decided_at >= '{month}T00:00Z' AND decided_at < '{following}T00:00Z'"
    for statement in (
        "LOCK TABLE lookups_default IN ACCESS EXCLUSIVE MODE",
        f"CREATE TABLE {name} (LIKE lookups INCLUDING ALL)",
        f"WITH moved AS (DELETE FROM lookups_default WHERE {span} RETURNING *)"  # noqa: S608
        f" INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE lookups ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{month}T00:00Z') TO ('{following}T00:00Z')",
    ):
        connection.execute(text(statement))


def purge(database: Database, retention: Retention, now: datetime) -> dict[str, int]:
    """Remove what is older than the policy keeps; return how much of each (R10).

    Each group goes in a short transaction of its own, so that a purge that was put off for long
    delays nobody, and one that is stopped has done its part.
    """
    kept_from = _next_month(now.astimezone(UTC).date(), -retention.traffic)
    removed = {
        table.__tablename__: _remove(database, table, old)
        for table, old in _old(retention, now, _midnight(kept_from)).items()
    }
    if database.dialect == "postgresql":
        removed["lookup_months"] = _drop_months(database, kept_from)
    else:
        old = Lookup.decided_at < _midnight(kept_from)
        removed["lookups"] = _remove(database, Lookup, old)
    return removed


def old_rows(database: Database, retention: Retention, now: datetime) -> dict[str, int]:
    """Return how much of each table `purge` would remove; the audit's months on PostgreSQL."""
    kept_from = _next_month(now.astimezone(UTC).date(), -retention.traffic)
    old: dict[type[Base], ColumnElement[bool]] = dict(_old(retention, now, _midnight(kept_from)))
    if database.dialect != "postgresql":
        old[Lookup] = Lookup.decided_at < _midnight(kept_from)
    with database.read() as connection:
        found = {
            table.__tablename__: connection.scalar(
                select(func.count()).select_from(table).where(where)
            )
            or 0
            for table, where in old.items()
        }
        if database.dialect == "postgresql":
            found["lookup_months"] = len(_old_months(connection, kept_from))
    return found


def _old(
    retention: Retention, now: datetime, traffic_from: datetime
) -> dict[type[Base], ColumnElement[bool]]:
    """Return what is to go of each table. Each begins with what an index finds, budgets apart."""
    yesterday = now.date() - timedelta(days=1)
    return {
        IdempotencyKey: IdempotencyKey.recorded_at < now - timedelta(retention.idempotency_days),
        AskedNumber: AskedNumber.day < yesterday,
        SpentBudget: SpentBudget.day < yesterday,
        OneTimeCode: OneTimeCode.recorded_at < now - CODES_KEPT,
        PortalSession: PortalSession.expires_at < now - SESSIONS_KEPT,
        MemberSession: MemberSession.expires_at < now - SESSIONS_KEPT,
        Attempt: Attempt.tried_at < now - ATTEMPTS_KEPT,
        LookupCount: LookupCount.day < traffic_from.date(),
        FamilyLink: FamilyLink.agreed_at.is_(None)
        & (FamilyLink.recorded_at < now - UNAGREED_KEPT)
        & or_(
            FamilyLink.ended_at < now - UNAGREED_KEPT,
            FamilyLink.ended_at.is_(None)
            & (FamilyLink.recorded_at < now - PATIENCE - UNAGREED_KEPT),
        ),
        InboundMessage: InboundMessage.recorded_at < traffic_from,
        OutboxItem: (OutboxItem.recorded_at < traffic_from) & OutboxItem.state.in_(FINISHED),
    }


def _remove(database: Database, table: type[Base], old: ColumnElement[bool]) -> int:
    key: Any = inspect(table).primary_key
    group = select(*key).where(old).limit(GROUP)
    statement = delete(table).where(tuple_(*key).in_(group))
    removed = 0
    while True:
        with database.write() as session:
            done = session.connection().execute(statement).rowcount
        removed += done
        if done < GROUP:
            return removed


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def _drop_months(database: Database, kept_from: date) -> int:
    with database.read() as connection:
        old = _old_months(connection, kept_from)
    for name in old:
        with database.write() as session:
            session.execute(text(f"DROP TABLE IF EXISTS {name}"))
    return len(old)


def _old_months(connection: Connection, kept_from: date) -> list[str]:
    return [
        name
        for name in connection.scalars(_PARTITIONS)
        if re.fullmatch(r"lookups_[0-9]{6}", name) and name < f"lookups_{kept_from:%Y%m}"
    ]
