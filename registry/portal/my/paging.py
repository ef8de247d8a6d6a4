"""Where a list that is shown in parts goes on, as its address says it."""

from flask import request

from registry.errors import Kind, RegistryError

BEFORE = "before"


def event_in_address() -> int | None:
    """Return the event that the page before ended with; raises `NOT_FOUND` for nonsense."""
    text = request.args.get(BEFORE)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise RegistryError(Kind.NOT_FOUND, "there is no such page")
    return int(text)
