"""Withdrawals: the end of a consent before its date (R3).

One withdrawn by its subscriber leaves a refusal behind, which only a consent that the subscriber
confirms can pass: a sender cannot assert its way back.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, true
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import Channel, End
from registry.database import Clock, lock_number
from registry.errors import conflict
from registry.ledger import acts, refusals
from registry.ledger.acts import By
from registry.ledger.consents import consent_of, own_consent
from registry.ledger.refusals import Scope
from registry.models import Consent
from registry.numbers import SubscriberNumber


def withdraw(
    session: Session,
    consent_id: UUID,
    *,
    by: By,
    by_subscriber: bool,
    note: str | None,
    clock: Clock,
) -> Consent:
    """End a consent, as its sender reports it: for the subscriber, or to correct itself."""
    consent = own_consent(session, consent_id, by.organisation_id)
    lock_number(session, consent.number)
    session.refresh(consent)
    return _withdraw(session, consent, by, by_subscriber, note, clock)


def withdraw_own(
    session: Session, number: SubscriberNumber, consent_id: UUID, *, by: By, clock: Clock
) -> Consent:
    """End a consent, as the subscriber who has the number today."""
    lock_number(session, number)
    consent = consent_of(session, number, consent_id)
    return _withdraw(session, consent, by, True, None, clock)


def withdraw_all(
    session: Session,
    number: SubscriberNumber,
    *,
    by: By,
    clock: Clock,
    sender_id: UUID | None = None,
    channel: Channel | None = None,
) -> Sequence[Consent]:
    """End all consents of the subscriber who has the number today, or those of a sender or of a
    channel, and return what was ended.

    Each leaves its refusal behind; one sender on one channel is refused as a whole, also where
    it has no consent.
    """
    lock_number(session, number)
    now = clock()
    whole = Scope(channel, None, sender_id) if sender_id and channel else None
    ended = _standing(session, number, sender_id, channel)
    refused: set[Scope] = set()
    for consent in ended:
        place = _place(consent)
        leaves = None if whole or place in refused else place
        refused.add(place)
        _end(session, consent, leaves, by, True, None, now)
    if whole:
        refusals.refuse(session, number, whole, by=by, clock=lambda: now)
    session.flush()
    return ended


def _standing(
    session: Session, number: SubscriberNumber, sender_id: UUID | None, channel: Channel | None
) -> Sequence[Consent]:
    query = (
        select(Consent)
        .where(
            Consent.number == number,
            Consent.ended_at.is_(None),
            Consent.reassignment_id.is_(None),
            Consent.sender_id == sender_id if sender_id else true(),
            Consent.channel == channel if channel else true(),
        )
        .order_by(Consent.event_id, Consent.topic)
        .execution_options(populate_existing=True)
    )
    return session.scalars(query).all()


def _withdraw(
    session: Session,
    consent: Consent,
    by: By,
    by_subscriber: bool,
    note: str | None,
    clock: Clock,
) -> Consent:
    place = _place(consent)
    if consent.end_reason is End.WITHDRAWN:
        # The sender may have ended it first; the subscriber's wish is recorded all the same.
        here = by_subscriber and consent.reassignment_id is None
        if here and refusals.standing(session, consent.number, place) is None:
            refusals.refuse(session, consent.number, place, by=by, clock=clock)
        return consent
    if not acts.stands(consent):
        raise conflict("this consent has already ended")
    leaves = place if by_subscriber else None
    _end(session, consent, leaves, by, by_subscriber, note, clock())
    session.flush()
    return consent


def _place(consent: Consent) -> Scope:
    return Scope(consent.channel, consent.topic, consent.sender_id)


def _end(
    session: Session,
    consent: Consent,
    leaves: Scope | None,
    by: By,
    by_subscriber: bool,
    note: str | None,
    now: datetime,
) -> None:
    """End a consent and record, in the same event, the refusal that it leaves behind."""
    acts.end(consent, End.WITHDRAWN, now)
    consent.end_note = note
    number = consent.number
    refusal_id = uuid7() if leaves else None
    data = {
        "consent": consent.id,
        "sender": consent.sender_id,
        "channel": consent.channel,
        "topic": consent.topic,
        "by_subscriber": by_subscriber,
        "refusal": refusal_id,
        "superseded": refusals.supersede(session, number, leaves, now) if leaves else None,
    }
    event_id = acts.record(session, "consent_withdrawn", now, by, data, number)
    if leaves and refusal_id:
        session.add(refusals.make(refusal_id, number, leaves, by, event_id, now))
