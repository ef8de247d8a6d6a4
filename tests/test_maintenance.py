"""The worker's upkeep: months of the audit on PostgreSQL, and what retention removes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, func, insert, select, text

from registry import audit, codes, lookup, maintenance, sessions, worker
from registry.lookup import Answer, Asker
from registry.models import (
    AskedNumber,
    CodePurpose,
    FamilyEnd,
    FamilyLink,
    InboundAction,
    InboundMessage,
    Lookup,
    Notice,
    OneTimeCode,
    OutboxItem,
    OutboxState,
    PortalSession,
    Purpose,
    SpentBudget,
)
from tests.factories import START, Clock, World, make_number, make_question


def answer_at(world: World, at: datetime) -> Answer:
    """Answer a question at a time and record it."""
    asker = Asker(world.carrier.id, world.carrier.kind)
    with world.registry.database.read() as connection:
        answer = lookup.answer(
            connection, asker, make_question(at=at), now=at, policy=world.registry.policy
        )
    world.do(lambda session: audit.write(session, [answer]))
    return answer


def months(world: World) -> dict[str, int]:
    """Return PostgreSQL's partitions of the audit with their numbers of rows."""
    names = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'lookups'::regclass"
    with world.registry.database.read() as connection:
        return {
            name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0
            for name in connection.scalars(text(names))
        }


@pytest.fixture(autouse=True)
def _without_months(world: World) -> None:
    """Begin with the default partition alone, as a fresh PostgreSQL does."""
    if on_postgresql(world):
        with world.registry.database.write() as session:
            for name in set(months(world)) - {"lookups_default"}:
                session.execute(text(f"DROP TABLE {name}"))


def on_postgresql(world: World) -> bool:
    return world.registry.database.dialect == "postgresql"


def test_upkeep_prepares_this_month_and_the_next_ones(world: World, clock: Clock) -> None:
    worker.upkeep(world.registry, clock.now)
    worker.upkeep(world.registry, clock.now)
    if on_postgresql(world):
        assert set(months(world)) == {
            "lookups_default", "lookups_202612", "lookups_202701", "lookups_202702",
        }  # fmt: skip
    answer_at(world, clock.now)
    with world.registry.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(Lookup)) == 1
    if on_postgresql(world):
        assert months(world)["lookups_202612"] == 1


def test_late_upkeep_moves_what_landed_in_the_default_partition(world: World, clock: Clock) -> None:
    before = answer_at(world, clock.now - timedelta(days=31))
    now = answer_at(world, clock.now)
    worker.upkeep(world.registry, clock.now)
    with world.registry.database.read() as connection:
        assert set(connection.scalars(select(Lookup.id))) == {before.id, now.id}
    if on_postgresql(world):
        found = months(world)
        assert found["lookups_default"] == 0
        assert (found["lookups_202610"], found["lookups_202611"]) == (1, 0)
        assert found["lookups_202612"] == 1


def test_upkeep_removes_lookups_after_the_months_of_the_policy(world: World, clock: Clock) -> None:
    kept = answer_at(world, datetime(2026, 7, 1, 4, tzinfo=UTC))
    answer_at(world, datetime(2026, 6, 30, 4, tzinfo=UTC))
    worker.upkeep(world.registry, clock.now)
    with world.registry.database.read() as connection:
        assert list(connection.scalars(select(Lookup.id))) == [kept.id]


def test_upkeep_forgets_budgets_of_past_days(world: World, clock: Clock) -> None:
    today = clock.now.date()
    for age in (0, 1, 2):
        day = today - timedelta(days=age)
        shared = {"organisation_id": world.sender.id, "day": day, "purpose": Purpose.LOOKUP}
        with world.registry.database.write() as session:
            session.add(AskedNumber(number=make_number(), **shared))
            session.add(SpentBudget(numbers=1, **shared))
    worker.upkeep(world.registry, clock.now)
    yesterday = today - timedelta(days=1)
    with world.registry.database.read() as connection:
        assert set(connection.scalars(select(AskedNumber.day))) == {today, yesterday}
        assert set(connection.scalars(select(SpentBudget.day))) == {today, yesterday}


# What the policy keeps no longer


def purge(world: World, clock: Clock) -> dict[str, int]:
    return maintenance.purge(world.registry.database, world.registry.policy.retention, clock.now)


def count(world: World, table: type) -> int:
    with world.registry.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_purge_removes_codes_after_two_days(world: World, clock: Clock) -> None:
    world.do(
        lambda session: codes.issue(
            session, make_number(), CodePurpose.SIGN_IN, address="192.0.2.1",
            limits=world.registry.policy.codes, clock=clock, region="CN",
        )
    )  # fmt: skip
    clock.pass_(days=2)
    assert purge(world, clock)["one_time_codes"] == 0
    clock.pass_(seconds=1)
    assert purge(world, clock)["one_time_codes"] == 1
    assert count(world, OneTimeCode) == 0


def test_purge_removes_sessions_a_day_after_their_end(world: World, clock: Clock) -> None:
    world.do(lambda session: sessions.start(session, make_number(), clock.now))
    clock.pass_(hours=12 + 24)
    assert purge(world, clock)["portal_sessions"] == 0
    clock.pass_(seconds=1)
    assert purge(world, clock)["portal_sessions"] == 1
    assert count(world, PortalSession) == 0


@pytest.mark.parametrize(
    ("agreed", "ended_after", "days"),
    [(False, None, 3), (False, 0, 2), (False, 5, 7), (True, None, None), (True, 1, None)],
)
def test_purge_removes_family_links_that_nobody_agreed_to(
    world: World, clock: Clock, agreed: bool, ended_after: int | None, days: int | None
) -> None:
    ended = None if ended_after is None else START + timedelta(days=ended_after)
    link = FamilyLink(
        carer=make_number(1), member=make_number(2), recorded_at=START,
        agreed_at=START if agreed else None,
        ended_at=ended, ended_by=ended and FamilyEnd.CARER,
    )  # fmt: skip
    world.do(lambda session: session.add(link))
    if days is not None:
        clock.pass_(days=days)
        assert purge(world, clock)["family_links"] == 0
        clock.pass_(seconds=1)
        assert purge(world, clock)["family_links"] == 1
        assert count(world, FamilyLink) == 0
    else:
        clock.pass_(days=4000)
        assert purge(world, clock)["family_links"] == 0
        assert count(world, FamilyLink) == 1


KEPT_FROM = datetime(2026, 7, 1, tzinfo=UTC)
"""Where five months begin that are kept in December, when the tests take place."""


def add_inbound(world: World, at: datetime, index: int) -> None:
    row = InboundMessage(
        carrier_id=world.carrier.id, message_digest=index.to_bytes(32), request_digest=bytes(32),
        number=make_number(), to_number="", received_at=at, recorded_at=at,
        action=InboundAction.IGNORED,
    )  # fmt: skip
    world.do(lambda session: session.add(row))


def test_purge_removes_sms_of_subscribers_with_the_records_of_traffic(
    world: World, clock: Clock
) -> None:
    add_inbound(world, KEPT_FROM, 1)
    add_inbound(world, KEPT_FROM - timedelta(seconds=1), 2)
    retention = replace(world.registry.policy.retention, traffic=5)
    removed = maintenance.purge(world.registry.database, retention, clock.now)
    assert removed["inbound_messages"] == 1
    assert count(world, InboundMessage) == 1


def add_outgoing(world: World, at: datetime, state: OutboxState, many: int = 1) -> None:
    row = {
        "notice": Notice.CONSENT_VOIDED, "number": make_number(), "subject_id": UUID(int=1),
        "recorded_at": at, "try_at": at, "state": state,
    }  # fmt: skip
    world.do(lambda session: session.execute(insert(OutboxItem), [row] * many))


def test_purge_removes_finished_sms_only(world: World, clock: Clock) -> None:
    retention = replace(world.registry.policy.retention, traffic=5)
    for state in OutboxState:
        add_outgoing(world, KEPT_FROM, state)
        add_outgoing(world, KEPT_FROM - timedelta(seconds=1), state)
    removed = maintenance.purge(world.registry.database, retention, clock.now)
    assert removed["outbox"] == 5
    with world.registry.database.read() as connection:
        old = select(OutboxItem.state).where(OutboxItem.recorded_at < KEPT_FROM)
        assert set(connection.scalars(old)) == {OutboxState.WAITING, OutboxState.SENDING}
    assert count(world, OutboxItem) == 9


def test_purge_removes_many_in_short_transactions(world: World, clock: Clock) -> None:
    many = 2 * maintenance.GROUP + 1
    add_outgoing(world, clock.now - timedelta(days=400), OutboxState.SENT, many)
    deletes: list[int] = []
    commits: list[int] = []
    engine = world.registry.database.writer

    def note(_c: object, _u: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE FROM outbox"):
            deletes.append(len(commits))

    event.listen(engine, "before_cursor_execute", note)
    event.listen(engine, "commit", commits.append)
    assert purge(world, clock)["outbox"] == many
    assert len(deletes) == len(set(deletes)) == 3


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_purge_finds_what_is_old_by_an_index(world: World, clock: Clock) -> None:
    seen: list[tuple[str, Any]] = []
    event.listen(
        world.registry.database.writer,
        "before_cursor_execute",
        lambda *args: seen.append((args[2], args[3])),
    )
    purge(world, clock)
    unindexed = ("DELETE FROM asked_numbers", "DELETE FROM spent_budgets")
    with world.registry.database.write() as session:
        for statement, parameters in seen:
            if statement.startswith("DELETE") and not statement.startswith(unindexed):
                plan = session.connection().exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}", parameters
                )
                assert not [step[3] for step in plan if step[3].startswith("SCAN")], statement


def test_upkeep_purges_after_the_lock_on_the_audit_is_gone(world: World, clock: Clock) -> None:
    order: list[str] = []
    engine = world.registry.database.writer
    event.listen(engine, "commit", lambda _: order.append("COMMIT"))
    event.listen(
        engine, "before_cursor_execute", lambda *args: order.append(args[2].split(" (")[0])
    )
    worker.upkeep(world.registry, clock.now)
    first = next(place for place, said in enumerate(order) if said.startswith("DELETE"))
    assert "COMMIT" in order[:first]
    if on_postgresql(world):
        locked = [place for place, said in enumerate(order) if said.startswith("LOCK TABLE")]
        assert max(locked) < order.index("COMMIT") < first
