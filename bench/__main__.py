"""Measure the registry on PostgreSQL and on SQLite; see docs/performance.md."""

import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from platform import python_version

from bench import imports, report
from bench.measure import Figures, measure
from bench.world import prepare
from registry.config import Settings
from tests.postgres import PostgresServer

CONSENTS = int(os.environ.get("BENCH_CONSENTS", "5000000"))
POSTGRESQL = {
    "fsync": "on",
    "shared_buffers": "1GB",
    "effective_cache_size": "4GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
}


def main() -> None:
    """Measure both databases, one after the other."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed (Debian: apt-get install wrk)")
    found: dict[str, Figures] = {}
    with postgresql() as (url, server_version):
        found["postgresql"] = _measure(url)
        print("PostgreSQL: importing ...", flush=True)
        imported = imports.measure(url)
    found["sqlite"] = _measure(None)
    versions = {
        "Python": python_version(),
        "PostgreSQL": server_version,
        "SQLite": sqlite3.sqlite_version,
        "granian": version("granian"),
    }
    report.write(found, CONSENTS, versions)
    imports.write(imported)
    print(f"\n{report.table(found)}\n\n{imports.table(imported)}\n\nwritten to {report.PAGE}")


@contextmanager
def postgresql() -> Iterator[tuple[str, str]]:
    """Lend the address of a new PostgreSQL, with its version, until the block ends."""
    server = PostgresServer()
    try:
        server.start(POSTGRESQL)
        yield server.url, server.version.split()[2]
    finally:
        server.remove()


def _measure(url: str | None) -> Figures:
    """Prepare and measure a registry in a database, by default in SQLite."""
    name = "SQLite" if url is None else "PostgreSQL"
    with tempfile.TemporaryDirectory(prefix="registry-bench-") as folder:
        settings = Settings(Path(folder), port=_free_port(), database_url=url)
        print(f"{name}: preparing {CONSENTS:,} consents ...", flush=True)
        began = time.monotonic()
        key = prepare(settings, CONSENTS)
        seconds = time.monotonic() - began
        print(f"{name}: measuring ...", flush=True)
        return {**measure(settings, key, CONSENTS), "preparing": seconds}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
