"""Signing in: the password first, then a code of the second factor.

An e-mail that nobody has is counted, checked and answered like any other, and takes as long.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from registry import events
from registry.members import accounts, attempts, passwords, second_factor, sessions
from registry.members.sessions import Here
from registry.models import Member


@dataclass(frozen=True)
class Try:
    """A try to sign in, counted already, and what its password must be."""

    email: str
    address: str
    member_id: UUID | None
    password_hash: str | None

    def is_right(self, password: str) -> bool:
        """Tell whether a password is right. It takes a tenth of a second, in no transaction."""
        return passwords.verify(self.password_hash, password)


def begin(session: Session, email: str, *, address: str, now: datetime) -> Try:
    """Count a try to sign in; raises `RATE_LIMITED` while the e-mail or the address must wait.

    Commit it before the password is checked, so that parallel tries are counted, too.
    """
    attempts.count(session, _tries(session, email, address), now)
    member = accounts.by_email(session, email)
    joined = member is not None and member.joined_at is not None
    if member is None or not joined:
        return Try(email, address, None, None)
    return Try(email, address, member.id, member.password_hash)


def _tries(session: Session, email: str, address: str) -> dict[bytes, int]:
    return {
        attempts.email_subject(session, email): attempts.FREE,
        attempts.address_subject(session, address): attempts.FREE_OF_ADDRESS,
    }


def finish(session: Session, tried: Try, now: datetime) -> str | None:
    """Begin the session of whoever had the right password; return its token.

    None when the member ended, or got another password, since the try began.
    """
    member = session.get(Member, tried.member_id, with_for_update=True)
    if member is None or member.ended_at or member.password_hash != tried.password_hash:
        return None
    if member.totp_confirmed_at is None:
        member.totp_secret = second_factor.new_secret()
    subject, of_address = _tries(session, tried.email, tried.address)
    attempts.succeeded(session, subject)
    attempts.take_back(session, of_address)
    return sessions.start(session, member.id, verified=False, now=now)


def change_password(session: Session, tried: Try, password_hash: str, now: datetime) -> str | None:
    """Set a new password for whoever had the old one right; return the token of a new session.

    All sessions before it end. None when the password was changed since the try began.
    """
    member = session.get(Member, tried.member_id, with_for_update=True)
    if member is None or member.ended_at or member.password_hash != tried.password_hash:
        return None
    member.password_hash = password_hash
    member.invitation_sha256 = member.invitation_expires_at = None  # No older code opens it again.
    subject, of_address = _tries(session, tried.email, tried.address)
    attempts.succeeded(session, subject)
    attempts.take_back(session, of_address)
    sessions.end_all(session, member.id, now)
    data = accounts.about(member)
    events.record(session, "member_password_changed", now, member.organisation_id, data)
    return sessions.start(session, member.id, verified=True, now=now)


def check_code(session: Session, here: Here, written: str, now: datetime) -> str | None:
    """Return the token of a new session when a code is right, None when it is not.

    Of many with one code a single one succeeds. A wrong try counts: commit it, too. Raises
    `RATE_LIMITED` while the member must wait.
    """
    subject = attempts.factor_subject(session, here.member_id)
    attempts.count(session, {subject: attempts.FREE}, now)
    member = _locked(session, here)
    if member.totp_confirmed_at is None or not _use(session, member, written, now):
        return None
    attempts.succeeded(session, subject)
    return _verified(session, here, now)


def confirm_second_factor(session: Session, here: Here, written: str, now: datetime) -> str | None:
    """Set the second factor up with its first code; as `check_code` otherwise."""
    subject = attempts.factor_subject(session, here.member_id)
    attempts.count(session, {subject: attempts.FREE}, now)
    member = _locked(session, here)
    if member.totp_confirmed_at is not None or not _use(session, member, written, now):
        return None
    token = _verified(session, here, now)
    if token is None:
        return None
    attempts.succeeded(session, subject)
    member.totp_confirmed_at = now
    events.record(
        session, "member_second_factor_set", now, member.organisation_id, accounts.about(member)
    )
    return token


def _use(session: Session, member: Member, written: str, now: datetime) -> bool:
    """Use a code up: no step counts twice, nor one before a step that was used."""
    if member.totp_secret is None:
        return False
    step = second_factor.step_of(member.totp_secret, written, now, member.totp_step)
    if step is None:
        return False
    unused = Member.totp_step.is_(None) | (Member.totp_step < step)
    used = session.connection().execute(
        update(Member.__table__)  # type: ignore[arg-type]
        .where(Member.id == member.id, unused)
        .values(totp_step=step)
    )
    session.refresh(member, ["totp_step"])
    return used.rowcount == 1


def _locked(session: Session, here: Here) -> Member:
    """Return who is at the door as it is stored now; nobody changes it until this is decided."""
    return session.get_one(Member, here.member_id, with_for_update=True, populate_existing=True)


def _verified(session: Session, here: Here, now: datetime) -> str | None:
    """Begin a session in place of the one behind the password; None where that was ended."""
    if not sessions.end_session(session, here.session_id, now):
        return None
    return sessions.start(session, here.member_id, verified=True, now=now)
