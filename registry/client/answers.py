"""What the registry answers, as values. Times are aware and in UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from registry.consent import Basis, Channel, Reason, Topic
from registry.models import ImportKind, ImportState

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one number may be contacted, and why; `to` is E.164 where it is a number."""

    to: str
    allowed: bool
    reason: Reason
    valid_until: datetime | None
    retry_at: datetime | None


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on some numbers in the order asked, with the receipt that proves them."""

    id: UUID
    verdicts: tuple[Verdict, ...]
    decided_at: datetime
    position: int
    forecast: bool
    receipt: str


@dataclass(frozen=True)
class Asserted:
    """A consent of the asking sender; its terms are those of the API's consent object."""

    id: UUID
    number: str
    channel: Channel
    topic: Topic
    basis: Basis
    state: str
    granted_at: datetime
    valid_until: datetime


@dataclass(frozen=True)
class ConsentRequestState:
    """A request for consent: `waiting`, `agreed` or `refused`, which no answer is as well (R5)."""

    id: UUID
    number: str
    state: str
    answer_by: datetime
    consents: tuple[Asserted, ...]


@dataclass(frozen=True)
class EvidenceFile:
    """A file that is kept as evidence; consents name it by its digest."""

    sha256: str
    size: int
    media_type: str


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is; `counts` says how many lines had which outcome.

    `size` is in bytes as sent, `share` of it is done, from 0 to 1.
    """

    id: UUID
    kind: ImportKind
    state: ImportState
    size: int
    share: float
    lines: int
    counts: Mapping[str, int]
    problem: str | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in (ImportState.DONE, ImportState.FAILED, ImportState.CANCELLED)


def instant(text: str) -> datetime:
    """Read a time of the API."""
    return datetime.fromisoformat(text)


def optional_instant(text: str | None) -> datetime | None:
    """Read a time of the API that may be missing."""
    return None if text is None else instant(text)


def verdict(body: Json) -> Verdict:
    """Read a verdict."""
    return Verdict(
        to=body["to"],
        allowed=body["allowed"] is True,
        reason=Reason(body["reason"]),
        valid_until=optional_instant(body["valid_until"]),
        retry_at=optional_instant(body["retry_at"]),
    )


def verdicts(body: Json, listed: list[Json]) -> Verdicts:
    """Read the answer to a lookup, whose verdicts are listed."""
    return Verdicts(
        id=UUID(body["id"]),
        verdicts=tuple(map(verdict, listed)),
        decided_at=instant(body["decided_at"]),
        position=body["position"],
        forecast=body["forecast"],
        receipt=body["receipt"],
    )


def asserted(body: Json) -> Asserted:
    """Read a consent."""
    return Asserted(
        id=UUID(body["id"]),
        number=body["number"],
        channel=Channel(body["channel"]),
        topic=Topic(body["topic"]),
        basis=Basis(body["basis"]),
        state=body["state"],
        granted_at=instant(body["granted_at"]),
        valid_until=instant(body["valid_until"]),
    )


def request_state(body: Json) -> ConsentRequestState:
    """Read a consent request."""
    return ConsentRequestState(
        id=UUID(body["id"]),
        number=body["number"],
        state=body["state"],
        answer_by=instant(body["answer_by"]),
        consents=tuple(map(asserted, body["consents"])),
    )


def evidence_file(body: Json) -> EvidenceFile:
    """Read the facts of a file."""
    return EvidenceFile(body["sha256"], body["size"], body["media_type"])


def progress(body: Json) -> ImportProgress:
    """Read how far an import is."""
    return ImportProgress(
        id=UUID(body["id"]),
        kind=ImportKind(body["kind"]),
        state=ImportState(body["state"]),
        size=body["size"],
        share=body["share"],
        lines=body["lines"],
        counts=dict(body["counts"]),
        problem=body["problem"],
    )
