"""API v1: importing the route modules adds their routes to it."""

from registry.routes import (
    challenges,
    complaints,
    consents,
    inbound,
    lookups,
    numbers,
    organisations,
    requests,
    violations,
    wishes,
)
from registry.routes.blueprint import v1

__all__ = [
    "challenges",
    "complaints",
    "consents",
    "inbound",
    "lookups",
    "numbers",
    "organisations",
    "requests",
    "v1",
    "violations",
    "wishes",
]
