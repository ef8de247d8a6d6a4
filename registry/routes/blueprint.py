"""API v1, to which the route modules add their routes."""

from registry.web import ApiBlueprint

v1 = ApiBlueprint("v1", __name__, url_prefix="/v1", description="Consent registry, version 1")
