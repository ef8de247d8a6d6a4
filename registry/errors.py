"""The one error of the registry. It has a kind and knows nothing of HTTP; `web.py` maps kinds."""

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What went wrong. The values are public: they end every problem document's `type`."""

    MALFORMED = "malformed_request"
    UNAUTHENTICATED = "unauthenticated"
    SCOPE_MISSING = "scope_missing"
    ORGANISATION_SUSPENDED = "organisation_suspended"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    IN_PROGRESS = "in_progress"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID = "invalid_fields"
    INVALID_NUMBER = "invalid_number"
    KEY_REUSED = "idempotency_key_reused"
    RATE_LIMITED = "rate_limited"
    BUDGET_EXHAUSTED = "budget_exhausted"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal_error"


class RegistryError(Exception):
    """A refusal to carry out what was asked.

    `detail` is shown to the asker, so it never holds a number, a key or a token.
    `fields` names wrong fields, `retry_after` is in seconds.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        fields: Mapping[str, object] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.fields = fields
        self.retry_after = retry_after


def invalid(field: str, problem: str) -> RegistryError:
    """Return the error that says what is wrong with one field."""
    return RegistryError(Kind.INVALID, f"{field} {problem}", fields={field: [problem]})


def conflict(problem: str) -> RegistryError:
    """Return the error of what contradicts what is recorded."""
    return RegistryError(Kind.CONFLICT, problem)


def not_found(what: str) -> RegistryError:
    """Return the error for an id that is unknown, or another's, which is the same to the asker."""
    return RegistryError(Kind.NOT_FOUND, f"there is no such {what}")
