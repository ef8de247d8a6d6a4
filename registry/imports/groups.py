"""A file as groups of lines, from where its import has got to."""

import hashlib
import hmac
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from marshmallow import Schema

from registry.imports.forms import Form
from registry.imports.kinds import READINGS
from registry.imports.lines import Cells, Columns, Line, LineReader, Objects
from registry.imports.reading import (
    HEAD,
    STRIDE,
    CsvRows,
    Source,
    UnreadableError,
    find_encoding,
    open_rows,
)
from registry.imports.receiving import Options, read_options
from registry.ledger.bulk import line_key
from registry.models import Import, ImportFormat, ImportKind
from registry.numbers import NumberKey

MOST_ROWS = 100_000
"""Rows after which a group ends even when most of them are blank."""
MOST_BYTES = 8 * 1024 * 1024
"""Bytes after which a group ends even when it has few lines."""
MOST_BLANK = 1_100_000
"""Blank rows in a row: a spreadsheet, which may end with many, has no more rows than that."""


@dataclass(frozen=True)
class Group:
    """Lines that are applied together; `rows` and the bytes are counted from the beginning."""

    lines: Sequence[Line]
    rows: int
    offset: int
    bytes_read: int
    last: bool = False
    problem: str | None = None

    def first(self, many: int) -> "Group":
        """Return the group of only the first lines."""
        last = self.lines[many - 1]
        return Group(self.lines[:many], last.rows, last.end, self.bytes_read)

    def after(self, many: int) -> "Group":
        """Return the group without its first lines."""
        return replace(self, lines=self.lines[many:])


class GroupReader:
    """Reads the file of an import from where it has got to."""

    def __init__(
        self,
        file: io.BufferedReader,
        row: Import,
        schema: Schema,
        *,
        key: NumberKey,
        region: str,
        most: int,
        beat: Callable[[], None],
    ) -> None:
        """Go to the import's place; raises `UnreadableError`. `beat` is called while that lasts."""
        self._row, self._form, self._file = row, Form(schema), file
        options = read_options(row)
        self._reader = LineReader(
            self._form,
            READINGS[row.kind],
            options.defaults,
            lambda text: line_key(key, row.organisation_id, row.kind, text),
            region,
            # A refusal says no time: the same words in another file may be said anew, by
            # somebody who lifted it since, or who got the number.
            within=f"{row.id} " if row.kind is ImportKind.REFUSALS else "",
        )
        try:
            if row.offset == 0 and row.sha256 is not None:
                self._check(row.sha256, beat)
            self._open(options, most, beat)
        except BaseException:
            file.close()
            raise

    def _check(self, sha256: str, beat: Callable[[], None]) -> None:
        """Make sure that the file is the one that was sent."""
        digest = hashlib.sha256()
        while data := self._file.read(STRIDE):
            digest.update(data)
            beat()
        if not hmac.compare_digest(digest.hexdigest(), sha256):
            raise UnreadableError("the file's SHA-256 is not the one that was named")
        self._file.seek(0)

    def _open(self, options: Options, most: int, beat: Callable[[], None]) -> None:
        """Read the head of the file, for its encoding and columns, and go to the place."""
        row = self._row
        head = Source(self._file, most, row.size).read(HEAD)
        encoding = find_encoding(head, options.encoding)
        self._file.seek(0)
        self._source = Source(self._file, most, row.size)
        rows = open_rows(self._source, row.format, encoding)
        self._cells: Cells = Objects(self._form)
        if isinstance(rows, CsvRows):
            columns = Columns(self._form, rows.names, options.columns)
            self._reader.check_columns(columns.places)
            self._cells = columns
        if row.offset > self._source.position:
            self._source.skip(row.offset, beat)
        self._rows = iter(rows)
        self._index, self._blank = row.lines, 0
        # As a spreadsheet counts, where the names of the columns are row 1.
        self._above = 2 if row.format is ImportFormat.CSV else 1

    def next_group(self, most: int) -> Group:
        """Return the next group of at most so many lines."""
        lines: list[Line] = []
        last, problem = False, None
        until, full = self._index + MOST_ROWS, self._source.position + MOST_BYTES
        try:
            while len(lines) < most and self._index < until and self._source.position < full:
                if (line := self._next_line()) is not None:
                    lines.append(line)
        except StopIteration:
            last = True
        except UnreadableError as error:
            last, problem = True, f"line {self._index + self._above}: {error}"
        offset = lines[-1].end if problem and lines else self._source.position
        return Group(lines, self._index, offset, self._source.bytes_read, last, problem)

    def _next_line(self) -> Line | None:
        """Return the line of the next row, None where that is blank; raises `StopIteration`."""
        row = next(self._rows)
        called = self._index + self._above
        self._index += 1
        if row is None:
            self._blank += 1
            if self._blank > MOST_BLANK:
                raise UnreadableError("nothing but blank lines")
            return None
        self._blank = 0
        return self._reader.read(self._cells, self._index, called, row, self._source.position)

    def close(self) -> None:
        """Close the file."""
        self._source.close()
