"""What one number may see of itself: wishes, requests, who asked, what happened, all data.

Everything is of today's tenure; a new subscriber sees nothing of the one before.
"""

from registry.subscribers.download import everything
from registry.subscribers.glance import Overview, covers_everything, overview
from registry.subscribers.own_consents import (
    OwnConsent,
    Standing,
    consent,
    consents,
    ended_consents,
    granted,
)
from registry.subscribers.own_refusals import refusals, senders_known
from registry.subscribers.own_requests import OwnRequest, closed_requests, open_requests, request
from registry.subscribers.records import Asked, Happened, Place, consent_history, history, lookups
from registry.subscribers.rows import PAGE

__all__ = [
    "PAGE",
    "Asked",
    "Happened",
    "Overview",
    "OwnConsent",
    "OwnRequest",
    "Place",
    "Standing",
    "closed_requests",
    "consent",
    "consent_history",
    "consents",
    "covers_everything",
    "ended_consents",
    "everything",
    "granted",
    "history",
    "lookups",
    "open_requests",
    "overview",
    "refusals",
    "request",
    "senders_known",
]
