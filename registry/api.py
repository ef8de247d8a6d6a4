"""API v1: importing the route modules adds their routes to it."""

from registry.routes import consents, lookups, organisations, wishes
from registry.routes.blueprint import v1

__all__ = ["consents", "lookups", "organisations", "v1", "wishes"]
