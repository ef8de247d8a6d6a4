"""Senders and other organisations: their details, their suspensions, the numbers they hold."""

from registry.senders.authorisations import (
    assign_extension,
    authorise,
    authorised,
    end_authorisation,
    find_authorisation,
    providers,
    served,
)
from registry.senders.claims import (
    claim,
    claims,
    decide_claim,
    find_claim,
    own_claim,
    withdraw_claim,
)
from registry.senders.numbers import (
    Holding,
    Resolved,
    extensions,
    hold,
    holder,
    holdings,
    release,
    release_own,
    resolve,
    with_ports,
)
from registry.senders.organisations import PAGE, Limits, check_uscc, find, limit, page, register
from registry.senders.suspensions import reinstate, suspend, suspension

__all__ = [
    "PAGE",
    "Holding",
    "Limits",
    "Resolved",
    "assign_extension",
    "authorise",
    "authorised",
    "check_uscc",
    "claim",
    "claims",
    "decide_claim",
    "end_authorisation",
    "extensions",
    "find",
    "find_authorisation",
    "find_claim",
    "hold",
    "holder",
    "holdings",
    "limit",
    "own_claim",
    "page",
    "providers",
    "register",
    "reinstate",
    "release",
    "release_own",
    "resolve",
    "served",
    "suspend",
    "suspension",
    "with_ports",
    "withdraw_claim",
]
