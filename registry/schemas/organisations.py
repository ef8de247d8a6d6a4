"""Organisations and their keys."""

from marshmallow import Schema, fields, validate

from registry.access import Scope
from registry.models import OrganisationKind
from registry.schemas.fields import Instant, Line, Text, count, word, words


class LegalEntitySchema(Schema):
    """A legal entity to be made known."""

    kind = word(OrganisationKind, required=True)
    name = Line(200, required=True)
    uscc = fields.String(
        required=True,
        validate=validate.Length(equal=18),
        metadata={"description": "Unified social credit code."},
    )
    contact_phone = fields.String(
        required=True, validate=validate.Regexp(r"\+?[0-9][0-9 -]{3,18}\Z")
    )


class LimitsSchema(Schema):
    """What one organisation may ask instead of the policy's values; null keeps those."""

    requests_per_second = count(load_default=None, allow_none=True)
    lookup_numbers_per_day = count(load_default=None, allow_none=True)
    assertion_numbers_per_day = count(load_default=None, allow_none=True)


class OrganisationSchema(Schema):
    """A legal entity known to the registry."""

    id = fields.UUID(required=True)
    kind = word(OrganisationKind, required=True)
    name = fields.String(required=True)
    uscc = fields.String(required=True)
    contact_phone = fields.String(required=True)
    recorded_at = Instant(required=True)
    suspended = fields.Nested(
        Schema.from_dict(
            {"reason": fields.String(required=True), "starts_at": Instant(required=True)},
            name="StandingSuspensionSchema",
        ),
        required=True,
        allow_none=True,
    )
    limits = fields.Nested(LimitsSchema, required=True)


class OrganisationsSchema(Schema):
    """Organisations, with a cursor for the next page where there is one."""

    organisations = fields.List(fields.Nested(OrganisationSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class CursorSchema(Schema):
    """Where the last page ended."""

    cursor = fields.UUID(load_default=None)


class SuspensionSchema(Schema):
    """Why an organisation is suspended (R20)."""

    reason = Text(500, required=True)


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
