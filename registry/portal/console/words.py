"""The registry's vocabulary as organisations read it; `registry.portal.words` has the rest."""

from flask_babel import LazyString, lazy_gettext

from registry.consent import Reason
from registry.overview import State

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
    State.UNCONFIRMED: lazy_gettext("Not confirmed"),
    State.EXPIRED: lazy_gettext("Expired"),
    State.ENDED: lazy_gettext("Ended"),
}


def told(value: Reason | State) -> str:
    """Return how an answer, or the state of a consent, reads to an organisation."""
    return str(REASONS[value] if isinstance(value, Reason) else STATES[value])
