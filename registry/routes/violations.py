"""Violations: what the registry established against organisations."""

from flask import Response, jsonify

from registry import ledger
from registry.access import Scope
from registry.routes import cursors
from registry.routes.blueprint import v1
from registry.routes.reading import Body
from registry.routes.showing import dump
from registry.schemas.complaints import ViolationSchema, ViolationsSchema
from registry.schemas.pages import PageSchema
from registry.web import caller, registry, requires


@v1.get("/violations")
@requires(Scope.OVERSIGHT)
@v1.arguments(PageSchema, location="query")
@v1.response(200, ViolationsSchema)
def get_violations(data: Body) -> Response:
    """List violations, the newest first; that they were looked at is an event of the log."""
    after = cursors.read(data["cursor"])
    opened = registry()
    with opened.database.write() as session:
        rows = ledger.oversee_violations(
            session, after, overseer_id=caller().organisation_id, clock=opened.clock
        )
        return jsonify(
            violations=[dump(ViolationSchema, row) for row in rows],
            cursor=cursors.next_page(rows, ledger.PAGE),
        )
