"""Claims of numbers, and lists of who holds what: claiming, deciding, taking back, importing."""

import csv
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from registry import senders
from registry.cli import number_lines
from registry.errors import Kind, RegistryError
from registry.models import ApplicationState, Event, NumberClaim, OrganisationKind, SenderNumber
from registry.numbers import parse_sending
from registry.schemas.problems import problem_type
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    Client,
    Clock,
    World,
    count_rows,
    make_organisation,
    make_provider,
    make_uscc,
)

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
CLAIMS = "/v1/number-claims"
PORT = "10690007777"


def claim(client: Client, number: str = PORT, *, who: str = "sender", **more: Any) -> Any:
    body = {"number": number, "channels": ["sms"], "usages": ["commercial"], **more}
    return client.post(CLAIMS, body, who=who)


def step(client: Client, made: Any, name: str, *, who: str = "operator", **body: Any) -> Any:
    return client.post(f"{CLAIMS}/{made.json['id']}/{name}", body, who=who)


def events(world: World, prefix: str = "number_claim") -> list[dict[str, Any]]:
    query = select(Event.payload).where(Event.kind.startswith(prefix)).order_by(Event.id)
    with world.registry.database.read() as connection:
        return [json.loads(payload) for payload in connection.scalars(query)]


def test_claim_leads_to_a_holding_once_an_operator_approves_it(
    client: Client, world: World, clock: Clock
) -> None:
    until = "2028-01-01T00:00:00Z"
    made = claim(client, "1069-0007 777", held_until=until, note="Licence page 3.")
    assert made.status_code == 201
    assert client.get(f"/v1/numbers/{PORT}").status_code == 404
    assert client.lookup(**{"from": PORT}).json["reason"] == "sender_unknown"
    clock.pass_(days=1)
    approved = step(client, made, "approve").json
    assert approved == {
        "id": made.json["id"],
        "number": PORT,
        "kind": "port",
        "claimant": str(world.sender.id),
        "channels": ["sms"],
        "usages": ["commercial"],
        "held_from": None,
        "held_until": until,
        "note": "Licence page 3.",
        "state": "approved",
        "recorded_at": "2026-12-01T02:00:00Z",
        "decided_at": "2026-12-02T02:00:00Z",
        "reason": None,
    }
    held = client.get(f"/v1/numbers/{PORT}").json
    assert held is not None
    assert (held["holder"]["id"], held["held_from"], held["held_until"]) == (
        str(world.sender.id), "2026-12-02T02:00:00Z", until,
    )  # fmt: skip
    assert client.lookup(**{"from": PORT}).json["reason"] == "no_consent"
    told = [(event["kind"], event["actor"]) for event in events(world)]
    assert told == [
        ("number_claimed", str(world.sender.id)),
        ("number_claim_approved", str(world.operator.id)),
    ]


def test_first_approval_of_a_free_number_wins(client: Client, world: World) -> None:
    first, second = claim(client), claim(client, who="other_sender")
    assert step(client, second, "approve").status_code == 200
    late = step(client, first, "approve")
    assert late.status_code == 409
    assert late.json["type"] == problem_type(Kind.CONFLICT)
    waiting = client.get(f"{CLAIMS}?state=submitted", who="operator").json
    assert waiting is not None
    assert [row["id"] for row in waiting["claims"]] == [first.json["id"]]
    assert step(client, first, "reject").status_code == 422
    rejected = step(client, first, "reject", reason="Another holds it.").json
    assert (rejected["state"], rejected["reason"]) == ("rejected", "Another holds it.")
    assert client.lookup(**{"from": PORT}).json["reason"] == "number_not_held"


STEPS = ("approve", "reject", "withdraw")


@on_sqlite
@pytest.mark.parametrize("before", STEPS)
def test_decided_claim_stays_as_it_was_decided(client: Client, world: World, before: str) -> None:
    who = {"approve": "operator", "reject": "operator", "withdraw": "sender"}
    reason = {"reject": {"reason": "No licence."}}
    made = claim(client)
    assert step(client, made, before, who=who[before], **reason.get(before, {})).status_code == 200
    rows = count_rows(world.registry)
    for name in STEPS:
        again = step(client, made, name, who=who[name], **reason.get(name, {}))
        assert again.status_code == 409, name
    assert count_rows(world.registry) == rows
    assert claim(client).status_code == (409 if before == "approve" else 201)


def test_claim_belongs_to_its_claimant_and_is_decided_by_operators(
    client: Client, world: World
) -> None:
    """Who may do what: everybody else is told that there is no such claim, or has no scope."""
    make_provider(world)
    made = claim(client)
    rows = count_rows(world.registry)
    table = {
        ("GET", ""): {"sender": 200, "operator": 200, "other_sender": 404, "provider": 404},
        ("POST", "/withdraw"): {"operator": 403, "other_sender": 404, "provider": 404},
        ("POST", "/approve"): {"sender": 403, "other_sender": 403, "provider": 403},
        ("POST", "/reject"): {"sender": 403, "other_sender": 403, "provider": 403},
    }
    for (method, path), answers in table.items():
        for who, status in {**answers, "carrier": 403, "regulator": 403}.items():
            answer = client.call(method, f"{CLAIMS}/{made.json['id']}{path}", {}, who=who)
            assert answer.status_code == status, (method, path, who)
    assert count_rows(world.registry) == rows
    listed = {
        who: len(client.get(CLAIMS, who=who).json["claims"])  # type: ignore[index]
        for who in ("sender", "operator", "other_sender", "provider")
    }
    assert listed == {"sender": 1, "operator": 1, "other_sender": 0, "provider": 0}


@on_sqlite
@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (OTHER_PORT, 409, "another organisation holds this number"),
        (OTHER_PORT + "1", 409, "part of one that another organisation holds"),
        (OTHER_PORT[:-1], 409, "longer number that begins with this one"),
        (SMS_PORT, 409, "holds this number already"),
        ("1069000ABCD", 422, "no telephone number has"),
        ("0101", 422, ""),
        ("138001380", 422, ""),
        ("95", 422, ""),
    ],
)
def test_claim_is_refused_at_once_when_the_number_is_taken_or_none(
    client: Client, world: World, number: str, status: int, said: str
) -> None:
    rows = count_rows(world.registry)
    answer = claim(client, number)
    assert answer.status_code == status
    assert said in answer.json["detail"]
    assert number not in answer.json["detail"]
    assert count_rows(world.registry) == rows


def test_claim_may_be_for_a_number_whose_holding_has_lapsed(
    client: Client, world: World, clock: Clock
) -> None:
    until = (clock.now + timedelta(days=1)).isoformat()
    assert step(client, claim(client, held_until=until), "approve").status_code == 200
    assert claim(client, who="other_sender").status_code == 409
    clock.pass_(days=1)
    second = claim(client, who="other_sender")
    assert step(client, second, "approve").status_code == 200
    late = claim(client, PORT[:-1] + "8", held_until=until)
    assert (late.status_code, late.json["errors"]) == (422, {"held_until": ["lies in the past"]})


@on_sqlite
def test_only_holders_claim_numbers(world: World, clock: Clock) -> None:
    carrier = world.do(
        lambda session: make_organisation(session, OrganisationKind.CARRIER, 99, clock.now)
    )
    with pytest.raises(RegistryError) as error:
        world.do(
            lambda session: senders.claim(
                session,
                carrier.id,
                parse_sending(PORT),
                senders.Holding((), ()),
                note=None,
                actor_id=None,
                now=clock.now,
            )
        )
    assert error.value.kind is Kind.CONFLICT


def test_claims_of_one_number_are_decided_one_by_one_when_decided_at_once(
    client: Client, world: World
) -> None:
    made = [claim(client, who=who).json["id"] for who in ("sender", "other_sender")]
    start = threading.Barrier(4)
    outcomes: list[Kind | None] = []

    def decide(claim_id: UUID, approve: bool) -> None:
        start.wait()
        try:
            with world.registry.database.write() as session:
                senders.decide_claim(
                    session,
                    claim_id,
                    approve=approve,
                    reason="No.",
                    actor_id=world.operator.id,
                    now=world.registry.clock(),
                )
            outcomes.append(None)
        except RegistryError as error:
            outcomes.append(error.kind)

    threads = [
        threading.Thread(target=decide, args=(UUID(one), approve))
        for one in made
        for approve in (True, False)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = world.do(lambda session: session.scalars(select(NumberClaim)).all())
    held = world.do(
        lambda session: session.scalars(
            select(SenderNumber).where(SenderNumber.number == PORT)
        ).all()
    )
    approved = [row for row in rows if row.state is ApplicationState.APPROVED]
    assert sorted(outcomes, key=str) == [None, None, Kind.CONFLICT, Kind.CONFLICT]
    assert len(held) == len(approved) <= 1
    assert [row.organisation_id for row in approved] == [row.organisation_id for row in held]


# Lists of who holds what


HEADER = "organisation,number,channels,usages,held_from,held_until"


def lines(world: World, *more: str) -> str:
    return "\r\n".join((HEADER, *(line.format(sender=world.sender.uscc) for line in more), ""))


def run(world: World, folder: Path, content: bytes) -> list[dict[str, str]]:
    """Import a list and return its report."""
    file, report = folder / "numbers.csv", StringIO()
    file.write_bytes(content)
    counts = number_lines.record(world.registry, file, report)
    rows = list(csv.DictReader(StringIO(report.getvalue())))
    assert sum(counts.values()) == len(rows)
    return rows


def test_list_of_holdings_is_recorded_line_by_line_and_again_without_effect(
    world: World, tmp_path: Path
) -> None:
    text = lines(
        world,
        "{sender},1069 0008 888,sms,commercial;service,2026-12-01,2027-12-31",
        '"{sender}",950 1234 5678,"sms, voice",public,,',
        f"{{sender}},{OTHER_PORT},sms,commercial,,",
        f"{make_uscc(88)},10691112222,sms,commercial,,",
        "911100000000000000,10691112222,sms,commercial,,",
        "{sender},=1+1,sms,commercial,,",
        "{sender},+8613800138000,fax,commercial,,",
        "{sender},10691112222,sms,commercial",
        "{sender},10693334444,sms,commercial,2027-02-30,",
        "{sender},10690008888,sms,commercial,2026-12-01,2027-12-31",
    )
    report = run(world, tmp_path, b"\xef\xbb\xbf" + text.encode())
    assert [row["outcome"] for row in report] == ["applied"] * 2 + ["rejected"] * 8
    assert [row["line"] for row in report] == [str(place) for place in range(2, 12)]
    assert [row["number"] for row in report][4:7] == ["10691112222", "'=1+1", "'+8613800138000"]
    problems = [row["problem"] for row in report[2:]]
    for problem, said in zip(
        problems,
        (
            "another organisation holds this number", "no organisation with this code",
            "uscc is no valid", "no telephone number", "channels: Must be one of",
            "4 cells", "held_from: Not a valid datetime", "on other terms",
        ),
        strict=True,
    ):  # fmt: skip
        assert said in problem
    held = world.do(lambda session: senders.holdings(session, world.sender.id))
    [row] = [row for row in held if row.number == "10690008888"]
    assert (row.commercial, row.service, row.public) == (True, True, False)
    assert str(row.held_until) == "2027-12-31 16:00:00+00:00"
    rows = count_rows(world.registry)
    again = run(world, tmp_path, text.replace("\r\n", "\n").encode("gb18030"))
    assert [row["outcome"] for row in again] == ["repeated"] * 2 + ["rejected"] * 8
    assert count_rows(world.registry) == rows


@on_sqlite
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("usages", "uses"), "no such column"),
        (lambda text: text.replace(",usages", ""), "no column usages"),
        (lambda text: "", "no column"),
        (lambda text: "\x00", "no such column"),
    ],
)
def test_list_that_lacks_a_column_is_refused_whole(
    world: World, tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    rows = count_rows(world.registry)
    text = change(lines(world, "{sender},10690008888,sms,commercial,,"))
    with pytest.raises(Exception, match=said):
        run(world, tmp_path, text.encode())
    assert count_rows(world.registry) == rows
