"""Complaints: what a subscriber reports of an SMS or a call, and the clock that it starts (R22).

A complaint is filed, forwarded to the sender it accuses, or to the provider where no sender is
known, answered by whoever it went to and closed with an outcome, which may establish a violation.
Each step is an event, and the subscriber is told of all that follow the first.
"""

import calendar
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, or_, select, true
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry import events, messenger, senders, working_days
from registry.consent import Channel, Topic
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError
from registry.ledger import CLOCK_LEEWAY, By, check_carer, tenure_start, whose
from registry.models import (
    Complaint,
    ComplaintOutcome,
    Event,
    Lookup,
    Notice,
    Organisation,
    OrganisationKind,
    Violation,
    ViolationKind,
)
from registry.numbers import SubscriberNumber, clean, parse_sending
from registry.policy import Policy

PAGE = 50
LONGEST_TEXT = 2000
"""Characters of what a subscriber writes, or a sender answers."""
MOST_A_DAY = 50
"""Complaints of one number within 24 hours; each of them is somebody's work."""
_HIDDEN = {
    "", "hidden", "unknown", "private", "anonymous", "withheld", "no number", "none",
    "未知", "未知号码", "隐藏", "隐藏号码", "匿名", "私人号码", "无号码", "无主叫号码",
}  # fmt: skip
_WRITTEN_NUMBER = re.compile(r"[+＋]?\d(?:[\s().\-－—]*\d){6,}")
"""Seven digits of any script or more, with what people put between them."""


@dataclass(frozen=True)
class Draft:
    """What somebody reports. `sending_number` is as it was shown, which may have been a fake."""

    channel: Channel
    sending_number: str
    topic: Topic
    contacted_at: datetime
    text: str
    lookup_id: UUID | None = None


@dataclass(frozen=True)
class Deadlines:
    """Until when each step is due, in China, and which were or are late.

    A `provisional` one counts days whose holidays are not published yet.
    """

    forward_by: date
    answer_by: date
    inform_by: date
    forward_overdue: bool
    answer_overdue: bool
    inform_overdue: bool
    provisional: bool


@dataclass(frozen=True)
class AnswerDeadline:
    """Until when the accused is to answer, in China; the other steps are not its own."""

    answer_by: date
    answer_overdue: bool
    provisional: bool


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
        raise _invalid("sending_number", "is neither digits nor hidden") from None
    if len(digits.removeprefix("+")) < 3 or len(digits) > 20:
        raise _invalid("sending_number", "has 3 to 20 digits")
    return digits


def hide_numbers(text: str) -> str:
    """Return what a person wrote without what may be a telephone number, however it is spelt."""
    return _WRITTEN_NUMBER.sub("#######", text)


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
        raise _not_found("lookup")
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
        raise _invalid("contacted_at", "lies in the future")
    if working_days.day(draft.contacted_at) < _months_before(now, policy.retention.traffic):
        raise _invalid("contacted_at", "lies further back than records are kept")
    if since is not None and draft.contacted_at < since:
        raise _invalid("contacted_at", "lies before this subscriber had the number")
    if len(draft.text.strip()) > LONGEST_TEXT:
        raise _invalid("text", f"has more than {LONGEST_TEXT} characters")
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
    of_then = _of(
        Complaint.number == number,
        Complaint.contacted_at == contacted_at,
        Complaint.closed_at.is_(None),
    )
    rows = session.scalars(of_then.order_by(Complaint.event_id))
    return next((row for row in rows if row.sending_number == shown), None)


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


def of(
    session: Session,
    number: SubscriberNumber,
    after: int | None = None,
    limit: int | None = None,
) -> Sequence[Complaint]:
    """Return some complaints of a number's subscriber, the newest first.

    `after` is the event of the last complaint of the page before.
    """
    return _page(session, _of(*_tenure(session, number)), after, limit)


def find(session: Session, number: SubscriberNumber, complaint_id: UUID) -> Complaint:
    """Return a complaint of a number's subscriber; another's is `NOT_FOUND`."""
    mine = _of(Complaint.id == complaint_id, *_tenure(session, number))
    return _one(session.scalar(mine))


def _tenure(session: Session, number: SubscriberNumber) -> list[ColumnElement[bool]]:
    since = tenure_start(session, number)
    return [
        Complaint.number == number,
        true() if since is None else Complaint.recorded_at >= since,
    ]


def reported(session: Session, complaint_id: UUID, organisation_id: UUID) -> Complaint:
    """Return a complaint to the organisation through which it was filed, such as a carrier."""
    complaint = _one(session.scalar(_of(Complaint.id == complaint_id)))
    if not _filed_by(session, complaint, organisation_id):
        raise _not_found("complaint")
    return complaint


def _filed_by(session: Session, complaint: Complaint, organisation_id: UUID) -> bool:
    filing = session.get_one(Event, complaint.event_id)
    return bool(json.loads(filing.payload)["actor"] == str(organisation_id))


def _check_reporter(session: Session, first: Complaint, by: By) -> None:
    """Raise when whoever reports a contact again would be shown what somebody else wrote of it."""
    if by.organisation_id is not None and not _filed_by(session, first, by.organisation_id):
        raise RegistryError(Kind.CONFLICT, "a complaint about this contact was filed before")


def oversee(session: Session, complaint_id: UUID, *, overseer_id: UUID, clock: Clock) -> Complaint:
    """Return anybody's complaint to a regulator or operator, and record that it was looked at."""
    complaint = _locked(session, complaint_id)
    data = {"complaint": complaint.id}
    number = whose(session, complaint.number, complaint.recorded_at)
    events.record(session, "complaint_overseen", clock(), overseer_id, data, number)
    return complaint


def every(session: Session, after: int | None = None) -> Sequence[Complaint]:
    """Return a page of everybody's complaints, the newest first, to regulators and operators.

    Whoever shows them masks their numbers, in their texts too; `oversee` is the way to one.
    """
    return _page(session, _of(), after)


def against(session: Session, organisation_id: UUID, after: int | None = None) -> list[Accusation]:
    """Return a page of what was forwarded to an organisation, the newest first."""
    rows = _page(session, _of(_forwarded_to(organisation_id)), after)
    return [_accusation(row) for row in rows]


def accusation(session: Session, complaint_id: UUID, organisation_id: UUID) -> Accusation:
    """Return a complaint to whoever it was forwarded to; another's is `NOT_FOUND`."""
    return _accusation(_forwarded(session, complaint_id, organisation_id))


def _forwarded(session: Session, complaint_id: UUID, organisation_id: UUID) -> Complaint:
    mine = _of(Complaint.id == complaint_id, _forwarded_to(organisation_id))
    return _one(session.scalar(mine))


def _forwarded_to(organisation_id: UUID) -> ColumnElement[bool]:
    """Tell whether a complaint went to an organisation: a provider gets those without a sender."""
    as_provider = (Complaint.provider_id == organisation_id) & Complaint.sender_id.is_(None)
    addressed = or_(Complaint.sender_id == organisation_id, as_provider)
    return addressed & Complaint.forwarded_at.is_not(None)


def _accusation(row: Complaint) -> Accusation:
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
    complaint = _locked(session, complaint_id)
    _expect(complaint.forwarded_at is None, "was forwarded already")
    _expect(complaint.closed_at is None, "is closed")
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
        _expect(found.kind is OrganisationKind.SENDER, "names as sender what is none")
        if complaint.sender not in (None, found):
            complaint.provider = None
        complaint.sender = found
    if provider_id is not None:
        found = senders.find(session, provider_id)
        _expect(found.kind is OrganisationKind.PROVIDER, "names as provider what is none")
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
    _forwarded(session, complaint_id, sender_id)
    if not 0 < len(text.strip()) <= LONGEST_TEXT:
        raise _invalid("text", f"has 1 to {LONGEST_TEXT} characters")
    complaint = _locked(session, complaint_id)
    _expect(complaint.answered_at is None, "was answered already")
    _expect(complaint.closed_at is None, "is closed")
    now = clock()
    complaint.answered_at = now
    complaint.answer = text.strip()
    data = {"complaint": complaint.id, **_accusing(complaint)}
    _moved(session, complaint, "complaint_answered", sender_id, data, now)
    return _accusation(complaint)


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
    complaint = _locked(session, complaint_id)
    _expect(complaint.closed_at is None, "is closed already")
    now = clock()
    overdue = deadlines(complaint, policy, now).answer_overdue
    heard = complaint.answered_at is not None or (complaint.forwarded_at is not None and overdue)
    _expect(heard or complaint.addressee is None, "waits for the sender's answer")
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


def _locked(session: Session, complaint_id: UUID) -> Complaint:
    """Return a complaint as it is once nobody else can change it any more."""
    one = _of(Complaint.id == complaint_id)
    lock_number(session, _one(session.scalar(one)).number)
    return _one(session.scalar(one.execution_options(populate_existing=True)))


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


def deadlines(complaint: Complaint, policy: Policy, now: datetime) -> Deadlines:
    """Return until when the steps of a complaint are due.

    Days are working days of the Chinese calendar, and begin at midnight in China. The day of
    filing does not count: the first that counts is the next working day, also for a complaint
    that is filed on a holiday. A complaint is forwarded within so many days of its filing,
    answered within so many of the forwarding, and its subscriber told the outcome, which closes
    it, within so many of the answer. While a step is not taken, the next one is counted from
    the day that it is due; a step that was skipped is done with the closing.
    """
    day, within, closed = working_days.day, policy.complaints, complaint.closed_at
    forward_by = working_days.after(day(complaint.recorded_at), within.forward)
    forwarded = complaint.forwarded_at
    answer_by = working_days.after(day(forwarded) if forwarded else forward_by, within.answer)
    answered = complaint.answered_at
    inform_by = working_days.after(day(answered) if answered else answer_by, within.inform)
    return Deadlines(
        forward_by=forward_by,
        answer_by=answer_by,
        inform_by=inform_by,
        forward_overdue=day(forwarded or closed or now) > forward_by,
        answer_overdue=day(answered or closed or now) > answer_by,
        inform_overdue=day(closed or now) > inform_by,
        provisional=any(map(working_days.provisional, (forward_by, answer_by, inform_by))),
    )


def answer_deadline(accusation: Accusation, policy: Policy, now: datetime) -> AnswerDeadline:
    """Return until when the accused is to answer, counted as `deadlines` does."""
    day = working_days.day
    answer_by = working_days.after(day(accusation.forwarded_at), policy.complaints.answer)
    done = accusation.answered_at or accusation.closed_at or now
    return AnswerDeadline(answer_by, day(done) > answer_by, working_days.provisional(answer_by))


def _of(*where: ColumnElement[bool]) -> Select[Complaint]:
    both = joinedload(Complaint.sender), joinedload(Complaint.provider)
    return select(Complaint).options(*both).where(*where)


def _page(
    session: Session, query: Select[Complaint], after: int | None, limit: int | None = None
) -> Sequence[Complaint]:
    if after is not None:
        query = query.where(Complaint.event_id < after)
    return session.scalars(query.order_by(Complaint.event_id.desc()).limit(limit or PAGE)).all()


def _one(complaint: Complaint | None) -> Complaint:
    if complaint is None:
        raise _not_found("complaint")
    return complaint


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise RegistryError(Kind.CONFLICT, f"this complaint {otherwise}")


def _not_found(what: str) -> RegistryError:
    return RegistryError(Kind.NOT_FOUND, f"there is no such {what}")


def _invalid(field: str, problem: str) -> RegistryError:
    return RegistryError(Kind.INVALID, f"{field} {problem}", fields={field: [problem]})
