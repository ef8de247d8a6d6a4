"""Senders' requests to a number, open and answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, or_
from sqlalchemy.orm import Session, joinedload

from registry.consent import Topic
from registry.errors import Kind, RegistryError
from registry.ledger import tenure_start
from registry.models import ConsentRequest
from registry.numbers import SubscriberNumber
from registry.subscribers.own_consents import OwnConsent, Standing, granted
from registry.subscribers.rows import PAGE, of_tenure


@dataclass(frozen=True)
class OwnRequest:
    """A sender's request, whether it can still be answered, and what agreeing to it led to."""

    row: ConsentRequest
    open: bool
    consents: Sequence[OwnConsent]

    @property
    def topics(self) -> list[Topic]:
        """What it is about."""
        return [Topic(word) for word in self.row.topics.split()]

    @property
    def in_force(self) -> bool:
        """Whether something that was agreed to is in force today."""
        return any(own.standing is Standing.IN_FORCE for own in self.consents)


def open_requests(session: Session, number: SubscriberNumber, now: datetime) -> list[OwnRequest]:
    """Return the requests that wait for an answer; the one that must have it first is first."""
    query = waiting(number, tenure_start(session, number), now)
    return _own_requests(session, query.order_by(ConsentRequest.answer_by), number, now)


def closed_requests(
    session: Session,
    number: SubscriberNumber,
    now: datetime,
    before: UUID | None = None,
    limit: int = PAGE,
) -> list[OwnRequest]:
    """Return some of the requests that were answered or were too late to be, the newest first.

    `before` is the last one of the page before; another's is `NOT_FOUND`.
    """
    closed = or_(ConsentRequest.outcome.is_not(None), ConsentRequest.answer_by <= now)
    query = of_tenure(ConsentRequest, number, tenure_start(session, number), closed)
    if before is not None:
        last = request(session, number, before, now).row
        query = query.where(ConsentRequest.event_id < last.event_id)
    query = query.order_by(ConsentRequest.event_id.desc()).limit(limit)
    return _own_requests(session, query, number, now)


def request(
    session: Session, number: SubscriberNumber, request_id: UUID, now: datetime
) -> OwnRequest:
    """Return one request to the number; another's is `NOT_FOUND`."""
    query = of_tenure(
        ConsentRequest, number, tenure_start(session, number), ConsentRequest.id == request_id
    )
    found = _own_requests(session, query, number, now)
    if not found:
        raise RegistryError(Kind.NOT_FOUND, "there is no such request")
    return found[0]


def _own_requests(
    session: Session, query: Select[ConsentRequest], number: SubscriberNumber, now: datetime
) -> list[OwnRequest]:
    rows = session.scalars(query.options(joinedload(ConsentRequest.sender))).all()
    grants = [row.grant_id for row in rows if row.grant_id is not None]
    given = granted(session, number, grants, now) if grants else {}
    return [
        OwnRequest(
            row,
            open=row.outcome is None and now < row.answer_by,
            consents=given[row.grant_id] if row.grant_id else (),
        )
        for row in rows
    ]


def waiting(
    number: SubscriberNumber, since: datetime | None, now: datetime
) -> Select[ConsentRequest]:
    """Select the requests of a tenure that can still be answered."""
    return of_tenure(
        ConsentRequest,
        number,
        since,
        ConsentRequest.outcome.is_(None),
        ConsentRequest.answer_by > now,
    )
