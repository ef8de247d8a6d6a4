"""The pages for developers, in a real browser."""

import re
from dataclasses import replace

import pytest

from registry import create_app
from registry.runtime import Registry
from tests.browser import PATIENCE, chromium, served

ALL_SHOWN = """paths => paths <= new Set(
  Array.from(document.querySelectorAll("[data-path]"), shown => shown.dataset.path)).size"""


@pytest.mark.parametrize("demo", [True, False])
def test_docs_show_every_operation_without_an_outside_request(
    registry: Registry, demo: bool
) -> None:
    app = create_app(replace(registry, demo=demo))
    document = app.test_client().get("/openapi.json").json
    assert document is not None
    with served(app) as (address, asked), chromium() as browser:
        shown = browser.new_page()
        shown.goto(f"{address}/docs")
        shown.wait_for_function(ALL_SHOWN, arg=len(document["paths"]), timeout=PATIENCE)
        page = shown.content()
    app.extensions["recorder"].close()
    # A browser asks for a page's icon when it likes, which may be after the page is done.
    assert set(asked) - {"/docs/assets/favicon-32x32.png"} == {
        "/docs", "/docs/start.js", "/docs/assets/swagger-ui.css",
        "/docs/assets/swagger-ui-bundle.js", "/openapi.json",
    }  # fmt: skip
    assert set(re.findall(r'data-path="([^"]+)"', page)) == set(document["paths"])
    assert ("demo registry" in page) is demo
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.replace(address, ""))
