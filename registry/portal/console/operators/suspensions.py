"""Suspensions of organisations: all of them by phase, announcing, calling off and lifting (R20)."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import senders
from registry.errors import Kind, RegistryError
from registry.models import MemberRole
from registry.portal.console import reading
from registry.portal.console.forms import Problems
from registry.portal.console.operators import deciding
from registry.portal.console.operators.organisations import about
from registry.portal.console.people import OPERATORS, OVERSEERS, member, needs
from registry.portal.languages import written_moment
from registry.runtime import Registry
from registry.senders import directory
from registry.senders.directory import Phase

Page = str | tuple[str, int] | AnyResponse
look = needs(MemberRole.VIEWER, kinds=OVERSEERS)
change = needs(MemberRole.ADMIN, kinds=OPERATORS)
WHENS = ("notice", "day", "now")
"""From when a suspension is to hold: after the policy's notice, on a day, at once."""
SAID = {
    **deciding.SAID,
    "when": lazy_gettext("Please choose one."),
    "day": lazy_gettext("Please choose a day that is still to come."),
}


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/suspensions")
    @look
    def suspensions() -> Page:
        """Show everybody's suspensions of one phase, the newest first."""
        phase = reading.one_of(Phase, "phase") or Phase.STANDING
        now = registry.clock()
        with registry.database.snapshot() as storage:
            found = directory.suspensions(storage, phase, after=reading.after(), now=now)
        more = found[-1].suspension.id if len(found) == senders.PAGE else None
        return render_template(
            "console/suspensions.html", found=found, phase=phase, phases=list(Phase), more=more
        )

    @console.get("/suspensions/<uuid:suspension_id>")
    @look
    def suspension(suspension_id: UUID) -> Page:
        """Show a suspension and the appeals against it."""
        return _page(registry, suspension_id)

    @console.post("/suspensions/<uuid:suspension_id>/end")
    @change
    def end_suspension(suspension_id: UUID) -> Page:
        """Call a suspension off, or lift it, for a reason, once that was confirmed."""
        return _end(registry, suspension_id)

    @console.get("/organisations/<uuid:organisation_id>/suspend")
    @change
    def ask_suspend(organisation_id: UUID) -> Page:
        """Ask why and from when an organisation is to be suspended."""
        return _suspend_page(registry, organisation_id, {}, {})

    @console.post("/organisations/<uuid:organisation_id>/suspend")
    @change
    def suspend(organisation_id: UUID) -> Page:
        """Announce a suspension, once that was confirmed."""
        return _suspend(registry, organisation_id)


def _page(registry: Registry, suspension_id: UUID, **more: object) -> str:
    now = registry.clock()
    with registry.database.snapshot() as storage:
        case = directory.find_suspension(storage, suspension_id)
        return render_template(
            "console/suspension.html",
            case=case,
            row=case.suspension,
            phase=directory.phase(case.suspension, now),
            appeals=senders.appeals(storage, suspension_id),
            longest=deciding.LONGEST_REASON,
            written=reading.text("reason"),
            **{"problems": {}, **more},
        )


# Ending


def _end(registry: Registry, suspension_id: UUID) -> Page:
    try:
        reason = deciding.read_reason(needed=True)
    except RegistryError as error:
        problems = reading.problems(error, SAID)
        return _page(registry, suspension_id, problems=problems), 422
    if not deciding.is_sure():
        return _ask_end(registry, suspension_id, reason)
    with registry.database.write() as storage:
        found = directory.find_suspension(storage, suspension_id)
        # Another one may be open by now, which is not the one that was looked at.
        deciding.expect(found.suspension.ended_at is None, "this suspension has ended")
        deciding.expect(
            found.organisation.id != member().own_id, "nobody lifts a suspension of their own"
        )
        senders.reinstate(storage, found.organisation.id, reason=reason, **reading.act(registry))
    flash(gettext("The suspension has ended."), "ok")
    return redirect(url_for(".suspension", suspension_id=suspension_id))


def _ask_end(registry: Registry, suspension_id: UUID, reason: str | None) -> str:
    with registry.database.snapshot() as storage:
        case = directory.find_suspension(storage, suspension_id)
    phase = directory.phase(case.suspension, registry.clock())
    deciding.expect(phase is not Phase.ENDED, "this suspension has ended")
    name = case.organisation.name
    if phase is Phase.ANNOUNCED:
        question = gettext("Call off the suspension of “%(name)s”?", name=name)
        text = gettext("It will not take effect. Announcing it stays on record.")
    else:
        question = gettext("Lift the suspension of “%(name)s”?", name=name)
        text = gettext("It may send again at once, as far as there are consents.")
    if case.appeal is not None:
        text += " " + gettext("The appeal that waits is granted by this.")
    return deciding.ask_once_more(
        {"reason": reason},
        question=question,
        text=text,
        reason=reason,
        action=url_for(".end_suspension", suspension_id=suspension_id),
        yes=gettext("Yes, call it off") if phase is Phase.ANNOUNCED else gettext("Yes, lift it"),
        back=url_for(".suspension", suspension_id=suspension_id),
        area="suspensions",
    )


# Announcing


def _suspend_page(
    registry: Registry, organisation_id: UUID, written: Mapping[str, str], problems: Problems
) -> str:
    days = registry.policy.suspensions.notice_days
    with registry.database.snapshot() as storage:
        shown = about(registry, storage, organisation_id)
    _check_may_be(shown["suspension"] is None, organisation_id)
    return render_template(
        "console/suspend.html",
        **shown,
        days=days,
        after_notice=registry.clock() + timedelta(days=days),
        longest=deciding.LONGEST_REASON,
        written=written,
        problems=problems,
    )


def _check_may_be(free: bool, organisation_id: UUID) -> None:
    deciding.expect(free, "this organisation is suspended already, or will be")
    deciding.expect(organisation_id != member().own_id, "nobody suspends their own organisation")


def _suspend(registry: Registry, organisation_id: UUID) -> Page:
    written = {name: reading.text(name) for name in ("reason", "when", "day")}
    try:
        reason, starts_at = _read_announcement(registry)
    except RegistryError as error:
        problems = reading.problems(error, SAID)
        return _suspend_page(registry, organisation_id, written, problems), 422
    if not deciding.is_sure():
        return _ask_suspend(registry, organisation_id, written, starts_at)
    with registry.database.write() as storage:
        _check_may_be(True, organisation_id)
        senders.suspend(
            storage, organisation_id, reason, starts_at=starts_at, **reading.act(registry)
        )
        made = senders.suspension(storage, organisation_id)
    if made is None:
        raise RegistryError(Kind.INTERNAL, "a suspension that was made is not there")
    flash(gettext("The suspension is announced. The organisation reads the reason."), "ok")
    return redirect(url_for(".suspension", suspension_id=made.id))


def _read_announcement(registry: Registry) -> tuple[str, datetime]:
    """Return why and from when."""
    now, when = registry.clock(), request.form.get("when")
    reason = deciding.read_reason(needed=True) or ""
    if when not in WHENS:
        raise reading.wrong("when")
    if when == "now":
        return reason, now
    if when == "notice":
        return reason, now + timedelta(days=registry.policy.suspensions.notice_days)
    day = reading.first_day("day")
    if day is None or day <= now:
        raise reading.wrong("day")
    return reason, day


def _ask_suspend(
    registry: Registry, organisation_id: UUID, written: Mapping[str, str], starts_at: datetime
) -> str:
    with registry.database.snapshot() as storage:
        row = senders.find(storage, organisation_id)
        free = senders.suspension(storage, organisation_id) is None
    _check_may_be(free, organisation_id)
    if starts_at <= registry.clock():
        question = gettext("Suspend “%(name)s” at once?", name=row.name)
    else:
        question = gettext(
            "Suspend “%(name)s” from %(time)s on?", name=row.name, time=written_moment(starts_at)
        )
    return deciding.ask_once_more(
        written,
        question=question,
        reason=written["reason"],
        stops=row,
        action=url_for(".suspend", organisation_id=organisation_id),
        yes=gettext("Yes, suspend it"),
        kind="danger",
        back=url_for(".ask_suspend", organisation_id=organisation_id),
        area="suspensions",
    )
