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


SECOND = SENDER[:-1] + "2"
OWNERS = (
    "INSERT INTO organisations (id, kind, name, uscc, contact_phone, recorded_at)"
    " VALUES (:id, 'sender', 'S', :uscc, '4001234567', '2026-11-01')"
)
HOLDING = (
    "INSERT INTO sender_numbers (id, number, kind, organisation_id, sms, voice, commercial,"
    " service, public, held_from, held_until, released_at, recorded_at) VALUES (:id, :number,"
    " 'port', :holder, true, false, true, false, false, :first, :last, :released, :first)"
)
Held = tuple[str, str, int, int | None, int | None]


def fill_holdings(empty: Database, holdings: list[Held]) -> None:
    """Write holdings as (number, holder, first day, last day, day of release) of one month."""

    def at(day: int | None) -> str | None:
        return day and f"2026-11-{day:02} 00:00:00.000000"  # type: ignore[return-value]

    with empty.write() as session:
        for holder in (SENDER, SECOND):
            session.execute(text(OWNERS), {"id": holder, "uscc": holder[-18:]})
        for count, (number, holder, first, last, released) in enumerate(holdings):
            values = {"id": f"{count:032}", "number": number, "holder": holder}
            days = {"first": at(first), "last": at(last), "released": at(released)}
            session.execute(text(HOLDING), values | days)


LATER = ("10690002", SECOND, 20, None, None)
CLASHES: list[tuple[list[Held], list[str]]] = [
    ([("10690001", SENDER, 1, None, 9), ("10690001", SECOND, 8, None, None)], ["10690001"]),
    ([("10690001", SENDER, 1, 9, 8), ("10690001", SENDER, 2, 5, 7)], ["10690001"]),
    (
        # The longest lies beneath the third, which is as deep as the first: so it is as deep as
        # the second, with which it shares a week.
        [
            ("10690001", SENDER, 1, None, 10), ("106900011", SENDER, 5, None, 20),
            ("1069000111", SECOND, 20, None, None), ("10690001111", SECOND, 13, None, None),
        ],
        ["106900011", "10690001111"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("holdings", "named"), CLASHES)
def test_fourth_schema_names_holdings_that_share_a_number_at_a_time_and_changes_nothing(
    empty: Database, holdings: list[Held], named: list[str]
) -> None:
    database.upgrade(empty.url, "0003")
    fill_holdings(empty, [*holdings, LATER])
    with empty.read() as connection:
        before = set(inspect(connection).get_table_names())
    with pytest.raises(RuntimeError, match="end the older one before the newer") as refused:
        database.upgrade(empty.url)
    assert f"holdings of {', '.join(named)} share" in str(refused.value)
    with empty.read() as connection:
        assert database.revisions(connection)[0] == "0003"
        assert set(inspect(connection).get_table_names()) == before
    with empty.write() as session:
        session.execute(
            text("UPDATE sender_numbers SET released_at = held_from WHERE number = :number"),
            {"number": named[0]},
        )
    database.upgrade(empty.url)
    with empty.write() as session:  # Every row can still be changed.
        session.execute(text("UPDATE sender_numbers SET number = number"))


def test_fourth_schema_takes_holdings_that_share_a_number_at_no_time(empty: Database) -> None:
    database.upgrade(empty.url, "0003")
    fill_holdings(
        empty,
        [
            ("10690001", SENDER, 1, None, 9),
            ("10690001", SENDER, 12, None, 10),  # Released before it began.
            ("10690001", SENDER, 5, None, 5),  # Held for no time.
            ("10690001", SECOND, 9, None, None),
            ("106900011", SENDER, 7, None, None),  # Beneath two, one after the other.
            LATER,
        ],
    )
    database.upgrade(empty.url)
    found = rows(empty, "SELECT depth, count(*) FROM sender_numbers GROUP BY depth ORDER BY depth")
    assert found == [(0, 5), (1, 1)]


REQUEST = (
    "INSERT INTO consent_requests (id, number, sender_id, channel, topics, cap_count, cap_period,"
    " valid_for_days, notice_text, fingerprint, covered, event_id, recorded_at, answer_by)"
    " VALUES (:id, :number, :sender, 'sms', 'any', 1, 'day', 30, :number, :number, false, 1, :at,"
    " :at)"
)


def test_indexes_are_made_by_another_run_when_the_first_one_fails(empty: Database) -> None:
    """PostgreSQL leaves an index behind that has its name and refuses nothing."""
    database.upgrade(empty.url, "0005")
    values = {"sender": SENDER, "number": NUMBER, "at": "2026-11-01"}
    with empty.write() as session:
        session.execute(text(OWNERS), {"id": SENDER, "uscc": SENDER[-18:]})
        for request in (SENDER, SECOND):
            session.execute(text(REQUEST), values | {"id": request})
    for _ in range(2):
        with pytest.raises(IntegrityError):
            database.upgrade(empty.url)
    unusable = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    if empty.dialect == "postgresql":
        assert rows(empty, unusable) == [("uq_consent_requests_event_id",)]
    with empty.write() as session:
        session.execute(
            text("UPDATE consent_requests SET event_id = 2 WHERE id = :id"), {"id": SECOND}
        )
    database.upgrade(empty.url)
    if empty.dialect == "postgresql":
        assert rows(empty, unusable) == []
    with empty.read() as connection:
        unique = {
            index["name"]: index["unique"]
            for index in inspect(connection).get_indexes("consent_requests")
        }
    assert unique["uq_consent_requests_event_id"]
    with pytest.raises(IntegrityError), empty.write() as session:
        session.execute(text("UPDATE consent_requests SET event_id = 1"))
    command.downgrade(database.alembic_config(empty.url), "0005")
    with empty.read() as connection:
        left = {index["name"] for index in inspect(connection).get_indexes("consent_requests")}
    assert not left & {"uq_consent_requests_event_id", "uq_consent_requests_line_key"}
    database.upgrade(empty.url)


def test_registry_is_closed_to_another_number_key(empty: Database) -> None:
    database.upgrade(empty.url)
    other = NumberKey(bytes(32))
    with empty.write() as session:
        database.claim_key(session, KEY)
        database.claim_key(session, KEY)
        with pytest.raises(RegistryError, match="another number key"):
            database.claim_key(session, other)
