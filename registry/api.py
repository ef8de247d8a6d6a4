"""API v1: its routes. Each loads, opens a transaction, calls a use case, and dumps."""

import base64
import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any, cast
from uuid import UUID

from flask import Response, jsonify, request
from marshmallow import Schema
from sqlalchemy.orm import Session

from registry import access, audit, ledger, lookup, receipts, senders
from registry.access import Scope
from registry.budgets import spend
from registry.consent import Basis, Channel, MessageClass
from registry.errors import Kind, RegistryError
from registry.events import timestamp
from registry.ledger import CapTerms, Claim, EvidenceClaim
from registry.lookup import Answer, Asker, Question
from registry.models import (
    ANY,
    Consent,
    Organisation,
    OrganisationKind,
    Purpose,
    Refusal,
    SenderNumber,
)
from registry.numbers import SendingNumber, SubscriberNumber, parse_sending, parse_subscriber
from registry.observe import VERDICTS
from registry.schemas import (
    BatchSchema,
    BatchVerdictsSchema,
    ClaimSchema,
    ConsentSchema,
    ConsentsSchema,
    CursorSchema,
    HoldingSchema,
    HoldingsSchema,
    KeyRequestSchema,
    KeySchema,
    LegalEntitySchema,
    LimitsSchema,
    LookupSchema,
    OrganisationSchema,
    OrganisationsSchema,
    ReassignmentSchema,
    RefusalSchema,
    ResourceSchema,
    SearchSchema,
    SuspensionSchema,
    TenureEndSchema,
    VerdictSchema,
    WishSchema,
    WithdrawalSchema,
    question_object,
    verdict_objects,
)
from registry.web import (
    ApiBlueprint,
    caller,
    commit,
    idempotent,
    public,
    recorder,
    registry,
    requires,
)

v1 = ApiBlueprint("v1", __name__, url_prefix="/v1", description="Consent registry, version 1")

Body = dict[str, Any]

NEAR_THE_END = 1000
"""Numbers left of a budget from which on each is counted before its request is answered."""


# Lookups


@v1.post("/lookups")
@requires(Scope.LOOKUP, suspended=True)
@idempotent
@v1.arguments(LookupSchema)
@v1.response(200, VerdictSchema)
def post_lookup(data: Body) -> Response:
    """Ask whether one contact is allowed."""
    number = _subscriber(data["to"], data["channel"])
    if data["contact"]:
        return _contact(data, number)
    question = _question(data, [number])
    if _near_the_end(Purpose.LOOKUP):
        with registry().database.write() as session:
            _spend(session, Purpose.LOOKUP, [number])
    answer = _answer(question)
    recorder().add(answer)
    _spend_later(Purpose.LOOKUP, number)
    return jsonify(_verdict(answer))


@v1.post("/lookups/batch")
@requires(Scope.LOOKUP, suspended=True)
@v1.arguments(BatchSchema)
@v1.response(200, BatchVerdictsSchema)
def post_batch(data: Body) -> Response:
    """Ask about up to 10,000 numbers; a malformed one is answered in its place."""
    region = registry().policy.default_region
    numbers = lookup.parse_numbers(data["to"], data["channel"], region)
    answer = _answer(_question(data, numbers))
    with registry().database.write() as session:
        audit.write_batch(session, answer)
        # Last, since it locks the row that counts until the transaction is committed.
        _spend(session, Purpose.LOOKUP, [number for number in numbers if number is not None])
    return _verdicts(answer, data["to"])


def _contact(data: Body, number: SubscriberNumber) -> Response:
    """Answer a carrier that is about to connect a contact, and count it if it is allowed."""
    if caller().kind is not OrganisationKind.CARRIER:
        raise RegistryError(Kind.SCOPE_MISSING, "only carriers count contacts")
    if data["at"] is not None:
        raise _invalid("at", "has no place here: a counted contact takes place now")
    if "Idempotency-Key" not in request.headers:
        raise _invalid("contact", "needs an Idempotency-Key")

    near_the_end = _near_the_end(Purpose.LOOKUP)

    def count(session: Session) -> Body:
        if near_the_end:
            _spend(session, Purpose.LOOKUP, [number])
        question = _question(data, [number])
        asker = Asker(caller().organisation_id, caller().kind)
        answer = lookup.contact(session, asker, question, now=question.at, policy=registry().policy)
        audit.write(session, [answer])
        return _verdict(answer)

    response = commit(count)
    _spend_later(Purpose.LOOKUP, number)
    return response


def _question(data: Body, numbers: Sequence[SubscriberNumber | None]) -> Question:
    commercial = data["message_class"] is MessageClass.COMMERCIAL
    if commercial and data["topic"] is None:
        raise _invalid("topic", "is required for commercial messages")
    opened = registry()
    return Question(
        sending=_sending(data["sending"]),
        numbers=numbers,
        channel=data["channel"],
        message_class=data["message_class"],
        topic=data["topic"] if commercial else None,
        at=lookup.planned(data["at"], opened.clock(), opened.policy),
    )


def _answer(question: Question) -> Answer:
    opened = registry()
    opened.sign_with()
    asker = Asker(caller().organisation_id, caller().kind)
    with opened.database.read() as connection:
        return lookup.answer(connection, asker, question, now=opened.clock(), policy=opened.policy)


def _near_the_end(purpose: Purpose) -> bool:
    """Tell whether so little of the day's budget is left that numbers are counted at once."""
    spent = caller().spent[purpose] + recorder().uncounted()
    return spent + NEAR_THE_END >= _budget(purpose)


def _spend(session: Session, purpose: Purpose, numbers: Sequence[SubscriberNumber]) -> None:
    """Count numbers in a transaction, which fails when the day's budget is used up."""
    day = registry().clock().date()
    who = caller().organisation_id
    spend(session, who, purpose, numbers, day=day, budget=_budget(purpose))


def _spend_later(purpose: Purpose, number: SubscriberNumber) -> None:
    """Have a number counted with the next group of audits."""
    day = registry().clock().date()
    recorder().name(audit.Named(caller().organisation_id, purpose, day, number))


def _budget(purpose: Purpose) -> int:
    _per_second, budgets = caller().limits(registry().policy.limits)
    return budgets[purpose]


def _verdict(answer: Answer) -> Body:
    [verdict] = verdict_objects(answer, [""])
    VERDICTS.labels(answer.question.channel, verdict["reason"]).inc()
    receipt = registry().sign_with().sign(receipts.payload(question_object(answer), verdict))
    return {**verdict, **_stamp(answer), "receipt": receipt}


def _verdicts(answer: Answer, written: list[str]) -> Response:
    """Answer a batch with the very bytes that its receipt is over."""
    verdicts = verdict_objects(answer, written)
    for reason, many in Counter(verdict["reason"] for verdict in verdicts).items():
        VERDICTS.labels(answer.question.channel, reason).inc(many)
    listed = receipts.canonical_list(verdicts)
    receipt = (
        registry()
        .sign_with()
        .sign(receipts.batch_payload(question_object(answer), len(verdicts), listed))
    )
    shared = json.dumps({**_stamp(answer), "receipt": receipt}).encode()
    return Response(
        shared[:-1] + b', "verdicts": ' + listed + b"}", content_type="application/json"
    )


def _stamp(answer: Answer) -> Body:
    return {
        "id": str(answer.id),
        "forecast": answer.forecast,
        "decided_at": timestamp(answer.decided_at),
        "position": answer.position,
    }


# Consents


@v1.post("/consents")
@requires(Scope.CONSENT)
@idempotent
@v1.arguments(ClaimSchema)
@v1.response(201, ConsentsSchema)
def post_consents(data: Body) -> Response:
    """Record a consent that the sender holds evidence of, one a topic."""
    claim = Claim(
        number=_subscriber(data["number"], data["channel"]),
        channel=data["channel"],
        topics=tuple(data["topics"]),
        granted_at=data["granted_at"],
        valid_until=data["valid_until"],
        cap=CapTerms(**data["cap"]),
        evidence=EvidenceClaim(**data["evidence"]),
    )
    opened = registry()
    sender_id = caller().organisation_id

    near_the_end = _near_the_end(Purpose.ASSERTION)

    def record(session: Session) -> Body:
        if near_the_end:
            _spend(session, Purpose.ASSERTION, [claim.number])
        consents = ledger.grant(
            session,
            claim,
            sender_id=sender_id,
            actor_id=sender_id,
            basis=Basis.ASSERTED,
            policy=opened.policy,
            clock=opened.clock,
        )
        return {"consents": [_consent(row) for row in consents]}

    response = commit(record, 201)
    _spend_later(Purpose.ASSERTION, claim.number)
    return response


@v1.post("/consents/search")
@requires(Scope.CONSENT, suspended=True)
@v1.arguments(SearchSchema)
@v1.response(200, ConsentsSchema)
def post_consents_search(data: Body) -> Response:
    """List the sender's own consents of one number, the newest first."""
    number = _subscriber(data["number"])
    after = _read_cursor(data["cursor"])
    with registry().database.snapshot() as session:
        rows = ledger.search_consents(session, number, caller().organisation_id, after)
        full = len(rows) == ledger.PAGE
        return jsonify(
            consents=[_consent(row) for row in rows], cursor=_cursor(rows[-1]) if full else None
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
            return jsonify(_consent(ledger.own_consent(session, consent_id, who.organisation_id)))
    with opened.database.write() as session:
        consent = ledger.oversee(
            session, consent_id, overseer_id=who.organisation_id, clock=opened.clock
        )
        return jsonify(_consent(consent))


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
            sender_id=caller().organisation_id,
            by_subscriber=data["by"] == "subscriber",
            note=data["reason"],
            clock=registry().clock,
        )
        return _consent(consent)

    return commit(withdraw)


def _consent(row: Consent) -> Body:
    history = [
        {"event": "granted", "at": row.grant.granted_at},
        {"event": "recorded", "at": row.recorded_at},
    ]
    if row.end_reason is not None:
        history.append({"event": row.end_reason.value, "at": row.ended_at})
    if row.reassignment is not None:
        history.append({"event": "reassigned", "at": row.reassignment.reassigned_at})
    return _dump(
        ConsentSchema,
        {
            **_columns(row),
            "grant": row.grant,
            "state": ledger.state(row, registry().clock()),
            "cap": {"count": row.grant.cap_count, "period": row.grant.cap_period},
            "history": history,
        },
    )


def _cursor(row: Consent) -> str:
    return base64.urlsafe_b64encode(f"{row.event_id}.{row.id}".encode()).decode()


def _read_cursor(text: str | None) -> tuple[int, UUID] | None:
    if text is None:
        return None
    try:
        event_id, _, row_id = base64.urlsafe_b64decode(text.encode()).decode().partition(".")
        after = int(event_id), UUID(row_id)
        if not 0 <= after[0] < 2**63:
            raise ValueError
    except ValueError:
        raise _invalid("cursor", "is none that this list gave") from None
    return after


# Subscribers' wishes, reported by carriers


@v1.post("/refusals")
@requires(Scope.WISHES)
@idempotent
@v1.arguments(WishSchema)
@v1.response(201, RefusalSchema)
def post_refusal(data: Body) -> Response:
    """Record a subscriber's "no": for all, or for a channel, a topic, a sender."""
    number = _subscriber(data["number"])
    scope = ledger.Scope(data["channel"], data["topic"], data["sender"])

    def refuse(session: Session) -> Body:
        refusal = ledger.refuse(
            session,
            number,
            scope,
            via=data["via"],
            recorded_by=caller().organisation_id,
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
    who = caller().organisation_id
    return commit(
        lambda session: _refusal(
            ledger.lift(session, refusal_id, recorded_by=who, clock=registry().clock)
        )
    )


def _refusal(row: Refusal) -> Body:
    everything = {"channel": None, "topic": None}
    narrowed = {
        name: value
        for name, value in _columns(row).items()
        if not (name in everything and value == ANY)
    }
    return _dump(RefusalSchema, {**everything, **narrowed})


@v1.post("/reassignments")
@requires(Scope.TENURE)
@idempotent
@v1.arguments(TenureEndSchema)
@v1.response(201, ReassignmentSchema)
def post_reassignment(data: Body) -> Response:
    """Report that a number went to another subscriber; every consent and refusal ends."""
    number = _subscriber(data["number"])
    who = caller().organisation_id
    return commit(
        lambda session: _dump(
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
        lambda session: _dump(
            ReassignmentSchema,
            ledger.cancel_reassignment(
                session, reassignment_id, recorded_by=who, clock=registry().clock
            ),
        )
    )


# Organisations and their numbers and keys


@v1.post("/organisations")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(LegalEntitySchema)
@v1.response(201, OrganisationSchema)
def post_organisation(data: Body) -> Response:
    """Make a legal entity known."""
    return commit(
        lambda session: _organisation(session, senders.register(session, **data, **_by())), 201
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
            session, senders.suspend(session, organisation_id, data["reason"], **_by())
        )
    )


@v1.post("/organisations/<uuid:organisation_id>/reinstate")
@requires(Scope.ADMIN)
@idempotent
@v1.response(200, OrganisationSchema)
def post_reinstatement(organisation_id: UUID) -> Response:
    """End an organisation's suspension."""
    return commit(
        lambda session: _organisation(session, senders.reinstate(session, organisation_id, **_by()))
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
            session, senders.limit(session, organisation_id, limits, **_by())
        )
    )


@v1.post("/organisations/<uuid:organisation_id>/numbers")
@requires(Scope.ADMIN)
@idempotent
@v1.arguments(ResourceSchema)
@v1.response(201, HoldingSchema)
def post_number(data: Body, organisation_id: UUID) -> Response:
    """Record that an organisation holds a sending number."""
    number = _sending(data["number"])
    holding = senders.Holding(
        tuple(data["channels"]), tuple(data["usages"]), data["held_from"], data["held_until"]
    )
    return commit(
        lambda session: _holding(senders.hold(session, organisation_id, number, holding, **_by())),
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
    released = _sending(number)
    return commit(
        lambda session: _holding(senders.release(session, organisation_id, released, **_by()))
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
            session, organisation, data["scopes"], data["expires_at"], **_by()
        )
        shown = {"id": key.id, "expires_at": key.expires_at, "scopes": data["scopes"]}
        return _dump(KeySchema, {**shown, "key": secret})

    return commit(issue, 201, replayed=lambda body: {**body, "key": None})


@v1.delete("/organisations/<uuid:organisation_id>/keys/<uuid:key_id>")
@requires(Scope.ADMIN)
@v1.response(204)
def delete_key(organisation_id: UUID, key_id: UUID) -> Response:
    """Revoke a key at once."""
    with registry().database.write() as session:
        access.revoke(session, organisation_id, key_id, **_by())
    return Response(status=204)


@v1.get("/numbers/<number>")
@public
@v1.response(200, HoldingSchema)
def get_number(number: str) -> Response:
    """Tell who holds a sending number, the longest holding that covers it."""
    sending = _sending(number)
    with registry().database.snapshot() as session:
        return jsonify(_holding(senders.holder(session, sending, registry().clock())))


def _organisation(session: Session, row: Organisation) -> Body:
    return _dump(
        OrganisationSchema,
        {
            **_columns(row),
            "limits": row,
            "suspended": senders.suspension(session, row.id),
        },
    )


def _holding(row: SenderNumber) -> Body:
    return _dump(
        HoldingSchema,
        {
            **_columns(row),
            "holder": row.holder,
            "channels": [word for word in Channel if getattr(row, word)],
            "usages": [word for word in MessageClass if getattr(row, word)],
        },
    )


# Shared by the routes


def _subscriber(written: str, channel: Channel | None = None) -> SubscriberNumber:
    number = parse_subscriber(written, registry().policy.default_region)
    if channel is Channel.SMS and not number.takes_sms:
        raise RegistryError(Kind.INVALID_NUMBER, "a landline takes no SMS")
    return number


def _sending(written: str) -> SendingNumber:
    return parse_sending(written, registry().policy.default_region)


def _by() -> Body:
    """Return who acts, and when, as use cases want it."""
    return {"actor_id": caller().organisation_id, "now": registry().clock()}


def _columns(row: Any) -> Body:
    return {column.key: getattr(row, column.key) for column in row.__mapper__.column_attrs}


def _dump(schema: type[Schema], value: object) -> Body:
    return cast("Body", _one(schema).dump(value))


@cache
def _one(schema: type[Schema]) -> Schema:
    """Return the one instance of a schema: making it costs more than a dump."""
    return schema()


def _invalid(field: str, problem: str) -> RegistryError:
    return RegistryError(Kind.INVALID, f"{field} {problem}", fields={field: [problem]})
