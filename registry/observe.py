"""What an operator sees: structured logs, request ids, metrics, health. No number is in any."""

import json
import logging
import os
import sys
import time
import traceback
from uuid import uuid4

from flask import Blueprint, Flask, Response, g, jsonify, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from werkzeug.wrappers.response import Response as AnyResponse

from registry.numbers import hide_numbers
from registry.runtime import Registry

log = logging.getLogger("registry.requests")

REQUESTS = Counter(
    "registry_requests", "Requests by route, method and status", ["route", "method", "status"]
)
SECONDS = Histogram(
    "registry_request_seconds",
    "Time to answer, by route",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
VERDICTS = Counter("registry_verdicts", "Verdicts by channel and reason", ["channel", "reason"])


class JsonLines(logging.Formatter):
    """Writes one JSON object a line; runs of seven or more digits are hidden, in case."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": hide_numbers(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            # The text of an exception may quote data; its type and place never do.
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [
                f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line, ensure_ascii=False)


def configure_logging() -> None:
    """Send all logs to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("alembic", "_granian"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def observe(app: Flask, registry: Registry) -> None:
    """Number, time, count and log every request of an app; add health and metrics."""

    @app.before_request
    def begin() -> None:
        g.request_id = uuid4().hex
        g.began = time.perf_counter()

    @app.after_request
    def end(response: AnyResponse) -> AnyResponse:
        route = request.url_rule.rule if request.url_rule else "unknown"
        seconds = time.perf_counter() - g.get("began", time.perf_counter())
        REQUESTS.labels(route, _method(), str(response.status_code)).inc()
        SECONDS.labels(route).observe(seconds)
        response.headers["X-Request-Id"] = g.get("request_id", "")
        if response.status_code >= 500 or log.isEnabledFor(logging.DEBUG):
            log.warning("request", extra={"fields": _fields(route, response, seconds)})
        return response

    app.register_blueprint(_health(registry))


def _method() -> str:
    """Return the request's method, "other" for what a client made up."""
    return request.method if request.method in METHODS else "other"


def _fields(route: str, response: AnyResponse, seconds: float) -> dict[str, object]:
    caller = g.get("caller")
    return {
        "request_id": g.get("request_id"),
        "method": _method(),
        "route": route,
        "status": response.status_code,
        "milliseconds": round(seconds * 1000, 1),
        "organisation": str(caller.organisation_id) if caller else None,
    }


def _health(registry: Registry) -> Blueprint:
    health = Blueprint("health", __name__)

    @health.get("/healthz")
    def healthz() -> Response:
        """Tell that the process answers."""
        return jsonify(status="ok")

    @health.get("/readyz")
    def readyz() -> tuple[Response, int]:
        """Tell whether lookups can be answered: database, schema, keys, clock."""
        problems = registry.problems()
        body = jsonify(
            status="not ready" if problems else "ready",
            problems=problems,
            demo=registry.demo,
            policy=registry.policy.name,
        )
        return body, 503 if problems else 200

    @health.get("/metrics")
    def metrics() -> Response:
        """Show the metrics of all worker processes, for Prometheus."""
        collected = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            collected = CollectorRegistry()
            multiprocess.MultiProcessCollector(collected)  # type: ignore[no-untyped-call]
        return Response(generate_latest(collected), content_type=CONTENT_TYPE_LATEST)

    return health
