"""Lookups: the question, the verdict, and what a receipt says of both."""

from typing import Any

from marshmallow import Schema, fields

from registry.consent import Channel, MessageClass, Reason, Topic
from registry.events import timestamp
from registry.lookup import BATCH, Answer
from registry.receipts import optional_timestamp
from registry.schemas.fields import Flag, Instant, Number, Numbers, count, word


class _QuestionSchema(Schema):
    sending = Number("The sending number.", data_key="from")
    channel = word(Channel, required=True)
    message_class = word(MessageClass, load_default=MessageClass.COMMERCIAL)
    topic = word(
        Topic,
        load_default=None,
        allow_none=True,
        metadata={"description": "Required for commercial messages."},
    )
    at = Instant(
        load_default=None,
        allow_none=True,
        metadata={"description": "The planned time of contact; now when it is missing."},
    )


class LookupSchema(_QuestionSchema):
    """One number: may it be contacted?"""

    to = Number()
    contact = Flag(
        load_default=False,
        metadata={
            "description": "The contact takes place now and counts against the cap (carriers"
            " only, with an Idempotency-Key)."
        },
    )


class BatchSchema(_QuestionSchema):
    """Up to 10,000 numbers: may they be contacted?"""

    to = Numbers(
        required=True,
        metadata={
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": BATCH,
        },
    )


class _VerdictSchema(Schema):
    to = fields.String(required=True)
    allowed = fields.Boolean(required=True)
    reason = word(Reason, required=True)
    valid_until = Instant(required=True, allow_none=True)
    retry_at = Instant(required=True, allow_none=True)


class VerdictSchema(_VerdictSchema):
    """The answer to a lookup. `receipt` is its proof, a JWS."""

    id = fields.UUID(required=True)
    forecast = fields.Boolean(required=True)
    decided_at = Instant(required=True)
    position = count(0, required=True)
    receipt = fields.String(required=True)


class BatchVerdictsSchema(Schema):
    """The answers to a batch, in the order asked, with one receipt over all."""

    id = fields.UUID(required=True)
    verdicts = fields.List(fields.Nested(_VerdictSchema), required=True)
    forecast = fields.Boolean(required=True)
    decided_at = Instant(required=True)
    position = count(0, required=True)
    receipt = fields.String(required=True)


def verdict_objects(answer: Answer, written: list[str]) -> list[dict[str, Any]]:
    """Return the verdicts as JSON shows them; what is no number is shown as it was written.

    Plain functions and not a schema, since an answer may hold ten thousand of them.
    """
    return [
        {
            "to": text if number is None else number.e164,
            "allowed": verdict.reason.allowed,
            "reason": verdict.reason.value,
            "valid_until": optional_timestamp(verdict.valid_until),
            "retry_at": optional_timestamp(verdict.retry_at),
        }
        for number, verdict, text in zip(
            answer.question.numbers, answer.verdicts, written, strict=True
        )
    ]


def question_object(answer: Answer) -> dict[str, Any]:
    """Return what a receipt says of the question, besides the verdicts."""
    question = answer.question
    return {
        "id": str(answer.id),
        "policy": answer.policy,
        "asker": str(answer.asker_id),
        "sender": str(answer.sender_id) if answer.sender_id else None,
        "from": question.sending.text,
        "channel": question.channel.value,
        "message_class": question.message_class.value,
        "topic": question.topic.value if question.topic else None,
        "at": timestamp(question.at),
        "forecast": answer.forecast,
        "contact": answer.contact,
        "decided_at": timestamp(answer.decided_at),
        "position": answer.position,
    }
