"""Who may do what: keys, scopes, suspension, other organisations' ids, limits and budgets."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import select

from registry import ledger
from registry.access import SCOPES
from registry.consent import Topic
from registry.errors import Kind
from registry.models import ApiKey, SpentBudget
from registry.runtime import Registry
from registry.schemas.problems import problem_type
from tests.factories import (
    OTHER_PORT,
    START,
    Client,
    Clock,
    World,
    complaint_body,
    consent_body,
    count_rows,
    dump,
    make_number,
    request_body,
)


def is_problem(answer: Any, status: int, kind: Kind) -> bool:
    return bool(answer.status_code == status and answer.json["type"] == problem_type(kind))


def scoped_routes(app: Flask) -> list[tuple[str, str, set[str]]]:
    """Return the method, an address and the scopes of every route that asks for a key."""
    found = []
    for rule in app.url_map.iter_rules():
        scopes = set(getattr(app.view_functions[rule.endpoint], "scopes", ["public"]))
        if scopes != {"public"}:
            path = re.sub(r"<uuid:\w+>", str(uuid4()), rule.rule).replace("<number>", "10690001")
            [method] = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            found.append((method, path, scopes))
    return found


# Keys


def make_key(client: Client, holder: str = "sender", **request: Any) -> dict[str, Any]:
    """Make a key of an organisation, as the operator does."""
    path = f"/v1/organisations/{getattr(client.world, holder).id}/keys"
    answer = client.post(path, {"scopes": ["lookup"], **request}, who="operator")
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json
    return made


def ask_with(client: Client, key: str | None) -> Any:
    return client.post("/v1/consents/search", {"number": "13800000000"}, key=key)


def test_routes_ask_for_a_key(client: Client, app: Flask) -> None:
    routes = scoped_routes(app)
    assert len(routes) > 20
    for method, path, _scopes in routes:
        answer = client.call(method, path, {})
        assert is_problem(answer, 401, Kind.UNAUTHENTICATED), path
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_keys_that_do_not_hold_are_told_apart_to_nobody(client: Client, clock: Clock) -> None:
    right = client.world.keys["sender"]
    identifier, secret = right.split(".")
    expired = make_key(client, scopes=["consent"], expires_at=(START + timedelta(1)).isoformat())
    revoked = make_key(client, scopes=["consent"])
    path = f"/v1/organisations/{client.world.sender.id}/keys/{revoked['id']}"
    assert ask_with(client, revoked["key"]).status_code == 200
    assert client.call("DELETE", path, who="operator").status_code == 204
    assert ask_with(client, expired["key"]).status_code == 200
    clock.pass_(days=1)
    wrong = [
        None, "", ".", "key", identifier, f"{identifier}.", f"{identifier}.{secret}x",
        f"{identifier}.{secret[:-1]}", f"{uuid4().hex}.{secret}", f"{secret}.{identifier}",
        client.world.keys["operator"].split(".")[0] + f".{secret}", f"é.{secret}",
        f"{identifier}.é", f"{right} {right}", "x" * 10_000, expired["key"], revoked["key"],
    ]  # fmt: skip
    answers = [ask_with(client, key) for key in wrong]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert ask_with(client, right).status_code == 200


@pytest.mark.parametrize("scheme", ["Basic", "Token", "", "Bearer\x0b"])
def test_key_is_read_from_a_bearer_only(client: Client, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {client.world.keys['sender']}"}
    answer = client.post("/v1/consents/search", {"number": "13800000000"}, headers=headers)
    assert answer.status_code == 401


def test_revoked_key_stays_revoked(client: Client) -> None:
    path = f"/v1/organisations/{client.world.sender.id}/keys/{make_key(client)['id']}"
    assert client.call("DELETE", path, who="operator").status_code == 204
    before = count_rows(client.world.registry)
    assert client.call("DELETE", path, who="operator").status_code == 204
    assert count_rows(client.world.registry) == before


def test_key_secret_is_nowhere_in_the_database(client: Client, registry: Registry) -> None:
    secret = make_key(client)["key"].partition(".")[2].encode()
    digest, taken = hashlib.sha256(secret).digest(), dump(registry)
    assert digest in taken or digest.hex().encode() in taken
    assert secret not in taken
    assert secret.hex().encode() not in taken


def test_last_use_of_a_key_is_remembered(
    client: Client, app: Flask, registry: Registry, clock: Clock
) -> None:
    used, unused = make_key(client), make_key(client)
    client.post("/v1/lookups", {}, key=used["key"])
    clock.pass_(minutes=5)
    client.post("/v1/lookups", {}, key=used["key"])
    app.extensions["recorder"].close()
    with registry.database.read() as connection:
        uses = {
            str(row.id): row.last_used_at
            for row in connection.execute(select(ApiKey.id, ApiKey.last_used_at))
        }
    assert (uses[used["id"]], uses[unused["id"]]) == (START + timedelta(minutes=5), None)


# Scopes


@pytest.mark.parametrize("who", ["operator", "sender", "carrier", "regulator"])
def test_routes_are_closed_to_keys_without_their_scope(
    client: Client, app: Flask, world: World, who: str
) -> None:
    before = count_rows(world.registry)
    closed = [
        (method, path)
        for method, path, scopes in scoped_routes(app)
        if not scopes & SCOPES[getattr(world, who).kind]
    ]
    assert len(closed) > 5
    for method, path in closed:
        assert is_problem(client.call(method, path, {}, who=who), 403, Kind.SCOPE_MISSING), path
    assert count_rows(world.registry) == before


def test_key_may_do_less_than_its_organisation(client: Client) -> None:
    key = make_key(client, scopes=["lookup"])["key"]
    assert client.post("/v1/lookups", {}, key=key).status_code == 422
    assert is_problem(client.post("/v1/consents", consent_body(), key=key), 403, Kind.SCOPE_MISSING)


# Suspension


def test_suspended_organisation_asks_and_reads_but_changes_nothing(
    client: Client, world: World, clock: Clock
) -> None:
    [consent] = client.consent().json["consents"]
    path = f"/v1/organisations/{world.sender.id}"
    shown = client.post(f"{path}/suspend", {"reason": "Complaints."}, who="operator")
    assert shown.json["suspended"] == {"reason": "Complaints.", "starts_at": "2026-12-01T02:00:00Z"}
    assert client.get(f"/v1/consents/{consent['id']}", who="sender").status_code == 200
    assert ask_with(client, world.keys["sender"]).status_code == 200
    before = count_rows(world.registry)
    for write, body in (
        ("/v1/consents", consent_body()),
        (f"/v1/consents/{consent['id']}/withdraw", {}),
    ):
        answer = client.post(write, body, who="sender")
        assert is_problem(answer, 403, Kind.ORGANISATION_SUSPENDED)
    assert count_rows(world.registry) == before
    assert client.lookup().json["reason"] == "sender_suspended"
    assert client.lookup(who="carrier").json["reason"] == "sender_suspended"
    clock.pass_(minutes=1)
    assert client.post(f"{path}/reinstate", who="operator").json["suspended"] is None
    assert client.lookup().json["reason"] == "consented"
    assert client.consent().status_code == 201


@pytest.mark.parametrize(
    ("path", "more"),
    [("refusals", {"via": "sms"}), ("reassignments", {"reassigned_at": START.isoformat()})],
)
def test_suspended_carrier_changes_nothing(
    client: Client, world: World, path: str, more: dict[str, str]
) -> None:
    suspend = f"/v1/organisations/{world.carrier.id}/suspend"
    client.post(suspend, {"reason": "Complaints."}, who="operator")
    before = count_rows(world.registry)
    answer = client.post(f"/v1/{path}", {"number": "13800000000", **more}, who="carrier")
    assert is_problem(answer, 403, Kind.ORGANISATION_SUSPENDED)
    assert count_rows(world.registry) == before


# Another organisation's ids


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [
        ("other_sender", "GET", "/v1/consents/{consent}"),
        ("other_sender", "POST", "/v1/consents/{consent}/withdraw"),
        ("other_sender", "GET", "/v1/consent-requests/{request}"),
        ("other_sender", "GET", "/v1/challenges/{challenge}"),
        ("other_sender", "POST", "/v1/challenges/{challenge}/evidence"),
        ("other_sender", "GET", "/v1/complaints/{complaint}"),
        ("other_sender", "POST", "/v1/complaints/{complaint}/answer"),
        ("other_carrier", "GET", "/v1/complaints/{complaint}"),
        ("other_carrier", "POST", "/v1/refusals/{refusal}/lift"),
        ("other_carrier", "POST", "/v1/reassignments/{reassignment}/cancel"),
        ("operator", "DELETE", "/v1/organisations/{other}/keys/{key}"),
        ("operator", "POST", "/v1/organisations/{other}/numbers/10690001234/release"),
    ],
)
def test_another_organisations_id_is_as_good_as_none(
    client: Client, world: World, who: str, method: str, path: str
) -> None:
    [consent] = world.grant()
    complaint = client.post("/v1/complaints", complaint_body(), who="carrier").json["id"]
    client.post(f"/v1/complaints/{complaint}/forward", {}, who="operator")
    ids = {
        "consent": consent.id,
        "request": world.ask(make_number(1)).id,
        "challenge": world.own(ledger.challenge, consent.id).id,
        "complaint": complaint,
        "refusal": world.refuse().id,
        "reassignment": world.reassign().id,
        "key": UUID(world.keys["sender"].partition(".")[0]),
        "other": world.other_sender.id,
    }
    before = count_rows(world.registry)
    body = {"text": "Mine."} if path.endswith(("/evidence", "/answer")) else {}
    foreign = client.call(method, path.format(**ids), body, who=who)
    unknown = client.call(method, path.format(**dict.fromkeys(ids, uuid4())), body, who=who)
    assert is_problem(foreign, 404, Kind.NOT_FOUND)
    assert foreign.json == unknown.json
    assert count_rows(world.registry) == before


def test_sender_neither_asks_nor_searches_for_another(client: Client, world: World) -> None:
    world.grant()
    asked = client.lookup(who="other_sender").json
    assert (asked["allowed"], asked["reason"]) == (False, "number_not_held")
    found = client.post("/v1/consents/search", {"number": "13800000000"}, who="other_sender")
    assert found.json == {"consents": [], "cursor": None}
    assert client.lookup(who="other_sender", **{"from": OTHER_PORT}).json["reason"] == "no_consent"


# Limits and budgets


def limit(client: Client, holder: str = "sender", **limits: int | None) -> Any:
    path = f"/v1/organisations/{getattr(client.world, holder).id}/limits"
    return client.post(path, limits, who="operator")


def test_limits_are_set_and_shown_and_null_restores_the_policys(client: Client) -> None:
    assert limit(client, requests_per_second=7).json["limits"] == {
        "requests_per_second": 7,
        "lookup_numbers_per_day": None,
        "assertion_numbers_per_day": None,
    }
    assert set(limit(client).json["limits"].values()) == {None}


def test_too_many_requests_of_one_organisation_are_turned_away(client: Client) -> None:
    limit(client, requests_per_second=1)
    answers = [client.lookup() for _ in range(20)]
    [turned_away, *_] = [answer for answer in answers if answer.status_code != 200]
    assert answers[0].status_code == 200
    assert is_problem(turned_away, 429, Kind.RATE_LIMITED)
    assert int(turned_away.headers["Retry-After"]) >= 1
    assert client.lookup(who="other_sender").status_code == 200


def test_too_many_requests_without_a_key_are_turned_away(
    client: Client, registry: Registry
) -> None:
    limits = replace(registry.policy.limits, public_requests_per_second=1)
    registry.policy = replace(registry.policy, limits=limits)
    answers = [client.get("/v1/numbers/10690001234") for _ in range(20)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 429)


TOPICS = cycle(Topic)
"""So that requests differ: the same one is not put twice."""
ASK: dict[str, tuple[str, str, Callable[[Client, str], Any]]] = {
    "single": ("sender", "lookup", lambda client, number: client.lookup(number)),
    "batch": ("sender", "lookup", lambda client, number: client.batch([number, "nonsense"])),
    "contact": (
        "carrier",
        "lookup",
        lambda client, number: client.lookup(number, who="carrier", contact=True),
    ),
    "assertion": ("sender", "assertion", lambda client, number: client.consent(number)),
    "request": (
        "sender",
        "assertion",
        lambda client, number: client.post(
            "/v1/consent-requests",
            request_body(number, topics=[next(TOPICS)], notice_text=uuid4().hex),
            who="sender",
        ),
    ),
}


@pytest.mark.parametrize("way", ASK)
def test_budget_of_distinct_numbers_ends_the_day_until_it_is_raised(
    client: Client, clock: Clock, way: str
) -> None:
    who, purpose, ask = ASK[way]
    limit(client, who, **{f"{purpose}_numbers_per_day": 2})
    for number in ("13800000001", "13800000002", "13800000001"):
        assert ask(client, number).status_code in (200, 201)
    before = count_rows(client.world.registry)
    refused = ask(client, "13800000003")
    assert is_problem(refused, 429, Kind.BUDGET_EXHAUSTED)
    assert int(refused.headers["Retry-After"]) >= 1
    after = count_rows(client.world.registry)
    # Audit rows of the lookups before may arrive in between.
    assert {**after, "lookups": 0} == {**before, "lookups": 0}
    assert ask(client, "13800000002").status_code in (200, 201)
    limit(client, who, **{f"{purpose}_numbers_per_day": 3})
    assert ask(client, "13800000003").status_code in (200, 201)
    assert ask(client, "13800000004").status_code == 429
    clock.pass_(days=1)
    assert ask(client, "13800000004").status_code in (200, 201)


def test_batch_beyond_the_budget_is_answered_for_no_number(client: Client) -> None:
    limit(client, lookup_numbers_per_day=2)
    before = count_rows(client.world.registry)
    answer = client.batch(["13800000001", "13800000002", "13800000003"])
    assert (answer.status_code, "verdicts" in answer.json) == (429, False)
    assert count_rows(client.world.registry) == before
    assert client.batch(["13800000001", "13800000002", "13800000001"]).status_code == 200


def test_budgets_of_lookups_and_assertions_are_apart(client: Client) -> None:
    limit(client, lookup_numbers_per_day=1, assertion_numbers_per_day=1)
    assert client.lookup("13800000001").status_code == 200
    assert client.consent("13800000002").status_code == 201
    assert client.lookup("13800000002").status_code == 429
    assert client.consent("13800000001").status_code == 429


def test_assertion_that_fails_spends_nothing(client: Client) -> None:
    limit(client, assertion_numbers_per_day=1)
    late = (START + timedelta(days=1)).isoformat()
    assert client.consent("13800000001", granted_at=late).status_code == 422
    assert client.consent("13800000002").status_code == 201


@pytest.mark.parametrize("way", ["single", "contact", "assertion"])
def test_numbers_far_from_the_budgets_end_are_counted_with_the_audit(
    client: Client, app: Flask, registry: Registry, way: str
) -> None:
    _who, purpose, ask = ASK[way]
    for number in ("13800000001", "13800000002", "13800000001"):
        ask(client, number)
    app.extensions["recorder"].close()
    with registry.database.read() as connection:
        spent = connection.execute(select(SpentBudget.purpose, SpentBudget.numbers)).all()
    assert [tuple(row) for row in spent] == [(purpose, 2)]
