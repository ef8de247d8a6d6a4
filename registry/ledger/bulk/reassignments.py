"""Many reassignments: one by one, since each may end rows of every table.

They are far fewer than consents and refusals; what a group shares is its transaction.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from registry.database import Clock, lock_numbers
from registry.errors import RegistryError
from registry.ledger import tenure
from registry.ledger.bulk.lines import LineResult, Outcome, check_group, once
from registry.models import Reassignment
from registry.numbers import SubscriberNumber

Line = tuple[bytes, SubscriberNumber, datetime]


def reassign_many(
    session: Session, lines: Sequence[Line], *, by_organisation_id: UUID, clock: Clock
) -> list[LineResult]:
    """Record reassignments that a carrier reports, at most `GROUP`, as `ledger.reassign` would."""
    check_group(lines)
    if not lines:
        return []
    lock_numbers(session, [number for _, number, _ in lines])
    now = clock()

    def apply(known: dict[bytes, UUID]) -> list[LineResult]:
        return [_apply(session, line, known, by_organisation_id, now) for line in lines]

    return once(session, Reassignment, [key for key, *_ in lines], apply)


def _apply(
    session: Session, line: Line, known: dict[bytes, UUID], recorded_by: UUID, now: datetime
) -> LineResult:
    key, number, reassigned_at = line
    if key in known:
        return LineResult(Outcome.REPEATED, None, known[key])
    try:
        made = tenure.reassign(
            session, number, reassigned_at, recorded_by=recorded_by, clock=lambda: now
        )
    except RegistryError as error:
        return LineResult(Outcome.REJECTED, error.detail, None)
    made.line_key = key
    session.flush()
    known[key] = made.id
    return LineResult(Outcome.APPLIED, None, made.id)
