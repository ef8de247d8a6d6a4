"""What people want: consents, withdrawals, refusals, hours, requests, challenges, reassignments.

Every change takes the number's lock, reads the clock, inserts an event and changes the rows,
in the caller's transaction; the event's id tells what was recorded before what. History is only
appended to.
"""

from registry.ledger.acts import CLOCK_LEEWAY, By, check_carer
from registry.ledger.answers import Shown, Way, agree, decline, lapse_due
from registry.ledger.asked import (
    RequestCounts,
    RequestState,
    own_request,
    request_counts,
    request_state,
    search_requests,
)
from registry.ledger.assertions import check_assertions
from registry.ledger.challenges import (
    bring_evidence,
    challenge,
    own_challenge,
    search_challenges,
    void_due,
)
from registry.ledger.consents import (
    PAGE,
    ConsentState,
    consents_by_grant,
    oversee,
    own_consent,
    search_consents,
    state,
)
from registry.ledger.disputes import in_dispute
from registry.ledger.grants import CapTerms, Claim, EvidenceClaim, confirm, grant
from registry.ledger.hours import lift_own_hours, set_own_hours, standing_hours
from registry.ledger.refusals import Scope, lift, lift_own, refuse
from registry.ledger.requests import ask, asked_before, check_terms, topics_of
from registry.ledger.tenure import cancel_reassignment, reassign, tenure_start, todays, whose
from registry.ledger.violations import oversee_violations
from registry.ledger.withdrawals import withdraw, withdraw_all, withdraw_own

__all__ = [
    "CLOCK_LEEWAY",
    "PAGE",
    "By",
    "CapTerms",
    "Claim",
    "ConsentState",
    "EvidenceClaim",
    "RequestCounts",
    "RequestState",
    "Scope",
    "Shown",
    "Way",
    "agree",
    "ask",
    "asked_before",
    "bring_evidence",
    "cancel_reassignment",
    "challenge",
    "check_assertions",
    "check_carer",
    "check_terms",
    "confirm",
    "consents_by_grant",
    "decline",
    "grant",
    "in_dispute",
    "lapse_due",
    "lift",
    "lift_own",
    "lift_own_hours",
    "oversee",
    "oversee_violations",
    "own_challenge",
    "own_consent",
    "own_request",
    "reassign",
    "refuse",
    "request_counts",
    "request_state",
    "search_challenges",
    "search_consents",
    "search_requests",
    "set_own_hours",
    "standing_hours",
    "state",
    "tenure_start",
    "todays",
    "topics_of",
    "void_due",
    "whose",
    "withdraw",
    "withdraw_all",
    "withdraw_own",
]
