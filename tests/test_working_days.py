"""Working days: against dates read from the State Council's notice for 2026 by hand."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import working_days


def days(text: str) -> list[date]:
    """Read days written as `10-08 10-09`, all of 2026."""
    return [date.fromisoformat(f"2026-{it}") for it in text.split()]


SPRING = days("02-12 02-13 02-14 02-24 02-25 02-26 02-27 02-28 03-02")
"""Around the Spring Festival: off from 15 to 23 February, at work on the Saturdays around it."""
NATIONAL_DAY = days("09-18 09-20 09-21 09-22 09-23 09-24 09-28 09-29 09-30 10-08 10-09 10-10 10-12")
"""Around National Day: off from 1 to 7 October and from 25 to 27 September (Mid-Autumn), at work
on Sunday 20 September and on Saturday 10 October."""


@pytest.mark.parametrize("run", [SPRING, NATIONAL_DAY])
def test_working_days_follow_each_other_around_the_long_holidays(run: list[date]) -> None:
    for start, following in pairwise(run):
        assert working_days.after(start, 1) == following
    assert working_days.after(run[0], len(run) - 1) == run[-1]


@pytest.mark.parametrize(
    ("start", "count", "last"),
    [
        ("2026-11-20", 3, "2026-11-25"),  # From a Friday,
        ("2026-11-21", 3, "2026-11-25"),  # or the Saturday
        ("2026-11-22", 3, "2026-11-25"),  # or the Sunday after it.
        ("2026-11-24", 15, "2026-12-15"),
        ("2026-09-30", 3, "2026-10-10"),  # The last of them is a Saturday at work.
        ("2026-10-03", 3, "2026-10-10"),  # Filed within the holiday: as on its eve.
        ("2026-10-10", 1, "2026-10-12"),  # Filed on a Saturday at work.
        ("2026-09-18", 1, "2026-09-20"),  # A Sunday at work.
        ("2026-09-15", 15, "2026-10-12"),
        ("2026-02-13", 3, "2026-02-25"),
        ("2026-02-14", 15, "2026-03-13"),
        ("2026-04-03", 1, "2026-04-07"),  # Tomb-Sweeping Day, a Sunday, is made up on Monday.
        ("2026-04-30", 3, "2026-05-08"),  # Labour Day: off from 1 to 5 May,
        ("2026-05-08", 1, "2026-05-09"),  # at work on Saturday the 9th.
        ("2026-06-18", 1, "2026-06-22"),  # Dragon Boat Festival, on a Friday.
        ("2025-12-31", 1, "2026-01-04"),  # New Year: at work on Sunday the 4th.
        ("2026-12-31", 1, "2027-01-04"),
        ("2026-12-24", 5, "2026-12-31"),
        ("2026-12-24", 6, "2027-01-04"),
        ("2011-12-30", 1, "2011-12-31"),  # A Saturday at work for the holiday of the next year.
    ],
)
def test_after_counts_from_the_next_working_day(start: str, count: int, last: str) -> None:
    assert working_days.after(date.fromisoformat(start), count) == date.fromisoformat(last)


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)), st.integers(1, 40), st.integers(1, 40))
def test_counts_add_up_and_never_go_back(start: date, first: int, second: int) -> None:
    middle = working_days.after(start, first)
    assert middle > start
    assert working_days.after(middle, second) == working_days.after(start, first + second)
    earlier = working_days.after(start - timedelta(days=1), first)
    assert earlier <= middle


def test_dates_are_provisional_until_their_make_up_days_are_published() -> None:
    known = max(year for year in range(2026, 2100) if working_days._published(year))
    assert not working_days.provisional(date(known, 2, 28))
    assert not working_days.provisional(date(known, 12, 24))
    # From here on, a day may be worked for the New Year that follows.
    assert working_days.provisional(date(known, 12, 25))
    assert working_days.provisional(date(known + 1, 1, 4))
    assert working_days.provisional(date(known + 1, 6, 15))


def test_day_begins_at_midnight_in_china() -> None:
    midnight = datetime(2026, 10, 8, 16, 0, tzinfo=UTC)
    assert working_days.day(midnight - timedelta(seconds=1)) == date(2026, 10, 8)
    assert working_days.day(midnight) == date(2026, 10, 9)


def test_threads_see_a_whole_year() -> None:
    working_days._working_days.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: working_days.after(date(2026, 9, 30), 3), range(64)))
    assert set(found) == {date(2026, 10, 10)}
