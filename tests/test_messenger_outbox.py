"""The outbox: what is queued goes out once, in order, and what becomes of it is recorded."""

import re
import threading
from collections import Counter, deque
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import time, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, insert, select, text
from sqlalchemy.exc import OperationalError

from registry import ledger, maintenance, messenger
from registry.database import Database
from registry.errors import Kind, RegistryError
from registry.ledger import Scope
from registry.messenger import delivery, outbox
from registry.messenger.backends import Accepted, Outcome, Refused, Unavailable, Unknown
from registry.messenger.gateway import HttpGateway
from registry.messenger.outbox import Claim
from registry.messenger.wording import CHINESE, LANGUAGES
from registry.models import Notice, OutboxItem, OutboxState
from registry.numbers import parse_subscriber
from registry.runtime import Registry
from tests.factories import START, Clock, World, dump, make_number
from tests.sms_factories import (
    CODE,
    Scripted,
    make_lane,
    queue_code,
    queue_notice,
    queue_reply,
    row,
)
from tests.sms_gateway import HttpGatewayPeer

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
PRIMARY_KEY = "sqlite_autoindex_outbox_1"


@pytest.fixture
def backend() -> Scripted:
    return Scripted()


def states(registry: Registry) -> Counter[OutboxState]:
    with registry.database.read() as connection:
        return Counter(connection.scalars(select(OutboxItem.state)))


def send_all(lane: delivery.Lane) -> list[Outcome]:
    return list(iter(lane.step, None))


# Queueing and order


def test_message_goes_out_only_if_its_change_is_committed(
    world: World, registry: Registry, backend: Scripted
) -> None:
    class RegretError(Exception):
        pass

    def queue_and_fail(session: Any) -> None:
        messenger.queue(session, Notice.REPLY, make_number(), uuid4(), now=registry.clock())
        raise RegretError

    with pytest.raises(RegretError):
        world.do(queue_and_fail)
    assert send_all(make_lane(registry, backend)) == []
    queue_notice(world)
    assert send_all(make_lane(registry, backend)) == [Accepted("r1")]
    assert [sent.number for sent in backend.sent] == [make_number()]


def test_sent_message_has_its_time_text_and_name_at_the_gateway(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    item = queue_notice(world)
    clock.pass_(seconds=7)
    make_lane(registry, backend).step()
    found = row(registry, item)
    assert (found.state, found.sent_at, found.reference) == (OutboxState.SENT, clock.now, "r1")
    assert (found.attempts, found.text) == (1, backend.sent[0].text)
    assert backend.sent[0].id == item


def test_message_waits_until_its_time(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    world.do(
        lambda session: messenger.queue(
            session,
            Notice.REPLY,
            make_number(),
            uuid4(),
            now=clock.now,
            details={"key": "help"},
            try_at=clock.now + timedelta(hours=9),
        )
    )
    lane = make_lane(registry, backend)
    assert lane.step() is None
    clock.pass_(hours=9)
    assert lane.step() == Accepted("r1")


def test_what_people_wait_for_goes_first_and_then_the_oldest(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    notices = []
    for index in range(5):
        notices.append(queue_notice(world, make_number(index)))
        clock.pass_(seconds=1)
    reply = queue_reply(world, make_number(8))
    clock.pass_(seconds=1)
    code = queue_code(world, make_number(9))
    assert len(send_all(make_lane(registry, backend))) == 7
    assert [sent.id for sent in backend.sent] == [code, reply, *notices]


def test_urgent_lane_leaves_notices_to_others(
    world: World, registry: Registry, backend: Scripted
) -> None:
    for index in range(5):
        queue_notice(world, make_number(index))
    code = queue_code(world, make_number(8))
    assert send_all(make_lane(registry, backend, urgent=True)) == [Accepted("r1")]
    assert [sent.id for sent in backend.sent] == [code]


def test_flood_of_notices_is_not_read_to_find_what_is_urgent(
    world: World, registry: Registry, backend: Scripted
) -> None:
    flood = [
        {"notice": Notice.CONSENT_ASSERTED, "number": make_number(index), "subject_id": uuid4(),
         "recorded_at": registry.clock(), "try_at": registry.clock()}
        for index in range(3000)
    ]  # fmt: skip
    world.do(lambda session: session.execute(insert(OutboxItem), flood))
    queue_code(world)
    with registry.database.write() as session:
        session.execute(text("ANALYZE"))
    with registry.database.write() as session:
        seen: list[Any] = []
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
        assert outbox.due(connection, registry.clock(), urgent=True)
        item = outbox.claim(session, registry.clock(), urgent=True, backend="http")
        assert item is not None
        queries = [each for each in seen if each[0].startswith("SELECT")]
        explain = "EXPLAIN QUERY PLAN" if registry.database.dialect == "sqlite" else "EXPLAIN"
        for statement, parameters in queries:
            plan = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
            assert "ix_outbox_urgent" in str(plan)
    assert len(queries) == 2


@on_sqlite
@pytest.mark.parametrize("urgent", [True, False])
def test_sqlite_finds_what_is_due_lost_or_late_by_an_index(
    world: World, registry: Registry, urgent: bool
) -> None:
    queue_code(world)
    queue_notice(world, make_number(1))
    with registry.database.write() as session:
        connection, seen = session.connection(), list[Any]()
        event.listen(connection, "before_cursor_execute", lambda *args: seen.append(args[2:4]))
        outbox.due(connection, registry.clock(), urgent=urgent)
        outbox.claim(session, registry.clock(), urgent=urgent, backend="http")
        session.flush()
        outbox.claim(session, registry.clock(), urgent=urgent, backend="http")
        outbox.rescue(session, registry.clock())
        outbox.expire(session, registry.clock())
        queries = [each for each in seen if each[0].startswith(("SELECT", "UPDATE"))]
        used = set()
        for statement, parameters in queries:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            for step in [row[3] for row in plan if " outbox" in row[3]]:
                assert step.startswith("SEARCH"), statement
                used.add(re.split(r"USING (?:COVERING )?INDEX |\s\(", step)[1])
    expected = {"ix_outbox_urgent", "ix_outbox_sending", "ix_outbox_expiring"}
    assert expected | (set() if urgent else {"ix_outbox_due"}) == used - {PRIMARY_KEY}


# The time of day


BY_DAY = [
    Notice.CONSENT_ASSERTED, Notice.CONSENTS_ASSERTED, Notice.CONSENT_REQUESTED,
    Notice.CHALLENGE_ANSWERED, Notice.CONSENT_VOIDED, Notice.COMPLAINT_MOVED,
]  # fmt: skip


@pytest.mark.parametrize("notice", Notice)
def test_nobody_is_woken_for_what_nobody_waits_for(
    world: World, registry: Registry, clock: Clock, notice: Notice
) -> None:
    item = world.do(lambda s: messenger.queue(s, notice, make_number(), uuid4(), now=clock.now).id)
    clock.pass_(hours=11)  # It is 21:00.
    hours = registry.policy.contact_hours

    def take() -> OutboxState:
        world.do(lambda s: outbox.claim(s, clock.now, urgent=False, backend="x", hours=hours))
        return row(registry, item).state

    if notice in BY_DAY:
        assert take() is OutboxState.WAITING
        found = row(registry, item)
        assert found.try_at == START + timedelta(hours=22)  # 08:00
        assert (found.attempts, found.claimed_at, found.tried_at) == (0, None, None)
        clock.now = found.try_at
    assert take() is OutboxState.SENDING


def test_message_that_is_repeated_waits_for_the_morning_too(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    clock.pass_(hours=10, minutes=59, seconds=45)
    item = queue_notice(world)
    code = queue_code(world, make_number(1))
    backend.plan.extend([Unavailable("http_503"), Unavailable("http_503")])
    lane = make_lane(registry, backend, hours=registry.policy.contact_hours)
    assert len(send_all(lane)) == 2
    clock.pass_(minutes=1)
    assert send_all(lane) == [Accepted("r3")]
    assert [sent.id for sent in backend.sent] == [code, item, code]
    clock.pass_(hours=11)
    assert send_all(lane) == [Accepted("r4")]
    assert row(registry, item).sent_at == clock.now


def test_notice_waits_for_every_zone_in_which_its_number_may_be(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    number = parse_subscriber("+79161234567")
    assert len(number.zones) > 1
    world.do(lambda s: messenger.queue(s, Notice.CONSENT_VOIDED, number, uuid4(), now=clock.now))
    hours = registry.policy.contact_hours
    world.do(lambda s: outbox.claim(s, clock.now, urgent=False, backend="x", hours=hours))
    [found] = world.do(lambda s: s.scalars(select(OutboxItem)).all())
    assert found.try_at == hours.opens(clock.now, number.zones) != clock.now


def test_request_waits_for_the_hours_of_its_reader_also_when_it_is_repeated(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    world.ask()
    notice = queue_notice(world, make_number(1))
    world.own(ledger.set_own_hours, time(18), time(20), policy=registry.policy)
    lane = make_lane(registry, backend, hours=registry.policy.contact_hours)
    assert send_all(lane) == [Accepted("r1")]
    assert backend.sent[0].id == notice
    clock.pass_(hours=8)
    assert send_all(lane) == [Accepted("r2")]


# Outcomes


@pytest.mark.parametrize(
    ("outcome", "state", "reference"),
    [
        (Accepted("gw-7"), OutboxState.SENT, "gw-7"),
        (Accepted(None), OutboxState.SENT, None),
        (Refused("http_400"), OutboxState.FAILED, None),
        (Unavailable("http_503"), OutboxState.WAITING, None),
        (Unknown("no_answer"), OutboxState.UNCERTAIN, None),
    ],
)
@pytest.mark.parametrize("kind", ["code", "notice", "reply"])
def test_outcome_is_recorded_and_only_what_is_still_needed_is_kept(
    world: World,
    registry: Registry,
    backend: Scripted,
    outcome: Outcome,
    state: OutboxState,
    reference: str | None,
    kind: str,
) -> None:
    queue = {"code": queue_code, "notice": queue_notice, "reply": queue_reply}[kind]
    item = queue(world)
    backend.plan.append(outcome)
    assert make_lane(registry, backend).step() == outcome
    found = row(registry, item)
    assert (found.state, found.reference) == (state, reference)
    again = state is OutboxState.WAITING
    assert (found.details is not None) is (again and kind != "notice")
    assert (found.text is not None) is (kind != "code")
    assert (found.sent_at is not None) is (state is OutboxState.SENT)
    assert make_lane(registry, backend).step() is None


def test_tries_grow_apart_and_end_after_a_day(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    item = queue_notice(world)
    began, lane, waits = clock.now, make_lane(registry, backend), []
    while row(registry, item).state is OutboxState.WAITING:
        backend.plan.append(Unavailable("http_503"))
        assert lane.step() == Unavailable("http_503")
        waits.append((row(registry, item).try_at - clock.now).total_seconds())
        clock.now = max(clock.now, row(registry, item).try_at)
    assert waits[:9] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert set(waits[9:-1]) == {3600}
    assert timedelta(hours=22) < clock.now - began < timedelta(hours=26)
    assert row(registry, item).state is OutboxState.FAILED
    assert lane.step() is None


@pytest.mark.parametrize(
    ("retry_after", "jitter", "seconds"),
    [(0, 0.0, 30), (0, 1.0, 36), (10, 0.0, 30), (90, 0.5, 99), (1e9, 0.0, 3600)],
)
def test_next_try_heeds_the_gateway_and_spreads(
    world: World,
    registry: Registry,
    backend: Scripted,
    clock: Clock,
    retry_after: float,
    jitter: float,
    seconds: float,
) -> None:
    item = queue_notice(world)
    backend.plan.append(Unavailable("http_429", retry_after))
    make_lane(registry, backend, jitter=lambda: jitter).step()
    assert (row(registry, item).try_at - clock.now).total_seconds() == seconds


def test_message_that_is_repeated_says_the_same_whatever_changed(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    queue_notice(world)
    backend.plan.append(Unavailable("ReadTimeoutError"))
    lane = make_lane(registry, backend)
    lane.step()
    world.do(lambda session: setattr(session.merge(world.sender), "name", "Another Name"))
    clock.pass_(hours=1)
    lane.step()
    first, second = backend.sent
    assert (first.id, first.text) == (second.id, second.text)


def test_message_that_is_repeated_is_dropped_when_it_is_not_called_for_any_more(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    item = queue_notice(world)
    backend.plan.append(Unavailable("http_503"))
    lane = make_lane(registry, backend)
    lane.step()
    world.reassign()
    clock.pass_(hours=1)
    assert lane.step() is None
    assert (row(registry, item).state, row(registry, item).text) == (OutboxState.EXPIRED, None)
    assert len(backend.sent) == 1


# Codes


def test_code_is_sent_while_it_is_good_and_then_forgotten(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    item = queue_code(world)
    assert CODE in (row(registry, item).details or "")
    make_lane(registry, backend).step()
    assert CODE in backend.sent[0].text
    found = row(registry, item)
    assert (found.state, found.details, found.text) == (OutboxState.SENT, None, None)


def test_code_that_comes_too_late_is_not_sent_and_forgotten(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    items = [queue_code(world, make_number(index)) for index in range(2)]
    clock.pass_(minutes=5)
    assert make_lane(registry, backend).step() is None
    assert {row(registry, item).state for item in items} == {OutboxState.EXPIRED}
    assert {row(registry, item).details for item in items} == {None}
    assert backend.sent == []


def test_tidying_forgets_codes_that_no_gateway_was_there_for(
    world: World, registry: Registry, clock: Clock
) -> None:
    item, notice = queue_code(world), queue_notice(world, make_number(1))
    clock.pass_(minutes=5)
    done = world.do(lambda session: delivery.tidy(session, clock))
    assert done == {OutboxState.WAITING: 0, OutboxState.UNCERTAIN: 0, OutboxState.EXPIRED: 1}
    assert (row(registry, item).state, row(registry, item).details) == (OutboxState.EXPIRED, None)
    assert row(registry, notice).state is OutboxState.WAITING


def test_demo_keeps_what_a_code_said_sealed(
    world: World, registry: Registry, backend: Scripted
) -> None:
    item = queue_code(world)
    make_lane(registry, backend, keep_codes=True).step()
    found = row(registry, item)
    assert found.text is not None
    assert CODE in found.text
    assert found.details is None
    assert CODE.encode() not in dump(registry)


def test_no_code_and_no_text_is_in_a_dump_while_it_waits(
    world: World, registry: Registry, backend: Scripted
) -> None:
    queue_code(world)
    queue_notice(world, make_number(1))
    backend.plan.extend([Unavailable("http_503"), Unavailable("http_503")])
    assert len(send_all(make_lane(registry, backend))) == 2
    taken = dump(registry)
    assert CODE.encode() not in taken
    for sent in backend.sent:
        assert sent.text.encode() not in taken


# Crashes


def claim(world: World, registry: Registry, kind: str) -> Claim:
    """Claim a message as a worker does that then dies."""

    def take(session: Any) -> Claim:
        item = outbox.claim(session, registry.clock(), urgent=False, backend=kind)
        assert item is not None
        return Claim(item.id, registry.clock())

    return world.do(take)


def tidy(world: World, clock: Clock) -> dict[OutboxState, int]:
    return world.do(lambda session: delivery.tidy(session, clock))


def test_message_of_a_dead_worker_is_repeated_over_http(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    item = queue_code(world)
    claim(world, registry, "http")
    assert make_lane(registry, backend).step() is None
    clock.pass_(minutes=2)
    assert tidy(world, clock)[OutboxState.WAITING] == 0
    clock.pass_(seconds=1)
    assert tidy(world, clock)[OutboxState.WAITING] == 1
    assert make_lane(registry, backend).step() == Accepted("r1")
    assert (backend.sent[0].id, row(registry, item).attempts) == (item, 2)


@pytest.mark.parametrize("kind", ["smpp", "demo"])
def test_message_of_a_dead_worker_is_uncertain_over_what_knows_no_repetition(
    world: World, registry: Registry, backend: Scripted, clock: Clock, kind: str
) -> None:
    item = queue_reply(world)
    claim(world, registry, kind)
    clock.pass_(minutes=10)
    assert tidy(world, clock)[OutboxState.UNCERTAIN] == 0
    clock.pass_(seconds=1)
    assert tidy(world, clock)[OutboxState.UNCERTAIN] == 1
    found = row(registry, item)
    assert (found.state, found.details) == (OutboxState.UNCERTAIN, None)
    clock.pass_(days=2)
    assert make_lane(registry, backend).step() is None


def test_slow_worker_may_still_say_what_became_of_its_message(
    world: World, registry: Registry, clock: Clock
) -> None:
    queue_notice(world)
    mine = claim(world, registry, "smpp")
    clock.pass_(minutes=11)
    tidy(world, clock)
    world.do(lambda session: outbox.record(session, mine, Accepted("m1"), clock.now))
    assert states(registry) == {OutboxState.SENT: 1}


def test_slow_worker_says_nothing_of_a_message_that_another_took_over(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    item = queue_notice(world)
    slow = claim(world, registry, "http")
    clock.pass_(minutes=3)
    tidy(world, clock)
    quick = claim(world, registry, "http")
    late = world.do(lambda session: outbox.record(session, slow, Accepted("r9"), clock.now))
    assert late is None
    assert row(registry, item).state is OutboxState.SENDING
    world.do(lambda session: outbox.record(session, quick, Accepted("r1"), clock.now))
    late = world.do(lambda session: outbox.record(session, slow, Refused("x"), clock.now))
    assert late is None
    assert (row(registry, item).state, row(registry, item).reference) == (OutboxState.SENT, "r1")


class Failing:
    """A database that fails the transactions which a test says."""

    def __init__(self, database: Database, plan: list[bool]) -> None:
        self._database = database
        self._plan = deque(plan)

    def read(self) -> Any:
        return self._database.read()

    @contextmanager
    def write(self) -> Any:
        fails = self._plan.popleft() if self._plan else False
        with self._database.write() as session:
            yield session
            if fails:
                raise OperationalError("COMMIT", {}, Exception("connection lost"))


def test_outcome_that_the_database_did_not_take_is_recorded_before_anything_else(
    world: World, registry: Registry, backend: Scripted
) -> None:
    first, second = queue_notice(world), queue_notice(world, make_number(1))
    failing: Any = Failing(registry.database, [False, True, True])
    lane = make_lane(replace(registry, database=failing), backend)
    for _ in range(2):
        with pytest.raises(OperationalError):
            lane.step()
        assert row(registry, first).state is OutboxState.SENDING
    assert lane.step() == Accepted("r2")
    assert [sent.id for sent in backend.sent] == [first, second]
    assert states(registry) == {OutboxState.SENT: 2}


def test_claim_that_was_not_committed_is_no_claim(
    world: World, registry: Registry, backend: Scripted
) -> None:
    queue_notice(world)
    failing: Any = Failing(registry.database, [True])
    lane = make_lane(replace(registry, database=failing), backend)
    with pytest.raises(OperationalError):
        lane.step()
    assert (backend.sent, states(registry)) == ([], {OutboxState.WAITING: 1})
    assert lane.step() == Accepted("r1")


# Several workers at once


def test_many_lanes_at_once_send_every_message_once(world: World, registry: Registry) -> None:
    items = [queue_notice(world, make_number(index)) for index in range(60)]
    items += [queue_code(world, make_number(100 + index)) for index in range(10)]
    with HttpGatewayPeer() as peer, closing(HttpGateway(peer.url, None)) as gateway:
        lanes = [make_lane(registry, gateway, urgent=index == 0) for index in range(6)]
        threads = [threading.Thread(target=send_all, args=[lane]) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(request["key"] for request in peer.requests) == dict.fromkeys(
            map(str, items), 1
        )
    assert states(registry) == {OutboxState.SENT: 70}
    assert {row(registry, item).attempts for item in items} == {1}


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_message_that_another_transaction_holds_is_passed_by(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    held = queue_notice(world)
    clock.pass_(seconds=1)
    other = queue_notice(world, make_number(1))
    with registry.database.write() as session:
        session.get(OutboxItem, held, with_for_update=True)
        lane = make_lane(registry, backend)
        assert (lane.step(), lane.step()) == (Accepted("r1"), None)
    assert [sent.id for sent in backend.sent] == [other]
    assert lane.step() == Accepted("r2")


# What an operator may do


def test_failed_message_is_sent_again_when_an_operator_says_so(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    item = queue_notice(world)
    for outcome in (Refused("http_400"), Unknown("no_answer"), Accepted("r3")):
        backend.plan.append(outcome)
        make_lane(registry, backend).step()
        if not isinstance(outcome, Accepted):
            world.do(lambda session: outbox.resend(session, item, clock.now))
    assert {(sent.id, sent.text) for sent in backend.sent} == {(item, backend.sent[0].text)}
    assert (row(registry, item).state, len(backend.sent)) == (OutboxState.SENT, 3)


def test_only_what_failed_or_is_uncertain_and_still_says_something_is_sent_again(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    waiting = queue_notice(world)
    with pytest.raises(RegistryError) as refused:
        world.do(lambda session: outbox.resend(session, waiting, clock.now))
    assert refused.value.kind is Kind.CONFLICT
    code, reply = queue_code(world, make_number(1)), queue_reply(world, make_number(2))
    backend.plan.extend([Refused("http_400")] * 2)
    send_all(make_lane(registry, backend))
    wrong = dict.fromkeys((code, reply, waiting), Kind.CONFLICT) | {uuid4(): Kind.NOT_FOUND}
    for item, kind in wrong.items():
        with registry.database.write() as session, pytest.raises(RegistryError) as refused:
            outbox.resend(session, item, clock.now)
        assert refused.value.kind is kind


def test_message_without_words_is_worded_anew_when_it_is_sent_again(
    world: World, registry: Registry, backend: Scripted, clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    item = queue_notice(world)
    broken = replace(CHINESE, texts={**CHINESE.texts, "consent_asserted": "{nothing}"})
    with monkeypatch.context() as patch:
        patch.setitem(LANGUAGES, "zh", broken)
        assert make_lane(registry, backend).step() is None
    found = row(registry, item)
    assert (found.state, found.text) == (OutboxState.FAILED, None)
    world.do(lambda session: outbox.resend(session, item, clock.now))
    assert row(registry, item).tried_at is None
    assert make_lane(registry, backend).step() == Accepted("r1")
    assert "TD1" in backend.sent[0].text


def test_retention_removes_sms_that_were_sent(
    world: World, registry: Registry, backend: Scripted, clock: Clock
) -> None:
    old = queue_notice(world)
    send_all(make_lane(registry, backend))
    clock.pass_(days=100)
    new = queue_notice(world, make_number(1))
    send_all(make_lane(registry, backend))
    clock.pass_(days=85)
    removed = maintenance.purge(registry.database, registry.policy.retention, clock.now)
    assert removed["outbox"] == 1
    with registry.database.read() as connection:
        assert set(connection.scalars(select(OutboxItem.id))) == {new} != {old}


# Reply codes


def ask_many(world: World, registry: Registry, many: int, clock: Clock) -> list[UUID]:
    """Queue notices to one number, each a question, and send them."""
    items = []
    for index in range(many):
        item = queue_notice(world)
        send_all(make_lane(registry, Scripted()))
        items.append(item)
        clock.pass_(seconds=index + 1)
    return items


def test_question_gets_a_number_when_it_is_sent(
    world: World, registry: Registry, clock: Clock
) -> None:
    items = ask_many(world, registry, 3, clock)
    other = queue_notice(world, make_number(1))
    lane = make_lane(registry, backend := Scripted())
    lane.step()
    assert [row(registry, item).reply_code for item in items] == [1, 2, 3]
    assert row(registry, other).reply_code == 1
    assert "TD1" in backend.sent[0].text


def test_question_gets_no_number_where_nobody_can_answer_it(
    world: World, registry: Registry, backend: Scripted
) -> None:
    item = queue_notice(world)
    quiet = messenger.house(registry.settings)
    assert quiet.number is None
    make_lane(registry, backend, house=quiet).step()
    assert row(registry, item).reply_code is None
    assert "TD" not in backend.sent[0].text
    assert backend.sent[0].sender is None


def draw(world: World, clock: Clock) -> int | None:
    return world.do(lambda s: messenger.draw_reply_code(s, make_number(), clock.now))


def test_number_of_a_question_is_used_again_only_after_all_others(
    world: World, registry: Registry, clock: Clock
) -> None:
    def ask(code: int, subject: UUID) -> None:
        world.do(
            lambda session: messenger.queue(
                session, Notice.CONSENT_ASSERTED, make_number(), subject,
                now=clock.now, reply_code=code,
            )
        )  # fmt: skip

    [consent] = world.grant()
    for code in range(1, 100):
        assert draw(world, clock) == code
        clock.pass_(seconds=1)
        ask(code, consent.grant_id if code == 1 else uuid4())
    # The question with the oldest number still waits; the next one's does not.
    assert draw(world, clock) == 2
    world.withdraw(consent)
    assert draw(world, clock) == 1
    ask(1, uuid4())
    assert draw(world, clock) == 2


def test_question_gets_no_number_while_all_wait(world: World, clock: Clock) -> None:
    [consent] = world.grant()
    world.do(
        lambda session: [
            messenger.queue(
                session, Notice.CONSENT_ASSERTED, make_number(), consent.grant_id,
                now=clock.now, reply_code=code,
            )
            for code in range(1, 100)
        ]
    )  # fmt: skip
    assert draw(world, clock) is None
    world.withdraw(consent)
    assert draw(world, clock) == 1


def test_request_that_was_put_keeps_its_number_though_its_like_was_refused_since(
    world: World, registry: Registry, clock: Clock
) -> None:
    request = world.ask()
    send_all(make_lane(registry, Scripted()))
    world.do(
        lambda session: [
            messenger.queue(
                session, Notice.REPLY, make_number(), uuid4(), now=clock.now, reply_code=code
            )
            for code in range(2, 100)
        ]
    )
    world.own(ledger.refuse, Scope())
    assert draw(world, clock) == 2
    world.own(ledger.decline, request.id)
    assert draw(world, clock) == 1


def test_question_is_found_by_its_number_since_a_tenure_began(
    world: World, registry: Registry, clock: Clock
) -> None:
    first, second = ask_many(world, registry, 2, clock)

    def find(code: int, since: Any = None, index: int = 0) -> UUID | None:
        found = world.do(lambda s: messenger.question(s, make_number(index), code, since))
        return found.id if found else None

    assert (find(1), find(2), find(3)) == (first, second, None)
    assert find(1, index=1) is None
    assert find(1, since=clock.now) is None
    with registry.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(OutboxItem)) == 2
