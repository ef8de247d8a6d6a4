"""Providers: which senders let them send, and the extensions of their ports that those get."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session, aliased, joinedload
from uuid_utils.compat import uuid7

from registry import events
from registry.database import lock_holdings
from registry.errors import Kind, RegistryError, conflict, invalid
from registry.models import Authorisation, Organisation, OrganisationKind, SenderNumber
from registry.numbers import SendingNumber
from registry.senders import tree
from registry.senders.numbers import Holding
from registry.senders.organisations import PAGE, find
from registry.senders.problems import flush

SHOWN = 20
"""Providers that a search finds at most."""


def providers(session: Session, after: UUID | None = None) -> Sequence[Organisation]:
    """Return a page of the providers that a sender may authorise."""
    query = select(Organisation).where(Organisation.kind == OrganisationKind.PROVIDER)
    if after is not None:
        query = query.where(Organisation.id > after)
    return session.scalars(query.order_by(Organisation.id).limit(PAGE)).all()


def search_providers(session: Session, written: str) -> Sequence[Organisation]:
    """Return the first providers, by name, whose name has a text in it or whose code it is."""
    text = written.strip()
    return session.scalars(
        select(Organisation)
        .where(
            Organisation.kind == OrganisationKind.PROVIDER,
            or_(
                Organisation.name.icontains(text, autoescape=True),
                Organisation.uscc == text.upper(),
            ),
        )
        .order_by(Organisation.name, Organisation.id)
        .limit(SHOWN)
    ).all()


def authorise(
    session: Session,
    sender_id: UUID,
    provider_id: UUID,
    *,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> Authorisation:
    """Let a provider send for a sender, and ask about its numbers, until either ends that."""
    sender, provider = find(session, sender_id), find(session, provider_id)
    if sender.kind is not OrganisationKind.SENDER:
        raise conflict("only senders authorise providers")
    if provider.kind is not OrganisationKind.PROVIDER:
        raise conflict("only providers are authorised")
    row = Authorisation(id=uuid7(), sender=sender, provider=provider, recorded_at=now)
    session.add(row)
    flush(session, "this provider is authorised already")
    events.record(session, "provider_authorised", now, actor_id, _about(row, member_id))
    return row


def end_authorisation(
    session: Session,
    authorisation_id: UUID,
    *,
    by: UUID,
    now: datetime,
    member_id: UUID | None = None,
) -> Authorisation:
    """End an authorisation as its sender or its provider, with the extensions that it was for.

    From then on the provider asks about this sender as a stranger does.
    """
    lock_holdings(session)
    row = find_authorisation(session, authorisation_id, by)
    if row.ended_at is not None:
        raise conflict("this authorisation has ended already")
    row.ended_at, row.ended_by = now, by
    data = _about(row, member_id)
    events.record(session, "provider_authorisation_ended", now, by, data)
    session.flush()
    port = aliased(SenderNumber)
    assigned = (
        tree.of(
            SenderNumber.organisation_id == row.sender_id,
            SenderNumber.released_at.is_(None),
            port.organisation_id == row.provider_id,
        )
        .join(port, port.id == SenderNumber.parent_id)
        .order_by(SenderNumber.number)
    )
    for extension in session.scalars(assigned).all():
        tree.release(session, extension, by, now, member_id=member_id)
    return row


def _about(row: Authorisation, member_id: UUID | None) -> dict[str, UUID]:
    return {
        "authorisation": row.id,
        "sender": row.sender_id,
        "provider": row.provider_id,
        **events.by_member(member_id),
    }


def find_authorisation(
    session: Session, authorisation_id: UUID, organisation_id: UUID
) -> Authorisation:
    """Return an authorisation to its sender or its provider; to others there is none."""
    row = session.scalar(
        _of_both().where(
            Authorisation.id == authorisation_id,
            or_(
                Authorisation.sender_id == organisation_id,
                Authorisation.provider_id == organisation_id,
            ),
        )
    )
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such authorisation")
    return row


def authorised(
    session: Session, sender_id: UUID, after: UUID | None = None
) -> Sequence[Authorisation]:
    """Return a page of a sender's authorisations that stand."""
    return _page(session, _of_both().where(Authorisation.sender_id == sender_id), after)


def served(
    session: Session, provider_id: UUID, after: UUID | None = None
) -> Sequence[Authorisation]:
    """Return a page of the authorisations that let a provider send, which tell whom it serves."""
    return _page(session, _of_both().where(Authorisation.provider_id == provider_id), after)


def _of_both() -> Select[Authorisation]:
    both = joinedload(Authorisation.sender), joinedload(Authorisation.provider)
    return select(Authorisation).options(*both)


def _page(
    session: Session, query: Select[Authorisation], after: UUID | None
) -> Sequence[Authorisation]:
    query = query.where(Authorisation.ended_at.is_(None))
    if after is not None:
        query = query.where(Authorisation.id > after)
    return session.scalars(query.order_by(Authorisation.id).limit(PAGE)).all()


def assign_extension(
    session: Session,
    provider_id: UUID,
    port: SendingNumber,
    number: SendingNumber,
    sender_id: UUID,
    holding: Holding,
    *,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> SenderNumber:
    """Give a sender that authorises it an extension of a provider's port, as that provider.

    What the sender may use it for, and when, lies within what the provider holds. Nothing of
    it may be anybody else's, neither above, save the port, nor beneath.
    """
    lock_holdings(session)
    tree.release_lapsed(session, number, actor_id, now)
    above = tree.above(session, number)
    _check_port(session, provider_id, port, above)
    sender = _authorising(session, sender_id, provider_id)
    if tree.same(session, number) is not None:
        raise conflict("this extension is assigned already, or held by yourself")
    if above[0].organisation_id != provider_id:
        raise conflict("this number is part of an extension that is assigned already")
    row = _within(above[0], number, sender, holding, now)
    beneath = tree.beneath(session, number)
    if any(one.organisation_id != sender_id for one in beneath):
        raise conflict("a longer number that begins with this one is held")
    return tree.insert(session, row, beneath, actor_id, now, member_id)


def _check_port(
    session: Session, provider_id: UUID, port: SendingNumber, above: Sequence[SenderNumber]
) -> None:
    """Raise when a provider does not hold this port, or a number is no extension of it."""
    held = tree.same(session, port)
    if held is None or held.organisation_id != provider_id:
        raise RegistryError(Kind.NOT_FOUND, "this organisation does not hold this number")
    if find(session, provider_id).kind is not OrganisationKind.PROVIDER:
        raise conflict("only providers assign extensions to others")
    if held.id not in {row.id for row in above}:
        raise invalid("number", "is no extension of this port: it begins with it and is longer")


def _authorising(session: Session, sender_id: UUID, provider_id: UUID) -> Organisation:
    """Return a sender that authorises a provider; of others it is not told whether they exist."""
    row = session.scalar(
        _of_both().where(
            Authorisation.sender_id == sender_id,
            Authorisation.provider_id == provider_id,
            Authorisation.ended_at.is_(None),
        )
    )
    if row is None:
        raise conflict("no sender with this id authorises this provider")
    return row.sender


def _within(
    parent: SenderNumber,
    number: SendingNumber,
    sender: Organisation,
    holding: Holding,
    now: datetime,
) -> SenderNumber:
    """Return the row of an extension, whose terms lie within those of what it is part of."""
    for field, words, allowed in (
        ("channels", holding.channels, tree.channels(parent)),
        ("usages", holding.usages, tree.usages(parent)),
    ):
        if not set(words) <= set(allowed):
            raise invalid(field, f"may be of this port: {', '.join(allowed)}")
    first, last = holding.dates(parent, now)
    # What was sent before stays the provider's: nobody else's name is put to it afterwards.
    return tree.make(number, sender, holding.words, (max(first, now), last), parent, now)
