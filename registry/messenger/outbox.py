"""The outbox: messages are queued with the change that they tell of, and sent once each.

A message is claimed, and the claim committed, before it is sent; what became of it is recorded
after. So a worker that dies in between leaves it `sending`, and nobody sends it meanwhile.
`rescue` frees it: to be sent again where its gateway knows a repetition (HTTP, by the
Idempotency-Key), and as `uncertain` where it does not (SMPP).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, exists, func, literal, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.errors import Kind, RegistryError
from registry.ledger.hours import standing_hours
from registry.messenger.backends import Accepted, Outcome, Refused, Unavailable
from registry.models import Notice, OutboxItem, OutboxState
from registry.numbers import SubscriberNumber
from registry.policy import ContactHours

URGENT = (Notice.CODE, Notice.REPLY)
"""What a person waits for, phone in hand, codes first; it waits behind nothing else."""
BY_DAY = (
    Notice.CONSENT_ASSERTED,
    Notice.CONSENTS_ASSERTED,
    Notice.CONSENT_REQUESTED,
    Notice.CHALLENGE_ANSWERED,
    Notice.CONSENT_VOIDED,
    Notice.COMPLAINT_MOVED,
)
"""What nobody waits for, and nobody is woken for."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
MOST_ATTEMPTS = 30
"""Waiting twice as long each time, up to an hour, these take a day."""
REPEATABLE = "http"
"""The kind of backend whose gateway makes one message of all repetitions."""
ASIDE = timedelta(seconds=1)
HTTP_LEASE, LEASE = timedelta(minutes=2), timedelta(minutes=10)
"""Longer than a send may take; what is `sending` for longer has lost its worker."""


def queue(
    session: Session,
    notice: Notice,
    number: SubscriberNumber,
    subject_id: UUID,
    *,
    now: datetime,
    language: str = "zh",
    details: Mapping[str, Any] | None = None,
    try_at: datetime | None = None,
    expires_at: datetime | None = None,
    reply_code: int | None = None,
    item_id: UUID | None = None,
) -> OutboxItem:
    """Queue an SMS in the caller's transaction: it goes out if, and only if, that commits.

    `details` is what its text needs besides the subject; it is wiped when the message is done.
    """
    item = OutboxItem(
        id=item_id or uuid7(),
        notice=notice,
        number=number,
        subject_id=subject_id,
        language=language,
        details=None if details is None else json.dumps(dict(details), ensure_ascii=False),
        recorded_at=now,
        try_at=try_at or now,
        expires_at=expires_at,
        reply_code=reply_code,
    )
    session.add(item)
    session.flush()
    return item


def details(item: OutboxItem) -> dict[str, Any]:
    """Return what was queued beside the subject; nothing when it was wiped."""
    found: dict[str, Any] = json.loads(item.details) if item.details else {}
    return found


def _in_state(state: OutboxState) -> ColumnElement[bool]:
    # Written into the statement: the indexes of what is due are partial, by state.
    return OutboxItem.state == literal(state, OutboxItem.state.type, literal_execute=True)


def _is_urgent() -> ColumnElement[bool]:
    kinds = [literal(kind, OutboxItem.notice.type, literal_execute=True) for kind in URGENT]
    return OutboxItem.notice.in_(kinds)


def due(connection: Connection, now: datetime, *, urgent: bool) -> bool:
    """Tell whether a message is due; with `urgent`, one of those that nobody may delay."""
    query = exists().where(_in_state(OutboxState.WAITING), OutboxItem.try_at <= now)
    return bool(connection.scalar(select(query.where(_is_urgent()) if urgent else query)))


Gather = Callable[[Session, OutboxItem, datetime], OutboxItem | None]
"""Returns what to claim in place of a message: itself, another that says it, too, or nothing."""


@dataclass(frozen=True)
class Claim:
    """The right to send one message: whoever has it is the only one."""

    item_id: UUID
    claimed_at: datetime


def claim(
    session: Session,
    now: datetime,
    *,
    urgent: bool,
    backend: str,
    hours: ContactHours | None = None,
    gather: Gather | None = None,
) -> OutboxItem | None:
    """Take the next message that is due: a code, a reply, then what is due longest.

    One that nobody waits for is put off until `hours` open where its number is, and returned
    without a claim. `gather` may name another to be claimed in its place. Other workers pass by a
    message that one is about to claim.
    """
    item = _next(session, now, urgent=urgent)
    if item is None:
        return None
    opens = _opens(session, item, hours, now)
    if opens > now:
        item.try_at = opens
        return item
    if gather is not None:
        instead = gather(session, item, now)
        if instead is None:  # Others wait behind it: it steps aside until its number is free.
            item.try_at = now + ASIDE
            return item
        item = instead
    item.state = OutboxState.SENDING
    item.claimed_at = now
    item.tried_at = item.tried_at or now
    item.attempts += 1
    item.reference = backend
    return item


def _opens(
    session: Session, item: OutboxItem, hours: ContactHours | None, now: datetime
) -> datetime:
    """Return when a message may go out; a sender's question also heeds its reader's own hours."""
    if hours is None or item.notice not in BY_DAY:
        return now
    if item.notice is Notice.CONSENT_REQUESTED:
        own = standing_hours(session, item.number)
        hours = (own and hours.within(ContactHours(own.opens, own.closes))) or hours
    zones = item.number.zones
    # Where no time suits all zones that a number may be in, its first one counts.
    return hours.opens(now, zones) or hours.opens(now, zones[:1]) or now


def _next(session: Session, now: datetime, *, urgent: bool) -> OutboxItem | None:
    waiting = (
        select(OutboxItem)
        .where(_in_state(OutboxState.WAITING), OutboxItem.try_at <= now)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    item = session.scalar(
        waiting.where(_is_urgent()).order_by(OutboxItem.notice, OutboxItem.try_at)
    )
    if item is None and not urgent:
        item = session.scalar(waiting.order_by(OutboxItem.try_at))
    return item


def merge(item: OutboxItem, digest_id: UUID) -> None:
    """Let a message that waits be said by another one."""
    _close(item, OutboxState.MERGED)
    item.merged_into = digest_id


def merged(session: Session, digest_id: UUID) -> Sequence[OutboxItem]:
    """Return the messages that a digest says, in the order in which they were recorded."""
    query = select(OutboxItem).where(OutboxItem.merged_into == digest_id)
    return session.scalars(query.order_by(OutboxItem.recorded_at, OutboxItem.id)).all()


def drop(item: OutboxItem) -> None:
    """Give up a message that nobody needs any more."""
    _close(item, OutboxState.EXPIRED)
    item.text = None
    item.reference = None


def fail(item: OutboxItem) -> None:
    """Give up a claimed message that cannot be sent at all."""
    _close(item, OutboxState.FAILED)
    item.reference = None


def record(
    session: Session, claim: Claim, outcome: Outcome, now: datetime, *, jitter: float = 0.0
) -> OutboxItem | None:
    """Record what became of a claimed message; None when another took it over meanwhile.

    `jitter` (0 to 1) spreads the next tries of many messages over a fifth of their wait.
    """
    item = session.get(OutboxItem, claim.item_id, with_for_update=True)
    if item is None or item.claimed_at != claim.claimed_at:
        return None
    if item.state not in (OutboxState.SENDING, OutboxState.UNCERTAIN):
        return None
    item.reference = None
    match outcome:
        case Accepted():
            _close(item, OutboxState.SENT)
            item.sent_at = now
            item.reference = outcome.reference
        case Refused():
            _close(item, OutboxState.FAILED)
        case Unavailable() if item.attempts >= MOST_ATTEMPTS:
            _close(item, OutboxState.FAILED)
        case Unavailable():
            item.state = OutboxState.WAITING
            item.claimed_at = None
            item.try_at = now + _wait(item.attempts, outcome.retry_after, jitter)
        case _:
            _close(item, OutboxState.UNCERTAIN)
    session.flush()
    return item


def _wait(attempts: int, retry_after: float, jitter: float) -> timedelta:
    wait = min(FIRST_WAIT * float(1 << min(attempts - 1, MOST_ATTEMPTS)), LONGEST_WAIT)
    asked = min(timedelta(seconds=retry_after), LONGEST_WAIT)
    return max(wait, asked) * (1 + jitter / 5)


def _close(item: OutboxItem, state: OutboxState) -> None:
    item.state = state
    item.details = None


def rescue(session: Session, now: datetime) -> dict[OutboxState, int]:
    """Free what lost its worker while it was sent; return how many went to which state."""
    sending = _in_state(OutboxState.SENDING)
    again = update(OutboxItem).where(
        sending, OutboxItem.reference == REPEATABLE, OutboxItem.claimed_at < now - HTTP_LEASE
    )
    lost = update(OutboxItem).where(
        sending,
        func.coalesce(OutboxItem.reference, "") != REPEATABLE,
        OutboxItem.claimed_at < now - LEASE,
    )
    connection = session.connection()
    freed = again.values(state=OutboxState.WAITING, claimed_at=None, try_at=now, reference=None)
    # The claim stays: a worker that was only very slow may still say what became of it.
    uncertain = lost.values(state=OutboxState.UNCERTAIN, details=None, reference=None)
    return {
        OutboxState.WAITING: connection.execute(freed).rowcount,
        OutboxState.UNCERTAIN: connection.execute(uncertain).rowcount,
    }


def expire(session: Session, now: datetime) -> int:
    """Give up what waited until it was worth nothing, and wipe what it would have said."""
    old = update(OutboxItem).where(_in_state(OutboxState.WAITING), OutboxItem.expires_at <= now)
    values = old.values(state=OutboxState.EXPIRED, details=None, text=None)
    return session.connection().execute(values).rowcount


def resend(session: Session, item_id: UUID, now: datetime) -> OutboxItem:
    """Send an uncertain or failed message again, because an operator says so.

    One that could not be worded is worded anew; any other says the same as before.
    Of an uncertain one nobody knows whether it went out, so its reader may get it twice.
    """
    item = session.get(OutboxItem, item_id, with_for_update=True)
    if item is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such message")
    if item.state not in (OutboxState.UNCERTAIN, OutboxState.FAILED):
        raise RegistryError(Kind.CONFLICT, f"this message is {item.state}")
    if item.notice in URGENT:
        raise RegistryError(Kind.CONFLICT, "nobody waits for this message any more")
    if item.state is OutboxState.FAILED:
        item.tried_at = None  # Nobody has read it.
    item.state = OutboxState.WAITING
    item.attempts = 0
    item.claimed_at = None
    item.try_at = now
    session.flush()
    return item


def newest(session: Session, state: OutboxState | None, most: int) -> Sequence[OutboxItem]:
    """Return the newest messages, of one state or of all."""
    query = select(OutboxItem).order_by(OutboxItem.id.desc()).limit(most)
    if state is not None:
        query = query.where(OutboxItem.state == state)
    return session.scalars(query).all()
