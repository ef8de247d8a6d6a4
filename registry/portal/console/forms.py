"""What is said of a field that something is wrong with, in the language of the page."""

from collections.abc import Mapping

from flask_babel import LazyString, lazy_gettext

from registry.errors import Kind, RegistryError
from registry.members import accounts, passwords

Problems = dict[str, LazyString]
_FIELDS: Mapping[str, LazyString] = {
    "email": lazy_gettext("That is no e-mail address."),
    "name": lazy_gettext("Please write 1 to 100 characters."),
    "uscc": lazy_gettext("That is no valid code: it has 18 digits and letters. Please compare it."),
    "licence_number": lazy_gettext("Please write 1 to 100 characters."),
    "contact_name": lazy_gettext("Please write 1 to 100 characters."),
    "contact_phone": lazy_gettext("That is no telephone number."),
    "complaint_phone": lazy_gettext("That is no telephone number."),
    "kind": lazy_gettext("Please choose one."),
    "scopes": lazy_gettext("Please choose one at least."),
    "label": lazy_gettext("Please write 1 to 100 characters."),
}
"""What is said when nothing more is known."""
_EXACTLY: Mapping[tuple[str, str], LazyString] = {
    ("email", accounts.TAKEN): lazy_gettext(
        "This address cannot be used here. Please take another one."
    ),
    ("password", passwords.TOO_SHORT): lazy_gettext(
        "Please take at least %(least)s characters.", least=passwords.SHORTEST
    ),
    ("password", passwords.TOO_LONG): lazy_gettext(
        "Please take at most %(most)s characters.", most=passwords.LONGEST
    ),
    ("password", passwords.TOO_COMMON): lazy_gettext(
        "This is one of the passwords that are tried first. Please take another one."
    ),
    ("password", passwords.TOO_CLOSE): lazy_gettext(
        "Your name or e-mail stands in it. Please take another one."
    ),
}
ANYTHING = lazy_gettext("Please check this.")


def problems_of(error: RegistryError) -> Problems:
    """Return what to say of each wrong field; nothing when the error is about no field."""
    if error.kind is not Kind.INVALID or not error.fields:
        return {}
    return {field: _words(field, problem) for field, problem in error.fields.items()}


def _words(field: str, problem: object) -> LazyString:
    first = str(problem[0]) if isinstance(problem, list) and problem else ""
    return _EXACTLY.get((field, first)) or _FIELDS.get(field, ANYTHING)
