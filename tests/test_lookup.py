"""The lookup: facts from the real database, verdicts and their times, and what is recorded."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from registry import audit, budgets, lookup, senders, worker
from registry.consent import Channel, MessageClass, Reason, Topic
from registry.database import Database
from registry.errors import Kind, RegistryError
from registry.ledger import CapTerms, Scope
from registry.lookup import Answer, Asker, Verdict
from registry.models import Event, Lookup, Organisation, Purpose
from registry.numbers import SubscriberNumber, parse_sending, parse_subscriber
from registry.policy import Period
from registry.senders import Holding
from tests.conftest import KEY
from tests.factories import (
    OTHER_PORT,
    SERVICE_PORT,
    SMS_PORT,
    START,
    VOICE_LINE,
    Clock,
    World,
    make_number,
    make_question,
)

NUMBER = make_number()
NEW_YORK = parse_subscriber("+12124567890")
MONGOLIA = parse_subscriber("+97699112233")
SERVICE: dict[str, Any] = {
    "sending": SERVICE_PORT,
    "message_class": MessageClass.SERVICE,
    "topic": None,
}


def local(text: str, zone: str = "Asia/Shanghai") -> datetime:
    """Read a time as a clock on the wall shows it."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def asker(organisation: Organisation) -> Asker:
    return Asker(organisation.id, organisation.kind)


def ask(
    world: World,
    numbers: Sequence[SubscriberNumber | None] = (NUMBER,),
    *,
    by: Organisation | None = None,
    **words: Any,
) -> Answer:
    """Ask about many numbers at once, by default as the carrier and about now."""
    now = world.registry.clock()
    question = replace(make_question(**{"at": now, **words}), numbers=list(numbers))
    with world.registry.database.read() as connection:
        return lookup.answer(
            connection,
            asker(by or world.carrier),
            question,
            now=now,
            policy=world.registry.policy,
        )


def contact(
    world: World,
    number: SubscriberNumber = NUMBER,
    *,
    by: Organisation | None = None,
    database: Database | None = None,
    **words: Any,
) -> Verdict:
    """Ask, by default as the carrier, about a contact that takes place if it is allowed."""
    now = world.registry.clock()
    with (database or world.registry.database).write() as session:
        return lookup.contact(
            session,
            asker(by or world.carrier),
            make_question(number, at=now, **words),
            now=now,
            policy=world.registry.policy,
        ).verdicts[0]


def hold(world: World, number: str, usage: MessageClass, **dates: Any) -> None:
    world.do(
        lambda session: senders.hold(
            session,
            world.sender.id,
            parse_sending(number),
            Holding((Channel.SMS,), (usage,), **dates),
            actor_id=None,
            now=world.registry.clock(),
        )
    )


def suspend(world: World) -> None:
    now = world.registry.clock()
    world.do(lambda it: senders.suspend(it, world.sender.id, "complaints", actor_id=None, now=now))


# Reasons


def test_reason_is_the_first_that_matches_of_what_happened(world: World, clock: Clock) -> None:
    """Every act adds an objection that comes before all earlier ones in the rule."""
    hold(world, "10690007777", MessageClass.COMMERCIAL, held_until=clock.now + timedelta(days=5))
    words: dict[str, Any] = {"sending": "10690007777"}

    def reason(**more: Any) -> Reason:
        return world.verdict(**words, **more).reason

    [consent] = world.grant(
        cap=CapTerms(1, Period.MONTH), valid_until=clock.now + timedelta(days=2)
    )
    assert reason() is Reason.CONSENTED
    contact(world)
    assert reason() is Reason.FREQUENCY_EXCEEDED
    clock.pass_(hours=12)
    assert reason() is Reason.QUIET_HOURS
    world.refuse()
    assert reason() is Reason.REFUSED
    clock.pass_(days=2)
    assert reason() is Reason.CONSENT_EXPIRED
    world.withdraw(consent)
    assert reason() is Reason.CONSENT_WITHDRAWN
    world.reassign(reassigned_at=clock.pass_(days=1))
    assert reason() is Reason.NUMBER_REASSIGNED
    assert reason(topic=Topic.LOANS) is Reason.NO_CONSENT
    assert world.verdict(**SERVICE).reason is Reason.CONSENT_NOT_REQUIRED
    words["message_class"] = MessageClass.SERVICE
    assert reason() is Reason.USAGE_MISMATCH
    clock.pass_(days=2)
    assert reason() is Reason.NUMBER_NOT_HELD
    suspend(world)
    assert reason() is Reason.SENDER_SUSPENDED
    words["sending"] = SMS_PORT[:-1] + "9"
    assert reason() is Reason.SENDER_UNKNOWN


@pytest.mark.parametrize(
    ("who", "words", "reason"),
    [
        ("sender", {}, Reason.CONSENTED),
        ("carrier", {}, Reason.CONSENTED),
        ("other_sender", {}, Reason.NUMBER_NOT_HELD),
        ("regulator", {}, Reason.NUMBER_NOT_HELD),
        ("sender", {"channel": Channel.VOICE}, Reason.NUMBER_NOT_HELD),
        ("sender", {"sending": VOICE_LINE}, Reason.NUMBER_NOT_HELD),
        ("sender", {"sending": SERVICE_PORT}, Reason.USAGE_MISMATCH),
        ("sender", {"message_class": MessageClass.PUBLIC, "topic": None}, Reason.USAGE_MISMATCH),
        ("sender", SERVICE, Reason.CONSENT_NOT_REQUIRED),
        ("sender", {"sending": SMS_PORT[:-1]}, Reason.SENDER_UNKNOWN),
        ("other_sender", {"sending": OTHER_PORT}, Reason.NO_CONSENT),
    ],
)
def test_reason_depends_on_who_asks_for_which_sending_number(
    world: World, who: str, words: dict[str, Any], reason: Reason
) -> None:
    world.grant()
    [verdict] = ask(world, by=getattr(world, who), **words).verdicts
    assert verdict.reason is reason


def test_longest_matching_holding_decides(world: World, clock: Clock) -> None:
    world.grant()
    hold(world, SMS_PORT + "22", MessageClass.SERVICE)
    for extension, reason in {
        "": Reason.CONSENTED,
        "2": Reason.CONSENTED,
        "21": Reason.CONSENTED,
        "22": Reason.USAGE_MISMATCH,
        "229": Reason.USAGE_MISMATCH,
    }.items():
        assert world.verdict(sending=SMS_PORT + extension).reason is reason
    own = parse_sending(SMS_PORT + "22")
    world.do(lambda it: senders.release(it, world.sender.id, own, actor_id=None, now=clock.now))
    assert world.verdict(sending=own.text).reason is Reason.CONSENTED


def test_sending_number_is_held_from_its_first_instant_to_before_its_last(world: World) -> None:
    first, last = START + timedelta(days=1), START + timedelta(days=2)
    hold(world, "10690007777", MessageClass.COMMERCIAL, held_from=first, held_until=last)
    instant = timedelta(microseconds=1)
    for at, reason in {
        first - instant: Reason.NUMBER_NOT_HELD,
        first: Reason.NO_CONSENT,
        last - instant: Reason.NO_CONSENT,
        last: Reason.NUMBER_NOT_HELD,
    }.items():
        assert world.verdict(sending="10690007777", at=at).reason is reason


# Strangers


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect the statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    engines = (database.reader, database.writer)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield sent
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("sending", [OTHER_PORT, SMS_PORT, "10690009998"])
def test_stranger_learns_nothing_whatever_became_of_a_number(
    world: World, clock: Clock, sending: str
) -> None:
    """It asks for its own number, for another sender's, and for one that nobody holds."""
    unknown, refused, said_no_to_it, reassigned, withdrawn, consented = map(make_number, range(6))
    for number in (refused, reassigned, withdrawn, consented):
        [consent] = world.grant(number)
        if number == withdrawn:
            world.withdraw(consent)
    world.refuse(refused)
    world.refuse(said_no_to_it, Scope(Channel.SMS, Topic.RETAIL, world.other_sender.id))
    world.reassign(reassigned, clock.pass_(days=1))
    numbers = [unknown, refused, said_no_to_it, reassigned, withdrawn, consented]
    stranger: dict[str, Any] = {"by": world.other_sender, "sending": sending}
    ask(world, **stranger)
    heard, took = set(), set()
    for number in numbers:
        with statements(world.registry.database) as sent:
            [verdict] = ask(world, [number], **stranger).verdicts
        heard.add(verdict)
        took.add(tuple(sent))
    assert len(heard) == len(took) == 1
    assert set(ask(world, numbers, **stranger).verdicts) == heard
    if sending == OTHER_PORT:
        assert heard == {Verdict(Reason.NO_CONSENT)}


# Batches


def test_batch_answers_in_the_order_asked(world: World) -> None:
    consented, refused, absent = (make_number(index) for index in range(3))
    world.grant(consented)
    world.grant(refused)
    world.refuse(refused)
    asked = [absent, None, consented, refused, consented, None, absent]
    of = {
        absent: Reason.NO_CONSENT,
        None: Reason.INVALID_NUMBER,
        consented: Reason.CONSENTED,
        refused: Reason.REFUSED,
    }
    assert [it.reason for it in ask(world, asked).verdicts] == [of[number] for number in asked]
    assert [it.reason for it in ask(world, [None] * 2).verdicts] == [Reason.INVALID_NUMBER] * 2


def test_numbers_are_read_in_their_places(world: World) -> None:
    written = ["138 0000 0000", "nonsense", "+8613800000000", "010-62301000", "1380000"]
    landline = parse_subscriber("+861062301000")
    for channel, reached in ((Channel.SMS, None), (Channel.VOICE, landline)):
        found = lookup.parse_numbers(written, channel, "CN")
        assert found == [NUMBER, None, NUMBER, reached, None]


def test_statements_do_not_depend_on_the_size_of_a_batch(world: World, clock: Clock) -> None:
    def sent_for(first: int, size: int) -> list[str]:
        numbers = [make_number(first + index) for index in range(size)]
        world.grant(numbers[0])
        with statements(world.registry.database) as sent:
            answer = ask(world, numbers, by=world.sender)
            world.do(lambda session: record(session, answer))
        return sent

    def record(session: Session, answer: Answer) -> None:
        audit.write_batch(session, answer)
        who, day = world.sender.id, clock.now.date()
        numbers = [number for number in answer.question.numbers if number]
        budgets.spend(session, who, Purpose.LOOKUP, numbers, day=day, budget=None)

    sent_for(first=0, size=1)
    assert sent_for(first=10_000, size=5_000) == sent_for(first=20_000, size=1)


# Times


@pytest.mark.parametrize(
    ("now", "ahead", "consent_left", "valid_for"),
    [
        ("2026-12-01 10:00", 0, 90, 10),
        ("2026-12-01 10:00", 10, 90, 10),
        ("2026-12-01 10:00", 11, 90, None),
        ("2026-12-01 10:00", 0, 4, 4),
        ("2026-12-01 20:55", 0, 90, 5),
        ("2026-12-01 20:55", 0, 4, 4),
        ("2026-12-01 20:40", 15, 90, None),
    ],
)
def test_allowing_verdict_is_valid_until_what_ends_it_first(
    world: World, clock: Clock, now: str, ahead: int, consent_left: int, valid_for: int | None
) -> None:
    clock.now = local(now)
    world.grant(valid_until=clock.now + timedelta(minutes=consent_left))
    answer = ask(world, at=clock.now + timedelta(minutes=ahead))
    until = None if valid_for is None else clock.now + timedelta(minutes=valid_for)
    assert answer.verdicts == [Verdict(Reason.CONSENTED, until)]
    assert answer.forecast is (until is None)


def test_service_message_is_allowed_at_night(world: World, clock: Clock) -> None:
    clock.now = local("2026-12-01 23:30")
    until = clock.now + timedelta(minutes=10)
    assert world.verdict(**SERVICE) == Verdict(Reason.CONSENT_NOT_REQUIRED, until)


@pytest.mark.parametrize(
    ("number", "at", "opens"),
    [
        (NUMBER, "2026-12-02 07:59", "2026-12-02 08:00"),
        (NUMBER, "2026-12-02 21:00", "2026-12-03 08:00"),
        (NEW_YORK, "2026-12-02 20:59", "2026-12-02 21:00"),
        (MONGOLIA, "2026-12-02 08:30", "2026-12-02 09:00"),
    ],
)
def test_quiet_hours_say_when_they_end_in_every_zone_of_the_number(
    world: World, clock: Clock, number: SubscriberNumber, at: str, opens: str
) -> None:
    clock.now = local(at)
    world.grant(number)
    assert world.verdict(number) == Verdict(Reason.QUIET_HOURS, retry_at=local(opens))
    clock.now = local(opens)
    assert world.verdict(number).reason is Reason.CONSENTED


@pytest.mark.parametrize(
    ("period", "still", "again"),
    [
        (Period.DAY, "2026-12-01 20:59", "2026-12-02 08:00"),
        (Period.WEEK, "2026-12-06 20:59", "2026-12-07 08:00"),
        (Period.MONTH, "2026-12-31 20:59", "2027-01-01 08:00"),
    ],
)
@pytest.mark.parametrize(("number", "zone"), [(NUMBER, "Asia/Shanghai"), (NEW_YORK, "US/Eastern")])
def test_cap_counts_calendar_periods_of_the_subscribers_zone(
    world: World,
    clock: Clock,
    number: SubscriberNumber,
    zone: str,
    period: Period,
    still: str,
    again: str,
) -> None:
    clock.now = local("2026-12-01 20:00", zone)
    world.grant(number, cap=CapTerms(2, period))
    exceeded = Verdict(Reason.FREQUENCY_EXCEEDED, retry_at=local(again, zone))
    counted = [contact(world, number) for _ in range(3)]
    assert [verdict.reason.allowed for verdict in counted] == [True, True, False]
    for at in ("2026-12-01 20:01", still):
        clock.now = local(at, zone)
        assert world.verdict(number) == exceeded
    clock.now = local(again, zone)
    counted = [contact(world, number) for _ in range(3)]
    assert [verdict.reason.allowed for verdict in counted] == [True, True, False]


def test_cap_counts_only_contacts_that_took_place(world: World, clock: Clock) -> None:
    world.grant(topics=(Topic.RETAIL, Topic.LOANS), cap=CapTerms(1, Period.DAY))
    refusal = world.refuse()
    assert contact(world).reason is Reason.REFUSED
    world.lift(refusal)
    assert world.verdict().reason is Reason.CONSENTED
    assert contact(world).reason is Reason.CONSENTED
    # The topics of one grant share its cap.
    assert contact(world, topic=Topic.LOANS).reason is Reason.FREQUENCY_EXCEEDED
    assert contact(world, **SERVICE).reason is Reason.CONSENT_NOT_REQUIRED


@pytest.mark.parametrize("who", ["sender", "regulator", "operator"])
def test_contact_is_counted_for_carriers_only(world: World, who: str) -> None:
    world.grant()
    with pytest.raises(RegistryError) as error:
        contact(world, by=getattr(world, who))
    assert error.value.kind is Kind.SCOPE_MISSING


def test_cap_of_one_allows_one_of_fifty_contacts_at_once(world: World, url: str) -> None:
    world.grant(cap=CapTerms(1, Period.DAY))
    start = threading.Barrier(50)

    def one_of_many(database: Database) -> Reason:
        start.wait()
        return contact(world, database=database).reason

    patient = Database(url, KEY, pool_size=25, patience=None)
    with closing(patient), ThreadPoolExecutor(50) as pool:
        reasons = list(pool.map(one_of_many, [patient] * 50))
    assert sorted(reasons) == [Reason.CONSENTED] + [Reason.FREQUENCY_EXCEEDED] * 49


@pytest.mark.parametrize(
    ("ahead", "planned"),
    [
        (None, timedelta()),
        (timedelta(seconds=-5), timedelta()),
        (timedelta(days=7), timedelta(days=7)),
        (timedelta(seconds=-6), None),
        (timedelta(days=7, seconds=1), None),
    ],
)
def test_planned_time_lies_between_now_and_the_policys_last_day(
    world: World, ahead: timedelta | None, planned: timedelta | None
) -> None:
    at = None if ahead is None else START + ahead
    if planned is None:
        with pytest.raises(RegistryError) as error:
            lookup.planned(at, START, world.registry.policy)
        assert set(error.value.fields or ()) == {"at"}
    else:
        assert lookup.planned(at, START, world.registry.policy) == START + planned


# What is recorded


def test_position_is_the_last_sequenced_one(world: World) -> None:
    assert ask(world).position == 0
    worker.sequence(world.registry)
    with world.registry.database.read() as connection:
        last = connection.scalar(select(Event.position).order_by(Event.position.desc()))
    assert ask(world).position == last
    world.grant()
    assert ask(world).position == last
    assert world.verdict().reason is Reason.CONSENTED
    worker.sequence(world.registry)
    assert ask(world).position == (last or 0) + 1


def shared(answer: Answer) -> dict[str, Any]:
    """Return what the audit says of every item of an answer."""
    question = answer.question
    return {
        "decided_at": answer.decided_at,
        "id": answer.id,
        "asker_id": answer.asker_id,
        "sender_id": answer.sender_id,
        "sending_number": question.sending.text,
        "channel": question.channel,
        "message_class": question.message_class,
        "topic": question.topic,
        "at": question.at,
        "contact": answer.contact,
        "position": answer.position,
    }


def audits(world: World) -> list[dict[str, Any]]:
    with world.registry.database.read() as connection:
        rows = connection.execute(select(Lookup.__table__).order_by(Lookup.item))
        return [dict(row) for row in rows.mappings()]


WORDS: list[dict[str, Any]] = [
    {},
    {**SERVICE, "at": START + timedelta(days=1)},
    {"sending": "10690009998", "channel": Channel.VOICE, "topic": Topic.LOANS},
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("is_contact", [False, True])
def test_audit_of_one_answer_says_what_was_asked_and_answered(
    world: World, words: dict[str, Any], is_contact: bool
) -> None:
    world.grant()
    worker.sequence(world.registry)
    answer = replace(ask(world, **words), contact=is_contact)
    world.do(lambda session: audit.write(session, [answer]))
    reason = answer.verdicts[0].reason
    assert audits(world) == [{**shared(answer), "item": 0, "number": NUMBER, "reason": reason}]


@pytest.mark.parametrize("words", WORDS)
def test_audit_of_a_batch_has_a_row_for_each_number_in_its_place(
    world: World, words: dict[str, Any]
) -> None:
    world.grant()
    worker.sequence(world.registry)
    numbers = [None, make_number(1), NUMBER, None, NUMBER]
    answer = ask(world, numbers, **words)
    world.do(lambda session: audit.write_batch(session, answer))
    assert audits(world) == [
        {**shared(answer), "item": item, "number": numbers[item], "reason": verdict.reason}
        for item, verdict in enumerate(answer.verdicts)
        if numbers[item] is not None
    ]


def test_audit_of_a_batch_without_any_number_is_empty(world: World) -> None:
    answer = ask(world, [None, None])
    world.do(lambda session: audit.write_batch(session, answer))
    assert audits(world) == []
