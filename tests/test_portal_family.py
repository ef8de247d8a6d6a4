"""Looking after others on pages: by the other one's code alone, for as long as both want it."""

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select

from registry import family
from registry.models import (
    Event,
    FamilyEnd,
    FamilyLink,
    Notice,
    OneTimeCode,
    OutboxItem,
    Refusal,
)
from registry.numbers import SubscriberNumber
from registry.runtime import Registry
from tests.factories import Clock, World, make_number
from tests.portal import Browser, on_sqlite, sent_code
from tests.test_family import join

pytestmark = on_sqlite

CARER, MEMBER, THIRD = make_number(), make_number(14_321), make_number(29_876)
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that is signed in, and shows pages in English."""
    return Browser(app, registry).sign_in(CARER)


def another(app: Flask, registry: Registry, number: SubscriberNumber, clock: Clock) -> Browser:
    """Sign somebody else in, when no code was sent to that number just before."""
    clock.pass_(minutes=5)
    return Browser(app, registry, address="192.0.2.77").sign_in(number)


def ask(browser: Browser, number: str = MEMBER.e164, label: str = "Mum") -> Browser:
    browser.get("/my/family")
    browser.post("/my/family", {"number": number, "label": label})
    return browser


def enter(browser: Browser, code: str) -> Browser:
    """Type a code into the page that asks for it."""
    browser.post(browser.page.request.path, {"code": code})
    return browser


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06}"


def links(registry: Registry) -> list[FamilyLink]:
    with registry.database.snapshot() as session:
        return list(session.scalars(select(FamilyLink).order_by(FamilyLink.id)))


def count(registry: Registry, table: type[Any]) -> int:
    with registry.database.snapshot() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def told(registry: Registry, notice: Notice) -> list[SubscriberNumber]:
    """Return who was told something by SMS."""
    with registry.database.snapshot() as session:
        return list(session.scalars(select(OutboxItem.number).where(OutboxItem.notice == notice)))


def test_family_of_nobody_is_shown_as_such(browser: Browser) -> None:
    browser.get("/my/family")
    assert "You look after nobody yet" in browser.shown
    assert "Nobody but you" in browser.shown


def test_carer_acts_for_a_member_who_agreed_by_a_code(
    app: Flask, browser: Browser, registry: Registry, clock: Clock
) -> None:
    ask(browser)
    [link] = links(registry)
    assert browser.page.request.path == f"/my/family/{link.id}/code"
    assert "Mum 13800014321" in browser.shown
    assert told(registry, Notice.CODE) == [CARER, MEMBER]
    enter(browser, sent_code(registry, MEMBER))
    assert browser.page.request.path == "/my/family"
    assert "You now look after 13800014321" in browser.shown
    assert f'href="/my/for/{link.id}/"' in browser.page.text

    browser.get(f"/my/for/{link.id}/")
    assert "You are acting for Mum 13800014321" in browser.shown
    browser.post(f"/my/for/{link.id}/refuse-everything")
    with registry.database.snapshot() as session:
        [refusal] = session.scalars(select(Refusal))
        event = session.get_one(Event, refusal.event_id)
    assert refusal.number == MEMBER
    assert json.loads(event.payload)["family_link"] == str(link.id)

    member = another(app, registry, MEMBER, clock)
    member.get("/my/history")
    assert "13800000000, as one of the family" in member.shown
    member.get("/my/family")
    assert "13800000000" in member.shown


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("", "no mobile number"),
        ("13800", "no mobile number"),
        ("106900012345", "no mobile number"),
        (HOSTILE, "no mobile number"),
        ("9" * 5000, "no mobile number"),
        ("010-62345678", "Let its owner call the carrier's hotline"),
        ("+1 650 253 0000", "mainland China only"),
        (CARER.e164, "This is your own number"),
        ("138 0000 0000", "This is your own number"),
    ],
)
def test_number_that_cannot_be_asked_is_told_why(
    browser: Browser, registry: Registry, number: str, said: str
) -> None:
    ask(browser, number, label="Aunt")
    assert browser.page.status_code == 422
    assert said in browser.shown
    assert 'value="Aunt"' in browser.page.text
    assert HOSTILE not in browser.page.text
    assert links(registry) == []
    assert count(registry, OneTimeCode) == 1  # that of signing in


def test_number_that_is_looked_after_is_not_asked_again(
    browser: Browser, registry: Registry, clock: Clock
) -> None:
    join(registry, member=MEMBER, carer=CARER)
    clock.pass_(minutes=5)
    ask(browser)
    assert browser.page.status_code == 422
    assert "You look after this number already" in browser.shown
    assert len(links(registry)) == 1


def test_ninth_number_is_one_too_many(browser: Browser, registry: Registry) -> None:
    for index in range(family.MOST_MEMBERS):
        join(registry, member=make_number(100_000 * (index + 1)), carer=CARER)
    ask(browser)
    assert browser.page.status_code == 422
    assert "You look after 8 numbers or have asked them" in browser.shown
    assert len(links(registry)) == family.MOST_MEMBERS


def test_wrong_code_agrees_to_nothing(browser: Browser, registry: Registry) -> None:
    ask(browser)
    code = sent_code(registry, MEMBER)
    for _ in range(4):
        enter(browser, wrong(code))
        assert browser.page.status_code == 422
        assert "That is not the code" in browser.shown
    enter(browser, wrong(code))
    assert "too many wrong codes" in browser.shown
    enter(browser, code)
    assert "too many wrong codes" in browser.shown
    assert links(registry)[0].agreed_at is None


def test_code_that_is_too_old_agrees_to_nothing(
    browser: Browser, registry: Registry, clock: Clock
) -> None:
    ask(browser)
    path = browser.page.request.path
    clock.pass_(minutes=5)
    browser.get(path)
    assert "The last code is too old" in browser.shown
    enter(browser, sent_code(registry, MEMBER))
    assert browser.page.status_code == 422
    assert "too old or was used" in browser.shown


def test_new_code_is_sent_after_a_wait_and_replaces_the_old_one(
    browser: Browser, registry: Registry, clock: Clock
) -> None:
    ask(browser)
    page = browser.page.request.path
    first = sent_code(registry, MEMBER)
    browser.post(page.replace("/code", "/again"))
    assert (browser.page.status_code, browser.page.headers["Retry-After"]) == (429, "60")
    assert "Please wait 1 minute " in browser.shown
    clock.pass_(minutes=1)
    browser.get(page)
    browser.post(page.replace("/code", "/again"))
    assert "A new code is on its way" in browser.shown
    assert browser.page.request.path == page
    second = sent_code(registry, MEMBER)
    if first != second:
        assert enter(browser, first).page.status_code == 422
        browser.get(page)
    enter(browser, second)
    assert "You now look after" in browser.shown


def test_asking_too_often_tells_how_long_to_wait(browser: Browser, registry: Registry) -> None:
    ask(browser)
    ask(browser)
    assert (browser.page.status_code, browser.page.headers["Retry-After"]) == (429, "60")
    assert "Please wait 1 minute " in browser.shown
    assert f'value="{MEMBER.e164}"' in browser.page.text
    assert len(links(registry)) == 1


def test_code_of_another_act_agrees_to_nothing(
    app: Flask, browser: Browser, registry: Registry, clock: Clock
) -> None:
    ask(browser)
    page = browser.page.request.path
    # The member's code for signing in, and the code of another member.
    clock.pass_(minutes=2)
    other = Browser(app, registry, address="192.0.2.5")
    other.get("/sign-in")
    other.post("/sign-in", {"number": MEMBER.e164})
    signing_in = sent_code(registry, MEMBER)
    ask(browser, THIRD.e164)
    third = sent_code(registry, THIRD)
    browser.get(page)
    family_code = _family_code(registry, MEMBER)
    for code in {signing_in, third} - {family_code}:
        enter(browser, code)
        assert browser.page.status_code == 422
    assert [link.agreed_at for link in links(registry)] == [None, None]
    # And that of looking after signs nobody in.
    other.get("/sign-in/code")
    if family_code != signing_in:
        other.post("/sign-in/code", {"code": family_code})
        assert other.page.status_code == 422


def _family_code(registry: Registry, number: SubscriberNumber) -> str:
    with registry.database.snapshot() as session:
        items = session.scalars(select(OutboxItem).where(OutboxItem.number == number))
        said = [json.loads(item.details or "{}") for item in items]
    [code] = [each["code"] for each in said if each.get("purpose") == "family"]
    return str(code)


def test_double_click_agrees_once(browser: Browser, registry: Registry) -> None:
    ask(browser)
    page = browser.page.request.path
    code = sent_code(registry, MEMBER)
    for _ in range(2):
        browser.post(page, {"code": code})
        assert browser.page.request.path == "/my/family"
    with registry.database.snapshot() as session:
        agreed = select(func.count()).where(Event.kind == "family_agreed")
        assert session.scalar(agreed) == 2  # one on either number
    assert browser.get(page).request.path == "/my/family"


def test_label_is_trimmed_and_shown_as_text(browser: Browser, registry: Registry) -> None:
    ask(browser, label=f"  {HOSTILE}\n\t and \u202e  more")
    [link] = links(registry)
    assert link.label == f"{HOSTILE} and more"[:40]
    enter(browser, sent_code(registry, MEMBER))
    for path in ("/my/family", f"/my/for/{link.id}/", f"/my/family/{link.id}/end", "/my/data"):
        assert HOSTILE not in browser.get(path).text
    ask(browser, THIRD.e164, label="x" * 5000)
    assert links(registry)[1].label == "x" * 40


def test_member_without_a_label_is_shown_by_the_number(
    browser: Browser, registry: Registry
) -> None:
    ask(browser, label=" ")
    assert links(registry)[0].label is None
    enter(browser, sent_code(registry, MEMBER))
    assert re.search(r"<h3>13800014321</h3>", browser.page.text)


@pytest.mark.parametrize("who", [CARER, MEMBER])
def test_either_side_ends_it_at_once_after_being_asked(
    app: Flask, browser: Browser, registry: Registry, clock: Clock, who: SubscriberNumber
) -> None:
    link = join(registry, member=MEMBER, carer=CARER)
    ending = browser if who == CARER else another(app, registry, MEMBER, clock)
    ending.get("/my/family")
    assert f'href="/my/family/{link.id}/end"' in ending.page.text
    ending.get(f"/my/family/{link.id}/end")
    asked = "Stop looking after 13800014321?" if who == CARER else "no longer look after you?"
    assert asked in ending.shown
    assert links(registry)[0].ended_at is None
    ending.post(f"/my/family/{link.id}/end")
    assert "It is ended, at once" in ending.shown
    side = FamilyEnd.CARER if who == CARER else FamilyEnd.MEMBER
    assert links(registry)[0].ended_by is side
    assert told(registry, Notice.FAMILY_ENDED) == [MEMBER if who == CARER else CARER]
    if who == MEMBER:
        browser.sign_in(CARER)
    assert browser.get(f"/my/for/{link.id}/").status_code == 404
    # The back button, and a second tap: nothing more happens.
    ending.post(f"/my/family/{link.id}/end")
    assert ending.page.status_code == 200
    assert len(told(registry, Notice.FAMILY_ENDED)) == 1
    assert ending.get(f"/my/family/{link.id}/end").status_code == 404


def test_carer_is_out_at_once_when_the_member_ends_it(
    browser: Browser, registry: Registry, world: World, clock: Clock
) -> None:
    link = join(registry, member=MEMBER, carer=CARER)
    browser.get(f"/my/for/{link.id}/")
    world.do(lambda session: family.end(session, MEMBER, link.id, clock=clock))
    browser.post(f"/my/for/{link.id}/refuse-everything")
    assert browser.page.status_code == 404
    assert "You no longer look after this number" in browser.shown
    assert 'href="/my/"' in browser.page.text
    assert count(registry, Refusal) == 0
    for area in ("", "refusals", "lookups", "history", "complaints", "complaints/new", "more"):
        assert browser.get(f"/my/for/{link.id}/{area}").status_code == 404


@pytest.mark.parametrize("number", [CARER, MEMBER])
def test_new_subscriber_of_either_number_ends_it(
    app: Flask,
    browser: Browser,
    registry: Registry,
    world: World,
    clock: Clock,
    number: SubscriberNumber,
) -> None:
    link = join(registry, member=MEMBER, carer=CARER)
    clock.pass_(minutes=5)
    world.reassign(number)
    carer = browser if number == MEMBER else another(app, registry, CARER, clock)
    assert carer.get(f"/my/for/{link.id}/").status_code == 404
    carer.get("/my/family")
    assert "You look after nobody yet" in carer.shown
    assert carer.get(f"/my/family/{link.id}/end").status_code == 404
    member = another(app, registry, MEMBER, clock)
    member.get("/my/family")
    assert "Nobody but you" in member.shown


def test_asked_number_may_be_taken_back(browser: Browser, registry: Registry) -> None:
    ask(browser)
    [link] = links(registry)
    code = sent_code(registry, MEMBER)
    browser.get("/my/family")
    assert "Waits for the code" in browser.shown
    browser.get(f"/my/family/{link.id}/end")
    assert "Take back that you asked" in browser.shown
    browser.post(f"/my/family/{link.id}/end")
    assert "Waits for the code" not in browser.shown
    browser.post(f"/my/family/{link.id}/code", {"code": code})
    assert browser.page.status_code == 404
    assert links(registry)[0].agreed_at is None
    assert told(registry, Notice.FAMILY_ENDED) == []


Attack = Callable[[Browser, UUID], object]


@pytest.mark.parametrize(
    "attack",
    [
        lambda browser, link: browser.get(f"/my/for/{link}/"),
        lambda browser, link: browser.get(f"/my/for/{link}/history"),
        lambda browser, link: browser.post(f"/my/for/{link}/refuse-everything"),
        lambda browser, link: browser.get(f"/my/family/{link}/code"),
        lambda browser, link: browser.post(f"/my/family/{link}/code", {"code": "000000"}),
        lambda browser, link: browser.post(f"/my/family/{link}/again"),
        lambda browser, link: browser.get(f"/my/family/{link}/end"),
        lambda browser, link: browser.post(f"/my/family/{link}/end"),
    ],
)
@pytest.mark.parametrize("agreed", [True, False])
def test_link_of_others_is_not_found(
    app: Flask, browser: Browser, registry: Registry, clock: Clock, attack: Attack, agreed: bool
) -> None:
    if agreed:
        join(registry, member=MEMBER, carer=CARER)
    else:
        ask(browser)
    [link] = links(registry)
    stranger = another(app, registry, THIRD, clock)
    stranger.get("/my/family")
    attack(stranger, link.id)
    assert stranger.page.status_code == 404
    attack(stranger, uuid4())
    assert stranger.page.status_code == 404
    assert links(registry)[0].ended_at is None


def test_member_cannot_act_for_the_carer_nor_read_the_page_of_the_code(
    app: Flask, browser: Browser, registry: Registry, clock: Clock
) -> None:
    ask(browser)
    [link] = links(registry)
    member = another(app, registry, MEMBER, clock)
    assert member.get(f"/my/family/{link.id}/code").status_code == 404
    assert member.get(f"/my/for/{link.id}/").status_code == 404


def test_carer_of_a_carer_reaches_only_whom_the_own_link_names(
    browser: Browser, registry: Registry
) -> None:
    first = join(registry, member=MEMBER, carer=CARER)
    second = join(registry, member=THIRD, carer=MEMBER)
    assert browser.get(f"/my/for/{first.id}/").status_code == 200
    assert browser.get(f"/my/for/{second.id}/").status_code == 404
    assert browser.get(f"/my/for/{first.id}/for/{second.id}/").status_code == 404
    assert browser.get(f"/my/for/{first.id}/family").status_code == 404


def test_form_without_its_token_changes_nothing(browser: Browser, registry: Registry) -> None:
    link = join(registry, member=MEMBER, carer=CARER)
    for path in ("/my/family", f"/my/family/{link.id}/end", "/my/account/sign-out-everywhere"):
        browser.get("/my/family")
        browser.post(path, {"csrf_token": "", "number": THIRD.e164})
        assert browser.page.status_code == 400
        assert "This page is old" in browser.shown
    assert [each.ended_at for each in links(registry)] == [None]
    assert browser.get("/my/").request.path == "/my/"


def test_sides_of_a_link_see_whole_numbers_and_nobody_else_does(
    app: Flask, browser: Browser, registry: Registry, world: World, clock: Clock
) -> None:
    ask(browser)
    enter(browser, sent_code(registry, MEMBER))
    assert MEMBER.dialled in browser.get("/my/family").text
    join(registry, member=MEMBER, carer=THIRD)
    member = another(app, registry, MEMBER, clock)
    assert CARER.dialled in member.get("/my/family").text
    browser.sign_in(THIRD)
    [mine] = [link for link in links(registry) if link.carer == THIRD]
    history = browser.get(f"/my/for/{mine.id}/history").text
    assert str(CARER) in history
    assert CARER.dialled not in history
