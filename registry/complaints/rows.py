"""The rows of complaints: read whole, locked with their number, and paged by their events."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session, joinedload

from registry.database import lock_number
from registry.errors import Kind, RegistryError, not_found
from registry.models import Complaint

PAGE = 50


def select_complaints(*where: ColumnElement[bool]) -> Select[Complaint]:
    """Return the query of complaints with those whom they accuse."""
    both = joinedload(Complaint.sender), joinedload(Complaint.provider)
    return select(Complaint).options(*both).where(*where)


def page(
    session: Session, query: Select[Complaint], after: int | None, limit: int | None = None
) -> Sequence[Complaint]:
    """Return some of what a query finds, the newest first, behind the event `after`."""
    if after is not None:
        query = query.where(Complaint.event_id < after)
    return session.scalars(query.order_by(Complaint.event_id.desc()).limit(limit or PAGE)).all()


def existing(complaint: Complaint | None) -> Complaint:
    """Return a complaint that was found, or raise `NOT_FOUND`."""
    if complaint is None:
        raise not_found("complaint")
    return complaint


def locked(session: Session, complaint_id: UUID) -> Complaint:
    """Return a complaint as it is once nobody else can change it any more."""
    one = select_complaints(Complaint.id == complaint_id)
    lock_number(session, existing(session.scalar(one)).number)
    return existing(session.scalar(one.execution_options(populate_existing=True)))


def expect(condition: bool, otherwise: str) -> None:
    """Raise `CONFLICT` unless a complaint is as a step needs it."""
    if not condition:
        raise RegistryError(Kind.CONFLICT, f"this complaint {otherwise}")
