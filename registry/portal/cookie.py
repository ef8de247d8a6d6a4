"""The one cookie of the pages: signed, for this host alone, and without personal data.

It holds the language, what forms are checked with, what is to be said once, and, of whoever has
signed in, the secret of the session, behind which the database keeps everything else.
"""

import hashlib

from flask import Flask, Request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_wtf import CSRFProtect
from itsdangerous import URLSafeTimedSerializer

from registry.numbers import NumberKey

API = "/v1/"
NAME = "__Host-registry"
"""Browsers take a cookie of such a name from its own host alone, by https or from themselves."""
SIGNED_IN = "signed_in"
"""Under this name the cookie keeps the secret of a subscriber's session."""
MEMBER = "member"
"""Under this one that of a member of an organisation. Signing in as one ends being the other."""

csrf = CSRFProtect()


class PagesOnly(SecureCookieSessionInterface):
    """Reads and writes the cookie for pages; the API has none and does not pay for it."""

    digest_method = staticmethod(hashlib.sha256)

    def __init__(self) -> None:
        self._serializer: URLSafeTimedSerializer | None = None

    def get_signing_serializer(self, app: Flask) -> URLSafeTimedSerializer | None:
        """Return what signs; deriving its key at every request would be a waste."""
        if self._serializer is None:
            self._serializer = super().get_signing_serializer(app)
        return self._serializer

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Return what the cookie holds; the API gets a session that is always empty."""
        return None if request.path.startswith(API) else super().open_session(app, request)


def sign_cookies(app: Flask, key: NumberKey) -> None:
    """Let an app sign its cookie with a key of the registry's own, and check its forms."""
    app.config.update(
        SECRET_KEY=key.derive(b"portal cookie"),
        SESSION_COOKIE_NAME=NAME,
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        # The portal's blueprints check their forms themselves: the API knows no cookie.
        WTF_CSRF_CHECK_DEFAULT=False,
        # A form is good as long as the cookie is; who reads slowly shall not be turned away.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.session_interface = PagesOnly()
    csrf.init_app(app)


def signed_in() -> bool:
    """Tell whether the visitor says to be signed in; the pages of the number check it."""
    return SIGNED_IN in session
