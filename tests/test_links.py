"""Short links: one question, answered from its SMS, and nothing that anybody else could learn."""

import base64
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from registry import ledger
from registry.consent import Channel, Reason, Topic
from registry.ledger import CapTerms
from registry.messenger import links
from registry.models import ConsentRequest, InboundAction, RequestOutcome
from registry.observe import JsonLines
from registry.policy import Period
from registry.portal.links import HEADERS, WRONG_PER_SECOND
from registry.runtime import Registry
from tests.factories import Clock, World, count_rows, make_number
from tests.portal import HOST, Browser
from tests.sms_factories import HOUSE, Scripted, make_lane
from tests.test_inbound import Phone

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""Pages do not depend on the database; what they do to it is tested on both."""
TERMS: dict[str, Any] = {
    "topics": (Topic.RETAIL, Topic.LOANS), "cap": CapTerms(2, Period.WEEK), "valid_for_days": 90,
    "notice_text": "May we write\ntwice a week? <b>Yes!</b>",
}  # fmt: skip
MASKED = "138****0000"


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that nobody has signed in with."""
    return Browser(app, registry)


def link(world: World, request: ConsentRequest) -> str:
    return f"/r/{links.token(world.registry.database.key, request)}"


def sent_link(world: World) -> str:
    """Let the SMS that wait go out, and return the path of the link in the last one."""
    lane = make_lane(world.registry, backend := Scripted())
    while lane.step() is not None:
        pass
    [path] = re.findall(rf"{HOUSE.portal}(/r/\S+) ", backend.sent[-1].text)
    return str(path)


def press(browser: Browser, answer: str) -> None:
    """Press a button of the question, over https and, as browsers here do, without a referrer."""
    [action] = [each for each in browser.actions if each.endswith(answer)]
    browser.post(action, Referer="")


def outcome(world: World, request: ConsentRequest) -> RequestOutcome | None:
    return world.do(lambda session: session.get_one(ConsentRequest, request.id)).outcome


# The question


@on_sqlite
def test_link_of_the_sms_shows_the_question_with_its_terms_and_of_the_number_its_ends(
    browser: Browser, world: World
) -> None:
    world.ask(channel=Channel.VOICE, **TERMS)
    path = sent_link(world)
    assert re.fullmatch(r"/r/[A-Za-z0-9_-]{19}[A-Za-z0-9_]", path)
    browser.get(path)
    assert browser.page.status_code == 200
    assert f"It was sent to {MASKED}." in browser.shown
    [card] = browser.cards
    for said in (
        "sender 1 asks whether it may contact you, with this text:",
        "May we write twice a week? <b>Yes!</b>",
        "For what Calls",
        "How often 2 times a week at most",
        "How long 90 days from the day you agree",
        "Company's phone 4001234567",
        "You have until 8 December 2026, 10:00. No answer is a no. Decline Agree",
    ):
        assert said in card
    assert make_number().dialled not in browser.page.text
    for name, value in HEADERS.items():
        assert browser.page.headers[name] == value
    assert '<meta name="robots" content="noindex, nofollow">' in browser.page.text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_opening_the_link_changes_nothing_however_often(
    browser: Browser, world: World, method: str
) -> None:
    request = world.ask()
    sent_link(world)
    before = count_rows(world.registry)
    for _ in range(3):
        answer = browser.client.open(link(world, request), method=method, base_url=HOST)
        assert answer.status_code == 200
    assert count_rows(world.registry) == before
    assert outcome(world, request) is None


# The answer


def test_agreeing_gives_what_was_asked_and_shows_the_way_back(
    browser: Browser, world: World, registry: Registry
) -> None:
    registry.settings = replace(registry.settings, sms_number=HOUSE.number)
    request = world.ask(**TERMS)
    browser.get(sent_link(world))
    press(browser, "/agree")
    assert (browser.page.status_code, outcome(world, request)) == (200, RequestOutcome.AGREED)
    assert "You agreed. You can withdraw at any time." in browser.shown
    way_back = f"Send TD1 by SMS to {HOUSE.number}. Or sign in with {MASKED} and withdraw it there."
    assert way_back in browser.shown
    assert 'href="/my/consents"' in browser.page.text
    for topic in TERMS["topics"]:
        assert world.verdict(topic=topic).reason is Reason.CONSENTED
    [consent, *_] = world.own(ledger.agree, request.id)
    found = world.do(lambda it: ledger.own_consent(it, consent.id, world.sender.id))
    evidence = found.grant.evidence
    assert (evidence.notice_text, evidence.language) == (TERMS["notice_text"], "en")
    browser.get("/my/")
    assert browser.page.request.path == "/sign-in"  # The link signs nobody in.
    browser.sign_in()
    browser.get("/my/history")
    assert "You, over the link in an SMS" in browser.shown


@on_sqlite
def test_declining_refuses_it_for_good(browser: Browser, world: World) -> None:
    request = world.ask()
    browser.get(link(world, request))
    press(browser, "/decline")
    assert (browser.page.status_code, outcome(world, request)) == (200, RequestOutcome.DECLINED)
    assert "You declined The answer stays no." in browser.shown
    assert "may never ask for this or anything like it again" in browser.shown


@on_sqlite
@pytest.mark.parametrize("answer", ["/agree", "/decline"])
def test_answer_that_is_sent_twice_is_the_same_and_another_one_conflicts(
    browser: Browser, world: World, answer: str
) -> None:
    request = world.ask()
    browser.get(link(world, request))
    token, shown = browser.token(), []
    for _ in range(2):
        browser.post(link(world, request) + answer, {"csrf_token": token}, Referer="")
        shown.append((browser.page.status_code, browser.shown))
    assert shown[0] == shown[1]
    before = count_rows(world.registry)
    other = "/decline" if answer == "/agree" else "/agree"
    browser.post(link(world, request) + other, {"csrf_token": token}, Referer="")
    assert browser.page.status_code == 409
    assert "This request has been answered" in browser.shown
    assert count_rows(world.registry) == before
    assert browser.get(link(world, request)).status_code == 410
    assert "This request has been answered" in browser.shown
    assert "sender 1" not in browser.shown
    world.registry.clock.pass_(minutes=11)  # type: ignore[attr-defined]
    browser.post(link(world, request) + answer, {"csrf_token": token}, Referer="")
    assert browser.page.status_code == 410  # Whoever asks so late may be somebody else.
    assert "sender 1" not in browser.shown


@on_sqlite
def test_agreement_that_was_withdrawn_since_is_not_shown_as_one(
    browser: Browser, world: World
) -> None:
    request = world.ask()
    browser.get(link(world, request))
    token = browser.token()
    world.own(ledger.agree, request.id)
    world.own(ledger.withdraw_all)
    browser.post(link(world, request) + "/agree", {"csrf_token": token}, Referer="")
    assert (browser.page.status_code, browser.actions) == (409, [])
    assert world.verdict().reason is not Reason.CONSENTED


@on_sqlite
def test_answer_needs_the_form_of_the_page(browser: Browser, world: World) -> None:
    request = world.ask()
    for form in ({}, {"csrf_token": "x"}):
        answer = browser.client.post(link(world, request) + "/agree", data=form, base_url=HOST)
        assert answer.status_code == 400
    assert outcome(world, request) is None


def test_answers_over_the_link_and_by_sms_at_once_are_one(app: Flask, world: World) -> None:
    request = world.ask()
    phone = Phone(world)
    code = phone.put(request)
    browser = Browser(app, world.registry)
    browser.get(link(world, request))

    def answer(way: str) -> bool:
        if way == "sms":
            return phone.act(f"N{code}") is InboundAction.DECLINED
        press(browser, "/agree")
        return browser.page.status_code == 200

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(answer, ("sms", "link")))
    assert done.count(True) == 1
    # A "no" that comes after the "yes" takes it back; so nothing is agreed to in any order.
    assert outcome(world, request) is not None
    assert world.verdict().reason is not Reason.CONSENTED


@on_sqlite
def test_whoever_is_signed_in_answers_for_the_number_of_the_link_and_stays_signed_in(
    browser: Browser, world: World
) -> None:
    other = make_number(7)
    browser.sign_in(other)
    own, linked = world.ask(other), world.ask()
    browser.get(link(world, linked))
    assert MASKED in browser.shown
    assert "138****0007" not in browser.shown
    press(browser, "/agree")
    assert (outcome(world, own), outcome(world, linked)) == (None, RequestOutcome.AGREED)
    assert world.verdict(other).reason is Reason.NO_CONSENT
    browser.get("/my/requests")
    assert browser.page.request.path == "/my/requests"
    assert "Waits for your answer" in browser.shown


# What is no link any more, or never was


@on_sqlite
def test_link_that_is_too_late_says_so(browser: Browser, world: World, clock: Clock) -> None:
    request = world.ask()
    browser.get(link(world, request))
    token = browser.token()
    clock.now = request.answer_by
    for lapsed in (False, True):
        if lapsed:
            ledger.lapse_due(world.registry.database, clock=clock)
        assert browser.get(link(world, request)).status_code == 410
        assert "The time to answer is over" in browser.shown
        assert "sender 1" not in browser.shown
        browser.post(link(world, request) + "/agree", {"csrf_token": token}, Referer="")
        assert (browser.page.status_code, browser.actions) == (409, [])
    assert outcome(world, request) is RequestOutcome.LAPSED


@on_sqlite
def test_link_of_an_earlier_subscriber_leads_nowhere(
    browser: Browser, world: World, clock: Clock
) -> None:
    request = world.ask()
    browser.get(link(world, request))
    token = browser.token()
    world.reassign(reassigned_at=clock.pass_(days=1))
    for answer in ("/agree", "/decline"):
        browser.post(link(world, request) + answer, {"csrf_token": token}, Referer="")
        assert browser.page.status_code == 404
    browser.get(link(world, request))
    assert (browser.page.status_code, MASKED in browser.page.text) == (404, False)
    assert outcome(world, request) is None


@on_sqlite
def test_changed_link_leads_nowhere(world: World) -> None:
    other, request = world.ask(make_number(1)), world.ask()
    whole = links.token(world.registry.database.key, request)
    raw = base64.urlsafe_b64decode(whole)
    flipped = [
        raw[:at] + bytes([raw[at] ^ bit]) + raw[at + 1 :]
        for at in range(len(raw))
        for bit in (1, 128)
    ]
    foreign = base64.urlsafe_b64decode(links.token(world.registry.database.key, other))
    crossed = [raw[:9] + foreign[9:], foreign[:9] + raw[9:]]
    written = [base64.urlsafe_b64encode(each).decode() for each in [*flipped, *crossed]]
    cut = [whole[:-1], whole + "A", whole + "=", whole.swapcase(), "", "ａ" * 20, "A" * 20]

    def find(token: str) -> Any:
        return world.do(lambda session: links.find(session, token))

    assert find(whole).id == request.id
    assert [find(each) for each in [*written, *cut]] == [None] * len([*written, *cut])


def test_link_means_nothing_else_after_a_backup_was_restored(world: World) -> None:
    request = world.ask()
    token = links.token(world.registry.database.key, request)
    restored = update(ConsentRequest).values(id=world.carrier.id)
    world.do(lambda session: session.execute(restored))
    assert world.do(lambda session: links.find(session, token)) is None


@on_sqlite
def test_wrong_links_look_alike_and_are_soon_too_many(
    browser: Browser, world: World, clock: Clock
) -> None:
    request = world.ask()
    earlier = link(world, world.ask(make_number(1)))
    world.reassign(make_number(1), reassigned_at=clock.pass_(minutes=1))
    pages = [browser.get(path).text for path in (earlier, "/r/" + "A" * 20, "/r/x")]
    shown = {re.sub(r"/r/[\w-]+|value=\"[^\"]+\"", "", page) for page in pages}
    assert len(shown) == 1
    assert "There is no such page" in browser.shown
    codes = [browser.get("/r/" + "B" * 20).status_code for _ in range(2 * WRONG_PER_SECOND + 1)]
    assert 429 in codes
    assert browser.get(link(world, request)).status_code == 200


@on_sqlite
def test_language_is_chosen_on_the_page_of_the_link(browser: Browser, world: World) -> None:
    request = world.ask()
    browser.get(link(world, request))
    browser.post(link(world, request) + "/language", {"language": "zh"}, Referer="")
    assert browser.page.request.path == link(world, request)
    assert '<html lang="zh-CN">' in browser.page.text
    browser.get("/r/cut")
    browser.post("/r/cut/language", {"language": "en"}, Referer="")
    assert "There is no such page" in browser.shown


@on_sqlite
def test_no_line_of_a_log_and_no_metric_holds_the_link(
    browser: Browser, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    request = world.ask()
    path = sent_link(world)
    token = path.removeprefix("/r/")
    browser.get(path)
    press(browser, "/agree")
    browser.get(path)
    browser.get(path[:-1])
    clock = world.registry.clock

    def broken() -> Any:
        raise ValueError(f"a failure that quotes {token}")

    world.registry.clock = broken
    assert browser.get(path).status_code == 500
    world.registry.clock = clock
    lines = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert '"route": "/r/<token>"' in lines
    assert token[:-1] not in lines + browser.get("/metrics").text
    assert outcome(world, request) is RequestOutcome.AGREED
