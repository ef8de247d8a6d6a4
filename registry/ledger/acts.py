"""What all acts in the ledger share: who acts, how a row ends, how the subscriber hears of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events
from registry.consent import End
from registry.errors import not_found
from registry.models import (
    Consent,
    FamilyLink,
    Notice,
    OutboxItem,
    OwnContactHours,
    Reassignment,
    Refusal,
    Via,
)
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
    """Insert the event of an act, which says who acted, and return its id.

    The caller holds the number's lock. Raises as `check_carer` does.
    """
    if number is not None:
        check_carer(session, number, by)
    return events.record(session, kind, now, by.organisation_id, {**data, **by.words}, number)


def check_carer(session: Session, number: SubscriberNumber, by: By) -> None:
    """Raise `NOT_FOUND` when somebody acts for a number whom its subscriber does not let any more.

    The caller holds the number's lock, without which the link is not ended.
    """
    if by.family_link_id is None:
        return
    later_tenure = exists().where(
        Reassignment.number.in_((FamilyLink.carer, FamilyLink.member)),
        Reassignment.cancelled_at.is_(None),
        Reassignment.reassigned_at > FamilyLink.recorded_at,
    )
    link = select(FamilyLink.id).where(
        FamilyLink.id == by.family_link_id,
        FamilyLink.member == number,
        FamilyLink.agreed_at.is_not(None),
        FamilyLink.ended_at.is_(None),
        ~later_tenure,
    )
    if session.scalar(link) is None:
        raise not_found("family member")


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
