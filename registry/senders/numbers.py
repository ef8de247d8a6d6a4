"""Number resources: who holds which sending number, for what, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry import events
from registry.consent import Channel, MessageClass
from registry.database import lock_holdings
from registry.errors import Kind, RegistryError
from registry.models import OrganisationKind, SenderNumber
from registry.numbers import SendingNumber
from registry.senders.organisations import find
from registry.senders.problems import flush, invalid

HOLDERS = {OrganisationKind.SENDER, OrganisationKind.PROVIDER}


@dataclass(frozen=True)
class Holding:
    """What a number resource may be used for, and when."""

    channels: tuple[Channel, ...]
    usages: tuple[MessageClass, ...]
    held_from: datetime | None = None
    held_until: datetime | None = None


def hold(
    session: Session,
    organisation_id: UUID,
    number: SendingNumber,
    holding: Holding,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> SenderNumber:
    """Record who holds a number resource, for which channels and usages (R12, R13).

    Nobody gets a number that another holds, nor one that begins with, or is the beginning of,
    a number of another: what is beneath a number belongs to its holder.
    """
    organisation = find(session, organisation_id)
    if organisation.kind not in HOLDERS:
        raise RegistryError(Kind.CONFLICT, "only senders and providers hold sending numbers")
    held_from = holding.held_from or now
    if holding.held_until is not None and holding.held_until <= held_from:
        raise invalid("held_until", "lies before held_from")
    lock_holdings(session)
    _release_lapsed(session, number, actor_id, now)
    if _in_the_way(session, organisation_id, number):
        raise RegistryError(Kind.CONFLICT, "this number is held, or part of one that is held")
    parent = _above(session, number)
    row = SenderNumber(
        id=uuid7(),
        number=number.text,
        kind=number.kind,
        holder=organisation,
        **{channel: channel in holding.channels for channel in Channel},
        **{usage: usage in holding.usages for usage in MessageClass},
        held_from=held_from,
        held_until=holding.held_until,
        recorded_at=now,
        parent=parent,
        depth=parent.depth + 1 if parent else 0,
    )
    _insert(session, row, _beneath(session, number))
    data = {
        "holding": row.id,
        "number": number.text,
        "holder": organisation_id,
        "channels": sorted(holding.channels),
        "usages": sorted(holding.usages),
        "held_from": held_from,
        "held_until": holding.held_until,
    }
    events.record(session, "sending_number_held", now, actor_id, data)
    return row


def _insert(session: Session, row: SenderNumber, beneath: Sequence[SenderNumber]) -> None:
    """Add a holding above its extensions, which go one deeper.

    Where there are some it comes in for no time at all until they have made room: no two of one
    depth may share a number.
    """
    if beneath:
        row.released_at = row.held_from
    session.add(row)
    flush(session, "this number is held")
    for extension in beneath:
        if extension.depth == row.depth:
            extension.parent = row
        extension.depth += 1
        flush(session, "this number is held")
    row.released_at = None
    flush(session, "this number is held")


def _above(session: Session, number: SendingNumber) -> SenderNumber | None:
    """Return the longest holding that a number lies beneath."""
    query = select(SenderNumber).where(
        SenderNumber.number.in_(number.holdings[1:]), SenderNumber.released_at.is_(None)
    )
    return max(session.scalars(query), key=lambda row: len(row.number), default=None)


def _beneath(session: Session, number: SendingNumber) -> Sequence[SenderNumber]:
    """Return the holdings that lie beneath a number, the deepest first."""
    if not number.extendable:
        return []
    query = select(SenderNumber).where(
        SenderNumber.number.startswith(number.text, autoescape=True),
        SenderNumber.number != number.text,
        SenderNumber.released_at.is_(None),
    )
    return session.scalars(query.order_by(SenderNumber.depth.desc())).all()


def _release_lapsed(
    session: Session, number: SendingNumber, actor_id: UUID | None, now: datetime
) -> None:
    """End the holding of exactly this number when its dates have passed."""
    row = _held(session, number.text)
    if row is not None and row.held_until is not None and row.held_until <= now:
        _release(session, row, row.held_until, actor_id, now)


def _in_the_way(session: Session, organisation_id: UUID, number: SendingNumber) -> bool:
    above_or_same = SenderNumber.number.in_(number.holdings)
    beneath = SenderNumber.number.startswith(number.text, autoescape=True)
    others = select(SenderNumber.id).where(
        SenderNumber.released_at.is_(None),
        or_(
            SenderNumber.number == number.text,
            (SenderNumber.organisation_id != organisation_id)
            & (or_(above_or_same, beneath) if number.extendable else above_or_same),
        ),
    )
    return session.scalar(others.limit(1)) is not None


def _held(session: Session, number: str) -> SenderNumber | None:
    return session.scalar(
        select(SenderNumber)
        .options(joinedload(SenderNumber.holder))
        .where(SenderNumber.number == number, SenderNumber.released_at.is_(None))
    )


def release(
    session: Session,
    organisation_id: UUID,
    number: SendingNumber,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> SenderNumber:
    """End an organisation's holding of a number."""
    row = _held(session, number.text)
    if row is None or row.organisation_id != organisation_id:
        raise RegistryError(Kind.NOT_FOUND, "this organisation does not hold this number")
    _release(session, row, now, actor_id, now)
    return row


def _release(
    session: Session,
    row: SenderNumber,
    released_at: datetime,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    row.released_at = released_at
    row.release_recorded_at = now
    data = {"holding": row.id, "number": row.number, "released_at": released_at}
    events.record(session, "sending_number_released", now, actor_id, data)
    session.flush()


def holder(session: Session, number: SendingNumber, at: datetime) -> SenderNumber:
    """Return the longest holding that covers a sending number at a time, with its holder."""
    rows = session.scalars(
        select(SenderNumber)
        .options(joinedload(SenderNumber.holder))
        .where(
            SenderNumber.number.in_(number.holdings),
            or_(SenderNumber.released_at.is_(None), SenderNumber.released_at > at),
            SenderNumber.held_from <= at,
            or_(SenderNumber.held_until.is_(None), SenderNumber.held_until > at),
        )
    ).all()
    if not rows:
        raise RegistryError(Kind.NOT_FOUND, "nobody holds this number")
    return max(rows, key=lambda row: len(row.number))


def holdings(session: Session, organisation_id: UUID) -> Sequence[SenderNumber]:
    """Return the numbers that an organisation holds."""
    return session.scalars(
        select(SenderNumber)
        .options(joinedload(SenderNumber.holder))
        .where(SenderNumber.organisation_id == organisation_id, SenderNumber.released_at.is_(None))
        .order_by(SenderNumber.number)
    ).all()
