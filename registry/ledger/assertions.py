"""Assertions: of which a subscriber is told by SMS, and how many a sender may make.

An SMS for each would let a sender reach whoever refused it, through the registry and at its cost.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

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
T = TypeVar("T")


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
    check_recent(session.scalar(recent) or 0)


def check_recent(recent: int) -> None:
    """Raise `RATE_LIMITED` when so many assertions within a day leave no room for one more."""
    if recent >= MOST_A_DAY:
        raise RegistryError(
            Kind.RATE_LIMITED,
            f"more than {MOST_A_DAY} consents of one number within a day",
            retry_after=3600,
        )


def tell(session: Session, made: Sequence[Consent], now: datetime) -> None:
    """Tell the subscriber of an assertion, unless an SMS has said the same within a day.

    An answer to that SMS is then about the newer assertion, where both are about the same topics.
    """
    grant_id = made[0].grant.id
    counts = {row.topic: row.effective_from is not None for row in made}
    item, said = saying(_told(session, made[0], now), counts)
    if item is None:
        acts.tell(session, Notice.CONSENT_ASSERTED, made[0].number, grant_id, now)
    elif said.keys() == counts.keys():
        item.subject_id = grant_id


def saying(
    told: Iterable[tuple[T, Mapping[Topic, bool]]], counts: Mapping[Topic, bool]
) -> tuple[T | None, Mapping[Topic, bool]]:
    """Return the first SMS that named these topics, and said that they count where they do.

    `told` are SMS of the same sender, channel, cap and end date, each with the topics that it
    named and whether they count.
    """
    for item, said in told:
        if all(topic in said and said[topic] >= effective for topic, effective in counts.items()):
            return item, said
    return None, {}


def told_within_a_day(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that an SMS told of an assertion within a day.

    It may have been a digest that said so, together with others.
    """
    digest = aliased(OutboxItem)
    in_digest = exists().where(digest.id == OutboxItem.merged_into, *_sent(digest, now - DAY))
    return (
        OutboxItem.notice == Notice.CONSENT_ASSERTED,
        or_(
            and_(*_sent(OutboxItem, now - DAY)),
            and_(OutboxItem.state == OutboxState.MERGED, in_digest),
        ),
    )


def _sent(item: type[OutboxItem], since: datetime) -> tuple[ColumnElement[bool], ...]:
    return item.state.in_(_TOLD), func.coalesce(item.sent_at, item.claimed_at) > since


def _told(
    session: Session, made: Consent, now: datetime
) -> list[tuple[OutboxItem, dict[Topic, bool]]]:
    """Return what SMS have said today of this sender, channel, cap and end date, by topic."""
    query = (
        select(OutboxItem, Consent)
        .join(Consent, Consent.grant_id == OutboxItem.subject_id)
        .join(Consent.grant)
        .where(
            OutboxItem.number == made.number,
            *told_within_a_day(now),
            Consent.number == made.number,
            Consent.sender_id == made.sender_id,
            Consent.channel == made.channel,
            Consent.valid_until == made.valid_until,
            Consent.reassignment_id.is_(None),
            Consent.reassignment_id.is_(None),
            Grant.cap_count == made.grant.cap_count,
            Grant.cap_period == made.grant.cap_period,
        )
        .order_by(OutboxItem.id.desc())
    )
    items: dict[UUID, OutboxItem] = {}
    said: dict[UUID, dict[Topic, bool]] = defaultdict(dict)
    for item, consent in session.execute(query):
        items[item.id] = item
        said[item.id][consent.topic] = consent.effective_from is not None
    return [(item, said[item_id]) for item_id, item in items.items()]
