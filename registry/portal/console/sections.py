"""The sections of the console: who finds which of them in the navigation."""

from dataclasses import dataclass

from flask_babel import LazyString, lazy_gettext

from registry import members
from registry.models import MemberRole, OrganisationKind
from registry.portal.console.people import (
    EVERYBODY,
    IMPORTING,
    OPERATORS,
    OVERSEERS,
    SENDERS,
    SENDING,
    member,
)


@dataclass(frozen=True)
class Section:
    """A way from the navigation to a view of the console, for the kinds and role that it needs.

    On a phone only the first few stand in the bar; the others are under "More".
    """

    view: str
    sign: str
    title: LazyString
    text: LazyString
    role: MemberRole = MemberRole.VIEWER
    kinds: frozenset[OrganisationKind] = EVERYBODY
    applicants: bool = False


NEAR = 4
"""How many stand in the bar of a phone."""

SECTIONS = (
    Section(
        "overview",
        "home",
        lazy_gettext("Overview"),
        lazy_gettext("What stands, what waits, and what is due"),
    ),
    Section(
        "application",
        "agree",
        lazy_gettext("Application"),
        lazy_gettext("How far it has got, and its documents"),
        applicants=True,
    ),
    Section(
        "review",
        "agree",
        lazy_gettext("Review"),
        lazy_gettext("Applications, claims of numbers and appeals that wait for you"),
        kinds=OPERATORS,
    ),
    Section(
        "organisations",
        "search",
        lazy_gettext("Directory"),
        lazy_gettext("Who is registered, with what numbers, keys and team"),
        kinds=OVERSEERS,
    ),
    Section(
        "suspensions",
        "stop",
        lazy_gettext("Suspended"),
        lazy_gettext("Announced, in effect and ended ones"),
        kinds=OVERSEERS,
    ),
    Section(
        "requests",
        "message",
        lazy_gettext("Requests"),
        lazy_gettext("Asking subscribers for consent, and how many agree"),
        kinds=SENDERS,
    ),
    Section(
        "consents",
        "agree",
        lazy_gettext("Consents"),
        lazy_gettext("What you have of one number, its evidence, withdrawing it"),
        kinds=SENDERS,
    ),
    Section(
        "imports",
        "upload",
        lazy_gettext("Imports"),
        lazy_gettext("Files of many lines, and what became of each"),
        kinds=IMPORTING,
    ),
    Section(
        "numbers",
        "phone",
        lazy_gettext("Numbers"),
        lazy_gettext("What you send from, claims, and platforms"),
        kinds=SENDING,
    ),
    Section(
        "complaints",
        "flag",
        lazy_gettext("Complaints"),
        lazy_gettext("What people say of your messages, and by when to answer"),
        kinds=SENDERS,
    ),
    Section(
        "keys",
        "key",
        lazy_gettext("Keys"),
        lazy_gettext("What your programs sign in with"),
        role=MemberRole.ADMIN,
    ),
    Section(
        "team",
        "people",
        lazy_gettext("Team"),
        lazy_gettext("Who works here, and as what"),
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
