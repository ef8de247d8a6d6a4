"""Who is shown evidence: its sender, the carrier that asks, the subscriber concerned, overseers.

The texts and the file of one consent go together. To everybody else there is no such consent.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from registry import events, ledger
from registry.consent import Channel, Topic
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError
from registry.evidence.retention import kept_until, over_at
from registry.models import Challenge, Consent, EvidenceFile, Grant
from registry.numbers import SubscriberNumber
from registry.policy import Retention


@dataclass(frozen=True)
class Proof:
    """What the sender brought when the subscriber disputed the consent, and its file."""

    challenge: Challenge
    file: EvidenceFile | None


@dataclass(frozen=True)
class Shown:
    """A consent with its evidence. `kept_until` holds as its terms stand: until nothing of what
    rests on the evidence runs, and then as long as the policy says; None when it is removed."""

    consent: Consent
    file: EvidenceFile | None
    proof: Proof | None
    kept_until: datetime | None


@dataclass(frozen=True)
class Asked:
    """The consent that a carrier asks evidence of: whose, to whom, for what (R8)."""

    sender_id: UUID
    number: SubscriberNumber
    channel: Channel
    topic: Topic


def own(session: Session, consent_id: UUID, sender_id: UUID) -> Consent:
    """Return a sender's own consent."""
    return ledger.own_consent(session, consent_id, sender_id)


def oversee(session: Session, consent_id: UUID, *, overseer_id: UUID, clock: Clock) -> Consent:
    """Return anybody's consent to a regulator or operator, and record that it was looked at."""
    return ledger.oversee(session, consent_id, overseer_id=overseer_id, clock=clock)


def show_carrier(session: Session, asked: Asked, *, carrier_id: UUID, clock: Clock) -> Consent:
    """Return the consent that decides of a contact, to the carrier that asks for proof (R8).

    It is the one in force or the last that was, else the newest that was asserted. The look is an
    event of the number. Consents of an earlier subscriber are nobody's business.
    """
    lock_number(session, asked.number)
    query = (
        select(Consent)
        .options(
            joinedload(Consent.grant).joinedload(Grant.evidence), joinedload(Consent.reassignment)
        )
        .where(
            Consent.number == asked.number,
            Consent.sender_id == asked.sender_id,
            Consent.channel == asked.channel,
            Consent.topic == asked.topic,
            Consent.reassignment_id.is_(None),
        )
        .order_by(Consent.latest.desc(), Consent.event_id.desc())
        .limit(1)
    )
    consent = session.scalar(query)
    if consent is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such consent")
    data = {"consent": consent.id, "sender": consent.sender_id}
    events.record(session, "evidence_shown", clock(), carrier_id, data, asked.number)
    return consent


def shown(session: Session, consent: Consent, retention: Retention) -> Shown:
    """Return a consent with the files that its evidence is about, and how long that is kept."""
    return Shown(
        consent,
        file_of(session, consent),
        proof_of(session, consent),
        _kept_until(session, consent, retention),
    )


def file_of(session: Session, consent: Consent) -> EvidenceFile | None:
    """Return the file that a consent's evidence is about, None where its sender keeps none here."""
    evidence = consent.grant.evidence
    return None if evidence.purged_at else _file(session, consent.sender_id, evidence.sha256)


def proof_of(session: Session, consent: Consent) -> Proof | None:
    """Return what the sender brought when the consent was disputed."""
    challenge = session.scalar(select(Challenge).where(Challenge.grant_id == consent.grant_id))
    if challenge is None or challenge.answered_at is None:
        return None
    if consent.grant.evidence.purged_at is not None:
        return Proof(challenge, None)
    return Proof(challenge, _file(session, consent.sender_id, challenge.evidence_sha256))


def _file(session: Session, sender_id: UUID, sha256: str | None) -> EvidenceFile | None:
    if sha256 is None:
        return None
    return session.scalar(
        select(EvidenceFile).where(
            EvidenceFile.organisation_id == sender_id, EvidenceFile.sha256 == sha256
        )
    )


def _kept_until(session: Session, consent: Consent, retention: Retention) -> datetime | None:
    evidence = consent.grant.evidence
    if evidence.purged_at is not None:
        return None
    over = over_at(session, evidence.id)
    return None if over is None else kept_until(over, retention.evidence_after_end)
