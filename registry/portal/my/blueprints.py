"""Putting the pages of a number together, for its subscriber and for whoever looks after it."""

from flask import Blueprint, Flask

from registry.portal import visitors
from registry.portal.my import (
    account,
    challenges,
    complaints,
    consents,
    data,
    family,
    history,
    lookups,
    more,
    overview,
    proofs,
    refusals,
    requests,
)
from registry.portal.pages import protect
from registry.runtime import Registry

SUBJECTS = (
    overview,
    refusals,
    consents,
    proofs,
    challenges,
    requests,
    lookups,
    complaints,
    history,
    more,
)
OWN = (family, account, data)
"""What is for the own number alone: nobody does it for another, however much trusted."""


def attach(app: Flask, registry: Registry) -> None:
    """Add the pages of one number to an app."""
    my = Blueprint("my", __name__)
    protect(my)
    visitors.admit(my, registry)
    for subject in SUBJECTS:
        subject.add(my, registry)
    own = Blueprint("own", __name__)
    protect(own)
    visitors.admit(own, registry)
    for subject in OWN:
        subject.add(own, registry)
    app.register_blueprint(own, url_prefix="/my")
    app.register_blueprint(my, url_prefix="/my")
    app.register_blueprint(my, name="member", url_prefix="/my/for/<uuid:link_id>")
