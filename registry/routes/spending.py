"""Each organisation's daily budget of distinct numbers, as routes spend it."""

from collections.abc import Callable, Sequence

from flask import Response
from sqlalchemy.orm import Session

from registry import audit, budgets
from registry.models import Purpose
from registry.numbers import SubscriberNumber
from registry.routes.reading import Body
from registry.web import caller, commit, recorder, registry

NEAR_THE_END = 1000
"""Numbers left of a budget from which on each is counted before its request is answered."""


def near_the_end(purpose: Purpose) -> bool:
    """Tell whether so little of the day's budget is left that numbers are counted at once."""
    spent = caller().spent[purpose] + recorder().uncounted()
    return spent + NEAR_THE_END >= _budget(purpose)


def spend(session: Session, purpose: Purpose, numbers: Sequence[SubscriberNumber]) -> None:
    """Count numbers in a transaction, which fails when the day's budget is used up."""
    day = registry().clock().date()
    who = caller().organisation_id
    budgets.spend(session, who, purpose, numbers, day=day, budget=_budget(purpose))


def spend_later(purpose: Purpose, number: SubscriberNumber) -> None:
    """Have a number counted with the next group of audits."""
    day = registry().clock().date()
    recorder().name(audit.Named(caller().organisation_id, purpose, day, number))


def commit_counted(
    purpose: Purpose,
    number: SubscriberNumber,
    act: Callable[[Session], Body],
    status: int = 200,
) -> Response:
    """Commit an act that names a number, which counts unless the act fails."""
    at_once = near_the_end(purpose)

    def counted(session: Session) -> Body:
        done = act(session)
        if at_once:  # After the number's lock, as imports do: nobody waits in a ring.
            spend(session, purpose, [number])
        return done

    response = commit(counted, status)
    spend_later(purpose, number)
    return response


def _budget(purpose: Purpose) -> int:
    _per_second, daily = caller().limits(registry().policy.limits)
    return daily[purpose]
