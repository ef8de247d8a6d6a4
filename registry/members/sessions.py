"""Sessions of members: short when idle, at most half a day, and ended with what they rest on.

Before `verified_at` only the password was right, and such a session opens nothing but the way
to the second factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, bindparam, exists, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import bearer
from registry.models import (
    Member,
    MemberRole,
    MemberSession,
    Organisation,
    OrganisationKind,
    Suspension,
)

IDLE = timedelta(minutes=30)
LONGEST = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)
"""How much the last use may be behind, so that reading pages writes little."""


@dataclass(frozen=True)
class Here:
    """A member who came with a session's token, and what the member belongs to."""

    session_id: UUID
    member_id: UUID
    name: str
    role: MemberRole
    verified: bool
    seen_at: datetime
    organisation_id: UUID | None
    organisation: str
    kind: OrganisationKind | None
    application_id: UUID | None
    suspended: bool

    @property
    def own_id(self) -> UUID:
        """The organisation's id, where there is one."""
        assert self.organisation_id is not None  # noqa: S101 (views without one are guarded)
        return self.organisation_id


def start(session: Session, member_id: UUID, *, verified: bool, now: datetime) -> str:
    """Begin a session; return its token, which is known only now."""
    session_id = uuid7()
    token, digest = bearer.make(session_id)
    row = MemberSession(
        id=session_id,
        member_id=member_id,
        secret_sha256=digest,
        recorded_at=now,
        verified_at=now if verified else None,
        seen_at=now,
        expires_at=now + (LONGEST if verified else IDLE),
    )
    session.add(row)
    session.flush()
    return token


_SUSPENDED = exists().where(
    Suspension.organisation_id == Member.organisation_id,
    Suspension.ended_at.is_(None),
    Suspension.starts_at <= bindparam("now", type_=Suspension.starts_at.type),
)
_SESSION = (
    select(
        MemberSession.secret_sha256,
        MemberSession.verified_at,
        MemberSession.seen_at,
        Member.id,
        Member.name,
        Member.role,
        Member.organisation_id,
        Member.application_id,
        Organisation.kind,
        Organisation.name.label("organisation"),
        _SUSPENDED.label("suspended"),
    )
    .join_from(MemberSession, Member, Member.id == MemberSession.member_id)
    .outerjoin(Organisation, Organisation.id == Member.organisation_id)
    .where(
        MemberSession.id == bindparam("session_id"),
        MemberSession.ended_at.is_(None),
        MemberSession.expires_at > bindparam("now", type_=MemberSession.expires_at.type),
        MemberSession.seen_at > bindparam("used_since", type_=MemberSession.seen_at.type),
        Member.ended_at.is_(None),
    )
)


def find_session(connection: Connection, token: str, now: datetime) -> Here | None:
    """Return whose a token is; None when it is wrong, idle for too long, or has ended."""
    if (named := bearer.read(token)) is None:
        return None
    session_id, secret = named
    row = connection.execute(
        _SESSION, {"session_id": session_id, "now": now, "used_since": now - IDLE}
    ).one_or_none()
    if row is None or not bearer.fits(secret, row.secret_sha256):
        return None
    return Here(
        session_id=session_id,
        member_id=row.id,
        name=row.name,
        role=row.role,
        verified=row.verified_at is not None,
        seen_at=row.seen_at,
        organisation_id=row.organisation_id,
        organisation=row.organisation or "",
        kind=row.kind,
        application_id=row.application_id,
        suspended=bool(row.suspended),
    )


def seen(session: Session, session_id: UUID, now: datetime) -> None:
    """Note that a session was used, which keeps it from ending."""
    session.execute(
        update(MemberSession)
        .where(MemberSession.id == session_id, MemberSession.ended_at.is_(None))
        .values(seen_at=now)
    )


def end_session(session: Session, session_id: UUID, now: datetime) -> bool:
    """Sign out of one session; tell whether it had not ended before."""
    ended = session.connection().execute(
        update(MemberSession.__table__)  # type: ignore[arg-type]
        .where(MemberSession.id == session_id, MemberSession.ended_at.is_(None))
        .values(ended_at=now)
    )
    return ended.rowcount == 1


def end_all(session: Session, member_id: UUID, now: datetime) -> None:
    """Sign a member out everywhere."""
    session.execute(
        update(MemberSession)
        .where(MemberSession.member_id == member_id, MemberSession.ended_at.is_(None))
        .values(ended_at=now)
    )


def standing(session: Session, member_id: UUID, now: datetime) -> Sequence[MemberSession]:
    """Return where a member is signed in, the newest first."""
    return session.scalars(
        select(MemberSession)
        .where(
            MemberSession.member_id == member_id,
            MemberSession.ended_at.is_(None),
            MemberSession.verified_at.is_not(None),
            MemberSession.expires_at > now,
            MemberSession.seen_at > now - IDLE,
        )
        .order_by(MemberSession.recorded_at.desc())
    ).all()
