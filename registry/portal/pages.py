"""What every page has: its headers, checked forms, and calm words when something goes wrong."""

from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Flask, Response, make_response, redirect, render_template, request
from flask_babel import LazyString, lazy_gettext
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.wrappers.response import Response as AnyResponse

from registry import web
from registry.errors import Kind, RegistryError
from registry.portal.cookie import API, csrf

LARGEST_FORM = 64 * 1024
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " form-action 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",  # The switch of the language goes back to the referrer.
    "Permissions-Policy": (
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}

HTTPS_ONLY = "max-age=31536000"
"""Browsers that came by https once come by nothing else for a year."""

Words = tuple[LazyString, LazyString]
OLD_PAGE = (
    lazy_gettext("This page is old"),
    lazy_gettext(
        "It was open for too long, or your browser keeps no cookies. Nothing was changed."
        " Please go back, load the page again and repeat what you did."
    ),
)
ERRORS: dict[Kind, Words] = {
    Kind.NOT_FOUND: (
        lazy_gettext("There is no such page"),
        lazy_gettext("The address may be mistyped, or what it showed is no longer there."),
    ),
    Kind.METHOD_NOT_ALLOWED: (
        lazy_gettext("This address cannot be opened like that"),
        lazy_gettext("It belongs to a form. Please start again from the page with the form."),
    ),
    Kind.CONFLICT: (
        lazy_gettext("That has changed in the meantime"),
        lazy_gettext("Somebody, perhaps you in another window, was faster. Nothing was changed."),
    ),
    Kind.TOO_LARGE: (
        lazy_gettext("That is too much text"),
        lazy_gettext("Please shorten what you wrote. Nothing was changed."),
    ),
    Kind.RATE_LIMITED: (
        lazy_gettext("Too many requests at once"),
        lazy_gettext("Please wait a moment and try again. Nothing was changed."),
    ),
    Kind.UNAVAILABLE: (
        lazy_gettext("We cannot answer at the moment"),
        lazy_gettext(
            "The fault is ours. Nothing was changed. Please try again in a minute."
            " Whatever you refused before stays refused."
        ),
    ),
    Kind.INTERNAL: (
        lazy_gettext("Something went wrong here"),
        lazy_gettext("The fault is ours. Nothing was changed. Please try again later."),
    ),
}
ANY_OTHER: Words = (
    lazy_gettext("That did not work"),
    lazy_gettext("The registry could not understand what your browser sent. Nothing was changed."),
)


def dress(app: Flask) -> None:
    """Give every page of an app its headers, and unknown addresses a page instead of a problem."""

    @app.after_request
    def mark(response: AnyResponse) -> AnyResponse:
        if response.mimetype == "text/html":
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            if request.is_secure:
                response.headers.setdefault("Strict-Transport-Security", HTTPS_ONLY)
        return response

    for unknown in (NotFound, MethodNotAllowed):
        app.register_error_handler(unknown, _unknown_address)


def protect(
    blueprint: Blueprint,
    largest: Callable[[], int] = lambda: LARGEST_FORM,
    streamed: Callable[[], bool] = lambda: False,
) -> None:
    """Check the forms of a blueprint, and answer whatever goes wrong in it with a page.

    `largest` returns how many bytes the form of the current request may have, and `streamed` tells
    whether its view reads the form, and checks it, as it comes.
    """

    @blueprint.before_request
    def check() -> None:
        request.max_content_length = largest()
        if not streamed():
            csrf.protect()

    for kind in web.FAILURES:
        blueprint.register_error_handler(kind, failed)
    blueprint.register_error_handler(CSRFError, partial(failed, words=OLD_PAGE))


def lead(address: str) -> AnyResponse:
    """Lead the whole window to an address, also when a script asked for a part of a page."""
    if "HX-Request" in request.headers:
        response = make_response("", 200)
        response.headers["HX-Redirect"] = address
        return response
    return redirect(address)


def _unknown_address(error: Exception) -> Any:
    """Answer people with a page and programs with a problem document."""
    accepted = request.accept_mimetypes.best_match([web.PROBLEM, "text/html"])
    if request.path.startswith(API) or accepted != "text/html":
        return web.problem(error)
    return failed(error)


def failed(error: Exception, words: Words | None = None) -> Any:
    """Answer whatever went wrong with a page that says so, in its own words where it has any."""
    return web.answer_error(error, partial(_error_page, words=words))


def _error_page(error: RegistryError, words: Words | None) -> Response:
    title, text = words or ERRORS.get(error.kind, ANY_OTHER)
    again = request.path if request.method == "GET" and error.kind in _PASSING else None
    page = render_template("error.html", title=title, text=text, again=again)
    response = make_response(page)
    # A form that swaps a card would put this page into the card.
    response.headers.update({"HX-Retarget": "#main", "HX-Reselect": "#main"})
    response.headers["HX-Reswap"] = "outerHTML show:window:top"
    return response


_PASSING = {Kind.RATE_LIMITED, Kind.UNAVAILABLE, Kind.INTERNAL}
"""What may have gone when one tries again."""
