"""The client library, against the real application."""

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from sqlalchemy import func, select

from registry import imports, worker
from registry.client import Client, ImportProgress, Kind, RegistryError
from registry.consent import Basis, Channel, MessageClass, Reason, Topic
from registry.models import Consent, ImportFormat, ImportKind, ImportState
from tests.factories import SERVICE_PORT, SMS_PORT, START, World, make_number
from tests.portal import on_sqlite

pytestmark = on_sqlite

NUMBER = make_number().e164
ASKED: dict[str, Any] = {"sending": SMS_PORT, "channel": Channel.SMS, "topic": Topic.RETAIL}
CLAIM: dict[str, Any] = {
    "channel": Channel.SMS,
    "topics": [Topic.RETAIL, Topic.TRAVEL],
    "granted_at": START - timedelta(days=1),
    "valid_until": START + timedelta(days=100),
    "cap": (2, "week"),
    "evidence": {"method": "web_form", "notice_text": "I agree to two offers a week."},
}


class Unsteady(httpx.BaseTransport):
    """A network that fails as told, before or after the registry has done what was asked."""

    def __init__(self, app: Flask) -> None:
        self.inner = httpx.WSGITransport(app=app)
        self.failures: list[Callable[[httpx.Response], httpx.Response]] = []
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = self.inner.handle_request(request)
        response.read()
        return self.failures.pop(0)(response) if self.failures else response


def lost(_response: httpx.Response) -> httpx.Response:
    raise httpx.ReadError("gone")


def kept(response: httpx.Response) -> httpx.Response:
    return response


def busy(_response: httpx.Response) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": "7"}, text="a proxy's own page")


def forged(response: httpx.Response) -> httpx.Response:
    body = {**response.json(), "allowed": True, "reason": "consented"}
    return httpx.Response(200, json=body)


def swapped(response: httpx.Response) -> httpx.Response:
    body = response.json()
    return httpx.Response(200, json={**body, "verdicts": body["verdicts"][::-1]})


def replayed(of: str) -> Callable[[httpx.Response], httpx.Response]:
    """Answer whatever was asked with an older answer."""
    return lambda _response: httpx.Response(200, content=of)


@pytest.fixture
def network(app: Flask) -> Unsteady:
    return Unsteady(app)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def client(network: Unsteady, world: World, waits: list[float]) -> Iterator[Client]:
    with Client(
        "https://registry.test", world.keys["sender"], transport=network, pause=waits.append
    ) as opened:
        yield opened


def consents(world: World) -> int:
    return world.do(lambda session: session.scalar(select(func.count(Consent.id))) or 0)


def test_lookup_says_what_the_registry_signed(client: Client, world: World) -> None:
    assert client.lookup(NUMBER, **ASKED).reason is Reason.NO_CONSENT
    world.grant()
    verdict = client.lookup("138-0000 0000", **ASKED)
    assert (verdict.to, verdict.allowed) == (NUMBER, True)
    assert verdict.valid_until == START + timedelta(minutes=10)
    forecast = client.lookup(NUMBER, **ASKED, at=START + timedelta(days=2))
    assert (forecast.allowed, forecast.valid_until) == (True, None)
    service = client.lookup(
        NUMBER, sending=SERVICE_PORT, channel=Channel.SMS, message_class=MessageClass.SERVICE
    )
    assert service.reason is Reason.CONSENT_NOT_REQUIRED


def test_batches_keep_the_order_and_place_what_is_no_number(client: Client, world: World) -> None:
    world.grant()
    answer = client.lookup_many([NUMBER, "nonsense", make_number(7).e164], **ASKED)
    reasons = [verdict.reason for verdict in answer.verdicts]
    assert reasons == [Reason.CONSENTED, Reason.INVALID_NUMBER, Reason.NO_CONSENT]
    everybody = client.lookup_all(iter([NUMBER] * 10_001), **ASKED)
    assert sum(verdict.allowed for verdict in everybody) == 10_001


def test_no_answer_is_believed_without_its_receipt(
    client: Client, network: Unsteady, world: World
) -> None:
    client.lookup(NUMBER, **ASKED)
    network.failures = [forged]
    with pytest.raises(RegistryError, match="does not prove"):
        client.lookup(NUMBER, **ASKED)
    world.grant()
    network.failures = [swapped]
    with pytest.raises(RegistryError, match="does not prove"):
        client.lookup_many([NUMBER, make_number(7).e164], **ASKED)
    old = network.inner.handle_request(network.requests[0]).read().decode()
    network.failures = [replayed(old)]
    with pytest.raises(RegistryError, match="does not prove"):
        client.lookup(NUMBER, **{**ASKED, "topic": Topic.TRAVEL})


def test_write_whose_answer_was_lost_is_done_once(
    client: Client, network: Unsteady, world: World, waits: list[float]
) -> None:
    network.failures = [lost, busy]
    made = client.assert_consent(NUMBER, **CLAIM)
    assert [one.topic for one in made] == [Topic.RETAIL, Topic.TRAVEL]
    assert {one.basis for one in made} == {Basis.ASSERTED}
    assert consents(world) == 2
    assert len({sent.headers["Idempotency-Key"] for sent in network.requests}) == 1
    assert len(waits) == 2
    assert waits[0] < 1
    assert waits[1] == 7


def test_registry_that_stays_away_is_given_up(
    client: Client, network: Unsteady, waits: list[float]
) -> None:
    network.failures = [lost] * 9
    with pytest.raises(RegistryError) as away:
        client.lookup(NUMBER, **ASKED)
    assert away.value.kind is Kind.UNAVAILABLE
    assert NUMBER not in str(away.value)
    assert len(network.requests) == 5
    assert waits == sorted(waits)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda one: one.assert_consent("12", **CLAIM), Kind.INVALID_NUMBER),
        (lambda one: one.assert_consent(NUMBER, **{**CLAIM, "cap": (0, "week")}), Kind.INVALID),
        (lambda one: one.call("GET", "/v1/organisations"), Kind.SCOPE_MISSING),
        (lambda one: one.call("GET", "/v1/nothing"), Kind.NOT_FOUND),
        (lambda one: one.call("DELETE", "/v1/lookups"), Kind.METHOD_NOT_ALLOWED),
    ],
)
def test_refusal_is_raised_in_the_registrys_words_and_not_tried_again(
    client: Client, network: Unsteady, call: Callable[[Client], object], kind: Kind
) -> None:
    with pytest.raises(RegistryError) as refused:
        call(client)
    assert refused.value.kind is kind
    assert len(network.requests) == 1


def test_wrong_key_is_told(network: Unsteady) -> None:
    stranger = Client("https://registry.test", "0.wrong", transport=network)
    with stranger, pytest.raises(RegistryError) as refused:
        stranger.lookup(NUMBER, **ASKED)
    assert refused.value.kind is Kind.UNAUTHENTICATED


def test_consent_is_found_withdrawn_and_asked_for_again(client: Client) -> None:
    client.assert_consent(NUMBER, **CLAIM)
    first, second = client.consents(NUMBER)
    assert client.withdraw(first.id).state == "withdrawn"
    assert {one.state for one in client.consents(NUMBER)} == {"withdrawn", "active"}
    terms: dict[str, Any] = {
        "channel": Channel.SMS,
        "topics": [Topic.GAMES],
        "cap": (1, "month"),
        "valid_for_days": 30,
        "notice_text": "May we write once a month about games?",
    }
    asked = client.request_consent(NUMBER, **terms)
    assert client.request(asked.id) == asked
    assert asked.state == "waiting"
    with pytest.raises(RegistryError) as again:
        client.request_consent(NUMBER, **terms)
    assert again.value.kind is Kind.CONFLICT
    assert second.number == NUMBER


def test_new_signing_key_is_fetched_once(client: Client, network: Unsteady) -> None:
    client.lookup(NUMBER, **ASKED)
    client._jwks = {"keys": []}
    client.lookup(NUMBER, **ASKED)
    client.lookup(NUMBER, **ASKED)
    fetched = [sent for sent in network.requests if sent.url.path.endswith("jwks.json")]
    assert len(fetched) == 2
    assert json.loads(network.requests[0].content)["to"] == NUMBER


ROWS = ["number,key"] + [f"{make_number(index).e164},line {index}" for index in range(5)]
DEFAULTS = {
    "channel": "sms",
    "topics": ["retail"],
    "granted_at": "2026-11-30T00:00:00Z",
    "valid_for_days": 100,
    "cap": {"count": 2, "period": "week"},
    "evidence": CLAIM["evidence"],
}


def test_file_is_sent_applied_and_reported_though_the_network_fails(
    client: Client, network: Unsteady, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "campaign.csv"
    path.write_text("\n".join([*ROWS, "12,short"]))
    seen: list[tuple[int, int]] = []
    network.failures = [lost, lost, kept, kept, lost]
    sent = client.start_import(
        path, ImportKind.CONSENTS, ImportFormat.CSV, defaults=DEFAULTS,
        sent=lambda place, size: seen.append((place, size)),
    )  # fmt: skip
    assert seen == [(path.stat().st_size, path.stat().st_size)]
    assert (sent.state, sent.size) == (ImportState.WAITING, path.stat().st_size)
    means = worker.import_means(world.registry)
    assert imports.run_next(means)
    looks: list[ImportProgress] = []
    ended = client.wait_for_import(sent.id, seen=looks.append)
    assert (ended.state, ended.lines, looks) == (ImportState.DONE, 6, [ended])
    assert {name: many for name, many in ended.counts.items() if many} == {
        "applied": 5, "rejected": 1
    }  # fmt: skip
    client.import_result(sent.id, tmp_path / "result.csv")
    result = (tmp_path / "result.csv").read_text()
    assert "line 4" in result
    assert NUMBER.removeprefix("+86") not in result
    assert client.lookup(NUMBER, **ASKED).allowed


def test_recording_is_kept_as_evidence(client: Client) -> None:
    content = b"%PDF-1.7 a form that somebody signed"
    kept = client.keep_evidence(content, "application/pdf", "Einwilligung \u540c\u610f.pdf")
    assert kept.sha256 == hashlib.sha256(content).hexdigest()
    assert kept == client.keep_evidence(content, "application/pdf", "again.pdf")
    assert (kept.size, kept.media_type) == (len(content), "application/pdf")
