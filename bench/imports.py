"""How fast wishes are applied in bulk on PostgreSQL, and what a line costs both sides.

Each process applies a part of the lines, made beforehand, group by group, in transactions of its
own, as the worker does; one load is a file, which the worker also reads, checks and reports on.
Beside lines a second, which whatever else the machine does makes fewer, the table shows the
processors' time a line.
"""

import multiprocessing
import os
import random
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import create_engine, make_url, select, text
from sqlalchemy.orm import Session

from bench.world import number, prepare
from registry import imports
from registry.config import Settings
from registry.consent import Channel, Topic
from registry.ledger import CapTerms, Claim, EvidenceClaim, Scope, bulk
from registry.models import (
    ImportFormat,
    ImportKind,
    Method,
    Organisation,
    OrganisationKind,
    Via,
)
from registry.numbers import SubscriberNumber
from registry.policy import Period
from registry.runtime import Registry, open_registry
from registry.schemas.imports import LINES as LINES_OF
from registry.worker import calm_collector, import_means

LINES = int(os.environ.get("BENCH_LINES", "200000"))
CONSENTS = int(os.environ.get("BENCH_IMPORT_CONSENTS", "1000000"))
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
TARGET = 20_000
EVIDENCE = EvidenceClaim(
    Method.WEB_FORM, "I agree to ten messages a day, which I can stop at any time.", "3", "en"
)
FILE = "a file"
DEFAULTS = {
    "channel": "sms",
    "topics": ["retail"],
    "cap": {"count": 10, "period": "day"},
    "evidence": {"method": "web_form", "notice_text": EVIDENCE.notice_text},
    "valid_for_days": 300,
}
_TICKS = os.sysconf("SC_CLK_TCK")
_OTHERS = os.getloadavg()[0]
"""How many processes computed before this one began."""

Apply = Callable[[Registry, Session, Sequence[Any], UUID], object]


@dataclass(frozen=True)
class Load:
    """Some lines of one kind, applied by some processes side by side."""

    label: str
    kind: str
    processes: int
    first: int
    """The first number that the lines are about, of those that are next to each other."""


@dataclass(frozen=True)
class Cost:
    """What a load took: lines a second, microseconds and bytes a line."""

    label: str
    rate: float
    client: float
    server: float
    written: float


def measure(url: str) -> list[Cost]:
    """Measure an empty registry, and then one with consents, in a new database each."""
    costs = []
    for consents in (0, CONSENTS):
        with tempfile.TemporaryDirectory(prefix="registry-bench-") as folder:
            settings = Settings(Path(folder), database_url=_new_database(url, consents))
            prepare(settings, consents)
            fill = f"{consents:,} consents" if consents else "empty"
            for load in _loads(consents):
                cost = _measure(settings, load)
                costs.append(Cost(f"{fill}: {load.label}", *cost))
                print(_row(costs[-1]), flush=True)
    return costs


def _loads(consents: int) -> list[Load]:
    fresh = consents
    loads = [
        Load("new consents, one process", "consents", 1, fresh),
        Load("new consents, two processes", "consents", 2, fresh + LINES),
        Load("new consents from a file, one worker", FILE, 1, fresh + 2 * LINES),
        Load("refusals, one process", "refusals", 1, fresh),
        Load("refusals, two processes", "refusals", 2, fresh + LINES),
    ]
    if consents:
        loads.append(Load("renewed consents, two processes", "consents", 2, 0))
    return loads


def _new_database(url: str, consents: int) -> str:
    """Make a database for a registry of so many consents, and return its address."""
    server = make_url(url)
    name = f"imports_{consents}"
    engine = create_engine(
        server.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


def _measure(settings: Settings, load: Load) -> tuple[float, float, float, float]:
    """Return lines a second, both sides' microseconds and the log's bytes a line."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(load.processes + 1)
    costs = context.SimpleQueue()
    each = LINES // load.processes
    workers = [
        context.Process(
            target=_work,
            args=(settings, load, load.first + each * worker, each, barrier, costs),
        )
        for worker in range(load.processes)
    ]
    for worker in workers:
        worker.start()
    opened = open_registry(settings, patience=None)
    with closing(opened.database), opened.database.read() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        server = _server(connection.scalar(text("SELECT pg_backend_pid()")) or 0)
        log = text("SELECT pg_current_wal_insert_lsn() - '0/0'")
        barrier.wait()
        cpu, written, began = _cpu_of(server), connection.scalar(log), time.perf_counter()
        barrier.wait()
        seconds = time.perf_counter() - began
        cpu, written = _cpu_of(server) - cpu, connection.scalar(log) - written
        barrier.wait()
    client = sum(costs.get() for _ in workers)
    for worker in workers:
        worker.join()
    done = each * load.processes
    return done / seconds, 1e6 * client / done, 1e6 * cpu / done, float(written) / done


def _work(
    settings: Settings, load: Load, first: int, count: int, barrier: Barrier, costs: Any
) -> None:
    """Apply a part of the lines, in a process of its own."""
    opened = open_registry(settings, patience=None)
    kind = OrganisationKind.CARRIER if load.kind == "refusals" else OrganisationKind.SENDER
    with closing(opened.database):
        with opened.database.snapshot() as session:
            found = select(Organisation.id).where(Organisation.kind == kind)
            by = session.scalars(found.order_by(Organisation.id)).first()
        assert by is not None
        prepared = _file if load.kind == FILE else partial(_groups, load.kind)
        apply = prepared(opened, by, first, count)
        calm_collector()  # The lines that wait are the bench's, and no worker's.
        barrier.wait()
        began = time.process_time()
        apply()
        costs.put(time.process_time() - began)
        barrier.wait()
        barrier.wait()  # What the server's processes took is read while they are there.


def _groups(kind: str, opened: Registry, by: UUID, first: int, count: int) -> Callable[[], None]:
    """Return what applies lines that are made already."""
    apply, make = _KINDS[kind]
    lines = make(first, count)
    groups = [lines[at : at + bulk.GROUP] for at in range(0, count, bulk.GROUP)]

    def work() -> None:
        for group in groups:
            with opened.database.write() as session:
                apply(opened, session, group, by)

    return work


def _file(opened: Registry, by: UUID, first: int, count: int) -> Callable[[], None]:
    """Return what applies a CSV file as the worker does, from its bytes to its result."""
    opened.policy = replace(
        opened.policy, limits=replace(opened.policy.limits, assertion_numbers_per_day=10**9)
    )
    kind, csv = ImportKind.CONSENTS, ImportFormat.CSV
    options = imports.options(LINES_OF[kind], csv, defaults=DEFAULTS)
    with opened.database.write() as session:
        row = imports.create(session, by, kind, csv, None, options, now=opened.clock())
    rows = (
        f"{claim.number.e164},{claim.granted_at.isoformat()}\n"
        for _, claim in _claims(first, count)
    )
    pieces = (row.encode() for row in chain(["number,granted_at\n"], rows))
    imports.receive(opened.database, opened.imports, row.id, by, 0, pieces, most=1000)
    with opened.database.write() as session:
        imports.start(session, row.id, by)

    def work() -> None:
        assert imports.run_next(import_means(opened), only=row.id)

    return work


def _assert(opened: Registry, session: Session, group: Sequence[Any], by: UUID) -> None:
    results = bulk.assert_many(
        session, group, sender_id=by, policy=opened.policy, clock=opened.clock
    )
    assert all(result.outcome is bulk.Outcome.APPLIED for result in results)


def _refuse(opened: Registry, session: Session, group: Sequence[Any], by: UUID) -> None:
    results = bulk.refuse_many(session, group, by_organisation_id=by, clock=opened.clock)
    assert all(result.outcome is bulk.Outcome.APPLIED for result in results)


def _claims(first: int, count: int) -> list[Any]:
    """Return lines that differ in number and time, as an export's do."""
    now = datetime.now(UTC).replace(microsecond=0)
    until = now + timedelta(days=300)
    return [
        (
            secrets.token_bytes(16),
            Claim(
                number=_mobile(first + place),
                channel=Channel.SMS,
                topics=(Topic.RETAIL,),
                granted_at=now - timedelta(seconds=random.randrange(10**7)),  # noqa: S311
                valid_until=until,
                cap=CapTerms(10, Period.DAY),
                evidence=EVIDENCE,
            ),
        )
        for place in _shuffled(count)
    ]


def _refusals(first: int, count: int) -> list[Any]:
    return [
        (secrets.token_bytes(16), _mobile(first + place), Scope(), Via.HOTLINE)
        for place in _shuffled(count)
    ]


def _shuffled(count: int) -> list[int]:
    places = list(range(count))
    random.shuffle(places)
    return places


def _mobile(index: int) -> SubscriberNumber:
    """Return a number as the parser returns it: known to be a mobile."""
    return SubscriberNumber(number(index).e164, chinese_mobile=True)


_KINDS: dict[str, tuple[Apply, Callable[[int, int], list[Any]]]] = {
    "consents": (_assert, _claims),
    "refusals": (_refuse, _refusals),
}


def _server(backend: int) -> int:
    """Return the process that all processes of the database server are children of."""
    return int(_stat(backend)[1])


def _cpu_of(server: int) -> float:
    """Return the seconds that the server and all its processes have computed, gone ones too."""
    ticks = sum(map(int, _stat(server)[11:15]))
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = _stat(int(folder.name))
            except OSError:
                continue
            if int(stat[1]) == server:
                ticks += sum(map(int, stat[11:13]))
    return ticks / _TICKS


def _stat(process: int) -> list[str]:
    """Return what the kernel says of a process, from its state on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def table(costs: Sequence[Cost]) -> str:
    """Return what was measured as a table in Markdown."""
    head = ("", "lines/s", "client, µs a line", "server, µs a line", "log, bytes a line")
    rule = ("---", *["---:"] * (len(head) - 1))
    lines = [f"| {' | '.join(row)} |" for row in (head, rule)]
    return "\n".join(chain(lines, map(_row, costs)))


def _row(cost: Cost) -> str:
    cells = (
        cost.label,
        f"{cost.rate:,.0f}{_verdict(cost)}",
        f"{cost.client:.1f}",
        f"{cost.server:.1f}",
        f"{cost.written:,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _verdict(cost: Cost) -> str:
    if "new consents" not in cost.label:
        return ""
    return ", met" if cost.rate >= TARGET else ", **missed**"


def write(costs: Sequence[Cost], page: Path = PAGE) -> None:
    """Write the section on imports into the page on speed, in the place of an older one."""
    before, _, rest = page.read_text(encoding="utf-8").partition(f"\n{_TITLE}\n")
    _older, *after = re.split(r"^(?=## )", rest, maxsplit=1, flags=re.MULTILINE)
    section = _SECTION.format(
        title=_TITLE,
        day=datetime.now(UTC).date(),
        table=table(costs),
        lines=LINES,
        consents=CONSENTS,
        group=bulk.GROUP,
        target=TARGET,
        others=_OTHERS,
    )
    page.write_text(
        "\n\n".join([before.rstrip(), section.rstrip(), *after]).rstrip() + "\n", "utf-8"
    )


_TITLE = "## Imports"
_SECTION = """{title}

Measured on {day} with `bench.imports` on PostgreSQL and the machine above; the target is
{target:,} assertions a second. When it began, {others:.1f} other processes were computing.

{table}

- What is measured is `registry.ledger.bulk` alone: {lines:,} lines in groups of {group:,}, each a
  transaction, by one process or by two side by side, each with half of the lines. Giving events
  their positions comes on top.
- From a file means all that the worker does: CSV with a number and a time on each line is
  decrypted, read, checked and counted against the budget, and its result is written.
- Each new consent is a row of five tables, an event among them, and some fifteen index entries;
  its number's lock is taken, and what is known of it is read from five tables. Numbers are in no
  order. `fsync` is on.
- Refusals are of everything. Renewed consents each end one of the {consents:,} that are there.
- The lines a second hold for whatever else the machine computes at the time; a core that does
  nothing else has a million microseconds a second for the other two columns.
"""


if __name__ == "__main__":
    from bench.__main__ import postgresql

    with postgresql() as (address, _version):
        found = measure(address)
    write(found)
    print(table(found))
