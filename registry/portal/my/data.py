"""All that the registry holds on the own number: to be read, to be printed, to be downloaded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flask import Blueprint, Response, render_template
from flask_babel import LazyString

from registry import subscribers
from registry.portal import languages
from registry.portal.my.entries import SECTIONS, Entry, Holdings, Section
from registry.portal.visitors import visitor
from registry.runtime import Registry

SHOWN = 20
"""Entries of a section on the page, the newest ones; the download has all."""


@dataclass(frozen=True)
class Shown:
    """A section with its newest entries and their times, and how many there are in all."""

    name: str
    title: LazyString
    entries: Sequence[tuple[str, Entry]]
    count: int


def add(own: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of the own number."""

    @own.get("/data")
    def data() -> str:
        """Show everything that is held, in sections."""
        held = Holdings(_everything(registry, SHOWN))
        since = held.everything["tenure_since"]
        return render_template(
            "my/data.html",
            sections=[_show(section, held) for section in SECTIONS],
            events=held.everything["counts"]["events"],
            made_at=_when(held.everything["made_at"]),
            since=_when(since) if since else None,
            most=SHOWN,
        )

    @own.get("/data.json")
    def download() -> Response:
        """Send everything as one file, for programs."""
        body = json.dumps(_everything(registry), ensure_ascii=False, indent=1)
        response = Response(body, content_type="application/json; charset=utf-8")
        response.headers["Content-Disposition"] = 'attachment; filename="my-data.json"'
        response.headers["Cache-Control"] = "no-store"
        return response


def _everything(registry: Registry, newest: int | None = None) -> dict[str, Any]:
    with registry.database.snapshot() as storage:
        return subscribers.everything(storage, visitor().own, registry.clock(), newest)


def _show(section: Section, held: Holdings) -> Shown:
    rows = held.rows(section.name)
    entries = [(_when(row[section.at]), section.say(row, held)) for row in rows]
    count = held.everything["counts"].get(section.name, len(rows))
    return Shown(section.name, section.title, entries, count)


def _when(text: str) -> str:
    """Return a time, or a day, as it is read."""
    if len(text) == len("2026-12-01"):
        return languages.written_day(date.fromisoformat(text))
    return languages.written_moment(datetime.fromisoformat(text))
