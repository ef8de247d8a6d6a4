"""Consent requests: what a sender asks a subscriber for, and what it hears."""

from marshmallow import Schema, fields

from registry.consent import Channel, Topic
from registry.ledger import RequestState
from registry.ledger.requests import LONGEST_NOTICE, LONGEST_TERM
from registry.schemas.consents import CapSchema, ConsentSchema
from registry.schemas.fields import Instant, Number, Text, count, word, words
from registry.schemas.pages import PageSchema


class _TermsSchema(Schema):
    channel = word(Channel, required=True)
    topics = words(Topic)
    cap = fields.Nested(CapSchema, required=True)
    valid_for_days = count(1, LONGEST_TERM, required=True)
    notice_text = Text(LONGEST_NOTICE, required=True)


class RequestSchema(_TermsSchema):
    """A request for consent, with its type, frequency and duration (R4)."""

    number = Number()


class ConsentRequestSchema(_TermsSchema):
    """A request as its sender is shown it: one that was declined waits until `answer_by`."""

    id = fields.UUID(required=True)
    number = fields.String(attribute="number.e164", required=True)
    state = word(RequestState, required=True)
    recorded_at = Instant(required=True)
    answer_by = Instant(required=True)
    consents = fields.List(
        fields.Nested(ConsentSchema),
        required=True,
        metadata={"description": "What it led to, once it was agreed to; empty until then."},
    )


class RequestsPageSchema(PageSchema):
    """Which of a sender's own requests to list: all, or those in one state."""

    state = word(RequestState, load_default=None)


class RequestSearchSchema(PageSchema):
    """The sender's own requests to one number."""

    number = Number()


class ConsentRequestsSchema(Schema):
    """Requests, with a cursor for the next page where there is one."""

    requests = fields.List(fields.Nested(ConsentRequestSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)
