"""What operators look up: the queue, what helps to decide, organisations, the registry's work."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from registry import access, overview, senders
from registry.consent import Channel, MessageClass, Topic
from registry.models import (
    Application,
    Complaint,
    ComplaintOutcome,
    NumberClaim,
    OrganisationKind,
    OutboxItem,
    OutboxState,
)
from registry.numbers import parse_sending
from registry.senders import directory, review
from registry.senders.directory import Phase, Standing
from registry.senders.review import Review
from tests.factories import Clock, World, make_number, make_organisation, make_uscc

SMS = senders.Holding((Channel.SMS,), (MessageClass.SERVICE,))


def act(world: World) -> dict[str, Any]:
    return {"actor_id": world.operator.id, "now": world.registry.clock()}


def apply(world: World, session: Session, name: str, index: int) -> Application:
    phones = "4001234567", "4007654321"
    details = senders.Details(
        OrganisationKind.SENDER, name, make_uscc(index), "A2-1", "Wang", *phones
    )
    return senders.apply(session, details, now=world.registry.clock())


def claim(world: World, session: Session, number: str) -> NumberClaim:
    about = {**act(world), "note": None}
    return senders.claim(session, world.sender.id, parse_sending(number), SMS, **about)


def test_queue_has_all_kinds_in_the_order_they_came(world: World) -> None:
    def fill(session: Session) -> list[tuple[Review, UUID]]:
        other = world.other_sender.id
        senders.suspend(session, other, "Complaints.", **act(world))
        suspension = senders.suspension(session, other)
        assert suspension is not None
        change = senders.Changes(
            "Li", name="New", licence_number="A2", complaint_phone="4001234567"
        )
        now = world.registry.clock()
        return [
            (Review.CLAIM, claim(world, session, "10690007777").id),
            (Review.APPLICATION, apply(world, session, "Xinghe", 500).id),
            (
                Review.APPEAL,
                senders.appeal(session, suspension.id, "No.", organisation_id=other, now=now).id,
            ),
            (Review.CHANGE, senders.propose(session, world.sender.id, change, now=now).id),
        ]

    expected = world.do(fill)

    def queue(**page: Any) -> list[tuple[Review, UUID]]:
        found = world.do(lambda session: review.queue(session, **page))
        return [(item.kind, item.id) for item in found]

    assert queue() == expected
    assert queue(most=2) == expected[:2]
    assert queue(after=expected[1][1]) == expected[2:]
    for index, (_kind, id_) in enumerate(expected):
        with world.registry.database.snapshot() as session:
            following = review.next_item(session, id_)
        assert following is not None
        assert following.id == expected[(index + 1) % len(expected)][1]
    who = world.do(lambda session: [item.who for item in review.queue(session)])
    assert who == ["sender 1", "Xinghe", "sender 2", "New"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("北京星河百货有限公司", ["星河百货"]),
        ("星河百货 Xinghe Stores Co., Ltd.", ["星河百货", "xinghestores"]),
        ("广西壮族自治区远山保险股份有限公司", ["远山保险"]),
        ("ＸＩＮＧＨＥ", ["xinghe"]),
        ("中国有限公司", []),
        ("AB", []),
    ],
)
def test_name_parts_leave_place_and_form_out(name: str, parts: list[str]) -> None:
    assert review.name_parts(name) == parts


def test_similar_names_are_found_and_signs_of_patterns_mean_nothing(world: World) -> None:
    def similar(session: Session) -> list[list[str]]:
        for index, name in enumerate(("星河百货 XING HE", "100%", "远山", "别家"), 700):
            row = make_organisation(session, OrganisationKind.SENDER, index)
            row.name = name
        session.flush()
        return [
            [row.name for row in review.similar(session, apply(world, session, name, 500 + index))]
            for index, name in enumerate(
                ("北京星河百货有限公司", "Xinghe Ltd", "远山保险", "%%%%", "____", "中国有限公司")
            )
        ]

    assert world.do(similar) == [["星河百货 XING HE"], ["星河百货 XING HE"], ["远山"], [], [], []]


def test_around_a_claim_are_holdings_and_claims_above_and_beneath(world: World) -> None:
    def around(session: Session) -> review.Around:
        wanted = claim(world, session, "1069000177")
        for number in ("106900017", "106900017788", "106900018"):
            claim(world, session, number)
        for number in ("10690001", "1069000177"):
            number_ = parse_sending(number)
            senders.hold(session, world.sender.id, number_, SMS, **act(world))
        longer = parse_sending("10690001779")
        senders.hold(session, world.sender.id, longer, SMS, **act(world))
        return review.around(session, wanted)

    found = world.do(around)
    assert found.same is not None
    assert [row.number for row in found.above] == ["10690001"]
    assert [row.number for row in found.beneath] == ["10690001779"]
    assert [row.number for row in found.claims] == ["106900017", "106900017788"]
    assert not found.others(world.sender.id)
    assert found.others(world.other_sender.id)


def test_organisations_and_suspensions_are_told_by_how_they_stand(
    world: World, clock: Clock
) -> None:
    def names(**asked: Any) -> list[str]:
        found = world.do(lambda session: directory.search(session, now=clock(), **asked))
        return [one.organisation.name for one in found]

    def phases(phase: Phase) -> list[str]:
        found = world.do(lambda session: directory.suspensions(session, phase, now=clock()))
        return [one.organisation.name for one in found]

    def suspend(session: Session) -> None:
        for days, who in ((0, world.sender), (2, world.other_sender), (2, world.carrier)):
            starts_at = clock() + timedelta(days=days)
            senders.suspend(session, who.id, "x", starts_at=starts_at, **act(world))
        senders.reinstate(session, world.carrier.id, **act(world))

    world.do(suspend)
    assert names(standing=Standing.SUSPENDED) == ["sender 1"]
    assert names(standing=Standing.ANNOUNCED) == ["sender 2"]
    assert names(standing=Standing.ACTIVE) == [
        "regulator 5",
        "carrier 4",
        "carrier 3",
        "operator 0",
    ]
    assert names(written="SENDER", kind=OrganisationKind.SENDER) == ["sender 2", "sender 1"]
    assert names(written="er_1") == []
    assert names(written=make_uscc(3).lower()) == ["carrier 3"]
    assert [phases(phase) for phase in Phase] == [["sender 2"], ["sender 1"], ["carrier 3"]]
    clock.pass_(days=2)
    assert phases(Phase.STANDING) == ["sender 2", "sender 1"]


def test_operators_see_what_does_not_keep_up(world: World, clock: Clock) -> None:
    began = clock()
    for index in range(3):
        world.ask(make_number(index))

    def more(session: Session) -> None:
        [sent, sending, _waiting] = session.query(OutboxItem).order_by(OutboxItem.id).all()
        sent.state, sending.state = OutboxState.FAILED, OutboxState.SENDING
        sending.claimed_at = began
        for days in (-40, -3, 20, 40):
            expires_at = began + timedelta(days=days)
            key, _text = access.issue(
                session, world.sender, [access.Scope.LOOKUP], began + timedelta(days=90),
                label=f"{days}", **act(world),
            )  # fmt: skip
            key.expires_at = expires_at

    world.do(more)
    clock.pass_(minutes=5)
    with world.registry.database.snapshot() as session:
        found = overview.outgoing(session, clock())
        keys = overview.lapsing_keys(session, clock())
    assert (found.waiting, found.sending, found.due_since) == (1, 1, began)
    assert found.lately == {OutboxState.FAILED: 1}
    assert [(key.label, whose.name) for key, whose in keys] == [
        ("-3", "sender 1"),
        ("20", "sender 1"),
    ]


def test_complaints_and_violations_against_one_are_counted(world: World, clock: Clock) -> None:
    def complain(session: Session, **more: Any) -> None:
        complaint = Complaint(
            number=make_number(), channel=Channel.SMS, sending_number="106", text="x",
            sender_id=world.sender.id, topic=Topic.RETAIL, contacted_at=clock(),
            event_id=1, recorded_at=clock(), **more,
        )  # fmt: skip
        session.add(complaint)

    def fill(session: Session) -> None:
        now = clock()
        complain(session)
        complain(session, forwarded_at=now)
        complain(session, forwarded_at=now, answered_at=now)
        for outcome in ComplaintOutcome:
            complain(session, forwarded_at=now, closed_at=now, outcome=outcome)

    world.do(fill)
    counted = world.do(lambda session: overview.against(session, world.sender.id))
    assert counted.complaints == dict.fromkeys(overview.CaseState, 1)
    assert counted.violations == 0
    nothing = world.do(lambda session: overview.against(session, world.other_sender.id))
    assert nothing.complaints == {}
