"""Organisations and their keys."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from registry.access import Scope
from registry.models import OrganisationKind
from registry.schemas.fields import Instant, Line, count, word, words
from registry.senders import PHONE


def phone(**kwargs: Any) -> fields.String:
    """Return the field of an organisation's telephone number, which is no subscriber's."""
    return fields.String(validate=validate.Regexp(f"{PHONE.pattern}\\Z"), **kwargs)


def credit_code() -> fields.String:
    """Return the field of a unified social credit code; the use case checks its digits."""
    return fields.String(
        required=True,
        validate=validate.Length(equal=18),
        metadata={"description": "Unified social credit code."},
    )


class LegalEntitySchema(Schema):
    """A legal entity to be made known. A sender's phone for complaints is its contact phone
    unless another is named (R23)."""

    kind = word(OrganisationKind, required=True)
    name = Line(200, required=True)
    uscc = credit_code()
    licence_number = Line(100, load_default=None, allow_none=True)
    contact_phone = phone(required=True)
    complaint_phone = phone(load_default=None, allow_none=True)


class DetailsSchema(Schema):
    """What an organisation is known by; what is not named stays as it is."""

    name = Line(200)
    licence_number = Line(100)
    contact_phone = phone()
    complaint_phone = phone()

    @validates_schema
    def _something(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Names nothing to change.", "details")


class LimitsSchema(Schema):
    """What one organisation may ask instead of the policy's values; null keeps those."""

    requests_per_second = count(load_default=None, allow_none=True)
    lookup_numbers_per_day = count(load_default=None, allow_none=True)
    assertion_numbers_per_day = count(load_default=None, allow_none=True)


class StandingSuspensionSchema(Schema):
    """A suspension that has not ended."""

    reason = fields.String(required=True)
    starts_at = Instant(required=True)


def _suspension(what: str) -> fields.Nested:
    return fields.Nested(
        StandingSuspensionSchema,
        required=True,
        allow_none=True,
        metadata={"description": what},
    )


class OrganisationSchema(Schema):
    """A legal entity known to the registry."""

    id = fields.UUID(required=True)
    kind = word(OrganisationKind, required=True)
    name = fields.String(required=True)
    uscc = fields.String(required=True)
    licence_number = fields.String(required=True, allow_none=True)
    contact_phone = fields.String(required=True)
    complaint_phone = fields.String(required=True, allow_none=True)
    recorded_at = Instant(required=True)
    suspended = _suspension("The suspension that is in effect.")
    announced = _suspension("The suspension that will take effect.")
    limits = fields.Nested(LimitsSchema, required=True)


class OrganisationsSchema(Schema):
    """Organisations, with a cursor for the next page where there is one."""

    organisations = fields.List(fields.Nested(OrganisationSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class CursorSchema(Schema):
    """Where the last page ended."""

    cursor = fields.UUID(load_default=None)


class VersionSchema(Schema):
    """What an organisation was known by from a time on, and the application that led to it."""

    name = fields.String(required=True)
    licence_number = fields.String(required=True, allow_none=True)
    contact_phone = fields.String(required=True)
    complaint_phone = fields.String(required=True, allow_none=True)
    application_id = fields.UUID(required=True, allow_none=True)
    recorded_at = Instant(required=True)


class HistorySchema(Schema):
    """All that an organisation was ever known by, the first version first."""

    versions = fields.List(fields.Nested(VersionSchema), required=True)


class KeyRequestSchema(Schema):
    """A key to be made."""

    scopes = words(Scope)
    expires_at = Instant(load_default=None, allow_none=True)


class KeySchema(Schema):
    """A key; `key` is shown once, and null when the request is repeated."""

    id = fields.UUID(required=True)
    scopes = fields.List(word(Scope), required=True)
    expires_at = Instant(required=True, allow_none=True)
    key = fields.String(required=True, allow_none=True)
