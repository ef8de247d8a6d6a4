"""What is known of the numbers that a group of assertions is about."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Connection, Select, and_, bindparam, case, or_, select

from registry.consent import Basis, Channel, Topic
from registry.ledger import assertions
from registry.ledger.bulk import reading
from registry.ledger.bulk.writing import Id
from registry.ledger.grants import CapTerms, Claim
from registry.models import ANY, Consent, Grant, OutboxItem
from registry.policy import Period

Terms = tuple[Channel, datetime, CapTerms]
"""What an SMS told beside the topics: the channel, the end date and the cap."""


@dataclass(slots=True)
class Held:
    """A consent in its place: one that the database holds, or one that this group makes."""

    id: Id
    topic: Topic
    latest: bool
    stands: bool = True
    confirmed: bool = False
    """Whether the subscriber confirmed it and it is in force."""
    made: bool = True
    superseded: bool = False


@dataclass(slots=True)
class Sms:
    """An SMS that told of an assertion within a day, and what it said."""

    item_id: UUID
    terms: Terms
    said: Mapping[Topic, bool]
    subject_id: Id | None = None
    """The grant of this group that an answer is about from now on."""


@dataclass(slots=True)
class Facts:
    """What is known of one number, as far as it matters to this sender's assertions."""

    tenure_start: datetime | None = None
    recent: int = 0
    refused: Mapping[str, set[str]] = field(default_factory=dict)
    held: dict[tuple[Channel, Topic, bool], Held] = field(default_factory=dict)
    told: list[Sms] = field(default_factory=list)

    def refused_topics(self, channel: Channel) -> set[str]:
        """Return the topics, `ANY` among them, that are refused on a channel."""
        if not self.refused:
            return set()
        return self.refused.get(channel, set()) | self.refused.get(ANY, set())

    def met(self, claim: Claim) -> list[Held]:
        """Return what a claim meets in the places of its topics."""
        if not self.held:
            return []
        places = ((claim.channel, topic, latest) for topic in claim.topics for latest in (1, 0))
        return [held for place in places if (held := self.held.get(cast(Any, place)))]


def load(
    connection: Connection, tokens: set[bytes], sender_id: UUID, now: datetime
) -> dict[bytes, Facts]:
    """Return what is known of every number."""
    facts = {token: Facts() for token in tokens}
    with reading.by_index(connection):
        for token, start in reading.tenure_starts(connection, tokens).items():
            facts[token].tenure_start = start
        for token, refused in reading.refused_topics(connection, tokens, sender_id).items():
            facts[token].refused = refused
        _load_consents(connection, facts, sender_id, now)
        for token, sms in _told(connection, tokens, sender_id, now):
            facts[token].told.append(sms)
    return facts


def _load_consents(
    connection: Connection, facts: dict[bytes, Facts], sender_id: UUID, now: datetime
) -> None:
    """Add the sender's consents that have a place today, or count as assertions of a day."""
    recent: dict[bytes, set[UUID]] = {}
    about = {"sender": sender_id, "now": now, "since": now - assertions.DAY}
    rows = connection.execute(
        _consents(connection.dialect.name), {**about, **reading.joined(facts)}
    )
    for number, row_id, channel, topic, latest, stands, placed, confirmed, grant_id in rows:
        token = bytes(number)
        if placed:
            held = Held(row_id, topic, latest, stands, confirmed, made=False)
            facts[token].held[channel, topic, latest] = held
        if grant_id:
            recent.setdefault(token, set()).add(grant_id)
    for token, grant_ids in recent.items():
        facts[token].recent = len(grant_ids)


@cache
def _consents(dialect: str) -> Select[Any]:
    stands = and_(Consent.ended_at.is_(None), Consent.reassignment_id.is_(None))
    waits = and_(Consent.effective_from.is_(None), Consent.ended_at.is_(None))
    placed = or_(Consent.latest, waits)
    in_force = and_(stands, Consent.valid_until > bindparam("now"))
    within_a_day = Consent.recorded_at > bindparam("since")
    return (
        select(
            reading.raw_number(Consent.number),
            Consent.id,
            Consent.channel,
            Consent.topic,
            Consent.latest,
            stands,
            placed,
            and_(in_force, Grant.basis == Basis.CONFIRMED),
            case((and_(within_a_day, Grant.basis == Basis.ASSERTED), Consent.grant_id)),
        )
        .join(Consent.grant)
        .where(
            reading.among(dialect, "consents.number"),
            # Written so that no index serves it: a sender may have millions.
            Consent.sender_id.is_not_distinct_from(bindparam("sender")),
            or_(placed, within_a_day),
        )
    )


def _told(
    connection: Connection, tokens: Collection[bytes], sender_id: UUID, now: datetime
) -> Iterator[tuple[bytes, Sms]]:
    """Yield what SMS have said of the sender's assertions within a day, the newest first."""
    query = (
        select(reading.raw_number(OutboxItem.number), OutboxItem.id, OutboxItem.subject_id)
        .where(
            reading.among(connection.dialect.name, "outbox.number"),
            *assertions.told_within_a_day(now),
        )
        .order_by(OutboxItem.id.desc())
    )
    sent = connection.execute(query, reading.joined(tokens)).all()
    tokens_told = {bytes(token) for token, *_ in sent}
    granted = _granted(connection, tokens_told, sender_id) if sent else {}
    for token, item_id, grant_id in sent:
        if grant_id in granted:
            terms, said = granted[grant_id]
            yield bytes(token), Sms(item_id, terms, said)


def _granted(
    connection: Connection, tokens: Collection[bytes], sender_id: UUID
) -> dict[UUID, tuple[Terms, dict[Topic, bool]]]:
    """Return the grants of this tenure's subscribers to the sender, and whether topics count."""
    rows = connection.execute(
        _grants(connection.dialect.name), {"sender": sender_id, **reading.joined(tokens)}
    )
    found: dict[UUID, tuple[Terms, dict[Topic, bool]]] = {}
    for grant_id, channel, valid_until, count, period, topic, counts in rows:
        terms = (channel, valid_until, CapTerms(count, period))
        found.setdefault(grant_id, (terms, {}))[1][topic] = bool(counts)
    return found


@cache
def _grants(
    dialect: str,
) -> Select[UUID, Channel, datetime, int, Period, Topic, bool]:
    return (
        select(
            Consent.grant_id,
            Consent.channel,
            Consent.valid_until,
            Grant.cap_count,
            Grant.cap_period,
            Consent.topic,
            Consent.effective_from.is_not(None),
        )
        .join(Consent.grant)
        .where(
            reading.among(dialect, "consents.number"),
            Consent.sender_id.is_not_distinct_from(bindparam("sender")),
            Consent.reassignment_id.is_(None),
        )
    )
