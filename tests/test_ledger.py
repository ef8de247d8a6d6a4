"""The ledger: what a grant, a withdrawal, a refusal or a reassignment leaves behind."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from registry import ledger, lookup
from registry.consent import Basis, Channel, End, Reason, Topic
from registry.errors import Kind, RegistryError
from registry.ledger import By, CapTerms, Scope
from registry.models import (
    Consent,
    Event,
    FamilyEnd,
    FamilyLink,
    Grant,
    Method,
    Notice,
    OutboxItem,
    Reassignment,
    Refusal,
    Via,
)
from registry.numbers import SubscriberNumber, parse_subscriber
from registry.policy import Assertions, Period
from tests.factories import (
    OTHER_PORT,
    START,
    VOICE_LINE,
    Client,
    Clock,
    World,
    make_number,
    make_question,
)
from tests.sms_factories import Scripted, make_lane

NUMBER = make_number()


def reason(world: World, **question: Any) -> Reason:
    return world.verdict(**question).reason


def confirm(world: World, **terms: Any) -> Consent:
    [consent] = world.grant(basis=Basis.CONFIRMED, **terms)
    return consent


def stored(world: World, row: Consent) -> Consent:
    """Read a consent again."""
    found = world.do(lambda session: session.get(Consent, row.id))
    assert found is not None
    return found


def count(world: World, table: type[Any]) -> int:
    with world.registry.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def assertions_are(world: World, worth: Assertions, delay: int = 0) -> None:
    """Choose the policy's value of an assertion."""
    rules = world.registry.policy
    worth_of_them = replace(rules.consents, asserted=worth, assertion_delay_minutes=delay)
    world.registry.policy = replace(rules, consents=worth_of_them)


Words = tuple[Channel | None, Topic | None, str | None]


def scope(world: World, words: Words) -> Scope:
    """Return a scope whose sender is named as in `World`."""
    channel, topic, sender = words
    return Scope(channel, topic, getattr(world, sender).id if sender else None)


COVERING: list[Words] = list(product([None, Channel.SMS], [None, Topic.RETAIL], [None, "sender"]))
"""Every scope of a refusal that covers an SMS about retail from `sender`."""
BESIDE: list[Words] = [
    (Channel.VOICE, None, None),
    (None, Topic.LOANS, None),
    (None, None, "other_sender"),
    (Channel.SMS, Topic.RETAIL, "other_sender"),
]


# Grants


def test_grant_records_a_consent_for_each_topic_of_one_act(world: World) -> None:
    before = count(world, Event)
    topics = (Topic.RETAIL, Topic.TRAVEL, Topic.GAMES)
    consents = world.grant(topics=topics)
    assert [row.topic for row in consents] == list(topics)
    assert len({row.event_id for row in consents}) == 1
    assert count(world, Grant) == 1
    assert count(world, Event) == before + 1
    for topic in Topic:
        allowed = Reason.CONSENTED if topic in topics else Reason.NO_CONSENT
        assert reason(world, topic=topic) is allowed
    assert reason(world, channel=Channel.VOICE, sending=VOICE_LINE) is Reason.NO_CONSENT
    assert reason(world, sending=OTHER_PORT) is Reason.NO_CONSENT


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Basis.ASSERTED, Basis.ASSERTED),
        (Basis.ASSERTED, Basis.CONFIRMED),
        (Basis.CONFIRMED, Basis.CONFIRMED),
    ],
)
def test_grant_supersedes_the_active_one_of_its_topics_only(
    world: World, clock: Clock, first: Basis, second: Basis
) -> None:
    soon = clock.now + timedelta(days=1)
    old, kept = world.grant(topics=(Topic.RETAIL, Topic.LOANS), valid_until=soon, basis=first)
    world.grant(basis=second)
    assert stored(world, old).end_reason is End.SUPERSEDED
    assert stored(world, kept).end_reason is None
    clock.pass_(days=2)
    assert reason(world) is Reason.CONSENTED
    assert reason(world, topic=Topic.LOANS) is Reason.CONSENT_EXPIRED


@pytest.mark.parametrize("words", COVERING)
def test_assertion_has_no_effect_when_a_refusal_covers_it(world: World, words: Words) -> None:
    refusal = world.refuse(scope=scope(world, words))
    world.grant()
    assert reason(world) is Reason.NO_CONSENT
    world.lift(refusal)
    assert reason(world) is Reason.NO_CONSENT
    world.grant()
    assert reason(world) is Reason.CONSENTED


@pytest.mark.parametrize("words", BESIDE)
def test_assertion_has_effect_when_a_refusal_is_about_something_else(
    world: World, words: Words
) -> None:
    world.refuse(scope=scope(world, words))
    world.grant()
    assert reason(world) is Reason.CONSENTED


def test_assertion_has_no_effect_while_a_confirmed_consent_is_in_force(
    world: World, clock: Clock
) -> None:
    confirmed = confirm(world, valid_until=clock.now + timedelta(days=1))
    world.grant()
    assert stored(world, confirmed).end_reason is None
    clock.pass_(days=1)
    assert reason(world) is Reason.CONSENT_EXPIRED
    world.grant()
    assert reason(world) is Reason.CONSENTED


def test_assertion_waits_for_its_confirmation_when_the_policy_says_so(world: World) -> None:
    assertions_are(world, Assertions.NEED_CONFIRMATION)
    [first] = world.grant()
    [second] = world.grant()
    assert stored(world, first).end_reason is End.SUPERSEDED
    assert reason(world) is Reason.NO_CONSENT
    confirm(world)
    assert stored(world, second).end_reason is End.SUPERSEDED
    assert reason(world) is Reason.CONSENTED


def test_assertion_has_effect_from_the_end_of_the_policys_delay(world: World, clock: Clock) -> None:
    assertions_are(world, Assertions.COUNT, delay=90)
    world.grant()
    clock.pass_(minutes=90, microseconds=-1)
    assert reason(world) is Reason.NO_CONSENT
    clock.pass_(microseconds=1)
    assert reason(world) is Reason.CONSENTED


WITHOUT_EFFECT: dict[str, Callable[[World], object]] = {
    "refused": lambda world: world.refuse(),
    "confirmed": confirm,
    "needs_confirmation": lambda world: assertions_are(world, Assertions.NEED_CONFIRMATION),
    "delayed": lambda world: assertions_are(world, Assertions.COUNT, delay=90),
}


@pytest.mark.parametrize("prepare", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT.keys())
def test_sender_is_answered_alike_when_its_assertion_has_no_effect(
    world: World, client: Client, prepare: Callable[[World], object]
) -> None:
    effective = client.consent("13900000000")
    prepare(world)
    waiting = client.consent()
    assert waiting.status_code == effective.status_code == 201
    assert _alike(waiting) == _alike(effective)
    shown = [
        client.get(f"/v1/consents/{answer.json['consents'][0]['id']}", who="sender")
        for answer in (waiting, effective)
    ]
    assert _alike(shown[0]) == _alike(shown[1])


def _alike(answer: Any) -> str:
    """Return an answer without what differs between any two: ids and numbers."""
    return re.sub(r'"(id|number)": *"[^"]+"', "", json.dumps(answer.json))


def test_assertion_for_a_number_that_takes_no_sms_has_no_effect_until_confirmed(
    world: World,
) -> None:
    landline = parse_subscriber("010 6555 1234")
    call: dict[str, Any] = {"channel": Channel.VOICE, "sending": VOICE_LINE}
    [asserted] = world.grant(landline, channel=Channel.VOICE)
    assert world.verdict(landline, **call).reason is Reason.NO_CONSENT
    world.own(ledger.confirm, asserted.id, number=landline)
    assert world.verdict(landline, **call).reason is Reason.CONSENTED


def test_subscriber_is_told_of_an_assertion_once_a_day(world: World, clock: Clock) -> None:
    lane = make_lane(world.registry, backend := Scripted())
    world.refuse()
    until = clock.now + timedelta(days=90)
    for _ in range(5):
        world.grant(valid_until=until)
        lane.step()
        clock.pass_(minutes=1)
    assert len(backend.sent) == 1
    clock.pass_(days=1)
    world.grant(valid_until=until)
    lane.step()
    assert len(backend.sent) == 2


def test_assertion_is_told_again_while_nothing_has_been_sent(world: World, clock: Clock) -> None:
    lane = make_lane(world.registry, backend := Scripted())
    until = clock.now + timedelta(days=90)
    for _ in range(3):
        world.grant(valid_until=until)
    while lane.step() is not None:
        pass
    assert len(backend.sent) == 1  # What a newer one replaced has nothing to say any more.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, 0),
        ({"topics": (Topic.LOANS,)}, 0),
        ({"topics": (Topic.LOANS, Topic.GAMES)}, 1),
        ({"channel": Channel.VOICE}, 1),
        ({"cap": CapTerms(11, Period.DAY)}, 1),
        ({"cap": CapTerms(10, Period.WEEK)}, 1),
        ({"valid_until": START + timedelta(days=91)}, 1),
        ({"sender": "other_sender"}, 1),
    ],
)
def test_assertion_that_says_something_new_is_told(
    world: World, change: dict[str, Any], told: int
) -> None:
    lane = make_lane(world.registry, backend := Scripted())
    until = START + timedelta(days=90)
    topics = (Topic.RETAIL, Topic.LOANS)
    terms: dict[str, Any] = {"topics": topics, "valid_until": until, "sender": "sender"}
    for said in (terms, {**terms, **change}):
        world.grant(**{**said, "sender": getattr(world, said["sender"])})
        lane.step()
    assert len(backend.sent) == 1 + told


def test_assertion_that_has_effect_is_told_where_the_one_before_had_none(
    world: World, clock: Clock
) -> None:
    lane = make_lane(world.registry, backend := Scripted())
    until = clock.now + timedelta(days=90)
    refusal = world.refuse()
    world.grant(valid_until=until)
    lane.step()
    world.lift(refusal)
    lane.step()
    before = len(backend.sent)
    world.grant(valid_until=until)
    lane.step()
    assert (len(backend.sent), reason(world)) == (before + 1, Reason.CONSENTED)


def test_new_subscriber_is_told_of_what_the_earlier_one_was(world: World, clock: Clock) -> None:
    lane = make_lane(world.registry, backend := Scripted())
    until = clock.now + timedelta(days=90)
    world.grant(valid_until=until)
    lane.step()
    world.reassign(reassigned_at=clock.pass_(hours=1))
    world.grant(valid_until=until)
    lane.step()
    assert len(backend.sent) == 2


def test_subscriber_is_told_of_every_assertion_and_of_no_own_act(world: World) -> None:
    world.refuse()
    [waiting] = world.grant()
    confirm(world)
    assert _notices(world) == [(Notice.CONSENT_ASSERTED, NUMBER, waiting.grant_id)]


def _notices(world: World) -> list[tuple[Notice, SubscriberNumber, UUID]]:
    rows = world.do(lambda it: it.scalars(select(OutboxItem).order_by(OutboxItem.id)).all())
    return [(row.notice, row.number, row.subject_id) for row in rows]


# Refusals and withdrawals


@pytest.mark.parametrize("words", COVERING)
def test_refusal_beats_every_consent_recorded_before_it(world: World, words: Words) -> None:
    world.grant()
    refusal = world.refuse(scope=scope(world, words))
    assert reason(world) is Reason.REFUSED
    confirm(world)
    assert reason(world) is Reason.CONSENTED
    world.refuse(scope=scope(world, words))
    assert reason(world) is Reason.REFUSED
    with pytest.raises(RegistryError) as superseded:
        world.lift(refusal)
    assert superseded.value.kind is Kind.CONFLICT


def test_confirmed_consent_passes_an_older_refusal_for_its_pair_only(world: World) -> None:
    world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    world.grant(channel=Channel.VOICE)
    world.grant(sender=world.other_sender)
    world.refuse()
    confirm(world)
    assert reason(world) is Reason.CONSENTED
    assert reason(world, topic=Topic.LOANS) is Reason.REFUSED
    assert reason(world, channel=Channel.VOICE, sending=VOICE_LINE) is Reason.REFUSED
    assert reason(world, sending=OTHER_PORT) is Reason.REFUSED


def test_withdrawal_by_the_subscriber_is_passed_by_a_confirmed_consent_only(world: World) -> None:
    [consent] = world.grant()
    world.withdraw(consent)
    [refusal] = world.do(lambda session: session.scalars(select(Refusal)).all())
    assert (refusal.channel, refusal.topic) == (Channel.SMS, Topic.RETAIL)
    assert refusal.sender_id == world.sender.id
    world.grant()
    assert reason(world) is Reason.CONSENT_WITHDRAWN
    confirm(world)
    assert reason(world) is Reason.CONSENTED


def test_withdrawal_by_the_sender_leaves_no_refusal(world: World) -> None:
    [consent] = world.grant()
    world.withdraw(consent, by_subscriber=False)
    assert reason(world) is Reason.CONSENT_WITHDRAWN
    assert count(world, Refusal) == 0
    world.grant()
    assert reason(world) is Reason.CONSENTED


def test_withdrawal_changes_nothing_when_repeated(world: World) -> None:
    [consent] = world.grant()
    ended = world.withdraw(consent)
    before = count(world, Event)
    assert world.withdraw(consent).ended_at == ended.ended_at
    assert count(world, Event) == before


def test_withdrawal_conflicts_when_the_consent_ended_otherwise(world: World, clock: Clock) -> None:
    [superseded] = world.grant()
    [reassigned] = world.grant()
    world.reassign(reassigned_at=clock.pass_(days=1))
    for consent in (superseded, reassigned):
        with pytest.raises(RegistryError) as error:
            world.withdraw(consent)
        assert error.value.kind is Kind.CONFLICT


def test_lifting_uncovers_consents_when_no_other_refusal_covers_them(world: World) -> None:
    world.grant()
    wide = world.refuse()
    narrow = world.refuse(scope=Scope(topic=Topic.RETAIL))
    world.lift(wide)
    assert reason(world) is Reason.REFUSED
    world.lift(narrow)
    assert reason(world) is Reason.CONSENTED
    assert _notices(world)[1:] == [
        (Notice.REFUSAL_LIFTED, NUMBER, refusal.id) for refusal in (wide, narrow)
    ]
    before = count(world, Event)
    world.lift(narrow)
    assert count(world, Event) == before


# The subscriber's own acts


def test_own_refusal_said_again_changes_nothing_until_a_consent_has_passed_it(
    world: World,
) -> None:
    scope = Scope(Channel.SMS, None, world.sender.id)
    first = world.own(ledger.refuse, scope)
    before = count(world, Event)
    assert world.own(ledger.refuse, scope).id == first.id
    assert count(world, Event) == before
    confirm(world)
    assert reason(world) is Reason.CONSENTED
    second = world.own(ledger.refuse, scope)
    assert second.id != first.id
    assert reason(world) is Reason.REFUSED
    assert (second.recorded_by, second.via) == (None, Via.PORTAL)


@pytest.mark.parametrize(
    "terms", [{"topics": (Topic.LOANS,)}, {"channel": Channel.VOICE}, {"sender": "other_sender"}]
)
def test_own_refusal_said_again_changes_nothing_when_a_consent_is_about_something_else(
    world: World, terms: dict[str, Any]
) -> None:
    first = world.own(ledger.refuse, Scope(Channel.SMS, Topic.RETAIL, world.sender.id))
    if "sender" in terms:
        terms = {"sender": world.other_sender}
    confirm(world, **terms)
    again = world.own(ledger.refuse, Scope(Channel.SMS, Topic.RETAIL, world.sender.id))
    assert again.id == first.id


def test_own_refusal_takes_the_place_of_one_that_a_carrier_could_lift(world: World) -> None:
    reported = world.refuse()
    world.own(ledger.refuse, Scope())
    world.grant()
    with pytest.raises(RegistryError) as error:
        world.lift(reported)
    assert error.value.kind is Kind.CONFLICT
    assert reason(world) is Reason.NO_CONSENT


def test_subscriber_lifts_every_refusal_whoever_recorded_it_and_is_told(world: World) -> None:
    [consent] = world.grant()
    reported, own = world.refuse(), world.own(ledger.refuse, Scope(topic=Topic.RETAIL))
    withdrawn = world.withdraw(consent)
    [left] = world.do(
        lambda it: it.scalars(select(Refusal).where(Refusal.sender_id.is_not(None))).all()
    )
    lifted = [row.id for row in (reported, own, left)]
    for refusal_id in lifted:
        assert world.own(ledger.lift_own, refusal_id).end_reason is End.LIFTED
    assert [told[2] for told in _notices(world)[1:]] == lifted
    assert withdrawn.end_reason is End.WITHDRAWN
    world.grant()
    assert reason(world) is Reason.CONSENTED
    before = count(world, Event)
    for refusal_id in lifted:
        world.own(ledger.lift_own, refusal_id)
    assert count(world, Event) == before


def test_organisation_lifts_no_refusal_of_the_subscribers_own(world: World) -> None:
    own = world.own(ledger.refuse, Scope())
    for by in (By(Via.HOTLINE, world.carrier.id), By(Via.PORTAL)):
        with pytest.raises(RegistryError) as error, world.registry.database.write() as session:
            ledger.lift(session, own.id, by=by, clock=world.registry.clock)
        assert error.value.kind is Kind.NOT_FOUND
    world.grant()
    assert reason(world) is Reason.NO_CONSENT


def test_subscriber_withdraws_an_own_consent_once(world: World) -> None:
    [consent] = world.grant()
    assert world.own(ledger.withdraw_own, consent.id).end_reason is End.WITHDRAWN
    assert reason(world) is Reason.CONSENT_WITHDRAWN
    before = count(world, Event)
    world.own(ledger.withdraw_own, consent.id)
    assert (count(world, Event), count(world, Refusal)) == (before, 1)
    world.grant()
    assert reason(world) is Reason.CONSENT_WITHDRAWN


def test_subscriber_withdraws_everything_at_once(world: World) -> None:
    world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    world.grant(channel=Channel.VOICE)
    confirm(world, sender=world.other_sender)
    world.grant(sender=world.other_sender)  # It waits beside the confirmed one.
    [kept] = world.grant(make_number(1))
    ended = world.own(ledger.withdraw_all)
    assert len(ended) == 5
    assert {row.end_reason for row in ended} == {End.WITHDRAWN}
    assert count(world, Refusal) == 4
    assert stored(world, kept).end_reason is None
    for question in (
        {},
        {"topic": Topic.LOANS},
        {"channel": Channel.VOICE, "sending": VOICE_LINE},
        {"sending": OTHER_PORT},
    ):
        assert reason(world, **question) is Reason.CONSENT_WITHDRAWN
    before = count(world, Event)
    assert world.own(ledger.withdraw_all) == []
    assert count(world, Event) == before


@pytest.mark.parametrize(
    ("which", "ended"),
    [
        ({"sender": True}, {"sms", "loans", "voice"}),
        ({"channel": Channel.SMS}, {"sms", "loans", "other"}),
        ({"sender": True, "channel": Channel.SMS}, {"sms", "loans"}),
    ],
)
def test_subscriber_withdraws_what_one_sender_or_one_channel_has(
    world: World, which: dict[str, Any], ended: set[str]
) -> None:
    consents = {
        "sms": world.grant()[0].id,
        "loans": world.grant(topics=(Topic.LOANS,))[0].id,
        "voice": world.grant(channel=Channel.VOICE)[0].id,
        "other": world.grant(sender=world.other_sender)[0].id,
    }
    narrowed: dict[str, Any] = {"sender_id": world.sender.id} if "sender" in which else {}
    if "channel" in which:
        narrowed["channel"] = which["channel"]
    rows = world.own(ledger.withdraw_all, **narrowed)
    assert {row.id for row in rows} == {consents[name] for name in ended}


def test_sender_on_a_channel_is_refused_as_a_whole_also_without_a_consent(world: World) -> None:
    unsubscribe: dict[str, Any] = {"sender_id": world.sender.id, "channel": Channel.SMS}
    assert world.own(ledger.withdraw_all, **unsubscribe) == []
    [refusal] = world.do(lambda session: session.scalars(select(Refusal)).all())
    assert (refusal.channel, refusal.topic) == (Channel.SMS, "any")
    assert refusal.sender_id == world.sender.id
    confirm(world)
    before = count(world, Event)
    assert len(world.own(ledger.withdraw_all, **unsubscribe)) == 1
    assert reason(world) is Reason.CONSENT_WITHDRAWN
    assert count(world, Event) == before + 1
    world.own(ledger.withdraw_all, **unsubscribe)
    assert count(world, Event) == before + 1
    world.grant(topics=(Topic.GAMES,))
    assert reason(world, topic=Topic.GAMES) is Reason.NO_CONSENT


def contact(world: World, at: datetime, **question: Any) -> None:
    """Let a carrier count one contact."""
    world.do(
        lambda session: lookup.contact(
            session,
            lookup.Asker(world.carrier.id, world.carrier.kind),
            make_question(at=at, **question),
            now=at,
            policy=world.registry.policy,
        )
    )


@pytest.mark.parametrize("waits", [False, True])
def test_confirming_gives_an_assertion_effect_on_its_own_terms(
    world: World, clock: Clock, waits: bool
) -> None:
    if waits:
        world.refuse()
    cap = CapTerms(3, Period.WEEK)
    asserted, other = world.grant(topics=(Topic.RETAIL, Topic.LOANS), cap=cap)
    clock.pass_(days=1)
    [consent] = world.own(ledger.confirm, asserted.id)
    assert stored(world, asserted).end_reason is End.SUPERSEDED
    assert stored(world, other).end_reason is None
    assert reason(world) is Reason.CONSENTED
    assert reason(world, topic=Topic.LOANS) is (Reason.NO_CONSENT if waits else Reason.CONSENTED)
    shown = world.do(lambda session: ledger.own_consent(session, consent.id, world.sender.id))
    assert (shown.grant.basis, shown.topic) == (Basis.CONFIRMED, Topic.RETAIL)
    assert shown.valid_until == asserted.valid_until
    assert (shown.grant.cap_count, shown.grant.cap_period) == (3, Period.WEEK)
    assert shown.grant.granted_at == clock.now
    assert shown.grant.evidence.method is Method.REGISTRY
    assert shown.grant.evidence.notice_text == "I agree to ten messages a day."
    world.refuse()
    assert reason(world) is Reason.REFUSED


def test_confirming_twice_changes_nothing(world: World) -> None:
    [asserted] = world.grant()
    [consent] = world.own(ledger.confirm, asserted.id)
    before = count(world, Event)
    for row_id in (asserted.id, consent.id):
        assert [row.id for row in world.own(ledger.confirm, row_id)] == [consent.id]
    assert count(world, Event) == before


def test_confirming_with_another_text_keeps_that_as_evidence(world: World) -> None:
    [asserted] = world.grant()
    [consent] = world.own(ledger.confirm, asserted.id, notice_text="Yes, from Xinghe Stores.")
    shown = world.do(lambda session: ledger.own_consent(session, consent.id, world.sender.id))
    assert shown.grant.evidence.notice_text == "Yes, from Xinghe Stores."


def test_confirming_leaves_no_more_contacts_than_the_cap_had_left(world: World) -> None:
    [asserted] = world.grant(cap=CapTerms(1, Period.DAY))
    contact(world, START)
    world.own(ledger.confirm, asserted.id)
    assert reason(world) is Reason.FREQUENCY_EXCEEDED


def test_confirming_several_topics_makes_one_grant_with_one_cap(world: World, clock: Clock) -> None:
    topics = (Topic.RETAIL, Topic.LOANS, Topic.GAMES)
    asserted = world.grant(topics=topics, cap=CapTerms(2, Period.DAY))
    contact(world, clock.now)
    confirmed = world.own(ledger.confirm, *[row.id for row in asserted])
    assert [row.topic for row in confirmed] == [row.topic for row in asserted]
    assert len({row.grant_id for row in confirmed}) == 1
    assert reason(world, topic=Topic.GAMES) is Reason.CONSENTED
    contact(world, clock.now, topic=Topic.LOANS)
    for topic in topics:
        assert reason(world, topic=topic) is Reason.FREQUENCY_EXCEEDED
    again = world.own(ledger.confirm, *[row.id for row in asserted])
    assert [row.id for row in again] == [row.id for row in confirmed]


def test_ended_consent_is_not_confirmed(world: World, clock: Clock) -> None:
    [expired] = world.grant(topics=(Topic.TRAVEL,), valid_until=clock.now + timedelta(hours=1))
    [withdrawn] = world.grant(topics=(Topic.GAMES,))
    world.withdraw(withdrawn)
    [superseded] = world.grant()
    world.grant()
    clock.pass_(hours=1)
    before = count(world, Event)
    for consent in (expired, withdrawn, superseded):
        with pytest.raises(RegistryError) as error:
            world.own(ledger.confirm, consent.id)
        assert error.value.kind is Kind.CONFLICT
    assert count(world, Event) == before


def test_superseded_refusal_is_not_lifted(world: World) -> None:
    old = world.refuse()
    world.refuse()
    with pytest.raises(RegistryError) as error:
        world.own(ledger.lift_own, old.id)
    assert error.value.kind is Kind.CONFLICT


OWN_ACTS: dict[str, Callable[..., object]] = {
    "withdraw": lambda world, it, _, **by: world.own(ledger.withdraw_own, it.id, **by),
    "confirm": lambda world, it, _, **by: world.own(ledger.confirm, it.id, **by),
    "challenge": lambda world, it, _, **by: world.own(ledger.challenge, it.id, **by),
    "lift": lambda world, _, it, **by: world.own(ledger.lift_own, it.id, **by),
}


@pytest.mark.parametrize("why", ["ended", "not agreed", "another's", "unknown", "moved on"])
@pytest.mark.parametrize("act", OWN_ACTS.values(), ids=OWN_ACTS.keys())
def test_nobody_acts_for_a_number_that_is_not_looked_after_any_more(
    world: World, clock: Clock, act: Callable[..., object], why: str
) -> None:
    if why == "moved on":
        carer = world.look_after(make_number(5))
        world.reassign(reassigned_at=clock.pass_(days=1))
    [consent], refusal = world.grant(topics=(Topic.GAMES,)), world.refuse()
    if why != "moved on":
        carer = world.look_after(make_number(5), make_number(6) if why == "another's" else None)
    link_id = uuid4() if why == "unknown" else carer.family_link_id
    if why in ("ended", "not agreed"):
        change = {"ended_at": clock.now, "ended_by": FamilyEnd.MEMBER}
        values: dict[str, Any] = change if why == "ended" else {"agreed_at": None}
        world.do(lambda it: it.execute(update(FamilyLink).values(**values)))
    before = count(world, Event)
    with pytest.raises(RegistryError) as error:
        act(world, consent, refusal, by=By(Via.PORTAL, family_link_id=link_id))
    assert error.value.kind is Kind.NOT_FOUND
    assert count(world, Event) == before


@pytest.mark.parametrize("act", OWN_ACTS.values(), ids=OWN_ACTS.keys())
def test_subscriber_acts_on_nothing_of_another_number_or_tenure(
    world: World, clock: Clock, act: Callable[..., object]
) -> None:
    [others], others_refusal = world.grant(make_number(1)), world.refuse(make_number(1))
    [earlier], earlier_refusal = world.grant(), world.refuse()
    world.reassign(reassigned_at=clock.pass_(days=1))
    unknown = Consent(id=uuid4())
    before = count(world, Event)
    for pair in ((others, others_refusal), (earlier, earlier_refusal), (unknown, unknown)):
        with pytest.raises(RegistryError) as error:
            act(world, *pair)
        assert error.value.kind is Kind.NOT_FOUND
    assert count(world, Event) == before


def test_withdrawing_everything_leaves_what_belongs_to_an_earlier_tenure(
    world: World, clock: Clock
) -> None:
    [earlier] = world.grant()
    reassignment = world.reassign(reassigned_at=clock.pass_(days=1))
    assert world.own(ledger.withdraw_all) == []
    world.cancel(reassignment)
    assert stored(world, earlier).end_reason is None


def test_events_of_own_acts_say_how_they_came_and_who_looks_after_the_number(
    world: World,
) -> None:
    carer: dict[str, Any] = {"by": world.look_after(make_number(5))}
    first, second, third = (
        world.grant(topics=(topic,))[0] for topic in (Topic.RETAIL, Topic.LOANS, Topic.GAMES)
    )
    requests = [world.ask(topics=(topic,), notice_text=topic) for topic in list(Topic)[-2:]]
    since = count(world, Event)
    world.own(ledger.confirm, first.id, **carer)
    world.own(ledger.challenge, second.id, **carer)
    world.own(ledger.withdraw_own, third.id, **carer)
    refusal = world.own(ledger.refuse, Scope(), **carer)
    world.own(ledger.lift_own, refusal.id, **carer)
    world.own(ledger.set_own_hours, time(9), time(18), **carer)
    world.own(ledger.lift_own_hours, **carer)
    world.own(ledger.agree, requests[0].id, **carer)
    world.own(ledger.decline, requests[1].id, **carer)
    payloads = world.do(
        lambda it: it.scalars(
            select(Event.payload).where(Event.id > since).order_by(Event.id)
        ).all()
    )
    said = [json.loads(payload) for payload in payloads]
    assert {data["kind"] for data in said} == {
        "consent_granted",
        "consent_challenged",
        "consent_withdrawn",
        "refusal_recorded",
        "refusal_lifted",
        "contact_hours_set",
        "contact_hours_lifted",
        "consent_request_agreed",
        "consent_request_declined",
    }
    for data in said:
        assert (data["actor"], data["via"]) == (None, "portal"), data["kind"]
        assert data["family_link"] == str(carer["by"].family_link_id), data["kind"]


def test_event_of_an_own_act_names_no_family_where_nobody_looks_after_the_number(
    world: World,
) -> None:
    world.own(ledger.refuse, Scope())
    payload = world.do(lambda it: it.scalar(select(Event.payload).order_by(Event.id.desc())))
    assert payload is not None
    assert "family_link" not in json.loads(payload)


# Tenures


def test_tenure_starts_with_the_latest_reassignment_that_holds(world: World, clock: Clock) -> None:
    def start() -> datetime | None:
        return world.do(lambda session: ledger.tenure_start(session, NUMBER))

    assert start() is None
    first = world.reassign(reassigned_at=clock.pass_(days=1))
    second = world.reassign(reassigned_at=clock.pass_(days=1))
    world.reassign(make_number(1), clock.pass_(days=1))
    assert start() == second.reassigned_at
    world.cancel(second)
    assert start() == first.reassigned_at
    world.cancel(first)
    assert start() is None


def test_reassignment_ends_everything_but_own_acts_after_it(world: World, clock: Clock) -> None:
    world.grant(topics=(Topic.LOANS,))
    confirm(world, topics=(Topic.RETAIL,))
    world.refuse(scope=Scope(channel=Channel.VOICE))
    moved = clock.pass_(days=1)
    world.grant(topics=(Topic.GAMES,))
    confirm(world, topics=(Topic.TRAVEL,))
    world.refuse(scope=Scope(topic=Topic.HEALTH))
    clock.pass_(days=1)
    world.reassign(reassigned_at=moved)
    for topic in (Topic.LOANS, Topic.RETAIL, Topic.GAMES):
        assert reason(world, topic=topic) is Reason.NUMBER_REASSIGNED
    assert reason(world, topic=Topic.TRAVEL) is Reason.CONSENTED
    world.grant(channel=Channel.VOICE, topics=(Topic.RETAIL, Topic.HEALTH))
    voice = {"channel": Channel.VOICE, "sending": VOICE_LINE}
    assert reason(world, topic=Topic.RETAIL, **voice) is Reason.CONSENTED
    assert reason(world, topic=Topic.HEALTH, **voice) is Reason.NO_CONSENT


def test_new_subscriber_begins_without_the_wishes_of_the_old_one(
    world: World, clock: Clock
) -> None:
    world.refuse()
    world.grant()
    world.reassign(reassigned_at=clock.pass_(days=1))
    assert reason(world) is Reason.NO_CONSENT
    world.refuse()
    world.grant()
    assert reason(world) is Reason.NO_CONSENT
    world.reassign(reassigned_at=clock.pass_(days=1))
    world.grant()
    assert reason(world) is Reason.CONSENTED


def test_cancelling_restores_what_the_reassignment_ended(world: World, clock: Clock) -> None:
    world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    world.refuse(scope=Scope(topic=Topic.LOANS))
    reassignment = world.reassign(reassigned_at=clock.pass_(days=1))
    assert reason(world) is Reason.NUMBER_REASSIGNED
    world.cancel(reassignment)
    assert reason(world) is Reason.CONSENTED
    assert reason(world, topic=Topic.LOANS) is Reason.REFUSED
    before = count(world, Event)
    world.cancel(reassignment)
    assert count(world, Event) == before


def test_cancelling_keeps_what_was_recorded_meanwhile(world: World, clock: Clock) -> None:
    [older] = world.grant(topics=(Topic.RETAIL,), valid_until=clock.now + timedelta(days=2))
    world.grant(topics=(Topic.LOANS,))
    old_refusal = world.refuse(scope=Scope(channel=Channel.VOICE))
    reassignment = world.reassign(reassigned_at=clock.pass_(days=1))
    world.grant(topics=(Topic.RETAIL,))
    [withdrawn] = world.grant(topics=(Topic.LOANS,))
    world.withdraw(withdrawn)
    new_refusal = world.refuse(scope=Scope(channel=Channel.VOICE))
    world.cancel(reassignment)
    assert stored(world, older).end_reason is End.SUPERSEDED
    clock.pass_(days=2)
    assert reason(world, topic=Topic.RETAIL) is Reason.CONSENTED
    assert reason(world, topic=Topic.LOANS) is Reason.CONSENT_WITHDRAWN
    with pytest.raises(RegistryError):
        world.lift(old_refusal)
    assert world.lift(new_refusal).end_reason is End.LIFTED


def test_cancelling_lets_no_assertion_pass_a_restored_refusal(world: World, clock: Clock) -> None:
    world.withdraw(world.grant()[0])
    reassignment = world.reassign(reassigned_at=clock.pass_(days=1))
    world.grant()
    assert reason(world) is Reason.CONSENTED
    world.cancel(reassignment)
    assert not reason(world).allowed
    confirm(world)
    assert reason(world) is Reason.CONSENTED


@pytest.mark.parametrize("first_cancelled", [0, 1])
def test_cancelling_two_reassignments_restores_what_both_ended(
    world: World, clock: Clock, first_cancelled: int
) -> None:
    world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    world.refuse(scope=Scope(topic=Topic.LOANS))
    reassignments = [world.reassign(reassigned_at=clock.pass_(days=1))]
    world.refuse(scope=Scope(topic=Topic.LOANS))
    world.grant(topics=(Topic.TRAVEL,))
    reassignments.append(world.reassign(reassigned_at=clock.pass_(days=1)))
    world.cancel(reassignments.pop(first_cancelled))
    assert reason(world, topic=Topic.RETAIL) is Reason.NUMBER_REASSIGNED
    world.cancel(reassignments.pop())
    assert reason(world, topic=Topic.RETAIL) is Reason.CONSENTED
    assert reason(world, topic=Topic.LOANS) is Reason.REFUSED
    assert reason(world, topic=Topic.TRAVEL) is Reason.CONSENTED


# What is not accepted


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"granted_at": START + timedelta(seconds=61)}, "granted_at"),
        ({"granted_at": START - timedelta(days=1, seconds=1)}, "granted_at"),
        ({"valid_until": START}, "valid_until"),
    ],
)
def test_grant_is_invalid_when_its_times_contradict_the_registry(
    world: World, terms: dict[str, Any], field: str
) -> None:
    world.reassign(reassigned_at=START - timedelta(days=1))
    before = count(world, Event)
    with pytest.raises(RegistryError) as error:
        world.grant(**terms)
    assert error.value.kind is Kind.INVALID
    assert set(error.value.fields or ()) == {field}
    assert (count(world, Consent), count(world, Event)) == (0, before)


def test_reassignment_is_refused_when_it_contradicts_the_known_ones(
    world: World, clock: Clock
) -> None:
    with pytest.raises(RegistryError) as future:
        world.reassign(reassigned_at=clock.now + timedelta(seconds=61))
    assert future.value.kind is Kind.INVALID
    known = world.reassign()
    for earlier in (clock.now, clock.now - timedelta(days=1)):
        with pytest.raises(RegistryError) as conflict:
            world.reassign(reassigned_at=earlier)
        assert conflict.value.kind is Kind.CONFLICT
    world.cancel(known)
    assert world.reassign(reassigned_at=clock.now - timedelta(days=1))


def test_ids_of_others_are_as_if_they_were_not(world: World) -> None:
    [consent], refusal, reassignment = world.grant(), world.refuse(), world.reassign()
    stranger = replace(world, sender=world.other_sender, carrier=world.other_carrier)
    others_consent = Consent(id=consent.id, sender_id=stranger.sender.id)
    acts: list[Callable[[], object]] = [
        lambda: stranger.withdraw(others_consent),
        lambda: stranger.do(lambda it: ledger.own_consent(it, consent.id, stranger.sender.id)),
        lambda: stranger.lift(refusal),
        lambda: stranger.cancel(reassignment),
        lambda: world.withdraw(Consent(id=uuid4(), sender_id=world.sender.id)),
        lambda: world.lift(Refusal(id=uuid4())),
        lambda: world.cancel(Reassignment(id=uuid4())),
    ]
    before = count(world, Event)
    for act in acts:
        with pytest.raises(RegistryError) as error:
            act()
        assert error.value.kind is Kind.NOT_FOUND
    assert count(world, Event) == before


def test_subscriber_can_withdraw_what_the_sender_withdrew_before(world: World) -> None:
    [consent] = world.grant()
    world.withdraw(consent, by_subscriber=False)
    world.withdraw(consent)
    world.withdraw(consent)
    world.grant()
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN
    with world.registry.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(Refusal)) == 1
