"""The events of a group: canonical payloads from patterns, commitments, and their rows.

Events of one shape differ in few places. A pattern is made by the functions that make a single
event, with holes for what differs, so that it says whatever they say.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy.orm import Session

from registry import events
from registry.ledger.acts import By
from registry.ledger.bulk.writing import Block, Same, blocks, draw_event_ids, insert_many
from registry.models import Event, EventOpening
from registry.numbers import SubscriberNumber

HOLE = str(uuid4())
"""What stands for a string that differs from event to event."""
OPEN_HOLE = str(uuid4())
"""What stands for another value that differs; what fills it is written as JSON."""
SALT = 32


def pattern(kind: str, now: datetime, by: By, data: Mapping[str, Any]) -> str:
    """Return the payload of events that differ in their holes and in their commitment.

    It is filled by `%`, in the order of the canonical form, which is that of the names: first
    the commitment, before which only names sort whose values are of the shape.
    """
    content = events.content(kind, now, by.organisation_id, {**data, **by.words})
    payload = events.canonical({**content, "commitment": HOLE}).decode()
    return payload.replace("%", "%%").replace(f'"{OPEN_HOLE}"', "%s").replace(HOLE, "%s")


class Said(NamedTuple):
    """What one event is about: a number, and the pattern of its payload with what fills it."""

    number: SubscriberNumber
    token: bytes
    pattern: str
    values: tuple[str, ...]


def record(session: Session, kind: str, now: datetime, said: Sequence[Said]) -> Sequence[int]:
    """Insert an event each, in their order, and return the events' ids."""
    ids = draw_event_ids(session.connection(), len(said))
    made = list(zip(ids, said, _salts(len(said)), strict=True))
    insert_many(session, Event, _events(kind, now, made))
    insert_many(session, EventOpening, _openings(made))
    return ids


def _salts(count: int) -> list[bytes]:
    drawn = os.urandom(SALT * count)
    return [drawn[start : start + SALT] for start in range(0, len(drawn), SALT)]


_Made = tuple[int, Said, bytes]


def _events(kind: str, now: datetime, made: Sequence[_Made]) -> Iterator[Block]:
    for block in blocks(made):
        yield {
            "id": [event_id for event_id, _, _ in block],
            "kind": Same(kind),
            "recorded_at": Same(now),
            "payload": [_payload(said, salt) for _, said, salt in block],
        }


def _payload(said: Said, salt: bytes) -> bytes:
    commitment = events.commitment(salt, said.number).hex()
    return (said.pattern % (commitment, *said.values)).encode()


def _openings(made: Sequence[_Made]) -> Iterator[Block]:
    for block in blocks(made):
        yield {
            "event_id": [event_id for event_id, _, _ in block],
            "number": [said.token for _, said, _ in block],
            "salt": [salt for _, _, salt in block],
        }
