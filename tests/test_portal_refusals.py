"""Refusing on the pages: at once, by parts, lifted again, and hours of one's own."""

import pytest
from flask import Flask
from sqlalchemy import func, select

from registry import ledger, subscribers
from registry.consent import Channel, Reason, Topic
from registry.ledger import Scope
from registry.models import Event, Notice, OutboxItem, Refusal, Via
from registry.runtime import Registry
from tests.factories import Clock, World, make_number
from tests.portal import Browser, on_sqlite

pytestmark = on_sqlite

EVERYTHING = {"channel": "any", "topic": "any", "sender": "any"}
"""What the form says before anything is chosen."""


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that is signed in."""
    return Browser(app, registry).sign_in()


def standing(registry: Registry) -> list[Refusal]:
    with registry.database.snapshot() as session:
        return list(subscribers.refusals(session, make_number()))


def refusals_recorded(registry: Registry) -> int:
    with registry.database.snapshot() as session:
        query = select(func.count()).where(Event.kind == "refusal_recorded")
        return session.scalar(query) or 0


def test_one_tap_refuses_everything_at_once(browser: Browser, world: World) -> None:
    world.grant()
    assert world.verdict().reason is Reason.CONSENTED
    browser.post("/my/refuse-everything")
    assert browser.page.request.path == "/my/"
    assert "You refuse everything" in browser.shown
    assert world.verdict().reason is Reason.REFUSED
    [refusal] = standing(browser.registry)
    assert (refusal.via, refusal.recorded_by) == (Via.PORTAL, None)


def test_double_tap_refuses_once(browser: Browser) -> None:
    token = browser.token()
    for _ in range(2):
        browser.post("/my/refuse-everything", {"csrf_token": token})
    assert refusals_recorded(browser.registry) == 1


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"channel": "voice"}, "All senders: Calls · all topics"),
        ({"topic": "loans"}, "All senders: SMS and calls · Loans and finance"),
        ({"channel": "sms", "topic": "retail"}, "All senders: SMS · Shops and retail"),
        ({}, "All senders: SMS and calls · all topics"),
    ],
)
def test_part_is_refused(browser: Browser, form: dict[str, str], told: str) -> None:
    browser.get("/my/refusals")
    browser.post("/my/refusals", {**EVERYTHING, **form})
    assert browser.page.request.path == "/my/refusals"
    assert told in browser.shown
    [refusal] = standing(browser.registry)
    expected = (form.get("channel", "any"), form.get("topic", "any"))
    assert (refusal.channel, refusal.topic) == expected


def test_sender_that_has_to_do_with_the_number_is_refused(browser: Browser, world: World) -> None:
    world.grant()
    browser.get("/my/refusals")
    assert f'value="{world.sender.id}"' in browser.page.text
    assert f'value="{world.other_sender.id}"' not in browser.page.text
    browser.post("/my/refusals", {**EVERYTHING, "sender": str(world.sender.id)})
    assert "sender 1: SMS and calls · all topics" in browser.shown
    assert world.verdict().reason is Reason.REFUSED


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"channel": "sms", "topic": "any"},
        {**EVERYTHING, "channel": ""},
        {**EVERYTHING, "channel": "fax"},
        {**EVERYTHING, "topic": "weather"},
        {**EVERYTHING, "sender": "13800000000"},
        {**EVERYTHING, "topic": "<script>alert(1)</script>"},
    ],
)
def test_unknown_scope_refuses_nothing(browser: Browser, form: dict[str, object]) -> None:
    browser.get("/my/refusals")
    browser.post("/my/refusals", form)
    assert browser.page.status_code == 400
    assert standing(browser.registry) == []
    assert "<script>alert" not in browser.page.text


def test_organisation_that_is_no_sender_cannot_be_refused(browser: Browser, world: World) -> None:
    browser.get("/my/refusals")
    browser.post("/my/refusals", {**EVERYTHING, "sender": str(world.carrier.id)})
    assert browser.page.status_code == 422
    assert standing(browser.registry) == []


def test_refusal_that_a_carrier_recorded_is_lifted_and_told(browser: Browser, world: World) -> None:
    world.grant()
    refusal = world.refuse()
    browser.get("/my/refusals")
    assert "by the carrier's hotline" in browser.shown
    browser.post(f"/my/refusals/{refusal.id}/lift")
    assert "That refusal is lifted" in browser.shown
    assert world.verdict().reason is Reason.CONSENTED
    with browser.registry.database.snapshot() as session:
        notices = session.scalars(select(OutboxItem.notice).order_by(OutboxItem.id)).all()
    assert notices[-1] is Notice.REFUSAL_LIFTED


def test_refusal_of_another_number_is_not_lifted(browser: Browser, world: World) -> None:
    other = world.refuse(make_number(1))
    browser.get("/my/refusals")
    browser.post(f"/my/refusals/{other.id}/lift")
    assert browser.page.status_code == 404
    assert "There is no such page" in browser.shown
    with browser.registry.database.snapshot() as session:
        assert len(subscribers.refusals(session, make_number(1))) == 1


def test_lifting_twice_lifts_once(browser: Browser, world: World) -> None:
    refusal = world.refuse()
    browser.get("/my/refusals")
    token = browser.token()
    for _ in range(2):
        browser.post(f"/my/refusals/{refusal.id}/lift", {"csrf_token": token})
        assert browser.page.status_code == 200
    with browser.registry.database.snapshot() as session:
        lifted = session.scalars(select(Event).where(Event.kind == "refusal_lifted")).all()
    assert len(lifted) == 1


def test_refusals_of_an_earlier_subscriber_are_not_shown(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    refusal = world.refuse(scope=Scope(Channel.SMS, Topic.LOANS))
    clock.pass_(days=1)
    world.reassign()
    clock.pass_(days=1)
    browser = Browser(app, registry).sign_in()
    browser.get("/my/refusals")
    assert "Loans and finance" not in browser.shown.partition("Refuse something")[0]
    browser.post(f"/my/refusals/{refusal.id}/lift")
    assert browser.page.status_code == 404


def test_own_hours_are_set_obeyed_and_lifted(browser: Browser, world: World, clock: Clock) -> None:
    world.grant()
    browser.get("/my/refusals")
    browser.post("/my/hours", {"opens": "11:00", "closes": "12:30"})
    assert "from 11:00 to 12:30 only" in browser.shown
    assert world.verdict().reason is Reason.QUIET_HOURS
    clock.pass_(hours=1)
    assert world.verdict().reason is Reason.CONSENTED
    clock.pass_(minutes=1)
    browser.sign_in().get("/my/refusals")
    browser.post("/my/hours/lift")
    assert "no longer apply" in browser.shown
    clock.pass_(hours=3)
    assert world.verdict().reason is Reason.CONSENTED


@pytest.mark.parametrize(
    ("opens", "closes"),
    [("12:00", "11:00"), ("12:00", "12:00"), ("20:30", "23:00"), ("00:00", "07:00"),
     ("07:59", "12:00"), ("12:00", "21:01"),
     ("12:00", "12:59"), ("25:00", "26:00"), ("", ""), ("noon", "night"), ("１２:００", "13:00")],
)  # fmt: skip
def test_hours_that_make_no_sense_are_told_and_change_nothing(
    browser: Browser, opens: str, closes: str
) -> None:
    browser.get("/my/refusals")
    browser.post("/my/hours", {"opens": opens, "closes": closes})
    assert browser.page.status_code == 422
    assert "at least one hour between 08:00 and 21:00" in browser.shown
    with browser.registry.database.snapshot() as session:
        assert ledger.standing_hours(session, make_number()) is None


def test_nothing_is_refused_without_the_forms_token(browser: Browser) -> None:
    for path in ("/my/refuse-everything", "/my/refusals", "/my/hours", "/sign-out"):
        for token in ("", "forged", browser.token()[:-2] + "xx"):
            browser.get("/my/")
            browser.post(path, {"csrf_token": token})
            assert (browser.page.status_code, "This page is old" in browser.shown) == (400, True)
    assert standing(browser.registry) == []
    assert browser.get("/my/").request.path == "/my/"


def test_nothing_is_refused_for_another_site(browser: Browser) -> None:
    browser.get("/my/")
    browser.post("/my/refuse-everything", Referer="https://evil.test/", Origin="https://evil.test")
    assert browser.page.status_code == 400
    assert standing(browser.registry) == []


def test_page_says_what_refusing_covers_and_when(browser: Browser) -> None:
    browser.get("/my/")
    assert "It takes effect at once and covers SMS and calls, all topics and all senders" in (
        browser.shown
    )


def test_link_offers_a_sender_that_the_number_never_had_to_do_with(
    browser: Browser, world: World
) -> None:
    other = world.other_sender.id
    assert str(other) not in browser.get("/my/refusals").text
    browser.get(f"/my/refusals?sender={other}")
    assert browser.page.text.count(f'<option value="{other}" selected>') == 1
    browser.post("/my/refusals", {**EVERYTHING, "sender": str(other)})
    [refusal] = standing(browser.registry)
    assert refusal.sender_id == other


@pytest.mark.parametrize("sender", ["x", "", "0" * 32, "carrier"])
def test_link_to_no_sender_offers_nobody_more(browser: Browser, world: World, sender: str) -> None:
    named = str(world.carrier.id) if sender == "carrier" else sender
    assert browser.get(f"/my/refusals?sender={named}").status_code == 200
    assert "selected" not in browser.page.text.split('name="sender"')[1].split("</select>")[0]
