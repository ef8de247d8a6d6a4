"""Complaints that were forwarded to a sender: by when to answer, and answering (R22)."""

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import complaints as cases
from registry.complaints import LONGEST_TEXT, PAGE, Accusation, AnswerDeadline
from registry.errors import RegistryError
from registry.models import MemberRole
from registry.portal.console import reading
from registry.portal.console.people import SENDERS, member, needs
from registry.portal.my import paging
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse
SAID = {
    "text": lazy_gettext("Please write 1 to %(most)s characters.", most=LONGEST_TEXT),
}


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/complaints")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def complaints() -> Page:
        """Show what was complained of, the newest first, and what waits for an answer."""
        with registry.database.snapshot() as storage:
            found = cases.against(storage, member().own_id, paging.event_in_address())
        return render_template(
            "console/complaints.html",
            rows=[(one, _due(registry, one)) for one in found],
            more=found[-1].event_id if len(found) == PAGE else None,
        )

    @console.get("/complaints/<uuid:complaint_id>")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def complaint(complaint_id: UUID) -> Page:
        """Show one complaint."""
        return _page(registry, complaint_id)

    @console.post("/complaints/<uuid:complaint_id>/answer")
    @needs(MemberRole.AGENT, kinds=SENDERS, suspended=True)
    def answer(complaint_id: UUID) -> Page:
        """Answer a complaint, once."""
        written = reading.text("text")
        try:
            with registry.database.write() as storage:
                cases.answer(
                    storage,
                    complaint_id,
                    written,
                    sender_id=member().own_id,
                    clock=registry.clock,
                )
        except RegistryError as error:
            problems = reading.problems(error, SAID)
            return _page(registry, complaint_id, written=written, problems=problems), 422
        flash(
            gettext("The answer is sent. The subscriber is told, and the operator decides."), "ok"
        )
        return redirect(url_for(".complaint", complaint_id=complaint_id))


def _due(registry: Registry, accusation: Accusation) -> AnswerDeadline:
    return cases.answer_deadline(accusation, registry.policy, registry.clock())


def _page(registry: Registry, complaint_id: UUID, **more: object) -> str:
    with registry.database.snapshot() as storage:
        row = cases.accusation(storage, complaint_id, member().own_id)
    shown = {"written": "", "problems": {}, "longest": LONGEST_TEXT, **more}
    return render_template("console/complaint.html", row=row, deadline=_due(registry, row), **shown)
