"""Complaints and violations: what subscribers report, and what the registry established."""

from marshmallow import Schema, fields

from registry.complaints import LONGEST_TEXT
from registry.consent import Channel, Topic
from registry.models import ComplaintOutcome, ViolationKind
from registry.schemas.fields import Instant, Number, Text, word


class ReportSchema(Schema):
    """A complaint that a subscriber made to its carrier."""

    number = Number()
    channel = word(Channel, required=True)
    sending = Number(
        "The number that was shown; null when none was.", data_key="from", allow_none=True
    )
    topic = word(Topic, required=True)
    contacted_at = Instant(required=True)
    text = Text(LONGEST_TEXT, required=True)


class ForwardingSchema(Schema):
    """Whom a complaint accuses, where the number that was shown does not tell.

    It goes to the sender, or to the provider where no sender is known.
    """

    sender = fields.UUID(load_default=None, allow_none=True)
    provider = fields.UUID(load_default=None, allow_none=True)


class AnswerSchema(Schema):
    """What the accused says."""

    text = Text(LONGEST_TEXT, required=True)


class ClosingSchema(Schema):
    """What the operator found."""

    outcome = word(ComplaintOutcome, required=True)


class DeadlinesSchema(Schema):
    """Until when each step is due, by the Chinese calendar of working days (R22).

    The accused is shown its own step only. Provisional is what counts days whose
    holidays are not published yet.
    """

    forward_by = fields.Date()
    answer_by = fields.Date(required=True)
    inform_by = fields.Date()
    forward_overdue = fields.Boolean()
    answer_overdue = fields.Boolean(required=True)
    inform_overdue = fields.Boolean()
    provisional = fields.Boolean(required=True)


class ComplaintSchema(Schema):
    """A complaint and how far it has got.

    It accuses the sender whose message it was, and the provider whose port that came from. Its
    number is masked but for the carrier that reported it and for whoever oversees this one.
    """

    id = fields.UUID(required=True)
    number = fields.String(required=True)
    channel = word(Channel, required=True)
    sending_number = fields.String(data_key="from", required=True, allow_none=True)
    sender = fields.UUID(attribute="sender_id", required=True, allow_none=True)
    provider = fields.UUID(attribute="provider_id", required=True, allow_none=True)
    topic = word(Topic, required=True)
    contacted_at = Instant(required=True)
    text = fields.String(required=True)
    recorded_at = Instant(metadata={"description": "Not shown to the accused."})
    forwarded_at = Instant(required=True, allow_none=True)
    answered_at = Instant(required=True, allow_none=True)
    answer = fields.String(required=True, allow_none=True)
    closed_at = Instant(required=True, allow_none=True)
    outcome = word(ComplaintOutcome, required=True, allow_none=True)
    deadlines = fields.Nested(DeadlinesSchema, required=True)


class ComplaintsSchema(Schema):
    """Complaints, with a cursor for the next page where there is one."""

    complaints = fields.List(fields.Nested(ComplaintSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class ViolationSchema(Schema):
    """What the registry established against an organisation, and whose port it sent from.

    `subject` is the challenge, or the complaint that was upheld.
    """

    id = fields.UUID(required=True)
    kind = word(ViolationKind, required=True)
    organisation = fields.UUID(attribute="organisation_id", required=True)
    provider = fields.UUID(attribute="provider_id", required=True, allow_none=True)
    number = fields.String(attribute="number.e164", required=True)
    subject = fields.UUID(attribute="subject_id", required=True)
    recorded_at = Instant(required=True)


class ViolationsSchema(Schema):
    """Violations, with a cursor for the next page where there is one."""

    violations = fields.List(fields.Nested(ViolationSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)
