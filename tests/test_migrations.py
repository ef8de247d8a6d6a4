"""The schema: one head, no drift, and upgrades that keep data, on both databases."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError

from registry import database
from registry.database import Database
from registry.errors import RegistryError
from registry.models import Base
from registry.numbers import NumberKey
from tests.conftest import KEY

FIRST = "0001"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Lend a database in which nothing is yet."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'registry.db'}"
    else:
        url = request.getfixturevalue("new_postgresql")
    with closing(Database(url, KEY, patience=None)) as opened:
        yield opened


def test_migrations_have_one_head_with_four_digits() -> None:
    script = ScriptDirectory(str(database.MIGRATIONS))
    assert len(script.get_heads()) == 1
    assert all(revision.revision.isdigit() for revision in script.walk_revisions())
    assert {len(revision.revision) for revision in script.walk_revisions()} == {4}


def test_schema_is_what_the_models_say_when_upgraded(empty: Database) -> None:
    database.upgrade(empty.url)
    with empty.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
        assert _without_partitions(differences) == []
        assert _checks(connection) == _checks_of_models()
        assert _expression_indexes(connection) == {
            "uq_refusals_standing", "ix_evidence_needed_at",
        }  # fmt: skip
        current, newest = database.revisions(connection)
    assert current == newest


def test_everything_is_checked_on_the_newest_schema(empty: Database) -> None:
    unchecked = "SELECT conname FROM pg_constraint WHERE NOT convalidated ORDER BY conname"
    database.upgrade(empty.url, FIRST)
    fill_first(empty)
    database.upgrade(empty.url, "0002")
    if empty.dialect == "postgresql":
        assert rows(empty, unchecked) == [
            ("ck_outbox_notice_known",), ("ck_outbox_state_known",), ("ck_refusals_via_known",),
        ]  # fmt: skip
    database.upgrade(empty.url)
    if empty.dialect == "postgresql":
        assert rows(empty, unchecked) == []
    for statement in (
        "UPDATE outbox SET notice = 'rumour'",
        "UPDATE outbox SET state = 'lost'",
        "UPDATE refusals SET via = 'hearsay'",
    ):
        with pytest.raises(IntegrityError), empty.write() as session:
            session.execute(text(statement))
    command.downgrade(database.alembic_config(empty.url), FIRST)
    assert rows(empty, "SELECT via FROM refusals") == [("hotline",)]


def test_refusals_are_locked_for_no_reading_of_the_table(new_postgresql: URL) -> None:
    """What reads a table while it is locked takes the longer the larger the table is."""
    with closing(Database(new_postgresql, KEY, patience=None)) as empty:
        database.upgrade(empty.url, FIRST)
        fill_first(empty)
        scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'refusals'"
        flush = "SELECT pg_stat_force_next_flush()"
        rows(empty, flush)
        before = rows(empty, scans)
        database.upgrade(empty.url, "0002")
        rows(empty, flush)
        assert rows(empty, scans) == before


def _without_partitions(differences: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Leave out the audit's default partition, which PostgreSQL alone has and no model names."""
    return [
        difference
        for difference in differences
        if "lookups_default" not in str(getattr(difference[1], "table", difference[1]))
    ]


def _checks(connection: Connection) -> set[str]:
    inspector = inspect(connection)
    return {
        str(check["name"])
        for table in Base.metadata.tables
        for check in inspector.get_check_constraints(table)
    }


def _checks_of_models() -> set[str]:
    return {
        str(constraint.name)
        for table in Base.metadata.sorted_tables
        for constraint in table.constraints
        if str(constraint.name).startswith("ck_")
    }


def _expression_indexes(connection: Connection) -> set[str]:
    """Return the indexes over expressions, which Alembic's comparison passes over."""
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '%coalesce%'",
        "postgresql": "SELECT indexname FROM pg_indexes WHERE indexdef ILIKE '%coalesce%'",
    }[connection.dialect.name]
    return set(connection.scalars(text(query)))


def test_upgrade_from_the_first_release_keeps_data(empty: Database) -> None:
    database.upgrade(empty.url, FIRST)
    with empty.write() as session:
        session.execute(text("INSERT INTO registry_state (name, value) VALUES ('demo', 'yes')"))
    database.upgrade(empty.url)
    with empty.read() as connection:
        kept = connection.execute(text("SELECT name, value FROM registry_state")).all()
    assert [tuple(row) for row in kept] == [("demo", "yes")]


NUMBER, SENDER = b"0123456789abcdef", "00000000000000000000000000000001"
FIRST_ROWS = (
    "INSERT INTO organisations (id, kind, name, uscc, contact_phone, recorded_at)"
    " VALUES (:sender, 'sender', 'S', '911100000000000000', '4001234567', :at)",
    "INSERT INTO refusals (id, number, channel, topic, via, recorded_by, event_id, recorded_at)"
    " VALUES (:sender, :number, 'any', 'any', 'hotline', :sender, 1, :at)",
    "INSERT INTO outbox (id, notice, number, subject_id, recorded_at, sent_at)"
    " VALUES (:sender, 'refusal_lifted', :number, :sender, :at, NULL)",
    "INSERT INTO outbox (id, notice, number, subject_id, recorded_at, sent_at)"
    " VALUES (:other, 'consent_asserted', :number, :sender, :at, :at)",
)


def fill_first(empty: Database) -> None:
    """Write what the first release wrote: a refusal, a waiting and a sent notice."""
    values = {"sender": SENDER, "other": SENDER[:-1] + "2", "number": NUMBER, "at": "2026-11-01"}
    with empty.write() as session:
        for statement in FIRST_ROWS:
            session.execute(text(statement), values)


def rows(empty: Database, query: str) -> list[tuple[object, ...]]:
    with empty.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_second_schema_keeps_refusals_and_the_outbox_and_goes_back(empty: Database) -> None:
    database.upgrade(empty.url, FIRST)
    fill_first(empty)
    database.upgrade(empty.url, "0002")
    queued = (
        "SELECT notice, state, attempts, language, try_at = recorded_at FROM outbox ORDER BY id"
    )
    assert rows(empty, queued) == [
        ("refusal_lifted", "waiting", 0, "zh", True),
        ("consent_asserted", "sent", 0, "zh", True),
    ]
    assert len(rows(empty, "SELECT id FROM refusals WHERE recorded_by IS NOT NULL")) == 1
    command.downgrade(database.alembic_config(empty.url), FIRST)
    assert rows(empty, "SELECT count(*) FROM outbox") == [(2,)]
    assert rows(empty, "SELECT via FROM refusals") == [("hotline",)]
    database.upgrade(empty.url)
    assert rows(empty, "SELECT via FROM refusals") == [("hotline",)]


def test_first_code_goes_on_queueing_on_the_second_schema(empty: Database) -> None:
    database.upgrade(empty.url, "0002")
    fill_first(empty)
    assert rows(empty, "SELECT count(*) FROM outbox WHERE state = 'waiting'") == [(2,)]


def test_standing_refusals_stay_unique_on_the_second_schema(empty: Database) -> None:
    database.upgrade(empty.url, "0002")
    fill_first(empty)
    again = FIRST_ROWS[1].replace("(:sender, :number", "(:other, :number")
    values = {"sender": SENDER, "other": SENDER[:-1] + "2", "number": NUMBER, "at": "2026-11-01"}
    with pytest.raises(IntegrityError), empty.write() as session:
        session.execute(text(again), values)


def test_subscribers_own_refusal_keeps_the_second_schema(empty: Database) -> None:
    database.upgrade(empty.url, "0002")
    fill_first(empty)
    with empty.write() as session:
        session.execute(text("UPDATE refusals SET recorded_by = NULL"))
    with pytest.raises(RuntimeError, match="cannot be kept"):
        command.downgrade(database.alembic_config(empty.url), FIRST)


def test_downgrade_leaves_nothing_behind(empty: Database) -> None:
    database.upgrade(empty.url)
    command.downgrade(database.alembic_config(empty.url), "base")
    with empty.read() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}


def test_registry_is_closed_to_another_number_key(empty: Database) -> None:
    database.upgrade(empty.url)
    other = NumberKey(bytes(32))
    with empty.write() as session:
        database.claim_key(session, KEY)
        database.claim_key(session, KEY)
        with pytest.raises(RegistryError, match="another number key"):
            database.claim_key(session, other)
