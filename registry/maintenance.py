"""Upkeep: the months of the audit, and what is kept no longer than the policy says."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.orm import Session

from registry.database import PARTITION_LOCK
from registry.models import (
    AskedNumber,
    IdempotencyKey,
    InboundMessage,
    Lookup,
    OutboxItem,
    SpentBudget,
)
from registry.policy import Retention

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


def purge(session: Session, retention: Retention, now: datetime) -> dict[str, int]:
    """Remove what is older than the policy keeps; return how much of each (R10)."""
    connection = session.connection()
    keys = IdempotencyKey.recorded_at < now - timedelta(days=retention.idempotency_days)
    yesterday = now.date() - timedelta(days=1)
    removed = {
        "idempotency_keys": connection.execute(delete(IdempotencyKey).where(keys)).rowcount,
        "asked_numbers": connection.execute(
            delete(AskedNumber).where(AskedNumber.day < yesterday)
        ).rowcount,
        "spent_budgets": connection.execute(
            delete(SpentBudget).where(SpentBudget.day < yesterday)
        ).rowcount,
    }
    kept_from = _next_month(now.astimezone(UTC).date(), -retention.traffic)
    removed["sms_texts"] = _forget_texts(connection, kept_from)
    if connection.dialect.name == "postgresql":
        removed["lookup_months"] = _drop_months(connection, kept_from)
    else:
        old = delete(Lookup).where(Lookup.decided_at < _midnight(kept_from))
        removed["lookups"] = connection.execute(old).rowcount
    return removed


def _forget_texts(connection: Connection, kept_from: date) -> int:
    """Forget what SMS said, to subscribers and from them; what each led to, and when, is kept."""
    forgotten = 0
    for table in (OutboxItem, InboundMessage):
        old = table.text.is_not(None) & (table.recorded_at < _midnight(kept_from))
        forgotten += connection.execute(update(table).where(old).values(text=None)).rowcount
    return forgotten


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def _drop_months(connection: Connection, kept_from: date) -> int:
    old = [
        name
        for name in connection.scalars(_PARTITIONS)
        if re.fullmatch(r"lookups_[0-9]{6}", name) and name < f"lookups_{kept_from:%Y%m}"
    ]
    for name in old:
        connection.execute(text(f"DROP TABLE {name}"))
    return len(old)
