"""A visitor of the pages without scripts: keeps cookies, follows redirects, sends real forms."""

import json
import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from registry import ledger
from registry.consent import Topic
from registry.models import Notice, OutboxItem
from registry.numbers import SubscriberNumber
from registry.runtime import Registry
from tests.factories import World, make_number

HOST = "https://registry.test"
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For pages: their use cases are tested on both databases, and test_portal_storage.py opens all
pages on PostgreSQL."""


PAGES = [
    "/my/", "/my/refusals", "/my/consents", "/my/consents/{consent}", "/my/consents/{disputed}",
    "/my/consents/{consent}/challenge", "/my/consents/withdraw-all", "/my/requests", "/my/lookups",
    "/my/complaints", "/my/complaints/new", "/my/history", "/my/more", "/my/family", "/my/account",
    "/my/data",
]  # fmt: skip
"""The addresses of all pages of a number that has something of everything."""


def fill(world: World) -> dict[str, object]:
    """Give the number something of everything; return what the pages' addresses name."""
    [consent] = world.grant()
    [disputed] = world.grant(sender=world.other_sender, topics=(Topic.LOANS,))
    world.own(ledger.challenge, disputed.id)
    world.ask(topics=(Topic.GAMES,))
    world.refuse(scope=ledger.Scope(topic=Topic.HEALTH))
    return {"consent": consent.id, "disputed": disputed.id}


@dataclass
class Browser:
    """One browser; `page` is what it shows. The cookie is Secure, so it speaks https."""

    app: Flask
    registry: Registry
    address: str = "192.0.2.1"
    language: str = "en"
    client: FlaskClient = field(init=False)
    page: TestResponse = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.test_client()
        self.get("/")
        if self.language != "zh":
            self.post("/language", {"language": self.language})

    def get(self, path: str, **headers: str) -> TestResponse:
        """Open a page and follow where it leads."""
        return self._open("GET", path, None, headers)

    def post(self, path: str, form: dict[str, Any] | None = None, **headers: str) -> TestResponse:
        """Send a form of the page that is shown, with the token that stands in it."""
        data = {"csrf_token": self.token(), **(form or {})}
        return self._open("POST", path, data, headers)

    def _open(
        self, method: str, path: str, data: dict[str, Any] | None, headers: dict[str, str]
    ) -> TestResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.page = self.client.open(
            path,
            method=method,
            data=data,
            base_url=HOST,
            headers={"Accept": "text/html", "Referer": HOST + "/", **sent},
            environ_base={"REMOTE_ADDR": self.address},
            follow_redirects=True,
            buffered=True,
        )
        return self.page

    def token(self) -> str:
        """Return the token in the forms of the page that is shown; nothing where none is."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.page.text)
        return found.group(1) if found else ""

    @property
    def shown(self) -> str:
        """What a person reads: the page's text without its marks."""
        return _plain(self.page.text)

    @property
    def cards(self) -> list[str]:
        """What a person reads on each card of the page."""
        return list(
            map(_plain, re.findall(r'(?s)<section class="card.*?</section>', self.page.text))
        )

    @property
    def actions(self) -> list[str]:
        """Where the forms of the page lead to, but for those at the head of every page."""
        content = self.page.text.rpartition('<main id="main"')[2]
        return re.findall(r'<form method="post" action="([^"]+)"', content)

    def sign_in(self, number: SubscriberNumber | None = None) -> "Browser":
        """Sign in as people do: ask for a code, read the SMS, type it in."""
        wanted = number or make_number()
        self.get("/sign-in")
        self.post("/sign-in", {"number": wanted.e164})
        assert self.page.request.path == "/sign-in/code", self.shown
        self.post("/sign-in/code", {"code": sent_code(self.registry, wanted)})
        assert self.page.status_code == 200, self.shown
        return self


def _plain(html: str) -> str:
    text = re.sub(r"(?s)<(script|style|svg|title)\b.*?</\1>", " ", html)
    text = re.sub(r"</?(bdi|strong|time)\b[^>]*>", "", text)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text))).strip()


def sent_code(registry: Registry, number: SubscriberNumber) -> str:
    """Return the code that was last sent to a number, as its SMS will say."""
    with registry.database.snapshot() as session:
        item = session.scalars(
            select(OutboxItem)
            .where(OutboxItem.number == number, OutboxItem.notice == Notice.CODE)
            .order_by(OutboxItem.id.desc())
        ).first()
    assert item is not None, "no code was sent"
    return str(json.loads(item.details or "")["code"])
