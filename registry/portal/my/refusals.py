"""Refusing, by everything or by a part, lifting it again, and contact hours of one's own."""

from datetime import time
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from marshmallow import EXCLUDE, Schema, ValidationError, fields
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import ledger, subscribers
from registry.consent import Channel, Topic
from registry.errors import Kind, RegistryError
from registry.models import ANY, Organisation, OrganisationKind
from registry.portal.visitors import visitor
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse


class ScopeForm(Schema):
    """What a refusal is to cover, and nothing less: a choice that is missing is no choice."""

    channel = fields.Enum(Channel, by_value=True, required=True, allow_none=True)
    topic = fields.Enum(Topic, by_value=True, required=True, allow_none=True)
    sender = fields.UUID(required=True, allow_none=True)


class HoursForm(Schema):
    """Between which hours of the day the subscriber may be contacted at all."""

    opens = fields.Time(required=True, format="%H:%M")
    closes = fields.Time(required=True, format="%H:%M")


def add(my: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of a number."""

    @my.get("/refusals")
    def refusals() -> Page:
        """Show what stands, and what else can be refused; `sender` is one to begin with."""
        with registry.database.snapshot() as storage:
            wanted = _sender(storage, request.args.get("sender", type=UUID))
            return _page(registry, storage, sender=wanted)

    @my.post("/refuse-everything")
    def refuse_everything() -> Page:
        """Refuse everything: one tap, at once."""
        with registry.database.write() as storage:
            _refuse(registry, storage, ledger.Scope())
        flash(gettext("You refuse everything from now on."), "ok")
        return redirect(url_for(".overview"))

    @my.post("/refusals")
    def refuse() -> Page:
        """Refuse a channel, a topic, a sender, or what they have in common."""
        try:
            form = ScopeForm(unknown=EXCLUDE).load(
                {name: None if value == ANY else value for name, value in request.form.items()}
            )
        except ValidationError:
            raise RegistryError(Kind.MALFORMED, "no such channel, topic or sender") from None
        scope = ledger.Scope(form["channel"], form["topic"], form["sender"])
        with registry.database.write() as storage:
            _refuse(registry, storage, scope)
        flash(gettext("Your refusal is recorded and takes effect at once."), "ok")
        return redirect(url_for(".refusals"))

    @my.post("/refusals/<uuid:refusal_id>/lift")
    def lift(refusal_id: UUID) -> Page:
        """Lift a refusal, whoever recorded it."""
        with registry.database.write() as storage:
            ledger.lift_own(
                storage, visitor().number, refusal_id, by=visitor().by, clock=registry.clock
            )
        flash(gettext("That refusal is lifted. We also tell you by SMS."), "ok")
        return redirect(url_for(".refusals"))

    @my.post("/hours")
    def set_hours() -> Page:
        """Set own contact hours, inside those of the policy."""
        wanted = {name: request.form.get(name, "")[:5] for name in HoursForm().fields}
        try:
            hours = HoursForm().load(wanted)
            with registry.database.write() as storage:
                _set_hours(registry, storage, hours["opens"], hours["closes"])
        except (ValidationError, RegistryError) as error:
            if isinstance(error, RegistryError) and error.kind is not Kind.INVALID:
                raise
            with registry.database.snapshot() as storage:
                return _page(registry, storage, wanted=wanted), 422
        flash(gettext("Your contact hours are set and take effect at once."), "ok")
        return redirect(url_for(".refusals"))

    @my.post("/hours/lift")
    def lift_hours() -> Page:
        """Go back to the policy's contact hours."""
        with registry.database.write() as storage:
            ledger.lift_own_hours(storage, visitor().number, by=visitor().by, clock=registry.clock)
        flash(gettext("Your own contact hours no longer apply."), "ok")
        return redirect(url_for(".refusals"))


def _sender(storage: Session, organisation_id: UUID | None) -> Organisation | None:
    """Return the sender that a link of ours names; another organisation is none to refuse."""
    if organisation_id is None:
        return None
    found = storage.get(Organisation, organisation_id)
    return found if found is not None and found.kind is OrganisationKind.SENDER else None


def _page(
    registry: Registry,
    storage: Session,
    wanted: dict[str, str] | None = None,
    sender: Organisation | None = None,
) -> str:
    number = visitor().number
    known = list(subscribers.senders_known(storage, number, registry.clock()))
    if sender is not None and all(row.id != sender.id for row in known):
        known.insert(0, sender)
    return render_template(
        "my/refusals.html",
        refusals=subscribers.refusals(storage, number),
        senders=[(row.id, row.name) for row in known],
        sender=None if sender is None else sender.id,
        hours=ledger.standing_hours(storage, number),
        policy_hours=registry.policy.contact_hours,
        wanted=wanted,
        channels=list(Channel),
        topics=list(Topic),
    )


def _refuse(registry: Registry, storage: Session, scope: ledger.Scope) -> None:
    ledger.refuse(storage, visitor().number, scope, by=visitor().by, clock=registry.clock)


def _set_hours(registry: Registry, storage: Session, opens: time, closes: time) -> None:
    ledger.set_own_hours(
        storage,
        visitor().number,
        opens,
        closes,
        by=visitor().by,
        policy=registry.policy,
        clock=registry.clock,
    )
