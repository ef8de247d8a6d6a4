"""The team: who belongs to it, inviting, roles, and what an admin does for a colleague."""

from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import members
from registry.errors import Kind, RegistryError
from registry.models import Member, MemberRole
from registry.portal.console.forms import problems_of
from registry.portal.console.people import member, needs
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse
admins = needs(MemberRole.ADMIN)
admins_always = needs(MemberRole.ADMIN, suspended=True)
"""For what makes a team safer: it may be done by a suspended one, too."""


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    def act() -> dict[str, Any]:
        """Return who acts, and when."""
        here = member()
        return {"actor_id": here.organisation_id, "by": here.member_id, "now": registry.clock()}

    def shown(**more: object) -> dict[str, object]:
        with registry.database.snapshot() as storage:
            team = members.team(storage, member().own_id)
        return {"team": team, "now": registry.clock(), "written": {}, "problems": {}, **more}

    @console.get("/team")
    @needs(MemberRole.VIEWER)
    def team() -> Page:
        """Show who belongs to the team."""
        return render_template("console/team.html", **shown())

    @console.post("/team")
    @admins
    def invite() -> Page:
        """Invite somebody, and show the code to pass on, this once."""
        form = {name: request.form.get(name, "") for name in ("email", "name", "role")}
        try:
            with registry.database.write() as storage:
                row, code = members.invite(
                    storage, member().own_id, form["email"], form["name"], _role(form["role"]),
                    **act(),
                )  # fmt: skip
        except RegistryError as error:
            problems = problems_of(error)
            if not problems:
                raise
            return render_template(
                "console/team.html", **shown(written=form, problems=problems)
            ), 422
        return _code_page(row, code)

    @console.get("/team/<uuid:member_id>")
    @admins
    def colleague(member_id: UUID) -> Page:
        """Show what can be done for, and about, one of the team."""
        with registry.database.snapshot() as storage:
            row = members.find(storage, member().own_id, member_id)
        return render_template("console/colleague.html", row=row, now=registry.clock())

    @console.post("/team/<uuid:member_id>/role")
    @admins
    def change_role(member_id: UUID) -> Page:
        """Give somebody another role."""
        with registry.database.write() as storage:
            members.change_role(
                storage, member().own_id, member_id, _role(request.form.get("role", "")), **act()
            )
        flash(gettext("The role is changed. It counts from the next sign-in on."), "ok")
        return redirect(url_for(".team"))

    @console.post("/team/<uuid:member_id>/code")
    @admins_always
    def new_code(member_id: UUID) -> Page:
        """Show a code with which somebody joins, or sets a new password, this once."""
        with registry.database.write() as storage:
            code = members.new_code(storage, member().own_id, member_id, **act())
            row = members.find(storage, member().own_id, member_id)
        return _code_page(row, code)

    @console.post("/team/<uuid:member_id>/second-factor")
    @admins_always
    def reset_second_factor(member_id: UUID) -> Page:
        """Let somebody set the second factor up anew."""
        with registry.database.write() as storage:
            members.reset_second_factor(storage, member().own_id, member_id, **act())
        flash(gettext("The second factor is forgotten; the next sign-in sets up a new one."), "ok")
        return redirect(url_for(".team"))

    @console.get("/team/<uuid:member_id>/end")
    @admins_always
    def ask_end_member(member_id: UUID) -> Page:
        """Ask whether somebody is to leave the team."""
        with registry.database.snapshot() as storage:
            row = members.find(storage, member().own_id, member_id)
        return render_template(
            "console/confirm.html",
            question=gettext("Take %(name)s out of the team?", name=row.name),
            text=gettext("This takes effect at once, wherever the member is signed in."),
            action=url_for(".end_member", member_id=row.id),
            yes=gettext("Take out"),
            kind="danger",
            back=url_for(".colleague", member_id=row.id),
            area="team",
        )

    @console.post("/team/<uuid:member_id>/end")
    @admins_always
    def end_member(member_id: UUID) -> Page:
        """Take somebody out of the team, at once."""
        with registry.database.write() as storage:
            members.end(storage, member().own_id, member_id, **act())
        flash(gettext("The member is out of the team and signed out everywhere."), "ok")
        return redirect(url_for(".team"))


def _role(written: str) -> MemberRole:
    try:
        return MemberRole(written)
    except ValueError:
        raise RegistryError(Kind.INVALID, "role", fields={"role": ["is none"]}) from None


def _code_page(row: Member, code: str) -> str:
    return render_template(
        "console/code_to_pass_on.html", row=row, code=code, lasts=members.INVITED_FOR
    )
