"""Receipts: they verify, with any JOSE library and after rotations, and nothing else does."""

import base64
import hashlib
import hmac
import json
import stat
import string
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import KeySet

from registry.errors import Kind, RegistryError
from registry.events import canonical
from registry.receipts import (
    ALGORITHM,
    TYPE,
    Signer,
    batch_payload,
    canonical_list,
    covers,
    create_key_file,
    payload,
    rotate,
    verify,
)


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
X = base64url(SECRET.public_key().public_bytes_raw())
KID = "1IG2tMH7J2wbJZnOf8LJzQitKf7LMvoAElsuDMVM54Y"
PUBLIC = {"kty": "OKP", "crv": "Ed25519", "x": X, "kid": KID, "alg": ALGORITHM, "use": "sig"}
PRIVATE = {**PUBLIC, "d": base64url(bytes(range(32)))}
SIGNER = Signer([PRIVATE])
JWKS = SIGNER.jwks
HEADER = {"alg": ALGORITHM, "kid": KID, "typ": TYPE}

QUESTION = {
    "id": "019ad7a8-5e00-7000-8000-000000000001",
    "policy": "cn-2020-draft",
    "asker": "019ad7a8-5e00-7000-8000-000000000002",
    "sender": "019ad7a8-5e00-7000-8000-000000000003",
    "from": "10690001234",
    "channel": "sms",
    "message_class": "commercial",
    "topic": "retail",
    "at": "2026-12-01T02:00:00Z",
    "forecast": False,
    "contact": False,
    "decided_at": "2026-12-01T02:00:00Z",
    "position": 18231,
}
VERDICT = {
    "to": "+8613800138000",
    "allowed": True,
    "reason": "consented",
    "valid_until": "2026-12-01T02:10:00Z",
    "retry_at": None,
}
SAID = payload(QUESTION, VERDICT)
RECEIPT = SIGNER.sign(SAID)


def forge(header: object, content: bytes, secret: Ed25519PrivateKey = SECRET) -> str:
    """Sign anything at all, without the registry's code."""
    head = json.dumps(header, separators=(",", ":")).encode()
    signed = f"{base64url(head)}.{base64url(content)}"
    return f"{signed}.{base64url(secret.sign(signed.encode()))}"


def assert_refused(receipt: str, jwks: Any = JWKS) -> None:
    with pytest.raises(RegistryError, match="no valid receipt") as refusal:
        verify(receipt, jwks)
    assert refusal.value.kind is Kind.INVALID


# What verifies


def test_a_receipt_verifies_and_says_what_was_signed() -> None:
    assert verify(RECEIPT, JWKS) == {"v": 1, **QUESTION, "verdict": VERDICT}


def test_a_receipt_of_version_1_stays_what_it_was_in_the_first_release() -> None:
    # Receipts in the hands of askers must verify for ever, so these bytes never change.
    first = (
        "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoiMUlHMnRNSDdKMndiSlpuT2Y4TEp6UWl0S2Y3TE12b0FFbHN1RE1W"
        "TTU0WSIsInR5cCI6ImNvbnNlbnQtcmVjZWlwdCtqd3MifQ.eyJhc2tlciI6IjAxOWFkN2E4LTVlMDAtNzAwM"
        "C04MDAwLTAwMDAwMDAwMDAwMiIsImF0IjoiMjAyNi0xMi0wMVQwMjowMDowMFoiLCJjaGFubmVsIjoic21zI"
        "iwiY29udGFjdCI6ZmFsc2UsImRlY2lkZWRfYXQiOiIyMDI2LTEyLTAxVDAyOjAwOjAwWiIsImZvcmVjYXN0I"
        "jpmYWxzZSwiZnJvbSI6IjEwNjkwMDAxMjM0IiwiaWQiOiIwMTlhZDdhOC01ZTAwLTcwMDAtODAwMC0wMDAwM"
        "DAwMDAwMDEiLCJtZXNzYWdlX2NsYXNzIjoiY29tbWVyY2lhbCIsInBvbGljeSI6ImNuLTIwMjAtZHJhZnQiL"
        "CJwb3NpdGlvbiI6MTgyMzEsInNlbmRlciI6IjAxOWFkN2E4LTVlMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwM"
        "yIsInRvcGljIjoicmV0YWlsIiwidiI6MSwidmVyZGljdCI6eyJhbGxvd2VkIjp0cnVlLCJyZWFzb24iOiJjb"
        "25zZW50ZWQiLCJyZXRyeV9hdCI6bnVsbCwidG8iOiIrODYxMzgwMDEzODAwMCIsInZhbGlkX3VudGlsIjoiM"
        "jAyNi0xMi0wMVQwMjoxMDowMFoifX0.R4aA4UUsIKtZ6RBW4C-cj4tmUcpwzx10CdpbfJ29dOniJzlETt3pT"
        "s0EKhPyes9zlBCOhcnDr2II7zGVkaA6Dg"
    )
    assert first == RECEIPT
    assert verify(first, JWKS) == SAID


def test_a_receipt_is_what_others_would_sign() -> None:
    assert forge(HEADER, canonical(SAID)) == RECEIPT


def test_a_receipt_can_be_checked_with_a_jose_library() -> None:
    keys = KeySet.import_key_set(JWKS)  # type: ignore[arg-type]
    checked = jws.deserialize_compact(RECEIPT, keys, algorithms=["Ed25519"])
    assert json.loads(checked.payload) == SAID
    assert checked.headers() == {"alg": "Ed25519", "kid": KID, "typ": "consent-receipt+jws"}


def test_published_keys_have_no_private_half() -> None:
    assert JWKS == {"keys": [PUBLIC]}


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans() | st.none()))
def test_whatever_is_signed_verifies(question: dict[str, Any]) -> None:
    said = payload(question, VERDICT) | {"v": 1}
    assert verify(SIGNER.sign(said), JWKS) == said


# Keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a new key file."""
    path = tmp_path / "signing.json"
    create_key_file(path)
    return path


def test_a_key_file_is_its_owners_alone_and_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_key_file(path)
    assert path.read_bytes() == before


def test_every_key_file_holds_another_key(path: Path, tmp_path: Path) -> None:
    create_key_file(tmp_path / "other.json")
    other = Signer.load(tmp_path / "other.json")
    assert_refused(Signer.load(path).sign(SAID), other.jwks)


def test_rotation_signs_with_a_new_key_and_keeps_old_receipts_verifiable(path: Path) -> None:
    signers = [Signer.load(path)]
    for _ in range(3):
        kid = rotate(path)
        signers.append(Signer.load(path))
        assert signers[-1].jwks["keys"][0]["kid"] == kid
    receipts = [signer.sign(SAID) for signer in signers]
    assert len(set(receipts)) == 4
    for receipt in receipts:
        assert verify(receipt, signers[-1].jwks) == SAID
    assert_refused(receipts[-1], signers[0].jwks)


def test_rotation_forgets_the_old_private_key_and_keeps_the_file_closed(path: Path) -> None:
    [old] = json.loads(path.read_text())["keys"]
    rotate(path)
    new, kept = json.loads(path.read_text())["keys"]
    assert "d" in new
    assert kept == {name: value for name, value in old.items() if name != "d"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


OTHER_SECRET = Ed25519PrivateKey.from_private_bytes(bytes(32))
OTHER_PUBLIC = {**PUBLIC, "x": base64url(OTHER_SECRET.public_key().public_bytes_raw())}


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        {"keys": 5},
        {"keys": [5]},
        {"keys": []},
        {"keys": [PUBLIC]},
        {"keys": [PRIVATE, PRIVATE]},
        {"keys": [{**PRIVATE, "d": "AA"}]},
        {"keys": [{**PRIVATE, "x": OTHER_PUBLIC["x"]}]},
        {"keys": [{**PRIVATE, "crv": "X25519"}]},
        {"keys": [{**PRIVATE, "use": "enc"}]},
        {"keys": [{**PRIVATE, "kid": 5}]},
        {"keys": [{name: PRIVATE[name] for name in PRIVATE if name != "kid"}]},
    ],
)
def test_a_key_file_that_cannot_sign_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "signing.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RegistryError, match="signing key cannot be read") as refusal:
        Signer.load(path)
    assert refusal.value.kind is Kind.UNAVAILABLE


def test_a_key_file_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    empty, words, noise = (tmp_path / name for name in ("empty", "words", "noise"))
    empty.touch()
    words.write_text("no JSON")
    noise.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "missing", tmp_path, empty, words, noise):
        with pytest.raises(RegistryError, match="signing key cannot be read"):
            Signer.load(path)


# What does not verify: the corpus of mutated receipts

HEAD, BODY, SIGNATURE = RECEIPT.split(".")


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "alg": "none"},
        {**HEADER, "alg": "None"},
        {**HEADER, "alg": "HS256"},
        {**HEADER, "alg": "EdDSA"},
        {**HEADER, "alg": "ed25519"},
        {**HEADER, "alg": "Ed448"},
        {**HEADER, "alg": None},
        {**HEADER, "alg": ["Ed25519"]},
        {**HEADER, "typ": "JWT"},
        {**HEADER, "typ": TYPE.upper()},
        {**HEADER, "typ": f"application/{TYPE}"},
        {**HEADER, "typ": None},
        {**HEADER, "kid": "another"},
        {**HEADER, "kid": ""},
        {**HEADER, "kid": None},
        {**HEADER, "kid": 0},
        {**HEADER, "kid": [KID]},
        {**HEADER, "kid": {"kid": KID}},
        {**HEADER, "crit": []},
        {**HEADER, "crit": ["b64"], "b64": False},
        {**HEADER, "b64": False},
        {**HEADER, "b64": True},
        {**HEADER, "jwk": PUBLIC},
        {**HEADER, "jku": "https://example.org/jwks.json"},
        {**HEADER, "x5c": []},
        {**HEADER, "cty": "JWT"},
        {**HEADER, "": None},
        *({name: HEADER[name] for name in HEADER if name != missing} for missing in HEADER),
        {},
        [HEADER],
        KID,
        None,
        1,
    ],
)
def test_a_receipt_with_another_header_is_refused_though_rightly_signed(header: object) -> None:
    assert_refused(forge(header, canonical(SAID)))


def test_a_receipt_without_signature_or_signed_with_the_public_key_is_refused() -> None:
    unsigned = base64url(b'{"alg":"none"}')
    assert_refused(f"{unsigned}.{BODY}.")
    assert_refused(f"{HEAD}.{BODY}.")
    symmetric = base64url(json.dumps({**HEADER, "alg": "HS256"}).encode())
    for key in (SECRET.public_key().public_bytes_raw(), X.encode(), json.dumps(PUBLIC).encode()):
        mac = hmac.new(key, f"{symmetric}.{BODY}".encode(), hashlib.sha256).digest()
        assert_refused(f"{symmetric}.{BODY}.{base64url(mac)}")


ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_receipt_is_refused_when_any_bit_of_any_character_is_flipped(part: int) -> None:
    parts = RECEIPT.split(".")
    text = parts[part]
    for place, character in enumerate(text):
        for bit in range(6):
            flipped = ALPHABET[ALPHABET.index(character) ^ 1 << bit]
            parts[part] = text[:place] + flipped + text[place + 1 :]
            assert_refused(".".join(parts))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SAID).encode(),
        json.dumps(SAID, separators=(",", ":")).encode(),
        canonical(SAID) + b"\n",
        b" " + canonical(SAID),
        b"\xef\xbb\xbf" + canonical(SAID),
        canonical(SAID).decode().encode("utf-16"),
        canonical(SAID)[:-1] + b',"v":1}',
        canonical(SAID).replace(b"retail", b"\\u0072etail"),
        canonical(SAID).replace(b"18231", b"18231.0"),
        canonical(SAID).replace(b"18231", b"1.8231e4"),
        canonical(SAID).replace(b"18231", b"NaN"),
        canonical(SAID).replace(b"retail", b"\xff"),
        canonical(SAID).replace(b"retail", b"\\ud800"),
        *(canonical({**SAID, "v": version}) for version in (0, 2, -1, "1", None, True, [1])),
        canonical(SAID).replace(b'"v":1', b'"v":1.0'),
        canonical({**QUESTION, "verdict": VERDICT}),
        b"[1]",
        b'"v"',
        b"1",
        b"null",
        b"",
    ],
)
def test_a_receipt_is_refused_when_its_payload_is_not_canonical_or_of_another_version(
    content: bytes,
) -> None:
    assert_refused(forge(HEADER, content))


def test_a_truncated_receipt_is_refused() -> None:
    for length in range(len(RECEIPT)):
        assert_refused(RECEIPT[:length])


MISSHAPEN = [
    f"{RECEIPT}.", f".{RECEIPT}", f"{RECEIPT}.{SIGNATURE}", f"{HEAD}.{HEAD}.{BODY}.{SIGNATURE}",
    f"{HEAD}.{SIGNATURE}.{BODY}", f"{HEAD}..{SIGNATURE}", f".{BODY}.{SIGNATURE}", f"{RECEIPT}\n",
    f" {RECEIPT}", f"{RECEIPT}\t", f"{RECEIPT}\x00", f"{HEAD}.\n{BODY}.{SIGNATURE}",
    f"{HEAD}.{BODY}.{SIGNATURE[:9]}\n{SIGNATURE[9:]}",
    f"{HEAD}.{BODY}.{SIGNATURE[:9]} {SIGNATURE[9:]}",
    f"{HEAD}.{BODY}.{SIGNATURE[:9]}!{SIGNATURE[9:]}", f"{RECEIPT}==", f"{RECEIPT}A",
    f"{RECEIPT}AAAA", RECEIPT.upper(), RECEIPT[::-1], f'"{RECEIPT}"', f"Bearer {RECEIPT}",
    f"{RECEIPT}é", f"{RECEIPT}\ud800",
    json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}), "", ".", "..",
    "...",
]  # fmt: skip


@pytest.mark.parametrize("receipt", MISSHAPEN, ids=range(len(MISSHAPEN)))
def test_what_has_not_the_form_of_a_receipt_is_refused(receipt: str) -> None:
    assert_refused(receipt)


@pytest.mark.parametrize(
    "receipt",
    [
        pytest.param("A" * 10_000_000, id="huge"),
        pytest.param("." * 1_000_000, id="many parts"),
        pytest.param(f"{HEAD}.{'A' * 10_000_000}.{SIGNATURE}", id="huge payload"),
        pytest.param(f"{RECEIPT}{'A' * 10_000_000}", id="huge signature"),
        pytest.param(f"{base64url(b'[' * 100_000)}.{BODY}.{SIGNATURE}", id="deep header"),
        pytest.param(forge(HEADER, b'{"v":1,"x":' + b"[" * 100_000), id="deep payload"),
        pytest.param(forge(HEADER, b'{"v":1,"x":' + b"9" * 10_000 + b"}"), id="huge number"),
    ],
)
def test_huge_and_deep_input_is_refused(receipt: str) -> None:
    assert_refused(receipt)


@settings(deadline=None)
@given(st.text() | st.lists(st.binary().map(base64url), min_size=3, max_size=3).map(".".join))
def test_any_text_is_refused(text: str) -> None:
    assert_refused(text)


def test_a_receipt_of_another_registry_is_refused() -> None:
    assert_refused(forge(HEADER, canonical(SAID), OTHER_SECRET))
    assert_refused(RECEIPT, {"keys": [OTHER_PUBLIC]})


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        [],
        None,
        {"keys": []},
        {"keys": None},
        {"keys": {"kid": KID}},
        {"keys": [KID]},
        {"keys": [{"kid": KID}]},
        {"keys": [{**PUBLIC, "x": "AAAA"}]},
        {"keys": [{**PUBLIC, "crv": "X25519"}]},
        {"keys": [{**PUBLIC, "use": "enc"}]},
        {"keys": [{"kty": "oct", "k": X, "kid": KID}]},
    ],
)
def test_a_receipt_is_refused_when_its_key_is_not_published(jwks: object) -> None:
    assert_refused(RECEIPT, jwks)


# Batches

REFUSED = {**VERDICT, "allowed": False, "reason": "refused", "valid_until": None}
VERDICTS = [VERDICT, REFUSED, {**REFUSED, "to": "1.38E+10", "reason": "invalid_number"}]


def batch(verdicts: list[dict[str, Any]]) -> dict[str, Any]:
    listed = canonical_list(verdicts)
    return verify(SIGNER.sign(batch_payload(QUESTION, len(verdicts), listed)), JWKS)


def test_a_batchs_receipt_says_how_many_verdicts_it_is_over_and_their_digest() -> None:
    listed = json.dumps(VERDICTS, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(listed).hexdigest()
    assert batch(VERDICTS) == {"v": 1, **QUESTION, "verdicts": {"count": 3, "sha256": digest}}


def test_a_batchs_receipt_covers_its_verdicts_however_their_json_is_written() -> None:
    said = batch(VERDICTS)
    assert covers(said, VERDICTS)
    assert covers(said, json.loads(json.dumps(VERDICTS, indent=2)))
    assert covers(said, [dict(reversed(verdict.items())) for verdict in VERDICTS])
    assert covers(batch([]), [])


@pytest.mark.parametrize(
    "others",
    [
        [],
        VERDICTS[:2],
        [*VERDICTS, VERDICT],
        VERDICTS[::-1],
        [REFUSED, REFUSED, VERDICTS[2]],
        [{**VERDICT, "to": "+8613800138001"}, *VERDICTS[1:]],
        [{**VERDICT, "valid_until": None}, *VERDICTS[1:]],
        [{**VERDICT, "more": 1}, *VERDICTS[1:]],
        [{"to": VERDICT["to"]}, *VERDICTS[1:]],
    ],
)
def test_a_batchs_receipt_covers_no_other_verdicts(others: list[dict[str, Any]]) -> None:
    assert not covers(batch(VERDICTS), others)


def test_a_receipt_of_one_verdict_covers_no_batch() -> None:
    assert not covers(SAID, [VERDICT])
    assert not covers(SAID, [])
