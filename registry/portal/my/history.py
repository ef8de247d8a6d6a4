"""Everything that was recorded on a number, in plain words."""

from flask import Blueprint, render_template

from registry import subscribers
from registry.portal.my import paging, telling
from registry.portal.visitors import visitor
from registry.runtime import Registry
from registry.subscribers import PAGE


def add(my: Blueprint, registry: Registry) -> None:
    """Add the page to the blueprint of a number."""

    @my.get("/history")
    def history() -> str:
        """Show what was changed, when and by whom, the newest first, in parts."""
        before = paging.event_in_address()
        with registry.database.snapshot() as storage:
            found = subscribers.history(storage, visitor().number, before, limit=PAGE + 1)
        told = [(one, telling.tell(one), telling.actor(one, visitor())) for one in found[:PAGE]]
        older = found[PAGE - 1].event_id if len(found) > PAGE else None
        return render_template("my/history.html", told=told, older=older, first=before is None)
