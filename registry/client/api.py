"""The client: what a sender, a provider or a carrier asks of the registry, and tells it."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx

from registry import receipts
from registry.client import answers
from registry.client.answers import (
    Asserted,
    ConsentRequestState,
    EvidenceFile,
    ImportProgress,
    Verdict,
    Verdicts,
)
from registry.client.calls import Calls, pause
from registry.consent import Channel, MessageClass, Topic
from registry.errors import Kind, RegistryError
from registry.events import timestamp
from registry.models import ImportFormat, ImportKind

BATCH = 10_000
"""Numbers in one question."""
PIECE = 4 * 1024 * 1024
"""Bytes of a file in one request."""


class Client:
    """A registry, as one organisation uses it. Close it, or use it in a `with` statement.

    `timeout` is in seconds and for one attempt of a call. All methods raise `RegistryError`.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = pause,
    ) -> None:
        self._calls = Calls(url, key, timeout=timeout, transport=transport, pause=pause)
        self._pause = pause
        self._jwks: Mapping[str, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._calls.close()

    def lookup(
        self,
        to: str,
        *,
        sending: str,
        channel: Channel,
        topic: Topic | None = None,
        message_class: MessageClass = MessageClass.COMMERCIAL,
        at: datetime | None = None,
    ) -> Verdict:
        """Ask whether a number may be contacted, now or at a time up to 7 days ahead."""
        question = _question(sending, channel, topic, message_class, at)
        body = self._calls.ask("/v1/lookups", {**question, "to": to})
        said = self.verify(body["receipt"])
        verdict = {name: body[name] for name in _VERDICT}
        if said.get("verdict") != verdict or not _agrees(said, question):
            raise _unproven()
        return answers.verdict(verdict)

    def lookup_many(
        self,
        to: Sequence[str],
        *,
        sending: str,
        channel: Channel,
        topic: Topic | None = None,
        message_class: MessageClass = MessageClass.COMMERCIAL,
        at: datetime | None = None,
    ) -> Verdicts:
        """Ask about up to 10,000 numbers at once; what is no number is answered in its place."""
        question = _question(sending, channel, topic, message_class, at)
        body = self._calls.ask("/v1/lookups/batch", {**question, "to": list(to)})
        said, listed = self.verify(body["receipt"]), body["verdicts"]
        if (
            not receipts.covers(said, listed)
            or not _agrees(said, question)
            or len(listed) != len(to)
        ):
            raise _unproven()
        return answers.verdicts(body, listed)

    def lookup_all(self, to: Iterator[str], **question: Any) -> Iterator[Verdict]:
        """Ask about any number of numbers, batch by batch; the question is that of a batch."""
        while numbers := list(islice(to, BATCH)):
            yield from self.lookup_many(numbers, **question).verdicts

    def verify(self, receipt: str) -> dict[str, Any]:
        """Return what a receipt says; raises unless this registry signed it.

        The published keys are fetched once, and again when a receipt names a new one.
        """
        if self._jwks is not None:
            try:
                return receipts.verify(receipt, self._jwks)
            except RegistryError:
                pass  # The registry may sign with a new key.
        self._jwks = self._calls.read("/.well-known/jwks.json")
        return receipts.verify(receipt, self._jwks)

    def assert_consent(
        self,
        number: str,
        *,
        channel: Channel,
        topics: Sequence[Topic],
        granted_at: datetime,
        valid_until: datetime,
        cap: tuple[int, str],
        evidence: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> list[Asserted]:
        """Record a consent that the sender holds evidence of, one a topic (R4, R8).

        `cap` is how often, such as `(2, "week")`. `evidence` is the API's object.
        """
        body = {
            "number": number,
            "channel": channel,
            "topics": list(topics),
            "granted_at": timestamp(granted_at),
            "valid_until": timestamp(valid_until),
            "cap": {"count": cap[0], "period": cap[1]},
            "evidence": dict(evidence),
        }
        found = self._calls.write("/v1/consents", body, idempotency_key)
        return list(map(answers.asserted, found["consents"]))

    def consents(self, number: str) -> Iterator[Asserted]:
        """Return the sender's own consents of a number, the newest first."""
        cursor = None
        while True:
            body = self._calls.ask("/v1/consents/search", {"number": number, "cursor": cursor})
            yield from map(answers.asserted, body["consents"])
            cursor = body["cursor"]
            if cursor is None:
                return

    def withdraw(
        self, consent_id: UUID, *, reason: str | None = None, by: str = "subscriber"
    ) -> Asserted:
        """End a consent at its subscriber's wish, or `by="sender"` at one's own (R3)."""
        body = {"reason": reason, "by": by}
        return answers.asserted(self._calls.write(f"/v1/consents/{consent_id}/withdraw", body))

    def request_consent(
        self,
        number: str,
        *,
        channel: Channel,
        topics: Sequence[Topic],
        cap: tuple[int, str],
        valid_for_days: int,
        notice_text: str,
        idempotency_key: str | None = None,
    ) -> ConsentRequestState:
        """Ask a subscriber for consent, once: no answer is refusal (R4, R5)."""
        body = {
            "number": number,
            "channel": channel,
            "topics": list(topics),
            "cap": {"count": cap[0], "period": cap[1]},
            "valid_for_days": valid_for_days,
            "notice_text": notice_text,
        }
        found = self._calls.write("/v1/consent-requests", body, idempotency_key)
        return answers.request_state(found)

    def request(self, request_id: UUID) -> ConsentRequestState:
        """Return what became of a request."""
        return answers.request_state(self._calls.read(f"/v1/consent-requests/{request_id}"))

    def keep_evidence(self, content: bytes, media_type: str, name: str) -> EvidenceFile:
        """Have a file of evidence kept; consents then name it by its digest (R7, R8)."""
        headers = {
            "Content-Type": media_type,
            "Content-Disposition": f"attachment; filename*=UTF-8''{_quoted(name)}",
        }
        found = self._calls.send("POST", "/v1/evidence", content, headers)
        return answers.evidence_file(found)

    def create_import(
        self,
        name: str,
        kind: ImportKind,
        file_format: ImportFormat,
        *,
        columns: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> ImportProgress:
        """Announce a file of many lines, to be sent by `resume_import`.

        `columns` names the file's columns by ours, `defaults` gives what no column has.
        """
        body = {
            "kind": kind,
            "format": file_format,
            "name": name,
            "columns": dict(columns) if columns else None,
            "defaults": dict(defaults or {}),
        }
        return answers.progress(self._calls.write("/v1/imports", body))

    def start_import(
        self,
        path: Path,
        kind: ImportKind,
        file_format: ImportFormat,
        *,
        sent: Callable[[int, int], None] = lambda _sent, _size: None,
        **reading: Any,
    ) -> ImportProgress:
        """Announce a file, as `create_import` does, and send it; `sent` hears of every piece."""
        made = self.create_import(path.name, kind, file_format, **reading)
        return self.resume_import(made.id, path, sent=sent)

    def resume_import(
        self,
        import_id: UUID,
        path: Path,
        *,
        sent: Callable[[int, int], None] = lambda _sent, _size: None,
    ) -> ImportProgress:
        """Send what the registry has not got yet of a file, and have its lines applied."""
        size, digest = path.stat().st_size, hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
            place = self.import_progress(import_id).size
            while place < size:
                file.seek(place)
                place = self._send_piece(import_id, place, file.read(PIECE))
                sent(place, size)
        start = {"sha256": digest.hexdigest()}
        return answers.progress(self._calls.write(f"/v1/imports/{import_id}/start", start))

    def _send_piece(self, import_id: UUID, place: int, piece: bytes) -> int:
        """Append a piece and return up to where the registry has the file now."""
        headers = {
            "Upload-Offset": str(place),
            "Content-Type": "application/offset+octet-stream",
        }
        try:
            self._calls.send("PATCH", f"/v1/imports/{import_id}", piece, headers)
        except RegistryError as error:
            # An answer that got lost looks like a piece in the wrong place when sent again.
            if error.kind is not Kind.CONFLICT or self.import_progress(import_id).size <= place:
                raise
        return self.import_progress(import_id).size

    def import_progress(self, import_id: UUID) -> ImportProgress:
        """Return how far an import is."""
        return answers.progress(self._calls.read(f"/v1/imports/{import_id}"))

    def wait_for_import(
        self,
        import_id: UUID,
        *,
        every: float = 1.0,
        seen: Callable[[ImportProgress], None] = lambda _progress: None,
    ) -> ImportProgress:
        """Look every so many seconds, until an import has ended; `seen` hears of each look."""
        while not (found := self.import_progress(import_id)).ended:
            seen(found)
            self._pause(every)
        seen(found)
        return found

    def import_result(self, import_id: UUID, path: Path) -> None:
        """Write the result file of an import, a line for each of its lines."""
        with (
            self._calls.download(f"/v1/imports/{import_id}/result") as pieces,
            path.open("wb") as file,
        ):
            for piece in pieces:
                file.write(piece)

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Call any other route of the API with JSON; a POST carries an Idempotency-Key."""
        if method == "POST":
            return self._calls.write(path, body)
        response = self._calls.call(method, path, **({} if body is None else {"json": body}))
        found: dict[str, Any] = response.json() if response.content else {}
        return found


_VERDICT = ("to", "allowed", "reason", "valid_until", "retry_at")


def _question(
    sending: str,
    channel: Channel,
    topic: Topic | None,
    message_class: MessageClass,
    at: datetime | None,
) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "from": sending,
        "channel": channel,
        "message_class": message_class,
        "topic": topic,
    }
    return asked if at is None else {**asked, "at": timestamp(at)}


def _agrees(said: Mapping[str, Any], question: Mapping[str, Any]) -> bool:
    """Tell whether a receipt is about the question; the sending number is spelt its own way."""
    return all(said.get(name) == question[name] for name in ("channel", "message_class", "topic"))


def _unproven() -> RegistryError:
    return RegistryError(Kind.INVALID, "the receipt does not prove this answer")


def _quoted(name: str) -> str:
    return "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02X}"
        for byte in name.encode()
    )
