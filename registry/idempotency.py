"""Idempotency keys: repeating a write gives its first answer and changes nothing."""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, bindparam, func, insert, select
from sqlalchemy.orm import Session

from registry.database import IDEMPOTENCY_LOCK
from registry.errors import Kind, RegistryError
from registry.models import IdempotencyKey, number_key

Body = dict[str, Any]

_TRY_LOCK = select(
    func.pg_try_advisory_xact_lock(IDEMPOTENCY_LOCK, bindparam("key", type_=Integer))
)
_FIRST = select(IdempotencyKey.request_digest, IdempotencyKey.status, IdempotencyKey.answer).where(
    IdempotencyKey.organisation_id == bindparam("who"),
    IdempotencyKey.key_sha256 == bindparam("digest"),
)


def once(
    session: Session,
    organisation_id: UUID,
    key: str,
    request_digest: bytes,
    *,
    now: datetime,
    act: Callable[[], tuple[int, Body]],
    replayed: Callable[[Body], Body] = lambda body: body,
) -> tuple[int, Body]:
    """Do `act` in this transaction, or return the answer (status, body) of the first time.

    `replayed` makes the body that later repetitions get, for answers with a secret. Raises
    `IN_PROGRESS` while the first request runs, `KEY_REUSED` when this is another request.
    """
    # Keyed, because senders use numbers as keys, and a plain digest would give them away.
    digest = number_key(session.get_bind().dialect).digest(key.encode())
    _lock(session, organisation_id, digest)
    first = session.connection().execute(_FIRST, {"who": organisation_id, "digest": digest}).first()
    if first is not None:
        if first.request_digest != request_digest:
            raise RegistryError(Kind.KEY_REUSED, "this Idempotency-Key came with another request")
        return first.status, json.loads(first.answer)
    status, body = act()
    session.connection().execute(
        insert(IdempotencyKey),
        {
            "organisation_id": organisation_id,
            "key_sha256": digest,
            "request_digest": request_digest,
            "status": status,
            "answer": json.dumps(replayed(body)),
            "recorded_at": now,
        },
    )
    return status, body


def _lock(session: Session, organisation_id: UUID, digest: bytes) -> None:
    """Hold the key until the transaction ends; SQLite's writer holds everything already."""
    if session.get_bind().dialect.name != "postgresql":
        return
    number = hashlib.sha256(organisation_id.bytes + digest).digest()[:4]
    if not session.connection().scalar(_TRY_LOCK, {"key": int.from_bytes(number, signed=True)}):
        raise RegistryError(
            Kind.IN_PROGRESS, "the first request with this Idempotency-Key runs", retry_after=1
        )
