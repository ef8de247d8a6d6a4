"""Organisations: legal entities, what they may ask for, and how they are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session
from stdnum.cn import uscc as uscc_numbers
from stdnum.exceptions import ValidationError as UsccError
from uuid_utils.compat import uuid7

from registry import events
from registry.errors import Kind, RegistryError
from registry.models import Organisation, OrganisationKind
from registry.senders.problems import flush, invalid

PAGE = 100


@dataclass(frozen=True)
class Limits:
    """What an operator allows one organisation instead of the policy's values; None keeps them."""

    requests_per_second: int | None = None
    lookup_numbers_per_day: int | None = None
    assertion_numbers_per_day: int | None = None


def check_uscc(text: str) -> str:
    """Return a unified social credit code in its canonical form; raises when it is none."""
    try:
        return str(uscc_numbers.validate(text))
    except UsccError:
        raise invalid("uscc", "is no valid unified social credit code") from None


def register(
    session: Session,
    kind: OrganisationKind,
    name: str,
    uscc: str,
    contact_phone: str,
    *,
    actor_id: UUID | None,
    now: datetime,
) -> Organisation:
    """Make a legal entity known. Each has one code, so none comes back under another name (R6)."""
    organisation = Organisation(
        id=uuid7(),
        kind=kind,
        name=name,
        uscc=check_uscc(uscc),
        contact_phone=contact_phone,
        recorded_at=now,
    )
    session.add(organisation)
    flush(session, "an organisation with this code is registered")
    data = {"organisation": organisation.id, "kind": kind, "name": name, "uscc": organisation.uscc}
    events.record(session, "organisation_registered", now, actor_id, data)
    return organisation


def find(session: Session, organisation_id: UUID) -> Organisation:
    """Return an organisation or raise `NOT_FOUND`."""
    organisation = session.get(Organisation, organisation_id)
    if organisation is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such organisation")
    return organisation


def page(session: Session, after: UUID | None) -> Sequence[Organisation]:
    """Return up to `PAGE` organisations in the order of their registration."""
    query = select(Organisation).order_by(Organisation.id).limit(PAGE)
    if after is not None:
        query = query.where(Organisation.id > after)
    return session.scalars(query).all()


def limit(
    session: Session, organisation_id: UUID, limits: Limits, *, actor_id: UUID | None, now: datetime
) -> Organisation:
    """Set what an organisation may ask for a second and a day."""
    organisation = find(session, organisation_id)
    for name, value in vars(limits).items():
        setattr(organisation, name, value)
    data = {"organisation": organisation.id, **vars(limits)}
    events.record(session, "organisation_limited", now, actor_id, data)
    session.flush()
    return organisation
