"""Load on the server: as much as it takes (wrk), at a fixed rate, and in batches."""

import http.client
import json
import multiprocessing
import random
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

from bench.world import NUMBERS
from tests.factories import SMS_PORT, consent_body

BATCH = 10_000
CONSENTED = 0.3
"""The share of the numbers asked about that have a consent."""
LOADERS = 2
CONNECTIONS_EACH = 16
"""Processes, and connections of each, that ask at a fixed rate."""

_SCRIPT = """
local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("id", threads)
end

function init()
   math.randomseed(%(seed)d + id)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.headers["Authorization"] = "Bearer %(key)s"
   count = 0
end

function request()
   local index
   if math.random() < %(consented)f then
      index = math.random(0, %(consents)d - 1)
   else
      index = math.random(%(consents)d, %(numbers)d - 1)
   end
   count = count + 1
   wrk.headers["Idempotency-Key"] = string.format("%(run)s-%%d-%%d", id, count)
   return wrk.format(nil, nil, nil, string.format([==[%(body)s]==], index))
end

function done(summary)
   local e = summary.errors
   io.write(string.format("\\nresult %%d %%d %%d\\n", summary.requests, summary.duration,
                          e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Target:
    """Where the load goes: a server, the sender's key, and how many numbers consented."""

    host: str
    port: int
    key: str
    consents: int


@dataclass(frozen=True)
class Run:
    """What came of some load. `latencies` are seconds, where they were taken."""

    answered: int
    seconds: float
    errors: int
    latencies: Sequence[float] = ()

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    def percentile(self, percent: int) -> float:
        """Return the milliseconds within which this many percent were answered."""
        return quantiles(self.latencies, n=100)[percent - 1] * 1000


def question(written: str | list[str]) -> dict[str, Any]:
    """Return the body of a lookup."""
    return {"from": SMS_PORT, "to": written, "channel": "sms", "topic": "retail"}


def claim(written: str) -> dict[str, Any]:
    """Return the body of a consent that was given this minute."""
    now = datetime.now(UTC)
    return consent_body(
        written, granted_at=now.isoformat(), valid_until=(now + timedelta(days=90)).isoformat()
    )


def hardest(
    target: Target, path: str, body: Callable[[str], object], *, connections: int, seconds: int
) -> Run:
    """Ask about one random number after another from some connections, as fast as answered."""
    script = _SCRIPT % {
        "seed": random.randrange(1 << 30),  # noqa: S311 - not a secret
        "key": target.key,
        "consented": CONSENTED,
        "consents": target.consents,
        "numbers": NUMBERS,
        "run": secrets.token_hex(8),
        "body": json.dumps(body("+86138%08d")),
    }
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [
                "wrk", "--threads", "2", "--connections", str(connections),
                "--duration", f"{seconds}s", "--script", file.name,
                f"http://{target.host}:{target.port}{path}",
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    [result] = [line for line in done.stdout.splitlines() if line.startswith("result ")]
    answered, microseconds, errors = map(int, result.split()[1:])
    return Run(answered, microseconds / 1e6, errors)


def paced(target: Target, path: str, rate: float, seconds: float) -> Run:
    """Ask about one number after another, each at its time, however long the others take.

    A latency counts from when the request was due, so that waiting for the loader's own
    connections counts too.
    """
    begins = time.monotonic() + 1
    with ProcessPoolExecutor(LOADERS, multiprocessing.get_context("fork")) as pool:
        runs = [
            pool.submit(_pace, target, path, rate, begins, seconds, loader)
            for loader in range(LOADERS)
        ]
        found = [run.result() for run in runs]
    return Run(
        answered=sum(run.answered for run in found),
        seconds=seconds,
        errors=sum(run.errors for run in found),
        latencies=[latency for run in found for latency in run.latencies],
    )


def _pace(
    target: Target, path: str, rate: float, begins: float, seconds: float, loader: int
) -> Run:
    """Ask from one process of the loaders; every connection takes its turn."""
    latencies: list[float] = []
    errors: list[int] = []

    def ask(turn: int) -> None:
        connection = _Connection(target)
        connection.connect()
        due = begins + turn / rate
        while due < begins + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            status = connection.post(path, _encoded(question(_number(target))))
            latencies.append(time.monotonic() - due)
            if status != 200:
                errors.append(status)
            due += LOADERS * CONNECTIONS_EACH / rate
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS_EACH) as pool:
        list(pool.map(ask, range(loader, LOADERS * CONNECTIONS_EACH, LOADERS)))
    return Run(len(latencies) - len(errors), seconds, len(errors), latencies)


def batches(target: Target, path: str, *, connections: int, each: int) -> Run:
    """Ask about batches, `each` on every connection; what is counted are their numbers."""

    def ask(bodies: list[bytes]) -> int:
        connection = _Connection(target)
        failed = sum(connection.post(path, body) != 200 for body in bodies)
        connection.close()
        return failed

    asked = [
        [_encoded(question([_number(target) for _ in range(BATCH)])) for _ in range(each)]
        for _ in range(connections)
    ]
    with ThreadPoolExecutor(connections) as pool:
        began = time.monotonic()
        errors = sum(pool.map(ask, asked))
        seconds = time.monotonic() - began
    return Run((connections * each - errors) * BATCH, seconds, errors)


class _Connection(http.client.HTTPConnection):
    """A connection that stays open, for posts with the sender's key."""

    def __init__(self, target: Target) -> None:
        super().__init__(target.host, target.port, timeout=10)
        self._headers = {
            "Authorization": f"Bearer {target.key}",
            "Content-Type": "application/json",
        }

    def post(self, path: str, body: bytes) -> int:
        """Post JSON, read the answer to its end, and return its status."""
        self.request("POST", path, body, self._headers)
        with self.getresponse() as response:
            response.read()
            return response.status


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def _number(target: Target) -> str:
    """Return a random number, in three cases of ten one that consented."""
    if random.random() < CONSENTED:  # noqa: S311 - not a secret
        index = random.randrange(target.consents)  # noqa: S311
    else:
        index = random.randrange(target.consents, NUMBERS)  # noqa: S311
    return f"+86138{index:08d}"
