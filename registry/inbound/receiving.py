"""Receiving an SMS: once, in its turn, and answered where an answer is worth its price."""

import json
import re
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import messenger, senders
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError, invalid
from registry.events import timestamp
from registry.inbound import to_registry, to_sender
from registry.inbound.case import Case, Effect, Inbound
from registry.inbound.keywords import parse_keyword
from registry.inbound.questions import CONFIRM_WITHIN
from registry.ledger import CLOCK_LEEWAY, By, tenure_start
from registry.models import (
    InboundAction,
    InboundMessage,
    Notice,
    OutboxItem,
    Via,
    number_key,
)
from registry.numbers import clean, parse_sending
from registry.policy import Policy

OLDEST = timedelta(days=7)
"""How long a carrier may take to deliver an SMS."""
DAY = timedelta(days=1)
MOST_REPLIES = 20
"""Replies to one number within 24 hours; each costs money. What it says is done all the same."""
LONGEST_ID = 100
IGNORED = to_sender.IGNORED


def receive(
    session: Session,
    message: Inbound,
    *,
    carrier_id: UUID,
    policy: Policy,
    clock: Clock,
    registry_number: str | None,
) -> InboundMessage:
    """Act on an SMS from a subscriber, and return what it led to.

    The same message (by the carrier and its id) changes nothing a second time, and returns what
    the first led to; raises `KEY_REUSED` when another message has its id, and `INVALID` when it
    was received in the future or too long ago.
    """
    lock_number(session, message.number)
    now = clock()
    first = _first(session, message, carrier_id)
    if first is not None:
        return first
    _check(message, now)
    case = Case(
        session=session,
        id=uuid7(),
        message=message,
        said=parse_keyword(message.text),
        by=By(Via.SMS, carrier_id),
        policy=policy,
        now=now,
        since=tenure_start(session, message.number),
    )
    to, effect = _act(case, registry_number)
    row = InboundMessage(
        id=case.id,
        carrier_id=carrier_id,
        message_digest=_digest(session, message.message_id),
        request_digest=_request_digest(session, message),
        number=message.number,
        to_number=to,
        text=None if effect.action is InboundAction.IGNORED else message.text,
        received_at=message.received_at,
        recorded_at=now,
        action=effect.action,
        subject_id=effect.subject_id,
    )
    if effect.reply is not None and _is_worth_a_reply(case, effect):
        _reply(case, row, effect)
    session.add(row)
    try:
        session.flush()
    except IntegrityError:  # The same id, for another number, was committed a moment ago.
        raise _reused() from None
    return row


def _first(session: Session, message: Inbound, carrier_id: UUID) -> InboundMessage | None:
    """Return what was received under this id before; raises when it was something else."""
    if not 0 < len(message.message_id) <= LONGEST_ID:
        raise invalid("message_id", f"has 1 to {LONGEST_ID} characters")
    first = session.scalar(
        select(InboundMessage).where(
            InboundMessage.carrier_id == carrier_id,
            InboundMessage.message_digest == _digest(session, message.message_id),
        )
    )
    if first is not None and first.request_digest != _request_digest(session, message):
        raise _reused()
    return first


def _digest(session: Session, message_id: str) -> bytes:
    # Keyed, because a carrier may make its ids of numbers.
    return number_key(session.get_bind().dialect).digest(b"inbound id " + message_id.encode())


def _request_digest(session: Session, message: Inbound) -> bytes:
    said = [message.number.e164, message.to, message.text, timestamp(message.received_at)]
    content = b"inbound sms " + json.dumps(said).encode()
    return number_key(session.get_bind().dialect).digest(content)


def _check(message: Inbound, now: datetime) -> None:
    if message.received_at > now + CLOCK_LEEWAY:
        raise invalid("received_at", "lies in the future")
    if message.received_at < now - OLDEST:
        raise invalid("received_at", f"lies more than {OLDEST.days} days back")


def _act(case: Case, registry_number: str | None) -> tuple[str, Effect]:
    """Do what an SMS asks of whoever it went to; return the number it went to, and the effect.

    A number that nobody holds is not kept: it may be some subscriber's.
    """
    to = _national(case.message.to)
    if case.since is not None and case.message.received_at < case.since:
        return "", IGNORED  # It is from the number's earlier subscriber.
    if registry_number is not None and to == _national(registry_number):
        return to, to_registry.answer(case)
    try:
        sending = parse_sending(case.message.to, case.policy.default_region)
        at = min(case.message.received_at, case.now)
        sender = senders.holder(case.session, sending, at).holder
    except RegistryError:
        return "", IGNORED
    return sending.text, to_sender.answer(case, sender)


def _national(written: str) -> str:
    """Return a number's digits, without the country's code where it was written."""
    try:
        return re.sub(r"\A(?:\+86|0086)", "", clean(written))
    except RegistryError:
        raise invalid("to", "is no number that SMS are sent to") from None


def _is_worth_a_reply(case: Case, effect: Effect) -> bool:
    """Tell whether to send a reply: not abroad, not to a landline, help once a day, and never
    more than some in a day."""
    if case.number.region != case.policy.default_region or not case.number.takes_sms:
        return False
    since = case.now - DAY
    if effect.action is InboundAction.HELP:
        helped = select(func.count()).where(
            InboundMessage.number == case.number,
            InboundMessage.action == InboundAction.HELP,
            InboundMessage.recorded_at > since,
        )
        if case.session.scalar(helped):
            return False
    replied = select(func.count()).where(
        OutboxItem.number == case.number,
        OutboxItem.notice == Notice.REPLY,
        OutboxItem.recorded_at > since,
    )
    return (case.session.scalar(replied) or 0) < MOST_REPLIES


def _reply(case: Case, row: InboundMessage, effect: Effect) -> None:
    asks_back = effect.action in (InboundAction.REFUSAL_ASKED, InboundAction.LIFT_ASKED)
    messenger.queue(
        case.session,
        Notice.REPLY,
        case.number,
        effect.subject_id or row.id,
        now=case.now,
        language=case.said.language or effect.language or "zh",
        details={"key": effect.reply, **effect.details},
        expires_at=case.now + (CONFIRM_WITHIN if asks_back else DAY),
        reply_code=effect.code,
    )


def _reused() -> RegistryError:
    return RegistryError(Kind.KEY_REUSED, "this message_id came with another message")
