"""Messages that wait to be sent, and ways of sending them that do what a test says."""

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from uuid_utils.compat import uuid7

from registry import messenger
from registry.messenger.backends import Accepted, Backend, Message, Outcome
from registry.messenger.delivery import Lane
from registry.messenger.texts import House
from registry.models import CodePurpose, Notice, OneTimeCode, OutboxItem
from registry.numbers import SubscriberNumber
from registry.runtime import Registry
from tests.factories import World, make_number

CODE = "704518"
HOUSE = House("https://portal.example", "106900009")


@dataclass
class Scripted:
    """A backend that answers by a script, and accepts once that is done; it keeps what it got."""

    name: str = "http"
    plan: deque[Outcome] = field(default_factory=deque)
    sent: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> Outcome:
        self.sent.append(message)
        return self.plan.popleft() if self.plan else Accepted(f"r{len(self.sent)}")

    def close(self) -> None:
        """There is nothing to end."""


def make_lane(registry: Registry, backend: Backend, **options: Any) -> Lane:
    chosen = {"house": HOUSE, "jitter": lambda: 0.0, **options}
    return Lane(registry.database, backend, clock=registry.clock, **chosen)


def queue_code(
    world: World,
    number: SubscriberNumber | None = None,
    *,
    secret: str = CODE,
    purpose: CodePurpose = CodePurpose.SIGN_IN,
    language: str = "zh",
    **details: str,
) -> UUID:
    """Queue the SMS of a one-time code and return the id of its outbox row."""
    now = world.registry.clock()
    row = OneTimeCode(
        id=uuid7(),
        purpose=purpose,
        number=number or make_number(),
        digest=b"d",
        prefix=b"p",
        address=b"a",
        recorded_at=now,
        expires_at=now + timedelta(minutes=5),
    )

    def queue(session: Any) -> UUID:
        session.add(row)
        return messenger.queue(
            session,
            Notice.CODE,
            row.number,
            row.id,
            now=now,
            language=language,
            details={"code": secret, **details},
            expires_at=row.expires_at,
        ).id

    return world.do(queue)


def queue_notice(world: World, number: SubscriberNumber | None = None) -> UUID:
    """Let a sender assert a consent, and return the id of the outbox row that tells of it."""
    [consent] = world.grant(number)
    return world.do(
        lambda session: session.scalars(
            select(OutboxItem.id).where(OutboxItem.subject_id == consent.grant_id)
        ).one()
    )


def queue_reply(world: World, number: SubscriberNumber | None = None, **details: Any) -> UUID:
    """Queue an answer to an SMS of a subscriber's."""
    return world.do(
        lambda session: (
            messenger.queue(
                session,
                Notice.REPLY,
                number or make_number(),
                uuid7(),
                now=world.registry.clock(),
                details={"key": "help", **details},
            ).id
        )
    )


def row(registry: Registry, item_id: UUID) -> OutboxItem:
    """Return a message as it is stored now."""
    with registry.database.write() as session:
        return session.get_one(OutboxItem, item_id)
