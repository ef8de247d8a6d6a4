"""The registry's vocabulary as organisations read it; `registry.portal.words` has the rest."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from flask_babel import LazyString, lazy_gettext
from markupsafe import Markup

from registry.consent import Basis, Reason
from registry.ledger import ConsentState, RequestState
from registry.models import ComplaintOutcome
from registry.overview import CaseState, State
from registry.portal.languages import day
from registry.senders.directory import Phase, Standing
from registry.senders.review import Review

REASONS: dict[Reason, LazyString] = {
    Reason.SENDER_UNKNOWN: lazy_gettext("No: the sending number belongs to nobody"),
    Reason.SENDER_SUSPENDED: lazy_gettext("No: the sender is suspended"),
    Reason.NUMBER_NOT_HELD: lazy_gettext("No: the sender does not hold the sending number"),
    Reason.USAGE_MISMATCH: lazy_gettext("No: the sending number is not for such messages"),
    Reason.CONSENT_NOT_REQUIRED: lazy_gettext("Yes: it needs no consent"),
    Reason.NO_CONSENT: lazy_gettext("No: there is no consent"),
    Reason.NUMBER_REASSIGNED: lazy_gettext("No: the number went to somebody else"),
    Reason.CONSENT_WITHDRAWN: lazy_gettext("No: the consent was withdrawn"),
    Reason.CONSENT_EXPIRED: lazy_gettext("No: the consent has expired"),
    Reason.REFUSED: lazy_gettext("No: it is refused"),
    Reason.QUIET_HOURS: lazy_gettext("Not now: outside the contact hours"),
    Reason.FREQUENCY_EXCEEDED: lazy_gettext("Not now: it was often enough"),
    Reason.CONSENTED: lazy_gettext("Yes: there is a consent"),
    Reason.INVALID_NUMBER: lazy_gettext("No: not a number"),
}
STATES: dict[State, LazyString] = {
    State.STANDING: lazy_gettext("In force"),
    State.EXPIRED: lazy_gettext("Expired"),
    State.ENDED: lazy_gettext("Ended"),
}
REQUESTS: dict[RequestState, LazyString] = {
    RequestState.WAITING: lazy_gettext("Waits for an answer"),
    RequestState.AGREED: lazy_gettext("Agreed"),
    RequestState.REFUSED: lazy_gettext("Not agreed"),
}
CONSENTS: dict[ConsentState, LazyString] = {
    ConsentState.ACTIVE: lazy_gettext("In force"),
    ConsentState.EXPIRED: lazy_gettext("Expired"),
    ConsentState.WITHDRAWN: lazy_gettext("Withdrawn"),
    ConsentState.SUPERSEDED: lazy_gettext("Replaced by a newer one"),
    ConsentState.VOIDED: lazy_gettext("Void: never proved"),
    ConsentState.REASSIGNED: lazy_gettext("The number went to somebody else"),
}
BASES: dict[Basis, LazyString] = {
    Basis.CONFIRMED: lazy_gettext("The subscriber agreed here"),
    Basis.ASSERTED: lazy_gettext("You say that the subscriber agreed"),
}
OUTCOMES: dict[ComplaintOutcome, LazyString] = {
    ComplaintOutcome.UPHELD: lazy_gettext("Upheld"),
    ComplaintOutcome.UNFOUNDED: lazy_gettext("Unfounded"),
}
REVIEWS: dict[Review, LazyString] = {
    Review.APPLICATION: lazy_gettext("Application to be registered"),
    Review.CHANGE: lazy_gettext("Change of details"),
    Review.CLAIM: lazy_gettext("Claim of a number"),
    Review.APPEAL: lazy_gettext("Appeal against a suspension"),
}
STANDINGS: dict[Standing, LazyString] = {
    Standing.ACTIVE: lazy_gettext("Active"),
    Standing.ANNOUNCED: lazy_gettext("Suspension announced"),
    Standing.SUSPENDED: lazy_gettext("Suspended"),
}
PHASES: dict[Phase, LazyString] = {
    Phase.ANNOUNCED: lazy_gettext("Announced"),
    Phase.STANDING: lazy_gettext("In effect"),
    Phase.ENDED: lazy_gettext("Ended"),
}
CASES: dict[CaseState, LazyString] = {
    CaseState.NEW: lazy_gettext("Complaints, not passed on yet"),
    CaseState.FORWARDED: lazy_gettext("Complaints that it is to answer"),
    CaseState.ANSWERED: lazy_gettext("Complaints that it answered"),
    CaseState.UPHELD: lazy_gettext("Complaints that were upheld"),
    CaseState.UNFOUNDED: lazy_gettext("Complaints that were unfounded"),
}
WORDS: dict[type[StrEnum], Mapping[Any, LazyString]] = {
    Reason: REASONS,
    State: STATES,
    RequestState: REQUESTS,
    ConsentState: CONSENTS,
    Basis: BASES,
    ComplaintOutcome: OUTCOMES,
    Review: REVIEWS,
    Standing: STANDINGS,
    Phase: PHASES,
    CaseState: CASES,
}


def told(value: StrEnum) -> str:
    """Return how a word reads to an organisation."""
    return str(WORDS[type(value)][value])


def last_day(ends: datetime) -> Markup:
    """Show the last day before something ends."""
    return day(ends - timedelta(microseconds=1))
