"""Hours of one's own: when a subscriber wants to be contacted at all, inside the policy's hours."""

from datetime import date, datetime, time, timedelta
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import End
from registry.database import Clock, lock_number
from registry.errors import invalid
from registry.ledger import acts
from registry.ledger.acts import By
from registry.models import OwnContactHours
from registry.numbers import SubscriberNumber
from registry.policy import ContactHours, Policy

SHORTEST = timedelta(hours=1)
"""Whoever wants less than this refuses: a window that nobody meets would only look like consent."""


def set_own_hours(
    session: Session,
    number: SubscriberNumber,
    opens: time,
    closes: time,
    *,
    by: By,
    policy: Policy,
    clock: Clock,
) -> OwnContactHours:
    """Let contacts take place between two local times only, `closes` excluded.

    They replace earlier hours of one's own; the same ones again change nothing.
    """
    lock_number(session, number)
    now = clock()
    _check(opens, closes, number, policy, now)
    old = standing_hours(session, number)
    if old is not None and (old.opens, old.closes) == (opens, closes):
        return old
    hours = OwnContactHours(id=uuid7(), number=number, opens=opens, closes=closes, recorded_at=now)
    data = {
        "hours": hours.id,
        "opens": opens.isoformat("minutes"),
        "closes": closes.isoformat("minutes"),
        "superseded": _end(session, old, End.SUPERSEDED, now),
    }
    hours.event_id = acts.record(session, "contact_hours_set", now, by, data, number)
    session.add(hours)
    session.flush()
    return hours


def _check(
    opens: time, closes: time, number: SubscriberNumber, policy: Policy, now: datetime
) -> None:
    for field, clock in (("opens", opens), ("closes", closes)):
        if clock != clock.replace(second=0, microsecond=0, tzinfo=None):
            raise invalid(field, "is no local time in whole minutes")
    if opens >= closes:
        raise invalid("closes", "does not come after opens")
    # What would count for nothing is not recorded: a page would show it as if it did.
    if opens < policy.contact_hours.start:
        raise invalid("opens", "is earlier than anybody may be contacted")
    if closes > policy.contact_hours.end:
        raise invalid("closes", "is later than anybody may be contacted")
    left = policy.contact_hours.within(ContactHours(opens, closes))
    if left is None or _length(left) < SHORTEST:
        raise invalid("closes", "leaves less than an hour in which contacts are allowed")
    # A number may be in several zones, in all of which a contact has to be within the hours.
    zones = number.zones
    if left.opens(now, zones) is None and policy.contact_hours.opens(now, zones) is not None:
        raise invalid("closes", "leaves no time that suits all time zones of the number")


def _length(hours: ContactHours) -> timedelta:
    return datetime.combine(date.min, hours.end) - datetime.combine(date.min, hours.start)


def lift_own_hours(
    session: Session, number: SubscriberNumber, *, by: By, clock: Clock
) -> OwnContactHours | None:
    """Go back to the policy's hours; return the hours that were ended, None when there are none."""
    lock_number(session, number)
    old = standing_hours(session, number)
    if old is None:
        return None
    now = clock()
    data = {"hours": _end(session, old, End.LIFTED, now)}
    acts.record(session, "contact_hours_lifted", now, by, data, number)
    session.flush()
    return old


def _end(
    session: Session, hours: OwnContactHours | None, reason: End, now: datetime
) -> UUID | None:
    if hours is None:
        return None
    acts.end(hours, reason, now)
    session.flush()  # Only one row may stand: the old one ends before the new one begins.
    return hours.id


_STANDING = select(OwnContactHours).where(
    OwnContactHours.number == bindparam("number"),
    OwnContactHours.ended_at.is_(None),
    OwnContactHours.reassignment_id.is_(None),
)


def standing_hours(session: Session, number: SubscriberNumber) -> OwnContactHours | None:
    """Return the own hours of the subscriber who has the number today, if there are any."""
    return session.scalar(_STANDING, {"number": number})


def next_contact(
    session: Session, number: SubscriberNumber, policy: Policy, now: datetime
) -> datetime | None:
    """Return the first instant from now on that lies in everybody's hours, None if none does."""
    hours: ContactHours | None = policy.contact_hours
    own = standing_hours(session, number)
    if own is not None:
        hours = policy.contact_hours.within(ContactHours(own.opens, own.closes))
    return hours.opens(now, number.zones) if hours else None
