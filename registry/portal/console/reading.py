"""What the forms of the console say, as use cases want it, and what to say of what they refuse."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from flask import request
from flask_babel import LazyString, lazy_gettext

from registry.consent import Channel
from registry.errors import Kind, RegistryError
from registry.numbers import SubscriberNumber, parse_subscriber
from registry.portal.console.forms import ANYTHING, Problems
from registry.portal.console.people import member
from registry.portal.languages import ZONE
from registry.routes import cursors
from registry.runtime import Registry
from registry.schemas.fields import readable

Word = TypeVar("Word", bound=StrEnum)

NO_NUMBER = lazy_gettext("That is no telephone number that can be used here.")
NO_SMS = lazy_gettext("A landline takes calls only, no SMS.")


def wrong(*fields: str) -> RegistryError:
    """Return the error that some fields of a form cannot be read."""
    return RegistryError(
        Kind.INVALID, "a form with wrong fields", fields={name: ["is not right"] for name in fields}
    )


def text(name: str) -> str:
    """Return what was written in a field, without what is no text."""
    return readable(request.form.get(name, "")).strip()


def word(vocabulary: type[Word], name: str) -> Word:
    """Return the one word that was chosen."""
    try:
        return vocabulary(request.form.get(name, ""))
    except ValueError:
        raise wrong(name) from None


def words(vocabulary: type[Word], name: str) -> tuple[Word, ...]:
    """Return the words that were chosen, one at least, in the order of their vocabulary."""
    given = set(request.form.getlist(name))
    if not given or not given <= set(map(str, vocabulary)):
        raise wrong(name)
    return tuple(one for one in vocabulary if one in given)


def whole(name: str) -> int:
    """Return a whole number."""
    written = text(name)
    if not re.fullmatch(r"[0-9]{1,9}", written):
        raise wrong(name)
    return int(written)


def first_day(name: str) -> datetime | None:
    """Return when a day begins in China; nothing where none was chosen."""
    chosen = _day(name)
    return None if chosen is None else _midnight(chosen)


def last_day(name: str) -> datetime | None:
    """Return when a day is over in China; nothing where none was chosen."""
    chosen = _day(name)
    return None if chosen is None else _midnight(chosen + timedelta(days=1))


def _day(name: str) -> date | None:
    written = text(name)
    if not written:
        return None
    try:
        found = date.fromisoformat(written)
    except ValueError:
        raise wrong(name) from None
    if not 2000 <= found.year < 2200:
        raise wrong(name)
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(ZONE)).astimezone(UTC)


def after() -> UUID | None:
    """Return the id that the page before ended with; raises `NOT_FOUND` for nonsense."""
    if "after" not in request.args:
        return None
    found = request.args.get("after", type=UUID)
    if found is None:
        raise _no_page()
    return found


def one_of(vocabulary: type[Word], name: str) -> Word | None:
    """Return a word of the address; nothing where none stands; raises `NOT_FOUND` for another."""
    written = request.args.get(name) or None
    if written is not None and written not in list(map(str, vocabulary)):
        raise _no_page()
    return None if written is None else vocabulary(written)


def cursor() -> tuple[int, UUID] | None:
    """Return where the page before ended; raises `NOT_FOUND` for nonsense."""
    return cursor_of(request.args.get("cursor"))


def cursor_of(written: str | None) -> tuple[int, UUID] | None:
    """Return where a page ended, as a list of events says it; raises `NOT_FOUND` for nonsense."""
    try:
        return cursors.read(written or None)
    except RegistryError:
        raise _no_page() from None


def _no_page() -> RegistryError:
    return RegistryError(Kind.NOT_FOUND, "there is no such page")


def subscriber(registry: Registry, channel: Channel | None = None) -> SubscriberNumber:
    """Return the subscriber's number in a form; for SMS it must be one that takes them."""
    number = parse_subscriber(request.form.get("number", ""), registry.policy.default_region)
    if channel is Channel.SMS and not number.takes_sms:
        raise RegistryError(Kind.INVALID_NUMBER, "a landline takes no SMS")
    return number


def act(registry: Registry) -> dict[str, Any]:
    """Return who acts, and when."""
    here = member()
    return {"actor_id": here.own_id, "member_id": here.member_id, "now": registry.clock()}


def problems(error: RegistryError, said: Mapping[str, LazyString]) -> Problems:
    """Return what to say of each wrong field; raises the error again when it is about none.

    `said` has the words for some of the fields.
    """
    if error.kind is Kind.INVALID_NUMBER:
        return {"number": NO_SMS if "landline" in error.detail else NO_NUMBER}
    if error.kind is not Kind.INVALID or not error.fields:
        raise error
    return {name: said.get(name, ANYTHING) for name in error.fields}


def refusal(error: RegistryError, said: Mapping[str, LazyString], other: LazyString) -> LazyString:
    """Return why something cannot be done as things stand; raises an error of another kind again.

    `said` has words for some details, and `other` is for the rest.
    """
    if error.kind is not Kind.CONFLICT:
        raise error
    return said.get(error.detail, other)
