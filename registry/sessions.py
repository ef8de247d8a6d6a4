"""Subscribers who are signed in: sessions that end soon when idle, and everywhere at once.

A session is of one tenure: when the number goes to another subscriber, nobody who signed in
before is signed in any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, bindparam, exists, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import bearer
from registry.models import PortalSession, Reassignment
from registry.numbers import SubscriberNumber

IDLE = timedelta(minutes=15)
LONGEST = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)
"""How much the last use may be behind, so that reading pages writes little."""


@dataclass(frozen=True)
class SignedIn:
    """A subscriber who came with a session's token."""

    session_id: UUID
    number: SubscriberNumber
    seen_at: datetime


def start(session: Session, number: SubscriberNumber, now: datetime) -> tuple[PortalSession, str]:
    """Sign a subscriber in; return the session and its token, which is known only now."""
    session_id = uuid7()
    token, digest = bearer.make(session_id)
    row = PortalSession(
        id=session_id,
        number=number,
        secret_sha256=digest,
        recorded_at=now,
        seen_at=now,
        expires_at=now + LONGEST,
    )
    session.add(row)
    session.flush()
    return row, token


_LATER_TENURE = exists().where(
    Reassignment.number == PortalSession.number,
    Reassignment.cancelled_at.is_(None),
    Reassignment.reassigned_at > PortalSession.recorded_at,
)


_SESSION = select(PortalSession.number, PortalSession.secret_sha256, PortalSession.seen_at).where(
    PortalSession.id == bindparam("session_id"),
    PortalSession.ended_at.is_(None),
    PortalSession.expires_at > bindparam("now", type_=PortalSession.expires_at.type),
    PortalSession.seen_at > bindparam("used_since", type_=PortalSession.seen_at.type),
    ~_LATER_TENURE,
)


def find(connection: Connection, token: str, now: datetime) -> SignedIn | None:
    """Return who a token belongs to; None when it is wrong, idle for too long, or has ended."""
    if (named := bearer.read(token)) is None:
        return None
    session_id, secret = named
    row = connection.execute(
        _SESSION, {"session_id": session_id, "now": now, "used_since": now - IDLE}
    ).one_or_none()
    if row is None or not bearer.fits(secret, row.secret_sha256):
        return None
    return SignedIn(session_id, row.number, row.seen_at)


def seen(session: Session, session_id: UUID, now: datetime) -> None:
    """Note that a session was used, which keeps it from ending."""
    session.execute(
        update(PortalSession)
        .where(PortalSession.id == session_id, PortalSession.ended_at.is_(None))
        .values(seen_at=now)
    )


def end(session: Session, session_id: UUID, now: datetime) -> None:
    """Sign out of one session."""
    session.execute(
        update(PortalSession)
        .where(PortalSession.id == session_id, PortalSession.ended_at.is_(None))
        .values(ended_at=now)
    )


def end_all(session: Session, number: SubscriberNumber, now: datetime) -> None:
    """Sign out everywhere."""
    session.execute(
        update(PortalSession)
        .where(PortalSession.number == number, PortalSession.ended_at.is_(None))
        .values(ended_at=now)
    )


def standing(session: Session, number: SubscriberNumber, now: datetime) -> Sequence[PortalSession]:
    """Return where a subscriber is signed in, the newest first."""
    return session.scalars(
        select(PortalSession)
        .where(
            PortalSession.number == number,
            PortalSession.ended_at.is_(None),
            PortalSession.expires_at > now,
            PortalSession.seen_at > now - IDLE,
            ~_LATER_TENURE,
        )
        .order_by(PortalSession.recorded_at.desc())
    ).all()
