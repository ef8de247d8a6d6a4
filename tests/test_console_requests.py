"""The console's pages about asking subscribers, about consents and about complaints."""

import json
import re
from collections.abc import Callable
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from registry import complaints, evidence, files, ledger, senders
from registry.complaints import Draft
from registry.consent import Channel, Reason, Topic
from registry.models import ConsentRequest, Event, MemberRole, Refusal
from registry.runtime import Registry
from tests.console import Console, make_member
from tests.factories import (
    SMS_PORT,
    START,
    Client,
    Clock,
    World,
    consent_body,
    count_rows,
    make_number,
)
from tests.portal import on_sqlite

pytestmark = on_sqlite
VIEWER, AGENT, ADMIN = MemberRole
Open = Callable[..., Console]


@pytest.fixture
def enter(app: Flask, registry: Registry) -> Open:
    """Return what opens a browser in which a member is signed in."""
    return lambda member, **more: Console(app, registry, **more).enter(member)


def question(**more: object) -> dict[str, object]:
    return {
        "number": make_number().e164,
        "channel": "sms",
        "topics": ["retail", "travel"],
        "cap_count": "4",
        "cap_period": "month",
        "valid_for_days": "90",
        "notice_text": "May we write to you four times a month?",
        **more,
    }


def complain(world: World, index: int = 0) -> UUID:
    """Return a complaint about the sender that was forwarded to it."""
    now = world.registry.clock()
    text = f"Call me under {make_number(index).dialled}: they wrote at night."
    draft = Draft(Channel.SMS, SMS_PORT, Topic.RETAIL, now, text)
    row = world.own(complaints.file, draft, number=make_number(index))
    world.do(
        lambda session: complaints.forward(
            session, row.id, actor_id=world.operator.id, clock=world.registry.clock
        )
    )
    return row.id


def test_question_is_shown_as_it_will_be_read_and_asked_once(
    enter: Open, world: World, registry: Registry
) -> None:
    browser = enter(make_member(world, role=AGENT))
    browser.get("/console/requests/new")
    before = count_rows(registry)
    browser.post("/console/requests/preview", question())
    for said in ("Shops and retail, Travel", "4 times a month at most", "90 days from the day"):
        assert said in browser.cards[0], said
    assert "May we write to you four times a month?" in browser.cards[0]
    assert count_rows(registry) == before
    browser.post("/console/requests", question())
    assert "It is asked." in browser.shown
    [row] = world.do(lambda session: session.scalars(select(ConsentRequest)).all())
    assert browser.page.request.path == f"/console/requests/{row.id}"
    assert (row.sender_id, row.valid_for_days, row.topics) == (world.sender.id, 90, "retail travel")
    browser.get("/console/requests/new")
    browser.post("/console/requests", question(notice_text="Something else?"))
    assert (browser.page.status_code, "no answer is due yet" in browser.shown) == (409, True)
    assert "Something else?" in browser.page.text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"number": "106901234567"}, "no telephone number"),
        ({"number": "010 6552 9988"}, "A landline takes calls only"),
        ({"topics": []}, "Please choose one at least"),
        ({"cap_count": "0"}, "a number from 1 to"),
        ({"cap_count": "½"}, "a number from 1 on"),
        ({"valid_for_days": "3651"}, "1 to 3650 days"),
        ({"notice_text": " "}, "1 to 10000 characters"),
        ({"channel": "pigeon"}, "Please choose one."),
    ],
)
def test_question_without_its_terms_is_not_asked(
    enter: Open, world: World, form: dict[str, object], said: str
) -> None:
    browser = enter(make_member(world))
    before = count_rows(world.registry)
    for path in ("/console/requests/preview", "/console/requests"):
        browser.get("/console/requests/new")
        browser.post(path, question(**form))
        assert (browser.page.status_code, said in browser.shown) == (422, True), browser.shown
    assert count_rows(world.registry) == before


def test_sender_is_told_of_answers_what_the_api_tells_and_no_more(
    enter: Open, world: World, clock: Clock
) -> None:
    agreed, declined, silent = (world.ask(make_number(index)) for index in range(3))
    foreign = world.ask(make_number(9), sender=world.other_sender)
    world.own(ledger.agree, agreed.id, number=make_number(0))
    world.own(ledger.decline, declined.id, number=make_number(1))
    browser = enter(make_member(world, role=VIEWER))
    pages = [
        re.sub(r"138\*+\d+|13800000\d+|[0-9a-f-]{36}", "", browser.get(path).text)
        for path in (f"/console/requests/{one.id}" for one in (declined, silent))
    ]
    assert _without_token(pages[0]) == _without_token(pages[1])
    browser.get("/console/requests")
    assert "Asked in 30 days 3 Agreed 1 33 % Not agreed 0 0 % Waits for an answer 2 67 %" in (
        browser.shown
    )
    clock.pass_(days=7)
    browser.enter(make_member(world, role=VIEWER, email="later@example.cn"))
    browser.get("/console/requests?state=refused")
    assert browser.shown.count("Not agreed") == 4
    assert make_number(0).dialled[-4:] not in browser.shown
    assert "138****0001" in browser.shown
    browser.get(f"/console/requests/{agreed.id}")
    assert "Consents that it led to" in browser.shown
    assert browser.get(f"/console/requests/{foreign.id}").status_code == 404
    assert browser.get("/console/requests?state=declined").status_code == 404
    assert browser.get("/console/requests?cursor=x").status_code == 404


def _without_token(page: str) -> str:
    return re.sub(r'name="csrf_token" value="[^"]+"', "", page)


def test_requests_go_on_in_parts(enter: Open, world: World) -> None:
    for index in range(101):
        world.ask(make_number(index))
    browser = enter(make_member(world, role=VIEWER))
    first = browser.get("/console/requests?state=waiting").text
    assert ("138****0100" in first, "138****0000" in first) == (True, False)
    [more] = re.findall(r'href="(/console/requests\?[^"]*cursor=[^"]+)"', first)
    second = browser.get(more.replace("&amp;", "&")).text
    assert ("138****0100" in second, "138****0000" in second) == (False, True)


def test_day_has_a_budget_of_numbers_also_here(enter: Open, world: World) -> None:
    world.do(
        lambda session: senders.limit(
            session,
            world.sender.id,
            senders.Limits(assertion_numbers_per_day=1),
            actor_id=None,
            now=START,
        )
    )
    browser = enter(make_member(world))
    browser.get("/console/requests/new")
    browser.post("/console/requests", question())
    browser.get("/console/requests/new")
    browser.post("/console/requests", question(number=make_number(1).e164))
    assert (browser.page.status_code, "as many numbers today" in browser.shown) == (429, True)
    assert len(world.do(lambda session: session.scalars(select(ConsentRequest)).all())) == 1


@pytest.mark.parametrize(("by", "refusals"), [("subscriber", 1), ("sender", 0)])
def test_consent_is_found_looked_at_and_withdrawn(
    enter: Open, world: World, by: str, refusals: int
) -> None:
    [consent] = world.grant()
    world.grant(sender=world.other_sender, topics=(Topic.GAMES,))
    world.ask(topics=(Topic.HEALTH,))
    browser = enter(make_member(world, role=AGENT))
    browser.get("/console/consents")
    browser.post("/console/consents", {"number": "138-0000-0000"})
    assert browser.page.request.path == "/console/consents"
    for said in ("SMS · Shops and retail", "You say that the subscriber agreed", "SMS · Health"):
        assert said in browser.shown
    assert "Games" not in browser.shown
    browser.get(f"/console/consents/{consent.id}")
    assert "I agree to ten messages a day." in browser.shown
    browser.get(f"/console/consents/{consent.id}/withdraw")
    browser.post(f"/console/consents/{consent.id}/withdraw", {"reason": "a mistake"})
    assert (browser.page.status_code, "a mistake" in browser.page.text) == (422, True)
    browser.post(f"/console/consents/{consent.id}/withdraw", {"by": by, "reason": "by phone"})
    assert "The consent is withdrawn" in browser.shown
    assert "by phone" in browser.shown
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN
    rows = world.do(lambda session: session.scalars(select(Refusal)).all())
    assert len(rows) == refusals


def test_file_that_proves_a_consent_is_downloaded(
    app: Flask, enter: Open, world: World, registry: Registry
) -> None:
    content = files.Content(b"%PDF-1.7 signed")
    world.do(
        lambda session: evidence.keep(
            session, registry.files, content, "signed.pdf",
            organisation_id=world.sender.id, now=registry.clock(),
        )
    )  # fmt: skip
    body = consent_body(
        evidence={"method": "paper", "notice_text": "Yes.", "sha256": content.sha256}
    )
    consent = Client(app, world).post("/v1/consents", body, who="sender").json["consents"][0]["id"]
    browser = enter(make_member(world, role=VIEWER))
    browser.get(f"/console/consents/{consent}")
    assert "Download the file signed.pdf, 1 KB" in browser.shown
    answer = browser.get(f"/console/consents/{consent}/file")
    assert (answer.data, answer.mimetype) == (content.data, "application/octet-stream")
    stranger = enter(make_member(world, world.other_sender))
    assert stranger.get(f"/console/consents/{consent}/file").status_code == 404


def test_complaint_is_answered_once_and_by_nobody_else(enter: Open, world: World) -> None:
    complaint = complain(world)
    browser = enter(make_member(world, role=AGENT))
    browser.get("/console/complaints")
    assert "By Tuesday 22 December 2026" in browser.shown
    browser.get(f"/console/complaints/{complaint}")
    assert "they wrote at night" in browser.shown
    assert make_number().dialled not in browser.page.text
    browser.post(f"/console/complaints/{complaint}/answer", {"text": " "})
    assert (browser.page.status_code, "1 to 2000 characters" in browser.shown) == (422, True)
    browser.post(f"/console/complaints/{complaint}/answer", {"text": "He agreed in our shop."})
    assert "The answer is sent" in browser.shown
    assert "He agreed in our shop." in browser.shown
    assert browser.actions == []
    browser.get("/console/requests/new")
    browser.post(f"/console/complaints/{complaint}/answer", {"text": "Again."})
    assert browser.page.status_code == 409


def test_roles_and_strangers_ask_withdraw_and_answer_nothing(enter: Open, world: World) -> None:
    [consent] = world.grant()
    complaint, asked = complain(world), world.ask(topics=(Topic.GAMES,))
    posts: dict[str, dict[str, object]] = {
        "/console/requests": question(number=make_number(5).e164),
        "/console/requests/preview": question(),
        f"/console/consents/{consent.id}/withdraw": {"by": "sender"},
        f"/console/complaints/{complaint}/answer": {"text": "No."},
    }
    viewer = enter(make_member(world, role=VIEWER))
    stranger = enter(make_member(world, world.other_sender))
    before = _changes(world)
    for path, form in posts.items():
        viewer.get("/console/consents")
        assert viewer.post(path, form).status_code == 403, path
        if str(consent.id) in path or str(complaint) in path:
            stranger.get("/console/consents")
            assert stranger.post(path, form).status_code == 404, path
    for path in (f"consents/{consent.id}", f"complaints/{complaint}", f"requests/{asked.id}"):
        viewer.get(f"/console/{path}")
        assert [one for one in viewer.actions if one != "/console/sign-out"] == [], path
        assert "/withdraw" not in viewer.page.text
        assert stranger.get(f"/console/{path}").status_code == 404, path
    stranger.get("/console/consents")
    stranger.post("/console/consents", {"number": make_number().e164})
    assert "You have no consent of this number" in stranger.shown
    carrier = enter(make_member(world, world.carrier))
    for path in ("requests", "consents", "complaints"):
        assert carrier.get(f"/console/{path}").status_code == 404
    assert _changes(world) == before


def test_suspended_sender_looks_and_answers_complaints_only(enter: Open, world: World) -> None:
    [consent] = world.grant()
    complaint = complain(world)
    browser = enter(make_member(world))
    world.do(
        lambda session: senders.suspend(
            session, world.sender.id, "Spam.", starts_at=START, actor_id=None, now=START
        )
    )
    for path, form in (
        ("/console/requests", question()),
        (f"/console/consents/{consent.id}/withdraw", {"by": "sender"}),
    ):
        browser.get("/console/consents")
        assert browser.post(path, form).status_code == 403, path
    browser.get("/console/consents")
    browser.post("/console/consents", {"number": make_number().e164})
    assert "SMS · Shops and retail" in browser.shown
    browser.get(f"/console/complaints/{complaint}")
    browser.post(f"/console/complaints/{complaint}/answer", {"text": "He agreed."})
    assert "The answer is sent" in browser.shown


def test_no_number_stands_in_an_address_or_a_log(
    enter: Open, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    browser = enter(make_member(world))
    seen: list[str] = []
    caplog.set_level("INFO")
    for path, form in (
        ("/console/requests/preview", question()),
        ("/console/requests", question()),
        ("/console/consents", {"number": make_number().e164}),
    ):
        browser.get("/console/consents")
        browser.post(path, form)
        seen += [
            browser.page.request.url,
            *re.findall(r'(?:href|action)="([^"]+)"', browser.page.text),
        ]
    digits = make_number().dialled
    assert [one for one in seen if digits in one and not one.startswith("tel:")] == []
    said = [json.dumps({**vars(record)}, default=str) for record in caplog.records]
    assert [one for one in said if digits in one] == []


def _changes(world: World) -> dict[str, object]:
    """Return what acts would change; signing in adds rows of its own."""
    kinds = world.do(lambda session: session.scalars(select(Event.kind)).all())
    told = [kind for kind in kinds if not kind.startswith("member")]
    return {
        "requests": count_rows(world.registry)["consent_requests"],
        "consents": count_rows(world.registry)["refusals"],
        "events": told,
    }
