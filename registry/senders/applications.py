"""Applications: a legal entity asks to be registered, or to be changed, and an operator decides."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import bearer, events
from registry.errors import Kind, RegistryError, conflict, invalid
from registry.models import Application, ApplicationState, Member, Organisation, OrganisationKind
from registry.numbers import NumberKey
from registry.senders.organisations import (
    HOLDERS,
    PAGE,
    change,
    check_details,
    check_uscc,
    find_to_change,
    register,
)
from registry.senders.problems import flush

_DETAILS = ("name", "licence_number", "contact_phone", "complaint_phone")
"""What an approved application sets of an organisation."""


@dataclass(frozen=True)
class Details:
    """What a legal entity says of itself when it applies (R23: a phone for complaints)."""

    kind: OrganisationKind
    name: str
    uscc: str
    licence_number: str
    contact_name: str
    contact_phone: str
    complaint_phone: str


@dataclass(frozen=True)
class Changes:
    """What an organisation wants changed, and who may be asked about it; None stays as it is."""

    contact_name: str
    name: str | None = None
    licence_number: str | None = None
    contact_phone: str | None = None
    complaint_phone: str | None = None


def apply(
    session: Session,
    details: Details,
    *,
    organisation_id: UUID | None = None,
    actor_id: UUID | None = None,
    member_id: UUID | None = None,
    now: datetime,
) -> Application:
    """Ask to be registered as a sender or provider or, as an organisation, to be changed.

    Raises `CONFLICT` when the code is another's already, or when an application of it waits.
    """
    if details.kind not in HOLDERS:
        raise invalid("kind", "is neither sender nor provider")
    fields: dict[str, Any] = asdict(details)
    check_details(fields)
    fields["uscc"] = check_uscc(details.uscc)
    _check_free(session, fields["uscc"], organisation_id)
    row = Application(
        id=uuid7(),
        **fields,
        organisation_id=organisation_id,
        state=ApplicationState.SUBMITTED,
        recorded_at=now,
    )
    session.add(row)
    flush(session, "an application of this organisation waits for its decision")
    data = {
        "application": row.id,
        "organisation": organisation_id,
        "organisation_kind": row.kind,
        "name": row.name,
        "uscc": row.uscc,
        "licence_number": row.licence_number,
        **events.by_member(member_id),
    }
    events.record(session, "application_submitted", now, actor_id, data)
    return row


def propose(
    session: Session,
    organisation_id: UUID,
    changes: Changes,
    *,
    member_id: UUID | None = None,
    now: datetime,
) -> Application:
    """Apply for changes of an organisation's details, as that organisation."""
    organisation = find_to_change(session, organisation_id)
    wanted: dict[str, str | None] = {
        field: getattr(changes, field) or getattr(organisation, field) for field in _DETAILS
    }
    if all(wanted[field] == getattr(organisation, field) for field in _DETAILS):
        raise RegistryError(Kind.INVALID, "nothing would be changed")
    details = Details(
        kind=organisation.kind,
        name=_said(wanted, "name"),
        uscc=organisation.uscc,
        licence_number=_said(wanted, "licence_number"),
        contact_name=changes.contact_name,
        contact_phone=_said(wanted, "contact_phone"),
        complaint_phone=_said(wanted, "complaint_phone"),
    )
    return apply(
        session,
        details,
        organisation_id=organisation_id,
        actor_id=organisation_id,
        member_id=member_id,
        now=now,
    )


def decide_application(
    session: Session,
    application_id: UUID,
    *,
    approve: bool,
    reason: str | None,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Application:
    """Approve an application, or reject it with a reason, as an operator.

    Approval registers the organisation, whose team the applicant's members then are, or changes
    the one that applied. When its code was registered meanwhile this raises `CONFLICT`, and the
    application stays.
    """
    row = _to_decide(session, application_id)
    if approve:
        organisation = _changed(session, row, actor_id, now)
        row.organisation_id = organisation.id
        session.execute(
            update(Member)
            .where(Member.application_id == row.id)
            .values(organisation_id=organisation.id)
        )
    elif not (reason and reason.strip()):
        raise invalid("reason", "is needed to reject an application")
    row.reason = reason
    state = ApplicationState.APPROVED if approve else ApplicationState.REJECTED
    return _closed(session, row, state, actor_id, now, member_id)


def withdraw_application(
    session: Session,
    application_id: UUID,
    *,
    actor_id: UUID | None = None,
    member_id: UUID | None = None,
    now: datetime,
) -> Application:
    """Take an application back, as whoever made it. The edge makes sure that it is theirs."""
    row = _to_decide(session, application_id)
    return _closed(session, row, ApplicationState.WITHDRAWN, actor_id, now, member_id)


def find_application(session: Session, application_id: UUID) -> Application:
    """Return anybody's application, to an operator, or raise `NOT_FOUND`."""
    row = session.get(Application, application_id)
    if row is None:
        raise _unknown()
    return row


def own_application(session: Session, application_id: UUID, organisation_id: UUID) -> Application:
    """Return an application that an organisation made itself; another's is `NOT_FOUND`."""
    row = find_application(session, application_id)
    if row.organisation_id != organisation_id:
        raise _unknown()
    return row


def find_open(session: Session, application_id: UUID) -> Application:
    """Return an application that waits, and that nobody decides until this transaction ends."""
    return _to_decide(session, application_id)


def applications(
    session: Session,
    *,
    organisation_id: UUID | None = None,
    state: ApplicationState | None = None,
    after: UUID | None = None,
) -> Sequence[Application]:
    """Return a page of applications, the oldest first: all of them or an organisation's own."""
    query = select(Application).order_by(Application.id).limit(PAGE)
    if organisation_id is not None:
        query = query.where(Application.organisation_id == organisation_id)
    if state is not None:
        query = query.where(Application.state == state)
    if after is not None:
        query = query.where(Application.id > after)
    return session.scalars(query).all()


# The key of an application


def application_key(key: NumberKey, application_id: UUID) -> str:
    """Return the text by which an applicant, who is nobody yet, is known: `id.secret`.

    Nothing of it is stored: the secret is made of the id with the registry's number key. It opens
    this application alone, and says nothing any more of what the organisation does later.
    """
    return f"{application_id.hex}.{_secret(key, application_id)}"


def whose_application(key: NumberKey, text: str) -> UUID | None:
    """Return the application that a text is the key of, None when it is the key of none."""
    if (named := bearer.read(text)) is None:
        return None
    application_id, secret = named
    # As bytes: of text, ASCII alone can be compared in constant time.
    right = hmac.compare_digest(secret.encode(), _secret(key, application_id).encode())
    return application_id if right else None


def _secret(key: NumberKey, application_id: UUID) -> str:
    made = hmac.digest(key.derive(b"applications"), application_id.bytes, "sha256")
    return urlsafe_b64encode(made).decode().rstrip("=")


# What the above is made of


def _check_free(session: Session, uscc: str, organisation_id: UUID | None) -> None:
    """Raise when a code is registered already, save for the organisation that applies itself."""
    query = exists().where(Organisation.uscc == uscc)
    if organisation_id is None and session.scalar(select(query)):
        raise conflict("an organisation with this code is registered")


def _said(details: Mapping[str, str | None], field: str) -> str:
    """Return a detail that an organisation from before it was asked for may never have named."""
    text = details[field]
    if text is None:
        raise invalid(field, "was never named and is needed")
    return text


def _to_decide(session: Session, application_id: UUID) -> Application:
    """Return an application that waits, once nobody else can decide it any more.

    The organisation is locked first, as by whoever proposes changes, so that no two wait for each
    other.
    """
    known = find_application(session, application_id)
    if known.organisation_id is not None:
        find_to_change(session, known.organisation_id)
    row = session.scalars(
        select(Application)
        .where(Application.id == application_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if row.state is not ApplicationState.SUBMITTED:
        raise conflict(f"this application is {row.state} already")
    return row


def _changed(
    session: Session, row: Application, actor_id: UUID | None, now: datetime
) -> Organisation:
    """Return the organisation that an application leads to."""
    details = {field: getattr(row, field) for field in _DETAILS}
    act: dict[str, Any] = {"application_id": row.id, "actor_id": actor_id, "now": now}
    if row.organisation_id is None:
        return register(session, row.kind, uscc=row.uscc, **details, **act)
    organisation = find_to_change(session, row.organisation_id)
    return change(session, organisation, details, **act)


def _closed(
    session: Session,
    row: Application,
    state: ApplicationState,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None,
) -> Application:
    row.state, row.decided_at, row.decided_by = state, now, actor_id
    data = {
        "application": row.id,
        "organisation": row.organisation_id,
        **events.by_member(member_id),
    }
    events.record(session, f"application_{state}", now, actor_id, data)
    session.flush()
    return row


def _unknown() -> RegistryError:
    return RegistryError(Kind.NOT_FOUND, "there is no such application")
