"""Suspensions of organisations: announced, appealed against, in effect, lifted (R20).

One that is announced has no effect before it starts: lookups and keys compare its start with the
time that they are about. An announced one is not moved: it is called off, and another announced,
so that what was announced when stays on record.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry import events
from registry.errors import Kind, RegistryError, conflict, invalid
from registry.models import Appeal, AppealOutcome, Organisation, Suspension
from registry.policy import Policy
from registry.senders.organisations import PAGE, find
from registry.senders.problems import flush


def suspension(session: Session, organisation_id: UUID) -> Suspension | None:
    """Return the suspension that is announced or in effect, if there is one."""
    return session.scalar(
        select(Suspension).where(
            Suspension.organisation_id == organisation_id, Suspension.ended_at.is_(None)
        )
    )


def suspended(session: Session, organisation_id: UUID, at: datetime) -> bool:
    """Tell whether a suspension of an organisation is in effect at a time."""
    found = suspension(session, organisation_id)
    return found is not None and found.starts_at <= at


def suspensions(session: Session, organisation_id: UUID) -> Sequence[Suspension]:
    """Return all suspensions that an organisation ever had, the newest first."""
    find(session, organisation_id)
    return session.scalars(
        select(Suspension)
        .where(Suspension.organisation_id == organisation_id)
        .order_by(Suspension.recorded_at.desc(), Suspension.id.desc())
    ).all()


def suspend(
    session: Session,
    organisation_id: UUID,
    reason: str,
    *,
    starts_at: datetime | None = None,
    policy: Policy | None = None,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Organisation:
    """Announce that an organisation's contacts, of every class, and its writes stop (R20).

    That takes effect at `starts_at`, else after the days of notice that the policy gives, else
    at once.
    """
    organisation = find(session, organisation_id)
    _check_not_own(organisation_id, actor_id)
    if starts_at is not None and starts_at < now:
        raise invalid("starts_at", "lies in the past")
    notice = timedelta(days=policy.suspensions.notice_days if policy else 0)
    row = Suspension(
        id=uuid7(),
        organisation_id=organisation.id,
        reason=reason,
        starts_at=starts_at or now + notice,
        recorded_at=now,
    )
    session.add(row)
    flush(session, "this organisation is suspended already, or will be")
    data = {
        "organisation": organisation.id,
        "suspension": row.id,
        "starts_at": row.starts_at,
        **events.by_member(member_id),
    }
    events.record(session, "organisation_suspended", now, actor_id, data)
    return organisation


def reinstate(
    session: Session,
    organisation_id: UUID,
    *,
    reason: str | None = None,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Organisation:
    """End the suspension that is in effect, or call off the one that is announced.

    An appeal against it that is open is thereby granted.
    """
    organisation = find(session, organisation_id)
    _check_not_own(organisation_id, actor_id)
    known = suspension(session, organisation_id)
    row = _lock(session, known.id) if known else None
    if row is None or row.ended_at is not None:
        raise conflict("this organisation is not suspended")
    if open_appeal := session.scalar(_appeals(row.id).where(Appeal.outcome.is_(None))):
        _decide(session, open_appeal, AppealOutcome.GRANTED, reason, actor_id, member_id, now)
    _end(session, row, reason, actor_id, member_id, now)
    return organisation


# Appeals


def appeal(
    session: Session,
    suspension_id: UUID,
    text: str,
    *,
    organisation_id: UUID,
    member_id: UUID | None = None,
    now: datetime,
) -> Appeal:
    """Say, as the organisation that it is about, what speaks against a suspension (R20).

    It may do so before and while the suspension is in effect, and again after a dismissal. The
    suspension goes on until an operator has decided.
    """
    row = _lock(session, suspension_id)
    if row is None or row.organisation_id != organisation_id:
        raise RegistryError(Kind.NOT_FOUND, "there is no such suspension")
    if row.ended_at is not None:
        raise conflict("this suspension has ended")
    made = Appeal(id=uuid7(), suspension=row, text=text, recorded_at=now)
    session.add(made)
    flush(session, "an appeal against this suspension waits for its decision")
    data = {
        "appeal": made.id,
        "suspension": row.id,
        "organisation": organisation_id,
        **events.by_member(member_id),
    }
    events.record(session, "suspension_appealed", now, organisation_id, data)
    return made


def decide_appeal(
    session: Session,
    appeal_id: UUID,
    *,
    granted: bool,
    reason: str,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Appeal:
    """Grant an appeal, which ends the suspension, or dismiss it, with a reason, as an operator."""
    known = find_appeal(session, appeal_id)
    row = _lock(session, known.suspension_id)
    found = session.scalar(
        select(Appeal).where(Appeal.id == appeal_id).execution_options(populate_existing=True)
    )
    if found is None or row is None or found.outcome is not None:
        raise conflict("this appeal is decided already")
    _check_not_own(row.organisation_id, actor_id)
    outcome = AppealOutcome.GRANTED if granted else AppealOutcome.DISMISSED
    _decide(session, found, outcome, reason, actor_id, member_id, now)
    if granted:
        _end(session, row, reason, actor_id, member_id, now)
    return found


def find_appeal(session: Session, appeal_id: UUID) -> Appeal:
    """Return an appeal with its suspension, or raise `NOT_FOUND`."""
    row = session.scalar(
        select(Appeal).options(joinedload(Appeal.suspension)).where(Appeal.id == appeal_id)
    )
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such appeal")
    return row


def appeals(session: Session, suspension_id: UUID) -> Sequence[Appeal]:
    """Return the appeals against a suspension, the oldest first."""
    return session.scalars(_appeals(suspension_id)).all()


def open_appeals(session: Session, after: UUID | None = None) -> Sequence[Appeal]:
    """Return a page of the appeals that wait for a decision, with their suspensions."""
    query = (
        select(Appeal)
        .options(joinedload(Appeal.suspension))
        .where(Appeal.outcome.is_(None))
        .order_by(Appeal.id)
        .limit(PAGE)
    )
    if after is not None:
        query = query.where(Appeal.id > after)
    return session.scalars(query).all()


def _appeals(suspension_id: UUID) -> Select[Appeal]:
    return select(Appeal).where(Appeal.suspension_id == suspension_id).order_by(Appeal.id)


def _lock(session: Session, suspension_id: UUID) -> Suspension | None:
    """Return a suspension that nobody else ends or appeals against until this transaction ends."""
    return session.scalar(
        select(Suspension)
        .where(Suspension.id == suspension_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _check_not_own(organisation_id: UUID, actor_id: UUID | None) -> None:
    """Raise when somebody would decide in its own case."""
    if organisation_id == actor_id:
        raise conflict("nobody suspends the own organisation, nor ends that or decides its appeal")


def _decide(
    session: Session,
    row: Appeal,
    outcome: AppealOutcome,
    reason: str | None,
    actor_id: UUID | None,
    member_id: UUID | None,
    now: datetime,
) -> None:
    row.outcome, row.reason = outcome, reason
    row.decided_at, row.decided_by = now, actor_id
    data = {"appeal": row.id, "suspension": row.suspension_id, **events.by_member(member_id)}
    events.record(session, f"appeal_{outcome}", now, actor_id, data)


def _end(
    session: Session,
    row: Suspension,
    reason: str | None,
    actor_id: UUID | None,
    member_id: UUID | None,
    now: datetime,
) -> None:
    row.ended_at = row.end_recorded_at = now
    row.end_reason = reason
    data = {
        "organisation": row.organisation_id,
        "suspension": row.id,
        **events.by_member(member_id),
    }
    events.record(session, "organisation_reinstated", now, actor_id, data)
    session.flush()
