"""SMS from subscribers, as carriers deliver them."""

from marshmallow import Schema, fields, validate

from registry.inbound.receiving import LONGEST_ID
from registry.models import InboundAction
from registry.schemas.fields import Instant, Number, Text, word

LONGEST_SMS = 20_000
"""Characters; the longest that can be put together from parts has 17,085."""


class InboundSchema(Schema):
    """An SMS that somebody sent to a sender's number, or to the registry's own."""

    number = Number(data_key="from")
    to = Number("The number that it was sent to.")
    # Whatever a telephone sends, it must not keep its owner from saying no.
    text = fields.String(required=True, validate=validate.Length(max=LONGEST_SMS))
    received_at = Instant(required=True)
    message_id = Text(
        LONGEST_ID, required=True, metadata={"description": "The carrier's own name of it."}
    )


class ReceivedSchema(Schema):
    """What an SMS led to."""

    id = fields.UUID(required=True)
    action = word(InboundAction, required=True)
