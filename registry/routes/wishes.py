"""Subscribers' wishes, reported by carriers: refusals and reassignments."""

from uuid import UUID

from flask import Response
from sqlalchemy.orm import Session

from registry import ledger
from registry.access import Scope
from registry.ledger import By
from registry.models import ANY, Refusal
from registry.routes.blueprint import v1
from registry.routes.reading import Body, subscriber
from registry.routes.showing import columns, dump
from registry.schemas.wishes import ReassignmentSchema, RefusalSchema, TenureEndSchema, WishSchema
from registry.web import caller, commit, idempotent, registry, requires


@v1.post("/refusals")
@requires(Scope.WISHES)
@idempotent
@v1.arguments(WishSchema)
@v1.response(201, RefusalSchema)
def post_refusal(data: Body) -> Response:
    """Record a subscriber's "no": for all, or for a channel, a topic, a sender."""
    number = subscriber(data["number"])
    scope = ledger.Scope(data["channel"], data["topic"], data["sender"])

    def refuse(session: Session) -> Body:
        refusal = ledger.refuse(
            session,
            number,
            scope,
            by=By(data["via"], caller().organisation_id),
            clock=registry().clock,
        )
        return _refusal(refusal)

    return commit(refuse, 201)


@v1.post("/refusals/<uuid:refusal_id>/lift")
@requires(Scope.WISHES)
@idempotent
@v1.response(200, RefusalSchema)
def post_lift(refusal_id: UUID) -> Response:
    """End a refusal at its subscriber's wish; the subscriber is told."""
    by = By(via=None, organisation_id=caller().organisation_id)
    return commit(
        lambda session: _refusal(ledger.lift(session, refusal_id, by=by, clock=registry().clock))
    )


def _refusal(row: Refusal) -> Body:
    everything = {"channel": None, "topic": None}
    narrowed = {
        name: value
        for name, value in columns(row).items()
        if not (name in everything and value == ANY)
    }
    return dump(RefusalSchema, {**everything, **narrowed})


@v1.post("/reassignments")
@requires(Scope.TENURE)
@idempotent
@v1.arguments(TenureEndSchema)
@v1.response(201, ReassignmentSchema)
def post_reassignment(data: Body) -> Response:
    """Report that a number went to another subscriber; every consent and refusal ends."""
    number = subscriber(data["number"])
    who = caller().organisation_id
    return commit(
        lambda session: dump(
            ReassignmentSchema,
            ledger.reassign(
                session, number, data["reassigned_at"], recorded_by=who, clock=registry().clock
            ),
        ),
        201,
    )


@v1.post("/reassignments/<uuid:reassignment_id>/cancel")
@requires(Scope.TENURE)
@idempotent
@v1.response(200, ReassignmentSchema)
def post_reassignment_cancel(reassignment_id: UUID) -> Response:
    """Take back a mistaken report, which restores what it ended."""
    who = caller().organisation_id
    return commit(
        lambda session: dump(
            ReassignmentSchema,
            ledger.cancel_reassignment(
                session, reassignment_id, recorded_by=who, clock=registry().clock
            ),
        )
    )
