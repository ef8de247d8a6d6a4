"""Complaints over the API: who files, moves, answers and sees them; violations for overseers."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from registry import complaints, ledger
from registry.consent import Channel, Topic
from registry.errors import Kind
from registry.ledger import By
from registry.models import Event, Notice, OutboxItem, Via
from registry.schemas.problems import problem_type
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    START,
    VOICE_LINE,
    Client,
    Clock,
    World,
    complaint_body,
    count_rows,
    make_number,
)

PATH = "/v1/complaints"
NUMBER = "+8613800000000"
MASKED = "138****0000"


def report(
    client: Client,
    number: str = "13800000000",
    *,
    shown: str | None = SMS_PORT,
    who: str = "carrier",
    **parts: Any,
) -> Any:
    return client.post(PATH, complaint_body(number, **{"from": shown}, **parts), who=who)


def forward(client: Client, complaint: Any, **body: Any) -> Any:
    return client.post(f"{PATH}/{complaint['id']}/forward", body, who="operator")


def answer(client: Client, complaint: Any, text: str = "A customer.", who: str = "sender") -> Any:
    return client.post(f"{PATH}/{complaint['id']}/answer", {"text": text}, who=who)


def close(client: Client, complaint: Any, outcome: str = "upheld") -> Any:
    return client.post(f"{PATH}/{complaint['id']}/close", {"outcome": outcome}, who="operator")


def show(client: Client, complaint: Any, who: str) -> Any:
    return client.get(f"{PATH}/{complaint['id']}", who=who)


def pages(client: Client, path: str, name: str, who: str) -> list[list[dict[str, Any]]]:
    """Return every page of a list."""
    found, cursor = [], ""
    while cursor is not None:
        page: Any = client.get(f"{path}{cursor and '?cursor='}{cursor}", who=who).json
        found.append(page[name])
        cursor = page["cursor"]
    return found


def overseen(world: World, kind: str) -> list[dict[str, Any]]:
    """Return what events of a kind say."""
    query = select(Event.payload).where(Event.kind == kind).order_by(Event.id)
    with world.registry.database.read() as connection:
        return [json.loads(payload) for payload in connection.scalars(query)]


# The way of a complaint


def test_complaint_is_filed_against_whoever_held_the_number_that_was_shown(
    client: Client, world: World
) -> None:
    filed = report(client, "138 0000 0000", shown="1069 0001 234")
    assert filed.status_code == 201
    assert filed.json == {
        **complaint_body(NUMBER, contacted_at="2026-12-01T02:00:00Z"),
        "id": filed.json["id"],
        "sender": str(world.sender.id),
        "provider": None,
        "recorded_at": "2026-12-01T02:00:00Z",
        "forwarded_at": None,
        "answered_at": None,
        "answer": None,
        "closed_at": None,
        "outcome": None,
        "deadlines": {
            "forward_by": "2026-12-04",
            "answer_by": "2026-12-25",
            "inform_by": "2026-12-30",
            "forward_overdue": False,
            "answer_overdue": False,
            "inform_overdue": False,
            "provisional": filed.json["deadlines"]["provisional"],
        },
    }
    assert show(client, filed.json, "carrier").json == filed.json


def test_complaint_goes_to_the_sender_and_back_to_the_subscriber(
    client: Client, world: World, clock: Clock
) -> None:
    complaint = report(client).json
    clock.pass_(days=1)
    assert forward(client, complaint).json["forwarded_at"] == "2026-12-02T02:00:00Z"
    clock.pass_(days=1)
    answered = answer(client, complaint, "We have a consent.").json
    assert (answered["answer"], answered["answered_at"]) == (
        "We have a consent.", "2026-12-03T02:00:00Z",
    )  # fmt: skip
    clock.pass_(days=1)
    closed = close(client, complaint, "unfounded").json
    assert (closed["outcome"], closed["closed_at"]) == ("unfounded", "2026-12-04T02:00:00Z")
    shown = show(client, complaint, "carrier").json
    assert shown == {**closed, "number": NUMBER}
    told = world.do(lambda session: session.scalars(select(OutboxItem)).all())
    assert [item.notice for item in told] == [Notice.COMPLAINT_MOVED] * 3


@pytest.mark.parametrize(
    ("shown", "channel", "accused"),
    [
        (SMS_PORT, "sms", "sender"),
        (OTHER_PORT, "sms", "other_sender"),
        (VOICE_LINE, "voice", "sender"),
        ("10690009999", "sms", None),
        (None, "voice", None),
    ],
)
def test_complaint_accuses_nobody_when_nobody_holds_the_number(
    client: Client, world: World, shown: str | None, channel: str, accused: str | None
) -> None:
    complaint = report(client, channel=channel, shown=shown).json
    assert complaint["from"] == shown
    assert complaint["sender"] == (str(getattr(world, accused).id) if accused else None)


def test_complaint_about_a_faked_number_is_forwarded_to_the_sender_that_was_found(
    client: Client, world: World
) -> None:
    complaint = report(client, shown=None).json
    assert forward(client, complaint).status_code == 409
    found = forward(client, complaint, sender=str(world.other_sender.id))
    assert (found.status_code, found.json["sender"]) == (200, str(world.other_sender.id))
    assert show(client, complaint, "other_sender").status_code == 200
    assert show(client, complaint, "sender").status_code == 404


def test_same_complaint_is_filed_once(client: Client, world: World) -> None:
    first = report(client)
    before = count_rows(world.registry)
    again = report(client, text="Once more.")
    assert (again.status_code, again.json) == (201, first.json)
    assert count_rows(world.registry) == before


def test_carrier_is_not_shown_what_the_subscriber_wrote_elsewhere(
    client: Client, world: World
) -> None:
    draft = complaints.Draft(Channel.SMS, SMS_PORT, Topic.RETAIL, START, "My own words.")
    filed = world.own(complaints.file, draft)
    before = count_rows(world.registry)
    refused = report(client)
    assert (refused.status_code, refused.json["type"]) == (409, problem_type(Kind.CONFLICT))
    assert "My own words." not in refused.text
    assert show(client, {"id": filed.id}, "carrier").status_code == 404
    assert count_rows(world.registry) == before


@pytest.mark.parametrize(
    ("step", "steps"),
    [
        ("forward", ["forward"]),
        ("answer", ["forward", "answer"]),
        ("close", ["forward", "answer", "close"]),
        ("close", []),
        ("close", ["forward"]),
        ("forward", ["forward", "answer", "close"]),
    ],
)
def test_step_out_of_turn_is_a_conflict(
    client: Client, world: World, step: str, steps: list[str]
) -> None:
    moves: dict[str, Callable[..., Any]] = {"forward": forward, "answer": answer, "close": close}
    complaint = report(client).json
    for done in steps:
        assert moves[done](client, complaint).status_code == 200
    before = count_rows(world.registry)
    refused = moves[step](client, complaint)
    assert (refused.status_code, refused.json["type"]) == (409, problem_type(Kind.CONFLICT))
    assert count_rows(world.registry) == before


def test_overdue_answer_lets_the_operator_close(client: Client, clock: Clock) -> None:
    complaint = report(client).json
    forward(client, complaint)
    clock.pass_(days=60)
    assert show(client, complaint, "carrier").json["deadlines"]["answer_overdue"] is True
    assert close(client, complaint).status_code == 200


# Who is shown what


def test_sender_sees_neither_the_number_nor_who_complained(client: Client) -> None:
    text = "They called 138 0000 0000, that is me, (+86) 138-0000-0000!"
    complaint = report(client, text=text).json
    forward(client, complaint)
    shown = show(client, complaint, "sender").json
    assert (shown["number"], shown["text"]) == (
        MASKED, "They called #######, that is me, (#######!",
    )  # fmt: skip
    assert "recorded_at" not in shown
    assert set(shown["deadlines"]) == {"answer_by", "answer_overdue", "provisional"}
    assert client.get(PATH, who="sender").json == {"complaints": [shown], "cursor": None}


@pytest.mark.parametrize("days", [0, 14, 24, 25, 60])
def test_sender_is_shown_the_deadline_that_others_are_shown(
    client: Client, clock: Clock, days: int
) -> None:
    complaint = report(client).json
    forward(client, complaint)
    clock.pass_(days=days)
    mine = show(client, complaint, "sender").json["deadlines"]
    theirs = show(client, complaint, "carrier").json["deadlines"]
    shared = ("answer_by", "answer_overdue")
    assert [mine[name] for name in shared] == [theirs[name] for name in shared]


def test_sender_learns_of_a_complaint_once_it_is_forwarded(client: Client) -> None:
    complaint = report(client).json
    unknown = show(client, {"id": uuid4()}, "sender")
    assert show(client, complaint, "sender").json == unknown.json
    assert answer(client, complaint).json == unknown.json
    assert client.get(PATH, who="sender").json == {"complaints": [], "cursor": None}
    forward(client, complaint)
    assert show(client, complaint, "sender").status_code == 200


def test_another_sender_neither_sees_nor_answers(client: Client, world: World) -> None:
    complaint = report(client).json
    forward(client, complaint)
    before = count_rows(world.registry)
    assert show(client, complaint, "other_sender").status_code == 404
    assert answer(client, complaint, who="other_sender").status_code == 404
    assert client.get(PATH, who="other_sender").json == {"complaints": [], "cursor": None}
    assert count_rows(world.registry) == before


@pytest.mark.parametrize("who", ["operator", "regulator"])
def test_overseer_sees_a_complaint_and_that_is_recorded(
    client: Client, world: World, who: str
) -> None:
    complaint = report(client, text="I am 13800000000.").json
    shown = show(client, complaint, who).json
    assert shown == complaint
    [look] = overseen(world, "complaint_overseen")
    assert (look["actor"], look["complaint"]) == (str(getattr(world, who).id), shown["id"])


@pytest.mark.parametrize("who", ["operator", "regulator"])
def test_overseer_lists_complaints_without_their_numbers(client: Client, who: str) -> None:
    report(client, text="I am 13800000000.")
    [[listed]] = pages(client, PATH, "complaints", who)
    assert (listed["number"], listed["text"]) == (MASKED, "I am #######.")


def test_complaints_are_listed_the_newest_first_page_by_page(client: Client) -> None:
    numbers = [f"138{index:08}" for index in range(complaints.PAGE + 2)]
    filed = [report(client, number).json for number in numbers]
    other = report(client, shown=OTHER_PORT).json
    for complaint in [*filed, other]:
        forward(client, complaint)
    newest_first = [complaint["id"] for complaint in reversed(filed)]
    for who, ids in (
        ("sender", newest_first),
        ("operator", [other["id"], *newest_first]),
    ):
        listed = [[row["id"] for row in page] for page in pages(client, PATH, "complaints", who)]
        assert listed == [ids[: complaints.PAGE], ids[complaints.PAGE :]], who


def test_suspended_sender_may_answer(client: Client, world: World) -> None:
    complaint = report(client).json
    forward(client, complaint)
    suspend = f"/v1/organisations/{world.sender.id}/suspend"
    client.post(suspend, {"reason": "Complaints."}, who="operator")
    assert answer(client, complaint).status_code == 200


# Bad input


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("colour", "red"),
        ("channel", "fax"),
        ("topic", None),
        ("topic", "gossip"),
        ("text", ""),
        ("text", "a\x00b"),
        ("text", "a" * 2001),
        ("from", "anybody"),
        ("from", "1" * 21),
        ("from", 1069),
        ("contacted_at", "yesterday"),
        ("contacted_at", "2026-12-01T02:01:01Z"),
        ("contacted_at", "2020-12-01T02:00:00Z"),
        ("number", 13800000000),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_field_is_named_when_it_is_wrong(
    client: Client, world: World, field: str, value: object
) -> None:
    before = count_rows(world.registry)
    refused = client.post(PATH, {**complaint_body(), field: value}, who="carrier")
    assert (refused.status_code, set(refused.json["errors"])) == (422, {field})
    assert count_rows(world.registry) == before


@pytest.mark.parametrize(
    ("step", "body", "field"),
    [
        ("forward", {"sender": "nobody"}, "sender"),
        ("forward", {"colour": "red"}, "colour"),
        ("answer", {"text": ""}, "text"),
        ("answer", {"text": "a" * 2001}, "text"),
        ("answer", {"text": "ok", "colour": "red"}, "colour"),
        ("close", {"outcome": "settled"}, "outcome"),
        ("close", {}, "outcome"),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_field_of_a_step_is_named_when_it_is_wrong(
    client: Client, world: World, step: str, body: object, field: str
) -> None:
    complaint = report(client).json
    if step != "forward":
        forward(client, complaint)
    before = count_rows(world.registry)
    who = "sender" if step == "answer" else "operator"
    refused = client.post(f"{PATH}/{complaint['id']}/{step}", body, who=who)
    assert (refused.status_code, set(refused.json["errors"])) == (422, {field})
    assert count_rows(world.registry) == before


def test_complaint_about_an_sms_to_a_landline_is_refused(client: Client) -> None:
    refused = report(client, "010-12345678")
    assert (refused.status_code, refused.json["type"]) == (422, problem_type(Kind.INVALID_NUMBER))
    assert report(client, "010-12345678", channel="voice").status_code == 201


# Violations


def void(world: World, *indexes: int) -> list[UUID]:
    """Have consents of numbers disputed and voided one after the other; return the disputes."""
    disputes = []
    for index in indexes:
        number = make_number(index)
        [consent] = world.grant(number)
        by = By(Via.PORTAL)
        disputes.append(world.own(ledger.challenge, consent.id, number=number, by=by).id)
    world.registry.clock.pass_(days=5)  # type: ignore[attr-defined]
    ledger.void_due(world.registry.database, clock=world.registry.clock)
    return disputes


@pytest.mark.parametrize("who", ["operator", "regulator"])
def test_overseer_lists_violations_with_their_numbers_and_that_is_recorded(
    client: Client, world: World, who: str
) -> None:
    [dispute] = void(world, 7)
    answered: Any = client.get("/v1/violations", who=who)
    [violation] = answered.json["violations"]
    assert answered.json == {
        "violations": [
            {
                "id": violation["id"],
                "kind": "unproven_consent",
                "organisation": str(world.sender.id),
                "provider": None,
                "number": "+8613800000007",
                "subject": str(dispute),
                "recorded_at": "2026-12-06T02:00:00Z",
            }
        ],
        "cursor": None,
    }
    [look] = overseen(world, "violations_overseen")
    assert (look["actor"], look["violations"]) == (
        str(getattr(world, who).id), [violation["id"]],
    )  # fmt: skip


def test_violations_are_listed_page_by_page_and_each_look_is_recorded(
    client: Client, world: World
) -> None:
    disputes = set(map(str, void(world, *range(ledger.PAGE + 2))))
    listed = pages(client, "/v1/violations", "violations", "regulator")
    assert [len(page) for page in listed] == [ledger.PAGE, 2]
    assert {violation["subject"] for page in listed for violation in page} == disputes
    looks = overseen(world, "violations_overseen")
    assert [look["violations"] for look in looks] == [
        [violation["id"] for violation in page] for page in listed
    ]


def test_no_violations_are_an_empty_list(client: Client, world: World) -> None:
    assert client.get("/v1/violations", who="regulator").json == {
        "violations": [], "cursor": None,
    }  # fmt: skip
