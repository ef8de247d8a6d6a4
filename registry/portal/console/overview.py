"""The first page of the console, by what the member's organisation is."""

from dataclasses import dataclass
from datetime import timedelta

from flask import Blueprint, redirect, render_template, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import complaints, overview, senders
from registry.complaints import Accusation, AnswerDeadline
from registry.models import MemberRole, OrganisationKind
from registry.overview import State
from registry.portal.console.charts import Bar, Pair, bars, pairs
from registry.portal.console.people import member, needs
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse
LATE = timedelta(minutes=10)
"""After this an SMS that is due tells that their sending does not keep up."""


@dataclass(frozen=True)
class Open:
    """A complaint that the organisation has not answered yet, and until when it is to."""

    accusation: Accusation
    deadline: AnswerDeadline


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    # Without the slash it is the same page: a redirect would name whatever host was asked for.
    @console.get("/", strict_slashes=False, endpoint="overview")
    @needs(MemberRole.VIEWER, applicants=True)
    def first() -> Page:
        """Show what stands, what waits and what is due."""
        here = member()
        if here.kind is None:
            return redirect(url_for(".application"))
        with registry.database.snapshot() as storage:
            shown = {**_common(registry, storage), **_of_kind(registry, storage, here.kind)}
            return render_template("console/overview.html", **shown)

    @console.get("/more")
    @needs(MemberRole.VIEWER, applicants=True)
    def more() -> Page:
        """Lead on to all sections, and out."""
        return render_template("console/more.html")


def _common(registry: Registry, storage: Session) -> dict[str, object]:
    """Return what every organisation is shown."""
    own, now = member().own_id, registry.clock()
    suspension = senders.suspension(storage, own)
    appeals = senders.appeals(storage, suspension.id) if suspension else []
    return {
        "suspension": suspension,
        "appeal": appeals[-1] if appeals else None,
        "now": now,
        "expiring": overview.expiring_keys(storage, own, now),
        "imports": overview.imports(storage, own),
        "lookups": bars(
            Bar(reason, number) for reason, number in overview.lookups(storage, own, now).items()
        ),
        "lookup_days": overview.DAYS,
    }


def _of_kind(registry: Registry, storage: Session, kind: OrganisationKind) -> dict[str, object]:
    """Return what organisations of one kind are shown besides."""
    if kind is OrganisationKind.SENDER:
        return _of_sender(registry, storage)
    if kind is OrganisationKind.PROVIDER:
        return {"served": senders.served(storage, member().own_id)}
    if kind is OrganisationKind.OPERATOR:
        return _of_operator(registry, storage)
    return {}


def _of_operator(registry: Registry, storage: Session) -> dict[str, object]:
    now = registry.clock()
    outgoing = overview.outgoing(storage, now)
    return {
        "waiting": overview.waiting(storage),
        "most_waiting": overview.MOST_WAITING,
        "outgoing": outgoing,
        "late": outgoing.due_since is not None and now - outgoing.due_since > LATE,
        "all_imports": overview.imports_of_all(storage),
        "lapsing": overview.lapsing_keys(storage, now),
    }


def _of_sender(registry: Registry, storage: Session) -> dict[str, object]:
    own, now = member().own_id, registry.clock()
    consents = overview.consents(storage, own, now)
    weeks = overview.weeks(storage, own, now)
    return {
        "consents": consents,
        "states": list(State),
        "topics": bars(
            Bar(topic, states.get(State.STANDING, 0)) for topic, states in consents.by_topic.items()
        ),
        "weeks": pairs(Pair(week.begins, week.new, week.ended) for week in weeks),
        "more_weeks": any(week.is_more for week in weeks),
        "most_in_a_week": overview.MOST_IN_A_WEEK,
        "most_consents": overview.MOST_CONSENTS,
        "requests": overview.requests(storage, own, now),
        "complaints": _open_complaints(registry, storage),
    }


def _open_complaints(registry: Registry, storage: Session) -> list[Open]:
    """Return what waits for an answer among the newest complaints, the first due first."""
    now = registry.clock()
    found = [
        Open(one, complaints.answer_deadline(one, registry.policy, now))
        for one in complaints.against(storage, member().own_id)
        if one.answered_at is None and one.closed_at is None
    ]
    return sorted(found, key=lambda one: one.deadline.answer_by)
