"""Disputes: "I never agreed to this", and the sender must prove it."""

from datetime import timedelta
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, url_for
from flask_babel import gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import ledger
from registry.portal.my.consents import disputable, find, whole
from registry.portal.visitors import visitor
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse


def add(my: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of a number."""

    @my.get("/consents/<uuid:consent_id>/challenge")
    def ask_challenge(consent_id: UUID) -> Page:
        """Explain what follows when the subscriber never agreed."""
        with registry.database.snapshot() as storage:
            own = find(registry, storage, consent_id)
            if not disputable(own):
                return redirect(url_for(".consent", consent_id=consent_id))
            days = registry.policy.challenges.evidence_days
            return render_template(
                "my/challenge.html",
                own=own,
                whole=whole(registry, storage, own),
                evidence_by=registry.clock() + timedelta(days=days),
            )

    @my.post("/consents/<uuid:consent_id>/challenge")
    def challenge(consent_id: UUID) -> Page:
        """Dispute a consent: the sender must prove it."""
        number, by = visitor().number, visitor().by
        with registry.database.write() as storage:
            ledger.challenge(
                storage, number, consent_id, by=by, policy=registry.policy, clock=registry.clock
            )
        flash(gettext("You dispute this consent. Nobody may contact you because of it."), "ok")
        return redirect(url_for(".consent", consent_id=consent_id))
