"""The application of whoever has no organisation yet: its state and documents, sending it again.

Documents go as well with what an organisation applies to have changed.
"""

from io import BytesIO
from uuid import UUID

from flask import (
    Blueprint,
    Response,
    flash,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import files, members, senders
from registry.errors import Kind, RegistryError
from registry.models import Application, ApplicationState, MemberRole
from registry.portal.console.apply import DETAILS, details_of, read_form, said_of
from registry.portal.console.people import member, needs, with_file
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse
own = needs(MemberRole.VIEWER, applicants=True)
own_to_change = needs(MemberRole.ADMIN, applicants=True)
NOT_TAKEN = {
    Kind.UNSUPPORTED_MEDIA_TYPE: lazy_gettext("A document is a PDF, PNG or JPEG file."),
    Kind.INVALID: lazy_gettext("Please choose a file that is not empty."),
    Kind.TOO_LARGE: lazy_gettext("This file is too large."),
    Kind.RATE_LIMITED: lazy_gettext("Too many documents came today. Please try again tomorrow."),
}


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    def shown() -> dict[str, object]:
        with registry.database.snapshot() as storage:
            row = _own(storage)
            documents = senders.documents(storage, row)
        most = registry.policy.files.evidence_mebibytes
        return {"row": row, "documents": documents, "most": most}

    @console.get("/application")
    @own
    def application() -> Page:
        """Show how far the application has got; once approved there is the overview instead."""
        if member().organisation_id is not None:
            return redirect(url_for(".overview"))
        return render_template("console/application.html", **shown())

    @console.get("/application/correct")
    @own_to_change
    def correct_application() -> Page:
        """Ask what is to be corrected, beginning with what was sent before."""
        with registry.database.snapshot() as storage:
            row = _closed(storage)
            form = {name: getattr(row, name) for name in DETAILS}
        return render_template("console/correct.html", written=form, problems={})

    @console.post("/application/correct")
    @own_to_change
    def send_again() -> Page:
        """Send the application again; whoever belonged to the old one belongs to this one."""
        form = read_form()
        now = registry.clock()
        try:
            with registry.database.write() as storage:
                old = _closed(storage)
                sent = senders.apply(
                    storage, details_of(form), member_id=member().member_id, now=now
                )
                members.move_to_application(storage, old.id, sent.id)
        except RegistryError as error:
            problems = said_of(error)
            if not problems:
                raise
            return render_template("console/correct.html", written=form, problems=problems), 422
        flash(gettext("The application is sent again. Please add its documents."), "ok")
        return redirect(url_for(".application"))

    @console.post("/application/withdraw")
    @own_to_change
    def withdraw_application() -> Page:
        """Take the application back."""
        with registry.database.write() as storage:
            row = _own(storage)
            senders.withdraw_application(
                storage,
                row.id,
                actor_id=row.organisation_id,
                member_id=member().member_id,
                now=registry.clock(),
            )
        flash(gettext("The application is taken back."), "ok")
        return redirect(url_for(_page_of_own()))

    @console.post("/application/documents")
    @own_to_change
    @with_file
    def add_document() -> Page:
        """Add a document to the application."""
        try:
            _add_document(registry)
        except RegistryError as error:
            if error.kind not in NOT_TAKEN:
                raise
            flash(str(NOT_TAKEN[error.kind]), "warn")
        else:
            flash(gettext("The document is added."), "ok")
        return redirect(url_for(_page_of_own()))

    @console.get("/application/documents/<uuid:document_id>")
    @own
    def document(document_id: UUID) -> Response:
        """Send a document of the application, to be kept and not shown."""
        with registry.database.snapshot() as storage:
            row = senders.find_document(storage, _own(storage), document_id)
        return send_file(
            BytesIO(registry.files.read(row.sha256)),
            mimetype=row.media_type,
            as_attachment=True,
            download_name=row.name,
        )


def _page_of_own() -> str:
    """Return the view that shows what the member, or the organisation, applies for."""
    return ".application" if member().organisation_id is None else ".organisation"


def _own(storage: Session) -> Application:
    """Return what the member, or the organisation, applies for; no address names another's."""
    here = member()
    if here.organisation_id is not None:
        return _of_organisation(storage, here.organisation_id)
    application_id = here.application_id
    if application_id is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no application")
    return senders.find_application(storage, application_id)


def _of_organisation(storage: Session, organisation_id: UUID) -> Application:
    waiting = senders.applications(
        storage, organisation_id=organisation_id, state=ApplicationState.SUBMITTED
    )
    if not waiting:
        raise RegistryError(Kind.NOT_FOUND, "no application waits")
    return waiting[0]


def _closed(storage: Session) -> Application:
    """Return the application once it was rejected or taken back, and can be sent again."""
    row = _own(storage)
    if row.state not in (ApplicationState.REJECTED, ApplicationState.WITHDRAWN):
        raise RegistryError(Kind.CONFLICT, "this application can not be sent again")
    return row


def _add_document(registry: Registry) -> None:
    sent = request.files.get("document")
    if sent is None:
        raise RegistryError(Kind.INVALID, "no file")
    content = files.receive(sent.stream, registry.policy.files.evidence_mebibytes * 1024**2)
    with registry.database.write() as storage:
        senders.add_document(
            storage,
            registry.files,
            senders.find_open(storage, _own(storage).id),
            content,
            sent.filename,
            actor_id=member().organisation_id,
            member_id=member().member_id,
            now=registry.clock(),
        )
