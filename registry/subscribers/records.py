"""Who asked about a number, and everything that was recorded on it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, true, tuple_
from sqlalchemy.orm import Session

from registry.ledger import tenure_start
from registry.models import (
    Event,
    EventOpening,
    FamilyLink,
    Lookup,
)
from registry.numbers import SubscriberNumber
from registry.subscribers.own_consents import OwnConsent
from registry.subscribers.rows import PAGE, names_of, read_id


@dataclass(frozen=True)
class Asked:
    """A lookup of the number: who asked, for whom, and what the registry answered."""

    row: Lookup
    asker: str
    sender: str | None


Place = tuple[datetime, UUID, int]
"""Where a page of lookups ended."""


def lookups(
    session: Session, number: SubscriberNumber, after: Place | None = None, limit: int = PAGE
) -> list[Asked]:
    """Return some of who asked about the number, the newest first."""
    since = tenure_start(session, number)
    query = (
        select(Lookup)
        .where(Lookup.number == number, true() if since is None else Lookup.decided_at >= since)
        .order_by(Lookup.decided_at.desc(), Lookup.id.desc(), Lookup.item.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(Lookup.decided_at, Lookup.id, Lookup.item) < tuple_(*after))
    rows = session.scalars(query).all()
    names = names_of(session, (each for row in rows for each in (row.asker_id, row.sender_id)))
    return [Asked(row, names.get(row.asker_id, ""), names.get(row.sender_id)) for row in rows]


@dataclass(frozen=True)
class Happened:
    """One event of the number's log, with who acted, and the family link that it names."""

    event_id: int
    position: int | None
    kind: str
    at: datetime
    data: Mapping[str, Any]
    organisation: str | None
    family: FamilyLink | None
    sender: str | None


def history(
    session: Session, number: SubscriberNumber, before: int | None = None, limit: int = PAGE
) -> list[Happened]:
    """Return some of everything that was recorded on the number, the newest first."""
    since = tenure_start(session, number)
    query = (
        select(Event)
        .join(EventOpening, EventOpening.event_id == Event.id)
        .where(
            EventOpening.number == number,
            true() if since is None else Event.recorded_at >= since,
            true() if before is None else Event.id < before,
        )
        .order_by(Event.id.desc())
        .limit(limit)
    )
    return _happened(session, session.scalars(query))


_OF_A_CONSENT = (
    "consent_granted", "consent_withdrawn", "consent_challenged", "challenge_answered",
    "consent_voided", "reassignment_cancelled",
)  # fmt: skip


def consent_history(session: Session, own: OwnConsent) -> list[Happened]:
    """Return what was recorded on one consent, the oldest first.

    Every start and end of a row has the time of its event, which keeps the search small.
    """
    row, disputed = own.row, own.challenge
    times = {row.recorded_at, row.end_recorded_at}
    if disputed is not None:
        times |= {disputed.recorded_at, disputed.closed_at}
    query = (
        select(Event)
        .join(EventOpening, EventOpening.event_id == Event.id)
        .where(
            EventOpening.number == row.number,
            Event.recorded_at.in_(times - {None}),
            Event.kind.in_(_OF_A_CONSENT),
        )
        .order_by(Event.id)
    )
    ids = (str(row.id).encode(), str(row.grant_id).encode())
    events = session.scalars(query)
    return _happened(session, [each for each in events if any(one in each.payload for one in ids)])


def _happened(session: Session, events: Iterable[Event]) -> list[Happened]:
    rows = [(row, json.loads(row.payload)) for row in events]
    said = [data for _, data in rows]
    names = names_of(
        session, (read_id(data.get(one)) for data in said for one in ("actor", "sender"))
    )
    links = {read_id(data.get("family_link")) for data in said} - {None}
    families: dict[UUID | None, FamilyLink] = {
        link.id: link
        for link in session.scalars(select(FamilyLink).where(FamilyLink.id.in_(links)))
    }
    return [
        Happened(
            event_id=row.id,
            position=row.position,
            kind=row.kind,
            at=row.recorded_at,
            data=data,
            organisation=names.get(read_id(data.get("actor"))),
            family=families.get(read_id(data.get("family_link"))),
            sender=names.get(read_id(data.get("sender"))),
        )
        for row, data in rows
    ]
