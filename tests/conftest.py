"""Fixtures: both databases, a registry with a clock of its own, and a world to ask about."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import make_transient_to_detached

from registry import create_app, database, policy
from registry.audit import Recorder
from registry.budgets import RequestLimiter
from registry.config import Settings
from registry.database import Database
from registry.models import Base, Organisation
from registry.numbers import NumberKey
from registry.receipts import Signer, create_key_file
from registry.runtime import Registry
from tests.factories import Client, Clock, World, make_world
from tests.postgres import PostgresServer

URL_VARIABLE = "REGISTRY_TEST_DATABASE_URL"
SERVER = pytest.StashKey[PostgresServer]()
KEY = NumberKey(bytes(range(32)))
EMPTYING = """
    DO $$ BEGIN {} ALTER SEQUENCE events_id_seq RESTART; END $$
""".format(
    # Most tables hold nothing, and of a few rows this takes a hundredth of the time of TRUNCATE.
    "".join(
        f"IF EXISTS (SELECT FROM {table.name}) THEN DELETE FROM {table.name}; END IF; "
        for table in reversed(Base.metadata.sorted_tables)
    )
)


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL once, before the test processes, unless one was given."""
    if hasattr(config, "workerinput") or os.environ.get(URL_VARIABLE):
        return
    server = config.stash[SERVER] = PostgresServer()
    server.start()
    os.environ[URL_VARIABLE] = server.url


def pytest_unconfigure(config: pytest.Config) -> None:
    server = config.stash.get(SERVER, None)
    if server is not None:
        server.remove()
        del os.environ[URL_VARIABLE]


def pytest_report_header(config: pytest.Config) -> str:
    """Say which PostgreSQL the tests use."""
    server = config.stash.get(SERVER, None)
    if server is not None:
        return f"PostgreSQL: {server.version}, started for these tests"
    given = make_url(os.environ[URL_VARIABLE])
    return f"PostgreSQL: {given.host}:{given.port}, from {URL_VARIABLE}"


class TemporaryDatabase:
    """A database that is dropped in the end."""

    def __init__(self) -> None:
        self.server = make_url(os.environ[URL_VARIABLE]).set(drivername="postgresql+psycopg")
        self.name = f"registry_test_{uuid4().hex}"

    def __enter__(self) -> URL:
        self._do(f"CREATE DATABASE {self.name}")
        return self.server.set(drivername="postgresql", database=self.name)

    def __exit__(self, *_: object) -> None:
        self._do(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _do(self, statement: str) -> None:
        engine = create_engine(self.server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


@pytest.fixture
def new_postgresql() -> Iterator[URL]:
    """Lend an empty PostgreSQL database to one test."""
    with TemporaryDatabase() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_postgresql() -> Iterator[URL]:
    """Lend a PostgreSQL database with the schema; tests empty its tables before they begin."""
    with TemporaryDatabase() as url:
        database.upgrade(url)
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lend a SQLite file with the schema, to be copied."""
    path = tmp_path_factory.mktemp("template") / "registry.db"
    database.upgrade(f"sqlite:///{path}")
    return path


@dataclass(frozen=True)
class Settled:
    """A SQLite file in which the world's organisations are registered, to be copied."""

    path: Path
    world: World

    def move(self, registry: Registry) -> World:
        """Return the world of a registry over a copy, with organisations of its own."""
        people = {
            part.name: _copy(getattr(self.world, part.name))
            for part in fields(World)
            if isinstance(getattr(self.world, part.name), Organisation)
        }
        moved = World(registry, **people)
        moved.keys |= self.world.keys
        return moved


def _copy(row: Organisation) -> Organisation:
    copy = Organisation(
        **{c.key: getattr(row, c.key) for c in Organisation.__mapper__.column_attrs}
    )
    make_transient_to_detached(copy)
    return copy


@pytest.fixture(scope="session")
def settled(migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory) -> Settled:
    """Lend a SQLite file with the world: to register it takes longer than many a test."""
    path = tmp_path_factory.mktemp("settled") / "registry.db"
    shutil.copy(migrated_sqlite, path)
    with closing(Database(f"sqlite:///{path}", KEY)) as opened:
        with opened.write() as session:
            database.claim_key(session, KEY)
        empty = Registry(Settings(path.parent), policy.load(), opened, None, False, Clock())
        return Settled(path, make_world(empty))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of an empty registry, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "registry.db"
        inhabited = "world" in request.fixturenames
        shutil.copy(
            request.getfixturevalue("settled").path
            if inhabited
            else request.getfixturevalue("migrated_sqlite"),
            path,
        )
        return f"sqlite:///{path}"
    address: URL = request.getfixturevalue("migrated_postgresql")
    engine = create_engine(address.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql(EMPTYING)
    engine.dispose()
    return address.render_as_string(hide_password=False)


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """Return an open, empty database."""
    opened = Database(url, KEY, pool_size=20)
    with closing(opened):
        with opened.write() as session:
            database.claim_key(session, KEY)
        yield opened


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands at 10:00 in China until it is told otherwise."""
    return Clock()


@dataclass
class Kept:
    """What all tests of a process share: making an app takes longer than most of them.

    Each test finds its own database, settings, policy and clock in the registry.
    """

    registry: Registry | None = None
    app: Flask | None = None


@pytest.fixture(scope="session")
def kept() -> Kept:
    return Kept()


@pytest.fixture
def registry(db: Database, clock: Clock, tmp_path: Path, kept: Kept) -> Registry:
    """Return a registry over the database, with generous limits and a signing key."""
    keys = tmp_path / "signing.json"
    create_key_file(keys)
    rules = policy.load()
    limits = replace(
        rules.limits, requests_per_second=1_000_000, public_requests_per_second=1_000_000
    )
    opened = Registry(
        settings=Settings(tmp_path, signing_key_file=keys, workers=1),
        policy=replace(rules, limits=limits),
        database=db,
        signer=Signer.load(keys),
        demo=False,
        clock=clock,
    )
    if kept.registry is None:
        kept.registry = opened
    vars(kept.registry).update(vars(opened))
    return kept.registry


@pytest.fixture
def world(request: pytest.FixtureRequest, registry: Registry) -> World:
    """Return organisations with sending numbers and keys: see factories.World."""
    with registry.database.read() as connection:
        there = connection.scalar(select(Organisation.id).limit(1)) is not None
    if there:
        settled: Settled = request.getfixturevalue("settled")
        return settled.move(registry)
    return make_world(registry)


@pytest.fixture
def app(registry: Registry, kept: Kept) -> Iterator[Flask]:
    """Return the web application, with counters and a writer of audits of its own."""
    if kept.app is None:
        kept.app = create_app(registry)
        kept.app.extensions["recorder"].close()
    recorder = Recorder(registry.database)
    recorder.start()
    kept.app.extensions.update(recorder=recorder, limiter=RequestLimiter(registry.settings.workers))
    yield kept.app
    recorder.close()


@pytest.fixture
def client(app: Flask, world: World) -> Client:
    """Return a client that speaks for the world's organisations."""
    return Client(app, world)
