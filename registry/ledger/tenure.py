"""Tenures: a number goes to another subscriber; the earlier one's wishes stay behind (R31)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry import events
from registry.consent import Basis, End
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError, invalid, not_found
from registry.ledger import acts
from registry.ledger.acts import Said
from registry.models import Consent, OwnContactHours, Reassignment, Refusal
from registry.numbers import SubscriberNumber

_LATEST_REASSIGNMENT = (
    select(Reassignment)
    .where(Reassignment.number == bindparam("number"), Reassignment.cancelled_at.is_(None))
    .order_by(Reassignment.reassigned_at.desc())
    .limit(1)
)


def latest_reassignment(session: Session, number: SubscriberNumber) -> Reassignment | None:
    """Return the reassignment that began today's tenure, None when none is known."""
    return session.scalar(_LATEST_REASSIGNMENT, {"number": number})


def tenure_start(session: Session, number: SubscriberNumber) -> datetime | None:
    """Return when today's subscriber got the number, None when nobody reported that.

    What was recorded before is not this subscriber's, who is neither shown it nor may act on it.
    """
    latest = latest_reassignment(session, number)
    return latest.reassigned_at if latest else None


def todays(session: Session, number: SubscriberNumber, recorded_at: datetime) -> bool:
    """Tell whether what was recorded then is of the subscriber who has the number today."""
    since = tenure_start(session, number)
    return since is None or recorded_at >= since


def whose(
    session: Session, number: SubscriberNumber, recorded_at: datetime
) -> SubscriberNumber | None:
    """Return the number for the event of something about what was recorded then.

    None when that is an earlier subscriber's: today's must not read it in the number's history.
    """
    return number if todays(session, number, recorded_at) else None


def reassign(
    session: Session,
    number: SubscriberNumber,
    reassigned_at: datetime,
    *,
    recorded_by: UUID,
    clock: Clock,
) -> Reassignment:
    """Record that a number went to another subscriber, which ends every wish of the earlier one.

    Only what the subscriber did in the registry after `reassigned_at` is the new one's own and
    stays; what a sender asserted in between ends, because nobody can tell whose it was.
    """
    lock_number(session, number)
    now = clock()
    if reassigned_at > now + acts.CLOCK_LEEWAY:
        raise invalid("reassigned_at", "lies in the future")
    known = latest_reassignment(session, number)
    if known is not None and known.reassigned_at >= reassigned_at:
        raise RegistryError(Kind.CONFLICT, "a reassignment at or after this time is recorded")
    ended = [row for row in _of_tenure(session, number, None) if _earlier(row, reassigned_at)]
    reassignment = Reassignment(
        id=uuid7(),
        number=number,
        reassigned_at=reassigned_at,
        recorded_by=recorded_by,
        recorded_at=now,
    )
    data = {
        "reassignment": reassignment.id,
        "reassigned_at": reassigned_at,
        "consents": [row.id for row in ended if isinstance(row, Consent)],
        "refusals": [row.id for row in ended if isinstance(row, Refusal)],
        "contact_hours": [row.id for row in ended if isinstance(row, OwnContactHours)],
    }
    reassignment.event_id = events.record(
        session, "number_reassigned", now, recorded_by, data, number
    )
    session.add(reassignment)
    session.flush()
    for row in ended:
        row.reassignment_id = reassignment.id
    session.flush()
    return reassignment


def _earlier(row: Said, reassigned_at: datetime) -> bool:
    own_act = not isinstance(row, Consent) or row.grant.basis is Basis.CONFIRMED
    return not (own_act and row.recorded_at >= reassigned_at)


def cancel_reassignment(
    session: Session, reassignment_id: UUID, *, recorded_by: UUID, clock: Clock
) -> Reassignment:
    """Take back a mistaken report and restore what it ended.

    What was recorded since stays and, being newer, takes the place of what it would meet. What
    a later reassignment would have ended belongs to that one from now on.
    """
    reassignment = session.get(Reassignment, reassignment_id)
    if reassignment is None or reassignment.recorded_by != recorded_by:
        raise not_found("reassignment")
    lock_number(session, reassignment.number)
    session.refresh(reassignment)
    if reassignment.cancelled_at is not None:
        return reassignment
    now = clock()
    reassignment.cancelled_at = now
    later = latest_reassignment(session, reassignment.number)
    if later is not None and later.event_id < reassignment.event_id:
        later = None
    current = _of_tenure(session, reassignment.number, None)
    restored = _of_tenure(session, reassignment.number, reassignment.id)
    superseded = []
    for row in restored:
        if later is None and row.ended_at is None and _replaced(row, [*current, *restored]):
            acts.end(row, End.SUPERSEDED, now)
            superseded.append(row.id)
        row.reassignment_id = later.id if later else None
    data = {
        "reassignment": reassignment.id,
        "moved_to": later.id if later else None,
        "superseded": superseded,
    }
    events.record(session, "reassignment_cancelled", now, recorded_by, data, reassignment.number)
    session.flush()
    return reassignment


def _replaced(row: Said, others: Sequence[Said]) -> bool:
    """Tell whether something recorded later has the place that the row would return to."""
    return any(
        _place(other) == _place(row) and other.event_id > row.event_id
        for other in others
        if other.ended_at is None
    ) or (isinstance(row, Consent) and row.effective_from is not None and not row.latest)


def _place(row: Said) -> tuple[Any, ...]:
    if isinstance(row, OwnContactHours):
        return (type(row),)
    effect = isinstance(row, Consent) and row.effective_from is not None
    return type(row), row.channel, row.topic, row.sender_id, effect


def _of_tenure(
    session: Session, number: SubscriberNumber, reassignment_id: UUID | None
) -> list[Said]:
    """Return what one tenure of the number holds: that of today, or one that ended."""
    consents = session.scalars(
        select(Consent)
        .options(joinedload(Consent.grant))
        .where(Consent.number == number, Consent.reassignment_id == reassignment_id)
    )
    refusals = session.scalars(
        select(Refusal).where(Refusal.number == number, Refusal.reassignment_id == reassignment_id)
    )
    hours = session.scalars(
        select(OwnContactHours).where(
            OwnContactHours.number == number, OwnContactHours.reassignment_id == reassignment_id
        )
    )
    return [*consents, *refusals, *hours]
