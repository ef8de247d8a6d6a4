"""How often somebody may try to get in: counted before the try, and waits that grow.

What is counted are e-mails, whether known here or not, second factors, and network addresses.
Counting first makes the limit hold for parallel tries, too; what succeeds is taken back.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from registry.budgets import network
from registry.errors import Kind, RegistryError
from registry.models import Attempt, number_key

FREE, FREE_OF_ADDRESS, FREE_APPLICATIONS = 5, 30, 10
"""Tries before the first wait. Many people may share one address."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
FORGOTTEN_AFTER = timedelta(days=1)
_INSERT = {
    "postgresql": postgresql.insert(Attempt).on_conflict_do_nothing(),
    "sqlite": sqlite.insert(Attempt).on_conflict_do_nothing(),
}


def email_subject(session: Session, email: str) -> bytes:
    """Return what tries with an e-mail are counted under."""
    return _digest(session, f"e-mail {email}")


def factor_subject(session: Session, member_id: object) -> bytes:
    """Return what tries of a member's second factor are counted under."""
    return _digest(session, f"factor {member_id}")


def address_subject(session: Session, address: str) -> bytes:
    """Return what tries from a network address are counted under."""
    return _digest(session, f"address {network(address)}")


def count(session: Session, free: Mapping[bytes, int], now: datetime) -> None:
    """Count a try of each subject; raises `RATE_LIMITED`, and counts none, while one must wait.

    `free` says for each how many tries there are before the first wait.
    """
    found = {subject: _locked(session, subject, now) for subject in sorted(free)}
    waits = [row.locked_until - now for row in found.values() if row.locked_until]
    longest = max(waits, default=timedelta())
    if longest > timedelta():
        seconds = -int(-longest.total_seconds() // 1)
        raise RegistryError(Kind.RATE_LIMITED, "too many tries", retry_after=seconds)
    for subject, row in found.items():
        row.failures += 1
        row.tried_at = now
        row.locked_until = _locked_until(row.failures - free[subject], now)
    session.flush()


def _locked(session: Session, subject: bytes, now: datetime) -> Attempt:
    """Return a subject's row, which nobody else changes until the transaction ends."""
    connection = session.connection()
    new = {"subject": subject, "failures": 0, "tried_at": now, "locked_until": None}
    connection.execute(_INSERT[connection.dialect.name], new)
    query = select(Attempt).where(Attempt.subject == subject).with_for_update()
    row = session.scalars(query.execution_options(populate_existing=True)).one()
    if row.tried_at <= now - FORGOTTEN_AFTER:
        row.failures, row.locked_until = 0, None
    return row


def _locked_until(over: int, now: datetime) -> datetime | None:
    """Return until when nobody may try again, by how many tries were made beyond the free ones."""
    if over < 0:
        return None
    return now + min(FIRST_WAIT * 2.0 ** min(over, 20), LONGEST_WAIT)


def succeeded(session: Session, *subjects: bytes) -> None:
    """Forget the tries of subjects: somebody got in."""
    session.execute(delete(Attempt).where(Attempt.subject.in_(subjects)))


def take_back(session: Session, subject: bytes) -> None:
    """Take the last try of a subject back, which others may have tried, too."""
    session.execute(
        update(Attempt)
        .where(Attempt.subject == subject, Attempt.failures > 0)
        .values(failures=Attempt.failures - 1, locked_until=None)
    )


def count_application(session: Session, address: str, now: datetime) -> None:
    """Count an application from a network address; raises `RATE_LIMITED` after many."""
    subject = _digest(session, f"application {network(address)}")
    count(session, {subject: FREE_APPLICATIONS}, now)


def _digest(session: Session, text: str) -> bytes:
    return number_key(session.get_bind().dialect).digest(b"attempt " + text.encode())
