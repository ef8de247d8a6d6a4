"""Requests: asking subscribers for consent, one at a time, and what is shown of the answers.

Before the last day for an answer nothing here tells whether somebody declined.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import LazyString, gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import budgets, ledger, senders
from registry.consent import Channel, Topic
from registry.errors import Kind, RegistryError
from registry.ledger import CapTerms, RequestState
from registry.ledger.requests import LONGEST_NOTICE, LONGEST_TERM, MOST_CONTACTS
from registry.models import MemberRole, Purpose
from registry.numbers import SubscriberNumber
from registry.policy import Period
from registry.portal.console import reading
from registry.portal.console.people import SENDERS, member, needs
from registry.routes import cursors
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse
DAYS = 30
"""Over which answer rates are counted."""
asks = needs(MemberRole.AGENT, kinds=SENDERS)
FIELDS = ("number", "channel", "cap_count", "cap_period", "valid_for_days", "notice_text")
SAID = {
    "channel": lazy_gettext("Please choose one."),
    "topics": lazy_gettext("Please choose one at least."),
    "cap_count": lazy_gettext("Please write a number from 1 on."),
    "cap": lazy_gettext("Please write a number from 1 to %(most)s.", most=MOST_CONTACTS),
    "cap_period": lazy_gettext("Please choose one."),
    "valid_for_days": lazy_gettext("Please write 1 to %(most)s days.", most=LONGEST_TERM),
    "notice_text": lazy_gettext("Please write 1 to %(most)s characters.", most=LONGEST_NOTICE),
}
REFUSALS: dict[str, LazyString] = {
    "a confirmed consent for one of the topics is in force": lazy_gettext(
        "The subscriber has agreed to one of these topics here, and that is in force."
    ),
    "the same or a similar request waits for its answer": lazy_gettext(
        "You have asked this subscriber the same or something similar, and no answer is due yet."
    ),
    "the same or a similar request was not agreed to": lazy_gettext(
        "You have asked this subscriber the same or something similar, and it was not agreed to."
        " It may not be asked again."
    ),
}
OTHER = lazy_gettext("This cannot be asked as things stand.")
SPENT = lazy_gettext(
    "Your organisation has named as many numbers today as it may. Please go on tomorrow, or ask"
    " the operator for more."
)


@dataclass(frozen=True)
class Draft:
    """What is to be asked, as the form says it."""

    number: SubscriberNumber
    terms: dict[str, Any]


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/requests")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def requests() -> Page:
        """Show what was asked, the newest first, and how many agreed lately."""
        return render_template("console/requests.html", **_list(registry))

    @console.get("/requests/new")
    @asks
    def new_request() -> Page:
        """Ask for the number and the terms."""
        written = {"channel": "sms", "cap_period": Period.MONTH.value, "valid_for_days": "365"}
        return _form(written)

    @console.post("/requests/preview")
    @asks
    def preview_request() -> Page:
        """Show how the subscriber will read it, before anything is asked."""
        try:
            draft = _read(registry)
        except RegistryError as error:
            return _form(_written(), reading.problems(error, SAID)), 422
        return _preview(registry, draft)

    @console.post("/requests")
    @asks
    def ask() -> Page:
        """Put the question to the subscriber."""
        try:
            draft = _read(registry)
            with registry.database.write() as storage:
                row = _ask(registry, storage, draft)
        except RegistryError as error:
            if error.kind is Kind.BUDGET_EXHAUSTED:
                return _form(_written(), refusal=SPENT), 429
            if error.kind is Kind.CONFLICT:
                refused = reading.refusal(error, REFUSALS, OTHER)
                return _form(_written(), refusal=refused), 409
            return _form(_written(), reading.problems(error, SAID)), 422
        flash(gettext("It is asked. Without an answer it counts as a no."), "ok")
        return redirect(url_for(".request_", request_id=row.id))

    @console.get("/requests/<uuid:request_id>", endpoint="request_")
    @needs(MemberRole.VIEWER, kinds=SENDERS)
    def one(request_id: UUID) -> Page:
        """Show one request, and the consents that it led to."""
        own, now = member().own_id, registry.clock()
        with registry.database.snapshot() as storage:
            row = ledger.own_request(storage, request_id, own)
            state = ledger.request_state(row, now)
            agreed = {row.grant_id: row.number} if row.grant_id else {}
            found = ledger.consents_by_grant(storage, own, agreed) if agreed else {}
            return render_template(
                "console/request.html",
                row=row,
                topics=_topics(row.topics),
                state=state,
                again=registry.policy.requests.ask_again_days,
                consents=[(it, ledger.state(it, now)) for each in found.values() for it in each],
            )


def _list(registry: Registry) -> dict[str, object]:
    now, own = registry.clock(), member().own_id
    chosen = reading.one_of(RequestState, "state")
    with registry.database.snapshot() as storage:
        rows = ledger.search_requests(storage, own, now=now, state=chosen, after=reading.cursor())
        counts = ledger.request_counts(
            storage, own, now - timedelta(days=DAYS), now + timedelta(seconds=1), now=now
        )
    return {
        "rows": [(row, _topics(row.topics), ledger.request_state(row, now)) for row in rows],
        "more": cursors.next_page(rows, ledger.PAGE),
        "chosen": chosen,
        "states": list(RequestState),
        "counts": counts,
        "days": DAYS,
    }


def _topics(written: str) -> list[Topic]:
    return [Topic(topic) for topic in written.split()]


def _written() -> dict[str, object]:
    """Return what stands in the form."""
    found: dict[str, object] = {name: request.form.get(name, "") for name in FIELDS}
    return {**found, "topics": request.form.getlist("topics")}


def _read(registry: Registry) -> Draft:
    """Return what the form says; raises `INVALID` or `INVALID_NUMBER`."""
    channel = reading.word(Channel, "channel")
    number = reading.subscriber(registry, channel)
    terms: dict[str, Any] = {
        "topics": reading.words(Topic, "topics"),
        "cap": CapTerms(reading.whole("cap_count"), reading.word(Period, "cap_period")),
        "valid_for_days": reading.whole("valid_for_days"),
        "notice_text": reading.text("notice_text"),
    }
    ledger.check_terms(**terms)
    return Draft(number, {"channel": channel, **terms})


def _ask(registry: Registry, storage: Session, draft: Draft) -> Any:
    """Ask, and count the number against what the organisation may name in a day."""
    own = senders.find(storage, member().own_id)
    usual = registry.policy.limits.assertion_numbers_per_day
    given = own.assertion_numbers_per_day
    budgets.spend(
        storage,
        own.id,
        Purpose.ASSERTION,
        [draft.number],
        day=registry.clock().date(),
        budget=usual if given is None else given,
    )
    return ledger.ask(
        storage,
        sender_id=own.id,
        number=draft.number,
        policy=registry.policy,
        clock=registry.clock,
        **draft.terms,
    )


def _preview(registry: Registry, draft: Draft) -> str:
    with registry.database.snapshot() as storage:
        own = senders.find(storage, member().own_id)
    answer_by = registry.clock() + timedelta(days=registry.policy.requests.answer_days)
    return _form(_written(), preview={"sender": own, "answer_by": answer_by, "draft": draft})


def _form(written: object, problems: object | None = None, **more: object) -> str:
    return render_template(
        "console/request_new.html",
        written=written,
        problems=problems or {},
        channels=list(Channel),
        topics=list(Topic),
        periods=list(Period),
        longest=LONGEST_NOTICE,
        most_days=LONGEST_TERM,
        **more,
    )
