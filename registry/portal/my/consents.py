"""Consents: who holds one, for what and on what evidence; withdrawing, confirming."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from babel import Locale, UnknownLocaleError
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import get_locale, gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import evidence, ledger, subscribers
from registry.consent import Basis
from registry.errors import Kind, RegistryError
from registry.models import Consent
from registry.portal.my import telling
from registry.portal.my.telling import Told
from registry.portal.visitors import visitor
from registry.runtime import Registry
from registry.subscribers import PAGE, Happened, OwnConsent, Standing

Page = str | tuple[str, int] | AnyResponse

CONFIRMABLE = {Standing.WITHOUT_EFFECT, Standing.REFUSED}


def add(my: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of a number."""

    @my.get("/consents")
    def consents() -> Page:
        """Show who may contact the number, and what is over."""
        with registry.database.snapshot() as storage:
            found = subscribers.consents(storage, visitor().number, registry.clock())
            ended, older = _ended(registry, storage)
            return render_template(
                "my/consents.html",
                consents=[own for own in found if not own.over],
                over=[own for own in found if own.over] + ended,
                older=older,
            )

    @my.get("/consents/over")
    def ended_consents() -> Page:
        """Show more of the consents that have ended."""
        with registry.database.snapshot() as storage:
            ended, older = _ended(registry, storage, before=request.args.get("before", type=UUID))
            return render_template("my/consents_over.html", ended=ended, older=older)

    @my.get("/consents/<uuid:consent_id>")
    def consent(consent_id: UUID) -> Page:
        """Show one consent with its evidence, its dispute and its history."""
        with registry.database.snapshot() as storage:
            own = find(registry, storage, consent_id)
            return render_template(
                "my/consent.html",
                own=own,
                shown=evidence.shown(storage, own.row, registry.policy.retention),
                whole=whole(registry, storage, own),
                course=_course(
                    own.row, subscribers.consent_history(storage, own), registry.clock()
                ),
                confirmable=_confirmable(own),
                disputable=disputable(own),
                language_name=_language_name(own.row.grant.evidence.language),
                now=registry.clock(),
            )

    @my.post("/consents/<uuid:consent_id>/withdraw")
    def withdraw(consent_id: UUID) -> Page:
        """Withdraw one consent; a card of the list is exchanged for what it has become."""
        number, by = visitor().number, visitor().by
        with registry.database.write() as storage:
            ledger.withdraw_own(storage, number, consent_id, by=by, clock=registry.clock)
            own = find(registry, storage, consent_id)
            if "HX-Request" in request.headers:
                return render_template("my/consent_card.html", own=own, just_withdrawn=True)
        flash(
            gettext(
                "Withdrawn: “%(sender)s” may no longer contact you about it.",
                sender=own.row.sender.name,
            ),
            "ok",
        )
        return redirect(url_for(".consents"))

    @my.get("/consents/withdraw-all")
    def ask_withdraw_all() -> Page:
        """Ask before all consents are withdrawn, and say what that covers."""
        with registry.database.snapshot() as storage:
            found = subscribers.consents(storage, visitor().number, registry.clock())
            covered = [own for own in found if not own.standing.over]
            if not covered:
                return redirect(url_for(".consents"))
            return render_template("my/withdraw_all.html", covered=covered)

    @my.post("/consents/withdraw-all")
    def withdraw_all() -> Page:
        """Withdraw all consents."""
        with registry.database.write() as storage:
            ledger.withdraw_all(storage, visitor().number, by=visitor().by, clock=registry.clock)
        flash(gettext("All your consents are withdrawn. It takes effect at once."), "ok")
        return redirect(url_for(".consents"))

    @my.post("/consents/<uuid:consent_id>/confirm")
    def confirm(consent_id: UUID) -> Page:
        """Agree to what a sender asserted; that counts although a refusal stands."""
        number, by = visitor().number, visitor().by
        with registry.database.write() as storage:
            if find(registry, storage, consent_id).in_dispute:
                raise RegistryError(Kind.CONFLICT, "this consent is in dispute")
            [confirmed] = ledger.confirm(
                storage, number, consent_id, by=by, policy=registry.policy, clock=registry.clock
            )
            if find(registry, storage, confirmed.id).standing is not Standing.IN_FORCE:
                raise RegistryError(Kind.CONFLICT, "this consent was refused after all")
        flash(gettext("You agree to this from now on. You can withdraw it at any time."), "ok")
        return redirect(url_for(".consent", consent_id=confirmed.id))


def _ended(
    registry: Registry, storage: Session, before: UUID | None = None
) -> tuple[list[OwnConsent], UUID | None]:
    """Return a page of the consents that have ended, and its last one where older ones follow."""
    found = subscribers.ended_consents(
        storage, visitor().number, registry.clock(), before, limit=PAGE + 1
    )
    return found[:PAGE], found[PAGE - 1].row.id if len(found) > PAGE else None


def find(registry: Registry, storage: Session, consent_id: UUID) -> OwnConsent:
    """Return a consent of the number that a page is about."""
    return subscribers.consent(storage, visitor().number, consent_id, registry.clock())


def whole(registry: Registry, storage: Session, own: OwnConsent) -> list[OwnConsent]:
    """Return all that was consented to in the same act, which a dispute is about as a whole."""
    grant_id = own.row.grant_id
    return subscribers.granted(storage, visitor().number, [grant_id], registry.clock())[grant_id]


def _confirmable(own: OwnConsent) -> bool:
    """Whether the subscriber can make it count by agreeing here."""
    return own.row.grant.basis is Basis.ASSERTED and own.standing in CONFIRMABLE


def disputable(own: OwnConsent) -> bool:
    """Whether the subscriber can still ask its sender for proof."""
    asserted = own.row.grant.basis is Basis.ASSERTED
    kept = own.row.grant.evidence.purged_at is None
    return asserted and kept and own.challenge is None and own.row.ended_at is None


def _language_name(tag: str | None) -> str | None:
    """Return how the language of a text is called in the language of the page."""
    if tag is None:
        return None
    try:
        spoken, here = Locale.parse(tag, sep="-"), get_locale()
    except (UnknownLocaleError, ValueError):
        return tag
    written = here.languages.get(f"{spoken.language}_{spoken.script}")
    return written or spoken.get_display_name(here) or tag


@dataclass(frozen=True)
class Step:
    """What happened to a consent, when, and who did it."""

    at: datetime
    told: Told
    who: str = ""


def _course(consent: Consent, events: list[Happened], now: datetime) -> list[Step]:
    """Tell what happened to a consent, the oldest first."""
    steps = [Step(event.at, _tell(consent, event), _who(event)) for event in events]
    if consent.grant.basis is Basis.ASSERTED:
        said = Told("agree", "off", gettext("You are said to have agreed"))
        steps.insert(0, Step(consent.grant.granted_at, said))
    if consent.valid_until <= (consent.ended_at or now):
        steps.append(Step(consent.valid_until, Told("clock", "off", gettext("Its time was over"))))
    return sorted(steps, key=lambda step: step.at)


def _tell(consent: Consent, event: Happened) -> Told:
    if event.kind == "consent_granted" and event.event_id != consent.event_id:
        return Told("again", "off", gettext("A newer one took its place"))
    return telling.tell(event)


def _who(event: Happened) -> str:
    """Return who acted, unless that has just been said."""
    said = event.organisation is not None and event.kind in (
        "consent_granted",
        "challenge_answered",
    )
    return "" if said else telling.actor(event, visitor())
