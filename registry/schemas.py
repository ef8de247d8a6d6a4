"""JSON to and from the registry's values, with what the OpenAPI document says of them."""

import re
import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from marshmallow import Schema, ValidationError, fields, validate

from registry.access import Scope
from registry.consent import Basis, Channel, MessageClass, Reason, Topic
from registry.errors import Kind
from registry.events import timestamp
from registry.ledger import ConsentState
from registry.lookup import BATCH, Answer
from registry.models import Method, OrganisationKind, Via
from registry.numbers import LONGEST_INPUT, ResourceKind
from registry.policy import Period
from registry.receipts import optional_timestamp

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Text(fields.String):
    """Text that a database and a page can hold: no control characters, no lone surrogates."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=1, max=most), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if any(mark not in "\n\t" and unicodedata.category(mark) in ("Cc", "Cs") for mark in text):
            raise ValidationError("Contains a character that is no text.")
        return text


class Number(fields.String):
    """A telephone number as it was written; the view reads it with the policy's region."""

    def __init__(
        self, what: str = "A subscriber's number in any common notation.", **kwargs: Any
    ) -> None:
        told = {"description": what, "maxLength": LONGEST_INPUT}
        super().__init__(required=True, metadata=told, **kwargs)


class Numbers(fields.Field[list[str]]):
    """Many written numbers; a malformed one is answered in its place."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValidationError("Not a list of strings.")
        if not 1 <= len(value) <= BATCH:
            raise ValidationError(f"A batch has 1 to {BATCH} numbers.")
        return value


class Flag(fields.Boolean):
    """True or false, and nothing that merely looks like it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Instant(fields.AwareDateTime):
    """A time of RFC 3339 with its offset; kept and answered in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
            raise self.make_error("invalid", input=value, obj_type="datetime")
        try:
            return super()._deserialize(value.upper(), *args, **kwargs).astimezone(UTC)
        except OverflowError:
            raise self.make_error("invalid", input=value, obj_type="datetime") from None

    def _serialize(self, value: datetime | None, *args: Any, **kwargs: Any) -> Any:
        return optional_timestamp(value)


def word(vocabulary: type[StrEnum], **kwargs: Any) -> fields.Enum[Any]:
    """Return the field of a vocabulary; anything outside it is refused."""
    return fields.Enum(vocabulary, by_value=fields.String, **kwargs)


def words(vocabulary: type[StrEnum]) -> fields.List[Any]:
    """Return the field of one or more different words."""
    return fields.List(
        word(vocabulary),
        required=True,
        validate=[validate.Length(min=1, max=len(vocabulary)), _different],
        metadata={"uniqueItems": True},
    )


def _different(values: list[Any]) -> None:
    if len(set(values)) < len(values):
        raise ValidationError("The same value twice.")


def count(least: int = 1, most: int = 2**31 - 1, **kwargs: Any) -> fields.Integer:
    """Return the field of a whole number, written as one."""
    return fields.Integer(strict=True, validate=validate.Range(min=least, max=most), **kwargs)


def _address(value: str) -> None:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    known = parts.scheme in ("https", "http", "urn", "s3", "file")
    if not (known and (parts.netloc or parts.path) and value.isprintable()):
        raise ValidationError("Not an absolute URI.")


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


class _CapSchema(Schema):
    count = count(1, 1_000_000, required=True)
    period = word(Period, required=True)


class _EvidenceSchema(Schema):
    method = fields.Enum(
        Method,
        by_value=fields.String,
        required=True,
        validate=validate.NoneOf([Method.REGISTRY], error="Only the registry itself says so."),
    )
    notice_text = Text(10_000, required=True)
    notice_version = Text(100, load_default=None, allow_none=True)
    language = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Regexp(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}\Z"),
    )
    sha256 = fields.String(
        load_default=None, allow_none=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z")
    )
    uri = fields.String(
        load_default=None, allow_none=True, validate=[validate.Length(max=2000), _address]
    )


class ClaimSchema(Schema):
    """A consent that a sender holds; one act, for one or more topics (R4, R8)."""

    number = Number()
    channel = word(Channel, required=True)
    topics = words(Topic)
    granted_at = Instant(required=True)
    valid_until = Instant(required=True)
    cap = fields.Nested(_CapSchema, required=True)
    evidence = fields.Nested(_EvidenceSchema, required=True)


class _HistorySchema(Schema):
    event = fields.String(required=True)
    at = Instant(required=True)


class ConsentSchema(Schema):
    """A consent with its terms, its evidence, and what became of it."""

    id = fields.UUID(required=True)
    number = fields.String(attribute="number.e164", required=True)
    sender = fields.UUID(attribute="sender_id", required=True)
    channel = word(Channel, required=True)
    topic = word(Topic, required=True)
    basis = word(Basis, attribute="grant.basis", required=True)
    state = word(ConsentState, required=True)
    granted_at = Instant(attribute="grant.granted_at", required=True)
    recorded_at = Instant(required=True)
    valid_until = Instant(required=True)
    cap = fields.Nested(_CapSchema, required=True)
    evidence = fields.Nested(_EvidenceSchema, attribute="grant.evidence", required=True)
    history = fields.List(fields.Nested(_HistorySchema), required=True)


class ConsentsSchema(Schema):
    """Consents, with a cursor for the next page where there is one."""

    consents = fields.List(fields.Nested(ConsentSchema), required=True)
    cursor = fields.String(allow_none=True)


class SearchSchema(Schema):
    """The sender's own consents of one number."""

    number = Number()
    cursor = fields.String(load_default=None, allow_none=True)


class WithdrawalSchema(Schema):
    """Why a consent ends, and at whose wish; by default at the subscriber's."""

    reason = Text(500, load_default=None, allow_none=True)
    by = fields.String(load_default="subscriber", validate=validate.OneOf(["subscriber", "sender"]))


class WishSchema(Schema):
    """A subscriber's "no": for all, or for a channel, a topic, a sender."""

    number = Number()
    channel = word(Channel, load_default=None, allow_none=True)
    topic = word(Topic, load_default=None, allow_none=True)
    sender = fields.UUID(load_default=None, allow_none=True)
    via = fields.Enum(
        Via,
        by_value=fields.String,
        required=True,
        validate=validate.OneOf([Via.HOTLINE, Via.SMS, Via.STORE]),
    )


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


class LegalEntitySchema(Schema):
    """A legal entity to be made known."""

    kind = word(OrganisationKind, required=True)
    name = Text(200, required=True)
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


def problem_type(kind: Kind) -> str:
    """Return the stable `type` of a problem."""
    return f"urn:consent-registry:problem:{kind}"


class ProblemSchema(Schema):
    """A problem document (RFC 9457)."""

    type = fields.String(required=True, metadata={"enum": [problem_type(kind) for kind in Kind]})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    errors = fields.Dict(metadata={"description": "What is wrong with which field."})
