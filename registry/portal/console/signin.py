"""Coming in: the password, then the second factor, which is set up the first time; going out."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import members, web
from registry.errors import Kind, RegistryError
from registry.members import Here
from registry.models import Member
from registry.portal.console import people
from registry.portal.console.qr import qr_code
from registry.portal.cookie import MEMBER
from registry.runtime import Registry

Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | AnyResponse
CodeCheck = Callable[[Session, Here, str, datetime], str | None]


def add(door: Blueprint, registry: Registry) -> None:
    """Add the pages to the door of the console."""

    @door.get("/sign-in")
    def signin() -> Page:
        """Ask for e-mail and password."""
        return render_template("console/signin.html")

    @door.post("/sign-in")
    def check_password() -> Page:
        """Go on to the second factor with the right password; whose e-mail it is, nobody learns."""
        web.limit_address()
        written = request.form.get("email", "")
        try:
            token = _sign_in(registry, written, request.form.get("password", ""))
        except RegistryError as error:
            return answer_wait(error, "console/signin.html", written=written)
        if token is None:
            return render_template("console/signin.html", written=written, wrong=True), 422
        people.remember(token)
        return redirect(url_for(".code"))

    @door.get("/sign-in/code")
    def code() -> Page:
        """Ask for a code of the second factor, or for its first one."""
        here = people.find(registry)
        if here is None or here.verified:
            return redirect(url_for("console.overview"))
        return _code_page(registry, here)

    @door.post("/sign-in/code")
    def check_code() -> Page:
        """Sign in with a code: a new session, and a new cookie."""
        web.limit_address()
        here = people.find(registry)
        if here is None or here.verified:
            return redirect(url_for("console.overview"))
        return _check(registry, here, members.check_code)

    @door.post("/second-factor")
    def confirm_second_factor() -> Page:
        """Set the second factor up with its first code, and be signed in."""
        web.limit_address()
        here = people.find(registry)
        if here is None or here.verified:
            return redirect(url_for("console.overview"))
        return _check(registry, here, members.confirm_second_factor)

    @door.post("/sign-out")
    def leave() -> Page:
        """Sign out of this browser."""
        end_this_session(registry)
        gone = people.forget()
        flash(gettext("You are signed out."), "ok")
        return gone


def answer_wait(error: RegistryError, template: str, **shown: object) -> Page:
    """Answer too many tries with the page itself, which says how long to wait."""
    if error.kind is not Kind.RATE_LIMITED:
        raise error
    page = render_template(template, wait=error.retry_after or 1, **shown)
    return page, 429, {"Retry-After": str(error.retry_after or 1)}


def end_this_session(registry: Registry) -> None:
    """End the session that this browser has, if it has one."""
    now = registry.clock()
    with registry.database.write() as storage:
        found = members.find_session(storage.connection(), session.get(MEMBER, ""), now)
        if found is not None:
            members.end_session(storage, found.session_id, now)


def _sign_in(registry: Registry, written: str, password: str) -> str | None:
    """Return the token of a session that waits for the second factor; None for a wrong password."""
    try:
        email = members.read_email(written)
    except RegistryError:
        email = written.strip()[:254]
    with registry.database.write() as storage:
        tried = members.begin(
            storage, email, address=request.remote_addr or "", now=registry.clock()
        )
    if not tried.is_right(password):
        return None
    end_this_session(registry)
    with registry.database.write() as storage:
        return members.finish(storage, tried, registry.clock())


def _check(registry: Registry, here: Here, check: CodeCheck) -> Page:
    now = registry.clock()
    try:
        with registry.database.write() as storage:
            token = check(storage, here, request.form.get("code", ""), now)
    except RegistryError as error:
        if error.kind is not Kind.RATE_LIMITED:
            raise
        wait = error.retry_after or 1
        return _code_page(registry, here, wait=wait), 429, {"Retry-After": str(wait)}
    if token is None:
        return _code_page(registry, here, wrong=True), 422
    return people.arrive(token)


def _code_page(registry: Registry, here: Here, **shown: object) -> str:
    with registry.database.snapshot() as storage:
        row = storage.get_one(Member, here.member_id)
        if row.totp_confirmed_at is not None or row.totp_secret is None:
            return render_template("console/code.html", **shown)
        secret = row.totp_secret
        picture = qr_code(members.uri(secret, row.email))
    parts = [secret[start : start + 4] for start in range(0, len(secret), 4)]
    return render_template(
        "console/second_factor.html", picture=picture, secret=" ".join(parts), **shown
    )
