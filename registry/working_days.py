"""Working days of the Chinese calendar: holidays are none, make-up weekends are some (R22)."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from itertools import count, islice
from zoneinfo import ZoneInfo

from holidays import country_holidays

ZONE = ZoneInfo("Asia/Shanghai")
"""The clock by which a day begins."""


def day(at: datetime) -> date:
    """Return the day that it is in China at an instant."""
    return at.astimezone(ZONE).date()


def after(start: date, days: int) -> date:
    """Return the last of so many working days.

    The day of `start` does not count, whether it is a working day or not: the first one that
    counts is the next working day. Three days from a Friday, or from the Saturday after it, end
    on Wednesday.
    """
    return next(islice(_following(start), days - 1, None))


def _following(start: date) -> Iterator[date]:
    days = (start + timedelta(days=ahead) for ahead in count(1))
    return (it for it in days if it in _working_days(it.year))


def provisional(last: date) -> bool:
    """Tell whether a count up to `last` may yet change, and is by the holidays' usual dates.

    The State Council publishes each year's make-up days late in the year before. Those of
    January may lie in the last week of December.
    """
    return not (_published(last.year) and _published((last + timedelta(days=7)).year))


@cache
def _working_days(year: int) -> frozenset[date]:
    """Return a year's working days. They are kept as values, because the library's calendar
    fills itself while it is asked, which threads must not see half done."""
    calendar = country_holidays("CN", years=range(year - 1, year + 2))
    first = date(year, 1, 1)
    days = (first + timedelta(days=ahead) for ahead in range(366))
    return frozenset(it for it in days if it.year == year and calendar.is_working_day(it))


@cache
def _published(year: int) -> bool:
    """Tell whether the library knows a year's make-up days; no year has been without."""
    calendar = country_holidays("CN", years=year)
    return any(it.year == year for it in calendar.weekend_workdays)
