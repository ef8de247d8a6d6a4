"""Imports: files of many lines, what their lines consist of, and how far they have got."""

import re
from typing import Any
from uuid import UUID

from marshmallow import Schema, ValidationError, fields, validate

from registry.imports import LONGEST_KEY, LONGEST_NAME, Encoding, Outcome
from registry.models import ImportFormat, ImportKind, ImportState
from registry.schemas.consents import ClaimSchema
from registry.schemas.fields import Flag, Instant, Line, Text, count, word
from registry.schemas.numbers import ResourceSchema
from registry.schemas.requests import RequestSchema
from registry.schemas.wishes import TenureEndSchema, WishSchema


class _SenderReference(fields.String):
    """A sender by its id, or by its unified social credit code."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs).strip()
        if re.fullmatch(r"[0-9A-Za-z]{18}", text):
            return text.upper()
        try:
            return UUID(text)
        except ValueError:
            raise ValidationError("Neither an id nor a social credit code.") from None


class _Keyed(Schema):
    key = Line(LONGEST_KEY)


class ConsentLineSchema(_Keyed, ClaimSchema):
    """A line of asserted consents: as one is posted, or with days instead of an end date."""

    valid_until = Instant()
    valid_for_days = count(1, 3650)


class RequestLineSchema(_Keyed, RequestSchema):
    """A line of consent requests: as one is posted."""


class RefusalLineSchema(_Keyed, WishSchema):
    """A line of refusals: as one is posted, or with the sender's social credit code."""

    sender = _SenderReference()  # type: ignore[assignment]


class ReassignmentLineSchema(_Keyed, TenureEndSchema):
    """A line of reassignments: as one is posted."""


class NumberLineSchema(_Keyed, ResourceSchema):
    """A line of sending numbers that an organisation claims."""

    note = Text(2000)


LINES: dict[ImportKind, Schema] = {
    ImportKind.CONSENTS: ConsentLineSchema(),
    ImportKind.REQUESTS: RequestLineSchema(),
    ImportKind.REFUSALS: RefusalLineSchema(),
    ImportKind.REASSIGNMENTS: ReassignmentLineSchema(),
    ImportKind.NUMBERS: NumberLineSchema(),
}
"""What the lines of each kind of import consist of; `registry.imports` reads by these."""


class NewImportSchema(Schema):
    """A file that is going to be sent."""

    kind = word(ImportKind, required=True)
    format = word(ImportFormat, required=True)
    name = Line(LONGEST_NAME, load_default=None, allow_none=True)
    columns = fields.Dict(
        keys=fields.String(),
        values=fields.String(validate=validate.Length(min=1, max=200)),
        load_default=None,
        allow_none=True,
        metadata={"description": "For each field the file's column; by default of its own name."},
    )
    defaults = fields.Dict(
        keys=fields.String(),
        load_default=dict,
        metadata={"description": "Values for what a line does not say, as in a line of NDJSON."},
    )
    encoding = word(Encoding, load_default=Encoding.AUTO)


class StartSchema(Schema):
    """That a file is complete; with its SHA-256 it is checked before anything is applied."""

    sha256 = fields.String(
        load_default=None, allow_none=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z")
    )


class ImportSchema(Schema):
    """An import and how far it has got. A failed or cancelled one keeps what it had applied."""

    id = fields.UUID(required=True)
    kind = word(ImportKind, required=True)
    format = word(ImportFormat, required=True)
    name = fields.String(required=True, allow_none=True)
    state = word(ImportState, required=True)
    problem = fields.String(required=True, allow_none=True)
    size = fields.Integer(required=True)
    bytes_read = fields.Integer(required=True)
    lines = fields.Integer(required=True)
    share = fields.Float(required=True)
    lines_per_second = fields.Integer(required=True, allow_none=True)
    counts = fields.Nested(
        Schema.from_dict(
            {outcome.value: fields.Integer(required=True) for outcome in Outcome},
            name="ImportCountsSchema",
        ),
        required=True,
    )
    recorded_at = Instant(required=True)
    started_at = Instant(required=True, allow_none=True)
    finished_at = Instant(required=True, allow_none=True)
    resume_at = Instant(required=True, allow_none=True)
    result = Flag(
        attribute="has_result",
        required=True,
        metadata={"description": "Whether there is a result to be downloaded."},
    )


class ImportsSchema(Schema):
    """Imports, with a cursor for the next page where there is one."""

    imports = fields.List(fields.Nested(ImportSchema), required=True)
    cursor = fields.String(required=True, allow_none=True)
