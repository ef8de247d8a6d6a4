"""What a number refuses, and whom it may refuse."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, func, select, union_all
from sqlalchemy.orm import Session, joinedload

from registry.ledger import tenure_start
from registry.models import Consent, ConsentRequest, Lookup, Organisation, Refusal
from registry.numbers import SubscriberNumber
from registry.subscribers.rows import own_rows

MOST_SENDERS = 100
"""Nobody finds one sender among more than these; refusing everything covers the others."""
RECENTLY = timedelta(days=90)
"""How far back lookups tell whom a subscriber may want to refuse."""


_STANDING = (
    select(Refusal)
    .options(joinedload(Refusal.sender))
    .where(
        Refusal.number == bindparam("number"),
        Refusal.ended_at.is_(None),
        Refusal.reassignment_id.is_(None),
    )
    .order_by(Refusal.event_id.desc(), Refusal.id.desc())
)


def refusals(session: Session, number: SubscriberNumber) -> Sequence[Refusal]:
    """Return the refusals that stand, the newest first."""
    return session.scalars(_STANDING, {"number": number}).all()


def senders_known(
    session: Session, number: SubscriberNumber, now: datetime
) -> Sequence[Organisation]:
    """Return the senders that a subscriber has to do with, those of the latest traces only.

    They are those of consents and requests, and of what was asked in the last months.
    """
    since = tenure_start(session, number)
    traces = union_all(
        _traces(Consent, Consent.recorded_at, number, since),
        _traces(ConsentRequest, ConsentRequest.recorded_at, number, since),
        _traces(Lookup, Lookup.decided_at, number, since).where(Lookup.decided_at > now - RECENTLY),
    ).subquery()
    latest = (
        select(traces.c.sender_id)
        .where(traces.c.sender_id.is_not(None))
        .group_by(traces.c.sender_id)
        .order_by(func.max(traces.c.at).desc(), traces.c.sender_id)
        .limit(MOST_SENDERS)
    )
    return session.scalars(
        select(Organisation).where(Organisation.id.in_(latest)).order_by(Organisation.name)
    ).all()


def _traces(
    table: type[Any], at: Any, number: SubscriberNumber, since: datetime | None
) -> Select[tuple[UUID | None, datetime]]:
    rows = own_rows(table, number, since).order_by(None)
    return rows.with_only_columns(table.sender_id, at.label("at"))
