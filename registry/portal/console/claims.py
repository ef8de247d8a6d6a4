"""Claims: numbers that an organisation says it holds, about which an operator decides."""

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import senders
from registry.consent import Channel, MessageClass
from registry.errors import Kind, RegistryError
from registry.models import ApplicationState, NumberClaim
from registry.numbers import parse_sending
from registry.portal.console import reading
from registry.portal.console.numbers import FIELDS, SAID, acts, looks, read_holding
from registry.portal.console.people import member
from registry.portal.console.reading import act
from registry.runtime import Registry
from registry.senders import PAGE

Page = str | tuple[str, int] | AnyResponse
LONGEST_NOTE = 2000
OTHER = lazy_gettext("This number cannot be claimed as things stand.")
REFUSALS = {
    "this organisation holds this number already": lazy_gettext("You hold this number already."),
    "another organisation holds this number, and numbers are never transferred": lazy_gettext(
        "Another organisation holds this number. Numbers are not handed on: once it releases it,"
        " you can claim it."
    ),
    "this number is part of one that another organisation holds": lazy_gettext(
        "This number is an extension of one that another organisation holds. If that is your"
        " platform, authorise it: then it assigns the extension to you."
    ),
    "another organisation holds a longer number that begins with this one": lazy_gettext(
        "Another organisation holds a longer number that begins with this one."
    ),
    "this organisation has claimed this number already": lazy_gettext(
        "You have claimed this number already, and the operator has not decided yet."
    ),
}


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/numbers/claims")
    @looks
    def claims() -> Page:
        """Show what was claimed, the newest first, and what was decided."""
        with registry.database.snapshot() as storage:
            rows = senders.claims(
                storage, organisation_id=member().own_id, after=reading.after(), newest_first=True
            )
        more = rows[-1].id if len(rows) == PAGE else None
        return render_template("console/claims.html", claims=rows, more=more)

    @console.get("/numbers/claims/new")
    @acts
    def new_claim() -> Page:
        """Ask for the number, and what it is for."""
        return _form({"channels": [], "usages": []}, {})

    @console.post("/numbers/claims")
    @acts
    def claim() -> Page:
        """Claim a number."""
        try:
            with registry.database.write() as storage:
                _claim(registry, storage)
        except RegistryError as error:
            if error.kind is Kind.CONFLICT:
                refused = reading.refusal(error, REFUSALS, OTHER)
                return _form(_written(), {}, refusal=refused), 409
            return _form(_written(), reading.problems(error, SAID)), 422
        flash(gettext("The claim is sent. The operator decides about it."), "ok")
        return redirect(url_for(".claims"))

    @console.get("/numbers/claims/<uuid:claim_id>/withdraw")
    @acts
    def ask_withdraw_claim(claim_id: UUID) -> Page:
        """Ask whether a claim is to be taken back."""
        row = _own_open(registry, claim_id)
        return render_template(
            "console/confirm.html",
            question=gettext("Take the claim of %(number)s back?", number=row.number),
            text=gettext("The operator decides nothing about it then. You can claim it again."),
            action=url_for(".withdraw_claim", claim_id=row.id),
            yes=gettext("Take it back"),
            back=url_for(".claims"),
            area="numbers",
        )

    @console.post("/numbers/claims/<uuid:claim_id>/withdraw")
    @acts
    def withdraw_claim(claim_id: UUID) -> Page:
        """Take a claim back."""
        here = member()
        with registry.database.write() as storage:
            senders.withdraw_claim(
                storage,
                claim_id,
                organisation_id=here.own_id,
                member_id=here.member_id,
                now=registry.clock(),
            )
        flash(gettext("The claim is taken back."), "ok")
        return redirect(url_for(".claims"))


def _own_open(registry: Registry, claim_id: UUID) -> NumberClaim:
    with registry.database.snapshot() as storage:
        row = senders.own_claim(storage, claim_id, member().own_id)
    if row.state is not ApplicationState.SUBMITTED:
        raise RegistryError(Kind.CONFLICT, "this claim is decided")
    return row


def _claim(registry: Registry, storage: Session) -> None:
    note = reading.text("note") or None
    if note is not None and len(note) > LONGEST_NOTE:
        raise reading.wrong("note")
    senders.claim(
        storage,
        member().own_id,
        parse_sending(request.form.get("number", ""), registry.policy.default_region),
        read_holding(),
        note=note,
        **act(registry),
    )


def _written() -> dict[str, object]:
    lists = {name: request.form.getlist(name) for name in ("channels", "usages")}
    return {**{name: request.form.get(name, "") for name in (*FIELDS, "note")}, **lists}


def _form(written: dict[str, object], problems: object, **more: object) -> str:
    return render_template(
        "console/claim_new.html",
        written=written,
        problems=problems,
        channels=list(Channel),
        usages=list(MessageClass),
        longest=LONGEST_NOTE,
        **more,
    )
