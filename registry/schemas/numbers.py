"""The sending numbers that organisations hold, and their claims to hold more."""

from marshmallow import Schema, fields

from registry.consent import Channel, MessageClass
from registry.models import ApplicationState
from registry.numbers import ResourceKind
from registry.schemas.fields import Instant, Number, Text, word, words
from registry.schemas.organisations import CursorSchema


class ResourceSchema(Schema):
    """A number resource, and what it may be used for (R12, R13)."""

    number = Number("A 106 port, 95/96/950/400 number, landline or mobile.")
    channels = words(Channel)
    usages = words(MessageClass)
    held_from = Instant(load_default=None, allow_none=True)
    held_until = Instant(load_default=None, allow_none=True)


class ExtensionSchema(ResourceSchema):
    """An extension of a port, and the sender that is to hold it; within the port's terms."""

    sender = fields.UUID(required=True)


class NumberClaimingSchema(ResourceSchema):
    """A number that an organisation says it holds; the note is for the operator."""

    note = Text(1000, load_default=None, allow_none=True)


HolderSchema = Schema.from_dict(
    {
        "id": fields.UUID(required=True),
        "name": fields.String(required=True),
        "contact_phone": fields.String(required=True),
        "complaint_phone": fields.String(required=True, allow_none=True),
    },
    name="HolderSchema",
)


class HoldingSchema(Schema):
    """A sending number with its holder, and the provider of whose port it is an extension."""

    number = fields.String(required=True)
    kind = word(ResourceKind, required=True)
    holder = fields.Nested(HolderSchema, required=True)
    provider = fields.Nested(HolderSchema, required=True, allow_none=True)
    channels = fields.List(word(Channel), required=True)
    usages = fields.List(word(MessageClass), required=True)
    held_from = Instant(required=True)
    held_until = Instant(required=True, allow_none=True)
    released_at = Instant(required=True, allow_none=True)


class HoldingsSchema(Schema):
    """Sending numbers, with a cursor for the next page where there is one."""

    numbers = fields.List(fields.Nested(HoldingSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class NumberClaimSchema(Schema):
    """A claim, and what was decided of it. An approved one led to a holding."""

    id = fields.UUID(required=True)
    number = fields.String(required=True)
    kind = word(ResourceKind, required=True)
    claimant = fields.UUID(attribute="organisation_id", required=True)
    channels = fields.List(word(Channel), required=True)
    usages = fields.List(word(MessageClass), required=True)
    held_from = Instant(required=True, allow_none=True)
    held_until = Instant(required=True, allow_none=True)
    note = fields.String(required=True, allow_none=True)
    state = word(ApplicationState, required=True)
    recorded_at = Instant(required=True)
    decided_at = Instant(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)


class NumberClaimsSchema(Schema):
    """Claims, the oldest first, with a cursor for the next page where there is one."""

    claims = fields.List(fields.Nested(NumberClaimSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class NumberClaimsPageSchema(CursorSchema):
    """Which claims to list."""

    state = word(ApplicationState, load_default=None)
