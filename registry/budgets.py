"""Limits: requests a second, and distinct numbers a day that an organisation may name.

The lookup must not become a way to find out who exists: whoever asks about more numbers in a
day than its business needs is stopped. A number counts once a day however often it is named.
"""

from collections.abc import Sequence
from datetime import date
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from sqlalchemy import Date, Integer, LargeBinary, String, Uuid, bindparam, text
from sqlalchemy.orm import Session

from registry.errors import Kind, RegistryError
from registry.models import Purpose, number_key
from registry.numbers import SubscriberNumber


def network(address: str) -> str:
    """Return what one asker holds: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return parsed.ipv4_mapped.exploded if parsed.ipv4_mapped else parsed.exploded[:19]
    return parsed.exploded


class RequestLimiter:
    """Counts requests a second in this process, which is one of `processes` that share a limit."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def hit(self, who: str, per_second: int) -> None:
        """Count a request; raises `RATE_LIMITED` when there were too many."""
        share = RateLimitItemPerSecond(max(1, per_second // self._processes))
        if not self._limiter.hit(share, who):
            raise RegistryError(Kind.RATE_LIMITED, "too many requests a second", retry_after=1)


_NAME = text(
    # Python counts the rows of what begins with INSERT only, so its query comes within. The
    # order keeps two that name the same numbers at once from waiting for each other.
    """
    INSERT INTO asked_numbers (organisation_id, day, purpose, number)
    WITH RECURSIVE items (i, number) AS (
        SELECT 0, substr(:tokens, 1, 16)
        UNION ALL
        SELECT i + 1, substr(:tokens, 16 * i + 17, 16) FROM items WHERE i < :last
    )
    SELECT :organisation_id, :day, :purpose, number FROM items WHERE true
    ORDER BY number
    ON CONFLICT DO NOTHING
    """
).bindparams(
    bindparam("tokens", type_=LargeBinary),
    bindparam("last", type_=Integer),
    bindparam("organisation_id", type_=Uuid),
    bindparam("day", type_=Date),
    bindparam("purpose", type_=String),
)
_SPEND = text(
    """
    INSERT INTO spent_budgets (organisation_id, day, purpose, numbers)
    VALUES (:organisation_id, :day, :purpose, :numbers)
    ON CONFLICT (organisation_id, day, purpose)
    DO UPDATE SET numbers = spent_budgets.numbers + excluded.numbers
    RETURNING numbers
    """
).bindparams(
    bindparam("organisation_id", type_=Uuid),
    bindparam("day", type_=Date),
    bindparam("purpose", type_=String),
)


def spend(
    session: Session,
    organisation_id: UUID,
    purpose: Purpose,
    numbers: Sequence[SubscriberNumber],
    *,
    day: date,
    budget: int | None,
) -> None:
    """Count the numbers that are new today; raises `BUDGET_EXHAUSTED` when they are too many.

    The caller's transaction must then be rolled back. A budget of None is not checked: it is
    for numbers that an answer was already given for.
    """
    if not numbers:
        return
    who = {"organisation_id": organisation_id, "day": day, "purpose": purpose.value}
    connection = session.connection()
    tokens = number_key(connection.dialect).tokens(numbers)
    named = {**who, "tokens": tokens, "last": len(numbers) - 1}
    new = connection.execute(_NAME, named).rowcount
    if new == 0:
        return
    spent = connection.execute(_SPEND, {**who, "numbers": new}).scalar_one()
    if budget is not None and spent > budget:
        raise RegistryError(
            Kind.BUDGET_EXHAUSTED,
            "the day's budget of distinct numbers is used up; the operator can raise it",
            retry_after=3600,
        )
