"""Wishes in bulk: whatever a group of lines does, the same lines one by one would have done.

Random histories happen to pairs of numbers alike; then lines are applied to the one of each pair
through the ledger, and to the other in bulk. Ids and salts aside, nothing may tell them apart.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events, ledger
from registry.consent import Basis, Channel, Topic
from registry.database import Database
from registry.errors import RegistryError
from registry.ledger import By, CapTerms, Claim, EvidenceClaim, Scope, bulk
from registry.ledger.bulk import LineResult, Outcome
from registry.models import (
    Consent,
    Event,
    EventOpening,
    Evidence,
    Grant,
    ImportKind,
    Method,
    Notice,
    OutboxItem,
    OutboxState,
    Reassignment,
    Refusal,
    Via,
)
from registry.numbers import NumberKey, SubscriberNumber, parse_subscriber
from registry.policy import Assertions, Period, Policy
from tests.factories import START, Clock, World, count_rows, make_claim, make_number

Line = tuple[bytes, Claim]
RefusalLine = tuple[bytes, SubscriberNumber, Scope, Via]
NUMBERS = 24
LINES = 120
TOPICS = (Topic.RETAIL, Topic.LOANS, Topic.TRAVEL)
CAPS = (CapTerms(10, Period.DAY), CapTerms(3, Period.WEEK))
ENDS = (START + timedelta(days=60), START + timedelta(days=90))
TEXTS = (
    EvidenceClaim(Method.WEB_FORM, "I agree to ten messages a day."),
    EvidenceClaim(Method.PAPER, "100 % 同意", "2", "zh", "ab" * 32, "https://example.com/%s"),
)


@dataclass
class Pair:
    """Two numbers to which the same happens: one that is acted on singly, one in bulk."""

    single: SubscriberNumber
    bulk: SubscriberNumber

    def both(self, act: Callable[[SubscriberNumber], object]) -> None:
        act(self.single)
        act(self.bulk)


def make_pairs() -> list[Pair]:
    """Return pairs of mobiles, and one of landlines, which take no SMS."""
    mobiles = [Pair(make_number(i), make_number(5_000 + i)) for i in range(NUMBERS)]
    landlines = Pair(parse_subscriber("02161234567"), parse_subscriber("02161234568"))
    return [*mobiles, landlines]


def pick(pairs: Sequence[Pair], draw: random.Random) -> Pair:
    """Draw a pair: the first ones often, so that much happens to them, the last ones seldom."""
    return pairs[int(len(pairs) * draw.random() ** 2.5)]


def make_key() -> bytes:
    return uuid4().bytes


# Histories


def make_history(world: World, clock: Clock, pairs: Sequence[Pair], draw: random.Random) -> None:
    """Let the same things happen, some days long, to both numbers of each pair."""
    for _ in range(3 * len(pairs)):
        clock.pass_(hours=draw.randrange(1, 3))
        pair = pick(pairs, draw)
        act = draw.choice([grant, grant, refuse, withdraw, reassign, send])
        act(world, clock, pair, draw)


def grant(world: World, clock: Clock, pair: Pair, draw: random.Random) -> None:
    terms: dict[str, Any] = {
        "sender": draw.choice([world.sender, world.sender, world.other_sender]),
        "basis": draw.choice([Basis.ASSERTED, Basis.ASSERTED, Basis.CONFIRMED]),
        "channel": Channel.SMS if pair.single.takes_sms else Channel.VOICE,
        "topics": tuple(draw.sample(TOPICS, draw.choice([1, 1, 2]))),
        "valid_until": clock() + timedelta(days=1) if draw.random() < 0.3 else draw.choice(ENDS),
        "cap": draw.choice(CAPS),
    }
    pair.both(lambda number: world.grant(number, **terms))


def refuse(world: World, _clock: Clock, pair: Pair, draw: random.Random) -> None:
    scope = make_scope(world, draw)
    pair.both(lambda number: world.refuse(number, scope))


def make_scope(world: World, draw: random.Random) -> Scope:
    return Scope(
        draw.choice([None, Channel.SMS, Channel.VOICE]),
        draw.choice([None, *TOPICS]),
        draw.choice([None, world.sender.id, world.sender.id, world.other_sender.id]),
    )


def withdraw(world: World, _clock: Clock, pair: Pair, draw: random.Random) -> None:
    by_subscriber = draw.random() < 0.5

    def latest(number: SubscriberNumber) -> None:
        with world.registry.database.snapshot() as session:
            standing = session.scalars(
                select(Consent)
                .where(Consent.number == number, Consent.ended_at.is_(None))
                .where(Consent.reassignment_id.is_(None))
                .order_by(Consent.event_id.desc(), Consent.topic)
            ).first()
        if standing is not None:
            world.withdraw(standing, by_subscriber=by_subscriber)

    pair.both(latest)


def reassign(world: World, clock: Clock, pair: Pair, draw: random.Random) -> None:
    at = clock() - timedelta(minutes=draw.choice([0, 90]))
    cancelled = draw.random() < 0.3

    def happen(number: SubscriberNumber) -> None:
        try:
            made = world.reassign(number, at)
        except RegistryError:
            return  # One at this time or later is known.
        if cancelled:
            world.cancel(made)

    pair.both(happen)


def send(world: World, clock: Clock, pair: Pair, draw: random.Random) -> None:
    """Let what waits be sent: some hours ago, too long ago to matter, or within a digest."""
    sent = {"state": OutboxState.SENT, "sent_at": clock() - timedelta(hours=draw.choice([1, 40]))}
    merged = draw.random() < 0.3

    def happen(number: SubscriberNumber) -> None:
        said: dict[str, Any] = sent
        if merged:
            digest = OutboxItem(
                id=uuid7(),
                notice=Notice.CONSENTS_ASSERTED,
                number=number,
                subject_id=UUID(int=1),
                recorded_at=clock(),
                try_at=clock(),
                **sent,
            )
            world.do(lambda session: session.add(digest))
            said = {"state": OutboxState.MERGED, "merged_into": digest.id}
        waiting = update(OutboxItem).where(
            OutboxItem.number == number, OutboxItem.state == OutboxState.WAITING
        )
        world.do(lambda session: session.execute(waiting.values(said)))

    pair.both(happen)


# Lines


def make_lines(
    clock: Clock, pairs: Sequence[Pair], draw: random.Random
) -> list[tuple[bytes, Pair, Claim]]:
    """Return lines, some of which repeat an earlier one, and some of which break a rule."""
    lines: list[tuple[bytes, Pair, Claim]] = []
    for _ in range(LINES):
        if lines and draw.random() < 0.15:
            lines.append(draw.choice(lines))
            continue
        pair = pick(pairs, draw)
        claim = make_claim(
            pair.single,
            channel=draw.choice([Channel.SMS, Channel.SMS, Channel.VOICE]),
            topics=tuple(draw.sample(TOPICS, draw.choice([1, 1, 2, 3]))),
            granted_at=clock() + timedelta(hours=draw.choice([-40, -1, 0, 0, 0, 0, 0, 2])),
            valid_until=draw.choice([ENDS[0], ENDS[0], ENDS[0], ENDS[1], START]),
            cap=draw.choice(CAPS),
        )
        lines.append((make_key(), pair, replace(claim, evidence=draw.choice(TEXTS))))
    return lines


def assert_singly(
    world: World, lines: Sequence[Line], policy: Policy, known: dict[bytes, UUID]
) -> list[LineResult]:
    """Do what the API does for each line, but what an earlier one did."""
    sender_id, clock = world.sender.id, world.registry.clock

    def record(session: Session, claim: Claim) -> UUID:
        ledger.check_assertions(session, claim.number, sender_id, clock=clock)
        made = ledger.grant(
            session,
            claim,
            sender_id=sender_id,
            by=By(Via.SENDER, sender_id),
            basis=Basis.ASSERTED,
            policy=policy,
            clock=clock,
        )
        return made[0].grant.id

    return singly(world, [(key, partial(record, claim=claim)) for key, claim in lines], known)


def singly(
    world: World,
    lines: Sequence[tuple[bytes, Callable[[Session], UUID]]],
    known: dict[bytes, UUID],
) -> list[LineResult]:
    """Do line after line, each in a transaction, but for those of which an earlier one was done."""
    results = []
    for key, act in lines:
        if key in known:
            results.append(LineResult(Outcome.REPEATED, None, known[key]))
            continue
        try:
            known[key] = world.do(act)
        except RegistryError as error:
            results.append(LineResult(Outcome.REJECTED, error.detail, None))
        else:
            results.append(LineResult(Outcome.APPLIED, None, known[key]))
    return results


def assert_in_bulk(
    session: Session, world: World, lines: Sequence[Line], policy: Policy | None = None
) -> list[LineResult]:
    return bulk.assert_many(
        session,
        lines,
        sender_id=world.sender.id,
        policy=policy or world.registry.policy,
        clock=world.registry.clock,
    )


def assert_group(
    world: World, lines: Sequence[Line], policy: Policy | None = None
) -> list[LineResult]:
    """Assert a group in a transaction of its own."""
    return world.do(lambda session: assert_in_bulk(session, world, lines, policy))


# What can be told of a number, without its ids


@dataclass
class Record:
    """All that the database holds on one number, in which ids are names."""

    events: list[Any]
    consents: list[Any]
    refusals: list[Any]
    outbox: list[Any]


def read(database: Database, number: SubscriberNumber) -> Record:
    with database.snapshot() as session:
        names: dict[str, str] = {}
        consents = session.execute(
            select(Consent, Grant, Evidence)
            .join(Grant, Grant.id == Consent.grant_id)
            .join(Evidence, Evidence.id == Grant.evidence_id)
            .where(Consent.number == number)
            .order_by(Consent.event_id, Consent.topic)
        ).all()
        refusals = session.scalars(
            select(Refusal).where(Refusal.number == number).order_by(Refusal.event_id)
        ).all()
        reassignments = session.scalars(
            select(Reassignment)
            .where(Reassignment.number == number)
            .order_by(Reassignment.event_id)
        ).all()
        for i, (consent, terms, _) in enumerate(consents):
            names[str(consent.id)] = f"consent {i}"
            names.setdefault(str(terms.id), f"grant {i}")
        for i, refusal in enumerate(refusals):
            names[str(refusal.id)] = f"refusal {i}"
        for i, reassignment in enumerate(reassignments):
            names[str(reassignment.id)] = f"reassignment {i}"
        items = session.scalars(select(OutboxItem).where(OutboxItem.number == number)).all()
        for item in items:
            names[str(item.id)] = "item"
        return Record(
            events=[named(said, names) for said in read_events(session, number)],
            consents=[
                [
                    *values(consent, names, "event_id"),
                    *values(terms, names, "evidence_id", "line_key"),
                    *values(evidence, names, "id", "recorded_at"),
                ]
                for consent, terms, evidence in consents
            ],
            refusals=[values(row, names, "event_id", "line_key") for row in refusals],
            outbox=sorted(values(item, names) for item in items),
        )


def values(row: Any, names: dict[str, str], *without: str) -> list[str]:
    without = (*without, "number")
    columns = [name for name in row.__table__.columns.keys() if name not in without]  # noqa: SIM118
    return [f"{name}={names.get(str(value := getattr(row, name)), value)}" for name in columns]


def read_events(session: Session, number: SubscriberNumber) -> Iterator[Any]:
    """Yield what the events of a number say, after having checked how they are written."""
    rows = session.execute(
        select(Event, EventOpening.salt)
        .join(EventOpening, EventOpening.event_id == Event.id)
        .where(EventOpening.number == number)
        .order_by(Event.id)
    )
    for row, salt in rows:
        said = json.loads(row.payload)
        assert events.canonical(said) == row.payload
        assert said.pop("commitment") == events.commitment(salt, number).hex()
        assert said["recorded_at"] == events.timestamp(row.recorded_at)
        if row.kind == "consent_granted":
            terms = session.get(Grant, UUID(said["grant"]))
            assert terms is not None
            assert said["evidence"].pop("id") == str(terms.evidence_id)
        if isinstance(said.get("superseded"), list):
            said["superseded"].sort()
        yield row.kind, said


def named(said: Any, names: dict[str, str]) -> Any:
    if isinstance(said, dict):
        return {name: named(value, names) for name, value in said.items()}
    if isinstance(said, list | tuple):
        return sorted((named(each, names) for each in said), key=str)
    return names.get(said, said) if isinstance(said, str) else said


def outcomes(results: Sequence[LineResult]) -> list[tuple[Outcome, str | None, object]]:
    """Return results, in which an id is the place of the line that it first was the result of."""
    first: dict[UUID, int] = {}
    return [
        (outcome, problem, line_id and first.setdefault(line_id, place))
        for place, (outcome, problem, line_id) in enumerate(results)
    ]


@pytest.mark.parametrize(
    ("seed", "assertions", "delay"),
    [
        (1, Assertions.COUNT, 0),
        (2, Assertions.COUNT, 30),
        (3, Assertions.NEED_CONFIRMATION, 0),
    ],
)
def test_assert_many_does_what_the_same_lines_do_one_by_one(
    world: World, clock: Clock, seed: int, assertions: Assertions, delay: int
) -> None:
    draw = random.Random(seed)  # noqa: S311
    rules = world.registry.policy
    consents = replace(rules.consents, asserted=assertions, assertion_delay_minutes=delay)
    policy = replace(rules, consents=consents)
    pairs = make_pairs()
    make_history(world, clock, pairs, draw)
    clock.pass_(minutes=30)
    lines = make_lines(clock, pairs, draw)
    known: dict[bytes, UUID] = {}
    expected, results = [], []
    for part in (lines[: LINES // 2], lines[LINES // 2 :]):
        expected += assert_singly(world, [(key, claim) for key, _, claim in part], policy, known)
        in_bulk = [(key, replace(claim, number=pair.bulk)) for key, pair, claim in part]
        results += assert_group(world, in_bulk, policy)
        for pair in pairs:
            send(world, clock, pair, draw)  # What was told is not told again.
        clock.pass_(hours=2)
    assert outcomes(results) == outcomes(expected)
    assert {result.outcome for result in results} == set(Outcome)
    compare(world, pairs)
    for channel, topic in {(claim.channel, claim.topics[0]) for _, _, claim in lines}:
        for pair in pairs:
            about = {"channel": channel, "topic": topic}
            assert reason(world, pair.bulk, about) is reason(world, pair.single, about)


def reason(world: World, number: SubscriberNumber, about: dict[str, Any]) -> object:
    sending = {Channel.SMS: "10690001234", Channel.VOICE: "95013"}[about["channel"]]
    return world.verdict(number, sending=sending, **about).reason


def compare(world: World, pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        database = world.registry.database
        assert read(database, pair.bulk) == read(database, pair.single)


def test_refuse_many_does_what_the_same_lines_do_one_by_one(world: World, clock: Clock) -> None:
    draw = random.Random(4)  # noqa: S311
    pairs = make_pairs()[-6:]
    make_history(world, clock, pairs, draw)
    by, now = world.carrier.id, clock.pass_(minutes=30)
    lines: list[tuple[bytes, Pair, Scope, Via]] = []
    for place in range(60):
        scope = make_scope(world, draw)
        if place % 20 == 7:
            scope = replace(scope, sender_id=draw.choice([uuid4(), by]))
        again = lines and draw.random() < 0.2
        line = (make_key(), draw.choice(pairs), scope, draw.choice([Via.HOTLINE, Via.STORE]))
        lines.append(draw.choice(lines) if again else line)

    def record(session: Session, pair: Pair, scope: Scope, via: Via) -> UUID:
        return ledger.refuse(session, pair.single, scope, by=By(via, by), clock=clock).id

    acts = [
        (key, partial(record, pair=pair, scope=scope, via=via)) for key, pair, scope, via in lines
    ]
    expected = singly(world, acts, {})
    in_bulk = [(key, pair.bulk, scope, via) for key, pair, scope, via in lines]
    results = world.do(
        lambda session: bulk.refuse_many(session, in_bulk, by_organisation_id=by, clock=clock)
    )
    assert outcomes(results) == outcomes(expected)
    assert {result.outcome for result in results} == set(Outcome)
    assert now == clock()
    compare(world, pairs)


def test_reassign_many_records_each_line_once_and_says_what_it_could_not(
    world: World, clock: Clock
) -> None:
    [consent] = world.grant(make_number(1))
    clock.pass_(days=1)
    keys = [make_key() for _ in range(3)]
    lines = [
        (keys[0], make_number(1), clock()),
        (keys[1], make_number(2), clock() + timedelta(days=1)),
        (keys[0], make_number(1), clock()),
        (keys[2], make_number(1), clock()),
    ]

    def reassign_all(session: Session) -> list[LineResult]:
        return bulk.reassign_many(session, lines, by_organisation_id=world.carrier.id, clock=clock)

    results = world.do(reassign_all)
    made = results[0].id
    assert results == [
        LineResult(Outcome.APPLIED, None, made),
        LineResult(Outcome.REJECTED, "reassigned_at lies in the future", None),
        LineResult(Outcome.REPEATED, None, made),
        LineResult(Outcome.REJECTED, "a reassignment at or after this time is recorded", None),
    ]
    with world.registry.database.snapshot() as session:
        ended = session.get(Consent, consent.id)
        assert ended is not None
        assert ended.reassignment_id == made
    assert world.do(reassign_all)[0] == LineResult(Outcome.REPEATED, None, made)


def test_line_is_repeated_in_a_later_import_and_changes_nothing(world: World) -> None:
    lines = [(make_key(), make_claim(make_number(i))) for i in range(3)]
    wishes = [(make_key(), make_number(i), Scope(), Via.HOTLINE) for i in range(3)]

    def apply(session: Session) -> list[LineResult]:
        refused = bulk.refuse_many(
            session, wishes, by_organisation_id=world.carrier.id, clock=world.registry.clock
        )
        return assert_in_bulk(session, world, lines) + refused

    first = world.do(apply)
    before = count_rows(world.registry)
    again = world.do(apply)
    assert again == [LineResult(Outcome.REPEATED, None, result.id) for result in first]
    assert count_rows(world.registry) == before


def test_group_that_is_rolled_back_leaves_nothing(world: World) -> None:
    before = count_rows(world.registry)
    lines = [(make_key(), make_claim(make_number(i))) for i in range(3)]

    def fail(session: Session) -> None:
        assert_in_bulk(session, world, lines)
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        world.do(fail)
    assert count_rows(world.registry) == before
    results = assert_group(world, lines)
    assert {result.outcome for result in results} == {Outcome.APPLIED}


def test_lines_share_evidence_only_where_it_is_the_same(world: World) -> None:
    claims = [replace(make_claim(make_number(i)), evidence=TEXTS[i % 2]) for i in range(4)]
    results = assert_group(world, [(make_key(), claim) for claim in claims])
    with world.registry.database.snapshot() as session:
        shown = [
            session.get_one(Evidence, session.get_one(Grant, result.id).evidence_id).notice_text
            for result in results
        ]
        assert shown == [claim.evidence.notice_text for claim in claims]
        assert session.scalar(select(func.count(Evidence.id))) == 2


def test_many_lines_cost_as_many_statements_as_one(world: World) -> None:
    def renew(count: int, first: int) -> int:
        lines = [(make_key(), make_claim(make_number(first + i))) for i in range(count)]
        assert_group(world, lines)
        with counted(world.registry.database) as statements:
            renewed = [(make_key(), claim) for _, claim in lines]
            assert_group(world, renewed)
        return len(statements)

    assert renew(1, 0) == renew(50, 100)


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(database.writer, "before_cursor_execute", count)
    yield statements
    event.remove(database.writer, "before_cursor_execute", count)


def test_group_is_limited(world: World) -> None:
    lines = [(make_key(), make_claim())] * (bulk.GROUP + 1)
    with pytest.raises(ValueError, match="at most"):
        assert_group(world, lines)


def test_line_key_differs_for_whatever_makes_another_line_of_it() -> None:
    key, organisation = NumberKey(bytes(32)), uuid4()
    about: list[tuple[NumberKey, UUID, ImportKind, str]] = [
        (key, organisation, ImportKind.CONSENTS, "13800000000,sms"),
        (NumberKey(bytes([1] * 32)), organisation, ImportKind.CONSENTS, "13800000000,sms"),
        (key, uuid4(), ImportKind.CONSENTS, "13800000000,sms"),
        (key, organisation, ImportKind.REFUSALS, "13800000000,sms"),
        (key, organisation, ImportKind.CONSENTS, "13800000000,voice"),
    ]
    keys = [bulk.line_key(*each) for each in about]
    assert len(set(keys)) == len(about)
    assert {len(each) for each in keys} == {16}
    assert keys[0] == bulk.line_key(*about[0])


# Two at once, which only PostgreSQL lets happen


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_imports_at_once_apply_each_line_once(world: World) -> None:
    lines = [(make_key(), make_claim(make_number(i % 40))) for i in range(200)]
    orders = [lines, lines[::-1], lines[100:] + lines[:100]]

    def apply(order: Sequence[Line]) -> dict[bytes, LineResult]:
        found: dict[bytes, LineResult] = {}
        for start in range(0, len(order), 50):
            group = order[start : start + 50]
            results = assert_group(world, group)
            found.update(zip([key for key, _ in group], results, strict=True))
        return found

    with ThreadPoolExecutor(len(orders)) as pool:
        found = list(pool.map(apply, orders))
    for key, _ in lines:
        results = [each[key] for each in found]
        assert len({result.id for result in results}) == 1
        assert sorted(result.outcome for result in results) == ["applied", "repeated", "repeated"]
    with world.registry.database.snapshot() as session:
        assert session.scalar(select(func.count(Grant.id))) == len(lines)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_line_that_another_transaction_is_writing_for_another_number_is_repeated(
    world: World,
) -> None:
    shared, own = make_key(), make_key()
    database = world.registry.database

    def second() -> list[LineResult]:
        lines = [(own, make_claim(make_number(3))), (shared, make_claim(make_number(2)))]
        return assert_group(world, lines)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            [first] = assert_in_bulk(session, world, [(shared, make_claim(make_number(1)))])
            waits: Future[list[LineResult]] = pool.submit(second)
            wait_for_a_waiter(database)
        applied, repeated = waits.result()
    assert applied.outcome is Outcome.APPLIED
    assert repeated == LineResult(Outcome.REPEATED, None, first.id)
    with database.snapshot() as session:
        assert session.scalar(select(func.count(Grant.id))) == 2
        assert session.scalar(select(func.count(Consent.id))) == 2


def wait_for_a_waiter(database: Database) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype <> 'advisory'")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with database.read() as connection:
            if connection.scalar(waiting):
                return
    raise AssertionError("nobody waits")
