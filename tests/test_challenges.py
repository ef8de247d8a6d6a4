"""Challenges: a disputed consent stops at once, and is void when nobody proves it in time."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text

from registry import ledger
from registry.consent import Basis, Channel, End, Reason, Topic
from registry.errors import Kind, RegistryError
from registry.ledger import Scope
from registry.models import (
    Challenge,
    ChallengeOutcome,
    Consent,
    Event,
    Notice,
    Organisation,
    OutboxItem,
    Refusal,
    Via,
    Violation,
    ViolationKind,
)
from registry.numbers import SubscriberNumber
from registry.policy import Assertions
from tests.factories import OTHER_PORT, START, VOICE_LINE, Clock, World, make_number
from tests.test_ledger import assertions_are

NUMBER = make_number()
TIME_LIMIT = timedelta(days=5)
"""How long the policy gives a sender to bring its evidence."""
BOTH = (Topic.RETAIL, Topic.LOANS)


def challenge(world: World, consent: Consent, **more: Any) -> Challenge:
    return world.own(ledger.challenge, consent.id, **more)


def bring(world: World, disputed: Challenge, *, sender: Organisation | None = None) -> Challenge:
    return world.do(
        lambda session: ledger.bring_evidence(
            session,
            disputed.id,
            sender_id=(sender or world.sender).id,
            text="The form that was filled in on 1 November.",
            sha256="0" * 64,
            uri="https://sender.example/evidence/1",
            clock=world.registry.clock,
        )
    )


def void(world: World) -> int:
    return ledger.void_due(world.registry.database, clock=world.registry.clock)


def count(world: World, table: type[Any]) -> int:
    with world.registry.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def told(world: World, notice: Notice) -> list[SubscriberNumber]:
    return [row.number for row in world.rows(OutboxItem) if row.notice is notice]


def only_event(world: World, kind: str) -> Any:
    [event] = [row for row in world.rows(Event) if row.kind == kind]
    return json.loads(event.payload)


def kind_of(act: Callable[[], object]) -> Kind | None:
    """Return the kind of error that an act raises, None when it raises none."""
    try:
        act()
    except RegistryError as error:
        return error.kind
    return None


# Disputing


def test_challenge_stops_contacts_of_the_whole_grant_at_once(world: World, clock: Clock) -> None:
    first, second = world.grant(topics=BOTH)
    world.grant(topics=(Topic.GAMES,))
    world.grant(channel=Channel.VOICE)
    world.grant(sender=world.other_sender)
    disputed = challenge(world, first)
    assert (disputed.grant_id, disputed.sender_id) == (second.grant_id, world.sender.id)
    assert disputed.evidence_by == START + TIME_LIMIT
    assert disputed.outcome is None
    for topic in BOTH:
        assert world.verdict(topic=topic).reason is Reason.REFUSED
    assert world.verdict(topic=Topic.GAMES).reason is Reason.CONSENTED
    voice = world.verdict(channel=Channel.VOICE, sending=VOICE_LINE)
    assert voice.reason is Reason.CONSENTED
    assert world.verdict(sending=OTHER_PORT).reason is Reason.CONSENTED
    refusals = world.rows(Refusal)
    assert {(row.channel, row.topic) for row in refusals} == {("sms", topic) for topic in BOTH}
    assert {(row.sender_id, row.via, row.recorded_by) for row in refusals} == {
        (world.sender.id, Via.PORTAL, None)
    }
    data = only_event(world, "consent_challenged")
    assert (data["challenge"], data["grant"]) == (str(disputed.id), str(first.grant_id))
    assert (data["actor"], data["via"]) == (None, "portal")


def test_grant_is_disputed_once_however_often_and_by_whichever_topic(world: World) -> None:
    first, second = world.grant(topics=BOTH)
    disputed = challenge(world, first)
    before = count(world, Event)
    for consent in (first, second, first):
        assert challenge(world, consent).id == disputed.id
    assert count(world, Event) == before


def test_assertion_that_waits_for_confirmation_can_be_disputed(world: World, clock: Clock) -> None:
    assertions_are(world, Assertions.NEED_CONFIRMATION)
    [consent] = world.grant()
    challenge(world, consent)
    clock.pass_(days=5)
    assert void(world) == 1
    assert world.rows(Consent)[0].end_reason is End.VOIDED


def test_confirmed_consent_is_withdrawn_and_not_disputed(world: World) -> None:
    [consent] = world.grant(basis=Basis.CONFIRMED)
    with pytest.raises(RegistryError, match="withdraw it instead") as error:
        challenge(world, consent)
    assert error.value.kind is Kind.CONFLICT
    assert world.verdict().reason is Reason.CONSENTED


def test_ended_consent_cannot_be_disputed(world: World) -> None:
    [withdrawn] = world.grant(topics=(Topic.GAMES,))
    world.withdraw(withdrawn, by_subscriber=False)
    [superseded] = world.grant()
    world.grant()
    before = count(world, Event)
    for consent in (withdrawn, superseded):
        assert kind_of(lambda consent=consent: challenge(world, consent)) is Kind.CONFLICT  # type: ignore[misc]
    assert count(world, Event) == before
    assert world.verdict().reason is Reason.CONSENTED


def test_challenge_spares_what_the_subscriber_has_confirmed_since(world: World) -> None:
    first, second = world.grant(topics=BOTH)
    world.own(ledger.confirm, first.id)
    challenge(world, second)
    assert world.verdict(topic=first.topic).reason is Reason.CONSENTED
    assert world.verdict(topic=second.topic).reason is Reason.REFUSED


def test_sender_cannot_assert_its_way_past_a_challenge(world: World, clock: Clock) -> None:
    [consent] = world.grant()
    challenge(world, consent)
    world.grant()
    assert world.verdict().reason is Reason.REFUSED
    clock.pass_(days=5)
    void(world)
    world.grant()
    assert not world.verdict().reason.allowed
    world.grant(basis=Basis.CONFIRMED)
    assert world.verdict().reason is Reason.CONSENTED


def test_challenge_by_somebody_who_looks_after_the_number_says_so(world: World) -> None:
    [consent] = world.grant()
    carer = world.look_after(make_number(5))
    challenge(world, consent, by=carer)
    assert only_event(world, "consent_challenged")["family_link"] == str(carer.family_link_id)


@pytest.mark.parametrize("recorded_by", ["subscriber", "carrier"])
def test_refusal_that_a_dispute_left_is_lifted_only_after_it(
    world: World, clock: Clock, recorded_by: str
) -> None:
    consent, _loans = world.grant(topics=BOTH)
    challenge(world, consent)
    scope = Scope(consent.channel, consent.topic, world.sender.id)
    [refusal] = [row for row in world.rows(Refusal) if row.topic == consent.topic]
    lift = partial(world.own, ledger.lift_own, refusal.id)
    if recorded_by == "carrier":
        lift = partial(world.lift, world.refuse(scope=scope))
    wider, other = world.refuse(), world.refuse(scope=replace(scope, topic=Topic.GAMES))
    before = count(world, Event)
    assert kind_of(lift) is Kind.CONFLICT
    assert count(world, Event) == before
    for unrelated in (wider, other):
        assert world.lift(unrelated).end_reason is End.LIFTED
    assert world.verdict(topic=consent.topic).reason is Reason.REFUSED
    clock.pass_(days=5)
    void(world)
    assert lift().end_reason is End.LIFTED


def test_disputed_consent_is_not_confirmed_before_the_dispute_is_over(
    world: World, clock: Clock
) -> None:
    first, second = world.grant(topics=BOTH)
    disputed = challenge(world, first)
    before = count(world, Event)
    for consent in (first, second):
        act = partial(world.own, ledger.confirm, consent.id)
        assert kind_of(act) is Kind.CONFLICT
    assert count(world, Event) == before
    bring(world, disputed)
    world.own(ledger.confirm, first.id)
    assert world.verdict(topic=first.topic).reason is Reason.CONSENTED
    assert world.verdict(topic=second.topic).reason is Reason.REFUSED


def test_many_challenges_at_once_are_one(world: World) -> None:
    consents = world.grant(topics=BOTH)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda index: challenge(world, consents[index % 2]), range(8)))
    assert len({disputed.id for disputed in made}) == 1
    assert (count(world, Challenge), count(world, Refusal)) == (1, 2)


# Evidence


def test_evidence_in_time_keeps_the_consent_and_the_refusal(world: World, clock: Clock) -> None:
    [consent] = world.grant()
    disputed = challenge(world, consent)
    clock.now = disputed.evidence_by - timedelta(microseconds=1)
    closed = bring(world, disputed)
    assert closed.outcome is ChallengeOutcome.EVIDENCED
    assert closed.answered_at == closed.closed_at == clock.now
    [stored] = world.rows(Challenge)
    assert stored.evidence_text == "The form that was filled in on 1 November."
    assert stored.evidence_uri == "https://sender.example/evidence/1"
    assert told(world, Notice.CHALLENGE_ANSWERED) == [NUMBER]
    data = only_event(world, "challenge_answered")
    assert (data["actor"], data["via"]) == (str(world.sender.id), "sender")
    assert data["evidence"] == {"sha256": "0" * 64}
    clock.pass_(days=1)
    assert void(world) == 0
    assert count(world, Violation) == 0
    assert world.rows(Consent)[0].end_reason is None
    assert world.verdict().reason is Reason.REFUSED
    [refusal] = world.rows(Refusal)
    world.own(ledger.lift_own, refusal.id)
    assert world.verdict().reason is Reason.CONSENTED


@pytest.mark.parametrize("why", ["too_late", "voided", "evidenced"])
def test_evidence_is_brought_in_time_and_once(world: World, clock: Clock, why: str) -> None:
    disputed = challenge(world, world.grant()[0])
    if why == "evidenced":
        bring(world, disputed)
    else:
        clock.now = disputed.evidence_by
    if why == "voided":
        void(world)
    before = count(world, Event)
    assert kind_of(lambda: bring(world, disputed)) is Kind.CONFLICT
    assert count(world, Event) == before


def test_only_the_sender_that_asserted_the_consent_sees_the_challenge(world: World) -> None:
    disputed = challenge(world, world.grant()[0])
    stranger = world.other_sender
    assert kind_of(lambda: bring(world, disputed, sender=stranger)) is Kind.NOT_FOUND
    assert kind_of(lambda: bring(world, Challenge(id=uuid4()))) is Kind.NOT_FOUND

    def listed(sender: Organisation) -> list[Any]:
        return [row.id for row in world.do(lambda it: ledger.search_challenges(it, sender.id))]

    assert (listed(world.sender), listed(stranger)) == ([disputed.id], [])
    own = world.do(lambda it: ledger.own_challenge(it, disputed.id, world.sender.id))
    assert own.id == disputed.id
    with pytest.raises(RegistryError):
        world.do(lambda it: ledger.own_challenge(it, disputed.id, stranger.id))


def test_challenges_are_listed_from_the_newest_page_by_page(world: World) -> None:
    made = [challenge(world, world.grant(topics=(topic,))[0]) for topic in list(Topic)[:3]]
    found = world.do(lambda it: ledger.search_challenges(it, world.sender.id))
    assert [row.id for row in found] == [row.id for row in reversed(made)]
    after = (found[0].event_id, found[0].id)
    rest = world.do(lambda it: ledger.search_challenges(it, world.sender.id, after))
    assert [row.id for row in rest] == [row.id for row in found[1:]]


# Voiding


def test_consent_that_nobody_proves_is_void_and_a_violation(world: World, clock: Clock) -> None:
    [first, second] = world.grant(topics=BOTH)
    [other] = world.grant(topics=(Topic.GAMES,))
    disputed = challenge(world, first)
    clock.now = disputed.evidence_by - timedelta(microseconds=1)
    assert void(world) == 0
    clock.pass_(microseconds=1)
    assert void(world) == 1
    ends = {row.id: row.end_reason for row in world.rows(Consent)}
    assert ends == {first.id: End.VOIDED, second.id: End.VOIDED, other.id: None}
    [violation] = world.rows(Violation)
    assert violation.kind is ViolationKind.UNPROVEN_CONSENT
    assert (violation.organisation_id, violation.number) == (world.sender.id, NUMBER)
    assert violation.subject_id == disputed.id
    data = only_event(world, "consent_voided")
    assert set(data["consents"]) == {str(first.id), str(second.id)}
    assert data["violation"] == str(violation.id)
    assert (data["actor"], data["via"]) == (None, "registry")
    assert told(world, Notice.CONSENT_VOIDED) == [NUMBER]
    [closed] = world.rows(Challenge)
    assert (closed.outcome, closed.closed_at) == (ChallengeOutcome.VOIDED, clock.now)
    assert closed.answered_at is None
    for topic in BOTH:
        assert world.verdict(topic=topic).reason is Reason.CONSENT_WITHDRAWN
    before = count(world, Event)
    assert void(world) == 0
    assert count(world, Event) == before


def test_taking_the_consent_back_does_not_undo_the_violation(world: World, clock: Clock) -> None:
    [consent] = world.grant()
    challenge(world, consent)
    world.withdraw(consent, by_subscriber=False)
    clock.pass_(days=5)
    assert void(world) == 1
    assert world.rows(Consent)[0].end_reason is End.WITHDRAWN
    assert only_event(world, "consent_voided")["consents"] == []
    assert count(world, Violation) == 1


def test_confirmed_consent_outlives_the_voiding_of_what_was_asserted_before(
    world: World, clock: Clock
) -> None:
    first, second = world.grant(topics=BOTH)
    challenge(world, first)
    world.own(ledger.agree, world.ask(topics=(first.topic,)).id)
    clock.pass_(days=5)
    assert void(world) == 1
    assert world.verdict(topic=first.topic).reason is Reason.CONSENTED
    assert world.verdict(topic=second.topic).reason is Reason.CONSENT_WITHDRAWN


def test_voiding_refuses_again_what_does_not_stand_refused(world: World, clock: Clock) -> None:
    first, second = world.grant(topics=BOTH)
    confirmed = world.own(ledger.confirm, first.id)[0]
    challenge(world, second)
    clock.pass_(days=1)
    world.withdraw(confirmed, by_subscriber=False)  # Now the sender holds nothing confirmed.
    clock.pass_(days=4)
    void(world)
    world.grant(topics=BOTH)
    for topic in BOTH:
        assert world.verdict(topic=topic).reason is Reason.CONSENT_WITHDRAWN
    [again] = [row for row in world.rows(Refusal) if row.via is Via.REGISTRY]
    assert (again.topic, again.sender_id) == (first.topic, world.sender.id)
    assert only_event(world, "consent_voided")["refusals"] == [str(again.id)]


def test_new_subscriber_hears_nothing_of_the_dispute_of_the_old_one(
    world: World, clock: Clock
) -> None:
    [consent] = world.grant()
    disputed = challenge(world, consent)
    [proven] = world.grant(topics=(Topic.GAMES,))
    evidenced = challenge(world, proven)
    world.reassign(reassigned_at=clock.pass_(days=1))
    bring(world, evidenced)
    assert kind_of(lambda: challenge(world, consent)) is Kind.NOT_FOUND
    clock.now = disputed.evidence_by
    assert void(world) == 1
    assert count(world, Violation) == 1
    ends = {row.id: row.end_reason for row in world.rows(Consent)}
    assert ends == {consent.id: End.VOIDED, proven.id: None}
    assert told(world, Notice.CONSENT_VOIDED) == told(world, Notice.CHALLENGE_ANSWERED) == []
    assert only_event(world, "consent_voided")["refusals"] == []
    world.grant()
    assert world.verdict().reason is Reason.CONSENTED


def test_voided_consent_does_not_come_back_when_a_reassignment_is_cancelled(
    world: World, clock: Clock
) -> None:
    challenge(world, world.grant()[0])
    moved = world.reassign(reassigned_at=clock.pass_(days=1))
    clock.pass_(days=5)
    void(world)
    world.cancel(moved)
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN


def test_lifting_everything_brings_no_void_consent_back(world: World, clock: Clock) -> None:
    challenge(world, world.grant()[0])
    clock.pass_(days=5)
    void(world)
    for refusal in world.rows(Refusal):
        world.own(ledger.lift_own, refusal.id)
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN
    world.own(ledger.refuse, Scope())
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN


def test_several_workers_void_each_grant_once(world: World, clock: Clock) -> None:
    numbers = [make_number(index) for index in range(6)]
    for number in numbers:
        challenge(world, world.grant(number)[0], number=number)
    clock.pass_(days=5)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda _: void(world), range(4))) == 6
    assert Counter(row.number for row in world.rows(Violation)) == Counter(numbers)


def test_challenge_that_cannot_be_closed_stops_no_other(world: World, clock: Clock) -> None:
    numbers = [make_number(index) for index in range(3)]
    made = [challenge(world, world.grant(number)[0], number=number) for number in numbers]
    spoil = text("UPDATE challenges SET number = :number WHERE event_id = :event")
    values = {"number": bytes(16), "event": made[0].event_id}
    world.do(lambda session: session.execute(spoil, values))
    clock.pass_(days=5)
    assert void(world) == 2
    assert {row.number for row in world.rows(Violation)} == set(numbers[1:])
