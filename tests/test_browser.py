"""What people do on the pages, in a real browser, in both languages."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from flask import Flask
from playwright.sync_api import Browser

from registry import ledger
from registry.consent import Channel, Reason, Topic
from registry.ledger import CapTerms
from registry.models import ConsentRequest
from registry.policy import Period
from registry.runtime import Registry
from tests.browser import DESK, PHONE, Visitor, chromium, served, visiting
from tests.factories import SMS_PORT, Client, Clock, World, make_number
from tests.portal import PAGES, fill, on_sqlite, sent_code

pytestmark = on_sqlite
both = pytest.mark.parametrize("language", ["zh", "en"])

MEMBER = make_number(10_001)
Visit = Callable[..., AbstractContextManager[Visitor]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Lend one Chromium to all tests of the module."""
    with chromium() as started:
        yield started


@pytest.fixture
def site(app: Flask, world: World) -> Iterator[str]:
    """Serve the app, with its world, and return its address."""
    with served(app) as (address, _asked):
        yield address


@pytest.fixture
def visit(browser: Browser, site: str, registry: Registry) -> Visit:
    """Return what opens a window: `with visit(language=...) as visitor`."""
    return lambda **how: visiting(browser, site, registry, **how)


def ask(world: World, topic: Topic = Topic.RETAIL) -> ConsentRequest:
    """Ask the subscriber, as the sender, for a consent."""
    return world.do(
        lambda session: ledger.ask(
            session,
            sender_id=world.sender.id,
            number=make_number(),
            channel=Channel.SMS,
            topics=(topic,),
            cap=CapTerms(2, Period.WEEK),
            valid_for_days=30,
            notice_text="May we write twice a week about our shop?",
            policy=world.registry.policy,
            clock=world.registry.clock,
        )
    )


def reason(client: Client) -> Reason:
    """Return what a marketer hears over the API."""
    return Reason(client.lookup().json["reason"])


@both
def test_story_refuse_agree_withdraw(
    visit: Visit, client: Client, world: World, language: str
) -> None:
    world.grant()
    assert reason(client) is Reason.CONSENTED
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.press("Refuse everything now")
        visitor.reads("You refuse everything")
        assert reason(client) is Reason.REFUSED
        ask(world)
        visitor.press("Requests")
        visitor.reads("May we write twice a week about our shop?")
        visitor.press("Agree")
        visitor.reads("You agreed")
        assert reason(client) is Reason.CONSENTED
        visitor.press("Consents")
        visitor.press("Withdraw")
        visitor.reads(
            "Withdrawn: “%(sender)s” may no longer contact you about it.", sender="sender 1"
        )
        assert reason(client) is Reason.CONSENT_WITHDRAWN
        visitor.open("/my/")
        visitor.reads("You refuse everything")


@both
def test_part_is_refused_and_lifted(visit: Visit, world: World, language: str) -> None:
    world.grant()
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.open("/my/refusals")
        visitor.page.get_by_label(visitor.says("About what")).select_option("retail")
        visitor.press("Refuse this")
        visitor.reads("Your refusal is recorded and takes effect at once.")
        assert world.verdict().reason is Reason.REFUSED
        visitor.press("Lift this refusal")
        visitor.reads("That refusal is lifted. We also tell you by SMS.")
        assert world.verdict().reason is Reason.CONSENTED


@both
def test_own_hours_are_set(visit: Visit, world: World, language: str) -> None:
    world.grant()
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.open("/my/refusals")
        visitor.page.locator("#opens").fill("11:00")
        visitor.page.locator("#closes").fill("12:00")
        visitor.press("Set my hours")
        visitor.reads("Your contact hours are set and take effect at once.")
        assert world.verdict().reason is Reason.QUIET_HOURS


@both
def test_claim_is_disputed(visit: Visit, world: World, language: str) -> None:
    [consent] = world.grant()
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.press("Consents")
        visitor.press("Details")
        visitor.reads("I agree to ten messages a day.")
        visitor.open(f"/my/consents/{consent.id}/challenge")
        visitor.page.get_by_role("main").get_by_role("button").first.click()
        visitor.reads("You dispute it")
        assert world.verdict().reason is Reason.REFUSED


@both
def test_request_is_declined(visit: Visit, world: World, language: str) -> None:
    ask(world)
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.press("Requests")
        visitor.press("Decline")
        visitor.reads("You declined")
        assert world.verdict().reason is Reason.NO_CONSENT


@both
def test_complaint_is_prefilled_from_a_lookup(
    visit: Visit, client: Client, app: Flask, language: str
) -> None:
    client.lookup()
    app.extensions["recorder"].flush()
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.open("/my/lookups")
        visitor.reads("No: you never agreed")
        visitor.press("Complain about this")
        shown = visitor.page.get_by_label(visitor.says("Number that was shown"))
        assert shown.input_value() == SMS_PORT
        visitor.page.get_by_label(visitor.says("What happened?")).fill("It came at night.")
        visitor.press("Send the complaint")
        visitor.reads("It came at night.")
        # Filed on Tuesday 1 December 2026: forwarded within three working days.
        assert visitor.page.locator('time[datetime="2026-12-04"]').count() > 0


@both
def test_member_of_the_family_is_looked_after(
    visit: Visit, registry: Registry, world: World, language: str
) -> None:
    world.grant(MEMBER)
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.open("/my/family")
        visitor.write("Mobile number of the other one", MEMBER.e164)
        visitor.page.locator("#label").fill("妈妈")
        visitor.press("Send the code to that phone")
        visitor.page.locator("#code").fill(sent_code(registry, MEMBER))
        visitor.page.get_by_role("main").get_by_role("button").first.click()
        visitor.page.wait_for_load_state()
        visitor.open("/my/family")
        visitor.press("Act for this number")
        visitor.reads("You are acting for %(name)s", name=f"妈妈 {MEMBER.dialled}")
        visitor.press("Refuse everything now")
        visitor.reads("Everything is refused")
        assert world.verdict(MEMBER).reason is Reason.REFUSED
        assert world.verdict(make_number()).reason is Reason.NO_CONSENT
    with visit(language=language) as visitor:
        visitor.sign_in(MEMBER)
        visitor.open("/my/history")
        assert make_number().dialled in visitor.page.get_by_role("main").inner_text()
        visitor.open("/my/family")
        visitor.press("End it")
        visitor.page.get_by_role("main").get_by_role("button").first.click()
        visitor.reads("Nobody but you")


@both
def test_data_is_read_and_downloaded(visit: Visit, world: World, language: str) -> None:
    [consent] = world.grant()
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.open("/my/data")
        with visitor.page.expect_download() as waiting:
            visitor.page.locator('a[href$="data.json"]').first.click()
        downloaded = json.loads(waiting.value.path().read_text(encoding="utf-8"))
    assert [row["id"] for row in downloaded["consents"]] == [str(consent.id)]


@both
def test_who_is_behind_a_number_is_told(visit: Visit, language: str) -> None:
    with visit(language=language) as visitor:
        visitor.press("Who is this number?")
        visitor.write("The number that called or wrote", "1069 0001 2345 6")
        visitor.press("Look it up")
        visitor.page.get_by_text("sender 1").wait_for()
        visitor.write("The number that called or wrote", "10699999999")
        visitor.press("Look it up")
        visitor.reads("Nobody is registered with %(number)s", number="10699999999")
        assert visitor.page.url.endswith("/who")


@both
def test_sms_keyword_shows_on_the_page(
    visit: Visit, client: Client, world: World, language: str
) -> None:
    world.grant()
    body = {
        "from": make_number().e164,
        "to": SMS_PORT,
        "text": "TD",
        "received_at": world.registry.clock().isoformat(),
        "message_id": "m-1",
    }
    answer = client.post("/v1/inbound-sms", body, who="carrier")
    assert (answer.status_code, answer.json["action"]) == (200, "unsubscribed")
    with visit(language=language) as visitor:
        visitor.sign_in()
        visitor.open("/my/refusals")
        visitor.page.get_by_text("sender 1").first.wait_for()
        visitor.reads("by SMS", exact=False)


@both
def test_signing_out_everywhere_ends_other_browsers(
    visit: Visit, language: str, clock: Clock
) -> None:
    with visit(language=language) as phone:
        phone.sign_in()
        clock.pass_(minutes=2)
        with visit(language=language, size=DESK) as desk:
            desk.sign_in()
            desk.open("/my/account")
            desk.press("Sign out everywhere")
            confirm = desk.page.get_by_role("main").get_by_role("button")
            if confirm.count():
                confirm.first.click()
        phone.open("/my/")
        assert phone.page.url.endswith("/sign-in")


@both
def test_all_goes_without_scripts(
    visit: Visit, client: Client, world: World, language: str
) -> None:
    world.grant()
    with visit(language=language, scripts=False) as visitor:
        visitor.sign_in()
        visitor.press("Consents")
        visitor.press("Withdraw")
        visitor.reads(
            "Withdrawn: “%(sender)s” may no longer contact you about it.", sender="sender 1"
        )
        assert reason(client) is Reason.CONSENT_WITHDRAWN
        visitor.open("/my/")
        visitor.press("Refuse everything now")
        visitor.reads("You refuse everything")


def test_double_click_refuses_once(visit: Visit, registry: Registry) -> None:
    with visit() as visitor:
        visitor.sign_in()
        visitor.page.get_by_role("button", name=visitor.says("Refuse everything now")).dblclick()
        visitor.reads("You refuse everything")
        visitor.open("/my/refusals")
        assert visitor.page.locator("[id^=refusal-]:not([id$=-title])").count() == 1


def test_way_back_after_refusing_shows_no_old_state_that_works(visit: Visit, world: World) -> None:
    [consent] = world.grant()
    with visit() as visitor:
        visitor.sign_in()
        visitor.open(f"/my/consents/{consent.id}")
        visitor.press("Withdraw")
        visitor.page.wait_for_load_state()
        visitor.page.go_back()
        visitor.page.wait_for_load_state()
        again = visitor.page.get_by_role("button", name=visitor.says("Withdraw"), exact=True)
        if again.count():
            again.first.click()
            visitor.page.wait_for_load_state()
        assert world.verdict().reason is Reason.CONSENT_WITHDRAWN


def test_two_tabs_answer_a_request_once(visit: Visit, world: World) -> None:
    ask(world)
    with visit() as visitor:
        visitor.sign_in()
        visitor.open("/my/requests")
        second = visitor.page.context.new_page()
        second.goto(f"{visitor.address}/my/requests")
        visitor.press("Agree")
        visitor.reads("You agreed")
        second.get_by_role("button", name=visitor.says("Decline")).click()
        told = "You agreed before. You do not want it after all? Withdraw it here."
        second.get_by_text(visitor.says(told)).wait_for()
        assert world.verdict().reason is Reason.CONSENTED


# How pages are made


@pytest.fixture
def full(client: Client, app: Flask, world: World) -> list[str]:
    """Fill the number with something of everything; return the addresses of all its pages."""
    named = fill(world)
    client.lookup()
    app.extensions["recorder"].flush()
    return [path.format(**named) for path in PAGES]


PUBLIC = ["/", "/who", "/help", "/sign-in", "/nothing-here"]


def check(visitor: Visitor, path: str) -> list[str]:
    """Open a page and return what is wrong with how it is made."""
    visitor.open(path)
    wide = visitor.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    found = [f"{path} is {wide} pixels too wide"] if wide > 0 else []
    text = visitor.page.get_by_role("main").inner_text()
    if "%(" in text or "{{" in text or re.search(r"(?m)^None$", text):
        found.append(f"{path} shows something that is not for people")
    return [*found, *visitor.violations()]


@pytest.mark.parametrize(
    ("language", "size", "dark"),
    [("zh", PHONE, False), ("en", PHONE, True), ("zh", DESK, True), ("en", DESK, False)],
)
def test_every_page_is_accessible_and_fits(
    visit: Visit, full: list[str], language: str, size: tuple[int, int], dark: bool
) -> None:
    with visit(language=language, size=size, dark=dark) as visitor:
        found = [problem for path in PUBLIC for problem in check(visitor, path)]
        visitor.sign_in()
        found += [problem for path in full for problem in check(visitor, path)]
    assert found == []


@both
def test_empty_pages_are_accessible(visit: Visit, full: list[str], language: str) -> None:
    with visit(language=language) as visitor:
        visitor.sign_in(make_number(20_000))
        paths = [path for path in full if path.count("/") == 2 or path.endswith("/new")]
        assert [problem for path in paths for problem in check(visitor, path)] == []


def test_nothing_moves_while_a_page_loads(visit: Visit, full: list[str]) -> None:
    watch = """
    window.moved = 0;
    window.places = [];
    new PerformanceObserver(list => {
      for (const entry of list.getEntries()) {
        window.moved += entry.value;
        for (const source of entry.sources) window.places.push(source.node?.className ?? "");
      }
    }).observe({type: "layout-shift", buffered: true});
    """
    with visit() as visitor:
        visitor.page.add_init_script(watch)
        visitor.sign_in()
        for path in ["/", *PUBLIC, *full]:
            visitor.page.goto(visitor.address + path, wait_until="networkidle")
            assert visitor.page.evaluate("[window.moved, window.places]") == [0, []], path


def test_chinese_pages_hold_no_english(visit: Visit, full: list[str]) -> None:
    with visit(language="zh") as visitor:
        visitor.sign_in()
        for path in [*PUBLIC, *full]:
            visitor.open(path)
            # What organisations wrote stays as they wrote it.
            visitor.page.evaluate(
                "document.querySelectorAll('blockquote, bdi').forEach(n => n.remove())"
            )
            text = " ".join(visitor.page.locator("main, nav, footer").all_inner_texts())
            words = re.findall(r"\b[a-z]{4,}\b", re.sub(r"“[^”]*”", "", text))
            assert set(words) <= {"sender"}, (path, words)
