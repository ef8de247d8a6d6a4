"""The pages for subscribers, organisations and everybody: server-rendered, Chinese and English.

They ask nothing of another host, keep no personal data in a cookie, and work without scripts.
"""

from flask import Flask

from registry.portal import (
    assets,
    cookie,
    languages,
    links,
    pages,
    public,
    signin,
    visitors,
    words,
)
from registry.portal.console import blueprints as console
from registry.portal.my import blueprints
from registry.runtime import Registry


def attach(app: Flask, registry: Registry) -> None:
    """Add the pages, their files, languages and protections to an app."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(
        is_demo=lambda: registry.demo, visitor=visitors.visitor, signed_in=cookie.signed_in
    )
    cookie.sign_cookies(app, registry.database.key)
    # A redirect to the address with fewer slashes would name whatever host was asked for.
    app.url_map.merge_slashes = False
    languages.speak(app)
    words.teach(app)
    assets.serve(app)
    pages.dress(app)
    app.register_blueprint(public.pages(registry))
    app.register_blueprint(signin.pages(registry))
    app.register_blueprint(links.pages(registry))
    blueprints.attach(app, registry)
    console.attach(app, registry)
