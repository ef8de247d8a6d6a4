"""Number resources: who holds which sending number, for what, and when (R12, R13)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from registry.consent import Channel, MessageClass
from registry.database import lock_holdings
from registry.errors import Kind, RegistryError, conflict, invalid
from registry.models import Organisation, SenderNumber
from registry.numbers import SendingNumber
from registry.senders import tree
from registry.senders.organisations import HOLDERS, PAGE, check_uscc, find


@dataclass(frozen=True)
class Holding:
    """What a number resource may be used for, and when."""

    channels: tuple[Channel, ...]
    usages: tuple[MessageClass, ...]
    held_from: datetime | None = None
    held_until: datetime | None = None

    @property
    def words(self) -> set[Channel | MessageClass]:
        """All that the number may be used for."""
        return {*self.channels, *self.usages}

    def dates(self, parent: SenderNumber | None, now: datetime) -> tuple[datetime, datetime | None]:
        """Return from when until when it is held: now and for good unless it says otherwise.

        An extension is held within the time of the number that it is part of.
        """
        first, last = self.held_from or now, self.held_until
        if parent is not None:
            first = self.held_from or max(now, parent.held_from)
            last = last or parent.held_until
            if first < parent.held_from:
                raise invalid("held_from", "lies before that of the number it is part of")
            if parent.held_until is not None and last is not None and last > parent.held_until:
                raise invalid("held_until", "lies after that of the number it is part of")
        if last is not None and last <= first:
            raise invalid("held_until", "lies before held_from")
        return first, last


@dataclass(frozen=True)
class Resolved:
    """Whose a sending number is, and, where it is part of a provider's port, whose that is."""

    holding: SenderNumber
    provider: Organisation | None


def hold(
    session: Session,
    organisation_id: UUID,
    number: SendingNumber,
    holding: Holding,
    *,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> SenderNumber:
    """Record who holds a number resource, for which channels and usages (R12, R13).

    Nobody gets a number that another holds, nor one that begins with, or is the beginning of,
    a number of another: what is beneath a number belongs to its holder.
    """
    organisation = find(session, organisation_id)
    check_holder(organisation)
    lock_holdings(session)
    tree.release_lapsed(session, number, actor_id, now)
    above = tree.check_free(session, organisation_id, number, now)
    parent = above[0] if above else None
    dates = holding.dates(parent, now)
    row = tree.make(number, organisation, holding.words, dates, parent, now)
    return tree.insert(session, row, tree.beneath(session, number), actor_id, now, member_id)


def hold_once(
    session: Session,
    uscc: str,
    number: SendingNumber,
    holding: Holding,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> tuple[SenderNumber, bool]:
    """Record a line of a list of who holds what; a line that was recorded before changes nothing.

    Returns the holding, and whether it is new. A number that the same organisation holds on other
    terms is a `CONFLICT`: terms change only by a release.
    """
    code = check_uscc(uscc)
    organisation = session.scalar(select(Organisation).where(Organisation.uscc == code))
    if organisation is None:
        raise conflict("no organisation with this code is registered")
    lock_holdings(session)
    row = tree.same(session, number)
    if row is None or row.organisation_id != organisation.id or not _stands(row, now):
        held = hold(session, organisation.id, number, holding, actor_id=actor_id, now=now)
        return held, True
    if not _on_these_terms(row, holding):
        raise conflict("this organisation holds this number already, on other terms")
    return row, False


def _stands(row: SenderNumber, now: datetime) -> bool:
    return row.held_until is None or row.held_until > now


def _on_these_terms(row: SenderNumber, holding: Holding) -> bool:
    """Compare a holding with what a line says; of dates that it leaves open any will do."""
    dates = (holding.held_from, row.held_from), (holding.held_until, row.held_until)
    return {*tree.channels(row), *tree.usages(row)} == holding.words and all(
        said in (None, held) for said, held in dates
    )


def check_holder(organisation: Organisation) -> None:
    """Raise when an organisation is of a kind that holds no numbers."""
    if organisation.kind not in HOLDERS:
        raise conflict("only senders and providers hold sending numbers")


def release(
    session: Session,
    organisation_id: UUID,
    number: SendingNumber,
    *,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> SenderNumber:
    """End an organisation's holding of a number, and of all that lies beneath that."""
    lock_holdings(session)
    row = tree.same(session, number)
    if row is None or row.organisation_id != organisation_id:
        raise RegistryError(Kind.NOT_FOUND, "this organisation does not hold this number")
    tree.release(session, row, actor_id, now, member_id=member_id)
    return row


def release_own(
    session: Session,
    organisation_id: UUID,
    number: SendingNumber,
    *,
    now: datetime,
    member_id: UUID | None = None,
) -> SenderNumber:
    """End a holding as its holder, or as the provider of whose port it is an extension."""
    lock_holdings(session)
    row = tree.same(session, number)
    over = tree.above(session, number) if row else []
    if row is None or organisation_id not in {one.organisation_id for one in (row, *over)}:
        raise RegistryError(Kind.NOT_FOUND, "this organisation does not hold this number")
    tree.release(session, row, organisation_id, now, member_id=member_id)
    return row


def resolve(session: Session, number: SendingNumber, at: datetime) -> Resolved:
    """Return whose a sending number is at a time: the longest holding that covers it then."""
    rows = session.scalars(
        tree.of(
            SenderNumber.number.in_(number.holdings),
            or_(SenderNumber.released_at.is_(None), SenderNumber.released_at > at),
            SenderNumber.held_from <= at,
            or_(SenderNumber.held_until.is_(None), SenderNumber.held_until > at),
        )
    ).all()
    if not rows:
        raise RegistryError(Kind.NOT_FOUND, "nobody holds this number")
    holding = max(rows, key=lambda row: len(row.number))
    return Resolved(holding, tree.ports(session, [holding]).get(holding.id))


def holder(session: Session, number: SendingNumber, at: datetime) -> SenderNumber:
    """Return the longest holding that covers a sending number at a time, with its holder."""
    return resolve(session, number, at).holding


def with_ports(session: Session, rows: Sequence[SenderNumber]) -> list[Resolved]:
    """Return holdings, each with the provider of whose port it is an extension."""
    ports = tree.ports(session, rows)
    return [Resolved(row, ports.get(row.id)) for row in rows]


def holdings(
    session: Session, organisation_id: UUID, after: UUID | None = None, most: int | None = None
) -> Sequence[SenderNumber]:
    """Return the numbers that an organisation holds, in the order in which they were recorded.

    `after` is the last one of the page before.
    """
    query = tree.of(
        SenderNumber.organisation_id == organisation_id, SenderNumber.released_at.is_(None)
    )
    if after is not None:
        query = query.where(SenderNumber.id > after)
    return session.scalars(query.order_by(SenderNumber.id).limit(most)).all()


def own_holding(
    session: Session, which: UUID | SendingNumber, organisation_id: UUID
) -> SenderNumber:
    """Return a standing holding, by its id or its number, to whoever may look after it.

    That is its holder, and the provider of whose port it is an extension; to others there is none.
    """
    known = (
        SenderNumber.id == which if isinstance(which, UUID) else SenderNumber.number == which.text
    )
    row = session.scalar(tree.of(known, SenderNumber.released_at.is_(None)))
    over = tree.above(session, SendingNumber(row.number, row.kind)) if row else []
    if row is None or organisation_id not in {one.organisation_id for one in (row, *over)}:
        raise RegistryError(Kind.NOT_FOUND, "this organisation does not hold this number")
    return row


def extensions(
    session: Session, provider_id: UUID, port: SendingNumber, after: UUID | None = None
) -> Sequence[SenderNumber]:
    """Return a page of what lies beneath a number, to its holder."""
    row = tree.same(session, port)
    if row is None or row.organisation_id != provider_id:
        raise RegistryError(Kind.NOT_FOUND, "this organisation does not hold this number")
    query = tree.of(*tree.lies_beneath(port))
    if after is not None:
        query = query.where(SenderNumber.id > after)
    return session.scalars(query.order_by(SenderNumber.id).limit(PAGE)).all()
