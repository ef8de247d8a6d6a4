"""Files as bodies of requests and of answers."""

from collections.abc import Callable
from functools import wraps
from typing import Any, cast
from urllib.parse import quote

from flask import Response, request
from flask_smorest import Blueprint
from werkzeug.http import parse_options_header

from registry import files
from registry.errors import Kind, RegistryError
from registry.web import registry, type_of_view

ANY = "application/octet-stream"
_FILE = {"schema": {"type": "string", "format": "binary"}}


def takes_file(*media_types: str) -> Callable[[type_of_view], type_of_view]:
    """Receive a file as the body, of the size that the policy allows.

    The view gets it as `content`, and the name in `Content-Disposition` as `name`. Of what kind a
    file is, its content says: the media types are those that a request may name.
    """
    named = [*media_types, ANY]

    def decorate(view: type_of_view) -> type_of_view:
        @wraps(view)
        def received(*args: Any, **kwargs: Any) -> Any:
            if request.mimetype not in named:
                raise RegistryError(
                    Kind.UNSUPPORTED_MEDIA_TYPE, f"the body is one of: {', '.join(named)}"
                )
            return view(*args, content=_receive(), name=_name(), **kwargs)

        header = {
            "in": "header",
            "name": "Content-Disposition",
            "description": "The file's name: `attachment; filename*=UTF-8''licence.pdf`.",
            "schema": {"type": "string"},
        }
        body = {"required": True, "content": dict.fromkeys(named, _FILE)}
        documented = Blueprint.doc(requestBody=body, parameters=[header])(received)
        return cast("type_of_view", documented)

    return decorate


def _receive() -> files.Content:
    most = registry().policy.files.evidence_mebibytes * 2**20
    if (request.content_length or 0) > most:
        raise RegistryError(Kind.TOO_LARGE, f"a file has {most} bytes at most")
    request.max_content_length = most + 1  # So that `files` sees when there is more.
    return files.receive(request.stream, most)


def _name() -> str | None:
    _kind, options = parse_options_header(request.headers.get("Content-Disposition"))
    return options.get("filename")


def answers_file(view: type_of_view) -> type_of_view:
    """Document that a view answers with a file, which no browser shows as a page."""
    answer = {"description": "The file.", "content": {ANY: _FILE}}
    return cast("type_of_view", Blueprint.doc(responses={"200": answer})(view))


def attachment(data: bytes, name: str) -> Response:
    """Return the answer that is a file to be kept under a name, whatever is in it."""
    response = Response(data, content_type=ANY)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response
