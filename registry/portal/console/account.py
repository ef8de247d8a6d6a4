"""The member's own account: the password, and where the member is signed in."""

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask_babel import gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import members, web
from registry.errors import RegistryError
from registry.models import Member, MemberRole
from registry.portal.console import people
from registry.portal.console.forms import problems_of
from registry.portal.console.people import member, needs
from registry.portal.console.signin import answer_wait
from registry.portal.cookie import MEMBER
from registry.runtime import Registry

Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | AnyResponse
anybody = needs(MemberRole.VIEWER, suspended=True, applicants=True)


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    def shown(**more: object) -> dict[str, object]:
        """Return what the page shows: the account, and every browser that is signed in."""
        with registry.database.snapshot() as storage:
            return {
                "row": storage.get_one(Member, member().member_id),
                "sessions": members.standing(storage, member().member_id, registry.clock()),
                "idle": members.IDLE,
                "longest": members.LONGEST,
                "problems": {},
                **more,
            }

    @console.get("/account")
    @anybody
    def account() -> Page:
        """Show the account and where it is signed in."""
        return render_template("console/account.html", **shown())

    @console.post("/account/password")
    @anybody
    def change_password() -> Page:
        """Set a new password, for whoever knows the old one; it ends all other sessions."""
        web.limit_address()
        try:
            token = _change(registry)
        except RegistryError as error:
            problems = problems_of(error)
            if problems:
                page = render_template("console/account.html", **shown(problems=problems))
                return page, 422
            return answer_wait(error, "console/account.html", **shown())
        if token is None:
            return render_template("console/account.html", **shown(wrong=True)), 422
        session[MEMBER] = token
        flash(gettext("Your password is changed. You are signed out everywhere else."), "ok")
        return redirect(url_for(".account"))

    @console.post("/account/sign-out-everywhere")
    @anybody
    def leave_everywhere() -> Page:
        """End every session of the member, this one as well."""
        with registry.database.write() as storage:
            members.end_all(storage, member().member_id, registry.clock())
        gone = people.forget()
        flash(gettext("You are signed out everywhere."), "ok")
        return gone


def _change(registry: Registry) -> str | None:
    """Return the token of a new session; None when the old password is wrong."""
    with registry.database.write() as storage:
        row = storage.get_one(Member, member().member_id)
        tried = members.begin(
            storage, row.email, address=request.remote_addr or "", now=registry.clock()
        )
    if not tried.is_right(request.form.get("old", "")):
        return None
    chosen = members.read_account(row.email, row.name, request.form.get("password", ""))
    with registry.database.write() as storage:
        return members.change_password(storage, tried, chosen.password_hash, registry.clock())
