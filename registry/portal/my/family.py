"""Looking after others, and who looks after the own number."""

from dataclasses import dataclass
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext, lazy_gettext
from sqlalchemy.orm import Session
from werkzeug.wrappers.response import Response as AnyResponse

from registry import codes, family, web
from registry.errors import Kind, RegistryError
from registry.family import MOST_MEMBERS
from registry.models import FamilyLink
from registry.numbers import SubscriberNumber
from registry.portal import languages
from registry.portal.signin import FAILURES, Unreachable, read_number
from registry.portal.visitors import visitor
from registry.runtime import Registry
from registry.schemas.fields import readable

Page = str | tuple[str, int] | tuple[str, int, dict[str, str]] | AnyResponse

LONGEST_LABEL = 40
OBSTACLES = {
    family.OWN_NUMBER: lazy_gettext("This is your own number. You are signed in with it already."),
    family.LOOKED_AFTER: lazy_gettext("You look after this number already."),
    family.TOO_MANY: lazy_gettext(
        "You look after %(most)s numbers or have asked them, and cannot take on more."
        " End one of them first.",
        most=MOST_MEMBERS,
    ),
}
"""What people are told when a number cannot be asked."""


@dataclass(frozen=True)
class Asked:
    """What somebody wrote into the form, and why no code was sent for it."""

    number: str = ""
    label: str = ""
    unreachable: Unreachable | None = None
    obstacle: str | None = None
    wait: int | None = None


def add(own: Blueprint, registry: Registry) -> None:
    """Add the pages to the blueprint of the own number."""

    @own.get("/family", endpoint="family")
    def show() -> Page:
        """Show both sides: whom one looks after, and who looks after oneself."""
        return _page(registry, Asked())

    _add_asking(own, registry)
    _add_agreeing(own, registry)
    _add_ending(own, registry)


def _add_asking(own: Blueprint, registry: Registry) -> None:
    @own.post("/family")
    def ask() -> Page:
        """Send a code to somebody who is to be looked after, and who passes it on or does not."""
        web.limit_address()
        written = request.form.get("number", "")
        label = " ".join(readable(request.form.get("label", "")).split())[:LONGEST_LABEL]
        number = read_number(written, registry)
        if isinstance(number, Unreachable):
            return _page(registry, Asked(written, label, unreachable=number)), 422
        try:
            with registry.database.write() as storage:
                link = _ask(registry, storage, number, label or None)
        except RegistryError as error:
            if error.kind is Kind.RATE_LIMITED:
                page = _page(registry, Asked(written, label, wait=error.retry_after))
                return page, 429, {"Retry-After": str(error.retry_after)}
            if error.kind is not Kind.CONFLICT:
                raise
            return _page(registry, Asked(written, label, obstacle=_say(error))), 422
        return redirect(url_for(".family_code", family_id=link.id))

    @own.post("/family/<uuid:family_id>/again")
    def ask_again(family_id: UUID) -> Page:
        """Send another code to the same number."""
        web.limit_address()
        with registry.database.snapshot() as storage:
            link = family.asked(storage, visitor().own, family_id)
        try:
            with registry.database.write() as storage:
                link = _ask(registry, storage, link.member, link.label)
        except RegistryError as error:
            if error.kind is not Kind.RATE_LIMITED:
                raise
            with registry.database.snapshot() as storage:
                page = _code_page(registry, storage, link, wait=error.retry_after)
            return page, 429, {"Retry-After": str(error.retry_after)}
        flash(gettext("A new code is on its way."), "ok")
        return redirect(url_for(".family_code", family_id=link.id))


def _add_agreeing(own: Blueprint, registry: Registry) -> None:
    @own.get("/family/<uuid:family_id>/code")
    def family_code(family_id: UUID) -> Page:
        """Ask for the code that the other one got."""
        with registry.database.snapshot() as storage:
            link = family.asked(storage, visitor().own, family_id)
            if link.agreed_at is not None:
                return redirect(url_for(".family"))
            return _code_page(registry, storage, link)

    @own.post("/family/<uuid:family_id>/code")
    def agree(family_id: UUID) -> Page:
        """Begin to look after the number, with the code that came from it."""
        web.limit_address()
        with registry.database.write() as storage:
            link = family.asked(storage, visitor().own, family_id)
            agreed = _agree(registry, storage, link)
            if isinstance(agreed, codes.Failure):
                return _code_page(registry, storage, link, problem=str(FAILURES[agreed])), 422
        flash(gettext("You now look after %(number)s.", number=link.member.dialled), "ok")
        return redirect(url_for(".family"))


def _add_ending(own: Blueprint, registry: Registry) -> None:
    @own.get("/family/<uuid:family_id>/end")
    def ask_end(family_id: UUID) -> Page:
        """Ask whether to end the looking after, as either side."""
        with registry.database.snapshot() as storage:
            link = _standing(registry, storage, family_id)
            return _confirm(link)

    @own.post("/family/<uuid:family_id>/end")
    def end(family_id: UUID) -> Page:
        """End it at once; the other side is told. A second time changes nothing."""
        with registry.database.write() as storage:
            family.end(storage, visitor().own, family_id, clock=registry.clock)
        flash(gettext("It is ended, at once."), "ok")
        return redirect(url_for(".family"))


def _page(registry: Registry, asked: Asked) -> str:
    own = visitor().own
    with registry.database.snapshot() as storage:
        return render_template(
            "my/family.html",
            members=family.members(storage, own),
            waiting=family.waiting(storage, own, registry.clock()),
            carers=family.carers(storage, own),
            asked=asked,
            most=MOST_MEMBERS,
            longest_label=LONGEST_LABEL,
        )


def _ask(
    registry: Registry, storage: Session, number: SubscriberNumber, label: str | None
) -> FamilyLink:
    link, _code = family.ask(
        storage,
        visitor().own,
        number,
        label,
        address=request.remote_addr or "",
        policy=registry.policy,
        clock=registry.clock,
        language=languages.language(),
    )
    return link


def _say(error: RegistryError) -> str:
    """Say why a number cannot be asked, in the language of the page."""
    return str(OBSTACLES[error.detail])


def _agree(registry: Registry, storage: Session, link: FamilyLink) -> FamilyLink | codes.Failure:
    sent = family.last_code(storage, link)
    if sent is None:
        return codes.Failure.EXPIRED
    return family.agree(
        storage,
        visitor().own,
        link.id,
        sent.id,
        request.form.get("code", ""),
        policy=registry.policy,
        clock=registry.clock,
    )


def _code_page(
    registry: Registry,
    storage: Session,
    link: FamilyLink,
    *,
    problem: str | None = None,
    wait: int | None = None,
) -> str:
    sent = family.last_code(storage, link)
    return render_template(
        "my/family_code.html",
        link=link,
        expires_at=sent.expires_at if sent and sent.expires_at > registry.clock() else None,
        problem=problem,
        wait=wait,
    )


def _standing(registry: Registry, storage: Session, family_id: UUID) -> FamilyLink:
    """Return a link that can be ended; another's, or one that is over, is `NOT_FOUND`."""
    own = visitor().own
    for link in (
        *family.members(storage, own),
        *family.carers(storage, own),
        *family.waiting(storage, own, registry.clock()),
    ):
        if link.id == family_id:
            return link
    raise RegistryError(Kind.NOT_FOUND, "there is no such family member")


def _confirm(link: FamilyLink) -> str:
    if link.agreed_at is None:
        question = gettext("Take back that you asked %(number)s?", number=link.member.dialled)
        text = gettext("The code that was sent is worth nothing then.")
    elif link.carer == visitor().own:
        question = gettext("Stop looking after %(number)s?", number=link.member.dialled)
        text = gettext(
            "You can no longer see or change anything for this number, at once. What you did stays"
            " as it is. Its subscriber is told by SMS. To begin again, a new code is needed."
        )
    else:
        question = gettext("Shall %(number)s no longer look after you?", number=link.carer.dialled)
        text = gettext(
            "That number can no longer see or change anything of yours, at once. What was done for"
            " you stays as it is; you can change all of it yourself."
        )
    return render_template(
        "confirm.html",
        layout="my/layout.html",
        area="more",
        kind="danger",
        question=question,
        text=text,
        action=url_for(".end", family_id=link.id),
        yes=gettext("Yes, end it"),
        back=url_for(".family"),
    )
