"""Assertions: of which a subscriber is told by SMS, and how many a sender may make.

An SMS for each would let a sender reach whoever refused it, through the registry and at its cost.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.consent import Basis, Topic
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError
from registry.ledger import acts
from registry.models import Consent, Grant, Notice, OutboxItem, OutboxState
from registry.numbers import SubscriberNumber

MOST_A_DAY = 10
"""Assertions of one sender for one number within 24 hours."""
DAY = timedelta(days=1)
_TOLD = (OutboxState.SENT, OutboxState.UNCERTAIN)


def check_assertions(
    session: Session, number: SubscriberNumber, sender_id: UUID, *, clock: Clock
) -> None:
    """Raise `RATE_LIMITED` when a sender asserts too often that a number consents.

    Only its own assertions count, whoever had the number: nothing else shows in the answer.
    """
    lock_number(session, number)
    recent = (
        select(func.count(Consent.grant_id.distinct()))
        .join(Consent.grant)
        .where(
            Consent.number == number,
            Consent.sender_id == sender_id,
            Consent.recorded_at > clock() - DAY,
            Grant.basis == Basis.ASSERTED,
        )
    )
    if (session.scalar(recent) or 0) >= MOST_A_DAY:
        raise RegistryError(
            Kind.RATE_LIMITED,
            f"more than {MOST_A_DAY} consents of one number within a day",
            retry_after=3600,
        )


def tell(session: Session, made: Sequence[Consent], now: datetime) -> None:
    """Tell the subscriber of an assertion, unless an SMS has said the same within a day.

    An answer to that SMS is then about the newer assertion, where both are about the same topics.
    """
    grant_id, topics = made[0].grant.id, {row.topic for row in made}
    for item, said in _told(session, made[0], now):
        if all(_says(said, row) for row in made):
            if said.keys() == topics:
                item.subject_id = grant_id
            return
    acts.tell(session, Notice.CONSENT_ASSERTED, made[0].number, grant_id, now)


def _told(
    session: Session, made: Consent, now: datetime
) -> list[tuple[OutboxItem, dict[Topic, Consent]]]:
    """Return what SMS have said today of this sender, channel, cap and end date, by topic."""
    query = (
        select(OutboxItem, Consent)
        .join(Consent, Consent.grant_id == OutboxItem.subject_id)
        .join(Consent.grant)
        .where(
            OutboxItem.number == made.number,
            OutboxItem.notice == Notice.CONSENT_ASSERTED,
            OutboxItem.state.in_(_TOLD),
            func.coalesce(OutboxItem.sent_at, OutboxItem.claimed_at) > now - DAY,
            Consent.number == made.number,
            Consent.sender_id == made.sender_id,
            Consent.channel == made.channel,
            Consent.valid_until == made.valid_until,
            Consent.reassignment_id.is_(None),
            Grant.cap_count == made.grant.cap_count,
            Grant.cap_period == made.grant.cap_period,
        )
        .order_by(OutboxItem.id.desc())
    )
    items: dict[UUID, OutboxItem] = {}
    said: dict[UUID, dict[Topic, Consent]] = defaultdict(dict)
    for item, consent in session.execute(query):
        items[item.id] = item
        said[item.id][consent.topic] = consent
    return [(item, said[item_id]) for item_id, item in items.items()]


def _says(said: dict[Topic, Consent], made: Consent) -> bool:
    """Tell whether the SMS named this topic, and that it counts where it does."""
    known = said.get(made.topic)
    return known is not None and (made.effective_from is None or known.effective_from is not None)
