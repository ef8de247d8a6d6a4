"""Consent requests as their sender is shown them: an agreement, and of all else nothing.

Until the last day for an answer, one that was declined looks like one that waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, true, tuple_
from sqlalchemy.orm import Session

from registry.errors import not_found
from registry.ledger.consents import PAGE
from registry.models import ConsentRequest, RequestOutcome
from registry.numbers import SubscriberNumber


class RequestState(StrEnum):
    """What a sender is shown of its request. Before its last day nobody sees a refusal."""

    WAITING = "waiting"
    AGREED = "agreed"
    REFUSED = "refused"


def request_state(request: ConsentRequest, now: datetime) -> RequestState:
    """Return what a sender is shown: declining looks like not answering."""
    if request.outcome is RequestOutcome.AGREED:
        return RequestState.AGREED
    return RequestState.WAITING if now < request.answer_by else RequestState.REFUSED


def _shown_as(state: RequestState, now: datetime) -> ColumnElement[bool]:
    """Return what `request_state` says, to the database."""
    if state is RequestState.AGREED:
        return ConsentRequest.outcome == RequestOutcome.AGREED
    late = ConsentRequest.answer_by <= now
    agreed_not = or_(
        ConsentRequest.outcome.is_(None), ConsentRequest.outcome != RequestOutcome.AGREED
    )
    return and_(agreed_not, late if state is RequestState.REFUSED else ~late)


def own_request(session: Session, request_id: UUID, sender_id: UUID) -> ConsentRequest:
    """Return a sender's own request."""
    request = session.get(ConsentRequest, request_id)
    if request is None or request.sender_id != sender_id:
        raise not_found("request")
    return request


def search_requests(
    session: Session,
    sender_id: UUID,
    *,
    now: datetime,
    number: SubscriberNumber | None = None,
    state: RequestState | None = None,
    after: tuple[int, UUID] | None = None,
) -> Sequence[ConsentRequest]:
    """Return a page of a sender's own requests, the newest first: all, of a number, in a state."""
    query = (
        select(ConsentRequest)
        .where(
            ConsentRequest.sender_id == sender_id,
            true() if number is None else ConsentRequest.number == number,
            true() if state is None else _shown_as(state, now),
            true() if after is None else tuple_(ConsentRequest.event_id, ConsentRequest.id) < after,
        )
        .order_by(ConsentRequest.event_id.desc(), ConsentRequest.id.desc())
        .limit(PAGE)
    )
    return session.scalars(query).all()


@dataclass(frozen=True)
class RequestCounts:
    """How many requests a sender put, and what it is shown of them."""

    agreed: int = 0
    refused: int = 0
    waiting: int = 0

    @property
    def asked(self) -> int:
        """How many there were."""
        return self.agreed + self.refused + self.waiting


def request_counts(
    session: Session, sender_id: UUID, since: datetime, until: datetime, *, now: datetime
) -> RequestCounts:
    """Count a sender's requests that were recorded from `since` on and before `until`.

    Nothing that was declined counts as refused before its last day, so that the figures tell no
    more than the requests themselves.
    """
    many = [func.count().filter(_shown_as(state, now)).label(state) for state in RequestState]
    query = select(*many).where(
        ConsentRequest.sender_id == sender_id,
        ConsentRequest.recorded_at >= since,
        ConsentRequest.recorded_at < until,
    )
    return RequestCounts(**session.execute(query).one()._asdict())
