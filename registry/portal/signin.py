"""Signing in with a number and a code by SMS, and signing out."""

from enum import StrEnum
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import codes, sessions, web
from registry.codes import Failure
from registry.errors import Kind, RegistryError
from registry.models import CodePurpose, OneTimeCode
from registry.numbers import SubscriberNumber, parse_subscriber
from registry.portal import languages, visitors
from registry.portal.cookie import SIGNED_IN
from registry.portal.pages import protect
from registry.runtime import Registry

Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | AnyResponse

CODE = "code"
"""Under this name the cookie keeps the id of the code that was sent."""
FAILURES = {
    Failure.WRONG: lazy_gettext("That is not the code. Please compare it with the SMS."),
    Failure.EXPIRED: lazy_gettext(
        "This code is too old or was used already. Please ask for a new one."
    ),
    Failure.TRIED_TOO_OFTEN: lazy_gettext(
        "There were too many wrong codes. Please ask for a new one later."
    ),
}
"""What people are told when a code was not accepted."""


class Unreachable(StrEnum):
    """Why a number that somebody wrote gets no code."""

    INVALID = "invalid"
    LANDLINE = "landline"
    FOREIGN = "foreign"


def pages(registry: Registry) -> Blueprint:
    """Return the blueprint of signing in and out."""
    signin = Blueprint("signin", __name__, template_folder="templates")
    protect(signin)

    @signin.get("/sign-in")
    def ask() -> Page:
        """Ask for the number."""
        return render_template("signin.html")

    @signin.post("/sign-in")
    def send() -> Page:
        """Send a code to a number; the answer is the same for every number that takes SMS."""
        web.limit_address()
        written = request.form.get("number", "")
        number = read_number(written, registry)
        if isinstance(number, Unreachable):
            return render_template("signin.html", written=written, unreachable=number), 422
        try:
            with registry.database.write() as storage:
                sent = codes.issue(
                    storage,
                    number,
                    CodePurpose.SIGN_IN,
                    address=request.remote_addr or "",
                    limits=registry.policy.codes,
                    clock=registry.clock,
                    region=registry.policy.default_region,
                    language=languages.language(),
                )
        except RegistryError as error:
            if error.kind is not Kind.RATE_LIMITED:
                raise
            page = render_template("signin.html", written=written, wait=error.retry_after)
            return page, 429, {"Retry-After": str(error.retry_after)}
        session[CODE] = sent.id.hex
        return redirect(url_for(".code"))

    @signin.get("/sign-in/code")
    def code() -> Page:
        """Ask for the code."""
        with registry.database.snapshot() as storage:
            sent = _sent(storage)
        return (
            redirect(url_for(".ask")) if sent is None else render_template("code.html", sent=sent)
        )

    @signin.post("/sign-in/code")
    def check() -> Page:
        """Sign in with the code: a new session, and a new cookie."""
        web.limit_address()
        with registry.database.write() as storage:
            sent = _sent(storage)
            if sent is None:
                return redirect(url_for(".ask"))
            used = codes.check(
                storage,
                sent.id,
                CodePurpose.SIGN_IN,
                request.form.get("code", ""),
                limits=registry.policy.codes,
                clock=registry.clock,
            )
            token = "" if isinstance(used, Failure) else _begin(registry, storage, used.number)
        if isinstance(used, Failure):
            too_often = used is Failure.TRIED_TOO_OFTEN
            page = render_template(
                "code.html", sent=sent, problem=FAILURES[used], too_often=too_often
            )
            return page, 422
        return redirect(visitors.remember(token))

    @signin.post("/sign-out")
    def leave() -> Page:
        """Sign out of this browser."""
        with registry.database.write() as storage:
            _end(registry, storage)
        gone = visitors.forget()
        flash(gettext("You are signed out."), "ok")
        return gone

    return signin


def read_number(written: str, registry: Registry) -> SubscriberNumber | Unreachable:
    """Read the number that a code is to go to, or tell why none can."""
    region = registry.policy.default_region
    try:
        number = parse_subscriber(written, region)
    except RegistryError:
        return Unreachable.INVALID
    if number.region != region:
        return Unreachable.FOREIGN
    return number if number.takes_sms else Unreachable.LANDLINE


def _sent(storage: Session) -> OneTimeCode | None:
    """Return the code that this browser asked for."""
    try:
        return storage.get(OneTimeCode, UUID(hex=session.get(CODE, "")))
    except ValueError:
        return None


def _begin(registry: Registry, storage: Session, number: SubscriberNumber) -> str:
    """Start a session, instead of the one that this browser had; return its token."""
    _end(registry, storage)
    _row, token = sessions.start(storage, number, registry.clock())
    return token


def _end(registry: Registry, storage: Session) -> None:
    found = sessions.find(storage.connection(), session.get(SIGNED_IN, ""), registry.clock())
    if found is not None:
        sessions.end(storage, found.session_id, registry.clock())
