"""Calls over HTTP: tried again where that may help, and failing in the registry's own words."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx

from registry.errors import Kind, RegistryError

ATTEMPTS = 5
LONGEST_PAUSE = 30.0
"""Seconds; what asks for a longer one is given up instead."""
PASSING = {Kind.RATE_LIMITED, Kind.IN_PROGRESS, Kind.UNAVAILABLE}
"""What may have gone by itself when one tries again."""


class Calls:
    """Speaks HTTP with one registry, as the organisation of one key."""

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout: float,
        transport: httpx.BaseTransport | None,
        pause: Callable[[float], None],
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout, transport=transport
        )
        self._pause = pause

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def read(self, path: str, **params: str) -> dict[str, Any]:
        """Get a JSON object."""
        return self._json("GET", path, params={k: v for k, v in params.items() if v})

    def ask(self, path: str, body: object) -> dict[str, Any]:
        """Post a question, which changes nothing and so may be asked again."""
        return self._json("POST", path, json=body)

    def write(self, path: str, body: object = None, key: str | None = None) -> dict[str, Any]:
        """Post a change under an Idempotency-Key, so that trying again changes nothing twice."""
        headers = {"Idempotency-Key": key or uuid4().hex}
        return self._json("POST", path, json=body, headers=headers)

    def send(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> Any:
        """Send bytes that may be sent again; return the JSON of the answer, if there is one."""
        response = self.call(method, path, content=content, headers=headers)
        return response.json() if response.content else None

    def _json(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        body = self.call(method, path, **what).json()
        if not isinstance(body, dict):
            raise _strange()
        return body

    def call(self, method: str, path: str, **what: Any) -> httpx.Response:
        """Send a request until it is answered; raises `RegistryError` for what was refused."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(method, path, **what)
            except RegistryError as error:
                wait = error.retry_after or 0.25 * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
                if error.kind not in PASSING or attempt == ATTEMPTS or wait > LONGEST_PAUSE:
                    raise
            self._pause(wait)
        raise AssertionError  # The last attempt returns or raises.

    def _once(self, method: str, path: str, **what: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **what)
        except httpx.TransportError as error:
            detail = f"the registry does not answer ({type(error).__name__})"
            raise RegistryError(Kind.UNAVAILABLE, detail) from None
        if not response.is_success:
            raise problem(response)
        return response

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """Lend the pieces of a file while they come in."""
        try:
            with self._http.stream("GET", path) as response:
                if not response.is_success:
                    response.read()
                    raise problem(response)
                yield response.iter_bytes()
        except httpx.TransportError as error:
            detail = f"the registry stopped answering ({type(error).__name__})"
            raise RegistryError(Kind.UNAVAILABLE, detail) from None


def problem(response: httpx.Response) -> RegistryError:
    """Return the error that a problem document describes."""
    try:
        body = response.json()
        kind = Kind(str(body["type"]).rpartition(":")[2])
        detail, fields = str(body["detail"]), body.get("errors")
    except (ValueError, KeyError, TypeError):
        # A proxy in between speaks its own language.
        passing = response.status_code in (429, 502, 503, 504)
        kind = Kind.UNAVAILABLE if passing else Kind.INTERNAL
        detail, fields = f"the answer was {response.status_code}", None
    return RegistryError(kind, detail, fields=fields, retry_after=_seconds(response))


def _seconds(response: httpx.Response) -> int | None:
    written = response.headers.get("Retry-After", "")
    return int(written) if written.isascii() and written.isdigit() else None


def _strange() -> RegistryError:
    return RegistryError(Kind.INTERNAL, "the answer is not what the registry documents")


pause = time.sleep
