"""The console in a real browser: coming in, and how all its pages are made."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from flask import Flask
from playwright.sync_api import Browser
from sqlalchemy.orm import Session

from registry import access, senders
from registry.consent import Topic
from registry.models import MemberRole
from registry.runtime import Registry
from tests.browser import DESK, PHONE, Visitor, chromium, served, visiting
from tests.console import PASSWORD, code_of, make_member
from tests.factories import Client, Clock, World, make_number, make_uscc

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
Visit = Callable[..., AbstractContextManager[Visitor]]

DOOR = ["/console/sign-in", "/console/join", "/console/apply", "/console/nothing-here"]
PAGES = [
    "/console/", "/console/more", "/console/keys", "/console/keys/{key}/replace",
    "/console/keys/{key}/revoke", "/console/team", "/console/team/{colleague}",
    "/console/team/{colleague}/end", "/console/organisation", "/console/organisation/change",
    "/console/account",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Lend one Chromium to all tests of the module."""
    with chromium() as started:
        yield started


@pytest.fixture
def visit(browser: Browser, app: Flask, world: World, registry: Registry) -> Iterator[Visit]:
    """Return what opens a window: `with visit(language=...) as visitor`."""
    with served(app) as (address, _asked):
        yield lambda **how: visiting(browser, address, registry, **how)


@pytest.fixture
def full(world: World, client: Client, app: Flask, clock: Clock) -> dict[str, object]:
    """Give the sender something of everything; return what its pages' addresses name."""
    make_member(world, email="li@example.cn", name="Li Ming")
    colleague = make_member(world, role=MemberRole.AGENT)
    for index, topic in enumerate((Topic.RETAIL, Topic.RETAIL, Topic.TRAVEL, Topic.GAMES)):
        [consent] = world.grant(make_number(index), topics=(topic,))
        if index == 1:
            world.withdraw(consent)
    world.ask(topics=(Topic.HEALTH,))
    client.lookup()
    client.lookup("13800000009")
    app.extensions["recorder"].flush()
    return {"colleague": colleague.id, "key": world.do(lambda session: _fill(session, world))}


def _fill(session: Session, world: World) -> object:
    """Make a key that ends soon, changes that wait, and a suspension that is appealed against."""
    now, own = world.registry.clock(), world.sender.id
    key, _text = access.issue(
        session, world.sender, access.SCOPES[world.sender.kind], now + timedelta(days=9),
        actor_id=None, now=now, label="shop",
    )  # fmt: skip
    changes = senders.Changes("Li", licence_number="A2-1", complaint_phone="4007654321")
    senders.propose(session, own, changes, now=now)
    senders.suspend(
        session, own, "投诉过多。", starts_at=now + timedelta(days=3), actor_id=None, now=now
    )
    suspension = senders.suspension(session, own)
    assert suspension is not None
    senders.appeal(session, suspension.id, "均已取得同意。", organisation_id=own, now=now)
    return key.id


def sign_in(visitor: Visitor, clock: Clock, email: str = "li@example.cn") -> None:
    clock.pass_(seconds=30)
    visitor.open("/console/sign-in")
    visitor.write("E-mail", email)
    visitor.page.locator("#password").fill(PASSWORD)
    visitor.press("Go on")
    visitor.page.locator("#code").fill(code_of(visitor.registry, email))
    visitor.page.get_by_role("main").get_by_role("button").click()
    visitor.page.wait_for_url("**/console/")


@pytest.mark.parametrize(("language", "scripts"), [("zh", False), ("en", True)])
def test_story_apply_set_up_look_around(
    visit: Visit, world: World, clock: Clock, language: str, scripts: bool
) -> None:
    with visit(language=language, scripts=scripts) as visitor:
        visitor.open("/console/")
        visitor.press("My organisation is not registered yet: apply for it")
        visitor.page.locator("input[value=sender]").check()
        for field, text in {
            "uscc": make_uscc(500), "name": "Xinghe", "licence_number": "A2-1",
            "contact_name": "Wang", "contact_phone": "4001234567",
            "complaint_phone": "4001234567", "member_name": "Wang", "email": "wang@example.cn",
            "password": PASSWORD,
        }.items():  # fmt: skip
            visitor.page.locator(f"#{field}").fill(text)
        visitor.press("Send the application")
        assert visitor.page.locator("svg.qr").bounding_box() is not None
        assert not scripts or visitor.violations() == []
        visitor.page.locator("#code").fill(code_of(visitor.registry, "wang@example.cn"))
        visitor.press("Finish")
        visitor.reads("Under review")
        assert not scripts or visitor.violations() == []
        visitor.press("My account")
        visitor.reads("This browser")
        visitor.press("Sign out everywhere")
        visitor.reads("You are signed out everywhere.")


@pytest.mark.parametrize(("language", "size", "dark"), [("zh", PHONE, False), ("en", DESK, True)])
def test_every_page_is_accessible_and_fits(
    visit: Visit, full: dict[str, object], clock: Clock, language: str,
    size: tuple[int, int], dark: bool,
) -> None:  # fmt: skip
    with visit(language=language, size=size, dark=dark) as visitor:
        found = [problem for path in DOOR for problem in check(visitor, path)]
        sign_in(visitor, clock)
        found += [problem for path in PAGES for problem in check(visitor, path.format(**full))]
        visitor.open("/console/keys")
        visitor.page.locator("#label").fill("program")
        visitor.page.get_by_role("checkbox").first.check()
        visitor.press("Make the key")
        found += check(visitor)
    assert found == []


def check(visitor: Visitor, path: str | None = None) -> list[str]:
    """Open a page and return what is wrong with how it is made."""
    if path is not None:
        visitor.open(path)
        visitor.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    where = path or visitor.page.url
    wide = visitor.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    found = [f"{where} is {wide} pixels too wide"] if wide > 0 else []
    text = visitor.page.get_by_role("main").inner_text()
    if "%(" in text or "{{" in text or re.search(r"(?m)^None$", text):
        found.append(f"{where} shows something that is not for people")
    found += visitor.violations()
    return found if visitor.chinese is None else [*found, *english(visitor, where)]


def english(visitor: Visitor, path: str) -> list[str]:
    """Return what stands in English on a Chinese page, but for what organisations wrote."""
    visitor.page.evaluate("document.querySelectorAll('blockquote, bdi').forEach(n => n.remove())")
    text = " ".join(visitor.page.locator("main, nav, footer").all_inner_texts())
    words = re.findall(r"\b[a-z]{4,}\b", re.sub(r"“[^”]*”|\S+@\S+", "", text))
    return [f"{path} says {word}" for word in words if word not in ("sender", "agent")]
