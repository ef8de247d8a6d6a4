"""Suspensions of organisations, and appeals against them (R20)."""

from marshmallow import Schema, fields

from registry.models import AppealOutcome
from registry.schemas.fields import Instant, Text, word
from registry.schemas.organisations import OrganisationSchema


class AnnouncementSchema(Schema):
    """Why an organisation is suspended, and from when: by default after the policy's notice."""

    reason = Text(500, required=True)
    starts_at = Instant(load_default=None, allow_none=True)


class ReinstatementSchema(Schema):
    """Why a suspension ends; the body may be left out."""

    optional = True

    reason = Text(500, load_default=None, allow_none=True)


class AppealTextSchema(Schema):
    """What an organisation says against its suspension."""

    text = Text(5000, required=True)


class AppealDecisionSchema(Schema):
    """What an operator decides of an appeal; a granted one ends the suspension."""

    outcome = word(AppealOutcome, required=True)
    reason = Text(500, required=True)


class AppealSchema(Schema):
    """An appeal against a suspension, and what was decided of it."""

    id = fields.UUID(required=True)
    suspension_id = fields.UUID(required=True)
    text = fields.String(required=True)
    recorded_at = Instant(required=True)
    decided_at = Instant(required=True, allow_none=True)
    outcome = word(AppealOutcome, required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)


class AppealInQueueSchema(AppealSchema):
    """An appeal, with whose it is."""

    organisation_id = fields.UUID(required=True)


class AppealsSchema(Schema):
    """Appeals that wait, the oldest first, with a cursor where there is another page."""

    appeals = fields.List(fields.Nested(AppealInQueueSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class SuspensionSchema(Schema):
    """A suspension: announced when it was recorded, in effect from its start to its end."""

    id = fields.UUID(required=True)
    reason = fields.String(required=True)
    recorded_at = Instant(required=True)
    starts_at = Instant(required=True)
    ended_at = Instant(required=True, allow_none=True)
    end_reason = fields.String(required=True, allow_none=True)
    appeals = fields.List(fields.Nested(AppealSchema), required=True)


class SuspensionsSchema(Schema):
    """The suspensions that an organisation ever had, the newest first."""

    suspensions = fields.List(fields.Nested(SuspensionSchema), required=True)


class OwnOrganisationSchema(OrganisationSchema):
    """The organisation of the key, with the suspension that it may appeal against."""

    suspension = fields.Nested(SuspensionSchema, required=True, allow_none=True)
