"""Lookups: one number, or a batch of them."""

import json
from collections import Counter
from collections.abc import Sequence

from flask import Response, jsonify, request
from sqlalchemy.orm import Session

from registry import audit, lookup, receipts
from registry.access import Scope
from registry.consent import MessageClass
from registry.errors import Kind, RegistryError, invalid
from registry.events import timestamp
from registry.lookup import Answer, Asker, Question
from registry.models import OrganisationKind, Purpose
from registry.numbers import SubscriberNumber
from registry.observe import VERDICTS
from registry.routes.blueprint import v1
from registry.routes.reading import Body, sending, subscriber
from registry.routes.spending import commit_counted, near_the_end, spend, spend_later
from registry.schemas.lookups import (
    BatchSchema,
    BatchVerdictsSchema,
    LookupSchema,
    VerdictSchema,
    question_object,
    verdict_objects,
)
from registry.web import caller, idempotent, recorder, registry, requires


@v1.post("/lookups")
@requires(Scope.LOOKUP, suspended=True)
@idempotent
@v1.arguments(LookupSchema)
@v1.response(200, VerdictSchema)
def post_lookup(data: Body) -> Response:
    """Ask whether one contact is allowed."""
    number = subscriber(data["to"], data["channel"])
    if data["contact"]:
        return _contact(data, number)
    question = _question(data, [number])
    if near_the_end(Purpose.LOOKUP):
        with registry().database.write() as session:
            spend(session, Purpose.LOOKUP, [number])
    answer = _answer(question)
    recorder().add(answer)
    spend_later(Purpose.LOOKUP, number)
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
        spend(session, Purpose.LOOKUP, [number for number in numbers if number is not None])
    return _verdicts(answer, data["to"])


def _contact(data: Body, number: SubscriberNumber) -> Response:
    """Answer a carrier that is about to connect a contact, and count it if it is allowed."""
    if caller().kind is not OrganisationKind.CARRIER:
        raise RegistryError(Kind.SCOPE_MISSING, "only carriers count contacts")
    if data["at"] is not None:
        raise invalid("at", "has no place here: a counted contact takes place now")
    if "Idempotency-Key" not in request.headers:
        raise invalid("contact", "needs an Idempotency-Key")

    def count(session: Session) -> Body:
        question = _question(data, [number])
        asker = Asker(caller().organisation_id, caller().kind)
        answer = lookup.contact(session, asker, question, now=question.at, policy=registry().policy)
        audit.write(session, [answer])
        return _verdict(answer)

    return commit_counted(Purpose.LOOKUP, number, count)


def _question(data: Body, numbers: Sequence[SubscriberNumber | None]) -> Question:
    commercial = data["message_class"] is MessageClass.COMMERCIAL
    if commercial and data["topic"] is None:
        raise invalid("topic", "is required for commercial messages")
    opened = registry()
    return Question(
        sending=sending(data["sending"]),
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
