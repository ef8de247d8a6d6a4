"""Signing in: with the code alone, the same for every number, safe against guesses and theft."""

from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import event, func, select

from registry import create_app
from registry.models import OneTimeCode, OutboxItem, PortalSession
from registry.portal.cookie import NAME, SIGNED_IN
from registry.runtime import Registry
from tests.factories import Clock, World, make_number
from tests.portal import HOST, Browser, on_sqlite, sent_code

pytestmark = on_sqlite


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that shows pages in English."""
    return Browser(app, registry)


def ask(browser: Browser, written: str) -> Browser:
    browser.get("/sign-in")
    browser.post("/sign-in", {"number": written})
    return browser


def count(registry: Registry, table: type[object]) -> int:
    with registry.database.snapshot() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def another(code: str) -> str:
    """Return a code that is not this one."""
    return f"{(int(code) + 1) % 10**6:06}"


def test_subscriber_signs_in_with_the_code_and_out_again(browser: Browser) -> None:
    browser.sign_in()
    assert browser.page.request.path == "/my/"
    assert "138****0000" in browser.shown
    browser.post("/sign-out")
    assert "You are signed out" in browser.shown
    browser.get("/my/")
    assert browser.page.request.path == "/sign-in"


def test_subscriber_who_signed_out_signs_in_again_at_once(browser: Browser) -> None:
    for _ in range(3):
        browser.sign_in()
        browser.post("/sign-out")
    assert "You are signed out" in browser.shown


def test_asking_for_a_code_does_not_tell_who_signed_in_a_moment_ago(
    app: Flask, browser: Browser, registry: Registry
) -> None:
    browser.sign_in()
    stranger = ask(Browser(app, registry, address="192.0.2.2"), make_number().e164)
    assert stranger.page.request.path == "/sign-in/code"


def test_page_that_was_wanted_comes_after_signing_in(browser: Browser) -> None:
    browser.get("/my/refusals")
    assert browser.page.request.path == "/sign-in"
    browser.post("/sign-in", {"number": make_number().e164})
    browser.post("/sign-in/code", {"code": sent_code(browser.registry, make_number())})
    assert browser.page.request.path == "/my/refusals"


@pytest.mark.parametrize(
    "written", ["138 0000 0000", "+86-138-0000-0000", "008613800000000", "１３８００００００００"]
)
def test_number_is_read_as_people_write_it(browser: Browser, written: str) -> None:
    ask(browser, written)
    assert browser.page.request.path == "/sign-in/code"
    assert "138****0000" in browser.shown


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "no mobile number"),
        ("1380000000", "no mobile number"),
        ("138000000000", "no mobile number"),
        ("²38①0000000", "no mobile number"),
        ("106900012345", "no mobile number"),
        ("<script>alert(1)</script>", "no mobile number"),
        ("1" * 60_000, "no mobile number"),
        ("010-62345678", "Call your carrier's hotline"),
        ("+1 650 253 0000", "mainland China only"),
    ],
)
def test_number_that_gets_no_code_is_told_why(browser: Browser, written: str, told: str) -> None:
    ask(browser, written)
    assert browser.page.status_code == 422
    assert told in browser.shown
    assert "<script>alert" not in browser.page.text
    assert count(browser.registry, OneTimeCode) == 0


def test_page_is_the_same_for_known_and_unknown_numbers(
    app: Flask, registry: Registry, world: World
) -> None:
    known, refused, unknown = make_number(0), make_number(10_000), make_number(20_000)
    world.grant(known)
    world.refuse(refused)
    pages = []
    for index, number in enumerate((known, refused, unknown)):
        browser = ask(Browser(app, registry, address=f"192.0.2.{index}"), number.e164)
        text = browser.shown.replace(str(number), "NUMBER")
        pages.append((browser.page.status_code, browser.page.request.path, text))
    assert pages[0] == pages[1] == pages[2]


def test_known_and_unknown_numbers_take_the_same_statements(
    app: Flask, registry: Registry, world: World
) -> None:
    known = make_number(0)
    world.grant(known)
    world.refuse(known)
    taken: list[list[str]] = []
    for engine in (registry.database.reader, registry.database.writer):
        event.listen(
            engine, "before_cursor_execute",
            lambda _c, _k, statement, *_: taken[-1].append(statement),
        )  # fmt: skip
    for index, number in enumerate((known, make_number(20_000))):
        browser = Browser(app, registry, address=f"192.0.2.{index}")
        browser.get("/sign-in")
        taken.append([])
        browser.post("/sign-in", {"number": number.e164})
    assert taken[0] == taken[1] != []


def test_wrong_code_signs_nobody_in(browser: Browser) -> None:
    ask(browser, make_number().e164)
    wrong = another(sent_code(browser.registry, make_number()))
    for _ in range(4):
        browser.post("/sign-in/code", {"code": wrong})
        assert (browser.page.status_code, "That is not the code" in browser.shown) == (422, True)
    browser.post("/sign-in/code", {"code": wrong})
    assert "too many wrong codes" in browser.shown
    browser.post("/sign-in/code", {"code": sent_code(browser.registry, make_number())})
    assert "too many wrong codes" in browser.shown
    assert count(browser.registry, PortalSession) == 0


def test_old_code_signs_nobody_in(browser: Browser, clock: Clock) -> None:
    ask(browser, make_number().e164)
    clock.pass_(minutes=5)
    browser.post("/sign-in/code", {"code": sent_code(browser.registry, make_number())})
    assert "too old or was used" in browser.shown
    assert count(browser.registry, PortalSession) == 0


def test_code_signs_in_once(app: Flask, browser: Browser, registry: Registry) -> None:
    ask(browser, make_number().e164)
    code = sent_code(registry, make_number())
    cookie = browser.client.get_cookie(NAME, "registry.test")
    assert cookie is not None
    thief = Browser(app, registry)
    thief.client.set_cookie(NAME, cookie.value, domain="registry.test", secure=True)
    browser.post("/sign-in/code", {"code": code})
    assert browser.page.request.path == "/my/"
    thief.get("/sign-in/code")
    thief.post("/sign-in/code", {"code": code})
    assert "too old or was used" in thief.shown
    assert count(registry, PortalSession) == 1


def test_code_signs_in_only_the_browser_that_asked(
    app: Flask, browser: Browser, registry: Registry
) -> None:
    ask(browser, make_number().e164)
    code = sent_code(registry, make_number())
    other = ask(Browser(app, registry, address="192.0.2.2"), make_number(50_000).e164)
    other.post("/sign-in/code", {"code": code})
    assert other.page.status_code == 422
    assert count(registry, PortalSession) == 0


def test_asking_too_often_tells_how_long_to_wait(browser: Browser, clock: Clock) -> None:
    ask(browser, make_number().e164)
    ask(browser, make_number().e164)
    assert (browser.page.status_code, browser.page.headers["Retry-After"]) == (429, "60")
    assert "Please wait 1 minute " in browser.shown
    clock.pass_(seconds=60)
    ask(browser, make_number().e164)
    ask(browser, make_number().e164)
    assert "Please wait 2 minutes " in browser.shown
    assert count(browser.registry, OutboxItem) == 2


def test_cookie_of_before_signing_in_opens_nothing_afterwards(
    app: Flask, browser: Browser, registry: Registry
) -> None:
    ask(browser, make_number().e164)
    planted = browser.client.get_cookie(NAME, "registry.test")
    assert planted is not None
    browser.post("/sign-in/code", {"code": sent_code(registry, make_number())})
    assert browser.page.request.path == "/my/"
    attacker = Browser(app, registry)
    attacker.client.set_cookie(NAME, planted.value, domain="registry.test", secure=True)
    attacker.get("/my/")
    assert attacker.page.request.path == "/sign-in"


def test_token_of_a_form_from_before_signing_in_is_void(browser: Browser) -> None:
    ask(browser, make_number().e164)
    old = browser.token()
    browser.post("/sign-in/code", {"code": sent_code(browser.registry, make_number())})
    browser.post("/my/refuse-everything", {"csrf_token": old})
    assert browser.page.status_code == 400
    assert "This page is old" in browser.shown


def test_copied_cookie_is_worthless_after_signing_out(
    app: Flask, browser: Browser, registry: Registry
) -> None:
    browser.sign_in()
    copied = browser.client.get_cookie(NAME, "registry.test")
    assert copied is not None
    browser.post("/sign-out")
    thief = Browser(app, registry)
    thief.client.set_cookie(NAME, copied.value, domain="registry.test", secure=True)
    thief.get("/my/")
    assert thief.page.request.path == "/sign-in"


def test_idle_visitor_signs_in_again(browser: Browser, clock: Clock) -> None:
    browser.sign_in()
    for _ in range(4):
        clock.pass_(minutes=10)
        assert browser.get("/my/").request.path == "/my/"
    clock.pass_(minutes=15)
    assert browser.get("/my/").request.path == "/sign-in"


@pytest.mark.parametrize(
    ("language", "told"),
    [("en", "You were signed out, so nothing was saved"), ("zh", "刚才的内容没有保存")],
)
def test_what_is_sent_after_the_session_ended_is_said_not_to_be_saved(
    app: Flask, registry: Registry, world: World, clock: Clock, language: str, told: str
) -> None:
    browser = Browser(app, registry, language=language).sign_in()
    browser.get("/my/complaints/new")
    clock.pass_(minutes=15)
    browser.post("/my/complaints", {"text": "They never asked me."})
    assert browser.page.request.path == "/sign-in"
    assert told in browser.shown
    browser.get("/sign-in")
    assert told not in browser.shown
    browser.get("/my/complaints/new")
    assert browser.page.request.path == "/sign-in"
    assert told not in browser.shown


def test_signing_in_again_ends_the_session_before(browser: Browser, clock: Clock) -> None:
    browser.sign_in(make_number())
    browser.sign_in(make_number(10_000))
    with browser.registry.database.snapshot() as session:
        ended = session.scalars(select(PortalSession.ended_at).order_by(PortalSession.id)).all()
    assert [at is None for at in ended] == [False, True]
    assert "138****0000" in browser.shown


def test_new_subscriber_of_a_number_is_not_signed_in_by_the_one_before(
    browser: Browser, world: World, clock: Clock
) -> None:
    browser.sign_in()
    clock.pass_(minutes=1)
    world.reassign()
    assert browser.get("/my/").request.path == "/sign-in"


def test_cookie_is_secure_and_holds_no_number(browser: Browser, app: Flask) -> None:
    browser.sign_in()
    cookie = browser.client.get_cookie(NAME, "registry.test")
    assert cookie is not None
    assert (cookie.secure, cookie.http_only, cookie.same_site) == (True, True, "Lax")
    with browser.client.session_transaction(base_url=HOST) as kept:
        assert set(kept) <= {SIGNED_IN, "csrf_token", "language", "_permanent"}
        assert not any("138" in str(value) for name, value in kept.items() if name == "language")


def test_page_that_was_wanted_is_one_of_ours(browser: Browser) -> None:
    for hostile in ("//evil.test/my", "https://evil.test/my", "/myevil", "/sign-out"):
        with browser.client.session_transaction(base_url=HOST) as kept:
            kept["wanted"] = hostile
        browser.sign_in(make_number(10_000 * len(hostile)))
        assert browser.page.request.host == "registry.test"
        assert browser.page.request.path == "/my/"


def test_addresses_behind_a_named_proxy_are_told_apart(registry: Registry, world: World) -> None:
    settings = replace(registry.settings, proxies=1)
    rules = replace(registry.policy, codes=replace(registry.policy.codes, per_address_per_hour=1))
    app = create_app(replace(registry, settings=settings, policy=rules))
    browser = Browser(app, registry)
    for index, (forwarded, status) in enumerate(
        [("198.51.100.1", 200), ("198.51.100.1", 429), ("198.51.100.2", 200)]
    ):
        browser.get("/sign-in")
        browser.post(
            "/sign-in", {"number": make_number(index * 10_000).e164}, X_Forwarded_For=forwarded
        )
        assert browser.page.status_code == status
    app.extensions["recorder"].close()


def test_page_that_was_wanted_keeps_what_it_names_by_id_and_nothing_else(
    browser: Browser, world: World
) -> None:
    other = world.other_sender.id
    browser.get(f"/my/refusals?sender={other}&number=13800000000&lookup=13800000000")
    browser.post("/sign-in", {"number": make_number().e164})
    browser.post("/sign-in/code", {"code": sent_code(browser.registry, make_number())})
    assert browser.page.request.full_path == f"/my/refusals?sender={other}"
    assert f'<option value="{other}" selected>' in browser.page.text


def test_page_follows_signing_in_for_the_download(browser: Browser) -> None:
    browser.get("/my/data.json")
    browser.post("/sign-in", {"number": make_number().e164})
    browser.post("/sign-in/code", {"code": sent_code(browser.registry, make_number())})
    assert browser.page.request.path == "/my/data"


def test_signing_out_empties_the_cache(browser: Browser) -> None:
    browser.sign_in()
    sent = {"csrf_token": browser.token()}
    answer = browser.client.post(
        "/sign-out", data=sent, base_url=HOST, headers={"Referer": HOST + "/"}
    )
    assert answer.headers["Clear-Site-Data"] == '"cache"'


@pytest.mark.parametrize("page", ["/", "/my", "/who", "/help"])
def test_every_page_lets_whoever_is_signed_in_sign_out(browser: Browser, page: str) -> None:
    browser.get(page)
    assert 'action="/sign-out"' not in browser.page.text
    browser.sign_in().get(page)
    assert browser.page.status_code == 200
    assert 'action="/sign-out"' in browser.page.text
    browser.post("/sign-out")
    assert browser.get("/my/").request.path == "/sign-in"
