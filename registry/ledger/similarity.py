"""When two questions are the same, or similar: what may be changed and nothing is new (R5)."""

import unicodedata

from sqlalchemy.orm import Session

from registry.models import number_key

_FILLERS = "\u115f\u1160\u3164\uffa0"
"""Letters, as Unicode counts them, that nobody sees."""


def fingerprint(session: Session, text: str) -> bytes:
    """Return a keyed digest of a text's letters, which is the same for all its trivial changes.

    Case, width, accents, numbers (Chinese ones, too), punctuation, spaces, pictures, invisible
    characters and the order of the words make no difference. Of a text without a letter it is
    the digest of the whole.
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    letters = "".join(sorted(filter(_counts, plain))) or plain
    return number_key(session.get_bind().dialect).digest(b"consent request " + letters.encode())


def _counts(character: str) -> bool:
    if unicodedata.category(character)[0] != "L" or character in _FILLERS:
        return False
    return unicodedata.numeric(character, None) is None
