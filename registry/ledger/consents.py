"""Consents as a sender, a regulator or an operator is shown them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, joinedload

from registry import events
from registry.database import Clock, lock_number
from registry.errors import not_found
from registry.models import Consent, Grant
from registry.numbers import SubscriberNumber

PAGE = 100

_WHOLE = (
    joinedload(Consent.grant).joinedload(Grant.evidence),
    joinedload(Consent.reassignment),
)


class ConsentState(StrEnum):
    """What a sender is shown of its consent."""

    ACTIVE = "active"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    VOIDED = "voided"
    REASSIGNED = "reassigned"


def state(consent: Consent, now: datetime) -> ConsentState:
    """Return what a sender is shown; an assertion without effect looks like any other."""
    if consent.reassignment_id is not None:
        return ConsentState.REASSIGNED
    if consent.end_reason is not None:
        return ConsentState(consent.end_reason)
    return ConsentState.ACTIVE if now < consent.valid_until else ConsentState.EXPIRED


def own_consent(session: Session, consent_id: UUID, sender_id: UUID | None) -> Consent:
    """Return a sender's own consent with its terms and evidence."""
    consent = session.get(Consent, consent_id, options=_WHOLE)
    if consent is None or consent.sender_id != sender_id:
        raise not_found("consent")
    return consent


def consent_of(session: Session, number: SubscriberNumber, consent_id: UUID) -> Consent:
    """Return a consent of the subscriber who has the number today, as it is stored now.

    The caller holds the number's lock. Another's consent is as if it were not.
    """
    consent = session.get(Consent, consent_id, options=_WHOLE, populate_existing=True)
    if consent is None or consent.number != number or consent.reassignment_id is not None:
        raise not_found("consent")
    return consent


def of_grant(
    session: Session, number: SubscriberNumber, sender_id: UUID, grant_id: UUID | None
) -> Sequence[Consent]:
    """Return the consents of one grant by their topics, as they are stored now."""
    query = (
        select(Consent)
        .where(
            # The number and the sender are what an index knows consents by.
            Consent.number == number,
            Consent.sender_id == sender_id,
            Consent.grant_id == grant_id,
        )
        .order_by(Consent.topic)
        .execution_options(populate_existing=True)
    )
    return session.scalars(query).all()


def consents_by_grant(
    session: Session, sender_id: UUID, grants: Mapping[UUID, SubscriberNumber]
) -> dict[UUID, list[Consent]]:
    """Return a sender's consents of some grants, each of a number, with terms and evidence."""
    query = (
        select(Consent)
        .options(*_WHOLE)
        .where(
            # The number and the sender are what an index knows consents by.
            Consent.number.in_(set(grants.values())),
            Consent.sender_id == sender_id,
            Consent.grant_id.in_(grants),
        )
        .order_by(Consent.topic)
    )
    found: dict[UUID, list[Consent]] = {grant_id: [] for grant_id in grants}
    for consent in session.scalars(query):
        found[consent.grant_id].append(consent)
    return found


def oversee(session: Session, consent_id: UUID, *, overseer_id: UUID, clock: Clock) -> Consent:
    """Return anybody's consent to a regulator or operator, and record that it was looked at."""
    consent = session.get(Consent, consent_id, options=_WHOLE)
    if consent is None:
        raise not_found("consent")
    lock_number(session, consent.number)
    session.refresh(consent, ["reassignment_id"])
    data = {"consent": consent.id}
    number = None if consent.reassignment_id else consent.number  # The new one reads nothing of it.
    events.record(session, "consent_overseen", clock(), overseer_id, data, number)
    return consent


def search_consents(
    session: Session,
    number: SubscriberNumber,
    sender_id: UUID,
    after: tuple[int, UUID] | None = None,
) -> Sequence[Consent]:
    """Return a page of a sender's consents of one number, the newest first."""
    query = (
        select(Consent)
        .options(*_WHOLE)
        .where(Consent.number == number, Consent.sender_id == sender_id)
        .order_by(Consent.event_id.desc(), Consent.id.desc())
        .limit(PAGE)
    )
    if after is not None:
        query = query.where(tuple_(Consent.event_id, Consent.id) < tuple_(*after))
    return session.scalars(query).all()
