"""Organisations, and who may hold which sending number."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry import senders
from registry.consent import Basis, Channel, MessageClass, Reason
from registry.errors import Kind, RegistryError
from registry.models import (
    Consent,
    Organisation,
    OrganisationKind,
    Refusal,
    SenderNumber,
    Suspension,
)
from registry.numbers import parse_sending
from registry.senders import Holding
from tests.factories import SMS_PORT, Clock, World, make_organisation

PORT = "10690007777"
BENEATH = PORT + "99"


def hold(
    world: World, number: str = PORT, *, by: Organisation | None = None, **dates: Any
) -> SenderNumber:
    """Have `sender` (or `by`) hold a number for commercial SMS."""
    return world.do(
        lambda session: senders.hold(
            session,
            (by or world.sender).id,
            parse_sending(number),
            Holding((Channel.SMS,), (MessageClass.COMMERCIAL,), **dates),
            actor_id=world.operator.id,
            now=world.registry.clock(),
        )
    )


def release(world: World, number: str, *, by: Organisation) -> SenderNumber:
    return world.do(
        lambda session: senders.release(
            session,
            by.id,
            parse_sending(number),
            actor_id=world.operator.id,
            now=world.registry.clock(),
        )
    )


def holder(world: World, number: str) -> SenderNumber:
    return world.do(
        lambda session: senders.holder(session, parse_sending(number), world.registry.clock())
    )


# Organisations


@pytest.mark.parametrize(
    "written",
    [
        "91110000600037341L",
        " 91110000600037341l ",
        "91110000 600037341L",
        "9111000060003734１L",
    ],
)
def test_uscc_is_read_in_its_canonical_form(written: str) -> None:
    assert senders.check_uscc(written) == "91110000600037341L"


@pytest.mark.parametrize(
    "written",
    [
        "911100006000373411",
        "91110000600037341",
        "91110000600037341LL",
        "I1110000600037341L",
        "",
    ],
)
def test_uscc_is_refused_when_it_is_none(written: str) -> None:
    with pytest.raises(RegistryError) as error:
        senders.check_uscc(written)
    assert error.value.kind is Kind.INVALID
    assert set(error.value.fields or ()) == {"uscc"}


def test_organisation_does_not_come_back_under_another_name(world: World, clock: Clock) -> None:
    def register(session: Session, uscc: str) -> Organisation:
        kind, name, phone = OrganisationKind.SENDER, "Another name", "4001234567"
        return senders.register(session, kind, name, uscc, phone, actor_id=None, now=clock.now)

    for written in (world.sender.uscc, f" {world.sender.uscc.lower()} "):
        with pytest.raises(RegistryError) as error:
            world.do(partial(register, uscc=written))
        assert error.value.kind is Kind.CONFLICT


def test_suspension_stops_contacts_until_it_is_ended(world: World, clock: Clock) -> None:
    world.grant()
    change: dict[str, Any] = {"actor_id": world.operator.id, "now": clock.now}
    sender = world.sender.id
    for _ in range(2):
        world.do(lambda it: senders.suspend(it, sender, "complaints", **change))
        assert world.verdict().reason is Reason.SENDER_SUSPENDED
        with pytest.raises(RegistryError) as twice:
            world.do(lambda it: senders.suspend(it, sender, "again", **change))
        assert twice.value.kind is Kind.CONFLICT
        world.do(lambda it: senders.reinstate(it, sender, **change))
        assert world.verdict().reason is Reason.CONSENTED
    with pytest.raises(RegistryError) as none_stands:
        world.do(lambda it: senders.reinstate(it, sender, **change))
    assert none_stands.value.kind is Kind.CONFLICT
    kept = world.do(lambda it: it.scalars(select(Suspension)).all())
    assert [row.reason for row in kept] == ["complaints"] * 2


def test_acts_on_an_unknown_organisation_are_not_found(world: World, clock: Clock) -> None:
    change: dict[str, Any] = {"actor_id": None, "now": clock.now}
    acts: list[Callable[[Session], object]] = [
        lambda it: senders.find(it, uuid4()),
        lambda it: senders.suspend(it, uuid4(), "complaints", **change),
        lambda it: senders.reinstate(it, uuid4(), **change),
        lambda it: senders.limit(it, uuid4(), senders.Limits(), **change),
        lambda it: senders.release(it, uuid4(), parse_sending(SMS_PORT), **change),
    ]
    for act in acts:
        with pytest.raises(RegistryError) as error:
            world.do(act)
        assert error.value.kind is Kind.NOT_FOUND


# Holdings


@pytest.mark.parametrize("kind", OrganisationKind)
def test_only_senders_and_providers_hold_numbers(
    world: World, clock: Clock, kind: OrganisationKind
) -> None:
    organisation = world.do(lambda session: make_organisation(session, kind, 99, clock.now))
    if kind in (OrganisationKind.SENDER, OrganisationKind.PROVIDER):
        assert hold(world, by=organisation).organisation_id == organisation.id
    else:
        with pytest.raises(RegistryError) as error:
            hold(world, by=organisation)
        assert error.value.kind is Kind.CONFLICT


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (PORT, PORT),
        (PORT, BENEATH),
        (BENEATH, PORT),
        (PORT[:8], PORT),
        ("95533", "955331"),
        ("96123456", "96123"),
        ("4001112222", "400-111-2222"),
        ("13800138000", "+8613800138000"),
        ("010-62301000", "+861062301000"),
    ],
)
def test_number_is_not_captured_when_another_holds_it_or_a_part(
    world: World, held: str, wanted: str
) -> None:
    hold(world, held)
    with pytest.raises(RegistryError) as error:
        hold(world, wanted, by=world.other_sender)
    assert error.value.kind is Kind.CONFLICT
    assert holder(world, held).holder.id == world.sender.id


@pytest.mark.parametrize(
    ("held", "wanted"), [(PORT, PORT[:-1] + "8"), ("4001112222", "4001112223"), ("95533", "95534")]
)
def test_number_is_free_when_it_only_resembles_one_that_is_held(
    world: World, held: str, wanted: str
) -> None:
    hold(world, held)
    assert hold(world, wanted, by=world.other_sender).organisation_id == world.other_sender.id


@pytest.mark.parametrize("first", [PORT, BENEATH])
def test_holder_holds_extensions_of_its_own_number(world: World, first: str) -> None:
    for number in sorted([PORT, BENEATH], key=lambda number: number != first):
        hold(world, number)
    assert holder(world, BENEATH + "1").number == BENEATH
    assert holder(world, PORT + "1").number == PORT
    with pytest.raises(RegistryError) as twice:
        hold(world, PORT)
    assert twice.value.kind is Kind.CONFLICT


def test_parts_of_a_port_have_one_holder_when_claimed_at_once(world: World) -> None:
    claims = [(PORT + "0" * more, more % 2) for more in range(8)]
    start = threading.Barrier(len(claims))
    unexpected = []
    with ExitStack() as opened:  # So that none of them spends its head start on connecting.
        for _ in claims:
            opened.enter_context(world.registry.database.writer.connect())

    def claim(number: str, whose: int) -> None:
        start.wait()
        try:
            hold(world, number, by=(world.sender, world.other_sender)[whose])
        except RegistryError as error:
            if error.kind is not Kind.CONFLICT:
                unexpected.append(error)

    threads = [threading.Thread(target=claim, args=arguments) for arguments in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    query = select(SenderNumber.organisation_id).where(SenderNumber.number.startswith(PORT))
    assert len(set(world.do(lambda session: session.scalars(query).all()))) == 1
    assert unexpected == []


def test_number_is_free_again_when_released(world: World, clock: Clock) -> None:
    hold(world)
    for other_than_holder in (world.other_sender, world.carrier):
        with pytest.raises(RegistryError) as error:
            release(world, PORT, by=other_than_holder)
        assert error.value.kind is Kind.NOT_FOUND
    assert release(world, PORT, by=world.sender).released_at == clock.now
    with pytest.raises(RegistryError):
        release(world, PORT, by=world.sender)
    with pytest.raises(RegistryError):
        holder(world, PORT)
    hold(world, by=world.other_sender)
    assert holder(world, PORT).holder.id == world.other_sender.id
    query = select(SenderNumber).where(SenderNumber.number == PORT)
    assert len(world.do(lambda session: session.scalars(query).all())) == 2


def test_number_is_free_again_when_its_holding_has_lapsed(world: World, clock: Clock) -> None:
    until = clock.now + timedelta(days=1)
    lapsed = hold(world, held_until=until)
    clock.pass_(days=1, seconds=-1)
    assert holder(world, PORT).id == lapsed.id
    with pytest.raises(RegistryError):
        hold(world, by=world.other_sender)
    clock.pass_(seconds=1)
    with pytest.raises(RegistryError):
        holder(world, PORT)
    hold(world, by=world.other_sender)
    assert holder(world, PORT).holder.id == world.other_sender.id
    kept = world.do(lambda session: session.get(SenderNumber, lapsed.id))
    assert kept is not None
    assert (kept.released_at, kept.release_recorded_at) == (until, clock.now)


def test_holding_counts_from_its_first_day(world: World, clock: Clock) -> None:
    first = clock.now + timedelta(days=1)
    hold(world, held_from=first)
    with pytest.raises(RegistryError) as not_yet:
        holder(world, PORT)
    assert not_yet.value.kind is Kind.NOT_FOUND
    clock.pass_(days=1)
    assert holder(world, PORT).held_from == first


@pytest.mark.parametrize("days", [0, -1])
def test_holding_is_invalid_when_it_ends_before_it_begins(
    world: World, clock: Clock, days: int
) -> None:
    with pytest.raises(RegistryError) as error:
        hold(world, held_until=clock.now + timedelta(days=days))
    assert error.value.kind is Kind.INVALID


def test_release_of_a_number_ends_what_lies_beneath_it(world: World, clock: Clock) -> None:
    for number in (BENEATH, PORT, BENEATH + "1"):
        hold(world, number)
    clock.pass_(hours=1)
    release(world, BENEATH, by=world.sender)
    assert holder(world, BENEATH + "1").number == PORT
    release(world, PORT, by=world.sender)
    hold(world, BENEATH, by=world.other_sender)
    query = select(SenderNumber.released_at, SenderNumber.parent_id, SenderNumber.depth).where(
        SenderNumber.number.startswith(PORT), SenderNumber.organisation_id == world.sender.id
    )
    rows = world.do(lambda session: session.execute(query.order_by(SenderNumber.number)).all())
    assert [(row.released_at, row.depth) for row in rows] == [
        (clock.now, 0), (clock.now, 1), (clock.now, 2),
    ]  # fmt: skip
    assert holder(world, BENEATH).parent_id is None


def test_number_is_held_within_the_time_of_the_one_it_is_part_of(
    world: World, clock: Clock
) -> None:
    first, last = clock.now + timedelta(days=1), clock.now + timedelta(days=9)
    hold(world, PORT, held_from=first, held_until=last)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"held_from": clock.now}, "held_from"),
        ({"held_until": last + timedelta(seconds=1)}, "held_until"),
        ({"held_from": last}, "held_until"),
    ]
    for dates, field in wrong:
        with pytest.raises(RegistryError) as error:
            hold(world, BENEATH, **dates)
        assert set(error.value.fields or ()) == {field}
    row = hold(world, BENEATH)
    assert (row.held_from, row.held_until) == (first, last)


def test_number_is_not_held_above_one_that_would_outlive_it(world: World, clock: Clock) -> None:
    hold(world, BENEATH)
    with pytest.raises(RegistryError) as error:
        hold(world, PORT, held_until=clock.now + timedelta(days=9))
    assert error.value.kind is Kind.CONFLICT
    assert holder(world, BENEATH).depth == 0


# What the database itself refuses


@pytest.mark.parametrize("table", [SenderNumber, Consent, Refusal, Suspension])
def test_database_refuses_the_same_row_twice_while_the_first_stands(
    world: World, clock: Clock, table: type[Any]
) -> None:
    world.grant(basis=Basis.CONFIRMED)
    world.refuse()
    world.do(
        lambda session: senders.suspend(
            session, world.sender.id, "complaints", actor_id=None, now=clock.now
        )
    )
    columns = table.__table__.c
    with world.registry.database.read() as connection:
        row = dict(connection.execute(select(table.__table__)).mappings().first() or {})
    assert set(row) == set(columns.keys())
    with pytest.raises(IntegrityError):
        world.do(lambda session: session.execute(insert(table), {**row, "id": uuid4()}))
