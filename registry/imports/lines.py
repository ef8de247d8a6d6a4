"""Rows become lines: what is to be applied, under a key by which it is applied once."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from registry.errors import RegistryError
from registry.imports.forms import KEY, NUMBER, Cell, Form, RefusedError, Terms, flatten, shown_name
from registry.imports.kinds import Reading
from registry.imports.reading import Row, UnreadableError
from registry.numbers import SubscriberNumber

REMEMBERED = 500
"""Different terms that are remembered while a file is read."""


class Line(NamedTuple):
    """A line: its place, number and key, and what it says or why it cannot be applied.

    `rows` counts the rows up to it, `number` is what people call it, `end` the byte after it, and
    `identity` that by which it is applied once.
    """

    rows: int
    number: int
    key: str
    end: int
    identity: bytes
    value: Any
    problem: str | None


class Cells(Protocol):
    """Finds in a row what the fields of its kind say."""

    own: Sequence[int]
    """Which of the fields that differ from line to line there are."""

    def split(self, row: Any) -> tuple[Cell, Cell, Sequence[Cell], Any]:
        """Return a row's key, its number, what it has of its `own`, and what lines share."""

    def shared(self, shared: Any) -> dict[str, Cell]:
        """Return what lines share by the names of the fields, empty ones left out."""


class LineReader:
    """Reads the rows of one import as lines; `identify` makes a key of what a line is known by.

    What a line without a key of its own says is known `within` that: everywhere, where it is "".
    """

    def __init__(
        self,
        form: Form,
        reading: Reading,
        defaults: Mapping[str, Any],
        identify: Callable[[str], bytes],
        region: str,
        within: str = "",
    ) -> None:
        self._form, self._reading, self._within = form, reading, within
        self._identify, self._region = identify, region
        written = flatten(defaults, form.known, ValueError)
        self.defaults = {name: written[name] for name in form.shared if name in written}
        self._own = [form.own_field(name) for name in form.own]
        self._own_defaults = [
            own.read(written[own.name]) if own.name in written else None for own in self._own
        ]
        self._needed = [place for place, own in enumerate(self._own) if own.field.required]
        self._key = form.own_field(KEY)
        self._terms: dict[Any, Terms | RefusedError] = {}

    def check_columns(self, given: Mapping[str, object]) -> None:
        """Raise `UnreadableError` when a field is needed that has neither column nor default."""
        own = {own.name for own, value in zip(self._own, self._own_defaults, strict=True) if value}
        known = {*given, *self.defaults, *own}
        for name in self._form.required:
            if name not in known:
                raise UnreadableError(f"there is no column {name!r}, and no default for it")
        if (either := self._reading.alternatives) and not known & set(either):
            raise UnreadableError(
                f"there is no column {' or '.join(map(repr, either))}, nor a default"
            )

    def read(self, cells: Cells, rows: int, called: int, row: Row, end: int) -> Line:
        """Return the line of a row; one that cannot be applied says why."""
        key = shown = ""
        try:
            if isinstance(row, RefusedError):
                raise row
            key_cell, number_cell, own_cells, shared = cells.split(row)
            if key_cell:
                key = self._key.read(key_cell)
                shown = key if key != number_cell else ""
            number = self._read_number(number_cell)
            if key and isinstance(number, SubscriberNumber) and number.dialled in key:
                shown = ""  # A result holds nobody's number, also where that is the key.
            own = self._read_own(cells.own, own_cells)
            terms = self._terms.get(shared) or self._read_terms(cells, shared)
            if isinstance(terms, RefusedError):
                raise RefusedError(str(terms))
            value = self._reading.make(number, terms.made, own)
        except RefusedError as error:
            return Line(rows, called, shown, end, b"", None, str(error))
        except RecursionError:
            return Line(rows, called, shown, end, b"", None, "it is nested too deeply")
        said = f"key {key}" if key else self._within + _content(number, own, terms)
        return Line(rows, called, shown, end, self._identify(said), value, None)

    def _read_number(self, cell: Cell) -> Any:
        if cell is None or cell == "":
            raise RefusedError("number: Missing data for required field.")
        try:
            return self._reading.parse(cell, self._region)
        except RegistryError as error:
            raise RefusedError(f"number: {error.detail}") from None

    def _read_own(self, places: Sequence[int], cells: Sequence[Cell]) -> list[Any]:
        """Return the fields that lines do not share, defaults where they say nothing."""
        values = self._own_defaults.copy()
        for place, cell in zip(places, cells, strict=True):
            if cell is not None and cell != "":
                values[place] = self._own[place].read(cell)
        for place in self._needed:
            if values[place] is None:
                name = self._own[place].name
                raise RefusedError(f"{name}: Missing data for required field.")
        return values

    def _read_terms(self, cells: Cells, shared: Any) -> Terms | RefusedError:
        """Read what a line shares with others, for all of them: also that it is wrong."""
        found: Terms | RefusedError
        try:
            read = self._form.read_shared({**self.defaults, **cells.shared(shared)})
            found = Terms(read.values, read.digest, self._reading.prepare(read.values))
        except RefusedError as error:
            found = RefusedError(str(error))
        if len(self._terms) >= REMEMBERED:
            self._terms.clear()
        self._terms[shared] = found
        return found


def _content(number: Any, own: Sequence[Any], terms: Terms) -> str:
    """Return what a line without a key is known by: all that it says, however it is written."""
    written = number.e164 if isinstance(number, SubscriberNumber) else number.text
    return " ".join(["line", written, terms.digest, *map(str, own)])


class Columns:
    """The cells of CSV: fields by their places, everything as text."""

    def __init__(self, form: Form, names: Sequence[str], columns: Mapping[str, str] | None) -> None:
        """Find the columns; raises `UnreadableError`, naming one that is wrong.

        Without a mapping they are called as the fields are, and there are no others.
        """
        self._form = form
        self.places = _places(form, names, columns)
        self._key, self._number = self.places.get(KEY), self.places.get(NUMBER)
        self.own: Sequence[int] = [
            place for place, name in enumerate(form.own) if name in self.places
        ]
        self._own = _picker([self.places[form.own[place]] for place in self.own])
        self._shared_names = [name for name in form.shared if name in self.places]
        self._pick = _picker([self.places[name] for name in self._shared_names])

    def split(self, row: Sequence[str]) -> tuple[Cell, Cell, Sequence[Cell], Any]:
        """Return a row's key, its number, what it has of its own, and what lines share."""
        return (
            None if self._key is None else row[self._key].strip(),
            None if self._number is None else row[self._number].strip(),
            self._own(row),
            self._pick(row),
        )

    def shared(self, shared: Sequence[str]) -> dict[str, Cell]:
        """Return what lines share by the names of the fields, empty ones left out."""
        return {
            name: self._form.from_text(name, text)
            for name, text in zip(self._shared_names, shared, strict=True)
            if text.strip()
        }


def _places(
    form: Form, names: Sequence[str], columns: Mapping[str, str] | None
) -> Mapping[str, int]:
    if columns is None:
        for name in names:
            if name not in form.known:
                raise UnreadableError(f"there is no field for the column {shown_name(name)!r}")
        columns = {name: name for name in names}
    places = {}
    for field, column in columns.items():
        if names.count(column) != 1:
            many = "more than one" if column in names else "no"
            raise UnreadableError(f"there is {many} column {shown_name(column)!r}")
        places[field] = names.index(column)
    return places


def _picker(places: Sequence[int]) -> Callable[[Sequence[str]], Sequence[str]]:
    if len(places) > 1:
        return itemgetter(*places)
    if not places:
        return lambda _: ()
    [only] = places
    return lambda row: (row[only],)


class Objects:
    """The cells of NDJSON: fields by their names, with the types of JSON."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.own: Sequence[int] = range(len(form.own))

    def split(self, row: Mapping[str, Any]) -> tuple[Cell, Cell, Sequence[Cell], Any]:
        """Return a row's key, its number, what it has of its own, and what lines share.

        Raises `RefusedError` for a field that there is not.
        """
        said = flatten(row, self._form.known, _unknown)
        return (
            _frozen(said.pop(KEY, None)),
            _frozen(said.pop(NUMBER, None)),
            [_frozen(said.pop(name, None)) for name in self._form.own],
            tuple((name, _frozen(value)) for name, value in said.items()),
        )

    def shared(self, shared: Sequence[tuple[str, Cell]]) -> dict[str, Cell]:
        """Return what lines share by the names of the fields."""
        return {name: _thawed(value) for name, value in shared}


def _unknown(name: str) -> RefusedError:
    return RefusedError(f"{shown_name(name)}: Unknown field.")


def _frozen(value: Any) -> Any:
    """Return a value of JSON as one that can be remembered by: 1, 1.0 and true are three."""
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, list):
        return list, tuple(map(_frozen, value))
    return type(value), None if isinstance(value, dict) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, str) or value is None:
        return value
    kind, inner = value
    return [_thawed(each) for each in inner] if kind is list else {} if kind is dict else inner
