"""Hours of one's own: who sets what, and how every verdict obeys both them and the policy."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from registry import ledger, lookup
from registry.consent import MessageClass, Reason
from registry.errors import Kind, RegistryError
from registry.ledger import By, CapTerms
from registry.lookup import Asker, Verdict
from registry.models import Event, OwnContactHours, Via
from registry.numbers import SubscriberNumber, parse_subscriber
from registry.policy import ContactHours, Period
from tests.factories import (
    OTHER_PORT,
    SERVICE_PORT,
    START,
    Clock,
    World,
    make_number,
    make_question,
)

NUMBER = make_number()
NEW_YORK = parse_subscriber("+12124567890")
MONGOLIA = parse_subscriber("+97699112233")
"""Either of two zones, an hour apart: a contact has to suit both."""


def local(text: str, zone: str = "Asia/Shanghai") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def set_hours(
    world: World, opens: str, closes: str, number: SubscriberNumber = NUMBER, **more: Any
) -> OwnContactHours:
    """Set own hours, written as clocks show them."""
    hours = (time.fromisoformat(opens), time.fromisoformat(closes))
    return world.own(ledger.set_own_hours, *hours, number=number, **more)


def policy_allows(world: World, start: str, end: str) -> None:
    """Change the policy's contact hours."""
    hours = ContactHours(time.fromisoformat(start), time.fromisoformat(end))
    world.registry.policy = replace(world.registry.policy, contact_hours=hours)


def events(world: World) -> int:
    with world.registry.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(Event)) or 0


# What a verdict says


@pytest.mark.parametrize(
    ("number", "at", "verdict"),
    [
        (NUMBER, "2026-12-02 09:59", ("quiet_hours", "2026-12-02 10:00")),
        (NUMBER, "2026-12-02 10:00", ("consented", "2026-12-02 10:10")),
        (NUMBER, "2026-12-02 17:55", ("consented", "2026-12-02 18:00")),
        (NUMBER, "2026-12-02 18:00", ("quiet_hours", "2026-12-03 10:00")),
        (NUMBER, "2026-12-02 20:59", ("quiet_hours", "2026-12-03 10:00")),
        (NEW_YORK, "2026-12-02 22:59", ("quiet_hours", "2026-12-02 23:00")),
        (NEW_YORK, "2026-12-02 23:00", ("consented", "2026-12-02 23:10")),
        (MONGOLIA, "2026-12-02 10:30", ("quiet_hours", "2026-12-02 11:00")),
        (MONGOLIA, "2026-12-02 17:58", ("consented", "2026-12-02 18:00")),
        (MONGOLIA, "2026-12-02 18:00", ("quiet_hours", "2026-12-03 11:00")),
    ],
)
def test_verdict_follows_own_hours_in_every_zone_of_the_number(
    world: World, clock: Clock, number: SubscriberNumber, at: str, verdict: tuple[str, str]
) -> None:
    """The hours are 10:00 to 18:00 where the number is; times are written as in China."""
    world.grant(number)
    set_hours(world, "10:00", "18:00", number)
    clock.now = local(at)
    reason, moment = Reason(verdict[0]), local(verdict[1])
    if reason is Reason.CONSENTED:
        assert world.verdict(number) == Verdict(reason, valid_until=moment)
    else:
        assert world.verdict(number) == Verdict(reason, retry_at=moment)


@pytest.mark.parametrize(
    ("opens", "closes", "at", "retry_at"),
    [
        ("00:00", "12:00", "2026-12-02 07:00", "2026-12-02 08:00"),
        ("06:30", "12:00", "2026-12-02 07:00", "2026-12-02 08:00"),
        ("00:00", "12:00", "2026-12-02 12:00", "2026-12-03 08:00"),
        ("12:00", "23:59", "2026-12-02 21:30", "2026-12-03 12:00"),
    ],
)
def test_own_hours_never_widen_the_policys(
    world: World, clock: Clock, opens: str, closes: str, at: str, retry_at: str
) -> None:
    world.grant()
    policy_allows(world, "00:00", "23:59")
    set_hours(world, opens, closes)
    policy_allows(world, "08:00", "21:00")
    clock.now = local(at)
    assert world.verdict() == Verdict(Reason.QUIET_HOURS, retry_at=local(retry_at))


def test_verdict_denies_without_a_time_when_a_new_policy_leaves_nothing_of_own_hours(
    world: World, clock: Clock
) -> None:
    world.grant()
    world.grant(make_number(1))
    set_hours(world, "08:00", "09:30")
    policy_allows(world, "10:00", "20:00")
    for at in ("2026-12-02 08:30", "2026-12-02 12:00"):
        clock.now = local(at)
        assert world.verdict() == Verdict(Reason.QUIET_HOURS)
    assert world.verdict(make_number(1)).reason is Reason.CONSENTED


def test_used_up_cap_is_tried_again_within_own_hours(world: World, clock: Clock) -> None:
    world.grant(cap=CapTerms(1, Period.DAY))
    set_hours(world, "10:00", "18:00")
    contact(world)
    assert world.verdict() == Verdict(Reason.FREQUENCY_EXCEEDED, retry_at=local("2026-12-02 10:00"))


def test_service_message_does_not_depend_on_own_hours(world: World, clock: Clock) -> None:
    set_hours(world, "10:00", "11:00")
    clock.now = local("2026-12-02 23:00")
    words: dict[str, Any] = {
        "sending": SERVICE_PORT,
        "message_class": MessageClass.SERVICE,
        "topic": None,
    }
    assert world.verdict(**words).reason is Reason.CONSENT_NOT_REQUIRED


def test_stranger_hears_no_consent_whatever_the_own_hours(world: World, clock: Clock) -> None:
    set_hours(world, "10:00", "18:00")
    world.grant()
    for at in ("2026-12-02 03:00", "2026-12-02 12:00", "2026-12-02 19:00"):
        clock.now = local(at)
        numbers = [NUMBER, make_number(1), make_number(2)]
        heard = verdicts(world, numbers, sending=OTHER_PORT)
        assert heard == [Verdict(Reason.NO_CONSENT)] * 3


def asker(world: World) -> Asker:
    return Asker(world.carrier.id, world.carrier.kind)


def verdicts(world: World, numbers: Sequence[SubscriberNumber], **words: Any) -> Sequence[Verdict]:
    """Ask about many numbers at once."""
    now = world.registry.clock()
    question = replace(make_question(at=now, **words), numbers=list(numbers))
    with world.registry.database.read() as connection:
        answer = lookup.answer(
            connection, asker(world), question, now=now, policy=world.registry.policy
        )
    return answer.verdicts


def contact(world: World, number: SubscriberNumber = NUMBER) -> Verdict:
    """Ask about a contact that takes place if it is allowed."""
    now = world.registry.clock()
    with world.registry.database.write() as session:
        return lookup.contact(
            session,
            asker(world),
            make_question(number, at=now),
            now=now,
            policy=world.registry.policy,
        ).verdicts[0]


HOURS = [None, ("09:00", "18:00"), ("09:00", "12:00"), ("12:00", "18:00"), ("09:00", "18:00")]


def test_batch_single_and_contact_answer_alike(world: World, clock: Clock) -> None:
    """Five mobiles, and a number of New York and of Mongolia each with hours and without."""
    abroad = [NEW_YORK, parse_subscriber("+12124567891"), MONGOLIA]
    abroad.append(parse_subscriber("+97699112234"))
    hours = {make_number(index): own for index, own in enumerate(HOURS)}
    hours |= dict(zip(abroad, [None, HOURS[1]] * 2, strict=True))
    for number, own in hours.items():
        world.grant(number, cap=CapTerms(1000, Period.DAY))
        if own is not None:
            set_hours(world, *own, number)
    seen = set()
    for hour in range(24):
        clock.now = local(f"2026-12-02 {hour:02}:30")
        together = verdicts(world, list(hours))
        assert together == [world.verdict(number) for number in hours]
        assert together == [contact(world, number) for number in hours]
        seen.add(tuple(verdict.reason for verdict in together))
    assert len(seen) > 4


CLOCKS = st.times(max_value=time(23, 58)).map(lambda it: it.replace(second=0, microsecond=0))
WINDOWS = (
    st.tuples(CLOCKS, CLOCKS).filter(lambda it: it[0] < it[1]).map(lambda it: ContactHours(*it))
)
ZONES = st.lists(
    st.sampled_from(["Asia/Shanghai", "Asia/Hovd", "America/New_York", "Europe/Lisbon"]),
    min_size=1,
    max_size=2,
    unique=True,
).map(tuple)
INSTANTS = st.integers(0, 365 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes))


@given(WINDOWS, WINDOWS, ZONES, INSTANTS)
def test_hours_within_others_are_those_that_both_allow(
    policys: ContactHours, own: ContactHours, zones: tuple[str, ...], at: datetime
) -> None:
    both = policys.within(own)
    for minutes in range(0, 24 * 60, 17):
        instant = at + timedelta(minutes=minutes)
        expected = policys.allow(instant, zones) and own.allow(instant, zones)
        assert (both is not None and both.allow(instant, zones)) is expected
    assert own.within(policys) == both


# Setting and lifting them


def stored(world: World) -> list[OwnContactHours]:
    return list(
        world.do(
            lambda session: session.scalars(
                select(OwnContactHours).order_by(OwnContactHours.event_id)
            ).all()
        )
    )


def test_new_own_hours_supersede_the_old_ones(world: World, clock: Clock) -> None:
    world.grant()
    set_hours(world, "14:00", "18:00")
    assert world.verdict().reason is Reason.QUIET_HOURS
    set_hours(world, "09:00", "18:00")
    assert world.verdict().reason is Reason.CONSENTED
    old, new = stored(world)
    assert (old.end_reason, new.end_reason) == ("superseded", None)
    assert (new.opens, new.closes) == (time(9), time(18))


def test_same_own_hours_again_change_nothing(world: World) -> None:
    first = set_hours(world, "09:00", "18:00")
    before = events(world)
    assert set_hours(world, "09:00", "18:00", by=By(Via.SMS)).id == first.id
    assert events(world) == before


def test_lifting_own_hours_leaves_the_policys(world: World, clock: Clock) -> None:
    world.grant()
    set_hours(world, "14:00", "18:00")
    lifted = world.own(ledger.lift_own_hours)
    assert lifted is not None
    assert lifted.end_reason == "lifted"
    assert world.verdict().reason is Reason.CONSENTED
    before = events(world)
    assert world.own(ledger.lift_own_hours) is None
    assert events(world) == before


def test_own_hours_are_of_one_number(world: World) -> None:
    world.grant(make_number(1))
    set_hours(world, "14:00", "18:00")
    assert world.verdict(make_number(1)).reason is Reason.CONSENTED


@pytest.mark.parametrize(
    ("opens", "closes", "number", "field"),
    [
        ("18:00", "18:00", NUMBER, "closes"),
        ("18:00", "10:00", NUMBER, "closes"),
        ("22:00", "23:00", NUMBER, "closes"),
        ("00:00", "08:00", NUMBER, "opens"),
        ("07:59", "18:00", NUMBER, "opens"),
        ("10:00", "21:01", NUMBER, "closes"),
        ("08:00", "08:59", NUMBER, "closes"),
        ("20:01", "21:00", NUMBER, "closes"),
        ("10:00", "10:59", NUMBER, "closes"),
        ("10:00:01", "18:00", NUMBER, "opens"),
        ("10:00", "18:00:00.5", NUMBER, "closes"),
        ("10:00+08:00", "18:00", NUMBER, "opens"),
        ("10:00", "11:00", MONGOLIA, "closes"),
    ],
)
def test_own_hours_are_invalid_when_they_leave_no_hour(
    world: World, opens: str, closes: str, number: SubscriberNumber, field: str
) -> None:
    before = events(world)
    with pytest.raises(RegistryError) as error:
        set_hours(world, opens, closes, number)
    assert error.value.kind is Kind.INVALID
    assert set(error.value.fields or ()) == {field}
    assert (events(world), stored(world)) == (before, [])


@pytest.mark.parametrize(
    ("opens", "closes", "number"),
    [("08:00", "09:00", NUMBER), ("20:00", "21:00", NUMBER), ("10:00", "11:30", MONGOLIA)],
)
def test_own_hours_are_valid_when_an_hour_of_the_policys_is_left(
    world: World, opens: str, closes: str, number: SubscriberNumber
) -> None:
    assert set_hours(world, opens, closes, number).ended_at is None


# Tenures


def test_reassignment_ends_own_hours_and_its_cancellation_restores_them(
    world: World, clock: Clock
) -> None:
    set_hours(world, "14:00", "18:00")
    reassignment = world.reassign(reassigned_at=clock.pass_(days=1))
    world.grant()
    assert world.verdict().reason is Reason.CONSENTED
    assert world.own(ledger.lift_own_hours) is None
    world.cancel(reassignment)
    world.grant()
    assert world.verdict().reason is Reason.QUIET_HOURS


def test_own_hours_set_after_a_reassignment_are_the_new_subscribers(
    world: World, clock: Clock
) -> None:
    set_hours(world, "14:00", "18:00")
    moved = clock.pass_(days=1)
    set_hours(world, "15:00", "18:00")
    world.reassign(reassigned_at=moved)
    world.grant()
    assert world.verdict() == Verdict(Reason.QUIET_HOURS, retry_at=local("2026-12-02 15:00"))


def test_cancelling_a_reassignment_keeps_newer_own_hours(world: World, clock: Clock) -> None:
    set_hours(world, "14:00", "18:00")
    reassignment = world.reassign(reassigned_at=clock.pass_(days=1))
    set_hours(world, "15:00", "18:00")
    world.cancel(reassignment)
    old, new = stored(world)
    assert (old.end_reason, old.reassignment_id, new.end_reason) == ("superseded", None, None)
    world.grant()
    assert world.verdict() == Verdict(Reason.QUIET_HOURS, retry_at=local("2026-12-02 15:00"))


def test_own_hours_begin_at_the_instant_they_name(world: World, clock: Clock) -> None:
    world.grant()
    set_hours(world, "14:00", "18:00")
    clock.now = local("2026-12-02 14:00") - timedelta(microseconds=1)
    assert world.verdict().reason is Reason.QUIET_HOURS
    clock.pass_(microseconds=1)
    assert world.verdict().reason is Reason.CONSENTED
    clock.now = local("2026-12-02 18:00") - timedelta(microseconds=1)
    assert world.verdict().reason is Reason.CONSENTED
