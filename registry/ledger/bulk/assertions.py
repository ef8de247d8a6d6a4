"""Many assertions at once, each worth what it would be worth alone."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from registry.database import Clock, lock_numbers
from registry.ledger.bulk import rows
from registry.ledger.bulk.deciding import Group
from registry.ledger.bulk.facts import load
from registry.ledger.bulk.lines import LineResult, check_group, once
from registry.ledger.grants import Claim
from registry.models import Grant, number_key
from registry.numbers import split_tokens
from registry.policy import Policy

Line = tuple[bytes, Claim]


def assert_many(
    session: Session,
    lines: Sequence[Line],
    *,
    sender_id: UUID,
    policy: Policy,
    clock: Clock,
) -> list[LineResult]:
    """Record what a sender asserts, at most `GROUP` lines, as `ledger.grant` would one by one.

    The claims are as the API's schemas let them through; the caller has checked that the sender
    may assert. What a rule rejects is rejected, and the other lines are applied.
    """
    check_group(lines)
    if not lines:
        return []
    numbers = [claim.number for _, claim in lines]
    lock_numbers(session, numbers)
    now = clock()
    tokens = split_tokens(number_key(session.get_bind().dialect).tokens(numbers))

    def apply(known: dict[bytes, UUID]) -> list[LineResult]:
        new = {token for (key, _), token in zip(lines, tokens, strict=True) if key not in known}
        facts = load(session.connection(), new, sender_id, now) if new else {}
        group = Group(sender_id, policy, now, known, facts)
        results = [
            group.apply(key, claim, token)
            for (key, claim), token in zip(lines, tokens, strict=True)
        ]
        rows.write(session, group)
        return results

    return once(session, Grant, [key for key, _ in lines], apply)
