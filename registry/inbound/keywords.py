"""Keywords: what an SMS says, when it is one exact word. A sentence never is."""

import re
import unicodedata
from enum import StrEnum
from typing import NamedTuple

LONGEST = 100
"""Characters; nobody writes a keyword in more, and nothing longer is looked at."""


class Keyword(StrEnum):
    """What a subscriber asks for in one word."""

    REFUSE_ALL = "refuse_all"
    LIFT_ALL = "lift_all"
    UNSUBSCRIBE = "unsubscribe"
    UNSUBSCRIBE_ALL = "unsubscribe_all"
    DECLINE = "decline"
    AGREE = "agree"
    HELP = "help"
    OTHER = "other"


class Said(NamedTuple):
    """A keyword with the question that it names ("Y12"), and the language of its word if that
    tells one: single letters are written by everybody."""

    keyword: Keyword
    code: int | None = None
    language: str | None = None


_CHINESE = {
    Keyword.REFUSE_ALL: "KTFSR 开通防骚扰 開通防騷擾",
    Keyword.LIFT_ALL: "QXFSR 取消防骚扰 取消防騷擾",
    Keyword.UNSUBSCRIBE: "退订 退訂 拒收",
    Keyword.DECLINE: "不同意",
    Keyword.AGREE: "同意",
    Keyword.HELP: "帮助 幫助",
}
_ENGLISH = {
    Keyword.UNSUBSCRIBE: "STOP QUIT END CANCEL UNSUBSCRIBE REVOKE",
    Keyword.UNSUBSCRIBE_ALL: "STOPALL",
    Keyword.AGREE: "YES",
    Keyword.HELP: "HELP",
}
_LETTERS = {Keyword.UNSUBSCRIBE: "TD T R", Keyword.DECLINE: "N", Keyword.AGREE: "Y"}

WORDS: dict[str, Said] = {
    word: Said(keyword, None, language)
    for language, words in (("zh", _CHINESE), ("en", _ENGLISH), (None, _LETTERS))
    for keyword, listed in words.items()
    for word in listed.split()
}
"""Every word that is understood, as it reads once case, width and punctuation are gone."""

_ANSWERS = {Keyword.UNSUBSCRIBE, Keyword.DECLINE, Keyword.AGREE}
"""What may name a question by its number."""
_WORD_AND_CODE = re.compile(r"(?P<word>[^\W\d_]+)[\s.,:#-]*(?P<code>[0-9]{0,5})")


def parse_keyword(text: str) -> Said:
    """Read a text as a keyword; `OTHER` when it is none.

    Case, full-width letters, spaces, invisible characters and punctuation around it do not
    matter. Digits after an answer name the question. Whatever else is in the text, a circled
    digit or a picture even, makes it none; and an agreement that ends in a question mark is a
    question.
    """
    if len(text) > LONGEST or any(unicodedata.category(it) in ("No", "So") for it in text):
        return Said(Keyword.OTHER)
    plain = _strip("".join(map(_plain, unicodedata.normalize("NFKC", text))), "ZC")
    if plain and set(plain) == {"?"}:
        return Said(Keyword.HELP)
    found = _WORD_AND_CODE.fullmatch(_strip(plain, "ZCP"))
    said = WORDS.get(found["word"].upper()) if found else None
    if found is None or said is None:
        return Said(Keyword.OTHER)
    if found["code"] and said.keyword not in _ANSWERS:
        return Said(Keyword.OTHER)
    if said.keyword is Keyword.AGREE and "?" in plain:
        return Said(Keyword.OTHER)
    return said._replace(code=int(found["code"]) if found["code"] else None)


def _plain(character: str) -> str:
    """Return a digit of any script as ASCII, and nothing for an invisible format character."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    return "" if category == "Cf" else character


def _strip(text: str, classes: str) -> str:
    """Remove spaces (Z), control characters (C) and punctuation (P) from both ends."""

    def outer(character: str) -> bool:
        return unicodedata.category(character)[0] in classes or character == "~"

    first = next((at for at, it in enumerate(text) if not outer(it)), len(text))
    last = next((at for at, it in enumerate(reversed(text)) if not outer(it)), len(text))
    return text[first : len(text) - last]
