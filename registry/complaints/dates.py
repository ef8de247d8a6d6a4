"""Dates: until when each step of a complaint is due, in working days (R22)."""

from dataclasses import dataclass
from datetime import date, datetime

from registry import working_days
from registry.complaints.showing import Accusation
from registry.models import (
    Complaint,
)
from registry.policy import Policy


@dataclass(frozen=True)
class Deadlines:
    """Until when each step is due, in China, and which were or are late.

    A `provisional` one counts days whose holidays are not published yet.
    """

    forward_by: date
    answer_by: date
    inform_by: date
    forward_overdue: bool
    answer_overdue: bool
    inform_overdue: bool
    provisional: bool


@dataclass(frozen=True)
class AnswerDeadline:
    """Until when the accused is to answer, in China; the other steps are not its own."""

    answer_by: date
    answer_overdue: bool
    provisional: bool


def deadlines(complaint: Complaint, policy: Policy, now: datetime) -> Deadlines:
    """Return until when the steps of a complaint are due.

    Days are working days of the Chinese calendar, and begin at midnight in China. The day of
    filing does not count: the first that counts is the next working day, also for a complaint
    that is filed on a holiday. A complaint is forwarded within so many days of its filing,
    answered within so many of the forwarding, and its subscriber told the outcome, which closes
    it, within so many of the answer. While a step is not taken, the next one is counted from
    the day that it is due; a step that was skipped is done with the closing.
    """
    day, within, closed = working_days.day, policy.complaints, complaint.closed_at
    forward_by = working_days.after(day(complaint.recorded_at), within.forward)
    forwarded = complaint.forwarded_at
    answer_by = working_days.after(day(forwarded) if forwarded else forward_by, within.answer)
    answered = complaint.answered_at
    inform_by = working_days.after(day(answered) if answered else answer_by, within.inform)
    return Deadlines(
        forward_by=forward_by,
        answer_by=answer_by,
        inform_by=inform_by,
        forward_overdue=day(forwarded or closed or now) > forward_by,
        answer_overdue=day(answered or closed or now) > answer_by,
        inform_overdue=day(closed or now) > inform_by,
        provisional=any(map(working_days.provisional, (forward_by, answer_by, inform_by))),
    )


def answer_deadline(accusation: Accusation, policy: Policy, now: datetime) -> AnswerDeadline:
    """Return until when the accused is to answer, counted as `deadlines` does."""
    day = working_days.day
    answer_by = working_days.after(day(accusation.forwarded_at), policy.complaints.answer)
    done = accusation.answered_at or accusation.closed_at or now
    return AnswerDeadline(answer_by, day(done) > answer_by, working_days.provisional(answer_by))
