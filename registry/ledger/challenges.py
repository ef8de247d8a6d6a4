"""Challenges: "I never agreed to this". The sender brings evidence in time, or the consent is void.

A challenge is about a grant, which is one act with one evidence. It stops contacts at once, by a
refusal of each of the grant's topics, which nobody lifts while the dispute is open, and which stays
whatever the sender brings.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, true, tuple_
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import Basis, End
from registry.database import Clock, Database, lock_number
from registry.errors import conflict, not_found
from registry.ledger import acts, due
from registry.ledger.acts import By
from registry.ledger.consents import PAGE, consent_of, of_grant
from registry.ledger.grants import confirmed_topics
from registry.ledger.refusals import Scope, refuse, standing
from registry.ledger.tenure import todays, whose
from registry.models import (
    Challenge,
    ChallengeOutcome,
    Notice,
    Via,
    Violation,
    ViolationKind,
)
from registry.numbers import SubscriberNumber
from registry.policy import Policy


def challenge(
    session: Session,
    number: SubscriberNumber,
    consent_id: UUID,
    *,
    by: By,
    policy: Policy,
    clock: Clock,
) -> Challenge:
    """Dispute the grant that an asserted consent belongs to; again, it is the same dispute.

    Raises `CONFLICT` for a consent that the subscriber confirmed, and for one that has ended.
    """
    lock_number(session, number)
    consent = consent_of(session, number, consent_id)
    disputed = session.scalar(select(Challenge).where(Challenge.grant_id == consent.grant_id))
    if disputed is not None:
        return disputed
    if consent.grant.basis is Basis.CONFIRMED:
        raise conflict("you agreed to this in the registry: withdraw it instead")
    if not acts.stands(consent):
        raise conflict("this consent has already ended")
    if consent.grant.evidence.purged_at is not None:
        raise conflict("the evidence of this consent is kept no longer")
    now = clock()
    disputed = Challenge(
        id=uuid7(),
        grant_id=consent.grant_id,
        number=number,
        sender_id=consent.sender_id,
        recorded_at=now,
        evidence_by=now + timedelta(days=policy.challenges.evidence_days),
    )
    data = {
        "challenge": disputed.id,
        "grant": consent.grant_id,
        "sender": consent.sender_id,
        "channel": consent.channel,
        "evidence_by": disputed.evidence_by,
        "refusals": [
            refuse(session, number, scope, by=by, clock=lambda: now).id
            for scope in _scopes(session, disputed, now)
        ],
    }
    disputed.event_id = acts.record(session, "consent_challenged", now, by, data, number)
    session.add(disputed)
    session.flush()
    return disputed


def _scopes(session: Session, disputed: Challenge, now: datetime) -> list[Scope]:
    """Return what a dispute refuses: each topic of the grant, to its sender on its channel.

    What the subscriber has confirmed apart from it stays: that is the subscriber's own word.
    """
    number, sender_id = disputed.number, disputed.sender_id
    rows = of_grant(session, number, sender_id, disputed.grant_id)
    channel, topics = rows[0].channel, tuple(row.topic for row in rows)
    confirmed = confirmed_topics(session, number, sender_id, channel, topics, now)
    return [Scope(channel, topic, sender_id) for topic in topics if topic not in confirmed]


def _refuse_again(session: Session, disputed: Challenge, now: datetime) -> list[UUID]:
    """Refuse what a voided grant was about wherever that does not stand refused any more.

    Nobody can assert a way back; to the number's new subscriber it refuses nothing.
    """
    if not todays(session, disputed.number, disputed.recorded_at):
        return []
    return [
        refuse(session, disputed.number, scope, by=By(Via.REGISTRY), clock=lambda: now).id
        for scope in _scopes(session, disputed, now)
        if standing(session, disputed.number, scope) is None
    ]


def own_challenge(session: Session, challenge_id: UUID, sender_id: UUID) -> Challenge:
    """Return a challenge of one of a sender's consents."""
    disputed = session.get(Challenge, challenge_id)
    if disputed is None or disputed.sender_id != sender_id:
        raise not_found("challenge")
    return disputed


def search_challenges(
    session: Session, sender_id: UUID, after: tuple[int, UUID] | None = None
) -> Sequence[Challenge]:
    """Return a page of the challenges of a sender's consents, the newest first."""
    query = (
        select(Challenge)
        .where(
            Challenge.sender_id == sender_id,
            true() if after is None else tuple_(Challenge.event_id, Challenge.id) < after,
        )
        .order_by(Challenge.event_id.desc(), Challenge.id.desc())
        .limit(PAGE)
    )
    return session.scalars(query).all()


def bring_evidence(
    session: Session,
    challenge_id: UUID,
    *,
    sender_id: UUID,
    text: str,
    sha256: str | None,
    uri: str | None,
    clock: Clock,
) -> Challenge:
    """Answer a challenge with evidence, in time; the subscriber is told and sees it (R8).

    What it proves is for the subscriber to judge, by a complaint, and for the regulator: the
    consent is not void, and its refusal stands.
    """
    disputed = own_challenge(session, challenge_id, sender_id)
    lock_number(session, disputed.number)
    session.refresh(disputed)
    now = clock()
    if disputed.outcome is not None:
        raise conflict("this challenge is closed")
    if now >= disputed.evidence_by:
        raise conflict("the time to bring evidence is over")
    disputed.answered_at = disputed.closed_at = now
    disputed.evidence_text, disputed.evidence_sha256, disputed.evidence_uri = text, sha256, uri
    disputed.outcome = ChallengeOutcome.EVIDENCED
    data = {**_about(disputed), "evidence": {"sha256": sha256}}
    by = By(Via.SENDER, sender_id)
    number = whose(session, disputed.number, disputed.recorded_at)
    acts.record(session, "challenge_answered", now, by, data, number)
    _tell(session, Notice.CHALLENGE_ANSWERED, disputed, now)
    session.flush()
    return disputed


def _about(disputed: Challenge) -> dict[str, object]:
    return {
        "challenge": disputed.id,
        "grant": disputed.grant_id,
        "sender": disputed.sender_id,
    }


def _tell(session: Session, notice: Notice, disputed: Challenge, now: datetime) -> None:
    """Tell the subscriber who disputed it; a new one of the number hears nothing of it."""
    if todays(session, disputed.number, disputed.recorded_at):
        acts.tell(session, notice, disputed.number, disputed.id, now)


def void_due(database: Database, *, clock: Clock) -> int:
    """Void every disputed grant that no evidence came for in time; return how many were."""
    return due.close_each(database, _due, _void, clock)


_due = due.finder(Challenge.evidence_by, Challenge.id, Challenge.outcome.is_(None))


def _void(session: Session, challenge_id: UUID, clock: Clock) -> bool:
    """Void one grant, unless evidence came meanwhile, and record the violation.

    That the number went to somebody else, or that the sender took the consent back, does not
    undo what the sender did.
    """
    disputed = session.get_one(Challenge, challenge_id)
    lock_number(session, disputed.number)
    session.refresh(disputed)
    now = clock()
    if disputed.outcome is not None or now < disputed.evidence_by:
        return False
    disputed.closed_at = now
    disputed.outcome = ChallengeOutcome.VOIDED
    consents = of_grant(session, disputed.number, disputed.sender_id, disputed.grant_id)
    ended = [row for row in consents if row.ended_at is None]
    for row in ended:
        acts.end(row, End.VOIDED, now)
    violation = Violation(
        id=uuid7(),
        kind=ViolationKind.UNPROVEN_CONSENT,
        organisation_id=disputed.sender_id,
        number=disputed.number,
        subject_id=disputed.id,
        recorded_at=now,
    )
    data = {
        **_about(disputed),
        "consents": [row.id for row in ended],
        "refusals": _refuse_again(session, disputed, now),
        "violation": violation.id,
    }
    by = By(Via.REGISTRY)
    number = whose(session, disputed.number, disputed.recorded_at)
    violation.event_id = acts.record(session, "consent_voided", now, by, data, number)
    session.add(violation)
    _tell(session, Notice.CONSENT_VOIDED, disputed, now)
    session.flush()
    return True
