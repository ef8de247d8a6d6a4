"""What another organisation gets in by, and how much: its limits, keys and admins.

Operators do this for those who cannot help themselves: who have nobody in the console yet, or whose
only admin lost the password or the phone. Everything else is for the organisation's own admins.
"""

from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import access, members, senders
from registry.access import Scope
from registry.errors import Kind, RegistryError
from registry.models import ApiKey, Member, MemberRole
from registry.portal.console import keys, reading
from registry.portal.console.forms import problems_of
from registry.portal.console.operators.organisations import about
from registry.portal.console.people import OPERATORS, member, needs
from registry.runtime import Registry
from registry.senders import Limits

Page = str | tuple[str, int] | AnyResponse
look = needs(MemberRole.VIEWER, kinds=OPERATORS)
change = needs(MemberRole.ADMIN, kinds=OPERATORS)
LIMITS = tuple(Limits.__dataclass_fields__)


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""
    _add_keys(console, registry)
    _add_team(console, registry)


def _add_keys(console: Blueprint, registry: Registry) -> None:
    @console.get("/organisations/<uuid:organisation_id>/access")
    @look
    def its_access(organisation_id: UUID) -> Page:
        """Show an organisation's limits and keys, without their secrets."""
        return _access_page(registry, organisation_id)

    @console.post("/organisations/<uuid:organisation_id>/limits")
    @change
    def change_limits(organisation_id: UUID) -> Page:
        """Set what an organisation may ask for, or leave that to the policy."""
        try:
            limits = Limits(**{name: _limit(name) for name in LIMITS})
            with registry.database.write() as storage:
                senders.limit(storage, organisation_id, limits, **reading.act(registry))
        except RegistryError as error:
            problems = reading.problems(error, {})
            written = {name: reading.text(name) for name in LIMITS}
            page = _access_page(registry, organisation_id, limits=written, problems=problems)
            return page, 422
        flash(gettext("The limits are changed. They count at once."), "ok")
        return redirect(url_for(".its_access", organisation_id=organisation_id))

    @console.post("/organisations/<uuid:organisation_id>/keys")
    @change
    def make_its_key(organisation_id: UUID) -> Page:
        """Make a key for an organisation, and show it, this once."""
        return _make_key(registry, organisation_id)

    @console.get("/organisations/<uuid:organisation_id>/keys/<uuid:key_id>/revoke")
    @change
    def ask_revoke_its_key(organisation_id: UUID, key_id: UUID) -> Page:
        """Ask whether a key of an organisation is to end."""
        with registry.database.snapshot() as storage:
            row = access.find(storage, organisation_id, key_id)
            return _ask_revoke(storage, organisation_id, row)

    @console.post("/organisations/<uuid:organisation_id>/keys/<uuid:key_id>/revoke")
    @change
    def revoke_its_key(organisation_id: UUID, key_id: UUID) -> Page:
        """End a key of an organisation at once."""
        with registry.database.write() as storage:
            access.revoke(storage, organisation_id, key_id, **reading.act(registry))
        flash(gettext("The key has ended."), "ok")
        return redirect(url_for(".its_access", organisation_id=organisation_id))


def _add_team(console: Blueprint, registry: Registry) -> None:
    @console.get("/organisations/<uuid:organisation_id>/team")
    @look
    def its_team(organisation_id: UUID) -> Page:
        """Show who works for an organisation."""
        return _team_page(registry, organisation_id)

    @console.post("/organisations/<uuid:organisation_id>/team")
    @change
    def invite_admin(organisation_id: UUID) -> Page:
        """Invite an admin of an organisation, and show the code to pass on, this once."""
        form = {name: request.form.get(name, "") for name in ("email", "name")}
        try:
            with registry.database.write() as storage:
                senders.find(storage, organisation_id)
                row, code = members.invite(
                    storage, organisation_id, form["email"], form["name"], MemberRole.ADMIN,
                    **_by(registry),
                )  # fmt: skip
        except RegistryError as error:
            problems = problems_of(error)
            if not problems:
                raise
            page = _team_page(registry, organisation_id, written=form, problems=problems)
            return page, 422
        return _code_page(organisation_id, row, code)

    @console.get("/organisations/<uuid:organisation_id>/team/<uuid:member_id>")
    @change
    def its_admin(organisation_id: UUID, member_id: UUID) -> Page:
        """Show what can be done for an admin who cannot get in."""
        with registry.database.snapshot() as storage:
            who = _admin(storage, organisation_id, member_id)
            return render_template(
                "console/its_admin.html", who=who, **about(registry, storage, organisation_id)
            )

    @console.post("/organisations/<uuid:organisation_id>/team/<uuid:member_id>/code")
    @change
    def new_code_for_admin(organisation_id: UUID, member_id: UUID) -> Page:
        """Show a code with which an admin joins, or sets a new password, this once."""
        with registry.database.write() as storage:
            who = _admin(storage, organisation_id, member_id)
            code = members.new_code(storage, organisation_id, member_id, **_by(registry))
            return _code_page(organisation_id, who, code)

    @console.post("/organisations/<uuid:organisation_id>/team/<uuid:member_id>/second-factor")
    @change
    def reset_admin(organisation_id: UUID, member_id: UUID) -> Page:
        """Let an admin set the second factor up anew."""
        with registry.database.write() as storage:
            _admin(storage, organisation_id, member_id)
            members.reset_second_factor(storage, organisation_id, member_id, **_by(registry))
        flash(gettext("The second factor is forgotten; the next sign-in sets up a new one."), "ok")
        return redirect(url_for(".its_team", organisation_id=organisation_id))


# Limits and keys


def _access_page(registry: Registry, organisation_id: UUID, **more: object) -> str:
    now = registry.clock()
    with registry.database.snapshot() as storage:
        shown = about(registry, storage, organisation_id)
        row = shown["row"]
        rows = access.keys(storage, organisation_id)
        scopes = access.SCOPES[row.kind]
        return render_template(
            "console/its_access.html",
            **shown,
            good=[one for one in rows if access.is_good(one, now)],
            over=[one for one in rows if not access.is_good(one, now)],
            scopes=[(scope.value, keys.SCOPES[scope]) for scope in Scope if scope in scopes],
            lasts=keys.lasts(),
            defaults=registry.policy.limits,
            **{
                "limits": {name: getattr(row, name) or "" for name in LIMITS},
                "written": {"scopes": [], "lasts": "365"},
                "problems": {},
                **more,
            },
        )


def _limit(name: str) -> int | None:
    """Return a limit of at least one; nothing where the policy's is to count."""
    if not reading.text(name):
        return None
    found = reading.whole(name)
    if not found:
        raise reading.wrong(name)
    return found


def _make_key(registry: Registry, organisation_id: UUID) -> Page:
    form: dict[str, Any] = {
        "label": reading.text("label"),
        "scopes": request.form.getlist("scopes"),
        "lasts": request.form.get("lasts", ""),
    }
    try:
        with registry.database.write() as storage:
            organisation = senders.find(storage, organisation_id)
            row, text = access.issue(
                storage,
                organisation,
                [scope for scope in Scope if scope in form["scopes"]],
                keys.expiry(registry, form["lasts"]),
                label=keys.label_of(form["label"]),
                **reading.act(registry),
            )
    except RegistryError as error:
        problems = problems_of(error)
        if not problems:
            raise
        page = _access_page(registry, organisation_id, written=form, problems=problems)
        return page, 422
    return render_template(
        "console/key_made.html",
        row=row,
        text=text,
        of=organisation,
        on=url_for(".its_access", organisation_id=organisation_id),
    )


def _ask_revoke(storage: Session, organisation_id: UUID, row: ApiKey) -> str:
    whose = senders.find(storage, organisation_id)
    return render_template(
        "console/confirm.html",
        question=gettext(
            "End the key “%(label)s” of “%(name)s”?",
            label=row.label or row.id.hex[:8],
            name=whose.name,
        ),
        text=gettext("Programs that use it are turned away at once. It cannot be undone."),
        action=url_for(".revoke_its_key", organisation_id=organisation_id, key_id=row.id),
        yes=gettext("End this key"),
        kind="danger",
        back=url_for(".its_access", organisation_id=organisation_id),
        area="organisations",
    )


# Teams


def _by(registry: Registry) -> dict[str, Any]:
    here = member()
    return {"actor_id": here.own_id, "by": here.member_id, "now": registry.clock()}


def _team_page(registry: Registry, organisation_id: UUID, **more: object) -> str:
    with registry.database.snapshot() as storage:
        return render_template(
            "console/its_team.html",
            **about(registry, storage, organisation_id),
            team=members.team(storage, organisation_id),
            **{"written": {}, "problems": {}, **more},
        )


def _admin(storage: Session, organisation_id: UUID, member_id: UUID) -> Member:
    """Return an admin of an organisation; others are helped by their own admins."""
    row = members.find(storage, organisation_id, member_id)
    if row.role is not MemberRole.ADMIN:
        raise RegistryError(Kind.NOT_FOUND, "this member is no admin")
    return row


def _code_page(organisation_id: UUID, row: Member, code: str) -> str:
    return render_template(
        "console/code_to_pass_on.html",
        row=row,
        code=code,
        lasts=members.INVITED_FOR,
        area="organisations",
        on=url_for(".its_team", organisation_id=organisation_id),
    )
