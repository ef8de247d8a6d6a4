"""Problem documents: how every error is answered (RFC 9457)."""

from marshmallow import Schema, fields

from registry.errors import Kind


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
