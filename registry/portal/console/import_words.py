"""Why an import waits or failed, in the language of the page."""

import re

from flask_babel import LazyString, gettext, lazy_gettext

from registry.imports.applying import SPENT, SUSPENDED

WORDS: dict[str, LazyString] = {
    SUSPENDED: lazy_gettext("Your organisation is suspended. It goes on once that is lifted."),
    SPENT: lazy_gettext(
        "Today's budget of numbers is used up. It goes on tomorrow; the operator can raise it."
    ),
    "most lines are rejected": lazy_gettext(
        "Most lines are rejected. Please look at the result: perhaps a column is not what you"
        " chose."
    ),
    "the file is UTF-16; save it as UTF-8": lazy_gettext(
        "The file is written as UTF-16. Please save it as UTF-8."
    ),
    "the file is a spreadsheet or a ZIP; save it as CSV": lazy_gettext(
        "The file is a spreadsheet or a ZIP file. Please save it as CSV."
    ),
    "the file is neither UTF-8 nor GB18030": lazy_gettext(
        "The file's characters cannot be read: it is neither UTF-8 nor GBK."
    ),
    "the gzip file is cut off": lazy_gettext("The gzip file is cut off. Please send it again."),
    "the gzip file is damaged": lazy_gettext("The gzip file is damaged. Please send it again."),
    "the file unpacks to more than is taken": lazy_gettext(
        "The file unpacks to more than is taken."
    ),
    "a line is longer than 64 KiB, or a quote in it is never closed": lazy_gettext(
        "A line is far too long, or a quote in it is never closed."
    ),
    "the first line does not name the columns": lazy_gettext(
        "The first line does not name the columns."
    ),
    "the file is not in the data folder of this worker": lazy_gettext(
        "The file is not where the registry looks for it. Please tell its operator."
    ),
}
"""What the registry says, and how it reads to people; of the rest they read what it says."""


def why(said: str) -> str:
    """Return why an import cannot go on, with the line where that was."""
    place = re.fullmatch(r"line ([0-9]+): (.*)", said, re.DOTALL)
    words = place.group(2) if place else said
    shown = str(WORDS.get(words, words))
    if place is None:
        return shown
    told: str = gettext("Line %(number)s: %(why)s", number=place.group(1), why=shown)
    return told
