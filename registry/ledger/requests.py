"""Consent requests: a sender asks, stating type, frequency and duration (R4).

No answer is refusal, and the same or a similar question is not put again (R5). Nothing that a
sender hears depends on what it may not know: not on refusals, nor on whether anybody declined.
"""

import unicodedata
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import Channel, Topic
from registry.database import Clock, lock_number
from registry.ledger import acts
from registry.ledger.acts import By
from registry.ledger.grants import CapTerms, check_channel, confirmed_topics
from registry.ledger.hours import next_contact
from registry.ledger.refusals import refused_topics
from registry.models import ANY, ConsentRequest, Notice, RequestOutcome, Via, number_key
from registry.numbers import SubscriberNumber
from registry.policy import Policy


class RequestState(StrEnum):
    """What a sender is shown of its request. Before its last day nobody sees a refusal."""

    WAITING = "waiting"
    AGREED = "agreed"
    REFUSED = "refused"


def request_state(request: ConsentRequest, now: datetime) -> RequestState:
    """Return what a sender is shown: declining looks like not answering."""
    if request.outcome is RequestOutcome.AGREED:
        return RequestState.AGREED
    return RequestState.WAITING if now < request.answer_by else RequestState.REFUSED


def own_request(session: Session, request_id: UUID, sender_id: UUID) -> ConsentRequest:
    """Return a sender's own request."""
    request = session.get(ConsentRequest, request_id)
    if request is None or request.sender_id != sender_id:
        raise acts.not_found("request")
    return request


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
) -> ConsentRequest:
    """Put a sender's question to a subscriber, within the hours in which one may be contacted.

    Raises `CONFLICT` when the same or a similar one was put before, unless it was agreed to, and
    when a confirmed consent is in force. Where a refusal covers the question no SMS is sent; the
    subscriber finds it in the portal, and the sender sees no difference.
    """
    check_channel(channel, number)
    lock_number(session, number)
    now = clock()
    fingerprint = _fingerprint(session, notice_text)
    if confirmed_topics(session, number, sender_id, channel, topics, now):
        raise acts.conflict("a confirmed consent for one of the topics is in force")
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
    )
    request.event_id = _asked_event(session, request, now)
    session.add(request)
    _tell(session, request, policy, now)
    session.flush()
    return request


def _fingerprint(session: Session, notice_text: str) -> bytes:
    """Return a keyed digest of the letters of a text, which small changes leave as they are."""
    folded = unicodedata.normalize("NFKC", notice_text).casefold()
    letters = "".join(each for each in folded if unicodedata.category(each)[0] in "LM")
    return number_key(session.get_bind().dialect).digest(b"consent request " + letters.encode())


def _similar(
    session: Session,
    number: SubscriberNumber,
    sender_id: UUID,
    channel: Channel,
    topics: tuple[Topic, ...],
    fingerprint: bytes,
) -> list[ConsentRequest]:
    """Return the sender's earlier requests of the number that a new one would repeat.

    Those to an earlier subscriber are among them: otherwise a sender could find out, by asking
    again, that a number went to somebody else.
    """
    query = select(ConsentRequest).where(
        ConsentRequest.number == number,
        ConsentRequest.sender_id == sender_id,
        or_(ConsentRequest.channel == channel, ConsentRequest.fingerprint == fingerprint),
    )
    return [
        earlier
        for earlier in session.scalars(query)
        if earlier.fingerprint == fingerprint or topics_of(earlier) & set(topics)
    ]


def _check_again(earlier: ConsentRequest, policy: Policy, now: datetime) -> None:
    """Raise when an earlier request bars its like: for good, or for some days (R5).

    The days count from the last one for an answer, so that they do not tell who declined.
    """
    if earlier.outcome is RequestOutcome.AGREED:
        return
    days = policy.requests.ask_again_days
    if now < earlier.answer_by:
        raise acts.conflict("the same or a similar request waits for its answer")
    if days == 0 or now < earlier.answer_by + timedelta(days=days):
        raise acts.conflict("the same or a similar request was not agreed to")


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
