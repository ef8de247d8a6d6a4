"""Who asked, the history, the data, the sign-ins: all of the own number's, nothing of another's."""

import base64
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from sqlalchemy import LargeBinary, select

from registry import audit, complaints, events, evidence, family, ledger, lookup, worker
from registry.consent import Basis, Channel, MessageClass, Reason, Topic
from registry.ledger import By
from registry.lookup import Asker
from registry.models import (
    AskedNumber,
    Base,
    Event,
    InboundAction,
    InboundMessage,
    Lookup,
    Notice,
    NumberToken,
    Organisation,
    OutboxItem,
    Purpose,
    Via,
)
from registry.numbers import SubscriberNumber
from registry.portal.cookie import SIGNED_IN
from registry.portal.my.telling import WORDING
from registry.runtime import Registry
from tests.factories import SMS_PORT, START, Clock, World, make_number, make_question
from tests.portal import HOST, Browser, on_sqlite, sent_code
from tests.test_complaints import Desk
from tests.test_family import join

pytestmark = on_sqlite

NUMBER, OTHER = make_number(), make_number(14_321)
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that is signed in, and shows pages in English."""
    return Browser(app, registry).sign_in(NUMBER)


def ask(
    world: World,
    number: SubscriberNumber = NUMBER,
    *,
    asker: Organisation | None = None,
    contact: bool = False,
    **question: Any,
) -> UUID:
    """Look a number up, by default as its sender would, and record it as it is recorded."""
    registry, who = world.registry, asker or world.sender
    asked = make_question(number, at=registry.clock(), **question)
    with registry.database.write() as session:
        told = (
            lookup.contact(
                session, Asker(who.id, who.kind), asked, now=asked.at, policy=registry.policy
            )
            if contact
            else lookup.answer(
                session.connection(),
                Asker(who.id, who.kind),
                asked,
                now=asked.at,
                policy=registry.policy,
            )
        )
        audit.write(session, [told])
    return told.id


def remember(world: World, **columns: Any) -> Lookup:
    """Record a lookup as if it had been answered like this."""
    row = Lookup(
        **{
            "decided_at": world.registry.clock(),
            "id": uuid4(),
            "item": 0,
            "asker_id": world.sender.id,
            "sender_id": world.sender.id,
            "sending_number": SMS_PORT,
            "number": NUMBER,
            "channel": Channel.SMS,
            "message_class": MessageClass.COMMERCIAL,
            "topic": Topic.RETAIL,
            "at": world.registry.clock(),
            "contact": False,
            "reason": Reason.NO_CONSENT,
            "position": 0,
            **columns,
        }
    )
    world.do(lambda session: session.add(row))
    return row


def rename(world: World, organisation: Organisation, name: str) -> None:
    def do(session: Any) -> None:
        session.get(Organisation, organisation.id).name = name

    world.do(do)


def walk(browser: Browser, path: str) -> Iterator[str]:
    """Open a list part by part and yield what each part shows."""
    following: str | None = path
    while following is not None:
        browser.get(following)
        assert browser.page.status_code == 200
        yield browser.shown
        found = re.search(r'class="older"><a [^>]*href="([^"]+)"', browser.page.text)
        following = unescape(found.group(1)) if found else None


def download(browser: Browser) -> dict[str, Any]:
    """Return what the download holds."""
    found: dict[str, Any] = json.loads(browser.get("/my/data.json").data)
    return found


# Who asked


def test_nobody_asked_is_said_in_words(browser: Browser) -> None:
    browser.get("/my/lookups")
    assert "Nobody has asked about this number" in browser.shown


def test_lookup_says_who_asked_for_whom_and_what_was_answered(
    browser: Browser, world: World
) -> None:
    ask(world, asker=world.carrier)
    browser.get("/my/lookups")
    for told in (
        "No: you never agreed",
        world.sender.name,
        world.carrier.name,
        SMS_PORT,
        "SMS · Shops and retail",
        "1 December 2026, 10:00",
        "None reported",
    ):
        assert told in browser.shown, told


@pytest.mark.parametrize("reason", Reason)
def test_every_verdict_is_worded(browser: Browser, world: World, reason: Reason) -> None:
    remember(world, reason=reason)
    page = browser.get("/my/lookups").text
    [state] = re.findall(r'<span class="state (\w+)"><svg.*?</svg>\s*<span>([^<]+)', page, re.S)
    assert state[1].startswith("Yes" if reason.allowed else "No")
    assert (state[0] in ("ok", "info")) == reason.allowed


@pytest.mark.parametrize(("agreed", "told"), [(True, "It took place"), (False, "It was stopped")])
def test_contact_is_told_from_a_mere_question(
    browser: Browser, world: World, agreed: bool, told: str
) -> None:
    if agreed:
        world.grant()
    ask(world, asker=world.carrier, contact=True)
    browser.get("/my/lookups")
    assert told in browser.shown


def test_number_that_nobody_holds_is_named_as_such(browser: Browser, world: World) -> None:
    ask(world, asker=world.carrier, sending="1069000777")
    browser.get("/my/lookups")
    assert "Nobody is registered with this number" in browser.shown
    assert "1069000777" in browser.shown


def test_lookups_are_shown_part_by_part_without_gaps(browser: Browser, world: World) -> None:
    for index in range(120):
        remember(
            world,
            sending_number=f"106900{index:05}",
            # Some of them at one time, and some in one question.
            decided_at=START + timedelta(seconds=index // 7),
            item=index % 7,
        )
    parts = list(walk(browser, "/my/lookups"))
    found = [re.findall(r"106900[0-9]{5}", part) for part in parts]
    assert [len(part) for part in found] == [50, 50, 20]
    assert len({number for part in found for number in part}) == 120


def test_a_part_that_is_just_full_leads_to_no_empty_one(browser: Browser, world: World) -> None:
    for _ in range(50):
        remember(world)
    assert len(list(walk(browser, "/my/lookups"))) == 1


@pytest.mark.parametrize(
    "after",
    ["", "x", "MjAyNg==", "//", "%00", "🐼"]
    + [
        base64.urlsafe_b64encode(place.encode()).decode()
        for place in (
            "2026-12-01T02:00:00+00:00 x 0",
            f"2026-12-01T02:00:00+00:00 {UUID(int=1)} 99999",
            f"2026-12-01T02:00:00+00:00 {UUID(int=1)} -1",
            f"0001-01-01T00:00:00+14:00 {UUID(int=1)} 0",
            f"never {UUID(int=1)} 0",
        )
    ],
)
def test_nonsense_in_the_address_is_no_page(browser: Browser, after: str) -> None:
    assert browser.get(f"/my/lookups?after={after}").status_code == 404


@pytest.mark.parametrize("before", ["", "x", "-1", "²", "1e9", "9" * 19, "1.5"])
@pytest.mark.parametrize("path", ["/my/history", "/my/complaints"])
def test_nonsense_event_in_the_address_is_no_page(browser: Browser, path: str, before: str) -> None:
    assert browser.get(f"{path}?before={before}").status_code == 404


def test_lookups_of_others_and_of_earlier_subscribers_are_not_shown(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    ask(world, OTHER)
    earlier = ask(world)
    clock.pass_(hours=1)
    world.reassign()
    browser = Browser(app, registry).sign_in(NUMBER)
    browser.get("/my/lookups")
    assert "Nobody has asked about this number" in browser.shown
    assert browser.get(f"/my/complaints/new?lookup={earlier}").status_code == 404


def test_lookup_leads_to_a_complaint_with_what_is_known_filled_in(
    browser: Browser, world: World
) -> None:
    asked = ask(world)
    page = browser.get("/my/lookups").text
    assert f'href="/my/complaints/new?lookup={asked}"' in page


def test_script_in_a_name_is_shown_as_text(browser: Browser, world: World) -> None:
    rename(world, world.sender, HOSTILE)
    rename(world, world.carrier, HOSTILE)
    world.grant()
    world.refuse()
    ask(world, asker=world.carrier)
    for path in ("/my/lookups", "/my/history", "/my/data"):
        page = browser.get(path).text
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page


# The history


def live(world: World, clock: Clock) -> None:
    """Do with the number whatever can be done, so that all kinds of events are recorded."""
    registry, desk = world.registry, Desk(world)
    [given] = world.grant(topics=(Topic.GAMES,))
    clock.pass_(minutes=1)
    world.withdraw(given)
    [dropped] = world.grant(topics=(Topic.TRAVEL,))
    world.withdraw(dropped, by_subscriber=False)
    world.grant(topics=(Topic.HEALTH,), basis=Basis.CONFIRMED)
    refusal = world.refuse(scope=ledger.Scope(Channel.VOICE, Topic.LOANS))
    world.lift(refusal)
    world.own(ledger.set_own_hours, START.replace(hour=9).time(), START.replace(hour=18).time())
    world.own(ledger.lift_own_hours)
    world.own(ledger.agree, world.ask(topics=(Topic.SECURITIES,)).id)
    world.own(ledger.decline, world.ask(topics=(Topic.TELECOM,), sender=world.other_sender).id)
    world.ask(topics=(Topic.RECRUITMENT,), notice_text="May we send you jobs?")
    disputed = [
        world.own(ledger.challenge, world.grant(topics=(topic,))[0].id)
        for topic in (Topic.INSURANCE, Topic.REAL_ESTATE)
    ]
    world.do(
        lambda session: ledger.bring_evidence(
            session,
            disputed[0].id,
            sender_id=world.sender.id,
            text="A recording.",
            sha256=None,
            uri=None,
            clock=clock,
        )
    )
    world.do(
        lambda session: ledger.oversee(
            session, given.id, overseer_id=world.regulator.id, clock=clock
        )
    )
    asked = evidence.Asked(world.sender.id, NUMBER, Channel.SMS, Topic.GAMES)
    world.do(
        lambda session: evidence.show_carrier(
            session, asked, carrier_id=world.carrier.id, clock=clock
        )
    )
    complaint = desk.file(contacted_at=clock())
    world.do(
        lambda session: complaints.oversee(
            session, complaint.id, overseer_id=world.regulator.id, clock=clock
        )
    )
    desk.forward(complaint)
    desk.answer(complaint)
    desk.close(complaint)
    link = join(registry, member=OTHER, carer=NUMBER)
    world.own(ledger.refuse, ledger.Scope(), number=OTHER, by=By(Via.PORTAL, None, link.id))
    world.do(lambda session: family.end(session, OTHER, link.id, clock=clock))
    clock.pass_(days=90)
    ledger.lapse_due(registry.database, clock=clock)
    ledger.void_due(registry.database, clock=clock)


def test_everything_that_can_happen_is_told_in_words(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    live(world, clock)
    mistaken = world.reassign(reassigned_at=START - timedelta(days=1))
    world.cancel(mistaken)
    with registry.database.snapshot() as session:
        kinds = set(session.scalars(select(Event.kind)))
    assert set(WORDING) <= kinds
    browser = Browser(app, registry).sign_in(NUMBER)
    for language in ("en", "zh"):
        browser.post("/language", {"language": language})
        told = " ".join(walk(browser, "/my/history"))
        assert "Something else was recorded" not in told
        assert "另有一项记录" not in told
        assert world.sender.name in told


@pytest.mark.parametrize(
    ("act", "who"),
    [
        (lambda world, _: world.own(ledger.refuse, ledger.Scope()), "You, on these pages"),
        (
            lambda world, _: world.own(ledger.refuse, ledger.Scope(), by=By(Via.SMS)),
            "You, by SMS",
        ),
        (lambda world, _: world.refuse(), "carrier 3, by the carrier's hotline"),
        (lambda world, _: world.grant(), "sender 1 No."),
        (
            lambda world, link: world.own(
                ledger.refuse, ledger.Scope(), by=By(Via.PORTAL, None, link.id)
            ),
            "13800014321, as one of the family",
        ),
    ],
)  # fmt: skip
def test_history_says_who_acted(
    browser: Browser, registry: Registry, world: World, clock: Clock, act: Any, who: str
) -> None:
    clock.pass_(minutes=5)
    link = join(registry, member=NUMBER, carer=OTHER)
    act(world, link)
    worker.sequence(registry)
    browser.get("/my/history")
    assert who in browser.shown


def test_history_says_that_time_decided(browser: Browser, world: World, clock: Clock) -> None:
    world.ask()
    clock.pass_(days=60)
    ledger.lapse_due(world.registry.database, clock=clock)
    browser.sign_in(NUMBER)
    browser.get("/my/history")
    assert "The request of “sender 1” went unanswered" in browser.shown
    assert "The registry, because the time was over" in browser.shown


def test_carer_reads_whose_act_it_was(app: Flask, registry: Registry, world: World) -> None:
    link = join(registry, member=OTHER, carer=NUMBER)
    world.own(ledger.refuse, ledger.Scope(Channel.SMS), number=OTHER)
    world.own(
        ledger.refuse, ledger.Scope(Channel.VOICE), number=OTHER, by=By(Via.PORTAL, None, link.id)
    )
    browser = Browser(app, registry).sign_in(NUMBER)
    browser.get(f"/my/for/{link.id}/history")
    assert re.search(r"SMS · all topics [^.]*?The subscriber, on these pages", browser.shown)
    assert re.search(r"Calls · all topics [^.]*?You, on these pages", browser.shown)
    assert f'href="/my/for/{link.id}/lookups"' in browser.page.text


def test_event_shows_its_place_in_the_log_once_it_has_one(browser: Browser, world: World) -> None:
    world.refuse()
    assert "being added to the log" in browser.get("/my/history").text
    worker.sequence(world.registry)
    browser.get("/my/history")
    assert re.search(r"No\. [0-9]+ in the log", browser.shown)
    assert "being added to the log" not in browser.shown


def test_event_of_a_later_release_is_shown_by_its_name(browser: Browser, world: World) -> None:
    data = {"basis": "magic"}
    for kind in ("number_praised", "consent_granted"):
        with world.registry.database.write() as session:
            events.record(session, kind, START, None, data, NUMBER)
    browser.get("/my/history")
    assert browser.shown.count("Something else was recorded") == 2
    assert "number_praised" in browser.shown


def test_history_is_shown_part_by_part_without_gaps(browser: Browser, world: World) -> None:
    for index in range(120):
        scope = ledger.Scope(Channel.SMS, list(Topic)[index % 10])
        world.lift(world.refuse(scope=scope)) if index % 2 else world.own(ledger.refuse, scope)
    worker.sequence(world.registry)
    found = [re.findall(r"No\. ([0-9]+) in the log", part) for part in walk(browser, "/my/history")]
    assert [len(part) for part in found[:-1]] == [50] * (len(found) - 1)
    positions = [int(position) for part in found for position in part]
    assert positions == sorted(set(positions), reverse=True)
    assert len(positions) > 100


def test_history_of_an_earlier_subscriber_is_not_shown(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    world.refuse(scope=ledger.Scope(topic=Topic.LOANS))
    clock.pass_(hours=1)
    world.reassign()
    browser = Browser(app, registry).sign_in(NUMBER)
    browser.get("/my/history")
    assert "The number went to a new subscriber" in browser.shown
    assert "Loans" not in browser.shown


# Sign-ins


def test_account_shows_every_browser_and_marks_this_one(
    app: Flask, browser: Browser, registry: Registry, clock: Clock
) -> None:
    clock.pass_(minutes=5)
    Browser(app, registry, address="192.0.2.2").sign_in(NUMBER)
    Browser(app, registry, address="192.0.2.3").sign_in(OTHER)
    browser.get("/my/account")
    assert browser.shown.count("This browser") == 1
    assert browser.shown.count("Another browser") == 1
    cards = re.findall(r"(This|Another) browser Signed in (.*?) Last used (.*?) (?=Sign|Other|$)",
                       browser.shown)  # fmt: skip
    assert cards[0][:2] == ("Another", "1 December 2026, 10:05")


def test_sign_out_everywhere_ends_every_session_of_the_number_alone(
    app: Flask, browser: Browser, registry: Registry, clock: Clock
) -> None:
    clock.pass_(minutes=5)
    second = Browser(app, registry, address="192.0.2.2").sign_in(NUMBER)
    stranger = Browser(app, registry, address="192.0.2.3").sign_in(OTHER)
    browser.get("/my/account")
    browser.post("/my/account/sign-out-everywhere")
    assert "You are signed out everywhere" in browser.shown
    assert browser.get("/my/").request.path == "/sign-in"
    assert second.get("/my/").request.path == "/sign-in"
    assert stranger.get("/my/").request.path == "/my/"


def test_sign_out_here_leaves_the_others(
    app: Flask, browser: Browser, registry: Registry, clock: Clock
) -> None:
    clock.pass_(minutes=5)
    second = Browser(app, registry, address="192.0.2.2").sign_in(NUMBER)
    browser.get("/my/account")
    assert "/sign-out" in browser.actions
    browser.post("/sign-out")
    assert browser.get("/my/").request.path == "/sign-in"
    second.get("/my/account")
    assert "Another browser" not in second.shown


# More


def test_more_leads_to_pages_that_are_there(browser: Browser, registry: Registry) -> None:
    link = join(registry, member=OTHER, carer=NUMBER)
    for start in ("/my/more", f"/my/for/{link.id}/more"):
        page = browser.get(start).text
        ways = re.findall(r'class="tile" href="([^"]+)"', page)
        assert len(ways) == (6 if start == "/my/more" else 3)
        for way in ways:
            assert browser.get(way).status_code == 200
            assert browser.page.request.path == way


def test_family_data_and_account_of_a_member_are_closed_to_the_carer(
    browser: Browser, registry: Registry
) -> None:
    link = join(registry, member=OTHER, carer=NUMBER)
    for area in ("family", "account", "data", "data.json"):
        assert browser.get(f"/my/for/{link.id}/{area}").status_code == 404
        assert f'/{area}"' not in browser.get(f"/my/for/{link.id}/more").text
    assert download(browser)["number"] == NUMBER.e164


# My data


def test_download_is_a_file_that_no_cache_keeps(browser: Browser) -> None:
    headers = browser.get("/my/data.json").headers
    assert headers["Content-Disposition"] == 'attachment; filename="my-data.json"'
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/my/data", "/my/data.json"])
def test_data_is_for_whoever_is_signed_in(
    app: Flask, registry: Registry, world: World, path: str
) -> None:
    assert Browser(app, registry).get(path).request.path == "/sign-in"


ELSEWHERE = {"event_openings": "events", "family_links": "family"}
"""Under which name the download has what stands in a table of another name."""
NAMES = {
    "refusals": "refusals",
    "own_contact_hours": "contact_hours",
    "consents": "consents",
    "consent_requests": "requests",
    "challenges": "challenges",
    "violations": "violations",
    "complaints": "complaints",
    "lookups": "lookups",
    "outbox": "messages_sent",
    "inbound_messages": "messages_received",
    "one_time_codes": "codes",
    "portal_sessions": "sessions",
    "asked_numbers": "asked_numbers",
    "reassignments": "reassignments",
    **ELSEWHERE,
}


def test_download_has_every_table_that_knows_numbers(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    tables = {
        table.name
        for table in Base.metadata.sorted_tables
        if any(isinstance(column.type, NumberToken) for column in table.columns)
    }
    assert tables == set(NAMES), "the download must have these as well"
    browser = whole_life(app, registry, world, clock)
    data = download(browser)
    for table, name in NAMES.items():
        assert data[name], f"nothing of {table}"
    assert {row["id"] for row in data["grants"]} == {row["grant_id"] for row in data["consents"]}


def whole_life(app: Flask, registry: Registry, world: World, clock: Clock) -> Browser:
    """Fill every table with the number, and sign in with it."""
    world.reassign(reassigned_at=START - timedelta(days=100))
    live(world, clock)
    world.do(lambda session: session.add_all([inbound(world), named(world)]))
    browser = Browser(app, registry).sign_in(NUMBER)
    ask(world)
    return browser


def inbound(world: World) -> Base:
    now = world.registry.clock()
    return InboundMessage(
        id=uuid4(),
        carrier_id=world.carrier.id,
        message_digest=b"digest of message".ljust(32),
        request_digest=b"digest of request".ljust(32),
        number=NUMBER,
        to_number=SMS_PORT,
        text="TD",
        received_at=now,
        recorded_at=now,
        action=InboundAction.UNSUBSCRIBED,
    )


def named(world: World) -> Base:
    return AskedNumber(
        number=NUMBER,
        organisation_id=world.sender.id,
        day=world.registry.clock().date(),
        purpose=Purpose.LOOKUP,
    )


def test_download_holds_no_digest_no_secret_and_no_code(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    browser = whole_life(app, registry, world, clock)
    code = sent_code(registry, NUMBER)
    # In the demo the text of an SMS with a code is kept.
    with registry.database.write() as session:
        for item in session.scalars(select(OutboxItem).where(OutboxItem.notice == Notice.CODE)):
            item.text = f"Your code is {code}"
    with browser.client.session_transaction(base_url=HOST) as kept:
        secrets = [kept[SIGNED_IN].partition(".")[2].encode(), code.encode()]
    secrets += stored_bytes(registry)
    assert len(secrets) > 10
    body = browser.get("/my/data.json").data
    page = browser.get("/my/data").data
    for secret in secrets:
        for form in (secret, secret.hex().encode(), base64.b64encode(secret)):
            assert form not in body
            assert form not in page


def stored_bytes(registry: Registry) -> list[bytes]:
    """Return all digests that are stored anywhere, but for events, which are what was said."""
    with registry.database.read() as connection:
        return [
            bytes(value)
            for table in Base.metadata.sorted_tables
            for column in table.columns
            if isinstance(column.type, LargeBinary) and column.name != "payload"
            for value in connection.scalars(select(column))
            if value is not None
        ]


def test_data_of_others_and_of_earlier_subscribers_is_in_no_download(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    live(world, clock)
    Desk(world).file(OTHER, text="canary-of-another", contacted_at=clock())
    Desk(world).file(NUMBER, text="canary-of-before", contacted_at=clock())
    clock.pass_(minutes=1)
    world.reassign()
    browser = Browser(app, registry).sign_in(NUMBER)
    data = download(browser)
    text = browser.page.text
    assert "canary" not in text
    assert OTHER.e164 not in text
    [event] = [each["event"] for each in data["events"]]
    assert event["kind"] == "number_reassigned"
    # Ids tell how much there was, and when.
    assert not {"consents", "refusals", "contact_hours"} & set(event)
    empty = set(NAMES.values()) - {"events", "codes", "sessions", "messages_sent", "reassignments"}
    assert [name for name in sorted(empty) if data[name]] == []
    browser.get("/my/data")
    assert "canary" not in browser.shown
    assert "The number is yours since" in browser.shown


def test_page_tells_of_every_kind_of_data(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    browser = whole_life(app, registry, world, clock)
    for language in ("en", "zh"):
        browser.get("/my/more")
        browser.post("/language", {"language": language})
        page = browser.get("/my/data").text
        for name in NAMES.values():
            assert f'id="{name}"' in page, name
    browser.post("/language", {"language": "en"})
    browser.get("/my/data")
    for told in (
        "“I agree to ten messages a day.”",
        "“May we send you 10 offers a day for a month?”",
        "10 times a day at most",
        "The sender says that you agreed: a form on a web site",
        "Withdrawn",
        "It claimed a consent that it could not prove.",
        "“They never asked me.”",
        "13800000000 looks after 13800014321",
        "A code; what it was is kept nowhere",
        "“TD”",
        "To sign in",
        "Lifted",
        "Void: never proved",
    ):
        assert told in browser.shown, told
    assert "Of this nothing is held" not in browser.shown


def test_page_shows_the_newest_and_says_that_there_are_more(browser: Browser, world: World) -> None:
    for index in range(23):
        remember(
            world,
            sending_number=f"106900{index:05}",
            decided_at=START + timedelta(seconds=index),
        )
    browser.get("/my/data")
    shown = re.findall(r"From (106900[0-9]{5})", browser.shown)
    assert shown == [f"106900{index:05}" for index in range(22, 2, -1)]
    assert "The newest 20 are shown. The download has all 23." in browser.shown
    assert len(download(browser)["lookups"]) == 23
