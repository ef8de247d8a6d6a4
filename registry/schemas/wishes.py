"""Wishes of subscribers that carriers report: refusals, and numbers that were reassigned."""

from marshmallow import Schema, fields

from registry.consent import Channel, Topic
from registry.models import Via
from registry.schemas.fields import Instant, Number, OneOf, word


class WishSchema(Schema):
    """A subscriber's "no": for all, or for a channel, a topic, a sender."""

    number = Number()
    channel = word(Channel, load_default=None, allow_none=True)
    topic = word(Topic, load_default=None, allow_none=True)
    sender = fields.UUID(load_default=None, allow_none=True)
    via = OneOf(Via.HOTLINE, Via.SMS, Via.STORE, required=True)


class RefusalSchema(Schema):
    """A refusal; null is all channels, all topics, all senders."""

    id = fields.UUID(required=True)
    number = fields.String(attribute="number.e164", required=True)
    channel = fields.String(required=True, allow_none=True)
    topic = fields.String(required=True, allow_none=True)
    sender = fields.UUID(attribute="sender_id", required=True, allow_none=True)
    via = word(Via, required=True)
    recorded_at = Instant(required=True)
    ended_at = Instant(required=True, allow_none=True)


class TenureEndSchema(Schema):
    """A number that went to another subscriber."""

    number = Number()
    reassigned_at = Instant(required=True)


class ReassignmentSchema(Schema):
    """A reassignment, and when it was taken back if it was."""

    id = fields.UUID(required=True)
    number = fields.String(attribute="number.e164", required=True)
    reassigned_at = Instant(required=True)
    recorded_at = Instant(required=True)
    cancelled_at = Instant(required=True, allow_none=True)
