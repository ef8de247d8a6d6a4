"""Steps: a complaint is forwarded, answered and closed; each is an event, and told."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events, messenger, senders
from registry.complaints.dates import deadlines
from registry.complaints.filing import LONGEST_TEXT
from registry.complaints.rows import expect, locked
from registry.complaints.showing import Accusation, accusation_of, forwarded
from registry.database import Clock
from registry.errors import Kind, RegistryError, invalid
from registry.ledger import whose
from registry.models import (
    Complaint,
    ComplaintOutcome,
    Notice,
    OrganisationKind,
    Violation,
    ViolationKind,
)
from registry.policy import Policy


def forward(
    session: Session,
    complaint_id: UUID,
    *,
    actor_id: UUID,
    clock: Clock,
    sender_id: UUID | None = None,
    provider_id: UUID | None = None,
) -> Complaint:
    """Forward a complaint to the sender that it accuses, as the operator.

    Where no sender is known it goes to the provider whose number was shown. Where the number
    tells nobody, or the wrong ones because it was faked, `sender_id` and `provider_id` name
    those that were found.
    """
    complaint = locked(session, complaint_id)
    expect(complaint.forwarded_at is None, "was forwarded already")
    expect(complaint.closed_at is None, "is closed")
    _name(session, complaint, sender_id, provider_id)
    if complaint.addressee is None:
        raise RegistryError(Kind.CONFLICT, "no sender is known: name whom to forward it to")
    now = clock()
    complaint.forwarded_at = now
    data = {"complaint": complaint.id, **_accusing(complaint)}
    _moved(session, complaint, "complaint_forwarded", actor_id, data, now)
    return complaint


def _name(
    session: Session, complaint: Complaint, sender_id: UUID | None, provider_id: UUID | None
) -> None:
    """Accuse those that were found instead of those whom the number shown told of.

    Another sender than that one means that the number was faked, so its port told nothing.
    """
    if sender_id is not None:
        found = senders.find(session, sender_id)
        expect(found.kind is OrganisationKind.SENDER, "names as sender what is none")
        if complaint.sender not in (None, found):
            complaint.provider = None
        complaint.sender = found
    if provider_id is not None:
        found = senders.find(session, provider_id)
        expect(found.kind is OrganisationKind.PROVIDER, "names as provider what is none")
        complaint.provider = found


def _accusing(complaint: Complaint) -> dict[str, UUID | None]:
    return {
        "sender": complaint.sender.id if complaint.sender else None,
        "provider": complaint.provider.id if complaint.provider else None,
    }


def answer(
    session: Session, complaint_id: UUID, text: str, *, sender_id: UUID, clock: Clock
) -> Accusation:
    """Answer a complaint, as the sender that it was forwarded to, or the provider without one."""
    forwarded(session, complaint_id, sender_id)
    if not 0 < len(text.strip()) <= LONGEST_TEXT:
        raise invalid("text", f"has 1 to {LONGEST_TEXT} characters")
    complaint = locked(session, complaint_id)
    expect(complaint.answered_at is None, "was answered already")
    expect(complaint.closed_at is None, "is closed")
    now = clock()
    complaint.answered_at = now
    complaint.answer = text.strip()
    data = {"complaint": complaint.id, **_accusing(complaint)}
    _moved(session, complaint, "complaint_answered", sender_id, data, now)
    return accusation_of(complaint)


def close(
    session: Session,
    complaint_id: UUID,
    outcome: ComplaintOutcome,
    *,
    actor_id: UUID,
    policy: Policy,
    clock: Clock,
) -> Complaint:
    """Close a complaint with what the operator found, of which the subscriber is told.

    It comes after the answer, or after the day by which that was due, unless there is nobody
    that could answer. One that is upheld establishes a violation of whom it accuses.
    """
    complaint = locked(session, complaint_id)
    expect(complaint.closed_at is None, "is closed already")
    now = clock()
    overdue = deadlines(complaint, policy, now).answer_overdue
    heard = complaint.answered_at is not None or (complaint.forwarded_at is not None and overdue)
    expect(heard or complaint.addressee is None, "waits for the sender's answer")
    complaint.closed_at = now
    complaint.outcome = outcome
    violation = _violation(complaint, now) if outcome is ComplaintOutcome.UPHELD else None
    data = {
        "complaint": complaint.id,
        "outcome": outcome,
        **_accusing(complaint),
        "violation": violation.id if violation else None,
    }
    event_id = _moved(session, complaint, "complaint_closed", actor_id, data, now)
    if violation is not None:
        violation.event_id = event_id
        session.add(violation)
        session.flush()
    return complaint


def _violation(complaint: Complaint, now: datetime) -> Violation | None:
    """Return the violation that an upheld complaint establishes, if somebody is known for it."""
    accused = complaint.addressee
    if accused is None:
        return None
    return Violation(
        id=uuid7(),
        kind=ViolationKind.UPHELD_COMPLAINT,
        organisation_id=accused.id,
        provider_id=complaint.provider.id if complaint.provider else None,
        number=complaint.number,
        subject_id=complaint.id,
        recorded_at=now,
    )


def _moved(
    session: Session,
    complaint: Complaint,
    kind: str,
    actor_id: UUID,
    data: Mapping[str, object],
    now: datetime,
) -> int:
    """Record a step and tell whoever filed the complaint, if it is still that subscriber.

    Returns the event of the step.
    """
    number = whose(session, complaint.number, complaint.recorded_at)
    event_id = events.record(session, kind, now, actor_id, data, number)
    if number is not None and number.takes_sms:
        step = kind.removeprefix("complaint_")
        messenger.queue(
            session,
            Notice.COMPLAINT_MOVED,
            complaint.number,
            complaint.id,
            now=now,
            details={"step": step},
        )
    session.flush()
    return event_id
