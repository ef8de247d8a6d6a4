"""What organisations see at one glance, counted within limits, and keys that take turns."""

from datetime import date, timedelta

import pytest
from flask import Flask
from sqlalchemy import event

from registry import access, ledger, overview
from registry.access import Scope
from registry.consent import Basis, Reason, Topic
from registry.errors import Kind, RegistryError
from registry.ledger import RequestCounts
from registry.models import ApiKey
from registry.overview import State
from tests.factories import Client, Clock, World, make_number


def test_consents_are_counted_by_topic_and_state(world: World, clock: Clock) -> None:
    world.grant(make_number(0), valid_until=clock.now + timedelta(days=1))
    world.grant(make_number(1))
    [ended] = world.grant(make_number(2), topics=(Topic.TRAVEL,))
    world.withdraw(ended)
    world.grant(make_number(3), topics=(Topic.TRAVEL,))
    world.reassign(make_number(3))
    world.grant(make_number(4), sender=world.other_sender)
    world.refuse(make_number(5))
    world.grant(make_number(5))  # Of no effect, which its sender is not told here.
    clock.pass_(days=2)
    with world.registry.database.snapshot() as session:
        found = overview.consents(session, world.sender.id, clock.now)
    assert found.by_topic == {
        Topic.RETAIL: {State.EXPIRED: 1, State.STANDING: 2},
        Topic.TRAVEL: {State.ENDED: 2},
    }
    assert (found.count, found.total(State.STANDING), found.all_of_them) == (5, 2, True)


def test_weeks_begin_on_mondays_in_china_and_renewals_end_nothing(
    world: World, clock: Clock
) -> None:
    clock.now = clock.now.replace(day=6, hour=15, minute=59)  # Sunday, nearly midnight in China.
    world.grant(make_number(0))
    [first] = world.grant(make_number(1))
    clock.pass_(minutes=1)
    world.grant(make_number(1))  # Renews the first one.
    world.withdraw(world.grant(make_number(2))[0])
    with world.registry.database.snapshot() as session:
        *_, before, last = overview.weeks(session, world.sender.id, clock.now)
    assert (before.begins, before.new, before.ended) == (date(2026, 11, 30), 2, 0)
    assert (last.begins, last.new, last.ended) == (date(2026, 12, 7), 2, 1)
    assert first.sender_id == world.sender.id


def test_counting_stops_at_its_limits(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_CONSENTS", 2)
    monkeypatch.setattr(overview, "MOST_IN_A_WEEK", 2)
    for index in range(5):
        world.grant(make_number(index))
    with world.registry.database.snapshot() as session:
        found = overview.consents(session, world.sender.id, clock.now)
        last = overview.weeks(session, world.sender.id, clock.now)[-1]
    assert (found.count, found.all_of_them) == (3, False)
    assert (last.new, last.is_more) == (3, True)


def test_lookups_are_counted_by_day_and_answer(
    app: Flask, client: Client, world: World, clock: Clock
) -> None:
    world.grant(make_number(0))
    for _ in range(2):
        client.lookup("13800000000")
    client.batch(["13800000000", "13800000001", "13800000002", "no number"])
    client.lookup("13800000000", who="carrier")
    app.extensions["recorder"].flush()
    counted = {Reason.NO_CONSENT: 2, Reason.CONSENTED: 3}
    with world.registry.database.snapshot() as session:
        assert overview.lookups(session, world.sender.id, clock.now) == counted
        assert overview.lookups(session, world.carrier.id, clock.now) == {Reason.CONSENTED: 1}
        assert overview.lookups(session, world.other_sender.id, clock.now) == {}
        later = clock.now + timedelta(days=overview.DAYS)
        assert overview.lookups(session, world.sender.id, later) == {}


def test_requests_are_counted_as_their_sender_is_shown_them(world: World, clock: Clock) -> None:
    asked = [world.ask(make_number(index)) for index in range(3)]
    world.own(ledger.agree, asked[0].id, number=make_number(0))
    world.own(ledger.decline, asked[1].id, number=make_number(1))
    with world.registry.database.snapshot() as session:
        found = overview.requests(session, world.sender.id, clock.now)
        later = overview.requests(session, world.sender.id, clock.now + timedelta(days=7))
    assert found == RequestCounts(agreed=1, refused=0, waiting=2)
    assert later == RequestCounts(agreed=1, refused=2, waiting=0)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_overviews_find_what_they_count_by_an_index(world: World, clock: Clock) -> None:
    seen: list[tuple[str, tuple[object, ...]]] = []
    world.grant(make_number(0), basis=Basis.CONFIRMED)
    with world.registry.database.snapshot() as session:
        own, now = world.sender.id, clock.now
        event.listen(
            world.registry.database.reader,
            "before_cursor_execute",
            lambda *args: seen.append((args[2], args[3])),
        )
        overview.consents(session, own, now)
        overview.weeks(session, own, now)
        overview.lookups(session, own, now)
        overview.requests(session, own, now)
        overview.expiring_keys(session, own, now)
        asked = [one for one in seen if one[0].startswith("SELECT")]
        for statement, parameters in asked:
            plan = session.connection().exec_driver_sql(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
            steps = [step[3] for step in plan if step[3].startswith("SCAN")]
            # What is counted are the rows of a subquery, which has a limit.
            assert [step for step in steps if "anon" not in step and "CONSTANT" not in step] == []


def issue(world: World, days: int | None = None) -> tuple[ApiKey, str]:
    now = world.registry.clock()
    return world.do(
        lambda session: access.issue(
            session,
            world.sender,
            [Scope.LOOKUP],
            None if days is None else now + timedelta(days=days),
            actor_id=world.sender.id,
            now=now,
            label="shop",
        )
    )


def replace(world: World, key: ApiKey, days: int) -> ApiKey:
    now = world.registry.clock()
    return world.do(
        lambda session: access.rotate(
            session,
            world.sender,
            key.id,
            now + timedelta(days=days),
            actor_id=world.sender.id,
            now=now,
        )
    )[0]


def test_replaced_key_lasts_as_long_as_was_chosen_and_never_longer(
    world: World, clock: Clock
) -> None:
    endless, _text = issue(world)
    soon, _text = issue(world, days=10)
    clock.pass_(days=5)
    ends = []
    for key in (endless, soon):
        new = replace(world, key, days=7)
        assert (new.label, new.scopes) == ("shop", "lookup")
        with world.registry.database.snapshot() as session:
            ends.append((session.get_one(ApiKey, key.id).expires_at, new.expires_at))
    assert ends == [
        (clock.now + timedelta(days=7), None),
        (clock.now + timedelta(days=5), clock.now + timedelta(days=10)),
    ]
    with world.registry.database.snapshot() as session:
        expiring = overview.expiring_keys(session, world.sender.id, clock.now)
    assert [key.id for key in expiring][:2] == [soon.id, endless.id]
    clock.pass_(days=7)
    with pytest.raises(RegistryError) as raised:
        replace(world, endless, days=7)
    assert raised.value.kind is Kind.CONFLICT
