"""Lists that come page by page."""

from marshmallow import Schema, fields


class PageSchema(Schema):
    """Where the page before ended."""

    cursor = fields.String(
        load_default=None,
        metadata={"description": "The cursor that the page before came with."},
    )
