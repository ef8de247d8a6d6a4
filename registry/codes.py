"""One-time codes by SMS: sent within limits, tried a few times, used once, for one act.

SMS cost money and codes can be guessed, so both are counted: codes by number, by block of ten
thousand numbers, by network address and overall; wrong tries by code and by number. Nothing here
depends on whether the registry knows a number, so nobody learns that from an answer.
"""

import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import messenger
from registry.budgets import network
from registry.database import Clock, lock_codes, lock_number
from registry.errors import Kind, RegistryError
from registry.models import CodePurpose, Notice, OneTimeCode, number_key
from registry.numbers import SubscriberNumber, clean
from registry.policy import Codes

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Failure(StrEnum):
    """Why a code was not accepted. `WRONG` may be tried again, the others want a new code."""

    WRONG = "wrong"
    EXPIRED = "expired"
    TRIED_TOO_OFTEN = "tried_too_often"


def random_code() -> str:
    """Draw six digits."""
    return f"{secrets.randbelow(10**6):06}"


def issue(
    session: Session,
    number: SubscriberNumber,
    purpose: CodePurpose,
    *,
    address: str,
    limits: Codes,
    clock: Clock,
    region: str,
    language: str = "zh",
    subject_id: UUID | None = None,
    details: dict[str, str] | None = None,
    draw: Callable[[], str] = random_code,
) -> OneTimeCode:
    """Send a code to a number, for one act: `purpose` and, where it has one, its subject.

    `address` is where the request came from, `details` what else the SMS must say. Raises
    `INVALID_NUMBER` when no SMS can reach the number or it is another country's, and
    `RATE_LIMITED` with the seconds to wait when too many were asked for.
    """
    if not number.takes_sms:
        raise RegistryError(Kind.INVALID_NUMBER, "a landline takes no SMS")
    if number.region != region:
        raise RegistryError(Kind.INVALID_NUMBER, "codes go to numbers of this country only")
    lock_codes(session)
    now = clock()
    key = number_key(session.get_bind().dialect)
    row = OneTimeCode(
        id=uuid7(),
        purpose=purpose,
        number=number,
        subject_id=subject_id,
        prefix=key.digest(b"prefix " + number.e164[:-4].encode()),
        address=key.digest(b"address " + network(address).encode()),
        recorded_at=now,
        expires_at=now + timedelta(minutes=limits.minutes),
        tries=0,
    )
    _check_limits(session, row, limits, now)
    text = draw()
    row.digest = _digest(session, row.id, text)
    session.add(row)
    messenger.queue(
        session,
        Notice.CODE,
        number,
        row.id,
        now=now,
        language=language,
        details={**(details or {}), "purpose": purpose.value, "code": text},
        expires_at=row.expires_at,
    )
    session.flush()
    return row


def _check_limits(session: Session, asked: OneTimeCode, limits: Codes, now: datetime) -> None:
    """Raise when a code more would be too many; the wait is until the count is lower again.

    Nobody waits for a code that was used: asking for one tells nobody who signed in just now.
    """
    unused = OneTimeCode.used_at.is_(None)
    sent, first, left, last = session.execute(
        select(
            func.count(),
            func.min(OneTimeCode.recorded_at),
            func.count().filter(unused),
            func.max(OneTimeCode.recorded_at).filter(unused),
        ).where(OneTimeCode.number == asked.number, OneTimeCode.recorded_at > now - DAY)
    ).one()
    if sent >= limits.per_number_per_day:
        raise _too_many(first + DAY - now)
    tries_again = _tries_again(session, asked, limits, now)
    if tries_again is not None:
        raise _too_many(tries_again - now)  # An SMS would cost money for a code that is refused.
    if left:
        wait = min(timedelta(seconds=limits.first_wait_seconds) * 2 ** (left - 1), HOUR)
        if now < last + wait:
            raise _too_many(last + wait - now)
    for column, most in (
        (OneTimeCode.prefix, limits.per_prefix_per_hour),
        (OneTimeCode.address, limits.per_address_per_hour),
    ):
        same = column == getattr(asked, column.key)
        if _in_last_hour(session, now, same)[0] >= most:
            raise _too_many(HOUR)
    total, used = _in_last_hour(session, now)
    tripped = total >= limits.breaker_after and 100 * used < limits.breaker_percent_used * total
    if total >= (limits.per_hour // 10 if tripped else limits.per_hour):
        raise _too_many(HOUR)


def _tries_again(
    session: Session, asked: OneTimeCode, limits: Codes, now: datetime
) -> datetime | None:
    """Return when the number may try a code again, None when it may now."""
    rows = session.execute(
        select(OneTimeCode.recorded_at, OneTimeCode.tries)
        .where(
            OneTimeCode.number == asked.number,
            OneTimeCode.recorded_at > now - DAY,
            OneTimeCode.tries > 0,
        )
        .order_by(OneTimeCode.recorded_at)
    ).all()
    left = sum(row.tries for row in rows)
    for row in rows:
        if left < limits.tries_per_number_per_day:
            return None
        left -= row.tries
        if left < limits.tries_per_number_per_day:
            first: datetime = row.recorded_at
            return first + DAY
    return None


def _in_last_hour(session: Session, now: datetime, *where: object) -> tuple[int, int]:
    """Return how many codes were sent in the last hour, and how many of them were used."""
    counted = select(
        func.count(),
        func.coalesce(func.sum(case((OneTimeCode.used_at.is_not(None), 1), else_=0)), 0),
    ).where(OneTimeCode.recorded_at > now - HOUR, *where)  # type: ignore[arg-type]
    sent, used = session.execute(counted).one()
    return sent, used


def _too_many(wait: timedelta) -> RegistryError:
    seconds = max(1, -int(-wait.total_seconds() // 1))
    return RegistryError(Kind.RATE_LIMITED, "too many codes were asked for", retry_after=seconds)


def check(
    session: Session,
    code_id: UUID,
    purpose: CodePurpose,
    text: str,
    *,
    limits: Codes,
    clock: Clock,
) -> OneTimeCode | Failure:
    """Use a code up and return it, or say why not. A wrong try is counted: commit it, too.

    Of many right answers at once one succeeds; a new code does not give a number new tries.
    """
    row = session.get(OneTimeCode, code_id)
    if row is None or row.purpose is not purpose:
        return Failure.EXPIRED
    lock_number(session, row.number)
    session.refresh(row)
    now = clock()
    if row.used_at is not None or now >= row.expires_at:
        return Failure.EXPIRED
    if row.tries >= limits.tries or _tries(session, row, now) >= limits.tries_per_number_per_day:
        return Failure.TRIED_TOO_OFTEN
    digits = _read(text)
    if digits is None:
        return Failure.WRONG  # Not six digits is no guess.
    if not hmac.compare_digest(row.digest, _digest(session, row.id, digits)):
        row.tries += 1
        session.flush()
        return Failure.WRONG if row.tries < limits.tries else Failure.TRIED_TOO_OFTEN
    row.used_at = now
    session.flush()
    return row


def _tries(session: Session, row: OneTimeCode, now: datetime) -> int:
    """Return how many wrong tries the number had within a day, whatever the codes were for."""
    query = select(func.coalesce(func.sum(OneTimeCode.tries), 0)).where(
        OneTimeCode.number == row.number, OneTimeCode.recorded_at > now - DAY
    )
    return session.scalar(query) or 0


def _read(text: str) -> str | None:
    """Return the six digits of a code as people type them, None when they are none."""
    try:
        digits = clean(text.strip())
    except RegistryError:
        return None
    return digits if re.fullmatch(r"[0-9]{6}", digits) else None


def _digest(session: Session, code_id: UUID, text: str) -> bytes:
    key = number_key(session.get_bind().dialect)
    return key.digest(b"code " + code_id.bytes + text.encode())
