"""Cursors of lists that are in the order of events: where a page ended, for the next to go on."""

import base64
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from registry.errors import invalid


class Listed(Protocol):
    """A row of such a list."""

    @property
    def id(self) -> UUID:
        """Its id."""

    @property
    def event_id(self) -> int:
        """The event that recorded it."""


def next_page(rows: Sequence[Listed], size: int) -> str | None:
    """Return the cursor for the page after one, None when that was not full."""
    return write(rows[-1]) if len(rows) == size else None


def write(row: Listed) -> str:
    """Return the cursor of the page that ends with a row."""
    return base64.urlsafe_b64encode(f"{row.event_id}.{row.id}".encode()).decode()


def read(text: str | None) -> tuple[int, UUID] | None:
    """Return the event and the id of the row that the last page ended with."""
    if text is None:
        return None
    try:
        event_id, _, row_id = base64.urlsafe_b64decode(text.encode()).decode().partition(".")
        after = int(event_id), UUID(row_id)
        if not 0 <= after[0] < 2**63:
            raise ValueError
    except ValueError:
        raise invalid("cursor", "is none that this list gave") from None
    return after
