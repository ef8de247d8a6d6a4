"""Who is at the browser: a subscriber, for the own number or for one that is looked after."""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, flash, g, redirect, request, session, url_for
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import family, sessions
from registry.errors import RegistryError
from registry.ledger import By
from registry.models import FamilyLink, Via
from registry.numbers import SubscriberNumber
from registry.portal.cookie import SIGNED_IN
from registry.portal.pages import failed, lead
from registry.runtime import Registry
from registry.sessions import SignedIn

WANTED = "wanted"
"""Under this name the cookie keeps the page that somebody must sign in for."""
NAMED = ("sender", "lookup")
"""What a page's address may name by its id: whom to refuse, what to complain about."""
FILES = ("consent_file", "proof_file")
"""Files, whose addresses are those of their pages and one part more."""


@dataclass(frozen=True)
class Visitor:
    """A signed-in subscriber, and the number that a page is about."""

    session_id: UUID
    own: SubscriberNumber
    link: FamilyLink | None = None

    @property
    def number(self) -> SubscriberNumber:
        """The number that is looked at and acted for."""
        return self.own if self.link is None else self.link.member

    @property
    def by(self) -> By:
        """Who acts, as it is recorded."""
        return By(Via.PORTAL, family_link_id=None if self.link is None else self.link.id)


def visitor() -> Visitor:
    """Return who is at the browser; only in views of a blueprint that `admit` guards."""
    return cast("Visitor", g.visitor)


def admit(blueprint: Blueprint, registry: Registry) -> None:
    """Let only signed-in subscribers use a blueprint; others are asked to sign in.

    Registered at an address with a `link_id`, its pages are about the number that the visitor
    looks after by that link, and their links stay there.
    """

    blueprint.register_error_handler(LinkEndedError, partial(failed, words=ENDED))

    @blueprint.url_value_preprocessor
    def read_link(_endpoint: str | None, values: dict[str, Any] | None) -> None:
        g.link_id = (values or {}).pop("link_id", None)

    @blueprint.url_defaults
    def keep_link(endpoint: str, values: dict[str, Any]) -> None:
        link_id = g.get("link_id")
        if link_id is not None and endpoint.partition(".")[0] == request.blueprint:
            values.setdefault("link_id", link_id)

    @blueprint.before_request
    def identify() -> AnyResponse | None:
        found = _signed_in(registry)
        if found is None:
            return _ask_to_sign_in()
        link = None
        if g.link_id is not None:
            with registry.database.snapshot() as storage:
                link = _link(storage, found.number, g.link_id)
        g.visitor = Visitor(found.session_id, found.number, link)
        g.zone = g.visitor.number.zones[0]
        return None


class LinkEndedError(RegistryError):
    """The visitor looked after a number, and does so no more."""


ENDED = (
    lazy_gettext("You no longer look after this number"),
    lazy_gettext(
        "That was ended, by one of you or because a number went to somebody else."
        " What you did stays as it is. To begin again, a new code is needed."
    ),
)


def _link(storage: Session, carer: SubscriberNumber, link_id: UUID) -> FamilyLink:
    try:
        return family.member(storage, carer, link_id)
    except RegistryError as error:
        if family.ended(storage, carer, link_id):
            raise LinkEndedError(error.kind, error.detail) from None
        raise


def _signed_in(registry: Registry) -> SignedIn | None:
    """Return who the cookie's secret belongs to, and note that it was used."""
    now = registry.clock()
    with registry.database.read() as connection:
        found = sessions.find(connection, session.get(SIGNED_IN, ""), now)
    if found is not None and now - found.seen_at >= sessions.SEEN_EVERY:
        with registry.database.write() as storage:
            sessions.seen(storage, found.session_id, now)
    return found


def _ask_to_sign_in() -> AnyResponse:
    session.pop(SIGNED_IN, None)
    if request.method == "GET":
        session[WANTED] = _wanted()
    else:
        said = gettext("You were signed out, so nothing was saved. Please sign in and try again.")
        flash(said, "warn")
    return lead(url_for("signin.ask"))


def _wanted() -> str:
    """Return the address of the page to be shown after signing in.

    Of its query only what names a thing of the registry goes on: nothing else that somebody put
    there gets into the cookie, least of all a number. After a bare file no page would follow.
    """
    if request.endpoint == "own.download":
        return url_for("own.data")
    if (request.endpoint or "").rpartition(".")[2] in FILES:
        return request.path.rpartition("/")[0]
    named = {name: request.args.get(name, type=UUID) for name in NAMED}
    query = urlencode({name: value for name, value in named.items() if value is not None})
    return f"{request.path}?{query}" if query else request.path


def remember(token: str) -> str:
    """Begin a new cookie that keeps a session's token; return the page that was wanted.

    Nothing of the old cookie goes on but the language: what somebody planted in it is lost.
    """
    kept = {name: session[name] for name in ("language",) if name in session}
    wanted = session.get(WANTED, "")
    session.clear()
    session.update(kept)
    session[SIGNED_IN] = token
    overview = url_for("my.overview")
    return wanted if isinstance(wanted, str) and wanted.startswith(overview) else overview


def forget() -> AnyResponse:
    """Empty the cookie of whoever signs out, but for the language, and the browser's cache."""
    kept = session.get("language")
    session.clear()
    if kept is not None:
        session["language"] = kept
    response = redirect(url_for("public.home"))
    response.headers["Clear-Site-Data"] = '"cache"'
    return response
