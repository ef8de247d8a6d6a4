"""Imports: sending a file of many lines, saying what is in it, and watching it being applied."""

import csv
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from flask import (
    Blueprint,
    Response,
    flash,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_babel import gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import access, imports, web
from registry.errors import Kind, RegistryError
from registry.imports import Encoding, looking
from registry.imports.forms import nest
from registry.imports.reading import UnreadableError
from registry.models import Import, ImportFormat, ImportKind, ImportState, MemberRole
from registry.portal.console import columns, uploads
from registry.portal.console.import_words import why
from registry.portal.console.people import IMPORTING, member, needs
from registry.portal.console.reading import after, wrong
from registry.portal.pages import lead
from registry.runtime import Registry
from registry.schemas.fields import readable
from registry.schemas.imports import LINES

Page = str | tuple[str, int] | AnyResponse
looks = needs(MemberRole.VIEWER, kinds=IMPORTING)
acts = needs(MemberRole.AGENT, kinds=IMPORTING)
acts_always = needs(MemberRole.AGENT, kinds=IMPORTING, suspended=True)
REPORTED = 5
"""Rejected lines that the page itself tells of."""
READ_OF_RESULT = 1024 * 1024


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/imports", endpoint="imports")
    @looks
    def list_imports() -> Page:
        """Show the imports, the newest first."""
        with registry.database.snapshot() as storage:
            rows = imports.page(storage, member().own_id, after(), kinds=_kinds())
        return render_template(
            "console/imports.html",
            rows=[(row, imports.progress(row)) for row in rows],
            more=rows[-1].id if len(rows) == imports.PAGE else None,
        )

    @console.get("/imports/new")
    @acts
    def new_import() -> Page:
        """Ask for the file, and what kind of lines it has."""
        chosen = request.args.get("kind", "")
        return _form({"kind": chosen if chosen in list(map(str, _kinds())) else _kinds()[0]})

    @console.post("/imports")
    @acts
    @uploads.streams
    def upload() -> Page:
        """Take the file as it comes, and ask what is in it."""
        sent = uploads.begin()
        try:
            row = _receive(registry, sent)
        except RegistryError as error:
            if error.kind is Kind.CONFLICT:
                return _form(request.form, too_many=True), 409
            if error.kind is not Kind.INVALID or not error.fields:
                raise
            return _form(request.form, problems=error.fields), 422
        return lead(url_for(".columns", import_id=row.id))

    @console.get("/imports/<uuid:import_id>/columns", endpoint="columns")
    @acts
    def ask_columns(import_id: UUID) -> Page:
        """Show the beginning of the file, and ask what its columns are."""
        return _columns(registry, _waiting(registry, import_id), {})

    @console.post("/imports/<uuid:import_id>/columns")
    @acts
    def start_import(import_id: UUID) -> Page:
        """Start the import with what was chosen."""
        row = _waiting(registry, import_id)
        try:
            problems = _start(registry, row)
        except UnreadableError:
            problems = {}
            return _columns(registry, row, problems), 422
        if problems:
            return _columns(registry, row, problems), 422
        flash(gettext("The import has started."), "ok")
        return redirect(url_for(".import_", import_id=import_id))

    @console.get("/imports/<uuid:import_id>", endpoint="import_")
    @looks
    def one(import_id: UUID) -> Page:
        """Show how far an import has got; the page looks again by itself."""
        row = _own(registry, import_id)
        if row.state is ImportState.RECEIVING and row.size and member().role != "viewer":
            return redirect(url_for(".columns", import_id=import_id))
        return render_template("console/import.html", **_shown(registry, row))

    @console.get("/imports/<uuid:import_id>/cancel")
    @acts_always
    def ask_cancel_import(import_id: UUID) -> Page:
        """Ask whether an import is to end."""
        row = _own(registry, import_id)
        return render_template(
            "console/confirm.html",
            question=gettext("Cancel this import?"),
            text=gettext("What it has applied stays. The rest of the file is removed."),
            action=url_for(".cancel_import", import_id=row.id),
            yes=gettext("Cancel it"),
            kind="danger",
            back=url_for(".import_", import_id=row.id),
            area="imports",
        )

    @console.post("/imports/<uuid:import_id>/cancel")
    @acts_always
    def cancel_import(import_id: UUID) -> Page:
        """End an import; what it has applied stays."""
        _cancel(registry, import_id)
        flash(gettext("The import is cancelled."), "ok")
        return redirect(url_for(".import_", import_id=import_id))

    @console.get("/imports/<uuid:import_id>/result")
    @looks
    def import_result(import_id: UUID) -> Response:
        """Send what became of each line, to be kept and not shown."""
        row = _own(registry, import_id)
        if not imports.progress(row).has_result:
            raise RegistryError(Kind.NOT_FOUND, "there is no result")
        pieces = registry.imports.read_result(row.id, row.result_size)
        response = Response(pieces, mimetype="text/csv")
        response.headers["Content-Disposition"] = f'attachment; filename="result-{row.id}.csv"'
        return response


def _kinds() -> list[ImportKind]:
    """Return what the organisation's kind may send."""
    kind = member().kind
    scopes = access.SCOPES[kind] if kind is not None else frozenset()
    return [one for one in ImportKind if imports.SCOPES[one] in scopes]


def _form(written: Any, problems: Any = None, **more: object) -> str:
    return render_template(
        "console/import_new.html",
        written=written,
        problems=problems or {},
        kinds=_kinds(),
        encodings=list(Encoding),
        longest=imports.LONGEST_NAME,
        **more,
    )


def _receive(registry: Registry, sent: uploads.Upload) -> Import:
    """Announce an import and take its file; one whose file does not come whole is cancelled."""
    kind, format_, encoding, name = _read(sent)
    options = imports.options(LINES[kind], format_, encoding=encoding)
    with registry.database.write() as storage:
        row = imports.create(
            storage, member().own_id, kind, format_, name, options, now=registry.clock()
        )
    try:
        with web.Uploading():
            size = imports.receive(
                registry.database,
                registry.imports,
                row.id,
                member().own_id,
                0,
                sent.pieces,
                most=registry.policy.files.import_mebibytes,
            )
    except BaseException:
        _cancel(registry, row.id)
        raise
    if size == 0:
        _cancel(registry, row.id)
        raise wrong("file")
    return row


def _read(sent: uploads.Upload) -> tuple[ImportKind, ImportFormat, Encoding, str]:
    """Return what stands before the file."""
    form = request.form
    bad = [
        name
        for name, some in (("kind", _kinds()), ("encoding", Encoding))
        if form.get(name) not in list(map(str, some))
    ]
    if not sent.name:
        bad.append("file")
    if bad:
        raise wrong(*bad)
    written = readable(form.get("name", "")).strip() or readable(sent.name)
    name = " ".join(written.split())[: imports.LONGEST_NAME]
    lines = sent.name.lower().removesuffix(".gz").endswith((".ndjson", ".jsonl", ".json"))
    format_ = ImportFormat.NDJSON if lines else ImportFormat.CSV
    return ImportKind(form["kind"]), format_, Encoding(form["encoding"]), name


def _own(registry: Registry, import_id: UUID) -> Import:
    with registry.database.snapshot() as storage:
        return imports.own_import(storage, import_id, member().own_id)


def _waiting(registry: Registry, import_id: UUID) -> Import:
    """Return an import that was received and not started yet."""
    row = _own(registry, import_id)
    if row.state is not ImportState.RECEIVING or not row.size:
        raise RegistryError(Kind.CONFLICT, "this import has started")
    return row


def _columns(registry: Registry, row: Import, problems: Any) -> str:
    found, unreadable = None, None
    mapped = row.format is ImportFormat.CSV
    try:
        found = looking.look(registry.imports, row, registry.policy.default_region)
    except UnreadableError as error:
        unreadable = why(str(error))
    choices = columns.choices(
        looking.fields(LINES[row.kind]),
        found.columns if found and mapped else [],
        problems,
        mapped=mapped,
    )
    asked = [one for one in choices if one.needed or one.column is not None or one.problem]
    return render_template(
        "console/columns.html",
        row=row,
        look=found,
        unreadable=unreadable,
        mapped=mapped,
        needed=asked,
        others=[one for one in choices if one not in asked],
        problems=problems,
    )


def _start(registry: Registry, row: Import) -> Any:
    """Start an import; return what is wrong with what was chosen."""
    fields = looking.fields(LINES[row.kind])
    mapped: dict[str, str] | None = None
    said, problems = columns.defaults(fields)
    if row.format is ImportFormat.CSV:
        found = looking.look(registry.imports, row, registry.policy.default_region)
        mapped = columns.mapping(fields, found.columns)
        problems |= columns.missing(fields, mapped, said)
    if problems:
        return problems
    encoding = imports.read_options(row).encoding
    try:
        options = imports.options(
            LINES[row.kind], row.format, columns=mapped, defaults=nest(said), encoding=encoding
        )
    except RegistryError as error:
        if error.kind is not Kind.INVALID or not error.fields:
            raise
        return columns.wrong(error.fields) or {"number": columns.NOT_RIGHT}
    with registry.database.write() as storage:
        looking.choose(storage, row.id, member().own_id, options)
        imports.start(storage, row.id, member().own_id)
    return {}


def _cancel(registry: Registry, import_id: UUID) -> None:
    with registry.database.write() as storage:
        imports.cancel(storage, import_id, member().own_id, now=registry.clock())
    registry.imports.remove_source(import_id)


def _shown(registry: Registry, row: Import) -> dict[str, object]:
    progress = imports.progress(row)
    seconds = None
    if row.state is ImportState.RUNNING and row.bytes_read and row.milliseconds:
        left = max(row.size - row.bytes_read, 0)
        seconds = round(left * row.milliseconds / row.bytes_read / 1000)
    return {
        "row": row,
        "progress": progress,
        "going_on": row.state in imports.UNFINISHED,
        "seconds": seconds,
        "problem": why(row.problem) if row.problem else None,
        "rejected": _rejected(registry, row) if progress.counts["rejected"] else [],
        "now": registry.clock(),
    }


def _rejected(registry: Registry, row: Import) -> Sequence[tuple[str, str]]:
    """Return the first rejected lines and why, as the beginning of the result tells them."""
    if not imports.progress(row).has_result:
        return []
    size = min(row.result_size, READ_OF_RESULT)
    found: list[tuple[str, str]] = []
    try:
        text = b"".join(registry.imports.read_result(row.id, size)).decode("utf-8", "replace")
    except RegistryError:
        return []
    for line in _complete(csv.reader(text.splitlines())):
        if line[2] == "rejected":
            found.append((line[0], line[4]))
            if len(found) == REPORTED:
                break
    return found


def _complete(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if len(row) == 5)
