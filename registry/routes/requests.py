"""Consent requests: a sender asks, a subscriber answers in the portal or by SMS."""

from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import ledger
from registry.access import Scope
from registry.consent import Topic
from registry.ledger import CapTerms
from registry.models import ConsentRequest, Purpose
from registry.routes.blueprint import v1
from registry.routes.consents import consent_object
from registry.routes.reading import Body, subscriber
from registry.routes.showing import columns, dump
from registry.routes.spending import commit_counted
from registry.schemas.requests import ConsentRequestSchema, RequestSchema
from registry.web import caller, idempotent, registry, requires


@v1.post("/consent-requests")
@requires(Scope.CONSENT)
@idempotent
@v1.arguments(RequestSchema)
@v1.response(201, ConsentRequestSchema)
def post_request(data: Body) -> Response:
    """Ask a subscriber for consent, once: no answer is refusal.

    What is answered does not tell whether the subscriber was asked by SMS, nor, before the last
    day for an answer, whether the subscriber declined.
    """
    number = subscriber(data["number"], data["channel"])
    opened = registry()

    def ask(session: Session) -> Body:
        request = ledger.ask(
            session,
            sender_id=caller().organisation_id,
            number=number,
            channel=data["channel"],
            topics=tuple(data["topics"]),
            cap=CapTerms(**data["cap"]),
            valid_for_days=data["valid_for_days"],
            notice_text=data["notice_text"],
            policy=opened.policy,
            clock=opened.clock,
        )
        return _request(session, request)

    return commit_counted(Purpose.ASSERTION, number, ask, 201)


@v1.get("/consent-requests/<uuid:request_id>")
@requires(Scope.CONSENT, suspended=True)
@v1.response(200, ConsentRequestSchema)
def get_request(request_id: UUID) -> Response:
    """Show a request of the sender's own, with the consents that it led to."""
    with registry().database.snapshot() as session:
        request = ledger.own_request(session, request_id, caller().organisation_id)
        return jsonify(_request(session, request))


def _request(session: Session, row: ConsentRequest) -> Body:
    shown = {
        **columns(row),
        "topics": [Topic(topic) for topic in row.topics.split()],
        "cap": {"count": row.cap_count, "period": row.cap_period},
        "state": ledger.request_state(row, registry().clock()),
    }
    return {**dump(ConsentRequestSchema, shown), "consents": _agreed(session, row)}


def _agreed(session: Session, row: ConsentRequest) -> list[Body]:
    if row.grant_id is None:
        return []
    found = ledger.consents_by_grant(session, row.sender_id, {row.grant_id: row.number})
    return [consent_object(consent) for consent in found[row.grant_id]]
