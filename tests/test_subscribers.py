"""What a number may see of itself: only its own, only of this tenure, and all of it."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from registry import complaints, ledger, subscribers
from registry.consent import Basis, Channel, Topic
from registry.errors import Kind, RegistryError
from registry.ledger import By, Scope
from registry.models import ComplaintOutcome, Event, Organisation, OrganisationKind, Via
from registry.numbers import SubscriberNumber
from registry.policy import Period
from registry.runtime import Registry
from registry.subscribers import Standing
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    Client,
    Clock,
    World,
    make_number,
    make_organisation,
)

OWN = By(Via.PORTAL)


def standings(registry: Registry, number: SubscriberNumber | None = None) -> list[Standing]:
    with registry.database.snapshot() as session:
        about = (session, number or make_number(), registry.clock())
        found = [*subscribers.consents(*about), *subscribers.ended_consents(*about)]
    return [own.standing for own in found]


def everything(registry: Registry, number: SubscriberNumber | None = None) -> dict[str, Any]:
    with registry.database.snapshot() as session:
        return subscribers.everything(session, number or make_number(), registry.clock())


def ask(world: World, number: SubscriberNumber | None = None) -> Any:
    return world.do(
        lambda session: ledger.ask(
            session,
            sender_id=world.sender.id,
            number=number or make_number(),
            channel=Channel.SMS,
            topics=(Topic.GAMES,),
            cap=ledger.CapTerms(1, Period.WEEK),
            valid_for_days=30,
            notice_text="May we?",
            policy=world.registry.policy,
            clock=world.registry.clock,
        )
    )


def challenge(world: World, consent_id: Any) -> Any:
    return world.do(
        lambda session: ledger.challenge(
            session,
            make_number(),
            consent_id,
            by=OWN,
            policy=world.registry.policy,
            clock=world.registry.clock,
        )
    )


def test_consent_stands_as_the_rule_says(registry: Registry, world: World, clock: Clock) -> None:
    [consent] = world.grant()
    assert standings(registry) == [Standing.IN_FORCE]
    refusal = world.refuse(scope=Scope(channel=Channel.SMS))
    assert standings(registry) == [Standing.REFUSED]
    world.lift(refusal)
    assert standings(registry) == [Standing.IN_FORCE]
    clock.pass_(days=90)
    assert standings(registry) == [Standing.EXPIRED]
    clock.pass_(days=-90)
    world.withdraw(consent)
    assert standings(registry) == [Standing.WITHDRAWN]


def test_assertion_against_a_refusal_is_without_effect_until_confirmed(
    registry: Registry, world: World
) -> None:
    world.refuse()
    [consent] = world.grant()
    assert standings(registry) == [Standing.WITHOUT_EFFECT]
    world.do(
        lambda session: ledger.confirm(
            session, make_number(), consent.id, by=OWN, policy=registry.policy, clock=registry.clock
        )
    )
    assert sorted(standings(registry)) == [Standing.IN_FORCE, Standing.SUPERSEDED]


def test_challenged_consent_is_shown_as_disputed(registry: Registry, world: World) -> None:
    [consent] = world.grant()
    challenge(world, consent.id)
    with registry.database.snapshot() as session:
        own = subscribers.consent(session, make_number(), consent.id, registry.clock())
    assert own.standing is Standing.CHALLENGED
    assert own.challenge is not None


def test_those_that_ended_are_kept_apart(registry: Registry, world: World, clock: Clock) -> None:
    [first] = world.grant(topics=(Topic.LOANS,))
    clock.pass_(minutes=1)
    [second] = world.grant(topics=(Topic.GAMES,))
    world.withdraw(second)
    with registry.database.snapshot() as session:
        standing = subscribers.consents(session, make_number(), clock())
        ended = subscribers.ended_consents(session, make_number(), clock())
    assert ([own.row.id for own in standing], [own.row.id for own in ended]) == (
        [first.id],
        [second.id],
    )


def test_consent_and_request_of_another_are_not_found(registry: Registry, world: World) -> None:
    [consent] = world.grant(make_number(1))
    request = ask(world, make_number(1))
    with registry.database.snapshot() as session:
        for look in (
            lambda: subscribers.consent(session, make_number(), consent.id, registry.clock()),
            lambda: subscribers.request(session, make_number(), request.id, registry.clock()),
        ):
            with pytest.raises(RegistryError) as raised:
                look()
            assert raised.value.kind is Kind.NOT_FOUND


def test_overview_counts_what_waits(registry: Registry, world: World) -> None:
    world.grant(topics=(Topic.LOANS, Topic.RETAIL))
    [consent] = world.grant(topics=(Topic.TRAVEL,))
    challenge(world, consent.id)
    ask(world)
    world.refuse(scope=Scope(topic=Topic.HEALTH))
    with registry.database.snapshot() as session:
        found = subscribers.overview(session, make_number(), registry.clock())
    assert (found.consents, found.requests, found.challenges, found.complaints) == (2, 1, 1, 0)
    assert found.refuses_everything is None
    world.refuse()
    with registry.database.snapshot() as session:
        found = subscribers.overview(session, make_number(), registry.clock())
    assert found.refuses_everything is not None
    assert found.consents == 0


def read_by(registry: Registry, look: Callable[[Session], object]) -> tuple[int, int]:
    """Return how many statements a look at the database takes, and how many entities it loads."""
    statements, loaded = [], []
    with registry.database.snapshot() as session:
        engine = session.get_bind()
        event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
        event.listen(session, "loaded_as_persistent", lambda _s, one: loaded.append(one))
        look(session)
    return len(statements), len(loaded)


def test_overview_reads_no_more_however_many_consents_have_passed(
    registry: Registry, world: World, clock: Clock
) -> None:
    def look(session: Session) -> object:
        return subscribers.overview(session, make_number(), clock())

    topics = tuple(Topic)
    for sender in world.do(partial(make_senders, count=42)):
        for channel in Channel:
            world.grant(sender=sender, topics=topics, channel=channel)
    clock.pass_(days=365)
    world.grant()
    read = read_by(registry, look)
    with registry.database.snapshot() as session:
        assert subscribers.overview(session, make_number(), clock()).consents == 1
        assert len(subscribers.consents(session, make_number(), clock())) > 1000
    world.grant(make_number(1))
    fresh = read_by(
        registry, lambda session: subscribers.overview(session, make_number(1), clock())
    )
    assert read == fresh
    assert min(read) > 0


def make_senders(session: Session, count: int) -> list[Organisation]:
    return [
        make_organisation(session, OrganisationKind.SENDER, 100 + index) for index in range(count)
    ]


def test_who_asked_is_named_with_what_they_heard(
    client: Client, registry: Registry, world: World
) -> None:
    world.grant()
    client.lookup()
    client.lookup(who="other_sender", **{"from": OTHER_PORT})
    client.lookup("13800000001")
    client.batch(["13800000000", "13800000001"], who="carrier")
    client.app.extensions["recorder"].flush()
    with registry.database.snapshot() as session:
        found = subscribers.lookups(session, make_number())
    said = sorted((one.asker, one.sender, one.row.reason.value) for one in found)
    assert said == [
        ("carrier 3", "sender 1", "consented"),
        ("sender 1", "sender 1", "consented"),
        ("sender 2", "sender 2", "no_consent"),
    ]


def test_lookups_come_in_pages_without_gaps(
    client: Client, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribers, "PAGE", 3)
    for _ in range(7):
        client.lookup()
    client.app.extensions["recorder"].flush()
    seen, after = [], None
    with registry.database.snapshot() as session:
        while page := subscribers.lookups(session, make_number(), after):
            seen += [one.row.id for one in page]
            last = page[-1].row
            after = (last.decided_at, last.id, last.item)
    assert len(seen) == len(set(seen)) == 7


def test_history_says_who_acted(registry: Registry, world: World) -> None:
    world.grant()
    world.refuse()
    world.do(
        lambda session: ledger.refuse(
            session, make_number(), Scope(topic=Topic.LOANS), by=OWN, clock=registry.clock
        )
    )
    with registry.database.snapshot() as session:
        found = subscribers.history(session, make_number())
    assert [(one.kind, one.organisation, one.family) for one in found] == [
        ("refusal_recorded", None, None),
        ("refusal_recorded", "carrier 3", None),
        ("consent_granted", "sender 1", None),
    ]


def test_new_subscriber_sees_nothing_of_the_one_before(
    client: Client, registry: Registry, world: World, clock: Clock
) -> None:
    [consent] = world.grant()
    challenge(world, consent.id)
    world.grant(topics=(Topic.LOANS,))
    world.refuse(scope=Scope(topic=Topic.HEALTH))
    request = ask(world)
    client.lookup()
    client.app.extensions["recorder"].flush()
    clock.pass_(days=1)
    world.reassign()
    clock.pass_(minutes=1)
    now = clock()
    with registry.database.snapshot() as session:
        number = make_number()
        assert subscribers.consents(session, number, now) == []
        assert subscribers.refusals(session, number) == []
        assert subscribers.open_requests(session, number, now) == []
        assert subscribers.closed_requests(session, number, now) == []
        assert subscribers.lookups(session, number) == []
        assert [one.kind for one in subscribers.history(session, number)] == ["number_reassigned"]
        found = subscribers.overview(session, number, now)
        assert (found.consents, found.requests, found.challenges) == (0, 0, 0)
        with pytest.raises(RegistryError):
            subscribers.request(session, number, request.id, now)
    data = everything(registry)
    assert data["tenure_since"] is not None
    for name in ("consents", "grants", "refusals", "requests", "challenges", "lookups"):
        assert data[name] == [], name


def test_new_subscriber_sees_nothing_of_what_comes_of_the_one_before(
    registry: Registry, world: World, clock: Clock
) -> None:
    [unproven] = world.grant()
    [proven] = world.grant(topics=(Topic.GAMES,))
    challenge(world, unproven.id)
    answered = challenge(world, proven.id)
    ask(world)
    draft = complaints.Draft(Channel.SMS, SMS_PORT, Topic.RETAIL, clock(), "Not asked for.")
    filed = world.own(complaints.file, draft)
    world.reassign(reassigned_at=clock.pass_(hours=1))
    evidence: dict[str, Any] = {"text": "The form.", "sha256": None, "uri": None}
    sender: dict[str, Any] = {"sender_id": world.sender.id, "clock": clock}
    overseer: dict[str, Any] = {"overseer_id": world.regulator.id, "clock": clock}
    closing: dict[str, Any] = {
        "actor_id": world.operator.id,
        "policy": registry.policy,
        "clock": clock,
    }
    for act in (
        partial(ledger.bring_evidence, challenge_id=answered.id, **evidence, **sender),
        partial(ledger.oversee, consent_id=unproven.id, **overseer),
        partial(complaints.forward, complaint_id=filed.id, actor_id=world.operator.id, clock=clock),
        partial(complaints.answer, complaint_id=filed.id, text="We had leave.", **sender),
        partial(
            complaints.close,
            complaint_id=filed.id,
            outcome=ComplaintOutcome.UPHELD,
            **closing,
        ),
        partial(complaints.oversee, complaint_id=filed.id, **overseer),
    ):
        world.do(act)
    clock.pass_(days=30)
    assert ledger.void_due(registry.database, clock=clock) == 1
    assert ledger.lapse_due(registry.database, clock=clock) == 1
    with registry.database.snapshot() as session:
        kinds = set(session.scalars(select(Event.kind)))
        shown = [one.kind for one in subscribers.history(session, make_number())]
    assert {
        "challenge_answered", "consent_overseen", "complaint_forwarded", "complaint_answered",
        "complaint_closed", "complaint_overseen", "consent_voided", "consent_request_lapsed",
    } <= kinds  # fmt: skip
    assert shown == ["number_reassigned"]
    data = everything(registry)
    assert [one["event"]["kind"] for one in data["events"]] == ["number_reassigned"]
    assert data["violations"] == []


def test_subscriber_of_this_tenure_is_shown_the_violation_against_it(
    registry: Registry, world: World, clock: Clock
) -> None:
    world.reassign()
    clock.pass_(hours=1)
    [consent] = world.grant()
    challenge(world, consent.id)
    clock.pass_(days=30)
    ledger.void_due(registry.database, clock=clock)
    data = everything(registry)
    assert [row["subject_id"] for row in data["violations"]] == [data["challenges"][0]["id"]]
    assert data["events"][0]["event"]["kind"] == "consent_voided"


def test_download_holds_everything_of_the_number_and_nothing_of_others(
    client: Client, registry: Registry, world: World
) -> None:
    [mine] = world.grant(basis=Basis.CONFIRMED)
    [theirs] = world.grant(make_number(1))
    refusal = world.refuse()
    request = ask(world)
    client.lookup()
    client.app.extensions["recorder"].flush()
    data = everything(registry)
    text = json.dumps(data)
    for one in (mine.id, mine.grant_id, refusal.id, request.id):
        assert str(one) in text
    assert str(theirs.id) not in text
    assert [row["evidence"]["notice_text"] for row in data["grants"]] == [
        "I agree to ten messages a day."
    ]
    assert len(data["lookups"]) == 1
    assert data["organisations"][str(world.sender.id)] == "sender 1"
    assert {event["event"]["kind"] for event in data["events"]} == {
        "consent_granted", "refusal_recorded", "consent_requested",
    }  # fmt: skip
    assert not any("sha" in name or "digest" in name for name in data["lookups"][0])


def test_download_makes_no_entity_of_each_lookup(client: Client, registry: Registry) -> None:
    for _ in range(5):
        client.lookup()
    client.app.extensions["recorder"].flush()
    assert len(everything(registry)["lookups"]) == 5
    _statements, loaded = read_by(
        registry, lambda session: subscribers.everything(session, make_number(), registry.clock())
    )
    assert loaded == 0


def names_known(registry: Registry) -> list[str]:
    with registry.database.snapshot() as session:
        known = subscribers.senders_known(session, make_number(), registry.clock())
        return [row.name for row in known]


def test_senders_known_are_those_of_the_number(
    client: Client, registry: Registry, world: World
) -> None:
    world.grant(make_number(1), sender=world.other_sender)
    ask(world)
    assert names_known(registry) == ["sender 1"]
    client.lookup(who="other_sender", **{"from": OTHER_PORT})
    client.app.extensions["recorder"].flush()
    assert names_known(registry) == ["sender 1", "sender 2"]


def test_senders_known_are_a_hundred_at_most_the_latest_ones(
    registry: Registry, world: World, clock: Clock
) -> None:
    many = world.do(partial(make_senders, count=101))
    for sender in many:
        clock.pass_(seconds=1)
        world.grant(sender=sender)
    with registry.database.snapshot() as session:
        known = subscribers.senders_known(session, make_number(), clock())
    assert {row.id for row in known} == {row.id for row in many[1:]}


def test_senders_known_forget_who_asked_long_ago(
    client: Client, registry: Registry, world: World, clock: Clock
) -> None:
    client.lookup(who="other_sender", **{"from": OTHER_PORT})
    client.app.extensions["recorder"].flush()
    world.grant()
    for days, names in ((0, ["sender 1", "sender 2"]), (90, ["sender 1"])):
        clock.pass_(days=days)
        assert names_known(registry) == names
