"""Complaints: who may report what, who is shown it, and until when each step is due."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from registry import complaints, senders
from registry.complaints import Accusation, Deadlines, Draft
from registry.consent import Channel, MessageClass, Reason, Topic
from registry.errors import Kind, RegistryError
from registry.ledger import By
from registry.models import (
    Complaint,
    ComplaintOutcome,
    Event,
    FamilyLink,
    Lookup,
    Notice,
    Organisation,
    OutboxItem,
    Via,
    Violation,
)
from registry.numbers import SubscriberNumber, parse_sending, parse_subscriber
from tests.factories import (
    OTHER_PORT,
    PROVIDER_PORT,
    SMS_PORT,
    START,
    Clock,
    World,
    assign,
    authorise,
    dump,
    make_number,
    make_provider,
)

NUMBER = make_number()
CHINA = ZoneInfo("Asia/Shanghai")
PORTAL = By(Via.PORTAL)


def draft(**parts: Any) -> Draft:
    defaults: dict[str, Any] = {
        "channel": Channel.SMS,
        "sending_number": SMS_PORT,
        "topic": Topic.RETAIL,
        "contacted_at": START,
        "text": "They never asked me.",
    }
    return Draft(**{**defaults, **parts})


@dataclass
class Desk:
    """Files complaints and moves them on."""

    world: World

    def file(
        self, number: SubscriberNumber = NUMBER, *, by: By = PORTAL, **parts: Any
    ) -> Complaint:
        registry = self.world.registry
        return self.world.do(
            lambda session: complaints.file(
                session,
                number,
                draft(**parts),
                by=by,
                policy=registry.policy,
                clock=registry.clock,
            )
        )

    def forward(self, complaint: Complaint, sender_id: UUID | None = None) -> Complaint:
        return self.world.do(
            lambda session: complaints.forward(
                session,
                complaint.id,
                actor_id=self.world.operator.id,
                clock=self.world.registry.clock,
                sender_id=sender_id,
            )
        )

    def answer(
        self, complaint: Complaint, text: str = "We had a consent.", sender_id: UUID | None = None
    ) -> Accusation:
        return self.world.do(
            lambda session: complaints.answer(
                session,
                complaint.id,
                text,
                sender_id=sender_id or self.world.sender.id,
                clock=self.world.registry.clock,
            )
        )

    def close(
        self, complaint: Complaint, outcome: ComplaintOutcome = ComplaintOutcome.UPHELD
    ) -> Complaint:
        registry = self.world.registry
        return self.world.do(
            lambda session: complaints.close(
                session,
                complaint.id,
                outcome,
                actor_id=self.world.operator.id,
                policy=registry.policy,
                clock=registry.clock,
            )
        )

    def violations(self) -> list[tuple[UUID, UUID | None, UUID]]:
        """Return the violations, as whose, by whose port and of which complaint they are."""
        with self.world.registry.database.read() as connection:
            query = select(Violation.organisation_id, Violation.provider_id, Violation.subject_id)
            return [(row[0], row[1], row[2]) for row in connection.execute(query)]

    def shown(self, number: SubscriberNumber = NUMBER) -> list[UUID]:
        """Return the ids of what a number's subscriber is shown."""
        return self.world.do(lambda session: [row.id for row in complaints.of(session, number)])

    def events(self, prefix: str = "complaint_") -> list[dict[str, Any]]:
        with self.world.registry.database.read() as connection:
            payloads = connection.scalars(
                select(Event.payload).where(Event.kind.startswith(prefix)).order_by(Event.id)
            ).all()
        return [json.loads(payload) for payload in payloads]

    def told(self) -> list[tuple[SubscriberNumber, UUID, str]]:
        return self.world.do(
            lambda session: [
                (row.number, row.subject_id, json.loads(row.details or "{}")["step"])
                for row in session.scalars(
                    select(OutboxItem)
                    .where(OutboxItem.notice == Notice.COMPLAINT_MOVED)
                    .order_by(OutboxItem.id)
                )
            ]
        )


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


def refused(act: Callable[[], object]) -> RegistryError:
    """Return the error that an act ends in."""
    with pytest.raises(RegistryError) as error:
        act()
    return error.value


# Filing


def test_complaint_accuses_the_holder_of_the_number_shown(desk: Desk) -> None:
    complaint = desk.file(sending_number=f"+86 {SMS_PORT}")
    assert complaint.sending_number == SMS_PORT
    assert complaint.sender is not None
    assert complaint.sender.id == desk.world.sender.id
    assert complaint.text == "They never asked me."
    [event] = desk.events()
    assert event["kind"] == "complaint_filed"
    assert event["sender"] == str(desk.world.sender.id)
    assert event["via"] == "portal"
    assert event["actor"] is None
    assert desk.told() == []


def test_complaint_says_which_member_of_the_family_filed_it(desk: Desk) -> None:
    carer = make_number(7)
    link = FamilyLink(carer=carer, member=NUMBER, recorded_at=START, agreed_at=START)
    desk.world.do(lambda session: session.add(link))
    desk.file(by=By(Via.PORTAL, family_link_id=link.id))
    assert desk.events()[0]["family_link"] == str(link.id)


def test_complaint_of_somebody_who_looks_after_the_number_no_longer_is_not_taken(
    desk: Desk,
) -> None:
    others = desk.world.look_after(make_number(7), make_number(8))
    assert refused(lambda: desk.file(by=others)).kind is Kind.NOT_FOUND
    assert desk.shown() == []


def test_complaint_accuses_whoever_held_the_number_at_the_time(desk: Desk, clock: Clock) -> None:
    world = desk.world
    contacted_at = clock.now
    clock.pass_(days=1)
    port = parse_sending(SMS_PORT)
    world.do(
        lambda session: senders.release(
            session, world.sender.id, port, actor_id=None, now=clock.now
        )
    )
    world.do(
        lambda session: senders.hold(
            session,
            world.other_sender.id,
            port,
            senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,)),
            actor_id=None,
            now=clock.now,
        )
    )
    before = desk.file(contacted_at=contacted_at)
    after = desk.file(contacted_at=clock.pass_(hours=1))
    assert before.sender_id == world.sender.id
    assert after.sender_id == world.other_sender.id


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (SMS_PORT, SMS_PORT),
        (f"{SMS_PORT}123", f"{SMS_PORT}123"),
        ("+86-106 9000 1234", SMS_PORT),
        ("１０６９０００１２３４", SMS_PORT),
        ("95013", "95013"),
        ("10086", "10086"),
        ("110", "110"),
        ("138 0013 8000", "+8613800138000"),
        ("+1 (202) 456-1111", "+12024561111"),
        ("00000000", "00000000"),
        ("+999", "+999"),
        ("12345678901234567890", "12345678901234567890"),
        ("hidden", ""),
        ("Unknown", ""),
        ("未知号码", ""),
        ("  ", ""),
        ("", ""),
    ],
)
def test_number_shown_is_taken_although_it_may_be_faked(written: str, kept: str) -> None:
    assert complaints.shown_number(written, "CN") == kept


@pytest.mark.parametrize(
    "written",
    ["12", "+12", "123456789012345678901", "Bank", "1380013800x", "②②②", "1\x003800", "-", "=1+1"],
)
def test_number_shown_is_invalid_when_no_phone_shows_it(written: str) -> None:
    error = refused(lambda: complaints.shown_number(written, "CN"))
    assert error.kind is Kind.INVALID
    assert set(error.fields or ()) == {"sending_number"}
    assert written not in error.detail


def test_complaint_accuses_nobody_when_the_number_is_hidden_or_nobodys(desk: Desk) -> None:
    for written in ("hidden", "10690009999", "00000000"):
        assert desk.file(sending_number=written).sender_id is None


def test_complaint_goes_to_the_provider_when_that_holds_the_number_itself(
    desk: Desk, clock: Clock
) -> None:
    provider = make_provider(desk.world)
    complaint = desk.file(sending_number=PROVIDER_PORT + "77")
    assert (complaint.sender_id, complaint.provider_id) == (None, provider.id)
    assert (desk.events()[-1]["sender"], desk.events()[-1]["provider"]) == (None, str(provider.id))
    assert refused(lambda: desk.forward(complaint, provider.id)).kind is Kind.CONFLICT
    assert refused(lambda: desk.close(complaint)).kind is Kind.CONFLICT
    desk.forward(complaint)
    clock.pass_(days=1)
    assert refused(lambda: desk.answer(complaint)).kind is Kind.NOT_FOUND
    desk.answer(complaint, "A client of ours.", provider.id)
    desk.close(complaint)
    assert desk.violations() == [(provider.id, provider.id, complaint.id)]


def test_violation_names_the_sender_and_the_provider_whose_port_it_used(
    desk: Desk, clock: Clock
) -> None:
    world, provider = desk.world, make_provider(desk.world)
    authorisation = authorise(world, provider)
    assign(world, provider, PROVIDER_PORT + "01")
    contacted_at, ended_at = clock.now, clock.pass_(hours=1)
    world.do(
        lambda session: senders.end_authorisation(
            session, authorisation.id, by=world.sender.id, now=ended_at
        )
    )
    # It was theirs at the time of the contact.
    complaint = desk.file(sending_number=PROVIDER_PORT + "019", contacted_at=contacted_at)
    assert (complaint.sender_id, complaint.provider_id) == (world.sender.id, provider.id)
    desk.forward(complaint)
    assert refused(lambda: desk.answer(complaint, sender_id=provider.id)).kind is Kind.NOT_FOUND
    desk.answer(complaint)
    closed = desk.close(complaint)
    assert desk.violations() == [(world.sender.id, provider.id, closed.id)]
    assert desk.events()[-1]["violation"] is not None


def test_violation_names_whom_the_operator_found_behind_a_faked_number(desk: Desk) -> None:
    world, provider = desk.world, make_provider(desk.world)
    authorise(world, provider)
    assign(world, provider, PROVIDER_PORT + "01")
    faked = desk.file(sending_number=PROVIDER_PORT + "01")
    clients = desk.file(sending_number=PROVIDER_PORT)
    for complaint, accused in ((faked, None), (clients, provider.id)):
        forwarded = desk.forward(complaint, world.other_sender.id)
        assert (forwarded.sender_id, forwarded.provider_id) == (world.other_sender.id, accused)
        desk.answer(complaint, sender_id=world.other_sender.id)
    desk.close(faked, ComplaintOutcome.UNFOUNDED)
    desk.close(clients)
    nobodys = desk.file(sending_number="hidden")
    desk.close(nobodys)
    assert desk.violations() == [(world.other_sender.id, provider.id, clients.id)]


def test_complaint_about_the_same_contact_is_the_first_one(desk: Desk, clock: Clock) -> None:
    first = desk.file()
    clock.pass_(minutes=1)
    again = desk.file(sending_number=f"0086{SMS_PORT}", text="Again!")
    assert (again.id, again.text) == (first.id, first.text)
    assert len(desk.events()) == 1
    others = [
        desk.file(contacted_at=START + timedelta(seconds=1)),
        desk.file(sending_number=OTHER_PORT),
        desk.file(make_number(1)),
    ]
    assert len({row.id for row in [first, *others]}) == 4


def test_closed_complaint_swallows_no_new_one(desk: Desk) -> None:
    first = desk.file()
    desk.forward(first)
    desk.answer(first)
    desk.close(first)
    again = desk.file(text="They lied.")
    assert again.id != first.id
    assert desk.file().id == again.id


def test_double_click_files_one_complaint(desk: Desk) -> None:
    found: list[UUID] = []
    clicks = [threading.Thread(target=lambda: found.append(desk.file().id)) for _ in range(6)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert len(desk.events()) == 1


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"contacted_at": START + timedelta(seconds=61)}, "contacted_at"),
        ({"contacted_at": datetime(2026, 6, 30, 15, 59, tzinfo=UTC)}, "contacted_at"),
        ({"text": "x" * 2001}, "text"),
        ({"sending_number": "Bank"}, "sending_number"),
    ],
)
def test_complaint_is_invalid_when_it_cannot_be_true_or_kept(
    desk: Desk, parts: dict[str, Any], field: str
) -> None:
    error = refused(lambda: desk.file(**parts))
    assert error.kind is Kind.INVALID
    assert set(error.fields or ()) == {field}
    assert desk.events() == []


def test_complaint_reaches_back_as_far_as_records_are_kept(desk: Desk, clock: Clock) -> None:
    months = desk.world.registry.policy.retention.traffic
    assert months == 5
    assert desk.file(contacted_at=datetime(2026, 6, 30, 16, 0, tzinfo=UTC))
    clock.now = datetime(2027, 7, 31, 2, 0, tzinfo=UTC)  # Five months before is no 31st.
    assert desk.file(contacted_at=datetime(2027, 2, 27, 16, 0, tzinfo=UTC))
    with pytest.raises(RegistryError):
        desk.file(contacted_at=datetime(2027, 2, 27, 15, 59, tzinfo=UTC))


def test_complaints_are_limited_in_a_day(desk: Desk, clock: Clock) -> None:
    for minute in range(complaints.MOST_A_DAY):
        desk.file(contacted_at=START - timedelta(minutes=minute + 1))
    error = refused(lambda: desk.file(contacted_at=START))
    assert error.kind is Kind.RATE_LIMITED
    assert error.retry_after
    assert desk.file(contacted_at=START - timedelta(minutes=1))  # One that is there already.
    assert desk.file(make_number(1))
    clock.pass_(days=1)
    assert desk.file(contacted_at=START)


# What is known already


def audit(world: World, **parts: Any) -> Lookup:
    """Record that the sender asked about the number."""
    values: dict[str, Any] = {
        "decided_at": world.registry.clock(),
        "id": uuid4(),
        "item": 0,
        "asker_id": world.carrier.id,
        "sender_id": world.sender.id,
        "sending_number": SMS_PORT,
        "number": NUMBER,
        "channel": Channel.SMS,
        "message_class": MessageClass.COMMERCIAL,
        "topic": Topic.LOANS,
        "at": world.registry.clock(),
        "contact": True,
        "reason": Reason.CONSENTED,
        "position": 0,
    }
    row = Lookup(**{**values, **parts})
    world.do(lambda session: session.add(row))
    return row


def prefill(world: World, number: SubscriberNumber, lookup_id: UUID) -> Draft:
    return world.do(
        lambda session: complaints.prefill(session, number, lookup_id, now=world.registry.clock())
    )


def test_prefill_says_what_a_lookup_of_the_number_knows(desk: Desk) -> None:
    row = audit(desk.world)
    begun = prefill(desk.world, NUMBER, row.id)
    assert begun == Draft(Channel.SMS, SMS_PORT, Topic.LOANS, START, "", row.id)
    filed = desk.world.do(
        lambda session: complaints.file(
            session,
            NUMBER,
            replace(begun, text="No."),
            by=PORTAL,
            policy=desk.world.registry.policy,
            clock=desk.world.registry.clock,
        )
    )
    assert filed.lookup_id == row.id
    assert desk.events()[0]["lookup"] == str(row.id)


def test_prefill_never_lies_in_the_future_and_has_a_topic(desk: Desk) -> None:
    row = audit(desk.world, at=START + timedelta(days=1), topic=None)
    begun = prefill(desk.world, NUMBER, row.id)
    assert (begun.contacted_at, begun.topic) == (START, Topic.OTHER)


def test_lookups_of_others_and_of_earlier_tenures_are_not_found(desk: Desk, clock: Clock) -> None:
    row = audit(desk.world)
    others = audit(desk.world, number=make_number(1))
    for number, lookup_id in ((NUMBER, others.id), (make_number(2), row.id), (NUMBER, uuid4())):
        assert refused(lambda: prefill(desk.world, number, lookup_id)).kind is Kind.NOT_FOUND  # noqa: B023
    assert refused(lambda: desk.file(lookup_id=others.id)).kind is Kind.NOT_FOUND
    desk.world.reassign(reassigned_at=clock.pass_(minutes=1))
    assert refused(lambda: prefill(desk.world, NUMBER, row.id)).kind is Kind.NOT_FOUND


# Who is shown what


def test_complaints_of_an_earlier_tenure_are_not_shown(desk: Desk, clock: Clock) -> None:
    old = desk.file()
    desk.world.reassign(reassigned_at=clock.pass_(days=1))
    assert desk.shown() == []
    find = partial(complaints.find, number=NUMBER, complaint_id=old.id)
    assert refused(lambda: desk.world.do(find)).kind is Kind.NOT_FOUND
    error = refused(lambda: desk.file(contacted_at=START))
    assert (error.kind, set(error.fields or ())) == (Kind.INVALID, {"contacted_at"})
    new = desk.file(contacted_at=clock.now)
    assert desk.shown() == [new.id]
    desk.forward(old)
    assert desk.told() == []  # The new subscriber hears nothing of the old one's complaint.


def test_complaints_of_others_are_not_found(desk: Desk) -> None:
    complaint = desk.forward(desk.file())
    world = desk.world
    for act in (
        lambda: world.do(lambda it: complaints.find(it, make_number(1), complaint.id)),
        lambda: world.do(lambda it: complaints.find(it, NUMBER, uuid4())),
        lambda: world.do(lambda it: complaints.accusation(it, complaint.id, world.carrier.id)),
        lambda: desk.answer(complaint, sender_id=world.other_sender.id),
        lambda: desk.close(Complaint(id=uuid4())),
    ):
        assert refused(act).kind is Kind.NOT_FOUND
    assert desk.world.do(lambda it: complaints.find(it, NUMBER, complaint.id)).id == complaint.id


def test_complaint_is_shown_to_the_carrier_that_reported_it(desk: Desk) -> None:
    world = desk.world
    complaint = desk.file(by=By(Via.HOTLINE, world.carrier.id))
    own = desk.file(make_number(1))

    def read(row: Complaint, carrier: Organisation) -> UUID:
        return world.do(lambda it: complaints.reported(it, row.id, carrier.id)).id

    assert read(complaint, world.carrier) == complaint.id
    for row, carrier in ((complaint, world.other_carrier), (own, world.carrier)):
        assert refused(partial(read, row, carrier)).kind is Kind.NOT_FOUND


def test_looking_at_a_complaint_is_recorded(desk: Desk) -> None:
    complaint = desk.file()
    regulator = desk.world.regulator.id
    desk.world.do(
        lambda session: complaints.oversee(
            session, complaint.id, overseer_id=regulator, clock=desk.world.registry.clock
        )
    )
    assert desk.events()[-1]["kind"] == "complaint_overseen"
    assert desk.events()[-1]["actor"] == str(regulator)


@pytest.mark.parametrize(
    "written",
    [
        "13800000000",
        "138 0000 0000",
        "+86-138-0000-0000",
        "１３８００００００００",
        "0571 8888 6666",
    ],
)
def test_accused_sender_learns_no_number(desk: Desk, written: str) -> None:
    complaint = desk.forward(desk.file(text=f"Call me at {written}, on 3 May 2026."))
    [shown] = desk.world.do(lambda it: complaints.against(it, desk.world.sender.id))
    assert shown.id == complaint.id
    assert shown.number == "138****0000"
    assert shown.text == "Call me at #######, on 3 May 2026."
    assert NUMBER.e164 not in repr(shown)


def test_accused_sender_sees_only_what_was_forwarded(desk: Desk) -> None:
    complaint = desk.file()
    against = partial(complaints.against, organisation_id=desk.world.sender.id)
    assert desk.world.do(against) == []
    assert refused(lambda: desk.answer(complaint)).kind is Kind.NOT_FOUND
    desk.forward(complaint)
    assert [it.id for it in desk.world.do(against)] == [complaint.id]


def test_text_of_a_complaint_is_stored_sealed(desk: Desk) -> None:
    complaint = desk.forward(desk.file(text="secret-of-mine"))
    desk.answer(complaint, "secret-of-theirs")
    stored = dump(desk.world.registry)
    assert b"secret-of" not in stored


def test_lists_are_paged_by_the_event_of_the_last_complaint(
    desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complaints.rows, "PAGE", 2)
    filed = [desk.file(contacted_at=clock.pass_(minutes=1)) for _ in range(3)]
    for row in filed:
        desk.forward(row)
    newest_first = [row.id for row in reversed(filed)]
    world = desk.world
    pages: list[Callable[[Any, int | None], list[Any]]] = [
        lambda it, after: list(complaints.of(it, NUMBER, after)),
        lambda it, after: list(complaints.every(it, after)),
        lambda it, after: complaints.against(it, world.sender.id, after),
    ]
    for page in pages:
        first = world.do(lambda it: page(it, None))  # noqa: B023
        last = first[-1].event_id
        rest = world.do(lambda it: page(it, last))  # noqa: B023
        assert [row.id for row in first] == newest_first[:2]
        assert [row.id for row in rest] == newest_first[2:]


# Steps


def test_each_step_is_an_event_and_the_subscriber_is_told(desk: Desk, clock: Clock) -> None:
    complaint = desk.file()
    desk.forward(complaint)
    clock.pass_(days=1)
    answer = desk.answer(complaint, "  It was a mistake. ")
    assert answer.answer == "It was a mistake."
    closed = desk.close(complaint, ComplaintOutcome.UPHELD)
    assert (closed.outcome, closed.closed_at) == (ComplaintOutcome.UPHELD, clock.now)
    assert [event["kind"] for event in desk.events()] == [
        "complaint_filed", "complaint_forwarded", "complaint_answered", "complaint_closed",
    ]  # fmt: skip
    operator, sender = str(desk.world.operator.id), str(desk.world.sender.id)
    assert [event["actor"] for event in desk.events()] == [None, operator, sender, operator]
    assert desk.events()[-1]["outcome"] == "upheld"
    assert desk.told() == [
        (NUMBER, complaint.id, step) for step in ("forwarded", "answered", "closed")
    ]


def test_steps_out_of_order_conflict_and_change_nothing(desk: Desk) -> None:
    complaint = desk.file()
    steps: dict[str, Callable[[], object]] = {
        "forward": lambda: desk.forward(complaint),
        "answer": lambda: desk.answer(complaint),
        "close": lambda: desk.close(complaint),
    }
    refused_now = {"answer": Kind.NOT_FOUND, "close": Kind.CONFLICT}
    for name, act in steps.items():
        for other, kind in refused_now.items():
            assert refused(steps[other]).kind is kind
        act()
        refused_now = {"forward": Kind.CONFLICT, "close": Kind.CONFLICT}
        if name != "forward":
            refused_now = {"forward": Kind.CONFLICT, "answer": Kind.CONFLICT}
    for last in steps.values():
        assert refused(last).kind is Kind.CONFLICT
    assert len(desk.events()) == 4
    assert len(desk.told()) == 3


def test_concurrent_closings_close_once(desk: Desk) -> None:
    complaint = desk.forward(desk.file())
    desk.answer(complaint)
    outcomes: list[object] = []

    def close(outcome: ComplaintOutcome) -> None:
        try:
            outcomes.append(desk.close(complaint, outcome).outcome)
        except RegistryError as error:
            outcomes.append(error.kind)

    both = [threading.Thread(target=close, args=[outcome]) for outcome in ComplaintOutcome]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(outcomes) == 2
    assert outcomes.count(Kind.CONFLICT) == 1
    assert len(desk.told()) == 3


def test_complaint_without_a_sender_is_forwarded_to_the_one_that_was_found(desk: Desk) -> None:
    complaint = desk.file(sending_number="hidden")
    assert refused(lambda: desk.forward(complaint)).kind is Kind.CONFLICT
    assert refused(lambda: desk.forward(complaint, desk.world.carrier.id)).kind is Kind.CONFLICT
    assert refused(lambda: desk.forward(complaint, uuid4())).kind is Kind.NOT_FOUND
    found = desk.forward(complaint, desk.world.other_sender.id)
    assert found.sender_id == desk.world.other_sender.id
    desk.answer(complaint, sender_id=desk.world.other_sender.id)


def test_complaint_without_a_sender_can_be_closed(desk: Desk) -> None:
    complaint = desk.file(sending_number="hidden")
    assert desk.close(complaint, ComplaintOutcome.UNFOUNDED).outcome is ComplaintOutcome.UNFOUNDED


def test_complaint_is_closed_without_an_answer_once_that_is_overdue(
    desk: Desk, clock: Clock
) -> None:
    complaint = desk.forward(desk.file())
    clock.now = datetime(2026, 12, 22, 12, 0, tzinfo=CHINA)  # The fifteenth working day.
    assert refused(lambda: desk.close(complaint)).kind is Kind.CONFLICT
    clock.pass_(days=1)
    assert desk.close(complaint).outcome is ComplaintOutcome.UPHELD


@pytest.mark.parametrize("text", ["", "  ", "x" * 2001])
def test_answer_is_invalid_when_it_says_nothing_or_too_much(desk: Desk, text: str) -> None:
    complaint = desk.forward(desk.file())
    assert refused(lambda: desk.answer(complaint, text)).kind is Kind.INVALID
    assert len(desk.events()) == 2


def test_landline_is_sent_no_sms(desk: Desk) -> None:
    landline = parse_subscriber("010 6555 1234")
    complaint = desk.file(landline, channel=Channel.VOICE)
    desk.forward(complaint)
    assert desk.told() == []


# Deadlines


def at(text: str | None) -> datetime | None:
    """Read a time in China; days alone are noon."""
    if text is None:
        return None
    return datetime.fromisoformat(text if "T" in text else f"{text}T12:00").replace(tzinfo=CHINA)


def dates(
    desk: Desk,
    filed: str | None,
    forwarded: str | None = None,
    answered: str | None = None,
    closed: str | None = None,
    now: str | None = None,
) -> Deadlines:
    complaint = Complaint(
        recorded_at=at(filed),
        forwarded_at=at(forwarded),
        answered_at=at(answered),
        closed_at=at(closed),
    )
    read_at = at(now or closed or answered or forwarded or filed)
    assert read_at is not None
    return complaints.deadlines(complaint, desk.world.registry.policy, read_at)


@pytest.mark.parametrize(
    ("steps", "forward_by", "answer_by", "inform_by"),
    [
        # A month without holidays.
        (("2026-11-24",), "2026-11-27", "2026-12-18", "2026-12-23"),
        (("2026-11-24", "2026-11-25"), "2026-11-27", "2026-12-16", "2026-12-21"),
        (("2026-11-24", "2026-11-25", "2026-12-01"), "2026-11-27", "2026-12-16", "2026-12-04"),
        # National Day: off from 1 to 7 October, at work on Saturday the 10th.
        (("2026-09-29",), "2026-10-09", "2026-10-29", "2026-11-03"),
        (("2026-10-01",), "2026-10-10", "2026-10-30", "2026-11-04"),
        (("2026-10-07T23:59",), "2026-10-10", "2026-10-30", "2026-11-04"),
        (("2026-10-08T00:00",), "2026-10-12", "2026-11-02", "2026-11-05"),
        # At work on Sunday 20 September; off on Friday the 25th (Mid-Autumn).
        (("2026-09-18", "2026-09-24", "2026-09-30"), "2026-09-22", "2026-10-22", "2026-10-10"),
        # Spring Festival: off from 15 to 23 February, at work on Saturdays the 14th and 28th.
        (("2026-02-12",), "2026-02-24", "2026-03-16", "2026-03-19"),
        (("2026-02-14",), "2026-02-26", "2026-03-18", "2026-03-23"),
        (("2026-02-20", "2026-02-28", "2026-03-02"), "2026-02-26", "2026-03-20", "2026-03-05"),
        # The turn of the year; 1 January 2027 is a Friday.
        (("2026-12-30",), "2027-01-05", "2027-01-26", "2027-01-29"),
        (("2026-12-28", "2026-12-29"), "2026-12-31", "2027-01-20", "2027-01-25"),
    ],
)
def test_deadlines_are_counted_in_chinese_working_days(
    desk: Desk, steps: tuple[str, ...], forward_by: str, answer_by: str, inform_by: str
) -> None:
    found = dates(desk, *steps)
    assert (found.forward_by, found.answer_by, found.inform_by) == tuple(
        map(date.fromisoformat, (forward_by, answer_by, inform_by))
    )


@pytest.mark.parametrize(
    ("steps", "now", "overdue"),
    [
        (("2026-11-24",), "2026-11-27T23:59", (False, False, False)),
        (("2026-11-24",), "2026-11-28T00:00", (True, False, False)),
        (("2026-11-24",), "2026-12-18", (True, False, False)),
        (("2026-11-24",), "2026-12-19", (True, True, False)),
        (("2026-11-24",), "2026-12-24", (True, True, True)),
        (("2026-11-24", "2026-11-27"), "2026-12-18", (False, False, False)),
        (("2026-11-24", "2026-11-27"), "2026-12-19", (False, True, False)),
        (("2026-11-24", "2026-11-28"), "2026-12-18", (True, False, False)),
        (("2026-11-24", "2026-11-25", "2026-11-26"), "2026-12-01", (False, False, False)),
        (("2026-11-24", "2026-11-25", "2026-11-26"), "2026-12-02", (False, False, True)),
        (("2026-11-24", "2026-11-25", "2026-11-26", "2026-12-01"), "2027-03-01", (False,) * 3),
        (("2026-11-24", None, None, "2026-11-25"), "2027-03-01", (False, False, False)),
    ],
)
def test_steps_are_overdue_from_the_day_after_their_deadline(
    desk: Desk, steps: tuple[str | None, ...], now: str, overdue: tuple[bool, ...]
) -> None:
    filed, forwarded, answered, closed = [*steps, None, None, None][:4]
    found = dates(desk, filed, forwarded, answered, closed, now)
    assert (found.forward_overdue, found.answer_overdue, found.inform_overdue) == overdue


def test_deadlines_are_provisional_in_years_without_published_make_up_days(desk: Desk) -> None:
    assert not dates(desk, "2026-09-29").provisional
    assert dates(desk, "2098-12-30").provisional


def test_deadlines_of_a_stored_complaint_begin_when_it_was_recorded(desk: Desk) -> None:
    complaint = desk.file()
    policy = desk.world.registry.policy
    assert complaints.deadlines(complaint, policy, START).forward_by == date(2026, 12, 4)


def test_page_of_complaints_comes_with_its_senders(desk: Desk, clock: Clock) -> None:
    for _ in range(3):
        desk.file(contacted_at=clock.pass_(minutes=1))
    names = desk.world.do(
        lambda session: {row.sender.name for row in complaints.of(session, NUMBER) if row.sender}
    )
    assert names == {desk.world.sender.name}
