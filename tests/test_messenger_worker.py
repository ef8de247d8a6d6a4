"""The worker's SMS: killed at the worst moment, two workers at once, slow gateways, a stop."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from registry import feed, policy, worker
from registry.config import Settings
from registry.database import utc_now
from registry.messenger import delivery
from registry.messenger.backends import Backend, Outcome, Unavailable
from registry.messenger.delivery import Lane
from registry.models import OutboxItem, OutboxState
from registry.runtime import Registry
from tests.factories import START, World, make_number
from tests.smpp_peer import SmppPeer
from tests.sms_factories import CODE, HOUSE, Scripted, make_lane, queue_code, queue_notice, row
from tests.sms_gateway import HttpGatewayPeer

ROOT = Path(__file__).parents[1]


AT_ANY_HOUR = (
    (policy.FOLDER / f"{policy.DEFAULT}.toml")
    .read_text("utf-8")
    .replace('start = "08:00"', 'start = "00:00"')
    .replace('end = "21:00"', 'end = "23:59:59.999999"')
)
"""A policy under which tests that go by the machine's clock send notices whenever they run."""


@pytest.fixture
def gateway() -> Iterator[HttpGatewayPeer]:
    with HttpGatewayPeer() as peer:
        yield peer


@pytest.fixture
def smsc() -> Iterator[SmppPeer]:
    with SmppPeer() as peer:
        yield peer


@contextmanager
def process(url: str, folder: Path, **settings: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `consent-registry worker` on a registry; it is killed in the end, if it still runs."""
    by_night = folder / "by_night.toml"
    if not by_night.exists():
        by_night.write_text(AT_ANY_HOUR, "utf-8")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")},
        "REGISTRY_DATA_DIR": str(folder),
        "REGISTRY_DATABASE_URL": url,
        "REGISTRY_NUMBER_KEY": bytes(range(32)).hex(),
        "REGISTRY_POLICY": str(by_night),
        "REGISTRY_PORTAL_URL": HOUSE.portal,
        "REGISTRY_SMS_NUMBER": HOUSE.number or "",
        **{f"REGISTRY_{name}": value for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "registry.cli", "worker"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def later(registry: Registry, minutes: int) -> Registry:
    """Return a registry whose clock is ahead by so much, to see what a later worker does."""
    return replace(registry, clock=lambda: utc_now() + timedelta(minutes=minutes))


def open_backend(gateway: HttpGatewayPeer, smsc: SmppPeer, kind: str) -> Backend:
    backend = delivery.open_backend(settings_of(gateway, smsc, kind), demo=False)
    assert backend is not None
    return backend


def settings_of(gateway: HttpGatewayPeer, smsc: SmppPeer, kind: str) -> Settings:
    return Settings(
        Path(),
        sms_url=gateway.url if kind == "http" else f"smpp://registry@127.0.0.1:{smsc.port}",
        sms_secret="secret",
        sms_number=HOUSE.number,
    )


def states(registry: Registry) -> Counter[OutboxState]:
    with registry.database.read() as connection:
        return Counter(connection.scalars(select(OutboxItem.state)))


def send_all(lane: Lane) -> None:
    while lane.step() is not None:
        pass


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    pause = threading.Event()
    for _ in range(600):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("it did not come")


@pytest.fixture
def world(world: World) -> World:
    """Let the world's messages be due for workers that go by the machine's clock."""
    world.registry.clock = lambda: utc_now() - timedelta(seconds=5)
    return world


@pytest.mark.parametrize("kind", ["http", "smpp"])
def test_killed_worker_loses_no_message_and_none_goes_out_twice(
    world: World,
    registry: Registry,
    url: str,
    tmp_path: Path,
    gateway: HttpGatewayPeer,
    smsc: SmppPeer,
    kind: str,
) -> None:
    notices = [queue_notice(world, make_number(index)) for index in range(12)]
    gateway.hold = smsc.hold = threading.Event()  # The peers take messages, and do not answer.
    settings = settings_of(gateway, smsc, kind)
    with process(url, tmp_path, SMS_URL=settings.sms_url or "", SMS_SECRET="secret") as killed:
        if kind == "http":
            gateway.wait_for(lambda peer: len(peer.requests) == 3)
        else:
            smsc.wait_for(lambda peer: len(peer.parts) == 1)
        wait_until(lambda: states(registry)[OutboxState.SENDING] == 3)
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
    assert states(registry) == {OutboxState.SENDING: 3, OutboxState.WAITING: 9}
    gateway.hold.set()

    with closing(open_backend(gateway, smsc, kind)) as backend:
        # Another worker leaves alone what the dead one had in hand, and sends the rest.
        send_all(make_lane(registry, backend))
        assert states(registry) == {OutboxState.SENDING: 3, OutboxState.SENT: 9}
        # Once it must be dead, its messages are repeated, or nobody can tell.
        for minutes in (3, 11):
            ahead = later(registry, minutes)
            with registry.database.write() as session:
                delivery.tidy(session, ahead.clock)
            send_all(make_lane(ahead, backend))
    expected = {make_number(index).e164.lstrip("+") for index in range(12)}
    if kind == "http":
        assert states(registry) == {OutboxState.SENT: 12}
        assert {to.lstrip("+") for to, _ in gateway.texts} == expected
        assert gateway.made.keys() == set(map(str, notices))
    else:
        assert states(registry) == {OutboxState.SENT: 9, OutboxState.UNCERTAIN: 3}
        # Whether or not the SMSC made something of them, no message was handed over twice.
        received = Counter(to for to, _ in smsc.messages())
        assert set(received.values()) == {1}
        assert 9 <= len(received) <= 12


def test_two_workers_at_once_send_every_message_once_and_stop_cleanly(
    world: World, registry: Registry, url: str, tmp_path: Path, gateway: HttpGatewayPeer
) -> None:
    for index in range(30):
        queue_notice(world, make_number(index))
    queue_code(world, make_number(99))
    with (
        process(url, tmp_path, SMS_URL=gateway.url) as first,
        process(url, tmp_path, SMS_URL=gateway.url) as second,
    ):
        gateway.wait_for(lambda peer: len(peer.made) == 31)
        for running in (first, second):
            running.send_signal(signal.SIGTERM)
        logs = [running.communicate(timeout=20)[1] for running in (first, second)]
        assert [running.returncode for running in (first, second)] == [0, 0]
    assert states(registry) == {OutboxState.SENT: 31}
    assert len(gateway.requests) == 31
    told = "".join(logs)
    assert CODE not in told
    assert "138000" not in told


def test_worker_that_is_stopped_finishes_what_it_has_in_hand(
    world: World, registry: Registry, url: str, tmp_path: Path, gateway: HttpGatewayPeer
) -> None:
    gateway.hold = threading.Event()
    item = queue_notice(world)
    with process(url, tmp_path, SMS_URL=gateway.url) as stopped:
        gateway.wait_for(lambda peer: len(peer.requests) == 1)
        stopped.send_signal(signal.SIGTERM)
        gateway.hold.set()
        stopped.wait(20)
        assert stopped.returncode == 0
    assert row(registry, item).state is OutboxState.SENT


@pytest.mark.parametrize("missing", ["SMS_URL", "PORTAL_URL"])
def test_worker_without_a_gateway_or_pages_says_so_once_and_does_everything_else(
    world: World, registry: Registry, url: str, tmp_path: Path, gateway: HttpGatewayPeer,
    missing: str,
) -> None:  # fmt: skip
    queue_notice(world)
    settings = {"SMS_URL": gateway.url, missing: ""}
    with process(url, tmp_path, **settings) as running:
        wait_until(lambda: is_sequenced(registry))
        running.send_signal(signal.SIGTERM)
        log = running.communicate(timeout=20)[1]
    lines = [json.loads(line)["message"] for line in log.splitlines()]
    assert lines.count(f"SMS wait in the outbox: REGISTRY_{missing} is not set") == 1
    assert states(registry) == {OutboxState.WAITING: 1}
    assert gateway.requests == []


def test_slow_gateway_holds_up_neither_the_sequencer_nor_codes(
    world: World, registry: Registry, url: str, tmp_path: Path, gateway: HttpGatewayPeer
) -> None:
    gateway.hold = threading.Event()
    for index in range(8):
        queue_notice(world, make_number(index))
    with process(url, tmp_path, SMS_URL=gateway.url):
        gateway.wait_for(lambda peer: len(peer.requests) == 3)
        world.refuse(make_number(77))
        wait_until(lambda: is_sequenced(registry))
        code = queue_code(world, make_number(99))
        gateway.wait_for(lambda peer: len(peer.requests) == 4)
        assert gateway.requests[3]["key"] == str(code)


def is_sequenced(registry: Registry) -> bool:
    with registry.database.read() as connection:
        return not feed.waiting(connection)


@pytest.mark.parametrize("demo", [False, True])
def test_lanes_send_notices_by_day_and_those_of_a_demo_at_once(
    registry: Registry, world: World, demo: bool
) -> None:
    queue_notice(world)
    night = START + timedelta(hours=11)
    with registry.database.write() as session:
        session.execute(update(OutboxItem).values(try_at=night))
    lane = worker._lane(
        replace(registry, clock=lambda: night, demo=demo), backend := Scripted(), urgent=False
    )
    lane.step()
    assert len(backend.sent) == demo


# The pace of one lane


class Deaf:
    """A lane whose gateway does what a test says."""

    urgent = False

    def __init__(self, *outcomes: Outcome | None) -> None:
        self.outcomes = list(outcomes)

    def step(self) -> Outcome | None:
        return self.outcomes.pop(0)


def test_pace_slows_down_while_a_gateway_takes_nothing() -> None:
    busy = [Unavailable("http_503")] * 8
    lane: Any = Deaf(*busy, Unavailable("http_429", 12), None, Unavailable("http_503"))
    pace = worker.Pace(lane)
    pauses = [pace.step() for _ in range(11)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert pauses[8:] == [30, 1, 1]


def test_pace_heeds_a_gateway_that_says_when_once_it_is_not_about_single_messages() -> None:
    lane: Any = Deaf(*[Unavailable("http_429", 12)] * 4)
    pace = worker.Pace(lane)
    assert [pace.step() for _ in range(4)] == [1, 2, 12, 12]


def test_job_that_fails_is_tried_again_and_logged_without_what_it_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stop, calls = threading.Event(), []

    def step() -> float:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("of 13987654321")
        stop.set()
        return 0.0

    worker.Job("a job", step).run(stop)
    assert len(calls) == 3
    assert "a job failed: ValueError" in caplog.text
    assert "13987654321" not in caplog.text
