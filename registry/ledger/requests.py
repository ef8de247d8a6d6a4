"""Consent requests: a sender asks, stating type, frequency and duration (R4).

No answer is refusal, and the same or a similar question is not put again (R5). Nothing that a
sender hears depends on what it may not know: not on refusals, nor on whether anybody declined.
"""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import Channel, Topic
from registry.database import Clock, lock_number
from registry.errors import conflict, invalid
from registry.ledger import acts, similarity
from registry.ledger.acts import By
from registry.ledger.grants import CapTerms, check_channel, confirmed_topics
from registry.ledger.hours import next_contact
from registry.ledger.refusals import refused_topics
from registry.models import ANY, ConsentRequest, Notice, RequestOutcome, Via
from registry.numbers import SubscriberNumber
from registry.policy import Policy

LONGEST_NOTICE = 10_000
"""Characters of the text that a sender asks with."""
LONGEST_TERM = 3650
"""Days for which a sender may ask."""
MOST_CONTACTS = 1_000_000
"""Contacts in a period that a sender may ask for."""


def check_terms(
    *, topics: tuple[Topic, ...], cap: CapTerms, valid_for_days: int, notice_text: str
) -> None:
    """Raise `INVALID`, naming the field, when a question does not state its terms (R4)."""
    if not topics or len(set(topics)) < len(topics):
        raise invalid("topics", "are none, or name one twice")
    if not 1 <= cap.count <= MOST_CONTACTS:
        raise invalid("cap", f"counts 1 to {MOST_CONTACTS} contacts")
    if not 1 <= valid_for_days <= LONGEST_TERM:
        raise invalid("valid_for_days", f"is 1 to {LONGEST_TERM}")
    if not 1 <= len(notice_text) <= LONGEST_NOTICE:
        raise invalid("notice_text", f"has 1 to {LONGEST_NOTICE} characters")


def asked_before(session: Session, sender_id: UUID, line_key: bytes) -> ConsentRequest | None:
    """Return the request that an imported line of the sender's led to, if it did."""
    return session.scalar(
        select(ConsentRequest).where(
            ConsentRequest.line_key == line_key, ConsentRequest.sender_id == sender_id
        )
    )


def ask(
    session: Session,
    *,
    sender_id: UUID,
    number: SubscriberNumber,
    channel: Channel,
    topics: tuple[Topic, ...],
    cap: CapTerms,
    valid_for_days: int,
    notice_text: str,
    policy: Policy,
    clock: Clock,
    line_key: bytes | None = None,
) -> ConsentRequest:
    """Put a sender's question to a subscriber, within the hours in which one may be contacted.

    Raises `INVALID` as `check_terms` does, and `CONFLICT` when the same or a similar one was put
    before, unless it was agreed to, and when a confirmed consent is in force. Where a refusal
    covers the question no SMS is sent; the subscriber finds it in the portal, and the sender sees
    no difference. An imported line, known by its key, leads to one request however often it comes.
    """
    check_channel(channel, number)
    check_terms(topics=topics, cap=cap, valid_for_days=valid_for_days, notice_text=notice_text)
    lock_number(session, number)
    if line_key is not None and (first := asked_before(session, sender_id, line_key)):
        return first
    now = clock()
    fingerprint = similarity.fingerprint(session, notice_text)
    if confirmed_topics(session, number, sender_id, channel, topics, now):
        raise conflict("a confirmed consent for one of the topics is in force")
    for earlier in _similar(session, number, sender_id, channel, topics, fingerprint):
        _check_again(earlier, policy, now)
    refused = refused_topics(session, number, sender_id, channel)
    request = ConsentRequest(
        id=uuid7(),
        number=number,
        sender_id=sender_id,
        channel=channel,
        topics=" ".join(topics),
        cap_count=cap.count,
        cap_period=cap.period,
        valid_for_days=valid_for_days,
        notice_text=notice_text,
        fingerprint=fingerprint,
        covered=bool(refused & {*topics, ANY}),
        recorded_at=now,
        answer_by=now + timedelta(days=policy.requests.answer_days),
        line_key=line_key,
    )
    request.event_id = _asked_event(session, request, now)
    session.add(request)
    _tell(session, request, policy, now)
    session.flush()
    return request


def _similar(
    session: Session,
    number: SubscriberNumber,
    sender_id: UUID,
    channel: Channel,
    topics: tuple[Topic, ...],
    fingerprint: bytes,
) -> list[ConsentRequest]:
    """Return the sender's earlier requests of the number that a new one would repeat.

    One about a topic of the new one, on its channel, is similar whatever it says; one that says
    the same is, whatever it is about. Those to an earlier subscriber are among them: otherwise a
    sender could find out, by asking again, that a number went to somebody else.
    """
    query = select(ConsentRequest).where(
        ConsentRequest.number == number, ConsentRequest.sender_id == sender_id
    )
    return [
        earlier
        for earlier in session.scalars(query)
        if (earlier.channel is channel and topics_of(earlier) & set(topics))
        # Its text is read again: what was stored may be of a release that compared less.
        or fingerprint
        in (earlier.fingerprint, similarity.fingerprint(session, earlier.notice_text))
    ]


def _check_again(earlier: ConsentRequest, policy: Policy, now: datetime) -> None:
    """Raise when an earlier request bars its like: for good, or for some days (R5).

    The days count from the last one for an answer, so that they do not tell who declined.
    """
    if earlier.outcome is RequestOutcome.AGREED:
        return
    days = policy.requests.ask_again_days
    if now < earlier.answer_by:
        raise conflict("the same or a similar request waits for its answer")
    if days == 0 or now < earlier.answer_by + timedelta(days=days):
        raise conflict("the same or a similar request was not agreed to")


def topics_of(request: ConsentRequest) -> set[Topic]:
    """Return what a request is about."""
    return set(map(Topic, request.topics.split()))


def _asked_event(session: Session, request: ConsentRequest, now: datetime) -> int:
    data = {
        "request": request.id,
        "sender": request.sender_id,
        "channel": request.channel,
        "topics": request.topics.split(),
        "cap": {"count": request.cap_count, "period": request.cap_period},
        "valid_for_days": request.valid_for_days,
        "answer_by": request.answer_by,
        "covered": request.covered,
    }
    by = By(Via.SENDER, request.sender_id)
    return acts.record(session, "consent_requested", now, by, data, request.number)


def _tell(session: Session, request: ConsentRequest, policy: Policy, now: datetime) -> None:
    opens = next_contact(session, request.number, policy, now)
    if request.covered or opens is None or not request.number.takes_sms:
        return
    acts.tell(
        session,
        Notice.CONSENT_REQUESTED,
        request.number,
        request.id,
        now,
        try_at=opens,
        expires_at=request.answer_by,
    )
