"""Applications of legal entities, to be registered or changed, and their documents (R23)."""

from marshmallow import Schema, fields

from registry.models import ApplicationState, OrganisationKind
from registry.schemas.fields import Instant, Line, OneOf, Text, word
from registry.schemas.organisations import credit_code, phone

APPLICANTS = (OrganisationKind.SENDER, OrganisationKind.PROVIDER)


class ApplyingSchema(Schema):
    """A legal entity that asks to be registered."""

    kind = OneOf(*APPLICANTS, required=True)
    name = Line(200, required=True)
    uscc = credit_code()
    licence_number = Line(100, required=True)
    contact_name = Line(100, required=True)
    contact_phone = phone(required=True)
    complaint_phone = phone(required=True)


class ChangesSchema(Schema):
    """What an organisation wants changed, and whom to ask; what is not named stays as it is."""

    contact_name = Line(100, required=True)
    name = Line(200)
    licence_number = Line(100)
    contact_phone = phone()
    complaint_phone = phone()


class ApprovalSchema(Schema):
    """What an operator says to whoever applied; the body may be left out."""

    optional = True

    reason = Text(500, load_default=None, allow_none=True)


class RejectionSchema(Schema):
    """Why an application is rejected."""

    reason = Text(500, required=True)


class DocumentSchema(Schema):
    """A document that goes with an application or a claim."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    media_type = fields.String(required=True)
    size = fields.Integer(required=True)
    sha256 = fields.String(required=True)
    recorded_at = Instant(required=True)


class ApplicationSchema(Schema):
    """An application. `organisation_id` is whom it is of, or whom it led to."""

    id = fields.UUID(required=True)
    kind = word(OrganisationKind, required=True)
    name = fields.String(required=True)
    uscc = fields.String(required=True)
    licence_number = fields.String(required=True)
    contact_name = fields.String(required=True)
    contact_phone = fields.String(required=True)
    complaint_phone = fields.String(required=True)
    organisation_id = fields.UUID(required=True, allow_none=True)
    state = word(ApplicationState, required=True)
    recorded_at = Instant(required=True)
    decided_at = Instant(required=True, allow_none=True)
    reason = fields.String(required=True, allow_none=True)


class NewApplicationSchema(ApplicationSchema):
    """An application that was just made, with the key to follow it, which is shown this once."""

    key = fields.String(required=True)


class WholeApplicationSchema(ApplicationSchema):
    """An application with its documents."""

    documents = fields.List(fields.Nested(DocumentSchema), required=True)


class ApplicationsPageSchema(Schema):
    """Which applications to list."""

    state = word(ApplicationState, load_default=None)
    cursor = fields.UUID(load_default=None)


class ApplicationsSchema(Schema):
    """Applications, the oldest first, with a cursor where there is another page."""

    applications = fields.List(fields.Nested(ApplicationSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)
