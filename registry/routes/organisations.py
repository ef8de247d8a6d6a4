"""Organisations and their keys."""

from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import access, senders
from registry.access import Scope
from registry.models import Organisation
from registry.routes.blueprint import v1
from registry.routes.reading import Body, acting
from registry.routes.showing import columns, dump
from registry.schemas.organisations import (
    CursorSchema,
    DetailsSchema,
    HistorySchema,
    KeyRequestSchema,
    KeySchema,
    LegalEntitySchema,
    LimitsSchema,
    OrganisationSchema,
    OrganisationsSchema,
    VersionSchema,
)
from registry.web import caller, commit, idempotent, registry, requires


@v1.post("/organisations")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(LegalEntitySchema)
@v1.response(201, OrganisationSchema)
def post_organisation(data: Body) -> Response:
    """Make a legal entity known."""
    return commit(
        lambda session: organisation_object(session, senders.register(session, **data, **acting())),
        201,
    )


@v1.get("/organisations")
@requires(Scope.ADMIN, Scope.OVERSIGHT)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, OrganisationsSchema)
def get_organisations(data: Body) -> Response:
    """List organisations in the order of their registration."""
    with registry().database.snapshot() as session:
        rows = senders.page(session, data["cursor"])
        full = len(rows) == senders.PAGE
        return jsonify(
            organisations=[organisation_object(session, row) for row in rows],
            cursor=str(rows[-1].id) if full else None,
        )


@v1.get("/organisations/<uuid:organisation_id>")
@requires(Scope.ADMIN, Scope.OVERSIGHT)
@v1.response(200, OrganisationSchema)
def get_organisation(organisation_id: UUID) -> Response:
    """Show an organisation."""
    with registry().database.snapshot() as session:
        return jsonify(organisation_object(session, senders.find(session, organisation_id)))


@v1.post("/organisations/<uuid:organisation_id>/details")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(DetailsSchema)
@v1.response(200, OrganisationSchema)
def post_details(data: Body, organisation_id: UUID) -> Response:
    """Correct what an organisation is known by; its history keeps what was said before."""
    return commit(
        lambda session: organisation_object(
            session, senders.correct(session, organisation_id, data, **acting())
        )
    )


@v1.get("/organisations/<uuid:organisation_id>/history")
@requires(Scope.ADMIN, Scope.OVERSIGHT)
@v1.response(200, HistorySchema)
def get_history(organisation_id: UUID) -> Response:
    """Show all that an organisation was ever known by."""
    return _history(organisation_id)


@v1.get("/organisations/me/history")
@requires(*Scope, suspended=True)
@v1.response(200, HistorySchema)
def get_own_history() -> Response:
    """Show all that the organisation of the key was ever known by."""
    return _history(caller().organisation_id)


def _history(organisation_id: UUID) -> Response:
    with registry().database.snapshot() as session:
        rows = senders.history(session, organisation_id)
        return jsonify(versions=[dump(VersionSchema, row) for row in rows])


@v1.post("/organisations/<uuid:organisation_id>/limits")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(LimitsSchema)
@v1.response(200, OrganisationSchema)
def post_limits(data: Body, organisation_id: UUID) -> Response:
    """Set what an organisation may ask for a second and a day; null keeps the policy's value."""
    limits = senders.Limits(**data)
    return commit(
        lambda session: organisation_object(
            session, senders.limit(session, organisation_id, limits, **acting())
        )
    )


@v1.post("/organisations/<uuid:organisation_id>/keys")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(KeyRequestSchema)
@v1.response(201, KeySchema)
def post_key(data: Body, organisation_id: UUID) -> Response:
    """Make a key; its text is shown this once."""

    def issue(session: Session) -> Body:
        organisation = senders.find(session, organisation_id)
        key, secret = access.issue(
            session, organisation, data["scopes"], data["expires_at"], **acting()
        )
        shown = {"id": key.id, "expires_at": key.expires_at, "scopes": data["scopes"]}
        return dump(KeySchema, {**shown, "key": secret})

    return commit(issue, 201, replayed=lambda body: {**body, "key": None})


@v1.delete("/organisations/<uuid:organisation_id>/keys/<uuid:key_id>")
@requires(Scope.ADMIN)
@v1.response(204)
def delete_key(organisation_id: UUID, key_id: UUID) -> Response:
    """Revoke a key at once."""
    with registry().database.write() as session:
        access.revoke(session, organisation_id, key_id, **acting())
    return Response(status=204)


def organisation_object(session: Session, row: Organisation) -> Body:
    """Return an organisation as answers show it."""
    found = senders.suspension(session, row.id)
    in_effect = found is not None and found.starts_at <= registry().clock()
    return dump(
        OrganisationSchema,
        {
            **columns(row),
            "limits": row,
            "suspended": found if in_effect else None,
            "announced": None if in_effect else found,
        },
    )
