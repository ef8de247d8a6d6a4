"""Complaints: what a subscriber reports of an SMS or a call, and the clock that it starts (R22).

A complaint is filed, forwarded to the sender it accuses, or to the provider where no sender is
known, answered by whoever it went to and closed with an outcome, which may establish a violation.
Each step is an event, and the subscriber is told of all that follow the first.
"""

from registry.complaints.dates import AnswerDeadline, Deadlines, answer_deadline, deadlines
from registry.complaints.filing import LONGEST_TEXT, MOST_A_DAY, Draft, file, prefill, shown_number
from registry.complaints.rows import PAGE
from registry.complaints.showing import (
    Accusation,
    accusation,
    against,
    every,
    find,
    hide_numbers,
    of,
    oversee,
    reported,
)
from registry.complaints.steps import answer, close, forward

__all__ = [
    "LONGEST_TEXT",
    "MOST_A_DAY",
    "PAGE",
    "Accusation",
    "AnswerDeadline",
    "Deadlines",
    "Draft",
    "accusation",
    "against",
    "answer",
    "answer_deadline",
    "close",
    "deadlines",
    "every",
    "file",
    "find",
    "forward",
    "hide_numbers",
    "of",
    "oversee",
    "prefill",
    "reported",
    "shown_number",
]
