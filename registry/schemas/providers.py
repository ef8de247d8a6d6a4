"""Providers, and the senders that authorise them."""

from marshmallow import Schema, fields

from registry.schemas.fields import Instant
from registry.schemas.numbers import HolderSchema


class AuthorisingSchema(Schema):
    """Which provider a sender lets send for it."""

    provider = fields.UUID(required=True)


class AuthorisationSchema(Schema):
    """A sender lets a provider send for it, and ask about its numbers, until either ends that."""

    id = fields.UUID(required=True)
    sender = fields.Nested(HolderSchema, required=True)
    provider = fields.Nested(HolderSchema, required=True)
    recorded_at = Instant(required=True)
    ended_at = Instant(required=True, allow_none=True)
    ended_by = fields.UUID(required=True, allow_none=True)


class AuthorisationsSchema(Schema):
    """Authorisations that stand, with a cursor for the next page where there is one."""

    authorisations = fields.List(fields.Nested(AuthorisationSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)


class ProvidersSchema(Schema):
    """Providers, with a cursor for the next page where there is one."""

    providers = fields.List(fields.Nested(HolderSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)
