"""THE RULE: may this sender contact this number, on this channel, about this topic, now?

A question is reduced to facts (flags). `RULES`, read from the top, turns facts into one reason.
Every fact speaks for the contact and none against it, so a fact that nobody established denies.
This module is pure: it knows no clock, no database and no HTTP.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag, StrEnum, auto

from registry.policy import Period


class Channel(StrEnum):
    """How a person is reached."""

    SMS = "sms"
    VOICE = "voice"


class MessageClass(StrEnum):
    """The three classes of messages; only `commercial` needs consent (R14, R15)."""

    COMMERCIAL = "commercial"
    SERVICE = "service"
    PUBLIC = "public"


class Topic(StrEnum):
    """What a commercial message is about."""

    LOANS = "loans"
    INSURANCE = "insurance"
    SECURITIES = "securities"
    REAL_ESTATE = "real_estate"
    EDUCATION = "education"
    RETAIL = "retail"
    TRAVEL = "travel"
    HEALTH = "health"
    TELECOM = "telecom"
    GAMES = "games"
    RECRUITMENT = "recruitment"
    OTHER = "other"


class Basis(StrEnum):
    """What a consent rests on: the subscriber's own act here, or the sender's evidence."""

    CONFIRMED = "confirmed"
    ASSERTED = "asserted"


class End(StrEnum):
    """Why a consent or a refusal ended before its date."""

    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"
    VOIDED = "voided"
    LIFTED = "lifted"


class Reason(StrEnum):
    """Why a contact is allowed or not. `INVALID_NUMBER` is an item's, never the table's."""

    SENDER_UNKNOWN = "sender_unknown"
    SENDER_SUSPENDED = "sender_suspended"
    NUMBER_NOT_HELD = "number_not_held"
    USAGE_MISMATCH = "usage_mismatch"
    CONSENT_NOT_REQUIRED = "consent_not_required"
    NO_CONSENT = "no_consent"
    NUMBER_REASSIGNED = "number_reassigned"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CONSENT_EXPIRED = "consent_expired"
    REFUSED = "refused"
    QUIET_HOURS = "quiet_hours"
    FREQUENCY_EXCEEDED = "frequency_exceeded"
    CONSENTED = "consented"
    INVALID_NUMBER = "invalid_number"

    @property
    def allowed(self) -> bool:
        """Whether the contact may take place."""
        return self in ALLOWING


ALLOWING = frozenset({Reason.CONSENT_NOT_REQUIRED, Reason.CONSENTED})


class Fact(IntFlag):
    """What the registry established. Each flag brings a contact nearer to being allowed."""

    SENDER_KNOWN = auto()
    SENDER_ACTIVE = auto()
    NUMBER_HELD = auto()
    USAGE_REGISTERED = auto()
    EXEMPT_CLASS = auto()
    CONSENT = auto()
    SAME_TENURE = auto()
    NOT_WITHDRAWN = auto()
    NOT_EXPIRED = auto()
    NOT_REFUSED = auto()
    IN_HOURS = auto()
    UNDER_CAP = auto()


@dataclass(frozen=True)
class Rule:
    """One row of the table: it matches when `fact` is `present`."""

    reason: Reason
    fact: Fact
    present: bool
    when: str

    def matches(self, facts: Fact) -> bool:
        """Tell whether this row decides."""
        return bool(facts & self.fact) is self.present


RULES = (
    Rule(
        Reason.SENDER_UNKNOWN, Fact.SENDER_KNOWN, False,
        "the sending number belongs to nobody, or the asking sender does not exist",
    ),
    Rule(
        Reason.SENDER_SUSPENDED, Fact.SENDER_ACTIVE, False,
        "the organisation is not active",
    ),
    Rule(
        Reason.NUMBER_NOT_HELD, Fact.NUMBER_HELD, False,
        "the sending number is not held by this sender, not for this channel,"
        " or not on this date",
    ),
    Rule(
        Reason.USAGE_MISMATCH, Fact.USAGE_REGISTERED, False,
        "the class of the message, as declared by the asker, is not among the registered"
        " usages of the sending number",
    ),
    Rule(
        Reason.CONSENT_NOT_REQUIRED, Fact.EXEMPT_CLASS, True,
        "the class is `service` or `public`",
    ),
    Rule(
        Reason.NO_CONSENT, Fact.CONSENT, False,
        "this pair never had an effective consent for this channel and topic",
    ),
    Rule(
        Reason.NUMBER_REASSIGNED, Fact.SAME_TENURE, False,
        "the consent belongs to an earlier tenure",
    ),
    Rule(
        Reason.CONSENT_WITHDRAWN, Fact.NOT_WITHDRAWN, False,
        "the last consent was withdrawn",
    ),
    Rule(
        Reason.CONSENT_EXPIRED, Fact.NOT_EXPIRED, False,
        "its end date has passed",
    ),
    Rule(
        Reason.REFUSED, Fact.NOT_REFUSED, False,
        "a standing refusal covers it that was recorded after the consent",
    ),
    Rule(
        Reason.QUIET_HOURS, Fact.IN_HOURS, False,
        "outside the policy's or the subscriber's hours in a time zone of the number; the"
        " verdict says from when it is allowed",
    ),
    Rule(
        Reason.FREQUENCY_EXCEEDED, Fact.UNDER_CAP, False,
        "the cap of the consent is used up; the verdict says from when it is allowed",
    ),
    Rule(
        Reason.CONSENTED, Fact.UNDER_CAP, True,
        "none of the above",
    ),
)  # fmt: skip


def decide(facts: Fact) -> Reason:
    """Return the reason of the first rule that matches, in the order of `RULES`."""
    return next(rule.reason for rule in RULES if rule.matches(facts))


DECISIONS = tuple(decide(Fact(facts)) for facts in range(1 << len(Fact)))
"""`decide` of every combination of facts, to read reasons from for whole columns of facts."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What the registry knows of a sending number: its holder, and what it may be used for."""

    active: bool
    held: bool
    usages: frozenset[MessageClass]


@dataclass(frozen=True, slots=True)
class Cap:
    """The frequency a consent allows (R4), and how much of it the latest period used."""

    count: int
    period: Period
    used: int
    used_in: object
    """First day of the period that `used` counts; None when nothing was counted yet."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What stands about one number for a sender, channel and topic: the consent that decides,
    and the newest refusal that covers it. Events give the order in which they were recorded."""

    event: int | None = None
    basis: Basis | None = None
    effective_from: datetime | None = None
    valid_until: datetime | None = None
    end: End | None = None
    reassigned: bool = False
    refused_event: int | None = None
    cap: Cap | None = None


def holding_facts(holding: Holding | None, message_class: MessageClass) -> Fact:
    """Return what speaks for a contact on the sender's side."""
    if holding is None:
        return Fact(0)
    facts = Fact.SENDER_KNOWN
    if holding.active:
        facts |= Fact.SENDER_ACTIVE
    if holding.held:
        facts |= Fact.NUMBER_HELD
    if message_class in holding.usages:
        facts |= Fact.USAGE_REGISTERED
    if message_class is not MessageClass.COMMERCIAL:
        facts |= Fact.EXEMPT_CLASS
    return facts


def wish_facts(wish: Wish, at: datetime) -> Fact:
    """Return what speaks for a contact at `at` on the subscriber's side, hours and cap aside."""
    if wish.event is None or wish.effective_from is None or wish.effective_from > at:
        return Fact(0)
    unexpired = wish.valid_until is not None and at < wish.valid_until
    unrefused = wish.refused_event is None or (
        # An assertion finds an older refusal standing when a reassignment was cancelled.
        wish.basis is Basis.CONFIRMED and wish.refused_event < wish.event
    )
    return Fact(  # A flag built once is several times as fast as flags put together one by one.
        Fact.CONSENT.value
        + Fact.SAME_TENURE.value * (not wish.reassigned)
        + Fact.NOT_WITHDRAWN.value * (wish.end is None)
        + Fact.NOT_EXPIRED.value * unexpired
        + Fact.NOT_REFUSED.value * unrefused
    )


def under_cap(cap: Cap | None, at: datetime, zone: str) -> bool:
    """Tell whether the consent's cap leaves room for a contact at `at`."""
    if cap is None:
        return True
    return cap.used_in != cap.period.start(at, zone) or cap.used < cap.count
