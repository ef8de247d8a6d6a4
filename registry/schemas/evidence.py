"""Evidence of consents, the files that it is about, and what carriers ask of it."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from registry.consent import Basis, Channel, Topic
from registry.ledger import ConsentState
from registry.models import Method
from registry.numbers import LONGEST_INPUT
from registry.schemas.consents import CapSchema
from registry.schemas.fields import Instant, Number, word


class FileSchema(Schema):
    """A file that a sender keeps here; evidence that names its digest is about it."""

    sha256 = fields.String(required=True)
    size = fields.Integer(required=True)
    media_type = fields.String(required=True)
    name = fields.String(required=True)


class OwnFileSchema(FileSchema):
    """A sender's own file; what evidence names is not deleted."""

    recorded_at = Instant(required=True)
    named = fields.Boolean(required=True)


class FilesSchema(Schema):
    """Files, with a cursor for the next page where there is one."""

    files = fields.List(fields.Nested(FileSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class FilePageSchema(Schema):
    """Where the page before ended."""

    cursor = fields.UUID(
        load_default=None, metadata={"description": "The cursor that the page before came with."}
    )


class BroughtSchema(Schema):
    """What the sender brought when the consent was disputed; empty once it was removed."""

    text = fields.String(attribute="challenge.evidence_text", required=True)
    sha256 = fields.String(attribute="challenge.evidence_sha256", required=True, allow_none=True)
    uri = fields.String(attribute="challenge.evidence_uri", required=True, allow_none=True)
    brought_at = Instant(attribute="challenge.answered_at", required=True)
    file = fields.Nested(FileSchema, required=True, allow_none=True)


class EvidenceSchema(Schema):
    """How a consent was given, with its terms, the text that was shown, and the facts of its file.

    `kept_until` holds as the terms stand; when it is over the texts are empty, and `removed_at`
    says since when.
    """

    consent = fields.UUID(attribute="consent.id", required=True)
    sender = fields.UUID(attribute="consent.sender_id", required=True)
    channel = word(Channel, attribute="consent.channel", required=True)
    topic = word(Topic, attribute="consent.topic", required=True)
    basis = word(Basis, attribute="consent.grant.basis", required=True)
    state = word(ConsentState, required=True)
    granted_at = Instant(attribute="consent.grant.granted_at", required=True)
    recorded_at = Instant(attribute="consent.recorded_at", required=True)
    valid_until = Instant(attribute="consent.valid_until", required=True)
    cap = fields.Nested(CapSchema, required=True)
    method = word(Method, attribute="evidence.method", required=True)
    notice_text = fields.String(attribute="evidence.notice_text", required=True)
    notice_version = fields.String(
        attribute="evidence.notice_version", required=True, allow_none=True
    )
    language = fields.String(attribute="evidence.language", required=True, allow_none=True)
    sha256 = fields.String(attribute="evidence.sha256", required=True, allow_none=True)
    uri = fields.String(attribute="evidence.uri", required=True, allow_none=True)
    file = fields.Nested(FileSchema, required=True, allow_none=True)
    proof = fields.Nested(BroughtSchema, required=True, allow_none=True)
    kept_until = Instant(required=True, allow_none=True)
    removed_at = Instant(attribute="evidence.purged_at", required=True, allow_none=True)


class AskingSchema(Schema):
    """Which consent a carrier wants to see proved: by the sending number or by the sender (R8)."""

    sending = fields.String(
        data_key="from",
        load_default=None,
        allow_none=True,
        metadata={"description": "The sending number: evidence of whoever holds it."},
        validate=validate.Length(max=LONGEST_INPUT),
    )
    sender = fields.UUID(load_default=None, allow_none=True)
    number = Number()
    channel = word(Channel, required=True)
    topic = word(Topic, required=True)

    @validates_schema
    def check(self, data: dict[str, Any], **_: object) -> None:
        """Refuse what names no sender, or two."""
        if (data["sending"] is None) == (data["sender"] is None):
            raise ValidationError("Either this or sender.", "from")
