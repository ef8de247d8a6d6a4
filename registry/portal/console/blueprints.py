"""Putting the console together: its door, which is open to all, and what lies behind it."""

from flask import Blueprint, Flask

from registry.portal.console import (
    account,
    application,
    apply,
    claims,
    complaints,
    consents,
    demo,
    imports,
    join,
    keys,
    numbers,
    organisation,
    overview,
    people,
    platforms,
    requests,
    sections,
    signin,
    team,
    uploads,
    words,
)
from registry.portal.console.operators import access, organisations, review, suspensions
from registry.portal.pages import LARGEST_FORM, protect
from registry.runtime import Registry

DOOR = (signin, join, apply)
"""How one comes in."""
SUBJECTS = (
    overview, application, requests, consents, imports, numbers, claims, platforms, complaints,
    keys, team, organisation, account,
)  # fmt: skip
"""What members see and do; every view of these says by `needs` who may use it."""
OPERATING = (review, organisations, access, suspensions)
"""What operators see and do besides, and in part regulators."""


def attach(app: Flask, registry: Registry) -> None:
    """Add the console to an app."""
    app.jinja_env.globals.update(
        member=people.member,
        member_in=people.is_in,
        sections=sections.of_member,
        near=sections.NEAR,
    )
    app.jinja_env.filters.update(told=words.told, last_day=words.last_day)
    door = Blueprint("door", __name__)
    protect(door)
    for way in DOOR:
        way.add(door, registry)
    console = Blueprint("console", __name__)
    # Who it is comes first: nothing that a stranger sends is read.
    people.admit(console, registry)
    protect(console, lambda: largest_form(app, registry), lambda: uploads.is_streamed(app))
    for subject in (*SUBJECTS, *OPERATING):
        subject.add(console, registry)
    app.register_blueprint(demo.pages(registry))
    app.register_blueprint(door, url_prefix="/console")
    app.register_blueprint(console, url_prefix="/console")


def largest_form(app: Flask, registry: Registry) -> int:
    """Return how large the form of this request may be: larger where it brings a file."""
    if uploads.is_streamed(app):
        return LARGEST_FORM + registry.policy.files.import_mebibytes * 1024**2
    if not people.takes_file(app):
        return LARGEST_FORM
    return LARGEST_FORM + registry.policy.files.evidence_mebibytes * 1024**2
