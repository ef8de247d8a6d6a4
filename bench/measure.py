"""What is measured of one database, in which order, and what must hold afterwards."""

import os
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from statistics import median

from sqlalchemy import func, select

from bench import load, pages
from bench.load import Run, Target
from bench.server import serving
from registry.config import Settings
from registry.models import Event, IdempotencyKey, Lookup
from registry.runtime import open_registry

ROUNDS = 5
SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
"""How long each load lasts. Ones of a second or two are good for trying only."""
LOOKUP_CONNECTIONS = 32
WRITE_CONNECTIONS = 16
BATCHES = 10

Figures = dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """The medians of some rounds: answers a second, and the share of the empty route's."""

    empty: float
    real: float
    share: float


def measure(settings: Settings, key: str, consents: int) -> Figures:
    """Load a prepared registry, each kind of load in turn, and return what was measured."""
    target = Target(settings.host, settings.port, key, consents)
    runs: list[Run] = []
    with serving(settings) as processes:
        lookups = _compare(runs, target, "lookup", "/v1/lookups", load.question, LOOKUP_CONNECTIONS)
        shown = pages.measure(settings, target)
        paced = load.paced(target, "/v1/lookups", lookups.real / 2, 2.5 * SECONDS)
        load.batches(target, "/v1/lookups/batch", connections=1, each=2)  # warms up
        batches = [
            load.batches(target, "/v1/lookups/batch", connections=many, each=BATCHES // many)
            for many in (1, 2)
        ]
        writes = _compare(runs, target, "write", "/v1/consents", load.claim, WRITE_CONNECTIONS)
        time.sleep(1)  # Audits are written within 200 ms, events are in the log within a second.
        peaks = processes.peaks()
        faults = _faults(settings)
    return {
        "empty_lookups": lookups.empty,
        "lookups": lookups.real,
        "lookup_share": lookups.share,
        "p50": paced.percentile(50),
        "p99": paced.percentile(99),
        "p99_to_p50": paced.percentile(99) / paced.percentile(50),
        **shown,
        "batch_1": batches[0].rate,
        "batch_2": batches[1].rate,
        "empty_writes": writes.empty,
        "writes": writes.real,
        "write_share": writes.share,
        "web_memory": peaks["web"],
        "worker_memory": peaks["worker"],
        "errors": sum(run.errors for run in [*runs, paced, *batches]) + faults["errors"],
        "unrecorded": faults["unrecorded"],
    }


def _compare(
    runs: list[Run],
    target: Target,
    empty: str,
    real: str,
    body: Callable[[str], object],
    connections: int,
) -> Comparison:
    """Load the empty and the real route by turns, so that both see the same machine."""
    rounds = []
    for _ in range(ROUNDS + 1):
        pair = [
            load.hardest(target, path, body, connections=connections, seconds=SECONDS)
            for path in (f"/bench/{empty}", real)
        ]
        runs += pair
        rounds.append([run.rate for run in pair])
    del rounds[0]  # The first one warmed up.
    return Comparison(
        empty=median(rates[0] for rates in rounds),
        real=median(rates[1] for rates in rounds),
        share=median(rates[1] / rates[0] for rates in rounds),
    )


def _faults(settings: Settings) -> dict[str, int]:
    """Return how many answers were errors, and how many have left no trace where they should.

    The server's own counters are compared, since a loader that stops does not hear the answers
    that are under way.
    """
    address = f"http://{settings.host}:{settings.port}/metrics"
    with urllib.request.urlopen(address) as response:
        metrics = response.read().decode().splitlines()
    requests = [line for line in metrics if line.startswith("registry_requests_total{")]
    loaded = [line for line in requests if 'route="/v1' in line or 'route="/bench' in line]
    written = [line for line in loaded if 'route="/v1/consents"' in line]
    verdicts = _total(line for line in metrics if line.startswith("registry_verdicts_total{"))
    opened = open_registry(settings, patience=None)
    with closing(opened.database), opened.database.read() as connection:
        audits, keys, waiting = connection.execute(
            select(
                select(func.count()).select_from(Lookup).scalar_subquery(),
                select(func.count()).select_from(IdempotencyKey).scalar_subquery(),
                select(func.count(Event.id)).where(Event.position.is_(None)).scalar_subquery(),
            )
        ).one()
    return {
        "errors": _total(line for line in loaded if 'status="2' not in line),
        "unrecorded": abs(verdicts - audits) + abs(_total(written) - keys) + waiting,
    }


def _total(lines: Iterable[str]) -> int:
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))
