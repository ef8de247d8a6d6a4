"""The console's pages for senders and platforms in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser
from sqlalchemy.orm import Session

from registry import complaints, imports, ledger, senders
from registry.complaints import Draft
from registry.consent import Channel, MessageClass, Reason, Topic
from registry.imports import looking
from registry.models import ImportFormat, ImportKind, Organisation, OrganisationKind
from registry.numbers import parse_sending
from registry.runtime import Registry
from registry.schemas.imports import LINES
from registry.worker import import_means
from tests.browser import DESK, PHONE, Visitor, chromium, served, visiting
from tests.console import make_member
from tests.factories import (
    SMS_PORT,
    Clock,
    World,
    make_number,
    make_organisation,
)
from tests.test_browser_console import check, english, sign_in

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
Visit = Callable[..., AbstractContextManager[Visitor]]

PORT = "10698765432"
SENDER = [
    "/console/", "/console/requests", "/console/requests?state=refused", "/console/requests/new",
    "/console/requests/{agreed}", "/console/requests/{asked}", "/console/consents",
    "/console/consents/{consent}", "/console/consents/{consent}/withdraw", "/console/imports",
    "/console/imports/new", "/console/imports/{received}/columns", "/console/imports/{done}",
    "/console/imports/{waiting}", "/console/imports/{waiting}/cancel", "/console/numbers",
    "/console/numbers/{number}", "/console/numbers/{number}/release", "/console/numbers/claims",
    "/console/numbers/claims/new", "/console/numbers/claims/{claim}/withdraw",
    "/console/numbers/platforms", "/console/numbers/authorisations/{authorisation}/end",
    "/console/complaints", "/console/complaints/{complaint}",
]  # fmt: skip
PLATFORM = ["/console/numbers", "/console/numbers/{port}", "/console/numbers/served"]


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
def full(world: World, clock: Clock) -> dict[str, object]:
    """Give a sender and its platform something of everything; return what addresses name."""
    make_member(world, email="li@example.cn", name="Li Ming")
    provider = world.do(lambda session: make_organisation(session, OrganisationKind.PROVIDER, 77))
    make_member(world, provider, email="wang@example.cn", name="Wang Fang")
    agreed, _silent = world.ask(make_number(1)), world.ask(make_number(2))
    world.own(ledger.agree, agreed.id, number=make_number(1))
    draft = Draft(Channel.SMS, SMS_PORT, Topic.RETAIL, clock.now, "半夜发短信。")
    complaint = world.own(complaints.file, draft)
    world.do(
        lambda session: complaints.forward(
            session, complaint.id, actor_id=world.operator.id, clock=clock
        )
    )
    clock.pass_(days=8)
    asked = world.ask(make_number(3), topics=(Topic.GAMES, Topic.TRAVEL, Topic.HEALTH))
    [consent] = world.grant(make_number(1), topics=(Topic.HEALTH,))
    return {
        "agreed": agreed.id,
        "asked": asked.id,
        "consent": consent.id,
        "complaint": complaint.id,
        "received": make_import(world, start=False),
        "done": make_import(world, work=True),
        "waiting": make_import(world),
        **world.do(lambda session: _numbers(session, world, provider)),
    }


def _numbers(session: Session, world: World, provider: Organisation) -> dict[str, object]:
    now, own = world.registry.clock(), world.sender.id
    sms = senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL, MessageClass.SERVICE))
    port = senders.hold(session, provider.id, parse_sending(PORT), sms, actor_id=None, now=now)
    authorisation = senders.authorise(session, own, provider.id, actor_id=None, now=now)
    senders.assign_extension(
        session, provider.id, parse_sending(PORT), parse_sending(PORT + "01"), own, sms,
        actor_id=None, now=now,
    )  # fmt: skip
    claims = [
        senders.claim(session, own, parse_sending(number), sms, note=None, actor_id=None, now=now)
        for number in ("10690007777", "4001234567")
    ]
    senders.decide_claim(
        session, claims[1].id, approve=False, reason="许可证号不符。", actor_id=None, now=now
    )
    return {
        "port": port.id,
        "number": senders.holdings(session, own)[0].id,
        "claim": claims[0].id,
        "authorisation": authorisation.id,
    }


def lines(many: int) -> str:
    told = "2026-11-30T10:00:00+08:00,retail"
    rows = "".join(f"{make_number(100 + index).dialled},{told}\n" for index in range(many))
    return f"手机号,同意时间,主题\n{rows}12,{told}\n"


def make_import(world: World, *, start: bool = True, work: bool = False) -> object:
    """Return the id of an import of the sender: received, started, or done."""
    opened, own, schema = world.registry, world.sender.id, LINES[ImportKind.CONSENTS]
    options = imports.options(
        schema,
        ImportFormat.CSV,
        columns={"number": "手机号", "granted_at": "同意时间", "topics": "主题"},
        defaults={
            "channel": "sms",
            "cap": {"count": 4, "period": "month"},
            "valid_for_days": 90,
            "evidence": {"method": "app", "notice_text": "我同意。"},
        },
    )
    row = world.do(
        lambda session: imports.create(
            session, own, ImportKind.CONSENTS, ImportFormat.CSV, "名单", options, now=opened.clock()
        )
    )
    data = [lines(20).encode()]
    imports.receive(opened.database, opened.imports, row.id, own, 0, data, most=1)
    if start:
        world.do(lambda session: looking.choose(session, row.id, own, options))
        world.do(lambda session: imports.start(session, row.id, own))
    if work:
        imports.run_next(import_means(opened), only=row.id)
    return row.id


@pytest.mark.parametrize(("language", "scripts"), [("zh", False), ("en", True)])
def test_story_send_a_file_choose_columns_and_watch(
    visit: Visit, world: World, clock: Clock, tmp_path: Path, language: str, scripts: bool
) -> None:
    make_member(world, email="li@example.cn")
    path = tmp_path / "people.csv"
    path.write_text(lines(5), encoding="gb18030")
    with visit(language=language, scripts=scripts) as visitor:
        page = visitor.page
        sign_in(visitor, clock)
        visitor.press("Imports")
        visitor.press("Import a file")
        page.locator("#file").set_input_files(path)
        visitor.press("Send the file")
        visitor.reads("What is in the file?")
        page.get_by_text("138****0100").wait_for()
        assert make_number(100).dialled not in page.content()
        visitor.press("Start the import")
        visitor.reads("Not started yet")
        page.locator("select[name=channel]").select_option("sms")
        page.locator("[name='cap.count']").fill("4")
        page.locator("select[name='cap.period']").select_option("month")
        page.locator("select[name='evidence.method']").select_option("app")
        page.locator("[name='evidence.notice_text']").fill("I agree to four SMS a month.")
        closed = page.locator("main details:not([open]) > summary")
        while closed.count():
            closed.first.click()
        page.locator("[name=valid_for_days]").fill("90")
        visitor.press("Start the import")
        visitor.reads("The import has started.")
        visitor.reads("Waiting to begin")
        assert imports.run_next(import_means(world.registry))
        if not scripts:
            visitor.press("Look again")
        # With scripts the page looks again by itself.
        visitor.reads("Download the result")
        visitor.reads("Done")
        with page.expect_download() as waiting:
            page.locator('main a[href$="/result"]').click()
        assert waiting.value.path().read_text().count("applied") == 5
    assert world.verdict(make_number(104)).reason is Reason.CONSENTED


@pytest.mark.parametrize(("language", "size", "dark"), [("zh", PHONE, False), ("en", DESK, True)])
def test_every_page_is_accessible_and_fits(
    visit: Visit, full: dict[str, object], clock: Clock, language: str,
    size: tuple[int, int], dark: bool,
) -> None:  # fmt: skip
    with visit(language=language, size=size, dark=dark) as visitor:
        sign_in(visitor, clock)
        found = [problem for path in SENDER for problem in check(visitor, path.format(**full))]
        visitor.open("/console/consents")
        visitor.page.locator("#number").fill(make_number(1).e164)
        visitor.press("Search")
        found += check(visitor)
        visitor.open("/console/requests/new")
        visitor.press("See how it will be read")
        visitor.page.locator("#number").fill(make_number(9).e164)
        visitor.page.locator("input[name=topics]").first.check()
        visitor.page.locator("#cap_count").fill("4")
        visitor.page.locator("#notice_text").fill("每月最多四条促销短信，可以吗？")
        visitor.press("See how it will be read")
        visitor.reads("Ask now")
        found += check(visitor)
        if language == "zh":
            found += [it for path in SENDER for it in english(visitor, path.format(**full))]
    with visit(language=language, size=size, dark=dark) as visitor:
        sign_in(visitor, clock, "wang@example.cn")
        found += [problem for path in PLATFORM for problem in check(visitor, path.format(**full))]
    assert found == []
