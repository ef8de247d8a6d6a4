"""Joining a team with the code of an invitation, or setting a new password with one."""

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers.response import Response as AnyResponse

from registry import members, web
from registry.errors import Kind, RegistryError
from registry.portal.console import people
from registry.portal.console.forms import Problems, problems_of
from registry.portal.console.signin import answer_wait, end_this_session
from registry.runtime import Registry

Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | AnyResponse


def add(door: Blueprint, registry: Registry) -> None:
    """Add the pages to the door of the console."""

    @door.get("/join")
    def join() -> Page:
        """Ask for e-mail, code and a password."""
        return render_template("console/join.html", written={}, problems={})

    @door.post("/join")
    def use_code() -> Page:
        """Set the password with the right code, and go on to the second factor."""
        web.limit_address()
        form = {name: request.form.get(name, "") for name in ("email", "code", "password")}
        shown = {"written": {**form, "password": ""}}
        try:
            token = _join(registry, **form)
        except RegistryError as error:
            problems = problems_of(error)
            if problems:
                return render_template("console/join.html", problems=problems, **shown), 422
            return answer_wait(error, "console/join.html", problems={}, **shown)
        if token is None:
            wrong: Problems = {}
            return render_template("console/join.html", wrong=True, problems=wrong, **shown), 422
        people.remember(token)
        return redirect(url_for(".code"))


def _join(registry: Registry, email: str, code: str, password: str) -> str | None:
    """Return a session's token; None when the code is not good for this e-mail."""
    read, address = members.read_email(email), request.remote_addr or ""
    with registry.database.write() as storage:
        invited = members.begin_join(storage, read, code, address=address, now=registry.clock())
    if invited is None:
        return None
    account = members.read_account(read, invited.name, password)
    end_this_session(registry)
    try:
        with registry.database.write() as storage:
            return members.join(
                storage, invited, account.password_hash, address=address, now=registry.clock()
            )
    except RegistryError as error:
        if error.kind is not Kind.CONFLICT:
            raise
        return None
