"""SMS to a number that a sender holds: what anybody does who answers an advertisement.

Most of what goes there is no business of the registry's, and leads to nothing.
"""

from registry import ledger
from registry.consent import Channel
from registry.inbound import answers, questions
from registry.inbound.case import Case, Effect
from registry.inbound.keywords import Keyword
from registry.models import InboundAction, Organisation, OrganisationKind

IGNORED = Effect(InboundAction.IGNORED)
_CHANNELS = {
    Keyword.UNSUBSCRIBE: (Channel.SMS,),
    Keyword.DECLINE: (Channel.SMS,),
    Keyword.UNSUBSCRIBE_ALL: tuple(Channel),
}


def answer(case: Case, sender: Organisation) -> Effect:
    """Refuse or agree to the sender whose number it is; anything else is talk with that sender."""
    if sender.kind is not OrganisationKind.SENDER:
        return IGNORED  # A provider's own number: whose message it was, nobody knows.
    if case.said.keyword in _CHANNELS:
        return _unsubscribe(case, sender)
    return _agree(case, sender) if case.said.keyword is Keyword.AGREE else IGNORED


def _unsubscribe(case: Case, sender: Organisation) -> Effect:
    """End what the sender has, and refuse it also where it has nothing: no is no (R9)."""
    for channel in _CHANNELS[case.said.keyword]:
        ledger.withdraw_all(
            case.session,
            case.number,
            by=case.by,
            clock=case.clock,
            sender_id=sender.id,
            channel=channel,
        )
    whole = case.said.keyword is Keyword.UNSUBSCRIBE_ALL
    reply = "unsubscribed_all" if whole else "unsubscribed"
    return Effect(InboundAction.UNSUBSCRIBED, sender.id, reply, {"sender": sender.name})


def _agree(case: Case, sender: Organisation) -> Effect:
    """Agree to the one request of this sender that waits; with several, only to one by its code.

    Other senders' requests do not matter here, nor does an answer to none of them.
    """
    waiting = questions.open_requests(case, sender.id)
    code = case.said.code
    meant = [asked for asked in waiting if code in (None, asked.code)]
    if len(meant) > 1:
        return answers.which_one(case, meant)
    return answers.answer(case, meant[0]) if meant else IGNORED
