"""The sending numbers that organisations hold."""

from uuid import UUID

from flask import Response, jsonify

from registry import senders
from registry.access import Scope
from registry.consent import Channel, MessageClass
from registry.models import SenderNumber
from registry.routes.blueprint import v1
from registry.routes.reading import Body, acting, sending
from registry.routes.showing import columns, dump
from registry.schemas.numbers import HoldingSchema, HoldingsSchema, ResourceSchema
from registry.web import commit, idempotent, public, registry, requires


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


@v1.get("/numbers/<number>")
@public
@v1.response(200, HoldingSchema)
def get_number(number: str) -> Response:
    """Tell who holds a sending number, the longest holding that covers it."""
    asked = sending(number)
    with registry().database.snapshot() as session:
        return jsonify(_holding(senders.holder(session, asked, registry().clock())))


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
