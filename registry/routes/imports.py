"""Imports: files of many lines, sent in pieces and applied in the background."""

import re
from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

from flask import Response, after_this_request, jsonify, request
from flask_smorest import Blueprint
from sqlalchemy.orm import Session

from registry import imports
from registry.access import Scope
from registry.errors import Kind, RegistryError, invalid
from registry.models import Import, ImportKind
from registry.routes.blueprint import v1
from registry.routes.reading import Body
from registry.routes.showing import columns, dump
from registry.schemas.imports import (
    LINES,
    ImportSchema,
    ImportsSchema,
    NewImportSchema,
    StartSchema,
)
from registry.schemas.organisations import CursorSchema
from registry.web import (
    Uploading,
    caller,
    commit,
    idempotent,
    registry,
    requires,
    type_of_view,
)

SCOPES = (Scope.CONSENT, Scope.WISHES, Scope.TENURE, Scope.NUMBERS)
PIECE = "application/offset+octet-stream"
OFFSET = "Upload-Offset"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def takes_piece(view: type_of_view) -> type_of_view:
    """Document that the body is a piece of a file, and where in the file it belongs."""
    header = {
        "in": "header",
        "name": OFFSET,
        "required": True,
        "description": "The byte at which the file goes on; it is named by HEAD and by a 409.",
        "schema": {"type": "integer", "minimum": 0},
    }
    body = {"required": True, "content": {PIECE: _BINARY}}
    return cast("type_of_view", Blueprint.doc(requestBody=body, parameters=[header])(view))


def answers_csv(view: type_of_view) -> type_of_view:
    """Document that the answer is CSV."""
    answer = {"description": "The result.", "content": {"text/csv": {"schema": {"type": "string"}}}}
    return cast("type_of_view", Blueprint.doc(responses={"200": answer})(view))


@v1.post("/imports")
@requires(*SCOPES)
@idempotent
@v1.arguments(NewImportSchema)
@v1.response(201, ImportSchema)
def post_import(data: Body) -> Response:
    """Announce a file of many lines. It is sent in pieces, and applied once it was started.

    Consents and requests need the scope `consent`, refusals `wishes`, reassignments `tenure`,
    numbers `numbers`.
    """
    kind, format_ = data["kind"], data["format"]
    _check_scope(kind)
    options = imports.options(
        LINES[kind],
        format_,
        columns=data["columns"],
        defaults=data["defaults"],
        encoding=data["encoding"],
    )
    return commit(
        lambda session: _shown(
            imports.create(
                session,
                caller().organisation_id,
                kind,
                format_,
                data["name"],
                options,
                now=registry().clock(),
            )
        ),
        201,
    )


@v1.get("/imports")
@requires(*SCOPES, suspended=True)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, ImportsSchema)
def get_imports(data: Body) -> Response:
    """List the organisation's own imports that this key may see, the newest first."""
    kinds = [kind for kind, scope in imports.SCOPES.items() if scope in caller().scopes]
    with registry().database.snapshot() as session:
        rows = imports.page(session, caller().organisation_id, data["cursor"], kinds)
        full = len(rows) == imports.PAGE
        return jsonify(
            imports=[_shown(row) for row in rows], cursor=str(rows[-1].id) if full else None
        )


@v1.get("/imports/<uuid:import_id>")
@requires(*SCOPES, suspended=True)
@v1.response(200, ImportSchema)
def get_import(import_id: UUID) -> Response:
    """Show an import. The header `Upload-Offset`, also of HEAD, says how much of it is here."""
    with registry().database.snapshot() as session:
        row = _own(session, import_id)
        response = jsonify(_shown(row))
    response.headers[OFFSET] = str(row.size)
    return response


@v1.patch("/imports/<uuid:import_id>")
@requires(*SCOPES)
@takes_piece
@v1.response(204)
def patch_import(import_id: UUID) -> Response:
    """Append a piece to a file. What is acknowledged is on the disk.

    A piece that does not begin where the file ends is refused (409), with `Upload-Offset` saying
    where that is; after a broken connection HEAD says so, too.
    """
    offset = _read_offset()
    opened, who = registry(), caller().organisation_id
    with opened.database.snapshot() as session:
        size = _own(session, import_id).size
    most = opened.policy.files.import_mebibytes
    if offset + (request.content_length or 0) > most * 2**20:
        raise RegistryError(Kind.TOO_LARGE, "the file is larger than is taken")
    request.max_content_length = most * 2**20 + 1  # `receive` sees when there is more.
    try:
        with Uploading():
            size = imports.receive(
                opened.database, opened.imports, import_id, who, offset, _pieces(), most=most
            )
    finally:
        _tell_offset(size)
    return Response(status=204)


def _read_offset() -> int:
    if request.mimetype != PIECE:
        raise RegistryError(Kind.UNSUPPORTED_MEDIA_TYPE, f"the body is {PIECE}")
    written = request.headers.get(OFFSET, "")
    if not re.fullmatch(r"[0-9]{1,15}", written):
        raise invalid(OFFSET, "is a number of bytes")
    return int(written)


def _pieces() -> Iterator[bytes]:
    """Yield the body as it comes; what came before a connection broke is kept."""
    while piece := request.stream.read(imports.PIECE):
        yield piece


def _tell_offset(size: int) -> None:
    @after_this_request
    def tell(response: Response) -> Response:
        response.headers[OFFSET] = str(size)
        return response


@v1.post("/imports/<uuid:import_id>/start")
@requires(*SCOPES)
@idempotent
@v1.arguments(StartSchema)
@v1.response(200, ImportSchema)
def post_import_start(data: Body, import_id: UUID) -> Response:
    """Say that a file is complete. It is applied in its turn, and can be followed meanwhile."""

    def start(session: Session) -> Body:
        _own(session, import_id)
        row = imports.start(session, import_id, caller().organisation_id, sha256=data["sha256"])
        return _shown(row)

    return commit(start)


@v1.post("/imports/<uuid:import_id>/cancel")
@requires(*SCOPES, suspended=True)
@idempotent
@v1.response(200, ImportSchema)
def post_import_cancel(import_id: UUID) -> Response:
    """End an import. What it has applied stays; its file is removed."""

    def cancel(session: Session) -> Body:
        _own(session, import_id)
        return _shown(
            imports.cancel(session, import_id, caller().organisation_id, now=registry().clock())
        )

    response = commit(cancel)
    registry().imports.remove_source(import_id)
    return response


@v1.get("/imports/<uuid:import_id>/result")
@requires(*SCOPES, suspended=True)
@answers_csv
def get_import_result(import_id: UUID) -> Response:
    """Download what became of each line, as CSV; of one under way, of those that are done.

    A line is told by its number, as a spreadsheet counts, and by its own key.
    """
    opened = registry()
    with opened.database.snapshot() as session:
        row = _own(session, import_id)
    answer = Response(
        imports.read_result(opened.imports, row), content_type="text/csv; charset=utf-8"
    )
    answer.headers["Content-Disposition"] = f'attachment; filename="import-{import_id}.csv"'
    return answer


def _own(session: Session, import_id: UUID) -> Import:
    row = imports.own_import(session, import_id, caller().organisation_id)
    _check_scope(row.kind)
    return row


def _check_scope(kind: ImportKind) -> None:
    needed = imports.SCOPES[kind]
    if needed not in caller().scopes:
        raise RegistryError(Kind.SCOPE_MISSING, f"this key has no scope {needed}")


def _shown(row: Import) -> dict[str, Any]:
    return dump(ImportSchema, {**columns(row), **vars(imports.progress(row))})
