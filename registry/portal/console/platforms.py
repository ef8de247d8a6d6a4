"""Platforms that send for senders: whom a sender authorised, and whom a provider serves."""

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import senders
from registry.errors import Kind, RegistryError
from registry.models import Authorisation, MemberRole, OrganisationKind
from registry.portal.console import reading
from registry.portal.console.numbers import acts
from registry.portal.console.people import PROVIDERS, SENDERS, member, needs
from registry.portal.console.reading import act
from registry.runtime import Registry
from registry.senders import PAGE

Page = str | tuple[str, int] | AnyResponse


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    def of_sender(**more: object) -> dict[str, object]:
        sought = request.args.get("q", "").strip()[:200]
        with registry.database.snapshot() as storage:
            rows = senders.authorised(storage, member().own_id, reading.after())
            found = senders.search_providers(storage, sought)
        standing = {row.provider_id for row in rows}
        return {
            "rows": rows,
            "more": rows[-1].id if len(rows) == PAGE else None,
            "sought": sought,
            "found": [one for one in found if one.id not in standing],
            **more,
        }

    @console.get("/numbers/platforms")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def platforms() -> Page:
        """Show the platforms that may send for the organisation, and find others."""
        return render_template("console/platforms.html", **of_sender())

    @console.post("/numbers/platforms")
    @needs(MemberRole.AGENT, kinds=SENDERS)
    def authorise() -> Page:
        """Let a platform send for the organisation."""
        provider_id = request.form.get("provider", type=UUID)
        if provider_id is None:
            raise RegistryError(Kind.NOT_FOUND, "there is no such provider")
        with registry.database.write() as storage:
            row = senders.authorise(storage, member().own_id, provider_id, **act(registry))
            name = row.provider.name
        flash(gettext("“%(name)s” may send for you from now on.", name=name), "ok")
        return redirect(url_for(".platforms"))

    @console.get("/numbers/served")
    @needs(MemberRole.VIEWER, kinds=PROVIDERS)
    def served() -> Page:
        """Show the senders that authorised the organisation."""
        with registry.database.snapshot() as storage:
            rows = senders.served(storage, member().own_id, reading.after())
        more = rows[-1].id if len(rows) == PAGE else None
        return render_template("console/served.html", rows=rows, more=more)

    @console.get("/numbers/authorisations/<uuid:authorisation_id>/end")
    @acts
    def ask_end_authorisation(authorisation_id: UUID) -> Page:
        """Ask whether an authorisation is to end, and say what ends with it."""
        row = _standing(registry, authorisation_id)
        mine = row.sender_id == member().own_id
        other = row.provider.name if mine else row.sender.name
        return render_template(
            "console/confirm.html",
            question=gettext("Part from “%(name)s”?", name=other),
            text=gettext(
                "It may no longer send for you, nor ask for you, at once. The extensions of its"
                " ports that you have end with it."
            )
            if mine
            else gettext(
                "You may no longer send for it, nor ask for it, at once. The extensions of your"
                " ports that it has end with it."
            ),
            action=url_for(".end_authorisation", authorisation_id=row.id),
            yes=gettext("End the authorisation"),
            kind="danger",
            back=url_for(".platforms" if mine else ".served"),
            area="numbers",
        )

    @console.post("/numbers/authorisations/<uuid:authorisation_id>/end")
    @acts
    def end_authorisation(authorisation_id: UUID) -> Page:
        """End an authorisation, as its sender or its provider."""
        here = member()
        with registry.database.write() as storage:
            senders.end_authorisation(
                storage,
                authorisation_id,
                by=here.own_id,
                member_id=here.member_id,
                now=registry.clock(),
            )
        flash(gettext("That has ended, with the extensions that went with it."), "ok")
        sender = here.kind is OrganisationKind.SENDER
        return redirect(url_for(".platforms" if sender else ".served"))


def _standing(registry: Registry, authorisation_id: UUID) -> Authorisation:
    with registry.database.snapshot() as storage:
        row = senders.find_authorisation(storage, authorisation_id, member().own_id)
    if row.ended_at is not None:
        raise RegistryError(Kind.CONFLICT, "this authorisation has ended already")
    return row
