"""Sending through an HTTP gateway: one POST a message, under the same key however often.

The contract: `POST {"id", "to", "from", "text"}` with `Idempotency-Key`, which is the message's
id. A gateway makes one SMS of all requests with one key, so a request whose answer got lost is
simply repeated.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from registry.database import utc_now
from registry.messenger.backends import (
    Accepted,
    Message,
    Outcome,
    Refused,
    Unavailable,
    reference,
)

TIMEOUT = urllib3.Timeout(connect=4, read=10)
LARGEST_ANSWER = 64 * 1024
LATER = frozenset({401, 403, 404, 405, 407, 408, 409, 421, 425, 429})
"""Answers that say nothing against the message: the gateway is busy, with the same key even
(409), or the settings are wrong, for which no message may be lost."""


class HttpGateway:
    """Hands messages to an HTTP gateway, over connections that are kept."""

    name = "http"

    def __init__(
        self,
        url: str,
        secret: str | None,
        *,
        connections: int = 8,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._url = url
        self._clock = clock
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if secret:
            self._headers["Authorization"] = f"Bearer {secret}"
        self._pool = urllib3.PoolManager(
            maxsize=connections, retries=False, timeout=TIMEOUT, cert_reqs="CERT_REQUIRED"
        )

    def send(self, message: Message) -> Outcome:
        """Post one message. No answer, like a bad one, means to post it again later."""
        body = {
            "id": str(message.id),
            "to": message.number.e164,
            "from": message.sender,
            "text": message.text,
        }
        try:
            answer = self._pool.request(
                "POST",
                self._url,
                body=json.dumps(body, ensure_ascii=False).encode(),
                headers={**self._headers, "Idempotency-Key": str(message.id)},
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            # The text of an exception may quote the request; its type never does.
            return Unavailable(type(error).__name__)
        return self._outcome(answer, _read(answer), message)

    def _outcome(self, answer: BaseHTTPResponse, body: bytes, message: Message) -> Outcome:
        status = answer.status
        if 200 <= status < 300:
            return Accepted(reference(_id(body), message.number))
        reason = f"http_{status}"
        if 400 <= status < 500 and status not in LATER:
            return Refused(reason)
        return Unavailable(reason, _seconds(answer.headers.get("Retry-After"), self._clock()))

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pool.clear()


def _read(answer: BaseHTTPResponse) -> bytes:
    """Return an answer's body, cut where nobody writes more; what counts is the status."""
    try:
        body = answer.read(LARGEST_ANSWER)
    except (HTTPError, OSError):
        body = b""
    answer.close()  # One that was read to its end has given its connection back already.
    return body


def _id(body: bytes) -> object:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return said.get("id") if isinstance(said, dict) else None


def _seconds(retry_after: str | None, now: datetime) -> float:
    """Return the seconds of a Retry-After, which is a number or a date."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:6])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
