"""The state of a number at one glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, func, select
from sqlalchemy.orm import Session

from registry.ledger import standing_hours, tenure_start
from registry.models import ANY, Challenge, Complaint, ConsentRequest, OwnContactHours, Refusal
from registry.numbers import SubscriberNumber
from registry.subscribers.own_consents import count_in_force
from registry.subscribers.own_refusals import refusals


@dataclass(frozen=True)
class Overview:
    """The state of a number at one glance."""

    refusals: Sequence[Refusal]
    hours: OwnContactHours | None
    consents: int
    requests: int
    challenges: int
    complaints: int

    @property
    def refuses_everything(self) -> Refusal | None:
        """The refusal that covers everybody and everything, if one stands."""
        return next((row for row in self.refusals if covers_everything(row)), None)


def covers_everything(refusal: Refusal) -> bool:
    """Tell whether a refusal is for all senders, channels and topics."""
    return refusal.channel == ANY and refusal.topic == ANY and refusal.sender_id is None


def overview(session: Session, number: SubscriberNumber, now: datetime) -> Overview:
    """Return what the first page after signing in shows."""
    since = tenure_start(session, number) or _EVER
    said_no = refusals(session, number)
    waiting = session.execute(_WAITING, {"number": number, "since": since, "now": now}).one()
    return Overview(
        refusals=said_no,
        hours=standing_hours(session, number),
        consents=count_in_force(session, number, said_no, now),
        **waiting._asdict(),
    )


def _count_open(table: type[Any], *where: ColumnElement[bool]) -> ScalarSelect[int]:
    """Build the query of how many of a number's rows, of today's tenure, are not closed yet."""
    return (
        select(func.count())
        .where(
            table.number == bindparam("number", type_=table.number.type),
            table.recorded_at >= bindparam("since", type_=table.recorded_at.type),
            table.outcome.is_(None),
            *where,
        )
        .scalar_subquery()
    )


_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_WAITING = select(
    # One statement, built once: this is the page that everybody sees first.
    _count_open(
        ConsentRequest,
        ConsentRequest.answer_by > bindparam("now", type_=ConsentRequest.answer_by.type),
    ).label("requests"),
    _count_open(Challenge).label("challenges"),
    _count_open(Complaint).label("complaints"),
)
