"""Claims: an organisation says that it holds a number, and an operator decides.

Several may claim a free number at once; the first approval wins. There is no way to hand a
number on: it is released, and whoever holds it next claims it (R12).
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry import events
from registry.consent import Channel, MessageClass
from registry.database import lock_holdings
from registry.errors import Kind, RegistryError, conflict, invalid
from registry.models import ApplicationState, NumberClaim
from registry.numbers import SendingNumber
from registry.senders import tree
from registry.senders.numbers import Holding, check_holder, hold
from registry.senders.organisations import PAGE, find
from registry.senders.problems import flush


def claim(
    session: Session,
    organisation_id: UUID,
    number: SendingNumber,
    holding: Holding,
    *,
    note: str | None,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> NumberClaim:
    """Ask, as an organisation, to be recorded as the holder of a number.

    Raises `CONFLICT` at once for what another holds, or holds part or more of.
    """
    claimant = find(session, organisation_id)
    check_holder(claimant)
    if holding.held_until is not None and holding.held_until <= now:
        raise invalid("held_until", "lies in the past")
    above = tree.check_free(session, organisation_id, number, now)
    holding.dates(above[0] if above else None, now)
    row = NumberClaim(
        id=uuid7(),
        number=number.text,
        kind=number.kind,
        claimant=claimant,
        **{word: word in holding.words for word in (*Channel, *MessageClass)},
        held_from=holding.held_from,
        held_until=holding.held_until,
        note=note,
        state=ApplicationState.SUBMITTED,
        recorded_at=now,
    )
    session.add(row)
    flush(session, "this organisation has claimed this number already")
    data = {
        "claim": row.id,
        "number": row.number,
        "claimant": organisation_id,
        "channels": sorted(holding.channels),
        "usages": sorted(holding.usages),
        "held_from": holding.held_from,
        "held_until": holding.held_until,
        **events.by_member(member_id),
    }
    events.record(session, "number_claimed", now, actor_id, data)
    return row


def decide_claim(
    session: Session,
    claim_id: UUID,
    *,
    approve: bool,
    reason: str | None,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> NumberClaim:
    """Approve a claim, by which its number is held, or reject it with a reason, as an operator.

    When the number went to another meanwhile an approval raises `CONFLICT` and the claim stays.
    """
    row = _open(session, claim_id)
    if approve:
        number = SendingNumber(row.number, row.kind)
        held = hold(session, row.organisation_id, number, _wanted(row), actor_id=actor_id, now=now)
        row.holding_id = held.id
    elif reason is None:
        raise invalid("reason", "is needed to reject a claim")
    row.reason = reason
    state = ApplicationState.APPROVED if approve else ApplicationState.REJECTED
    return _closed(session, row, state, actor_id, now, member_id)


def withdraw_claim(
    session: Session,
    claim_id: UUID,
    *,
    organisation_id: UUID,
    now: datetime,
    member_id: UUID | None = None,
) -> NumberClaim:
    """Take a claim back, as its claimant."""
    own_claim(session, claim_id, organisation_id)
    row = _open(session, claim_id)
    return _closed(session, row, ApplicationState.WITHDRAWN, organisation_id, now, member_id)


def _wanted(row: NumberClaim) -> Holding:
    channels = tuple(word for word in Channel if getattr(row, word))
    usages = tuple(word for word in MessageClass if getattr(row, word))
    return Holding(channels, usages, row.held_from, row.held_until)


def _open(session: Session, claim_id: UUID) -> NumberClaim:
    """Return a claim that is undecided, once nobody else can decide it any more."""
    lock_holdings(session)
    query = _of().where(NumberClaim.id == claim_id).execution_options(populate_existing=True)
    row = session.scalar(query)
    if row is None:
        raise _not_found()
    if row.state is not ApplicationState.SUBMITTED:
        raise conflict(f"this claim is {row.state} already")
    return row


def _closed(
    session: Session,
    row: NumberClaim,
    state: ApplicationState,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None,
) -> NumberClaim:
    row.state, row.decided_at, row.decided_by = state, now, actor_id
    data = {
        "claim": row.id,
        "claimant": row.organisation_id,
        "holding": row.holding_id,
        **events.by_member(member_id),
    }
    events.record(session, f"number_claim_{state}", now, actor_id, data)
    session.flush()
    return row


def find_claim(session: Session, claim_id: UUID) -> NumberClaim:
    """Return anybody's claim, to an operator."""
    row = session.scalar(_of().where(NumberClaim.id == claim_id))
    if row is None:
        raise _not_found()
    return row


def own_claim(session: Session, claim_id: UUID, organisation_id: UUID) -> NumberClaim:
    """Return an organisation's own claim; another's is `NOT_FOUND`."""
    row = find_claim(session, claim_id)
    if row.organisation_id != organisation_id:
        raise _not_found()
    return row


def claims(
    session: Session,
    *,
    organisation_id: UUID | None = None,
    state: ApplicationState | None = None,
    after: UUID | None = None,
    newest_first: bool = False,
) -> Sequence[NumberClaim]:
    """Return a page of claims, the oldest first: an organisation's, or everybody's to operators.

    `after` is the last one of the page before.
    """
    query = _of()
    if organisation_id is not None:
        query = query.where(NumberClaim.organisation_id == organisation_id)
    if state is not None:
        query = query.where(NumberClaim.state == state)
    if after is not None:
        query = query.where(NumberClaim.id < after if newest_first else NumberClaim.id > after)
    order = NumberClaim.id.desc() if newest_first else NumberClaim.id.asc()
    return session.scalars(query.order_by(order).limit(PAGE)).all()


def _of() -> Select[NumberClaim]:
    return select(NumberClaim).options(joinedload(NumberClaim.claimant))


def _not_found() -> RegistryError:
    return RegistryError(Kind.NOT_FOUND, "there is no such claim")
