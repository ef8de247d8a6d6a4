"""SMS from subscribers over the API: each has its effect once, however often it is delivered."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from registry.consent import Basis
from registry.errors import Kind
from registry.runtime import Registry
from registry.schemas.problems import problem_type
from tests.factories import OTHER_PORT, START, Client, Clock, World, count_rows, inbound_body

PATH = "/v1/inbound-sms"
HOUSE = "10690000999"


@pytest.fixture
def registry(registry: Registry) -> Registry:
    """Return a registry that has a number of its own."""
    registry.settings = replace(registry.settings, sms_number=HOUSE)
    return registry


def deliver(client: Client, text: str = "TD", *, who: str = "carrier", **parts: Any) -> Any:
    return client.post(PATH, inbound_body(text=text, **parts), who=who)


def test_answer_to_an_advertisement_withdraws_from_its_sender(client: Client, world: World) -> None:
    [consent] = world.grant()
    answer = deliver(client, "td ", **{"from": "+86 138 0000 0000"})
    assert (answer.status_code, answer.json) == (
        200, {"id": answer.json["id"], "action": "unsubscribed"},
    )  # fmt: skip
    assert UUID(answer.json["id"])
    shown: Any = client.get(f"/v1/consents/{consent.id}", who="sender").json
    assert shown["state"] == "withdrawn"
    assert client.lookup().json["reason"] == "consent_withdrawn"


def test_second_sms_switches_the_refusal_on(client: Client, world: World, clock: Clock) -> None:
    world.grant()
    assert deliver(client, "KTFSR", to=HOUSE).json["action"] == "refusal_asked"
    assert client.lookup().json["reason"] == "consented"
    clock.pass_(minutes=5)
    received_at = clock().isoformat()
    second = deliver(client, "Y", to=HOUSE, message_id="m2", received_at=received_at)
    assert second.json["action"] == "refused"
    assert client.lookup().json["reason"] == "refused"


@pytest.mark.parametrize(
    "text",
    ["When do you open?", "", "KTFSR", "a" * 20_000, "\x00", "\x1b[2J", "👍", "td\x00td"],
)
def test_talk_with_a_sender_is_ignored(client: Client, text: str) -> None:
    assert deliver(client, text).json["action"] == "ignored"


@pytest.mark.parametrize("text", ["TD\r\n", "\x00TD", "T\u200bD", "　ＴＤ。", "退订"])
def test_no_is_heard_whatever_a_telephone_puts_around_it(client: Client, text: str) -> None:
    assert deliver(client, text).json["action"] == "unsubscribed"


def test_message_has_its_effect_once_however_often_it_is_delivered(
    client: Client, world: World, clock: Clock
) -> None:
    world.grant()
    first = deliver(client)
    before = count_rows(world.registry)
    clock.pass_(days=30)
    for key in (None, "a-key", "another"):
        again = client.post(PATH, inbound_body(), who="carrier", idempotency_key=key)
        assert (again.status_code, again.json) == (200, first.json)
    assert {**count_rows(world.registry), "idempotency_keys": 0} == before


def test_message_delivered_again_does_not_end_what_was_agreed_to_since(
    client: Client, world: World, clock: Clock
) -> None:
    deliver(client)
    clock.pass_(days=1)
    world.grant(basis=Basis.CONFIRMED)
    assert client.lookup().json["reason"] == "consented"
    deliver(client)
    assert client.lookup().json["reason"] == "consented"


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Y"},
        {"from": "13800000001"},
        {"to": OTHER_PORT},
        {"received_at": (START - timedelta(seconds=1)).isoformat()},
    ],
    ids=lambda other: next(iter(other)),
)
def test_id_of_another_message_is_refused(
    client: Client, world: World, other: dict[str, str]
) -> None:
    deliver(client)
    before = count_rows(world.registry)
    refused = client.post(PATH, {**inbound_body(), **other}, who="carrier")
    assert (refused.status_code, refused.json["type"]) == (422, problem_type(Kind.KEY_REUSED))
    assert count_rows(world.registry) == before


def test_same_message_written_otherwise_is_the_same(client: Client) -> None:
    first = deliver(client)
    again = deliver(
        client, **{"from": "+8613800000000", "received_at": "2026-12-01T10:00:00+08:00"}
    )
    assert (again.status_code, again.json) == (200, first.json)


def test_ids_of_two_carriers_are_apart(client: Client) -> None:
    first = deliver(client)
    other = deliver(client, who="other_carrier", **{"from": "13800000001"})
    assert other.status_code == 200
    assert other.json["id"] != first.json["id"]


# Bad input


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("colour", "red"),
        ("from", 13800000000),
        ("to", "nobody"),
        ("to", None),
        ("text", None),
        ("text", "a" * 20_001),
        ("received_at", "now"),
        ("received_at", (START + timedelta(seconds=61)).isoformat()),
        ("received_at", (START - timedelta(days=8)).isoformat()),
        ("message_id", ""),
        ("message_id", "a" * 101),
        ("message_id", 7),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_field_is_named_when_it_is_wrong(
    client: Client, world: World, field: str, value: object
) -> None:
    before = count_rows(world.registry)
    refused = client.post(PATH, {**inbound_body(), field: value}, who="carrier")
    assert (refused.status_code, set(refused.json["errors"])) == (422, {field})
    assert count_rows(world.registry) == before


@pytest.mark.parametrize("number", ["10086", "1380000000", "1380000000²", "hello"])
def test_number_that_is_no_subscribers_is_refused(
    client: Client, world: World, number: str
) -> None:
    before = count_rows(world.registry)
    refused = deliver(client, **{"from": number})
    assert (refused.status_code, refused.json["type"]) == (422, problem_type(Kind.INVALID_NUMBER))
    assert count_rows(world.registry) == before


def test_suspended_carrier_delivers_nothing(client: Client, world: World) -> None:
    suspend = f"/v1/organisations/{world.carrier.id}/suspend"
    client.post(suspend, {"reason": "Complaints."}, who="operator")
    before = count_rows(world.registry)
    assert deliver(client).status_code == 403
    assert count_rows(world.registry) == before
