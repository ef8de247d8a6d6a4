"""Numbers that an organisation holds: what they may be used for, what is beneath, releasing them.

A provider also assigns extensions of its ports to the senders that it serves, and ends them.
"""

from collections.abc import Sequence
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import senders
from registry.consent import Channel, MessageClass
from registry.errors import Kind, RegistryError
from registry.models import MemberRole, OrganisationKind, SenderNumber
from registry.numbers import SendingNumber, parse_sending
from registry.portal.console import reading
from registry.portal.console.people import PROVIDERS, SENDING, member, needs
from registry.portal.console.reading import act
from registry.runtime import Registry
from registry.senders import PAGE, Holding

Page = str | tuple[str, int] | AnyResponse
looks = needs(MemberRole.VIEWER, kinds=SENDING)
acts = needs(MemberRole.AGENT, kinds=SENDING)
assigns = needs(MemberRole.AGENT, kinds=PROVIDERS)

SAID = {
    "channels": lazy_gettext("Please choose one at least, of those that it may have."),
    "usages": lazy_gettext("Please choose one at least, of those that it may have."),
    "held_from": lazy_gettext("This day is too early, or is none."),
    "held_until": lazy_gettext("This day is too late, over already, before the first, or is none."),
    "number": lazy_gettext("It has to begin with this port and be longer."),
    "sender": lazy_gettext("Please choose a sender."),
}
TAKEN = lazy_gettext("This extension is assigned or held already, as a whole or in part.")


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/numbers")
    @looks
    def numbers() -> Page:
        """Show the numbers that the organisation holds."""
        return render_template("console/numbers.html", **_holdings(registry))

    @console.post("/numbers/find")
    @needs(MemberRole.VIEWER, kinds=SENDING, suspended=True)
    def find_number() -> Page:
        """Lead to one of the organisation's numbers; none of them stands in an address."""
        written = request.form.get("number", "")
        try:
            with registry.database.snapshot() as storage:
                sending = parse_sending(written, registry.policy.default_region)
                row = senders.own_holding(storage, sending, member().own_id)
        except RegistryError as error:
            if error.kind not in (Kind.NOT_FOUND, Kind.INVALID_NUMBER):
                raise
            shown = _holdings(registry)
            return render_template("console/numbers.html", **shown, sought=written), 422
        return redirect(url_for(".number", holding_id=row.id))

    @console.get("/numbers/<uuid:holding_id>")
    @looks
    def number(holding_id: UUID) -> Page:
        """Show one of the numbers, and what lies beneath it."""
        return render_template("console/number.html", **_shown(registry, holding_id))

    @console.get("/numbers/<uuid:holding_id>/release")
    @acts
    def ask_release(holding_id: UUID) -> Page:
        """Ask whether a number is to be released, and say what ends with it."""
        shown = _shown(registry, holding_id)
        return render_template("console/release.html", **shown)

    @console.post("/numbers/<uuid:holding_id>/release")
    @acts
    def release(holding_id: UUID) -> Page:
        """Release a number, or end the extension of a port, with all that lies beneath it."""
        own = member().own_id
        with registry.database.write() as storage:
            row = senders.own_holding(storage, holding_id, own)
            senders.release_own(
                storage, own, _sending(row), now=registry.clock(), member_id=member().member_id
            )
            over = row.parent_id if row.organisation_id != own else None
        flash(gettext("The number is released. Nobody may send from it any more."), "ok")
        return redirect(url_for(".number", holding_id=over) if over else url_for(".numbers"))

    @console.post("/numbers/<uuid:holding_id>/extensions")
    @assigns
    def assign(holding_id: UUID) -> Page:
        """Assign an extension of a port to a sender that authorised the organisation."""
        try:
            with registry.database.write() as storage:
                _assign(registry, storage, senders.own_holding(storage, holding_id, _own()))
        except RegistryError as error:
            more: dict[str, object] = {"written": _written(), "problems": {}}
            if error.kind is Kind.CONFLICT:
                more["refusal"] = TAKEN
            else:
                more["problems"] = reading.problems(error, SAID)
            return render_template("console/number.html", **_shown(registry, holding_id), **more), (
                409 if error.kind is Kind.CONFLICT else 422
            )
        flash(gettext("The extension is assigned. Its sender may send from it at once."), "ok")
        return redirect(url_for(".number", holding_id=holding_id))


def _own() -> UUID:
    return member().own_id


def _sending(row: SenderNumber) -> SendingNumber:
    return SendingNumber(row.number, row.kind)


def _holdings(registry: Registry) -> dict[str, object]:
    """Return a page of what the organisation holds."""
    with registry.database.snapshot() as storage:
        rows = senders.holdings(storage, _own(), reading.after(), PAGE)
        return {
            "found": senders.with_ports(storage, rows),
            "more": rows[-1].id if len(rows) == PAGE else None,
            "organisation": senders.find(storage, _own()),
            "now": registry.clock(),
        }


def _shown(registry: Registry, holding_id: UUID) -> dict[str, object]:
    """Return what a number's page shows."""
    with registry.database.snapshot() as storage:
        row = senders.own_holding(storage, holding_id, _own())
        [resolved] = senders.with_ports(storage, [row])
        beneath = _beneath(storage, row)
        assigning = member().kind is OrganisationKind.PROVIDER and row.organisation_id == _own()
        served = senders.served(storage, _own()) if assigning else []
    may = [one for one in (*Channel, *MessageClass) if getattr(row, one)]
    return {
        "row": row,
        "provider": resolved.provider,
        "mine": row.organisation_id == _own(),
        "extendable": _sending(row).extendable,
        "beneath": beneath,
        "more": beneath[-1].id if len(beneath) == PAGE else None,
        "served": [(str(one.sender_id), one.sender.name) for one in served],
        "channels": [one for one in Channel if one in may],
        "usages": [one for one in MessageClass if one in may],
        "now": registry.clock(),
    }


def _beneath(storage: Session, row: SenderNumber) -> Sequence[SenderNumber]:
    if not _sending(row).extendable:
        return []
    return senders.extensions(storage, row.organisation_id, _sending(row), reading.after())


FIELDS = ("number", "sender", "held_from", "held_until")


def _written() -> dict[str, object]:
    """Return what stands in the form of an extension."""
    lists = {name: request.form.getlist(name) for name in ("channels", "usages")}
    return {**{name: request.form.get(name, "") for name in FIELDS}, **lists}


def read_holding() -> Holding:
    """Return what a number is to be used for, and when, as a form says it."""
    return Holding(
        reading.words(Channel, "channels"),
        reading.words(MessageClass, "usages"),
        reading.first_day("held_from"),
        reading.last_day("held_until"),
    )


def _assign(registry: Registry, storage: Session, port: SenderNumber) -> None:
    sender_id = request.form.get("sender", type=UUID)
    if sender_id is None:
        raise reading.wrong("sender")
    written = request.form.get("number", "")
    extension = parse_sending(written, registry.policy.default_region)
    senders.assign_extension(
        storage, _own(), _sending(port), extension, sender_id, read_holding(), **act(registry)
    )
