"""The organisation: its details and their history, applying for changes, suspensions, appeals."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import senders
from registry.errors import Kind, RegistryError
from registry.models import Appeal, Application, ApplicationState, MemberRole, Suspension
from registry.portal.console.forms import problems_of
from registry.portal.console.people import SENDING, member, needs
from registry.runtime import Registry
from registry.senders import Changes

Page = str | tuple[str, int] | AnyResponse
FIELDS = ("name", "licence_number", "contact_name", "contact_phone", "complaint_phone")
LONGEST_APPEAL = 4000


@dataclass(frozen=True)
class Case:
    """A suspension and what was said against it."""

    suspension: Suspension
    appeals: Sequence[Appeal]

    @property
    def may_be_appealed(self) -> bool:
        """Whether an appeal is possible now: it stands, and none waits."""
        waits = any(appeal.outcome is None for appeal in self.appeals)
        return self.suspension.ended_at is None and not waits


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    def shown(**more: object) -> dict[str, object]:
        own = member().own_id
        with registry.database.snapshot() as storage:
            applications = senders.applications(storage, organisation_id=own)
            waits = _waiting(storage, own)
            return {
                "row": senders.find(storage, own),
                "versions": list(reversed(senders.history(storage, own))),
                "applications": list(reversed(applications)),
                "waiting": waits,
                "documents": senders.documents(storage, waits) if waits else [],
                "most": registry.policy.files.evidence_mebibytes,
                "cases": [
                    Case(one, senders.appeals(storage, one.id))
                    for one in senders.suspensions(storage, own)
                ],
                "now": registry.clock(),
                **more,
            }

    @console.get("/organisation")
    @needs(MemberRole.VIEWER)
    def organisation() -> Page:
        """Show what the registry knows of the organisation, and knew before."""
        return render_template("console/organisation.html", **shown())

    @console.get("/organisation/change")
    @needs(MemberRole.ADMIN, kinds=SENDING)
    def change_organisation() -> Page:
        """Ask what is to be changed."""
        with registry.database.snapshot() as storage:
            row = senders.find(storage, member().own_id)
        form = {name: getattr(row, name, None) or "" for name in FIELDS}
        form["contact_name"] = member().name
        return render_template("console/change.html", written=form, problems={})

    @console.post("/organisation/change")
    @needs(MemberRole.ADMIN, kinds=SENDING)
    def propose_changes() -> Page:
        """Apply for changes, about which an operator decides."""
        form = {name: request.form.get(name, "").strip() for name in FIELDS}
        try:
            with registry.database.write() as storage:
                senders.propose(
                    storage,
                    member().own_id,
                    Changes(**form),
                    member_id=member().member_id,
                    now=registry.clock(),
                )
        except RegistryError as error:
            problems = problems_of(error)
            if not problems and error.kind is not Kind.INVALID:
                raise
            page = render_template(
                "console/change.html", written=form, problems=problems, same=not problems
            )
            return page, 422
        flash(gettext("The changes are sent. The operator decides about them."), "ok")
        return redirect(url_for(".organisation"))

    @console.post("/organisation/suspensions/<uuid:suspension_id>/appeal")
    @needs(MemberRole.AGENT, suspended=True)
    def appeal(suspension_id: UUID) -> Page:
        """Say what speaks against a suspension, announced or in effect."""
        text = request.form.get("text", "").strip()
        if not 0 < len(text) <= LONGEST_APPEAL:
            page = render_template(
                "console/organisation.html", **shown(appeal_problem=True, appeal_text=text)
            )
            return page, 422
        with registry.database.write() as storage:
            senders.appeal(
                storage,
                suspension_id,
                text,
                organisation_id=member().own_id,
                member_id=member().member_id,
                now=registry.clock(),
            )
        flash(gettext("The appeal is sent. The operator decides about it."), "ok")
        return redirect(url_for(".organisation"))


def _waiting(storage: Session, organisation_id: UUID) -> Application | None:
    waiting = senders.applications(
        storage, organisation_id=organisation_id, state=ApplicationState.SUBMITTED
    )
    return next(iter(waiting), None)
