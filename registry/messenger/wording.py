"""The registry's own words in its SMS, one data file a language."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from registry.consent import Channel, Topic
from registry.policy import Period

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Wording:
    """One language. Texts are named by the notice and, after a point, by its kind."""

    signature: str
    comma: str
    ellipsis: str
    quoted: str
    and_more: str
    and_others: str
    senders: str
    senders_and_more: str
    everything: str
    from_sender: str
    in_brackets: str
    nobody: str
    to: str
    day: str
    moment: str
    cap: Mapping[Period, str]
    channels: Mapping[Channel, str]
    topics: Mapping[Topic, str]
    texts: Mapping[str, str]

    def write_day(self, day: date) -> str:
        """Write a date as people do."""
        return self.day.format(**_parts(day))

    def write_moment(self, at: datetime) -> str:
        """Write a date with the time of the day, as a deadline needs it."""
        return self.moment.format(**_parts(at), time=f"{at:%H:%M}")


def _parts(day: date) -> dict[str, object]:
    name = _MONTHS[day.month - 1]
    return {"year": day.year, "month": day.month, "name": name, "day": day.day}


def load(language: str) -> Wording:
    """Read a language's file; a word that is missing is missed here and not by a subscriber."""
    path = Path(__file__).with_name(f"{language}.toml")
    said: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    vocabularies: dict[str, Any] = {
        name: {word: said[name][word.value] for word in words}
        for name, words in (("cap", Period), ("channels", Channel), ("topics", Topic))
    }
    return Wording(**{**said, **vocabularies})


CHINESE, ENGLISH = load("zh"), load("en")
LANGUAGES = {"zh": CHINESE, "en": ENGLISH}
