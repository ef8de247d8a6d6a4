"""Challenges: subscribers dispute consents, senders bring evidence in time."""

from collections.abc import Sequence
from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import ledger
from registry.access import Scope
from registry.models import Challenge
from registry.routes import cursors
from registry.routes.blueprint import v1
from registry.routes.reading import Body
from registry.routes.showing import columns, dump
from registry.schemas.challenges import (
    ChallengeSchema,
    ChallengesSchema,
    ChallengeState,
    ProofSchema,
)
from registry.schemas.pages import PageSchema
from registry.web import caller, commit, idempotent, registry, requires


@v1.get("/challenges")
@requires(Scope.CONSENT, suspended=True)
@v1.arguments(PageSchema, location="query")
@v1.response(200, ChallengesSchema)
def get_challenges(data: Body) -> Response:
    """List the challenges of the sender's own consents, the newest first."""
    after = cursors.read(data["cursor"])
    with registry().database.snapshot() as session:
        rows = ledger.search_challenges(session, caller().organisation_id, after)
        return jsonify(
            challenges=_challenges(session, rows), cursor=cursors.next_page(rows, ledger.PAGE)
        )


@v1.get("/challenges/<uuid:challenge_id>")
@requires(Scope.CONSENT, suspended=True)
@v1.response(200, ChallengeSchema)
def get_challenge(challenge_id: UUID) -> Response:
    """Show a challenge of one of the sender's own consents."""
    with registry().database.snapshot() as session:
        row = ledger.own_challenge(session, challenge_id, caller().organisation_id)
        [shown] = _challenges(session, [row])
        return jsonify(shown)


@v1.post("/challenges/<uuid:challenge_id>/evidence")
@requires(Scope.CONSENT, suspended=True)
@idempotent
@v1.arguments(ProofSchema)
@v1.response(200, ChallengeSchema)
def post_evidence(data: Body, challenge_id: UUID) -> Response:
    """Bring evidence of a disputed consent, in time; a suspended sender may, too (R8, R20)."""

    def bring(session: Session) -> Body:
        row = ledger.bring_evidence(
            session,
            challenge_id,
            sender_id=caller().organisation_id,
            **data,
            clock=registry().clock,
        )
        [shown] = _challenges(session, [row])
        return shown

    return commit(bring)


def _challenges(session: Session, rows: Sequence[Challenge]) -> list[Body]:
    """Return challenges of the caller's consents as it is shown them."""
    disputed = {row.grant_id: row.number for row in rows}
    consents = ledger.consents_by_grant(session, caller().organisation_id, disputed)
    return [
        dump(
            ChallengeSchema,
            {
                **columns(row),
                "consents": [consent.id for consent in consents[row.grant_id]],
                "state": ChallengeState(row.outcome or ChallengeState.OPEN),
                "evidence": _evidence(row),
            },
        )
        for row in rows
    ]


def _evidence(row: Challenge) -> Body | None:
    if row.answered_at is None:
        return None
    return {"text": row.evidence_text, "sha256": row.evidence_sha256, "uri": row.evidence_uri}
