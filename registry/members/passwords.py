"""Passwords: which may be chosen, and how one is kept and checked.

Length is what counts, so there are no rules of composition; but what everybody tries first is
refused, and so is what stands in the name or the e-mail.
"""

import re
import secrets
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from registry.errors import Kind, RegistryError

SHORTEST, LONGEST = 12, 200
"""Characters. The longest is bounded so that nobody makes the registry digest a novel."""
FEW = 4
"""Different characters that make no password, however often they are repeated."""
TOO_SHORT = "is too short"
TOO_LONG = "is too long"
TOO_COMMON = "is one of those that are tried first"
TOO_CLOSE = "holds the name or the e-mail"
COMMON = {
    "password", "passwort", "passw", "passwd", "secret", "letmein", "welcome", "iloveyou", "monkey",
    "dragon", "sunshine", "princess", "football", "baseball", "master", "superman", "administrator",
    "admin", "root", "login", "default", "changeme", "changemenow", "correcthorsebatterystaple",
    "qwerty", "qwertyuiop", "qwertyuiopasdfghjkl", "qwertyuiopasdfghjklzxcvbnm", "asdfghjkl",
    "qwertyqwerty", "zxcvbnm", "qazwsxedc", "qazwsxedcrfv", "abcdef", "abcdefgh", "abcdefghijkl",
    "abcdefghijklmnopqrstuvwxyz", "woaini", "woainima", "wodemima", "mima", "ceshi", "woaiwojia",
    "nihao", "zhangwei", "consent", "registry", "consentregistry", "passwordpassword", "aptx",
    "qqww", "testtest", "test", "password password", "iloveyouforever",
}  # fmt: skip
"""What is left of many a bad password once its digits and marks are gone."""
_ROWS = ("01234567890123456789", "98765432109876543210", "1234567890" * 2, "0987654321" * 2)

_hasher = PasswordHasher(time_cost=2, memory_cost=46 * 1024, parallelism=1)


def choose(password: str, *, email: str, name: str) -> str:
    """Return the hash of a new password; raises `INVALID` when it may not be chosen.

    It takes a tenth of a second, so it is done outside of transactions.
    """
    text = _normal(password)
    if len(text) < SHORTEST:
        raise _invalid(TOO_SHORT)
    if len(text) > LONGEST:
        raise _invalid(TOO_LONG)
    folded = text.casefold()
    if _is_common(folded):
        raise _invalid(TOO_COMMON)
    if any(part in folded for part in _own_words(email, name)):
        raise _invalid(TOO_CLOSE)
    return _hasher.hash(text)


def _is_common(folded: str) -> bool:
    letters = re.sub(r"[\W\d_]+", "", folded)
    digits = re.sub(r"\D+", "", folded)
    runs = not letters and any(digits[:12] in row for row in _ROWS)
    return runs or len(set(folded)) <= FEW or {letters, folded} & COMMON != set()


def _own_words(email: str, name: str) -> list[str]:
    """Return what somebody who knows a person would try."""
    words = [email, email.partition("@")[0], name, *name.split()]
    return [word.casefold() for word in words if len(word) >= 4 or (word == name and len(word) > 1)]


def verify(kept: str | None, password: str) -> bool:
    """Tell whether a password is the one that was kept; without one it takes as long."""
    text = _normal(password)
    try:
        right = _hasher.verify(kept or _nobody(), text[:LONGEST])
    except (VerificationError, InvalidHashError):
        return False
    return right and kept is not None and len(text) <= LONGEST


@cache
def _nobody() -> str:
    """Return a hash that no password has, to be checked where there is nobody."""
    return _hasher.hash(secrets.token_urlsafe(32))


def _normal(password: str) -> str:
    """Return one form for what keyboards write in several."""
    return unicodedata.normalize("NFKC", password)


def _invalid(problem: str) -> RegistryError:
    return RegistryError(Kind.INVALID, f"the password {problem}", fields={"password": [problem]})
