"""Requests on the pages: shown with their terms, answered once, and a no where nobody answers."""

import pytest
from flask import Flask
from sqlalchemy import event

from registry import ledger, subscribers
from registry.consent import Basis, Channel, Reason, Topic
from registry.ledger import CapTerms, Scope
from registry.models import ConsentRequest, RequestOutcome, Via
from registry.policy import Period
from registry.runtime import Registry
from registry.subscribers import PAGE, OwnRequest
from tests.factories import Clock, World, count_rows, make_number
from tests.portal import Browser, on_sqlite

pytestmark = on_sqlite

HOSTILE = '<script>alert(1)</script><a href="https://evil.test">"x'


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that is signed in."""
    return Browser(app, registry).sign_in()


def page_of(request: ConsentRequest) -> str:
    return f"/my/requests/{request.id}"


def own(registry: Registry, request: ConsentRequest) -> OwnRequest:
    with registry.database.snapshot() as session:
        return subscribers.request(session, make_number(), request.id, registry.clock())


def test_nobody_asks_a_new_visitor(browser: Browser) -> None:
    browser.get("/my/requests")
    assert "No request waits for you" in browser.shown
    assert "Answered or too late" not in browser.shown


def test_open_request_tells_its_terms_and_the_last_day(browser: Browser, world: World) -> None:
    request = world.ask(
        channel=Channel.VOICE,
        topics=(Topic.LOANS, Topic.INSURANCE),
        cap=CapTerms(1, Period.MONTH),
        valid_for_days=365,
        notice_text="May we call\nonce a month?",
    )
    browser.get("/my/requests")
    assert browser.cards == [
        "Waits for your answer sender 1 asks whether it may contact you, with this text:"
        " May we call once a month? For what Calls · Loans and finance, Insurance"
        " How often 1 time a month at most How long 365 days from the day you agree"
        " Company's phone 4001234567"
        " If you agree, this company may contact you within these limits, and you can withdraw"
        " at any time. You have until 8 December 2026, 10:00. No answer is a no. Decline Agree"
    ]
    assert "No answer is a no" in browser.shown
    browser.get(page_of(request))
    assert len(browser.cards) == 1


def test_request_that_must_be_answered_first_comes_first(
    browser: Browser, world: World, clock: Clock
) -> None:
    world.ask(topics=(Topic.LOANS,), notice_text="First?")
    clock.pass_(minutes=1)
    world.ask(topics=(Topic.GAMES,), notice_text="Second?")
    browser.get("/my/requests")
    assert ["First?" in card for card in browser.cards] == [True, False]


def test_what_a_company_asks_stays_text(browser: Browser, world: World) -> None:
    request = world.ask(notice_text=HOSTILE)
    for path in ("/my/requests", page_of(request)):
        browser.get(path)
        assert HOSTILE in browser.shown
        assert "<script>alert" not in browser.page.text
        assert 'href="https://evil.test"' not in browser.page.text


def test_agreeing_twice_gives_one_consent(browser: Browser, world: World) -> None:
    request = world.ask(topics=(Topic.RETAIL, Topic.LOANS), valid_for_days=30)
    browser.get("/my/requests")
    token = browser.token()
    for _ in range(2):
        browser.post(f"{page_of(request)}/agree", {"csrf_token": token})
        assert browser.page.request.path == page_of(request)
        assert "You agreed. You can withdraw at any time." in browser.shown
        assert "This company may contact you about this, as it asked and no more." in browser.shown
    assert browser.shown.count("In force") == 2
    assert world.verdict().reason is Reason.CONSENTED
    consents = own(browser.registry, request).consents
    assert {given.row.topic for given in consents} == {Topic.LOANS, Topic.RETAIL}
    assert {given.row.grant.basis for given in consents} == {Basis.CONFIRMED}
    assert count_rows(browser.registry)["consents"] == 2
    browser.get(f"/my/consents/{consents[0].row.id}")
    assert "What you agreed to May we send you 10 offers a day for a month?" in browser.shown
    assert "Good until 31 December 2026 Ground You agreed here yourself" in browser.shown


def test_answering_with_scripts_exchanges_the_card_only(browser: Browser, world: World) -> None:
    for answer, topic, said in (
        ("agree", Topic.LOANS, "You agreed. You can withdraw at any time."),
        ("decline", Topic.GAMES, "You declined. The answer stays no."),
    ):
        request = world.ask(topics=(topic,), notice_text=f"About {topic}?")
        browser.get("/my/requests")
        browser.post(f"{page_of(request)}/{answer}", HX_Request="true")
        [card] = browser.cards
        assert "<html" not in browser.page.text
        assert f'id="request-{request.id}"' in browser.page.text
        assert said in card
        assert browser.actions == []


def test_declining_twice_refuses_once(browser: Browser, world: World) -> None:
    world.grant()
    request = world.ask()
    browser.get("/my/requests")
    token = browser.token()
    for _ in range(2):
        browser.post(f"{page_of(request)}/decline", {"csrf_token": token})
        assert "You declined. The answer stays no." in browser.shown
        assert "You said no on 1 December 2026." in browser.shown
        assert "may never ask for this or anything like it again" in browser.shown
    with browser.registry.database.snapshot() as session:
        [refusal] = subscribers.refusals(session, make_number())
    assert (refusal.via, refusal.topic) == (Via.PORTAL, Topic.RETAIL)
    assert world.verdict().reason is Reason.REFUSED
    assert browser.actions == []


@pytest.mark.parametrize("script", [{}, {"HX_Request": "true"}])
@pytest.mark.parametrize(
    ("first", "second", "told"),
    [("agree", "decline", "You agreed before."), ("decline", "agree", "You declined before.")],
)
def test_other_answer_in_another_tab_changes_nothing(
    browser: Browser, world: World, first: str, second: str, told: str, script: dict[str, str]
) -> None:
    request = world.ask()
    browser.get("/my/requests")
    token = browser.token()
    browser.post(f"{page_of(request)}/{first}")
    before = count_rows(browser.registry)
    browser.post(f"{page_of(request)}/{second}", {"csrf_token": token}, **script)
    assert browser.page.status_code == 409
    assert told in browser.shown
    assert count_rows(browser.registry) == before
    withdraw = [action for action in browser.actions if action.endswith("/withdraw")]
    assert len(withdraw) == len(browser.actions) == (first == "agree")
    for action in withdraw:
        browser.post(action, {"csrf_token": token})
        assert world.verdict().reason is Reason.CONSENT_WITHDRAWN


def test_going_back_after_withdrawing_agrees_to_nothing(browser: Browser, world: World) -> None:
    request = world.ask()
    browser.get("/my/requests")
    token = browser.token()
    browser.post(f"{page_of(request)}/agree")
    [given] = own(browser.registry, request).consents
    browser.post(f"/my/consents/{given.row.id}/withdraw")
    browser.get(page_of(request))
    assert "You agreed on 1 December 2026, and it counts no more:" in browser.shown
    browser.post(f"{page_of(request)}/agree", {"csrf_token": token})
    assert browser.page.status_code == 409
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN


@pytest.mark.parametrize("swept", [True, False])
def test_request_past_its_last_day_is_a_no(
    browser: Browser, world: World, clock: Clock, swept: bool
) -> None:
    request = world.ask()
    clock.pass_(days=7)
    if swept:
        ledger.lapse_due(browser.registry.database, clock=clock)
    browser.sign_in().get("/my/requests")
    assert browser.cards == []
    assert "SMS · Shops and retail Refused: it went unanswered 8 December 2026" in browser.shown
    browser.get(page_of(request))
    assert "It went unanswered until 8 December 2026. No answer is a no." in browser.shown
    assert browser.actions == []
    before = count_rows(browser.registry)
    for answer in ("agree", "decline"):
        browser.get(page_of(request))
        assert browser.post(f"{page_of(request)}/{answer}").status_code == 409
    assert count_rows(browser.registry) == before
    expected = RequestOutcome.LAPSED if swept else None
    assert own(browser.registry, request).row.outcome is expected


def test_covered_request_says_why_no_sms_came_and_still_can_be_agreed_to(
    browser: Browser, world: World
) -> None:
    world.refuse()
    request = world.ask()
    told = "We did not send you an SMS about this because you refuse it already."
    browser.get("/my/requests")
    assert f"{told} If you agree, this one counts all the same." in browser.shown
    browser.post(f"{page_of(request)}/agree")
    assert world.verdict().reason is Reason.CONSENTED
    assert world.verdict(topic=Topic.LOANS).reason is Reason.NO_CONSENT


def test_request_not_covered_says_nothing_of_an_sms(browser: Browser, world: World) -> None:
    world.refuse(scope=Scope(topic=Topic.GAMES))
    world.ask()
    browser.get("/my/requests")
    assert "We did not send you an SMS" not in browser.shown


@pytest.mark.parametrize("earlier_tenure", [True, False])
def test_request_to_another_is_as_if_it_were_not(
    app: Flask, registry: Registry, world: World, clock: Clock, earlier_tenure: bool
) -> None:
    request = world.ask(make_number(0 if earlier_tenure else 7))
    if earlier_tenure:
        clock.pass_(days=1)
        world.reassign()
    browser = Browser(app, registry).sign_in()
    token = browser.token()
    before = count_rows(registry)
    assert browser.get(page_of(request)).status_code == 404
    for answer in ("agree", "decline"):
        posted = browser.post(f"{page_of(request)}/{answer}", {"csrf_token": token})
        assert posted.status_code == 404
    assert browser.get(f"/my/requests?before={request.id}").status_code == 404
    assert count_rows(registry) == before
    browser.get("/my/requests")
    assert "sender 1" not in browser.shown


def test_forged_answer_changes_nothing(browser: Browser, world: World) -> None:
    request = world.ask()
    before = count_rows(browser.registry)
    for answer in ("agree", "decline"):
        browser.post(f"{page_of(request)}/{answer}", {"csrf_token": "forged"})
        assert browser.page.status_code == 400
    assert count_rows(browser.registry) == before


def test_pages_are_for_those_who_signed_in(app: Flask, registry: Registry, world: World) -> None:
    request = world.ask()
    browser = Browser(app, registry)
    for path in ("/my/requests", page_of(request)):
        assert browser.get(path).request.path == "/sign-in"


def test_closed_requests_are_shown_in_parts(browser: Browser, world: World, clock: Clock) -> None:
    for index in range(PAGE + 1):
        request = world.ask(notice_text=f"Number {chr(0x4E00 + index)}?")
        clock.pass_(seconds=1)
        world.own(ledger.agree, request.id)
        world.own(ledger.withdraw_all)
        clock.pass_(seconds=1)
    browser.get("/my/requests")
    assert browser.shown.count("You agreed") == PAGE
    assert "Show older ones" in browser.shown
    last = browser.page.text.split("/my/requests?before=")[1].split('"')[0]
    browser.get(f"/my/requests?before={last}")
    assert browser.shown.count("You agreed") == 1
    assert "Show older ones" not in browser.shown


def test_many_requests_take_no_more_statements_than_one(browser: Browser, world: World) -> None:
    taken: list[str] = []
    event.listen(
        browser.registry.database.reader, "before_cursor_execute",
        lambda _c, _k, statement, *_: taken.append(statement),
    )  # fmt: skip
    counts = []
    for topics in (Topic.RETAIL, Topic.GAMES), (Topic.LOANS, Topic.HEALTH, Topic.TRAVEL):
        for topic in topics:
            agreed = world.ask(topics=(topic,), notice_text=f"An offer of {topic}?")
            world.own(ledger.agree, agreed.id)
            world.ask(topics=(topic,), channel=Channel.VOICE, notice_text=f"A call: {topic}?")
        taken.clear()
        browser.get("/my/requests")
        counts.append((len(browser.cards), len(taken)))
    assert [cards for cards, _ in counts] == [2, 5]
    assert counts[0][1] == counts[1][1]
