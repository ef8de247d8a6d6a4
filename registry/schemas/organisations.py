"""Organisations, the numbers that they hold, and their keys."""

from marshmallow import Schema, fields, validate

from registry.access import Scope
from registry.consent import Channel, MessageClass
from registry.models import OrganisationKind
from registry.numbers import ResourceKind
from registry.schemas.fields import Instant, Line, Number, Text, count, word, words


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


class ResourceSchema(Schema):
    """A number resource, and what it may be used for (R12, R13)."""

    number = Number("A 106 port, 95/96/950/400 number, landline or mobile.")
    channels = words(Channel)
    usages = words(MessageClass)
    held_from = Instant(load_default=None, allow_none=True)
    held_until = Instant(load_default=None, allow_none=True)


class HoldingSchema(Schema):
    """A sending number with its holder."""

    number = fields.String(required=True)
    kind = word(ResourceKind, required=True)
    holder = fields.Nested(
        Schema.from_dict(
            {
                "id": fields.UUID(required=True),
                "name": fields.String(required=True),
                "contact_phone": fields.String(required=True),
            },
            name="HolderSchema",
        ),
        required=True,
    )
    channels = fields.List(word(Channel), required=True)
    usages = fields.List(word(MessageClass), required=True)
    held_from = Instant(required=True)
    held_until = Instant(required=True, allow_none=True)
    released_at = Instant(required=True, allow_none=True)


class HoldingsSchema(Schema):
    """Sending numbers of one organisation."""

    numbers = fields.List(fields.Nested(HoldingSchema), required=True)


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
