"""Suspensions of organisations (R20)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events
from registry.errors import Kind, RegistryError
from registry.models import Organisation, Suspension
from registry.senders.organisations import find
from registry.senders.problems import flush


def suspension(session: Session, organisation_id: UUID) -> Suspension | None:
    """Return the suspension that stands, if one does."""
    return session.scalar(
        select(Suspension).where(
            Suspension.organisation_id == organisation_id, Suspension.ended_at.is_(None)
        )
    )


def suspend(
    session: Session, organisation_id: UUID, reason: str, *, actor_id: UUID | None, now: datetime
) -> Organisation:
    """Stop an organisation's contacts, of every class, and its writes (R20)."""
    organisation = find(session, organisation_id)
    row = Suspension(
        id=uuid7(),
        organisation_id=organisation.id,
        reason=reason,
        starts_at=now,
        recorded_at=now,
    )
    session.add(row)
    flush(session, "this organisation is suspended already")
    data = {"organisation": organisation.id, "suspension": row.id}
    events.record(session, "organisation_suspended", now, actor_id, data)
    return organisation


def reinstate(
    session: Session, organisation_id: UUID, *, actor_id: UUID | None, now: datetime
) -> Organisation:
    """End the suspension that stands."""
    organisation = find(session, organisation_id)
    row = suspension(session, organisation_id)
    if row is None:
        raise RegistryError(Kind.CONFLICT, "this organisation is not suspended")
    row.ended_at = row.end_recorded_at = now
    data = {"organisation": organisation.id, "suspension": row.id}
    events.record(session, "organisation_reinstated", now, actor_id, data)
    session.flush()
    return organisation
