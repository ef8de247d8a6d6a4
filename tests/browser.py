"""A real browser: Chromium without a window, which can reach nothing but this machine."""

import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from axe_playwright_python.sync_playwright import Axe
from babel.messages.pofile import read_po
from flask import Flask
from playwright.sync_api import Browser, Page, Response, sync_playwright
from werkzeug.serving import make_server

from registry.numbers import SubscriberNumber
from registry.portal.languages import FOLDER
from registry.runtime import Registry
from tests.factories import make_number
from tests.portal import sent_code

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
PHONE, DESK = (390, 844), (1280, 900)
PATIENCE = 30_000
"""Milliseconds after which something that does not appear is missing."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Lend the machine's Chromium."""
    [command] = [found for found in map(shutil.which, COMMANDS) if found][:1]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=list(OPTIONS))
        yield browser
        browser.close()


@contextmanager
def served(app: Flask) -> Iterator[tuple[str, list[str]]]:
    """Serve an app on loopback; yield its address and the paths that were asked for."""
    asked: list[str] = []

    def recorded(environ: "WSGIEnvironment", start: "StartResponse") -> "Iterable[bytes]":
        asked.append(environ["PATH_INFO"])
        return app(environ, start)

    server = make_server("127.0.0.1", 0, recorded, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def translations() -> dict[str, str]:
    """Return the Chinese of every text of the pages, by its English."""
    with (FOLDER / "zh_Hans_CN" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalogue = read_po(file)
    plain = [message for message in catalogue if isinstance(message.id, str) and message.id]
    return {str(message.id): str(message.string) for message in plain}


@dataclass
class Visitor:
    """A person at a browser window, who reads one language and expects no surprises."""

    page: Page
    address: str
    registry: Registry
    chinese: dict[str, str] | None
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.troubles.append(f"script: {error}"))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)
        self.open("/")
        if self.chinese is None:
            self.press("English")

    def _heard(self, message: Any) -> None:
        # A form that is answered with 4xx is told on the console as well; that is no trouble.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.troubles.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.troubles.append(f"outside: {request.url}")

    def says(self, text: str, **values: object) -> str:
        """Return how a text of the pages reads in the visitor's language."""
        return (text if self.chinese is None else self.chinese.get(text) or text) % values

    def open(self, path: str) -> Response | None:
        """Open a page by its address."""
        return self.page.goto(self.address + path)

    def press(self, text: str) -> None:
        """Press the button, or follow the link, with a text: the page's own before the frame's."""
        shown = self.says(text)
        for place in (self.page.get_by_role("main"), self.page.locator("body")):
            button = place.get_by_role("button", name=shown, exact=True)
            found = button.or_(place.get_by_role("link", name=shown, exact=True)).first
            if place.count() and found.count():
                break
        found.click()
        self.page.wait_for_load_state()

    def write(self, label: str, value: str) -> None:
        """Fill in the field with a label."""
        self.page.get_by_label(self.says(label)).fill(value)

    def reads(self, text: str, *, exact: bool = True, **values: object) -> None:
        """Wait until a text stands on the page, by itself or within another; fails without it."""
        self.page.get_by_text(self.says(text, **values), exact=exact).first.wait_for()

    def sign_in(self, number: SubscriberNumber | None = None) -> None:
        """Sign in by the pages, with the code of the SMS."""
        wanted = number or make_number()
        self.open("/sign-in")
        self.write("Your mobile number", wanted.e164)
        self.press("Send me the code")
        self.write("Code from the SMS", sent_code(self.registry, wanted))
        self.page.get_by_role("main").get_by_role("button", name=self.says("Sign in")).click()
        self.page.wait_for_url("**/my/")

    def violations(self) -> list[str]:
        """Return what axe finds wrong with the page as it is shown."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{self.page.url} {one['id']}: {node['html']}" for one in found for node in one["nodes"]
        ]


@contextmanager
def visiting(
    browser: Browser,
    address: str,
    registry: Registry,
    *,
    language: str = "zh",
    size: tuple[int, int] = PHONE,
    dark: bool = False,
    scripts: bool = True,
) -> Iterator[Visitor]:
    """Open a window for a visitor; in the end nothing may have gone wrong in it."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
    )
    visitor = Visitor(
        context.new_page(), address, registry, translations() if language == "zh" else None
    )
    yield visitor
    context.close()
    assert visitor.troubles == []
