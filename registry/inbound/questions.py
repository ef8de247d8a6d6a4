"""What a subscriber may be answering: what the registry asked, and what it asked back.

An answer is never older than its question: an SMS that was long under way agrees to nothing
that it cannot have been meant for. And a question is answered by SMS only when it was put by
SMS: one that a refusal covered was not, nor one that still waits for its hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, true
from sqlalchemy.orm import aliased, joinedload

from registry.inbound.case import Case
from registry.ledger import CLOCK_LEEWAY
from registry.messenger import outbox
from registry.messenger.replies import CODES
from registry.models import (
    Consent,
    ConsentRequest,
    InboundAction,
    InboundMessage,
    Notice,
    Organisation,
    OutboxItem,
    OutboxState,
    RequestOutcome,
)

CONFIRM_WITHIN = timedelta(minutes=30)
"""How long a second SMS may take to confirm what the first one asked for."""
REMEMBERED = timedelta(days=1)
"""How long a second SMS that comes too late is still taken for one, and is asked about again."""
ASKED_BACK = (InboundAction.REFUSAL_ASKED, InboundAction.LIFT_ASKED)
_MAY_BE_READ = (
    OutboxState.WAITING,
    OutboxState.SENDING,
    OutboxState.SENT,
    OutboxState.UNCERTAIN,
)
"""States of a message that was handed over. It waits again where the gateway's answer got lost."""


@dataclass(frozen=True)
class Question:
    """A question that was put by SMS; its subject is a request, or a grant that was asserted.

    That of a digest is the digest, and it has `parts`: the grants that it told of, of `sender` and
    of so many `more`. Of a request it keeps what was `said`.
    """

    subject_id: UUID
    sender: str
    code: int | None
    language: str
    said: str | None = None
    parts: tuple[UUID, ...] = ()
    more: int = 0


def asked_back(case: Case) -> InboundMessage | None:
    """Return the newest SMS of this subscriber that waits for a second one to confirm it."""
    return case.session.scalar(
        select(InboundMessage)
        .where(
            InboundMessage.number == case.number,
            InboundMessage.action.in_(ASKED_BACK),
            InboundMessage.answered_at.is_(None),
            InboundMessage.recorded_at > case.now - REMEMBERED,
            InboundMessage.received_at <= case.message.received_at,
            true() if case.since is None else InboundMessage.recorded_at >= case.since,
        )
        .order_by(InboundMessage.recorded_at.desc(), InboundMessage.id.desc())
        .limit(1)
    )


def in_time(case: Case, first: InboundMessage) -> bool:
    """Tell whether this SMS came soon enough to confirm the first."""
    return case.now < first.recorded_at + CONFIRM_WITHIN


def open_requests(case: Case, sender_id: UUID | None = None) -> list[Question]:
    """Return the requests, of one sender or of all, that wait for this subscriber's answer."""
    waiting = (ConsentRequest.outcome.is_(None), ConsentRequest.answer_by > case.now)
    return [
        Question(request.id, request.sender.name, item.reply_code, item.language, item.text)
        for item, request in case.session.execute(_requests(case, *waiting, *_from(sender_id)))
    ]


def missed_request(case: Case) -> bool:
    """Tell whether a request went unanswered so lately that an answer may be meant for it."""
    lately = case.now - timedelta(days=case.policy.requests.answer_days)
    unanswered = (
        ConsentRequest.outcome.is_(None) | (ConsentRequest.outcome == RequestOutcome.LAPSED),
        ConsentRequest.answer_by <= case.now,
        ConsentRequest.answer_by > lately,
    )
    return case.session.execute(_requests(case, *unanswered).limit(1)).first() is not None


def _from(sender_id: UUID | None) -> Sequence[ColumnElement[bool]]:
    return () if sender_id is None else (ConsentRequest.sender_id == sender_id,)


def _requests(case: Case, *where: ColumnElement[bool]) -> Select[OutboxItem, ConsentRequest]:
    return (
        select(OutboxItem, ConsentRequest)
        .join(ConsentRequest, ConsentRequest.id == OutboxItem.subject_id)
        .options(joinedload(ConsentRequest.sender))
        .where(*_put(case, Notice.CONSENT_REQUESTED), *where)
        .order_by(ConsentRequest.event_id)
    )


def told_assertions(case: Case) -> list[Question]:
    """Return the assertions that this subscriber was told of lately and has not put an end to.

    Those of one digest are one question.
    """
    part = aliased(OutboxItem)
    alone = _told(case, Notice.CONSENT_ASSERTED).join(
        Consent, Consent.grant_id == OutboxItem.subject_id
    )
    together = (
        _told(case, Notice.CONSENTS_ASSERTED)
        .join(part, part.merged_into == OutboxItem.id)
        .join(Consent, Consent.grant_id == part.subject_id)
    )
    rows = [row for query in (alone, together) for row in case.session.execute(query)]
    told: dict[UUID, tuple[OutboxItem, list[Consent]]] = {}
    for item, consent in rows:
        told.setdefault(item.id, (item, []))[1].append(consent)
    return [
        _digest(case, item)
        if item.notice is Notice.CONSENTS_ASSERTED
        else Question(item.subject_id, given[0].sender.name, item.reply_code, item.language)
        for item, given in told.values()
    ]


def _told(case: Case, notice: Notice) -> Select[OutboxItem, Consent]:
    """Select the SMS that told of consents that still run; the caller joins the consents."""
    lately = case.now - timedelta(days=case.policy.requests.answer_days)
    return (
        select(OutboxItem, Consent)
        .options(joinedload(Consent.sender))
        .where(
            *_put(case, notice),
            OutboxItem.recorded_at > lately,
            Consent.number == case.number,
            Consent.ended_at.is_(None),
            Consent.reassignment_id.is_(None),
            Consent.valid_until > case.now,
        )
        .order_by(Consent.event_id, Consent.topic)
    )


def _digest(case: Case, item: OutboxItem) -> Question:
    """Return the question of a digest, or of a reply that was about one."""
    parts = [part.subject_id for part in outbox.merged(case.session, item.subject_id)]
    names = dict.fromkeys(_sender_of(case, part) or "" for part in parts)
    first, *others = names or [""]
    return Question(
        item.subject_id,
        first,
        item.reply_code,
        item.language,
        parts=tuple(parts),
        more=len(others),
    )


def _put(case: Case, *notices: Notice) -> Sequence[ColumnElement[bool]]:
    """Return what holds of a message that may have been read when this answer was written."""
    return (
        OutboxItem.number == case.number,
        OutboxItem.notice.in_(notices) if notices else true(),
        OutboxItem.state.in_(_MAY_BE_READ),
        OutboxItem.tried_at <= case.message.received_at + CLOCK_LEEWAY,
        true() if case.since is None else OutboxItem.recorded_at >= case.since,
    )


def named(case: Case, code: int) -> Question | None:
    """Return the question that an answer names by its code: the newest that went out before."""
    if code not in CODES:
        return None
    item = case.session.scalar(
        select(OutboxItem)
        .where(OutboxItem.reply_code == code, *_put(case))
        .order_by(OutboxItem.recorded_at.desc(), OutboxItem.id.desc())
        .limit(1)
    )
    if item is None:
        return None
    sender = _sender_of(case, item.subject_id)
    if sender is None:
        asked = _digest(case, item)
        return asked if asked.parts else None
    said = item.text if item.notice is Notice.CONSENT_REQUESTED else None
    return Question(item.subject_id, sender, code, item.language, said)


def _sender_of(case: Case, subject_id: UUID) -> str | None:
    """Return who asked with a request, or asserted a grant, of this number."""
    about = select(Organisation.name).limit(1)
    return case.session.scalar(
        about.join(ConsentRequest, ConsentRequest.sender_id == Organisation.id).where(
            ConsentRequest.id == subject_id, ConsentRequest.number == case.number
        )
    ) or case.session.scalar(
        about.join(Consent, Consent.sender_id == Organisation.id).where(
            Consent.grant_id == subject_id, Consent.number == case.number
        )
    )
