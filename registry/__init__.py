"""Consent Registry: whether one may send a commercial SMS or call, answered with proof."""

import gc
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from registry.runtime import Registry


def create_app(registry: "Registry | None" = None) -> "Flask":
    """Wire the web application; without a registry it opens the environment's.

    The modules are imported here and not above, because importing any of them imports this.
    """
    from werkzeug.middleware.proxy_fix import ProxyFix

    from registry import api, docs, observe, portal, web
    from registry.audit import Recorder
    from registry.budgets import RequestLimiter
    from registry.config import Settings
    from registry.runtime import open_registry

    own_process = registry is None
    if registry is None:
        observe.configure_logging()
        registry = open_registry(Settings.from_environment())
    app = web.App(__name__, static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=web.LARGEST_BODY + 1,  # so that `web` sees when there is more
        API_TITLE="Consent Registry",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH="openapi.json",
    )
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    recorder = Recorder(registry.database)
    recorder.start()
    # Not atexit: web workers are forked by multiprocessing, which passes atexit by.
    Finalize(None, recorder.close, exitpriority=0)
    if proxies := registry.settings.proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies)  # type: ignore[method-assign]
    app.extensions.update(
        registry=registry,
        recorder=recorder,
        limiter=RequestLimiter(registry.settings.workers),
    )
    observe.observe(app, registry)
    web.handle_errors(app)
    web.harden(app)
    openapi = web.OpenApi(app)
    openapi.register_blueprint(api.v1)
    app.register_blueprint(docs.pages(registry))
    portal.attach(app, registry)
    if own_process:
        # What was loaded stays; going through it in every collection would halt requests.
        gc.collect()
        gc.freeze()
    return app
