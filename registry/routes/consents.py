"""Consents that senders assert, search and withdraw."""

from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import ledger
from registry.access import Scope
from registry.consent import Basis
from registry.ledger import By, CapTerms, Claim, EvidenceClaim
from registry.models import Consent, Purpose, Via
from registry.routes import cursors
from registry.routes.blueprint import v1
from registry.routes.reading import Body, subscriber
from registry.routes.showing import columns, dump
from registry.routes.spending import commit_counted
from registry.schemas.consents import (
    ClaimSchema,
    ConsentSchema,
    ConsentsSchema,
    SearchSchema,
    WithdrawalSchema,
)
from registry.web import caller, commit, idempotent, registry, requires


@v1.post("/consents")
@requires(Scope.CONSENT)
@idempotent
@v1.arguments(ClaimSchema)
@v1.response(201, ConsentsSchema)
def post_consents(data: Body) -> Response:
    """Record a consent that the sender holds evidence of, one a topic."""
    claim = Claim(
        number=subscriber(data["number"], data["channel"]),
        channel=data["channel"],
        topics=tuple(data["topics"]),
        granted_at=data["granted_at"],
        valid_until=data["valid_until"],
        cap=CapTerms(**data["cap"]),
        evidence=EvidenceClaim(**data["evidence"]),
    )
    opened = registry()
    sender_id = caller().organisation_id

    def record(session: Session) -> Body:
        ledger.check_assertions(session, claim.number, sender_id, clock=opened.clock)
        consents = ledger.grant(
            session,
            claim,
            sender_id=sender_id,
            by=By(Via.SENDER, sender_id),
            basis=Basis.ASSERTED,
            policy=opened.policy,
            clock=opened.clock,
        )
        return {"consents": [consent_object(row) for row in consents]}

    return commit_counted(Purpose.ASSERTION, claim.number, record, 201)


@v1.post("/consents/search")
@requires(Scope.CONSENT, suspended=True)
@v1.arguments(SearchSchema)
@v1.response(200, ConsentsSchema)
def post_consents_search(data: Body) -> Response:
    """List the sender's own consents of one number, the newest first."""
    number = subscriber(data["number"])
    after = cursors.read(data["cursor"])
    with registry().database.snapshot() as session:
        rows = ledger.search_consents(session, number, caller().organisation_id, after)
        return jsonify(
            consents=[consent_object(row) for row in rows],
            cursor=cursors.next_page(rows, ledger.PAGE),
        )


@v1.get("/consents/<uuid:consent_id>")
@requires(Scope.CONSENT, Scope.OVERSIGHT, suspended=True)
@v1.response(200, ConsentSchema)
def get_consent(consent_id: UUID) -> Response:
    """Show a consent with its history and evidence: a sender's own, and any to an overseer.

    What an overseer looks at is an event of the log.
    """
    who, opened = caller(), registry()
    if Scope.OVERSIGHT not in who.scopes:
        with opened.database.snapshot() as session:
            return jsonify(
                consent_object(ledger.own_consent(session, consent_id, who.organisation_id))
            )
    with opened.database.write() as session:
        consent = ledger.oversee(
            session, consent_id, overseer_id=who.organisation_id, clock=opened.clock
        )
        return jsonify(consent_object(consent))


@v1.post("/consents/<uuid:consent_id>/withdraw")
@requires(Scope.CONSENT)
@idempotent
@v1.arguments(WithdrawalSchema)
@v1.response(200, ConsentSchema)
def post_withdrawal(data: Body, consent_id: UUID) -> Response:
    """End a consent; one that its subscriber withdrew (the default) is not asserted again."""

    def withdraw(session: Session) -> Body:
        consent = ledger.withdraw(
            session,
            consent_id,
            by=By(Via.SENDER, caller().organisation_id),
            by_subscriber=data["by"] == "subscriber",
            note=data["reason"],
            clock=registry().clock,
        )
        return consent_object(consent)

    return commit(withdraw)


def consent_object(row: Consent) -> Body:
    """Return a consent as its sender or an overseer is shown it."""
    history = [
        {"event": "granted", "at": row.grant.granted_at},
        {"event": "recorded", "at": row.recorded_at},
    ]
    if row.end_reason is not None:
        history.append({"event": row.end_reason.value, "at": row.ended_at})
    if row.reassignment is not None:
        history.append({"event": "reassigned", "at": row.reassignment.reassigned_at})
    return dump(
        ConsentSchema,
        {
            **columns(row),
            "grant": row.grant,
            "state": ledger.state(row, registry().clock()),
            "cap": {"count": row.grant.cap_count, "period": row.grant.cap_period},
            "history": history,
        },
    )
