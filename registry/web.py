"""What every route needs: strict JSON, keys and scopes, transactions, problem documents."""

import json
import logging
import re
from collections.abc import Callable
from functools import wraps
from threading import BoundedSemaphore
from typing import Any, NoReturn, cast

from flask import Flask, Response, current_app, g, jsonify, request
from flask_smorest import Api, Blueprint
from marshmallow import Schema, ValidationError
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import InternalServerError as UnhandledError
from werkzeug.wrappers.response import Response as AnyResponse

from registry import access, idempotency, senders, strict_json
from registry.access import Caller, Scope
from registry.audit import Recorder
from registry.budgets import RequestLimiter
from registry.errors import Kind, RegistryError
from registry.runtime import Registry
from registry.schemas.problems import ProblemSchema, problem_type

log = logging.getLogger(__name__)

LARGEST_BODY = 2 * 1024 * 1024
PROBLEM = "application/problem+json"
PUBLIC = "public"
"""The scope of routes that anybody may use."""
APPLICANT = "applicant"
"""The scope of routes for whoever has the key of an application."""

STATUS = {
    Kind.MALFORMED: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.SCOPE_MISSING: 403,
    Kind.ORGANISATION_SUSPENDED: 403,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.CONFLICT: 409,
    Kind.IN_PROGRESS: 409,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA_TYPE: 415,
    Kind.INVALID: 422,
    Kind.INVALID_NUMBER: 422,
    Kind.KEY_REUSED: 422,
    Kind.RATE_LIMITED: 429,
    Kind.BUDGET_EXHAUSTED: 429,
    Kind.INTERNAL: 500,
    Kind.UNAVAILABLE: 503,
}
"""The one place where kinds of errors meet HTTP."""

KINDS = {
    400: Kind.MALFORMED,
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.TOO_LARGE,
    415: Kind.UNSUPPORTED_MEDIA_TYPE,
}


class _Parser(FlaskParser):
    """Reads bodies strictly; what a schema refuses becomes a problem document."""

    def load_json(self, req: Any, schema: Any) -> Any:
        if getattr(schema, "optional", False) and not _read_body():
            return {}
        return read_json()

    def handle_error(self, error: ValidationError, *_: Any, **__: Any) -> NoReturn:
        messages = cast("dict[str, Any]", error.messages)
        [fields] = messages.values()
        if not isinstance(fields, dict):
            fields = {"body": fields}
        named = _hide_names(fields)
        raise RegistryError(
            Kind.INVALID, f"wrong fields: {', '.join(sorted(named))}"[:500], fields=named
        )


class App(Flask):
    """A Flask app whose failures are logged once, by `handle_errors`, without their path."""

    def log_exception(self, exc_info: Any) -> None:
        """Leave it to the error handler: a path may hold a number."""


class ApiBlueprint(Blueprint):  # type: ignore[misc]
    """A blueprint whose arguments are read by the strict parser."""

    ARGUMENTS_PARSER = _Parser()

    def arguments(self, schema: type[Schema], **more: Any) -> Any:
        """Read a view's arguments by a schema, which is made once and not at every request.

        One that says it is `optional` takes a body that was left out for an empty object.
        """
        if getattr(schema, "optional", False):
            more["required"] = False
        return super().arguments(schema(), **more)


class OpenApi(Api):  # type: ignore[misc]
    """The OpenAPI document; errors are answered by `handle_errors` instead."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        super().__init__(app)
        self.spec.components.security_scheme("key", {"type": "http", "scheme": "bearer"})
        # Described once and referred to: every route has a dozen of them.
        self.spec.components.schema("Problem", schema=ProblemSchema)

    def _register_error_handlers(self) -> None:
        pass


def _hide_names(problems: Any) -> Any:
    """Return what a schema found, without names of fields that may be numbers of people."""
    if not isinstance(problems, dict):
        return problems
    names = [str(name) for name in problems]
    hidden = ["#######" if sum(map(str.isdecimal, name)) >= 7 else name for name in names]
    return dict(zip(hidden, map(_hide_names, problems.values()), strict=True))


def read_json() -> Any:
    """Return the body as JSON. Duplicate names, NaN, endless nesting, half characters are none."""
    if request.mimetype != "application/json":
        raise RegistryError(Kind.UNSUPPORTED_MEDIA_TYPE, "the body is application/json")
    try:
        return strict_json.parse(_read_body().decode("utf-8"))
    except ValueError:
        raise RegistryError(Kind.MALFORMED, "the body is not proper JSON") from None


def _read_body() -> bytes:
    """Return the body; werkzeug cuts a chunked one at its limit without saying so."""
    body = request.get_data()
    if len(body) > LARGEST_BODY:
        raise RequestEntityTooLarge
    return body


def registry() -> Registry:
    """Return the open registry of this app."""
    return cast("Registry", current_app.extensions["registry"])


def recorder() -> Recorder:
    """Return the writer of audits of this app."""
    return cast("Recorder", current_app.extensions["recorder"])


def limiter() -> RequestLimiter:
    """Return the counter of requests of this app."""
    return cast("RequestLimiter", current_app.extensions["limiter"])


def caller() -> Caller:
    """Return whose key came with the request."""
    return cast("Caller", g.caller)


type_of_view = Callable[..., Any]


def requires(*scopes: Scope, suspended: bool = False) -> Callable[[type_of_view], type_of_view]:
    """Let only keys with one of the scopes use a view.

    A suspended organisation may use it only where `suspended` says so.
    """

    def decorate(view: type_of_view) -> type_of_view:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            g.caller = _authenticate()
            if not g.caller.scopes & set(scopes):
                needed = " or ".join(scopes)
                raise RegistryError(Kind.SCOPE_MISSING, f"this key has no scope {needed}")
            if g.caller.suspended and not suspended:
                raise RegistryError(
                    Kind.ORGANISATION_SUSPENDED, "a suspended organisation changes nothing"
                )
            return view(*args, **kwargs)

        checked.scopes = scopes  # type: ignore[attr-defined]
        return _document(checked, ", ".join(scopes), security=[{"key": []}])

    return decorate


def public(view: type_of_view) -> type_of_view:
    """Let anybody use a view, within the limit of an address."""

    @wraps(view)
    def limited(*args: Any, **kwargs: Any) -> Any:
        limit_address()
        return view(*args, **kwargs)

    limited.scopes = (PUBLIC,)  # type: ignore[attr-defined]
    return _document(limited, PUBLIC, security=[])


def applicant(view: type_of_view) -> type_of_view:
    """Let whoever has the key of an application use a view, which gets the application's id."""

    @wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        limit_address()
        application_id = senders.whose_application(registry().database.key, _bearer())
        if application_id is None:
            _authenticate()
            raise RegistryError(Kind.SCOPE_MISSING, "this is not the key of an application")
        return view(*args, application_id=application_id, **kwargs)

    checked.scopes = (APPLICANT,)  # type: ignore[attr-defined]
    return _document(checked, APPLICANT, security=[{"key": []}])


def limit_address() -> None:
    """Count a request of somebody without a key; raises `RATE_LIMITED` when they are too many."""
    per_second = registry().policy.limits.public_requests_per_second
    limiter().hit(request.remote_addr or "", per_second)


class Uploading:
    """Lets bodies that take long to come keep only half of this process's threads busy."""

    def __enter__(self) -> None:
        free = BoundedSemaphore(max(1, registry().settings.threads // 2))
        self._free: BoundedSemaphore = current_app.extensions.setdefault("uploads", free)
        if not self._free.acquire(blocking=False):
            raise RegistryError(Kind.RATE_LIMITED, "too many files are being sent", retry_after=2)

    def __exit__(self, *_: object) -> None:
        self._free.release()


def _document(view: type_of_view, scope: str, security: list[Any]) -> type_of_view:
    problems = {
        str(status): {
            "description": ", ".join(kind for kind in Kind if STATUS[kind] == status),
            "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(set(STATUS.values()) - {405, 500})
    }
    described = Blueprint.doc(**{"security": security, "x-scope": scope, "responses": problems})
    return cast("type_of_view", described(view))


def _bearer() -> str:
    """Return the key that came with the request, empty when none did."""
    kind, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""


def _authenticate() -> Caller:
    now = registry().clock()
    with registry().database.read() as connection:
        found = access.authenticate(connection, _bearer(), now)
    per_second, _budgets = found.limits(registry().policy.limits)
    limiter().hit(str(found.organisation_id), per_second)
    recorder().key_used(found.key_id, now)
    return found


def idempotent(view: type_of_view) -> type_of_view:
    """Document that a view, which answers through `commit`, may be repeated under one key."""
    header = {
        "in": "header",
        "name": "Idempotency-Key",
        "description": "Repeating a request with its key gives the first answer.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    }
    return cast("type_of_view", Blueprint.doc(parameters=[header])(view))


def commit(
    act: Callable[[Session], dict[str, Any]],
    status: int = 200,
    replayed: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body,
) -> Response:
    """Do `act` in a transaction and answer with its body once that is committed.

    With an `Idempotency-Key` a repetition gets the first answer, made by `replayed`.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None and not re.fullmatch(r"[!-~]{1,255}", key):
        raise RegistryError(Kind.INVALID, "an Idempotency-Key has 1 to 255 visible characters")
    with registry().database.write() as session:
        if key is None:
            body = act(session)
        else:
            status, body = idempotency.once(
                session,
                caller().organisation_id,
                key,
                _request_digest(),
                now=registry().clock(),
                act=lambda: (status, act(session)),
                replayed=replayed,
            )
    response = jsonify(body)
    response.status_code = status
    return response


def _request_digest() -> bytes:
    """Return what tells one request from another, without a way back to what is in it."""
    what = f"{request.method} {request.path}\n".encode()
    return registry().database.key.digest(what + _read_body())


def harden(app: Flask) -> None:
    """Let no answer be kept by anybody's cache, nor be taken for what it is not."""

    @app.after_request
    def mark(response: AnyResponse) -> AnyResponse:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def handle_errors(app: Flask) -> None:
    """Answer every error of an app with a problem document."""
    for kind in FAILURES:
        app.register_error_handler(kind, problem)


FAILURES: tuple[type[Exception], ...] = (RegistryError, HTTPException, SQLAlchemyError)
"""All that may go wrong in a request: whatever else is raised becomes an `HTTPException`."""


def problem(error: Exception) -> Any:
    """Answer an error with a problem document."""
    return answer_error(error, _problem)


def answer_error(error: Exception, render: Callable[[RegistryError], Response]) -> Any:
    """Answer an error with what `render` makes of it, and the status and headers it asks for."""
    if isinstance(error, HTTPException) and (error.code is None or error.code < 400):
        return error  # It is no error, but a redirect.
    found = _understood(error)
    response = render(found)
    response.status_code = STATUS[found.kind]
    if found.retry_after is not None or response.status_code in (429, 503):
        response.headers["Retry-After"] = str(found.retry_after or 5)
    if found.kind is Kind.TOO_LARGE:
        response.headers["Connection"] = "close"
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _problem(error: RegistryError) -> Response:
    body = {
        "type": problem_type(error.kind),
        "title": error.kind.replace("_", " ").capitalize(),
        "status": STATUS[error.kind],
        "detail": error.detail,
    }
    if error.fields:
        body["errors"] = error.fields
    response = current_app.response_class(json.dumps(body), content_type=PROBLEM)
    if error.kind is Kind.UNAUTHENTICATED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _understood(error: Exception) -> RegistryError:
    """Return what an error means to whoever asked; what nobody foresaw is logged here."""
    if isinstance(error, RegistryError):
        return error
    if isinstance(error, HTTPException):
        return _understood_http(error)
    return _understood_database(error)


def _understood_http(error: HTTPException) -> RegistryError:
    if isinstance(error, UnhandledError):
        cause = error.original_exception or error
        log.error("unhandled %s", type(cause).__name__, exc_info=cause)
        return RegistryError(Kind.INTERNAL, "the registry failed; nothing was changed")
    if isinstance(error, RequestEntityTooLarge):
        return RegistryError(Kind.TOO_LARGE, f"a body has {LARGEST_BODY} bytes at most")
    return RegistryError(KINDS.get(error.code or 400, Kind.MALFORMED), error.name)


def _understood_database(error: Exception) -> RegistryError:
    """A database that does not answer, or not in time, is no verdict and no success."""
    if isinstance(error, OperationalError | PoolTimeout) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        log.warning("database unavailable: %s", type(error).__name__)
        return RegistryError(Kind.UNAVAILABLE, "the database does not answer", retry_after=2)
    log.error("database failed: %s", type(error).__name__, exc_info=error)
    return RegistryError(Kind.INTERNAL, "the registry failed; nothing was changed")
