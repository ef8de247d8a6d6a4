"""All organisations, to those who oversee them: finding, looking, registering, correcting."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import LazyString, gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import overview, senders
from registry.errors import Kind, RegistryError
from registry.models import Application, ApplicationState, MemberRole, OrganisationKind
from registry.portal.console import reading
from registry.portal.console.forms import Problems, problems_of
from registry.portal.console.operators.deciding import expect
from registry.portal.console.people import OPERATORS, OVERSEERS, needs
from registry.runtime import Registry
from registry.senders import directory
from registry.senders.directory import Standing

Page = str | tuple[str, int] | AnyResponse
look = needs(MemberRole.VIEWER, kinds=OVERSEERS)
change = needs(MemberRole.ADMIN, kinds=OPERATORS)
DETAILS = ("name", "licence_number", "contact_phone", "complaint_phone")
KINDS = tuple(kind for kind in OrganisationKind if kind is not OrganisationKind.OPERATOR)
"""What is registered here. Another operator is added on the registry's own machine."""
NEEDED = {OrganisationKind.SENDER, OrganisationKind.PROVIDER}
"""Of these a phone for complaints is published (R23)."""
LONGEST_SEARCH = 200
TAKEN = lazy_gettext("An organisation with this code is registered already.")
NAME = {"name": lazy_gettext("Please write 1 to 200 characters.")}


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/organisations")
    @look
    def organisations() -> Page:
        """Show organisations, by part of the name or by code, by kind and by standing."""
        return _list_page(registry)

    @console.get("/organisations/new")
    @change
    def new_organisation() -> Page:
        """Ask for the details of an organisation that does not apply itself."""
        return _new_page({}, {})

    @console.post("/organisations/new")
    @change
    def register_organisation() -> Page:
        """Register an organisation, and go on to its team."""
        return _register(registry)

    @console.get("/organisations/<uuid:organisation_id>")
    @look
    def one_organisation(organisation_id: UUID) -> Page:
        """Show what is known of an organisation, and was."""
        with registry.database.snapshot() as storage:
            return render_template(
                "console/one_organisation.html",
                **about(registry, storage, organisation_id),
                versions=list(reversed(senders.history(storage, organisation_id))),
                against=overview.against(storage, organisation_id),
                suspensions=[
                    (one, directory.phase(one, registry.clock()))
                    for one in senders.suspensions(storage, organisation_id)
                ],
                waiting=_waiting(storage, organisation_id),
            )

    @console.get("/organisations/<uuid:organisation_id>/numbers")
    @look
    def its_numbers(organisation_id: UUID) -> Page:
        """Show the numbers that an organisation holds, and whose extensions they are."""
        with registry.database.snapshot() as storage:
            rows = senders.holdings(storage, organisation_id, reading.after(), senders.PAGE)
            return render_template(
                "console/its_numbers.html",
                **about(registry, storage, organisation_id),
                found=senders.with_ports(storage, rows),
                more=rows[-1].id if len(rows) == senders.PAGE else None,
            )

    @console.get("/organisations/<uuid:organisation_id>/authorisations")
    @look
    def its_authorisations(organisation_id: UUID) -> Page:
        """Show which platforms send for a sender, or for which senders a platform does."""
        with registry.database.snapshot() as storage:
            shown = about(registry, storage, organisation_id)
            serves = shown["row"].kind is OrganisationKind.PROVIDER
            list_ = senders.served if serves else senders.authorised
            rows = list_(storage, organisation_id, reading.after())
            return render_template(
                "console/its_authorisations.html",
                **shown,
                rows=[(one, one.sender if serves else one.provider) for one in rows],
                more=rows[-1].id if len(rows) == senders.PAGE else None,
            )

    @console.get("/organisations/<uuid:organisation_id>/correct")
    @change
    def ask_correct_organisation(organisation_id: UUID) -> Page:
        """Ask what is to be corrected, beginning with what is known."""
        with registry.database.snapshot() as storage:
            row = senders.find(storage, organisation_id)
        written = {name: getattr(row, name) or "" for name in DETAILS}
        return _correct_page(registry, organisation_id, written, {})

    @console.post("/organisations/<uuid:organisation_id>/correct")
    @change
    def correct_organisation(organisation_id: UUID) -> Page:
        """Correct details, as somebody who knows better may."""
        return _correct(registry, organisation_id)


def about(registry: Registry, storage: Session, organisation_id: UUID) -> dict[str, Any]:
    """Return what every page of an organisation shows at its head."""
    row = senders.find(storage, organisation_id)
    suspension = senders.suspension(storage, organisation_id)
    now = registry.clock()
    standing = directory.Listed(row, suspension).standing(now)
    return {"row": row, "suspension": suspension, "standing": standing, "now": now}


def _list_page(registry: Registry) -> str:
    written = request.args.get("q", "")[:LONGEST_SEARCH]
    kind = reading.one_of(OrganisationKind, "kind")
    standing = reading.one_of(Standing, "standing")
    now = registry.clock()
    with registry.database.snapshot() as storage:
        found = directory.search(
            storage, written, kind=kind, standing=standing, after=reading.after(), now=now
        )
    asked: dict[str, Any] = {"q": written or None, "kind": kind, "standing": standing}
    more = found[-1].organisation.id if len(found) == senders.PAGE else None
    return render_template(
        "console/organisations.html",
        found=[(one.organisation, one.standing(now), one.suspension) for one in found],
        asked=asked,
        narrowed=any(asked.values()),
        kinds=list(OrganisationKind),
        standings=list(Standing),
        next_page=url_for(".organisations", **asked, after=more) if more else None,
    )


def _waiting(storage: Session, organisation_id: UUID) -> Application | None:
    rows = senders.applications(
        storage, organisation_id=organisation_id, state=ApplicationState.SUBMITTED
    )
    return rows[0] if rows else None


def _new_page(written: Mapping[str, str], problems: Problems) -> str:
    return render_template(
        "console/organisation_new.html", kinds=KINDS, written=written, problems=problems
    )


def _register(registry: Registry) -> Page:
    written = {name: reading.text(name) for name in ("kind", "uscc", *DETAILS)}
    try:
        kind = reading.word(OrganisationKind, "kind")
        if kind not in KINDS:
            raise reading.wrong("kind")
        with registry.database.write() as storage:
            row = senders.register(
                storage, kind, uscc=written["uscc"], **_details(kind, written),
                **reading.act(registry),
            )  # fmt: skip
    except RegistryError as error:
        return _new_page(written, _said(error)), 422
    flash(gettext("“%(name)s” is registered. Invite its first admin.", name=row.name), "ok")
    return redirect(url_for(".its_team", organisation_id=row.id))


def _details(
    kind: OrganisationKind, written: Mapping[str, str], *, unlicensed: bool = False
) -> dict[str, Any]:
    """Return details as they are kept; some organisations have no licence or complaint phone.

    A sender that is `unlicensed` already may stay so while something else is corrected.
    """
    details = {name: written[name] or None for name in DETAILS}
    needed = set(DETAILS) if kind in NEEDED else {"name", "contact_phone"}
    if unlicensed:
        needed.discard("licence_number")
    missing = [name for name in DETAILS if name in needed and details[name] is None]
    if missing:
        raise reading.wrong(*missing)
    return details


def _said(error: RegistryError) -> Problems:
    if error.kind is Kind.CONFLICT:
        return {"uscc": TAKEN}
    found: Problems = problems_of(error)
    if not found:
        raise error
    named: Mapping[str, LazyString] = NAME
    return {**found, **{name: named[name] for name in named if name in found}}


def _correct_page(
    registry: Registry,
    organisation_id: UUID,
    written: Mapping[str, str],
    problems: Problems,
    **more: object,
) -> str:
    with registry.database.snapshot() as storage:
        return render_template(
            "console/organisation_correct.html",
            **about(registry, storage, organisation_id),
            waiting=_waiting(storage, organisation_id),
            written=written,
            problems=problems,
            **more,
        )


def _correct(registry: Registry, organisation_id: UUID) -> Page:
    written = {name: reading.text(name) for name in DETAILS}
    try:
        with registry.database.write() as storage:
            row = senders.find(storage, organisation_id)
            details = _details(row.kind, written, unlicensed=row.licence_number is None)
            same = all(getattr(row, name) == details[name] for name in DETAILS)
            if not same:
                expect(_waiting(storage, organisation_id) is None, "an application waits")
                senders.correct(storage, organisation_id, details, **reading.act(registry))
    except RegistryError as error:
        if error.kind is Kind.CONFLICT:
            return _correct_page(registry, organisation_id, written, {}), 409
        return _correct_page(registry, organisation_id, written, _said(error)), 422
    if same:
        return _correct_page(registry, organisation_id, written, {}, same=True), 422
    flash(gettext("The details are corrected. The old ones stay in the history."), "ok")
    return redirect(url_for(".one_organisation", organisation_id=organisation_id))
