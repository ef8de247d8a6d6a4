"""Accounts: whose an e-mail is, how somebody comes in, and changing one's password."""

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events
from registry.errors import Kind, RegistryError, invalid
from registry.members import attempts, passwords, second_factor, sessions
from registry.models import Member, MemberRole, number_key

INVITED_FOR = timedelta(hours=72)
LONGEST_EMAIL, LONGEST_NAME = 254, 100
NO_EMAIL = "is no e-mail address"
NO_NAME = "is missing"
TOO_LONG = "is too long"
TAKEN = "is in use here"
_EMAIL = re.compile(r"[^@\s<>,;:\"()\[\]\\]+@[^@\s<>,;:\"()\[\]\\.]+(\.[^@\s<>,;:\"()\[\]\\.]+)+")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without those that look alike: a code is read from a screen and typed."""


@dataclass(frozen=True)
class Account:
    """Who somebody is; the password is hashed already."""

    email: str
    name: str
    password_hash: str


def read_email(written: str) -> str:
    """Return an e-mail address in the form that it is compared in; raises when it is none."""
    text = unicodedata.normalize("NFKC", written).strip().casefold()
    if len(text) > LONGEST_EMAIL or not _EMAIL.fullmatch(text) or not text.isprintable():
        raise invalid("email", NO_EMAIL)
    return text


def read_name(written: str) -> str:
    """Return how somebody is called; raises when that is nothing, or no text for one line."""
    text = " ".join(written.split())
    if not text or not text.isprintable():
        raise invalid("name", NO_NAME)
    if len(text) > LONGEST_NAME:
        raise invalid("name", TOO_LONG)
    return text


def read_account(email: str, name: str, password: str) -> Account:
    """Return an account from what somebody wrote; raises `INVALID`, naming all that is wrong.

    Hashing takes a tenth of a second, so this is done outside of transactions.
    """
    problems: dict[str, object] = {}
    read = {"email": "", "name": ""}
    for field, reader, written in (("email", read_email, email), ("name", read_name, name)):
        try:
            read[field] = reader(written)
        except RegistryError as error:
            problems |= error.fields or {}
    try:
        hashed = passwords.choose(password, email=read["email"], name=read["name"])
    except RegistryError as error:
        problems |= error.fields or {}
    if problems:
        raise RegistryError(Kind.INVALID, "wrong fields", fields=problems)
    return Account(read["email"], read["name"], hashed)


def email_digest(session: Session, email: str) -> bytes:
    """Return what an e-mail is found by."""
    return number_key(session.get_bind().dialect).digest(b"member " + email.encode())


def by_email(session: Session, email: str) -> Member | None:
    """Return the member with an e-mail address."""
    return session.scalar(
        select(Member).where(
            Member.email_digest == email_digest(session, email), Member.ended_at.is_(None)
        )
    )


def enter(session: Session, account: Account, application_id: UUID, now: datetime) -> str:
    """Make whoever applies for an organisation its first admin; return a session's token.

    The session leads to the second factor and, once that is set up, to the application.
    """
    member = Member(
        id=uuid7(),
        application_id=application_id,
        email_digest=email_digest(session, account.email),
        email=account.email,
        name=account.name,
        role=MemberRole.ADMIN,
        password_hash=account.password_hash,
        totp_secret=second_factor.new_secret(),
        recorded_at=now,
        joined_at=now,
    )
    add(session, member)
    data = {"member": member.id, "application": application_id, "role": member.role}
    events.record(session, "member_joined", now, None, data)
    return sessions.start(session, member.id, verified=False, now=now)


def add(session: Session, member: Member) -> None:
    """Add a member; raises `INVALID` when the e-mail is somebody else's here.

    Who was invited elsewhere, and let that lapse, does not stand in the way.
    """
    session.execute(
        update(Member)
        .where(
            Member.email_digest == member.email_digest,
            Member.joined_at.is_(None),
            Member.invitation_expires_at <= member.recorded_at,
        )
        .values(ended_at=member.recorded_at, email_digest=os.urandom(32))
    )
    try:
        with session.begin_nested():
            session.add(member)
            session.flush()
    except IntegrityError:
        raise invalid("email", TAKEN) from None


def move_to_application(session: Session, old_id: UUID, new_id: UUID) -> None:
    """Let the members of an application go on with the one that corrects it."""
    session.execute(
        update(Member)
        .where(Member.application_id == old_id, Member.organisation_id.is_(None))
        .values(application_id=new_id)
    )


def draw_code() -> str:
    """Draw the code of an invitation: 80 random bits as people can type them."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(16))
    return "-".join(letters[start : start + 4] for start in range(0, 16, 4))


def code_digest(written: str) -> bytes:
    """Return what is kept of a code, however it was typed."""
    text = re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", written)).upper()
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class Invited:
    """Whom a right code belongs to."""

    member_id: UUID
    email: str
    name: str
    code_sha256: bytes


def begin_join(
    session: Session, email: str, code: str, *, address: str, now: datetime
) -> Invited | None:
    """Count a try to join with a code, and return whose it is; None when it is nobody's.

    A code that is wrong, used, too old, or of another e-mail is told apart to nobody. Commit
    in any case: a wrong try counts.
    """
    attempts.count(session, _tries(session, email, address), now)
    member = by_email(session, email)
    digest = code_digest(code)
    if (
        member is None
        or member.invitation_sha256 is None
        or member.invitation_expires_at is None
        or member.invitation_expires_at <= now
        or not hmac.compare_digest(member.invitation_sha256, digest)
    ):
        return None
    return Invited(member.id, email, member.name, digest)


def _tries(session: Session, email: str, address: str) -> dict[bytes, int]:
    return {
        attempts.email_subject(session, f"code {email}"): attempts.FREE,
        attempts.address_subject(session, address): attempts.FREE_OF_ADDRESS,
    }


def join(
    session: Session, invited: Invited, password_hash: str, *, address: str, now: datetime
) -> str:
    """Use an invitation up: set the password and return a session's token.

    For somebody who joined before it is a new password, and the end of all sessions; the
    second factor stays.
    """
    member = session.get(Member, invited.member_id, with_for_update=True)
    if member is None or member.ended_at or member.invitation_sha256 != invited.code_sha256:
        raise RegistryError(Kind.CONFLICT, "this code was used")
    kind = "member_joined" if member.joined_at is None else "member_password_changed"
    member.password_hash = password_hash
    member.invitation_sha256 = member.invitation_expires_at = None
    member.joined_at = member.joined_at or now
    if member.totp_confirmed_at is None:
        member.totp_secret = second_factor.new_secret()
    sessions.end_all(session, member.id, now)
    subject, of_address = _tries(session, invited.email, address)
    attempts.succeeded(session, subject, attempts.email_subject(session, invited.email))
    attempts.take_back(session, of_address)
    events.record(session, kind, now, member.organisation_id, about(member))
    return sessions.start(session, member.id, verified=False, now=now)


def about(member: Member) -> dict[str, object]:
    """Return what every event of a member says: ids alone, and no name."""
    return {
        "member": member.id,
        "organisation": member.organisation_id,
        "application": member.application_id,
        "role": member.role,
    }
