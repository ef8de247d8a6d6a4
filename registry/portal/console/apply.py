"""Applying for an organisation: its details, and who will look after it here."""

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask_babel import lazy_gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import members, senders, web
from registry.errors import Kind, RegistryError
from registry.models import Application, OrganisationKind
from registry.portal.console import people
from registry.portal.console.forms import Problems, problems_of
from registry.portal.console.signin import answer_wait, end_this_session
from registry.runtime import Registry
from registry.senders import Details

Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | AnyResponse

DETAILS = (
    "kind", "name", "uscc", "licence_number", "contact_name", "contact_phone", "complaint_phone",
)  # fmt: skip
KINDS = (OrganisationKind.SENDER, OrganisationKind.PROVIDER)
KNOWN_CODE = lazy_gettext(
    "An organisation with this code is registered, or an application of it waits. Ask its team"
    " to invite you, or the operator of this registry."
)


def add(door: Blueprint, registry: Registry) -> None:
    """Add the pages to the door of the console."""

    @door.get("/apply")
    def apply() -> Page:
        """Ask for the organisation's details, and for whoever applies."""
        return render_template("console/apply.html", written={}, problems={})

    @door.post("/apply")
    def send_application() -> Page:
        """Send the application, and go on to the second factor of whoever sent it."""
        web.limit_address()
        form = read_form("email", "member_name", "password")
        shown = {"written": {**form, "password": ""}}
        try:
            token = _apply(registry, form)
        except RegistryError as error:
            problems = said_of(error)
            if problems:
                return render_template("console/apply.html", problems=problems, **shown), 422
            return answer_wait(error, "console/apply.html", problems={}, **shown)
        people.remember(token)
        return redirect(url_for(".code"))


def read_form(*more: str) -> dict[str, str]:
    """Return what was written of an organisation's details, and of more fields."""
    written = {name: request.form.get(name, "").strip() for name in (*DETAILS, *more)}
    return written | {name: request.form.get(name, "") for name in more if name == "password"}


def details_of(form: dict[str, Any]) -> Details:
    """Return an organisation's details from a form."""
    kind = form["kind"]
    if kind not in list(map(str, KINDS)):
        raise RegistryError(Kind.INVALID, "kind", fields={"kind": ["is missing"]})
    return Details(**{**{name: form[name] for name in DETAILS}, "kind": OrganisationKind(kind)})


def said_of(error: RegistryError) -> Problems:
    """Return what to say of the fields of an application."""
    if error.kind is Kind.CONFLICT:
        return {"uscc": KNOWN_CODE}
    return problems_of(error)


def _apply(registry: Registry, form: dict[str, str]) -> str:
    """Record the application and its first member, both or neither; return a session's token."""
    now, address = registry.clock(), request.remote_addr or ""
    with registry.database.write() as storage:
        members.count_application(storage, address, now)
    details = details_of(form)
    account = _account(form)
    end_this_session(registry)
    with registry.database.write() as storage:
        sent: Application = senders.apply(storage, details, now=now)
        return members.enter(storage, account, sent.id, now)


def _account(form: dict[str, str]) -> members.Account:
    """Return who applies; what is wrong with the name is about another field than in a team."""
    try:
        return members.read_account(form["email"], form["member_name"], form["password"])
    except RegistryError as error:
        fields = dict(error.fields or {})
        if "name" in fields:
            fields["member_name"] = fields.pop("name")
        raise RegistryError(error.kind, error.detail, fields=fields) from None
