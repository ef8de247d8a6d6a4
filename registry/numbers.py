"""Subscriber numbers, sending numbers, and the tokens under which numbers are stored."""

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

import phonenumbers
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from phonenumbers import PhoneMetadata, PhoneNumberType, ValidationResult
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

from registry.errors import Kind, RegistryError

LONGEST_INPUT = 64
"""Characters; nobody writes a number longer than this, and nothing longer is looked at."""

SUBSCRIBER_TYPES = {
    PhoneNumberType.MOBILE,
    PhoneNumberType.FIXED_LINE,
    PhoneNumberType.FIXED_LINE_OR_MOBILE,
    PhoneNumberType.VOIP,
    PhoneNumberType.PERSONAL_NUMBER,
}
SMS_TYPES = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}

_SEPARATORS = set("-./()‐‑‒–—−－（）．／")


def _chinese_mobiles() -> re.Pattern[str]:
    metadata = PhoneMetadata.metadata_for_region("CN")
    if metadata is None or metadata.mobile is None:
        raise RuntimeError("phonenumbers has no metadata for China")
    return re.compile(rf"\+86({metadata.mobile.national_number_pattern})")


_CHINESE_MOBILE = _chinese_mobiles()
"""phonenumbers' own pattern: the fast way for well-formed mobiles, 40 times as fast as parsing."""
_CHINESE_ZONES = ("Asia/Shanghai",)
_ALL_ZONES = tuple(f"Etc/GMT{hours:+}" for hours in range(-14, 13))
"""Where a number may be that belongs to no country, such as a satellite phone's."""


@dataclass(frozen=True, slots=True)
class SubscriberNumber:
    """A number behind which a subscriber is. Printing it shows it masked; `e164` is the number."""

    e164: str
    chinese_mobile: bool = field(default=False, compare=False)
    """Whether it is known to be one, so that nobody need ask again."""

    def __str__(self) -> str:
        return mask(self.e164)

    def __repr__(self) -> str:
        return f"<SubscriberNumber {self}>"

    @property
    def dialled(self) -> str:
        """The number as it is dialled in China, for whoever is to know it by sight."""
        return self.e164.removeprefix("+86")

    @property
    def takes_sms(self) -> bool:
        """Whether an SMS can reach it (a landline takes calls only)."""
        return self.chinese_mobile or (
            phonenumbers.number_type(phonenumbers.parse(self.e164)) in SMS_TYPES
        )

    @property
    def region(self) -> str | None:
        """The country that the number belongs to, as two letters; None where it has none."""
        if self.chinese_mobile:
            return "CN"
        return phonenumbers.region_code_for_number(phonenumbers.parse(self.e164))

    @property
    def zones(self) -> tuple[str, ...]:
        """Every time zone the number may be in, by phonenumbers' data."""
        if self.chinese_mobile:
            return _CHINESE_ZONES
        zones = tuple(time_zones_for_number(phonenumbers.parse(self.e164)))
        return _ALL_ZONES if UNKNOWN_TIMEZONE in zones else zones


def mask(e164: str) -> str:
    """Show a number as people may see it: 138****8000."""
    national = e164.removeprefix("+86")
    return f"{national[:3]}****{national[-4:]}" if len(national) >= 10 else "****"


def hide_numbers(text: str) -> str:
    """Return a text without its runs of seven or more digits, which may be numbers."""
    return re.sub(r"[0-9]{7,}", "#######", text)


def parse_subscriber(text: object, region: str = "CN") -> SubscriberNumber:
    """Read a subscriber's number in any common notation.

    `region` is where a number without country code belongs. Raises `RegistryError`
    (`INVALID_NUMBER`) for whatever is no subscriber's number: extensions, short codes,
    106 ports, numbers of services, words.
    """
    digits = clean(text)
    if region == "CN" and _CHINESE_MOBILE.fullmatch("+86" + digits):
        return SubscriberNumber("+86" + digits, chinese_mobile=True)
    if _CHINESE_MOBILE.fullmatch(digits):
        return SubscriberNumber(digits, chinese_mobile=True)
    if region == "CN" and digits.startswith("106"):
        raise _invalid("a 106 port sends messages; it is no subscriber's number")
    return _parse_any(digits, region)


def _parse_any(digits: str, region: str) -> SubscriberNumber:
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        raise _invalid("not a telephone number") from None
    if not phonenumbers.is_valid_number(number):
        raise _invalid(_why_invalid(number))
    if phonenumbers.number_type(number) not in SUBSCRIBER_TYPES:
        raise _invalid("a number of a service, not of a subscriber")
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return SubscriberNumber(e164)


def _why_invalid(number: phonenumbers.PhoneNumber) -> str:
    why = phonenumbers.is_possible_number_with_reason(number)
    return {
        ValidationResult.TOO_SHORT: "too short for a subscriber's number",
        ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "the area code is missing",
        ValidationResult.TOO_LONG: "too long for a subscriber's number",
        ValidationResult.INVALID_COUNTRY_CODE: "no such country code",
    }.get(why, "not in a range that is given to subscribers")


def clean(text: object) -> str:
    """Return the ASCII digits of a written number, after a `+` where it had one.

    Digits of any script count, as do the separators people write and invisible format
    characters; a superscript, a circled digit, a letter or a control character does not.
    """
    if not isinstance(text, str):
        raise _invalid("a number is written as a string")
    if len(text) > LONGEST_INPUT:
        raise _invalid("too long for a telephone number")
    if text.isascii() and text.removeprefix("+").isdigit():
        return text
    if re.search(r"[.．][^.．]\Z", text):
        raise _invalid("a decimal fraction, which a spreadsheet made of a number")
    digits = "".join(map(_clean_character, text))
    if "+" in digits[1:] or not digits.removeprefix("+"):
        raise _invalid("not a telephone number")
    return digits


def _clean_character(character: str) -> str:
    if character in "+＋":
        return "+"
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in ("Zs", "Cf") or character in _SEPARATORS:
        return ""
    raise _invalid("a character that no telephone number has")


def _invalid(detail: str) -> RegistryError:
    return RegistryError(Kind.INVALID_NUMBER, detail)


class ResourceKind(StrEnum):
    """The kinds of number resources that may send (R12)."""

    PORT = "port"
    SERVICE_95 = "95"
    SERVICE_96 = "96"
    SERVICE_950 = "950"
    SERVICE_400 = "400"
    LANDLINE = "landline"
    MOBILE = "mobile"


_GRAMMAR = (
    (ResourceKind.PORT, re.compile(r"106[0-9]{5,17}")),
    (ResourceKind.SERVICE_950, re.compile(r"950[0-9]{7,8}")),
    (ResourceKind.SERVICE_95, re.compile(r"95[0-9]{3,18}")),
    (ResourceKind.SERVICE_96, re.compile(r"96[0-9]{3,18}")),
    (ResourceKind.SERVICE_400, re.compile(r"400[0-9]{7}")),
)
_SHORTEST = {
    ResourceKind.PORT: 8,
    ResourceKind.SERVICE_95: 5,
    ResourceKind.SERVICE_96: 5,
    ResourceKind.SERVICE_950: 5,
}
"""Kinds in which a number may lie beneath a shorter one, with the shortest one's length. A 950
number may begin with somebody's 95 number, such as 95013, and then belongs to that holder."""


@dataclass(frozen=True)
class SendingNumber:
    """A number that messages or calls come from, in its one canonical spelling."""

    text: str
    kind: ResourceKind

    @cached_property
    def holdings(self) -> tuple[str, ...]:
        """The numbers whose holder this number may belong to, longest first."""
        shortest = _SHORTEST.get(self.kind, len(self.text))
        return tuple(self.text[:length] for length in range(len(self.text), shortest - 1, -1))

    @property
    def extendable(self) -> bool:
        """Whether longer numbers that begin with this one belong to it."""
        return self.kind in _SHORTEST


def parse_sending(text: object, region: str = "CN") -> SendingNumber:
    """Read a sending number: 106 port, 95/96/950/400 number, landline or mobile.

    Ports and service numbers are not E.164 and never go through phonenumbers, which would
    read `1069012345` as a landline in Beijing. Written with `+86`, just that is what it is.
    """
    digits = clean(text)
    national = re.sub(r"\A(?:\+86|0086)", "", digits)
    if not (national != digits and re.fullmatch(r"106[0-9]{7}", national)):
        for kind, pattern in _GRAMMAR:
            if pattern.fullmatch(national):
                return SendingNumber(national, kind)
    number = _parse_any(digits, region)
    kind = ResourceKind.MOBILE if number.takes_sms else ResourceKind.LANDLINE
    return SendingNumber(number.e164, kind)


class NumberKey:
    """The key under which numbers and texts are stored; without it a stolen dump lists nobody.

    A number's token is one AES-256 block over its 16-byte form: deterministic, so that it can
    be an indexed key, and reversible. Everything else that may name a person is sealed with
    AES-256-GCM. Both keys, and the check value by which a registry recognises the key that
    its data was written with, are derived from the one secret.
    """

    BYTES = 32
    _TAG = b"E.164 v1"

    def __init__(self, secret: bytes) -> None:
        if len(secret) != self.BYTES:
            raise RegistryError(Kind.UNAVAILABLE, f"a number key has {self.BYTES} bytes")
        self._block = Cipher(algorithms.AES(_derive(secret, b"token")), modes.ECB())  # noqa: S305
        self._aead = AESGCM(_derive(secret, b"seal"))
        self._digest_key = _derive(secret, b"digest")
        self._derived_key = _derive(secret, b"derive")
        self.check_value = hmac.new(_derive(secret, b"check"), b"", "sha256").hexdigest()

    def token(self, number: SubscriberNumber) -> bytes:
        """Return the 16 bytes under which a number is stored."""
        return self.tokens([number])

    def tokens(self, numbers: Sequence[SubscriberNumber]) -> bytes:
        """Return the tokens of many numbers, one after the other, in one go."""
        tag = self._TAG
        plain = b"".join([tag + int(number.e164[1:]).to_bytes(8) for number in numbers])
        return self._block.encryptor().update(plain)

    def number(self, token: bytes) -> SubscriberNumber:
        """Return the number of a token; raises when the token was made under another key."""
        plain = self._block.decryptor().update(token)
        if plain[:8] != self._TAG:
            raise RegistryError(Kind.UNAVAILABLE, "a stored number was written with another key")
        return SubscriberNumber(f"+{int.from_bytes(plain[8:])}")

    def seal(self, plain: bytes, nonce: bytes) -> bytes:
        """Encrypt what may name a person; `nonce` is 12 random bytes, kept in front."""
        return nonce + self._aead.encrypt(nonce, plain, None)

    def unseal(self, sealed: bytes) -> bytes:
        """Return what `seal` was given."""
        return self._aead.decrypt(sealed[:12], sealed[12:], None)

    def digest(self, plain: bytes) -> bytes:
        """Return a keyed digest, from which nobody without the key can guess what it is of."""
        return hmac.new(self._digest_key, plain, hashlib.sha256).digest()

    def derive(self, purpose: bytes) -> bytes:
        """Return a key of 32 bytes for another purpose, such as signing the portal's cookies.

        Whoever has it learns nothing of the number key, nor of a key for another purpose.
        """
        return _derive(self._derived_key, purpose)


def split_tokens(tokens: bytes) -> list[bytes]:
    """Cut what `NumberKey.tokens` returns into single tokens."""
    return [tokens[start:end] for start, end in pairwise(range(0, len(tokens) + 1, 16))]


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"consent-registry " + purpose).derive(secret)
