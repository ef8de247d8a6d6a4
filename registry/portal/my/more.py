"""The way to all areas of a number that have no place in the navigation of a phone."""

from flask import Blueprint, render_template

from registry.runtime import Registry


def add(my: Blueprint, _registry: Registry) -> None:
    """Add the page to the blueprint of a number."""

    @my.get("/more")
    def more() -> str:
        """Lead on to who asked, complaints, history, family, data, and signing out."""
        return render_template("my/more.html")
