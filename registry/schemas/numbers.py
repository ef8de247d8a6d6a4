"""The sending numbers that organisations hold."""

from marshmallow import Schema, fields

from registry.consent import Channel, MessageClass
from registry.numbers import ResourceKind
from registry.schemas.fields import Instant, Number, word, words


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
                "complaint_phone": fields.String(required=True, allow_none=True),
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
