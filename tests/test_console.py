"""The console: who may do what, and that nothing else is possible."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from flask import Flask

from registry import access, members, senders
from registry.models import (
    ApiKey,
    Member,
    MemberRole,
    Organisation,
    OrganisationKind,
)
from registry.portal.console.people import EVERYBODY, SENDERS, SENDING, Needs
from registry.runtime import Registry
from tests.console import PASSWORD, Console, make_member
from tests.factories import Clock, World, count_rows, make_organisation, make_uscc
from tests.portal import on_sqlite

pytestmark = on_sqlite
VIEWER, AGENT, ADMIN = MemberRole
Open = Callable[..., Console]


@pytest.fixture
def enter(app: Flask, registry: Registry) -> Open:
    """Return what opens a browser in which a member is signed in."""
    return lambda member, **more: Console(app, registry, **more).enter(member)


@pytest.fixture
def colleague(world: World) -> Member:
    """Return an agent of the sender, about whom admins decide."""
    return make_member(world, role=AGENT, email="colleague@example.cn", name="Colleague")


def make_key(world: World, organisation: Organisation | None = None) -> ApiKey:
    where = organisation or world.sender
    return world.do(
        lambda session: access.issue(
            session,
            where,
            access.SCOPES[where.kind],
            None,
            actor_id=None,
            now=world.registry.clock(),
            label="the shop",
        )[0]
    )


def suspend(world: World, *, days: int = 0) -> None:
    """Announce that the sender is suspended in some days, by default at once."""
    world.do(
        lambda session: senders.suspend(
            session,
            world.sender.id,
            "Many complaints.",
            starts_at=world.registry.clock() + timedelta(days=days),
            actor_id=world.operator.id,
            now=world.registry.clock(),
        )
    )


def views(app: Flask) -> dict[str, tuple[Needs | None, set[str]]]:
    """Return every view behind the door, with what it says it needs and its methods."""
    return {
        rule.endpoint: (
            getattr(app.view_functions[rule.endpoint], "needs", None),
            (rule.methods or set()) & {"GET", "POST", "PUT", "DELETE", "PATCH"},
        )
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/console") and not rule.endpoint.startswith("door.")
    }


def test_every_view_says_who_may_use_it(app: Flask) -> None:
    found = views(app)
    assert len(found) > 20
    assert [name for name, (needed, _methods) in found.items() if needed is None] == []
    assert all(methods in ({"GET"}, {"POST"}) for _needed, methods in found.values())


def test_who_may_use_a_view_is_decided_here_and_not_by_the_view(app: Flask) -> None:
    """What is missing here is for viewers of every organisation, and looks only."""
    special = {
        "overview": Needs(VIEWER, applicants=True),
        "more": Needs(VIEWER, applicants=True),
        "account": Needs(VIEWER, applicants=True, suspended=True),
        "change_password": Needs(VIEWER, applicants=True, suspended=True),
        "leave_everywhere": Needs(VIEWER, applicants=True, suspended=True),
        "application": Needs(VIEWER, applicants=True),
        "document": Needs(VIEWER, applicants=True),
        "correct_application": Needs(ADMIN, applicants=True),
        "send_again": Needs(ADMIN, applicants=True),
        "withdraw_application": Needs(ADMIN, applicants=True),
        "add_document": Needs(ADMIN, applicants=True),
        "keys": Needs(ADMIN),
        "make_key": Needs(ADMIN),
        "ask_replace_key": Needs(ADMIN),
        "replace_key": Needs(ADMIN),
        "ask_revoke_key": Needs(ADMIN, suspended=True),
        "revoke_key": Needs(ADMIN, suspended=True),
        "invite": Needs(ADMIN),
        "colleague": Needs(ADMIN),
        "change_role": Needs(ADMIN),
        "new_code": Needs(ADMIN, suspended=True),
        "reset_second_factor": Needs(ADMIN, suspended=True),
        "ask_end_member": Needs(ADMIN, suspended=True),
        "end_member": Needs(ADMIN, suspended=True),
        "change_organisation": Needs(ADMIN, SENDING),
        "propose_changes": Needs(ADMIN, SENDING),
        "appeal": Needs(AGENT, suspended=True),
        "find_number": Needs(VIEWER, SENDING, suspended=True),
        "search_consents": Needs(VIEWER, SENDERS, suspended=True),
    }
    for name, (needed, methods) in views(app).items():
        bare = name.removeprefix("console.")
        if bare in special:
            assert needed == special[bare], name
        else:
            assert methods == {"GET"} or (needed and needed.role is not VIEWER), name


@pytest.mark.parametrize("role", [VIEWER, AGENT])
def test_only_admins_look_after_keys_and_team(
    enter: Open, world: World, colleague: Member, role: MemberRole
) -> None:
    key = make_key(world)
    make_member(world)
    browser = enter(make_member(world, role=role))
    before = count_rows(world.registry)
    for path, form in (
        ("/console/keys", {"label": "x", "scopes": "lookup", "lasts": "90"}),
        (f"/console/keys/{key.id}/replace", {"days": "0"}),
        (f"/console/keys/{key.id}/revoke", {}),
        ("/console/team", {"name": "X", "email": "x@example.cn", "role": "admin"}),
        (f"/console/team/{colleague.id}/role", {"role": "admin"}),
        (f"/console/team/{colleague.id}/code", {}),
        (f"/console/team/{colleague.id}/second-factor", {}),
        (f"/console/team/{colleague.id}/end", {}),
        ("/console/organisation/change", {"name": "Another name"}),
    ):
        browser.get("/console/team")
        assert "/console/team" not in browser.actions
        browser.post(path, form)
        assert browser.page.status_code == 403, path
        assert "Your role is not enough" in browser.shown
    assert count_rows(world.registry) == before
    assert browser.get("/console/keys").status_code == 403
    assert browser.get("/console/").status_code == 200


def test_what_belongs_to_another_organisation_is_not_there(
    enter: Open, world: World, colleague: Member
) -> None:
    key = make_key(world)
    suspend(world, days=3)
    suspension = world.do(lambda session: senders.suspension(session, world.sender.id))
    assert suspension is not None
    stranger = enter(make_member(world, world.other_sender))
    before = count_rows(world.registry)
    for path in (
        f"/console/keys/{key.id}/replace",
        f"/console/keys/{key.id}/revoke",
        f"/console/team/{colleague.id}",
        f"/console/team/{colleague.id}/end",
        f"/console/application/documents/{key.id}",
    ):
        assert stranger.get(path).status_code == 404, path
    for path, form in (
        (f"/console/keys/{key.id}/replace", {"days": "0"}),
        (f"/console/keys/{key.id}/revoke", {}),
        (f"/console/team/{colleague.id}/role", {"role": "admin"}),
        (f"/console/team/{colleague.id}/code", {}),
        (f"/console/team/{colleague.id}/second-factor", {}),
        (f"/console/team/{colleague.id}/end", {}),
        (f"/console/organisation/suspensions/{suspension.id}/appeal", {"text": "No!"}),
    ):
        stranger.get("/console/team")
        assert stranger.post(path, form).status_code == 404, path
    assert count_rows(world.registry) == before


def test_every_kind_of_organisation_finds_its_sections(enter: Open, world: World) -> None:
    shown = {}
    for kind in EVERYBODY:
        where = {
            OrganisationKind.SENDER: world.sender,
            OrganisationKind.CARRIER: world.carrier,
            OrganisationKind.REGULATOR: world.regulator,
            OrganisationKind.OPERATOR: world.operator,
        }.get(kind) or world.do(
            lambda session: make_organisation(session, OrganisationKind.PROVIDER, 77)
        )
        browser = enter(make_member(world, where))
        for path in ("", "more", "keys", "team", "organisation", "account"):
            assert browser.get(f"/console/{path}").status_code == 200, (kind, path)
        shown[kind] = browser.get("/console/").status_code, browser.shown
        changing = browser.get("/console/organisation/change").status_code
        assert changing == (200 if kind in SENDING else 404)
    assert "Complaints to answer" in shown[OrganisationKind.SENDER][1]
    assert "Senders that authorised you" in shown[OrganisationKind.PROVIDER][1]
    assert "What waits for you" in shown[OrganisationKind.OPERATOR][1]


def test_suspended_organisation_looks_and_appeals_and_makes_itself_safe(
    enter: Open, world: World, colleague: Member
) -> None:
    key = make_key(world)
    browser = enter(make_member(world))
    suspend(world)
    for path, form in (
        ("/console/keys", {"label": "x", "scopes": "lookup", "lasts": "90"}),
        ("/console/team", {"name": "X", "email": "x@example.cn", "role": "admin"}),
        ("/console/organisation/change", {"name": "Another name"}),
    ):
        browser.get("/console/team")
        assert browser.post(path, form).status_code == 403, path
        assert "Your organisation is suspended" in browser.shown
    browser.get("/console/keys")
    browser.post(f"/console/keys/{key.id}/revoke")
    assert "The key has ended" in browser.shown
    browser.post(f"/console/team/{colleague.id}/end")
    assert "out of the team" in browser.shown
    browser.get("/console/organisation")
    [action] = [one for one in browser.actions if one.endswith("/appeal")]
    browser.post(action, {"text": " "})
    assert browser.page.status_code == 422
    browser.post(action, {"text": "They all agreed."})
    assert "Waits for its decision" in browser.shown
    assert "They all agreed." in browser.shown
    assert not [one for one in browser.actions if one.endswith("/appeal")]


def test_announced_suspension_is_told_before_it_takes_effect(enter: Open, world: World) -> None:
    suspend(world, days=3)
    browser = enter(make_member(world))
    assert "A suspension is announced" in browser.shown
    browser.get("/console/keys")
    browser.post("/console/keys", {"label": "x", "scopes": "lookup", "lasts": "90"})
    assert "The new key" in browser.shown


def test_key_is_made_used_replaced_and_ended(
    app: Flask, enter: Open, world: World, clock: Clock
) -> None:
    def good(key: str) -> bool:
        answer = app.test_client().post(
            "/v1/lookups", json={}, headers={"Authorization": f"Bearer {key}"}
        )
        return answer.status_code == 422

    browser = enter(make_member(world))
    browser.get("/console/keys")
    browser.post("/console/keys", {"label": "", "scopes": "lookup", "lasts": "90"})
    assert (browser.page.status_code, "1 to 100 characters" in browser.shown) == (422, True)
    browser.post("/console/keys", {"label": "shop", "lasts": "90"})
    assert (browser.page.status_code, "choose one at least" in browser.shown) == (422, True)
    browser.post("/console/keys", {"label": "shop", "scopes": ["admin"], "lasts": "90"})
    assert browser.page.status_code == 422
    browser.post("/console/keys", {"label": "shop", "scopes": ["lookup"], "lasts": "90"})
    first = _secret(browser)
    assert good(first)
    browser.get("/console/keys")
    assert first not in browser.page.text
    key_id = UUID(first.partition(".")[0])
    browser.post(f"/console/keys/{key_id}/replace", {"days": "7"})
    second = _secret(browser)
    assert (good(first), good(second)) == (True, True)
    clock.pass_(days=7)
    assert (good(first), good(second)) == (False, True)
    browser.enter(make_member(world, email="second@example.cn"))
    browser.get("/console/keys")
    browser.post(f"/console/keys/{UUID(second.partition('.')[0])}/revoke")
    assert not good(second)
    assert browser.get(f"/console/keys/{key_id}/replace").status_code == 200
    assert browser.post(f"/console/keys/{key_id}/replace", {"days": "7"}).status_code == 409


def _secret(browser: Console) -> str:
    """Return the one secret that the page shows."""
    found = browser.page.text.partition('<code class="secret">')[2].partition("</code>")[0]
    assert found, browser.shown
    return found


def test_colleague_is_invited_joins_and_is_taken_out(
    app: Flask, registry: Registry, enter: Open, world: World
) -> None:
    admin = enter(make_member(world))
    admin.get("/console/team")
    admin.post("/console/team", {"name": "Li Ming", "email": "no address", "role": "agent"})
    assert (admin.page.status_code, "no e-mail address" in admin.shown) == (422, True)
    admin.post("/console/team", {"name": "Li Ming", "email": "li@example.cn", "role": "agent"})
    code = _secret(admin)
    assert code not in admin.get("/console/team").text
    li = Console(app, registry, address="192.0.2.2")
    li.get("/console/join")
    form = {"email": "li@example.cn", "code": code, "password": PASSWORD}
    for wrong in ({"code": "AAAA-BBBB-CCCC-DDDD"}, {"email": "ma@example.cn"}):
        li.post("/console/join", {**form, **wrong})
        assert (li.page.status_code, "This code is not good" in li.shown) == (422, True)
    li.post("/console/join", {**form, "password": "li@example.cn!"})
    assert (li.page.status_code, "stands in it" in li.shown) == (422, True)
    li.post("/console/join", form)
    assert "Set up the second factor" in li.shown
    assert li.get("/console/").request.path == "/console/sign-in/code"
    li.confirm("li@example.cn")
    assert li.page.request.path == "/console/"
    row = world.do(
        lambda session: next(
            one for one in members.team(session, world.sender.id) if one.email == "li@example.cn"
        )
    )
    admin.get(f"/console/team/{row.id}/end")
    admin.post(f"/console/team/{row.id}/end")
    assert "out of the team" in admin.shown
    assert li.get("/console/").request.path == "/console/sign-in"
    li.password("li@example.cn")
    assert (li.page.status_code, "do not belong together" in li.shown) == (422, True)


def test_new_code_and_reset_let_somebody_in_again(
    app: Flask, registry: Registry, enter: Open, world: World, colleague: Member
) -> None:
    admin = enter(make_member(world))
    admin.get(f"/console/team/{colleague.id}")
    admin.post(f"/console/team/{colleague.id}/code")
    code = _secret(admin)
    lost = Console(app, registry, address="192.0.2.2")
    lost.get("/console/join")
    new = "a brand new sentence"
    lost.post("/console/join", {"email": colleague.email, "code": code, "password": new})
    assert "Enter the code of your app" in lost.shown
    assert lost.password(colleague.email).page.status_code == 422
    admin.get(f"/console/team/{colleague.id}")
    admin.post(f"/console/team/{colleague.id}/second-factor")
    assert "Set up the second factor" in lost.password(colleague.email, new).shown
    lost.confirm(colleague.email)
    assert lost.page.request.path == "/console/"


def test_last_admin_cannot_leave(enter: Open, world: World) -> None:
    member = make_member(world)
    browser = enter(member)
    browser.get(f"/console/team/{member.id}")
    assert browser.post(f"/console/team/{member.id}/end").status_code == 409
    browser.get(f"/console/team/{member.id}")
    browser.post(f"/console/team/{member.id}/role", {"role": "viewer"})
    assert browser.page.status_code == 409
    assert browser.get("/console/").status_code == 200


def test_changes_are_applied_for_with_documents_and_taken_back(enter: Open, world: World) -> None:
    browser = enter(make_member(world))
    browser.get("/console/organisation/change")
    form = {
        "name": "New name",
        "licence_number": "A2.B1-2026",
        "contact_name": "Li Ming",
        "contact_phone": "4001234567",
        "complaint_phone": "call me",
    }
    browser.post("/console/organisation/change", form)
    assert (browser.page.status_code, "no telephone number" in browser.shown) == (422, True)
    browser.post("/console/organisation/change", {**form, "complaint_phone": "4007654321"})
    assert "Changes that wait for a decision" in browser.shown
    browser.post("/console/application/withdraw")
    browser.get("/console/organisation")
    assert "Changes that wait for a decision" not in browser.shown
    assert "Taken back" in browser.shown
    assert make_uscc(1) in browser.shown
