"""Forms that bring a large file: its bytes are handed on as they come, and kept by nobody between.

What the form says stands before the file, so that it is known, and checked, before the first of
the file's bytes is taken.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from flask import Flask, request
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
)

from registry.errors import Kind, RegistryError
from registry.imports import PIECE
from registry.portal.cookie import csrf
from registry.portal.pages import LARGEST_FORM

View = TypeVar("View", bound=Callable[..., Any])
MOST_PARTS = 20


@dataclass(frozen=True)
class Upload:
    """A file that is being sent: what it is called, and its bytes, once."""

    name: str
    pieces: Iterator[bytes]


def streams(view: View) -> View:
    """Let a view take the file of its form as it comes; it calls `begin`, which checks the form."""
    view.streams = True  # type: ignore[attr-defined]
    return view


def is_streamed(app: Flask) -> bool:
    """Tell whether the view of this request does so."""
    view = app.view_functions.get(request.endpoint or "")
    return bool(getattr(view, "streams", False))


def begin() -> Upload:
    """Read the form up to its file, and check it; `request.form` is what it says.

    A form without its token is turned away before anything of the file is taken.
    """
    events = _events(_decoder(), request.stream)
    said, name = _read_fields(events)
    request.form = ImmutableMultiDict(said)
    csrf.protect()
    return Upload(name, _pieces(events))


def _decoder() -> MultipartDecoder:
    kind, options = parse_options_header(request.headers.get("Content-Type", ""))
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not (boundary and boundary.isascii()):
        raise RegistryError(Kind.MALFORMED, "the form does not bring a file")
    # Without its limit what never comes to a delimiter would be kept whole.
    return MultipartDecoder(
        boundary.encode(), max_form_memory_size=PIECE + LARGEST_FORM, max_parts=MOST_PARTS
    )


def _events(decoder: MultipartDecoder, stream: IO[bytes]) -> Iterator[Event]:
    """Yield what the form consists of; raises `MALFORMED` where it is cut off."""
    try:
        while True:
            event = decoder.next_event()
            while isinstance(event, NeedData):
                decoder.receive_data(stream.read(PIECE) or None)
                event = decoder.next_event()
            yield event
            if isinstance(event, Epilogue):
                return
    except ValueError:
        raise RegistryError(Kind.MALFORMED, "the form is cut off") from None


def _read_fields(events: Iterator[Event]) -> tuple[list[tuple[str, str]], str]:
    """Return what stands before the file, and the file's name."""
    said: list[tuple[str, str]] = []
    name, written = "", bytearray()
    for event in events:
        if isinstance(event, File):
            return said, event.filename
        if isinstance(event, Field):
            name, written = event.name, bytearray()
        elif isinstance(event, Data):
            written += event.data
            if len(written) > LARGEST_FORM:
                raise RequestEntityTooLarge
            if not event.more_data:
                said.append((name, written.decode("utf-8", "replace")))
    return said, ""


def _pieces(events: Iterator[Event]) -> Iterator[bytes]:
    """Yield the bytes of the file; what comes after it is left."""
    for event in events:
        if not isinstance(event, Data):
            return
        if event.data:
            yield bytes(event.data)
        if not event.more_data:
            return
