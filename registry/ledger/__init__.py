"""What people want: consents, withdrawals, refusals, reassignments. History is only appended to.

Every change takes the number's lock, reads the clock, inserts an event and changes the rows,
in the caller's transaction; the event's id tells what was recorded before what.
"""

from registry.ledger.acts import CLOCK_LEEWAY, By
from registry.ledger.consents import (
    PAGE,
    ConsentState,
    oversee,
    own_consent,
    search_consents,
    state,
)
from registry.ledger.grants import CapTerms, Claim, EvidenceClaim, grant
from registry.ledger.refusals import Scope, lift, refuse
from registry.ledger.tenure import cancel_reassignment, reassign, tenure_start
from registry.ledger.withdrawals import withdraw

__all__ = [
    "CLOCK_LEEWAY",
    "PAGE",
    "By",
    "CapTerms",
    "Claim",
    "ConsentState",
    "EvidenceClaim",
    "Scope",
    "cancel_reassignment",
    "grant",
    "lift",
    "oversee",
    "own_consent",
    "reassign",
    "refuse",
    "search_consents",
    "state",
    "tenure_start",
    "withdraw",
]
