"""Filing: what a subscriber reports of an SMS or a call, checked, and whom it accuses."""

import calendar
import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, true
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events, senders, working_days
from registry.complaints.rows import select_complaints
from registry.consent import Channel, Topic
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError, invalid, not_found
from registry.ledger import CLOCK_LEEWAY, By, check_carer, tenure_start
from registry.models import (
    Complaint,
    Event,
    Lookup,
    Organisation,
    OrganisationKind,
)
from registry.numbers import SubscriberNumber, clean, parse_sending
from registry.policy import Policy

LONGEST_TEXT = 2000
"""Characters of what a subscriber writes, or a sender answers."""
MOST_A_DAY = 50
"""Complaints of one number within 24 hours; each of them is somebody's work."""
_HIDDEN = {
    "", "hidden", "unknown", "private", "anonymous", "withheld", "no number", "none",
    "未知", "未知号码", "隐藏", "隐藏号码", "匿名", "私人号码", "无号码", "无主叫号码",
}  # fmt: skip


@dataclass(frozen=True)
class Draft:
    """What somebody reports. `sending_number` is as it was shown, which may have been a fake."""

    channel: Channel
    sending_number: str
    topic: Topic
    contacted_at: datetime
    text: str
    lookup_id: UUID | None = None


def shown_number(written: str, region: str) -> str:
    """Return the number that a phone showed, empty when it showed none.

    Anything of 3 to 20 digits is taken, because a number that cannot be may have been faked.
    """
    if written.strip().casefold() in _HIDDEN:
        return ""
    try:
        return parse_sending(written, region).text
    except RegistryError:
        pass
    try:
        digits = clean(written)
    except RegistryError:
        raise invalid("sending_number", "is neither digits nor hidden") from None
    if len(digits.removeprefix("+")) < 3 or len(digits) > 20:
        raise invalid("sending_number", "has 3 to 20 digits")
    return digits


def prefill(session: Session, number: SubscriberNumber, lookup_id: UUID, *, now: datetime) -> Draft:
    """Begin a complaint with what a lookup of the number says; another's is `NOT_FOUND`."""
    row = _own_lookup(session, number, lookup_id)
    return Draft(
        channel=row.channel,
        sending_number=row.sending_number,
        topic=row.topic or Topic.OTHER,
        contacted_at=min(row.at, now),
        text="",
        lookup_id=row.id,
    )


def _own_lookup(session: Session, number: SubscriberNumber, lookup_id: UUID) -> Lookup:
    since = tenure_start(session, number)
    row = session.scalar(
        select(Lookup)
        .where(
            Lookup.number == number,
            Lookup.id == lookup_id,
            true() if since is None else Lookup.decided_at >= since,
        )
        .limit(1)
    )
    if row is None:
        raise not_found("lookup")
    return row


def file(
    session: Session,
    number: SubscriberNumber,
    draft: Draft,
    *,
    by: By,
    policy: Policy,
    clock: Clock,
) -> Complaint:
    """Record a complaint; a second one about the same contact is the first while that is open.

    Whom it accuses is whoever held the sending number at the time of the contact, and whose
    port that was part of.
    """
    lock_number(session, number)
    check_carer(session, number, by)
    now = clock()
    shown = shown_number(draft.sending_number, policy.default_region)
    _check(session, number, draft, policy, now)
    first = _same(session, number, shown, draft.contacted_at)
    if first is not None:
        _check_reporter(session, first, by)
        return first
    _check_count(session, number, now)
    sender, provider = _accused(session, shown, draft.contacted_at, policy)
    complaint = Complaint(
        id=uuid7(),
        number=number,
        channel=draft.channel,
        sending_number=shown,
        sender=sender,
        provider=provider,
        topic=draft.topic,
        contacted_at=draft.contacted_at,
        text=draft.text.strip(),
        lookup_id=draft.lookup_id,
        recorded_at=now,
    )
    data = {
        "complaint": complaint.id,
        "channel": draft.channel,
        "topic": draft.topic,
        "sender": sender.id if sender else None,
        "provider": provider.id if provider else None,
        "contacted_at": draft.contacted_at,
        "lookup": draft.lookup_id,
        **by.words,
    }
    complaint.event_id = events.record(
        session, "complaint_filed", now, by.organisation_id, data, number
    )
    session.add(complaint)
    session.flush()
    return complaint


def _check(
    session: Session, number: SubscriberNumber, draft: Draft, policy: Policy, now: datetime
) -> None:
    since = tenure_start(session, number)
    if draft.contacted_at > now + CLOCK_LEEWAY:
        raise invalid("contacted_at", "lies in the future")
    if working_days.day(draft.contacted_at) < _months_before(now, policy.retention.traffic):
        raise invalid("contacted_at", "lies further back than records are kept")
    if since is not None and draft.contacted_at < since:
        raise invalid("contacted_at", "lies before this subscriber had the number")
    if len(draft.text.strip()) > LONGEST_TEXT:
        raise invalid("text", f"has more than {LONGEST_TEXT} characters")
    if draft.lookup_id is not None:
        _own_lookup(session, number, draft.lookup_id)


def _months_before(now: datetime, months: int) -> date:
    """Return the same day some months ago, or the last one of a shorter month."""
    today = working_days.day(now)
    year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, min(today.day, last))


def _check_count(session: Session, number: SubscriberNumber, now: datetime) -> None:
    since = now - timedelta(days=1)
    recent = select(func.count()).where(Complaint.number == number, Complaint.recorded_at > since)
    if (session.scalar(recent) or 0) >= MOST_A_DAY:
        raise RegistryError(
            Kind.RATE_LIMITED, f"more than {MOST_A_DAY} complaints within a day", retry_after=3600
        )


def _same(
    session: Session, number: SubscriberNumber, shown: str, contacted_at: datetime
) -> Complaint | None:
    """Return what is open about a contact: what was decided keeps nobody from more to say."""
    of_then = select_complaints(
        Complaint.number == number,
        Complaint.contacted_at == contacted_at,
        Complaint.closed_at.is_(None),
    )
    rows = session.scalars(of_then.order_by(Complaint.event_id))
    return next((row for row in rows if row.sending_number == shown), None)


def _check_reporter(session: Session, first: Complaint, by: By) -> None:
    """Raise when whoever reports a contact again would be shown what somebody else wrote of it."""
    if by.organisation_id is not None and not filed_by(session, first, by.organisation_id):
        raise RegistryError(Kind.CONFLICT, "a complaint about this contact was filed before")


def filed_by(session: Session, complaint: Complaint, organisation_id: UUID) -> bool:
    """Tell whether a complaint came through this organisation."""
    filing = session.get_one(Event, complaint.event_id)
    return bool(json.loads(filing.payload)["actor"] == str(organisation_id))


def _accused(
    session: Session, shown: str, at: datetime, policy: Policy
) -> tuple[Organisation | None, Organisation | None]:
    """Return the sender that held the number that was shown, and the provider whose port it is.

    Neither may be known: a number may be hidden, faked, or nobody's. Of a provider's own number
    nobody but the provider can say whose message it was.
    """
    try:
        sending = parse_sending(shown, policy.default_region)
        found = senders.resolve(session, sending, at)
    except RegistryError:
        return None, None
    holder = found.holding.holder
    if holder.kind is OrganisationKind.PROVIDER:
        return None, holder
    return holder, found.provider
