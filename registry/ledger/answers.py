"""Answers to consent requests: the subscriber agrees, declines, or says nothing in time (R5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from registry.consent import Basis, Topic
from registry.database import Clock, Database, lock_number
from registry.errors import conflict, not_found
from registry.ledger import acts, due
from registry.ledger.acts import By
from registry.ledger.consents import of_grant
from registry.ledger.grants import CapTerms, Claim, EvidenceClaim, confirmed_topics, grant
from registry.ledger.refusals import refuse_topics
from registry.ledger.requests import topics_of
from registry.ledger.tenure import todays, whose
from registry.models import Consent, ConsentRequest, Method, RequestOutcome, Via
from registry.numbers import SubscriberNumber
from registry.policy import Policy


class Way(StrEnum):
    """How an answer came: from the pages, over the link in an SMS, or as an SMS itself."""

    PAGES = "pages"
    LINK = "link"
    SMS = "sms"


@dataclass(frozen=True)
class Shown:
    """What the subscriber had in view when answering, as the registry can prove it (R8).

    `language` is that of the terms. `text` is what was read where that was not the request's own
    text but an SMS about it, and `message_id` the SMS that answered.
    """

    way: Way
    language: str | None = None
    text: str | None = None
    message_id: UUID | None = None

    @property
    def words(self) -> dict[str, object]:
        """What the event of the answer says of it."""
        message = {"message": self.message_id} if self.message_id else {}
        return {"way": self.way, "language": self.language, **message}


ON_PAGES = Shown(Way.PAGES)


def agree(
    session: Session,
    number: SubscriberNumber,
    request_id: UUID,
    *,
    by: By,
    policy: Policy,
    clock: Clock,
    shown: Shown = ON_PAGES,
) -> Sequence[Consent]:
    """Agree to a request: its terms become a confirmed consent.

    Its evidence is the text that was `shown`, by default the request's own.
    """
    lock_number(session, number)
    request = _request_of(session, number, request_id)
    if request.outcome is RequestOutcome.AGREED:
        return of_grant(session, number, request.sender_id, request.grant_id)
    now = clock()
    _check_open(request, now)
    claim = Claim(
        number=number,
        channel=request.channel,
        topics=tuple(map(Topic, request.topics.split())),
        granted_at=now,
        valid_until=now + timedelta(days=request.valid_for_days),
        cap=CapTerms(request.cap_count, request.cap_period),
        evidence=EvidenceClaim(
            Method.REGISTRY,
            shown.text or request.notice_text,
            language=shown.language,
        ),
    )
    consents = grant(
        session,
        claim,
        sender_id=request.sender_id,
        by=by,
        basis=Basis.CONFIRMED,
        policy=policy,
        clock=lambda: now,
    )
    request.grant_id = consents[0].grant.id
    answer = {"grant": request.grant_id, "consents": [row.id for row in consents], **shown.words}
    _close(session, request, RequestOutcome.AGREED, by, answer, now)
    return consents


def decline(
    session: Session,
    number: SubscriberNumber,
    request_id: UUID,
    *,
    by: By,
    clock: Clock,
    shown: Shown = ON_PAGES,
) -> ConsentRequest:
    """Decline a request, which also refuses its topics to the sender on its channel."""
    lock_number(session, number)
    request = _request_of(session, number, request_id)
    if request.outcome is RequestOutcome.DECLINED:
        return request
    now = clock()
    _check_open(request, now)
    outcome = RequestOutcome.DECLINED
    _refuse(session, request, topics_of(request), outcome, by, now, shown.words)
    return request


def _request_of(session: Session, number: SubscriberNumber, request_id: UUID) -> ConsentRequest:
    """Return a request to the subscriber who has the number today, as it is stored now."""
    request = session.get(ConsentRequest, request_id, populate_existing=True)
    if request is None or request.number != number:
        raise not_found("request")
    if not todays(session, number, request.recorded_at):
        raise not_found("request")
    return request


def _check_open(request: ConsentRequest, now: datetime) -> None:
    if request.outcome is not None:
        raise conflict("this request has been answered")
    if now >= request.answer_by:
        raise conflict("this request was not answered in time")


def _refuse(
    session: Session,
    request: ConsentRequest,
    topics: set[Topic],
    outcome: RequestOutcome,
    by: By,
    now: datetime,
    words: Mapping[str, object],
) -> None:
    refused = refuse_topics(
        session,
        request.number,
        request.sender_id,
        request.channel,
        sorted(topics),
        by=by,
        now=now,
    )
    _close(session, request, outcome, by, {"refusals": refused, **words}, now)


def _close(
    session: Session,
    request: ConsentRequest,
    outcome: RequestOutcome,
    by: By,
    answer: dict[str, object],
    now: datetime,
) -> None:
    request.outcome = outcome
    request.answered_at = now
    data = {
        "request": request.id,
        "sender": request.sender_id,
        "channel": request.channel,
        "topics": request.topics.split(),
        **answer,
    }
    number = whose(session, request.number, request.recorded_at)
    acts.record(session, f"consent_request_{outcome}", now, by, data, number)
    session.flush()


def lapse_due(database: Database, *, clock: Clock) -> int:
    """Let every request lapse whose last day has passed; return how many did."""
    return due.close_each(database, _due, _lapse, clock)


_due = due.finder(ConsentRequest.answer_by, ConsentRequest.id, ConsentRequest.outcome.is_(None))


def _lapse(session: Session, request_id: UUID, clock: Clock) -> bool:
    """Let one request lapse, unless it was answered meanwhile.

    It refuses nothing to a new subscriber of the number, and nothing that the subscriber has
    confirmed since it was put: that was an answer.
    """
    request = session.get_one(ConsentRequest, request_id)
    lock_number(session, request.number)
    session.refresh(request)
    now = clock()
    if request.outcome is not None or now < request.answer_by:
        return False
    topics: set[Topic] = set()
    if todays(session, request.number, request.recorded_at):
        asked = topics_of(request)
        topics = asked - confirmed_topics(
            session, request.number, request.sender_id, request.channel, tuple(asked), now
        )
    _refuse(session, request, topics, RequestOutcome.LAPSED, By(Via.REGISTRY), now, {})
    return True
