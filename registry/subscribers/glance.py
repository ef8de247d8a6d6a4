"""The state of a number at one glance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from registry.ledger import standing_hours, tenure_start
from registry.models import ANY, Challenge, Complaint, OwnContactHours, Refusal
from registry.numbers import SubscriberNumber
from registry.subscribers.own_consents import count_in_force
from registry.subscribers.own_refusals import refusals
from registry.subscribers.own_requests import waiting
from registry.subscribers.rows import count, of_tenure


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
    since = tenure_start(session, number)
    said_no = refusals(session, number)
    return Overview(
        refusals=said_no,
        hours=standing_hours(session, number),
        consents=count_in_force(session, number, said_no, now),
        requests=count(session, waiting(number, since, now)),
        challenges=count(session, of_tenure(Challenge, number, since, Challenge.outcome.is_(None))),
        complaints=count(session, of_tenure(Complaint, number, since, Complaint.outcome.is_(None))),
    )
