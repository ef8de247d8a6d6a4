"""Digests: one SMS for all assertions that wait to be told to one number.

Merging belongs to the transaction that claims the digest. A worker that dies leaves it claimed,
or leaves everything as it was, and an assertion is never told twice, nor by nobody.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.database import try_lock_number
from registry.messenger import outbox, subjects
from registry.models import Notice, OutboxItem, OutboxState
from registry.numbers import SubscriberNumber

MOST = 100
"""Assertions that one digest tells of; what is beyond waits for the next."""


def gather(session: Session, item: OutboxItem, now: datetime, *, least: int) -> OutboxItem | None:
    """Return what to send instead of a message that is about to be claimed.

    That is a digest when at least so many assertions, this one among them, wait to be told to its
    number; else it is the message itself. None when somebody else is busy with that number: then
    it is not to be claimed now, lest two digests divide what one could say.
    """
    if item.notice is not Notice.CONSENT_ASSERTED or item.tried_at is not None:
        return item  # One that was handed over may have been read.
    if not try_lock_number(session, item.number):
        return None
    waiting = _waiting(session, item.number)
    told = [it for it in waiting if subjects.facts(session, it, now) is not None]
    if len(told) < least:
        return item
    digest_id = uuid7()
    for each in waiting:
        if each in told:
            outbox.merge(each, digest_id)
        else:
            outbox.drop(each)
    return outbox.queue(
        session,
        Notice.CONSENTS_ASSERTED,
        item.number,
        digest_id,
        now=now,
        language=item.language,
        item_id=digest_id,
    )


def _waiting(session: Session, number: SubscriberNumber) -> list[OutboxItem]:
    query = (
        select(OutboxItem)
        .where(
            OutboxItem.number == number,
            OutboxItem.notice == Notice.CONSENT_ASSERTED,
            OutboxItem.state == OutboxState.WAITING,
            OutboxItem.tried_at.is_(None),
        )
        .order_by(OutboxItem.recorded_at, OutboxItem.id)
        .limit(MOST)
        # Another lane that is about to claim one of them does not wait for anything: see above.
        .with_for_update()
    )
    return list(session.scalars(query))
