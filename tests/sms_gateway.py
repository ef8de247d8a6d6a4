"""A small HTTP SMS gateway on loopback, which makes one SMS of all requests with one key.

It misbehaves as it is told, and keeps every request it was sent.
"""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Fault(Enum):
    """What happens to a request instead of being answered."""

    DROP = "the connection ends and nothing was made"
    TAKE_AND_DROP = "the SMS is made, and the connection ends before the answer"


@dataclass(frozen=True)
class Answer:
    """What is answered to a request instead of making an SMS."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class HttpGatewayPeer:
    """A gateway; `plan` says of the next requests what happens to them."""

    plan: deque[Answer | Fault] = field(default_factory=deque)
    hold: threading.Event | None = None
    """While it is not set, nothing is answered."""

    def __post_init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.made: dict[str, dict[str, Any]] = {}
        self.connections = 0
        self.changed = threading.Condition()
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                peer.connections += 1
                super().setup()

            def do_POST(self) -> None:
                peer._handle(self)

            def log_request(self, *_: object) -> None:
                """The tests look at what was kept."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/sms"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self._thread.start()

    def __enter__(self) -> "HttpGatewayPeer":
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def wait_for(self, condition: Callable[["HttpGatewayPeer"], bool]) -> None:
        """Wait until something has been seen; fails when it does not come."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), 60)

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Whom each SMS that was made went to, and what it said."""
        return [(body["to"], body["text"]) for body in self.made.values()]

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        key = request.headers["Idempotency-Key"]
        planned = self.plan.popleft() if self.plan else None
        with self.changed:
            self.requests.append({"key": key, "headers": dict(request.headers), "body": body})
            if planned is None or planned is Fault.TAKE_AND_DROP:
                assert self.made.get(key, body) == body, "one key, two messages"
                self.made[key] = body
            self.changed.notify_all()
        if self.hold is not None:
            self.hold.wait(30)
        if isinstance(planned, Fault):
            request.close_connection = True
            return
        answer = planned or Answer(202, {}, json.dumps({"id": f"gw-{key[-4:]}"}).encode())
        try:
            request.send_response(answer.status)
            for name, value in answer.headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(answer.body)))
            request.end_headers()
            request.wfile.write(answer.body)
        except OSError:
            request.close_connection = True  # Whoever asked was killed by the test.
