"""Looking organisations and suspensions up, as those do who oversee all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select
from sqlalchemy.orm import Session

from registry.errors import Kind, RegistryError
from registry.models import Appeal, Organisation, OrganisationKind, Suspension
from registry.senders.organisations import PAGE


class Standing(StrEnum):
    """Whether an organisation may send, as far as suspensions go."""

    ACTIVE = "active"
    ANNOUNCED = "announced"
    SUSPENDED = "suspended"


class Phase(StrEnum):
    """How far a suspension has got."""

    ANNOUNCED = "announced"
    STANDING = "standing"
    ENDED = "ended"


@dataclass(frozen=True)
class Listed:
    """An organisation with its suspension that has not ended, if there is one."""

    organisation: Organisation
    suspension: Suspension | None

    def standing(self, now: datetime) -> Standing:
        """Return whether it may send now."""
        if self.suspension is None:
            return Standing.ACTIVE
        begun = self.suspension.starts_at <= now
        return Standing.SUSPENDED if begun else Standing.ANNOUNCED


@dataclass(frozen=True)
class Suspended:
    """A suspension, whose it is, and the appeal against it that waits, if one does."""

    suspension: Suspension
    organisation: Organisation
    appeal: Appeal | None


def phase(suspension: Suspension, now: datetime) -> Phase:
    """Return how far a suspension has got."""
    if suspension.ended_at is not None:
        return Phase.ENDED
    return Phase.ANNOUNCED if suspension.starts_at > now else Phase.STANDING


def search(
    session: Session,
    written: str = "",
    *,
    kind: OrganisationKind | None = None,
    standing: Standing | None = None,
    after: UUID | None = None,
    now: datetime,
) -> Sequence[Listed]:
    """Return a page of organisations by part of the name or by their code, the newest first."""
    open_ = and_(Suspension.organisation_id == Organisation.id, Suspension.ended_at.is_(None))
    query = select(Organisation, Suspension).outerjoin(Suspension, open_)
    if text := written.strip():
        code = "".join(text.split()).upper()
        named = Organisation.name.icontains(text, autoescape=True)
        query = query.where(or_(named, Organisation.uscc == code))
    if kind is not None:
        query = query.where(Organisation.kind == kind)
    if standing is not None:
        query = query.where(_stands(standing, now))
    if after is not None:
        query = query.where(Organisation.id < after)
    rows = session.execute(query.order_by(Organisation.id.desc()).limit(PAGE))
    return [Listed(organisation, suspension) for organisation, suspension in rows]


def _stands(standing: Standing, now: datetime) -> ColumnElement[bool]:
    return {
        Standing.ACTIVE: Suspension.id.is_(None),
        Standing.ANNOUNCED: Suspension.starts_at > now,
        Standing.SUSPENDED: Suspension.starts_at <= now,
    }[standing]


def suspensions(
    session: Session, phase: Phase, *, after: UUID | None = None, now: datetime
) -> Sequence[Suspended]:
    """Return a page of everybody's suspensions of one phase, the newest first."""
    open_ = Suspension.ended_at.is_(None)
    query = _suspended().where(
        {
            Phase.ANNOUNCED: open_ & (Suspension.starts_at > now),
            Phase.STANDING: open_ & (Suspension.starts_at <= now),
            Phase.ENDED: Suspension.ended_at.is_not(None),
        }[phase]
    )
    if after is not None:
        query = query.where(Suspension.id < after)
    rows = session.execute(query.order_by(Suspension.id.desc()).limit(PAGE))
    return [_as_suspended(row) for row in rows]


def find_suspension(session: Session, suspension_id: UUID) -> Suspended:
    """Return anybody's suspension, or raise `NOT_FOUND`."""
    row = session.execute(_suspended().where(Suspension.id == suspension_id)).one_or_none()
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such suspension")
    return _as_suspended(row)


def _suspended() -> Select[Suspension, Organisation, Appeal]:
    waits = and_(Appeal.suspension_id == Suspension.id, Appeal.outcome.is_(None))
    return (
        select(Suspension, Organisation, Appeal)
        .join(Organisation, Organisation.id == Suspension.organisation_id)
        .outerjoin(Appeal, waits)
    )


def _as_suspended(row: Row[Suspension, Organisation, Appeal]) -> Suspended:
    suspension, organisation, appeal = row
    return Suspended(suspension, organisation, appeal)
