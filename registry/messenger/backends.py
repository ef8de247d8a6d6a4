"""What every way of sending SMS has in common: the message, what became of it, the interface."""

from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from registry.numbers import SubscriberNumber


@dataclass(frozen=True)
class Message:
    """An SMS to be handed over; `id` is the outbox's, the same however often it is tried."""

    id: UUID
    number: SubscriberNumber
    text: str = field(repr=False)
    sender: str | None = None
    """The number it comes from; None leaves it to the gateway."""


@dataclass(frozen=True)
class Accepted:
    """The gateway has it, under this name of its own."""

    reference: str | None = None


@dataclass(frozen=True)
class Refused:
    """The gateway will never take this message."""

    reason: str


@dataclass(frozen=True)
class Unavailable:
    """Not now: try later, not before `retry_after` seconds. It did not go out, or may be repeated
    without going out twice."""

    reason: str
    retry_after: float = 0


@dataclass(frozen=True)
class Unknown:
    """Nobody knows whether it went out, and to repeat it might send it twice."""

    reason: str


Outcome = Accepted | Refused | Unavailable | Unknown
"""What became of a message. Reasons are codes; no number and no text is in them."""


class Backend(Protocol):
    """A way of sending SMS. It is used by several threads at once, and it never raises."""

    @property
    def name(self) -> str:
        """What kind it is; the outbox remembers it of every message that is under way."""

    def send(self, message: Message) -> Outcome:
        """Hand one message over and say what became of it."""

    def close(self) -> None:
        """End all connections."""


class Pretending:
    """The demo's: it takes every message, which people then read at `/demo/outbox`."""

    name = "demo"

    def send(self, message: Message) -> Outcome:
        """Take the message."""
        return Accepted()

    def close(self) -> None:
        """There is nothing to end."""


def reference(text: object, number: SubscriberNumber) -> str | None:
    """Return a gateway's name of a message as it may be stored and shown.

    One that is made of the subscriber's number is left out: it would be the number in plain.
    """
    if not isinstance(text, str | int) or isinstance(text, bool):
        return None
    shown = "".join(filter(str.isprintable, str(text)))[:100]
    national = number.e164.removeprefix("+86").removeprefix("+")
    return None if not shown or national in shown else shown
