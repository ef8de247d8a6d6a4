"""The lookup: load the facts of one question in one statement, decide, and say so.

One number is a batch of one. Everything an answer rests on, and the log position up to which
it is complete, comes from one statement, which is one snapshot; a number that nobody knows
takes the same statement and the same path as one with a long history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Connection,
    Integer,
    LargeBinary,
    Row,
    String,
    Uuid,
    bindparam,
    column,
    text,
    update,
)
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.consent import (
    DECISIONS,
    Cap,
    Channel,
    Fact,
    Holding,
    MessageClass,
    Reason,
    Topic,
    Wish,
    holding_facts,
    under_cap,
    wish_facts,
)
from registry.database import lock_number
from registry.errors import Kind, RegistryError, invalid
from registry.models import (
    Consent,
    Grant,
    OrganisationKind,
    OwnContactHours,
    Suspension,
    number_key,
)
from registry.numbers import SendingNumber, SubscriberNumber, parse_subscriber
from registry.policy import ContactHours, Policy

BATCH = 10_000
"""Numbers in one question."""
LEEWAY = timedelta(seconds=5)
"""How far in the past a planned contact may lie: the time that its request was under way."""


@dataclass(frozen=True)
class Asker:
    """Who asks: a carrier may ask for every sending number, others for their own.

    A provider may also ask for those of senders that authorise it.
    """

    organisation_id: UUID
    kind: OrganisationKind

    def speaks_for(self, holder_id: UUID, *, authorised: bool) -> bool:
        """Tell whether it may ask about numbers of an organisation, which may authorise it."""
        return (
            self.kind is OrganisationKind.CARRIER
            or holder_id == self.organisation_id
            or (self.kind is OrganisationKind.PROVIDER and authorised)
        )


@dataclass(frozen=True)
class Question:
    """May this sending number contact these numbers? None stands for one that is none."""

    sending: SendingNumber
    numbers: Sequence[SubscriberNumber | None]
    channel: Channel
    message_class: MessageClass
    topic: Topic | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one number. Both times are None where they have nothing to say."""

    reason: Reason
    valid_until: datetime | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True)
class Answer:
    """The verdicts of one question, in the order asked."""

    id: UUID
    question: Question
    asker_id: UUID
    sender_id: UUID | None
    decided_at: datetime
    forecast: bool
    contact: bool
    position: int
    verdicts: Sequence[Verdict]
    policy: str


def parse_numbers(
    texts: Sequence[str], channel: Channel, region: str
) -> list[SubscriberNumber | None]:
    """Read many numbers; what cannot be reached on the channel becomes None."""
    return [_parse_number(written, channel, region) for written in texts]


def _parse_number(written: str, channel: Channel, region: str) -> SubscriberNumber | None:
    try:
        number = parse_subscriber(written, region)
    except RegistryError:
        return None
    return number if channel is Channel.VOICE or number.takes_sms else None


def planned(at: datetime | None, now: datetime, policy: Policy) -> datetime:
    """Return the time of the planned contact; raises when it is past or too far ahead."""
    days = policy.verdicts.forecast_days
    if at is not None and at < now - LEEWAY:
        raise invalid("at", "lies in the past")
    if at is not None and at > now + timedelta(days=days):
        raise invalid("at", f"lies more than {days} days ahead")
    return now if at is None else max(at, now)


_FACTS = (
    text(
        # The tokens come as one byte string that a recursive query cuts up, which both
        # databases understand, so neither the statement nor its parameters depend on N. A
        # number without consent has no row; the first one always has, with the holding in it.
        # The limits only tell SQLite's planner that these rows are few; having statistics it
        # would otherwise read all consents once to filter by them. What covers the sending number
        # is its holding with all that this is an extension of: the longest in force decides, and
        # none of them, nor a provider that asks, may be suspended.
        """
        WITH RECURSIVE
        beginnings (digits) AS (
            SELECT CAST(:shortest AS INTEGER)
            UNION ALL
            SELECT digits + 1 FROM beginnings
            WHERE digits < length(CAST(:sending AS VARCHAR(20)))
        ),
        covering AS (
            SELECT
                digits, n.organisation_id, n.sms, n.voice, n.commercial, n.service, n.public,
                n.held_from <= :at AND (n.held_until IS NULL OR n.held_until > :at) AS in_force,
                EXISTS (
                    SELECT 1 FROM suspensions AS s
                    WHERE s.organisation_id IN (n.organisation_id, :provider)
                      AND s.ended_at IS NULL AND s.starts_at <= :at
                ) AS suspended
            FROM (SELECT digits FROM beginnings LIMIT 20) AS lengths
            JOIN sender_numbers AS n
              ON n.number = substr(CAST(:sending AS VARCHAR(20)), 1, digits)
             AND n.released_at IS NULL
        ),
        decisive AS (SELECT * FROM covering ORDER BY in_force DESC, digits DESC LIMIT 1),
        holding AS (
            SELECT
                h.organisation_id, h.sms, h.voice, h.commercial, h.service, h.public, h.in_force,
                EXISTS (
                    SELECT 1 FROM covering AS above WHERE suspended AND above.digits <= h.digits
                ) AS suspended,
                EXISTS (
                    SELECT 1 FROM authorisations AS a
                    WHERE a.sender_id = h.organisation_id AND a.provider_id = :provider
                      AND a.ended_at IS NULL
                ) AS authorises
            FROM decisive AS h
        ),
        cut (i, number) AS (
            SELECT 0, substr(:tokens, 1, 16)
            UNION ALL
            SELECT i + 1, substr(:tokens, 16 * i + 17, 16) FROM cut WHERE i < :last
        ),
        items (i, number) AS (SELECT i, number FROM cut LIMIT 10000)
        SELECT
            items.i, c.event_id, c.effective_from, c.valid_until, c.end_reason,
            c.reassignment_id IS NOT NULL AS reassigned,
            g.id AS grant_id, g.basis, g.cap_count, g.cap_period, g.cap_used, g.cap_used_in,
            (
                SELECT max(r.event_id) FROM refusals AS r
                WHERE r.number = items.number
                  AND r.ended_at IS NULL AND r.reassignment_id IS NULL
                  AND r.channel IN (:channel, 'any') AND r.topic IN (:topic, 'any')
                  AND (
                      r.sender_id IS NULL
                      OR r.sender_id = (SELECT organisation_id FROM holding)
                  )
            ) AS refused_event,
            o.opens AS own_opens, o.closes AS own_closes,
            h.organisation_id, h.sms, h.voice, h.commercial, h.service, h.public,
            h.in_force, h.suspended, h.authorises,
            CASE WHEN items.i = 0 THEN (SELECT max(position) FROM events) END AS position
        FROM items
        LEFT JOIN consents AS c
          ON c.number = items.number
         AND c.sender_id = (SELECT organisation_id FROM holding)
         AND c.channel = :channel AND c.topic = :topic AND c.latest
        LEFT JOIN grants AS g ON g.id = c.grant_id
        LEFT JOIN own_contact_hours AS o
          ON o.number = c.number AND o.ended_at IS NULL AND o.reassignment_id IS NULL
        LEFT JOIN holding AS h ON items.i = 0
        WHERE c.event_id IS NOT NULL OR items.i = 0
        """
    )
    .bindparams(
        bindparam("sending", type_=String),
        bindparam("shortest", type_=Integer),
        bindparam("tokens", type_=LargeBinary),
        bindparam("last", type_=Integer),
        bindparam("channel", type_=String),
        bindparam("topic", type_=String),
        bindparam("at", type_=Suspension.starts_at.type),
        bindparam("provider", type_=Uuid),
    )
    .columns(
        column("i", Integer),
        column("event_id", Integer),
        column("effective_from", Consent.effective_from.type),
        column("valid_until", Consent.valid_until.type),
        column("end_reason", Consent.end_reason.type),
        column("reassigned", Boolean),
        column("grant_id", Uuid),
        column("basis", Grant.basis.type),
        column("cap_count", Integer),
        column("cap_period", Grant.cap_period.type),
        column("cap_used", Integer),
        column("cap_used_in", Grant.cap_used_in.type),
        column("refused_event", Integer),
        column("own_opens", OwnContactHours.opens.type),
        column("own_closes", OwnContactHours.closes.type),
        column("organisation_id", Uuid),
        *(column(word, Boolean) for word in [*Channel, *MessageClass]),
        column("in_force", Boolean),
        column("suspended", Boolean),
        column("authorises", Boolean),
        column("position", Integer),
    )
)


def answer(
    connection: Connection, asker: Asker, question: Question, *, now: datetime, policy: Policy
) -> Answer:
    """Answer a question from one snapshot. Nothing is recorded yet.

    When the facts cannot be loaded this raises; it never answers without them.
    """
    return _answer(_load(connection, asker, question), asker, question, now, policy)


def contact(
    session: Session, asker: Asker, question: Question, *, now: datetime, policy: Policy
) -> Answer:
    """Answer a question whose contact takes place now if it is allowed, and count it.

    The number's lock is held from before the facts are read until the transaction ends, so of
    many such lookups at once exactly as many are allowed as the cap has left.
    """
    [number] = question.numbers
    if number is None or asker.kind is not OrganisationKind.CARRIER:
        raise RegistryError(Kind.SCOPE_MISSING, "only carriers count contacts")
    lock_number(session, number)
    rows = _load(session.connection(), asker, question)
    found = _answer(rows, asker, question, now, policy)
    row = rows[0]
    if found.verdicts[0].reason is Reason.CONSENTED:
        period = row.cap_period.start(question.at, number.zones[0])
        used = row.cap_used if row.cap_used_in == period else 0
        session.execute(
            update(Grant)
            .where(Grant.id == row.grant_id)
            .values(cap_used=used + 1, cap_used_in=period)
        )
    return replace(found, contact=True)


def _load(connection: Connection, asker: Asker, question: Question) -> dict[int, Row[Any]]:
    """Return the facts of those valid numbers of a question that have a consent, by their place.

    The first place has a row in any case, which also tells of the sending number.
    """
    valid = [number for number in question.numbers if number is not None]
    parameters = {
        "sending": question.sending.text,
        "shortest": len(question.sending.holdings[-1]),
        "tokens": number_key(connection.dialect).tokens(valid),
        "last": len(valid) - 1,
        "channel": question.channel.value,
        "topic": question.topic.value if question.topic else None,
        "at": question.at,
        "provider": asker.organisation_id if asker.kind is OrganisationKind.PROVIDER else None,
    }
    return {row[0]: row for row in connection.execute(_FACTS, parameters)}


def _answer(
    rows: dict[int, Row[Any]], asker: Asker, question: Question, now: datetime, policy: Policy
) -> Answer:
    decider = _Decider(asker, question, rows[0], now, policy)
    places = count()
    return Answer(
        id=uuid7(),
        question=question,
        asker_id=asker.organisation_id,
        sender_id=rows[0].organisation_id,
        decided_at=now,
        forecast=decider.forecast,
        contact=False,
        position=rows[0].position or 0,
        verdicts=[
            _INVALID if number is None else decider.verdict(number, rows.get(next(places)))
            for number in question.numbers
        ],
        policy=policy.name,
    )


class _Decider:
    """Decides the numbers of one question; what they share is worked out once."""

    def __init__(
        self, asker: Asker, question: Question, first: Row[Any], now: datetime, policy: Policy
    ) -> None:
        self.at = question.at
        self.until = now + timedelta(minutes=policy.verdicts.lookup_minutes)
        self.forecast = question.at > self.until
        holding = _holding(asker, question, first)
        self.sender_facts = holding_facts(holding, question.message_class).value
        self.hours = _Hours(policy.contact_hours)
        self.own_hours = cache(self.hours.within)
        self.without_consent = self._allowing(DECISIONS[self.sender_facts], self.until)

    def verdict(self, number: SubscriberNumber, row: Row[Any] | None) -> Verdict:
        """Return the verdict on one number, with the times that go with its reason."""
        if row is None or row.event_id is None:
            return self.without_consent
        zones = number.zones
        wish = _wish(row)
        own = row.own_opens is not None
        hours = self.own_hours(row.own_opens, row.own_closes) if own else self.hours
        opens = hours.opens(self.at, zones)
        facts = self.sender_facts | wish_facts(wish, self.at).value
        if opens == self.at:
            facts |= _IN_HOURS
        if under_cap(wish.cap, self.at, zones[0]):
            facts |= _UNDER_CAP
        reason = DECISIONS[facts]
        if reason is Reason.QUIET_HOURS:
            return Verdict(reason, retry_at=opens)
        if reason is Reason.FREQUENCY_EXCEEDED:
            next_period = row.cap_period.end(self.at, zones[0])
            return Verdict(reason, retry_at=hours.opens(next_period, zones))
        if reason is Reason.CONSENTED:
            until = min(self.until, row.valid_until, hours.closes(self.at, zones))
            return self._allowing(reason, until)
        return self._allowing(reason, self.until)

    def _allowing(self, reason: Reason, until: datetime) -> Verdict:
        """Return a verdict that is valid for a time if it allows and is no forecast."""
        return Verdict(reason, until if reason.allowed and not self.forecast else None)


class _Hours:
    """Contact hours, of which each time is worked out once for all numbers of the same zones."""

    def __init__(self, allowed: ContactHours | None) -> None:
        """Prepare to answer about these hours; None are no hours at all, which never open."""
        self.allowed = allowed
        self.opens = cache(allowed.opens if allowed else _never)
        self.closes = cache(allowed.closes if allowed else _never)

    def within(self, opens: time, closes: time) -> "_Hours":
        """Return the hours that a subscriber's own leave of these."""
        own = ContactHours(opens, closes)
        return _Hours(self.allowed and self.allowed.within(own))


def _never(_at: datetime, _zones: tuple[str, ...]) -> None:
    """Return no time."""


_IN_HOURS, _UNDER_CAP = Fact.IN_HOURS.value, Fact.UNDER_CAP.value
_INVALID = Verdict(Reason.INVALID_NUMBER)


def _holding(asker: Asker, question: Question, row: Row[Any]) -> Holding | None:
    """Return the facts' holding of the sending number, None when nobody holds it."""
    if row.organisation_id is None:
        return None
    for_channel = row.sms if question.channel is Channel.SMS else row.voice
    own = asker.speaks_for(row.organisation_id, authorised=row.authorises)
    return Holding(
        active=not row.suspended,
        held=row.in_force and for_channel and own,
        usages=frozenset(word for word in MessageClass if getattr(row, word)),
    )


def _wish(row: Row[Any]) -> Wish:
    return Wish(
        event=row.event_id,
        basis=row.basis,
        effective_from=row.effective_from,
        valid_until=row.valid_until,
        end=row.end_reason,
        reassigned=row.reassigned,
        refused_event=row.refused_event,
        cap=Cap(row.cap_count, row.cap_period, row.cap_used, row.cap_used_in),
    )
