"""Limits: distinct numbers a day, also when many ask at once, and requests a second."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date, timedelta

from sqlalchemy import func, select

from registry import budgets
from registry.budgets import RequestLimiter
from registry.database import Database
from registry.errors import Kind, RegistryError
from registry.models import AskedNumber, Organisation, Purpose, SpentBudget
from registry.numbers import SubscriberNumber
from tests.conftest import KEY
from tests.factories import START, World, make_number

TODAY = START.date()


def numbers(first: int, last: int) -> list[SubscriberNumber]:
    return [make_number(index) for index in range(first, last)]


def spend(
    world: World,
    named: Sequence[SubscriberNumber],
    *,
    by: Organisation | None = None,
    purpose: Purpose = Purpose.LOOKUP,
    day: date = TODAY,
    budget: int | None = 10,
    database: Database | None = None,
) -> bool:
    """Name numbers in a transaction of its own; tell whether the budget sufficed."""
    who = (by or world.sender).id
    try:
        with (database or world.registry.database).write() as session:
            budgets.spend(session, who, purpose, named, day=day, budget=budget)
    except RegistryError as error:
        if error.kind is not Kind.BUDGET_EXHAUSTED or not error.retry_after:
            raise
        return False
    return True


def spent(world: World) -> dict[date, int]:
    """Return what was spent each day, which is what is written down of the numbers."""
    named = select(AskedNumber.day, func.count()).group_by(AskedNumber.day)
    sums = select(SpentBudget.day, func.sum(SpentBudget.numbers)).group_by(SpentBudget.day)
    with world.registry.database.read() as connection:
        found = {day: int(total) for day, total in connection.execute(sums)}
        assert found == {row[0]: row[1] for row in connection.execute(named)}
    return found


def test_number_counts_once_a_day_however_often_it_is_named(world: World) -> None:
    assert spend(world, numbers(0, 5) * 2)
    assert spend(world, numbers(3, 8))
    assert spend(world, [])
    assert spent(world) == {TODAY: 8}


def test_budget_is_refused_whole_when_it_does_not_suffice(world: World) -> None:
    assert spend(world, numbers(0, 8))
    assert not spend(world, numbers(6, 11))
    assert spent(world) == {TODAY: 8}
    assert spend(world, numbers(6, 10))
    assert not spend(world, numbers(10, 11))
    assert spend(world, numbers(0, 10))
    assert spent(world) == {TODAY: 10}


def test_budgets_are_apart_for_days_purposes_and_organisations(world: World) -> None:
    tomorrow = TODAY + timedelta(days=1)
    for _ in range(2):
        assert spend(world, numbers(0, 10))
        assert spend(world, numbers(0, 10), day=tomorrow)
        assert spend(world, numbers(0, 10), purpose=Purpose.ASSERTION)
        assert spend(world, numbers(0, 10), by=world.other_sender)
    assert spent(world) == {TODAY: 30, tomorrow: 10}


def test_unchecked_numbers_are_counted_too(world: World) -> None:
    """They were answered already; what they used up is missing from what is asked next."""
    assert spend(world, numbers(0, 15), budget=None)
    assert not spend(world, numbers(15, 16))
    assert spend(world, numbers(0, 15))
    assert spent(world) == {TODAY: 15}


def test_budget_is_never_exceeded_when_many_name_numbers_at_once(world: World, url: str) -> None:
    """Twenty name ten numbers each, half of them with a neighbour; the budget is for fifty."""
    start = threading.Barrier(20)

    def name(whose: int) -> bool:
        start.wait()
        named = numbers(5 * whose, 5 * whose + 10)
        return spend(world, named, budget=50, database=patient)

    patient = Database(url, KEY, pool_size=20, patience=None)
    with closing(patient), ThreadPoolExecutor(20) as pool:
        sufficed = list(pool.map(name, range(20)))
    lucky = [5 * whose for whose in range(20) if sufficed[whose]]
    taken = {number for first in lucky for number in range(first, first + 10)}
    assert spent(world) == {TODAY: len(taken)}
    # Whoever was refused would have gone beyond the budget, so not even five are left of it.
    assert 40 < len(taken) <= 50


def test_batches_that_name_the_same_numbers_do_not_block_each_other(world: World, url: str) -> None:
    start = threading.Barrier(4)

    def name(whose: int) -> list[bool]:
        named = numbers(0, 2_000)[:: -1 if whose % 2 else 1]
        days = [TODAY + timedelta(days=day) for day in range(5)]
        start.wait()
        return [spend(world, named, budget=2_000, day=day, database=patient) for day in days]

    patient = Database(url, KEY, pool_size=4, patience=None)
    with closing(patient), ThreadPoolExecutor(4) as pool:
        assert all(map(all, pool.map(name, range(4))))
    assert set(spent(world).values()) == {2_000}


# Requests


def refused(limiter: RequestLimiter, who: str, per_second: int) -> int:
    """Hit a thousand times and return how many were refused."""
    times = 0
    for _ in range(1_000):
        try:
            limiter.hit(who, per_second)
        except RegistryError as error:
            if error.kind is not Kind.RATE_LIMITED or not error.retry_after:
                raise
            times += 1
    return times


def test_limiter_refuses_what_one_asks_too_fast() -> None:
    limiter = RequestLimiter(processes=1)
    assert refused(limiter, "one", per_second=10) > 0
    limiter.hit("other", per_second=10)
    assert refused(limiter, "other", per_second=10_000) == 0


def test_limiter_shares_a_limit_among_the_processes() -> None:
    assert refused(RequestLimiter(processes=1), "one", per_second=2_000) == 0
    assert refused(RequestLimiter(processes=1_000), "one", per_second=2_000) > 0


def test_limiter_lets_everybody_ask_something() -> None:
    RequestLimiter(processes=1_000).hit("one", per_second=1)
