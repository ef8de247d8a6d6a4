"""Numbers: every notation people use, what is refused, sending numbers, tokens and seals."""

import random
from zoneinfo import ZoneInfo

import phonenumbers
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat

from registry import policy
from registry.errors import Kind, RegistryError
from registry.numbers import (
    LONGEST_INPUT,
    SMS_TYPES,
    SUBSCRIBER_TYPES,
    NumberKey,
    ResourceKind,
    SubscriberNumber,
    hide_numbers,
    mask,
    parse_sending,
    parse_subscriber,
    split_tokens,
)
from tests.conftest import KEY
from tests.factories import START

MOBILE = "+8613800138000"


# Subscribers' numbers

NOTATIONS = [
    "13800138000", "138 0013 8000", "138-0013-8000", "138.0013.8000", "(138)00138000",
    "+8613800138000", "+86 138 0013 8000", "+86-138-0013-8000", "(+86)13800138000",
    "008613800138000", "0086 138 0013 8000", "8613800138000", "013800138000",
    "１３８００１３８０００", "＋８６　１３８－００１３－８０００", "1380013８０００",
    "١٣٨٠٠١٣٨٠٠٠", "+٨٦١٣٨٠٠١٣٨٠٠٠", "१३८००१३८०००", "𝟏𝟑𝟖𝟎𝟎𝟏𝟑𝟖𝟎𝟎𝟎",
    "138\u200b0013\u200d8000", "\ufeff13800138000", "\u202d13800138000\u202c",
    "138\u00a00013\u20028000", "138–0013—8000", "  13800138000  ",
    "13800138000".ljust(LONGEST_INPUT),
]  # fmt: skip


@pytest.mark.parametrize("written", NOTATIONS)
def test_every_notation_is_one_and_the_same_number(written: str) -> None:
    assert parse_subscriber(written).e164 == MOBILE


NO_NUMBERS = [
    "", " ", "+", "-", "+ -", "1380013800²", "1380013800①", "1380013800⒈", "Ⅰ3800138000",
    "፩3800138000", "一三八", "1380013800O", "1.38E+10", "tel:13800138000", "1_3800138000", "1_380",
    "13800138000\n", "\n13800138000", "1380013\n8000", "13800138000\r\n", "13800138000\t",
    "13800138000\x00", "1380013\x008000", "13800138000\x1f", "13800138000\x85",
    "13800138000\u2028", "13800138000\u0301", "\ud8003800138000", "📱13800138000", "1️⃣3800138000",
    "13800138000,5", "13800138000;ext=5", "13800138000 x5", "13800138000#5", "13800138000*",
    "+86+13800138000", "13800138000+", "++8613800138000", "１３８００１３８００＋０",
]  # fmt: skip


@pytest.mark.parametrize("written", NO_NUMBERS)
def test_what_is_no_digit_or_separator_is_refused(written: str) -> None:
    with pytest.raises(RegistryError, match=r"character that no|not a telephone number") as refusal:
        parse_subscriber(written)
    assert refusal.value.kind is Kind.INVALID_NUMBER


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("1380013800", "range"),
        ("138001380000", "range"),
        ("13800138000.0", "fraction"),
        ("1380013800.0", "fraction"),
        ("+86138001380000000", "too long"),
        ("12000138000", "range"),
        ("110", "too short"),
        ("12306", "area code"),
        ("10086", "area code"),
        ("95588", "area code"),
        ("69012345", "range"),
        ("4001234567", "service"),
        ("8001234567", "service"),
        ("+18005550123", "service"),
        ("10690001234", "106 port"),
        ("1069012345", "106 port"),
        ("+13800138000", "range"),
        ("+99913800138000", "not a telephone number"),
        ("13800138000".ljust(LONGEST_INPUT + 1), "too long"),
    ],
)
def test_a_number_that_is_no_subscribers_is_refused_with_the_reason(
    written: str, told: str
) -> None:
    with pytest.raises(RegistryError, match=told) as refusal:
        parse_subscriber(written)
    assert refusal.value.kind is Kind.INVALID_NUMBER
    assert written not in str(refusal.value)


@pytest.mark.parametrize("written", [13800138000, 1.38e10, None, True, b"13800138000", ["1"], {}])
def test_a_number_that_is_no_string_is_refused(written: object) -> None:
    with pytest.raises(RegistryError, match="as a string"):
        parse_subscriber(written)


@pytest.mark.parametrize(
    "text", ["1", "+", "(", " ", "86", "\u200b", "1-", "٣", "a", "\x00", "+86138"]
)
def test_a_megabyte_of_hostile_text_is_refused_unread(text: str) -> None:
    for parse in (parse_subscriber, parse_sending):
        with pytest.raises(RegistryError, match="too long for a telephone number"):
            parse(text * (1_000_000 // len(text)))


@pytest.mark.parametrize(
    ("written", "region", "e164"),
    [
        ("010-6901-2345", "CN", "+861069012345"),
        ("(020) 6666 8888", "CN", "+862066668888"),
        ("+86 10 6901 2345", "CN", "+861069012345"),
        ("00 1 415 555 2671", "CN", "+14155552671"),
        ("(415) 555-2671", "US", "+14155552671"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("9123 4567", "HK", "+85291234567"),
        ("+86 138 0013 8000", "US", MOBILE),
    ],
)
def test_a_number_without_country_code_belongs_to_the_region(
    written: str, region: str, e164: str
) -> None:
    assert parse_subscriber(written, region).e164 == e164


def test_a_landline_takes_no_sms_and_a_mobile_does() -> None:
    assert parse_subscriber("13800138000").takes_sms
    assert parse_subscriber("+14155552671").takes_sms
    assert parse_subscriber("+447400123456").takes_sms
    assert not parse_subscriber("010-6901-2345").takes_sms
    assert not parse_subscriber("+442079460958").takes_sms


@pytest.mark.parametrize(
    ("written", "zones"),
    [
        ("13800138000", {"Asia/Shanghai"}),
        ("010-6901-2345", {"Asia/Shanghai"}),
        ("+14155552671", {"America/Los_Angeles"}),
        ("+442079460958", {"Europe/London"}),
        ("+61412345678", {"Australia/Perth", "Australia/Sydney"}),
    ],
)
def test_a_number_is_in_every_zone_of_its_range(written: str, zones: set[str]) -> None:
    assert zones <= set(parse_subscriber(written).zones)


@pytest.mark.parametrize("written", ["+870301234567", "+881612345678", "+883510012345"])
def test_a_number_of_no_country_may_be_anywhere_so_no_hour_is_allowed(written: str) -> None:
    assert policy.load().contact_hours.opens(START, parse_subscriber(written).zones) is None


EXAMPLES = [
    parse_subscriber(phonenumbers.format_number(example, PhoneNumberFormat.E164))
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    for kind in sorted(SUBSCRIBER_TYPES)
    if (example := phonenumbers.example_number_for_type(region, kind)) is not None
]


def test_numbers_of_all_regions_have_known_zones_and_tokens_and_print_masked() -> None:
    for number in EXAMPLES:
        assert all(map(ZoneInfo, number.zones)), number.e164
        assert KEY.number(KEY.token(number)) == number
        assert number.e164[1:] not in f"{number} {number!r} {[number]} {number!s:>20}"


def by_phonenumbers(written: str) -> tuple[str, bool, tuple[str, ...]] | None:
    """Say of a number in China, by the library alone, what the fast path says without it."""
    try:
        number = phonenumbers.parse(written, "CN")
    except phonenumbers.NumberParseException:
        return None
    kind = phonenumbers.number_type(number)
    if not phonenumbers.is_valid_number(number) or kind not in SUBSCRIBER_TYPES:
        return None
    e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return e164, kind in SMS_TYPES, phonenumbers.timezone.time_zones_for_number(number)


def test_the_fast_path_agrees_with_phonenumbers_about_every_prefix() -> None:
    chance = random.Random(20260501)  # noqa: S311 - a sample that is the same every time
    kinds = set()
    for prefix in range(100, 200):
        for _ in range(200):
            written = f"{prefix}{chance.randrange(10**8):08d}"
            try:
                number = parse_subscriber(written)
            except RegistryError:
                found = None
            else:
                found = (number.e164, number.takes_sms, number.zones)
            assert found == by_phonenumbers(written), written
            kinds.add(None if found is None else found[1:])
    assert kinds == {None, (True, ("Asia/Shanghai",))}


separators = st.text(" -./()\u200b\u00a0（）－．", max_size=2)
digits = st.sampled_from(["0123456789", "０１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९"])


@settings(deadline=None)
@given(st.integers(0, 10**8 - 1), st.sampled_from(["", "+86", "0086", "86"]), separators, digits)
def test_separators_and_scripts_do_not_change_a_number(
    index: int, prefix: str, separator: str, script: str
) -> None:
    national = f"138{index:08d}"
    spelled = (prefix + national).translate(str.maketrans("0123456789", script))
    groups = [spelled[:3], spelled[3:7], spelled[7:]]
    assert parse_subscriber(separator.join(groups)).e164 == f"+86{national}"


@settings(deadline=None)
@given(st.text() | st.text("+0123456789 -()１٣²\u200b\n\x00ex_#,;*", max_size=70))
def test_any_text_is_either_a_number_or_refused(written: str) -> None:
    for parse in (parse_subscriber, parse_sending):
        try:
            parsed = parse(written)
        except RegistryError as refusal:
            assert refusal.kind is Kind.INVALID_NUMBER  # noqa: PT017 - either end is right
        else:
            assert str(parsed)


# Sending numbers


@pytest.mark.parametrize(
    ("written", "text", "kind"),
    [
        ("10612345", "10612345", ResourceKind.PORT),
        ("106" + "9" * 17, "106" + "9" * 17, ResourceKind.PORT),
        ("1069 0001 234", "10690001234", ResourceKind.PORT),
        ("１０６９０００１２３４", "10690001234", ResourceKind.PORT),
        ("106\u200b90001234", "10690001234", ResourceKind.PORT),
        ("+86 10690001234", "10690001234", ResourceKind.PORT),
        ("0086 10690001234", "10690001234", ResourceKind.PORT),
        # Ten digits are a port as they stand, and a landline in Beijing behind `+86` or `0`.
        ("1069012345", "1069012345", ResourceKind.PORT),
        ("+861069012345", "+861069012345", ResourceKind.LANDLINE),
        ("0086 1069012345", "+861069012345", ResourceKind.LANDLINE),
        ("01069012345", "+861069012345", ResourceKind.LANDLINE),
        ("95588", "95588", ResourceKind.SERVICE_95),
        ("955881", "955881", ResourceKind.SERVICE_95),
        ("95588" + "1" * 15, "95588" + "1" * 15, ResourceKind.SERVICE_95),
        ("96123", "96123", ResourceKind.SERVICE_96),
        ("96123" + "1" * 15, "96123" + "1" * 15, ResourceKind.SERVICE_96),
        ("9501234567", "9501234567", ResourceKind.SERVICE_950),
        ("95012345678", "95012345678", ResourceKind.SERVICE_950),
        ("400-123-4567", "4001234567", ResourceKind.SERVICE_400),
        ("021 6666 8888", "+862166668888", ResourceKind.LANDLINE),
        ("138 0013 8000", MOBILE, ResourceKind.MOBILE),
        ("+86 138 0013 8000", MOBILE, ResourceKind.MOBILE),
    ],
)
def test_a_sending_number_has_one_spelling_and_a_kind(
    written: str, text: str, kind: ResourceKind
) -> None:
    number = parse_sending(written)
    assert (number.text, number.kind) == (text, kind)
    assert parse_sending(number.text) == number


NO_SENDING_NUMBERS = [
    "", "106", "1061234", "106" + "9" * 18, "9558", "95588" + "1" * 16, "9612",
    "96123" + "1" * 16, "400123456", "40012345678", "8001234567", "10086", "12345",
    "10690001234\n", "10690001234\x00", "1_0690001234", "1069000123⁴", "1069000123①",
    "1069000123x", "+10690001234", "10690001234+",
]  # fmt: skip


@pytest.mark.parametrize("written", NO_SENDING_NUMBERS)
def test_what_is_no_sending_number_is_refused(written: str) -> None:
    with pytest.raises(RegistryError) as refusal:
        parse_sending(written)
    assert refusal.value.kind is Kind.INVALID_NUMBER


@pytest.mark.parametrize(
    ("written", "holdings"),
    [
        ("10690001234", ("10690001234", "1069000123", "106900012", "10690001")),
        ("10690001", ("10690001",)),
        ("9558812", ("9558812", "955881", "95588")),
        ("961234", ("961234", "96123")),
        (
            "9501234567",
            ("9501234567", "950123456", "95012345", "9501234", "950123", "95012"),
        ),
        ("4001234567", ("4001234567",)),
        ("02166668888", ("+862166668888",)),
        ("13800138000", (MOBILE,)),
    ],
)
def test_a_sending_number_belongs_to_the_longest_holding_that_begins_it(
    written: str, holdings: tuple[str, ...]
) -> None:
    number = parse_sending(written)
    assert number.holdings == holdings
    assert number.extendable is (number.text[:2] in {"10", "95", "96"})


# Masks, tokens, seals

OTHER_KEY = NumberKey(bytes(range(1, 33)))
mobiles = st.integers(0, 10**8 - 1).map(lambda index: SubscriberNumber(f"+86139{index:08d}"))
numbers = mobiles | st.sampled_from(EXAMPLES)


@pytest.mark.parametrize(
    ("e164", "shown"),
    [
        (MOBILE, "138****8000"),
        ("+14155552671", "+14****2671"),
        ("+85291234567", "+85****4567"),
        ("+6811234", "****"),
    ],
)
def test_a_number_is_shown_masked(e164: str, shown: str) -> None:
    assert mask(e164) == shown
    assert str(SubscriberNumber(e164)) == shown


def test_hide_numbers_leaves_only_short_runs_of_digits() -> None:
    assert (
        hide_numbers("call 13800138000 or 123456, at 10:30") == "call ####### or 123456, at 10:30"
    )


def test_a_token_stays_what_it_was_in_the_first_release() -> None:
    # Another value here would make every stored number unreadable.
    assert KEY.token(SubscriberNumber(MOBILE)).hex() == "1960e621f00036e79a510acbc1e5a6ba"


@settings(deadline=None)
@given(numbers, numbers)
def test_a_token_is_deterministic_and_reversible(
    one: SubscriberNumber, other: SubscriberNumber
) -> None:
    token = KEY.token(one)
    assert len(token) == 16
    assert token == KEY.token(one)
    assert KEY.number(token) == one
    assert (token == KEY.token(other)) is (one == other)
    assert one.e164.encode()[1:] not in token


@settings(deadline=None)
@given(st.lists(numbers))
def test_many_tokens_are_the_tokens_of_each(many: list[SubscriberNumber]) -> None:
    assert split_tokens(KEY.tokens(many)) == [KEY.token(number) for number in many]


@settings(deadline=None)
@given(numbers)
def test_a_token_under_another_key_is_an_error_that_shows_nothing(number: SubscriberNumber) -> None:
    token = OTHER_KEY.token(number)
    assert token != KEY.token(number)
    with pytest.raises(RegistryError, match="another key") as refusal:
        KEY.number(token)
    assert refusal.value.kind is Kind.UNAVAILABLE
    assert token.hex() not in str(refusal.value)


@pytest.mark.parametrize("token", [b"", b"\0" * 15, b"\0" * 16, b"\0" * 17, b"\xff" * 32])
def test_what_is_no_token_is_an_error(token: bytes) -> None:
    with pytest.raises(RegistryError, match="another key"):
        KEY.number(token)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_number_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(RegistryError, match="32 bytes"):
        NumberKey(bytes(length))


def test_a_check_value_tells_keys_apart_and_no_secret() -> None:
    assert NumberKey(bytes(range(32))).check_value == KEY.check_value != OTHER_KEY.check_value
    assert bytes(range(32)).hex() not in KEY.check_value


@settings(deadline=None)
@given(st.binary(), st.binary(min_size=12, max_size=12))
def test_a_seal_is_opened_by_its_key_only(plain: bytes, nonce: bytes) -> None:
    sealed = KEY.seal(plain, nonce)
    assert KEY.unseal(sealed) == plain
    with pytest.raises(InvalidTag):
        OTHER_KEY.unseal(sealed)


@settings(deadline=None)
@given(st.integers(0, 8 * 40 - 1))
def test_a_seal_that_was_changed_does_not_open(bit: int) -> None:
    sealed = bytearray(KEY.seal(b"138 0013 8000", bytes(12)))
    sealed[bit // 8 % len(sealed)] ^= 1 << bit % 8
    with pytest.raises(InvalidTag):
        KEY.unseal(bytes(sealed))


def test_a_seal_hides_what_is_the_same() -> None:
    one, other = (KEY.seal(b"same text", nonce) for nonce in (b"a" * 12, b"b" * 12))
    assert one[12:] != other[12:]
    assert b"same text" not in one


def test_derived_keys_differ_by_key_and_purpose_and_tell_nothing_of_each_other() -> None:
    assert KEY.derive(b"one") == NumberKey(bytes(range(32))).derive(b"one")
    derived = [KEY.derive(b"one"), KEY.derive(b"two"), OTHER_KEY.derive(b"one")]
    assert {len(key) for key in derived} == {32}
    assert len({*derived, KEY.derive(b"token"), KEY.derive(b"digest"), KEY.digest(b"one")}) == 6


def test_a_digest_depends_on_key_and_text() -> None:
    assert KEY.digest(b"text") == NumberKey(bytes(range(32))).digest(b"text")
    assert len({KEY.digest(b"text"), KEY.digest(b"texu"), OTHER_KEY.digest(b"text")}) == 3
