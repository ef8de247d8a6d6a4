"""Bars for the pages: places and sizes, computed here and drawn as SVG by `charts.html`.

They have attributes alone and no style. The same numbers stand in a table behind each.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

WIDTH, HEIGHT = 600, 160
"""Units of a drawing, which stretches to its place."""
GAP = 8


@dataclass(frozen=True)
class Bar:
    """How many there are of a word."""

    what: StrEnum
    number: int
    percent: float = 0.0
    """Its length in hundredths of the longest."""


@dataclass(frozen=True)
class Pair:
    """How many came and went in a week, as two bars beside each other."""

    begins: date
    new: int
    ended: int
    x: float = 0.0
    width: float = 0.0
    new_height: float = 0.0
    ended_height: float = 0.0


def bars(given: Iterable[Bar]) -> list[Bar]:
    """Give bars their lengths, the longest first."""
    found = sorted(given, key=lambda bar: -bar.number)
    longest = max((bar.number for bar in found), default=0) or 1
    return [Bar(bar.what, bar.number, round(100 * bar.number / longest, 1)) for bar in found]


def pairs(given: Iterable[Pair]) -> list[Pair]:
    """Give pairs of bars their places and heights."""
    found = list(given)
    highest = max((max(pair.new, pair.ended) for pair in found), default=0) or 1
    room = WIDTH / max(len(found), 1)
    width = (room - GAP) / 2
    return [
        Pair(
            pair.begins,
            pair.new,
            pair.ended,
            round(index * room + GAP / 2, 1),
            round(width, 1),
            round(HEIGHT * pair.new / highest, 1),
            round(HEIGHT * pair.ended / highest, 1),
        )
        for index, pair in enumerate(found)
    ]
