"""What people want: consents, withdrawals, refusals, reassignments. History is only appended to.

Every change takes the number's lock, reads the clock, inserts an event and changes the rows,
in the caller's transaction; the event's id tells what was recorded before what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import and_, bindparam, or_, select, tuple_
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry import events
from registry.consent import Basis, Channel, End, Topic
from registry.database import Clock, lock_number
from registry.errors import Kind, RegistryError
from registry.models import (
    ANY,
    Consent,
    Evidence,
    Grant,
    Method,
    Notice,
    Organisation,
    OrganisationKind,
    OutboxItem,
    Reassignment,
    Refusal,
    Via,
)
from registry.numbers import SubscriberNumber
from registry.policy import Assertions, Period, Policy

CLOCK_LEEWAY = timedelta(seconds=60)
"""How far ahead of ours the clock of whoever reports something may go."""
PAGE = 100


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


@dataclass(frozen=True)
class Scope:
    """What a refusal covers; None is all of them."""

    channel: Channel | None = None
    topic: Topic | None = None
    sender_id: UUID | None = None


class ConsentState(StrEnum):
    """What a sender is shown of its consent."""

    ACTIVE = "active"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    VOIDED = "voided"
    REASSIGNED = "reassigned"


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
_REFUSED_TOPICS = select(Refusal.topic).where(
    Refusal.number == bindparam("number"),
    Refusal.ended_at.is_(None),
    Refusal.reassignment_id.is_(None),
    Refusal.channel.in_(bindparam("channels", expanding=True)),
    or_(Refusal.sender_id.is_(None), Refusal.sender_id == bindparam("sender")),
)
_LATEST_REASSIGNMENT = (
    select(Reassignment)
    .where(Reassignment.number == bindparam("number"), Reassignment.cancelled_at.is_(None))
    .order_by(Reassignment.reassigned_at.desc())
    .limit(1)
)


def grant(
    session: Session,
    claim: Claim,
    *,
    sender_id: UUID,
    actor_id: UUID,
    basis: Basis,
    policy: Policy,
    clock: Clock,
) -> list[Consent]:
    """Record a consent, one row a topic, and end those that it supersedes.

    An assertion has no effect where a standing refusal covers it, where a confirmed consent is
    in force, or where the policy wants confirmation; the sender's answer is the same.
    """
    lock_number(session, claim.number)
    now = clock()
    _check_claim(session, claim, now)
    rivals = _rivals(session, claim, sender_id)
    effects = _effects(session, claim, sender_id, basis, rivals, policy, now)
    superseded = _supersede(rivals, effects, now)
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
    event_id = _granted_event(session, claim, consents, superseded, actor_id, now)
    for consent in consents:
        consent.event_id = event_id
    session.add_all(consents)
    if basis is Basis.ASSERTED:
        _tell(session, Notice.CONSENT_ASSERTED, claim.number, terms.id, now)
    session.flush()
    return consents


def _check_claim(session: Session, claim: Claim, now: datetime) -> None:
    if claim.channel is Channel.SMS and not claim.number.takes_sms:
        raise RegistryError(Kind.INVALID_NUMBER, "a landline takes no SMS")
    if claim.granted_at > now + CLOCK_LEEWAY:
        raise _invalid("granted_at", "lies in the future")
    if claim.valid_until <= now:
        raise _invalid("valid_until", "lies in the past")
    tenure = _latest_reassignment(session, claim.number)
    if tenure is not None and claim.granted_at < tenure.reassigned_at:
        raise _invalid("granted_at", "lies before the number went to another subscriber")


def _rivals(session: Session, claim: Claim, sender_id: UUID) -> dict[tuple[Topic, bool], Consent]:
    """Return, for each topic, the consent that decides and the one that waits (False)."""
    about = {"number": claim.number, "sender": sender_id, "channel": claim.channel}
    rows = session.scalars(_RIVALS, {**about, "topics": claim.topics})
    return {(row.topic, row.latest): row for row in rows}


def _effects(
    session: Session,
    claim: Claim,
    sender_id: UUID,
    basis: Basis,
    rivals: dict[tuple[Topic, bool], Consent],
    policy: Policy,
    now: datetime,
) -> dict[Topic, datetime | None]:
    """Return from when on the consent has effect for each topic, None where it has none."""
    if basis is Basis.CONFIRMED:
        return dict.fromkeys(claim.topics, now)
    if policy.consents.asserted is Assertions.NEED_CONFIRMATION:
        return dict.fromkeys(claim.topics)
    refused = _refused_topics(session, claim, sender_id)
    counts_from = now + timedelta(minutes=policy.consents.assertion_delay_minutes)
    return {
        topic: None
        if refused & {topic, ANY} or _confirmed_in_force(rivals.get((topic, True)), now)
        else counts_from
        for topic in claim.topics
    }


def _refused_topics(session: Session, claim: Claim, sender_id: UUID) -> set[str]:
    about = {"number": claim.number, "sender": sender_id, "channels": [claim.channel, ANY]}
    return set(session.connection().scalars(_REFUSED_TOPICS, about))


def _confirmed_in_force(consent: Consent | None, now: datetime) -> bool:
    return (
        consent is not None
        and consent.grant.basis is Basis.CONFIRMED
        and _stands(consent)
        and now < consent.valid_until
    )


def _stands(row: Consent | Refusal) -> bool:
    return row.ended_at is None and row.reassignment_id is None


def _supersede(
    rivals: dict[tuple[Topic, bool], Consent],
    effects: dict[Topic, datetime | None],
    now: datetime,
) -> list[UUID]:
    """End what the new consents replace: one with effect ends both rivals, another the waiting."""
    superseded = []
    for (topic, latest), rival in rivals.items():
        if latest and effects[topic] is None:
            continue
        rival.latest = False
        if _stands(rival) or not latest:  # What waited in an earlier tenure has lost its place.
            _end(rival, End.SUPERSEDED, now)
            superseded.append(rival.id)
    return superseded


def _granted_event(
    session: Session,
    claim: Claim,
    consents: list[Consent],
    superseded: list[UUID],
    actor_id: UUID,
    now: datetime,
) -> int:
    terms = consents[0].grant
    data = {
        "grant": terms.id,
        "basis": terms.basis,
        "sender": consents[0].sender_id,
        "channel": claim.channel,
        "granted_at": claim.granted_at,
        "valid_until": claim.valid_until,
        "cap": {"count": claim.cap.count, "period": claim.cap.period},
        "evidence": {"id": terms.evidence.id, "sha256": claim.evidence.sha256},
        "consents": [
            {"id": row.id, "topic": row.topic, "effective_from": row.effective_from}
            for row in consents
        ],
        "superseded": superseded,
    }
    return events.record(session, "consent_granted", now, actor_id, data, claim.number)


def withdraw(
    session: Session,
    consent_id: UUID,
    *,
    sender_id: UUID,
    by_subscriber: bool,
    note: str | None,
    clock: Clock,
) -> Consent:
    """End a consent (R3). One withdrawn by its subscriber leaves a refusal behind, which only a
    consent that the subscriber confirms can pass."""
    consent = own_consent(session, consent_id, sender_id)
    lock_number(session, consent.number)
    session.refresh(consent)
    scope = Scope(consent.channel, consent.topic, consent.sender_id)
    if consent.end_reason is End.WITHDRAWN:
        # The sender may have ended it first; the subscriber's wish is recorded all the same.
        here = by_subscriber and consent.reassignment_id is None
        if here and _standing(session, consent.number, scope) is None:
            refuse(
                session,
                consent.number,
                scope,
                via=Via.SENDER,
                recorded_by=sender_id,
                clock=clock,
            )
        return consent
    if not _stands(consent):
        raise RegistryError(Kind.CONFLICT, "this consent has already ended")
    now = clock()
    _end(consent, End.WITHDRAWN, now)
    consent.end_note = note
    refusal_id = uuid7() if by_subscriber else None
    data = {"consent": consent.id, "by_subscriber": by_subscriber, "refusal": refusal_id}
    superseded = _supersede_refusal(session, consent.number, scope, now) if refusal_id else None
    data["superseded"] = superseded
    event_id = events.record(session, "consent_withdrawn", now, sender_id, data, consent.number)
    if refusal_id:
        session.add(
            _refusal(refusal_id, consent.number, scope, Via.SENDER, sender_id, event_id, now)
        )
    session.flush()
    return consent


def refuse(
    session: Session,
    number: SubscriberNumber,
    scope: Scope,
    *,
    via: Via,
    recorded_by: UUID,
    clock: Clock,
) -> Refusal:
    """Record a subscriber's "no". Said again, it also beats what was agreed to in between."""
    if scope.sender_id is not None:
        sender = session.get(Organisation, scope.sender_id)
        if sender is None or sender.kind is not OrganisationKind.SENDER:
            raise _invalid("sender", "there is no such sender")
    lock_number(session, number)
    now = clock()
    refusal_id = uuid7()
    data = {
        "refusal": refusal_id,
        "channel": scope.channel or ANY,
        "topic": scope.topic or ANY,
        "sender": scope.sender_id,
        "via": via,
        "superseded": _supersede_refusal(session, number, scope, now),
    }
    event_id = events.record(session, "refusal_recorded", now, recorded_by, data, number)
    refusal = _refusal(refusal_id, number, scope, via, recorded_by, event_id, now)
    session.add(refusal)
    session.flush()
    return refusal


def _refusal(
    refusal_id: UUID,
    number: SubscriberNumber,
    scope: Scope,
    via: Via,
    recorded_by: UUID,
    event_id: int,
    now: datetime,
) -> Refusal:
    return Refusal(
        id=refusal_id,
        number=number,
        channel=scope.channel or ANY,
        topic=scope.topic or ANY,
        sender_id=scope.sender_id,
        via=via,
        recorded_by=recorded_by,
        event_id=event_id,
        recorded_at=now,
    )


def _standing(session: Session, number: SubscriberNumber, scope: Scope) -> Refusal | None:
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


def _supersede_refusal(
    session: Session, number: SubscriberNumber, scope: Scope, now: datetime
) -> UUID | None:
    """End the standing refusal of the same scope, which the new one takes the place of."""
    standing = _standing(session, number, scope)
    if standing is None:
        return None
    _end(standing, End.SUPERSEDED, now)
    session.flush()
    return standing.id


def lift(session: Session, refusal_id: UUID, *, recorded_by: UUID, clock: Clock) -> Refusal:
    """End a refusal at its subscriber's wish, and tell the subscriber."""
    refusal = session.get(Refusal, refusal_id)
    if refusal is None or refusal.recorded_by != recorded_by:
        raise RegistryError(Kind.NOT_FOUND, "there is no such refusal")
    lock_number(session, refusal.number)
    session.refresh(refusal)
    if refusal.end_reason is End.LIFTED:
        return refusal
    if not _stands(refusal):
        raise RegistryError(Kind.CONFLICT, "this refusal has already ended")
    now = clock()
    _end(refusal, End.LIFTED, now)
    data = {"refusal": refusal.id}
    events.record(session, "refusal_lifted", now, recorded_by, data, refusal.number)
    _tell(session, Notice.REFUSAL_LIFTED, refusal.number, refusal.id, now)
    session.flush()
    return refusal


def reassign(
    session: Session,
    number: SubscriberNumber,
    reassigned_at: datetime,
    *,
    recorded_by: UUID,
    clock: Clock,
) -> Reassignment:
    """Record that a number went to another subscriber, which ends every consent and refusal.

    Only what the subscriber did in the registry after `reassigned_at` is the new one's own and
    stays; what a sender asserted in between ends, because nobody can tell whose it was.
    """
    lock_number(session, number)
    now = clock()
    if reassigned_at > now + CLOCK_LEEWAY:
        raise _invalid("reassigned_at", "lies in the future")
    known = _latest_reassignment(session, number)
    if known is not None and known.reassigned_at >= reassigned_at:
        raise RegistryError(Kind.CONFLICT, "a reassignment at or after this time is recorded")
    ended = [row for row in _of_tenure(session, number, None) if _earlier(row, reassigned_at)]
    reassignment = Reassignment(
        id=uuid7(),
        number=number,
        reassigned_at=reassigned_at,
        recorded_by=recorded_by,
        recorded_at=now,
    )
    data = {
        "reassignment": reassignment.id,
        "reassigned_at": reassigned_at,
        "consents": [row.id for row in ended if isinstance(row, Consent)],
        "refusals": [row.id for row in ended if isinstance(row, Refusal)],
    }
    reassignment.event_id = events.record(
        session, "number_reassigned", now, recorded_by, data, number
    )
    session.add(reassignment)
    session.flush()
    for row in ended:
        row.reassignment_id = reassignment.id
    session.flush()
    return reassignment


def _earlier(row: Consent | Refusal, reassigned_at: datetime) -> bool:
    own_act = isinstance(row, Refusal) or row.grant.basis is Basis.CONFIRMED
    return not (own_act and row.recorded_at >= reassigned_at)


def cancel_reassignment(
    session: Session, reassignment_id: UUID, *, recorded_by: UUID, clock: Clock
) -> Reassignment:
    """Take back a mistaken report and restore what it ended.

    What was recorded since stays and, being newer, takes the place of what it would meet. What
    a later reassignment would have ended belongs to that one from now on.
    """
    reassignment = session.get(Reassignment, reassignment_id)
    if reassignment is None or reassignment.recorded_by != recorded_by:
        raise RegistryError(Kind.NOT_FOUND, "there is no such reassignment")
    lock_number(session, reassignment.number)
    session.refresh(reassignment)
    if reassignment.cancelled_at is not None:
        return reassignment
    now = clock()
    reassignment.cancelled_at = now
    later = _latest_reassignment(session, reassignment.number)
    if later is not None and later.event_id < reassignment.event_id:
        later = None
    current = _of_tenure(session, reassignment.number, None)
    restored = _of_tenure(session, reassignment.number, reassignment.id)
    superseded = []
    for row in restored:
        if later is None and row.ended_at is None and _replaced(row, [*current, *restored]):
            _end(row, End.SUPERSEDED, now)
            superseded.append(row.id)
        row.reassignment_id = later.id if later else None
    data = {
        "reassignment": reassignment.id,
        "moved_to": later.id if later else None,
        "superseded": superseded,
    }
    events.record(session, "reassignment_cancelled", now, recorded_by, data, reassignment.number)
    session.flush()
    return reassignment


def _replaced(row: Consent | Refusal, others: Sequence[Consent | Refusal]) -> bool:
    """Tell whether something recorded later has the place that the row would return to."""
    return any(
        _place(other) == _place(row) and other.event_id > row.event_id
        for other in others
        if other.ended_at is None
    ) or (isinstance(row, Consent) and row.effective_from is not None and not row.latest)


def _place(row: Consent | Refusal) -> tuple[Any, ...]:
    effect = isinstance(row, Consent) and row.effective_from is not None
    return type(row), row.channel, row.topic, row.sender_id, effect


def _of_tenure(
    session: Session, number: SubscriberNumber, reassignment_id: UUID | None
) -> list[Consent | Refusal]:
    """Return what one tenure of the number holds: that of today, or one that ended."""
    consents = session.scalars(
        select(Consent)
        .options(joinedload(Consent.grant))
        .where(Consent.number == number, Consent.reassignment_id == reassignment_id)
    )
    refusals = session.scalars(
        select(Refusal).where(Refusal.number == number, Refusal.reassignment_id == reassignment_id)
    )
    return [*consents, *refusals]


def _latest_reassignment(session: Session, number: SubscriberNumber) -> Reassignment | None:
    return session.scalar(_LATEST_REASSIGNMENT, {"number": number})


_WHOLE = (
    joinedload(Consent.grant).joinedload(Grant.evidence),
    joinedload(Consent.reassignment),
)


def own_consent(session: Session, consent_id: UUID, sender_id: UUID) -> Consent:
    """Return a sender's own consent with its terms and evidence."""
    consent = session.get(Consent, consent_id, options=_WHOLE)
    if consent is None or consent.sender_id != sender_id:
        raise RegistryError(Kind.NOT_FOUND, "there is no such consent")
    return consent


def oversee(session: Session, consent_id: UUID, *, overseer_id: UUID, clock: Clock) -> Consent:
    """Return anybody's consent to a regulator or operator, and record that it was looked at."""
    consent = session.get(Consent, consent_id, options=_WHOLE)
    if consent is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such consent")
    data = {"consent": consent.id}
    events.record(session, "consent_overseen", clock(), overseer_id, data, consent.number)
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


def state(consent: Consent, now: datetime) -> ConsentState:
    """Return what a sender is shown; an assertion without effect looks like any other."""
    if consent.reassignment_id is not None:
        return ConsentState.REASSIGNED
    if consent.end_reason is not None:
        return ConsentState(consent.end_reason)
    return ConsentState.ACTIVE if now < consent.valid_until else ConsentState.EXPIRED


def _end(row: Consent | Refusal, reason: End, now: datetime) -> None:
    row.ended_at = now
    row.end_recorded_at = now
    row.end_reason = reason


def _tell(
    session: Session, notice: Notice, number: SubscriberNumber, subject_id: UUID, now: datetime
) -> None:
    session.add(
        OutboxItem(id=uuid7(), notice=notice, number=number, subject_id=subject_id, recorded_at=now)
    )


def _invalid(field: str, problem: str) -> RegistryError:
    return RegistryError(Kind.INVALID, f"{field} {problem}", fields={field: [problem]})
