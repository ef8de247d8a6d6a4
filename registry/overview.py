"""What an organisation sees at one glance: its consents, lookups, requests, imports and keys.

Operators see besides how the registry's own work goes on, and what is known against another.

Every question here is answered from an index and reads no more rows than its limit, whatever an
organisation has; where the limit was met, the answer says so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    Row,
    ScalarSelect,
    String,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.orm import Session

from registry.consent import Reason, Topic
from registry.ledger import RequestCounts, RequestState
from registry.models import (
    ApiKey,
    Appeal,
    Application,
    ApplicationState,
    Complaint,
    Consent,
    ConsentRequest,
    Import,
    ImportState,
    LookupCount,
    NumberClaim,
    Organisation,
    OutboxItem,
    OutboxState,
    RequestOutcome,
    Violation,
)

MOST_CONSENTS = 100_000
MOST_IN_A_WEEK = 100_000
MOST_REQUESTS = 20_000
MOST_WAITING = 1_000
WEEKS = 12
MOST_SMS = 20_000
MOST_SHOWN = 20
DAYS = 30
SOON = timedelta(days=30)
ZONE = ZoneInfo("Asia/Shanghai")


class State(StrEnum):
    """What a consent of a sender is. Whether it has effect, only a lookup tells."""

    STANDING = "standing"
    EXPIRED = "expired"
    ENDED = "ended"


@dataclass(frozen=True)
class Consents:
    """How many of a sender's newest consents are in which state; `all_of_them` or a part."""

    by_topic: Mapping[Topic, Mapping[State, int]]
    all_of_them: bool

    def total(self, state: State) -> int:
        """Return how many there are in a state."""
        return sum(states[state] for states in self.by_topic.values())

    @property
    def count(self) -> int:
        """How many there are altogether."""
        return sum(map(self.total, State))


@dataclass(frozen=True)
class Week:
    """How many consents came and ended in a week; one that a newer one replaced did not end."""

    begins: date
    new: int
    ended: int

    @property
    def is_more(self) -> bool:
        """Whether there were more than were counted."""
        return max(self.new, self.ended) > MOST_IN_A_WEEK


@dataclass(frozen=True)
class Waiting:
    """What waits for an operator's decision, up to `MOST_WAITING` of each."""

    applications: int
    claims: int
    appeals: int
    complaints: int


def consents(session: Session, sender_id: UUID, now: datetime) -> Consents:
    """Count a sender's newest consents by topic and state."""
    state = case(
        (
            or_(Consent.ended_at.is_not(None), Consent.reassignment_id.is_not(None)),
            literal(State.ENDED.value),
        ),
        (Consent.valid_until <= now, literal(State.EXPIRED.value)),
        else_=literal(State.STANDING.value),
    )
    newest = (
        select(Consent.topic, state.label("state"))
        .where(Consent.sender_id == sender_id)
        .order_by(Consent.recorded_at.desc())
        .limit(MOST_CONSENTS + 1)
        .subquery()
    )
    rows = session.execute(
        select(newest.c.topic, newest.c.state, func.count()).group_by(
            newest.c.topic, newest.c.state
        )
    ).all()
    found: dict[Topic, Counter[State]] = {}
    for topic, word, number in rows:
        found.setdefault(topic, Counter())[State(word)] = number
    count = sum(number for _, _, number in rows)
    by_topic = {topic: found[topic] for topic in Topic if topic in found}
    return Consents(by_topic, all_of_them=count <= MOST_CONSENTS)


def weeks(session: Session, sender_id: UUID, now: datetime) -> list[Week]:
    """Count a sender's new and ended consents of the last weeks, which begin on Mondays in China.

    Each count stops one above `MOST_IN_A_WEEK`.
    """
    today = now.astimezone(ZONE).date()
    this = today - timedelta(days=today.weekday())
    mondays = [this - timedelta(weeks=back) for back in reversed(range(WEEKS))]
    mine = Consent.sender_id == sender_id
    # Said as the index says it, or PostgreSQL does not see that the index is about it.
    ended = text("consents.end_reason <> 'superseded'")
    counts: list[ScalarSelect[int]] = []
    for monday in mondays:
        begins, ends = _midnight(monday), _midnight(monday + timedelta(weeks=1))
        came = (Consent.recorded_at >= begins) & (Consent.recorded_at < ends)
        went = (Consent.end_recorded_at >= begins) & (Consent.end_recorded_at < ends)
        counts.append(_up_to(MOST_IN_A_WEEK, mine, came))
        counts.append(_up_to(MOST_IN_A_WEEK, mine, went, ended))
    numbers = session.execute(select(*counts)).one()
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return [Week(monday, *pair) for monday, pair in zip(mondays, pairs, strict=True)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), ZONE).astimezone(UTC)


def _up_to(most: int, *where: object) -> ScalarSelect[int]:
    """Count rows, up to one more than `most`."""
    rows = select(literal(1).label("one")).where(*where).limit(most + 1).subquery()  # type: ignore[arg-type]
    return select(func.count()).select_from(rows).scalar_subquery()


def lookups(session: Session, asker_id: UUID, now: datetime) -> dict[Reason, int]:
    """Return how many numbers an organisation asked about in the last days, by the answer."""
    since = now.astimezone(UTC).date() - timedelta(days=DAYS)
    rows = session.execute(
        select(LookupCount.reason, func.sum(LookupCount.numbers))
        .where(LookupCount.asker_id == asker_id, LookupCount.day > since)
        .group_by(LookupCount.reason)
    ).all()
    counted = {reason: int(number) for reason, number in rows}
    return {reason: counted[reason] for reason in Reason if reason in counted}


def requests(session: Session, sender_id: UUID, now: datetime) -> RequestCounts:
    """Count a sender's newest requests as each is shown to it.

    One that was declined waits until its last day, here as well: of a single request the figures
    would tell who declined.
    """
    shown = case(
        (
            ConsentRequest.outcome == RequestOutcome.AGREED,
            literal(RequestState.AGREED.value),
        ),
        (ConsentRequest.answer_by > now, literal(RequestState.WAITING.value)),
        else_=literal(RequestState.REFUSED.value),
    )
    newest = (
        select(shown.label("shown"))
        .where(ConsentRequest.sender_id == sender_id)
        .order_by(ConsentRequest.event_id.desc())
        .limit(MOST_REQUESTS)
        .subquery()
    )
    rows = session.execute(select(newest.c.shown, func.count()).group_by(newest.c.shown)).all()
    counted: dict[str, int] = dict(map(tuple, rows))
    return RequestCounts(**counted)


def imports(session: Session, organisation_id: UUID) -> Sequence[Import]:
    """Return an organisation's newest imports that are not finished."""
    newest = (
        select(Import.id)
        .where(Import.organisation_id == organisation_id)
        .order_by(Import.id.desc())
        .limit(100)
    )
    going_on = (ImportState.RECEIVING, ImportState.WAITING, ImportState.RUNNING)
    query = select(Import).where(Import.id.in_(newest), Import.state.in_(going_on))
    return session.scalars(query.order_by(Import.id.desc())).all()


def expiring_keys(session: Session, organisation_id: UUID, now: datetime) -> Sequence[ApiKey]:
    """Return the keys that are good now and soon no more, the next one first."""
    return session.scalars(
        select(ApiKey)
        .where(
            ApiKey.organisation_id == organisation_id,
            ApiKey.revoked_at.is_(None),
            ApiKey.expires_at > now,
            ApiKey.expires_at <= now + SOON,
        )
        .order_by(ApiKey.expires_at)
        .limit(20)
    ).all()


def waiting(session: Session) -> Waiting:
    """Count what waits for an operator."""

    def open_(*where: ColumnElement[bool]) -> ScalarSelect[int]:
        return _up_to(MOST_WAITING, *where)

    row = session.execute(
        select(
            open_(Application.state == ApplicationState.SUBMITTED),
            open_(NumberClaim.state == ApplicationState.SUBMITTED),
            open_(Appeal.outcome.is_(None)),
            _newest_open_complaints(),
        )
    ).one()
    return Waiting(*row)


def _newest_open_complaints() -> ScalarSelect[int]:
    """Count the open ones of the newest complaints: there is no index of open ones."""
    newest = (
        select(Complaint.closed_at)
        .order_by(Complaint.event_id.desc())
        .limit(MOST_REQUESTS)
        .subquery()
    )
    return (
        select(func.count())
        .select_from(newest)
        .where(newest.c.closed_at.is_(None))
        .scalar_subquery()
    )


# What operators see of the whole registry


@dataclass(frozen=True)
class Outgoing:
    """How the sending of SMS goes on.

    `waiting` and `sending` count up to one more than `MOST_SMS`; `due_since` is when the one that
    is due for longest was to be sent, and `lately` what became of the newest of the last day.
    """

    waiting: int
    sending: int
    due_since: datetime | None
    lately: Mapping[OutboxState, int]


def outgoing(session: Session, now: datetime) -> Outgoing:
    """Count the SMS that are to go out, and those of the last day by what became of them."""
    # Written out, or neither database sees that its index is about these.
    waits, being_sent = text("outbox.state = 'waiting'"), text("outbox.state = 'sending'")
    due = select(func.min(OutboxItem.try_at)).where(waits, OutboxItem.try_at <= now)
    counted = _of_outbox(waits), _of_outbox(being_sent), due.scalar_subquery()
    waiting_, sending, due_since = session.execute(select(*counted)).one()
    newest = (
        select(OutboxItem.state)
        .where(OutboxItem.recorded_at > now - timedelta(days=1))
        .order_by(OutboxItem.recorded_at.desc())
        .limit(MOST_SMS)
        .subquery()
    )
    rows = session.execute(select(newest.c.state, func.count()).group_by(newest.c.state)).all()
    by_state: dict[OutboxState, int] = dict(map(tuple, rows))
    over = [it for it in OutboxState if it not in (OutboxState.WAITING, OutboxState.SENDING)]
    ended: dict[OutboxState, int] = {state: by_state[state] for state in over if state in by_state}
    return Outgoing(waiting_, sending, due_since, ended)


def _of_outbox(where: object) -> ScalarSelect[int]:
    rows = select(OutboxItem.id).where(where).limit(MOST_SMS + 1).subquery()  # type: ignore[arg-type]
    return select(func.count()).select_from(rows).scalar_subquery()


def imports_of_all(session: Session) -> Sequence[Row[Import, str]]:
    """Return the imports that are to be, or being, applied, with whose they are; the oldest."""
    to_do = text("imports.state IN ('waiting', 'running')")
    return session.execute(
        select(Import, Organisation.name)
        .join(Organisation, Organisation.id == Import.organisation_id)
        .where(to_do)
        .order_by(Import.id)
        .limit(MOST_SHOWN)
    ).all()


def lapsing_keys(session: Session, now: datetime) -> Sequence[Row[ApiKey, Organisation]]:
    """Return everybody's keys that lapsed lately or soon will, and whose they are.

    Whoever does not replace one in time will be turned away, and ask the operator.
    """
    return session.execute(
        select(ApiKey, Organisation)
        .join(Organisation, Organisation.id == ApiKey.organisation_id)
        .where(
            ApiKey.revoked_at.is_(None),
            ApiKey.expires_at > now - SOON,
            ApiKey.expires_at <= now + SOON,
        )
        .order_by(ApiKey.expires_at)
        .limit(MOST_SHOWN)
    ).all()


class CaseState(StrEnum):
    """How far a complaint has got."""

    NEW = "new"
    FORWARDED = "forwarded"
    ANSWERED = "answered"
    UPHELD = "upheld"
    UNFOUNDED = "unfounded"


@dataclass(frozen=True)
class Against:
    """What is known against a sender: its newest complaints by state, and its violations."""

    complaints: Mapping[CaseState, int]
    violations: int


def against(session: Session, organisation_id: UUID) -> Against:
    """Count the newest complaints about an organisation, and its violations, up to a limit."""
    state = case(
        (Complaint.outcome.is_not(None), cast(Complaint.outcome, String)),
        (Complaint.answered_at.is_not(None), literal(CaseState.ANSWERED.value)),
        (Complaint.forwarded_at.is_not(None), literal(CaseState.FORWARDED.value)),
        else_=literal(CaseState.NEW.value),
    )
    newest = (
        select(state.label("state"))
        .where(Complaint.sender_id == organisation_id)
        .order_by(Complaint.event_id.desc())
        .limit(MOST_REQUESTS)
        .subquery()
    )
    rows = session.execute(select(newest.c.state, func.count()).group_by(newest.c.state)).all()
    counted = {CaseState(word): number for word, number in rows}
    query = select(_up_to(MOST_REQUESTS, Violation.organisation_id == organisation_id))
    return Against(
        {word: counted[word] for word in CaseState if word in counted},
        session.scalar(query) or 0,
    )
