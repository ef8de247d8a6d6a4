"""Events, and the feed: gapless positions that miss nothing and keep every number's order."""

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from registry import feed, ledger, senders, worker
from registry.consent import Channel, MessageClass, Topic
from registry.models import Event, EventOpening, Via
from registry.numbers import SubscriberNumber, parse_sending
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
            by=ledger.By(Via.SMS, world.carrier.id),
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
            looked.set()

    def wait_for_a_look() -> None:
        looked.clear()
        looked.wait(timeout=0.05)  # On SQLite the follower waits for this very transaction.

    def write(writer: int) -> None:
        for change in range(CHANGES):
            number = numbers[(writer + change) % len(numbers)]
            # Every third transaction stays open until the follower has looked once more.
            slow = change % 3 == 0
            refuse(world, number, wait_for_a_look if slow else _at_once)

    looked = threading.Event()
    with ThreadPoolExecutor(WRITERS + 1) as pool:
        following = pool.submit(follow)
        try:
            for writing in [pool.submit(write, writer) for writer in range(WRITERS)]:
                writing.result()
        finally:
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


# What every change appends


def act(function: Callable[..., Any], *arguments: Any) -> Callable[[World, Any], object]:
    """Return a change of `sender`, made by the operator."""

    def change(world: World, _: object) -> object:
        by = {"actor_id": world.operator.id, "now": world.registry.clock()}
        return world.do(lambda session: function(session, world.sender.id, *arguments, **by))

    return change


def nothing(_world: World) -> None:
    """Prepare nothing."""


PORT = parse_sending("10690007777")
HOLDING = senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,))
suspend, hold = act(senders.suspend, "complaints"), act(senders.hold, PORT, HOLDING)

CHANGES_OF_NUMBERS: list[tuple[str, Callable[[World], Any], Callable[[World, Any], object]]] = [
    ("consent_granted", nothing, lambda world, _: world.grant(topics=tuple(Topic))),
    ("consent_granted", lambda world: world.refuse(), lambda world, _: world.grant()),
    ("consent_granted", lambda world: world.grant(), lambda world, _: world.grant()),
    ("consent_withdrawn", lambda world: world.grant()[0], lambda world, it: world.withdraw(it)),
    ("refusal_recorded", lambda world: world.refuse(), lambda world, _: world.refuse()),
    ("refusal_lifted", lambda world: world.refuse(), lambda world, it: world.lift(it)),
    ("number_reassigned", lambda world: world.grant(), lambda world, _: world.reassign()),
    ("reassignment_cancelled", lambda world: world.reassign(), lambda world, it: world.cancel(it)),
]
CHANGES_OF_ORGANISATIONS: list[tuple[str, Callable[[World], Any], Callable[[World, Any], object]]]
CHANGES_OF_ORGANISATIONS = [
    ("organisation_limited", nothing, act(senders.limit, senders.Limits(10, 20, 30))),
    ("organisation_changed", nothing, act(senders.correct, {"name": "Another name"})),
    ("organisation_suspended", nothing, suspend),
    ("organisation_reinstated", lambda world: suspend(world, None), act(senders.reinstate)),
    ("sending_number_held", nothing, hold),
    ("sending_number_released", lambda world: hold(world, None), act(senders.release, PORT)),
]


@pytest.mark.parametrize(
    ("kind", "prepare", "change"), [*CHANGES_OF_NUMBERS, *CHANGES_OF_ORGANISATIONS]
)
def test_change_appends_one_event_in_canonical_bytes(
    world: World,
    kind: str,
    prepare: Callable[[World], Any],
    change: Callable[[World, Any], object],
) -> None:
    subject = prepare(world)
    [*before] = _events(world)
    change(world, subject)
    event, opening = _events(world)[-1]
    assert len(_events(world)) == len(before) + 1
    content = json.loads(event.payload)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert event.payload == canonical.encode()
    assert (content["v"], content["kind"], event.kind) == (1, kind, kind)
    assert content["recorded_at"] == "2026-12-01T02:00:00Z"
    assert content["actor"] in {
        str(who.id) for who in (world.operator, world.sender, world.carrier)
    }
    if kind.startswith(("organisation", "sending")):
        assert opening is None
        assert "commitment" not in content
    else:
        number = make_number()
        assert (opening.number, len(opening.salt)) == (number, 32)
        committed = hashlib.sha256(b"\x01" + opening.salt + number.e164.encode()).hexdigest()
        assert content["commitment"] == committed
        assert number.e164.removeprefix("+86").encode() not in event.payload


def _events(world: World) -> list[Any]:
    """Return all events, each with the opening of its commitment if it has one."""
    query = select(Event, EventOpening).outerjoin(EventOpening, EventOpening.event_id == Event.id)
    return world.do(lambda session: [*session.execute(query.order_by(Event.id))])


def test_commitments_to_one_number_differ(world: World) -> None:
    """So that nobody without the salts sees which events are about the same number."""
    for _ in range(3):
        world.refuse()
    openings = [opening for _, opening in _events(world) if opening is not None]
    assert len({opening.salt for opening in openings}) == len(openings) == 3
