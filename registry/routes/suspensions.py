"""Suspensions of organisations, and appeals against them (R20)."""

from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import senders
from registry.access import Scope
from registry.models import AppealOutcome, Suspension
from registry.routes.blueprint import v1
from registry.routes.organisations import organisation_object
from registry.routes.reading import Body, acting
from registry.routes.showing import columns, dump
from registry.schemas.organisations import CursorSchema, OrganisationSchema
from registry.schemas.suspensions import (
    AnnouncementSchema,
    AppealDecisionSchema,
    AppealInQueueSchema,
    AppealSchema,
    AppealsSchema,
    AppealTextSchema,
    OwnOrganisationSchema,
    ReinstatementSchema,
    SuspensionSchema,
    SuspensionsSchema,
)
from registry.web import caller, commit, idempotent, registry, requires


@v1.get("/organisations/me")
@requires(*Scope, suspended=True)
@v1.response(200, OwnOrganisationSchema)
def get_own_organisation() -> Response:
    """Show the organisation of the key, with the suspension that it may appeal against."""
    with registry().database.snapshot() as session:
        row = senders.find(session, caller().organisation_id)
        standing = senders.suspension(session, row.id)
        shown = _suspension(session, standing) if standing else None
        return jsonify({**organisation_object(session, row), "suspension": shown})


@v1.post("/organisations/<uuid:organisation_id>/suspend")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(AnnouncementSchema)
@v1.response(200, OrganisationSchema)
def post_suspension(data: Body, organisation_id: UUID) -> Response:
    """Announce an organisation's suspension for a recorded reason, from a date on (R20).

    Without a date it takes effect after the policy's days of notice, which may be none.
    """
    return commit(
        lambda session: organisation_object(
            session,
            senders.suspend(session, organisation_id, policy=registry().policy, **data, **acting()),
        )
    )


@v1.post("/organisations/<uuid:organisation_id>/reinstate")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ReinstatementSchema)
@v1.response(200, OrganisationSchema)
def post_reinstatement(data: Body, organisation_id: UUID) -> Response:
    """End an organisation's suspension, or call it off before it takes effect."""
    return commit(
        lambda session: organisation_object(
            session, senders.reinstate(session, organisation_id, **data, **acting())
        )
    )


@v1.get("/organisations/<uuid:organisation_id>/suspensions")
@requires(Scope.ADMIN, Scope.OVERSIGHT)
@v1.response(200, SuspensionsSchema)
def get_suspensions(organisation_id: UUID) -> Response:
    """List the suspensions that an organisation ever had, with the appeals against them."""
    with registry().database.snapshot() as session:
        rows = senders.suspensions(session, organisation_id)
        return jsonify(suspensions=[_suspension(session, row) for row in rows])


@v1.post("/suspensions/<uuid:suspension_id>/appeals")
@requires(*Scope, suspended=True)
@idempotent
@v1.arguments(AppealTextSchema)
@v1.response(201, AppealSchema)
def post_appeal(data: Body, suspension_id: UUID) -> Response:
    """Appeal against the organisation's own suspension, announced or in effect (R20)."""
    return commit(
        lambda session: dump(
            AppealSchema,
            senders.appeal(
                session,
                suspension_id,
                data["text"],
                organisation_id=caller().organisation_id,
                now=registry().clock(),
            ),
        ),
        201,
    )


@v1.get("/appeals")
@requires(Scope.ADMIN)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, AppealsSchema)
def get_appeals(data: Body) -> Response:
    """List the appeals that wait for a decision, the oldest first."""
    with registry().database.snapshot() as session:
        rows = senders.open_appeals(session, data["cursor"])
        shown = [
            {**columns(row), "organisation_id": row.suspension.organisation_id} for row in rows
        ]
        return jsonify(
            appeals=[dump(AppealInQueueSchema, each) for each in shown],
            cursor=str(rows[-1].id) if len(rows) == senders.PAGE else None,
        )


@v1.post("/appeals/<uuid:appeal_id>/decide")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(AppealDecisionSchema)
@v1.response(200, AppealSchema)
def post_appeal_decision(data: Body, appeal_id: UUID) -> Response:
    """Grant an appeal, which ends the suspension, or dismiss it, for a reason."""
    granted = data["outcome"] is AppealOutcome.GRANTED
    return commit(
        lambda session: dump(
            AppealSchema,
            senders.decide_appeal(
                session, appeal_id, granted=granted, reason=data["reason"], **acting()
            ),
        )
    )


def _suspension(session: Session, row: Suspension) -> Body:
    return dump(SuspensionSchema, {**columns(row), "appeals": senders.appeals(session, row.id)})
