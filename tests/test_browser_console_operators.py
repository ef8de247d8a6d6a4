"""The console of operators in a real browser: how its pages are made, and deciding quickly."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from flask import Flask
from playwright.sync_api import Browser
from sqlalchemy.orm import Session

from registry import access, senders
from registry.consent import Channel, MessageClass
from registry.files import Content
from registry.models import MemberRole, OrganisationKind
from registry.numbers import parse_sending
from registry.runtime import Registry
from tests.browser import DESK, PHONE, Visitor, chromium, served, visiting
from tests.console import make_member
from tests.factories import Clock, World, make_organisation, make_uscc
from tests.test_browser_console import check, english, sign_in

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
Visit = Callable[..., AbstractContextManager[Visitor]]
ITS = "/console/organisations/{organisation}"
PAGES = [
    "/console/", "/console/more", "/console/review", "/console/review/applications/{application}",
    "/console/review/applications/{change}", "/console/review/claims/{claim}",
    "/console/review/appeals/{appeal}", "/console/organisations", "/console/organisations?q=none",
    "/console/organisations/new", ITS, f"{ITS}/numbers", f"{ITS}/authorisations", f"{ITS}/access",
    f"{ITS}/keys/{{key}}/revoke", f"{ITS}/team", f"{ITS}/team/{{admin}}",
    "/console/organisations/{free}/correct", "/console/organisations/{free}/suspend",
    "/console/suspensions", "/console/suspensions?phase=announced",
    "/console/suspensions/{suspension}",
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
def full(world: World) -> dict[str, object]:
    """Give operators something of everything; return what their pages' addresses name."""
    make_member(world, world.operator, email="li@example.cn", name="李明 Li Ming")
    make_member(world, role=MemberRole.AGENT)
    admin = make_member(world)
    return {"admin": admin.id, **world.do(lambda session: _fill(session, world))}


def _fill(session: Session, world: World) -> dict[str, object]:
    now, sender, other = world.registry.clock(), world.sender, world.other_sender
    shop = {"name": "星河百货 Xinghe Stores", "licence_number": "B2-20260001"}
    senders.correct(session, sender.id, shop, actor_id=None, now=now)
    senders.correct(session, other.id, {"name": "远山保险 Yuanshan"}, actor_id=None, now=now)
    provider = make_organisation(session, OrganisationKind.PROVIDER, 77, now)
    senders.authorise(session, sender.id, provider.id, actor_id=None, now=now)
    details = senders.Details(
        OrganisationKind.SENDER, "北京星河百货有限公司", make_uscc(500), "A2-1", "王芳 Wang Fang",
        "4001234567", "4007654321",
    )  # fmt: skip
    rejected = senders.apply(session, details, now=now - timedelta(days=30))
    senders.decide_application(
        session, rejected.id, approve=False, reason="执照已过期。", actor_id=None, now=now
    )
    application = senders.apply(session, details, now=now - timedelta(days=9))
    senders.add_document(
        session, world.registry.files, application, Content(b"%PDF-1.7 x"), "营业执照.pdf",
        actor_id=None, now=now,
    )  # fmt: skip
    claims = [
        senders.claim(
            session, who.id, parse_sending(number),
            senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL, MessageClass.SERVICE)),
            note="许可证第三页。", actor_id=who.id, now=now - timedelta(days=4),
        )
        for who, number in ((sender, "10690007777"), (other, "106900077771"))
    ]  # fmt: skip
    changes = senders.Changes("Li", name="星河百货集团 Xinghe", complaint_phone="4007654321")
    change = senders.propose(session, sender.id, changes, now=now)
    senders.hold(
        session, other.id, parse_sending("106900077772"),
        senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,)), actor_id=None, now=now,
    )  # fmt: skip
    senders.suspend(session, other.id, "一周内被投诉一千次。", actor_id=None, now=now)
    suspension = senders.suspension(session, other.id)
    assert suspension is not None
    appeal = senders.appeal(
        session, suspension.id, "均已取得同意。", organisation_id=other.id, now=now
    )
    later = now + timedelta(days=7)
    senders.suspend(session, sender.id, "号码被冒用。", starts_at=later, actor_id=None, now=now)
    key, _text = access.issue(
        session, sender, access.SCOPES[sender.kind], now + timedelta(days=9), actor_id=None,
        now=now, label="shop",
    )  # fmt: skip
    return {
        "application": application.id, "change": change.id, "claim": claims[0].id,
        "appeal": appeal.id, "suspension": suspension.id, "organisation": sender.id,
        "free": world.carrier.id, "key": key.id,
    }  # fmt: skip


@pytest.mark.parametrize(("language", "size", "dark"), [("zh", PHONE, False), ("en", DESK, True)])
def test_every_page_of_operators_is_accessible_and_fits(
    visit: Visit, full: dict[str, object], clock: Clock, language: str,
    size: tuple[int, int], dark: bool,
) -> None:  # fmt: skip
    with visit(language=language, size=size, dark=dark) as visitor:
        sign_in(visitor, clock)
        found = [problem for path in PAGES for problem in check(visitor, path.format(**full))]
        visitor.open("/console/review/claims/{claim}".format(**full))
        visitor.press("Approve")
        found += check(visitor)
        visitor.press("Yes, approve")
        visitor.reads("It cannot be approved as things stand")
        found += check(visitor)
        if (language, size) == ("zh", PHONE):
            found += [it for path in PAGES for it in english(visitor, path.format(**full))]
    assert found == []


def test_reviewer_goes_through_the_queue_without_looking_for_it(
    visit: Visit, full: dict[str, object], clock: Clock
) -> None:
    with visit(language="en", size=DESK) as visitor:
        sign_in(visitor, clock)
        visitor.press("To the review queue")
        visitor.press("北京星河百货有限公司")
        visitor.press("Approve")
        visitor.reads("Register “北京星河百货有限公司”?")
        visitor.press("Yes, approve")
        visitor.reads("Approved. It counts from now on.")
        visitor.press("On to the next one")
        visitor.reads("Who else claims it, or part of it")
        visitor.write("Reason", "Part of it is another's.")
        visitor.press("Reject")
        visitor.press("Yes, reject")
        visitor.press("On to the next one")
        assert "/console/review/claims/" in visitor.page.url
