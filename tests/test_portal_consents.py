"""Consents on the pages: shown with their evidence, withdrawn, confirmed and disputed."""

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from uuid_utils.compat import uuid7

from registry import ledger, senders, subscribers
from registry.consent import Basis, Channel, End, Reason, Topic
from registry.ledger import By, CapTerms, EvidenceClaim, Scope
from registry.models import (
    Consent,
    FamilyLink,
    Method,
    Organisation,
    OrganisationKind,
    Via,
)
from registry.policy import Period
from registry.runtime import Registry
from registry.subscribers import PAGE, OwnConsent, Standing
from tests.factories import VOICE_LINE, Clock, World, count_rows, make_claim, make_number, make_uscc
from tests.portal import Browser, on_sqlite

pytestmark = on_sqlite

HOSTILE = '<script>alert(1)</script><a href="https://evil.test">"x'
DISPUTED = (
    "Nobody may contact you because of it. The sender must prove it by 6 December 2026, 10:00."
)


@pytest.fixture
def browser(app: Flask, registry: Registry, world: World) -> Browser:
    """Return a browser that is signed in."""
    return Browser(app, registry).sign_in()


def page_of(consent: Consent) -> str:
    return f"/my/consents/{consent.id}"


def own(registry: Registry, consent: Consent) -> OwnConsent:
    with registry.database.snapshot() as session:
        return subscribers.consent(session, make_number(), consent.id, registry.clock())


def prove(world: World, consent: Consent, **evidence: Any) -> None:
    """Bring evidence as the sender of a disputed consent."""
    disputed = own(world.registry, consent).challenge
    assert disputed is not None
    brought = {"text": "You ticked the box.", "sha256": None, "uri": None, **evidence}
    world.do(
        lambda session: ledger.bring_evidence(
            session,
            disputed.id,
            sender_id=consent.sender_id,
            clock=world.registry.clock,
            **brought,
        )
    )


def claim(world: World, sender: Organisation, evidence: EvidenceClaim) -> Consent:
    """Record an asserted consent with an evidence of its own."""
    said = replace(make_claim(now=world.registry.clock()), evidence=evidence)
    [consent] = world.do(
        lambda session: ledger.grant(
            session,
            said,
            sender_id=sender.id,
            by=By(Via.SENDER, sender.id),
            basis=Basis.ASSERTED,
            policy=world.registry.policy,
            clock=world.registry.clock,
        )
    )
    return consent


def test_nobody_holds_a_consent_of_a_new_visitor(browser: Browser) -> None:
    browser.get("/my/consents")
    assert "Nobody holds a consent of yours" in browser.shown
    assert "Consents that are over" not in browser.shown
    assert "/my/consents/withdraw-all" not in browser.page.text


def test_card_tells_who_for_what_how_often_until_when_and_why(
    browser: Browser, world: World
) -> None:
    world.grant(channel=Channel.VOICE, topics=(Topic.LOANS,), cap=CapTerms(3, Period.WEEK))
    browser.get("/my/consents")
    assert browser.cards == [
        "In force sender 1 For what Calls · Loans and finance How often 3 times a week at most"
        " Good until 1 March 2027 Ground The sender says that you agreed Company's phone 4001234567"
        " Withdraw Details"
    ]


def test_consents_are_told_apart_by_what_they_are_worth(browser: Browser, world: World) -> None:
    world.grant(basis=Basis.CONFIRMED)
    [disputed] = world.grant(topics=(Topic.HEALTH,))
    world.own(ledger.challenge, disputed.id)
    world.grant(topics=(Topic.TRAVEL,))
    world.refuse(scope=Scope(topic=Topic.TRAVEL))
    world.refuse(scope=Scope(topic=Topic.GAMES))
    world.grant(topics=(Topic.GAMES,))
    browser.get("/my/consents")
    said = {card.split(" How often")[0]: card for card in browser.cards}
    assert list(said) == [
        "Without effect sender 1 Nobody may contact you because of it. It counts only if you"
        " confirm it yourself. For what SMS · Games",
        "Stopped by your refusal sender 1 Nobody may contact you because of it. This refusal"
        " stops it: All senders: SMS and calls · Travel For what SMS · Travel",
        f"You dispute it sender 1 {DISPUTED} For what SMS · Health",
        "In force sender 1 For what SMS · Shops and retail",
    ]
    assert ["Withdraw" in card for card in said.values()] == [True, True, False, True]


def test_consents_that_are_over_stand_below(browser: Browser, world: World, clock: Clock) -> None:
    world.grant(topics=(Topic.LOANS,), valid_until=clock.now.replace(day=2))
    [withdrawn] = world.grant(topics=(Topic.GAMES,))
    world.withdraw(withdrawn)
    clock.pass_(days=2)
    browser.sign_in().get("/my/consents")
    assert browser.cards == []
    shown = browser.shown
    assert "Nobody holds a consent of yours" in shown
    assert "sender 1 SMS · Loans and finance Expired 2 December 2026" in shown
    assert "sender 1 SMS · Games Withdrawn 1 December 2026" in shown


def test_withdrawing_one_denies_at_once_and_leaves_the_others(
    browser: Browser, world: World
) -> None:
    first, second = world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    browser.get("/my/consents")
    token = browser.token()
    for _ in range(2):  # A second click, or the same page in another tab.
        browser.post(f"{page_of(first)}/withdraw", {"csrf_token": token})
        assert browser.page.request.path == "/my/consents"
        assert "Withdrawn: “sender 1” may no longer contact you about it." in browser.shown
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN
    assert world.verdict(topic=Topic.LOANS).reason is Reason.CONSENTED
    assert own(browser.registry, second).standing is Standing.IN_FORCE
    with browser.registry.database.snapshot() as session:
        [refusal] = subscribers.refusals(session, make_number())
    assert (refusal.via, refusal.topic, refusal.recorded_by) == (Via.PORTAL, Topic.RETAIL, None)


def test_withdrawing_with_scripts_exchanges_the_card_only(browser: Browser, world: World) -> None:
    [consent] = world.grant()
    browser.get("/my/consents")
    browser.post(f"{page_of(consent)}/withdraw", HX_Request="true")
    [card] = browser.cards
    assert "<html" not in browser.page.text
    assert f'id="consent-{consent.id}"' in browser.page.text
    assert "Withdrawn: “sender 1” may no longer contact you about it." in card
    assert browser.actions == []


def test_withdrawing_all_asks_before_it_ends_every_consent(browser: Browser, world: World) -> None:
    world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    world.grant(sender=world.other_sender)
    before = count_rows(browser.registry)
    browser.get("/my/consents/withdraw-all")
    assert "3 consents end at once:" in browser.shown
    for line in ("sender 1 SMS · Shops and retail", "sender 1 SMS · Loans", "sender 2 SMS · Shops"):
        assert line in browser.shown
    assert count_rows(browser.registry) == before
    browser.post("/my/consents/withdraw-all")
    assert "All your consents are withdrawn." in browser.shown
    assert "Nobody holds a consent of yours" in browser.shown
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN
    assert browser.get("/my/consents/withdraw-all").request.path == "/my/consents"


def test_page_shows_the_evidence_of_a_consent(browser: Browser, world: World, clock: Clock) -> None:
    evidence = EvidenceClaim(
        Method.WEB_FORM,
        "I agree to\nten messages.",
        notice_version="v 7",
        language="en-GB",
        sha256="a0" * 32,
        uri="https://proof.test/form?id=7",
    )
    consent = claim(world, world.sender, evidence)
    browser.get(page_of(consent))
    assert (
        "What the company says that you saw I agree to ten messages. When 1 December 2026, 10:00"
        " How a form on a web site Language English (United Kingdom) Version of the text v 7"
        " Kept by the sender at https://proof.test/form?id=7 As the sender wrote it. We did not"
        f" check this address. Fingerprint of the proof (SHA-256) {'a0' * 32}"
    ) in browser.shown
    assert 'lang="en-GB"' in browser.page.text
    assert "proof.test" in browser.page.text
    assert 'href="https://proof.test' not in browser.page.text


def test_what_a_company_writes_stays_text(browser: Browser, world: World) -> None:
    evil = world.do(
        lambda session: senders.register(
            session,
            OrganisationKind.SENDER,
            f"{HOSTILE}\u202e",
            make_uscc(99),
            "+86 10 6234 5678",
            actor_id=None,
            now=world.registry.clock(),
        )
    )
    evidence = EvidenceClaim(Method.PAPER, HOSTILE, HOSTILE, "x-klingon", uri=f"urn:{HOSTILE}")
    consent = claim(world, evil, evidence)
    pages = ["/my/consents", page_of(consent), f"{page_of(consent)}/challenge"]
    for path in [*pages, "/my/consents/withdraw-all"]:
        browser.get(path)
        assert HOSTILE in browser.shown, path
        assert "<script>alert" not in browser.page.text, path
        assert 'href="https://evil.test"' not in browser.page.text, path
    world.own(ledger.challenge, consent.id)
    prove(world, consent, text=HOSTILE, uri=f"urn:{HOSTILE}")
    browser.get(page_of(consent))
    assert browser.shown.count(HOSTILE) >= 4
    assert "<script>alert" not in browser.page.text
    browser.get("/my/consents")
    browser.post(f"{page_of(consent)}/withdraw")
    assert f"Withdrawn: “{HOSTILE}" in browser.shown
    assert "<script>alert" not in browser.page.text


@pytest.mark.parametrize("refused_first", [True, False])
def test_confirming_counts_although_a_refusal_stands(
    browser: Browser, world: World, refused_first: bool
) -> None:
    if refused_first:
        world.refuse()
    [consent] = world.grant()
    if not refused_first:
        world.refuse()
    assert not world.verdict().reason.allowed
    browser.get(page_of(consent))
    assert "Do you want it after all?" in browser.shown
    token = browser.token()
    for _ in range(2):
        browser.post(f"{page_of(consent)}/confirm", {"csrf_token": token})
        assert "You agree to this from now on." in browser.shown
        assert browser.page.request.path not in ("/my/consents", page_of(consent))
        assert "In force" in browser.shown
    assert world.verdict().reason is Reason.CONSENTED
    assert own(browser.registry, consent).standing is Standing.SUPERSEDED


def test_confirming_is_offered_only_where_it_changes_something(
    browser: Browser, world: World
) -> None:
    [counts] = world.grant()
    [confirmed] = world.grant(topics=(Topic.LOANS,), basis=Basis.CONFIRMED)
    [disputed] = world.grant(topics=(Topic.HEALTH,))
    world.own(ledger.challenge, disputed.id)
    for consent in (counts, confirmed, disputed):
        browser.get(page_of(consent))
        assert "/confirm" not in browser.page.text
    world.refuse()
    browser.get(page_of(confirmed))
    assert "It counts again once you lift that refusal." in browser.shown
    assert "/confirm" not in browser.page.text


def test_confirming_what_was_refused_in_another_tab_changes_nothing(
    browser: Browser, world: World
) -> None:
    world.refuse()
    [consent] = world.grant()
    browser.get(page_of(consent))
    token = browser.token()
    browser.post(f"{page_of(consent)}/confirm")
    browser.post("/my/refuse-everything")
    before = count_rows(browser.registry)
    browser.post(f"{page_of(consent)}/confirm", {"csrf_token": token})
    assert browser.page.status_code == 409
    assert "That has changed in the meantime" in browser.shown
    assert count_rows(browser.registry) == before
    assert world.verdict().reason is Reason.REFUSED


def test_disputing_explains_first_and_then_stops_contacts(browser: Browser, world: World) -> None:
    consent, other = world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    before = count_rows(browser.registry)
    browser.get(page_of(consent))
    browser.get(f"{page_of(consent)}/challenge")
    assert "SMS · Shops and retail, Loans and finance" in browser.shown
    assert "By 6 December 2026, 10:00: the company must bring evidence" in browser.shown
    assert "it counts as a violation of that company" in browser.shown
    assert count_rows(browser.registry) == before
    token = browser.token()
    for _ in range(2):
        browser.post(f"{page_of(consent)}/challenge", {"csrf_token": token})
        assert browser.page.request.path == page_of(consent)
        assert "The company must bring evidence by 6 December 2026, 10:00." in browser.shown
        assert "You need not do anything. We tell you by SMS what came of it." in browser.shown
    after = count_rows(browser.registry)
    assert (after["challenges"], after["refusals"]) == (1, 2)
    for topic in (Topic.RETAIL, Topic.LOANS):
        assert world.verdict(topic=topic).reason is Reason.REFUSED
    browser.get(f"{page_of(other)}/challenge")
    assert browser.page.request.path == page_of(other)
    assert "This is about all that was agreed to at the same time" in browser.shown


def test_evidence_is_shown_and_the_refusal_stays(browser: Browser, world: World) -> None:
    [consent] = world.grant()
    world.own(ledger.challenge, consent.id)
    prove(world, consent, text="You ticked\nthe box.", sha256="b1" * 32, uri="https://proof.test/")
    browser.get(page_of(consent))
    assert (
        "The company brought evidence on 1 December 2026: You ticked the box. Kept by the sender"
        " at https://proof.test/"
    ) in browser.shown
    assert "b1" * 32 in browser.shown
    assert "Your refusal stays either way" in browser.shown
    assert 'href="/my/complaints"' in browser.page.text
    assert 'href="https://proof.test' not in browser.page.text
    assert world.verdict().reason is Reason.REFUSED
    browser.post(f"{page_of(consent)}/confirm")  # The evidence reminded its reader.
    assert world.verdict().reason is Reason.CONSENTED


def test_consent_without_evidence_becomes_void(
    browser: Browser, world: World, clock: Clock
) -> None:
    [consent] = world.grant()
    world.own(ledger.challenge, consent.id)
    clock.pass_(days=5)
    browser.sign_in().get(page_of(consent))
    assert "The consent is about to become void." in browser.shown
    ledger.void_due(browser.registry.database, clock=clock)
    browser.get(page_of(consent))
    assert "Void: never proved" in browser.shown
    assert "The consent is void, this counts as a violation" in browser.shown
    assert own(browser.registry, consent).row.end_reason is End.VOIDED
    assert {"/withdraw", "/confirm"}.isdisjoint(
        action.removeprefix(page_of(consent)) for action in browser.actions
    )


def test_withdrawn_consent_in_dispute_stays_in_sight(browser: Browser, world: World) -> None:
    [consent] = world.grant()
    world.own(ledger.challenge, consent.id)
    world.own(ledger.withdraw_all)
    browser.get("/my/consents")
    [card] = browser.cards
    assert card.startswith(f"Withdrawn sender 1 {DISPUTED}")
    assert "/my/consents/withdraw-all" not in browser.page.text


@pytest.mark.parametrize("ended", [True, False])
def test_nobody_disputes_what_was_confirmed_or_has_ended(
    browser: Browser, world: World, ended: bool
) -> None:
    [consent] = world.grant(basis=Basis.ASSERTED if ended else Basis.CONFIRMED)
    browser.get(page_of(consent))
    token = browser.token()
    if ended:
        world.withdraw(consent)
        browser.get(page_of(consent))
    assert "I never agreed" not in browser.shown
    before = count_rows(browser.registry)
    browser.get(f"{page_of(consent)}/challenge")
    assert browser.page.request.path == page_of(consent)
    browser.post(f"{page_of(consent)}/challenge", {"csrf_token": token})
    assert browser.page.status_code == 409
    assert count_rows(browser.registry) == before


@pytest.mark.parametrize("earlier_tenure", [True, False])
def test_consent_of_another_is_as_if_it_were_not(
    app: Flask, registry: Registry, world: World, clock: Clock, earlier_tenure: bool
) -> None:
    [consent] = world.grant(make_number(0 if earlier_tenure else 7))
    if earlier_tenure:
        clock.pass_(days=1)
        world.reassign()
    browser = Browser(app, registry).sign_in()
    token = browser.token()
    before = count_rows(registry)
    for path in ("", "/challenge"):
        assert browser.get(page_of(consent) + path).status_code == 404
        assert "There is no such page" in browser.shown
    for path in ("/withdraw", "/confirm", "/challenge"):
        answer = browser.post(page_of(consent) + path, {"csrf_token": token})
        assert answer.status_code == 404
    assert browser.get(f"/my/consents/over?before={consent.id}").status_code == 404
    assert count_rows(registry) == before
    browser.get("/my/consents")
    assert "sender 1" not in browser.shown


def test_forged_forms_change_nothing(browser: Browser, world: World) -> None:
    [consent] = world.grant()
    before = count_rows(browser.registry)
    for path in ("/my/consents/withdraw-all", *(page_of(consent) + act for act in (
        "/withdraw", "/confirm", "/challenge"))):  # fmt: skip
        browser.post(path, {"csrf_token": "forged"})
        assert browser.page.status_code == 400
        assert "This page is old" in browser.shown
    assert count_rows(browser.registry) == before


def test_pages_are_for_those_who_signed_in(app: Flask, registry: Registry, world: World) -> None:
    [consent] = world.grant()
    browser = Browser(app, registry)
    for path in ("/my/consents", "/my/consents/over", "/my/consents/withdraw-all",
                 page_of(consent), f"{page_of(consent)}/challenge"):  # fmt: skip
        assert browser.get(path).request.path == "/sign-in"


def test_history_of_a_consent_tells_who_did_what(
    browser: Browser, world: World, clock: Clock
) -> None:
    [consent] = world.grant(granted_at=clock.now.replace(hour=1))
    clock.pass_(minutes=1)
    link = world.do(lambda session: _looked_after(session, clock))
    world.own(ledger.withdraw_own, consent.id, by=By(Via.PORTAL, family_link_id=link.id))
    browser.get(page_of(consent))
    assert (
        "What happened You are said to have agreed 1 December 2026, 09:00"
        " “sender 1” claims to have a consent 1 December 2026, 10:00"
        " Consent to “sender 1” withdrawn 1 December 2026, 10:01 ·"
        " 13800000005, as one of the family"
    ) in browser.shown


def _looked_after(session: Any, clock: Clock) -> FamilyLink:
    link = FamilyLink(
        id=uuid7(),
        carer=make_number(5),
        member=make_number(),
        recorded_at=clock(),
        agreed_at=clock(),
    )
    session.add(link)
    return link


def test_carer_acts_for_the_member_alone(
    app: Flask, registry: Registry, world: World, clock: Clock
) -> None:
    [consent] = world.grant()
    link = world.do(lambda session: _looked_after(session, clock))
    carer = Browser(app, registry).sign_in(make_number(5))
    assert carer.get(page_of(consent)).status_code == 404
    carer.get(f"/my/for/{link.id}/consents")
    withdraw = f"/my/for/{link.id}/consents/{consent.id}/withdraw"
    assert withdraw in carer.actions
    carer.post(withdraw)
    assert carer.page.request.path == f"/my/for/{link.id}/consents"
    assert world.verdict().reason is Reason.CONSENT_WITHDRAWN
    with registry.database.snapshot() as session:
        [*_, last] = subscribers.consent_history(session, own(registry, consent))
    assert last.family is not None
    assert last.family.carer == make_number(5)


def test_history_of_a_consent_names_what_took_its_place(
    browser: Browser, world: World, clock: Clock
) -> None:
    [first] = world.grant()
    clock.pass_(minutes=1)
    [second] = world.grant()
    world.grant(topics=(Topic.LOANS,))
    browser.get(page_of(first))
    assert "Replaced by a newer one" in browser.shown
    assert "A newer one took its place 1 December 2026, 10:01" in browser.shown
    browser.get(page_of(second))
    assert browser.shown.count("claims to have a consent") == 1
    assert "took its place" not in browser.shown


def test_consents_that_ended_are_shown_in_parts(
    browser: Browser, world: World, clock: Clock
) -> None:
    for _ in range(PAGE + 2):
        clock.pass_(seconds=1)
        world.grant()
    browser.get("/my/consents")
    assert len(browser.cards) == 1
    assert browser.shown.count("Replaced by a newer one") == PAGE
    [older] = [part.split('"')[0] for part in browser.page.text.split('href="')[1:]
               if "/consents/over" in part.split('"')[0]]  # fmt: skip
    browser.get(older)
    assert browser.shown.count("Replaced by a newer one") == 1
    assert "Show older ones" not in browser.shown


def test_many_consents_take_no_more_statements_than_one(browser: Browser, world: World) -> None:
    taken: list[str] = []
    event.listen(
        browser.registry.database.reader, "before_cursor_execute",
        lambda _c, _k, statement, *_: taken.append(statement),
    )  # fmt: skip
    counts = []
    for topics in ((Topic.RETAIL,), (Topic.LOANS, Topic.GAMES, Topic.HEALTH)):
        for sender in (world.sender, world.other_sender):
            world.grant(sender=sender, topics=topics)
        taken.clear()
        browser.get("/my/consents")
        counts.append((len(browser.cards), len(taken)))
    assert [cards for cards, _ in counts] == [2, 8]
    assert counts[0][1] == counts[1][1]


def test_one_story_from_refusal_to_withdrawal(browser: Browser, world: World) -> None:
    [consent] = world.grant(channel=Channel.VOICE)
    call: dict[str, Any] = {"sending": VOICE_LINE, "channel": Channel.VOICE}
    assert world.verdict(**call).reason is Reason.CONSENTED
    browser.post("/my/refuse-everything")
    assert world.verdict(**call).reason is Reason.REFUSED
    browser.get(page_of(consent))
    browser.post(f"{page_of(consent)}/confirm")
    assert world.verdict(**call).reason is Reason.CONSENTED
    browser.post(f"{browser.page.request.path}/withdraw")
    assert world.verdict(**call).reason is Reason.CONSENT_WITHDRAWN
