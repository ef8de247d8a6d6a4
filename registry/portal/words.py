"""The registry's vocabulary as people read it."""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from flask import Flask
from flask_babel import gettext, lazy_gettext
from markupsafe import Markup

from registry.consent import Basis, Channel, MessageClass, Reason, Topic
from registry.models import (
    ANY,
    AppealOutcome,
    ApplicationState,
    ChallengeOutcome,
    ComplaintOutcome,
    ImportKind,
    ImportState,
    MemberRole,
    Method,
    OrganisationKind,
    OutboxState,
    Refusal,
    RequestOutcome,
    Via,
)
from registry.numbers import ResourceKind
from registry.policy import Period
from registry.subscribers import Standing

WORDS: dict[type[StrEnum], dict[Any, Any]] = {
    Channel: {
        Channel.SMS: lazy_gettext("SMS"),
        Channel.VOICE: lazy_gettext("Calls"),
    },
    MessageClass: {
        MessageClass.COMMERCIAL: lazy_gettext("Advertising and other commercial messages"),
        MessageClass.SERVICE: lazy_gettext("Service: codes, orders, deliveries and the like"),
        MessageClass.PUBLIC: lazy_gettext("Public information and emergencies"),
    },
    ResourceKind: {
        ResourceKind.PORT: lazy_gettext("SMS port, begins with 106"),
        ResourceKind.SERVICE_95: lazy_gettext("Service number, begins with 95"),
        ResourceKind.SERVICE_96: lazy_gettext("Service number, begins with 96"),
        ResourceKind.SERVICE_950: lazy_gettext("Service number, begins with 950"),
        ResourceKind.SERVICE_400: lazy_gettext("Service number, begins with 400"),
        ResourceKind.LANDLINE: lazy_gettext("Landline"),
        ResourceKind.MOBILE: lazy_gettext("Mobile"),
    },
    Topic: {
        Topic.LOANS: lazy_gettext("Loans and finance"),
        Topic.INSURANCE: lazy_gettext("Insurance"),
        Topic.SECURITIES: lazy_gettext("Securities and funds"),
        Topic.REAL_ESTATE: lazy_gettext("Real estate"),
        Topic.EDUCATION: lazy_gettext("Education and training"),
        Topic.RETAIL: lazy_gettext("Shops and retail"),
        Topic.TRAVEL: lazy_gettext("Travel"),
        Topic.HEALTH: lazy_gettext("Health"),
        Topic.TELECOM: lazy_gettext("Telephone and internet"),
        Topic.GAMES: lazy_gettext("Games"),
        Topic.RECRUITMENT: lazy_gettext("Jobs"),
        Topic.OTHER: lazy_gettext("Other topics"),
    },
    Via: {
        Via.HOTLINE: lazy_gettext("by the carrier's hotline"),
        Via.SMS: lazy_gettext("by SMS"),
        Via.STORE: lazy_gettext("in a carrier's shop"),
        Via.SENDER: lazy_gettext("through the sender"),
        Via.PORTAL: lazy_gettext("on these pages"),
        Via.REGISTRY: lazy_gettext("by leaving a request unanswered"),
    },
    Period: {
        Period.DAY: lazy_gettext("a day"),
        Period.WEEK: lazy_gettext("a week"),
        Period.MONTH: lazy_gettext("a month"),
    },
    Basis: {
        Basis.CONFIRMED: lazy_gettext("You agreed here yourself"),
        Basis.ASSERTED: lazy_gettext("The sender says that you agreed"),
    },
    Method: {
        Method.WEB_FORM: lazy_gettext("a form on a web site"),
        Method.SMS_REPLY: lazy_gettext("an answer by SMS"),
        Method.VOICE_RECORDING: lazy_gettext("a recorded call"),
        Method.PAPER: lazy_gettext("a signed paper"),
        Method.APP: lazy_gettext("an app"),
        Method.REGISTRY: lazy_gettext("this registry"),
    },
    Standing: {
        Standing.IN_FORCE: lazy_gettext("In force"),
        Standing.WITHOUT_EFFECT: lazy_gettext("Without effect"),
        Standing.REFUSED: lazy_gettext("Stopped by your refusal"),
        Standing.CHALLENGED: lazy_gettext("You dispute it"),
        Standing.EXPIRED: lazy_gettext("Expired"),
        Standing.WITHDRAWN: lazy_gettext("Withdrawn"),
        Standing.SUPERSEDED: lazy_gettext("Replaced by a newer one"),
        Standing.VOIDED: lazy_gettext("Void: never proved"),
    },
    RequestOutcome: {
        RequestOutcome.AGREED: lazy_gettext("You agreed"),
        RequestOutcome.DECLINED: lazy_gettext("You declined"),
        RequestOutcome.LAPSED: lazy_gettext("Refused: it went unanswered"),
    },
    ChallengeOutcome: {
        ChallengeOutcome.EVIDENCED: lazy_gettext("The sender brought evidence"),
        ChallengeOutcome.VOIDED: lazy_gettext("The sender proved nothing"),
    },
    ComplaintOutcome: {
        ComplaintOutcome.UPHELD: lazy_gettext("Your complaint was upheld"),
        ComplaintOutcome.UNFOUNDED: lazy_gettext("Your complaint was found to be unfounded"),
    },
    Reason: {
        Reason.SENDER_UNKNOWN: lazy_gettext("No: the sending number belongs to nobody"),
        Reason.SENDER_SUSPENDED: lazy_gettext("No: the company is suspended"),
        Reason.NUMBER_NOT_HELD: lazy_gettext("No: the sending number is not the asker's"),
        Reason.USAGE_MISMATCH: lazy_gettext("No: the sending number is not for such messages"),
        Reason.CONSENT_NOT_REQUIRED: lazy_gettext("Yes: no advertising, so it needs no consent"),
        Reason.NO_CONSENT: lazy_gettext("No: you never agreed"),
        Reason.NUMBER_REASSIGNED: lazy_gettext("No: an earlier subscriber had agreed, not you"),
        Reason.CONSENT_WITHDRAWN: lazy_gettext("No: you withdrew your consent"),
        Reason.CONSENT_EXPIRED: lazy_gettext("No: your consent has expired"),
        Reason.REFUSED: lazy_gettext("No: you refuse it"),
        Reason.QUIET_HOURS: lazy_gettext("Not now: outside the contact hours"),
        Reason.FREQUENCY_EXCEEDED: lazy_gettext("Not now: it was often enough"),
        Reason.CONSENTED: lazy_gettext("Yes: you agreed"),
        Reason.INVALID_NUMBER: lazy_gettext("No: not a number"),
    },
    OutboxState: {
        OutboxState.WAITING: lazy_gettext("Waiting to be sent"),
        OutboxState.SENDING: lazy_gettext("Being sent"),
        OutboxState.SENT: lazy_gettext("Sent"),
        OutboxState.FAILED: lazy_gettext("Not sent"),
        OutboxState.UNCERTAIN: lazy_gettext("Perhaps sent"),
        OutboxState.EXPIRED: lazy_gettext("Too late to be sent"),
        OutboxState.MERGED: lazy_gettext("Said in one SMS with others"),
    },
    OrganisationKind: {
        OrganisationKind.SENDER: lazy_gettext("Sender"),
        OrganisationKind.PROVIDER: lazy_gettext("Platform that sends for others"),
        OrganisationKind.CARRIER: lazy_gettext("Carrier"),
        OrganisationKind.REGULATOR: lazy_gettext("Regulator"),
        OrganisationKind.OPERATOR: lazy_gettext("Operator of this registry"),
    },
    MemberRole: {
        MemberRole.VIEWER: lazy_gettext("Viewer"),
        MemberRole.AGENT: lazy_gettext("Agent"),
        MemberRole.ADMIN: lazy_gettext("Admin"),
    },
    ApplicationState: {
        ApplicationState.SUBMITTED: lazy_gettext("Under review"),
        ApplicationState.APPROVED: lazy_gettext("Approved"),
        ApplicationState.REJECTED: lazy_gettext("Rejected"),
        ApplicationState.WITHDRAWN: lazy_gettext("Taken back"),
    },
    AppealOutcome: {
        AppealOutcome.GRANTED: lazy_gettext("Granted"),
        AppealOutcome.DISMISSED: lazy_gettext("Dismissed"),
    },
    ImportKind: {
        ImportKind.CONSENTS: lazy_gettext("Consents"),
        ImportKind.REQUESTS: lazy_gettext("Requests"),
        ImportKind.REFUSALS: lazy_gettext("Refusals"),
        ImportKind.REASSIGNMENTS: lazy_gettext("Numbers that went to somebody else"),
        ImportKind.NUMBERS: lazy_gettext("Sending numbers"),
    },
    ImportState: {
        ImportState.RECEIVING: lazy_gettext("Being received"),
        ImportState.WAITING: lazy_gettext("Waiting to begin"),
        ImportState.RUNNING: lazy_gettext("Under way"),
        ImportState.DONE: lazy_gettext("Done"),
        ImportState.FAILED: lazy_gettext("Failed"),
        ImportState.CANCELLED: lazy_gettext("Cancelled"),
    },
}
"""By vocabulary, since words of two vocabularies may be equal as strings."""


def teach(app: Flask) -> None:
    """Let templates say `value|word`, `number|national` and `number|phone`."""
    app.jinja_env.filters.update(
        word=word, options=options, covered=covered, national=national, phone=phone
    )


def word(value: StrEnum) -> str:
    """Return how a word of the registry reads in the language of the page."""
    return str(WORDS[type(value)][value])


def options(values: Iterable[StrEnum]) -> list[tuple[str, str]]:
    """Return what a form offers: each value with how it reads."""
    return [(value.value, word(value)) for value in values]


def covered(refusal: Refusal) -> str:
    """Say what a refusal covers: from whom, how, and about what."""
    return scope(refusal.sender.name if refusal.sender else None, refusal.channel, refusal.topic)


def scope(sender: str | None, channel: str, topic: str) -> str:
    """Say what a refusal covers, given by its words."""
    how = gettext("SMS and calls") if channel == ANY else word(Channel(channel))
    what = gettext("all topics") if topic == ANY else word(Topic(topic))
    who = sender or gettext("All senders")
    said: str = gettext("%(who)s: %(what)s", who=who, what=matter(how, what))
    return said


def about(channel: str, topics: Iterable[str]) -> str:
    """Say by what way of contact, and about what."""
    return matter(word(Channel(channel)), gettext(", ").join(word(Topic(it)) for it in topics))


def matter(how: str, what: str) -> str:
    """Put a way of contact and what it is about together, on all pages alike."""
    said: str = gettext("%(how)s · %(what)s", how=how, what=what)
    return said


def national(number: str) -> str:
    """Show a number as it is dialled in China; a foreign one keeps its country code."""
    return number.removeprefix("+86")


def phone(number: str) -> Markup | str:
    """Show a telephone number as a link that calls it; what is none stays text."""
    if not re.fullmatch(r"\+?[0-9][0-9 -]{2,19}", number):
        return number
    dialled = re.sub(r"[ -]", "", number)
    return Markup('<a href="tel:{}">{}</a>').format(dialled, number)
