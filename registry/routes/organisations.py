"""Organisations, the numbers that they hold, and their keys."""

from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import access, senders
from registry.access import Scope
from registry.consent import Channel, MessageClass
from registry.models import Organisation, SenderNumber
from registry.routes.blueprint import v1
from registry.routes.reading import Body, acting, sending
from registry.routes.showing import columns, dump
from registry.schemas.organisations import (
    CursorSchema,
    HoldingSchema,
    HoldingsSchema,
    KeyRequestSchema,
    KeySchema,
    LegalEntitySchema,
    LimitsSchema,
    OrganisationSchema,
    OrganisationsSchema,
    ResourceSchema,
    SuspensionSchema,
)
from registry.web import commit, idempotent, public, registry, requires


@v1.post("/organisations")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(LegalEntitySchema)
@v1.response(201, OrganisationSchema)
def post_organisation(data: Body) -> Response:
    """Make a legal entity known."""
    return commit(
        lambda session: _organisation(session, senders.register(session, **data, **acting())), 201
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
            organisations=[_organisation(session, row) for row in rows],
            cursor=str(rows[-1].id) if full else None,
        )


@v1.get("/organisations/<uuid:organisation_id>")
@requires(Scope.ADMIN, Scope.OVERSIGHT)
@v1.response(200, OrganisationSchema)
def get_organisation(organisation_id: UUID) -> Response:
    """Show an organisation."""
    with registry().database.snapshot() as session:
        return jsonify(_organisation(session, senders.find(session, organisation_id)))


@v1.post("/organisations/<uuid:organisation_id>/suspend")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(SuspensionSchema)
@v1.response(200, OrganisationSchema)
def post_suspension(data: Body, organisation_id: UUID) -> Response:
    """Suspend an organisation for a recorded reason."""
    return commit(
        lambda session: _organisation(
            session, senders.suspend(session, organisation_id, data["reason"], **acting())
        )
    )


@v1.post("/organisations/<uuid:organisation_id>/reinstate")
@requires(Scope.ADMIN)
@idempotent
@v1.response(200, OrganisationSchema)
def post_reinstatement(organisation_id: UUID) -> Response:
    """End an organisation's suspension."""
    return commit(
        lambda session: _organisation(
            session, senders.reinstate(session, organisation_id, **acting())
        )
    )


@v1.post("/organisations/<uuid:organisation_id>/limits")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(LimitsSchema)
@v1.response(200, OrganisationSchema)
def post_limits(data: Body, organisation_id: UUID) -> Response:
    """Set what an organisation may ask for a second and a day; null keeps the policy's value."""
    limits = senders.Limits(**data)
    return commit(
        lambda session: _organisation(
            session, senders.limit(session, organisation_id, limits, **acting())
        )
    )


@v1.post("/organisations/<uuid:organisation_id>/numbers")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ResourceSchema)
@v1.response(201, HoldingSchema)
def post_number(data: Body, organisation_id: UUID) -> Response:
    """Record that an organisation holds a sending number."""
    number = sending(data["number"])
    holding = senders.Holding(
        tuple(data["channels"]), tuple(data["usages"]), data["held_from"], data["held_until"]
    )
    return commit(
        lambda session: _holding(
            senders.hold(session, organisation_id, number, holding, **acting())
        ),
        201,
    )


@v1.get("/organisations/<uuid:organisation_id>/numbers")
@requires(Scope.ADMIN, Scope.OVERSIGHT)
@v1.response(200, HoldingsSchema)
def get_numbers(organisation_id: UUID) -> Response:
    """List the sending numbers that an organisation holds."""
    with registry().database.snapshot() as session:
        senders.find(session, organisation_id)
        rows = senders.holdings(session, organisation_id)
        return jsonify(numbers=[_holding(row) for row in rows])


@v1.post("/organisations/<uuid:organisation_id>/numbers/<number>/release")
@requires(Scope.ADMIN)
@idempotent
@v1.response(200, HoldingSchema)
def post_release(organisation_id: UUID, number: str) -> Response:
    """End an organisation's holding of a sending number."""
    released = sending(number)
    return commit(
        lambda session: _holding(senders.release(session, organisation_id, released, **acting()))
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


@v1.get("/numbers/<number>")
@public
@v1.response(200, HoldingSchema)
def get_number(number: str) -> Response:
    """Tell who holds a sending number, the longest holding that covers it."""
    asked = sending(number)
    with registry().database.snapshot() as session:
        return jsonify(_holding(senders.holder(session, asked, registry().clock())))


def _organisation(session: Session, row: Organisation) -> Body:
    return dump(
        OrganisationSchema,
        {
            **columns(row),
            "limits": row,
            "suspended": senders.suspension(session, row.id),
        },
    )


def _holding(row: SenderNumber) -> Body:
    return dump(
        HoldingSchema,
        {
            **columns(row),
            "holder": row.holder,
            "channels": [word for word in Channel if getattr(row, word)],
            "usages": [word for word in MessageClass if getattr(row, word)],
        },
    )
