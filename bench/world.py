"""The registry that is measured: some organisations, and millions of consents.

One consent and one refusal come from the use cases; the database copies them for all other
numbers, so every row is as the registry itself writes it.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Table,
    Uuid,
    column,
    insert,
    literal,
    select,
    table,
    text,
)
from uuid_utils.compat import uuid7

from registry import feed, senders
from registry.config import Settings
from registry.models import Consent, Evidence, Grant, Refusal
from registry.numbers import NumberKey, SubscriberNumber, split_tokens
from registry.runtime import Registry, initialise, open_registry
from tests.factories import World, make_world

CHUNK = 100_000
NUMBERS = 100_000_000
"""Of all mobile numbers that begin with 138, the first ones consented."""
UNLIMITED = senders.Limits(10**9, 10**12, 10**12)

_STAGED = table("staged", column("id", Uuid), column("number"))


def number(index: int) -> SubscriberNumber:
    """Return one of `NUMBERS` mobile numbers."""
    return SubscriberNumber(f"+86138{index:08d}")


def prepare(settings: Settings, consents: int) -> str:
    """Fill a new registry and return the key of the sender that has the consents.

    Another sender has a tenth as many, and every hundredth number refuses everything.
    """
    initialise(settings)
    opened = open_registry(settings, patience=None)
    with closing(opened.database):
        world = make_world(opened)
        with opened.database.write() as session:
            senders.limit(session, world.sender.id, UNLIMITED, actor_id=None, now=opened.clock())
        _fill(opened, world, consents)
        _finish(opened)
    return world.keys["sender"]


def _fill(opened: Registry, world: World, consents: int) -> None:
    """Copy a consent and a refusal of the number behind the last for all others."""
    pattern_number = number(NUMBERS - 1)
    [consent] = world.grant(pattern_number)
    refusal = world.refuse(pattern_number)
    with opened.database.write() as session:
        feed.sequence(session)
    ids = _ids()
    with _bulk(opened) as connection:
        for holder, count in ((world.sender, consents), (world.other_sender, consents // 10)):
            copies = (
                _copies(_table(Evidence), consent.grant.evidence_id),
                _copies(_table(Grant), consent.grant_id, evidence_id=_STAGED.c.id),
                _copies(
                    _table(Consent),
                    consent.id,
                    grant_id=_STAGED.c.id,
                    number=_STAGED.c.number,
                    sender_id=literal(holder.id),
                ),
            )
            _insert(connection, range(count), ids, opened.database.key, copies)
        refused = _copies(_table(Refusal), refusal.id, number=_STAGED.c.number)
        _insert(connection, range(0, consents, 100), ids, opened.database.key, (refused,))


@contextmanager
def _bulk(opened: Registry) -> Iterator[Connection]:
    """Lend a connection for many rows: indexes are made afterwards, references not checked."""
    indexes = sorted(_table(Consent).indexes, key=lambda index: str(index.name))
    postgresql = opened.database.dialect == "postgresql"
    with opened.database.writer.connect() as connection:
        for index in indexes:
            index.drop(connection)
        connection.execute(
            text("CREATE TEMPORARY TABLE staged AS SELECT id, number FROM consents WHERE false")
        )
        if postgresql:
            connection.execute(text("SET session_replication_role = replica"))
        yield connection
        for index in indexes:
            index.create(connection)
        if postgresql:
            connection.execute(text("RESET session_replication_role"))
        connection.commit()


def _insert(
    connection: Connection,
    indexes: range,
    ids: Iterator[str],
    key: NumberKey,
    copies: Sequence[Insert],
) -> None:
    for start in range(0, len(indexes), CHUNK):
        numbers = [number(index) for index in indexes[start : start + CHUNK]]
        tokens = split_tokens(key.tokens(numbers))
        connection.execute(text("DELETE FROM staged"))
        _stage(connection, [(next(ids), token) for token in tokens])
        for copy in copies:
            connection.execute(copy)
        connection.commit()


def _stage(connection: Connection, rows: list[tuple[str, bytes]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("INSERT INTO staged VALUES (?, ?)", rows)
        return
    driver: Any = connection.connection.driver_connection
    with driver.cursor().copy("COPY staged FROM STDIN") as copy:
        copy.write("".join([f"{row_id}\t\\\\x{token.hex()}\n" for row_id, token in rows]))


def _copies(of: Table, pattern_id: UUID, **changed: ColumnElement[Any]) -> Insert:
    """Return the statement that copies a row for every staged one, with other values in some."""
    pattern = of.alias("pattern")
    changed = {"id": _STAGED.c.id, **changed}
    names = [each.name for each in of.columns]
    values = [changed.get(name, pattern.columns[name]) for name in names]
    rows = select(*values).select_from(pattern.join(_STAGED, pattern.c.id == pattern_id))
    return insert(of).from_select(names, rows)


def _ids() -> Iterator[str]:
    """Yield ids that follow one another, in the form of a UUID of version 7."""
    beginning = uuid7().hex[:12] + "70008000"
    count = 0
    while True:
        yield f"{beginning}{count:012x}"
        count += 1


def _finish(opened: Registry) -> None:
    """Do at once what PostgreSQL does by itself in time; SQLite has no statistics unasked."""
    if opened.database.dialect == "postgresql":
        engine = opened.database.writer.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))


def _table(model: type[Any]) -> Table:
    found: Table = model.__table__
    return found
