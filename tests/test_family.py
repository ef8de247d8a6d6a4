"""Looking after others: only who agreed by an own code, only up to eight, ended by either side."""

import json
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import select

from registry import codes, family
from registry.database import lock_number
from registry.errors import Kind, RegistryError
from registry.models import (
    CodePurpose,
    Event,
    FamilyEnd,
    FamilyLink,
    Notice,
    OneTimeCode,
    OutboxItem,
)
from registry.numbers import SubscriberNumber, parse_subscriber
from registry.runtime import Registry
from tests.factories import Clock, World, make_number
from tests.portal import sent_code

CARER, MEMBER = make_number(0), make_number(10_001)


def ask(
    registry: Registry,
    member: SubscriberNumber = MEMBER,
    carer: SubscriberNumber = CARER,
    label: str | None = None,
) -> tuple[FamilyLink, OneTimeCode]:
    with registry.database.write() as session:
        return family.ask(
            session,
            carer,
            member,
            label,
            address="192.0.2.1",
            policy=registry.policy,
            clock=registry.clock,
        )


def agree(
    registry: Registry,
    link: FamilyLink,
    code: OneTimeCode,
    text: str,
    carer: SubscriberNumber = CARER,
) -> FamilyLink | codes.Failure:
    with registry.database.write() as session:
        return family.agree(
            session, carer, link.id, code.id, text, policy=registry.policy, clock=registry.clock
        )


def join(
    registry: Registry, member: SubscriberNumber = MEMBER, carer: SubscriberNumber = CARER
) -> FamilyLink:
    link, code = ask(registry, member, carer)
    agreed = agree(registry, link, code, sent_code(registry, member), carer)
    assert isinstance(agreed, FamilyLink)
    return agreed


def end(registry: Registry, link: FamilyLink, number: SubscriberNumber) -> FamilyLink:
    with registry.database.write() as session:
        return family.end(session, number, link.id, clock=registry.clock)


def acts_for(registry: Registry, link: FamilyLink, carer: SubscriberNumber = CARER) -> bool:
    with registry.database.snapshot() as session:
        try:
            return family.member(session, carer, link.id).member == link.member
        except RegistryError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            return False


def kind_of(act: object) -> Kind:
    with pytest.raises(RegistryError) as raised:
        act()  # type: ignore[operator]
    return raised.value.kind


def told(registry: Registry) -> list[tuple[Notice, SubscriberNumber]]:
    with registry.database.snapshot() as session:
        rows = session.scalars(select(OutboxItem).order_by(OutboxItem.id))
        return [(row.notice, row.number) for row in rows if row.notice is not Notice.CODE]


def test_number_is_looked_after_once_its_own_code_comes_back(registry: Registry) -> None:
    link, code = ask(registry, label="妈妈")
    assert not acts_for(registry, link)
    assert agree(registry, link, code, sent_code(registry, MEMBER)) is not None
    assert acts_for(registry, link)
    with registry.database.snapshot() as session:
        assert [row.label for row in family.members(session, CARER)] == ["妈妈"]
        assert [row.carer for row in family.carers(session, MEMBER)] == [CARER]
        assert family.members(session, MEMBER) == []
    assert told(registry) == [(Notice.FAMILY_AGREED, MEMBER)]


def test_member_is_told_who_asks(registry: Registry) -> None:
    ask(registry)
    with registry.database.snapshot() as session:
        [item] = session.scalars(select(OutboxItem))
    details = json.loads(item.details or "")
    assert (item.number, details["carer"], details["purpose"]) == (MEMBER, CARER.dialled, "family")
    assert CARER.e164[1:] not in (item.details or "")


def test_wrong_code_begins_nothing(registry: Registry) -> None:
    link, code = ask(registry)
    wrong = f"{(int(sent_code(registry, MEMBER)) + 1) % 10**6:06}"
    assert agree(registry, link, code, wrong) is codes.Failure.WRONG
    assert not acts_for(registry, link)


def test_code_for_another_act_begins_nothing(registry: Registry, clock: Clock) -> None:
    link, _code = ask(registry)
    clock.pass_(minutes=1)
    other, other_code = ask(registry, MEMBER, make_number(20_000))
    text = sent_code(registry, MEMBER)
    assert agree(registry, link, other_code, text) is codes.Failure.EXPIRED
    with registry.database.write() as session:
        sign_in = codes.issue(
            session,
            CARER,
            CodePurpose.SIGN_IN,
            address="192.0.2.1",
            limits=registry.policy.codes,
            clock=registry.clock,
            region="CN",
        )
    assert agree(registry, link, sign_in, sent_code(registry, CARER)) is codes.Failure.EXPIRED
    assert not acts_for(registry, link)
    assert not acts_for(registry, other)


def test_link_of_another_is_not_found(registry: Registry) -> None:
    link, code = ask(registry)
    text, stranger = sent_code(registry, MEMBER), make_number(5)
    assert kind_of(lambda: agree(registry, link, code, text, stranger)) is Kind.NOT_FOUND
    agree(registry, link, code, text)
    assert not acts_for(registry, link, stranger)
    assert not acts_for(registry, link, MEMBER)
    assert kind_of(lambda: end(registry, link, stranger)) is Kind.NOT_FOUND
    assert kind_of(lambda: end(registry, FamilyLink(id=uuid4()), CARER)) is Kind.NOT_FOUND
    assert acts_for(registry, link)


def test_own_number_and_one_looked_after_already_are_conflicts(registry: Registry) -> None:
    join(registry)
    assert kind_of(lambda: ask(registry, CARER)) is Kind.CONFLICT
    assert kind_of(lambda: ask(registry)) is Kind.CONFLICT


def test_landline_takes_no_code(registry: Registry) -> None:
    landline = parse_subscriber("010-62345678")
    assert kind_of(lambda: ask(registry, landline)) is Kind.INVALID_NUMBER
    with registry.database.snapshot() as session:
        assert session.scalars(select(FamilyLink)).all() == []


def test_ninth_number_is_one_too_many(registry: Registry, clock: Clock) -> None:
    for index in range(1, 9):
        join(registry, make_number(index * 10_000))
    assert kind_of(lambda: ask(registry, make_number(90_000))) is Kind.CONFLICT
    with registry.database.snapshot() as session:
        first = family.members(session, CARER)[0]
    end(registry, first, CARER)
    join(registry, make_number(90_000))


def test_unanswered_questions_lapse_and_make_room(registry: Registry, clock: Clock) -> None:
    for index in range(1, 9):
        ask(registry, make_number(index * 10_000))
    assert kind_of(lambda: ask(registry, make_number(90_000))) is Kind.CONFLICT
    clock.pass_(days=1)
    join(registry, make_number(90_000))


def test_asking_again_needs_the_new_code_or_the_old_one(registry: Registry, clock: Clock) -> None:
    link, old = ask(registry)
    text = sent_code(registry, MEMBER)
    clock.pass_(minutes=1)
    again, _new = ask(registry)
    assert again.id == link.id
    assert isinstance(agree(registry, link, old, text), FamilyLink)


@pytest.mark.parametrize(
    ("number", "by", "told_number"),
    [(CARER, FamilyEnd.CARER, MEMBER), (MEMBER, FamilyEnd.MEMBER, CARER)],
)
def test_either_side_ends_it_and_the_other_is_told(
    registry: Registry, number: SubscriberNumber, by: FamilyEnd, told_number: SubscriberNumber
) -> None:
    link = join(registry)
    assert end(registry, link, number).ended_by is by
    assert end(registry, link, number).ended_by is by
    assert not acts_for(registry, link)
    assert told(registry)[1:] == [(Notice.FAMILY_ENDED, told_number)]


@pytest.mark.parametrize("number", [CARER, MEMBER])
def test_new_tenure_of_either_number_ends_it(
    registry: Registry, world: World, clock: Clock, number: SubscriberNumber
) -> None:
    link = join(registry)
    clock.pass_(days=1)
    world.reassign(number)
    assert not acts_for(registry, link)
    with registry.database.snapshot() as session:
        assert family.members(session, CARER) == family.carers(session, MEMBER) == []
    join(registry)


@pytest.mark.parametrize("number", [CARER, MEMBER])
def test_cancelled_reassignment_gives_back_who_is_looked_after(
    registry: Registry, world: World, clock: Clock, number: SubscriberNumber
) -> None:
    link = join(registry)
    clock.pass_(days=2)
    mistake = world.reassign(number)
    ask(registry, make_number(20_000))
    assert not acts_for(registry, link)
    world.cancel(mistake)
    assert acts_for(registry, link)


def test_pair_that_is_asked_anew_replaces_the_one_of_an_earlier_tenure(
    registry: Registry, world: World, clock: Clock
) -> None:
    old = join(registry)
    clock.pass_(days=1)
    mistake = world.reassign(MEMBER)
    new = join(registry)
    assert (acts_for(registry, old), acts_for(registry, new)) == (False, True)
    world.cancel(mistake)
    assert (acts_for(registry, old), acts_for(registry, new)) == (False, True)
    with registry.database.snapshot() as session:
        assert session.get_one(FamilyLink, old.id).ended_by is FamilyEnd.LAPSED


def test_numbers_of_an_earlier_tenure_leave_room_for_eight(
    registry: Registry, world: World, clock: Clock
) -> None:
    for index in range(1, 9):
        join(registry, make_number(index * 10_000))
    clock.pass_(days=1)
    world.reassign(make_number(10_000))
    join(registry, make_number(90_000))
    assert kind_of(lambda: ask(registry, make_number(100_000))) is Kind.CONFLICT


# SQLite has one writer at a time, whomever it writes about.
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_asking_waits_for_nobody_who_acts_for_the_member(registry: Registry) -> None:
    with registry.database.write() as other:
        lock_number(other, MEMBER)
        link, _code = ask(registry)
    assert link.member == MEMBER


def test_one_pair_asked_twice_at_once_is_one_link(registry: Registry) -> None:
    def once(_index: int) -> bool:
        try:
            ask(registry)
        except RegistryError as error:
            if error.kind is not Kind.RATE_LIMITED:
                raise
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(once, range(10))) == 1
    with registry.database.snapshot() as session:
        assert len(session.scalars(select(FamilyLink)).all()) == 1


def test_both_numbers_have_it_in_their_history(registry: Registry) -> None:
    link = join(registry)
    end(registry, link, MEMBER)
    with registry.database.snapshot() as session:
        rows = session.scalars(select(Event).order_by(Event.id)).all()
    said = [(row.kind, json.loads(row.payload)["role"]) for row in rows]
    assert said == [
        ("family_agreed", "carer"), ("family_agreed", "member"),
        ("family_ended", "carer"), ("family_ended", "member"),
    ]  # fmt: skip
    assert {json.loads(row.payload)["family_link"] for row in rows} == {str(link.id)}


def test_right_code_twice_changes_nothing_twice(registry: Registry) -> None:
    link, code = ask(registry)
    text = sent_code(registry, MEMBER)
    for _ in range(2):
        assert isinstance(agree(registry, link, code, text), FamilyLink)
    with registry.database.snapshot() as session:
        assert len(session.scalars(select(Event)).all()) == 2
