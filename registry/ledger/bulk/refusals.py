"""Many refusals at once, which their subscribers uttered to a carrier."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils
from sqlalchemy import update
from sqlalchemy.orm import Session

from registry.consent import End
from registry.database import Clock, lock_numbers
from registry.errors import RegistryError
from registry.ledger import refusals
from registry.ledger.acts import By
from registry.ledger.bulk import payloads, reading
from registry.ledger.bulk.lines import LineResult, Outcome, check_group, once
from registry.ledger.bulk.writing import Block, Id, Same, blocks, insert_many, with_id
from registry.ledger.refusals import Scope
from registry.models import ANY, OrganisationKind, Refusal, Via, number_key
from registry.numbers import SubscriberNumber, split_tokens

Line = tuple[bytes, SubscriberNumber, Scope, Via]


def refuse_many(
    session: Session, lines: Sequence[Line], *, by_organisation_id: UUID, clock: Clock
) -> list[LineResult]:
    """Record refusals that a carrier reports, at most `GROUP`, as `ledger.refuse` would."""
    check_group(lines)
    if not lines:
        return []
    numbers = [number for _, number, *_ in lines]
    lock_numbers(session, numbers)
    now = clock()
    tokens = split_tokens(number_key(session.get_bind().dialect).tokens(numbers))

    def apply(known: dict[bytes, UUID]) -> list[LineResult]:
        connection = session.connection()
        senders = {scope.sender_id for _, _, scope, _ in lines if scope.sender_id}
        with reading.by_index(connection):
            standing = reading.standing_refusals(connection, set(tokens))
        kinds = reading.organisation_kinds(connection, senders) if senders else {}
        group = _Group(by_organisation_id, now, known, dict(standing), kinds)
        results = [group.apply(*line, token) for line, token in zip(lines, tokens, strict=True)]
        _write(session, group)
        return results

    return once(session, Refusal, [key for key, *_ in lines], apply)


@dataclass(slots=True)
class _Applied:
    """A line that leads to a refusal."""

    key: bytes
    number: SubscriberNumber
    scope: Scope
    via: Via
    token: bytes
    superseded: Id | None
    refusal_id: uuid_utils.UUID = field(default_factory=uuid_utils.uuid7)
    ended: bool = False


@dataclass(slots=True)
class _Group:
    """Decides line after line, each from what is known and from what the ones before did."""

    organisation_id: UUID
    now: datetime
    known: dict[bytes, UUID]
    standing: dict[reading.Place, UUID | _Applied]
    kinds: dict[UUID, OrganisationKind]
    applied: list[_Applied] = field(default_factory=list)
    superseded: list[UUID] = field(default_factory=list)
    """What the database holds and something of this group takes the place of."""

    def apply(
        self, key: bytes, number: SubscriberNumber, scope: Scope, via: Via, token: bytes
    ) -> LineResult:
        """Decide one line."""
        known = self.known.get(key)
        if known is not None:
            return LineResult(Outcome.REPEATED, None, known)
        if scope.sender_id is not None:
            try:
                refusals.check_sender(self.kinds.get(scope.sender_id))
            except RegistryError as error:
                return LineResult(Outcome.REJECTED, error.detail, None)
        place = (token, scope.channel or ANY, scope.topic or ANY, scope.sender_id)
        superseded = self._supersede(place)
        line = _Applied(key, number, scope, via, token, superseded)
        self.standing[place] = line
        self.applied.append(line)
        refusal_id = self.known[key] = UUID(int=line.refusal_id.int)
        return LineResult(Outcome.APPLIED, None, refusal_id)

    def _supersede(self, place: reading.Place) -> Id | None:
        """End the standing refusal of the same scope, and return its id."""
        before = self.standing.get(place)
        if isinstance(before, _Applied):
            before.ended = True
            return before.refusal_id
        if before is not None:
            self.superseded.append(before)
        return before


def _write(session: Session, group: _Group) -> None:
    if not group.applied:
        return
    connection = session.connection()
    if group.superseded:
        this = with_id(connection, Refusal.id, group.superseded)
        ends = {
            "ended_at": group.now,
            "end_recorded_at": group.now,
            "end_reason": End.SUPERSEDED,
        }
        with reading.by_index(connection):
            connection.execute(update(Refusal).where(this).values(ends))
    event_ids = payloads.record(session, refusals.REFUSED, group.now, list(_said(group)))
    # The keys' order is that in which every group writes them: see `once`.
    rows = sorted(zip(group.applied, event_ids, strict=True), key=lambda row: row[0].key)
    insert_many(session, Refusal, _rows(group, rows))


def _said(group: _Group) -> Iterator[payloads.Said]:
    """Yield what the events say, in the order of the lines."""
    patterns: dict[tuple[Scope, Via], str] = {}
    for line in group.applied:
        shape = (line.scope, line.via)
        pattern = patterns.get(shape)
        if pattern is None:
            data = refusals.refused_data(payloads.HOLE, line.scope, payloads.OPEN_HOLE)
            by = By(line.via, group.organisation_id)
            pattern = payloads.pattern(refusals.REFUSED, group.now, by, data)
            patterns[shape] = pattern
        superseded = "null" if line.superseded is None else f'"{line.superseded}"'
        values = (str(line.refusal_id), superseded)
        yield payloads.Said(line.number, line.token, pattern, values)


def _rows(group: _Group, rows: Sequence[tuple[_Applied, int]]) -> Iterator[Block]:
    for block in blocks(rows):
        lines = [line for line, _ in block]
        ended: list[Any] = [group.now if line.ended else None for line in lines]
        yield {
            "id": [line.refusal_id for line in lines],
            "number": [line.token for line in lines],
            "channel": [line.scope.channel or ANY for line in lines],
            "topic": [line.scope.topic or ANY for line in lines],
            "sender_id": [line.scope.sender_id for line in lines],
            "via": [line.via for line in lines],
            "recorded_by": Same(group.organisation_id),
            "event_id": [event_id for _, event_id in block],
            "recorded_at": Same(group.now),
            "ended_at": ended,
            "end_recorded_at": ended,
            "end_reason": [end and End.SUPERSEDED for end in ended],
            "line_key": [line.key for line in lines],
        }
