"""Senders and other organisations: their details, their suspensions, the numbers they hold."""

from registry.senders.numbers import Holding, hold, holder, holdings, release
from registry.senders.organisations import PAGE, Limits, check_uscc, find, limit, page, register
from registry.senders.suspensions import reinstate, suspend, suspension

__all__ = [
    "PAGE",
    "Holding",
    "Limits",
    "check_uscc",
    "find",
    "hold",
    "holder",
    "holdings",
    "limit",
    "page",
    "register",
    "reinstate",
    "release",
    "suspend",
    "suspension",
]
