"""A real browser: Chromium without a window, which can reach nothing but this machine."""

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.serving import make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--virtual-time-budget=10000",
)  # fmt: skip


def rendered(address: str) -> str:
    """Return the document of a page after its scripts have run."""
    [browser] = [found for found in map(shutil.which, COMMANDS) if found][:1]
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [browser, *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", address],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    return done.stdout


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
