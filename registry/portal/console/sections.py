"""The sections of the console: who finds which of them in the navigation."""

from dataclasses import dataclass

from flask_babel import LazyString, lazy_gettext

from registry import members
from registry.models import MemberRole, OrganisationKind
from registry.portal.console.people import EVERYBODY, member


@dataclass(frozen=True)
class Section:
    """A way from the navigation to a view of the console, for the kinds and role that it needs.

    On a phone only those that are `near` stand in the bar; the others are under "More".
    """

    view: str
    sign: str
    title: LazyString
    text: LazyString
    role: MemberRole = MemberRole.VIEWER
    kinds: frozenset[OrganisationKind] = EVERYBODY
    near: bool = False
    applicants: bool = False


SECTIONS = (
    Section(
        "overview",
        "home",
        lazy_gettext("Overview"),
        lazy_gettext("What stands, what waits, and what is due"),
        near=True,
    ),
    Section(
        "application",
        "agree",
        lazy_gettext("Application"),
        lazy_gettext("How far it has got, and its documents"),
        near=True,
        applicants=True,
    ),
    Section(
        "keys",
        "key",
        lazy_gettext("Keys"),
        lazy_gettext("What your programs sign in with"),
        role=MemberRole.ADMIN,
        near=True,
    ),
    Section(
        "team",
        "people",
        lazy_gettext("Team"),
        lazy_gettext("Who works here, and as what"),
        near=True,
    ),
    Section(
        "organisation",
        "building",
        lazy_gettext("Organisation"),
        lazy_gettext("Its details and their history, suspensions and appeals"),
    ),
    Section(
        "account",
        "shield",
        lazy_gettext("My account"),
        lazy_gettext("Your password, and where you are signed in"),
        applicants=True,
    ),
)
"""In the order of the navigation. A section with `applicants` is for them, too."""


def of_member() -> list[Section]:
    """Return the sections that the member may open."""
    here = member()
    if here.kind is None:
        return [section for section in SECTIONS if section.applicants]
    return [
        section
        for section in SECTIONS
        if here.kind in section.kinds
        and section.view != "application"
        and members.rank(here.role) >= members.rank(section.role)
    ]
