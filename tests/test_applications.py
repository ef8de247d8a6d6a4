"""Applications: entities apply, organisations ask for changes, an operator decides."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, select, update

from registry import senders
from registry.errors import Kind, RegistryError
from registry.files import Content
from registry.models import (
    Application,
    ApplicationState,
    Document,
    Event,
    Member,
    MemberRole,
    Organisation,
    OrganisationKind,
    OrganisationVersion,
)
from registry.senders import Changes, Details, paperwork
from tests.factories import START, Clock, World, dump, make_uscc

DETAILS = Details(
    kind=OrganisationKind.SENDER,
    name="青鸟",
    uscc=make_uscc(77),
    licence_number="B2-20260001",
    contact_name="Li Qingniao",
    contact_phone="13512345678",
    complaint_phone="4007654321",
)
PDF = b"%PDF-1.7\n1 0 obj"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"


def apply(world: World, **parts: Any) -> Application:
    """Apply as somebody whom the registry does not know."""
    details = replace(DETAILS, **parts)
    return world.do(lambda it: senders.apply(it, details, now=world.registry.clock()))


def propose(world: World, **parts: Any) -> Application:
    """Apply for changes of `sender`, as itself."""
    changes = Changes(**{"contact_name": "Li Qingniao", **parts})
    return world.do(
        lambda it: senders.propose(it, world.sender.id, changes, now=world.registry.clock())
    )


def decide(world: World, row: Application, *, approve: bool, reason: str | None) -> Application:
    return world.do(
        lambda it: senders.decide_application(
            it,
            row.id,
            approve=approve,
            reason=reason,
            actor_id=world.operator.id,
            now=world.registry.clock(),
        )
    )


def approve(world: World, row: Application) -> Organisation:
    """Approve an application and return the organisation that it led to."""
    decided = decide(world, row, approve=True, reason=None)
    assert decided.organisation_id is not None
    return world.do(lambda it: senders.find(it, decided.organisation_id or uuid4()))


def correct(world: World, **changes: str) -> Organisation:
    by: dict[str, Any] = {"actor_id": world.operator.id, "now": world.registry.clock()}
    return world.do(lambda it: senders.correct(it, world.sender.id, changes, **by))


def history(world: World, organisation_id: UUID) -> list[OrganisationVersion]:
    return list(world.do(lambda it: senders.history(it, organisation_id)))


def refused(kind: Kind, act: Callable[[], object], field: str | None = None) -> None:
    with pytest.raises(RegistryError) as error:
        act()
    assert error.value.kind is kind
    assert field is None or set(error.value.fields or ()) == {field}


# Who applies


def test_approved_application_leads_to_the_organisation_and_its_team(
    world: World, clock: Clock
) -> None:
    row = apply(world, uscc=f" {DETAILS.uscc.lower()} ")
    member_id = uuid4()
    member = Member(
        id=member_id, application_id=row.id, email_digest=bytes(32), email="li@qingniao.example",
        name="Li", role=MemberRole.ADMIN, recorded_at=clock.now,
    )  # fmt: skip
    world.do(lambda it: it.add(member))
    assert (row.state, row.uscc) == (ApplicationState.SUBMITTED, DETAILS.uscc)
    clock.pass_(hours=1)
    made = approve(world, row)
    assert (made.kind, made.name, made.uscc) == (DETAILS.kind, DETAILS.name, DETAILS.uscc)
    assert (made.licence_number, made.complaint_phone) == (
        DETAILS.licence_number,
        DETAILS.complaint_phone,
    )
    [version] = history(world, made.id)
    assert (version.application_id, version.recorded_at) == (row.id, clock.now)
    joined = world.do(lambda it: it.get(Member, member_id))
    assert joined is not None
    assert joined.organisation_id == made.id


def test_application_is_invalid_when_a_detail_is_none(world: World) -> None:
    for field, value in {
        "uscc": "911100006000373411",
        "kind": OrganisationKind.CARRIER,
        "name": " ",
        "contact_phone": "١٣٥١٢٣٤٥٦٧٨",
        "complaint_phone": "",
        "licence_number": "x" * 101,
    }.items():
        with pytest.raises(RegistryError) as error:
            apply(world, **{field: value})
        assert (error.value.kind, set(error.value.fields or ())) == (Kind.INVALID, {field})


def test_code_is_applied_for_once_and_never_when_it_is_registered(world: World) -> None:
    refused(Kind.CONFLICT, lambda: apply(world, uscc=world.sender.uscc))
    first = apply(world)
    refused(Kind.CONFLICT, lambda: apply(world, name="Another name"))
    refused(Kind.INVALID, lambda: decide(world, first, approve=False, reason=" "), "reason")
    decide(world, first, approve=False, reason="The licence is expired.")
    approve(world, apply(world))
    refused(Kind.CONFLICT, lambda: apply(world))


def test_approval_is_a_conflict_when_the_code_was_registered_meanwhile(world: World) -> None:
    row = apply(world)
    named: Any = ("x", DETAILS.uscc, "10086")
    world.do(lambda it: senders.register(it, DETAILS.kind, *named, actor_id=None, now=START))
    refused(Kind.CONFLICT, lambda: approve(world, row))
    kept = world.do(lambda it: senders.find_application(it, row.id))
    assert kept.state is ApplicationState.SUBMITTED
    decide(world, row, approve=False, reason="It is registered.")


def test_application_is_decided_once_when_many_decide_at_once(world: World) -> None:
    row = apply(world)

    def attempt(yes: bool) -> Kind | None:
        try:
            decide(world, row, approve=yes, reason="checked")
        except RegistryError as error:
            return error.kind
        return None

    with ThreadPoolExecutor(6) as pool:
        outcomes = [*pool.map(attempt, [True, False] * 3)]
    assert sorted(outcomes, key=str) == [None, *[Kind.CONFLICT] * 5]


def test_personal_parts_of_an_application_are_sealed_and_in_no_event(world: World) -> None:
    decide(world, apply(world), approve=False, reason="Li sent a wrong copy.")
    taken = dump(world.registry)
    for text in (DETAILS.contact_name, "wrong copy"):
        assert text.encode() not in taken
        assert text.encode().hex().encode() not in taken
    events = world.do(lambda it: it.scalars(select(Event).order_by(Event.id.desc()).limit(2)).all())
    assert [event.kind for event in events] == ["application_rejected", "application_submitted"]
    for event in events:
        for text in (DETAILS.contact_name, DETAILS.contact_phone, "wrong copy"):
            assert text.encode() not in event.payload


# Changes


def test_approved_changes_are_made_and_every_version_is_kept(world: World, clock: Clock) -> None:
    before = world.sender.name
    clock.pass_(days=1)
    row = propose(world, name="New name", licence_number="B2-1")
    assert history(world, world.sender.id)[-1].name == before
    clock.pass_(days=1)
    changed = approve(world, row)
    assert (changed.id, changed.name, changed.licence_number) == (
        world.sender.id,
        "New name",
        "B2-1",
    )
    assert changed.contact_phone == world.sender.contact_phone
    clock.pass_(days=1)
    correct(world, complaint_phone="95533")
    versions = history(world, world.sender.id)
    assert [version.name for version in versions] == [before, "New name", "New name"]
    assert [version.complaint_phone for version in versions] == ["4001234567"] * 2 + ["95533"]
    assert [version.application_id for version in versions] == [None, row.id, None]
    assert [version.recorded_at.day for version in versions] == [1, 3, 4]


def test_organisation_from_before_versions_keeps_what_it_was(world: World, clock: Clock) -> None:
    world.do(lambda it: it.execute(delete(OrganisationVersion)))
    world.do(lambda it: it.execute(update(Organisation).values(complaint_phone=None)))
    [first] = history(world, world.sender.id)
    assert (first.name, first.recorded_at) == (world.sender.name, START)
    refused(Kind.INVALID, lambda: propose(world, licence_number="B2-1"), "complaint_phone")
    clock.pass_(days=1)
    correct(world, name="New name")
    assert [(row.name, row.recorded_at) for row in history(world, world.sender.id)] == [
        (world.sender.name, START),
        ("New name", clock.now),
    ]


def test_changes_wait_alone_and_change_something(world: World) -> None:
    same = {"name": world.sender.name}
    refused(Kind.INVALID, lambda: propose(world, **same))
    refused(Kind.INVALID, lambda: propose(world, name="New name"), "licence_number")
    row = propose(world, name="New name", licence_number="B2-1")
    refused(Kind.CONFLICT, lambda: propose(world, name="Newer name", licence_number="B2-1"))
    refused(Kind.CONFLICT, lambda: correct(world, name="Corrected"))
    by: dict[str, Any] = {"actor_id": world.sender.id, "now": START}
    world.do(lambda it: senders.withdraw_application(it, row.id, **by))
    assert correct(world, name="Corrected").name == "Corrected"
    refused(Kind.CONFLICT, lambda: approve(world, row))


# The key of an application


def test_key_opens_its_own_application_alone(world: World) -> None:
    key, mine, other = world.registry.database.key, uuid4(), uuid4()
    text = senders.application_key(key, mine)
    assert senders.whose_application(key, text) == mine
    identifier, _, secret = text.partition(".")
    for wrong in (
        "", ".", identifier, f"{identifier}.", f"{other.hex}.{secret}", f"{text}x", text[:-1],
        f"{identifier}.é", f"é.{secret}", world.keys["sender"],
    ):  # fmt: skip
        assert senders.whose_application(key, wrong) is None


# Documents


def add(world: World, row: Application, data: bytes, name: str | None = None) -> Document:
    return world.do(
        lambda it: senders.add_document(
            it,
            world.registry.files,
            senders.find_application(it, row.id),
            Content(data),
            name,
            actor_id=None,
            now=world.registry.clock(),
        )
    )


def test_documents_are_known_by_their_content_and_kept_once(world: World) -> None:
    row = apply(world)
    added = [
        add(world, row, data, name)
        for data, name in ((PDF, "执照.exe"), (PNG, "../../seal.png"), (JPEG, None))
    ]
    assert [(each.media_type, each.name) for each in added] == [
        ("application/pdf", "执照.exe.pdf"),
        ("image/png", "seal.png"),
        ("image/jpeg", "file.jpg"),
    ]
    assert add(world, row, PDF, "again.pdf").id == added[0].id
    shown = world.do(lambda it: senders.documents(it, row))
    assert [each.id for each in shown] == [each.id for each in added]
    assert world.registry.files.read(shown[1].sha256) == PNG
    other = apply(world, uscc=make_uscc(78))
    refused(
        Kind.NOT_FOUND, lambda: world.do(lambda it: senders.find_document(it, other, added[0].id))
    )


def test_document_is_refused_when_it_is_of_another_kind_too_many_or_late(world: World) -> None:
    row = apply(world)
    for data in (b"<html>", b"MZ\x90\x00", b"OggS"):
        refused(Kind.UNSUPPORTED_MEDIA_TYPE, lambda data=data: add(world, row, data))  # type: ignore[misc]
    for index in range(paperwork.MOST):
        add(world, row, PDF + bytes([index]))
    refused(Kind.CONFLICT, lambda: add(world, row, PNG))
    decide(world, row, approve=False, reason="no")
    refused(Kind.CONFLICT, lambda: add(world, row, PDF + b"late"))


def test_unknown_applicants_fill_the_disk_only_so_far_a_day(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paperwork, "UNKNOWN_A_DAY", 3 * len(PDF))
    rows = [apply(world, uscc=make_uscc(index)) for index in (77, 78)]
    own = propose(world, licence_number="B2-1")
    add(world, rows[0], PDF)
    add(world, rows[1], PDF + b"2")
    refused(Kind.RATE_LIMITED, lambda: add(world, rows[0], PDF + b"3"))
    add(world, own, PDF + b"3")
    clock.pass_(days=1)
    add(world, rows[0], PDF + b"3")


def test_document_is_an_event_without_its_name(world: World) -> None:
    document = add(world, apply(world), PDF, "licence of Li.pdf")
    query = select(Event).where(Event.kind == "document_added")
    [event] = world.do(lambda it: it.scalars(query).all())
    assert json.loads(event.payload)["sha256"] == document.sha256
    assert b"Li" not in event.payload
