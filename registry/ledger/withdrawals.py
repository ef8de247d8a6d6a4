"""Withdrawals: the end of a consent before its date (R3)."""

from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import End
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError
from registry.ledger import acts, refusals
from registry.ledger.acts import By
from registry.ledger.consents import own_consent
from registry.ledger.refusals import Scope
from registry.models import Consent


def withdraw(
    session: Session,
    consent_id: UUID,
    *,
    by: By,
    by_subscriber: bool,
    note: str | None,
    clock: Clock,
) -> Consent:
    """End a consent, as its sender reports it. One withdrawn by its subscriber leaves a refusal
    behind, which only a consent that the subscriber confirms can pass."""
    consent = own_consent(session, consent_id, by.organisation_id)
    lock_number(session, consent.number)
    session.refresh(consent)
    scope = Scope(consent.channel, consent.topic, consent.sender_id)
    if consent.end_reason is End.WITHDRAWN:
        # The sender may have ended it first; the subscriber's wish is recorded all the same.
        here = by_subscriber and consent.reassignment_id is None
        if here and refusals.standing(session, consent.number, scope) is None:
            refusals.refuse(session, consent.number, scope, by=by, clock=clock)
        return consent
    if not acts.stands(consent):
        raise RegistryError(Kind.CONFLICT, "this consent has already ended")
    now = clock()
    acts.end(consent, End.WITHDRAWN, now)
    consent.end_note = note
    refusal_id = uuid7() if by_subscriber else None
    data = {
        "consent": consent.id,
        "by_subscriber": by_subscriber,
        "refusal": refusal_id,
        "superseded": refusals.supersede(session, consent.number, scope, now)
        if refusal_id
        else None,
    }
    event_id = acts.record(session, "consent_withdrawn", now, by, data, consent.number)
    if refusal_id:
        session.add(refusals.make(refusal_id, consent.number, scope, by, event_id, now))
    session.flush()
    return consent
