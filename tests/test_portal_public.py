"""The public pages: their headers and files, forms, languages, and who is behind a number."""

import gzip
import hashlib
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from flask import Flask, session
from markupsafe import Markup, escape
from sqlalchemy.orm import Session

from registry import create_app, messenger, senders
from registry.consent import Channel, MessageClass
from registry.models import Notice, Organisation, OutboxItem
from registry.numbers import parse_sending
from registry.observe import JsonLines
from registry.portal import assets, cookie, languages, words
from registry.runtime import Registry
from tests.factories import (
    OTHER_PORT,
    PROVIDER_PORT,
    SERVICE_PORT,
    SMS_PORT,
    START,
    VOICE_LINE,
    Client,
    World,
    assign,
    authorise,
    make_number,
    make_provider,
)
from tests.portal import HOST, Browser, on_sqlite

PORTAL = Path(assets.__file__).parent
TEMPLATES = sorted(PORTAL.glob("templates/**/*.html"))
PAGES = ["/", "/who", "/help"]
OLD_PAGE = "页面已过期"
NOT_FOUND = "没有这个页面"


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that was never here before."""
    return Browser(app, registry, language="zh")


@contextmanager
def started(registry: Registry, **changes: Any) -> Iterator[Browser]:
    """Lend a browser at the app of a registry that is changed in something."""
    changed = replace(registry, **changes)
    app = create_app(changed)
    yield Browser(app, changed, language="zh")
    app.extensions["recorder"].close()


def speak(browser: Browser, language: str) -> None:
    browser.get("/")
    browser.post("/language", {"language": language})


def is_page(answer: Any, status: int, title: str) -> bool:
    """Tell whether an answer is a page of ours with this heading."""
    return (
        answer.status_code == status
        and answer.mimetype == "text/html"
        and f"{escape(title)}</h1>" in answer.text
        and answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src")
    )


def rename(world: World, organisation: Organisation, name: str) -> None:
    world.do(lambda session: setattr(senders.find(session, organisation.id), "name", name))


# Headers, cookie, demo


@on_sqlite
@pytest.mark.parametrize("path", [*PAGES, "/nothing"])
def test_pages_allow_only_what_comes_from_here(browser: Browser, path: str) -> None:
    headers = browser.get(path).headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " form-action 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["Referrer-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@on_sqlite
@pytest.mark.parametrize("path", [*PAGES, "/nothing"])
def test_pages_have_no_script_and_no_style_of_their_own(browser: Browser, path: str) -> None:
    text = browser.get(path).text
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=|javascript:", text) == []
    assert re.findall(r'(?:src|href|action)="(?!/|#|tel:)', text) == []


@on_sqlite
def test_cookie_is_sent_over_https_only_to_this_host_and_read_by_no_script(
    app: Flask, world: World
) -> None:
    name, *flags = app.test_client().get("/").headers["Set-Cookie"].split("; ")
    assert name.startswith("__Host-registry=")
    assert set(flags) == {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"}


@on_sqlite
def test_browsers_stay_with_https_once_they_came_by_it(app: Flask) -> None:
    client = app.test_client()
    name = "Strict-Transport-Security"
    assert client.get("/", base_url=HOST).headers[name] == "max-age=31536000"
    assert name not in client.get("/", base_url="http://registry.test").headers


@on_sqlite
@pytest.mark.parametrize("path", ["/my", f"/my/for/{UUID(int=1)}", "/my//refusals", "/my//"])
def test_no_redirect_leads_to_the_host_that_was_asked_for(app: Flask, path: str) -> None:
    answer = app.test_client().get(path, base_url="https://evil.test")
    assert "evil.test" not in answer.headers.get("Location", "")


@on_sqlite
def test_answer_is_kept_a_minute_for_whoever_goes_back_to_it(browser: Browser) -> None:
    assert ask(browser, SMS_PORT).headers["Cache-Control"] == "private, max-age=60"
    assert browser.get("/who").headers["Cache-Control"] == "no-store"


@on_sqlite
def test_cookie_says_nothing_of_the_visitor(browser: Browser) -> None:
    speak(browser, "en")
    assert ask(browser, "13912345678").status_code == 200
    with browser.client.session_transaction(base_url=HOST) as kept:
        assert set(kept) == {"language", "csrf_token"}
        assert re.fullmatch("[0-9a-f]{40}", kept["csrf_token"])


@on_sqlite
def test_cookie_of_another_key_is_no_cookie(browser: Browser, app: Flask) -> None:
    forged = Flask("forger")
    forged.secret_key = b"another key"
    signer = cookie.PagesOnly().get_signing_serializer(forged)
    assert signer is not None
    value = signer.dumps({"language": "en", cookie.SIGNED_IN: "x"})
    browser.client.set_cookie(cookie.NAME, value, domain="registry.test")
    assert 'lang="zh-CN"' in browser.get("/").text


def test_api_neither_reads_nor_sets_the_cookie(client: Client) -> None:
    answer = client.get(f"/v1/numbers/{SMS_PORT}")
    assert "Set-Cookie" not in answer.headers
    assert "Cookie" not in answer.headers.get("Vary", "")


@on_sqlite
@pytest.mark.parametrize("demo", [True, False])
def test_pages_say_that_a_demo_is_one(registry: Registry, demo: bool) -> None:
    with started(registry, demo=demo) as browser:
        for path in [*PAGES, "/nothing"]:
            assert ("演示环境" in browser.get(path).text) is demo


@on_sqlite
def test_visitor_who_is_signed_in_goes_on_to_the_own_number(browser: Browser) -> None:
    with browser.client.session_transaction(base_url=HOST) as kept:
        kept[cookie.SIGNED_IN] = "a token"
    answer = browser.client.get("/", base_url=HOST)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/my/")


# Forms


@on_sqlite
@pytest.mark.parametrize(("path", "form"), [("/language", {"language": "en"}), ("/who", {})])
@pytest.mark.parametrize("token", ["none", "empty", "made up", "another's"])
def test_form_without_its_token_changes_nothing(
    app: Flask, browser: Browser, path: str, form: dict[str, str], token: str
) -> None:
    others = Browser(app, browser.registry, language="zh").token()
    tokens = {"none": {}, "empty": {"csrf_token": ""}, "made up": {"csrf_token": "x.y.z"},
              "another's": {"csrf_token": others}}  # fmt: skip
    sent = {**form, **tokens[token]}
    answer = browser.client.post(path, data=sent, base_url=HOST, headers={"Referer": HOST})
    assert is_page(answer, 400, OLD_PAGE)
    assert 'lang="zh-CN"' in browser.get("/").text


@on_sqlite
def test_form_that_another_site_sends_changes_nothing(browser: Browser) -> None:
    form = {"language": "en"}
    for referrer in ("https://evil.example/", "http://registry.test/"):
        answer = browser.post("/language", form, Referer=referrer)
        assert is_page(answer, 400, OLD_PAGE)
    assert 'lang="zh-CN"' in browser.get("/").text


@on_sqlite
def test_form_from_a_browser_without_cookies_is_answered_calmly(
    app: Flask, browser: Browser
) -> None:
    sent = {"csrf_token": browser.token(), "number": "95013"}
    answer = app.test_client().post("/who", data=sent)
    assert is_page(answer, 400, OLD_PAGE)
    assert "Cookie" in answer.text


@on_sqlite
def test_error_of_a_form_takes_the_place_of_the_whole_page(browser: Browser) -> None:
    answer = browser.client.post("/who", base_url=HOST, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Retarget"]) == (400, "#main")
    assert '<main id="main"' in answer.text


# Languages


@on_sqlite
def test_pages_are_in_chinese_until_english_is_chosen(browser: Browser) -> None:
    assert 'lang="zh-CN"' in browser.get("/").text
    assert is_page(browser.get("/who"), 200, "这是谁的号码？")
    speak(browser, "en")
    assert 'lang="en"' in browser.get("/").text
    assert is_page(browser.get("/who"), 200, "Who is this number?")
    speak(browser, "zh")
    assert is_page(browser.get("/who"), 200, "这是谁的号码？")


@on_sqlite
@pytest.mark.parametrize(
    "wanted", ["", "de", "zh_CN", "zh-CN", "EN", "../../etc/passwd", "\x00", "zh\n", "😀" * 1000]
)
def test_language_that_is_not_spoken_changes_nothing(browser: Browser, wanted: str) -> None:
    speak(browser, "en")
    assert browser.post("/language", {"language": wanted}).status_code == 200
    assert browser.post("/language").status_code == 200
    assert 'lang="en"' in browser.get("/").text


PLAIN = "http://registry.test"


@on_sqlite
@pytest.mark.parametrize(
    ("referrer", "back"),
    [
        (f"{PLAIN}/who", "/who"), (f"{PLAIN}/help", "/help"), (f"{PLAIN}/", "/"), (PLAIN, "/"),
        (f"{PLAIN}/help?x=1#sms", "/help?x=1"), ("", "/"), ("about:blank", "/"), ("/who", "/"),
        ("http://evil.example/who", "/"), ("//evil.example/who", "/"),
        (f"{PLAIN}.evil.example/who", "/"), (f"{PLAIN}:81/who", "/"),
        ("http://registry.test@evil.example/who", "/"),
        ("http://evil.example#@registry.test/who", "/"),
        (f"{PLAIN}//evil.example", "/"), (f"{PLAIN}//who", "/"), (f"{PLAIN}/\\evil.example", "/"),
        (f"{PLAIN}/%2f%2fevil.example", "/"), ("http://[::1/who", "/"),
        ("javascript:alert(1)", "/"),
        (f"{PLAIN}/language", "/"), (f"{PLAIN}/nothing", "/"), (f"{PLAIN}/who\x7f", "/"),
    ],
)  # fmt: skip
def test_language_leads_back_to_a_page_of_ours_only(
    browser: Browser, referrer: str, back: str
) -> None:
    sent = {"language": "en", "csrf_token": browser.token()}
    # Over https the check of the form has refused other referrers already.
    answer = browser.client.post(
        "/language", data=sent, base_url=PLAIN, headers={"Referer": referrer}
    )
    assert (answer.status_code, answer.headers["Location"]) == (302, back)


@on_sqlite
def test_times_are_those_of_the_reader(app: Flask) -> None:
    with app.test_request_context("/"):
        shown = f'<time datetime="{START.isoformat()}">2026年12月1日 10:00</time>'
        assert str(languages.moment(START)) == shown
        assert "2026年12月1日（周二）" in languages.weekday(START)
    with app.test_request_context("/"):
        session["language"] = "en"
        assert ">1 December 2026, 10:00<" in languages.moment(START)
        assert ">Tuesday 1 December 2026<" in languages.weekday(date(2026, 12, 1))
        assert ">1 December 2026<" in languages.day(START)


@on_sqlite
@pytest.mark.parametrize("vocabulary", words.WORDS)
def test_every_word_of_a_vocabulary_can_be_shown(app: Flask, vocabulary: Any) -> None:
    with app.test_request_context("/"):
        shown = [words.word(value) for value in vocabulary]
    assert len(set(shown)) == len(list(vocabulary))


# Who is this number


def ask(browser: Browser, number: str) -> Any:
    browser.get("/who")
    return browser.post("/who", {"number": number})


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (SMS_PORT, ["已登记", "sender 1", "4001234567", "短信", "营销信息（广告、推销等）"]),
        ("１０６９ 0001-234", ["已登记", "sender 1", SMS_PORT]),
        (VOICE_LINE, ["已登记", "sender 1", "电话", "客服号码（95 开头）"]),
        (SERVICE_PORT, ["已登记", "服务通知", "这个号码不得用于发送营销信息"]),
        (f"{SMS_PORT}99", ["已登记", "sender 1", f"{SMS_PORT}99", f"{SMS_PORT}，以此开头的号码"]),
    ],
)
def test_held_number_shows_its_holder(browser: Browser, number: str, shown: list[str]) -> None:
    answer = ask(browser, number)
    assert is_page(answer, 200, "这是谁的号码？")
    assert [text for text in shown if text not in answer.text] == []


@pytest.mark.parametrize("signed_in", [False, True])
def test_answer_leads_to_refusing_the_holder_and_to_complaining(
    browser: Browser, world: World, signed_in: bool
) -> None:
    speak(browser, "en")
    if signed_in:
        browser.sign_in()
    browser.get("/who")
    browser.post("/who", {"number": SMS_PORT})
    assert f'href="/my/refusals?sender={world.sender.id}#new"' in browser.page.text
    assert 'href="/my/complaints/new"' in browser.page.text
    assert ("Sign in and refuse" in browser.shown) is not signed_in


@on_sqlite
def test_number_that_is_an_extension_names_its_sender_and_the_provider(
    browser: Browser, world: World
) -> None:
    provider = make_provider(world)
    rename(world, provider, "云发短信平台")
    authorise(world, provider)
    assign(world, provider, PROVIDER_PORT + "01")
    answer = ask(browser, PROVIDER_PORT + "015")
    assert world.sender.name in answer.text
    assert "发送平台</dt><dd>云发短信平台" in answer.text
    assert "已暂停" not in answer.text
    world.do(
        lambda session: senders.suspend(session, provider.id, "upset", actor_id=None, now=START)
    )
    assert "已暂停" in ask(browser, PROVIDER_PORT + "015").text


def test_number_of_a_suspended_holder_says_so(browser: Browser, world: World) -> None:
    assert "已暂停" not in ask(browser, OTHER_PORT).text
    world.do(
        lambda session: senders.suspend(
            session, world.other_sender.id, "many were upset", actor_id=None, now=START
        )
    )
    answer = ask(browser, OTHER_PORT)
    assert "已暂停" in answer.text
    assert world.other_sender.name in answer.text
    assert "many were upset" not in answer.text


def test_answer_names_the_phone_for_complaints_and_no_suspension_to_come(
    browser: Browser, world: World
) -> None:
    holder = world.other_sender.id
    by: dict[str, Any] = {"actor_id": None, "now": START}
    world.do(lambda it: senders.correct(it, holder, {"complaint_phone": "95533"}, **by))
    later = START + timedelta(days=7)
    world.do(lambda it: senders.suspend(it, holder, "upset", starts_at=later, **by))
    answer = ask(browser, OTHER_PORT)
    assert '<a href="tel:95533">' in answer.text
    assert "已暂停" not in answer.text


@pytest.mark.parametrize("number", ["10699999999", "95999", "4008888888", "+862112345678"])
def test_number_that_nobody_holds_may_be_faked(browser: Browser, number: str) -> None:
    answer = ask(browser, number)
    assert answer.status_code == 200
    assert f"{number.removeprefix('+86')} 没有登记归属" in answer.text
    assert "可能是伪造的" in answer.text
    assert "96110" in answer.text


def test_private_number_is_told_from_no_other_number_that_nobody_holds(
    browser: Browser, world: World
) -> None:
    world.refuse(make_number(1))
    known, unknown = (
        ask(browser, make_number(index).e164).text.replace(make_number(index).e164[3:], "N")
        for index in (1, 2)
    )
    assert re.sub(r'value="[^"]+"', "", known) == re.sub(r'value="[^"]+"', "", unknown)
    assert "没有登记归属" in known


def test_number_whose_dates_have_passed_is_held_by_nobody(browser: Browser, world: World) -> None:
    now = world.registry.clock()
    world.do(
        lambda session: senders.hold(
            session,
            world.sender.id,
            parse_sending("10693334444"),
            senders.Holding(
                (Channel.SMS,), (MessageClass.COMMERCIAL,), held_until=now.replace(hour=5)
            ),
            actor_id=None,
            now=now,
        )
    )
    assert "已登记" in ask(browser, "10693334444").text
    world.registry.clock.pass_(hours=4)  # type: ignore[attr-defined]
    assert "没有登记归属" in ask(browser, "10693334444").text


@on_sqlite
@pytest.mark.parametrize(
    "number",
    ["", " ", "abc", "12", "²", "1069000x", "1" * 65, "1" * 10_000, "\x00", "1_380", "<script>",
     "10690001234\n10690001234", "😀", "+", "{{4321*1234}}", "' OR 1=1 --"],
)  # fmt: skip
def test_what_is_no_number_is_asked_for_again(browser: Browser, number: str) -> None:
    answer = ask(browser, number)
    assert is_page(answer, 422, "这是谁的号码？")
    assert 'aria-invalid="true"' in answer.text
    assert 'aria-describedby="number-hint number-error"' in answer.text
    assert 'id="number-error"' in answer.text
    assert "<script>" not in answer.text
    assert "5332114" not in re.findall(r'id="number" .*|value="5332114"', answer.text)


def test_name_of_a_holder_is_text_and_nothing_else(browser: Browser, world: World) -> None:
    name = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{4321*1234}}"
    rename(world, world.sender, name)
    text = ask(browser, SMS_PORT).text
    assert str(escape(name)) in text
    assert not re.findall(r"<script>|<img|5332114", text.split("<main")[1])


def test_number_that_is_asked_for_stands_in_no_address_and_no_log(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = ask(browser, "13987654321")
    assert "13987654321" in answer.text
    assert 'method="post" action="/who"' in answer.text
    lines = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert '"route": "/who"' in lines
    assert "13987654321" not in lines
    assert "13987654321" not in browser.client.get("/metrics").text


@on_sqlite
def test_number_in_an_address_is_not_looked_up(browser: Browser) -> None:
    assert "sender 1" not in browser.get(f"/who?number={SMS_PORT}").text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("4001234567", '<a href="tel:4001234567">4001234567</a>'),
        ("021-1234 5678", '<a href="tel:02112345678">021-1234 5678</a>'),
        ("+8613800138000", '<a href="tel:+8613800138000">+8613800138000</a>'),
        ('1"><script>', '1"><script>'),
        ("javascript:1", "javascript:1"),
        ("4001234567\n", "4001234567\n"),
        ("１２３４５", "１２３４５"),
    ],
)
def test_phone_is_a_link_only_when_it_can_be_called(written: str, shown: str) -> None:
    assert words.phone(written) == shown
    assert isinstance(words.phone(written), Markup) is shown.startswith("<a")


@on_sqlite
def test_help_gives_the_times_of_the_policy(registry: Registry) -> None:
    rules = registry.policy
    changed = replace(
        rules,
        requests=replace(rules.requests, answer_days=11),
        challenges=replace(rules.challenges, evidence_days=1),
    )
    with started(registry, policy=changed) as browser:
        text = browser.get("/help").text
        assert "11 天后失效" in text
        assert "08:00 至 21:00" in text
        speak(browser, "en")
        text = browser.get("/help").text
        assert "lapses after 11 days, as refused" in text
        assert "must be proven within 1 day, or it is void" in text


# What goes wrong


@on_sqlite
@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("*/*", False), ("", False), ("application/json", False),
        ("application/problem+json", False), ("application/json, text/html;q=0.5", True),
    ],
)  # fmt: skip
def test_unknown_address_is_a_page_for_people_and_a_problem_for_programs(
    browser: Browser, accept: str, page: bool
) -> None:
    answer = browser.get("/nothing", Accept=accept)
    assert is_page(answer, 404, NOT_FOUND) is page
    assert (answer.mimetype == "application/problem+json") is not page
    assert answer.status_code == 404


@on_sqlite
@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/lookups/", "/v1/"])
def test_api_answers_people_with_problems_too(browser: Browser, path: str) -> None:
    assert browser.get(path).mimetype == "application/problem+json"


@on_sqlite
def test_page_that_only_takes_forms_says_so(browser: Browser) -> None:
    answer = browser.get("/language")
    assert is_page(answer, 405, "这个地址不能直接打开")
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


@on_sqlite
def test_errors_speak_the_language_of_the_visitor(browser: Browser) -> None:
    speak(browser, "en")
    assert is_page(browser.get("/nothing"), 404, "There is no such page")
    assert is_page(browser.client.post("/who", base_url=HOST), 400, "This page is old")


@on_sqlite
def test_form_that_is_too_large_is_refused_with_a_page(browser: Browser) -> None:
    browser.get("/who")
    answer = browser.post("/who", {"number": "1" * 70_000})
    assert is_page(answer, 413, "内容太长")


@on_sqlite
def test_too_many_questions_of_one_address_are_told_to_wait(registry: Registry) -> None:
    limits = replace(registry.policy.limits, public_requests_per_second=1)
    with started(registry, policy=replace(registry.policy, limits=limits)) as browser:
        answers = [ask(browser, SMS_PORT) for _ in range(5)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert is_page(refused[0], 429, "操作过于频繁")
        assert refused[0].headers["Retry-After"] == "1"
        assert browser.get("/help").status_code == 200


def test_pages_stay_calm_when_the_database_does_not_answer(
    browser: Browser, registry: Registry
) -> None:
    browser.get("/who")
    reader = registry.database.reader
    with ExitStack() as taken:
        for _ in range(reader.pool.size()):  # type: ignore[attr-defined]
            taken.enter_context(reader.connect())
        answer = browser.post("/who", {"number": SMS_PORT})
        assert is_page(answer, 503, "暂时无法提供服务")
        assert answer.headers["Retry-After"] == "2"
        assert [browser.get(path).status_code for path in PAGES] == [200, 200, 200]
    assert "已登记" in ask(browser, SMS_PORT).text


@on_sqlite
def test_failure_that_nobody_foresaw_is_a_calm_page(browser: Browser, registry: Registry) -> None:
    def broken() -> Any:
        raise ValueError("a failure")

    browser.get("/who")
    registry.clock = broken
    answer = browser.post("/who", {"number": SMS_PORT})
    assert is_page(answer, 500, "系统出错了")
    assert "a failure" not in answer.text


# The demo's SMS


def queue(world: World, text: str | None, **more: Any) -> OutboxItem:
    """Queue an SMS, and word it as the worker does."""

    def act(session: Session) -> OutboxItem:
        item = messenger.queue(session, Notice.REPLY, make_number(), uuid4(), now=START, **more)
        item.text = text
        return item

    return world.do(act)


def test_outbox_is_shown_in_a_demo_only(browser: Browser, world: World) -> None:
    queue(world, "a secret code")
    answer = browser.get("/demo/outbox")
    assert is_page(answer, 404, NOT_FOUND)
    assert "a secret code" not in answer.text
    world.registry.demo = True
    answer = browser.get("/demo/outbox")
    assert is_page(answer, 200, "演示短信")
    assert "a secret code" in answer.text


def test_outbox_shows_texts_and_no_whole_number(browser: Browser, world: World) -> None:
    world.registry.demo = True
    assert "还没有短信" in browser.get("/demo/outbox").text
    queue(world, "<b>验证码 123456</b>")
    queue(world, None, language="en")
    text = browser.get("/demo/outbox").text
    assert "&lt;b&gt;验证码 123456&lt;/b&gt;" in text
    assert text.index("（内容尚未生成）") < text.index("验证码 123456")
    assert "发往 138****0000" in text
    assert "等待发送" in text
    assert ">2026年12月1日 10:00<" in text
    assert "13800000000" not in text


def test_outbox_shows_the_newest_fifty(browser: Browser, world: World) -> None:
    world.registry.demo = True
    for index in range(52):
        queue(world, f"message {index}.")
    shown = re.findall(r"message [0-9]+\.", browser.get("/demo/outbox").text)
    assert shown == [f"message {index}." for index in range(51, 1, -1)]


@on_sqlite
def test_outbox_is_followed_by_scripts_only_when_asked_to(browser: Browser, world: World) -> None:
    world.registry.demo = True
    assert "hx-trigger" not in browser.get("/demo/outbox").text
    assert 'hx-trigger="every 2s"' in browser.get("/demo/outbox?follow=1").text


# Files


def first_page(app: Flask) -> Iterator[tuple[str, int]]:
    """Yield what a browser fetches on its first visit, with the bytes on the wire."""
    client = app.test_client()
    page = client.get("/")
    yield "/", len(page.data)
    for address in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)):
        answer = client.get(address, headers={"Accept-Encoding": "gzip, deflate, br"})
        assert answer.headers["Content-Encoding"] == "gzip"
        yield address, len(answer.data)


@on_sqlite
def test_first_page_is_less_than_60_kilobytes(app: Flask, world: World) -> None:
    fetched = dict(first_page(app))
    assert len(fetched) == 1 + len(assets.NAMES)
    assert sum(fetched.values()) < 60 * 1024, fetched


@on_sqlite
@pytest.mark.parametrize("asset", assets.load().values(), ids=assets.load())
def test_file_is_kept_for_ever_under_the_address_of_its_content(
    app: Flask, asset: assets.Asset
) -> None:
    client = app.test_client()
    plain = client.get(asset.address, headers={"Accept-Encoding": "gzip;q=0"})
    packed = client.get(asset.address, headers={"Accept-Encoding": "gzip"})
    assert (plain.data, "Content-Encoding" in plain.headers) == (asset.plain, False)
    assert zlib.decompress(packed.data, 31) == gzip.decompress(asset.packed) == asset.plain
    for answer in (plain, packed):
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers["Content-Type"] == asset.content_type
    old = client.get(f"/static/000000000000/{asset.name}")
    assert (old.status_code, old.headers["Cache-Control"]) == (200, "no-store")


@on_sqlite
@pytest.mark.parametrize("name", ["nothing.css", "VERSIONS", "..%2f__init__.py", "pico.LICENSE.md"])
def test_nothing_but_the_files_of_pages_is_served(app: Flask, name: str) -> None:
    assert app.test_client().get(f"/static/x/{name}").status_code == 404


def test_files_of_others_are_those_that_were_written_down_with_their_licences() -> None:
    folder = PORTAL / "static" / "vendor"
    written = [line.split() for line in (folder / "VERSIONS").read_text().splitlines()]
    known = {row[0]: row for row in written if len(row) == 5 and row[0] != "file"}
    files = {path.name for path in folder.iterdir()} - {"VERSIONS"}
    assert files == set(known) | {row[3] for row in known.values()}
    for name, row in known.items():
        content = (folder / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row[4]
        assert row[2].encode() in content or name == "htmx.min.js"
        assert len((folder / row[3]).read_text()) > 500


OUTSIDE = re.compile(
    r"""(?:src|href|action|hx-[a-z]+)\s*=\s*["']?\s*(?:https?:)?//|url\(["']|@import"""
)


@pytest.mark.parametrize(
    "path", [*TEMPLATES, PORTAL / "static/registry.css", PORTAL / "static/registry.js"],
    ids=lambda path: path.name,
)  # fmt: skip
def test_nothing_refers_to_another_host(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert OUTSIDE.findall(text) == []
    assert re.findall(r"https?://(?!www\.w3\.org/)", text) == []
    assert "|safe" not in text or path.name == "macros.html"
    assert not re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=", text)


# The catalogue


@pytest.fixture(scope="module")
def said() -> set[Any]:
    """Return all messages that the pages and templates contain, as their extraction finds them."""
    jinja = {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
    found = extract_from_dir(
        str(PORTAL),
        method_map=[("**.py", "python"), ("**/templates/**.html", "jinja2")],
        options_map={"**/templates/**.html": jinja},
        keywords={"_": None, "gettext": None, "lazy_gettext": None, "ngettext": (1, 2)},
    )
    return {message for _file, _line, message, _comments, _context in found}


@pytest.fixture(scope="module")
def chinese() -> Catalog:
    """Return the Chinese catalogue."""
    path = PORTAL / "translations/zh_Hans_CN/LC_MESSAGES/messages.po"
    with path.open(encoding="utf-8") as file:
        return read_po(file, locale="zh_Hans_CN", abort_invalid=True)


def test_everything_that_pages_say_is_translated(said: set[Any], chinese: Catalog) -> None:
    assert len(said) > 100
    translated = {entry.id for entry in chinese if entry.string and all(entry.string)}
    assert said - translated == set()
    assert [entry.id for entry in chinese if entry.fuzzy and entry.id] == []


def test_catalogue_holds_nothing_that_no_page_says(said: set[Any], chinese: Catalog) -> None:
    assert {entry.id for entry in chinese if entry.id} - said == set()


def test_translations_fill_in_the_same_values(chinese: Catalog) -> None:
    for entry in chinese:
        if entry.id:
            wanted, filled = (
                [set(re.findall(r"%\(\w+\)[sd]", text)) for text in forms(words)]
                for words in (entry.id, entry.string)
            )
            assert filled == [wanted[-1]] * len(filled), entry.id
            stray = re.sub(r"%\(\w+\)[sd]|%%", "", "".join(forms(entry.string)))
            assert "%" not in stray, entry.id


def forms(message: Any) -> list[str]:
    """Return the forms of a message: one, or those for one and for many."""
    return [message] if isinstance(message, str) else list(message)
