"""The page behind the link of an SMS, in a real browser."""

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser

from registry.consent import Reason
from registry.messenger import links
from registry.models import ConsentRequest
from tests.browser import chromium, served, visiting
from tests.factories import World

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Lend one Chromium to all tests of the module."""
    with chromium() as started:
        yield started


def path(world: World, request: ConsentRequest) -> str:
    return f"/r/{links.token(world.registry.database.key, request)}"


@pytest.mark.parametrize(
    ("answer", "scripts", "dark", "language"),
    [("Agree", True, False, "zh"), ("Decline", False, True, "en")],
)
def test_link_is_opened_answered_and_over(
    app: Flask, world: World, browser: Browser,
    answer: str, scripts: bool, dark: bool, language: str,
) -> None:  # fmt: skip
    request = world.ask(notice_text="每周给您发两条优惠信息，可以吗？")
    how = {"scripts": scripts, "dark": dark, "language": language}
    with (
        served(app) as (address, _asked),
        visiting(browser, address, world.registry, **how) as visitor,  # type: ignore[arg-type]
    ):
        visitor.open(path(world, request))
        visitor.reads("每周给您发两条优惠信息，可以吗？")
        visitor.press("中文" if language == "en" else "English")
        visitor.press("English" if language == "en" else "中文")
        visitor.reads("A request to you")
        assert not scripts or visitor.violations() == []
        visitor.press(answer)
        visitor.reads("How to withdraw" if answer == "Agree" else "You declined")
        assert not scripts or visitor.violations() == []
        agreed = world.verdict().reason is Reason.CONSENTED
        assert agreed is (answer == "Agree")
        visitor.open(path(world, request))
        visitor.reads("This request has been answered")
        assert not scripts or visitor.violations() == []
