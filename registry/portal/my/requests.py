"""Requests: senders that ask whether they may make contact; no answer is a no."""

from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import ledger, subscribers
from registry.errors import Kind, RegistryError
from registry.ledger import Shown, Way
from registry.models import RequestOutcome
from registry.portal import languages
from registry.portal.visitors import visitor
from registry.runtime import Registry
from registry.subscribers import PAGE, OwnRequest

Page = str | tuple[str, int] | AnyResponse


def add(my: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of a number."""

    @my.get("/requests")
    def requests() -> Page:
        """Show the requests that wait, and below them those that are closed."""
        before = request.args.get("before", type=UUID)
        with registry.database.snapshot() as storage:
            number, now = visitor().number, registry.clock()
            closed = subscribers.closed_requests(storage, number, now, before, limit=PAGE + 1)
            return render_template(
                "my/requests.html",
                requests=[] if before else subscribers.open_requests(storage, number, now),
                closed=closed[:PAGE],
                older=closed[PAGE - 1].row.id if len(closed) > PAGE else None,
                before=before,
                policy=registry.policy.requests,
                now=now,
            )

    @my.get("/requests/<uuid:request_id>", endpoint="request")
    def one(request_id: UUID) -> Page:
        """Show one request, or what became of it."""
        with registry.database.snapshot() as storage:
            own = _find(registry, storage, request_id)
            return render_template(
                "my/request.html", own=own, policy=registry.policy.requests, now=registry.clock()
            )

    @my.post("/requests/<uuid:request_id>/agree")
    def agree(request_id: UUID) -> Page:
        """Agree to a request on its terms; said twice it is the same."""
        number, by = visitor().number, visitor().by
        try:
            with registry.database.write() as storage:
                ledger.agree(
                    storage,
                    number,
                    request_id,
                    by=by,
                    policy=registry.policy,
                    clock=registry.clock,
                    shown=_shown(),
                )
                own = _find(registry, storage, request_id)
                if not own.in_force:
                    raise RegistryError(Kind.CONFLICT, "what was agreed to has ended since")
                said = gettext("You agreed. You can withdraw at any time.")
                return _answered(registry, own, said)
        except RegistryError as error:
            return _as_before(registry, request_id, error)

    @my.post("/requests/<uuid:request_id>/decline")
    def decline(request_id: UUID) -> Page:
        """Decline a request; said twice it is the same."""
        try:
            with registry.database.write() as storage:
                ledger.decline(
                    storage,
                    visitor().number,
                    request_id,
                    by=visitor().by,
                    clock=registry.clock,
                    shown=_shown(),
                )
                own = _find(registry, storage, request_id)
                return _answered(registry, own, gettext("You declined. The answer stays no."))
        except RegistryError as error:
            return _as_before(registry, request_id, error)


def _shown() -> Shown:
    return Shown(Way.PAGES, languages.language())


def _find(registry: Registry, storage: Session, request_id: UUID) -> OwnRequest:
    return subscribers.request(storage, visitor().number, request_id, registry.clock())


def _as_before(registry: Registry, request_id: UUID, error: RegistryError) -> Page:
    """Show a request that was answered otherwise before, and what can be done about that."""
    if error.kind is not Kind.CONFLICT:
        raise error
    with registry.database.snapshot() as storage:
        own = _find(registry, storage, request_id)
        if own.open:
            raise error
        if own.row.outcome is RequestOutcome.AGREED and own.in_force:
            said = gettext("You agreed before. You do not want it after all? Withdraw it here.")
        elif own.row.outcome is RequestOutcome.AGREED:
            said = gettext("You agreed before, and it counts no more. Nothing was changed.")
        elif own.row.outcome is RequestOutcome.DECLINED:
            said = gettext("You declined before. The answer stays no.")
        else:
            said = gettext("The time to answer is over. Nothing was changed.")
        part = "HX-Request" in request.headers
        page = render_template(
            "my/request_card.html" if part else "my/request.html",
            own=own,
            policy=registry.policy.requests,
            now=registry.clock(),
            said=said,
            tone="warn",
        )
        return page, 409


def _answered(registry: Registry, own: OwnRequest, said: str) -> Page:
    """Exchange the card of a request for what it has become, or show that on its page."""
    if "HX-Request" in request.headers:
        return render_template(
            "my/request_card.html",
            own=own,
            policy=registry.policy.requests,
            now=registry.clock(),
            said=said,
        )
    flash(said, "ok")
    return redirect(url_for(".request", request_id=own.row.id))
