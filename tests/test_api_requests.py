"""Consent requests: what a sender asks, and that it hears of an agreement and of nothing else."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from registry import ledger
from registry.consent import Channel
from registry.errors import Kind
from registry.models import Notice, OutboxItem
from registry.schemas.problems import problem_type
from tests.factories import START, Client, Clock, World, count_rows, make_number, request_body

PATH = "/v1/consent-requests"


def ask(client: Client, number: str = "13800000000", **terms: Any) -> Any:
    return client.post(PATH, request_body(number, **terms), who="sender")


def show(client: Client, request_id: str, who: str = "sender") -> Any:
    return client.get(f"{PATH}/{request_id}", who=who)


def agree(world: World, request_id: str) -> None:
    world.own(ledger.agree, UUID(request_id))


def decline(world: World, request_id: str) -> None:
    world.own(ledger.decline, UUID(request_id))


def test_request_is_answered_with_its_terms_and_the_last_day_for_an_answer(client: Client) -> None:
    answer = ask(client, "138 0000 0000", topics=["retail", "travel"])
    body = answer.json
    assert answer.status_code == 201
    assert body == {
        **request_body("+8613800000000", topics=["retail", "travel"]),
        "id": body["id"],
        "state": "waiting",
        "recorded_at": "2026-12-01T02:00:00Z",
        "answer_by": "2026-12-08T02:00:00Z",
        "consents": [],
    }
    assert show(client, body["id"]).json == body


def test_subscriber_is_asked_by_sms(client: Client, world: World) -> None:
    request = ask(client).json
    [item] = world.do(lambda session: session.scalars(select(OutboxItem)).all())
    assert (item.notice, item.number) == (Notice.CONSENT_REQUESTED, make_number())
    assert str(item.subject_id) == request["id"]


def test_request_is_shown_with_the_consents_that_it_led_to(
    client: Client, world: World, clock: Clock
) -> None:
    request = ask(client, topics=["retail", "travel"]).json
    clock.pass_(hours=1)
    agree(world, request["id"])
    shown = show(client, request["id"]).json
    assert shown["state"] == "agreed"
    assert [
        (consent["topic"], consent["basis"], consent["valid_until"])
        for consent in shown["consents"]
    ] == [
        ("retail", "confirmed", "2027-03-01T03:00:00Z"),
        ("travel", "confirmed", "2027-03-01T03:00:00Z"),
    ]
    for consent in shown["consents"]:
        assert client.get(f"/v1/consents/{consent['id']}", who="sender").json == consent
    assert client.lookup().json["reason"] == "consented"


# What a sender does not learn

BEFORE: dict[str, Callable[[World], object]] = {
    "unknown": lambda world: None,
    "refuses everything": lambda world: world.refuse(),
    "refuses the channel": lambda world: world.refuse(scope=ledger.Scope(channel=Channel.SMS)),
    "refuses the sender": lambda world: world.refuse(scope=ledger.Scope(sender_id=world.sender.id)),
    "consents to another": lambda world: world.grant(sender=world.other_sender),
    "was reassigned": lambda world: world.reassign(),
    "was asked by another": lambda world: world.ask(sender=world.other_sender),
}
SINCE: dict[str, Callable[[World, str], object]] = {
    "no answer": lambda world, request_id: None,
    "declined": decline,
    "refused everything": lambda world, request_id: world.refuse(),
    "reassigned": lambda world, request_id: world.reassign(),
}


def story(client: Client, clock: Clock, request: Any) -> list[dict[str, Any]]:
    """Return what the sender is shown of a request, without its id, until after its last day."""
    shown = [request.json]
    for days in (1, 5.99, 0.01, 1):
        clock.pass_(days=days)
        ledger.lapse_due(client.world.registry.database, clock=clock)
        shown.append(show(client, request.json["id"]).json)
    return [{name: part[name] for name in part if name != "id"} for part in shown]


@pytest.mark.parametrize("before", BEFORE)
def test_sender_is_shown_the_same_whatever_the_number_said_before(
    client: Client, world: World, clock: Clock, before: str
) -> None:
    BEFORE[before](world)
    request = ask(client)
    shown = story(client, clock, request)
    assert (request.status_code, [part.pop("state") for part in shown]) == (
        201,
        ["waiting", "waiting", "waiting", "refused", "refused"],
    )
    for part in shown:
        assert part == {
            **request_body("+8613800000000"),
            "recorded_at": "2026-12-01T02:00:00Z",
            "answer_by": "2026-12-08T02:00:00Z",
            "consents": [],
        }


@pytest.mark.parametrize("since", SINCE)
def test_sender_is_shown_the_same_however_a_request_was_not_agreed_to(
    client: Client, world: World, clock: Clock, since: str
) -> None:
    request = ask(client)
    SINCE[since](world, request.json["id"])
    states = [part["state"] for part in story(client, clock, request)]
    assert states == ["waiting", "waiting", "waiting", "refused", "refused"]


@pytest.mark.parametrize("since", ["no answer", "declined", "refused everything"])
@pytest.mark.parametrize("days", [1, 6, 7, 400])
def test_same_request_is_turned_away_the_same_however_it_was_not_agreed_to(
    client: Client, world: World, clock: Clock, since: str, days: int
) -> None:
    SINCE[since](world, ask(client).json["id"])
    clock.pass_(days=days)
    ledger.lapse_due(world.registry.database, clock=clock)
    before = count_rows(world.registry)
    again = ask(client)
    assert (again.status_code, again.json["type"]) == (409, problem_type(Kind.CONFLICT))
    assert ("waits" in again.json["detail"]) is (days < 7)
    assert count_rows(world.registry) == before


def test_sender_without_a_consent_is_answered_no_consent_after_a_request(
    client: Client, world: World
) -> None:
    request = ask(client).json
    assert client.lookup().json["reason"] == "no_consent"
    decline(world, request["id"])
    assert client.lookup().json["reason"] == "no_consent"


def test_request_of_another_is_as_good_as_none(client: Client) -> None:
    request = ask(client).json
    foreign = show(client, request["id"], who="other_sender")
    assert foreign.status_code == 404
    assert foreign.json == show(client, str(uuid4()), who="other_sender").json


# Bad input


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("colour", "red"),
        ("channel", "fax"),
        ("topics", []),
        ("topics", ["retail", "retail"]),
        ("topics", ["gossip"]),
        ("cap", {"count": 0, "period": "day"}),
        ("cap", {"count": 1, "period": "year"}),
        ("valid_for_days", 0),
        ("valid_for_days", 3651),
        ("valid_for_days", "90"),
        ("notice_text", ""),
        ("notice_text", "a\x00b"),
        ("notice_text", "a" * 10_001),
        ("number", 13800000000),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_field_is_named_when_it_is_wrong(
    client: Client, world: World, field: str, value: object
) -> None:
    before = count_rows(world.registry)
    answer = client.post(PATH, {**request_body(), field: value}, who="sender")
    assert (answer.status_code, set(answer.json["errors"])) == (422, {field})
    assert count_rows(world.registry) == before


@pytest.mark.parametrize("number", ["010-12345678", "1380000000", "hello"])
def test_number_that_takes_no_sms_is_not_asked_by_one(
    client: Client, world: World, number: str
) -> None:
    before = count_rows(world.registry)
    answer = ask(client, number)
    assert (answer.status_code, answer.json["type"]) == (422, problem_type(Kind.INVALID_NUMBER))
    assert count_rows(world.registry) == before


def test_suspended_sender_asks_nobody_and_sees_what_it_asked(client: Client, world: World) -> None:
    request = ask(client).json
    suspend = f"/v1/organisations/{world.sender.id}/suspend"
    client.post(suspend, {"reason": "Complaints."}, who="operator")
    assert ask(client, "13800000001").status_code == 403
    assert show(client, request["id"]).json == request


def test_request_is_put_again_once_it_was_agreed_to_and_the_consent_is_over(
    client: Client, world: World, clock: Clock
) -> None:
    request = ask(client, valid_for_days=30).json
    agree(world, request["id"])
    assert ask(client).status_code == 409
    clock.now = START + timedelta(days=31)
    assert ask(client).status_code == 201


# Lists

TOPICS = ["retail", "travel", "games", "loans", "health"]


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json
    return [request["id"] for request in answer.json["requests"]]


def test_requests_are_listed_by_what_their_sender_is_shown(
    client: Client, world: World, clock: Clock
) -> None:
    late = ask(client, "13800000009").json
    clock.pass_(days=7)
    agreed, declined, silent = (ask(client, f"1380000000{index}").json for index in range(3))
    agree(world, agreed["id"])
    world.own(ledger.decline, UUID(declined["id"]), number=make_number(1))
    foreign = client.post(PATH, request_body(), who="other_sender").json
    listed: Any = client.get(PATH, who="sender")
    assert ids(listed) == [it["id"] for it in (silent, declined, agreed, late)]
    assert listed.json["cursor"] is None
    assert listed.json["requests"][2] == show(client, agreed["id"]).json
    assert ids(client.get(f"{PATH}?state=waiting", who="sender")) == [silent["id"], declined["id"]]
    assert ids(client.get(f"{PATH}?state=agreed", who="sender")) == [agreed["id"]]
    assert ids(client.get(f"{PATH}?state=refused", who="sender")) == [late["id"]]
    assert ids(client.get(PATH, who="other_sender")) == [foreign["id"]]
    assert client.get(f"{PATH}?state=declined", who="sender").status_code == 422


def test_requests_to_one_number_are_searched_page_by_page(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("registry.ledger.asked", "registry.ledger"):
        monkeypatch.setattr(f"{module}.PAGE", 2)
    made = [ask(client, topics=[topic], notice_text=topic).json["id"] for topic in TOPICS]
    ask(client, "13800000001")
    client.post(PATH, request_body(), who="other_sender")
    found, cursor = [], None
    while True:
        asked = {"number": "138 0000 0000", "cursor": cursor}
        page = client.post(f"{PATH}/search", asked, who="sender")
        found.append(ids(page))
        cursor = page.json["cursor"]
        if cursor is None:
            break
    assert found == [made[:2:-1], made[2:0:-1], made[:1]]


def test_request_led_to_evidence_that_its_sender_can_show(client: Client, world: World) -> None:
    request = ask(client, notice_text="May we?\nEvery day?").json
    shown = ledger.Shown(ledger.Way.LINK, "en")
    world.own(ledger.agree, UUID(request["id"]), shown=shown)
    [consent] = show(client, request["id"]).json["consents"]
    evidence = {"method": "registry", "notice_text": "May we?\nEvery day?", "language": "en"}
    assert consent["evidence"].items() >= evidence.items()
    assert (consent["granted_at"], consent["cap"]) == ("2026-12-01T02:00:00Z", request["cap"])
