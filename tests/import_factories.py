"""Files of many lines, and what tests do with them."""

import csv
import io
import json
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from registry import imports, policy
from registry.config import Settings
from registry.database import Database, utc_now
from registry.imports import Means
from registry.models import Import, ImportFormat, ImportKind, ImportState, Organisation
from registry.numbers import NumberKey
from registry.runtime import Registry
from registry.schemas.imports import LINES
from registry.worker import import_means
from tests.factories import START, World

GRANTED_AT = START - timedelta(days=1)
DEFAULTS = {
    "channel": "sms",
    "topics": ["retail"],
    "cap": {"count": 10, "period": "day"},
    "evidence": {"method": "web_form", "notice_text": "I agree to ten messages a day."},
    "granted_at": GRANTED_AT.isoformat(),
    "valid_for_days": 90,
}
"""What a line of consents need not say."""


def table(*rows: str, names: str = "number", end: str = "\n") -> bytes:
    """Return a CSV file."""
    return "".join(f"{row}{end}" for row in (names, *rows)).encode()


def numbers(count: int, first: int = 0) -> bytes:
    """Return a CSV file of numbers alone."""
    return table(*(f"138{index:08d}" for index in range(first, first + count)))


def announce(
    world: World,
    kind: ImportKind = ImportKind.CONSENTS,
    format_: ImportFormat = ImportFormat.CSV,
    *,
    who: Organisation | None = None,
    defaults: dict[str, Any] | None = None,
    **options: Any,
) -> Import:
    """Announce an import, by default of the sender's consents."""
    if defaults is None:
        defaults = DEFAULTS if kind is ImportKind.CONSENTS else {}
    wishes = kind in (ImportKind.REFUSALS, ImportKind.REASSIGNMENTS)
    organisation = who or (world.carrier if wishes else world.sender)
    chosen = imports.options(LINES[kind], format_, defaults=defaults, **options)
    return world.do(
        lambda session: imports.create(
            session, organisation.id, kind, format_, "a file", chosen, now=world.registry.clock()
        )
    )


def receive(world: World, row: Import, *pieces: bytes, offset: int = 0) -> int:
    opened = world.registry
    return imports.receive(
        opened.database, opened.imports, row.id, row.organisation_id, offset, pieces, most=100
    )


def send(world: World, data: bytes, *about: Any, sha256: str | None = None, **more: Any) -> Import:
    """Announce an import, send its file and start it."""
    row = announce(world, *about, **more)
    receive(world, row, data)
    return world.do(
        lambda session: imports.start(session, row.id, row.organisation_id, sha256=sha256)
    )


def run(world: World, *, stop: Callable[[], bool] = lambda: False, **means: Any) -> bool:
    """Give the next import its turn, as the worker does."""
    known = import_means(world.registry)
    return imports.run_next(Means(**{**vars(known), **means}), stop=stop)


def imported(world: World, data: bytes, *about: Any, **more: Any) -> Import:
    """Send a file and apply it; return its import as it is then."""
    row = send(world, data, *about, **more)
    while run(world):
        pass
    return read(world, row)


def read(world: World, row: Import) -> Import:
    return world.do(lambda session: imports.find(session, row.id))


def counts(row: Import) -> tuple[int, int, int]:
    """Return how many lines were applied, repeated and rejected."""
    found = imports.progress(row).counts
    return found["applied"], found["repeated"], found["rejected"]


def result(world: World, row: Import) -> list[dict[str, str]]:
    """Return the rows of a result."""
    pieces = imports.read_result(world.registry.imports, read(world, row))
    return list(csv.DictReader(io.StringIO(b"".join(pieces).decode())))


def problems(world: World, row: Import) -> dict[int, str]:
    """Return why lines were rejected, by their numbers."""
    rejected = [line for line in result(world, row) if line["outcome"] == "rejected"]
    return {int(line["line"]): line["problem"] for line in rejected}


def objects(*said: object) -> bytes:
    """Return a file of JSON, a line each; text goes as it is."""
    lines = [each if isinstance(each, str) else json.dumps(each) for each in said]
    return "\n".join(lines).encode()


def work(url: str, folder: str, key: str) -> None:
    """Be a worker that only imports, and at once takes over what another one left."""
    opened = Registry(
        settings=Settings(Path(folder)),
        policy=policy.load(),
        database=Database(url, NumberKey(bytes.fromhex(key))),
        signer=None,
        demo=False,
        clock=utc_now,
    )
    means = Means(**{**vars(import_means(opened)), "lease": timedelta()})
    while imports.run_next(means):
        pass


if __name__ == "__main__":
    work(*sys.argv[1:])


ENDED = (ImportState.DONE, ImportState.FAILED, ImportState.CANCELLED)
