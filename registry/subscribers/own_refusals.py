"""What a number refuses, the contact hours that it keeps, and whom it may refuse."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from registry.ledger import tenure_start
from registry.models import Consent, ConsentRequest, Lookup, Organisation, OwnContactHours, Refusal
from registry.numbers import SubscriberNumber
from registry.subscribers.rows import own_rows


def refusals(session: Session, number: SubscriberNumber) -> Sequence[Refusal]:
    """Return the refusals that stand, the newest first."""
    return session.scalars(
        select(Refusal)
        .options(joinedload(Refusal.sender))
        .where(
            Refusal.number == number,
            Refusal.ended_at.is_(None),
            Refusal.reassignment_id.is_(None),
        )
        .order_by(Refusal.event_id.desc(), Refusal.id.desc())
    ).all()


def own_hours(session: Session, number: SubscriberNumber) -> OwnContactHours | None:
    """Return the contact hours that the subscriber set, if any."""
    return session.scalar(
        select(OwnContactHours).where(
            OwnContactHours.number == number,
            OwnContactHours.ended_at.is_(None),
            OwnContactHours.reassignment_id.is_(None),
        )
    )


def senders_known(session: Session, number: SubscriberNumber) -> list[Organisation]:
    """Return the senders that a subscriber has to do with: those of consents and requests."""
    since = tenure_start(session, number)
    about = [
        own_rows(table, number, since).with_only_columns(table.sender_id).order_by(None)
        for table in (Consent, ConsentRequest, Lookup)
    ]
    ids = about[0].union(*about[1:])
    return list(
        session.scalars(
            select(Organisation).where(Organisation.id.in_(ids)).order_by(Organisation.name)
        )
    )
