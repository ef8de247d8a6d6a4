"""Policies: the values that a rule set brings, read from a data file and checked."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_type_hints
from zoneinfo import ZoneInfo

import phonenumbers
from marshmallow import Schema, ValidationError, fields, post_load, validate

from registry.errors import Kind, RegistryError

FOLDER = Path(__file__).parent / "policies"
DEFAULT = "cn-2020-draft"


class Assertions(StrEnum):
    """What an asserted consent is worth before the subscriber confirms it."""

    COUNT = "counts"
    NEED_CONFIRMATION = "needs_confirmation"


class Period(StrEnum):
    """The calendar period over which a cap counts, in the subscriber's zone."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"

    def start(self, at: datetime, zone: str) -> date:
        """Return the first day of the period that `at` lies in; weeks begin on Monday."""
        day = at.astimezone(_zone(zone)).date()
        if self is Period.WEEK:
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self is Period.MONTH else day

    def end(self, at: datetime, zone: str) -> datetime:
        """Return the instant at which the next period begins."""
        first = self.start(at, zone)
        if self is Period.MONTH:
            following = (first + timedelta(days=32)).replace(day=1)
        else:
            following = first + timedelta(days=7 if self is Period.WEEK else 1)
        return datetime.combine(following, time(), _zone(zone)).astimezone(UTC)


@dataclass(frozen=True)
class ContactHours:
    """The hours of the day in which a commercial contact may take place, `end` excluded."""

    start: time
    end: time

    def __post_init__(self) -> None:
        if self.start.tzinfo or self.end.tzinfo:
            raise ValueError("contact hours are local times, without an offset")
        if self.start >= self.end:
            raise ValueError("contact hours start before they end, on the same day")

    def allow(self, at: datetime, zones: tuple[str, ...]) -> bool:
        """Tell whether `at` lies within the hours in every zone."""
        return all(
            self.start <= at.astimezone(_zone(zone)).time() < self.end for zone in zones
        ) and bool(zones)

    def opens(self, at: datetime, zones: tuple[str, ...]) -> datetime | None:
        """Return the first instant from `at` on that is allowed, None when there is none."""
        return next(
            (edge for edge in [at, *_next(self.start, at, zones)] if self.allow(edge, zones)), None
        )

    def closes(self, at: datetime, zones: tuple[str, ...]) -> datetime:
        """Return the end of the allowed hours that `at` lies in."""
        return _next(self.end, at, zones)[0]

    def within(self, other: "ContactHours") -> "ContactHours | None":
        """Return the hours that both allow, None when there are none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return ContactHours(start, end) if start < end else None


def _next(clock: time, at: datetime, zones: tuple[str, ...]) -> list[datetime]:
    """Return the next instants after `at` at which the clock of one of the zones shows `clock`."""
    instants = []
    for zone in zones:
        today = at.astimezone(_zone(zone)).date()
        for days in range(3):
            local = datetime.combine(today + timedelta(days=days), clock, _zone(zone))
            instants.append(local.astimezone(UTC))
    return sorted(instant for instant in instants if instant > at)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@dataclass(frozen=True)
class Verdicts:
    """How long answers are valid, and how far ahead one may ask."""

    lookup_minutes: int
    scrub_hours: int
    forecast_days: int


@dataclass(frozen=True)
class Consents:
    """What an assertion is worth, and from when."""

    asserted: Assertions
    assertion_delay_minutes: int = field(metadata={"least": 0})


@dataclass(frozen=True)
class Requests:
    """How long a consent request waits for its answer, and when it may be repeated (0: never)."""

    answer_days: int
    ask_again_days: int = field(metadata={"least": 0})


@dataclass(frozen=True)
class Challenges:
    """Days a sender has to prove a disputed consent."""

    evidence_days: int


@dataclass(frozen=True)
class Retention:
    """How long records are kept: months, and days for idempotency keys and imported files."""

    evidence_after_end: int
    traffic: int
    idempotency_days: int
    import_days: int


@dataclass(frozen=True)
class Notices:
    """From how many assertions on, that wait to be told to one number, one SMS tells of all."""

    digest_from: int = field(metadata={"least": 2})


@dataclass(frozen=True)
class Suspensions:
    """Days from its announcement until a suspension takes effect, unless it names a date (R20)."""

    notice_days: int = field(metadata={"least": 0})


@dataclass(frozen=True)
class Files:
    """The largest files that are taken, in mebibytes: evidence and documents, and imports."""

    evidence_mebibytes: int
    import_mebibytes: int


@dataclass(frozen=True)
class Complaints:
    """Working days for each step of a complaint (R22)."""

    forward: int
    answer: int
    inform: int


@dataclass(frozen=True)
class Limits:
    """What one organisation may ask, unless its operator raised it."""

    requests_per_second: int
    public_requests_per_second: int
    lookup_numbers_per_day: int
    assertion_numbers_per_day: int


@dataclass(frozen=True)
class Codes:
    """What one-time codes cost and endure. SMS cost money, so codes are counted by number, by
    block of numbers, by network address and overall; the wait for the next one doubles."""

    minutes: int
    tries: int
    tries_per_number_per_day: int
    per_number_per_day: int
    first_wait_seconds: int
    per_prefix_per_hour: int
    per_address_per_hour: int
    per_hour: int
    breaker_after: int
    breaker_percent_used: int


@dataclass(frozen=True)
class Policy:
    """A rule set's values. Its name stands in every receipt."""

    name: str
    title: str
    default_region: str
    contact_hours: ContactHours
    verdicts: Verdicts
    consents: Consents
    requests: Requests
    challenges: Challenges
    retention: Retention
    complaints: Complaints
    limits: Limits
    codes: Codes
    notices: Notices
    suspensions: Suspensions
    files: Files

    def __post_init__(self) -> None:
        if self.default_region not in phonenumbers.SUPPORTED_REGIONS:
            raise ValueError(f"there is no region {self.default_region!r}")


def load(name: str = DEFAULT) -> Policy:
    """Read a policy by its name, or by the path of a file; raises when anything is amiss."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return cast(Policy, _schema(Policy)().load(tomllib.loads(path.read_text("utf-8"))))
    except FileNotFoundError:
        raise _unusable(f"no policy {name!r}; there are {', '.join(names())}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise _unusable(f"policy {name!r}: {error}") from None


def names() -> list[str]:
    """Return the names of the policies that come with the registry."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _unusable(detail: str) -> RegistryError:
    return RegistryError(Kind.UNAVAILABLE, detail)


def _schema(made: type[Any]) -> type[Schema]:
    """Build the schema of one table from the dataclass that it fills."""
    hints = get_type_hints(made)
    parts: dict[str, Any] = {
        part.name: _field(hints[part.name], part.metadata) for part in dataclasses.fields(made)
    }

    def make(_self: Schema, data: dict[str, Any], **_: object) -> Any:
        try:
            return made(**data)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    return type(f"{made.__name__}Schema", (Schema,), {**parts, "make": post_load(make)})


def _field(kind: Any, metadata: Mapping[str, Any]) -> fields.Field[Any]:
    if kind is int:
        least = validate.Range(min=metadata.get("least", 1))
        return fields.Integer(required=True, strict=True, validate=least)
    if kind is time:
        return fields.Time(required=True)
    if kind is str:
        return fields.String(required=True, validate=validate.Length(min=1))
    if dataclasses.is_dataclass(kind):
        return fields.Nested(_schema(cast(type[Any], kind)), required=True)
    return fields.Enum(kind, by_value=True, required=True)
