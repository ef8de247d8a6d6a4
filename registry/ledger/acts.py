"""What all acts in the ledger share: who acts, how a row ends, how the subscriber hears of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events
from registry.consent import End
from registry.errors import Kind, RegistryError
from registry.models import Consent, Notice, OutboxItem, OwnContactHours, Refusal, Via
from registry.numbers import SubscriberNumber

CLOCK_LEEWAY = timedelta(seconds=60)
"""How far ahead of ours the clock of whoever reports something may go."""

Said = Consent | Refusal | OwnContactHours
"""A row that a tenure holds, and that is ended instead of edited."""


@dataclass(frozen=True)
class By:
    """Who acts, and how the wish came here: an organisation that reports it, or None of them
    where it is the subscriber's own act, which somebody who looks after the number may do.

    `via` is None where whoever reports a wish does not say how it was uttered.
    """

    via: Via | None
    organisation_id: UUID | None = None
    family_link_id: UUID | None = None

    @property
    def own_act(self) -> bool:
        """Whether no organisation stands between the subscriber and the registry."""
        return self.organisation_id is None

    @property
    def words(self) -> dict[str, object]:
        """What an event says of it beside the actor."""
        family = {"family_link": self.family_link_id} if self.family_link_id else {}
        return {"via": self.via, **family}


def record(
    session: Session,
    kind: str,
    now: datetime,
    by: By,
    data: Mapping[str, Any],
    number: SubscriberNumber | None,
) -> int:
    """Insert the event of an act, which says who acted, and return its id."""
    return events.record(session, kind, now, by.organisation_id, {**data, **by.words}, number)


def stands(row: Said) -> bool:
    """Tell whether a row is in force for whoever has the number today, dates aside."""
    return row.ended_at is None and row.reassignment_id is None


def end(row: Said, reason: End, now: datetime) -> None:
    """End a row, now and for this reason."""
    row.ended_at = now
    row.end_recorded_at = now
    row.end_reason = reason


def tell(
    session: Session,
    notice: Notice,
    number: SubscriberNumber,
    subject_id: UUID,
    now: datetime,
    *,
    try_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> None:
    """Queue an SMS to the subscriber: for now, or for later, and not after it is worth nothing."""
    session.add(
        OutboxItem(
            id=uuid7(),
            notice=notice,
            number=number,
            subject_id=subject_id,
            recorded_at=now,
            try_at=try_at or now,
            expires_at=expires_at,
        )
    )


def invalid(field: str, problem: str) -> RegistryError:
    """Return the error that names a wrong field."""
    return RegistryError(Kind.INVALID, f"{field} {problem}", fields={field: [problem]})


def conflict(problem: str) -> RegistryError:
    """Return the error for what contradicts what is recorded."""
    return RegistryError(Kind.CONFLICT, problem)


def not_found(what: str) -> RegistryError:
    """Return the error for an id that is unknown, or another's, which is the same to the asker."""
    return RegistryError(Kind.NOT_FOUND, f"there is no such {what}")
