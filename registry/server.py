"""Serving: granian's web workers and the background worker, each in processes of their own.

The supervisor starts both and starts the background worker again when it dies. It never runs
a thread: granian forks, and a fork beside a thread may leave a lock behind that nobody opens.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from types import FrameType

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from registry.config import Settings

GRACE = 15
"""Seconds that a process may take to finish what is under way."""


def serve(settings: Settings, *, with_worker: bool, ready: Callable[[], None] | None = None) -> int:
    """Serve the registry of the environment until told to stop; return the exit code.

    SIGTERM and SIGINT finish what is under way, SIGHUP replaces the web workers one by one.
    `ready` is called once the registry answers.
    """
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    metrics = tempfile.mkdtemp(prefix="registry-metrics-")
    web = _start("registry.server", PROMETHEUS_MULTIPROC_DIR=metrics)
    worker = _start("registry.cli", "worker") if with_worker else None
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, lambda *_: web.send_signal(signal.SIGHUP))
    try:
        while not stopping and web.poll() is None:
            if ready is not None and _answers(settings):
                ready()
                ready = None
            if worker is not None and worker.poll() is not None:
                worker = _start("registry.cli", "worker")
            time.sleep(0.2)
    finally:
        for process in (web, worker):
            if process is not None:
                _stop(process)
        shutil.rmtree(metrics, ignore_errors=True)
    return 0 if stopping else web.returncode or 1


def _start(module: str, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env={**os.environ, **environment})  # noqa: S603 - our own


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _answers(settings: Settings) -> bool:
    url = f"http://{settings.host}:{settings.port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except OSError:
        return False


def main(application: str = "registry:create_app") -> None:
    """Run granian with the web workers of the environment's registry."""
    settings = Settings.from_environment()
    Granian(
        application,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=settings.threads,
        factory=True,
        websockets=False,
        log_level=LogLevels.warning,
        log_access=False,  # A path may hold the secret of a short link.
        respawn_failed_workers=True,
        workers_kill_timeout=10,
    ).serve()


if __name__ == "__main__":
    main()
