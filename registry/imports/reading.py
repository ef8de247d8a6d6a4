"""A file, packed or not, as rows: line by line, from any row on, in bounded memory."""

import contextlib
import csv
import gzip
import io
import zlib
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from registry import strict_json
from registry.imports.forms import RefusedError
from registry.models import ImportFormat

LONGEST_ROW = 64 * 1024
"""Bytes of one line, or of one row of CSV that quotes stretch over several lines."""
HEAD = 256 * 1024
"""Bytes from which the encoding is told."""
STRIDE = 4 * 1024 * 1024
"""Bytes that are skipped or digested between two signs of life."""
UNPACKED = 300
"""Times its own size that a packed file may unpack to; no list of people is so monotonous."""


class Encoding(StrEnum):
    """How a file writes its characters; `auto` looks at its beginning."""

    AUTO = "auto"
    UTF_8 = "utf-8"
    GB18030 = "gb18030"


class UnreadableError(Exception):
    """A file that cannot be read, or not further; the text says why and quotes nothing of it."""


Row = Sequence[str] | Mapping[str, Any] | RefusedError
"""The cells of a line of CSV, the object of a line of NDJSON, or why it is neither."""


class Source:
    """The bytes of a file, unpacked where they are packed, up to a most."""

    def __init__(self, file: io.BufferedReader, most: int, size: int) -> None:
        self._sent = file
        self.packed = file.peek(2)[:2] == b"\x1f\x8b"
        self._most, self._file = most, file
        if self.packed:
            self._most = min(most, STRIDE + UNPACKED * size)
            self._file = io.BufferedReader(gzip.GzipFile(fileobj=file), HEAD)
        self.position = 0
        self._row_start = 0

    @property
    def bytes_read(self) -> int:
        """How many bytes of the file as it was sent have been read."""
        return self._sent.tell()

    def begin_row(self) -> None:
        """Say that a row begins here, whose length counts from now on."""
        self._row_start = self.position

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that follow, with their ends; raises `UnreadableError`."""
        while line := self._line():
            yield line

    def _line(self) -> bytes:
        try:
            line = self._file.readline(LONGEST_ROW + 1)
        except _DAMAGES as error:
            raise _damaged(error) from None
        self.position += len(line)
        if self.position - self._row_start > LONGEST_ROW:
            raise UnreadableError("a line is longer than 64 KiB, or a quote in it is never closed")
        if self.position > self._most:
            raise UnreadableError("the file unpacks to more than is taken")
        return line

    def read(self, most: int) -> bytes:
        """Return the next bytes, at most so many."""
        try:
            data = self._file.read(most)
        except _DAMAGES as error:
            raise _damaged(error) from None
        self.position += len(data)
        return data

    def skip(self, position: int, beat: Callable[[], None]) -> None:
        """Go on from a later position; `beat` is called now and then."""
        if not self.packed:
            self._file.seek(position)
            self.position = position
        while self.position < position:
            if not self.read(min(STRIDE, position - self.position)):
                raise UnreadableError("the file is shorter than it was")
            beat()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._sent.close()


_DAMAGES = (EOFError, gzip.BadGzipFile, zlib.error)


def _damaged(error: Exception) -> UnreadableError:
    what = "cut off" if isinstance(error, EOFError) else "damaged"
    return UnreadableError(f"the gzip file is {what}")


def find_encoding(head: bytes, asked: Encoding) -> str:
    """Return how a file is written that begins so; raises `UnreadableError` when it is no text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableError("the file is UTF-16; save it as UTF-8")
    if head.startswith(b"PK\x03\x04"):
        raise UnreadableError("the file is a spreadsheet or a ZIP; save it as CSV")
    if asked is not Encoding.AUTO:
        return asked.value
    for encoding in (Encoding.UTF_8, Encoding.GB18030):
        with contextlib.suppress(UnicodeDecodeError):
            # What is cut off at the end of the head may still become a character.
            getincrementaldecoder(encoding.value)().decode(head)
            return encoding.value
    raise UnreadableError("the file is neither UTF-8 nor GB18030")


class CsvRows:
    """The rows of a CSV file, whose first names its columns."""

    def __init__(self, source: Source, encoding: str) -> None:
        self._source = source
        self._encoding = encoding
        self._delimiter = ","
        self.names = self._read_header()

    def __iter__(self) -> Iterator[Row | None]:
        """Yield what each row says, None for a blank one; raises `UnreadableError`."""
        reader = self._reader(self._source.lines())
        while True:
            self._source.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield RefusedError("not proper CSV")
                continue
            if not any(cells):
                yield None  # Spreadsheets end with rows of nothing but separators.
            elif len(cells) == len(self.names):
                yield cells
            else:
                yield RefusedError(
                    f"the line has {len(cells)} cells, the first line {len(self.names)}"
                )

    def _reader(self, lines: Iterator[bytes]) -> Any:
        encoding = self._encoding
        # What is not of the encoding becomes half characters, which no field takes.
        texts = (line.decode(encoding, "surrogateescape") for line in lines)
        return csv.reader(texts, delimiter=self._delimiter, strict=True)

    def _read_header(self) -> list[str]:
        self._source.begin_row()
        line = next(self._source.lines(), b"")
        text = line.decode(self._encoding, "surrogateescape").lstrip("\ufeff")
        self._delimiter = max(",\t;", key=text.count)
        try:
            cells = next(csv.reader([text], delimiter=self._delimiter, strict=True), [])
        except csv.Error:
            raise UnreadableError("the first line does not name the columns") from None
        return [cell.strip() for cell in cells]


class NdjsonRows:
    """The objects of a file that has one on each line."""

    def __init__(self, source: Source, encoding: str) -> None:
        self._source = source
        self._encoding = encoding

    def __iter__(self) -> Iterator[Row | None]:
        """Yield what each line says, None for a blank one; raises `UnreadableError`."""
        lines = self._source.lines()
        while True:
            self._source.begin_row()
            line = next(lines, None)
            if line is None:
                return
            yield self._read(line) if line.strip() else None

    def _read(self, line: bytes) -> Row:
        try:
            text = line.decode(self._encoding).lstrip("\ufeff")
            said = strict_json.parse(text)
        except UnicodeDecodeError:
            return RefusedError(f"not {self._encoding}")
        except ValueError:
            return RefusedError("not proper JSON")
        return said if isinstance(said, dict) else RefusedError("not a JSON object")


def open_rows(source: Source, format_: ImportFormat, encoding: str) -> CsvRows | NdjsonRows:
    """Return the rows of a source that is at its beginning."""
    return (CsvRows if format_ is ImportFormat.CSV else NdjsonRows)(source, encoding)
