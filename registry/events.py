"""Events: every change of the registry, in canonical bytes that can be proved later.

The bytes are the UTF-8 JSON of RFC 8785 (sorted keys, no spaces; only strings, integers,
booleans, null, lists and objects). They name no number: what is personal is bound by a salted
commitment, SHA-256 over `0x01 || salt || number`, whose opening is stored apart and can be
erased without changing the log.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from registry.models import Event, EventOpening
from registry.numbers import SubscriberNumber

VERSION = 1

_EVENT = insert(Event).returning(Event.id)
_OPENING = insert(EventOpening)


def record(
    session: Session,
    kind: str,
    now: datetime,
    actor: UUID | None,
    data: Mapping[str, Any],
    number: SubscriberNumber | None = None,
) -> int:
    """Insert an event and return its id, which orders the events of one number.

    The caller holds the number's lock. `data` may hold ids, times and vocabularies, and says
    all that is needed to derive the new state from the old one.
    """
    said = content(kind, now, actor, data)
    salt = os.urandom(32)
    if number is not None:
        said["commitment"] = commitment(salt, number).hex()
    connection = session.connection()
    event_id = connection.execute(
        _EVENT, {"kind": kind, "recorded_at": now, "payload": canonical(said)}
    ).scalar_one()
    if number is not None:
        connection.execute(_OPENING, {"event_id": event_id, "number": number, "salt": salt})
    return int(event_id)


def content(
    kind: str, now: datetime, actor: UUID | None, data: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what an event says, the commitment to its number aside.

    Raises when `data` would say otherwise who did what, and when.
    """
    said = {"v": VERSION, "kind": kind, "recorded_at": now, "actor": actor}
    if clash := said.keys() & data.keys():
        raise ValueError(f"an event's data may not say {', '.join(sorted(clash))}")
    return {**said, **data}


def by_member(member_id: UUID | None) -> dict[str, UUID]:
    """Return what an event says of the member of an organisation who acted in the console."""
    return {} if member_id is None else {"member": member_id}


def commitment(salt: bytes, number: SubscriberNumber) -> bytes:
    """Return what binds an event to its number without showing it."""
    return hashlib.sha256(b"\x01" + salt + number.e164.encode()).digest()


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return the one byte string of a JSON document (RFC 8785)."""
    return json.dumps(
        content,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
        default=_plain,
    ).encode()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return timestamp(value)
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


def timestamp(at: datetime) -> str:
    """Write a time as RFC 3339 in UTC."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
