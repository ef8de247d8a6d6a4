"""Connections and transactions on SQLite and PostgreSQL, and the version of the schema."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    bindparam,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from registry.errors import Kind, RegistryError
from registry.models import State, number_key
from registry.numbers import NumberKey, SubscriberNumber, split_tokens

Clock = Callable[[], datetime]
"""Returns the time, with zone. Edges pass it down; nothing else reads a clock."""

MIGRATIONS = Path(__file__).parents[1] / "migrations"
PATIENCE = 2
"""Seconds to wait for a connection, a lock or a statement before the answer is 503."""


def utc_now() -> datetime:
    """Return the time of the machine's clock."""
    return datetime.now(UTC)


class Database:
    """One registry's database: `read` is a fresh snapshot a statement, `write` a transaction.

    Readers are autocommit connections that cannot write. Writers on SQLite begin with
    BEGIN IMMEDIATE, or concurrent read-modify-writes would be lost without an error.
    """

    def __init__(
        self,
        url: str | URL,
        key: NumberKey,
        *,
        pool_size: int = 8,
        patience: int | None = PATIENCE,
        check: bool = False,
    ) -> None:
        """Prepare to connect; with `check`, to nothing that another number key wrote."""
        self.url = make_url(url)
        self.key = key
        self._checked = not check
        self.dialect = self.url.get_backend_name()
        make = {"sqlite": _sqlite_engine, "postgresql": _postgresql_engine}.get(self.dialect)
        if make is None:
            raise RegistryError(Kind.UNAVAILABLE, "the database is neither SQLite nor PostgreSQL")
        self.reader = make(self.url, pool_size, patience, False)
        self.writer = make(self.url, pool_size, patience, True)
        for engine in (self.reader, self.writer):
            engine.dialect.number_key = key  # type: ignore[attr-defined]

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Lend a connection on which every statement reads what was committed before it."""
        self.check()
        with self.reader.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Lend a session for reading, in which all statements see one state."""
        self.check()
        isolation = {} if self.dialect == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with Session(self.reader.execution_options(**isolation)) as session:
            if self.dialect == "sqlite":
                session.connection().exec_driver_sql("BEGIN")
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction; it is committed, durably, when the block ends without error."""
        self.check()
        with Session(self.writer, expire_on_commit=False) as session, session.begin():
            yield session

    def check(self) -> None:
        """Make sure, once, that the data was written with this number key."""
        if not self._checked:
            with self.reader.connect() as connection:
                check_key(state(connection, NUMBER_KEY_CHECK), self.key)
            self._checked = True

    def close(self) -> None:
        """Close all pooled connections."""
        self.reader.dispose()
        self.writer.dispose()

    def now(self) -> datetime | None:
        """Return the time of the database server's clock; SQLite has none of its own."""
        if self.dialect == "sqlite":
            return None
        with self.read() as connection:
            return connection.scalar(select(func.clock_timestamp()))


def _sqlite_engine(url: URL, pool_size: int, patience: int | None, writes: bool) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience or 30,
        hide_parameters=True,
        isolation_level=None if writes else "AUTOCOMMIT",
        connect_args={"isolation_level": None, "timeout": patience or 30},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # NORMAL may lose acknowledged commits when the power fails.
            "foreign_keys=ON",
            f"query_only={'OFF' if writes else 'ON'}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    if writes:

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            _begin_immediate(connection, patience or 30)

    return engine


def _begin_immediate(connection: Connection, patience: int) -> None:
    """Begin a transaction that may write, as soon as no other one does.

    SQLite itself waits by sleeping longer and longer, by which some of many writers starve;
    asking every millisecond is fairer.
    """
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout=0")
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            driver.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            time.sleep(0.001)
        else:
            break
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    driver.execute(f"PRAGMA busy_timeout={patience * 1000}")


def _postgresql_engine(url: URL, pool_size: int, patience: int | None, writes: bool) -> Engine:
    settings = ["timezone=UTC"]
    if patience:
        settings += [f"statement_timeout={patience}s", f"lock_timeout={patience}s"]
    if not writes:
        settings += ["default_transaction_read_only=on", "jit=off"]
    connect_args = {
        "connect_timeout": PATIENCE,
        "tcp_user_timeout": 1000 * PATIENCE,  # A network that swallows packets is down as well.
        "application_name": "consent-registry",
        "options": " ".join(f"-c {setting}" for setting in settings),
    }
    kinds: dict[str, Any] = (
        {} if writes else {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
    )
    return create_engine(
        url.set(drivername=_driver(url)),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=patience or 30,
        hide_parameters=True,
        connect_args=connect_args,
        **kinds,
    )


SEQUENCER_LOCK = (1, 0)
IDEMPOTENCY_LOCK = 2
PARTITION_LOCK = (3, 0)
HOLDINGS_LOCK = (4, 0)
CODES_LOCK = (5, 0)
FILES_LOCK = 6
_NUMBER_LOCK = select(func.pg_advisory_xact_lock(bindparam("lock", type_=BigInteger)))
_TRY_NUMBER_LOCK = select(func.pg_try_advisory_xact_lock(bindparam("lock", type_=BigInteger)))
_NUMBER_LOCKS = text("SELECT count(pg_advisory_xact_lock(lock)) FROM unnest(:locks) AS lock")
"""Takes them one after the other, in the order in which they are given."""


def lock_number(session: Session, number: SubscriberNumber) -> None:
    """Let no other transaction change what is recorded on this number until this one ends.

    On SQLite the writer's transaction is the lock already.
    """
    if session.get_bind().dialect.name == "postgresql":
        [lock] = _locks(session, [number])
        session.connection().execute(_NUMBER_LOCK, {"lock": lock})


def try_lock_number(session: Session, number: SubscriberNumber) -> bool:
    """Take a number's lock if nobody has it, and tell so, without ever waiting for it."""
    if session.get_bind().dialect.name != "postgresql":
        return True
    [lock] = _locks(session, [number])
    return bool(session.connection().scalar(_TRY_NUMBER_LOCK, {"lock": lock}))


def lock_numbers(session: Session, numbers: Iterable[SubscriberNumber]) -> None:
    """Lock several numbers, always in one order, so that two who do it never wait in a ring."""
    if session.get_bind().dialect.name == "postgresql":
        by_text = {number.e164: number for number in numbers}
        locks = _locks(session, [by_text[e164] for e164 in sorted(by_text)])
        session.connection().execute(_NUMBER_LOCKS, {"locks": locks})


def _locks(session: Session, numbers: Sequence[SubscriberNumber]) -> list[int]:
    tokens = split_tokens(number_key(session.get_bind().dialect).tokens(numbers))
    return [int.from_bytes(token[:8], signed=True) for token in tokens]


def lock_holdings(session: Session) -> None:
    """Let no other transaction change who holds which sending number until this one ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(*HOLDINGS_LOCK)))


def lock_codes(session: Session) -> None:
    """Let no other transaction count or send one-time codes until this one ends."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(*CODES_LOCK)))


def lock_file(session: Session, sha256: str) -> None:
    """Let nobody else add or remove what names a file, or the file, until this transaction ends.

    Files whose digests begin alike share a lock.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(FILES_LOCK, int(sha256[:7], 16))))


def upgrade(url: URL | str, revision: str = "head") -> None:
    """Bring the schema to a revision, by default to the newest."""
    command.upgrade(alembic_config(url), revision)


def revisions(connection: Connection) -> tuple[str | None, str | None]:
    """Return the schema's revision and the newest one that this code knows."""
    script = ScriptDirectory(str(MIGRATIONS))
    return MigrationContext.configure(connection).get_current_revision(), script.get_current_head()


def alembic_config(url: URL | str) -> Config:
    """Return what Alembic needs to work on a database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = make_url(url)
    return config


def has_schema(url: URL | str) -> bool:
    """Tell whether a registry was set up in this database before."""
    engine = create_engine(make_url(url).set(drivername=_driver(url)))
    with engine.connect() as connection:
        found = inspect(connection).has_table(State.__tablename__)
    engine.dispose()
    return found


def _driver(url: URL | str) -> str:
    backend = make_url(url).get_backend_name()
    return "postgresql+psycopg" if backend == "postgresql" else backend


NUMBER_KEY_CHECK = "number_key_check"


def state(connection: Connection, name: str) -> str | None:
    """Return what a registry remembers of itself under a name."""
    return connection.scalar(select(State.value).where(State.name == name))


def claim_key(session: Session, key: NumberKey) -> None:
    """Remember the number key that an empty registry is first written with, and check it."""
    known = session.get(State, NUMBER_KEY_CHECK)
    check_key(known.value if known else None, key)
    if known is None:
        session.add(State(name=NUMBER_KEY_CHECK, value=key.check_value))


def check_key(known: str | None, key: NumberKey) -> None:
    """Raise when a registry's data was written with another number key than this.

    Going on would make every number in it another number.
    """
    if known not in (None, key.check_value):
        raise RegistryError(
            Kind.UNAVAILABLE,
            "this registry was written with another number key; find that key",
        )
