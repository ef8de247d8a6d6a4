"""The worker's upkeep: months of the audit on PostgreSQL, and what retention removes."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from registry import audit, lookup, worker
from registry.lookup import Answer, Asker
from registry.models import AskedNumber, Lookup, Purpose, SpentBudget
from tests.factories import Clock, World, make_number, make_question


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
