"""What the views of one number share: rows of today's tenure, and names of organisations."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, true
from sqlalchemy.orm import Session

from registry.models import (
    AskedNumber,
    Challenge,
    Complaint,
    ConsentRequest,
    Lookup,
    Organisation,
)
from registry.numbers import SubscriberNumber

PAGE = 50

T = TypeVar("T", Challenge, Complaint, ConsentRequest)


def of_tenure(
    table: type[T], number: SubscriberNumber, since: datetime | None, *where: ColumnElement[bool]
) -> Select[T]:
    """Select a table's rows of a number that were recorded in this tenure."""
    return select(table).where(
        table.number == number, true() if since is None else table.recorded_at >= since, *where
    )


def count(session: Session, query: Select[Any]) -> int:
    """Return how many rows a query has."""
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def own_rows(table: type[Any], number: SubscriberNumber, since: datetime | None) -> Select[Any]:
    """Select a table's rows of a number and of today's tenure, the newest first."""
    rows = select(table).where(table.number == number)
    if hasattr(table, "reassignment_id"):
        return rows.where(table.reassignment_id.is_(None)).order_by(table.recorded_at.desc())
    if table is AskedNumber:
        of_tenure = true() if since is None else table.day > since.date()
        return rows.where(of_tenure).order_by(table.day.desc())
    recorded_at = table.decided_at if table is Lookup else table.recorded_at
    of_tenure = true() if since is None else recorded_at >= since
    return rows.where(of_tenure).order_by(recorded_at.desc())


def read_id(text: object) -> UUID | None:
    """Return the id that stands in an event, None where none does."""
    return UUID(text) if isinstance(text, str) else None


def names_of(session: Session, ids: Iterable[UUID | None]) -> dict[UUID | None, str]:
    """Return the names of organisations by their ids; None has none."""
    wanted = {one for one in ids if one is not None}
    if not wanted:
        return {}
    query = select(Organisation.id, Organisation.name).where(Organisation.id.in_(wanted))
    return {row.id: row.name for row in session.execute(query)}
