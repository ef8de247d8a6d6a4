"""The page behind the short link of a consent request: one question, answered without signing in.

Only the phone that the SMS went to knows the link. It answers that one question while it is open,
and shows nothing else; opening it changes nothing, since phones and messengers open links by
themselves. Why its secret may stand in an address: docs/decisions/0019.
"""

from datetime import timedelta
from functools import partial

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError, validate_csrf
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import ledger, subscribers, web
from registry.budgets import network
from registry.errors import Kind, RegistryError
from registry.ledger import By, Shown, Way
from registry.messenger import links, replies
from registry.models import RequestOutcome, Via
from registry.portal import languages
from registry.portal.pages import LARGEST_FORM, OLD_PAGE, failed
from registry.runtime import Registry
from registry.subscribers import OwnRequest

Page = str | tuple[str, int] | AnyResponse

WRONG_PER_SECOND = 2
"""Wrong links that one address may try."""
AGAIN = timedelta(minutes=10)
"""How long the same answer, sent again, is answered as it was."""
BY = By(Via.PORTAL)
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
}


def pages(registry: Registry) -> Blueprint:
    """Return the blueprint of the links."""
    linked = Blueprint("links", __name__, template_folder="templates", url_prefix="/r")
    _protect(linked)

    @linked.get("/<token>")
    def show(token: str) -> Page:
        """Put the question, or say that it needs no answer any more."""
        with registry.database.snapshot() as storage:
            own = _find(registry, storage, token)
            return _question(registry, own) if own.open else (_closed(own), 410)

    @linked.post("/<token>/agree")
    def agree(token: str) -> Page:
        """Agree to the request; said twice it is the same."""
        try:
            with registry.database.write() as storage:
                own = _find(registry, storage, token)
                if _long_ago(registry, own):
                    return _closed(own), 410
                row = own.row
                ledger.agree(
                    storage,
                    row.number,
                    row.id,
                    by=BY,
                    policy=registry.policy,
                    clock=registry.clock,
                    shown=_shown(),
                )
                own = _find(registry, storage, token)
                if not own.in_force:
                    raise RegistryError(Kind.CONFLICT, "what was agreed to has ended since")
                return _agreed(registry, storage, own)
        except RegistryError as error:
            return _as_before(registry, token, error)

    @linked.post("/<token>/decline")
    def decline(token: str) -> Page:
        """Decline the request; said twice it is the same."""
        try:
            with registry.database.write() as storage:
                own = _find(registry, storage, token)
                if _long_ago(registry, own):
                    return _closed(own), 410
                row = own.row
                ledger.decline(
                    storage, row.number, row.id, by=BY, clock=registry.clock, shown=_shown()
                )
            policy = registry.policy.requests
            return render_template("link_closed.html", outcome="declined", policy=policy)
        except RegistryError as error:
            return _as_before(registry, token, error)

    @linked.post("/<token>/language")
    def language(token: str) -> Page:
        """Remember the language and show the question in it."""
        languages.choose(request.form.get("language", ""))
        return redirect(url_for(".show", token=token))

    return linked


def _protect(linked: Blueprint) -> None:
    """Check the forms of the page; unlike others they come without a referrer, which would hold
    the link. The cookie, which no other host can set, and the token in the form remain."""

    @linked.before_request
    def check() -> None:
        request.max_content_length = LARGEST_FORM
        token = (request.view_args or {}).get("token", "")
        g.language_action = url_for("links.language", token=token)
        web.limit_address()
        if request.method == "POST":
            try:
                validate_csrf(request.form.get("csrf_token"))
            except ValueError as error:
                raise CSRFError(str(error)) from None

    @linked.after_request
    def mark(response: AnyResponse) -> AnyResponse:
        response.headers.update(HEADERS)
        return response

    for kind in web.FAILURES:
        linked.register_error_handler(kind, failed)
    linked.register_error_handler(CSRFError, partial(failed, words=OLD_PAGE))


def _find(registry: Registry, storage: Session, token: str) -> OwnRequest:
    """Return the request of a link, if it is to the number's subscriber of today.

    A link that was made up, cut off or changed is answered as one to nothing.
    """
    row = links.find(storage, token)
    if row is None:
        web.limiter().hit(f"wrong link {network(request.remote_addr or '')}", WRONG_PER_SECOND)
        raise RegistryError(Kind.NOT_FOUND, "there is no such link")
    own = subscribers.request(storage, row.number, row.id, registry.clock())
    g.zone = row.number.zones[0]
    return own


def _shown() -> Shown:
    return Shown(Way.LINK, languages.language())


def _question(registry: Registry, own: OwnRequest) -> str:
    return render_template("link.html", own=own, policy=registry.policy.requests)


def _agreed(registry: Registry, storage: Session, own: OwnRequest) -> str:
    code = replies.code_of(storage, own.row.number, own.row.id)
    number = registry.settings.sms_number
    return render_template(
        "link_agreed.html", own=own, code=code if number else None, sms_number=number
    )


def _closed(own: OwnRequest) -> str:
    """Say that there is nothing to answer, and not what was answered."""
    late = own.row.outcome in (None, RequestOutcome.LAPSED)
    return render_template("link_closed.html", outcome="late" if late else "answered")


def _long_ago(registry: Registry, own: OwnRequest) -> bool:
    """Tell whether the answer is so old that whoever repeats it may be somebody else."""
    answered_at = own.row.answered_at
    return answered_at is not None and registry.clock() - answered_at > AGAIN


def _as_before(registry: Registry, token: str, error: RegistryError) -> Page:
    """Answer whoever was too late, or faster by another way."""
    if error.kind is not Kind.CONFLICT:
        raise error
    with registry.database.snapshot() as storage:
        own = _find(registry, storage, token)
        if own.open:
            raise error
        return _closed(own), 409
