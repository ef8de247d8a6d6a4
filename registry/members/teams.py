"""Teams: who works for an organisation in the console, and as what.

Whoever is taken out, or gets another role, is signed out at once. An organisation that has an
admin keeps one: its last one can neither leave nor become less.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events
from registry.errors import Kind, RegistryError
from registry.members import accounts, attempts, sessions
from registry.models import Member, MemberRole

MOST = 200
RANKS = {MemberRole.VIEWER: 0, MemberRole.AGENT: 1, MemberRole.ADMIN: 2}


def rank(role: MemberRole) -> int:
    """Return how much a role may do: whoever has more may do all that one with less may."""
    return RANKS[role]


def team(session: Session, organisation_id: UUID) -> Sequence[Member]:
    """Return who belongs to an organisation or is invited, in the order they came."""
    return session.scalars(
        select(Member)
        .where(Member.organisation_id == organisation_id, Member.ended_at.is_(None))
        .order_by(Member.id)
        .limit(MOST)
    ).all()


def find(session: Session, organisation_id: UUID, member_id: UUID) -> Member:
    """Return a member of an organisation; another's is `NOT_FOUND`."""
    member = session.get(Member, member_id)
    if member is None or member.organisation_id != organisation_id or member.ended_at is not None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such member")
    return member


def invite(
    session: Session,
    organisation_id: UUID,
    email: str,
    name: str,
    role: MemberRole,
    *,
    actor_id: UUID | None,
    now: datetime,
    by: UUID | None = None,
) -> tuple[Member, str]:
    """Invite somebody; return the member and the code to pass on, which is known only now.

    Somebody who was invited before gets a new code, and the old one no longer counts. `by` is
    the member of the team who invites.
    """
    read, called = accounts.read_email(email), accounts.read_name(name)
    member = _invited(session, organisation_id, read)
    if member is None:
        _check_size(session, organisation_id)
        member = Member(
            id=uuid7(),
            organisation_id=organisation_id,
            email_digest=accounts.email_digest(session, read),
            email=read,
            recorded_at=now,
        )
    member.name, member.role = called, role
    code = _give_code(member, now)
    accounts.add(session, member)
    _record(session, "member_invited", member, actor_id, now, by)
    return member, code


def _invited(session: Session, organisation_id: UUID, email: str) -> Member | None:
    member = accounts.by_email(session, email)
    waits = member is not None and member.joined_at is None
    return member if waits and member and member.organisation_id == organisation_id else None


def _check_size(session: Session, organisation_id: UUID) -> None:
    query = select(func.count()).where(
        Member.organisation_id == organisation_id, Member.ended_at.is_(None)
    )
    if (session.scalar(query) or 0) >= MOST:
        raise RegistryError(Kind.CONFLICT, f"a team has {MOST} members at most")


def _give_code(member: Member, now: datetime) -> str:
    code = accounts.draw_code()
    member.invitation_sha256 = accounts.code_digest(code)
    member.invitation_expires_at = now + accounts.INVITED_FOR
    return code


def new_code(
    session: Session,
    organisation_id: UUID,
    member_id: UUID,
    *,
    actor_id: UUID | None,
    now: datetime,
    by: UUID | None = None,
) -> str:
    """Return a code with which somebody joins, or sets a new password instead of a lost one."""
    member = find(session, organisation_id, member_id)
    code = _give_code(member, now)
    _record(session, "member_code_issued", member, actor_id, now, by)
    return code


def change_role(
    session: Session,
    organisation_id: UUID,
    member_id: UUID,
    role: MemberRole,
    *,
    actor_id: UUID | None,
    now: datetime,
    by: UUID | None = None,
) -> Member:
    """Let somebody do more or less from now on, once signed in anew."""
    member = find(session, organisation_id, member_id)
    if role is member.role:
        return member
    _keep_an_admin(session, member)
    member.role = role
    sessions.end_all(session, member.id, now)
    _record(session, "member_role_changed", member, actor_id, now, by)
    return member


def end(
    session: Session,
    organisation_id: UUID,
    member_id: UUID,
    *,
    actor_id: UUID | None,
    now: datetime,
    by: UUID | None = None,
) -> Member:
    """Take somebody out of a team, at once. The e-mail is free again for an invitation."""
    member = find(session, organisation_id, member_id)
    _keep_an_admin(session, member)
    member.ended_at = now
    member.email_digest = os.urandom(32)
    member.password_hash = member.totp_secret = member.invitation_sha256 = None
    sessions.end_all(session, member.id, now)
    _record(session, "member_ended", member, actor_id, now, by)
    return member


def reset_second_factor(
    session: Session,
    organisation_id: UUID,
    member_id: UUID,
    *,
    actor_id: UUID | None,
    now: datetime,
    by: UUID | None = None,
) -> Member:
    """Forget somebody's second factor: it is set up anew after the next right password."""
    member = find(session, organisation_id, member_id)
    member.totp_secret = member.totp_confirmed_at = None
    sessions.end_all(session, member.id, now)
    attempts.succeeded(session, attempts.factor_subject(session, member.id))
    _record(session, "member_second_factor_reset", member, actor_id, now, by)
    return member


def _keep_an_admin(session: Session, member: Member) -> None:
    """Raise when a member is the last admin; two who leave at once wait for each other here."""
    if member.role is not MemberRole.ADMIN or member.joined_at is None:
        return
    admins = session.scalars(
        select(Member)
        .where(
            Member.organisation_id == member.organisation_id,
            Member.role == MemberRole.ADMIN,
            Member.joined_at.is_not(None),
            Member.ended_at.is_(None),
        )
        .order_by(Member.id)
        .with_for_update()
    ).all()
    if [one.id for one in admins] == [member.id]:
        raise RegistryError(Kind.CONFLICT, "an organisation keeps one admin at least")


def _record(
    session: Session,
    kind: str,
    member: Member,
    actor_id: UUID | None,
    now: datetime,
    by: UUID | None,
) -> None:
    session.flush()
    data = {**accounts.about(member), "by": by}
    events.record(session, kind, now, actor_id, data)
