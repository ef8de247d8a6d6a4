"""Lines: what becomes of each, and how the same line is applied once."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.ledger.bulk import reading
from registry.models import Grant, ImportKind, Reassignment, Refusal
from registry.numbers import NumberKey

GROUP = 2_000
"""The most lines of one call: each takes a lock until the transaction ends, and PostgreSQL as it
is delivered has room for some 6,400 locks of all transactions together."""
_TRIES = 5

Imported = type[Grant] | type[Refusal] | type[Reassignment]
T = TypeVar("T")


class Outcome(StrEnum):
    """What became of a line."""

    APPLIED = "applied"
    REPEATED = "repeated"
    REJECTED = "rejected"


class LineResult(NamedTuple):
    """What became of a line. `id` is that of the grant, refusal or reassignment it led to, now
    or, where it is repeated, the first time; `problem`, why it was rejected, names no number."""

    outcome: Outcome
    problem: str | None
    id: UUID | None


def line_key(key: NumberKey, organisation_id: UUID, kind: ImportKind, text: str) -> bytes:
    """Return the 16 bytes by which an organisation's line is known when it comes again.

    It is a keyed digest, so that nobody without the key can guess a line from it.
    """
    about = b"import line " + organisation_id.bytes + kind.encode() + b" "
    return key.digest(about + text.encode())[:16]


def once(
    session: Session,
    model: Imported,
    keys: Sequence[bytes],
    apply: Callable[[dict[bytes, UUID]], T],
) -> T:
    """Apply lines, given the ids that earlier ones with the same keys led to.

    Where a transaction that names other numbers writes one of the keys at the same time, the
    database lets only one do it; the other finds it as known and applies its lines anew. Rows
    are written in the keys' order, so that two such transactions never wait in a ring.
    """
    for tries_left in reversed(range(_TRIES)):
        known = reading.known_keys(session.connection(), model, keys)
        try:
            with session.begin_nested():
                return apply(known)
        except IntegrityError as error:
            if not (tries_left and _same_line(error, model)):
                raise
    raise AssertionError("the last try returns or raises")


def _same_line(error: IntegrityError, model: Imported) -> bool:
    diagnosis = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None) == f"uq_{model.__tablename__}_line_key"


def check_group(lines: Sequence[object]) -> None:
    """Raise when a group is larger than the database's lock table bears."""
    if len(lines) > GROUP:
        raise ValueError(f"a group has at most {GROUP} lines")
