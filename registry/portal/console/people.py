"""Who is at the console, and who may use which of its pages."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeVar, cast

from flask import Blueprint, Flask, flash, g, redirect, request, session, url_for
from flask_babel import gettext, lazy_gettext
from werkzeug.wrappers.response import Response as AnyResponse

from registry import members
from registry.errors import Kind, RegistryError
from registry.members import Here
from registry.models import MemberRole, OrganisationKind
from registry.portal.cookie import MEMBER
from registry.portal.pages import failed, lead
from registry.runtime import Registry

View = TypeVar("View", bound=Callable[..., Any])

WANTED = "wanted"
"""Under this name the cookie keeps the page that somebody must sign in for."""
EVERYBODY = frozenset(OrganisationKind)
SENDERS = frozenset({OrganisationKind.SENDER})
PROVIDERS = frozenset({OrganisationKind.PROVIDER})
OPERATORS = frozenset({OrganisationKind.OPERATOR})
OVERSEERS = OPERATORS | {OrganisationKind.REGULATOR}
SENDING = SENDERS | PROVIDERS
IMPORTING = SENDING | {OrganisationKind.CARRIER}


@dataclass(frozen=True)
class Needs:
    """Who may use a view.

    `kinds` are the organisations that it is for; to others there is no such page. While an
    organisation is suspended its members look at everything and change only what is
    `suspended`. Whoever applies and has no organisation yet sees only what is for `applicants`.
    """

    role: MemberRole
    kinds: frozenset[OrganisationKind] = EVERYBODY
    suspended: bool = False
    applicants: bool = False


class RoleMissingError(RegistryError):
    """The member's role is not enough."""


class SuspendedError(RegistryError):
    """The member's organisation is suspended."""


ROLE_MISSING = (
    lazy_gettext("Your role is not enough for this"),
    lazy_gettext("An admin of your team can do it, or give you another role. Nothing was changed."),
)
SUSPENDED = (
    lazy_gettext("Your organisation is suspended"),
    lazy_gettext(
        "You can look at everything, make your account and team safe, and appeal. Nothing was"
        " changed."
    ),
)


def member() -> Here:
    """Return who is at the console; only in views of a blueprint that `admit` guards."""
    return cast("Here", g.member)


def is_in() -> bool:
    """Tell whether the visitor says to be a member who is signed in; the console checks it."""
    return MEMBER in session


def needs(
    role: MemberRole,
    *,
    kinds: Collection[OrganisationKind] = EVERYBODY,
    suspended: bool = False,
    applicants: bool = False,
) -> Callable[[View], View]:
    """Let only some members use a view. Every view of the console says this, and a test sees to it.

    It stands between the route and the view.
    """
    needed = Needs(role, frozenset(kinds), suspended, applicants)

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            elsewhere = _check(needed)
            return view(*args, **kwargs) if elsewhere is None else elsewhere

        checked.needs = needed  # type: ignore[attr-defined]
        return cast("View", checked)

    return decorate


def _check(needed: Needs) -> AnyResponse | None:
    here = member()
    if here.organisation_id is None and not needed.applicants:
        if request.method == "GET":
            return redirect(url_for("console.application"))
        raise RegistryError(Kind.NOT_FOUND, "there is no organisation yet")
    if here.kind is not None and here.kind not in needed.kinds:
        raise RegistryError(Kind.NOT_FOUND, "there is no such page")
    if not may(needed.role):
        raise RoleMissingError(Kind.SCOPE_MISSING, f"this needs the role {needed.role}")
    if here.suspended and request.method != "GET" and not needed.suspended:
        raise SuspendedError(Kind.ORGANISATION_SUSPENDED, "a suspended one changes nothing")
    return None


def may(role: MemberRole) -> bool:
    """Tell whether the member may do what needs a role."""
    return members.rank(member().role) >= members.rank(role)


def with_file(view: View) -> View:
    """Let the form of a view bring a file, as large as the policy lets a document be."""
    view.with_file = True  # type: ignore[attr-defined]
    return view


def takes_file(app: Flask) -> bool:
    """Tell whether the view of this request takes a file."""
    view = app.view_functions.get(request.endpoint or "")
    return bool(getattr(view, "with_file", False))


def admit(blueprint: Blueprint, registry: Registry) -> None:
    """Let only members who are signed in with both factors use a blueprint."""
    blueprint.register_error_handler(RoleMissingError, partial(failed, words=ROLE_MISSING))
    blueprint.register_error_handler(SuspendedError, partial(failed, words=SUSPENDED))

    @blueprint.before_request
    def identify() -> AnyResponse | None:
        found = find(registry)
        if found is None:
            return _ask_to_sign_in()
        if not found.verified:
            return redirect(url_for("door.code"))
        g.member = found
        return None


def find(registry: Registry) -> Here | None:
    """Return whose the cookie's token is, and note that it was used."""
    now = registry.clock()
    token = session.get(MEMBER, "")
    if not token:
        return None
    with registry.database.read() as connection:
        found = members.find_session(connection, token, now)
    if found is not None and now - found.seen_at >= members.SEEN_EVERY:
        with registry.database.write() as storage:
            members.seen(storage, found.session_id, now)
    return found


def _ask_to_sign_in() -> AnyResponse:
    session.pop(MEMBER, None)
    if request.method == "GET":
        session[WANTED] = request.path
    else:
        said = gettext("You were signed out, so nothing was saved. Please sign in and try again.")
        flash(said, "warn")
    return lead(url_for("door.signin"))


def remember(token: str) -> str:
    """Begin a new cookie that keeps a session's token; return the page that was wanted.

    Nothing of the old cookie goes on but the language and that page: what somebody planted in
    it is lost, and so is being signed in as a subscriber.
    """
    overview = url_for("console.overview")
    wanted = session.get(WANTED, "")
    kept = {name: session[name] for name in ("language",) if name in session}
    session.clear()
    session.update(kept)
    session[MEMBER] = token
    if not (isinstance(wanted, str) and wanted.startswith(overview)):
        return overview
    session[WANTED] = wanted
    return wanted


def arrive(token: str) -> AnyResponse:
    """Lead a member who is in with both factors to the page that was wanted."""
    wanted = remember(token)
    session.pop(WANTED, None)
    return redirect(wanted)


def forget() -> AnyResponse:
    """Empty the cookie of whoever signs out, but for the language, and the browser's cache."""
    kept = session.get("language")
    session.clear()
    if kept is not None:
        session["language"] = kept
    response = redirect(url_for("door.signin"))
    response.headers["Clear-Site-Data"] = '"cache"'
    return response
