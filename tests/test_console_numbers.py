"""The console's pages about sending numbers: held, claimed, through platforms and for senders."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from registry import senders
from registry.consent import Channel, MessageClass, Reason
from registry.models import (
    Authorisation,
    Event,
    MemberRole,
    NumberClaim,
    Organisation,
    OrganisationKind,
    SenderNumber,
)
from registry.numbers import parse_sending
from registry.runtime import Registry
from tests.console import Console, make_member
from tests.factories import OTHER_PORT, SMS_PORT, START, World, count_rows, make_organisation
from tests.portal import on_sqlite

pytestmark = on_sqlite
VIEWER, AGENT, ADMIN = MemberRole
Open = Callable[..., Console]
PORT = "10698765432"


@pytest.fixture
def enter(app: Flask, registry: Registry) -> Open:
    """Return what opens a browser in which a member is signed in."""
    return lambda member, **more: Console(app, registry, **more).enter(member)


@pytest.fixture
def provider(world: World) -> Organisation:
    """Return a platform that holds a port."""

    def make(session: object) -> Organisation:
        row = make_organisation(session, OrganisationKind.PROVIDER, 77)  # type: ignore[arg-type]
        senders.hold(
            session,  # type: ignore[arg-type]
            row.id,
            parse_sending(PORT),
            senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL, MessageClass.SERVICE)),
            actor_id=None,
            now=world.registry.clock(),
        )
        return row

    return world.do(make)


@pytest.fixture
def authorisation(world: World, provider: Organisation) -> Authorisation:
    """Return that the sender lets the platform send for it."""
    return world.do(
        lambda session: senders.authorise(
            session, world.sender.id, provider.id, actor_id=None, now=world.registry.clock()
        )
    )


def holding(world: World, number: str) -> UUID:
    """Return the id of a standing holding."""
    rows = world.do(
        lambda session: session.scalars(
            select(SenderNumber).where(
                SenderNumber.number == number, SenderNumber.released_at.is_(None)
            )
        ).all()
    )
    return rows[0].id


def claim_form(number: str = "1069 0007 777", **more: Any) -> dict[str, Any]:
    return {"number": number, "channels": ["sms"], "usages": ["commercial"], **more}


def make_claim(world: World) -> NumberClaim:
    return world.do(
        lambda session: senders.claim(
            session,
            world.sender.id,
            parse_sending("10690007777"),
            senders.Holding((Channel.SMS,), (MessageClass.SERVICE,)),
            note=None,
            actor_id=world.sender.id,
            now=world.registry.clock(),
        )
    )


def test_number_is_claimed_rejected_approved_and_released(
    enter: Open, world: World, registry: Registry
) -> None:
    member = make_member(world, role=AGENT)
    browser = enter(member)
    browser.get("/console/numbers/claims/new")
    dates = {"held_from": "2026-12-05", "held_until": "2027-12-31", "note": "page 3"}
    browser.post("/console/numbers/claims", claim_form(**dates))
    assert "The claim is sent" in browser.shown
    [row] = _claims(world)
    assert (row.number, row.note) == ("10690007777", "page 3")
    assert row.held_from == datetime(2026, 12, 4, 16, tzinfo=UTC)
    assert row.held_until == datetime(2027, 12, 31, 16, tzinfo=UTC)
    with registry.database.snapshot() as session:
        event = session.scalars(select(Event).where(Event.kind == "number_claimed")).one()
    said = json.loads(event.payload)
    assert (said["actor"], said["member"]) == (str(world.sender.id), str(member.id))
    _decide(world, row.id, "The licence names another number.")
    browser.get("/console/numbers/claims")
    assert "Rejected The operator says: The licence names another number." in browser.shown
    browser.get("/console/numbers/claims/new")
    browser.post("/console/numbers/claims", claim_form())
    _decide(world, _claims(world)[-1].id)
    browser.get("/console/numbers")
    assert "10690007777" in browser.shown
    held = holding(world, "10690007777")
    browser.get(f"/console/numbers/{held}/release")
    assert "Release 10690007777?" in browser.shown
    browser.post(f"/console/numbers/{held}/release")
    assert "The number is released" in browser.shown
    assert browser.get(f"/console/numbers/{held}").status_code == 404


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"number": "12ab"}, 422, "no telephone number"),
        ({"channels": []}, 422, "Please choose one at least"),
        ({"usages": ["everything"]}, 422, "Please choose one at least"),
        ({"held_until": "2026-11-30"}, 422, "over already"),
        ({"held_from": "2026-13-01"}, 422, "or is none"),
        ({"number": OTHER_PORT}, 409, "Another organisation holds this number"),
        ({"number": OTHER_PORT + "99"}, 409, "an extension of one that another"),
        ({"number": OTHER_PORT[:9]}, 409, "a longer number that begins"),
        ({"number": SMS_PORT}, 409, "You hold this number already"),
    ],
)
def test_claim_that_cannot_be_says_why_and_keeps_what_was_written(
    enter: Open, world: World, form: dict[str, Any], status: int, said: str
) -> None:
    browser = enter(make_member(world))
    browser.get("/console/numbers/claims/new")
    before = count_rows(world.registry)
    browser.post("/console/numbers/claims", claim_form(note="page 3", **form))
    assert (browser.page.status_code, said in browser.shown) == (status, True), browser.shown
    assert "page 3" in browser.page.text
    assert count_rows(world.registry) == before


def test_platform_is_authorised_assigns_an_extension_and_is_parted_from(
    enter: Open, world: World, provider: Organisation
) -> None:
    sender = enter(make_member(world))
    sender.get("/console/numbers/platforms?q=no+such+platform")
    assert "No other platform of this name or code" in sender.shown
    sender.get(f"/console/numbers/platforms?q={provider.uscc}")
    assert provider.name in sender.shown
    sender.post("/console/numbers/platforms", {"provider": provider.id})
    assert f"“{provider.name}” may send for you" in sender.shown
    assert sender.post("/console/numbers/platforms", {"provider": provider.id}).status_code == 409
    platform = enter(make_member(world, provider))
    platform.get("/console/numbers/served")
    assert world.sender.name in platform.shown
    port = holding(world, PORT)
    platform.get(f"/console/numbers/{port}")
    form = claim_form(PORT + "01", sender=world.sender.id)
    for wrong, status, said in (
        ({"sender": world.other_sender.id}, 409, "assigned or held already"),
        ({"sender": ""}, 422, "Please choose a sender"),
        ({"number": SMS_PORT + "1"}, 422, "begin with this port"),
        ({"channels": ["voice"]}, 422, "of those that it may have"),
    ):
        platform.post(f"/console/numbers/{port}/extensions", {**form, **wrong})
        assert (platform.page.status_code, said in platform.shown) == (status, True), wrong
    platform.post(f"/console/numbers/{port}/extensions", form)
    assert "The extension is assigned" in platform.shown
    assert PORT + "01" in platform.shown
    sender.get("/console/numbers")
    assert f"through “{provider.name}”" in sender.shown
    world.grant()
    assert world.verdict(sending=PORT + "01").reason is Reason.CONSENTED
    [row] = world.do(lambda session: senders.authorised(session, world.sender.id))
    sender.get(f"/console/numbers/authorisations/{row.id}/end")
    assert "end with it" in sender.shown
    sender.post(f"/console/numbers/authorisations/{row.id}/end")
    assert "That has ended" in sender.shown
    assert world.verdict(sending=PORT + "01").reason is Reason.NO_CONSENT
    assert platform.get("/console/numbers/served").status_code == 200
    assert "No sender has authorised you yet" in platform.shown


def test_provider_ends_an_extension_of_its_port(
    enter: Open, world: World, provider: Organisation, authorisation: Authorisation
) -> None:
    world.do(
        lambda session: senders.assign_extension(
            session,
            provider.id,
            parse_sending(PORT),
            parse_sending(PORT + "02"),
            world.sender.id,
            senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,)),
            actor_id=provider.id,
            now=world.registry.clock(),
        )
    )
    platform = enter(make_member(world, provider))
    extension, port = holding(world, PORT + "02"), holding(world, PORT)
    platform.get(f"/console/numbers/{extension}/release")
    assert f"End the extension {PORT}02?" in platform.shown
    platform.post(f"/console/numbers/{extension}/release")
    assert platform.page.request.path == f"/console/numbers/{port}"
    assert PORT + "02" not in platform.shown


def test_own_number_is_found_without_standing_in_an_address(enter: Open, world: World) -> None:
    browser = enter(make_member(world, role=VIEWER))
    browser.get("/console/numbers")
    browser.post("/console/numbers/find", {"number": SMS_PORT})
    assert browser.page.request.path == f"/console/numbers/{holding(world, SMS_PORT)}"
    for foreign in (OTHER_PORT, "nonsense"):
        browser.get("/console/numbers")
        browser.post("/console/numbers/find", {"number": foreign})
        assert (browser.page.status_code, "You hold no such number" in browser.shown) == (422, True)


def test_roles_and_strangers_change_no_numbers(
    enter: Open, world: World, provider: Organisation, authorisation: Authorisation
) -> None:
    claim, port = make_claim(world), holding(world, SMS_PORT)
    mine = [
        f"/console/numbers/{port}/release",
        f"/console/numbers/claims/{claim.id}/withdraw",
        f"/console/numbers/authorisations/{authorisation.id}/end",
    ]
    acts = [
        *mine,
        "/console/numbers/claims",
        "/console/numbers/platforms",
    ]
    viewer = enter(make_member(world, role=VIEWER))
    stranger = enter(make_member(world, world.other_sender))
    platform = enter(make_member(world, provider, role=VIEWER))
    before = count_rows(world.registry)
    for path in ("", "/claims", "/platforms", f"/{port}"):
        assert viewer.get(f"/console/numbers{path}").status_code == 200, path
        for hidden in ("/claims/new", "/withdraw", "/release", "Authorise"):
            assert hidden not in viewer.page.text, path
    for path in acts:
        viewer.get("/console/numbers")
        assert viewer.post(path, claim_form(provider=provider.id)).status_code == 403, path
    for path in mine:
        assert stranger.get(path).status_code == 404, path
        stranger.get("/console/numbers")
        assert stranger.post(path).status_code == 404, path
    assert stranger.get(f"/console/numbers/{port}").status_code == 404
    own = holding(world, PORT)
    platform.get("/console/numbers")
    assert platform.post(f"/console/numbers/{own}/extensions").status_code == 403
    assert platform.get("/console/numbers/platforms").status_code == 404
    assert viewer.get("/console/numbers/served").status_code == 404
    assert enter(make_member(world, world.carrier)).get("/console/numbers").status_code == 404
    assert count_rows(world.registry) == {**before, **_entries(world, before)}


def test_suspended_sender_looks_and_changes_no_numbers(
    enter: Open, world: World, provider: Organisation, authorisation: Authorisation
) -> None:
    claim, port = make_claim(world), holding(world, SMS_PORT)
    browser = enter(make_member(world))
    world.do(
        lambda session: senders.suspend(
            session, world.sender.id, "Spam.", starts_at=START, actor_id=None, now=START
        )
    )
    for path in (
        "claims",
        "platforms",
        f"claims/{claim.id}/withdraw",
        f"authorisations/{authorisation.id}/end",
        f"{port}/release",
    ):
        assert browser.get(f"/console/numbers/{path}").status_code == 200, path
        browser.post(f"/console/numbers/{path}", claim_form(provider=provider.id))
        assert browser.page.status_code == 403, path
        assert "Your organisation is suspended" in browser.shown


def test_forms_without_the_token_change_nothing(enter: Open, world: World) -> None:
    browser = enter(make_member(world))
    port = holding(world, SMS_PORT)
    before = count_rows(world.registry)
    for path in ("/console/numbers/claims", f"/console/numbers/{port}/release"):
        browser.post(path, {**claim_form(), "csrf_token": "forged"})
        assert (browser.page.status_code, "This page is old" in browser.shown) == (400, True)
    assert count_rows(world.registry) == before


def _claims(world: World) -> list[NumberClaim]:
    return list(world.do(lambda session: senders.claims(session, organisation_id=world.sender.id)))


def _decide(world: World, claim_id: UUID, reason: str | None = None) -> None:
    world.do(
        lambda session: senders.decide_claim(
            session,
            claim_id,
            approve=reason is None,
            reason=reason,
            actor_id=world.operator.id,
            now=world.registry.clock(),
        )
    )


def _entries(world: World, before: dict[str, int]) -> dict[str, int]:
    """Return the rows that signing in adds, which are no change of numbers."""
    now = count_rows(world.registry)
    return {
        name: now[name]
        for name in ("events", "event_openings", "members", "member_sessions", "attempts")
        if now[name] >= before[name]
    }


def test_lists_go_on_in_parts(enter: Open, world: World) -> None:
    def many(session: object) -> None:
        for index in range(105):
            senders.claim(
                session,  # type: ignore[arg-type]
                world.sender.id,
                parse_sending(f"10697{index:06d}"),
                senders.Holding((Channel.SMS,), (MessageClass.SERVICE,)),
                note=None,
                actor_id=None,
                now=world.registry.clock() + timedelta(seconds=index),
            )

    world.do(many)
    browser = enter(make_member(world, role=VIEWER))
    first = browser.get("/console/numbers/claims").text
    assert ("10697000104" in first, "10697000004" in first) == (True, False)
    last = _claims(world)[5].id
    assert f"/console/numbers/claims?after={last}" in first
    assert "10697000004" in browser.get(f"/console/numbers/claims?after={last}").text
    assert browser.get("/console/numbers/claims?after=1 OR 1").status_code == 404
