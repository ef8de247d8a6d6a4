"""How long pages take beside the health route: by turns, so that both see the same machine."""

import http.client
import time
from contextlib import closing
from statistics import quantiles

from bench.load import Target
from registry import create_app, sessions
from registry.config import Settings
from registry.numbers import parse_subscriber
from registry.portal.cookie import SIGNED_IN
from registry.runtime import open_registry

TURNS = 300
HEALTH = "/healthz"
PAGES = {
    "home": "/",
    "who": "/who",
    "sign_in": "/sign-in",
    "my": "/my/",
    "my_refusals": "/my/refusals",
    "my_consents": "/my/consents",
    "my_lookups": "/my/lookups",
}


def measure(settings: Settings, target: Target) -> dict[str, float]:
    """Return each page's 95th percentile as a multiple of the health route's."""
    cookie = _sign_in(settings)
    times: dict[str, list[float]] = {path: [] for path in (HEALTH, *PAGES.values())}
    with closing(http.client.HTTPConnection(target.host, target.port, timeout=10)) as connection:
        for turn in range(TURNS + TURNS // 10):
            for path, taken in times.items():
                seconds = _get(connection, path, cookie)
                if turn >= TURNS // 10:  # The first turns warm up.
                    taken.append(seconds)
    p95 = {path: quantiles(taken, n=20)[-1] for path, taken in times.items()}
    return {
        "health_p95": p95[HEALTH] * 1000,
        **{f"page_{name}": p95[path] / p95[HEALTH] for name, path in PAGES.items()},
    }


def _get(connection: http.client.HTTPConnection, path: str, cookie: str) -> float:
    """Return the seconds until a page was there whole."""
    began = time.perf_counter()
    signed_in = {"Cookie": cookie} if path.startswith("/my") else {}
    connection.request("GET", path, headers={"Accept": "text/html", **signed_in})
    with connection.getresponse() as response:
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}")
    return time.perf_counter() - began


def _sign_in(settings: Settings) -> str:
    """Return the cookie of a subscriber who is signed in."""
    opened = open_registry(settings, patience=None)
    with closing(opened.database):
        number = parse_subscriber("+8613800000000")
        with opened.database.write() as session:
            _row, token = sessions.start(session, number, opened.clock())
        app = create_app(opened)
        signer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
        app.extensions["recorder"].close()
        return f"{app.config['SESSION_COOKIE_NAME']}={signer.dumps({SIGNED_IN: token})}"
