"""What a number's consents are worth today, by the rule."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, or_, select
from sqlalchemy.orm import Session, joinedload

from registry.consent import DECISIONS, Fact, Reason, Wish, wish_facts
from registry.errors import Kind, RegistryError
from registry.models import ANY, Challenge, Consent, Grant, Refusal
from registry.numbers import SubscriberNumber
from registry.subscribers.own_refusals import refusals
from registry.subscribers.rows import PAGE


class Standing(StrEnum):
    """What a consent is worth today, as its subscriber is told."""

    IN_FORCE = "in_force"
    WITHOUT_EFFECT = "without_effect"
    REFUSED = "refused"
    CHALLENGED = "challenged"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    VOIDED = "voided"

    @property
    def over(self) -> bool:
        """Whether nothing can bring this consent back."""
        return self in _OVER


_OVER = {Standing.EXPIRED, Standing.WITHDRAWN, Standing.SUPERSEDED, Standing.VOIDED}


@dataclass(frozen=True)
class OwnConsent:
    """A consent with what it is worth, the newest refusal that covers it, and its dispute."""

    row: Consent
    standing: Standing
    refusal: Refusal | None
    challenge: Challenge | None

    @property
    def in_dispute(self) -> bool:
        """Whether the subscriber said never to have agreed, and the sender must still answer."""
        return self.challenge is not None and self.challenge.outcome is None

    @property
    def over(self) -> bool:
        """Whether nothing about it can change any more."""
        return self.standing.over and not self.in_dispute


def consents(session: Session, number: SubscriberNumber, now: datetime) -> list[OwnConsent]:
    """Return the consents that have not ended or are in dispute, the newest first.

    Those whose date has passed come last.
    """
    query = _consents(number).where(or_(Consent.ended_at.is_(None), _disputed(number)))
    found = _own(session, number, session.scalars(query).all(), now)
    return sorted(found, key=lambda own: own.standing.over)


_RUNNING = (
    select(Consent)
    .options(joinedload(Consent.grant))
    .where(
        Consent.number == bindparam("number"),
        Consent.reassignment_id.is_(None),
        Consent.ended_at.is_(None),
        Consent.valid_until > bindparam("now"),
        ~exists().where(Challenge.grant_id == Consent.grant_id, Challenge.outcome.is_(None)),
    )
)


def count_in_force(
    session: Session, number: SubscriberNumber, said_no: Iterable[Refusal], now: datetime
) -> int:
    """Return how many consents are in force beside the refusals that stand.

    What cannot be in force is not read at all, nor is what the others rest on: there may be many.
    """
    rows = session.scalars(_RUNNING, {"number": number, "now": now})
    standings = [_weighed(row, said_no, None, now).standing for row in rows]
    return standings.count(Standing.IN_FORCE)


def ended_consents(
    session: Session,
    number: SubscriberNumber,
    now: datetime,
    before: UUID | None = None,
    limit: int = PAGE,
) -> list[OwnConsent]:
    """Return some of the consents that have ended, the newest first.

    `before` is the last one of the page before; another's is `NOT_FOUND`.
    """
    query = _consents(number).where(Consent.ended_at.is_not(None), ~_disputed(number)).limit(limit)
    if before is not None:
        last = consent(session, number, before, now).row
        query = query.where(
            or_(
                Consent.event_id < last.event_id,
                and_(Consent.event_id == last.event_id, Consent.id > last.id),
            )
        )
    return _own(session, number, session.scalars(query).all(), now)


def consent(
    session: Session, number: SubscriberNumber, consent_id: UUID, now: datetime
) -> OwnConsent:
    """Return one consent of the number; another's is `NOT_FOUND`."""
    row = session.scalar(_consents(number).where(Consent.id == consent_id))
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such consent")
    return _own(session, number, [row], now)[0]


def granted(
    session: Session, number: SubscriberNumber, grants: Iterable[UUID], now: datetime
) -> dict[UUID, list[OwnConsent]]:
    """Return the consents of some grants, which are one for each of a grant's topics."""
    found: dict[UUID, list[OwnConsent]] = {grant: [] for grant in grants}
    rows = session.scalars(_consents(number).where(Consent.grant_id.in_(found))).all()
    for own in _own(session, number, rows, now):
        found[own.row.grant_id].append(own)
    return found


def _consents(number: SubscriberNumber) -> Select[Consent]:
    return (
        select(Consent)
        .options(joinedload(Consent.sender), joinedload(Consent.grant).joinedload(Grant.evidence))
        .where(Consent.number == number, Consent.reassignment_id.is_(None))
        .order_by(Consent.event_id.desc(), Consent.id)
    )


def _challenges(number: SubscriberNumber) -> Select[Challenge]:
    return select(Challenge).where(Challenge.number == number)


def _disputed(number: SubscriberNumber) -> ColumnElement[bool]:
    """Select consents of which the sender must still prove that they were given."""
    unanswered = _challenges(number).where(Challenge.outcome.is_(None))
    return Consent.grant_id.in_(unanswered.with_only_columns(Challenge.grant_id))


def _own(
    session: Session, number: SubscriberNumber, rows: Sequence[Consent], now: datetime
) -> list[OwnConsent]:
    said_no = refusals(session, number) if rows else ()
    challenges = {row.grant_id: row for row in session.scalars(_challenges(number))}
    return [_weighed(row, said_no, challenges.get(row.grant_id), now) for row in rows]


def _weighed(
    row: Consent, said_no: Iterable[Refusal], challenge: Challenge | None, now: datetime
) -> OwnConsent:
    covering = [
        refusal
        for refusal in said_no
        if refusal.channel in (row.channel, ANY)
        and refusal.topic in (row.topic, ANY)
        and refusal.sender_id in (row.sender_id, None)
    ]
    refusal = max(covering, key=lambda one: one.event_id, default=None)
    return OwnConsent(row, _standing(row, refusal, challenge, now), refusal, challenge)


_SENDER_SIDE = (
    Fact.SENDER_KNOWN | Fact.SENDER_ACTIVE | Fact.NUMBER_HELD | Fact.USAGE_REGISTERED
    | Fact.IN_HOURS | Fact.UNDER_CAP
)  # fmt: skip
_BY_REASON = {
    Reason.CONSENTED: Standing.IN_FORCE,
    Reason.NO_CONSENT: Standing.WITHOUT_EFFECT,
    Reason.CONSENT_EXPIRED: Standing.EXPIRED,
    Reason.REFUSED: Standing.REFUSED,
}


def _standing(
    row: Consent, refusal: Refusal | None, challenge: Challenge | None, now: datetime
) -> Standing:
    """Ask the rule what a consent is worth, everything on the sender's side being in order."""
    if row.end_reason is not None:
        return Standing(row.end_reason)
    if now >= row.valid_until:
        return Standing.EXPIRED
    if challenge is not None and challenge.outcome is None:
        return Standing.CHALLENGED
    wish = Wish(
        event=row.event_id,
        basis=row.grant.basis,
        effective_from=row.effective_from,
        valid_until=row.valid_until,
        refused_event=refusal.event_id if refusal else None,
    )
    return _BY_REASON[DECISIONS[(_SENDER_SIDE | wish_facts(wish, now)).value]]
