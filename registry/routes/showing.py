"""Rows as the objects that an answer shows."""

from functools import cache
from typing import Any, cast

from marshmallow import Schema

from registry.routes.reading import Body


def columns(row: Any) -> Body:
    """Return the columns of a row by name."""
    return {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}


def dump(schema: type[Schema], value: object) -> Body:
    """Return a value as JSON shows it."""
    return cast("Body", _one(schema).dump(value))


@cache
def _one(schema: type[Schema]) -> Schema:
    """Return the one instance of a schema: making it costs more than a dump."""
    return schema()
