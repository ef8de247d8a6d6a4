"""The demo's second factors: the codes that an app would show, for whoever has none at hand."""

from flask import Blueprint, abort, render_template
from sqlalchemy import select

from registry import members
from registry.models import Member
from registry.portal.pages import protect
from registry.runtime import Registry

MOST = 50


def pages(registry: Registry) -> Blueprint:
    """Return the blueprint of the page."""
    demo = Blueprint("demo", __name__)
    protect(demo)

    @demo.get("/demo/totp")
    def codes() -> str:
        """Show the current codes of a demo's members; there is no such page anywhere else."""
        if not registry.demo:
            abort(404)
        now = registry.clock()
        with registry.database.snapshot() as storage:
            rows = storage.scalars(
                select(Member)
                .where(Member.ended_at.is_(None), Member.totp_secret.is_not(None))
                .order_by(Member.id)
                .limit(MOST)
            ).all()
            shown = [(row, members.demo_code(row.totp_secret or "", now)) for row in rows]
            return render_template("console/demo_codes.html", codes=shown)

    return demo
