"""Challenges: a sender hears which of its consents are disputed, and brings evidence in time."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from registry import ledger
from registry.consent import Channel, Topic
from registry.errors import Kind
from registry.models import Challenge, Consent, ViolationKind
from registry.schemas.problems import problem_type
from tests.factories import Client, Clock, World, count_rows, make_number

PATH = "/v1/challenges"
PROOF = {"text": "Signed in our shop.", "sha256": "0" * 64, "uri": "https://example.com/1"}


def dispute(world: World, index: int = 0, **terms: Any) -> tuple[Challenge, list[Consent]]:
    """Have a consent asserted, and its subscriber say that it never was given."""
    consents = world.grant(make_number(index), **terms)
    number = consents[0].number
    return world.own(ledger.challenge, consents[0].id, number=number), consents


def prove(client: Client, challenge_id: UUID, who: str = "sender", **proof: Any) -> Any:
    return client.post(f"{PATH}/{challenge_id}/evidence", {**PROOF, **proof}, who=who)


def get(client: Client, path: str, who: str = "sender") -> Any:
    return client.get(path, who=who)


def test_challenge_is_shown_with_the_consents_that_it_is_about(
    client: Client, world: World
) -> None:
    topics = (Topic.RETAIL, Topic.TRAVEL)
    challenge, consents = dispute(world, topics=topics)
    shown = get(client, f"{PATH}/{challenge.id}")
    assert shown.status_code == 200
    assert shown.json == {
        "id": str(challenge.id),
        "number": "+8613800000000",
        "consents": [str(consent.id) for consent in consents],
        "state": "open",
        "recorded_at": "2026-12-01T02:00:00Z",
        "evidence_by": "2026-12-06T02:00:00Z",
        "evidence": None,
        "closed_at": None,
    }


def test_evidence_closes_a_challenge_and_leaves_the_refusal(
    client: Client, world: World, clock: Clock
) -> None:
    challenge, [consent] = dispute(world)
    clock.pass_(days=2)
    answer = prove(client, challenge.id)
    assert answer.status_code == 200
    assert {name: answer.json[name] for name in ("state", "evidence", "closed_at")} == {
        "state": "evidenced",
        "evidence": PROOF,
        "closed_at": "2026-12-03T02:00:00Z",
    }
    assert get(client, f"{PATH}/{challenge.id}").json == answer.json
    assert get(client, f"/v1/consents/{consent.id}").json["state"] == "active"
    assert client.lookup().json["reason"] == "refused"


def test_evidence_is_words_at_least(client: Client, world: World) -> None:
    challenge, _ = dispute(world)
    path = f"{PATH}/{challenge.id}/evidence"
    shown = client.post(path, {"text": "A letter."}, who="sender").json
    assert shown["evidence"] == {"text": "A letter.", "sha256": None, "uri": None}


def test_consent_is_void_and_a_violation_when_no_evidence_came(
    client: Client, world: World, clock: Clock
) -> None:
    challenge, [consent] = dispute(world)
    clock.pass_(days=5)
    late = prove(client, challenge.id)
    assert (late.status_code, late.json["type"]) == (409, problem_type(Kind.CONFLICT))
    ledger.void_due(world.registry.database, clock=clock)
    shown = get(client, f"{PATH}/{challenge.id}").json
    assert (shown["state"], shown["evidence"]) == ("voided", None)
    assert shown["closed_at"] == "2026-12-06T02:00:00Z"
    assert get(client, f"/v1/consents/{consent.id}").json["state"] == "voided"
    [violation] = get(client, "/v1/violations", "regulator").json["violations"]
    assert violation["subject"] == shown["id"]
    assert violation["kind"] == ViolationKind.UNPROVEN_CONSENT


def test_evidence_is_brought_once(client: Client, world: World) -> None:
    challenge, _ = dispute(world)
    prove(client, challenge.id)
    before = count_rows(world.registry)
    again = prove(client, challenge.id, text="Another letter.")
    assert (again.status_code, again.json["type"]) == (409, problem_type(Kind.CONFLICT))
    assert count_rows(world.registry) == before
    shown = get(client, f"{PATH}/{challenge.id}").json
    assert shown["evidence"] == PROOF


def test_challenges_are_listed_the_newest_first_page_by_page(client: Client, world: World) -> None:
    challenges = [dispute(world, index)[0] for index in range(ledger.PAGE + 2)]
    dispute(world, 500, sender=world.other_sender)
    pages, cursor = [], ""
    while cursor is not None:
        page = get(client, f"{PATH}{cursor and '?cursor='}{cursor}").json
        pages.append([shown["id"] for shown in page["challenges"]])
        cursor = page["cursor"]
    newest_first = [str(challenge.id) for challenge in reversed(challenges)]
    assert pages == [newest_first[: ledger.PAGE], newest_first[ledger.PAGE :]]


def test_sender_without_challenges_is_shown_an_empty_list(client: Client) -> None:
    assert get(client, PATH).json == {"challenges": [], "cursor": None}


def test_consents_of_several_grants_are_told_apart(client: Client, world: World) -> None:
    numbers: list[dict[str, Any]] = [
        {"channel": Channel.SMS},
        {"channel": Channel.VOICE},
        {"channel": Channel.SMS, "topics": (Topic.TRAVEL,)},
    ]
    expected = {}
    for terms in numbers:
        challenge, consents = dispute(world, **terms)
        expected[str(challenge.id)] = [str(consent.id) for consent in consents]
    listed = get(client, PATH).json
    assert {shown["id"]: shown["consents"] for shown in listed["challenges"]} == expected


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "{}", None), ("POST", "{}/evidence", PROOF)],
)
def test_challenge_of_another_is_as_good_as_none(
    client: Client, world: World, method: str, path: str, body: object
) -> None:
    challenge, _ = dispute(world)
    before = count_rows(world.registry)
    foreign = client.call(method, f"{PATH}/{path.format(challenge.id)}", body, who="other_sender")
    unknown = client.call(method, f"{PATH}/{path.format(uuid4())}", body, who="other_sender")
    assert (foreign.status_code, foreign.json) == (404, unknown.json)
    assert get(client, PATH, "other_sender").json == {"challenges": [], "cursor": None}
    assert count_rows(world.registry) == before


def test_suspended_sender_may_bring_evidence(client: Client, world: World) -> None:
    challenge, _ = dispute(world)
    suspend = f"/v1/organisations/{world.sender.id}/suspend"
    client.post(suspend, {"reason": "Complaints."}, who="operator")
    listed = get(client, PATH).json
    assert len(listed["challenges"]) == 1
    assert prove(client, challenge.id).status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("colour", "red"),
        ("text", ""),
        ("text", "a\x00b"),
        ("text", "a" * 10_001),
        ("sha256", "A" * 64),
        ("uri", "javascript:alert(1)"),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_field_is_named_when_it_is_wrong(
    client: Client, world: World, field: str, value: str
) -> None:
    challenge, _ = dispute(world)
    before = count_rows(world.registry)
    answer = prove(client, challenge.id, **{field: value})
    assert (answer.status_code, set(answer.json["errors"])) == (422, {field})
    assert count_rows(world.registry) == before


@pytest.mark.parametrize("cursor", ["x", "MQ==", "LTEuMDE5MzAwMDA=", "%F0%9F"])
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_cursor_that_no_page_gave_is_refused(client: Client, cursor: str) -> None:
    answer = get(client, f"{PATH}?cursor={cursor}")
    assert (answer.status_code, set(answer.json["errors"])) == (422, {"cursor"})
