"""Providers: senders authorise them, both see and end that."""

from collections.abc import Sequence
from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import senders
from registry.access import Scope
from registry.models import Authorisation, Organisation, OrganisationKind
from registry.routes.blueprint import v1
from registry.routes.reading import Body, acting
from registry.routes.showing import dump
from registry.schemas.numbers import HolderSchema
from registry.schemas.organisations import CursorSchema
from registry.schemas.providers import (
    AuthorisationSchema,
    AuthorisationsSchema,
    AuthorisingSchema,
    ProvidersSchema,
)
from registry.web import caller, commit, idempotent, registry, requires


@v1.get("/providers")
@requires(Scope.NUMBERS, Scope.ADMIN, Scope.OVERSIGHT, suspended=True)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, ProvidersSchema)
def get_providers(data: Body) -> Response:
    """List the providers, which senders may authorise, with where to complain (R23)."""
    with registry().database.snapshot() as session:
        rows = senders.providers(session, data["cursor"])
        return jsonify(providers=[dump(HolderSchema, row) for row in rows], cursor=_cursor(rows))


@v1.post("/authorisations")
@requires(Scope.NUMBERS)
@idempotent
@v1.arguments(AuthorisingSchema)
@v1.response(201, AuthorisationSchema)
def post_authorisation(data: Body) -> Response:
    """Let a provider send for the own organisation, and ask about its numbers."""

    def authorise(session: Session) -> Body:
        own = caller().organisation_id
        return _shown(senders.authorise(session, own, data["provider"], **acting()))

    return commit(authorise, 201)


@v1.get("/authorisations")
@requires(Scope.NUMBERS, suspended=True)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, AuthorisationsSchema)
def get_authorisations(data: Body) -> Response:
    """List what stands: to a sender whom it authorises, to a provider whom it serves."""
    who = caller()
    listed = senders.served if who.kind is OrganisationKind.PROVIDER else senders.authorised
    with registry().database.snapshot() as session:
        rows = listed(session, who.organisation_id, data["cursor"])
        return jsonify(authorisations=[_shown(row) for row in rows], cursor=_cursor(rows))


@v1.post("/authorisations/<uuid:authorisation_id>/end")
@requires(Scope.NUMBERS)
@idempotent
@v1.response(200, AuthorisationSchema)
def post_end(authorisation_id: UUID) -> Response:
    """End an authorisation, as its sender or provider, with the extensions that it was for."""

    def end(session: Session) -> Body:
        own, now = caller().organisation_id, registry().clock()
        return _shown(senders.end_authorisation(session, authorisation_id, by=own, now=now))

    return commit(end)


def _cursor(rows: Sequence[Authorisation] | Sequence[Organisation]) -> str | None:
    return str(rows[-1].id) if len(rows) == senders.PAGE else None


def _shown(row: Authorisation) -> Body:
    return dump(AuthorisationSchema, row)
