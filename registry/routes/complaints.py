"""Complaints: carriers report them, the operator moves them on, the accused answer."""

from collections.abc import Sequence
from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import complaints
from registry.access import Scope
from registry.complaints import Accusation, Draft
from registry.errors import Kind, RegistryError, invalid
from registry.ledger import By
from registry.models import Complaint, OrganisationKind
from registry.routes import cursors
from registry.routes.blueprint import v1
from registry.routes.reading import Body, subscriber
from registry.routes.showing import columns, dump
from registry.schemas.complaints import (
    AnswerSchema,
    ClosingSchema,
    ComplaintSchema,
    ComplaintsSchema,
    ForwardingSchema,
    ReportSchema,
)
from registry.schemas.pages import PageSchema
from registry.web import caller, commit, idempotent, registry, requires

OVERSEERS = frozenset({Scope.ADMIN, Scope.OVERSIGHT})


@v1.post("/complaints")
@requires(Scope.WISHES)
@idempotent
@v1.arguments(ReportSchema)
@v1.response(201, ComplaintSchema)
def post_complaint(data: Body) -> Response:
    """Report what a subscriber complains of; again, it is the same complaint."""
    number = subscriber(data["number"], data["channel"])
    draft = Draft(
        channel=data["channel"],
        sending_number=_shown(data["sending"]),
        topic=data["topic"],
        contacted_at=data["contacted_at"],
        text=data["text"],
    )
    opened = registry()
    by = By(via=None, organisation_id=caller().organisation_id)

    def file(session: Session) -> Body:
        complaint = complaints.file(
            session, number, draft, by=by, policy=opened.policy, clock=opened.clock
        )
        return _complaint(complaint, complaint.number.e164)

    return commit(file, 201)


def _shown(written: str | None) -> str:
    """Return the number that a phone showed, empty for none."""
    try:
        return complaints.shown_number(written or "", registry().policy.default_region)
    except RegistryError as error:
        raise invalid("from", error.detail.removeprefix("sending_number ")) from None


@v1.get("/complaints")
@requires(Scope.ADMIN, Scope.OVERSIGHT, Scope.CONSENT, Scope.NUMBERS, suspended=True)
@v1.arguments(PageSchema, location="query")
@v1.response(200, ComplaintsSchema)
def get_complaints(data: Body) -> Response:
    """List complaints, the newest first: of senders and providers what was forwarded to them.

    All numbers are masked.
    """
    after = cursors.read(data["cursor"])
    before = None if after is None else after[0]
    rows: Sequence[Complaint | Accusation]
    with registry().database.snapshot() as session:
        if caller().scopes & OVERSEERS:
            rows = complaints.every(session, before)
        else:
            rows = complaints.against(session, _accused(), before)
        return jsonify(
            complaints=[_masked(row) for row in rows],
            cursor=cursors.next_page(rows, complaints.PAGE),
        )


@v1.get("/complaints/<uuid:complaint_id>")
@requires(Scope.ADMIN, Scope.OVERSIGHT, Scope.CONSENT, Scope.NUMBERS, Scope.WISHES, suspended=True)
@v1.response(200, ComplaintSchema)
def get_complaint(complaint_id: UUID) -> Response:
    """Show a complaint: to its carrier, to whoever it was forwarded to, to overseers.

    The accused is not shown the number. What an overseer looks at is an event of the log.
    """
    who, opened = caller(), registry()
    if who.scopes & OVERSEERS:
        with opened.database.write() as session:
            row = complaints.oversee(
                session, complaint_id, overseer_id=who.organisation_id, clock=opened.clock
            )
            return jsonify(_complaint(row, row.number.e164))
    with opened.database.snapshot() as session:
        if Scope.WISHES in who.scopes:
            row = complaints.reported(session, complaint_id, who.organisation_id)
            return jsonify(_complaint(row, row.number.e164))
        return jsonify(_masked(complaints.accusation(session, complaint_id, _accused())))


def _accused() -> UUID:
    """Return the organisation that is shown what it is accused of, and answers.

    A sender's keys need the scope of its consents for that; a provider has no such.
    """
    who = caller()
    if who.kind is OrganisationKind.SENDER and Scope.CONSENT not in who.scopes:
        raise RegistryError(Kind.SCOPE_MISSING, f"this key has no scope {Scope.CONSENT}")
    return who.organisation_id


@v1.post("/complaints/<uuid:complaint_id>/forward")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ForwardingSchema)
@v1.response(200, ComplaintSchema)
def post_forwarding(data: Body, complaint_id: UUID) -> Response:
    """Forward a complaint to the sender that it accuses, or the provider without one.

    Where the number that was shown does not tell, name whom you found.
    """

    def forward(session: Session) -> Body:
        row = complaints.forward(
            session,
            complaint_id,
            actor_id=caller().organisation_id,
            clock=registry().clock,
            sender_id=data["sender"],
            provider_id=data["provider"],
        )
        return _complaint(row)

    return commit(forward)


@v1.post("/complaints/<uuid:complaint_id>/answer")
@requires(Scope.CONSENT, Scope.NUMBERS, suspended=True)
@idempotent
@v1.arguments(AnswerSchema)
@v1.response(200, ComplaintSchema)
def post_answer(data: Body, complaint_id: UUID) -> Response:
    """Answer a complaint, as whoever it was forwarded to; a suspended one may, too (R20)."""

    def answer(session: Session) -> Body:
        row = complaints.answer(
            session,
            complaint_id,
            data["text"],
            sender_id=_accused(),
            clock=registry().clock,
        )
        return _masked(row)

    return commit(answer)


@v1.post("/complaints/<uuid:complaint_id>/close")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ClosingSchema)
@v1.response(200, ComplaintSchema)
def post_closing(data: Body, complaint_id: UUID) -> Response:
    """Close a complaint with what was found, of which its subscriber is told."""
    opened = registry()

    def close(session: Session) -> Body:
        row = complaints.close(
            session,
            complaint_id,
            data["outcome"],
            actor_id=caller().organisation_id,
            policy=opened.policy,
            clock=opened.clock,
        )
        return _complaint(row)

    return commit(close)


def _masked(row: Complaint | Accusation) -> Body:
    return _accusation(row) if isinstance(row, Accusation) else _complaint(row)


def _complaint(row: Complaint, number: str | None = None) -> Body:
    """Return a complaint with its number, or with that masked and none in what was written."""
    opened = registry()
    shown = {
        **columns(row),
        "number": number,
        "sending_number": row.sending_number or None,
        "deadlines": complaints.deadlines(row, opened.policy, opened.clock()),
    }
    if number is None:
        shown |= {
            "number": str(row.number),
            "text": complaints.hide_numbers(row.text),
            "answer": row.answer and complaints.hide_numbers(row.answer),
        }
    return dump(ComplaintSchema, shown)


def _accusation(row: Accusation) -> Body:
    """Return a complaint as whoever it was forwarded to is shown it."""
    opened = registry()
    return dump(
        ComplaintSchema,
        {
            **vars(row),
            "sending_number": row.sending_number or None,
            "deadlines": complaints.answer_deadline(row, opened.policy, opened.clock()),
        },
    )
