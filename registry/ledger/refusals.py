"""Refusals: a subscriber's "no", for all or for a channel, a topic, a sender; and its lifting."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, or_, select, true
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import Basis, Channel, End, Topic
from registry.database import Clock, lock_number
from registry.errors import conflict, invalid, not_found
from registry.ledger import acts
from registry.ledger.acts import By
from registry.ledger.disputes import check_liftable
from registry.models import (
    ANY,
    Consent,
    Grant,
    Notice,
    Organisation,
    OrganisationKind,
    Refusal,
)
from registry.numbers import SubscriberNumber


@dataclass(frozen=True)
class Scope:
    """What a refusal covers; None is all of them."""

    channel: Channel | None = None
    topic: Topic | None = None
    sender_id: UUID | None = None


REFUSED = "refusal_recorded"
"""The kind of the event of a refusal."""

_REFUSED_TOPICS = select(Refusal.topic).where(
    Refusal.number == bindparam("number"),
    Refusal.ended_at.is_(None),
    Refusal.reassignment_id.is_(None),
    Refusal.channel.in_(bindparam("channels", expanding=True)),
    or_(Refusal.sender_id.is_(None), Refusal.sender_id == bindparam("sender")),
)


def refused_topics(
    session: Session, number: SubscriberNumber, sender_id: UUID, channel: Channel
) -> set[str]:
    """Return the topics, `ANY` among them, that are refused to a sender on a channel."""
    about = {"number": number, "sender": sender_id, "channels": [channel, ANY]}
    return set(session.connection().scalars(_REFUSED_TOPICS, about))


def refuse(
    session: Session, number: SubscriberNumber, scope: Scope, *, by: By, clock: Clock
) -> Refusal:
    """Record a subscriber's "no". Said again, it also beats what was agreed to in between; where
    it would beat nothing more, a subscriber who says it again changes nothing."""
    if scope.sender_id is not None:
        sender = session.get(Organisation, scope.sender_id)
        check_sender(sender.kind if sender else None)
    lock_number(session, number)
    said = _said_before(session, number, scope) if by.own_act else None
    if said is not None:
        return said
    now = clock()
    refusal_id = uuid7()
    data = refused_data(refusal_id, scope, supersede(session, number, scope, now))
    event_id = acts.record(session, REFUSED, now, by, data, number)
    refusal = make(refusal_id, number, scope, by, event_id, now)
    session.add(refusal)
    session.flush()
    return refusal


def check_sender(kind: OrganisationKind | None) -> None:
    """Raise when what is to be refused is no sender; None is no organisation at all."""
    if kind is not OrganisationKind.SENDER:
        raise invalid("sender", "there is no such sender")


def refused_data(refusal_id: object, scope: Scope, superseded: object) -> dict[str, Any]:
    """Return what the event of a refusal says."""
    return {
        "refusal": refusal_id,
        "channel": scope.channel or ANY,
        "topic": scope.topic or ANY,
        "sender": scope.sender_id,
        "superseded": superseded,
    }


def _said_before(session: Session, number: SubscriberNumber, scope: Scope) -> Refusal | None:
    """Return the subscriber's own standing refusal of this scope, unless a consent passed it."""
    said = standing(session, number, scope)
    if said is None or said.recorded_by is not None:
        return None
    passed = (
        select(Consent.id)
        .join(Consent.grant)
        .where(
            Consent.number == number,
            Consent.event_id > said.event_id,
            Consent.ended_at.is_(None),
            Consent.reassignment_id.is_(None),
            Grant.basis == Basis.CONFIRMED,
            Consent.channel == scope.channel if scope.channel else true(),
            Consent.topic == scope.topic if scope.topic else true(),
            Consent.sender_id == scope.sender_id if scope.sender_id else true(),
        )
        .limit(1)
    )
    return said if session.scalar(passed) is None else None


def refuse_topics(
    session: Session,
    number: SubscriberNumber,
    sender_id: UUID,
    channel: Channel,
    topics: Iterable[Topic],
    *,
    by: By,
    now: datetime,
) -> list[UUID]:
    """Refuse each topic to a sender on a channel, and return the refusals' ids."""
    scopes = [Scope(channel, topic, sender_id) for topic in topics]
    return [refuse(session, number, scope, by=by, clock=lambda: now).id for scope in scopes]


def make(
    refusal_id: UUID,
    number: SubscriberNumber,
    scope: Scope,
    by: By,
    event_id: int,
    now: datetime,
) -> Refusal:
    """Return the row of a refusal that an event records."""
    return Refusal(
        id=refusal_id,
        number=number,
        channel=scope.channel or ANY,
        topic=scope.topic or ANY,
        sender_id=scope.sender_id,
        via=by.via,
        recorded_by=by.organisation_id,
        event_id=event_id,
        recorded_at=now,
    )


def standing(session: Session, number: SubscriberNumber, scope: Scope) -> Refusal | None:
    """Return the standing refusal of exactly this scope."""
    same_sender = (
        Refusal.sender_id.is_(None)
        if scope.sender_id is None
        else Refusal.sender_id == scope.sender_id
    )
    return session.scalar(
        select(Refusal).where(
            Refusal.number == number,
            Refusal.channel == (scope.channel or ANY),
            Refusal.topic == (scope.topic or ANY),
            same_sender,
            Refusal.ended_at.is_(None),
            Refusal.reassignment_id.is_(None),
        )
    )


def supersede(
    session: Session, number: SubscriberNumber, scope: Scope, now: datetime
) -> UUID | None:
    """End the standing refusal of the same scope, which a new one takes the place of."""
    replaced = standing(session, number, scope)
    if replaced is None:
        return None
    acts.end(replaced, End.SUPERSEDED, now)
    session.flush()
    return replaced.id


def lift(session: Session, refusal_id: UUID, *, by: By, clock: Clock) -> Refusal:
    """End a refusal, through the organisation that recorded it, and tell the subscriber.

    One that an open dispute is about is not lifted, here and by `lift_own`: `CONFLICT`.
    """
    refusal = session.get(Refusal, refusal_id)
    if refusal is None or by.own_act or refusal.recorded_by != by.organisation_id:
        raise not_found("refusal")
    lock_number(session, refusal.number)
    session.refresh(refusal)
    return _lift(session, refusal, by, clock)


def lift_own(
    session: Session, number: SubscriberNumber, refusal_id: UUID, *, by: By, clock: Clock
) -> Refusal:
    """End a refusal as the subscriber who has the number today, whoever recorded it.

    The subscriber is told by SMS all the same: a stolen session must not work in silence.
    """
    lock_number(session, number)
    refusal = session.get(Refusal, refusal_id, populate_existing=True)
    if refusal is None or refusal.number != number or refusal.reassignment_id is not None:
        raise not_found("refusal")
    return _lift(session, refusal, by, clock)


def _lift(session: Session, refusal: Refusal, by: By, clock: Clock) -> Refusal:
    if refusal.end_reason is End.LIFTED:
        return refusal
    if not acts.stands(refusal):
        raise conflict("this refusal has already ended")
    check_liftable(session, refusal)
    now = clock()
    acts.end(refusal, End.LIFTED, now)
    data = {
        "refusal": refusal.id,
        "channel": refusal.channel,
        "topic": refusal.topic,
        "sender": refusal.sender_id,
    }
    acts.record(session, "refusal_lifted", now, by, data, refusal.number)
    acts.tell(session, Notice.REFUSAL_LIFTED, refusal.number, refusal.id, now)
    session.flush()
    return refusal
