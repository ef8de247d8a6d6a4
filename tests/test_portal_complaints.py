"""Complaining on pages: filled in, checked, filed once, followed to its outcome, one's own only."""

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from sqlalchemy import func, select

from registry import complaints, family
from registry.complaints import LONGEST_TEXT
from registry.consent import Channel, Reason, Topic
from registry.models import Complaint, ComplaintOutcome, Event, Organisation
from registry.runtime import Registry
from tests.factories import SMS_PORT, START, VOICE_LINE, Clock, World, make_number
from tests.portal import Browser, on_sqlite
from tests.test_complaints import Desk
from tests.test_family import join
from tests.test_portal_records import ask, remember, walk

pytestmark = on_sqlite

NUMBER, OTHER = make_number(), make_number(14_321)
HOSTILE = '<script>alert("x")</script>'
FILLED_IN = {
    "lookup": "",
    "channel": "sms",
    "sending_number": SMS_PORT,
    "contacted_at": "2026-12-01T10:00",
    "topic": "retail",
    "text": "They never asked me.",
}


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that is signed in, and shows pages in English."""
    return Browser(app, registry).sign_in(NUMBER)


@pytest.fixture
def desk(world: World) -> Desk:
    """Return the desk at which complaints are moved on."""
    return Desk(world)


def send(browser: Browser, path: str = "/my/complaints", **parts: Any) -> Browser:
    browser.get(f"{path}/new")
    browser.post(path, {**FILLED_IN, **parts})
    return browser


def filed(registry: Registry) -> list[Complaint]:
    with registry.database.snapshot() as session:
        return list(session.scalars(select(Complaint).order_by(Complaint.event_id)))


class Form(HTMLParser):
    """Reads what stands in the fields of the page's forms, as a browser would send it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        got = dict(attrs)
        name = got.get("name") or ""
        if tag == "input" and (got.get("type") != "radio" or "checked" in got):
            self.fields[name] = got.get("value") or ""
        elif tag in ("select", "textarea"):
            self._inside = name
            self.fields[name] = ""
        elif tag == "option" and "selected" in got:
            self.fields[self._inside] = got.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag in ("select", "textarea"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "text":
            self.fields["text"] += data


def values(browser: Browser) -> dict[str, str]:
    """Return what the form that is shown would send."""
    fields = Form(browser.page.text).fields
    return {name: fields.get(name, "") for name in FILLED_IN}


def test_without_complaints_the_page_says_how_to_begin(browser: Browser) -> None:
    browser.get("/my/complaints")
    assert "No complaints" in browser.shown
    assert 'href="/my/complaints/new"' in browser.page.text


def test_complaint_is_filed_and_shown_with_what_was_said(
    browser: Browser, registry: Registry, world: World
) -> None:
    send(browser)
    [row] = filed(registry)
    assert (row.number, row.channel, row.sending_number, row.topic, row.sender_id, row.text) == (
        NUMBER, Channel.SMS, SMS_PORT, Topic.RETAIL, world.sender.id, "They never asked me.",
    )  # fmt: skip
    # 10:00 on the subscriber's clock, in China.
    assert row.contacted_at == datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
    assert browser.page.request.path == f"/my/complaints/{row.id}"
    for told in (
        "Your complaint is recorded",
        "An SMS about Shops and retail",
        "They never asked me.",
        SMS_PORT,
        world.sender.name,
        "1 December 2026, 10:00",
        "Recorded, to be passed on",
    ):
        assert told in browser.shown, told
    browser.get("/my/complaints")
    assert f'href="/my/complaints/{row.id}"' in browser.page.text


def test_event_of_a_complaint_says_that_it_came_by_the_pages(
    browser: Browser, registry: Registry
) -> None:
    send(browser)
    with registry.database.snapshot() as session:
        [event] = session.scalars(select(Event.payload).where(Event.kind == "complaint_filed"))
    said = json.loads(event)
    assert (said["actor"], said["via"], "family_link" in said) == (None, "portal", False)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({}, {"channel": "sms", "sending_number": SMS_PORT, "topic": "retail"}),
        (
            {"sending": VOICE_LINE, "channel": Channel.VOICE, "topic": Topic.LOANS},
            {"channel": "voice", "sending_number": VOICE_LINE, "topic": "loans"},
        ),
    ],
)
def test_lookup_fills_the_form_in(
    browser: Browser, world: World, question: Any, expected: dict[str, str]
) -> None:
    asked = ask(world, **question)
    browser.get(f"/my/complaints/new?lookup={asked}")
    shown = values(browser)
    assert shown == {
        **expected,
        "lookup": str(asked),
        "contacted_at": "2026-12-01T10:00",
        "text": "",
    }
    browser.post("/my/complaints", {**shown, "text": "Unasked."})
    [row] = filed(world.registry)
    assert (row.lookup_id, row.sender_id) == (asked, world.sender.id)


def test_form_without_a_lookup_is_empty(browser: Browser) -> None:
    for address in ("", "?lookup=", "?lookup=nonsense"):
        assert browser.get(f"/my/complaints/new{address}").status_code == 200
        assert set(values(browser).values()) == {""}


@pytest.mark.parametrize(
    ("parts", "field", "told"),
    [
        ({"channel": ""}, "channel", "Please choose whether it was an SMS or a call"),
        ({"channel": "fax"}, "channel", "Please choose whether it was an SMS or a call"),
        ({"sending_number": "12"}, "sending_number", "A number has 3 to 20 digits"),
        ({"sending_number": "9" * 21}, "sending_number", "A number has 3 to 20 digits"),
        ({"sending_number": "my bank"}, "sending_number", "A number has 3 to 20 digits"),
        ({"sending_number": "1" * 65}, "sending_number", "A number has 3 to 20 digits"),
        ({"sending_number": HOSTILE}, "sending_number", "A number has 3 to 20 digits"),
        ({"contacted_at": ""}, "contacted_at", "Please say when it was"),
        ({"contacted_at": "yesterday"}, "contacted_at", "Please say when it was"),
        ({"contacted_at": "2026-02-30T10:00"}, "contacted_at", "Please say when it was"),
        ({"contacted_at": "0000-00-00T00:00"}, "contacted_at", "Please say when it was"),
        ({"contacted_at": "2026-12-01T10:02"}, "contacted_at", "This time has not come yet"),
        ({"contacted_at": "9999-12-31T23:59"}, "contacted_at", "This time has not come yet"),
        ({"contacted_at": "2026-01-01T10:00"}, "contacted_at", "That is too long ago"),
        ({"contacted_at": "0001-01-01T00:00"}, "contacted_at", "That is too long ago"),
        ({"topic": ""}, "topic", "Please choose what it was about"),
        ({"topic": "weather"}, "topic", "Please choose what it was about"),
        ({"text": "x" * (LONGEST_TEXT + 1)}, "text", "Please shorten this to 2000 characters"),
    ],
)
def test_error_stands_at_its_field_and_nothing_typed_is_lost(
    browser: Browser, registry: Registry, parts: dict[str, str], field: str, told: str
) -> None:
    send(browser, **parts)
    page = browser.page.text
    assert browser.page.status_code == 422
    assert re.search(rf'id="{field}-error".*?{told}', page, re.S)
    assert page.count('class="error"') == 1
    described = re.search(rf'aria-describedby="[^"]*{field}-error"', page)
    assert described
    kept = {name: typed for name, typed in values(browser).items() if name not in parts}
    assert kept == {name: typed for name, typed in FILLED_IN.items() if name not in parts}
    if field in ("sending_number", "text"):
        assert parts[field].replace("<", "&lt;")[:8] in page
    assert HOSTILE not in page
    assert filed(registry) == []


def test_several_errors_are_shown_together(browser: Browser) -> None:
    send(browser, channel="", sending_number="12", topic="", contacted_at="")
    assert browser.page.text.count('class="error"') == 4
    assert values(browser)["text"] == "They never asked me."


@pytest.mark.parametrize("written", ["", "  ", "hidden", "未知号码", "匿名"])
def test_number_that_was_hidden_is_no_error(
    browser: Browser, registry: Registry, written: str
) -> None:
    send(browser, sending_number=written)
    [row] = filed(registry)
    assert (row.sending_number, row.sender_id) == ("", None)
    assert "None: it was hidden" in browser.shown
    assert "It is not known. We look for whoever is responsible." in browser.shown
    browser.get("/my/complaints")
    assert "Company not known" in browser.shown


def test_faked_number_is_kept_as_it_was_shown(browser: Browser, registry: Registry) -> None:
    send(browser, channel="voice", sending_number="000 123")
    [row] = filed(registry)
    assert (row.sending_number, row.sender_id) == ("000123", None)
    assert "000123" in browser.shown


def test_time_before_the_number_was_the_own_is_refused(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    clock.pass_(hours=1)
    world.reassign(reassigned_at=START + timedelta(minutes=30))
    browser = send(Browser(app, registry).sign_in(NUMBER))
    assert "At that time the number was somebody else&#39;s" in browser.page.text
    assert filed(registry) == []


def test_what_is_no_text_is_left_out_of_it(browser: Browser, registry: Registry) -> None:
    send(browser, text="One\r\ntwo\x00\x1b\u202ethree.")
    assert [row.text for row in filed(registry)] == ["One\ntwothree."]


def test_sending_twice_is_one_complaint(browser: Browser, registry: Registry) -> None:
    send(browser)
    first = browser.page.request.path
    browser.post("/my/complaints", FILLED_IN)
    assert browser.page.request.path == first
    assert len(filed(registry)) == 1


def test_second_complaint_about_a_contact_is_not_said_to_be_recorded(
    browser: Browser, registry: Registry
) -> None:
    send(browser)
    first = browser.page.request.path
    send(browser, text="They did it again.")
    assert browser.page.request.path == first
    assert "You complained about this contact before. Nothing was added" in browser.shown
    assert "Your complaint is recorded" not in browser.shown
    assert len(filed(registry)) == 1


def test_too_many_in_a_day_are_refused_without_losing_what_was_typed(
    browser: Browser, desk: Desk, registry: Registry
) -> None:
    for index in range(1, complaints.MOST_A_DAY + 1):
        desk.file(NUMBER, contacted_at=START - timedelta(minutes=index))
    send(browser, text="The fifty-first.")
    assert (browser.page.status_code, browser.page.headers["Retry-After"]) == (429, "3600")
    assert "That is as many complaints as one can make in a day" in browser.shown
    assert values(browser)["text"] == "The fifty-first."
    assert len(filed(registry)) == complaints.MOST_A_DAY


def test_form_without_its_token_files_nothing(browser: Browser, registry: Registry) -> None:
    browser.get("/my/complaints/new")
    browser.post("/my/complaints", {**FILLED_IN, "csrf_token": ""})
    assert browser.page.status_code == 400
    assert "This page is old" in browser.shown
    assert filed(registry) == []


# What becomes of it


def test_deadlines_are_dates_with_their_weekdays(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    # Before the Dragon Boat holiday of 19 June 2026, a Friday. Its dates are published.
    clock.now = datetime(2026, 6, 17, 2, 0, tzinfo=UTC)
    browser = send(Browser(app, registry).sign_in(NUMBER), contacted_at="2026-06-17T09:30")
    for told in (
        "by Tuesday 23 June 2026 at the latest",
        "within 3 working days of the complaint",
        "by Tuesday 14 July 2026 at the latest",
        "within 15 working days of being told",
        "by Friday 17 July 2026 at the latest",
        "within 3 working days of the answer",
    ):
        assert told in browser.shown, told
    assert "Provisional" not in browser.shown
    browser.post("/language", {"language": "zh"})
    browser.get(f"/my/complaints/{filed(registry)[0].id}")
    assert "2026年6月23日（周二）" in browser.shown


def test_days_of_a_year_without_published_holidays_are_provisional(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    clock.now = datetime(2045, 3, 1, 2, 0, tzinfo=UTC)
    browser = send(Browser(app, registry).sign_in(NUMBER), contacted_at="2045-03-01T09:30")
    assert "Provisional dates" in browser.shown


def test_step_that_is_late_is_marked(browser: Browser, registry: Registry, clock: Clock) -> None:
    send(browser)
    assert "Overdue" not in browser.shown
    address = browser.page.request.path
    clock.pass_(days=10)
    browser.sign_in(NUMBER)
    browser.get(address)
    assert browser.shown.count("Overdue") == 2
    browser.get("/my/complaints")
    assert browser.shown.count("Overdue") == 1


def test_every_step_is_followed_to_the_outcome(
    browser: Browser, desk: Desk, registry: Registry, world: World, clock: Clock
) -> None:
    send(browser)
    address = browser.page.request.path
    [row] = filed(registry)

    def shown() -> str:
        clock.pass_(minutes=5)
        browser.get(address)
        return browser.shown

    desk.forward(row)
    assert f"Passed on to “{world.sender.name}”" in shown()
    assert "The company has to answer" in browser.shown
    desk.answer(row, f"We are sorry. {HOSTILE}")
    assert "Answered, being decided" in shown()
    assert "We are sorry. <script>alert" in browser.shown
    assert HOSTILE not in browser.page.text
    desk.close(row)
    assert "Your complaint was upheld" in shown()
    assert "at the latest" not in browser.shown
    browser.get("/my/complaints")
    assert "Your complaint was upheld" in browser.shown


def test_step_that_came_late_says_when_it_was_due(
    browser: Browser, desk: Desk, registry: Registry, clock: Clock
) -> None:
    send(browser)
    address = browser.page.request.path
    [row] = filed(registry)
    clock.pass_(days=20)
    desk.forward(row)
    browser.sign_in(NUMBER)
    browser.get(address)
    assert "later than Friday 4 December 2026, when it was due" in browser.shown


def test_step_that_was_skipped_is_left_out(
    browser: Browser, desk: Desk, registry: Registry
) -> None:
    send(browser, sending_number="")
    address = browser.page.request.path
    desk.close(filed(registry)[0], ComplaintOutcome.UNFOUNDED)
    browser.get(address)
    assert "found to be unfounded" in browser.shown
    assert "The company answers" not in browser.shown
    assert "passes it on" not in browser.shown


def test_complaints_are_listed_part_by_part(browser: Browser, desk: Desk, clock: Clock) -> None:
    for index in range(60):
        desk.file(
            NUMBER, contacted_at=START - timedelta(minutes=index), sending_number=f"10690{index:04}"
        )
        clock.pass_(hours=1)
    browser.sign_in(NUMBER)
    found = [re.findall(r"From (10690[0-9]{4})", part) for part in walk(browser, "/my/complaints")]
    assert found == [
        [f"10690{index:04}" for index in range(59, 9, -1)],
        [f"10690{index:04}" for index in range(9, -1, -1)],
    ]


# One's own only


def test_complaint_of_another_is_not_found(
    browser: Browser, desk: Desk, world: World, registry: Registry
) -> None:
    theirs = desk.file(OTHER, text="canary")
    assert browser.get(f"/my/complaints/{theirs.id}").status_code == 404
    assert browser.get(f"/my/complaints/{uuid4()}").status_code == 404
    assert browser.get("/my/complaints/1").status_code == 404
    browser.get("/my/complaints")
    assert "No complaints" in browser.shown


def test_complaint_about_a_lookup_of_another_is_not_found(
    browser: Browser, world: World, registry: Registry
) -> None:
    theirs = ask(world, OTHER)
    assert browser.get(f"/my/complaints/new?lookup={theirs}").status_code == 404
    assert send(browser, lookup=str(theirs)).page.status_code == 404
    assert send(browser, lookup="nonsense").page.status_code == 400
    assert filed(registry) == []


def test_complaints_of_an_earlier_subscriber_are_not_shown(
    app: Flask, registry: Registry, desk: Desk, world: World, clock: Clock
) -> None:
    before = desk.file(NUMBER, text="canary")
    clock.pass_(hours=1)
    world.reassign()
    browser = Browser(app, registry).sign_in(NUMBER)
    assert browser.get(f"/my/complaints/{before.id}").status_code == 404
    browser.get("/my/complaints")
    assert "No complaints" in browser.shown


def test_script_in_a_complaint_is_shown_as_text(
    browser: Browser, world: World, registry: Registry
) -> None:
    def rename(session: Any) -> None:
        session.get(Organisation, world.sender.id).name = HOSTILE

    world.do(rename)
    send(browser, text=HOSTILE)
    for path in (browser.page.request.path, "/my/complaints"):
        assert HOSTILE not in browser.get(path).text
        assert "&lt;script&gt;" in browser.page.text


def test_carer_complains_for_a_member_until_the_link_ends(
    browser: Browser, registry: Registry, world: World, clock: Clock
) -> None:
    link = join(registry, member=OTHER, carer=NUMBER)
    send(browser, f"/my/for/{link.id}/complaints")
    [row] = filed(registry)
    assert row.number == OTHER
    assert browser.page.request.path == f"/my/for/{link.id}/complaints/{row.id}"
    with registry.database.snapshot() as session:
        [event] = session.scalars(select(Event.payload).where(Event.kind == "complaint_filed"))
    assert json.loads(event)["family_link"] == str(link.id)
    assert browser.get(f"/my/complaints/{row.id}").status_code == 404
    browser.get(f"/my/for/{link.id}/complaints/new")
    world.do(lambda session: family.end(session, OTHER, link.id, clock=clock))
    browser.post(f"/my/for/{link.id}/complaints", {**FILLED_IN, "text": "Once more."})
    assert browser.page.status_code == 404
    assert len(filed(registry)) == 1


def test_every_reason_to_complain_leads_to_a_complaint(
    browser: Browser, world: World, registry: Registry, clock: Clock
) -> None:
    for index, reason in enumerate(Reason):
        row = remember(world, reason=reason, at=START - timedelta(minutes=index), topic=None)
        browser.get(f"/my/complaints/new?lookup={row.id}")
        browser.post("/my/complaints", values(browser))
        assert browser.page.status_code == 200
    with registry.database.snapshot() as session:
        assert session.scalar(select(func.count(Complaint.lookup_id))) == len(Reason)


def test_complaints_are_for_whoever_is_signed_in(app: Flask, registry: Registry) -> None:
    stranger = Browser(app, registry)
    for path in ("/my/complaints", "/my/complaints/new", f"/my/complaints/{uuid4()}"):
        assert stranger.get(path).request.path == "/sign-in"
    assert stranger.post("/my/complaints", FILLED_IN).request.path == "/sign-in"


def test_no_page_shows_a_whole_number(
    browser: Browser, registry: Registry, world: World, desk: Desk
) -> None:
    ask(world)
    send(browser)
    for path in ("/my/lookups", "/my/history", "/my/complaints", "/my/more", "/my/account"):
        browser.get(path)
        assert NUMBER.e164.removeprefix("+86") not in browser.page.text
    assert str(NUMBER) in browser.get("/my/more").text
