"""Consent requests: a sender asks, a subscriber answers in the portal or by SMS."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import ledger
from registry.access import Scope
from registry.consent import Topic
from registry.ledger import CapTerms
from registry.models import ConsentRequest, Purpose
from registry.routes import cursors
from registry.routes.blueprint import v1
from registry.routes.consents import consent_object
from registry.routes.reading import Body, subscriber
from registry.routes.showing import columns, dump
from registry.routes.spending import commit_counted
from registry.schemas.requests import (
    ConsentRequestSchema,
    ConsentRequestsSchema,
    RequestSchema,
    RequestSearchSchema,
    RequestsPageSchema,
)
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
        [shown] = _requests(session, [request])
        return shown

    return commit_counted(Purpose.ASSERTION, number, ask, 201)


@v1.get("/consent-requests")
@requires(Scope.CONSENT, suspended=True)
@v1.arguments(RequestsPageSchema, location="query")
@v1.response(200, ConsentRequestsSchema)
def get_requests(data: Body) -> Response:
    """List the sender's own requests, the newest first; a declined one waits like any other."""
    return _page(data, state=data["state"])


@v1.post("/consent-requests/search")
@requires(Scope.CONSENT, suspended=True)
@v1.arguments(RequestSearchSchema)
@v1.response(200, ConsentRequestsSchema)
def post_requests_search(data: Body) -> Response:
    """List the sender's own requests to one number, the newest first."""
    return _page(data, number=subscriber(data["number"]))


@v1.get("/consent-requests/<uuid:request_id>")
@requires(Scope.CONSENT, suspended=True)
@v1.response(200, ConsentRequestSchema)
def get_request(request_id: UUID) -> Response:
    """Show a request of the sender's own, with the consents that it led to."""
    with registry().database.snapshot() as session:
        request = ledger.own_request(session, request_id, caller().organisation_id)
        [shown] = _requests(session, [request])
        return jsonify(shown)


def _page(data: Body, **which: Any) -> Response:
    after, now = cursors.read(data["cursor"]), registry().clock()
    with registry().database.snapshot() as session:
        rows = ledger.search_requests(
            session, caller().organisation_id, now=now, after=after, **which
        )
        return jsonify(
            requests=_requests(session, rows), cursor=cursors.next_page(rows, ledger.PAGE)
        )


def _requests(session: Session, rows: Sequence[ConsentRequest]) -> list[Body]:
    """Return requests of the caller's own as it is shown them."""
    agreed = {row.grant_id: row.number for row in rows if row.grant_id is not None}
    consents = ledger.consents_by_grant(session, caller().organisation_id, agreed) if agreed else {}
    return [
        {
            **dump(ConsentRequestSchema, _terms(row)),
            "consents": [
                consent_object(it) for it in (consents[row.grant_id] if row.grant_id else ())
            ],
        }
        for row in rows
    ]


def _terms(row: ConsentRequest) -> Body:
    return {
        **columns(row),
        "topics": [Topic(topic) for topic in row.topics.split()],
        "cap": {"count": row.cap_count, "period": row.cap_period},
        "state": ledger.request_state(row, registry().clock()),
    }
