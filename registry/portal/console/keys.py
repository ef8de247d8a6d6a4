"""API keys: making, replacing and revoking them. The text of one is shown once, to an admin."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import LazyString, gettext, lazy_gettext, ngettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import access, senders
from registry.access import Scope
from registry.errors import Kind, RegistryError
from registry.models import ApiKey, MemberRole
from registry.portal.console.forms import problems_of
from registry.portal.console.people import member, needs
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse
admins = needs(MemberRole.ADMIN)
admins_always = needs(MemberRole.ADMIN, suspended=True)

LASTS: dict[str, int | None] = {"90": 90, "365": 365, "730": 730, "": None}
OVERLAPS = (0, 1, 7, 30)
"""Days for which a key goes on after it was replaced."""
SCOPES: dict[Scope, LazyString] = {
    Scope.LOOKUP: lazy_gettext("Look numbers up"),
    Scope.CONSENT: lazy_gettext("Record consents, ask for consent, answer complaints"),
    Scope.NUMBERS: lazy_gettext("Claim numbers, authorise platforms"),
    Scope.WISHES: lazy_gettext("Report refusals and complaints of subscribers"),
    Scope.TENURE: lazy_gettext("Report numbers that went to somebody else"),
    Scope.DELIVERIES: lazy_gettext("Report deliveries"),
    Scope.ADMIN: lazy_gettext("Register organisations and decide what they apply for"),
    Scope.OVERSIGHT: lazy_gettext("See violations and complaints"),
    Scope.FEED: lazy_gettext("Follow all changes"),
}


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    def act() -> dict[str, Any]:
        """Return who acts, and when."""
        here = member()
        return {
            "actor_id": here.organisation_id, "member_id": here.member_id, "now": registry.clock(),
        }  # fmt: skip

    def shown(**more: object) -> dict[str, object]:
        now = registry.clock()
        with registry.database.snapshot() as storage:
            rows = access.keys(storage, member().own_id)
        return {
            "good": [row for row in rows if access.is_good(row, now)],
            "over": [row for row in rows if not access.is_good(row, now)],
            "scopes": [(scope.value, SCOPES[scope]) for scope in Scope if scope in _allowed()],
            "lasts": lasts(),
            "soon": now + timedelta(days=30),
            "written": {"scopes": [], "lasts": "365"},
            "problems": {},
            **more,
        }

    @console.get("/keys")
    @admins
    def keys() -> Page:
        """Show the keys of the organisation, without their secrets."""
        return render_template("console/keys.html", **shown())

    @console.post("/keys")
    @admins
    def make_key() -> Page:
        """Make a key, and show it, this once."""
        form = {
            "label": request.form.get("label", "").strip(),
            "scopes": request.form.getlist("scopes"),
            "lasts": request.form.get("lasts", ""),
        }
        try:
            with registry.database.write() as storage:
                row, text = access.issue(
                    storage,
                    senders.find(storage, member().own_id),
                    [scope for scope in Scope if scope in form["scopes"]],
                    expiry(registry, str(form["lasts"])),
                    label=label_of(str(form["label"])),
                    **act(),
                )
        except RegistryError as error:
            problems = problems_of(error)
            if not problems:
                raise
            return render_template(
                "console/keys.html", **shown(written=form, problems=problems)
            ), 422
        return render_template("console/key_made.html", row=row, text=text)

    @console.get("/keys/<uuid:key_id>/replace")
    @admins
    def ask_replace_key(key_id: UUID) -> Page:
        """Ask how long a key is to go on once another one takes its place."""
        row = _find(registry, key_id)
        return render_template("console/key_replace.html", row=row, overlaps=_overlaps())

    @console.post("/keys/<uuid:key_id>/replace")
    @admins
    def replace_key(key_id: UUID) -> Page:
        """Make a key like another one, which ends then or some days later."""
        days = request.form.get("days", type=int)
        if days not in OVERLAPS:
            raise RegistryError(Kind.INVALID, "days")
        with registry.database.write() as storage:
            row, text = access.rotate(
                storage,
                senders.find(storage, member().own_id),
                key_id,
                registry.clock() + timedelta(days=days),
                **act(),
            )
        return render_template("console/key_made.html", row=row, text=text, days=days)

    @console.get("/keys/<uuid:key_id>/revoke")
    @admins_always
    def ask_revoke_key(key_id: UUID) -> Page:
        """Ask whether a key is to end."""
        row = _find(registry, key_id)
        return render_template(
            "console/confirm.html",
            question=gettext("End the key “%(label)s”?", label=row.label or row.id.hex[-8:]),
            text=gettext("Programs that use it are turned away at once. It cannot be undone."),
            action=url_for(".revoke_key", key_id=row.id),
            yes=gettext("End this key"),
            kind="danger",
            back=url_for(".keys"),
            area="keys",
        )

    @console.post("/keys/<uuid:key_id>/revoke")
    @admins_always
    def revoke_key(key_id: UUID) -> Page:
        """End a key at once."""
        with registry.database.write() as storage:
            access.revoke(storage, member().own_id, key_id, **act())
        flash(gettext("The key has ended."), "ok")
        return redirect(url_for(".keys"))


def _allowed() -> frozenset[Scope]:
    kind = member().kind
    return access.SCOPES[kind] if kind is not None else frozenset()


def _find(registry: Registry, key_id: UUID) -> ApiKey:
    with registry.database.snapshot() as storage:
        return access.find(storage, member().own_id, key_id)


def expiry(registry: Registry, written: str) -> datetime | None:
    """Return when a key ends that is to last as long as was chosen."""
    if written not in LASTS:
        raise RegistryError(Kind.INVALID, "lasts", fields={"lasts": ["is none of them"]})
    days = LASTS[written]
    return None if days is None else registry.clock() + timedelta(days=days)


def label_of(written: str) -> str:
    """Return what a key is known by; raises `INVALID` where nothing was written."""
    if not written:
        raise RegistryError(Kind.INVALID, "label", fields={"label": ["is missing"]})
    return written


def lasts() -> list[tuple[str, str]]:
    """Return what a form offers of how long a key is good."""
    return [
        ("90", gettext("90 days")),
        ("365", gettext("a year")),
        ("730", gettext("two years")),
        ("", gettext("until it is ended here")),
    ]


def _overlaps() -> list[tuple[str, str]]:
    return [
        (
            str(days),
            ngettext("after %(num)s day", "after %(num)s days", days)
            if days
            else gettext("at once"),
        )
        for days in OVERLAPS
    ]
