"""API v1: importing the route modules adds their routes to it."""

from registry.routes import (
    applications,
    challenges,
    complaints,
    consents,
    evidence,
    imports,
    inbound,
    lookups,
    numbers,
    organisations,
    providers,
    requests,
    suspensions,
    violations,
    wishes,
)
from registry.routes.blueprint import v1

__all__ = [
    "applications",
    "challenges",
    "complaints",
    "consents",
    "evidence",
    "imports",
    "inbound",
    "lookups",
    "numbers",
    "organisations",
    "providers",
    "requests",
    "suspensions",
    "v1",
    "violations",
    "wishes",
]
