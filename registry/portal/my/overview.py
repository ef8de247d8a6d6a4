"""The first page of a number: what stands, what waits, and refusing everything with one tap."""

from flask import Blueprint, render_template

from registry import subscribers
from registry.portal.visitors import visitor
from registry.runtime import Registry


def add(my: Blueprint, registry: Registry) -> None:
    """Add the page to the blueprint of a number."""

    # Without the slash it is the same page: a redirect would name whatever host was asked for.
    @my.get("/", strict_slashes=False)
    def overview() -> str:
        """Show the state of the number at one glance."""
        with registry.database.snapshot() as storage:
            found = subscribers.overview(storage, visitor().number, registry.clock())
            return render_template("my/overview.html", overview=found, policy=registry.policy)
