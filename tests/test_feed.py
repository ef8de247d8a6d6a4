"""The feed: gapless positions that miss nothing and keep every number's order."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import select

from registry import feed, ledger, worker
from registry.models import Event, EventOpening, Via
from registry.numbers import SubscriberNumber
from registry.runtime import Registry
from tests.factories import World, make_number

WRITERS, CHANGES = 4, 30
on_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def refuse(world: World, number: SubscriberNumber, before_commit: Callable[[], object]) -> None:
    """Record a refusal, and do something before its transaction is committed."""
    with world.registry.database.write() as session:
        ledger.refuse(
            session,
            number,
            ledger.Scope(),
            via=Via.SMS,
            recorded_by=world.carrier.id,
            clock=world.registry.clock,
        )
        before_commit()


class Reader:
    """Follows the feed by positions, as a replica does."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.position = 0
        self.seen: list[Event] = []

    def catch_up(self) -> None:
        with self.registry.database.snapshot() as session:
            for event in feed.after(session, self.position):
                self.seen.append(event)
                self.position = event.position or 0


def test_positions_are_gapless_and_given_once(world: World) -> None:
    reader = Reader(world.registry)
    reader.catch_up()
    assert reader.seen == []
    total = worker.sequence(world.registry)
    for index in range(3):
        world.refuse(make_number(index))
    assert worker.sequence(world.registry) == 3
    assert worker.sequence(world.registry) == 0
    reader.catch_up()
    assert [event.position for event in reader.seen] == list(range(1, total + 4))
    assert [event.id for event in reader.seen] == sorted(event.id for event in reader.seen)


def test_sequencer_goes_on_where_its_group_ended(world: World) -> None:
    for index in range(5):
        world.refuse(make_number(index))
    waiting = worker.sequence(world.registry)
    with world.registry.database.write() as session:
        assert feed.sequence(session, most=2) == 0
    for index in range(5):
        world.refuse(make_number(index))
    for expected in (2, 2, 1, 0):
        with world.registry.database.write() as session:
            assert feed.sequence(session, most=2) == expected
    reader = Reader(world.registry)
    reader.catch_up()
    assert reader.position == waiting + 5


@on_postgresql
def test_event_that_commits_late_gets_a_later_position_and_is_not_missed(world: World) -> None:
    """The one with the lower id commits last: a reader of ids would have passed it by."""
    worker.sequence(world.registry)
    reader = Reader(world.registry)
    reader.catch_up()
    drawn, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        drawn.set()
        assert let_go.wait(10)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(refuse, world, make_number(1), hold)
        assert drawn.wait(10)
        world.refuse(make_number(2))
        worker.sequence(world.registry)
        reader.catch_up()
        passed = reader.seen[-1]
        let_go.set()
        slow.result()
    worker.sequence(world.registry)
    reader.catch_up()
    late = reader.seen[-1]
    assert late.id < passed.id
    assert late.position == (passed.position or 0) + 1


def test_reader_misses_nothing_while_writers_commit_in_any_order(world: World) -> None:
    numbers = [make_number(index) for index in range(3)]
    done = threading.Event()
    reader = Reader(world.registry)

    def follow() -> None:
        while not done.is_set():
            worker.sequence(world.registry)
            reader.catch_up()

    def write(writer: int) -> None:
        for change in range(CHANGES):
            number = numbers[(writer + change) % len(numbers)]
            # Every third transaction stays open until the follower has looked once more.
            slow = change % 3 == 0
            refuse(world, number, (lambda: looks.acquire(timeout=0.05)) if slow else _at_once)

    looks = threading.Semaphore(0)
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        following = pool.submit(follow)
        for writing in [pool.submit(write, writer) for writer in range(WRITERS)]:
            writing.result()
        done.set()
        following.result()
    worker.sequence(world.registry)
    reader.catch_up()
    assert [event.position for event in reader.seen] == list(range(1, len(reader.seen) + 1))
    with world.registry.database.read() as connection:
        assert {event.id for event in reader.seen} == set(connection.scalars(select(Event.id)))
    _check_true_order(world, reader.seen)


def _at_once() -> None:
    """Commit without waiting."""


def _check_true_order(world: World, events: list[Event]) -> None:
    """Each refusal names the one it superseded, which shows the order of one number's changes."""
    with world.registry.database.read() as connection:
        openings = connection.execute(select(EventOpening.event_id, EventOpening.number))
        number_of = {row.event_id: row.number for row in openings}
    chains: dict[SubscriberNumber, list[tuple[UUID | None, UUID]]] = defaultdict(list)
    for event in events:
        content = json.loads(event.payload)
        if content["kind"] == "refusal_recorded":
            chains[number_of[event.id]].append((content["superseded"], content["refusal"]))
    assert sum(map(len, chains.values())) == WRITERS * CHANGES
    for chain in chains.values():
        assert [before for before, _ in chain] == [None, *(refusal for _, refusal in chain[:-1])]


@on_postgresql
def test_second_sequencer_gives_way(world: World) -> None:
    world.refuse()
    with world.registry.database.write() as first, world.registry.database.write() as second:
        assert feed.sequence(first) > 0
        assert feed.sequence(second) == 0


@on_sqlite
def test_second_writer_waits_for_the_first_one(world: World) -> None:
    """On SQLite no event can commit after one with a higher id."""
    with ThreadPoolExecutor(1) as pool:
        with world.registry.database.write() as session:
            session.connection()
            second = pool.submit(world.refuse)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.1)
        assert second.result().event_id > 0
