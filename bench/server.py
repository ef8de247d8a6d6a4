"""The server that is measured: the registry's own, with an empty route beside each real one.

The empty routes authenticate, read the same arguments and answer what they always answer. Being
routes of the same processes, they show what of a request's time is the framework's.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify

import registry
from registry import server
from registry.access import Scope
from registry.config import Settings
from registry.numbers import parse_subscriber
from registry.schemas.consents import ClaimSchema, ConsentsSchema
from registry.schemas.lookups import LookupSchema, VerdictSchema
from registry.web import ApiBlueprint, requires

START_SECONDS = 30
GRACE = 15

empty = ApiBlueprint("bench", __name__, url_prefix="/bench")

VERDICT = {
    "id": "0193a5c0-0000-7000-8000-000000000000",
    "to": "+8613800000000",
    "allowed": False,
    "reason": "no_consent",
    "valid_until": None,
    "retry_at": None,
    "forecast": False,
    "decided_at": "2026-12-01T02:00:00Z",
    "position": 1,
    "receipt": "e" * 900,
}


@empty.post("/lookup")
@requires(Scope.LOOKUP, suspended=True)
@empty.arguments(LookupSchema)
@empty.response(200, VerdictSchema)
def post_lookup(data: dict[str, Any]) -> Response:
    """Answer as a lookup does, without looking anything up."""
    parse_subscriber(data["to"])
    return jsonify(VERDICT)


@empty.post("/write")
@requires(Scope.CONSENT)
@empty.arguments(ClaimSchema)
@empty.response(201, ConsentsSchema)
def post_write(data: dict[str, Any]) -> Response:
    """Answer as the recording of a consent does, without recording anything."""
    parse_subscriber(data["number"])
    response = jsonify(consents=[])
    response.status_code = 201
    return response


def create_app() -> Flask:
    """Return the registry's application with the empty routes."""
    app = registry.create_app()
    app.register_blueprint(empty)
    return app


@dataclass
class Processes:
    """The web server with its workers, and the background worker."""

    web: "subprocess.Popen[bytes]"
    worker: "subprocess.Popen[bytes]"

    def peaks(self) -> dict[str, int]:
        """Return the most megabytes that a web worker and the background worker ever held."""
        children = Path(f"/proc/{self.web.pid}/task/{self.web.pid}/children").read_text().split()
        return {
            "web": max(map(_peak, map(int, children))),
            "worker": _peak(self.worker.pid),
        }


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


@contextmanager
def serving(settings: Settings) -> Iterator[Processes]:
    """Run the processes of `consent-registry serve --worker`, with the empty routes."""
    metrics = tempfile.mkdtemp(prefix="registry-metrics-")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")},
        "REGISTRY_DATA_DIR": str(settings.data_dir),
        "REGISTRY_PORT": str(settings.port),
    }
    if settings.database_url is not None:
        environment["REGISTRY_DATABASE_URL"] = settings.database_url
    processes = Processes(
        web=_start("bench.server", env={**environment, "PROMETHEUS_MULTIPROC_DIR": metrics}),
        worker=_start("registry.cli", "worker", env=environment),
    )
    try:
        _wait(f"http://{settings.host}:{settings.port}/readyz")
        yield processes
    finally:
        for process in (processes.web, processes.worker):
            process.terminate()
            process.wait(GRACE)
        shutil.rmtree(metrics, ignore_errors=True)


def _start(module: str, *arguments: str, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", module, *arguments], env=env)


def _wait(url: str) -> None:
    for _ in range(10 * START_SECONDS):
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own server
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


if __name__ == "__main__":
    server.main("bench.server:create_app")
