"""Faults: what cannot be answered surely is an error in time, never a verdict; then it recovers.

The time of an answer is a promise here, so this is the one place where tests look at it.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import make_url, select
from sqlalchemy.engine import URL

from registry import create_app, database, lookup
from registry.config import Settings
from registry.database import lock_number
from registry.errors import Kind
from registry.lookup import Asker
from registry.models import Lookup
from registry.receipts import create_key_file
from registry.runtime import Registry, open_registry
from registry.schemas.problems import problem_type
from tests.factories import (
    Client,
    Clock,
    World,
    count_rows,
    make_number,
    make_question,
)
from tests.postgres import PostgresServer

SECONDS = 3
"""Within these a registry that cannot answer says so."""

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)

Ask = Callable[[Client], Any]
LOOKUPS: dict[str, Ask] = {
    "single": lambda client: client.lookup(),
    "batch": lambda client: client.batch(["13800000000", "13800000001"]),
    "contact": lambda client: client.lookup(who="carrier", contact=True),
}
WRITES: dict[str, Ask] = {
    "consent": lambda client: client.consent(),
    "refusal": lambda client: client.post(
        "/v1/refusals", {"number": "13800000000", "via": "sms"}, who="carrier"
    ),
    "limits": lambda client: client.post(
        f"/v1/organisations/{client.world.sender.id}/limits", {}, who="operator"
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Lend a PostgreSQL server that the tests of this module may stop."""
    started = PostgresServer()
    started.start()
    yield started
    started.remove()


@pytest.fixture(scope="module")
def migrated_postgresql(server: PostgresServer) -> URL:
    """Put the registries of this module on that server."""
    address = make_url(server.url)
    database.upgrade(address)
    return address


@contextmanager
def outage(server: PostgresServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


def works(answer: Any) -> bool:
    return answer.status_code in (200, 201)


def fails_in_time(client: Client, ask: Ask) -> None:
    """Ask, and check that the answer is an error that names a time to come back, and no verdict."""
    began = time.monotonic()
    answer = ask(client)
    elapsed = time.monotonic() - began
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert answer.json["type"] == problem_type(Kind.UNAVAILABLE)
    assert int(answer.headers["Retry-After"]) >= 1
    assert not {"allowed", "verdicts", "receipt"} & set(answer.json)
    assert elapsed < SECONDS


# The database


@on_postgresql
def test_lost_database_gives_errors_in_time_and_recovers(
    client: Client, server: PostgresServer
) -> None:
    asks = [*LOOKUPS.values(), *WRITES.values()]
    assert all(works(ask(client)) for ask in asks)
    with outage(server):
        for ask in asks:
            fails_in_time(client, ask)
    assert all(works(ask(client)) for ask in asks)


@on_postgresql
def test_lost_database_is_seen_by_readyz_and_not_by_healthz(
    client: Client, registry: Registry, clock: Clock, server: PostgresServer
) -> None:
    clock.now = registry.database.now() or clock.now
    assert client.get("/readyz").status_code == 200
    with outage(server):
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json is not None
        assert answer.json["problems"] == ["the database does not answer"]
        assert client.get("/healthz").status_code == 200
    clock.now = registry.database.now() or clock.now
    assert client.get("/readyz").status_code == 200


@on_postgresql
def test_registry_that_starts_without_its_database_answers_once_it_is_there(
    world: World, url: str, tmp_path: Path, clock: Clock, server: PostgresServer
) -> None:
    settings = settings_of(url, tmp_path)
    create_key_file(settings.signing_key_path)
    with ExitStack() as stack:
        with outage(server):
            client = stack.enter_context(started(settings, world, clock))
            fails_in_time(client, LOOKUPS["single"])
            assert client.get("/readyz").status_code == 503
        assert works(client.lookup())


@on_postgresql
def test_audits_that_could_not_be_written_are_written_after_the_outage(
    client: Client, app: Flask, registry: Registry, server: PostgresServer
) -> None:
    recorder = app.extensions["recorder"]
    recorder.close()  # From here on it writes when the test says so.
    asked = {client.lookup().json["id"] for _ in range(3)}
    with outage(server):
        fails_in_time(client, LOOKUPS["single"])
        recorder.flush()
    recorder.flush()
    with registry.database.read() as connection:
        written = [str(each) for each in connection.scalars(select(Lookup.id))]
    assert (set(written), len(written)) == (asked, 3)


def test_audits_are_written_once_when_the_answer_to_a_commit_got_lost(
    app: Flask, world: World, registry: Registry
) -> None:
    recorder = app.extensions["recorder"]
    recorder.close()
    asker = Asker(world.sender.id, world.sender.kind)
    with registry.database.read() as connection:
        answers = [
            lookup.answer(
                connection, asker, make_question(), now=registry.clock(), policy=registry.policy
            )
            for _ in range(2)
        ]
    recorder.add(answers[0])
    recorder.flush()
    # To the recorder a commit whose answer got lost is one that failed: it tries again.
    recorder.add(answers[0])
    recorder.add(answers[1])
    recorder.flush()
    assert count_rows(registry)["lookups"] == 2


@on_postgresql
def test_slow_statement_is_given_up_in_time(client: Client, registry: Registry) -> None:
    client.consent()
    before = count_rows(registry)
    with registry.database.write() as session:
        lock_number(session, make_number())
        for ask in (LOOKUPS["contact"], WRITES["consent"]):
            fails_in_time(client, ask)
        assert works(client.lookup())
        assert works(client.consent("13800000001"))
    assert count_rows(registry)["consents"] == before["consents"] + 1
    assert works(client.consent())


@pytest.mark.parametrize("pool", ["reader", "writer"])
def test_empty_pool_gives_errors_in_time(client: Client, registry: Registry, pool: str) -> None:
    engine = getattr(registry.database, pool)
    ask = LOOKUPS["single"] if pool == "reader" else WRITES["consent"]
    with ExitStack() as taken:
        for _ in range(engine.pool.size()):
            taken.enter_context(engine.connect())
        fails_in_time(client, ask)
    assert works(ask(client))


@on_sqlite
def test_locked_writer_stops_writes_and_no_single_lookup(
    client: Client, app: Flask, registry: Registry
) -> None:
    recorder = app.extensions["recorder"]
    recorder.close()
    path = registry.database.url.database or ""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for ask in (LOOKUPS["batch"], LOOKUPS["contact"], WRITES["consent"]):
            fails_in_time(client, ask)
        assert works(client.lookup())
        recorder.flush()
        assert count_rows(registry)["lookups"] == 0
        other.execute("ROLLBACK")
    recorder.flush()
    assert count_rows(registry)["lookups"] == 1
    assert all(works(ask(client)) for ask in (*LOOKUPS.values(), *WRITES.values()))


@on_sqlite
def test_full_disk_acknowledges_nothing_and_recovers(
    client: Client, app: Flask, registry: Registry
) -> None:
    app.extensions["recorder"].close()

    def pragma(text: str) -> int:
        with registry.database.write() as session:
            return int(session.connection().exec_driver_sql(f"PRAGMA {text}").scalar_one())

    evidence = {"method": "paper", "notice_text": "x" * 10_000}
    before = count_rows(registry)
    unlimited = pragma("max_page_count")
    pragma(f"max_page_count={pragma('page_count')}")
    fails_in_time(client, lambda client: client.consent(evidence=evidence))
    assert count_rows(registry) == before
    assert client.lookup().json["reason"] == "no_consent"
    pragma(f"max_page_count={unlimited}")
    assert works(client.consent(evidence=evidence))


# The signing key


def settings_of(url: str, folder: Path) -> Settings:
    return Settings(
        folder,
        database_url=url,
        number_key=bytes(range(32)).hex(),
        signing_key_file=folder / "other-signing.json",
        workers=1,
    )


@contextmanager
def started(settings: Settings, world: World, clock: Clock) -> Iterator[Client]:
    """Open the registry as its command does, and lend a client to it."""
    opened = open_registry(settings, clock)
    app = create_app(opened)
    with closing(opened.database):
        yield Client(app, world)
        app.extensions["recorder"].close()


@pytest.mark.parametrize(
    "content", [None, "", "no JSON", '{"keys": []}', '{"keys": [{"kty": "OKP"}]}']
)
def test_unreadable_signing_key_means_not_ready_and_no_verdict(
    world: World, url: str, tmp_path: Path, clock: Clock, content: str | None
) -> None:
    world.grant()
    settings = settings_of(url, tmp_path)
    if content is not None:
        settings.signing_key_path.write_text(content)
    before = count_rows(world.registry)
    with started(settings, world, clock) as client:
        for ask in LOOKUPS.values():
            fails_in_time(client, ask)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json is not None
        assert answer.json["problems"] == ["the signing key cannot be read"]
        assert client.get("/.well-known/jwks.json").status_code == 503
    assert count_rows(world.registry) == before
