"""Violations: what the registry established against organisations, as overseers are shown it."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select, true, tuple_
from sqlalchemy.orm import Session

from registry import events
from registry.database import Clock
from registry.ledger.consents import PAGE
from registry.models import Violation


def oversee_violations(
    session: Session,
    after: tuple[int, UUID] | None = None,
    *,
    overseer_id: UUID,
    clock: Clock,
) -> Sequence[Violation]:
    """Return a page of violations to a regulator or operator, the newest first.

    They name numbers, so the event that records the look says which violations were shown.
    """
    query = (
        select(Violation)
        .where(true() if after is None else tuple_(Violation.event_id, Violation.id) < after)
        .order_by(Violation.event_id.desc(), Violation.id.desc())
        .limit(PAGE)
    )
    shown = session.scalars(query).all()
    data = {"violations": [row.id for row in shown]}
    events.record(session, "violations_overseen", clock(), overseer_id, data)
    return shown
