"""Repeating a write with the same Idempotency-Key gives the first answer and changes nothing."""

from typing import Any

import pytest
from sqlalchemy import select

from registry import idempotency, ledger
from registry.errors import Kind
from registry.models import Grant, IdempotencyKey
from registry.runtime import Registry
from registry.schemas.problems import problem_type
from tests.factories import (
    SMS_PORT,
    START,
    Client,
    Clock,
    World,
    complaint_body,
    consent_body,
    count_rows,
    dump,
    inbound_body,
    lookup_body,
    make_number,
    make_uscc,
    request_body,
)

SENDER = "organisations/{sender}"
WRITES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("carrier", "lookups", lookup_body(contact=True)),
    ("sender", "consents", consent_body()),
    ("sender", "consents/{consent}/withdraw", {"reason": "by letter"}),
    ("sender", "consent-requests", request_body()),
    ("sender", "challenges/{challenge}/evidence", {"text": "Signed in our shop."}),
    ("sender", "complaints/{forwarded}/answer", {"text": "A customer."}),
    ("carrier", "complaints", complaint_body()),
    ("operator", "complaints/{complaint}/forward", {}),
    ("operator", "complaints/{nobodys}/close", {"outcome": "unfounded"}),
    ("carrier", "refusals", {"number": "13800000000", "via": "hotline"}),
    ("carrier", "refusals/{refusal}/lift", None),
    ("carrier", "inbound-sms", inbound_body()),
    ("carrier", "reassignments", {"number": "13800000000", "reassigned_at": START.isoformat()}),
    ("carrier", "reassignments/{reassignment}/cancel", None),
    (
        "operator",
        "organisations",
        {"kind": "sender", "name": "A", "uscc": make_uscc(77), "contact_phone": "4001234567"},
    ),
    ("operator", f"{SENDER}/suspend", {"reason": "Complaints."}),
    ("operator", "organisations/{suspended}/reinstate", None),
    ("operator", f"{SENDER}/limits", {"requests_per_second": 10}),
    (
        "operator",
        f"{SENDER}/numbers",
        {"number": "10690007777", "channels": ["sms"], "usages": ["service"]},
    ),
    ("operator", f"{SENDER}/numbers/10690001234/release", None),
]


@pytest.mark.parametrize(("who", "route", "body"), WRITES)
def test_write_gives_its_first_answer_when_it_is_repeated(
    client: Client, world: World, clock: Clock, who: str, route: str, body: object
) -> None:
    [consent] = world.grant(make_number(1))
    [disputed] = world.grant(make_number(4))
    challenge = world.own(ledger.challenge, disputed.id, number=make_number(4))
    complaint, forwarded, nobodys = (
        client.post("/v1/complaints", complaint_body(number, **{"from": shown}), who="carrier").json
        for number, shown in (
            ("13800000005", SMS_PORT),
            ("13800000006", SMS_PORT),
            ("13800000007", None),
        )
    )
    client.post(f"/v1/complaints/{forwarded['id']}/forward", {}, who="operator")
    refusal, reassignment = world.refuse(make_number(2)), world.reassign(make_number(3))
    suspended = world.other_sender.id
    client.post(f"/v1/organisations/{suspended}/suspend", {"reason": "First."}, who="operator")
    path = "/v1/" + route.format(
        sender=world.sender.id,
        suspended=suspended,
        consent=consent.id,
        challenge=challenge.id,
        complaint=complaint["id"],
        forwarded=forwarded["id"],
        nobodys=nobodys["id"],
        refusal=refusal.id,
        reassignment=reassignment.id,
    )
    first = client.post(path, body, who=who, idempotency_key="a-key")
    assert first.status_code in (200, 201)
    before = count_rows(world.registry)
    clock.pass_(hours=1)
    again = client.post(path, body, who=who, idempotency_key="a-key")
    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert again.mimetype == first.mimetype == "application/json"
    assert count_rows(world.registry) == before


def test_write_is_done_again_when_its_key_is_another(client: Client) -> None:
    answers = [
        client.post("/v1/consents", consent_body(), who="sender", idempotency_key=key)
        for key in ("one", "two", None, None)
    ]
    ids = {answer.json["consents"][0]["id"] for answer in answers}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/consents", consent_body("13800000001")),
        ("/v1/consents", {}),
        ("/v1/consents/{consent}/withdraw", consent_body()),
    ],
    ids=["another body", "an invalid body", "another address"],
)
def test_key_is_refused_for_another_request(
    client: Client, world: World, path: str, body: dict[str, Any]
) -> None:
    first = client.post("/v1/consents", consent_body(), who="sender", idempotency_key="a-key")
    path = path.format(consent=first.json["consents"][0]["id"])
    before = count_rows(world.registry)
    answer = client.post(path, body, who="sender", idempotency_key="a-key")
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    assert count_rows(world.registry) == before


def test_key_of_another_body_is_told_from_wrong_fields(client: Client) -> None:
    client.post("/v1/consents", consent_body(), who="sender", idempotency_key="a-key")
    other = consent_body("13800000001")
    answer = client.post("/v1/consents", other, who="sender", idempotency_key="a-key")
    assert answer.json["type"] == problem_type(Kind.KEY_REUSED)


def test_keys_of_two_organisations_do_not_meet(client: Client, world: World) -> None:
    answers = [
        client.post("/v1/consents", consent_body(), who=who, idempotency_key="a-key")
        for who in ("sender", "other_sender")
    ]
    assert [answer.json["consents"][0]["sender"] for answer in answers] == [
        str(world.sender.id),
        str(world.other_sender.id),
    ]


def test_repetition_is_turned_away_while_the_first_request_runs(
    client: Client, world: World, registry: Registry
) -> None:
    repeated: list[Any] = []

    def act() -> tuple[int, dict[str, Any]]:
        repeated.append(
            client.post("/v1/consents", consent_body(), who="sender", idempotency_key="a-key")
        )
        return 201, {}

    with registry.database.write() as session:
        idempotency.once(session, world.sender.id, "a-key", bytes(32), now=START, act=act)
    # SQLite has one writer at a time: there the repetition finds the database busy.
    [answer] = repeated
    expected = {
        "postgresql": (409, problem_type(Kind.IN_PROGRESS)),
        "sqlite": (503, problem_type(Kind.UNAVAILABLE)),
    }
    assert (answer.status_code, answer.json["type"]) == expected[registry.database.dialect]
    assert int(answer.headers["Retry-After"]) >= 1


def test_request_that_failed_may_be_repeated(client: Client, clock: Clock) -> None:
    body = consent_body(granted_at="2026-12-01T02:05:00Z")
    failed = client.post("/v1/consents", body, who="sender", idempotency_key="a-key")
    assert failed.status_code == 422
    clock.pass_(minutes=5)
    done = client.post("/v1/consents", body, who="sender", idempotency_key="a-key")
    assert done.status_code == 201
    again = client.post("/v1/consents", body, who="sender", idempotency_key="a-key")
    assert again.json == done.json


def test_contact_that_is_repeated_counts_once(client: Client, registry: Registry) -> None:
    client.consent(cap={"count": 2, "period": "day"})

    def contact(key: str) -> Any:
        body = lookup_body(contact=True)
        return client.post("/v1/lookups", body, who="carrier", idempotency_key=key).json

    first = contact("one")
    assert contact("one") == contact("one") == first
    with registry.database.read() as connection:
        assert connection.scalar(select(Grant.cap_used)) == 1
    assert contact("two")["reason"] == "consented"
    assert contact("three")["reason"] == "frequency_exceeded"
    assert contact("one") == first


def test_key_creation_shows_its_secret_in_the_first_answer_only(
    client: Client, world: World, registry: Registry
) -> None:
    path = f"/v1/organisations/{world.sender.id}/keys"
    first, again = (
        client.post(path, {"scopes": ["lookup"]}, who="operator", idempotency_key="a-key")
        for _ in range(2)
    )
    assert client.post("/v1/lookups", lookup_body(), key=first.json["key"]).status_code == 200
    assert again.status_code == first.status_code == 201
    assert again.json == {**first.json, "key": None}
    with registry.database.read() as connection:
        [kept] = connection.scalars(select(IdempotencyKey.answer)).all()
    assert first.json["key"].partition(".")[2] not in kept


def test_answers_are_kept_sealed(client: Client, registry: Registry) -> None:
    key = "13800000000"
    client.post("/v1/consents", consent_body(), who="sender", idempotency_key=key)
    with registry.database.read() as connection:
        [kept] = connection.scalars(select(IdempotencyKey.answer)).all()
    assert "+8613800000000" in kept
    taken = dump(registry)
    for shown in (b"13800000000", b"I agree to ten", b'"history"'):
        assert shown not in taken
        assert shown.hex().encode() not in taken
