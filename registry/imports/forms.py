"""What a line consists of: the fields of its schema, by dotted names such as `cap.count`.

A schema says what a field may hold, so a line of a file and a request to the API follow the same
rules. Most lines of a file say the same but for number and time: what they share is read by the
schema once and remembered, and only the rest is read on every line.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from marshmallow import Schema, ValidationError, fields

from registry.errors import Kind, RegistryError

NUMBER, KEY = "number", "key"
_OWN = {"evidence.sha256", "evidence.uri"}
"""Fields that differ from line to line, besides times."""
_REMEMBERED_TIMES = 10_000

Cell = Any
"""What a line says of a field: text in CSV, a value of JSON in NDJSON, None for nothing."""


class RefusedError(Exception):
    """A line that cannot be applied; the text says why, and holds nothing of the line."""


@dataclass(frozen=True)
class Terms:
    """What many lines share: as the schema reads it, and a digest of what was written."""

    values: Mapping[str, Any]
    digest: str
    made: Any = None


@dataclass
class Own:
    """A field that is read on every line."""

    name: str
    field: "fields.Field[Any]"
    remembers: bool
    known: dict[str, Any] = dataclasses.field(default_factory=dict)

    def read(self, cell: Cell) -> Any:
        """Return the value of a cell; raises `RefusedError`."""
        if not isinstance(cell, str):
            raise RefusedError(f"{self.name}: Not a valid string.")
        cell = cell.strip()  # What is remembered is no longer than what it says.
        if cell in self.known:
            return self.known[cell]
        value = _plain_time(cell) if self.remembers else None
        try:
            value = value or self.field.deserialize(cell)
        except ValidationError as error:
            raise RefusedError(f"{self.name}: {_first(error.messages)}") from None
        if self.remembers:
            if len(self.known) >= _REMEMBERED_TIMES:
                self.known.clear()
            self.known[cell] = value
        return value


_PLAIN_TIME = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})"
)


def _plain_time(cell: str) -> datetime | None:
    """Return what a field of times reads, in a fifth of its time, where the cell is plain."""
    if _PLAIN_TIME.fullmatch(cell):
        try:
            return datetime.fromisoformat(cell).astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    return None


class Form:
    """The fields of one kind of line."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._fields = dict(_walk(schema))
        self.names = tuple(self._fields)
        self.known = frozenset(self.names)
        self.own = tuple(
            name for name in self.names if name in _OWN or isinstance(self._fields[name], _TIMES)
        )
        self.shared = tuple(
            name for name in self.names if name not in self.own and name not in (NUMBER, KEY)
        )
        self.required = tuple(name for name in self.names if self._fields[name].required)

    def own_field(self, name: str) -> Own:
        """Return what reads one of the fields that differ from line to line."""
        found = self._fields[name]
        return Own(name, found, isinstance(found, _TIMES))

    @cached_property
    def _shared_schema(self) -> Schema:
        return type(self.schema)(only=self.shared) if self.shared else Schema()

    def read_shared(self, written: Mapping[str, Cell]) -> Terms:
        """Read what lines share, by dotted names; raises `RefusedError`."""
        nested = nest(written)
        try:
            values = self._shared_schema.load(nested)
        except ValidationError as error:
            raise RefusedError(_first(error.messages)) from None
        canonical = json.dumps(nested, sort_keys=True, ensure_ascii=True)
        return Terms(values, hashlib.sha256(canonical.encode()).hexdigest())

    def from_text(self, name: str, text: str) -> Cell:
        """Return a cell of CSV as JSON would say it: whole numbers, and lists of words."""
        kind, text = self._fields[name], text.strip()
        if isinstance(kind, fields.Integer) and re.fullmatch(r"[0-9]{1,10}", text):
            return int(text)
        if isinstance(kind, fields.List):
            return [word for word in re.split(r"[\s,;|、，；]+", text) if word]
        return text

    def check_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Raise `INVALID`, naming the fields, when values for all lines are not right."""
        given = set(flatten(defaults, self.known, invalid_default))
        if wrong := given & {NUMBER, KEY}:
            raise _wrong_defaults({name: ["Each line has its own."] for name in sorted(wrong)})
        try:
            type(self.schema)(partial=True).load(dict(defaults))
        except ValidationError as error:
            raise _wrong_defaults(error.messages) from None


_TIMES = fields.AwareDateTime


def _walk(schema: Schema, before: str = "") -> Iterator[tuple[str, "fields.Field[Any]"]]:
    for name, found in schema.fields.items():
        if isinstance(found, fields.Nested):
            yield from _walk(found.schema, f"{before}{name}.")
        else:
            yield before + name, found


def nest(written: Mapping[str, Cell]) -> dict[str, Any]:
    """Return an object of objects for values by dotted names."""
    nested: dict[str, Any] = {}
    for name, value in written.items():
        *outer, last = name.split(".")
        inside = nested
        for part in outer:
            inside = inside.setdefault(part, {})
        inside[last] = value
    return nested


def flatten(
    said: Mapping[str, Any], names: frozenset[str], refuse: Callable[[str], Exception]
) -> dict[str, Cell]:
    """Return values by dotted names for an object of objects, nulls left out.

    Raises what `refuse` makes of the name of a field that there is not.
    """
    found: dict[str, Cell] = {}
    for name, value in said.items():
        inner = isinstance(value, dict) and name not in names
        parts = {f"{name}.{part}": each for part, each in value.items()} if inner else {name: value}
        for path, cell in parts.items():
            if path not in names:
                raise refuse(path)
            if cell is not None:
                found[path] = cell
    return found


def shown_name(name: str) -> str:
    """Return the name of a column or field as it may be shown: one may be somebody's number."""
    if sum(map(str.isdecimal, name)) >= 7 or not name.isprintable():
        return "#######"
    return name if len(name) <= 40 else name[:40] + "..."


def invalid_default(name: str) -> RegistryError:
    """Return the error for a default of a field that there is not."""
    return _wrong_defaults({shown_name(name): ["Unknown field."]})


def _wrong_defaults(messages: Any) -> RegistryError:
    return RegistryError(Kind.INVALID, "wrong fields: defaults", fields={"defaults": messages})


def _first(messages: Any, path: str = "") -> str:
    """Return the first of a schema's messages, with the name of its field."""
    while isinstance(messages, dict):
        name, messages = next(iter(messages.items()))
        path = path if isinstance(name, int) or name == "_schema" else f"{path}.{name}".lstrip(".")
    text = messages[0] if isinstance(messages, list) else str(messages)
    return f"{path}: {text}" if path else text
