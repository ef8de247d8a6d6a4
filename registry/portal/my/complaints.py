"""Complaining about an SMS or a call, and following what becomes of it (R22)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from marshmallow import Schema, ValidationError, fields, validate
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import complaints
from registry.complaints import LONGEST_TEXT, PAGE, Deadlines, Draft
from registry.consent import Channel, Topic
from registry.errors import Kind, RegistryError
from registry.models import Complaint
from registry.portal import languages
from registry.portal.my import paging
from registry.portal.visitors import visitor
from registry.runtime import Registry
from registry.schemas.fields import readable

Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | AnyResponse

MINUTE = "%Y-%m-%dT%H:%M"
"""How browsers write a local time."""
FIELDS = ("channel", "sending_number", "contacted_at", "topic", "text", "lookup")
PROBLEMS = {
    "channel": lazy_gettext("Please choose whether it was an SMS or a call."),
    "sending_number": lazy_gettext(
        "A number has 3 to 20 digits. Leave it empty if none was shown."
    ),
    "contacted_at": lazy_gettext("Please say when it was: the day and the time."),
    "topic": lazy_gettext("Please choose what it was about."),
    "text": lazy_gettext("Please shorten this to %(most)s characters.", most=LONGEST_TEXT),
}
"""What is said of a field that nothing more is known of."""
WRONG_TIMES = {
    "lies in the future": lazy_gettext("This time has not come yet. Please check day and time."),
    "lies further back than records are kept": lazy_gettext(
        "That is too long ago: records of it are no longer kept."
    ),
    "lies before this subscriber had the number": lazy_gettext(
        "At that time the number was somebody else's."
    ),
}


class ComplaintForm(Schema):
    """What a subscriber reports; the time is that of the subscriber's own clock."""

    channel = fields.Enum(Channel, by_value=True, required=True)
    sending_number = fields.String(load_default="")
    contacted_at = fields.NaiveDateTime(required=True, format=MINUTE)
    topic = fields.Enum(Topic, by_value=True, required=True)
    text = fields.String(load_default="", validate=validate.Length(max=LONGEST_TEXT))
    lookup = fields.UUID(load_default=None, allow_none=True)


class Stage(StrEnum):
    """How far a complaint has got."""

    FILED = "filed"
    FORWARDED = "forwarded"
    ANSWERED = "answered"
    CLOSED = "closed"


@dataclass(frozen=True)
class Step:
    """One step of a complaint: done at a time, or due by a day. A skipped one is neither."""

    stage: Stage
    done: datetime | None
    due: date | None = None
    late: bool = False
    skipped: bool = False


def stage(complaint: Complaint) -> Stage:
    """Return the last step that was taken."""
    if complaint.closed_at:
        return Stage.CLOSED
    if complaint.answered_at:
        return Stage.ANSWERED
    return Stage.FORWARDED if complaint.forwarded_at else Stage.FILED


def steps(complaint: Complaint, due: Deadlines) -> list[Step]:
    """Return what was done of a complaint, and what is still to be done by when."""
    over = complaint.closed_at is not None
    wanted = (
        (Stage.FORWARDED, complaint.forwarded_at, due.forward_by, due.forward_overdue),
        (Stage.ANSWERED, complaint.answered_at, due.answer_by, due.answer_overdue),
        (Stage.CLOSED, complaint.closed_at, due.inform_by, due.inform_overdue),
    )
    return [
        Step(Stage.FILED, complaint.recorded_at),
        *(Step(*each, skipped=over and each[1] is None) for each in wanted),
    ]


def add(my: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of a number."""

    @my.get("/complaints", endpoint="complaints")
    def list_complaints() -> Page:
        """Show what was complained of, the newest first, with how far it has got."""
        after = paging.event_in_address()
        with registry.database.snapshot() as storage:
            found = complaints.of(storage, visitor().number, after, limit=PAGE + 1)
        shown = [(row, stage(row), _late(registry, row)) for row in found[:PAGE]]
        older = found[PAGE - 1].event_id if len(found) > PAGE else None
        return render_template(
            "my/complaints.html", complaints=shown, older=older, first=after is None
        )

    @my.get("/complaints/new")
    def new_complaint() -> Page:
        """Ask what happened, with what a lookup says of it filled in."""
        lookup_id = request.args.get("lookup", type=UUID)
        with registry.database.snapshot() as storage:
            if lookup_id is None:
                return _form(registry, {})
            draft = complaints.prefill(storage, visitor().number, lookup_id, now=registry.clock())
        return _form(registry, _filled(draft))

    @my.post("/complaints")
    def complain() -> Page:
        """File the complaint; what was typed stays when something in it is wrong."""
        typed = {name: readable(request.form.get(name, "")) for name in FIELDS}
        try:
            draft = _read(registry, typed)
            with registry.database.write() as storage:
                filed = _file(registry, storage, draft)
        except ValidationError as error:
            if "lookup" in error.messages_dict:
                raise RegistryError(Kind.MALFORMED, "no such lookup") from None
            return _form(registry, typed, dict.fromkeys(error.messages_dict)), 422
        except RegistryError as error:
            if error.kind is Kind.RATE_LIMITED:
                page = _form(registry, typed, too_many=True)
                return page, 429, {"Retry-After": str(error.retry_after)}
            if error.kind is not Kind.INVALID:
                raise
            return _form(registry, typed, error.fields or {}), 422
        if _says(filed, draft):
            flash(gettext("Your complaint is recorded. Here you see what becomes of it."), "ok")
        else:
            said = gettext("You complained about this contact before. Nothing was added to that.")
            flash(said, "info")
        return redirect(url_for(".complaint", complaint_id=filed.id))

    @my.get("/complaints/<uuid:complaint_id>")
    def complaint(complaint_id: UUID) -> Page:
        """Show a complaint, its deadlines, the company's answer and the outcome."""
        with registry.database.snapshot() as storage:
            found = complaints.find(storage, visitor().number, complaint_id)
            due = complaints.deadlines(found, registry.policy, registry.clock())
            return render_template(
                "my/complaint.html",
                complaint=found,
                stage=stage(found),
                steps=steps(found, due),
                due=due,
                days=registry.policy.complaints,
            )


def _late(registry: Registry, row: Complaint) -> bool:
    """Tell whether the step that comes next should have been taken already."""
    due = complaints.deadlines(row, registry.policy, registry.clock())
    return {
        Stage.FILED: due.forward_overdue,
        Stage.FORWARDED: due.answer_overdue,
        Stage.ANSWERED: due.inform_overdue,
        Stage.CLOSED: False,
    }[stage(row)]


def _says(filed: Complaint, draft: Draft) -> bool:
    """Tell whether a complaint says what was just reported; an earlier one may say else."""
    reported = (draft.channel, draft.topic, draft.text.strip())
    return (filed.channel, filed.topic, filed.text) == reported


def _file(registry: Registry, storage: Session, draft: Draft) -> Complaint:
    return complaints.file(
        storage,
        visitor().number,
        draft,
        by=visitor().by,
        policy=registry.policy,
        clock=registry.clock,
    )


def _read(registry: Registry, typed: Mapping[str, str]) -> Draft:
    """Read the form; raises `ValidationError` with the names of all wrong fields."""
    written = {
        **typed,
        "contacted_at": typed["contacted_at"][:16],
        "text": typed["text"].strip(),
        "lookup": typed["lookup"] or None,
    }
    wrong = ComplaintForm().validate(written)
    try:
        complaints.shown_number(typed["sending_number"], registry.policy.default_region)
    except RegistryError as error:
        wrong["sending_number"] = [error.detail]
    if wrong:
        raise ValidationError(wrong)
    form = ComplaintForm().load(written)
    return Draft(
        channel=form["channel"],
        sending_number=form["sending_number"],
        topic=form["topic"],
        contacted_at=form["contacted_at"].replace(tzinfo=ZoneInfo(languages.zone())),
        text=form["text"],
        lookup_id=form["lookup"],
    )


def _filled(draft: Draft) -> dict[str, str]:
    """Return a draft as the form shows it."""
    return {
        "channel": draft.channel,
        "sending_number": draft.sending_number,
        "contacted_at": draft.contacted_at.astimezone(ZoneInfo(languages.zone())).strftime(MINUTE),
        "topic": draft.topic,
        "text": draft.text,
        "lookup": str(draft.lookup_id or ""),
    }


def _form(
    registry: Registry,
    typed: Mapping[str, str],
    wrong: Mapping[str, object] | None = None,
    *,
    too_many: bool = False,
) -> str:
    now = registry.clock().astimezone(ZoneInfo(languages.zone()))
    return render_template(
        "my/complain.html",
        typed=typed,
        problems={name: _problem(name, said) for name, said in (wrong or {}).items()},
        too_many=too_many,
        now=now.strftime(MINUTE),
        longest=LONGEST_TEXT,
        channels=list(Channel),
        topics=list(Topic),
    )


def _problem(name: str, said: object) -> str:
    """Say what is wrong with a field, in the language of the page."""
    if name == "contacted_at" and isinstance(said, list):
        return str(WRONG_TIMES.get(said[0], PROBLEMS[name]))
    return str(PROBLEMS.get(name, ""))
