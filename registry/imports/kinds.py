"""The kinds of imports: what a line of each becomes, and who may send it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from registry.access import Scope
from registry.consent import Channel, Topic
from registry.imports.forms import RefusedError
from registry.ledger import CapTerms, Claim, EvidenceClaim
from registry.models import ImportKind, Via
from registry.numbers import SendingNumber, SubscriberNumber, parse_sending, parse_subscriber
from registry.senders import Holding

Values = Mapping[str, Any]
"""What a schema read, by the names of its fields."""


@dataclass(frozen=True)
class Question:
    """A consent request to be put."""

    number: SubscriberNumber
    channel: Channel
    topics: tuple[Topic, ...]
    cap: CapTerms
    valid_for_days: int
    notice_text: str


@dataclass(frozen=True)
class Wish:
    """A refusal to be recorded; its sender is an id, or a social credit code."""

    number: SubscriberNumber
    channel: Channel | None
    topic: Topic | None
    sender: UUID | str | None
    via: Via


@dataclass(frozen=True)
class NewTenure:
    """A number that went to another subscriber."""

    number: SubscriberNumber
    reassigned_at: datetime


@dataclass(frozen=True)
class Resource:
    """A sending number that its sender says it holds."""

    number: SendingNumber
    holding: Holding
    note: str | None


@dataclass(frozen=True)
class ConsentTerms:
    """What the lines of many consents share."""

    channel: Channel
    topics: tuple[Topic, ...]
    cap: CapTerms
    evidence: EvidenceClaim
    lasts: timedelta | None


class Reading(ABC):
    """Makes what is to be applied of what was read.

    `prepare` is given what many lines share, `make` in addition what each line has of its own.
    """

    parse: Callable[[object, str], Any] = staticmethod(parse_subscriber)
    alternatives: Sequence[str] = ()
    """Fields of which a line needs one."""

    def prepare(self, shared: Values) -> Any:
        """Return what is made, once, of what lines share."""
        return shared

    @abstractmethod
    def make(self, number: Any, shared: Any, own: Sequence[Any]) -> Any:
        """Return what a line says; raises `RefusedError`."""


class _Consents(Reading):
    alternatives = ("valid_until", "valid_for_days")

    def prepare(self, shared: Values) -> ConsentTerms:
        days = shared.get("valid_for_days")
        return ConsentTerms(
            channel=shared["channel"],
            topics=tuple(shared["topics"]),
            cap=CapTerms(**shared["cap"]),
            evidence=EvidenceClaim(**shared["evidence"]),
            lasts=None if days is None else timedelta(days=days),
        )

    def make(self, number: Any, shared: ConsentTerms, own: Sequence[Any]) -> Claim:
        granted_at, valid_until, sha256, uri = own
        _check_channel(number, shared.channel)
        if valid_until is None:
            valid_until = _end(granted_at, shared.lasts)
        evidence = shared.evidence
        if sha256 is not None or uri is not None:
            evidence = EvidenceClaim(
                evidence.method,
                evidence.notice_text,
                evidence.notice_version,
                evidence.language,
                sha256,
                uri,
            )
        return Claim(
            number, shared.channel, shared.topics, granted_at, valid_until, shared.cap, evidence
        )


def _end(granted_at: datetime, lasts: timedelta | None) -> datetime:
    if lasts is None:
        raise RefusedError("valid_until: Missing, and valid_for_days as well.")
    try:
        return granted_at + lasts
    except OverflowError:
        raise RefusedError("valid_for_days: Too many.") from None


class _Requests(Reading):
    def prepare(self, shared: Values) -> Values:
        return {
            **shared, "topics": tuple(shared["topics"]), "cap": CapTerms(**shared["cap"])
        }  # fmt: skip

    def make(self, number: Any, shared: Values, own: Sequence[Any]) -> Question:
        _check_channel(number, shared["channel"])
        return Question(number, **shared)


class _Refusals(Reading):
    def make(self, number: Any, shared: Values, own: Sequence[Any]) -> Wish:
        return Wish(
            number,
            shared.get("channel"),
            shared.get("topic"),
            shared.get("sender"),
            shared["via"],
        )


class _Reassignments(Reading):
    def make(self, number: Any, shared: Values, own: Sequence[Any]) -> NewTenure:
        return NewTenure(number, own[0])


class _Numbers(Reading):
    parse = staticmethod(parse_sending)

    def make(self, number: Any, shared: Values, own: Sequence[Any]) -> Resource:
        holding = Holding(tuple(shared["channels"]), tuple(shared["usages"]), *own)
        return Resource(number, holding, shared.get("note"))


def _check_channel(number: SubscriberNumber, channel: Channel) -> None:
    if channel is Channel.SMS and not number.takes_sms:
        raise RefusedError("number: a landline takes no SMS")


READINGS: Mapping[ImportKind, Reading] = {
    ImportKind.CONSENTS: _Consents(),
    ImportKind.REQUESTS: _Requests(),
    ImportKind.REFUSALS: _Refusals(),
    ImportKind.REASSIGNMENTS: _Reassignments(),
    ImportKind.NUMBERS: _Numbers(),
}

SCOPES: Mapping[ImportKind, Scope] = {
    ImportKind.CONSENTS: Scope.CONSENT,
    ImportKind.REQUESTS: Scope.CONSENT,
    ImportKind.REFUSALS: Scope.WISHES,
    ImportKind.REASSIGNMENTS: Scope.TENURE,
    ImportKind.NUMBERS: Scope.NUMBERS,
}
"""The scope that sending each kind needs."""

COUNTED = frozenset({ImportKind.CONSENTS, ImportKind.REQUESTS})
"""Kinds whose applied lines count against the day's budget of distinct numbers."""
