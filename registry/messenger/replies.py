"""Reply codes: the small numbers by which an answer by SMS says what it answers ("Y12")."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.database import lock_number
from registry.messenger.subjects import still_asked
from registry.models import OutboxItem
from registry.numbers import SubscriberNumber

CODES = range(1, 100)


def draw_reply_code(session: Session, number: SubscriberNumber, now: datetime) -> int | None:
    """Return a code for a question to a number, under the number's lock.

    It is the smallest that was never used, else the one not used for longest: a late answer to
    an old question never agrees to a new one. One whose question is still open is passed by;
    None when all are, and such a question is answered in the portal.
    """
    lock_number(session, number)
    last_use = (
        select(OutboxItem.reply_code, func.max(OutboxItem.recorded_at))
        .where(OutboxItem.number == number, OutboxItem.reply_code.is_not(None))
        .group_by(OutboxItem.reply_code)
    )
    used: dict[int | None, datetime] = dict(iter(session.execute(last_use)))
    free = next((code for code in CODES if code not in used), None)
    if free is not None:
        return free
    by_age = sorted(CODES, key=lambda code: used[code])
    return next((code for code in by_age if not _is_open(session, number, code, now)), None)


def _is_open(session: Session, number: SubscriberNumber, code: int, now: datetime) -> bool:
    asked = question(session, number, code)
    return asked is not None and still_asked(session, asked, now)


def code_of(session: Session, number: SubscriberNumber, subject_id: UUID) -> int | None:
    """Return the code that answers a question to a number, if it was put by SMS."""
    query = select(OutboxItem.reply_code).where(
        OutboxItem.number == number,
        OutboxItem.subject_id == subject_id,
        OutboxItem.reply_code.is_not(None),
    )
    return session.scalar(query.limit(1))


def question(
    session: Session, number: SubscriberNumber, code: int, since: datetime | None = None
) -> OutboxItem | None:
    """Return the newest message to a number that carries a reply code, since its tenure began."""
    query = select(OutboxItem).where(OutboxItem.number == number, OutboxItem.reply_code == code)
    if since is not None:
        query = query.where(OutboxItem.recorded_at >= since)
    return session.scalar(query.order_by(OutboxItem.recorded_at.desc(), OutboxItem.id.desc()))
