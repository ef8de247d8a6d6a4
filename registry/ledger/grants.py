"""Grants: one act of consenting to a sender, for one or more topics."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, or_, select
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry.consent import Basis, Channel, End, Topic
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError, conflict, invalid
from registry.ledger import acts, assertions
from registry.ledger.acts import By
from registry.ledger.consents import consent_of
from registry.ledger.disputes import in_dispute
from registry.ledger.refusals import refused_topics
from registry.ledger.tenure import tenure_start
from registry.models import ANY, Consent, Evidence, Grant, Method
from registry.numbers import SubscriberNumber
from registry.policy import Assertions, Period, Policy


@dataclass(frozen=True)
class CapTerms:
    """The frequency that was agreed to (R4)."""

    count: int
    period: Period


@dataclass(frozen=True)
class EvidenceClaim:
    """How the consent was given; `sha256` and `uri` point to what the sender keeps (R7, R8)."""

    method: Method
    notice_text: str
    notice_version: str | None = None
    language: str | None = None
    sha256: str | None = None
    uri: str | None = None


@dataclass(frozen=True)
class Claim:
    """A consent to be recorded: one act, for one or more topics."""

    number: SubscriberNumber
    channel: Channel
    topics: tuple[Topic, ...]
    granted_at: datetime
    valid_until: datetime
    cap: CapTerms
    evidence: EvidenceClaim


GRANTED = "consent_granted"
"""The kind of the event of a grant."""

Rivals = dict[tuple[Topic, bool], Consent]
"""For each topic, the consent that decides (True) and the one that waits (False)."""

_RIVALS = (
    select(Consent)
    .options(joinedload(Consent.grant))
    .where(
        Consent.number == bindparam("number"),
        Consent.sender_id == bindparam("sender"),
        Consent.channel == bindparam("channel"),
        Consent.topic.in_(bindparam("topics", expanding=True)),
        or_(Consent.latest, and_(Consent.effective_from.is_(None), Consent.ended_at.is_(None))),
    )
)


def grant(
    session: Session,
    claim: Claim,
    *,
    sender_id: UUID,
    by: By,
    basis: Basis,
    policy: Policy,
    clock: Clock,
) -> list[Consent]:
    """Record a consent, one row a topic, and end those that it supersedes.

    An assertion has no effect where a standing refusal covers it, where a confirmed consent is
    in force, where the number takes no SMS that could tell of it, or where the policy wants
    confirmation; the sender's answer is the same.
    """
    lock_number(session, claim.number)
    now = clock()
    check_claim(claim, tenure_start(session, claim.number), now)
    met = rivals(session, claim.number, sender_id, claim.channel, claim.topics)
    effects = _effects(session, claim, sender_id, basis, met, policy, now)
    superseded = _supersede(met, effects, now)
    session.flush()  # Unique indexes hold at once: the old rows end before the new ones begin.

    terms = Grant(
        id=uuid7(),
        evidence=Evidence(id=uuid7(), recorded_at=now, **vars(claim.evidence)),
        basis=basis,
        granted_at=claim.granted_at,
        cap_count=claim.cap.count,
        cap_period=claim.cap.period,
    )
    consents = [
        Consent(
            id=uuid7(),
            number=claim.number,
            sender_id=sender_id,
            channel=claim.channel,
            topic=topic,
            grant=terms,
            reassignment=None,
            recorded_at=now,
            effective_from=effects[topic],
            latest=effects[topic] is not None,
            valid_until=claim.valid_until,
        )
        for topic in claim.topics
    ]
    event_id = _granted_event(session, claim, consents, superseded, by, now)
    for consent in consents:
        consent.event_id = event_id
    session.add_all(consents)
    if basis is Basis.ASSERTED:
        assertions.tell(session, consents, now)
    session.flush()
    return consents


def confirm(
    session: Session,
    number: SubscriberNumber,
    *consent_ids: UUID,
    by: By,
    policy: Policy,
    clock: Clock,
    notice_text: str | None = None,
) -> list[Consent]:
    """Let a subscriber agree, here, to what a sender asserted, also where it had no effect.

    Several consents are of one grant and stay so: what is confirmed in one act shares one cap.
    The confirmed ones have the terms of the asserted ones, whose text is their evidence unless
    another was shown, and take their places. Confirming twice changes nothing. Raises `CONFLICT`
    for what has ended, and for what is in an open dispute.
    """
    lock_number(session, number)
    asserted = [consent_of(session, number, consent_id) for consent_id in consent_ids]
    now = clock()
    known = {row.id: _confirmed_already(session, row, now) for row in asserted}
    waiting = [row for row in asserted if known[row.id] is None]
    if any(not acts.stands(row) or now >= row.valid_until for row in waiting):
        raise conflict("this consent has already ended")
    if waiting:
        made = _confirm(session, waiting, notice_text, by, policy, now)
        known.update((row.id, new) for row, new in zip(waiting, made, strict=True))
    return [found for row in asserted if (found := known[row.id]) is not None]


def _confirm(
    session: Session,
    asserted: list[Consent],
    notice_text: str | None,
    by: By,
    policy: Policy,
    now: datetime,
) -> list[Consent]:
    """Record a confirmed grant of what one asserted grant, or a part of it, was about."""
    [terms] = {row.grant for row in asserted}
    if in_dispute(session, terms.id):
        raise conflict("this consent is in dispute")
    claim = Claim(
        number=asserted[0].number,
        channel=asserted[0].channel,
        topics=tuple(row.topic for row in asserted),
        granted_at=now,
        valid_until=asserted[0].valid_until,
        cap=CapTerms(terms.cap_count, terms.cap_period),
        evidence=EvidenceClaim(
            Method.REGISTRY,
            notice_text or terms.evidence.notice_text,
            None if notice_text else terms.evidence.notice_version,
            None if notice_text else terms.evidence.language,
        ),
    )
    consents = grant(
        session,
        claim,
        sender_id=asserted[0].sender_id,
        by=by,
        basis=Basis.CONFIRMED,
        policy=policy,
        clock=lambda: now,
    )
    # Nobody is contacted more often in this period for having confirmed.
    confirmed = consents[0].grant
    confirmed.cap_used, confirmed.cap_used_in = terms.cap_used, terms.cap_used_in
    session.flush()
    return consents


def _confirmed_already(session: Session, consent: Consent, now: datetime) -> Consent | None:
    """Return the confirmed consent in force that this is, or that has taken its place."""
    if consent.grant.basis is not Basis.CONFIRMED and consent.end_reason is not End.SUPERSEDED:
        return None
    met = rivals(session, consent.number, consent.sender_id, consent.channel, (consent.topic,))
    latest = met.get((consent.topic, True))
    return latest if confirmed_in_force(latest, now) else None


def confirmed_topics(
    session: Session,
    number: SubscriberNumber,
    sender_id: UUID,
    channel: Channel,
    topics: tuple[Topic, ...],
    now: datetime,
) -> set[Topic]:
    """Return those topics for which a consent is in force that the subscriber confirmed."""
    met = rivals(session, number, sender_id, channel, topics)
    return {topic for topic in topics if confirmed_in_force(met.get((topic, True)), now)}


def check_claim(claim: Claim, tenure_start: datetime | None, now: datetime) -> None:
    """Raise when a claim contradicts itself, the clock or the tenure of its number."""
    check_channel(claim.channel, claim.number)
    if claim.granted_at > now + acts.CLOCK_LEEWAY:
        raise invalid("granted_at", "lies in the future")
    if claim.valid_until <= now:
        raise invalid("valid_until", "lies in the past")
    if not claim.topics or len(set(claim.topics)) < len(claim.topics):
        raise invalid("topics", "are missing, or one is named twice")
    if tenure_start is not None and claim.granted_at < tenure_start:
        raise invalid("granted_at", "lies before the number went to another subscriber")


def check_channel(channel: Channel, number: SubscriberNumber) -> None:
    """Raise when the number cannot be reached on this channel."""
    if channel is Channel.SMS and not number.takes_sms:
        raise RegistryError(Kind.INVALID_NUMBER, "a landline takes no SMS")


def rivals(
    session: Session,
    number: SubscriberNumber,
    sender_id: UUID,
    channel: Channel,
    topics: tuple[Topic, ...],
) -> Rivals:
    """Return what a new consent would meet in its place."""
    about = {"number": number, "sender": sender_id, "channel": channel, "topics": topics}
    return {(row.topic, row.latest): row for row in session.scalars(_RIVALS, about)}


def _effects(
    session: Session,
    claim: Claim,
    sender_id: UUID,
    basis: Basis,
    met: Rivals,
    policy: Policy,
    now: datetime,
) -> dict[Topic, datetime | None]:
    """Return from when on the consent has effect for each topic, None where it has none."""
    if basis is Basis.CONFIRMED:
        return dict.fromkeys(claim.topics, now)
    confirmed = {topic for topic in claim.topics if confirmed_in_force(met.get((topic, True)), now)}
    refused = refused_topics(session, claim.number, sender_id, claim.channel)
    return assertion_effects(claim, confirmed, refused, policy, now)


def assertion_effects(
    claim: Claim,
    confirmed: Collection[str],
    refused: Collection[str],
    policy: Policy,
    now: datetime,
) -> dict[Topic, datetime | None]:
    """Return from when on an assertion has effect for each topic, None where it has none.

    `confirmed` are the topics for which a confirmed consent is in force, `refused` those, `ANY`
    among them, that are refused to the sender on this channel.
    """
    told = claim.number.takes_sms  # Nobody is bound by what nobody could tell of.
    if policy.consents.asserted is Assertions.NEED_CONFIRMATION or not told:
        return dict.fromkeys(claim.topics)
    counts_from = now + timedelta(minutes=policy.consents.assertion_delay_minutes)
    if not confirmed and not refused:
        return dict.fromkeys(claim.topics, counts_from)
    return {
        topic: None if topic in refused or ANY in refused or topic in confirmed else counts_from
        for topic in claim.topics
    }


def confirmed_in_force(consent: Consent | None, now: datetime) -> bool:
    """Tell whether this is a consent that the subscriber confirmed and that still runs."""
    return (
        consent is not None
        and consent.grant.basis is Basis.CONFIRMED
        and acts.stands(consent)
        and now < consent.valid_until
    )


def _supersede(met: Rivals, effects: dict[Topic, datetime | None], now: datetime) -> list[UUID]:
    """End what the new consents replace."""
    superseded = []
    for (topic, latest), rival in met.items():
        if keeps_place(latest, effects[topic]):
            continue
        rival.latest = False
        if is_superseded(latest, acts.stands(rival)):
            acts.end(rival, End.SUPERSEDED, now)
            superseded.append(rival.id)
    return superseded


def keeps_place(latest: bool, effect: datetime | None) -> bool:
    """Tell whether a rival stays: a consent without effect replaces only what waits, too."""
    return latest and effect is None


def is_superseded(latest: bool, stands: bool) -> bool:
    """Tell whether a rival that loses its place ends; what waited in an earlier tenure does."""
    return stands or not latest


def _granted_event(
    session: Session,
    claim: Claim,
    consents: list[Consent],
    superseded: list[UUID],
    by: By,
    now: datetime,
) -> int:
    terms = consents[0].grant
    data = granted_data(
        claim,
        consents[0].sender_id,
        terms.basis,
        terms.id,
        terms.evidence.id,
        [(row.id, row.topic, row.effective_from) for row in consents],
        superseded,
    )
    return acts.record(session, GRANTED, now, by, data, claim.number)


def granted_data(
    claim: Claim,
    sender_id: UUID,
    basis: Basis,
    grant_id: object,
    evidence_id: object,
    consents: Iterable[tuple[object, Topic, datetime | None]],
    superseded: object,
) -> dict[str, Any]:
    """Return what the event of a grant says."""
    return {
        "grant": grant_id,
        "basis": basis,
        "sender": sender_id,
        "channel": claim.channel,
        "granted_at": claim.granted_at,
        "valid_until": claim.valid_until,
        "cap": {"count": claim.cap.count, "period": claim.cap.period},
        "evidence": {"id": evidence_id, "sha256": claim.evidence.sha256},
        "consents": [
            {"id": consent_id, "topic": topic, "effective_from": effective_from}
            for consent_id, topic, effective_from in consents
        ],
        "superseded": superseded,
    }
