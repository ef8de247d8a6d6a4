"""The sending numbers that organisations hold, claim and release."""

from collections.abc import Sequence
from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import senders
from registry.access import Scope
from registry.consent import Channel, MessageClass
from registry.models import NumberClaim, OrganisationKind, SenderNumber
from registry.numbers import SendingNumber
from registry.routes.blueprint import v1
from registry.routes.reading import Body, acting, sending
from registry.routes.showing import columns, dump
from registry.schemas.applications import ApprovalSchema, RejectionSchema
from registry.schemas.numbers import (
    ExtensionSchema,
    HoldingSchema,
    HoldingsSchema,
    NumberClaimingSchema,
    NumberClaimSchema,
    NumberClaimsPageSchema,
    NumberClaimsSchema,
    ResourceSchema,
)
from registry.schemas.organisations import CursorSchema
from registry.senders import Resolved
from registry.web import caller, commit, idempotent, public, registry, requires

# Operators


@v1.post("/organisations/<uuid:organisation_id>/numbers")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ResourceSchema)
@v1.response(201, HoldingSchema)
def post_number(data: Body, organisation_id: UUID) -> Response:
    """Record that an organisation holds a sending number."""
    number, holding = _resource(data)
    return commit(
        lambda session: _holding(
            session, senders.hold(session, organisation_id, number, holding, **acting())
        ),
        201,
    )


@v1.get("/organisations/<uuid:organisation_id>/numbers")
@requires(Scope.ADMIN, Scope.OVERSIGHT)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, HoldingsSchema)
def get_numbers(data: Body, organisation_id: UUID) -> Response:
    """List the sending numbers that an organisation holds, in the order of their recording."""
    with registry().database.snapshot() as session:
        senders.find(session, organisation_id)
        after = data["cursor"]
        return _page(session, senders.holdings(session, organisation_id, after, senders.PAGE))


@v1.post("/organisations/<uuid:organisation_id>/numbers/<number>/release")
@requires(Scope.ADMIN)
@idempotent
@v1.response(200, HoldingSchema)
def post_release(organisation_id: UUID, number: str) -> Response:
    """End an organisation's holding of a sending number, with all that lies beneath it."""
    released = sending(number)
    return commit(
        lambda session: _holding(
            session, senders.release(session, organisation_id, released, **acting())
        )
    )


# Everybody


@v1.get("/numbers/<number>")
@public
@v1.response(200, HoldingSchema)
def get_number(number: str) -> Response:
    """Tell who holds a sending number, the longest holding that covers it."""
    asked = sending(number)
    with registry().database.snapshot() as session:
        return jsonify(_resolved(senders.resolve(session, asked, registry().clock())))


# Holders


@v1.get("/numbers")
@requires(Scope.NUMBERS, suspended=True)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, HoldingsSchema)
def get_own_numbers(data: Body) -> Response:
    """List the organisation's own sending numbers, in the order of their recording."""
    with registry().database.snapshot() as session:
        own = caller().organisation_id
        return _page(session, senders.holdings(session, own, data["cursor"], senders.PAGE))


@v1.post("/numbers/<number>/release")
@requires(Scope.NUMBERS)
@idempotent
@v1.response(200, HoldingSchema)
def post_own_release(number: str) -> Response:
    """Release a number as its holder, or an extension of the own port, with all beneath it."""
    released = sending(number)

    def release(session: Session) -> Body:
        own = caller().organisation_id
        return _holding(
            session, senders.release_own(session, own, released, now=registry().clock())
        )

    return commit(release)


@v1.get("/numbers/<number>/extensions")
@requires(Scope.NUMBERS, suspended=True)
@v1.arguments(CursorSchema, location="query")
@v1.response(200, HoldingsSchema)
def get_extensions(data: Body, number: str) -> Response:
    """List what lies beneath a number of the organisation's own."""
    port = sending(number)
    with registry().database.snapshot() as session:
        own = caller().organisation_id
        return _page(session, senders.extensions(session, own, port, data["cursor"]))


@v1.post("/numbers/<number>/extensions")
@requires(Scope.NUMBERS)
@idempotent
@v1.arguments(ExtensionSchema)
@v1.response(201, HoldingSchema)
def post_extension(data: Body, number: str) -> Response:
    """Give a sender that authorises it an extension of a provider's own port."""
    port, (extension, holding) = sending(number), _resource(data)

    def assign(session: Session) -> Body:
        return _holding(
            session,
            senders.assign_extension(
                session,
                caller().organisation_id,
                port,
                extension,
                data["sender"],
                holding,
                **acting(),
            ),
        )

    return commit(assign, 201)


# Claims


@v1.post("/number-claims")
@requires(Scope.NUMBERS)
@idempotent
@v1.arguments(NumberClaimingSchema)
@v1.response(201, NumberClaimSchema)
def post_claim(data: Body) -> Response:
    """Claim a number; the organisation holds it once an operator has approved that."""
    number, holding = _resource(data)

    def claim(session: Session) -> Body:
        own = caller().organisation_id
        return _claim(senders.claim(session, own, number, holding, note=data["note"], **acting()))

    return commit(claim, 201)


@v1.get("/number-claims")
@requires(Scope.NUMBERS, Scope.ADMIN, suspended=True)
@v1.arguments(NumberClaimsPageSchema, location="query")
@v1.response(200, NumberClaimsSchema)
def get_claims(data: Body) -> Response:
    """List claims, the oldest first: an organisation's own, or everybody's to operators."""
    with registry().database.snapshot() as session:
        rows = senders.claims(
            session, organisation_id=_own(), state=data["state"], after=data["cursor"]
        )
        return jsonify(claims=[_claim(row) for row in rows], cursor=_cursor(rows))


@v1.get("/number-claims/<uuid:claim_id>")
@requires(Scope.NUMBERS, Scope.ADMIN, suspended=True)
@v1.response(200, NumberClaimSchema)
def get_claim(claim_id: UUID) -> Response:
    """Show a claim, to its claimant and to operators."""
    with registry().database.snapshot() as session:
        own = _own()
        if own is None:
            return jsonify(_claim(senders.find_claim(session, claim_id)))
        return jsonify(_claim(senders.own_claim(session, claim_id, own)))


@v1.post("/number-claims/<uuid:claim_id>/withdraw")
@requires(Scope.NUMBERS)
@idempotent
@v1.response(200, NumberClaimSchema)
def post_claim_withdrawal(claim_id: UUID) -> Response:
    """Take a claim back."""

    def withdraw(session: Session) -> Body:
        own, now = caller().organisation_id, registry().clock()
        return _claim(senders.withdraw_claim(session, claim_id, organisation_id=own, now=now))

    return commit(withdraw)


@v1.post("/number-claims/<uuid:claim_id>/approve")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ApprovalSchema)
@v1.response(200, NumberClaimSchema)
def post_claim_approval(data: Body, claim_id: UUID) -> Response:
    """Approve a claim: from then on the claimant holds the number."""
    return _decide(claim_id, True, data["reason"])


@v1.post("/number-claims/<uuid:claim_id>/reject")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(RejectionSchema)
@v1.response(200, NumberClaimSchema)
def post_claim_rejection(data: Body, claim_id: UUID) -> Response:
    """Reject a claim for a reason, which the claimant reads."""
    return _decide(claim_id, False, data["reason"])


def _decide(claim_id: UUID, approve: bool, reason: str | None) -> Response:
    return commit(
        lambda session: _claim(
            senders.decide_claim(session, claim_id, approve=approve, reason=reason, **acting())
        )
    )


def _own() -> UUID | None:
    """Return whose claims a caller sees: None are everybody's."""
    who = caller()
    return None if who.kind is OrganisationKind.OPERATOR else who.organisation_id


def _resource(data: Body) -> tuple[SendingNumber, senders.Holding]:
    holding = senders.Holding(
        tuple(data["channels"]), tuple(data["usages"]), data["held_from"], data["held_until"]
    )
    return sending(data["number"]), holding


def _page(session: Session, rows: Sequence[SenderNumber]) -> Response:
    shown = senders.with_ports(session, rows)
    return jsonify(numbers=[_resolved(one) for one in shown], cursor=_cursor(rows))


def _cursor(rows: Sequence[SenderNumber] | Sequence[NumberClaim]) -> str | None:
    return str(rows[-1].id) if len(rows) == senders.PAGE else None


def _holding(session: Session, row: SenderNumber) -> Body:
    [resolved] = senders.with_ports(session, [row])
    return _resolved(resolved)


def _resolved(resolved: Resolved) -> Body:
    row = resolved.holding
    about = {"holder": row.holder, "provider": resolved.provider}
    return dump(HoldingSchema, {**_terms(row), **about})


def _claim(row: NumberClaim) -> Body:
    return dump(NumberClaimSchema, _terms(row))


def _terms(row: SenderNumber | NumberClaim) -> Body:
    return {
        **columns(row),
        "channels": [word for word in Channel if getattr(row, word)],
        "usages": [word for word in MessageClass if getattr(row, word)],
    }
