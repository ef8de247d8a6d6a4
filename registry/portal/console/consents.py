"""Consents: what an organisation has of one number, and withdrawing it."""

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from uuid import UUID

from flask import (
    Blueprint,
    Response,
    flash,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)
from flask_babel import LazyString, gettext, lazy_gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import evidence, ledger
from registry.consent import Topic
from registry.errors import Kind, RegistryError
from registry.ledger import By
from registry.models import Consent, MemberRole, Via
from registry.portal.console import reading
from registry.portal.console.people import SENDERS, member, needs
from registry.portal.console.words import told
from registry.routes import cursors
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse
LONGEST_REASON = 500
WISHES = ("subscriber", "sender")
SAID = {
    "by": lazy_gettext("Please choose one."),
    "reason": lazy_gettext("Please write at most %(most)s characters.", most=LONGEST_REASON),
}


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/consents")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def consents() -> Page:
        """Ask for a number."""
        return render_template("console/consents.html", written="", problems={})

    @console.post("/consents")
    @needs(MemberRole.VIEWER, kinds=SENDERS, suspended=True)
    def search_consents() -> Page:
        """Show what the organisation has of a number, which never stands in an address."""
        written = request.form.get("number", "")
        try:
            shown = _found(registry)
        except RegistryError as error:
            problems = reading.problems(error, {})
            page = render_template("console/consents.html", written=written, problems=problems)
            return page, 422
        return render_template("console/consents.html", written=written, problems={}, **shown)

    @console.get("/consents/<uuid:consent_id>")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def consent(consent_id: UUID) -> Page:
        """Show a consent with its terms, its evidence and what became of it."""
        with registry.database.snapshot() as storage:
            row = evidence.own(storage, consent_id, member().own_id)
            proved = evidence.shown(storage, row, registry.policy.retention)
            return render_template(
                "console/consent.html",
                course=_course(row),
                proved=proved,
                **_shown(registry, row),
            )

    @console.get("/consents/<uuid:consent_id>/file")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def consent_file(consent_id: UUID) -> Response:
        """Send the file that the evidence is about, to be kept and not shown."""
        with registry.database.snapshot() as storage:
            row = evidence.own(storage, consent_id, member().own_id)
            file = evidence.file_of(storage, row)
        if file is None:
            raise RegistryError(Kind.NOT_FOUND, "no file is kept here")
        return send_file(
            BytesIO(registry.files.read(file.sha256)),
            mimetype="application/octet-stream",
            as_attachment=True,
            download_name=file.name,
        )

    @console.get("/consents/<uuid:consent_id>/withdraw")
    @needs(MemberRole.AGENT, kinds=SENDERS)
    def ask_withdraw_consent(consent_id: UUID) -> Page:
        """Ask at whose wish a consent is to end."""
        row = _own(registry, consent_id)
        return render_template(
            "console/withdraw.html", written={}, problems={}, **_shown(registry, row)
        )

    @console.post("/consents/<uuid:consent_id>/withdraw")
    @needs(MemberRole.AGENT, kinds=SENDERS)
    def withdraw_consent(consent_id: UUID) -> Page:
        """End a consent, at its subscriber's wish or to correct what was recorded."""
        try:
            by, note = _read()
        except RegistryError as error:
            shown = _shown(registry, _own(registry, consent_id))
            page = render_template(
                "console/withdraw.html",
                written=request.form,
                problems=reading.problems(error, SAID),
                **shown,
            )
            return page, 422
        with registry.database.write() as storage:
            ledger.withdraw(
                storage,
                consent_id,
                by=By(Via.SENDER, member().own_id),
                by_subscriber=by == "subscriber",
                note=note,
                clock=registry.clock,
            )
        flash(gettext("The consent is withdrawn, at once."), "ok")
        return redirect(url_for(".consent", consent_id=consent_id))


def _found(registry: Registry) -> dict[str, object]:
    """Return what the organisation has of the number in the form."""
    number, own, now = reading.subscriber(registry), member().own_id, registry.clock()
    after = reading.cursor_of(request.form.get("cursor"))
    with registry.database.snapshot() as storage:
        rows = ledger.search_consents(storage, number, own, after)
        asked = ledger.search_requests(storage, own, now=now, number=number) if not after else []
        return {
            "number": number,
            "rows": [(row, ledger.state(row, now)) for row in rows],
            "more": cursors.next_page(rows, ledger.PAGE),
            "asked": [
                (row, list(map(Topic, row.topics.split())), ledger.request_state(row, now))
                for row in asked
            ],
        }


def _own(registry: Registry, consent_id: UUID) -> Consent:
    with registry.database.snapshot() as storage:
        return ledger.own_consent(storage, consent_id, member().own_id)


def _shown(registry: Registry, row: Consent) -> dict[str, object]:
    state = ledger.state(row, registry.clock())
    ended = row.end_reason is not None or row.reassignment_id is not None
    return {"row": row, "state": state, "ended": ended, "longest": LONGEST_REASON}


def _course(row: Consent) -> Sequence[tuple[str, datetime]]:
    """Return what happened to a consent, step by step."""
    steps: list[tuple[LazyString | str, datetime | None]] = [
        (lazy_gettext("The subscriber agreed"), row.grant.granted_at),
        (lazy_gettext("Recorded here"), row.recorded_at),
    ]
    if row.end_reason is not None:
        steps.append((told(ledger.ConsentState(row.end_reason)), row.ended_at))
    if row.reassignment is not None:
        said = lazy_gettext("The number went to somebody else")
        steps.append((said, row.reassignment.reassigned_at))
    return [(str(title), at) for title, at in steps if at is not None]


def _read() -> tuple[str, str | None]:
    """Return at whose wish, and why."""
    by, note = request.form.get("by", ""), reading.text("reason")
    if by not in WISHES:
        raise reading.wrong("by")
    if len(note) > LONGEST_REASON:
        raise RegistryError(Kind.INVALID, "reason", fields={"reason": ["is too long"]})
    return by, note or None
