"""The list never leaves: planted numbers turn up nowhere, and a stranger learns nothing."""

import base64
import hashlib
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes
from flask import Flask

from registry import ledger, receipts
from registry.numbers import parse_subscriber
from registry.observe import JsonLines
from registry.runtime import Registry
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    START,
    Client,
    World,
    complaint_body,
    consent_body,
    dump,
    inbound_body,
    lookup_body,
    make_number,
    request_body,
)

CANARY = "13987654321"
SPELLINGS = [
    CANARY, f"+86{CANARY}", f"86{CANARY}", f"0086{CANARY}", "139 8765 4321", "139-8765-4321",
    "１３９８７６５４３２１",
]  # fmt: skip


INBOUND: list[tuple[str, dict[str, str]]] = [
    ("TD", {"message_id": CANARY}),
    (f"I am {CANARY}.", {"message_id": f"{CANARY}-1"}),
    (CANARY, {"message_id": f"{CANARY}-2", "to": CANARY}),
]
"""SMS that answer a sender, that talk to one, and that went to somebody else."""


def traces() -> Iterator[bytes]:
    """Yield what the planted number would look like, plain, encoded or hashed without a key."""
    for spelling in SPELLINGS:
        plain = spelling.encode()
        yield plain
        sm3 = hashes.Hash(hashes.SM3())
        sm3.update(plain)
        digests = [hashlib.new(name, plain).digest() for name in ("md5", "sha1", "sha256")]
        for value in (plain, sm3.finalize(), *digests):
            yield value
            yield value.hex().encode()
            yield value.hex().upper().encode()
            yield base64.b64encode(value).rstrip(b"=")
            yield base64.urlsafe_b64encode(value).rstrip(b"=")


def found(text: bytes) -> list[bytes]:
    return [trace for trace in traces() if trace in text]


def plant(client: Client, registry: Registry) -> list[Any]:
    """Send the number through every route that takes one, by right and by wrong ways."""
    answers = [client.consent(spelling) for spelling in SPELLINGS]
    evidence = {"method": "paper", "notice_text": f"I, {CANARY}, agree.", "uri": f"urn:{CANARY}"}
    answers.append(plant_in_a_file(client))
    evidence["sha256"] = answers[-1].json["sha256"]
    body = consent_body(CANARY, evidence=evidence)
    answers += [
        client.post("/v1/consents", body, who="sender", idempotency_key=CANARY) for _ in range(2)
    ]
    consent = answers[-1].json["consents"][0]["id"]
    contact = lookup_body(CANARY, contact=True)
    reassignment = {"number": CANARY, "reassigned_at": START.isoformat()}
    answers += [
        client.post("/v1/consents/search", {"number": CANARY}, who="sender"),
        client.get(f"/v1/consents/{consent}", who="sender"),
        client.get(f"/v1/consents/{consent}/evidence/file", who="regulator"),
        client.post(
            "/v1/evidence/requests",
            {"number": CANARY, "from": SMS_PORT, "channel": "sms", "topic": "retail"},
            who="carrier",
            idempotency_key=f"{CANARY}-3",
        ),
        client.lookup(CANARY),
        client.batch([*SPELLINGS, f"{CANARY}x"]),
        client.post("/v1/lookups", contact, who="carrier", idempotency_key=f"+86{CANARY}"),
        *plant_in_disputes(client, consent),
        client.post(f"/v1/consents/{consent}/withdraw", {"reason": CANARY}, who="sender"),
        *(
            client.post("/v1/inbound-sms", inbound_body(CANARY, text, **parts), who="carrier")
            for text, parts in INBOUND
        ),
        client.post("/v1/refusals", {"number": CANARY, "via": "sms"}, who="carrier"),
        client.post("/v1/reassignments", reassignment, who="carrier"),
    ]
    for kind, answer in (("refusals", answers[-2]), ("reassignments", answers[-1])):
        end = {"refusals": "lift", "reassignments": "cancel"}[kind]
        answers.append(client.post(f"/v1/{kind}/{answer.json['id']}/{end}", who="carrier"))
    assert {answer.status_code for answer in answers} == {200, 201}
    return answers


def plant_in_a_file(client: Client) -> Any:
    """Send the number in the content and in the name of a file."""
    named = {"Content-Disposition": f'attachment; filename="{CANARY}.txt"'}
    return client.post(
        "/v1/evidence",
        f"{CANARY} signed.".encode(),
        who="sender",
        content_type="text/plain",
        headers=named,
    )


def plant_in_disputes(client: Client, consent: str) -> list[Any]:
    """Send the number through a request, a challenge of a consent, and a complaint."""
    asked = request_body(CANARY, topics=["travel"], notice_text=f"May we write to {CANARY}?")
    proof = {"text": f"{CANARY} signed.", "uri": f"urn:{CANARY}"}
    complained = complaint_body(CANARY, text=f"I am {CANARY}.")
    number = parse_subscriber(CANARY)
    challenge = client.world.own(ledger.challenge, UUID(consent), number=number).id
    answers = [
        client.post("/v1/consent-requests", asked, who="sender", idempotency_key=f"{CANARY}-1"),
        client.get("/v1/challenges", who="sender"),
        client.post(f"/v1/challenges/{challenge}/evidence", proof, who="sender"),
        client.post("/v1/complaints", complained, who="carrier", idempotency_key=f"{CANARY}-2"),
    ]
    request, path = answers[0].json["id"], f"/v1/complaints/{answers[-1].json['id']}"
    return [
        *answers,
        client.get(f"/v1/consent-requests/{request}", who="sender"),
        client.post(f"{path}/forward", {}, who="operator"),
        client.post(f"{path}/answer", {"text": f"We know {CANARY}."}, who="sender"),
        client.post(f"{path}/close", {"outcome": "unfounded"}, who="operator"),
        client.get(path, who="carrier"),
        client.get(path, who="regulator"),
    ]


def spoil(client: Client, registry: Registry) -> list[Any]:
    """Send the number where it is wrong, and where the registry itself fails."""
    wrong = lookup_body(CANARY, **{CANARY: 1, SPELLINGS[-1]: 1, "139 8765 4321": 1})
    answers = [
        client.post("/v1/lookups", wrong, who="sender"),
        client.post("/v1/lookups", f'{{"to": "{CANARY}"'.encode(), who="sender"),
        client.post("/v1/lookups", f"to={CANARY}".encode(), who="sender", content_type="x/y"),
        client.lookup(f"{CANARY}4"),
        client.lookup(int(CANARY)),  # type: ignore[arg-type]
        client.lookup(CANARY, topic=CANARY, channel=CANARY, at=CANARY),
        client.consent(CANARY, cap={CANARY: {CANARY: 1}}, evidence={CANARY: CANARY}),
        client.consent(CANARY, granted_at="2030-01-01T00:00:00Z"),
        client.post("/v1/consents/search", {"number": CANARY, "cursor": CANARY}, who="sender"),
        client.post("/v1/consents/search", {"number": CANARY}, key=f"{CANARY}.{CANARY}"),
        client.post("/v1/consents", consent_body("13800000000"), who="sender",
                    idempotency_key=CANARY),
        client.get(f"/v1/consents/{CANARY}", who="sender"),
        client.get(f"/v1/evidence/{CANARY}", who="sender"),
        client.post("/v1/evidence", f"\0{CANARY}".encode(), who="sender", content_type="a/b"),
        client.post("/v1/evidence/requests", {"number": CANARY, "from": CANARY}, who="carrier"),
        client.get(f"/v1/numbers/{CANARY}"),
        client.get(f"/v1/organisations?cursor={CANARY}", who="operator"),
        client.get(f"/v1/{CANARY}?number={CANARY}"),
        client.call(CANARY, "/v1/lookups"),
    ]  # fmt: skip
    clock = registry.clock

    def broken() -> Any:
        raise ValueError(f"a failure that quotes {CANARY}")

    registry.clock = broken
    answers.append(client.lookup(CANARY))
    registry.clock = clock
    assert all(answer.status_code >= 400 for answer in answers)
    return answers


def test_planted_number_is_in_no_log_line_metric_or_problem(
    client: Client, app: Flask, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plant(client, registry)
    problems = spoil(client, registry)
    app.extensions["recorder"].close()
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any("a failure" in str(record.exc_info) for record in caplog.records)
    assert any('"route": "/v1/lookups"' in line for line in lines)
    assert found("\n".join(lines).encode()) == []
    assert found(client.get("/metrics").data) == []
    assert found(b"\n".join(answer.data for answer in problems)) == []


def test_planted_number_is_in_no_dump_of_the_database_and_no_file(
    client: Client, app: Flask, registry: Registry
) -> None:
    plant(client, registry)
    spoil(client, registry)
    app.extensions["recorder"].close()
    files = [path for path in registry.files.folder.rglob("*") if path.is_file()]
    assert len(files) == 1
    taken = dump(registry) + b"".join(path.read_bytes() for path in files)
    taken += "".join(map(str, files)).encode()
    token = registry.database.key.token(parse_subscriber(CANARY))
    assert token in taken or token.hex().encode() in taken
    assert found(taken) == []
    assert int(f"86{CANARY}").to_bytes(8) not in taken
    assert int(f"86{CANARY}").to_bytes(8).hex().encode() not in taken


def test_planted_number_is_told_to_nobody_who_did_not_name_it(
    client: Client, world: World, registry: Registry
) -> None:
    plant(client, registry)
    own = f"/v1/organisations/{world.sender.id}"
    for who in ("operator", "regulator"):
        for path in ("/v1/organisations", own, f"{own}/numbers", "/v1/complaints"):
            answer = client.get(path, who=who)
            assert (answer.status_code, found(answer.data)) == (200, [])
    [complaint] = client.get("/v1/complaints", who="sender").json["complaints"]  # type: ignore[index]
    assert found(json.dumps({**complaint, "answer": None}).encode()) == []
    for path in ("/v1/complaints", "/v1/challenges"):
        assert found(client.get(path, who="other_sender").data) == []
    other = client.post("/v1/consents/search", {"number": CANARY}, who="other_sender")
    assert other.json["consents"] == []


# What a stranger hears

FATES = ["unknown", "refused", "refused again", "reassigned", "withdrawn", "agreed", "absent"]


@pytest.fixture
def fates(world: World) -> dict[str, str]:
    """Return numbers with every fate that a sender without consent of its own may not learn."""
    numbers = {fate: make_number(index) for index, fate in enumerate(FATES)}
    world.refuse(numbers["refused"])
    world.lift(world.refuse(numbers["refused again"]))
    world.refuse(numbers["refused again"])
    world.grant(numbers["reassigned"])
    world.reassign(numbers["reassigned"])
    world.withdraw(world.grant(numbers["withdrawn"])[0])
    world.grant(numbers["agreed"])
    return {fate: number.e164 for fate, number in numbers.items()} | {"absent": "+8619912345678"}


def only(values: list[Any]) -> Any:
    """Return what all values are; fails when they differ."""
    assert all(value == values[0] for value in values)
    return values[0]


def test_stranger_hears_the_same_of_every_number(client: Client, fates: dict[str, str]) -> None:
    jwks = client.get("/.well-known/jwks.json").json
    assert jwks is not None
    answers, said = [], []
    for number in fates.values():
        answer = client.lookup(number, who="other_sender", **{"from": OTHER_PORT})
        body = answer.json
        receipt = receipts.verify(body["receipt"], jwks)
        assert receipt.pop("id") == body.pop("id")
        assert receipt["verdict"].pop("to") == body.pop("to") == number
        said.append({**receipt, "decided_at": None, "at": None})
        body = {**body, "decided_at": None, "receipt": len(body["receipt"])}
        answers.append((answer.status_code, list(answer.headers.keys()), len(answer.data), body))
    status, *_, body = only(answers)
    assert (status, body["allowed"], body["reason"]) == (200, False, "no_consent")
    only(said)


def test_stranger_hears_the_same_of_every_number_in_a_batch(
    client: Client, fates: dict[str, str]
) -> None:
    asked = list(fates.values())
    answer = client.batch(asked, who="other_sender", **{"from": OTHER_PORT}).json
    assert [verdict.pop("to") for verdict in answer["verdicts"]] == asked
    assert only(answer["verdicts"])["reason"] == "no_consent"


def test_sender_that_asserts_a_consent_hears_the_same_of_every_subscriber(
    client: Client, fates: dict[str, str]
) -> None:
    shown = []
    for number in fates.values():
        answer = client.consent(number, who="other_sender", granted_at=START.isoformat())
        [consent] = answer.json["consents"]
        read = client.get(f"/v1/consents/{consent['id']}", who="other_sender").json
        search = client.post("/v1/consents/search", {"number": number}, who="other_sender").json
        assert read == consent == search["consents"][0]
        shown.append((answer.status_code, {**consent, "id": None, "number": None}))
    assert only(shown)[1]["state"] == "active"


def test_sender_that_asks_for_consent_hears_the_same_of_every_subscriber(
    client: Client, fates: dict[str, str]
) -> None:
    shown = []
    for number in fates.values():
        answer = client.post("/v1/consent-requests", request_body(number), who="other_sender")
        read = client.get(f"/v1/consent-requests/{answer.json['id']}", who="other_sender").json
        assert read == answer.json
        shown.append((answer.status_code, {**answer.json, "id": None, "number": None}))
    assert only(shown)[1]["state"] == "waiting"
