"""All pages of the number on both databases: what they ask of the storage works on each."""

from flask import Flask

from registry.runtime import Registry
from tests.factories import Client, World, make_number
from tests.portal import PAGES, Browser, fill


def test_every_page_opens(app: Flask, client: Client, registry: Registry, world: World) -> None:
    named = fill(world)
    client.lookup()
    app.extensions["recorder"].flush()
    browser = Browser(app, registry).sign_in(make_number())
    for path in ["/my/data.json", *PAGES]:
        assert browser.get(path.format(**named)).status_code == 200, path
    browser.post("/my/refuse-everything")
    assert "You refuse everything" in browser.get("/my/").text
