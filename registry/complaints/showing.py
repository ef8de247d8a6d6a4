"""Showing: complaints to whoever may see them, and to each no more than that."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, or_, true
from sqlalchemy.orm import Session

from registry import events
from registry.complaints.filing import filed_by
from registry.complaints.rows import existing, locked, page, select_complaints
from registry.consent import Channel, Topic
from registry.database import Clock
from registry.errors import not_found
from registry.ledger import tenure_start, whose
from registry.models import (
    Complaint,
    ComplaintOutcome,
)
from registry.numbers import SubscriberNumber

_WRITTEN_NUMBER = re.compile(r"[+＋]?\d(?:[\s().\-－—]*\d){6,}")
"""Seven digits of any script or more, with what people put between them."""


@dataclass(frozen=True)
class Accusation:
    """A complaint as whoever it was forwarded to is shown it, who does not learn the number."""

    id: UUID
    sender_id: UUID | None
    provider_id: UUID | None
    number: str
    channel: Channel
    sending_number: str
    topic: Topic
    contacted_at: datetime
    text: str
    forwarded_at: datetime
    answered_at: datetime | None
    answer: str | None
    closed_at: datetime | None
    outcome: ComplaintOutcome | None
    event_id: int


def hide_numbers(text: str) -> str:
    """Return what a person wrote without what may be a telephone number, however it is spelt."""
    return _WRITTEN_NUMBER.sub("#######", text)


def of(
    session: Session,
    number: SubscriberNumber,
    after: int | None = None,
    limit: int | None = None,
) -> Sequence[Complaint]:
    """Return some complaints of a number's subscriber, the newest first.

    `after` is the event of the last complaint of the page before.
    """
    return page(session, select_complaints(*_tenure(session, number)), after, limit)


def find(session: Session, number: SubscriberNumber, complaint_id: UUID) -> Complaint:
    """Return a complaint of a number's subscriber; another's is `NOT_FOUND`."""
    mine = select_complaints(Complaint.id == complaint_id, *_tenure(session, number))
    return existing(session.scalar(mine))


def _tenure(session: Session, number: SubscriberNumber) -> list[ColumnElement[bool]]:
    since = tenure_start(session, number)
    return [
        Complaint.number == number,
        true() if since is None else Complaint.recorded_at >= since,
    ]


def reported(session: Session, complaint_id: UUID, organisation_id: UUID) -> Complaint:
    """Return a complaint to the organisation through which it was filed, such as a carrier."""
    complaint = existing(session.scalar(select_complaints(Complaint.id == complaint_id)))
    if not filed_by(session, complaint, organisation_id):
        raise not_found("complaint")
    return complaint


def oversee(session: Session, complaint_id: UUID, *, overseer_id: UUID, clock: Clock) -> Complaint:
    """Return anybody's complaint to a regulator or operator, and record that it was looked at."""
    complaint = locked(session, complaint_id)
    data = {"complaint": complaint.id}
    number = whose(session, complaint.number, complaint.recorded_at)
    events.record(session, "complaint_overseen", clock(), overseer_id, data, number)
    return complaint


def every(session: Session, after: int | None = None) -> Sequence[Complaint]:
    """Return a page of everybody's complaints, the newest first, to regulators and operators.

    Whoever shows them masks their numbers, in their texts too; `oversee` is the way to one.
    """
    return page(session, select_complaints(), after)


def against(session: Session, organisation_id: UUID, after: int | None = None) -> list[Accusation]:
    """Return a page of what was forwarded to an organisation, the newest first."""
    rows = page(session, select_complaints(_forwarded_to(organisation_id)), after)
    return [accusation_of(row) for row in rows]


def accusation(session: Session, complaint_id: UUID, organisation_id: UUID) -> Accusation:
    """Return a complaint to whoever it was forwarded to; another's is `NOT_FOUND`."""
    return accusation_of(forwarded(session, complaint_id, organisation_id))


def forwarded(session: Session, complaint_id: UUID, organisation_id: UUID) -> Complaint:
    """Return a complaint that was forwarded to an organisation; another's is `NOT_FOUND`."""
    mine = select_complaints(Complaint.id == complaint_id, _forwarded_to(organisation_id))
    return existing(session.scalar(mine))


def _forwarded_to(organisation_id: UUID) -> ColumnElement[bool]:
    """Tell whether a complaint went to an organisation: a provider gets those without a sender."""
    as_provider = (Complaint.provider_id == organisation_id) & Complaint.sender_id.is_(None)
    addressed = or_(Complaint.sender_id == organisation_id, as_provider)
    return addressed & Complaint.forwarded_at.is_not(None)


def accusation_of(row: Complaint) -> Accusation:
    """Return what the accused is shown of a complaint that was forwarded."""
    assert row.forwarded_at is not None  # noqa: S101 (the queries ask for it)
    return Accusation(
        id=row.id,
        sender_id=row.sender_id,
        provider_id=row.provider_id,
        number=str(row.number),
        channel=row.channel,
        sending_number=row.sending_number,
        topic=row.topic,
        contacted_at=row.contacted_at,
        text=hide_numbers(row.text),
        forwarded_at=row.forwarded_at,
        answered_at=row.answered_at,
        answer=row.answer,
        closed_at=row.closed_at,
        outcome=row.outcome,
        event_id=row.event_id,
    )
