"""What one number may see of itself: wishes, requests, who asked, what happened, all data.

Everything is of today's tenure; a new subscriber sees nothing of the one before.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, true, tuple_
from sqlalchemy.orm import Session, joinedload

from registry.consent import (
    DECISIONS,
    Fact,
    Reason,
    Topic,
    Wish,
    wish_facts,
)
from registry.errors import Kind, RegistryError
from registry.ledger import tenure_start
from registry.models import (
    ANY,
    AskedNumber,
    Base,
    Challenge,
    Complaint,
    Consent,
    ConsentRequest,
    Event,
    EventOpening,
    FamilyLink,
    Grant,
    InboundMessage,
    Lookup,
    Notice,
    OneTimeCode,
    Organisation,
    OutboxItem,
    OwnContactHours,
    PortalSession,
    Reassignment,
    Refusal,
    Violation,
)
from registry.numbers import SubscriberNumber

PAGE = 50

T = TypeVar("T", Challenge, Complaint, ConsentRequest)


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


@dataclass(frozen=True)
class Overview:
    """The state of a number at one glance."""

    refusals: Sequence[Refusal]
    hours: OwnContactHours | None
    consents: int
    requests: int
    challenges: int
    complaints: int

    @property
    def refuses_everything(self) -> Refusal | None:
        """The refusal that covers everybody and everything, if one stands."""
        return next((row for row in self.refusals if covers_everything(row)), None)


def covers_everything(refusal: Refusal) -> bool:
    """Tell whether a refusal is for all senders, channels and topics."""
    return refusal.channel == ANY and refusal.topic == ANY and refusal.sender_id is None


def overview(session: Session, number: SubscriberNumber, now: datetime) -> Overview:
    """Return what the first page after signing in shows."""
    since = tenure_start(session, number)
    return Overview(
        refusals=refusals(session, number),
        hours=own_hours(session, number),
        consents=sum(own.standing is Standing.IN_FORCE for own in consents(session, number, now)),
        requests=_count(session, _open_requests(number, since, now)),
        challenges=_count(session, _of(Challenge, number, since, Challenge.outcome.is_(None))),
        complaints=_count(session, _of(Complaint, number, since, Complaint.outcome.is_(None))),
    )


def refusals(session: Session, number: SubscriberNumber) -> Sequence[Refusal]:
    """Return the refusals that stand, the newest first."""
    return session.scalars(
        select(Refusal)
        .options(joinedload(Refusal.sender))
        .where(
            Refusal.number == number,
            Refusal.ended_at.is_(None),
            Refusal.reassignment_id.is_(None),
        )
        .order_by(Refusal.event_id.desc(), Refusal.id.desc())
    ).all()


def own_hours(session: Session, number: SubscriberNumber) -> OwnContactHours | None:
    """Return the contact hours that the subscriber set, if any."""
    return session.scalar(
        select(OwnContactHours).where(
            OwnContactHours.number == number,
            OwnContactHours.ended_at.is_(None),
            OwnContactHours.reassignment_id.is_(None),
        )
    )


def consents(session: Session, number: SubscriberNumber, now: datetime) -> list[OwnConsent]:
    """Return the consents that have not ended or are in dispute, the newest first.

    Those whose date has passed come last.
    """
    query = _consents(number).where(or_(Consent.ended_at.is_(None), _disputed(number)))
    found = _own(session, number, session.scalars(query).all(), now)
    return sorted(found, key=lambda own: own.standing.over)


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


@dataclass(frozen=True)
class OwnRequest:
    """A sender's request, whether it can still be answered, and what agreeing to it led to."""

    row: ConsentRequest
    open: bool
    consents: Sequence[OwnConsent]

    @property
    def topics(self) -> list[Topic]:
        """What it is about."""
        return [Topic(word) for word in self.row.topics.split()]

    @property
    def in_force(self) -> bool:
        """Whether something that was agreed to is in force today."""
        return any(own.standing is Standing.IN_FORCE for own in self.consents)


def open_requests(session: Session, number: SubscriberNumber, now: datetime) -> list[OwnRequest]:
    """Return the requests that wait for an answer; the one that must have it first is first."""
    query = _open_requests(number, tenure_start(session, number), now)
    return _own_requests(session, query.order_by(ConsentRequest.answer_by), number, now)


def closed_requests(
    session: Session,
    number: SubscriberNumber,
    now: datetime,
    before: UUID | None = None,
    limit: int = PAGE,
) -> list[OwnRequest]:
    """Return some of the requests that were answered or were too late to be, the newest first.

    `before` is the last one of the page before; another's is `NOT_FOUND`.
    """
    closed = or_(ConsentRequest.outcome.is_not(None), ConsentRequest.answer_by <= now)
    query = _of(ConsentRequest, number, tenure_start(session, number), closed)
    if before is not None:
        last = request(session, number, before, now).row
        query = query.where(ConsentRequest.event_id < last.event_id)
    query = query.order_by(ConsentRequest.event_id.desc()).limit(limit)
    return _own_requests(session, query, number, now)


def request(
    session: Session, number: SubscriberNumber, request_id: UUID, now: datetime
) -> OwnRequest:
    """Return one request to the number; another's is `NOT_FOUND`."""
    query = _of(
        ConsentRequest, number, tenure_start(session, number), ConsentRequest.id == request_id
    )
    found = _own_requests(session, query, number, now)
    if not found:
        raise RegistryError(Kind.NOT_FOUND, "there is no such request")
    return found[0]


def _own_requests(
    session: Session, query: Select[ConsentRequest], number: SubscriberNumber, now: datetime
) -> list[OwnRequest]:
    rows = session.scalars(query.options(joinedload(ConsentRequest.sender))).all()
    grants = [row.grant_id for row in rows if row.grant_id is not None]
    given = granted(session, number, grants, now) if grants else {}
    return [
        OwnRequest(
            row,
            open=row.outcome is None and now < row.answer_by,
            consents=given[row.grant_id] if row.grant_id else (),
        )
        for row in rows
    ]


def _open_requests(
    number: SubscriberNumber, since: datetime | None, now: datetime
) -> Select[ConsentRequest]:
    return _of(
        ConsentRequest,
        number,
        since,
        ConsentRequest.outcome.is_(None),
        ConsentRequest.answer_by > now,
    )


@dataclass(frozen=True)
class Asked:
    """A lookup of the number: who asked, for whom, and what the registry answered."""

    row: Lookup
    asker: str
    sender: str | None


Place = tuple[datetime, UUID, int]
"""Where a page of lookups ended."""


def lookups(
    session: Session, number: SubscriberNumber, after: Place | None = None, limit: int = PAGE
) -> list[Asked]:
    """Return some of who asked about the number, the newest first."""
    since = tenure_start(session, number)
    query = (
        select(Lookup)
        .where(Lookup.number == number, true() if since is None else Lookup.decided_at >= since)
        .order_by(Lookup.decided_at.desc(), Lookup.id.desc(), Lookup.item.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Lookup.decided_at, Lookup.id, Lookup.item) < tuple_(*after))
    rows = session.scalars(query).all()
    names = _names(session, (each for row in rows for each in (row.asker_id, row.sender_id)))
    return [Asked(row, names.get(row.asker_id, ""), names.get(row.sender_id)) for row in rows]


@dataclass(frozen=True)
class Happened:
    """One event of the number's log, with who acted, and the family link that it names."""

    event_id: int
    position: int | None
    kind: str
    at: datetime
    data: Mapping[str, Any]
    organisation: str | None
    family: FamilyLink | None
    sender: str | None


def history(
    session: Session, number: SubscriberNumber, before: int | None = None, limit: int = PAGE
) -> list[Happened]:
    """Return some of everything that was recorded on the number, the newest first."""
    since = tenure_start(session, number)
    query = (
        select(Event)
        .join(EventOpening, EventOpening.event_id == Event.id)
        .where(
            EventOpening.number == number,
            true() if since is None else Event.recorded_at >= since,
            true() if before is None else Event.id < before,
        )
        .order_by(Event.id.desc())
        .limit(limit)
    )
    return _happened(session, session.scalars(query))


_OF_A_CONSENT = (
    "consent_granted", "consent_withdrawn", "consent_challenged", "challenge_answered",
    "consent_voided", "reassignment_cancelled",
)  # fmt: skip


def consent_history(session: Session, own: OwnConsent) -> list[Happened]:
    """Return what was recorded on one consent, the oldest first.

    Every start and end of a row has the time of its event, which keeps the search small.
    """
    row, disputed = own.row, own.challenge
    times = {row.recorded_at, row.end_recorded_at}
    if disputed is not None:
        times |= {disputed.recorded_at, disputed.closed_at}
    query = (
        select(Event)
        .join(EventOpening, EventOpening.event_id == Event.id)
        .where(
            EventOpening.number == row.number,
            Event.recorded_at.in_(times - {None}),
            Event.kind.in_(_OF_A_CONSENT),
        )
        .order_by(Event.id)
    )
    ids = (str(row.id).encode(), str(row.grant_id).encode())
    events = session.scalars(query)
    return _happened(session, [each for each in events if any(one in each.payload for one in ids)])


def _happened(session: Session, events: Iterable[Event]) -> list[Happened]:
    rows = [(row, json.loads(row.payload)) for row in events]
    said = [data for _, data in rows]
    names = _names(session, (_id(data.get(one)) for data in said for one in ("actor", "sender")))
    links = {_id(data.get("family_link")) for data in said} - {None}
    families: dict[UUID | None, FamilyLink] = {
        link.id: link
        for link in session.scalars(select(FamilyLink).where(FamilyLink.id.in_(links)))
    }
    return [
        Happened(
            event_id=row.id,
            position=row.position,
            kind=row.kind,
            at=row.recorded_at,
            data=data,
            organisation=names.get(_id(data.get("actor"))),
            family=families.get(_id(data.get("family_link"))),
            sender=names.get(_id(data.get("sender"))),
        )
        for row, data in rows
    ]


def _id(text: object) -> UUID | None:
    return UUID(text) if isinstance(text, str) else None


def _names(session: Session, ids: Iterable[UUID | None]) -> dict[UUID | None, str]:
    wanted = {one for one in ids if one is not None}
    if not wanted:
        return {}
    query = select(Organisation.id, Organisation.name).where(Organisation.id.in_(wanted))
    return {row.id: row.name for row in session.execute(query)}


def senders_known(session: Session, number: SubscriberNumber) -> list[Organisation]:
    """Return the senders that a subscriber has to do with: those of consents and requests."""
    since = tenure_start(session, number)
    about = [
        _own_rows(table, number, since).with_only_columns(table.sender_id).order_by(None)
        for table in (Consent, ConsentRequest, Lookup)
    ]
    ids = about[0].union(*about[1:])
    return list(
        session.scalars(
            select(Organisation).where(Organisation.id.in_(ids)).order_by(Organisation.name)
        )
    )


_OWN_TABLES: tuple[tuple[str, type[Any]], ...] = (
    ("refusals", Refusal),
    ("contact_hours", OwnContactHours),
    ("consents", Consent),
    ("requests", ConsentRequest),
    ("challenges", Challenge),
    ("violations", Violation),
    ("complaints", Complaint),
    ("lookups", Lookup),
    ("messages_sent", OutboxItem),
    ("messages_received", InboundMessage),
    ("codes", OneTimeCode),
    ("sessions", PortalSession),
    ("asked_numbers", AskedNumber),
    ("reassignments", Reassignment),
)


def everything(
    session: Session, number: SubscriberNumber, now: datetime, newest: int | None = None
) -> dict[str, Any]:
    """Return all that the registry holds on a number in this tenure, ready to be written as JSON.

    Digests and secrets are left out: they say nothing about anybody. So is what an SMS with a
    code said, which only a demo keeps. With `newest`, of each kind only so many are returned;
    "counts" says how many there are.
    """
    since = tenure_start(session, number)
    found: dict[str, Any] = {
        "number": number.e164,
        "made_at": now.isoformat(),
        "tenure_since": since.isoformat() if since else None,
    }
    queries = {name: _own_rows(table, number, since) for name, table in _OWN_TABLES}
    for name, query in queries.items():
        found[name] = [_plain(row) for row in session.scalars(query.limit(newest))]
    for message in found["messages_sent"]:
        if message["notice"] == Notice.CODE:
            message["text"] = None
    grants = {consent["grant_id"] for consent in found["consents"]}
    found["grants"] = [
        {**_plain(row), "evidence": _plain(row.evidence)}
        for row in session.scalars(
            select(Grant).options(joinedload(Grant.evidence)).where(Grant.id.in_(map(UUID, grants)))
        )
    ]
    found["family"] = [
        {**_plain(link), "carer": str(link.carer), "member": str(link.member)}
        for link in session.scalars(
            select(FamilyLink).where(
                (FamilyLink.carer == number) | (FamilyLink.member == number),
                true() if since is None else FamilyLink.recorded_at >= since,
            )
        )
    ]
    queries["events"] = (
        select(Event)
        .join(EventOpening, EventOpening.event_id == Event.id)
        .where(
            EventOpening.number == number,
            true() if since is None else Event.recorded_at >= since,
        )
        .order_by(Event.id.desc())
    )
    found["events"] = [
        {"id": row.id, "position": row.position, "event": _own_part(row)}
        for row in session.scalars(queries["events"].limit(newest))
    ]
    if newest is not None:
        found["counts"] = {name: _count(session, query) for name, query in queries.items()}
    organisations = _names(session, map(_id, _find_ids(found)))
    found["organisations"] = {str(one): name for one, name in organisations.items()}
    return found


def _own_rows(table: type[Any], number: SubscriberNumber, since: datetime | None) -> Select[Any]:
    """Select a table's rows of a number and of today's tenure, the newest first."""
    rows = select(table).where(table.number == number)
    if hasattr(table, "reassignment_id"):
        return rows.where(table.reassignment_id.is_(None)).order_by(table.recorded_at.desc())
    if table is AskedNumber:
        of_tenure = true() if since is None else table.day > since.date()
        return rows.where(of_tenure).order_by(table.day.desc())
    recorded_at = table.decided_at if table is Lookup else table.recorded_at
    of_tenure = true() if since is None else recorded_at >= since
    return rows.where(of_tenure).order_by(recorded_at.desc())


_OF_THE_ONE_BEFORE = {"consents", "refusals", "contact_hours"}


def _own_part(event: Event) -> dict[str, Any]:
    """Return what an event says, without what a reassignment tells of the earlier subscriber."""
    said: dict[str, Any] = json.loads(event.payload)
    hidden = _OF_THE_ONE_BEFORE if event.kind == "number_reassigned" else set()
    return {name: value for name, value in said.items() if name not in hidden}


_HIDDEN = {"details"}
"""What a message needs besides its subject, such as the code that it brings."""


def _plain(row: Base) -> dict[str, Any]:
    """Return a row's columns as JSON knows them, without what is only a digest."""
    values = {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}
    return {
        name: _json(value)
        for name, value in values.items()
        if not isinstance(value, bytes) and name not in _HIDDEN
    }


def _json(value: object) -> object:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, SubscriberNumber):
        return value.e164
    return value if value is None or isinstance(value, int | str | bool) else str(value)


def _find_ids(found: object) -> set[str]:
    """Return every id of an organisation that stands anywhere in the data."""
    if isinstance(found, Mapping):
        own = {
            value
            for name, value in found.items()
            if name in _ORGANISATION_COLUMNS and isinstance(value, str)
        }
        return own.union(*map(_find_ids, found.values()))
    if isinstance(found, list):
        return set().union(*map(_find_ids, found))
    return set()


_ORGANISATION_COLUMNS = {
    "sender_id", "recorded_by", "asker_id", "carrier_id", "organisation_id", "actor", "sender",
}  # fmt: skip


def _of(
    table: type[T], number: SubscriberNumber, since: datetime | None, *where: ColumnElement[bool]
) -> Select[T]:
    """Select a table's rows of a number that were recorded in this tenure."""
    return select(table).where(
        table.number == number, true() if since is None else table.recorded_at >= since, *where
    )


def _count(session: Session, query: Select[Any]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0
