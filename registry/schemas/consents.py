"""Consents: claims of senders, and what is shown of them."""

from marshmallow import Schema, fields, validate

from registry.consent import Basis, Channel, Topic
from registry.ledger import ConsentState
from registry.models import Method
from registry.policy import Period
from registry.schemas.fields import Instant, Number, Text, address, count, word, words


class CapSchema(Schema):
    """How often a consent lets its sender make contact (R4)."""

    count = count(1, 1_000_000, required=True)
    period = word(Period, required=True)


class _EvidenceSchema(Schema):
    method = fields.Enum(
        Method,
        by_value=fields.String,
        required=True,
        validate=validate.NoneOf([Method.REGISTRY], error="Only the registry itself says so."),
    )
    notice_text: fields.String = Text(10_000, required=True)
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
        load_default=None, allow_none=True, validate=[validate.Length(max=2000), address]
    )


class _KeptEvidenceSchema(_EvidenceSchema):
    """The texts are empty once they are kept no longer; `removed_at` says since when."""

    method = word(Method, required=True)
    notice_text = fields.String(required=True)
    removed_at = Instant(attribute="purged_at", required=True, allow_none=True)


class ClaimSchema(Schema):
    """A consent that a sender holds; one act, for one or more topics (R4, R8)."""

    number = Number()
    channel = word(Channel, required=True)
    topics = words(Topic)
    granted_at = Instant(required=True)
    valid_until = Instant(required=True)
    cap = fields.Nested(CapSchema, required=True)
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
    cap = fields.Nested(CapSchema, required=True)
    evidence = fields.Nested(_KeptEvidenceSchema, attribute="grant.evidence", required=True)
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
