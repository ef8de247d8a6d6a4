"""Sending over SMPP 3.4, on one connection for all messages that are under way.

Of smpplib only the PDUs are used. Its client waits for one answer at a time, calls back twice
for an error, and writes whole messages to its log.

The connection is a transmitter's: what subscribers send reaches the registry over its API, and
an SMSC must not hand it to a connection where nobody would read it.
"""

import contextlib
import logging
import secrets
import socket
import ssl
import threading
import time

from smpplib import consts

from registry.errors import Kind, RegistryError
from registry.messenger import sms
from registry.messenger.backends import (
    Accepted,
    Message,
    Outcome,
    Refused,
    Unavailable,
    Unknown,
    reference,
)
from registry.messenger.smpp_link import Link, NoAnswerError, NotSentError

log = logging.getLogger(__name__)

CONNECT, ANSWER = 5.0, 10.0
"""Seconds to wait for a connection, and for the answer to a PDU."""
WHOLE = 60.0
"""Seconds that all parts of one message may take."""
PART_AGAIN = 1.0
"""Seconds before a part that was put off is handed over again; twice as long each time."""
LONGEST_USER, LONGEST_PASSWORD = 15, 8
LATER = frozenset(
    {
        consts.SMPP_ESME_RTHROTTLED,
        consts.SMPP_ESME_RMSGQFUL,
        consts.SMPP_ESME_RSYSERR,
        consts.SMPP_ESME_RX_T_APPN,
        consts.SMPP_ESME_RINVBNDSTS,
        consts.SMPP_ESME_RINVSRCADR,
    }
)
"""Errors that say nothing against the message: the SMSC is busy, or the settings are wrong."""


class _UnboundError(Exception):
    """There is no connection. Its text is a code."""


class Smpp:
    """Hands messages to an SMSC. A message of several parts is theirs, one after the other."""

    name = "smpp"

    def __init__(
        self,
        host: str,
        port: int,
        user: str,
        password: str,
        *,
        tls: ssl.SSLContext | None = None,
        answer: float = ANSWER,
        part_again: float = PART_AGAIN,
    ) -> None:
        if len(user) > LONGEST_USER or len(password) > LONGEST_PASSWORD:
            raise RegistryError(
                Kind.UNAVAILABLE,
                f"SMPP knows users of up to {LONGEST_USER} characters"
                f" and passwords of up to {LONGEST_PASSWORD}",
            )
        self._address = host, port
        self._identity = {"system_id": user, "password": password}
        self._tls = tls
        self._answer = answer
        self._part_again = part_again
        self._connecting = threading.Lock()
        self._link: Link | None = None

    def send(self, message: Message) -> Outcome:
        """Hand all parts of a message over.

        Once the first is accepted the rest follow or the message is incomplete, which to its
        reader is as bad as lost; then nothing may be repeated by itself.
        """
        encoded = sms.encode(message.text)
        if len(encoded.parts) > sms.MOST_PARTS:
            return Refused("too_long")
        parts = sms.with_header(encoded.parts, secrets.randbelow(256))
        common = _addresses(message) | {
            "data_coding": encoded.coding,
            "esm_class": consts.SMPP_GSMFEAT_UDHI if len(parts) > 1 else 0,
        }
        until = time.monotonic() + WHOLE
        first = outcome = self._submit(message, {**common, "short_message": parts[0]})
        for part in parts[1:]:
            if not isinstance(outcome, Accepted):
                break
            outcome = self._submit_rest(message, {**common, "short_message": part}, until)
        if outcome is first or isinstance(outcome, Unknown):
            return outcome
        return first if isinstance(outcome, Accepted) else Unknown("incomplete")

    def _submit_rest(self, message: Message, fields: dict[str, object], until: float) -> Outcome:
        """Hand a later part over, again and again where it is put off."""
        pause = self._part_again
        outcome = self._submit(message, fields)
        while isinstance(outcome, Unavailable) and time.monotonic() + pause < until:
            time.sleep(pause)
            pause *= 2
            outcome = self._submit(message, fields)
        return outcome

    def _submit(self, message: Message, fields: dict[str, object]) -> Outcome:
        try:
            link = self._connected()
            answer = link.ask("submit_sm", self._answer, **fields)
        except _UnboundError as error:
            return Unavailable(str(error))
        except NotSentError:
            return Unavailable("connection_lost")
        except NoAnswerError:
            return Unknown("no_answer")
        if answer.status == consts.SMPP_ESME_ROK:
            name = answer.body.partition(b"\0")[0].decode("ascii", "replace")
            return Accepted(reference(name, message.number))
        reason = f"smpp_{answer.status:#04x}"
        if answer.status == consts.SMPP_ESME_RINVBNDSTS:
            link.close()  # It lost its state; the next message binds anew.
        return Unavailable(reason) if answer.status in LATER else Refused(reason)

    def _connected(self) -> Link:
        """Return the connection, a new one where there is none."""
        with self._connecting:
            if self._link is None or self._link.ended:
                self._link = self._connect()
            return self._link

    def _connect(self) -> Link:
        try:
            connection = socket.create_connection(self._address, CONNECT)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=self._address[0])
        except OSError as error:
            raise _UnboundError(type(error).__name__) from None
        link = Link(connection)
        try:
            answer = link.ask("bind_transmitter", self._answer, **self._identity)
            status = answer.status
        except (NotSentError, NoAnswerError):
            link.close()
            raise _UnboundError("no_bind") from None
        if status != consts.SMPP_ESME_ROK:
            link.close()
            raise _UnboundError(f"bind_{status:#04x}")
        log.info("bound to the SMSC")
        return link

    def close(self) -> None:
        """Unbind, so that the SMSC knows that nothing more will come."""
        if not self._connecting.acquire(timeout=1.0):
            return  # Somebody is connecting, so nothing is bound.
        try:
            if self._link is not None and not self._link.ended:
                with contextlib.suppress(NotSentError, NoAnswerError):
                    self._link.ask("unbind", 1.0)
                self._link.close()
        finally:
            self._connecting.release()


def _addresses(message: Message) -> dict[str, object]:
    sender = message.sender or ""
    international = sender.startswith("+")
    return {
        "source_addr": sender.removeprefix("+"),
        "source_addr_ton": consts.SMPP_TON_INTL if international else consts.SMPP_TON_UNK,
        "source_addr_npi": consts.SMPP_NPI_ISDN if international else consts.SMPP_NPI_UNK,
        "destination_addr": message.number.e164.removeprefix("+"),
        "dest_addr_ton": consts.SMPP_TON_INTL,
        "dest_addr_npi": consts.SMPP_NPI_ISDN,
    }
