"""Open disputes: what nobody changes until the sender has proved its consent, or it is void."""

from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from registry.errors import conflict
from registry.models import Challenge, Consent, Refusal


def in_dispute(session: Session, grant_id: UUID) -> bool:
    """Tell whether a grant is challenged, and its sender has still to bring evidence."""
    open_one = exists().where(Challenge.grant_id == grant_id, Challenge.outcome.is_(None))
    return bool(session.scalar(select(open_one)))


def check_liftable(session: Session, refusal: Refusal) -> None:
    """Raise when a refusal is what stops the contacts that an open dispute is about.

    Without it the consent, which is not void yet, would allow them again.
    """
    disputed = (
        select(Challenge.id)
        .join(Consent, Consent.grant_id == Challenge.grant_id)
        .where(
            Challenge.number == refusal.number,
            Challenge.outcome.is_(None),
            Consent.sender_id == refusal.sender_id,
            Consent.channel == refusal.channel,
            Consent.topic == refusal.topic,
            Consent.reassignment_id.is_(None),
        )
        .limit(1)
    )
    if session.scalar(disputed) is not None:
        raise conflict("this refusal belongs to a dispute and stays until that is settled")
