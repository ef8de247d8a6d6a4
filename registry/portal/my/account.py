"""Where a subscriber is signed in, and signing out everywhere."""

from flask import Blueprint, flash, render_template
from flask_babel import gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import sessions
from registry.portal import visitors
from registry.portal.visitors import visitor
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse


def add(own: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of the own number."""

    @own.get("/account")
    def account() -> Page:
        """Show every browser that is signed in with the number."""
        with registry.database.snapshot() as storage:
            standing = sessions.standing(storage, visitor().own, registry.clock())
        return render_template(
            "my/account.html",
            sessions=standing,
            current=visitor().session_id,
            idle=sessions.IDLE,
            longest=sessions.LONGEST,
        )

    @own.post("/account/sign-out-everywhere")
    def leave_everywhere() -> Page:
        """End every session of the number, this one as well."""
        with registry.database.write() as storage:
            sessions.end_all(storage, visitor().own, registry.clock())
        gone = visitors.forget()
        flash(gettext("You are signed out everywhere."), "ok")
        return gone
