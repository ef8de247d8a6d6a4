"""Who asked about a number, and what the registry answered."""

import base64
from datetime import UTC, datetime
from uuid import UUID

from flask import Blueprint, render_template, request

from registry import subscribers
from registry.errors import Kind, RegistryError
from registry.lookup import BATCH
from registry.portal.visitors import visitor
from registry.runtime import Registry
from registry.subscribers import PAGE, Asked, Place


def add(my: Blueprint, registry: Registry) -> None:
    """Add the page to the blueprint of a number."""

    @my.get("/lookups")
    def lookups() -> str:
        """Show who asked, the newest first, in parts."""
        after = _read(request.args.get("after"))
        with registry.database.snapshot() as storage:
            found = subscribers.lookups(storage, visitor().number, after, limit=PAGE + 1)
        shown = found[:PAGE]
        older = _write(shown[-1]) if len(found) > PAGE else None
        return render_template("my/lookups.html", lookups=shown, older=older, first=after is None)


def _write(last: Asked) -> str:
    """Return where a page ended, for its address: a time and an id, never a number."""
    place = f"{last.row.decided_at.isoformat()} {last.row.id} {last.row.item}"
    return base64.urlsafe_b64encode(place.encode()).decode()


def _read(text: str | None) -> Place | None:
    """Return where the page before ended."""
    if text is None:
        return None
    try:
        at, lookup_id, item = base64.urlsafe_b64decode(text.encode()).decode().split(" ")
        place = datetime.fromisoformat(at).astimezone(UTC), UUID(lookup_id), int(item)
        if not 0 <= place[2] < BATCH:
            raise ValueError
    except (ValueError, OverflowError):
        raise RegistryError(Kind.NOT_FOUND, "there is no such page") from None
    return place
