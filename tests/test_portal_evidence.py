"""Files of evidence on the pages: for the subscriber concerned and for carers."""

from datetime import timedelta

import pytest
from flask import Flask

from registry import evidence, ledger
from registry.files import Content
from registry.models import Consent
from registry.runtime import Registry
from tests.factories import Clock, World, make_number
from tests.portal import Browser, on_sqlite
from tests.test_evidence import after_months, grant, keep, purge

pytestmark = on_sqlite

FORM = Content(b"<script>alert(1)</script> I agree.")
NAME = "form 13912345678.pdf.txt"
CARER = make_number(77)


@pytest.fixture
def consent(world: World) -> Consent:
    """Return a consent whose evidence is about a file."""
    keep(world, FORM)
    return grant(world, content=FORM)[0]


def page_of(consent: Consent, part: str = "") -> str:
    return f"/my/consents/{consent.id}{part}"


def test_subscriber_downloads_the_file_and_no_browser_shows_it(
    app: Flask, registry: Registry, consent: Consent
) -> None:
    browser = Browser(app, registry).sign_in()
    browser.get(page_of(consent))
    assert NAME in browser.shown
    assert f'href="{page_of(consent, "/file")}"' in browser.page.text
    answer = browser.get(page_of(consent, "/file"))
    assert (answer.data, answer.mimetype) == (FORM.data, "application/octet-stream")
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert browser.get(page_of(consent, "/proof")).status_code == 404


def test_file_is_for_the_carer_too_and_for_nobody_else(
    app: Flask, registry: Registry, world: World, consent: Consent
) -> None:
    link = world.look_after(CARER).family_link_id
    carer = Browser(app, registry).sign_in(CARER)
    mine = f"/my/for/{link}/consents/{consent.id}"
    assert f'href="{mine}/file"' in carer.get(mine).text
    assert carer.get(f"{mine}/file").data == FORM.data
    assert carer.get(page_of(consent, "/file")).status_code == 404
    stranger = Browser(app, registry, "192.0.2.2").sign_in(make_number(78))
    assert stranger.get(page_of(consent, "/file")).status_code == 404


def test_file_is_asked_for_again_on_its_page_after_signing_in(
    app: Flask, registry: Registry, consent: Consent
) -> None:
    browser = Browser(app, registry)
    assert FORM.data not in browser.get(page_of(consent, "/file")).data
    browser.sign_in()
    assert browser.page.request.path == page_of(consent)


def test_file_is_not_for_the_next_owner_of_the_number(
    app: Flask, registry: Registry, world: World, consent: Consent, clock: Clock
) -> None:
    clock.pass_(days=1)
    world.reassign()
    clock.pass_(seconds=1)
    browser = Browser(app, registry).sign_in()
    assert browser.get(page_of(consent, "/file")).status_code == 404


def test_challenger_downloads_what_the_sender_brought(
    app: Flask, registry: Registry, world: World, consent: Consent, clock: Clock
) -> None:
    proof = Content(b"%PDF-1.7 her signature")
    keep(world, proof)
    disputed = world.own(ledger.challenge, consent.id)
    world.do(
        lambda session: ledger.bring_evidence(
            session,
            disputed.id,
            sender_id=world.sender.id,
            text="Her form.",
            sha256=proof.sha256,
            uri=None,
            clock=clock,
        )
    )
    browser = Browser(app, registry).sign_in()
    assert f'href="{page_of(consent, "/proof")}"' in browser.get(page_of(consent)).text
    assert browser.get(page_of(consent, "/proof")).data == proof.data


def test_pages_say_how_long_evidence_is_kept_and_when_it_was_removed(
    app: Flask, registry: Registry, world: World, consent: Consent, clock: Clock
) -> None:
    clock.now = consent.valid_until + timedelta(days=1)
    browser = Browser(app, registry).sign_in()
    browser.get(page_of(consent))
    assert "Kept here until 1 August 2027" in browser.shown
    clock.now = after_months(clock(), 6)
    assert purge(world).files
    browser.sign_in()
    for path in (page_of(consent), "/my/data"):
        browser.get(path)
        assert "and removed on 2 September 2027." in browser.shown
        assert "I agree" not in browser.shown
    assert browser.get(page_of(consent, "/file")).status_code == 404
    assert browser.get(page_of(consent, "/challenge")).status_code == 200
    assert "/challenge" not in browser.page.text


def test_look_of_a_carrier_stands_in_the_history(
    app: Flask, registry: Registry, world: World, consent: Consent, clock: Clock
) -> None:
    asked = evidence.Asked(world.sender.id, consent.number, consent.channel, consent.topic)
    world.do(
        lambda session: evidence.show_carrier(
            session, asked, carrier_id=world.carrier.id, clock=clock
        )
    )
    browser = Browser(app, registry).sign_in()
    browser.get("/my/history")
    assert "The evidence of a consent to “sender 1” was shown" in browser.shown
    assert "carrier 3" in browser.shown
