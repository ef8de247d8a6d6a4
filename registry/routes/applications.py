"""Applications: anybody applies, organisations ask for changes, operators decide."""

from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import senders
from registry.access import Scope
from registry.files import Content
from registry.models import Application, ApplicationState
from registry.routes.blueprint import v1
from registry.routes.reading import Body, acting
from registry.routes.showing import columns, dump
from registry.routes.uploads import answers_file, attachment, takes_file
from registry.schemas.applications import (
    ApplicationSchema,
    ApplicationsPageSchema,
    ApplicationsSchema,
    ApplyingSchema,
    ApprovalSchema,
    ChangesSchema,
    DocumentSchema,
    NewApplicationSchema,
    RejectionSchema,
    WholeApplicationSchema,
)
from registry.web import applicant, caller, commit, idempotent, public, registry, requires

# Whoever applies to be registered


@v1.post("/applications")
@public
@v1.arguments(ApplyingSchema)
@v1.response(201, NewApplicationSchema)
def post_application(data: Body) -> Response:
    """Apply to be registered as a sender or provider.

    The answer has the key to follow the application with, which is shown this once.
    """
    opened = registry()
    with opened.database.write() as session:
        row = senders.apply(session, senders.Details(**data), now=opened.clock())
    key = senders.application_key(opened.database.key, row.id)
    return _created(dump(NewApplicationSchema, {**columns(row), "key": key}))


@v1.get("/application")
@applicant
@v1.response(200, WholeApplicationSchema)
def get_own_application(application_id: UUID) -> Response:
    """Show, to whoever made it, what became of an application."""
    with registry().database.snapshot() as session:
        return jsonify(_whole(session, senders.find_application(session, application_id)))


@v1.post("/application/withdraw")
@applicant
@v1.response(200, ApplicationSchema)
def post_own_withdrawal(application_id: UUID) -> Response:
    """Take an application back, as whoever made it."""
    opened = registry()
    with opened.database.write() as session:
        row = senders.withdraw_application(session, application_id, now=opened.clock())
        return jsonify(_application(row))


@v1.post("/application/documents")
@applicant
@takes_file(*senders.MEDIA_TYPES)
@v1.response(201, DocumentSchema)
def post_own_document(application_id: UUID, content: Content, name: str | None) -> Response:
    """Add a document to an application, as whoever made it; the same one again is the first."""
    opened = registry()
    with opened.database.write() as session:
        row = senders.find_open(session, application_id)
        added = senders.add_document(
            session, opened.files, row, content, name, actor_id=None, now=opened.clock()
        )
    return _created(dump(DocumentSchema, added))


# An organisation that asks for changes


@v1.post("/organisations/me/changes")
@requires(Scope.NUMBERS)
@idempotent
@v1.arguments(ChangesSchema)
@v1.response(201, ApplicationSchema)
def post_changes(data: Body) -> Response:
    """Apply for changes of the organisation's own details."""
    changes = senders.Changes(**data)
    return commit(
        lambda session: _application(
            senders.propose(session, caller().organisation_id, changes, now=registry().clock())
        ),
        201,
    )


@v1.get("/organisations/me/changes")
@requires(Scope.NUMBERS, suspended=True)
@v1.arguments(ApplicationsPageSchema, location="query")
@v1.response(200, ApplicationsSchema)
def get_changes(data: Body) -> Response:
    """List the organisation's own applications, the oldest first."""
    return _page(data["state"], data["cursor"], caller().organisation_id)


@v1.get("/organisations/me/changes/<uuid:application_id>")
@requires(Scope.NUMBERS, suspended=True)
@v1.response(200, WholeApplicationSchema)
def get_change(application_id: UUID) -> Response:
    """Show an application of the organisation's own."""
    with registry().database.snapshot() as session:
        row = senders.own_application(session, application_id, caller().organisation_id)
        return jsonify(_whole(session, row))


@v1.post("/organisations/me/changes/<uuid:application_id>/withdraw")
@requires(Scope.NUMBERS)
@idempotent
@v1.response(200, ApplicationSchema)
def post_withdrawal(application_id: UUID) -> Response:
    """Take back an application of the organisation's own."""

    def withdraw(session: Session) -> Body:
        row = senders.own_application(session, application_id, caller().organisation_id)
        return _application(senders.withdraw_application(session, row.id, **acting()))

    return commit(withdraw)


@v1.post("/organisations/me/changes/<uuid:application_id>/documents")
@requires(Scope.NUMBERS)
@takes_file(*senders.MEDIA_TYPES)
@v1.response(201, DocumentSchema)
def post_document(application_id: UUID, content: Content, name: str | None) -> Response:
    """Add a document to an application of the organisation's own; again, it is the first."""
    opened = registry()
    with opened.database.write() as session:
        row = senders.own_application(session, application_id, caller().organisation_id)
        row = senders.find_open(session, row.id)
        added = senders.add_document(session, opened.files, row, content, name, **acting())
    return _created(dump(DocumentSchema, added))


# Operators


@v1.get("/applications")
@requires(Scope.ADMIN)
@v1.arguments(ApplicationsPageSchema, location="query")
@v1.response(200, ApplicationsSchema)
def get_applications(data: Body) -> Response:
    """List everybody's applications, the oldest first; `state=submitted` are those that wait."""
    return _page(data["state"], data["cursor"])


@v1.get("/applications/<uuid:application_id>")
@requires(Scope.ADMIN)
@v1.response(200, WholeApplicationSchema)
def get_application(application_id: UUID) -> Response:
    """Show anybody's application."""
    with registry().database.snapshot() as session:
        return jsonify(_whole(session, senders.find_application(session, application_id)))


@v1.get("/applications/<uuid:application_id>/documents/<uuid:document_id>")
@requires(Scope.ADMIN)
@answers_file
def get_document(application_id: UUID, document_id: UUID) -> Response:
    """Download a document of an application."""
    with registry().database.snapshot() as session:
        row = senders.find_application(session, application_id)
        document = senders.find_document(session, row, document_id)
    return attachment(registry().files.read(document.sha256), document.name)


@v1.post("/applications/<uuid:application_id>/approve")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ApprovalSchema)
@v1.response(200, ApplicationSchema)
def post_approval(data: Body, application_id: UUID) -> Response:
    """Approve an application: its organisation is registered, or changed."""
    return _decide(application_id, True, data["reason"])


@v1.post("/applications/<uuid:application_id>/reject")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(RejectionSchema)
@v1.response(200, ApplicationSchema)
def post_rejection(data: Body, application_id: UUID) -> Response:
    """Reject an application for a reason, which the applicant reads."""
    return _decide(application_id, False, data["reason"])


def _decide(application_id: UUID, approve: bool, reason: str | None) -> Response:
    return commit(
        lambda session: _application(
            senders.decide_application(
                session, application_id, approve=approve, reason=reason, **acting()
            )
        )
    )


def _page(
    state: ApplicationState | None, after: UUID | None, organisation_id: UUID | None = None
) -> Response:
    with registry().database.snapshot() as session:
        rows = senders.applications(
            session, organisation_id=organisation_id, state=state, after=after
        )
        full = len(rows) == senders.PAGE
        return jsonify(
            applications=[_application(row) for row in rows],
            cursor=str(rows[-1].id) if full else None,
        )


def _created(body: Body) -> Response:
    response = jsonify(body)
    response.status_code = 201
    return response


def _application(row: Application) -> Body:
    return dump(ApplicationSchema, row)


def _whole(session: Session, row: Application) -> Body:
    documents = senders.documents(session, row)
    return dump(WholeApplicationSchema, {**columns(row), "documents": documents})
