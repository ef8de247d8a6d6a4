"""Challenges: consents that their subscribers dispute, and the evidence that senders bring."""

from enum import StrEnum

from marshmallow import Schema, fields, validate

from registry.schemas.fields import Instant, Text, address, word


class ChallengeState(StrEnum):
    """How far a challenge has got."""

    OPEN = "open"
    EVIDENCED = "evidenced"
    VOIDED = "voided"


class ProofSchema(Schema):
    """What proves a consent: in words, and where the sender keeps it (R7, R8)."""

    text: fields.String = Text(10_000, required=True)
    sha256 = fields.String(
        load_default=None, allow_none=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z")
    )
    uri = fields.String(
        load_default=None, allow_none=True, validate=[validate.Length(max=2000), address]
    )


class KeptProofSchema(ProofSchema):
    """What was brought; its words are empty once they are kept no longer."""

    text = fields.String(required=True)


class ChallengeSchema(Schema):
    """A dispute about the consents of one grant; without evidence in time they are void."""

    id = fields.UUID(required=True)
    number = fields.String(attribute="number.e164", required=True)
    consents = fields.List(fields.UUID(), required=True)
    state = word(ChallengeState, required=True)
    recorded_at = Instant(required=True)
    evidence_by = Instant(required=True)
    evidence = fields.Nested(KeptProofSchema, required=True, allow_none=True)
    closed_at = Instant(required=True, allow_none=True)


class ChallengesSchema(Schema):
    """Challenges, with a cursor for the next page where there is one."""

    challenges = fields.List(fields.Nested(ChallengeSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)
