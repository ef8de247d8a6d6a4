"""How holdings lie above and beneath each other, and how one comes in and goes out.

Many kinds of numbers may be part of a longer one, so holdings form trees: what lies beneath
another holding is an extension of it, one deeper. None outlives what it lies beneath, and ends
with it. Whoever changes a tree holds `lock_holdings`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session, joinedload
from uuid_utils.compat import uuid7

from registry import events
from registry.consent import Channel, MessageClass
from registry.errors import conflict
from registry.models import Organisation, SenderNumber
from registry.numbers import SendingNumber
from registry.senders.problems import flush

LONGEST = 20
"""Digits of a sending number."""
_OVERLAP = "this number, or one that it is part of, is or was held at that time"


def of(*where: ColumnElement[bool]) -> Select[SenderNumber]:
    """Select holdings with their holders."""
    return select(SenderNumber).options(joinedload(SenderNumber.holder)).where(*where)


def unlapsed(now: datetime) -> ColumnElement[bool]:
    """Tell of a holding whether its dates have not passed; it may begin only later."""
    return or_(SenderNumber.held_until.is_(None), SenderNumber.held_until > now)


def same(session: Session, number: SendingNumber) -> SenderNumber | None:
    """Return the unreleased holding of exactly this number."""
    return session.scalar(
        of(SenderNumber.number == number.text, SenderNumber.released_at.is_(None))
    )


def above(session: Session, number: SendingNumber) -> Sequence[SenderNumber]:
    """Return the unreleased holdings that a number lies beneath, the longest first."""
    query = of(SenderNumber.number.in_(number.holdings[1:]), SenderNumber.released_at.is_(None))
    return sorted(session.scalars(query), key=lambda row: len(row.number), reverse=True)


def beneath(session: Session, number: SendingNumber) -> Sequence[SenderNumber]:
    """Return the unreleased holdings that lie beneath a number, the deepest first."""
    if not number.extendable:
        return []
    return session.scalars(of(*lies_beneath(number)).order_by(SenderNumber.depth.desc())).all()


def lies_beneath(number: SendingNumber) -> list[ColumnElement[bool]]:
    """Tell of a holding whether it is unreleased and lies beneath a number."""
    return [
        # Both databases find a range of digits in the index of numbers, but not a beginning.
        SenderNumber.number.between(number.text, number.text.ljust(LONGEST, "9")),
        SenderNumber.number.startswith(number.text, autoescape=True),
        SenderNumber.number != number.text,
        SenderNumber.released_at.is_(None),
    ]


def ports(session: Session, rows: Iterable[SenderNumber]) -> Mapping[UUID, Organisation]:
    """Return whose port each extension is part of, by the id of its holding.

    What lies beneath its own holder's numbers only is nobody else's port, and is left out.
    """
    found: dict[UUID, Organisation] = {}
    climbing = [(row.id, row.organisation_id, row.parent_id) for row in rows if row.parent_id]
    while climbing:
        query = of(SenderNumber.id.in_({parent_id for _, _, parent_id in climbing}))
        parents = {row.id: row for row in session.scalars(query)}
        higher = []
        for row_id, holder_id, parent_id in climbing:
            parent = parents[parent_id]
            if parent.organisation_id != holder_id:
                found[row_id] = parent.holder
            elif parent.parent_id is not None:
                higher.append((row_id, holder_id, parent.parent_id))
        climbing = higher
    return found


def insert(
    session: Session,
    row: SenderNumber,
    extensions: Sequence[SenderNumber],
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> SenderNumber:
    """Add a holding above its extensions, which go one deeper.

    Where there are some it comes in for no time at all until they have made room: no two of one
    depth may share a number. Raises `CONFLICT` when one of them would outlive it.
    """
    if any(not _ends_by(extension, row.held_until) for extension in extensions):
        raise conflict("a longer number that begins with this one is held for longer")
    if extensions:
        row.released_at = row.held_from
    session.add(row)
    flush(session, _OVERLAP)
    for extension in extensions:
        if extension.depth == row.depth:
            extension.parent_id = row.id
        extension.depth += 1
        flush(session, _OVERLAP)
    row.released_at = None
    flush(session, _OVERLAP)
    data = {
        "holding": row.id,
        "number": row.number,
        "holder": row.organisation_id,
        "channels": sorted(channels(row)),
        "usages": sorted(usages(row)),
        "held_from": row.held_from,
        "held_until": row.held_until,
        "parent": row.parent_id,
        **events.by_member(member_id),
    }
    events.record(session, "sending_number_held", now, actor_id, data)
    return row


def _ends_by(row: SenderNumber, last: datetime | None) -> bool:
    return last is None or (row.held_until is not None and row.held_until <= last)


def channels(row: SenderNumber) -> list[Channel]:
    """Return what may go out from a number: SMS, calls."""
    return [word for word in Channel if getattr(row, word)]


def usages(row: SenderNumber) -> list[MessageClass]:
    """Return the classes of messages that may come from a number."""
    return [word for word in MessageClass if getattr(row, word)]


def make(
    number: SendingNumber,
    holder: Organisation,
    words: Collection[Channel | MessageClass],
    dates: tuple[datetime, datetime | None],
    parent: SenderNumber | None,
    now: datetime,
) -> SenderNumber:
    """Return the row of a holding, which is not added yet."""
    return SenderNumber(
        id=uuid7(),
        number=number.text,
        kind=number.kind,
        organisation_id=holder.id,
        holder=holder,
        **{word: word in words for word in (*Channel, *MessageClass)},
        held_from=dates[0],
        held_until=dates[1],
        recorded_at=now,
        parent_id=parent.id if parent else None,
        depth=parent.depth + 1 if parent else 0,
    )


def release_lapsed(
    session: Session, number: SendingNumber, actor_id: UUID | None, now: datetime
) -> None:
    """End what has lapsed of a number, of those that it is part of, and of those beneath it."""
    for row in [*beneath(session, number), same(session, number), *above(session, number)]:
        if row is not None and row.held_until is not None and row.held_until <= now:
            release(session, row, actor_id, now, released_at=row.held_until)


def release(
    session: Session,
    row: SenderNumber,
    actor_id: UUID | None,
    now: datetime,
    *,
    released_at: datetime | None = None,
    member_id: UUID | None = None,
) -> None:
    """End a holding, and first all that lies beneath it, whoever holds that."""
    more = events.by_member(member_id)
    for extension in beneath(session, SendingNumber(row.number, row.kind)):
        _end(session, extension, released_at or now, actor_id, now, {"with": row.id, **more})
    _end(session, row, released_at or now, actor_id, now, more)


def _end(
    session: Session,
    row: SenderNumber,
    released_at: datetime,
    actor_id: UUID | None,
    now: datetime,
    more: Mapping[str, UUID],
) -> None:
    row.released_at = released_at
    row.release_recorded_at = now
    data = {"holding": row.id, "number": row.number, "released_at": released_at, **more}
    events.record(session, "sending_number_released", now, actor_id, data)
    session.flush()


def check_free(
    session: Session, organisation_id: UUID, number: SendingNumber, now: datetime
) -> Sequence[SenderNumber]:
    """Return what an organisation holds above a number that it may have, the longest first.

    Raises `CONFLICT` for a number that is held, and for one that another holds part of, or holds
    more of: numbers are not transferred, and nobody captures part of another's (R12).
    """

    def standing(rows: Iterable[SenderNumber | None]) -> list[SenderNumber]:
        return [row for row in rows if row and (row.held_until is None or row.held_until > now)]

    for row in standing([same(session, number)]):
        mine = row.organisation_id == organisation_id
        raise conflict(
            "this organisation holds this number already"
            if mine
            else "another organisation holds this number, and numbers are never transferred"
        )
    over = standing(above(session, number))
    if any(row.organisation_id != organisation_id for row in over):
        raise conflict("this number is part of one that another organisation holds")
    if any(row.organisation_id != organisation_id for row in standing(beneath(session, number))):
        raise conflict("another organisation holds a longer number that begins with this one")
    return over
