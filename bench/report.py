"""The table of what was measured, on the screen and in docs/performance.md."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench.load import BATCH, CONNECTIONS_EACH, CONSENTED, LOADERS
from bench.measure import LOOKUP_CONNECTIONS, ROUNDS, SECONDS, WRITE_CONNECTIONS, Figures
from bench.pages import PAGES, TURNS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
DATABASES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}


@dataclass(frozen=True)
class Measure:
    """A line of the table. `least` and `most` are the targets, of the databases that have one."""

    name: str
    label: str
    form: str = "{:,.0f}"
    least: Mapping[str, float] = field(default_factory=dict)
    most: Mapping[str, float] = field(default_factory=dict)

    def met(self, database: str, value: float) -> bool | None:
        """Tell whether a value is good enough; None where nothing was promised."""
        if database in self.least:
            return value >= self.least[database]
        if database in self.most:
            return value <= self.most[database]
        return None


def _both(value: float) -> Mapping[str, float]:
    return dict.fromkeys(DATABASES, value)


MEASURES = (
    Measure("empty_lookups", "empty authenticated route, requests/s"),
    Measure("lookups", "single lookup, requests/s"),
    Measure(
        "lookup_share", "single lookup, share of the empty route", "{:.2f}",
        least={"postgresql": 0.30, "sqlite": 0.40},
    ),
    Measure("p50", "at half that load: p50, ms", "{:.1f}"),
    Measure("p99", "at half that load: p99, ms", "{:.1f}"),
    Measure("p99_to_p50", "at half that load: p99 / p50", "{:.1f}", most=_both(5)),
    Measure(
        "batch_1", f"batches of {BATCH:,}, one connection, numbers/s", least={"postgresql": 40_000}
    ),
    Measure(
        "batch_2", f"batches of {BATCH:,}, two connections, numbers/s",
        least={"postgresql": 40_000},
    ),
    Measure("health_p95", "health route: p95, ms", "{:.2f}"),
    *(
        Measure(f"page_{name}", f"page {path}: p95 / the health route's", "{:.1f}", most=_both(5))
        for name, path in PAGES.items()
    ),
    Measure("empty_writes", "empty authenticated POST, requests/s"),
    Measure("writes", "consent written, requests/s"),
    Measure(
        "write_share", "consent written, share of the empty POST", "{:.2f}",
        least={"postgresql": 0.08},
    ),
    Measure("errors", "answers that were errors", most=_both(0)),
    Measure("unrecorded", "answers without audit, key or position", most=_both(0)),
    Measure("web_memory", "peak memory of a web worker, MB"),
    Measure("worker_memory", "peak memory of the background worker, MB"),
    Measure("preparing", "putting the consents there, seconds"),
)  # fmt: skip


def table(found: Mapping[str, Figures]) -> str:
    """Return what was measured as a table in Markdown."""
    rows = [["", *(DATABASES[database] for database in found), "target"]]
    for measure in MEASURES:
        cells = [_cell(measure, database, figures) for database, figures in found.items()]
        rows.append([measure.label, *cells, _target(measure)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def _cell(measure: Measure, database: str, figures: Figures) -> str:
    value = figures[measure.name]
    met = measure.met(database, value)
    verdict = "" if met is None else ", met" if met else ", **missed**"
    return measure.form.format(value) + verdict


def _target(measure: Measure) -> str:
    told = [
        f"{sign} {measure.form.format(value)} ({DATABASES[database]})"
        for sign, targets in (("≥", measure.least), ("≤", measure.most))
        for database, value in targets.items()
    ]
    return ", ".join(told)


def write(
    found: Mapping[str, Figures], consents: int, versions: Mapping[str, str], path: Path = PAGE
) -> None:
    """Write the page on speed and memory."""
    path.write_text(
        _PAGE.format(
            table=table(found),
            machine=_machine(versions),
            day=datetime.now(UTC).date(),
            consents=f"{consents:,}",
            refusals=f"{consents // 100:,}",
            consented=f"{CONSENTED:.0%}",
            rounds=ROUNDS,
            seconds=SECONDS,
            turns=TURNS,
            lookup_connections=LOOKUP_CONNECTIONS,
            write_connections=WRITE_CONNECTIONS,
            paced_connections=LOADERS * CONNECTIONS_EACH,
        ),
        encoding="utf-8",
    )


def _machine(versions: Mapping[str, str]) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{len(os.sched_getaffinity(0))} cores ({platform.machine()}), {memory:.0f} GB of memory,"
        f" {platform.system()}; {software}"
    )


_PAGE = """# Speed and memory

Measured on {day} by `make bench`, which needs wrk (Debian: `apt-get install wrk`) and writes this
page. It takes some minutes; `BENCH_CONSENTS=100000 BENCH_SECONDS=1 make bench` tries it quickly
and proves nothing.

Machine: {machine}. The servers, the database and what loads them share these cores.

{table}

## What was done

- Each database holds {consents} consents of one sender and a tenth as many of another;
  {refusals} numbers refuse everything. {consented} of the numbers asked about have a consent, and
  {consented} of the consents written replace one; all are chosen at random.
- Two granian workers and the background worker run as `consent-registry serve --worker` runs
  them. PostgreSQL has `fsync` on and 1 GB of shared buffers, SQLite `synchronous=FULL`: what is
  acknowledged is on the disk.
- The empty route is one more route of the same processes: it authenticates, reads the same
  arguments and answers what it always answers. The empty and the real route are loaded by turns,
  {rounds} times for {seconds} seconds after one turn to warm up; medians are shown, for the share
  the median of the turns' shares. So the shares tell more than the rates, which depend on the
  machine.
- Single lookups come from {lookup_connections} connections and bring authentication, audit and a
  signed receipt; consents come from {write_connections} connections, each with an
  `Idempotency-Key` of its own, and bring evidence, grant, event and notice.
- Latencies are taken at half the rate of the single lookups, with requests that are due at even
  intervals on {paced_connections} connections. They count from when a request was due, so they
  hold the loader's own delays too.
- Pages are asked for by turns with the health route, {turns} times each on one connection, those
  at `/my` by a subscriber who is signed in. A page's time is until its HTML is there whole.
- Batches are counted in numbers; their audit is written before they are answered.
- Afterwards the server's counters are compared with what is in the database: every lookup must
  have its audit row, every consent its key, and every event its position in the log.
"""
