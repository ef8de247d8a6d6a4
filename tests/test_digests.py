"""Digests: many assertions, one SMS, one way out; none told twice, and none by nobody."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from registry import ledger, maintenance
from registry.consent import Channel, Reason, Topic
from registry.database import lock_number
from registry.messenger import delivery, outbox
from registry.messenger.backends import Accepted, Refused, Unavailable, Unknown
from registry.models import (
    Consent,
    InboundAction,
    Notice,
    OutboxItem,
    OutboxState,
    Refusal,
)
from registry.runtime import Registry
from tests.factories import OTHER_PORT, Clock, World, make_number
from tests.sms_factories import Scripted, make_lane
from tests.test_inbound import Phone

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""What is said does not depend on the database; what is claimed and merged is tested on both."""
NUMBER = make_number()
LEAST = 3


@pytest.fixture
def phone(world: World) -> Phone:
    """Return a phone that is told of three assertions or more in one SMS."""
    made = Phone(world)
    made.lane.digest_from = LEAST
    return made


def assert_three(world: World) -> list[Consent]:
    """Let two senders assert three grants, and return a consent of each."""
    return [
        world.grant(topics=(Topic.RETAIL,))[0],
        world.grant(topics=(Topic.LOANS, Topic.GAMES))[0],
        world.grant(sender=world.other_sender)[0],
    ]


def items(world: World) -> list[OutboxItem]:
    query = select(OutboxItem).order_by(OutboxItem.recorded_at, OutboxItem.id)
    return list(world.do(lambda session: session.scalars(query).all()))


def states(world: World) -> list[tuple[Notice, OutboxState]]:
    return [(item.notice, item.state) for item in items(world)]


def digest(world: World) -> OutboxItem:
    [found] = [item for item in items(world) if item.notice is Notice.CONSENTS_ASSERTED]
    return found


DIGEST = (Notice.CONSENTS_ASSERTED, OutboxState.SENT)
MERGED = (Notice.CONSENT_ASSERTED, OutboxState.MERGED)
SENT = (Notice.CONSENT_ASSERTED, OutboxState.SENT)


# Merging


def test_assertions_that_wait_for_one_number_are_told_in_one_sms(
    world: World, phone: Phone
) -> None:
    assert_three(world)
    world.grant(make_number(1))
    [text] = phone.inbox()
    assert "sender 1、sender 2（共2家企业）称您已同意" in text
    assert "回复TD1即全部拒收" in text
    assert sorted(states(world)) == sorted([DIGEST, MERGED, MERGED, MERGED, SENT])
    whole = digest(world)
    assert (whole.subject_id, whole.reply_code, whole.text) == (whole.id, 1, text)
    assert {it.merged_into for it in items(world) if it.state is OutboxState.MERGED} == {whole.id}
    assert phone.inbox() == []


@on_sqlite
def test_fewer_assertions_are_told_one_by_one(world: World, phone: Phone) -> None:
    assert_three(world)
    world.own(ledger.withdraw_all, sender_id=world.other_sender.id)
    assert len(phone.inbox()) == 2
    assert states(world) == [SENT, SENT, (Notice.CONSENT_ASSERTED, OutboxState.EXPIRED)]


@on_sqlite
def test_digest_leaves_out_what_no_longer_calls_for_it(world: World, phone: Phone) -> None:
    assert_three(world)
    [fourth] = world.grant(channel=Channel.VOICE)
    world.own(ledger.withdraw_own, fourth.id)
    [disputed] = world.grant(sender=world.other_sender, channel=Channel.VOICE)
    world.own(ledger.challenge, disputed.id)
    assert len(phone.inbox()) == 1
    gone = (Notice.CONSENT_ASSERTED, OutboxState.EXPIRED)
    assert sorted(states(world)) == sorted([DIGEST, MERGED, MERGED, MERGED, gone, gone])


@on_sqlite
def test_digest_of_which_one_assertion_remains_says_that_one(
    world: World, phone: Phone, clock: Clock
) -> None:
    first, second, third = assert_three(world)
    phone.backend.plan.append(Refused("http_400"))
    phone.inbox()
    failed = digest(world)
    assert failed.state is OutboxState.FAILED
    world.do(lambda session: setattr(session.get_one(OutboxItem, failed.id), "text", None))
    for consent in (first, third):
        world.own(ledger.withdraw_own, consent.id)
    world.do(lambda session: outbox.resend(session, failed.id, clock.now))
    [text] = phone.inbox()
    assert "sender 1称您已同意接收其营销短信：贷款、游戏" in text
    assert phone.act("TD1") is InboundAction.WITHDRAWN
    [consent] = [it for it in world.rows(Consent) if it.id == second.id]
    assert consent.ended_at is not None


@on_sqlite
def test_digest_of_which_nothing_remains_is_not_sent_again(
    world: World, phone: Phone, clock: Clock
) -> None:
    assert_three(world)
    phone.backend.plan.append(Unavailable("http_503"))
    phone.inbox()
    world.own(ledger.withdraw_all)
    clock.pass_(minutes=1)
    assert phone.inbox() == []
    assert digest(world).state is OutboxState.EXPIRED


@on_sqlite
def test_sms_that_was_handed_over_before_is_not_merged(
    world: World, phone: Phone, clock: Clock
) -> None:
    world.grant()
    phone.backend.plan.append(Unavailable("http_503"))
    phone.inbox()
    world.grant(topics=(Topic.LOANS,))
    world.grant(topics=(Topic.GAMES,))
    clock.pass_(minutes=1)
    assert len(phone.inbox()) == 3
    assert states(world) == [SENT, SENT, SENT]


@on_sqlite
def test_repeated_digest_says_the_same_whatever_is_asserted_meanwhile(
    world: World, phone: Phone, clock: Clock
) -> None:
    assert_three(world)
    phone.backend.plan.append(Unavailable("http_503"))
    [first] = phone.inbox()
    clock.pass_(seconds=1)
    for topic in (Topic.TRAVEL, Topic.HEALTH, Topic.TELECOM):
        world.grant(topics=(topic,))
    clock.pass_(minutes=1)
    again, second = sorted(phone.inbox(), key=lambda text: text != first)
    assert (again, "sender 1称您已3次同意" in second) == (first, True)


@on_sqlite
def test_nobody_is_woken_for_a_digest(world: World, phone: Phone, clock: Clock) -> None:
    phone.lane.hours = world.registry.policy.contact_hours
    clock.pass_(hours=11)  # It is 21:00.
    assert_three(world)
    assert phone.inbox() == []
    clock.pass_(hours=11)
    assert len(phone.inbox()) == 1
    assert digest(world).state is OutboxState.SENT


# Interrupted, and several at once


def test_worker_that_dies_after_its_claim_leaves_one_digest(world: World, clock: Clock) -> None:
    """Before its claim is committed, nothing is merged; after it, all is."""

    class DeadError(Exception):
        pass

    class Dies(Scripted):
        def send(self, message: Any) -> Any:
            raise DeadError

    assert_three(world)
    with pytest.raises(DeadError):
        make_lane(world.registry, Dies(), digest_from=LEAST).step()
    claimed = digest(world)
    assert claimed.state is OutboxState.SENDING
    assert states(world).count(MERGED) == 3
    clock.pass_(minutes=3)
    world.do(lambda session: delivery.tidy(session, clock))
    lane = make_lane(world.registry, backend := Scripted(), digest_from=LEAST)
    assert (lane.step(), lane.step()) == (Accepted("r1"), None)
    assert [(sent.id, sent.text) for sent in backend.sent] == [(claimed.id, claimed.text)]


def test_claim_that_was_not_committed_merges_nothing(world: World, phone: Phone) -> None:
    assert_three(world)

    class DeadError(Exception):
        pass

    def die(session: Any) -> None:
        claimed = outbox.claim(
            session,
            world.registry.clock(),
            urgent=False,
            backend="http",
            gather=phone.lane._gather,
        )
        assert claimed is not None
        assert claimed.notice is Notice.CONSENTS_ASSERTED
        raise DeadError

    with pytest.raises(DeadError):
        world.do(die)
    assert states(world) == [(Notice.CONSENT_ASSERTED, OutboxState.WAITING)] * 3
    assert len(phone.inbox()) == 1


def test_many_lanes_make_one_digest_a_number(world: World, registry: Registry) -> None:
    numbers = [make_number(index) for index in range(6)]
    for topic in (Topic.RETAIL, Topic.LOANS, Topic.GAMES, Topic.TRAVEL):
        for number in numbers:
            world.grant(number, topics=(topic,))
    backend, stop = Scripted(), threading.Event()

    def work(_: int) -> None:
        lane = make_lane(registry, backend, digest_from=LEAST)
        while not stop.is_set():
            lane.step()
            if OutboxState.WAITING not in {state for _, state in states(world)}:
                stop.set()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert sorted(sent.number.e164 for sent in backend.sent) == [it.e164 for it in numbers]
    assert sorted(states(world)) == sorted([DIGEST] * 6 + [MERGED] * 24)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_number_that_somebody_is_busy_with_holds_up_no_other(
    world: World, phone: Phone, clock: Clock
) -> None:
    assert_three(world)
    with world.registry.database.write() as session:
        lock_number(session, NUMBER)
        assert phone.lane.step() is None
    assert states(world) == [(Notice.CONSENT_ASSERTED, OutboxState.WAITING)] * 3
    clock.pass_(seconds=1)
    assert len(phone.inbox()) == 1


# What counts as told


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Accepted("r"), True),
        (Unknown("no_answer"), True),
        (Unavailable("http_503"), False),
        (Refused("http_400"), False),
    ],
)
def test_what_a_digest_said_today_is_not_told_again(
    world: World, phone: Phone, clock: Clock, outcome: Any, told: bool
) -> None:
    assert_three(world)
    phone.backend.plan.append(outcome)
    phone.inbox()
    clock.pass_(hours=1)
    valid_until = world.rows(Consent)[0].valid_until
    [again] = world.grant(valid_until=valid_until)
    queued = [it for it in items(world) if it.subject_id == again.grant_id]
    assert [it.state for it in queued] == [OutboxState.MERGED if told else OutboxState.WAITING]
    clock.pass_(days=1)
    [later] = world.grant(valid_until=valid_until)
    assert OutboxState.WAITING in [
        it.state for it in items(world) if it.subject_id == later.grant_id
    ]


def test_retention_removes_what_was_merged(world: World, phone: Phone, clock: Clock) -> None:
    assert_three(world)
    phone.inbox()
    clock.pass_(days=400)
    maintenance.purge(world.registry.database, world.registry.policy.retention, clock.now)
    assert items(world) == []


# The way out


def test_one_sms_stops_all_that_a_digest_told_of(world: World, phone: Phone) -> None:
    assert_three(world)
    [kept] = world.grant(make_number(1))
    phone.inbox()
    received = phone.send("TD1")
    assert (received.action, received.subject_id) == (InboundAction.WITHDRAWN, digest(world).id)
    assert [it.id for it in world.rows(Consent) if it.ended_at is None] == [kept.id]
    assert {(it.topic, it.sender_id, it.via) for it in world.rows(Refusal)} == {
        (topic, sender.id, "sms")
        for topic, sender in (
            (Topic.RETAIL, world.sender),
            (Topic.LOANS, world.sender),
            (Topic.GAMES, world.sender),
            (Topic.RETAIL, world.other_sender),
        )
    }
    for verdict in (world.verdict(), world.verdict(sending=OTHER_PORT)):
        assert verdict.reason is Reason.CONSENT_WITHDRAWN
    [reply] = phone.inbox()
    assert "您撤回了对2家企业的同意" in reply
    refusals = len(world.rows(Refusal))
    assert phone.act("TD1") is InboundAction.WITHDRAWN
    assert len(world.rows(Refusal)) == refusals


@on_sqlite
def test_digest_is_not_confirmed_as_a_whole(world: World, phone: Phone) -> None:
    world.refuse()
    assert_three(world)
    [text] = phone.inbox()
    assert "未经您确认，这些同意不生效。" in text
    assert phone.act("Y1") is InboundAction.NOTHING_OPEN
    assert world.verdict().reason is Reason.NO_CONSENT


@on_sqlite
def test_bare_no_is_for_the_digest_where_nothing_else_is_open(world: World, phone: Phone) -> None:
    assert_three(world)
    phone.inbox()
    assert phone.act("TD") is InboundAction.WITHDRAWN
    assert [it for it in world.rows(Consent) if it.ended_at is None] == []


@on_sqlite
def test_digest_is_one_question_among_others(world: World, phone: Phone, clock: Clock) -> None:
    assert_three(world)
    phone.inbox()
    clock.pass_(minutes=1)
    world.ask(channel=Channel.VOICE)
    phone.inbox()
    assert phone.act("N") is InboundAction.AMBIGUOUS
    [reply] = phone.inbox()
    assert "N2 sender 1、N1 sender 1等2家" in reply


@on_sqlite
def test_digest_to_an_earlier_subscriber_is_nobodys(
    world: World, phone: Phone, clock: Clock
) -> None:
    assert_three(world)
    phone.inbox()
    world.reassign(reassigned_at=clock.pass_(hours=1))
    clock.pass_(hours=1)
    assert phone.act("TD1") is InboundAction.NOTHING_OPEN
    assert world.rows(Refusal) == []
