"""The console of operators: who may look and decide, and what comes of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import access, ledger, senders
from registry.consent import Channel, MessageClass, Reason
from registry.files import Content
from registry.models import (
    ApplicationState,
    Event,
    Import,
    ImportFormat,
    ImportKind,
    ImportState,
    Member,
    MemberRole,
    Organisation,
    OrganisationKind,
)
from registry.numbers import parse_sending
from registry.runtime import Registry
from tests.console import PASSWORD, Console, code_of, make_member
from tests.factories import Clock, World, count_rows, make_number, make_organisation, make_uscc
from tests.portal import on_sqlite

pytestmark = on_sqlite
VIEWER, AGENT, ADMIN = MemberRole
Open = Callable[..., Console]
PORT = "10690007777"
PDF = b"%PDF-1.7 a licence"


@pytest.fixture
def enter(app: Flask, registry: Registry) -> Open:
    """Return what opens a browser in which a member is signed in."""
    return lambda member, **more: Console(app, registry, **more).enter(member)


def operator(world: World, role: MemberRole = ADMIN) -> Member:
    return make_member(world, world.operator, role)


def act(world: World, who: Organisation | None = None) -> dict[str, Any]:
    return {"actor_id": who.id if who else None, "now": world.registry.clock()}


def make_application(world: World, index: int = 500, name: str = "Xinghe") -> UUID:
    details = senders.Details(
        OrganisationKind.SENDER, name, make_uscc(index), "A2-1", "Wang", "4001234567", "4007654321"
    )
    return world.do(lambda session: senders.apply(session, details, **act(world)).id)


def make_change(world: World) -> UUID:
    changes = senders.Changes(
        "Li", name="Sender new", licence_number="A2-1", complaint_phone="4007654321"
    )
    return world.do(
        lambda session: (
            senders.propose(session, world.sender.id, changes, now=world.registry.clock()).id
        )
    )


def make_claim(world: World, who: Organisation | None = None, number: str = PORT) -> UUID:
    claimant = who or world.sender
    holding = senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,))
    return world.do(
        lambda session: (
            senders.claim(
                session, claimant.id, parse_sending(number), holding, note="page 3",
                **act(world, claimant),
            ).id
        )
    )  # fmt: skip


def suspend(world: World, who: Organisation | None = None, *, days: int = 0) -> UUID:
    whom = who or world.other_sender

    def announce(session: Session) -> UUID:
        starts_at = world.registry.clock() + timedelta(days=days)
        senders.suspend(session, whom.id, "Complaints.", starts_at=starts_at, **act(world))
        found = senders.suspension(session, whom.id)
        assert found is not None
        return found.id

    return world.do(announce)


def make_appeal(world: World, suspension_id: UUID) -> UUID:
    return world.do(
        lambda session: (
            senders.appeal(
                session, suspension_id, "They agreed.", organisation_id=world.other_sender.id,
                now=world.registry.clock(),
            ).id
        )
    )  # fmt: skip


def events(world: World, kind: str) -> list[dict[str, Any]]:
    with world.registry.database.snapshot() as session:
        rows = session.scalars(select(Event).where(Event.kind == kind).order_by(Event.id)).all()
        return [json.loads(row.payload) for row in rows]


def acted(world: World, kind: str, member: Member) -> bool:
    """Tell whether the newest event of a kind names the operator, and the member."""
    said = events(world, kind)[-1]
    who = said.get("member"), said.get("by")
    return said["actor"] == str(world.operator.id) and str(member.id) in who


@dataclass(frozen=True)
class Cases:
    """One of everything that operators see and decide."""

    application: UUID
    change: UUID
    claim: UUID
    suspension: UUID
    appeal: UUID
    key: UUID
    admin: UUID
    organisation: UUID

    @property
    def anybody(self) -> list[str]:
        """Return what regulators may look at, too."""
        its = f"organisations/{self.organisation}"
        return [
            "organisations", its, f"{its}/numbers", f"{its}/authorisations", "suspensions",
            "suspensions?phase=announced", "suspensions?phase=ended",
            f"suspensions/{self.suspension}",
        ]  # fmt: skip

    @property
    def looks(self) -> list[str]:
        """Return what every member of an operator may look at."""
        return [
            "review", f"review/applications/{self.application}",
            f"review/applications/{self.change}", f"review/claims/{self.claim}",
            f"review/appeals/{self.appeal}", f"organisations/{self.organisation}/access",
            f"organisations/{self.organisation}/team",
        ]  # fmt: skip

    @property
    def asks(self) -> list[str]:
        """Return the pages from which admins go on to change something."""
        its = f"organisations/{self.organisation}"
        return [
            "organisations/new", f"{its}/correct", f"{its}/suspend",
            f"{its}/keys/{self.key}/revoke", f"{its}/team/{self.admin}",
        ]  # fmt: skip

    @property
    def decisions(self) -> list[str]:
        """Return where agents send decisions."""
        return [
            f"review/applications/{self.application}", f"review/applications/{self.change}",
            f"review/claims/{self.claim}",
        ]  # fmt: skip

    @property
    def changes(self) -> list[str]:
        """Return where admins alone send something."""
        its = f"organisations/{self.organisation}"
        return [
            f"review/appeals/{self.appeal}", f"suspensions/{self.suspension}/end",
            "organisations/new", f"{its}/correct", f"{its}/suspend", f"{its}/limits",
            f"{its}/keys", f"{its}/keys/{self.key}/revoke", f"{its}/team",
            f"{its}/team/{self.admin}/code", f"{its}/team/{self.admin}/second-factor",
        ]  # fmt: skip


@pytest.fixture
def cases(world: World) -> Cases:
    suspension = suspend(world, days=3)
    key = world.do(lambda session: access.keys(session, world.sender.id)[0].id)
    return Cases(
        make_application(world),
        make_change(world),
        make_claim(world),
        suspension,
        make_appeal(world, suspension),
        key,
        make_member(world).id,
        world.sender.id,
    )


FORM = {"decision": "approve", "reason": "x", "sure": "yes", "when": "now", "kind": "carrier"}


@pytest.mark.parametrize("role", [VIEWER, AGENT])
def test_role_says_what_a_member_of_an_operator_may_do(
    enter: Open, world: World, cases: Cases, role: MemberRole
) -> None:
    browser = enter(operator(world, role))
    for path in (*cases.anybody, *cases.looks):
        assert browser.get(f"/console/{path}").status_code == 200, path
        may = role is AGENT and path.removeprefix("/console/") in cases.decisions
        assert len(browser.actions) == may, path
    before = count_rows(world.registry)
    for path in cases.asks:
        assert browser.get(f"/console/{path}").status_code == 403, path
    for path in cases.changes:
        browser.get("/console/review")
        assert browser.post(f"/console/{path}", FORM).status_code == 403, path
    for path in cases.decisions:
        browser.get(f"/console/{path}")
        code = browser.post(f"/console/{path}", {"decision": "approve"}).status_code
        assert code == (200 if role is AGENT else 403), path
    assert count_rows(world.registry) == before


def test_admin_of_an_operator_may_open_everything(enter: Open, world: World, cases: Cases) -> None:
    browser = enter(operator(world))
    for path in (*cases.anybody, *cases.looks, *cases.asks):
        assert browser.get(f"/console/{path}").status_code == 200, path


@pytest.mark.parametrize("kind", ["sender", "provider", "carrier", "regulator"])
def test_to_others_there_is_nothing_of_it(
    enter: Open, world: World, cases: Cases, kind: str
) -> None:
    where = (
        world.do(lambda session: make_organisation(session, OrganisationKind.PROVIDER, 77))
        if kind == "provider"
        else getattr(world, kind)
    )
    browser = enter(make_member(world, where, email="stranger@example.cn"))
    before = count_rows(world.registry)
    for path in cases.anybody:
        code = browser.get(f"/console/{path}").status_code
        assert code == (200 if kind == "regulator" else 404), path
        assert browser.actions == [], path
    for path in (*cases.looks, *cases.asks):
        assert browser.get(f"/console/{path}").status_code == 404, path
    for path in (*cases.decisions, *cases.changes):
        browser.get("/console/team")
        assert browser.post(f"/console/{path}", FORM).status_code == 404, path
    assert count_rows(world.registry) == before


def test_forged_forms_and_suspended_operators_change_nothing(
    enter: Open, world: World, cases: Cases
) -> None:
    browser = enter(operator(world))
    before = count_rows(world.registry)
    for path in (*cases.decisions, *cases.changes):
        browser.post(f"/console/{path}", {**FORM, "csrf_token": "forged"})
        assert browser.page.status_code == 400, path
    assert count_rows(world.registry) == before
    suspend(world, world.operator)
    before = count_rows(world.registry)
    for path in (*cases.decisions, *cases.changes):
        browser.get("/console/account")
        browser.post(f"/console/{path}", FORM)
        assert (browser.page.status_code, "is suspended" in browser.shown) == (403, True), path
    assert count_rows(world.registry) == before


# Applications


def apply(app: Flask, registry: Registry) -> Console:
    """Apply in a browser as somebody who has no organisation yet, with a document."""
    browser = Console(app, registry, address="192.0.2.7")
    browser.get("/console/apply")
    form = {
        "kind": "sender", "uscc": make_uscc(500), "name": "北京星河百货有限公司",
        "licence_number": "A2-1", "contact_name": "Wang", "contact_phone": "4001234567",
        "complaint_phone": "4001234567", "member_name": "Wang", "email": "wang@example.cn",
        "password": PASSWORD,
    }  # fmt: skip
    browser.post("/console/apply", form)
    browser.confirm("wang@example.cn")
    assert browser.page.request.path == "/console/application"
    return browser


def test_applicant_is_approved_and_works_here(
    app: Flask, registry: Registry, enter: Open, world: World
) -> None:
    applicant = apply(app, registry)
    [row] = world.do(senders.applications)
    world.do(
        lambda session: senders.add_document(
            session, registry.files, row, Content(PDF), "licence.pdf", **act(world)
        )
    )
    world.do(lambda session: senders.correct(
        session, world.other_sender.id, {"name": "星河百货 Xinghe"}, **act(world)))  # fmt: skip
    member = operator(world, AGENT)
    browser = enter(member)
    assert "Applications 1" in browser.shown
    browser.get("/console/review")
    page = f"/console/review/applications/{row.id}"
    assert page in browser.page.text
    assert "since today" in browser.shown
    browser.get(page)
    for text in (
        "北京星河百货有限公司", make_uscc(500), "Its check digit is right",
        "Enterprise, area 110000",
        "Wang · 4001234567", "licence.pdf PDF · 1 KB", "similar name 星河百货 Xinghe",
    ):  # fmt: skip
        assert text in browser.shown, text
    [document] = world.do(lambda session: senders.documents(session, row))
    answer = browser.get(f"{page}/documents/{document.id}")
    assert (answer.data, answer.mimetype) == (PDF, "application/pdf")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    browser.get(page)
    browser.post(page, {"decision": "approve", "reason": ""})
    assert "Register “北京星河百货有限公司”?" in browser.shown
    assert events(world, "application_approved") == []
    browser.post(page, {"decision": "approve", "sure": "yes"})
    assert "Approved. It counts from now on." in browser.shown
    assert "Nothing else waits" in browser.shown
    assert acted(world, "application_approved", member)
    applicant.get("/console/")
    assert "Complaints to answer" in applicant.shown
    assert "北京星河百货有限公司" in applicant.shown
    browser.get("/console/organisations?q=星河")
    assert "北京星河百货有限公司" in browser.shown


def test_rejection_needs_a_reason_which_the_applicant_reads(
    app: Flask, registry: Registry, enter: Open, world: World
) -> None:
    applicant = apply(app, registry)
    [row] = world.do(senders.applications)
    browser = enter(operator(world, AGENT))
    page = f"/console/review/applications/{row.id}"
    for reason in ("", "x" * 501):
        browser.get(page)
        browser.post(page, {"decision": "reject", "reason": reason, "sure": "yes"})
        assert (browser.page.status_code, "Please give a reason" in browser.shown) == (422, True)
    assert browser.post(page, {"decision": "perhaps"}).status_code == 422
    browser.get(page)
    browser.post(page, {"decision": "reject", "reason": "The licence is another's."})
    assert "Reject the application of" in browser.shown
    browser.post(page, {"decision": "reject", "reason": "The licence is another's.", "sure": "yes"})
    assert "Rejected. The applicant sees your reason." in browser.shown
    applicant.get("/console/application")
    assert "The licence is another's." in applicant.shown
    again = make_application(world, 500)
    browser.get(f"/console/review/applications/{again}")
    assert "Other applications with this code Rejected" in browser.shown


def test_change_shows_old_and_new_beside_each_other(enter: Open, world: World) -> None:
    change = make_change(world)
    browser = enter(operator(world, AGENT))
    page = f"/console/review/applications/{change}"
    browser.get(page)
    assert "Name of the organisation sender 1 New Sender new" in browser.shown
    assert "For complaints 4001234567 New 4007654321" in browser.shown
    assert "Telephone 4001234567 the same" in browser.shown
    browser.post(page, {"decision": "approve"})
    assert "Make these changes to “Sender new”?" in browser.shown
    browser.post(page, {"decision": "approve", "sure": "yes"})
    assert "Name of the organisation sender 1 New Sender new" in browser.shown, (
        "also once it is decided"
    )
    browser.get(f"/console/organisations/{world.sender.id}")
    assert "Sender new · its application" in browser.shown


def test_application_whose_code_was_registered_meanwhile_still_waits(
    enter: Open, world: World
) -> None:
    application = make_application(world, 500)
    world.do(lambda session: make_organisation(session, OrganisationKind.SENDER, 500))
    browser = enter(operator(world, AGENT))
    page = f"/console/review/applications/{application}"
    browser.get(page)
    browser.post(page, {"decision": "approve", "sure": "yes"})
    assert (browser.page.status_code, "was registered meanwhile" in browser.shown) == (422, True)
    row = world.do(lambda session: senders.find_application(session, application))
    assert row.state is ApplicationState.SUBMITTED


# Claims, appeals, the queue


def test_first_claim_that_is_approved_holds_the_number(enter: Open, world: World) -> None:
    first = make_claim(world)
    longer = make_claim(world, world.other_sender, PORT + "1")
    member = operator(world, AGENT)
    browser = enter(member)
    page = f"/console/review/claims/{first}"
    browser.get(page)
    for text in (
        "page 3",
        "By sender 1",
        "Who holds it, or part of it Nobody",
        f"{PORT}1 sender 2",
    ):
        assert text in browser.shown, text
    browser.post(page, {"decision": "approve"})
    assert f"Let “sender 1” hold {PORT}?" in browser.shown
    browser.post(page, {"decision": "approve", "sure": "yes"})
    assert "The number is held from now on." in browser.shown
    assert acted(world, "number_claim_approved", member)
    assert f'href="/console/review/claims/{longer}"' in browser.page.text
    page = f"/console/review/claims/{longer}"
    browser.get(page)
    assert "It cannot be approved as things stand" in browser.shown
    assert f"What it is part of {PORT} sender 1 Another organisation" in browser.shown
    browser.post(page, {"decision": "approve", "sure": "yes"})
    assert (browser.page.status_code, "The claim still waits" in browser.shown) == (422, True)
    browser.post(page, {"decision": "reject", "reason": "It is another's.", "sure": "yes"})
    assert "Rejected. The applicant sees your reason." in browser.shown
    row = world.do(lambda session: senders.find_claim(session, longer))
    assert (row.state, row.reason) == (ApplicationState.REJECTED, "It is another's.")
    browser.get(f"/console/organisations/{world.sender.id}/numbers")
    assert PORT in browser.shown


def test_appeal_is_dismissed_and_another_one_granted_by_an_admin(enter: Open, world: World) -> None:
    suspension = suspend(world)
    first = make_appeal(world, suspension)
    member = operator(world)
    browser = enter(member)
    page = f"/console/review/appeals/{first}"
    browser.get(page)
    assert "They agreed." in browser.shown
    assert "Complaints." in browser.shown
    assert browser.post(page, {"decision": "approve", "sure": "yes"}).status_code == 422
    dismissal = {"decision": "reject", "reason": "No proof."}
    browser.post(page, dismissal)
    assert "Dismiss the appeal of “sender 2”?" in browser.shown
    browser.post(page, {**dismissal, "sure": "yes"})
    assert "The suspension goes on" in browser.shown
    second = make_appeal(world, suspension)
    page = f"/console/review/appeals/{second}"
    browser.get(page)
    assert "Other appeals against it Dismissed" in browser.shown
    assert "No proof." in browser.shown
    browser.post(page, {"decision": "approve", "reason": "Proved.", "sure": "yes"})
    assert "Granted. The suspension has ended." in browser.shown
    assert acted(world, "appeal_granted", member)
    assert world.do(lambda session: senders.suspension(session, world.other_sender.id)) is None


def test_queue_leads_from_the_oldest_to_the_newest(enter: Open, world: World, clock: Clock) -> None:
    first = make_claim(world)
    clock.pass_(days=4)
    appeal = make_appeal(world, suspend(world))
    second = make_application(world)
    third = make_change(world)
    clock.pass_(days=1)
    browser = enter(operator(world))
    text = browser.get("/console/review").text
    order = [f"claims/{first}", f"appeals/{appeal}", f"applications/{second}"]
    places = [text.index(f"/console/review/{path}") for path in (*order, f"applications/{third}")]
    assert places == sorted(places)
    assert "5 days" in browser.shown
    assert "1 day" in browser.shown
    page = f"/console/review/{order[0]}"
    browser.get(page)
    browser.post(page, {"decision": "approve", "sure": "yes"})
    assert f'class="button " href="/console/review/{order[1]}"' in browser.page.text
    browser.get(f"/console/review/applications/{third}")
    assert f'href="/console/review/{order[1]}"' in browser.page.text, "on to what was skipped"
    assert browser.get("/console/review?after=nonsense").status_code == 404


def test_what_is_decided_is_not_decided_again(enter: Open, world: World, cases: Cases) -> None:
    browser = enter(operator(world))
    paths = [*cases.decisions, f"review/appeals/{cases.appeal}"]
    for path in paths:
        browser.get(f"/console/{path}")
        browser.post(f"/console/{path}", {"decision": "approve", "reason": "x", "sure": "yes"})
        assert browser.page.status_code == 200, path
        assert f"/console/{path}" not in browser.actions
    before = count_rows(world.registry)
    for path in (*paths, f"suspensions/{cases.suspension}/end"):
        for sure in ("", "yes"):
            browser.get("/console/team")
            form = {"decision": "reject", "reason": "x", "sure": sure}
            assert browser.post(f"/console/{path}", form).status_code == 409, path
    assert count_rows(world.registry) == before


# Suspensions


def test_suspension_is_announced_takes_effect_and_is_lifted(
    enter: Open, world: World, clock: Clock
) -> None:
    member = operator(world)
    browser = enter(member)
    page = f"/console/organisations/{world.sender.id}/suspend"
    for form, wrong in (
        ({"when": "now"}, "Please give a reason"),
        ({"reason": "x"}, "Please choose one"),
        ({"reason": "x", "when": "day"}, "still to come"),
        ({"reason": "x", "when": "day", "day": "2026-12-01"}, "still to come"),
        ({"reason": "x", "when": "day", "day": "soon"}, "still to come"),
    ):
        browser.get(page)
        browser.post(page, {**form, "sure": "yes"})
        assert (browser.page.status_code, wrong in browser.shown) == (422, True), form
    form = {"reason": "Many complaints.", "when": "day", "day": "2026-12-03"}
    browser.get(page)
    browser.post(page, form)
    assert "Suspend “sender 1” from 3 December 2026, 00:00 on?" in browser.shown
    assert "every lookup about its numbers says no" in browser.shown
    assert events(world, "organisation_suspended") == []
    browser.post(page, {**form, "sure": "yes"})
    assert "The suspension is announced." in browser.shown
    assert acted(world, "organisation_suspended", member)
    address = browser.page.request.path
    assert browser.get(page).status_code == 409
    world.grant()
    assert world.verdict().reason is Reason.CONSENTED
    for phase in ("announced", "standing"):
        shown = browser.get(f"/console/suspensions?phase={phase}").text
        assert (address in shown) == (phase == "announced")
    clock.pass_(days=2)
    assert world.verdict().reason is Reason.SENDER_SUSPENDED
    browser.enter(make_member(world, world.operator, email="late@example.cn"))
    assert address in browser.get("/console/suspensions").text
    browser.get(address)
    assert browser.post(f"{address}/end", {"reason": ""}).status_code == 422
    browser.post(f"{address}/end", {"reason": "Settled."})
    assert "Lift the suspension of “sender 1”?" in browser.shown
    browser.post(f"{address}/end", {"reason": "Settled.", "sure": "yes"})
    assert "The suspension has ended." in browser.shown
    assert "Settled." in browser.shown
    assert world.verdict().reason is Reason.CONSENTED
    assert address in browser.get("/console/suspensions?phase=ended").text
    assert browser.get("/console/suspensions?phase=other").status_code == 404


def test_nobody_suspends_or_frees_their_own_organisation(enter: Open, world: World) -> None:
    browser = enter(operator(world))
    page = f"/console/organisations/{world.operator.id}/suspend"
    assert browser.get(page).status_code == 409
    browser.get("/console/team")
    assert browser.post(page, {"reason": "x", "when": "now", "sure": "yes"}).status_code == 409
    suspension = suspend(world, world.operator, days=3)
    browser.get("/console/team")
    browser.post(f"/console/suspensions/{suspension}/end", {"reason": "x", "sure": "yes"})
    assert browser.page.status_code == 409


# Organisations


def test_organisation_is_registered_and_corrected(enter: Open, world: World) -> None:
    member = operator(world)
    browser = enter(member)
    form = {
        "kind": "carrier", "uscc": make_uscc(600), "name": "New Telecom",
        "contact_phone": "4001234567",
    }  # fmt: skip
    for wrong, said in (
        ({"uscc": "91110000000000000X"}, "no valid code"),
        ({"uscc": make_uscc(1)}, "is registered already"),
        ({"kind": "operator"}, "choose one"),
        ({"kind": "sender"}, "no telephone number"),
        ({"name": " "}, "1 to 200 characters"),
    ):
        browser.get("/console/organisations/new")
        browser.post("/console/organisations/new", {**form, **wrong})
        assert (browser.page.status_code, said in browser.shown) == (422, True), wrong
    browser.post("/console/organisations/new", form)
    assert "Invite its first admin" in browser.shown
    assert acted(world, "organisation_registered", member)
    page = browser.page.request.path.removesuffix("/team")
    browser.get(f"{page}/correct")
    corrected = {"name": "Newer Telecom", "contact_phone": "4001234567"}
    browser.post(f"{page}/correct", {**corrected, "contact_phone": "call me"})
    assert (browser.page.status_code, "no telephone number" in browser.shown) == (422, True)
    browser.post(f"{page}/correct", corrected)
    assert "The details are corrected." in browser.shown
    assert acted(world, "organisation_changed", member)
    assert "New Telecom" in browser.shown
    assert "Newer Telecom" in browser.shown
    make_change(world)
    browser.get("/console/team")
    corrected |= {"licence_number": "A2", "complaint_phone": "4001234567"}
    browser.post(f"/console/organisations/{world.sender.id}/correct", corrected)
    assert (browser.page.status_code, "Decide that first" in browser.shown) == (409, True)


def test_organisations_are_found_by_name_code_kind_and_state(enter: Open, world: World) -> None:
    suspend(world)

    def many(session: Session) -> None:
        for index in range(700, 805):
            make_organisation(session, OrganisationKind.SENDER, index)

    world.do(many)
    browser = enter(operator(world, VIEWER))
    for query, there, missing in (
        ("q=SENDER 2", "sender 2", "sender 1"),
        (f"q={make_uscc(4)[:9]} {make_uscc(4)[9:].lower()}", "carrier 4", "carrier 3"),
        ("kind=regulator", "regulator 5", "carrier"),
        ("standing=suspended", "sender 2", "sender 1"),
        ("q=100%25", "None was found", "sender"),
    ):
        shown = _main(browser.get(f"/console/organisations?{query}").text)
        assert (there in shown, f">{missing}<" in shown) == (True, False), query
    first = browser.get("/console/organisations?kind=sender").text
    assert "sender 804" in first
    assert "sender 704" not in first
    [more] = [part.partition('"')[0] for part in first.split('href="') if "after=" in part[:200]]
    assert "sender 704" in browser.get(more.replace("&amp;", "&")).text
    for nonsense in ("kind=bank", "standing=odd", "after=1"):
        assert browser.get(f"/console/organisations?{nonsense}").status_code == 404


def _main(text: str) -> str:
    return text.rpartition('<main id="main"')[2].partition("<table")[2] or text


def test_limits_are_set_and_left_to_the_policy_again(enter: Open, world: World) -> None:
    member = operator(world)
    browser = enter(member)
    page = f"/console/organisations/{world.sender.id}"
    browser.get(f"{page}/access")
    browser.post(f"{page}/limits", {"requests_per_second": "0"})
    assert browser.page.status_code == 422
    browser.post(f"{page}/limits", {"requests_per_second": "many"})
    assert browser.page.status_code == 422
    browser.post(f"{page}/limits", {"requests_per_second": "50", "lookup_numbers_per_day": "7"})
    assert "The limits are changed." in browser.shown
    assert acted(world, "organisation_limited", member)
    row = world.do(lambda session: senders.find(session, world.sender.id))
    assert (row.requests_per_second, row.lookup_numbers_per_day) == (50, 7)
    browser.post(f"{page}/limits", {})
    row = world.do(lambda session: senders.find(session, world.sender.id))
    assert row.requests_per_second is None


def test_key_is_made_for_an_organisation_and_ended(app: Flask, enter: Open, world: World) -> None:
    def good(key: str) -> bool:
        answer = app.test_client().get(
            "/v1/organisations/me", headers={"Authorization": f"Bearer {key}"}
        )
        return answer.status_code == 200

    member = operator(world)
    browser = enter(member)
    page = f"/console/organisations/{world.carrier.id}"
    browser.get(f"{page}/access")
    form = {"label": "gateway", "scopes": ["wishes"], "lasts": "90"}
    wrongs: tuple[dict[str, object], ...] = ({"label": ""}, {"scopes": ["consent"]}, {"scopes": []})
    for wrong in wrongs:
        assert browser.post(f"{page}/keys", {**form, **wrong}).status_code == 422
    browser.post(f"{page}/keys", form)
    assert "Legal entity carrier 3" in browser.shown
    text = browser.page.text.partition('<code class="secret">')[2].partition("</code>")[0]
    assert good(text)
    assert acted(world, "key_issued", member)
    browser.get(f"{page}/access")
    assert "gateway" in browser.shown
    assert text not in browser.page.text
    key_id = UUID(text.partition(".")[0])
    assert (
        browser.get(f"/console/organisations/{world.sender.id}/keys/{key_id}/revoke").status_code
        == 404
    )
    browser.get(f"{page}/keys/{key_id}/revoke")
    assert "End the key “gateway” of “carrier 3”?" in browser.shown
    browser.post(f"{page}/keys/{key_id}/revoke")
    assert not good(text)
    assert acted(world, "key_revoked", member)


def test_first_admin_is_invited_and_helped_when_the_phone_is_lost(
    app: Flask, registry: Registry, enter: Open, world: World
) -> None:
    member = operator(world)
    browser = enter(member)
    page = f"/console/organisations/{world.carrier.id}/team"
    browser.get(page)
    assert "Nobody works here for it yet" in browser.shown
    browser.post(page, {"name": "Li Ming", "email": "none"})
    assert (browser.page.status_code, "no e-mail address" in browser.shown) == (422, True)
    browser.post(page, {"name": "Li Ming", "email": "li@example.cn"})
    code = browser.page.text.partition('<code class="secret">')[2].partition("</code>")[0]
    assert acted(world, "member_invited", member)
    li = Console(app, registry, address="192.0.2.2")
    li.get("/console/join")
    li.post("/console/join", {"email": "li@example.cn", "code": code, "password": PASSWORD})
    li.confirm("li@example.cn")
    assert "carrier 3" in li.shown
    before = code_of(registry, "li@example.cn")
    browser.get(page)
    [one] = [part.partition('"')[0] for part in browser.page.text.split(f"{page}/")[1:]]
    browser.get(f"{page}/{one}")
    assert "Call the organisation back" in browser.shown
    browser.post(f"{page}/{one}/second-factor")
    assert "The second factor is forgotten" in browser.shown
    assert acted(world, "member_second_factor_reset", member)
    assert li.get("/console/").request.path == "/console/sign-in"
    assert "Set up the second factor" in li.password("li@example.cn").shown
    assert code_of(registry, "li@example.cn") != before
    browser.get(f"{page}/{one}")
    browser.post(f"{page}/{one}/code")
    assert "A code to pass on" in browser.shown
    agent = make_member(world, world.carrier, AGENT)
    for path in (agent.id, make_member(world).id):
        assert browser.get(f"{page}/{path}").status_code == 404


def test_overview_tells_how_the_registrys_work_goes_on(
    enter: Open, world: World, clock: Clock
) -> None:
    make_application(world)
    world.ask(make_number(1))
    world.own(ledger.challenge, world.grant(make_number(2))[0].id, number=make_number(2))

    def more(session: Session) -> None:
        now = clock()
        access.issue(
            session, world.sender, [access.Scope.LOOKUP], now + timedelta(days=3), label="shop",
            **act(world),
        )  # fmt: skip
        session.add(
            Import(
                organisation_id=world.carrier.id,
                kind=ImportKind.REFUSALS,
                lines=7,
                format=ImportFormat.CSV,
                options="{}",
                state=ImportState.RUNNING,
                recorded_at=now,
            )
        )

    world.do(more)
    browser = enter(operator(world, VIEWER))
    assert "Applications 1 Claims of numbers 0 Appeals 0" in browser.shown
    assert "Waiting to be sent 2" in browser.shown
    assert "carrier 3 Under way Refusals · 7 lines done" in browser.shown
    assert "ends on 4 December 2026 sender 1 shop" in browser.shown
    clock.pass_(days=5)
    browser.enter(make_member(world, world.operator, email="later@example.cn"))
    assert "ended on 4 December 2026 sender 1 shop" in browser.shown
    assert "The oldest was due" in browser.shown
