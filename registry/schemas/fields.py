"""The kinds of fields that schemas are made of: what is read strictly, and written one way."""

import re
import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, validate

from registry.lookup import BATCH
from registry.numbers import LONGEST_INPUT
from registry.receipts import optional_timestamp

_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Text(fields.String):
    """Text that a database and a page can hold: no control characters, no lone surrogates, and
    nothing that turns the direction of what is written around it."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=1, max=most), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if any(map(_no_text, text)):
            raise ValidationError("Contains a character that is no text.")
        return text


class Line(Text):
    """Text of a single line, such as a name: no break and no tab sets parts of it apart."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        if any(mark in "\n\t\u2028\u2029" for mark in text):
            raise ValidationError("Contains a line break or a tab.")
        return text


_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def _no_text(mark: str) -> bool:
    unreadable = mark not in "\n\t" and unicodedata.category(mark) in ("Cc", "Cs")
    return unreadable or unicodedata.bidirectional(mark) in _DIRECTIONS


def readable(text: str) -> str:
    """Return what somebody typed or pasted into a page without what is no text."""
    return "".join(mark for mark in text.replace("\r\n", "\n") if not _no_text(mark))


class Number(fields.String):
    """A telephone number as it was written; the view reads it with the policy's region."""

    def __init__(
        self, what: str = "A subscriber's number in any common notation.", **kwargs: Any
    ) -> None:
        told = {"description": what, "maxLength": LONGEST_INPUT}
        super().__init__(required=True, metadata=told, **kwargs)


class Numbers(fields.Field[list[str]]):
    """Many written numbers; a malformed one is answered in its place."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValidationError("Not a list of strings.")
        if not 1 <= len(value) <= BATCH:
            raise ValidationError(f"A batch has 1 to {BATCH} numbers.")
        return value


class Flag(fields.Boolean):
    """True or false, and nothing that merely looks like it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Instant(fields.AwareDateTime):
    """A time of RFC 3339 with its offset; kept and answered in UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
            raise self.make_error("invalid", input=value, obj_type="datetime")
        try:
            return super()._deserialize(value.upper(), *args, **kwargs).astimezone(UTC)
        except OverflowError:
            raise self.make_error("invalid", input=value, obj_type="datetime") from None

    def _serialize(self, value: datetime | None, *args: Any, **kwargs: Any) -> Any:
        return optional_timestamp(value)


class OneOf(fields.String):
    """One of some words of a vocabulary, which are those that the document names."""

    def __init__(self, *some: StrEnum, **kwargs: Any) -> None:
        self._words = {str(one): one for one in some}
        super().__init__(validate=validate.OneOf(list(self._words)), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        return self._words.get(text, text)


def word(vocabulary: type[StrEnum], **kwargs: Any) -> fields.Enum[Any]:
    """Return the field of a vocabulary; anything outside it is refused."""
    return fields.Enum(vocabulary, by_value=fields.String, **kwargs)


def words(vocabulary: type[StrEnum]) -> fields.List[Any]:
    """Return the field of one or more different words."""
    return fields.List(
        word(vocabulary),
        required=True,
        validate=[validate.Length(min=1, max=len(vocabulary)), _different],
        metadata={"uniqueItems": True},
    )


def _different(values: list[Any]) -> None:
    if len(set(values)) < len(values):
        raise ValidationError("The same value twice.")


def count(least: int = 1, most: int = 2**31 - 1, **kwargs: Any) -> fields.Integer:
    """Return the field of a whole number, written as one."""
    return fields.Integer(strict=True, validate=validate.Range(min=least, max=most), **kwargs)


def address(value: str) -> None:
    """Refuse what is no absolute URI."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    known = parts.scheme in ("https", "http", "urn", "s3", "file")
    if not (known and (parts.netloc or parts.path) and value.isprintable()):
        raise ValidationError("Not an absolute URI.")
