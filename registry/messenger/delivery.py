"""Delivering: the next message of the outbox is claimed, worded, handed over, and recorded."""

import logging
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry.config import Settings, load_sms_secret
from registry.database import Clock, Database
from registry.errors import Kind, RegistryError
from registry.messenger import digests, outbox, replies, texts
from registry.messenger.backends import Accepted, Backend, Message, Outcome, Pretending
from registry.messenger.gateway import HttpGateway
from registry.messenger.outbox import Claim, Gather
from registry.messenger.smpp import Smpp
from registry.messenger.texts import House
from registry.messenger.wording import CHINESE
from registry.models import Notice, OutboxItem, OutboxState
from registry.numbers import SubscriberNumber
from registry.policy import ContactHours

log = logging.getLogger(__name__)

ASKING = (Notice.CONSENT_ASSERTED, Notice.CONSENTS_ASSERTED, Notice.CONSENT_REQUESTED)
"""Messages that are answered by SMS, so they get a reply code."""
PORTS = {"smpp": 2775, "smpps": 3550}


def open_backend(settings: Settings, *, demo: bool) -> Backend | None:
    """Return the way of sending that the settings choose; None when messages wait for one.

    A demo only pretends, whatever is set: its invented numbers may be somebody's.
    """
    if demo:
        return Pretending()
    if settings.sms_url is None:
        return None
    url = urlsplit(settings.sms_url)
    secret = load_sms_secret(settings)
    if url.scheme in ("http", "https"):
        return HttpGateway(settings.sms_url, secret)
    if not url.username or secret is None:
        raise RegistryError(Kind.UNAVAILABLE, "SMPP needs a user in the URL, and a secret")
    tls = ssl.create_default_context() if url.scheme == "smpps" else None
    port = url.port or PORTS[url.scheme]
    return Smpp(url.hostname or "", port, url.username, secret, tls=tls)


@dataclass
class Lane:
    """Delivers one message after the other. Several lanes may work side by side.

    An `urgent` one takes only what people wait for, so that it never waits behind a slow notice.
    What nobody waits for goes out within `hours`, at any time where there are none.
    From `digest_from` assertions on that wait for one number, one message tells of all of them.
    With `keep_codes` what a code's message said is kept: the demo shows it.
    """

    database: Database
    backend: Backend
    house: House
    clock: Clock
    urgent: bool = False
    hours: ContactHours | None = None
    digest_from: int | None = None
    keep_codes: bool = False
    jitter: Callable[[], float] = random.random
    _unrecorded: tuple[Claim, Outcome] | None = field(default=None, init=False)

    def step(self) -> Outcome | None:
        """Deliver the next message that is due and return its outcome; None when none is.

        An outcome that the database did not take is kept, and recorded before anything else is
        done.
        """
        self._record()
        while self._due():
            with self.database.write() as session:
                item = outbox.claim(
                    session,
                    self.clock(),
                    urgent=self.urgent,
                    backend=self.backend.name,
                    hours=self.hours,
                    gather=self._gather,
                )
                if item is None:
                    return None  # Another lane was faster.
                if item.state is OutboxState.WAITING:
                    continue  # It was put off.
                message = self._prepare(session, item)
            if message is not None and item.claimed_at is not None:
                outcome = self.backend.send(message)
                self._unrecorded = Claim(item.id, item.claimed_at), outcome
                self._record()
                return outcome
        return None

    @property
    def _gather(self) -> Gather | None:
        return partial(digests.gather, least=self.digest_from) if self.digest_from else None

    def _due(self) -> bool:
        with self.database.read() as connection:
            return outbox.due(connection, self.clock(), urgent=self.urgent)

    def _prepare(self, session: Session, item: OutboxItem) -> Message | None:
        """Return what a claimed message hands over; None when there is nothing to hand over."""
        try:
            text = self._word(session, item)
        except SQLAlchemyError:
            raise
        except Exception as error:
            # One that cannot be worded must not keep those behind it from being sent.
            outbox.fail(item)
            log.error("an SMS has no words: %s", type(error).__name__, extra=_extra(item))
            return None
        if text is None:
            outbox.drop(item)
            log.debug("an SMS was not called for any more", extra=_extra(item))
            return None
        if item.text is not None:
            text = item.text  # What is repeated under one key says the same.
        elif item.notice is not Notice.CODE or self.keep_codes:
            item.text = text
        return Message(item.id, item.number, text, self.house.number)

    def _word(self, session: Session, item: OutboxItem) -> str | None:
        """Word a message, and number the question that it asks."""
        if item.notice in ASKING and item.reply_code is None and self.house.number is not None:
            item.reply_code = replies.draw_reply_code(session, item.number, self.clock())
        return texts.word(session, item, self.house, self.clock())

    def _record(self) -> None:
        if self._unrecorded is None:
            return
        claim, outcome = self._unrecorded
        with self.database.write() as session:
            item = outbox.record(session, claim, outcome, self.clock(), jitter=self.jitter())
        self._unrecorded = None
        if item is not None and not isinstance(outcome, Accepted):
            log.warning("an SMS was not sent", extra=_extra(item, reason=outcome.reason))


def send_test(settings: Settings, number: SubscriberNumber) -> Outcome:
    """Send an SMS that says it is a test, at once, and return what became of it."""
    if not number.takes_sms:
        raise RegistryError(Kind.INVALID_NUMBER, "a landline takes no SMS")
    backend = open_backend(settings, demo=False)
    if backend is None:
        raise RegistryError(Kind.CONFLICT, "REGISTRY_SMS_URL is not set")
    text = CHINESE.signature + CHINESE.texts["test"]
    try:
        return backend.send(Message(uuid7(), number, text, settings.sms_number))
    finally:
        backend.close()


def _extra(item: OutboxItem, **more: object) -> dict[str, object]:
    """Return what a line in the log says of a message: neither its number nor its text."""
    fields = {
        "outbox_id": str(item.id),
        "notice": item.notice,
        "state": item.state,
        "attempts": item.attempts,
        **more,
    }
    return {"fields": fields}


def tidy(session: Session, clock: Clock) -> dict[OutboxState, int]:
    """Free what dead workers left behind, and give up what is too late."""
    now = clock()
    freed = outbox.rescue(session, now)
    done = {**freed, OutboxState.EXPIRED: outbox.expire(session, now)}
    if done[OutboxState.UNCERTAIN]:
        log.error(
            "SMS may or may not have gone out",
            extra={"fields": {"many": done[OutboxState.UNCERTAIN]}},
        )
    return done
