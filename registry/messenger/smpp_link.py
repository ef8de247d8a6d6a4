"""One SMPP connection: a thread reads and writes, and whoever asked waits for the answer."""

import contextlib
import logging
import socket
import ssl
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from select import select
from typing import Any

from smpplib import command_codes, consts, smpp

log = logging.getLogger(__name__)

KEEPALIVE = 30.0
"""Seconds of silence after which the connection is tried; after twice these it is dead."""
PATIENCE = 10.0
"""Seconds to wait until the other side takes what is written to it."""
LARGEST = 64 * 1024
"""Bytes of a PDU; whoever announces more does not speak SMPP."""
HEADER = struct.Struct(">LLLL")
RESPONSE = 0x80000000


class NotSentError(Exception):
    """Nothing was handed over, or not the whole of it: it may be asked again."""


class NoAnswerError(Exception):
    """It was handed over, and nobody knows what became of it."""


class _EndedError(Exception):
    """The other side ended the connection, or what it sends makes no sense."""


@dataclass(frozen=True)
class Answer:
    """The answer to a PDU: its status, and what follows the header."""

    status: int
    body: bytes


@dataclass(eq=False)
class _Request:
    pdu: Any
    done: threading.Event = field(default_factory=threading.Event)
    written: bool = False
    given_up: bool = False
    answer: Answer | None = None


class Link:
    """A connection that was opened by the caller. Its thread alone touches the socket."""

    def __init__(self, connection: socket.socket, *, keepalive: float = KEEPALIVE) -> None:
        self.ended = False
        self.sequence = 0
        self._socket = connection
        self._keepalive = keepalive
        self._lock = threading.Lock()
        self._queue: deque[_Request] = deque()
        self._pending: dict[int, _Request] = {}
        self._buffer = bytearray()
        self._heard = self._tried = time.monotonic()
        self._woken, self._waker = socket.socketpair()
        self._closing = False
        for each in (connection, self._woken, self._waker):
            each.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="smpp", daemon=True)
        self._thread.start()

    def next_sequence(self) -> int:
        """Count on; smpplib calls this when it makes a PDU, which is done under the lock."""
        self.sequence = self.sequence % 0x7FFFFFFF + 1
        return self.sequence

    def ask(self, command: str, seconds: float, **fields: object) -> Answer:
        """Hand a PDU over and return the answer; raises `NotSentError` or `NoAnswerError`."""
        with self._lock:
            if self.ended or self._closing:
                raise NotSentError
            request = _Request(smpp.make_pdu(command, client=self, **fields))
            self._queue.append(request)
        self._wake()
        request.done.wait(seconds)
        with self._lock:
            request.given_up = True
            self._pending.pop(request.pdu.sequence, None)
            if request.answer is not None:
                return request.answer
            raise NoAnswerError if request.written else NotSentError

    def close(self) -> None:
        """End the connection and wait until its thread has."""
        self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        # It fails when the connection has just ended, or the thread was woken often enough.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except Exception as error:
            # Whatever it is, this connection is over; its text may quote what was sent.
            log.warning("the SMPP connection ended: %s", type(error).__name__)
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.ended = True
            waiting = [*self._queue, *self._pending.values()]
            self._queue.clear()
            self._pending.clear()
        for each in (self._socket, self._woken, self._waker):
            each.close()
        for request in waiting:
            request.done.set()

    def _turn(self) -> None:
        readable, _, _ = select([self._socket, self._woken], [], [], self._keepalive)
        if self._woken in readable:
            self._woken.recv(4096)
        self._write_queue()
        if self._socket in readable:
            self._receive()
        self._keep_alive()

    def _write_queue(self) -> None:
        with self._lock:
            while self._queue:
                request = self._queue.popleft()
                if request.given_up:
                    continue
                self._pending[request.pdu.sequence] = request
                self._write(request.pdu)
                # Not before: a PDU whose last byte was not taken is none to the other side.
                request.written = True

    def _write(self, pdu: Any) -> None:
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.sendall(pdu.generate())
        finally:
            self._socket.setblocking(False)

    def _receive(self) -> None:
        """Read all there is, so that nothing is left where `select` does not see it (TLS)."""
        while True:
            try:
                data = self._socket.recv(LARGEST)
            except (BlockingIOError, ssl.SSLWantReadError):
                return
            if not data:
                raise _EndedError
            self._heard = time.monotonic()
            self._buffer += data
            self._read_pdus()

    def _read_pdus(self) -> None:
        while len(self._buffer) >= HEADER.size:
            length, command, status, sequence = HEADER.unpack_from(self._buffer)
            if not HEADER.size <= length <= LARGEST:
                raise _EndedError
            if len(self._buffer) < length:
                return
            body = bytes(self._buffer[HEADER.size : length])
            del self._buffer[:length]
            if command & RESPONSE:
                self._answered(sequence, Answer(status, body))
            else:
                self._asked(command, sequence)

    def _answered(self, sequence: int, answer: Answer) -> None:
        with self._lock:
            request = self._pending.pop(sequence, None)
            if request is not None:
                request.answer = answer
                request.done.set()

    def _asked(self, command: int, sequence: int) -> None:
        """Answer the other side's PDU. What it would deliver here nobody would read."""
        name = next(
            (name for name, code in command_codes.commands.items() if code == command), None
        )
        match name:
            case "enquire_link" | "unbind":
                self._respond(f"{name}_resp", sequence, consts.SMPP_ESME_ROK)
            case "deliver_sm" | "data_sm":
                self._respond(f"{name}_resp", sequence, consts.SMPP_ESME_RINVBNDSTS)
            case "alert_notification":
                pass
            case _:
                self._respond("generic_nack", sequence, consts.SMPP_ESME_RINVCMDID)
        if name == "unbind":
            raise _EndedError

    def _respond(self, command: str, sequence: int, status: int) -> None:
        with self._lock:
            pdu = smpp.make_pdu(command, client=self, status=status)
        pdu.sequence = sequence
        self._write(pdu)

    def _keep_alive(self) -> None:
        now = time.monotonic()
        if now - self._heard >= 2 * self._keepalive:
            raise TimeoutError
        if now - max(self._heard, self._tried) >= self._keepalive:
            self._tried = now
            with self._lock:
                pdu = smpp.make_pdu("enquire_link", client=self)
            self._write(pdu)
