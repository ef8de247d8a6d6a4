"""Consent requests: asked once, answered once, and silent about what a sender may not know."""

import json
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import OperationalError

from registry import ledger
from registry.consent import Basis, Channel, Reason, Topic
from registry.database import Database
from registry.errors import Kind, RegistryError
from registry.ledger import By, CapTerms, RequestState, Scope, Shown, Way, due, similarity
from registry.models import (
    Consent,
    ConsentRequest,
    Event,
    Evidence,
    Method,
    Notice,
    OutboxItem,
    Refusal,
    RequestOutcome,
    Via,
)
from registry.numbers import parse_subscriber
from registry.policy import Period
from tests.conftest import KEY
from tests.factories import OTHER_PORT, START, VOICE_LINE, Clock, World, make_number

NUMBER = make_number()
LANDLINE = parse_subscriber("010-62301000")
LAST_DAY = timedelta(days=7)
"""How long the policy waits for an answer."""


def ask_again_after(world: World, days: int) -> None:
    rules = world.registry.policy
    world.registry.policy = replace(rules, requests=replace(rules.requests, ask_again_days=days))


def agree(world: World, request: ConsentRequest, **more: Any) -> Any:
    return world.own(ledger.agree, request.id, **more)


def decline(world: World, request: ConsentRequest, **more: Any) -> Any:
    return world.own(ledger.decline, request.id, **more)


def lapse(world: World) -> int:
    return ledger.lapse_due(world.registry.database, clock=world.registry.clock)


def stored(world: World, request: ConsentRequest) -> ConsentRequest:
    return world.do(lambda session: session.get_one(ConsentRequest, request.id))


def count(world: World, table: type[Any]) -> int:
    with world.registry.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def asked_by_sms(world: World) -> list[OutboxItem]:
    return [row for row in world.rows(OutboxItem) if row.notice is Notice.CONSENT_REQUESTED]


def conflicts(act: Callable[[], object]) -> bool:
    """Tell whether an act conflicts with what is recorded, in which case it changes nothing."""
    try:
        act()
    except RegistryError as error:
        if error.kind is not Kind.CONFLICT:
            raise
        return True
    return False


# Asking


def test_request_states_type_frequency_and_duration_and_waits_for_its_answer(
    world: World, clock: Clock
) -> None:
    topics = (Topic.RETAIL, Topic.LOANS)
    made = world.ask(topics=topics, cap=CapTerms(2, Period.WEEK), valid_for_days=90)
    request = stored(world, made)
    assert ledger.topics_of(request) == set(topics)
    assert (request.cap_count, request.cap_period) == (2, Period.WEEK)
    assert request.valid_for_days == 90
    assert request.answer_by == START + LAST_DAY
    assert (request.outcome, request.covered) == (None, False)
    [item] = asked_by_sms(world)
    assert (item.number, item.subject_id) == (NUMBER, request.id)
    assert (item.try_at, item.expires_at) == (START, request.answer_by)
    assert world.verdict().reason is Reason.NO_CONSENT
    [event] = [row for row in world.rows(Event) if row.kind == "consent_requested"]
    data = json.loads(event.payload)
    assert event.id == request.event_id
    assert (data["actor"], data["via"]) == (str(world.sender.id), "sender")
    assert data["cap"] == {"count": 2, "period": "week"}
    assert data["valid_for_days"] == 90


SAME = "May we send you 10 offers a day for a month?"
ALTERED = "  MAY we send you 12 ｏｆｆｅｒｓ a day — for a month!!  "
TRIVIAL = [
    ALTERED,
    "May\u200bwe s\u00adend\u2060you\ufeff offers a day for a month",
    "Mäy wë sénd yoü òffers a day for a month?",
    "For a month, may we send you 10 offers a day?",
    "🎁 May we send you 1️⃣0️⃣ offers❤️ a day\u3164 for a month 🎁",
    "May we send you 十 offers a day for a month?",
    "Ⓜay we send you ⑩ offers a day for a month?",
    "M\u034fay we\U000e0100 send you 10 offers a day for a month?",
]
"""Each is the same text still."""


@pytest.mark.parametrize(
    ("again", "similar"),
    [
        ({}, True),
        ({"notice_text": "Quite another text."}, True),
        ({"topics": (Topic.LOANS, Topic.RETAIL), "notice_text": "Quite another text."}, True),
        ({"topics": (Topic.LOANS,), "notice_text": SAME}, True),
        ({"topics": (Topic.LOANS,), "notice_text": ALTERED}, True),
        ({"channel": Channel.VOICE, "topics": (Topic.LOANS,), "notice_text": ALTERED}, True),
        ({"channel": Channel.VOICE, "notice_text": "Quite another text."}, False),
        ({"topics": (Topic.LOANS,), "notice_text": "Quite another text."}, False),
        ({"number": make_number(1)}, False),
        ({"sender": "other_sender"}, False),
    ],
)
@pytest.mark.parametrize("answer", [None, decline, agree])
def test_same_or_a_similar_request_is_not_put_again_unless_it_was_agreed_to(
    world: World,
    answer: Callable[[World, ConsentRequest], object] | None,
    again: dict[str, Any],
    similar: bool,
) -> None:
    first = world.ask(notice_text=SAME)
    if answer:
        answer(world, first)
    terms = {**again, "sender": world.other_sender} if "sender" in again else again
    if answer is agree and similar:
        world.own(ledger.withdraw_all)  # Else the consent in force is what bars it.
    before = count(world, Event)
    assert conflicts(lambda: world.ask(**terms)) is (similar and answer is not agree)
    assert (count(world, Event) == before) is (similar and answer is not agree)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_trivial_changes_make_no_other_text(world: World) -> None:
    def print_of(text: str) -> bytes:
        return world.do(lambda session: similarity.fingerprint(session, text))

    assert {print_of(text) for text in TRIVIAL} == {print_of(SAME)}
    others = [
        "May we send you offers a day for a year?",
        "每天一条优惠",
        "每月一条优惠",
        "1",
        "2",
        "?",
    ]
    assert len({print_of(text) for text in [SAME, *others]}) == len(others) + 1


def test_text_is_compared_as_today_whatever_an_earlier_release_made_of_it(world: World) -> None:
    first = world.ask(notice_text=SAME)
    former = update(ConsentRequest).where(ConsentRequest.id == first.id)
    world.do(lambda session: session.execute(former.values(fingerprint=b"f" * 32)))
    assert conflicts(lambda: world.ask(topics=(Topic.LOANS,), notice_text=ALTERED))


def test_imported_line_leads_to_one_request_however_often_it_comes(world: World) -> None:
    key = b"k" * 16
    first = world.ask(line_key=key)
    before = count(world, Event)
    for again in (world.ask(line_key=key), world.ask(line_key=key, topics=(Topic.LOANS,))):
        assert again.id == first.id
    assert (count(world, Event), len(asked_by_sms(world))) == (before, 1)
    found = world.do(lambda it: ledger.asked_before(it, world.sender.id, key))
    assert found is not None
    assert found.id == first.id
    assert world.do(lambda it: ledger.asked_before(it, world.other_sender.id, key)) is None


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("topics", {"topics": ()}),
        ("topics", {"topics": (Topic.LOANS, Topic.LOANS)}),
        ("cap", {"cap": CapTerms(0, Period.DAY)}),
        ("valid_for_days", {"valid_for_days": 3651}),
        ("notice_text", {"notice_text": ""}),
        ("notice_text", {"notice_text": "a" * 10_001}),
    ],
)
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_request_without_proper_terms_is_not_put(
    world: World, field: str, terms: dict[str, Any]
) -> None:
    with pytest.raises(RegistryError) as error:
        world.ask(**terms)
    assert (error.value.kind, set(error.value.fields or {})) == (Kind.INVALID, {field})
    assert count(world, ConsentRequest) == 0


def test_counts_tell_no_more_than_the_requests_do(world: World, clock: Clock) -> None:
    def counts(**span: int) -> tuple[int, ...]:
        since, until = START + timedelta(**span), START + timedelta(days=2)
        made = world.do(
            lambda it: ledger.request_counts(it, world.sender.id, since, until, now=clock())
        )
        return made.asked, made.agreed, made.refused, made.waiting

    silent, declined, agreed = (world.ask(make_number(index)) for index in range(3))
    decline(world, declined, number=make_number(1))
    agree(world, agreed, number=make_number(2))
    world.ask(sender=world.other_sender)
    assert counts() == (3, 1, 0, 2)
    clock.now = silent.answer_by
    for worked in (False, True):
        if worked:
            lapse(world)
        assert counts() == (3, 1, 2, 0)
    world.ask(make_number(5))
    assert counts() == (3, 1, 2, 0)
    assert counts(seconds=1) == (0, 0, 0, 0)


def test_request_is_barred_by_a_confirmed_consent_in_force_for_one_of_its_topics(
    world: World, clock: Clock
) -> None:
    until = clock.now + timedelta(days=1)
    world.grant(basis=Basis.CONFIRMED, topics=(Topic.LOANS,), valid_until=until)
    both: dict[str, Any] = {"topics": (Topic.RETAIL, Topic.LOANS)}
    assert conflicts(lambda: world.ask(**both))
    assert not conflicts(lambda: world.ask(channel=Channel.VOICE, **both))
    assert not conflicts(lambda: world.ask(sender=world.other_sender, **both))
    clock.pass_(days=1)
    assert not conflicts(lambda: world.ask(notice_text="Once more?", **both))


def test_request_is_not_barred_by_an_assertion(world: World) -> None:
    world.grant()
    assert not conflicts(world.ask)


@pytest.mark.parametrize("answer", [decline, None])
@pytest.mark.parametrize("days", [0, 30])
def test_request_comes_again_only_as_long_after_its_last_day_as_the_policy_says(
    world: World, clock: Clock, days: int, answer: Callable[..., object] | None
) -> None:
    """Declining counts as not answering: the days do not tell when it was, or whether."""
    ask_again_after(world, days)
    first = world.ask()
    clock.pass_(days=1)
    if answer:
        answer(world, first)
    clock.now = first.answer_by + timedelta(days=days, microseconds=-1)
    assert conflicts(world.ask)
    lapse(world)
    assert conflicts(world.ask)
    clock.pass_(microseconds=1)
    assert conflicts(world.ask) is (days == 0)


def test_request_past_its_last_day_counts_as_lapsed_before_the_worker_says_so(
    world: World, clock: Clock
) -> None:
    first = world.ask()
    clock.now = first.answer_by
    assert conflicts(world.ask)
    assert conflicts(lambda: agree(world, first))
    ask_again_after(world, 1)
    clock.pass_(days=1)
    assert not conflicts(world.ask)


@pytest.mark.parametrize("moved", [False, True])
def test_asking_again_does_not_tell_that_a_number_went_to_somebody_else(
    world: World, clock: Clock, moved: bool
) -> None:
    decline(world, world.ask())
    clock.pass_(days=1)
    if moved:
        world.reassign()
    assert conflicts(world.ask)
    clock.pass_(days=30)
    assert conflicts(world.ask)
    agree(world, world.ask(topics=(Topic.GAMES,), notice_text="Games?"))
    assert world.verdict(topic=Topic.GAMES).reason is Reason.CONSENTED


def test_landline_is_not_asked_for_sms(world: World) -> None:
    with pytest.raises(RegistryError) as error:
        world.ask(LANDLINE)
    assert error.value.kind is Kind.INVALID_NUMBER
    assert count(world, ConsentRequest) == 0


def test_landline_is_asked_for_calls_but_not_by_sms(world: World) -> None:
    request = world.ask(LANDLINE, channel=Channel.VOICE)
    assert asked_by_sms(world) == []
    assert not request.covered


# What a sender may not know


COVERING: dict[str, Callable[[World], object]] = {
    "everything": lambda world: world.refuse(),
    "own": lambda world: world.own(ledger.refuse, Scope(topic=Topic.LOANS)),
    "sender": lambda world: world.own(
        ledger.withdraw_all, sender_id=world.sender.id, channel=Channel.SMS
    ),
    "withdrawn": lambda world: world.withdraw(world.grant()[0]),
}
BESIDE: dict[str, Callable[[World], object]] = {
    "nothing": lambda world: None,
    "channel": lambda world: world.refuse(scope=Scope(Channel.VOICE)),
    "topic": lambda world: world.refuse(scope=Scope(topic=Topic.GAMES)),
    "sender": lambda world: world.refuse(scope=Scope(None, None, world.other_sender.id)),
    "lifted": lambda world: world.lift(world.refuse()),
}
BOTH = (Topic.RETAIL, Topic.LOANS)


@pytest.mark.parametrize("prepare", COVERING.values(), ids=COVERING.keys())
def test_covered_request_is_put_without_an_sms_and_answered_as_any_other(
    world: World, prepare: Callable[[World], object]
) -> None:
    prepare(world)
    covered, other = world.ask(topics=BOTH), world.ask(make_number(1), topics=BOTH)
    assert (covered.covered, other.covered) == (True, False)
    assert [item.number for item in asked_by_sms(world)] == [make_number(1)]
    columns = set(ConsentRequest.__table__.columns.keys())
    columns -= {"id", "number", "covered", "event_id"}
    shown = [{name: getattr(row, name) for name in columns} for row in (covered, other)]
    assert shown[0] == shown[1]
    assert conflicts(lambda: world.ask(topics=BOTH))
    assert conflicts(lambda: world.ask(make_number(1), topics=BOTH))
    # The subscriber finds it in the portal, and may agree to it all the same.
    agree(world, covered)
    assert world.verdict().reason is Reason.CONSENTED


@pytest.mark.parametrize("prepare", BESIDE.values(), ids=BESIDE.keys())
def test_request_is_sent_when_refusals_are_about_something_else(
    world: World, prepare: Callable[[World], object]
) -> None:
    prepare(world)
    assert not world.ask(topics=BOTH).covered
    assert len(asked_by_sms(world)) == 1


def test_sender_cannot_tell_declining_from_silence(world: World, clock: Clock) -> None:
    def shown(request: ConsentRequest) -> RequestState:
        return world.do(
            lambda session: ledger.request_state(
                ledger.own_request(session, request.id, world.sender.id), clock()
            )
        )

    silent, declined, agreed = (world.ask(make_number(index)) for index in range(3))
    decline(world, declined, number=make_number(1))
    agree(world, agreed, number=make_number(2))
    assert [shown(it) for it in (silent, declined, agreed)] == ["waiting", "waiting", "agreed"]
    clock.now = silent.answer_by
    for worked in (False, True):
        if worked:
            lapse(world)
        assert [shown(it) for it in (silent, declined, agreed)] == ["refused", "refused", "agreed"]


def test_request_of_another_sender_is_as_if_it_were_not(world: World) -> None:
    request = world.ask()
    with pytest.raises(RegistryError) as error:
        world.do(lambda it: ledger.own_request(it, request.id, world.other_sender.id))
    assert error.value.kind is Kind.NOT_FOUND


# When the SMS goes out


@pytest.mark.parametrize(
    ("at", "sent_at"),
    [
        ("2026-12-01 12:00", "2026-12-01 12:00"),
        ("2026-12-01 03:00", "2026-12-01 08:00"),
        ("2026-12-01 21:00", "2026-12-02 08:00"),
    ],
)
def test_question_is_sent_within_contact_hours_only(
    world: World, clock: Clock, at: str, sent_at: str
) -> None:
    china = ZoneInfo("Asia/Shanghai")
    clock.now = datetime.fromisoformat(at).replace(tzinfo=china)
    world.ask()
    [item] = asked_by_sms(world)
    assert item.try_at == datetime.fromisoformat(sent_at).replace(tzinfo=china)


def test_question_is_sent_within_the_subscribers_own_hours(world: World, clock: Clock) -> None:
    world.own(ledger.set_own_hours, time(14), time(16))
    world.ask()
    [item] = asked_by_sms(world)
    assert item.try_at.astimezone(ZoneInfo("Asia/Shanghai")).time() == time(14)


def test_question_is_not_sent_where_no_hour_is_allowed(world: World) -> None:
    satellite = parse_subscriber("+881612345678")
    world.ask(satellite, channel=Channel.VOICE)
    assert asked_by_sms(world) == []


# Answers


def test_agreeing_gives_the_sender_what_it_asked_for(world: World, clock: Clock) -> None:
    world.refuse()
    asked = world.ask(topics=BOTH, cap=CapTerms(3, Period.WEEK), valid_for_days=10)
    clock.pass_(days=1)
    consents = agree(world, asked)
    assert {row.topic for row in consents} == set(BOTH)
    assert stored(world, asked).outcome is RequestOutcome.AGREED
    shown = world.do(lambda it: ledger.own_consent(it, consents[0].id, world.sender.id))
    assert shown.valid_until == clock.now + timedelta(days=10)
    assert shown.grant.id == stored(world, asked).grant_id
    assert (shown.grant.basis, shown.grant.granted_at) == (Basis.CONFIRMED, clock.now)
    assert (shown.grant.cap_count, shown.grant.cap_period) == (3, Period.WEEK)
    assert shown.grant.evidence.method is Method.REGISTRY
    assert shown.grant.evidence.notice_text == SAME
    for topic in BOTH:
        assert world.verdict(topic=topic).reason is Reason.CONSENTED
    assert world.verdict(channel=Channel.VOICE, sending=VOICE_LINE).reason is Reason.NO_CONSENT
    assert world.verdict(sending=OTHER_PORT).reason is Reason.NO_CONSENT
    clock.pass_(days=10)
    assert world.verdict().reason is Reason.CONSENT_EXPIRED


@pytest.mark.parametrize("answer", [agree, decline])
def test_answer_says_how_it_came_and_what_was_shown(
    world: World, answer: Callable[..., object]
) -> None:
    shown = Shown(Way.SMS, "zh", text="What the SMS said.", message_id=world.carrier.id)
    answer(world, world.ask(), shown=shown, by=By(Via.SMS, world.carrier.id))
    [event] = [row for row in world.rows(Event) if row.kind.startswith("consent_request_")]
    data = json.loads(event.payload)
    assert (data["via"], data["way"], data["language"]) == ("sms", "sms", "zh")
    assert data["message"] == str(world.carrier.id)
    for evidence in world.rows(Evidence):
        assert (evidence.notice_text, evidence.language) == ("What the SMS said.", "zh")
    assert count(world, Evidence) == (answer is agree)


def test_declining_refuses_each_topic_to_the_sender_on_the_channel(world: World) -> None:
    world.grant()
    asked = world.ask(topics=BOTH)
    decline(world, asked)
    assert stored(world, asked).outcome is RequestOutcome.DECLINED
    refusals = world.rows(Refusal)
    assert {(row.channel, row.topic) for row in refusals} == {("sms", topic) for topic in BOTH}
    assert {(row.sender_id, row.via, row.recorded_by) for row in refusals} == {
        (world.sender.id, Via.PORTAL, None)
    }
    assert world.verdict().reason is Reason.REFUSED
    world.grant()
    assert world.verdict().reason is Reason.REFUSED


def test_answer_given_twice_changes_nothing(world: World, clock: Clock) -> None:
    agreed, declined = world.ask(), world.ask(make_number(1))
    consents = agree(world, agreed)
    decline(world, declined, number=make_number(1))
    before = count(world, Event)
    clock.now = agreed.answer_by
    assert [row.id for row in agree(world, agreed)] == [row.id for row in consents]
    assert decline(world, declined, number=make_number(1)).id == declined.id
    assert count(world, Event) == before


def test_answer_conflicts_with_another_answer_and_comes_too_late(
    world: World, clock: Clock
) -> None:
    agreed, declined = world.ask(), world.ask(make_number(1))
    late, lapsed = world.ask(make_number(2)), world.ask(make_number(3))
    agree(world, agreed)
    decline(world, declined, number=make_number(1))
    assert conflicts(lambda: decline(world, agreed))
    assert conflicts(lambda: agree(world, declined, number=make_number(1)))
    clock.now = late.answer_by
    assert conflicts(lambda: agree(world, late, number=make_number(2)))
    assert conflicts(lambda: decline(world, late, number=make_number(2)))
    lapse(world)
    assert conflicts(lambda: agree(world, lapsed, number=make_number(3)))
    assert conflicts(lambda: decline(world, lapsed, number=make_number(3)))
    assert world.verdict(make_number(3)).reason is Reason.NO_CONSENT


@pytest.mark.parametrize("answer", [agree, decline])
def test_request_to_another_number_or_tenure_is_as_if_it_were_not(
    world: World, clock: Clock, answer: Callable[..., object]
) -> None:
    others, earlier = world.ask(make_number(1)), world.ask()
    world.reassign(reassigned_at=clock.pass_(days=1))
    before = count(world, Event)
    for request in (others, earlier, ConsentRequest(id=world.sender.id)):
        with pytest.raises(RegistryError) as error:
            answer(world, request)
        assert error.value.kind is Kind.NOT_FOUND
    assert count(world, Event) == before


def test_answer_by_somebody_who_looks_after_the_number_says_so(world: World) -> None:
    carer = world.look_after(make_number(5))
    agree(world, world.ask(), by=carer)
    answered = [row for row in world.rows(Event) if row.kind == "consent_request_agreed"]
    assert [json.loads(row.payload)["family_link"] for row in answered] == [
        str(carer.family_link_id)
    ]


@pytest.mark.parametrize("answers", [(agree,), (decline,), (agree, decline)])
def test_many_answers_at_once_are_one(world: World, answers: tuple[Any, ...]) -> None:
    request = world.ask(topics=BOTH)

    def answer(index: int) -> bool:
        chosen = answers[index % len(answers)]
        return not conflicts(lambda: chosen(world, request))

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(answer, range(8)))
    outcome = stored(world, request).outcome
    assert outcome is not None
    kinds = Counter(row.kind for row in world.rows(Event))
    assert kinds[f"consent_request_{outcome}"] == 1
    agreed = outcome is RequestOutcome.AGREED
    assert (count(world, Consent), count(world, Refusal)) == ((2, 0) if agreed else (0, 2))
    assert sum(done) == 8 / len(answers)


def test_same_question_put_many_times_at_once_is_put_once(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        refused = list(pool.map(lambda _: conflicts(world.ask), range(8)))
    assert refused.count(False) == 1
    assert (count(world, ConsentRequest), len(asked_by_sms(world))) == (1, 1)


# Silence


def test_unanswered_request_lapses_as_a_refusal(world: World, clock: Clock) -> None:
    world.grant()
    request = world.ask(topics=BOTH)
    clock.now = request.answer_by - timedelta(microseconds=1)
    assert lapse(world) == 0
    clock.pass_(microseconds=1)
    assert lapse(world) == 1
    assert stored(world, request).outcome is RequestOutcome.LAPSED
    refusals = world.rows(Refusal)
    assert {(row.channel, row.topic) for row in refusals} == {("sms", topic) for topic in BOTH}
    assert {(row.sender_id, row.via, row.recorded_by) for row in refusals} == {
        (world.sender.id, Via.REGISTRY, None)
    }
    assert world.verdict().reason is Reason.REFUSED
    assert world.verdict(sending=OTHER_PORT).reason is Reason.NO_CONSENT
    before = count(world, Event)
    assert lapse(world) == 0
    assert count(world, Event) == before


def test_answered_requests_do_not_lapse(world: World, clock: Clock) -> None:
    agree(world, world.ask())
    decline(world, world.ask(make_number(1)), number=make_number(1))
    clock.pass_(days=30)
    assert lapse(world) == 0
    assert world.verdict(at=clock.now - timedelta(seconds=1)).reason is Reason.CONSENTED


def test_lapsing_spares_what_the_subscriber_confirmed_meanwhile(world: World, clock: Clock) -> None:
    [asserted] = world.grant()
    world.ask(topics=BOTH)
    world.own(ledger.confirm, asserted.id)
    clock.pass_(days=7)
    assert lapse(world) == 1
    assert world.verdict().reason is Reason.CONSENTED
    [refusal] = world.rows(Refusal)
    assert refusal.topic == Topic.LOANS


def test_request_to_an_earlier_subscriber_lapses_without_refusing_for_the_new_one(
    world: World, clock: Clock
) -> None:
    request = world.ask()
    world.reassign(reassigned_at=clock.pass_(days=1))
    clock.pass_(days=7)
    assert lapse(world) == 1
    assert stored(world, request).outcome is RequestOutcome.LAPSED
    assert count(world, Refusal) == 0


def test_all_that_is_due_lapses_however_much_it_is(world: World, clock: Clock) -> None:
    """A row that cannot be read is passed over, and done when it can be."""
    requests = [world.ask(make_number(index)) for index in range(due.GROUP + 5)]
    spoilt = sorted(requests, key=lambda row: row.id)[3]
    spoil(world, spoilt, b"nothing that any key has sealed")
    clock.pass_(days=7)
    assert lapse(world) == len(requests) - 1
    assert lapse(world) == 0
    mended = update(ConsentRequest).where(ConsentRequest.id == spoilt.id)
    world.do(lambda session: session.execute(mended.values(notice_text=SAME)))
    assert lapse(world) == 1
    assert count(world, Refusal) == len(requests)


def spoil(world: World, request: ConsentRequest, stored_text: bytes) -> None:
    """Store something in place of a request's text that cannot be unsealed."""
    spoilt = text("UPDATE consent_requests SET notice_text = :text WHERE event_id = :event")
    values = {"text": stored_text, "event": request.event_id}
    world.do(lambda session: session.execute(spoilt, values))


def test_row_that_cannot_be_closed_is_logged_without_what_it_says(
    world: World, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(world, world.ask(), b"nothing that any key has sealed")
    clock.pass_(days=7)
    with caplog.at_level(logging.ERROR):
        assert lapse(world) == 0
    [record] = caplog.records
    assert record.getMessage() == "lapse failed: InvalidTag"


def test_request_lapses_once_when_several_workers_are_at_it(world: World, clock: Clock) -> None:
    requests = [world.ask(make_number(index)) for index in range(8)]
    clock.now = requests[0].answer_by
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: lapse(world), range(4))) == 8
    assert count(world, Refusal) == 8


def test_nothing_is_called_done_when_the_database_does_not_answer(clock: Clock) -> None:
    away = Database("postgresql://127.0.0.1:1/registry", KEY)
    with closing(away), pytest.raises(OperationalError):
        ledger.lapse_due(away, clock=clock)
