"""Answers to what the registry asked by SMS, whichever number they went to."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from registry import ledger
from registry.inbound.case import Case, Effect
from registry.inbound.keywords import Keyword
from registry.inbound.questions import Question
from registry.ledger import Scope, Shown, Way
from registry.ledger.refusals import standing
from registry.messenger import links
from registry.models import Consent, ConsentRequest, InboundAction, RequestOutcome

NOTHING_OPEN = Effect(InboundAction.NOTHING_OPEN, reply="nothing_open")


def answer(case: Case, asked: Question) -> Effect:
    """Carry out what was answered to one question."""
    if asked.parts:
        # What several senders assert is confirmed one by one, never by one word.
        return NOTHING_OPEN if case.said.keyword is Keyword.AGREE else _withdraw_many(case, asked)
    request = case.session.get(ConsentRequest, asked.subject_id)
    agreed = case.said.keyword is Keyword.AGREE
    if request is None:
        return _confirm(case, asked) if agreed else _withdraw(case, asked)
    if request.outcome is None and case.now < request.answer_by:
        return _agree(case, asked) if agreed else _decline(case, asked)
    if request.outcome in (None, RequestOutcome.LAPSED):
        return Effect(InboundAction.TOO_LATE, request.id, "too_late", language=asked.language)
    if request.outcome is RequestOutcome.AGREED and not agreed:
        return _withdraw(case, asked)
    return NOTHING_OPEN


def _agree(case: Case, asked: Question) -> Effect:
    ledger.agree(
        case.session,
        case.number,
        asked.subject_id,
        by=case.by,
        policy=case.policy,
        clock=case.clock,
        shown=_shown(case, asked),
    )
    return _done(InboundAction.AGREED, "agreed", asked)


def _shown(case: Case, asked: Question) -> Shown:
    """Return what the SMS said that was answered, and which SMS answered it."""
    text = None if asked.said is None else links.without_link(asked.said)
    return Shown(Way.SMS, asked.language, text, case.id)


def _decline(case: Case, asked: Question) -> Effect:
    ledger.decline(
        case.session,
        case.number,
        asked.subject_id,
        by=case.by,
        clock=case.clock,
        shown=_shown(case, asked),
    )
    return _done(InboundAction.DECLINED, "declined", asked)


def _confirm(case: Case, asked: Question) -> Effect:
    """Confirm what a sender asserted, where that still stands and is not disputed."""
    rows = [row for row in _given(case, asked.subject_id) if row.ended_at is None]
    open_ones = [row.id for row in rows if case.now < row.valid_until]
    if not open_ones or ledger.in_dispute(case.session, asked.subject_id):
        return NOTHING_OPEN
    ledger.confirm(
        case.session, case.number, *open_ones, by=case.by, policy=case.policy, clock=case.clock
    )
    return _done(InboundAction.AGREED, "agreed", asked)


def _withdraw(case: Case, asked: Question) -> Effect:
    """End what was asserted or agreed to, or what has taken its place since, and refuse it."""
    request = case.session.get(ConsentRequest, asked.subject_id)
    grant_id = request.grant_id if request else asked.subject_id
    given = _end(case, grant_id)
    return _done(InboundAction.WITHDRAWN, "withdrawn", asked) if given else NOTHING_OPEN


def _withdraw_many(case: Case, asked: Question) -> Effect:
    """End and refuse all that a digest told of, and say of how many senders that was."""
    given = [row for grant_id in asked.parts for row in _end(case, grant_id)]
    senders = {row.sender_id for row in given}
    if len(senders) < 2:
        return _done(InboundAction.WITHDRAWN, "withdrawn", asked) if given else NOTHING_OPEN
    details = {"many": len(senders)}
    return Effect(
        InboundAction.WITHDRAWN,
        asked.subject_id,
        "withdrawn_many",
        details,
        asked.code,
        asked.language,
    )


def _end(case: Case, grant_id: UUID | None) -> list[Consent]:
    """End what a grant gave, or what has taken its place since, refuse it, and return it."""
    given = _given(case, grant_id)
    for row in given:
        scope = Scope(row.channel, row.topic, row.sender_id)
        in_force = _in_force(case, scope)
        for consent in in_force:
            ledger.withdraw_own(case.session, case.number, consent.id, by=case.by, clock=case.clock)
        if not in_force and standing(case.session, case.number, scope) is None:
            ledger.refuse(case.session, case.number, scope, by=case.by, clock=case.clock)
    return given


def _given(case: Case, grant_id: UUID | None) -> list[Consent]:
    """Return the consents of this tenure that a grant gave."""
    return list(
        case.session.scalars(
            select(Consent)
            .where(
                Consent.grant_id == grant_id,
                Consent.number == case.number,
                Consent.reassignment_id.is_(None),
            )
            .order_by(Consent.topic)
        )
    )


def _in_force(case: Case, scope: Scope) -> Sequence[Consent]:
    """Return what has not ended in this place: the consent that decides, and one that waits."""
    return case.session.scalars(
        select(Consent)
        .where(
            Consent.number == case.number,
            Consent.sender_id == scope.sender_id,
            Consent.channel == scope.channel,
            Consent.topic == scope.topic,
            Consent.ended_at.is_(None),
            Consent.reassignment_id.is_(None),
        )
        .order_by(Consent.event_id)
    ).all()


def _done(action: InboundAction, reply: str, asked: Question) -> Effect:
    return Effect(
        action, asked.subject_id, reply, {"sender": asked.sender}, asked.code, asked.language
    )


def which_one(case: Case, waiting: list[Question]) -> Effect:
    """Ask which of several questions the answer is to."""
    word = "Y" if case.said.keyword is Keyword.AGREE else "N"
    listed = [
        {"word": word, "code": it.code, "sender": it.sender, "more": it.more}
        for it in waiting
        if it.code is not None
    ]
    return Effect(
        InboundAction.AMBIGUOUS,
        reply="which_one" if listed else "nothing_open",
        details={"list": listed},
        language=waiting[0].language,
    )
