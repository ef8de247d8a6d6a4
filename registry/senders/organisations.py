"""Organisations: legal entities, what they are known by, and what they may ask for.

Their details are kept in every version that they ever had.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session
from stdnum.cn import uscc as uscc_numbers
from stdnum.exceptions import ValidationError as UsccError
from uuid_utils.compat import uuid7

from registry import events
from registry.errors import Kind, RegistryError, invalid
from registry.models import (
    Application,
    ApplicationState,
    Organisation,
    OrganisationKind,
    OrganisationVersion,
)
from registry.senders.problems import flush

PAGE = 100
HOLDERS = {OrganisationKind.SENDER, OrganisationKind.PROVIDER}
"""The kinds of organisations that send: they hold numbers, and publish a complaint phone (R23)."""
PHONE = re.compile(r"\+?[0-9][0-9 -]{3,18}")
LONGEST = {"name": 200, "licence_number": 100, "contact_name": 100}
"""How many characters a detail has at most."""


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


def check_details(details: Mapping[str, str | None]) -> None:
    """Raise when one of an organisation's details, by its name, cannot be one."""
    for field, text in details.items():
        if text is None:
            continue
        if field.endswith("_phone") and not PHONE.fullmatch(text):
            raise invalid(field, "is no telephone number")
        most = LONGEST.get(field)
        if most is not None and not (text.strip() and len(text) <= most):
            raise invalid(field, f"has 1 to {most} characters")


def register(
    session: Session,
    kind: OrganisationKind,
    name: str,
    uscc: str,
    contact_phone: str,
    *,
    licence_number: str | None = None,
    complaint_phone: str | None = None,
    application_id: UUID | None = None,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Organisation:
    """Make a legal entity known. Each has one code, so none comes back under another name (R6).

    Where a sender or provider names no phone for complaints, its contact phone is the one (R23).
    """
    if complaint_phone is None and kind in HOLDERS:
        complaint_phone = contact_phone
    details = {
        "name": name,
        "licence_number": licence_number,
        "contact_phone": contact_phone,
        "complaint_phone": complaint_phone,
    }
    check_details(details)
    organisation = Organisation(
        id=uuid7(), kind=kind, uscc=check_uscc(uscc), recorded_at=now, **details
    )
    session.add(organisation)
    flush(session, "an organisation with this code is registered")
    version = _add_version(session, organisation, now, application_id)
    data = {
        "organisation": organisation.id,
        "organisation_kind": kind,
        "name": name,
        "uscc": organisation.uscc,
        "licence_number": licence_number,
        "version": version.id,
        **events.by_member(member_id),
    }
    events.record(session, "organisation_registered", now, actor_id, data)
    session.flush()
    return organisation


def find(session: Session, organisation_id: UUID) -> Organisation:
    """Return an organisation or raise `NOT_FOUND`."""
    organisation = session.get(Organisation, organisation_id)
    if organisation is None:
        raise _unknown()
    return organisation


def find_to_change(session: Session, organisation_id: UUID) -> Organisation:
    """Return an organisation whose details nobody else changes until this transaction ends."""
    found = session.scalar(
        select(Organisation)
        .where(Organisation.id == organisation_id)
        # What merely refers to the organisation need not wait.
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise _unknown()
    return found


def page(session: Session, after: UUID | None) -> Sequence[Organisation]:
    """Return up to `PAGE` organisations in the order of their registration."""
    query = select(Organisation).order_by(Organisation.id).limit(PAGE)
    if after is not None:
        query = query.where(Organisation.id > after)
    return session.scalars(query).all()


def limit(
    session: Session,
    organisation_id: UUID,
    limits: Limits,
    *,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Organisation:
    """Set what an organisation may ask for a second and a day."""
    organisation = find(session, organisation_id)
    for name, value in vars(limits).items():
        setattr(organisation, name, value)
    data = {"organisation": organisation.id, **vars(limits), **events.by_member(member_id)}
    events.record(session, "organisation_limited", now, actor_id, data)
    session.flush()
    return organisation


def correct(
    session: Session,
    organisation_id: UUID,
    changes: Mapping[str, str | None],
    *,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Organisation:
    """Change an organisation's details by name, as an operator who knows better may.

    While an application of the organisation's own waits this is a conflict: its approval would
    bring back what was corrected.
    """
    organisation = find_to_change(session, organisation_id)
    waiting = exists().where(
        Application.organisation_id == organisation_id,
        Application.state == ApplicationState.SUBMITTED,
    )
    if session.scalar(select(waiting)):
        raise RegistryError(Kind.CONFLICT, "an application for changes waits: decide it first")
    return change(session, organisation, changes, actor_id=actor_id, member_id=member_id, now=now)


def change(
    session: Session,
    organisation: Organisation,
    changes: Mapping[str, str | None],
    *,
    application_id: UUID | None = None,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Organisation:
    """Give an organisation new details and keep the old ones as a version.

    What was registered before versions were kept gets its first one now.
    """
    check_details(changes)
    _add_first_version(session, organisation)
    for field, text in changes.items():
        setattr(organisation, field, text)
    version = _add_version(session, organisation, now, application_id)
    data = {
        "organisation": organisation.id,
        "name": organisation.name,
        "licence_number": organisation.licence_number,
        "version": version.id,
        "application": application_id,
        **events.by_member(member_id),
    }
    events.record(session, "organisation_changed", now, actor_id, data)
    session.flush()
    return organisation


def history(session: Session, organisation_id: UUID) -> Sequence[OrganisationVersion]:
    """Return all that an organisation was ever known by, the first version first.

    One from before versions were kept, and never changed since, has what it has now.
    """
    organisation = find(session, organisation_id)
    rows = session.scalars(
        select(OrganisationVersion)
        .where(OrganisationVersion.organisation_id == organisation_id)
        .order_by(OrganisationVersion.recorded_at, OrganisationVersion.id)
    ).all()
    return rows or [_version(organisation, organisation.recorded_at)]


def _add_first_version(session: Session, organisation: Organisation) -> None:
    known = exists().where(OrganisationVersion.organisation_id == organisation.id)
    if not session.scalar(select(known)):
        _add_version(session, organisation, organisation.recorded_at, None)


def _add_version(
    session: Session, organisation: Organisation, now: datetime, application_id: UUID | None
) -> OrganisationVersion:
    version = _version(organisation, now)
    version.application_id = application_id
    session.add(version)
    return version


def _version(organisation: Organisation, since: datetime) -> OrganisationVersion:
    return OrganisationVersion(
        id=uuid7(),
        organisation_id=organisation.id,
        name=organisation.name,
        licence_number=organisation.licence_number,
        contact_phone=organisation.contact_phone,
        complaint_phone=organisation.complaint_phone,
        recorded_at=since,
    )


def _unknown() -> RegistryError:
    return RegistryError(Kind.NOT_FOUND, "there is no such organisation")
