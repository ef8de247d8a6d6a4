"""Looking after others: one subscriber acts for the number of another, who agreed by a code.

Either side ends it at any time, and a new tenure of either number ends it as well. What a carer
does is recorded with the link, so everybody sees who acted.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import codes, events, messenger
from registry.database import Clock, lock_number, lock_numbers
from registry.errors import Kind, RegistryError
from registry.ledger import tenure_start
from registry.models import (
    CodePurpose,
    FamilyEnd,
    FamilyLink,
    Notice,
    OneTimeCode,
    Reassignment,
)
from registry.numbers import SubscriberNumber
from registry.policy import Policy

MOST_MEMBERS = 8
PATIENCE = timedelta(days=1)
"""How long somebody who was asked may take; longer than any code lives."""
OWN_NUMBER = "this is your own number"
LOOKED_AFTER = "this number is looked after already"
TOO_MANY = f"one looks after {MOST_MEMBERS} numbers at most"

_LATER_TENURE = exists().where(
    or_(Reassignment.number == FamilyLink.carer, Reassignment.number == FamilyLink.member),
    Reassignment.cancelled_at.is_(None),
    Reassignment.reassigned_at > FamilyLink.recorded_at,
)
_STANDING = (FamilyLink.agreed_at.is_not(None), FamilyLink.ended_at.is_(None), ~_LATER_TENURE)


def ask(
    session: Session,
    carer: SubscriberNumber,
    member: SubscriberNumber,
    label: str | None,
    *,
    address: str,
    policy: Policy,
    clock: Clock,
    language: str = "zh",
) -> tuple[FamilyLink, OneTimeCode]:
    """Ask the subscriber of a number to be looked after, by a code sent to that number.

    The SMS names the whole number of the carer: whom to trust is not to be guessed.

    Raises `CONFLICT` when it is the own number, looked after already, or one too many, and
    whatever `codes.issue` raises.
    """
    if carer == member:
        raise RegistryError(Kind.CONFLICT, OWN_NUMBER)
    # Only the carer's: nobody holds a stranger's number while codes are waited for.
    lock_number(session, carer)
    now = clock()
    _lapse(session, carer, now)
    _make_way(session, carer, member, now)
    link = _of_pair(session, carer, member)
    if link is not None and link.agreed_at is not None:
        raise RegistryError(Kind.CONFLICT, LOOKED_AFTER)
    if link is None:
        if _count(session, carer) >= MOST_MEMBERS:
            raise RegistryError(Kind.CONFLICT, TOO_MANY)
        link = FamilyLink(id=uuid7(), carer=carer, member=member, recorded_at=now)
        session.add(link)
    link.label = label
    session.flush()
    code = codes.issue(
        session,
        member,
        CodePurpose.FAMILY,
        address=address,
        limits=policy.codes,
        clock=clock,
        region=policy.default_region,
        language=language,
        subject_id=link.id,
        details={"carer": carer.dialled},
    )
    return link, code


def _lapse(session: Session, carer: SubscriberNumber, now: datetime) -> None:
    """End what nobody agreed to in time; what a new tenure ended may come back."""
    _end_lapsed(
        session,
        now,
        FamilyLink.carer == carer,
        FamilyLink.agreed_at.is_(None),
        FamilyLink.recorded_at <= now - PATIENCE,
    )


def _make_way(
    session: Session, carer: SubscriberNumber, member: SubscriberNumber, now: datetime
) -> None:
    """End for good the link of an earlier tenure that has the place of the one asked for."""
    _end_lapsed(session, now, FamilyLink.carer == carer, FamilyLink.member == member, _LATER_TENURE)


def _end_lapsed(session: Session, now: datetime, *where: ColumnElement[bool]) -> None:
    for link in session.scalars(select(FamilyLink).where(FamilyLink.ended_at.is_(None), *where)):
        link.ended_at, link.ended_by = now, FamilyEnd.LAPSED
    session.flush()


def _of_pair(
    session: Session, carer: SubscriberNumber, member: SubscriberNumber
) -> FamilyLink | None:
    return session.scalar(
        select(FamilyLink).where(
            FamilyLink.carer == carer, FamilyLink.member == member, FamilyLink.ended_at.is_(None)
        )
    )


def _count(session: Session, carer: SubscriberNumber) -> int:
    query = select(func.count(FamilyLink.id)).where(
        FamilyLink.carer == carer, FamilyLink.ended_at.is_(None), ~_LATER_TENURE
    )
    return session.scalar(query) or 0


def agree(
    session: Session,
    carer: SubscriberNumber,
    link_id: UUID,
    code_id: UUID,
    text: str,
    *,
    policy: Policy,
    clock: Clock,
) -> FamilyLink | codes.Failure:
    """Begin to look after a number with the code that its subscriber passed on.

    A wrong try is counted: commit it, too.
    """
    link = _own(session, link_id, carer)
    lock_numbers(session, [link.carer, link.member])
    session.refresh(link)
    if link.ended_at is not None:
        return codes.Failure.EXPIRED
    if link.agreed_at is not None:
        return link
    code = codes.check(session, code_id, CodePurpose.FAMILY, text, limits=policy.codes, clock=clock)
    if isinstance(code, codes.Failure):
        return code
    if code.subject_id != link.id:
        return codes.Failure.EXPIRED
    link.agreed_at = now = clock()
    for number, role in ((link.carer, "carer"), (link.member, "member")):
        data = {"family_link": link.id, "role": role, "via": "portal"}
        events.record(session, "family_agreed", now, None, data, number)
    _tell(session, Notice.FAMILY_AGREED, link, link.member, now)
    session.flush()
    return link


def end(session: Session, number: SubscriberNumber, link_id: UUID, *, clock: Clock) -> FamilyLink:
    """End the looking after, as either side; the other side is told."""
    link = _own(session, link_id, number)
    lock_numbers(session, [link.carer, link.member])
    session.refresh(link)
    if link.ended_at is not None:
        return link
    link.ended_at = now = clock()
    by_carer = number == link.carer
    link.ended_by = FamilyEnd.CARER if by_carer else FamilyEnd.MEMBER
    if link.agreed_at is not None:
        for one, role in ((link.carer, "carer"), (link.member, "member")):
            data = {"family_link": link.id, "role": role, "by": link.ended_by, "via": "portal"}
            events.record(session, "family_ended", now, None, data, one)
        _tell(session, Notice.FAMILY_ENDED, link, link.member if by_carer else link.carer, now)
    session.flush()
    return link


def _own(session: Session, link_id: UUID, number: SubscriberNumber) -> FamilyLink:
    link = session.get(FamilyLink, link_id)
    if link is None or number not in (link.carer, link.member):
        raise RegistryError(Kind.NOT_FOUND, "there is no such family member")
    return link


def members(session: Session, carer: SubscriberNumber) -> Sequence[FamilyLink]:
    """Return whom a subscriber looks after, in the order in which they were asked."""
    query = select(FamilyLink).where(FamilyLink.carer == carer, *_STANDING)
    return session.scalars(query.order_by(FamilyLink.id)).all()


def carers(session: Session, member: SubscriberNumber) -> Sequence[FamilyLink]:
    """Return who looks after a subscriber's number."""
    query = select(FamilyLink).where(FamilyLink.member == member, *_STANDING)
    return session.scalars(query.order_by(FamilyLink.id)).all()


def waiting(session: Session, carer: SubscriberNumber, now: datetime) -> Sequence[FamilyLink]:
    """Return whom a subscriber has asked and who may still agree."""
    query = select(FamilyLink).where(
        FamilyLink.carer == carer,
        FamilyLink.agreed_at.is_(None),
        FamilyLink.ended_at.is_(None),
        FamilyLink.recorded_at > now - PATIENCE,
        ~_LATER_TENURE,
    )
    return session.scalars(query.order_by(FamilyLink.id)).all()


def last_code(session: Session, link: FamilyLink) -> OneTimeCode | None:
    """Return the code that was last sent for a link."""
    return session.scalar(
        select(OneTimeCode)
        .where(
            OneTimeCode.number == link.member,
            OneTimeCode.purpose == CodePurpose.FAMILY,
            OneTimeCode.subject_id == link.id,
        )
        .order_by(OneTimeCode.recorded_at.desc(), OneTimeCode.id.desc())
        .limit(1)
    )


def asked(session: Session, carer: SubscriberNumber, link_id: UUID) -> FamilyLink:
    """Return a link that waits for its code; raises `NOT_FOUND` when it is another's or over."""
    link = _own(session, link_id, carer)
    if link.carer != carer or link.ended_at is not None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such family member")
    return link


def member(session: Session, carer: SubscriberNumber, link_id: UUID) -> FamilyLink:
    """Return a link by which a subscriber may act for another; raises `NOT_FOUND` else."""
    query = select(FamilyLink).where(
        FamilyLink.id == link_id, FamilyLink.carer == carer, *_STANDING
    )
    link = session.scalar(query)
    if link is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such family member")
    return link


def ended(session: Session, carer: SubscriberNumber, link_id: UUID) -> bool:
    """Tell whether today's subscriber of a number looked after another and no longer does."""
    since = tenure_start(session, carer)
    link = session.get(FamilyLink, link_id)
    if link is None or link.carer != carer or link.agreed_at is None:
        return False
    return since is None or link.recorded_at >= since


def _tell(
    session: Session, notice: Notice, link: FamilyLink, number: SubscriberNumber, now: datetime
) -> None:
    other = link.carer if number == link.member else link.member
    messenger.queue(session, notice, number, link.id, now=now, details={"other": other.dialled})
