"""Coming into the console: attacks on the door, sessions, and applying for an organisation."""

import logging
import re
from io import BytesIO

import pytest
from flask import Flask
from sqlalchemy import event

from registry import senders
from registry.members import attempts
from registry.models import ApplicationState, MemberRole
from registry.portal.cookie import MEMBER, NAME, SIGNED_IN
from registry.runtime import Registry
from tests.console import PASSWORD, Console, code_of, make_member
from tests.factories import Clock, World, count_rows, make_number, make_uscc
from tests.portal import HOST, Browser, on_sqlite

pytestmark = on_sqlite
KNOWN, UNKNOWN = "li@example.cn", "nobody@example.cn"
APPLICATION = {
    "kind": "sender",
    "name": "Xinghe Stores",
    "uscc": make_uscc(500),
    "licence_number": "A2.B1-2026",
    "contact_name": "Li Ming",
    "contact_phone": "4001234567",
    "complaint_phone": "4007654321",
    "member_name": "Li Ming",
    "email": KNOWN,
    "password": PASSWORD,
}


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Console:
    """Return a browser that shows pages in English."""
    return Console(app, registry)


def token(browser: Browser) -> str:
    """Return the secret of the member's session that the browser's cookie keeps."""
    with browser.client.session_transaction(base_url=HOST) as kept:
        return str(kept.get(MEMBER, ""))


def test_answer_and_statements_are_the_same_for_known_and_unknown(
    app: Flask, registry: Registry, world: World
) -> None:
    make_member(world, email=KNOWN)
    seen: dict[str, list[str]] = {}
    pages = {}
    for index, email in enumerate((KNOWN, UNKNOWN)):
        stranger = Console(app, registry, address=f"192.0.2.{index + 1}")
        stranger.get("/console/sign-in")
        statements = seen[email] = []

        def note(_c: object, _u: object, statement: str, *_: object) -> None:
            # Of the two rows that are counted either may come first: their keys are digests.
            if not statement.startswith("UPDATE attempts"):
                statements.append(statement)  # noqa: B023 (used at once)

        for engine in (registry.database.writer, registry.database.reader):
            event.listen(engine, "before_cursor_execute", note)
        answers = []
        for _ in range(attempts.FREE + 1):
            stranger.password(email, "a wrong password")
            answers.append((stranger.page.status_code, stranger.shown.replace(email, "E")))
        for engine in (registry.database.writer, registry.database.reader):
            event.remove(engine, "before_cursor_execute", note)
        pages[email] = answers
    assert pages[KNOWN] == pages[UNKNOWN]
    assert [status for status, _shown in pages[KNOWN]] == [422] * attempts.FREE + [429]
    assert seen[KNOWN] == seen[UNKNOWN]


def test_wrong_passwords_make_the_right_one_wait(
    browser: Console, world: World, clock: Clock
) -> None:
    member = make_member(world, email=KNOWN)
    for _ in range(attempts.FREE):
        browser.password(KNOWN, "a wrong password")
    browser.password(KNOWN)
    assert browser.page.status_code == 429
    assert browser.page.headers["Retry-After"] == "30"
    assert "many tries lately" in browser.shown
    assert token(browser) == ""
    browser.enter(member)


def test_code_that_was_used_signs_nobody_in_again(
    app: Flask, registry: Registry, browser: Console, world: World, clock: Clock
) -> None:
    member = make_member(world, email=KNOWN)
    browser.enter(member)
    thief = Console(app, registry, address="192.0.2.66").password(KNOWN)
    thief.post("/console/sign-in/code", {"code": code_of(registry, KNOWN)})
    assert (thief.page.status_code, "used already" in thief.shown) == (422, True)
    assert thief.get("/console/").request.path == "/console/sign-in/code"
    clock.pass_(seconds=30)
    thief.post("/console/sign-in/code", {"code": code_of(registry, KNOWN)})
    assert thief.page.request.path == "/console/"


def test_password_alone_opens_nothing_and_lapses(
    browser: Console, world: World, clock: Clock
) -> None:
    make_member(world, email=KNOWN)
    browser.password(KNOWN)
    for path in ("/console/", "/console/keys", "/console/team", "/console/account"):
        assert browser.get(path).request.path == "/console/sign-in/code"
    before = count_rows(browser.registry)
    for path in ("/console/keys", "/console/team", "/console/account/sign-out-everywhere"):
        browser.get("/console/sign-in/code")
        assert browser.post(path).request.path == "/console/sign-in/code"
    # With a second factor that is set up, nobody sets up another one.
    browser.post("/console/second-factor", {"code": code_of(browser.registry, KNOWN)})
    assert browser.page.status_code == 422
    assert {**count_rows(browser.registry), "attempts": 0} == {**before, "attempts": 0}
    clock.pass_(minutes=30)
    assert browser.get("/console/sign-in/code").request.path == "/console/sign-in"


def test_each_step_begins_a_new_session_and_keeps_nothing_planted(
    app: Flask, registry: Registry, browser: Console, world: World, clock: Clock
) -> None:
    make_member(world, email=KNOWN)
    other = make_member(world, world.other_sender, email="attacker@example.cn")
    attacker = Console(app, registry, address="192.0.2.66").enter(other)
    planted = attacker.client.get_cookie(NAME, "registry.test")
    assert planted is not None
    browser.client.set_cookie(NAME, planted.value, domain="registry.test", secure=True)
    clock.pass_(seconds=30)
    browser.password(KNOWN)
    half = token(browser)
    browser.post("/console/sign-in/code", {"code": code_of(registry, KNOWN)})
    whole = token(browser)
    assert len({token(attacker), half, whole}) == 3
    assert "sender 1" in browser.shown
    # The planted session ended with the sign-in; the half one with the second factor.
    assert attacker.get("/console/").request.path == "/console/sign-in"
    with browser.client.session_transaction(base_url=HOST) as kept:
        kept[MEMBER] = half
    assert browser.get("/console/").request.path == "/console/sign-in"


def test_sign_ins_of_subscriber_and_member_do_not_mix(
    browser: Console, world: World, clock: Clock
) -> None:
    member = make_member(world, email=KNOWN)
    browser.sign_in(make_number())
    with browser.client.session_transaction(base_url=HOST) as kept:
        kept[MEMBER] = kept[SIGNED_IN]
    assert browser.get("/console/").request.path == "/console/sign-in"
    browser.enter(member)
    with browser.client.session_transaction(base_url=HOST) as kept:
        assert SIGNED_IN not in kept
        kept[SIGNED_IN] = kept[MEMBER]
    assert browser.get("/my/").request.path == "/sign-in"


def test_no_form_is_taken_without_its_token(browser: Console, world: World) -> None:
    browser.enter(make_member(world, email=KNOWN))
    for path in (
        "/console/keys", "/console/team", "/console/account/password", "/console/sign-in",
        "/console/sign-in/code", "/console/join", "/console/apply", "/console/sign-out",
    ):  # fmt: skip
        answer = browser.client.post(path, data={}, base_url=HOST, headers={"Accept": "text/html"})
        assert (answer.status_code, "This page is old" in answer.text) == (400, True), path
    assert browser.get("/console/").status_code == 200


def test_session_ends_when_idle_and_after_half_a_day(
    browser: Console, world: World, clock: Clock
) -> None:
    member = make_member(world, email=KNOWN)
    browser.enter(member)
    clock.pass_(minutes=29)
    assert browser.get("/console/team").request.path == "/console/team"
    clock.pass_(minutes=30)
    assert browser.get("/console/team").request.path == "/console/sign-in"
    browser.enter_again(member)
    assert browser.page.request.path == "/console/team"
    for _ in range(25):
        clock.pass_(minutes=29)
        browser.get("/console/more")
    assert browser.page.request.path == "/console/sign-in"


def test_signing_out_here_and_everywhere(
    app: Flask, registry: Registry, browser: Console, world: World
) -> None:
    member = make_member(world, email=KNOWN)
    browser.enter(member)
    kept = token(browser)
    browser.post("/console/sign-out")
    assert "You are signed out" in browser.shown
    with browser.client.session_transaction(base_url=HOST) as session:
        session[MEMBER] = kept
    assert browser.get("/console/").request.path == "/console/sign-in"
    second = Console(app, registry, address="192.0.2.2").enter(member)
    browser.enter(member)
    browser.get("/console/account")
    browser.post("/console/account/sign-out-everywhere")
    assert second.get("/console/").request.path == "/console/sign-in"


def test_new_password_takes_the_old_one_and_ends_other_sessions(
    app: Flask, registry: Registry, browser: Console, world: World
) -> None:
    member = make_member(world, email=KNOWN)
    second = Console(app, registry, address="192.0.2.2").enter(member)
    browser.enter(member)
    browser.get("/console/account")
    new = "four loud sparrows"
    browser.post("/console/account/password", {"old": "a wrong password", "password": new})
    assert (browser.page.status_code, "not your password" in browser.shown) == (422, True)
    browser.post("/console/account/password", {"old": PASSWORD, "password": "123456789012"})
    assert (browser.page.status_code, "tried first" in browser.shown) == (422, True)
    browser.post("/console/account/password", {"old": PASSWORD, "password": new})
    assert "Your password is changed" in browser.shown
    assert second.get("/console/").request.path == "/console/sign-in"
    assert browser.get("/console/").request.path == "/console/"
    assert second.password(KNOWN).page.status_code == 422
    assert second.password(KNOWN, new).page.request.path == "/console/sign-in/code"


def apply(browser: Console, **more: str) -> Console:
    browser.get("/console/apply")
    browser.post("/console/apply", {**APPLICATION, **more})
    return browser


def test_application_says_what_is_wrong_and_keeps_what_was_written(
    browser: Console, world: World
) -> None:
    before = count_rows(world.registry)
    for wrong, told in (
        ({"uscc": "91110000"}, "no valid code"),
        ({"uscc": make_uscc(1)}, "is registered"),
        ({"kind": "regulator"}, "choose one"),
        ({"complaint_phone": "ask Li"}, "no telephone number"),
        ({"name": " "}, "1 to 100 characters"),
        ({"email": "li"}, "no e-mail address"),
        ({"password": "Password2026!"}, "tried first"),
    ):
        apply(browser, **wrong)
        assert (browser.page.status_code, told in browser.shown) == (422, True), browser.shown
        assert "A2.B1-2026" in browser.page.text
        assert PASSWORD not in browser.page.text
    assert {**count_rows(world.registry), "attempts": 0} == {**before, "attempts": 0}


def test_applicant_follows_corrects_and_comes_in(
    browser: Console, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    apply(browser)
    assert "Set up the second factor" in browser.shown
    assert 'aria-hidden="true" focusable="false" width=' in browser.page.text
    browser.confirm(KNOWN)
    assert "Under review" in browser.shown
    for path in ("keys", "team", "organisation"):
        assert browser.get(f"/console/{path}").request.path == "/console/application"
    assert browser.post("/console/keys").status_code == 404
    browser.get("/console/")
    send_file(browser, b"%PDF-1.7 licence", "../licence.pdf")
    assert "licence.pdf" in browser.shown
    send_file(browser, b"MZ\x90\x00\x03\x00", "run.exe")
    assert "PDF, PNG or JPEG" in browser.shown
    link = re.search(r'href="(/console/application/documents/[^"]+)"', browser.page.text)
    assert link is not None
    sent = browser.get(link.group(1))
    assert sent.data == b"%PDF-1.7 licence"
    assert sent.headers["Content-Disposition"].startswith("attachment")
    decide(world, "The licence is unreadable.")
    assert "The licence is unreadable." in browser.get("/console/").text
    browser.get("/console/application/correct")
    browser.post("/console/application/correct", {**APPLICATION, "licence_number": "A2.B1-2027"})
    assert "Under review" in browser.shown
    decide(world, None)
    assert browser.get("/console/").request.path == "/console/"
    assert "Complaints to answer" in browser.shown
    assert browser.get("/console/keys").status_code == 200
    logged = caplog.text
    for secret in (PASSWORD, KNOWN, token(browser)):
        assert secret not in logged


def send_file(browser: Console, content: bytes, name: str) -> None:
    form = {"csrf_token": browser.token(), "document": (BytesIO(content), name)}
    browser.page = browser.client.post(
        "/console/application/documents",
        data=form,
        base_url=HOST,
        headers={"Accept": "text/html", "Referer": HOST + "/"},
        follow_redirects=True,
    )


def decide(world: World, reason: str | None) -> None:
    """Decide, as the operator, about the application that waits: reject it for a reason."""

    def act(session: object) -> None:
        [row] = senders.applications(session, state=ApplicationState.SUBMITTED)  # type: ignore[arg-type]
        senders.decide_application(
            session,  # type: ignore[arg-type]
            row.id,
            approve=reason is None,
            reason=reason,
            actor_id=world.operator.id,
            now=world.registry.clock(),
        )

    world.do(act)


def test_codes_of_the_demo_are_shown_in_a_demo_only(
    browser: Console, registry: Registry, world: World
) -> None:
    make_member(world, email=KNOWN, role=MemberRole.VIEWER)
    assert browser.get("/demo/totp").status_code == 404
    registry.demo = True
    assert code_of(registry, KNOWN) in browser.get("/demo/totp").text
