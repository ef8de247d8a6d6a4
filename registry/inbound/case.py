"""An SMS that arrived, all that is needed to act on it, and what it leads to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from registry.database import Clock
from registry.inbound.keywords import Said
from registry.ledger import By
from registry.models import InboundAction
from registry.numbers import SubscriberNumber
from registry.policy import Policy


@dataclass(frozen=True)
class Inbound:
    """An SMS as a carrier delivers it: from whom, to which number, and the carrier's name of it."""

    number: SubscriberNumber
    to: str
    text: str
    received_at: datetime
    message_id: str


@dataclass(frozen=True)
class Case:
    """An SMS in hand, under its number's lock; `since` is when today's subscriber got it.

    Its `id` is that of the row which it is going to be kept in.
    """

    session: Session
    id: UUID
    message: Inbound
    said: Said
    by: By
    policy: Policy
    now: datetime
    since: datetime | None

    @property
    def number(self) -> SubscriberNumber:
        """The subscriber's number."""
        return self.message.number

    @property
    def clock(self) -> Clock:
        """The time of this case, for what it calls."""
        return lambda: self.now


@dataclass(frozen=True)
class Effect:
    """What an SMS led to, and the reply to it, if there is one: a text and what it names."""

    action: InboundAction
    subject_id: UUID | None = None
    reply: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    code: int | None = None
    language: str | None = None
