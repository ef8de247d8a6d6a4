"""A small SMSC on loopback, written from the SMPP 3.4 specification and not from smpplib.

It keeps what it accepts, joins long messages as a phone does, and misbehaves as it is told.
"""

import socket
import ssl
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

BINDS = {0x1: "receiver", 0x2: "transmitter", 0x9: "transceiver"}
SUBMIT, DELIVER, UNBIND, ENQUIRE, NACK, RESPONSE = 0x4, 0x5, 0x6, 0x15, 0x80000000, 0x80000000
OK, BIND_FAILED, WRONG_PASSWORD, INVALID_COMMAND = 0x0, 0xD, 0xE, 0x3
THROTTLED, QUEUE_FULL, INVALID_DESTINATION = 0x58, 0x14, 0xB
GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_MORE = {0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]",
            0x40: "|", 0x65: "€"}  # fmt: skip


class Fault(Enum):
    """What happens to a submit instead of being accepted."""

    DROP = "the connection ends before the answer"
    TAKE_AND_DROP = "it is accepted, and the connection ends before the answer"
    SILENCE = "it is accepted, and there is no answer"
    UNBIND = "the SMSC unbinds instead of answering"
    NACK = "a generic_nack"
    GARBAGE = "what is no PDU"


@dataclass(frozen=True)
class Submitted:
    """A part that was accepted."""

    source: str
    destination: str
    esm_class: int
    coding: int
    body: bytes


@dataclass
class SmppPeer:
    """An SMSC; `plan` says of the next submits what happens: an error status, or a fault."""

    user: str = "registry"
    password: str = "secret"
    tls: ssl.SSLContext | None = None
    plan: deque[int | Fault] = field(default_factory=deque)
    hold: threading.Event | None = None
    """While it is not set, accepted submits are not answered."""

    def __post_init__(self) -> None:
        self.parts: list[Submitted] = []
        self.seen: list[str] = []
        self.changed = threading.Condition()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> "SmppPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        if self.hold is not None:
            self.hold.set()
        self.cut()
        for thread in self._threads[1:]:
            thread.join(5)

    def cut(self) -> None:
        """End all connections at once."""
        for connection in self._connections:
            with _quietly():
                connection.shutdown(socket.SHUT_RDWR)

    def wait_for(self, condition: Callable[["SmppPeer"], bool]) -> None:
        """Wait until something has been seen; fails when it does not come."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), 60), self.seen

    def ask(self, command: int, body: bytes = b"") -> None:
        """Send a PDU of its own on every open connection, with a sequence number of its own."""
        for connection in self._connections:
            with _quietly():
                connection.sendall(_pdu(command, OK, 0x777, body))

    def messages(self) -> list[tuple[str, str]]:
        """Return the destination and text of every message whose parts are all there."""
        whole: list[tuple[str, str]] = []
        open_: dict[tuple[str, int], dict[int, Submitted]] = defaultdict(dict)
        for part in self.parts:
            if not part.esm_class & 0x40:
                whole.append((part.destination, decode(part.coding, part.body)))
                continue
            assert part.body[:3] == b"\x05\x00\x03"
            reference, count, place = part.body[3:6]
            parts = open_[part.destination, reference]
            parts[place] = part
            if len(parts) == count:
                bodies = [decode(each.coding, each.body[6:]) for _, each in sorted(parts.items())]
                whole.append((part.destination, "".join(bodies)))
                del open_[part.destination, reference]
        return whole

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with _quietly(), connection:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._connections.append(connection)
            with connection:
                while self._turn(connection):
                    pass

    def _turn(self, connection: socket.socket) -> bool:
        """Read a PDU and answer it; False when the connection is over."""
        length, command, status, sequence = _header(_exactly(connection, 16))
        body = _exactly(connection, length - 16)

        def answer(status: int, body: bytes = b"", kind: int = command | RESPONSE) -> None:
            connection.sendall(_pdu(kind, status, sequence, body))

        if command in BINDS:
            user, password = body.split(b"\0")[:2]
            known = (user.decode(), password.decode()) == (self.user, self.password)
            self._see(f"bind_{BINDS[command]}" if known else "wrong password")
            answer(OK if known else WRONG_PASSWORD, b"peer\0" if known else b"")
        elif command == SUBMIT:
            return self._submitted(connection, _read_submit(body), answer)
        elif command in (ENQUIRE, UNBIND):
            self._see("enquire_link" if command == ENQUIRE else "unbind")
            answer(OK)
            return command == ENQUIRE
        elif command & RESPONSE:
            self._see(f"response {command & 0xFFFF:#x} {status:#x}")
            return command != UNBIND | RESPONSE
        else:
            answer(INVALID_COMMAND, kind=NACK)
        return True

    def _submitted(
        self, connection: socket.socket, part: Submitted, answer: Callable[..., None]
    ) -> bool:
        planned = self.plan.popleft() if self.plan else OK
        if isinstance(planned, int) and planned != OK:
            self._see(f"refused {planned:#x}")
            answer(planned)
            return True
        if planned in (OK, Fault.TAKE_AND_DROP, Fault.SILENCE):
            self.parts.append(part)
        self._see("submit")
        if self.hold is not None:
            self.hold.wait(30)
        match planned:
            case Fault.SILENCE:
                pass
            case Fault.NACK:
                answer(INVALID_COMMAND, kind=NACK)
            case Fault.GARBAGE:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            case Fault.UNBIND:
                connection.sendall(_pdu(UNBIND, OK, 0x778, b""))
            case Fault.DROP | Fault.TAKE_AND_DROP:
                return False
            case _:
                answer(OK, f"m{len(self.parts)}\0".encode())
        return True

    def _see(self, what: str) -> None:
        with self.changed:
            self.seen.append(what)
            self.changed.notify_all()


class _quietly:  # noqa: N801 - reads as the word it is
    """Passes over what fails because the other side is gone, which tests make happen."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, OSError | EOFError)


def _pdu(command: int, status: int, sequence: int, body: bytes) -> bytes:
    return struct.pack(">LLLL", 16 + len(body), command, status, sequence) + body


def _header(data: bytes) -> tuple[int, int, int, int]:
    length, command, status, sequence = struct.unpack(">LLLL", data)
    return length, command, status, sequence


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _read_submit(body: bytes) -> Submitted:
    _service, rest = body.split(b"\0", 1)
    source, rest = rest[2:].split(b"\0", 1)
    destination, rest = rest[2:].split(b"\0", 1)
    esm_class, rest = rest[0], rest[3:]
    _schedule, _validity, rest = rest.split(b"\0", 2)
    _receipt, _replace, coding, _default, length = rest[:5]
    message, optional = rest[5 : 5 + length], rest[5 + length :]
    assert len(message) == length
    while optional:  # Tags, lengths and values, which are passed over.
        _tag, size = struct.unpack(">HH", optional[:4])
        assert len(optional) >= 4 + size
        optional = optional[4 + size :]
    return Submitted(source.decode(), destination.decode(), esm_class, coding, message)


def decode(coding: int, body: bytes) -> str:
    """Read a part's text."""
    if coding == 8:
        return body.decode("utf-16-be")
    assert coding == 0
    text, octets = "", iter(body)
    for octet in octets:
        text += GSM_MORE[next(octets)] if octet == 0x1B else GSM[octet]
    return text
