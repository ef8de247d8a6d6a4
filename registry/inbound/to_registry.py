"""SMS to the registry's own number: refuse everything, and answer what the registry asked."""

from sqlalchemy import exists, select

from registry import ledger
from registry.inbound import answers, questions
from registry.inbound.answers import NOTHING_OPEN
from registry.inbound.case import Case, Effect
from registry.inbound.keywords import Keyword, parse_keyword
from registry.ledger import Scope
from registry.ledger.refusals import standing
from registry.models import Consent, InboundAction, InboundMessage, Refusal

EVERYTHING = Scope()
HELP = Effect(InboundAction.HELP, reply="help")


def answer(case: Case) -> Effect:
    """Do what the SMS says; what it does not say in one word leads to help."""
    match case.said.keyword:
        case Keyword.REFUSE_ALL | Keyword.UNSUBSCRIBE_ALL:
            return _ask_to_refuse(case)
        case Keyword.LIFT_ALL:
            return _ask_to_lift(case)
        case Keyword.AGREE | Keyword.DECLINE | Keyword.UNSUBSCRIBE:
            return _answer(case)
        case _:
            return HELP


def _answer(case: Case) -> Effect:
    """Take a yes or no for the question that it names, or that it can only be meant for."""
    if case.said.code is not None:
        asked = questions.named(case, case.said.code)
        return answers.answer(case, asked) if asked else NOTHING_OPEN
    return _yes(case) if case.said.keyword is Keyword.AGREE else _no(case)


def _yes(case: Case) -> Effect:
    """Take a bare yes for the own first SMS before any request, for the one request else.

    One that comes too late for the first SMS is asked about again: whoever wanted to refuse
    must never be taken to agree to something. What a sender asserted wants the code.
    """
    first = questions.asked_back(case)
    if first is not None:
        return _confirmed(case, first)
    waiting = questions.open_requests(case)
    if len(waiting) > 1:
        return answers.which_one(case, waiting)
    if waiting:
        return answers.answer(case, waiting[0])
    return _nothing(case)


def _no(case: Case) -> Effect:
    """Take a bare no for the own first SMS, for the one question that is open, or, to put no
    obstacle in the way (R9), for a wish to refuse everything."""
    first = questions.asked_back(case)
    if first is not None and questions.in_time(case, first):
        insists = first.action is InboundAction.REFUSAL_ASKED
        if case.said.keyword is Keyword.DECLINE or not insists:
            first.answered_at = case.now
            return Effect(InboundAction.DECLINED, first.id, "unchanged", language=_language(first))
    waiting = [*questions.open_requests(case), *questions.told_assertions(case)]
    if len(waiting) > 1:
        return answers.which_one(case, waiting)
    if waiting:
        return answers.answer(case, waiting[0])
    if case.said.keyword is Keyword.DECLINE and questions.missed_request(case):
        return _nothing(case)
    return _ask_to_refuse(case)


def _nothing(case: Case) -> Effect:
    if questions.missed_request(case):
        return Effect(InboundAction.TOO_LATE, reply="too_late")
    return NOTHING_OPEN


def _ask_to_refuse(case: Case) -> Effect:
    refusal = standing(case.session, case.number, EVERYTHING)
    if refusal is not None and not _passed(case, refusal):
        return Effect(InboundAction.ALREADY_REFUSED, refusal.id, "refusal_already_on")
    return _ask_back(case, InboundAction.REFUSAL_ASKED)


def _ask_to_lift(case: Case) -> Effect:
    if standing(case.session, case.number, EVERYTHING) is None:
        return Effect(InboundAction.NOTHING_OPEN, reply="no_refusal")
    return _ask_back(case, InboundAction.LIFT_ASKED)


def _ask_back(case: Case, action: InboundAction) -> Effect:
    """Ask for a second SMS; an earlier question like this one is none any more."""
    while (earlier := questions.asked_back(case)) is not None:
        earlier.answered_at = case.now
        case.session.flush()
    return Effect(action, reply=action.value)


def _confirmed(case: Case, first: InboundMessage) -> Effect:
    """Do what the first SMS asked for, or ask again when the second took too long."""
    if not questions.in_time(case, first):
        again = _ask_to_refuse if first.action is InboundAction.REFUSAL_ASKED else _ask_to_lift
        return again(case)
    first.answered_at = case.now
    case.session.flush()
    if first.action is InboundAction.LIFT_ASKED:
        return _lift(case)
    return _refuse(case, first)


def _refuse(case: Case, first: InboundMessage) -> Effect:
    refusal = standing(case.session, case.number, EVERYTHING)
    if refusal is not None and not _passed(case, refusal):
        return Effect(
            InboundAction.ALREADY_REFUSED,
            refusal.id,
            "refusal_already_on",
            language=_language(first),
        )
    refusal = ledger.refuse(case.session, case.number, EVERYTHING, by=case.by, clock=case.clock)
    return Effect(InboundAction.REFUSED, refusal.id, "refusal_on", language=_language(first))


def _lift(case: Case) -> Effect:
    """Lift the refusal of everything; the ledger tells its subscriber, so no reply does."""
    refusal = standing(case.session, case.number, EVERYTHING)
    if refusal is None:
        return Effect(InboundAction.NOTHING_OPEN, reply="no_refusal")
    ledger.lift_own(case.session, case.number, refusal.id, by=case.by, clock=case.clock)
    return Effect(InboundAction.LIFTED, refusal.id)


def _passed(case: Case, refusal: Refusal) -> bool:
    """Tell whether something was agreed to since, so that to refuse again makes a difference."""
    agreed = exists().where(
        Consent.number == case.number,
        Consent.event_id > refusal.event_id,
        Consent.effective_from.is_not(None),
        Consent.ended_at.is_(None),
        Consent.reassignment_id.is_(None),
    )
    return bool(case.session.scalar(select(agreed)))


def _language(first: InboundMessage) -> str | None:
    return parse_keyword(first.text or "").language
