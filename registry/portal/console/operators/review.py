"""The review queue: applications, claims of numbers and appeals, and deciding them one by one."""

from collections.abc import Mapping
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, render_template, url_for
from flask_babel import LazyString, gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import senders
from registry.errors import RegistryError
from registry.models import Application, ApplicationState, MemberRole
from registry.portal.console import reading
from registry.portal.console.operators import deciding
from registry.portal.console.operators.deciding import Decision
from registry.portal.console.people import OPERATORS, member, needs
from registry.portal.words import national, word
from registry.runtime import Registry
from registry.senders import directory, review
from registry.senders.review import Review

Page = str | tuple[str, int] | AnyResponse
look = needs(MemberRole.VIEWER, kinds=OPERATORS)
decide = needs(MemberRole.AGENT, kinds=OPERATORS)
decide_appeals = needs(MemberRole.ADMIN, kinds=OPERATORS)
"""A granted appeal lifts a suspension: whoever decides it may do that."""
FIELDS = ("name", "licence_number", "contact_phone", "complaint_phone")
NOT_DECIDED: Mapping[str, LazyString] = {
    "an organisation with this code is registered": lazy_gettext(
        "An organisation with this code was registered meanwhile. The application still waits:"
        " reject it, or correct that organisation."
    ),
    "another organisation holds this number, and numbers are never transferred": lazy_gettext(
        "Another organisation holds this number, and numbers are never handed on. The claim still"
        " waits: reject it, or wait until the number is released."
    ),
    "this organisation holds this number already": lazy_gettext(
        "This organisation holds the number already. The claim still waits: reject it."
    ),
    "this number is part of one that another organisation holds": lazy_gettext(
        "The number is part of one that another organisation holds. The claim still waits: reject"
        " it, or wait until that one is released."
    ),
    "another organisation holds a longer number that begins with this one": lazy_gettext(
        "Another organisation holds a longer number that begins with this one. The claim still"
        " waits: reject it, or wait until that one is released."
    ),
}
"""What is said of what can be looked at and decided otherwise; anything else is told as faster."""


REJECTED = lazy_gettext("Rejected. The applicant sees your reason.")
ENTITIES: Mapping[str, LazyString] = {
    "11": lazy_gettext("State organ"),
    "12": lazy_gettext("Public institution"),
    "51": lazy_gettext("Association"),
    "52": lazy_gettext("Private non-enterprise unit"),
    "53": lazy_gettext("Foundation"),
    "91": lazy_gettext("Enterprise"),
    "92": lazy_gettext("Self-employed"),
    "93": lazy_gettext("Farmers' cooperative"),
}
"""What the first two characters of a code say of who registered it, and as what (GB 32100)."""


def add(console: Blueprint, registry: Registry) -> None:
    """Add the pages to the console."""

    @console.get("/review")
    @look
    def review() -> Page:
        """Show what waits for a decision, the oldest first."""
        return _queue_page(registry)

    @console.get("/review/applications/<uuid:application_id>")
    @look
    def application_review(application_id: UUID) -> Page:
        """Show an application, or what an organisation wants changed."""
        return _application_page(registry, application_id)

    @console.post("/review/applications/<uuid:application_id>")
    @decide
    def decide_application(application_id: UUID) -> Page:
        """Approve or reject an application, once that was confirmed."""
        return _decide_application(registry, application_id)

    @console.get("/review/applications/<uuid:application_id>/documents/<uuid:document_id>")
    @look
    def application_document(application_id: UUID, document_id: UUID) -> Response:
        """Send a document of an application."""
        with registry.database.snapshot() as storage:
            row = senders.find_application(storage, application_id)
            found = senders.find_document(storage, row, document_id)
        return deciding.download(registry, found)

    @console.get("/review/claims/<uuid:claim_id>")
    @look
    def claim_review(claim_id: UUID) -> Page:
        """Show a claim of a number."""
        return _claim_page(registry, claim_id)

    @console.post("/review/claims/<uuid:claim_id>")
    @decide
    def decide_claim(claim_id: UUID) -> Page:
        """Approve or reject a claim, once that was confirmed."""
        return _decide_claim(registry, claim_id)

    @console.get("/review/claims/<uuid:claim_id>/documents/<uuid:document_id>")
    @look
    def claim_document(claim_id: UUID, document_id: UUID) -> Response:
        """Send a document of a claim."""
        with registry.database.snapshot() as storage:
            row = senders.find_claim(storage, claim_id)
            found = senders.find_document(storage, row, document_id)
        return deciding.download(registry, found)

    @console.get("/review/appeals/<uuid:appeal_id>")
    @look
    def appeal_review(appeal_id: UUID) -> Page:
        """Show an appeal, and the suspension that it is against."""
        return _appeal_page(registry, appeal_id)

    @console.post("/review/appeals/<uuid:appeal_id>")
    @decide_appeals
    def decide_appeal(appeal_id: UUID) -> Page:
        """Grant or dismiss an appeal, once that was confirmed."""
        return _decide_appeal(registry, appeal_id)


def _queue_page(registry: Registry) -> str:
    with registry.database.snapshot() as storage:
        found = review.queue(storage, reading.after())
    return render_template(
        "console/review.html",
        items=found,
        now=registry.clock(),
        more=found[-1].id if len(found) == senders.PAGE else None,
    )


def _refused(error: RegistryError) -> dict[str, object]:
    """Return what a page says of a decision that could not be made; raises what is no such one."""
    if error.detail in NOT_DECIDED:
        return {"refusal": NOT_DECIDED[error.detail]}
    return {"problems": reading.problems(error, deciding.SAID)}


def _shown(more: Mapping[str, object]) -> dict[str, object]:
    return {
        "written": reading.text("reason"),
        "longest": deciding.LONGEST_REASON,
        "problems": {},
        **more,
    }


# Applications


def _application_page(registry: Registry, application_id: UUID, **more: object) -> str:
    with registry.database.snapshot() as storage:
        row = senders.find_application(storage, application_id)
        before = review.before(storage, row)
        return render_template(
            "console/review_application.html",
            row=row,
            before=before,
            what=Review.CHANGE if before else Review.APPLICATION,
            entity=_entity(row.uscc),
            changed=[it for it in FIELDS if before and getattr(before, it) != getattr(row, it)],
            documents=senders.documents(storage, row),
            earlier=review.earlier(storage, row),
            similar=review.similar(storage, row),
            following=review.next_item(storage, row.id),
            now=registry.clock(),
            **_shown(more),
        )


def _entity(uscc: str) -> LazyString:
    return ENTITIES.get(uscc[:2], lazy_gettext("Another kind of entity"))


def _decide_application(registry: Registry, application_id: UUID) -> Page:
    try:
        made = deciding.read_decision()
        if not made.sure:
            return _ask_about_application(registry, application_id, made)
        with registry.database.write() as storage:
            row = senders.decide_application(
                storage,
                application_id,
                approve=made.approve,
                reason=made.reason,
                **reading.act(registry),
            )
            said = str(_what_became(row))
    except RegistryError as error:
        more = _refused(error)
        return _application_page(registry, application_id, **more), 422
    flash(said, "ok")
    return redirect(url_for(".application_review", application_id=application_id))


def _ask_about_application(registry: Registry, application_id: UUID, made: Decision) -> str:
    with registry.database.snapshot() as storage:
        row = _still_waits(storage, application_id)
    if not made.approve:
        question = gettext("Reject the application of “%(name)s”?", name=row.name)
        text = gettext("The applicant reads your reason, and may correct it and apply again.")
    elif row.organisation_id is None:
        question = gettext("Register “%(name)s”?", name=row.name)
        text = gettext(
            "It becomes an organisation of this kind: %(kind)s. Its team works here at once, and"
            " may claim numbers.",
            kind=word(row.kind),
        )
    else:
        question = gettext("Make these changes to “%(name)s”?", name=row.name)
        text = gettext("They count at once, in the public register as well. The old details stay"
                       " in the history.")  # fmt: skip
    return _ask(made, question, text, url_for(".application_review", application_id=row.id))


def _ask(made: Decision, question: str, text: str, where: str) -> str:
    return deciding.ask_once_more(
        {"decision": "approve" if made.approve else "reject", "reason": made.reason},
        question=question,
        text=text,
        reason=made.reason,
        action=where,
        yes=gettext("Yes, approve") if made.approve else gettext("Yes, reject"),
        kind=None if made.approve else "danger",
        back=where,
        area="review",
    )


def _still_waits(storage: Session, application_id: UUID) -> Application:
    """Return an application that was not decided meanwhile; raises `CONFLICT` for others."""
    row = senders.find_application(storage, application_id)
    deciding.expect(row.state is ApplicationState.SUBMITTED, "this application is decided already")
    return row


def _what_became(row: Application) -> LazyString:
    if row.state is ApplicationState.REJECTED:
        return REJECTED
    return lazy_gettext("Approved. It counts from now on.")


# Claims


def _claim_page(registry: Registry, claim_id: UUID, **more: object) -> str:
    with registry.database.snapshot() as storage:
        row = senders.find_claim(storage, claim_id)
        around = review.around(storage, row)
        return render_template(
            "console/review_claim.html",
            row=row,
            what=Review.CLAIM,
            around=around,
            in_the_way=around.others(row.organisation_id),
            suspension=senders.suspension(storage, row.organisation_id),
            documents=senders.documents(storage, row),
            following=review.next_item(storage, row.id),
            now=registry.clock(),
            **_shown(more),
        )


def _decide_claim(registry: Registry, claim_id: UUID) -> Page:
    try:
        made = deciding.read_decision()
        if not made.sure:
            return _ask_about_claim(registry, claim_id, made)
        with registry.database.write() as storage:
            senders.decide_claim(
                storage,
                claim_id,
                approve=made.approve,
                reason=made.reason,
                **reading.act(registry),
            )
    except RegistryError as error:
        more = _refused(error)
        return _claim_page(registry, claim_id, **more), 422
    flash(
        gettext("Approved. The number is held from now on.") if made.approve else str(REJECTED),
        "ok",
    )
    return redirect(url_for(".claim_review", claim_id=claim_id))


def _ask_about_claim(registry: Registry, claim_id: UUID, made: Decision) -> str:
    with registry.database.snapshot() as storage:
        row = senders.find_claim(storage, claim_id)
    deciding.expect(row.state is ApplicationState.SUBMITTED, "this claim is decided already")
    named = {"name": row.claimant.name, "number": national(row.number)}
    if made.approve:
        question = gettext("Let “%(name)s” hold %(number)s?", **named)
        text = gettext(
            "Everybody who looks the number up reads its name. Nobody else may hold the number, or"
            " part of it, until it is released."
        )
    else:
        question = gettext("Reject the claim of “%(name)s” to %(number)s?", **named)
        text = gettext("It reads your reason, and may claim the number again.")
    return _ask(made, question, text, url_for(".claim_review", claim_id=claim_id))


# Appeals


def _appeal_page(registry: Registry, appeal_id: UUID, **more: object) -> str:
    with registry.database.snapshot() as storage:
        row = senders.find_appeal(storage, appeal_id)
        case = directory.find_suspension(storage, row.suspension_id)
        return render_template(
            "console/review_appeal.html",
            row=row,
            case=case,
            phase=directory.phase(case.suspension, registry.clock()),
            others=[one for one in senders.appeals(storage, row.suspension_id) if one.id != row.id],
            following=review.next_item(storage, row.id),
            now=registry.clock(),
            **_shown(more),
        )


def _decide_appeal(registry: Registry, appeal_id: UUID) -> Page:
    try:
        made = deciding.read_decision(always_reason=True)
        if not made.sure:
            return _ask_about_appeal(registry, appeal_id, made)
        with registry.database.write() as storage:
            _check_not_own(storage, appeal_id)
            senders.decide_appeal(
                storage,
                appeal_id,
                granted=made.approve,
                reason=made.reason or "",
                **reading.act(registry),
            )
    except RegistryError as error:
        more = _refused(error)
        return _appeal_page(registry, appeal_id, **more), 422
    flash(
        gettext("Granted. The suspension has ended.")
        if made.approve
        else gettext("Dismissed. The suspension goes on."),
        "ok",
    )
    return redirect(url_for(".appeal_review", appeal_id=appeal_id))


def _check_not_own(storage: Session, appeal_id: UUID) -> None:
    row = senders.find_appeal(storage, appeal_id)
    mine = row.suspension.organisation_id == member().own_id
    deciding.expect(not mine, "nobody decides an appeal of their own")


def _ask_about_appeal(registry: Registry, appeal_id: UUID, made: Decision) -> str:
    with registry.database.snapshot() as storage:
        row = senders.find_appeal(storage, appeal_id)
        case = directory.find_suspension(storage, row.suspension_id)
    deciding.expect(row.outcome is None, "this appeal is decided already")
    name = case.organisation.name
    if made.approve:
        question = gettext("Grant the appeal of “%(name)s”?", name=name)
        text = gettext("Its suspension ends at once: it may send again. It reads your reason.")
    else:
        question = gettext("Dismiss the appeal of “%(name)s”?", name=name)
        text = gettext("The suspension goes on. It reads your reason, and may appeal again.")
    return _ask(made, question, text, url_for(".appeal_review", appeal_id=appeal_id))
