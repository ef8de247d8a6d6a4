"""Receipts: signed verdicts that anybody can check offline with the published keys.

A receipt is a compact JWS (RFC 7515) over canonical JSON (RFC 8785), signed with Ed25519
(RFC 8037, `alg` of RFC 9864). Version 1 has the fields of `payload`; another set of fields is
another version, and old versions verify for ever.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from registry.errors import Kind, RegistryError
from registry.events import canonical, timestamp

VERSION = 1
ALGORITHM = "Ed25519"
TYPE = "consent-receipt+jws"
_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])


class Signer:
    """Signs with the newest key of a key file; publishes all of them."""

    def __init__(self, keys: Sequence[Mapping[str, Any]]) -> None:
        private = [key for key in keys if "d" in key]
        if len(private) != 1:
            raise RegistryError(Kind.UNAVAILABLE, "a signing key file has one private key")
        self._key = OKPKey.import_key(dict(private[0]))
        self._header = {"alg": ALGORITHM, "kid": private[0]["kid"], "typ": TYPE}
        self.jwks = {"keys": [_public(key) for key in keys]}

    @classmethod
    def load(cls, path: Path) -> "Signer":
        """Read a key file; raises `UNAVAILABLE` when it cannot be read or used."""
        try:
            signer = cls(json.loads(path.read_text())["keys"])
            # A key whose published half does not verify what it signs is no better than none.
            verify(signer.sign({"v": VERSION}), signer.jwks)
        except (OSError, ValueError, KeyError, TypeError, JoseError, RegistryError):
            raise RegistryError(Kind.UNAVAILABLE, "the signing key cannot be read") from None
        return signer

    def sign(self, content: Mapping[str, Any]) -> str:
        """Return the receipt of a payload."""
        return jws.serialize_compact(
            self._header, canonical(content), self._key, registry=_REGISTRY
        )


def create_key_file(path: Path) -> None:
    """Write a key file with a new key, readable by its owner alone; never over another."""
    _write_new(path, {"keys": [_new_key()]})


def rotate(path: Path) -> str:
    """Put a new key into use and keep the public halves of the old ones; return its `kid`."""
    old = json.loads(path.read_text())["keys"]
    new = _new_key()
    replacement = path.with_suffix(".new")
    replacement.unlink(missing_ok=True)  # A rotation that was cut off may have left one.
    _write_new(replacement, {"keys": [new, *map(_public, old)]})
    replacement.replace(path)
    return str(new["kid"])


def _new_key() -> dict[str, Any]:
    key = OKPKey.generate_key("Ed25519")
    return {**key.as_dict(private=True), "kid": key.thumbprint(), "alg": ALGORITHM, "use": "sig"}


def _public(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != "d"}


def _write_new(path: Path, content: Mapping[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def payload(question: Mapping[str, Any], verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the receipt of one verdict says."""
    return {"v": VERSION, **question, "verdict": dict(verdict)}


def batch_payload(question: Mapping[str, Any], count: int, listed: bytes) -> dict[str, Any]:
    """Return what the receipt of a batch says: the digest of its canonical list of verdicts."""
    return {"v": VERSION, **question, "verdicts": _binding(count, listed)}


def _binding(count: int, listed: bytes) -> dict[str, Any]:
    return {"count": count, "sha256": hashlib.sha256(listed).hexdigest()}


def canonical_list(verdicts: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the canonical JSON of a list of verdicts."""
    return json.dumps(verdicts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def verify(receipt: str, jwks: Mapping[str, Any]) -> dict[str, Any]:
    """Check a receipt against published keys and return what it says.

    Raises `INVALID` unless it has just the header that this registry writes, is signed by the
    key that its `kid` names, and holds canonical JSON of a known version.
    """
    try:
        token = jws.extract_compact(receipt.encode("ascii"))
        header = token.headers()
        key = next(key for key in jwks["keys"] if key["kid"] == header["kid"])
        expected = {"alg": ALGORITHM, "kid": key["kid"], "typ": TYPE}
        if header != expected or not jws.validate_compact(
            token, OKPKey.import_key(_public(key)), registry=_REGISTRY
        ):
            raise ValueError("header or signature")
        # Fractions have no canonical form here; read as text they differ from what was signed.
        said: dict[str, Any] = json.loads(token.payload, parse_float=str)
        if type(said["v"]) is not int or said["v"] != VERSION or canonical(said) != token.payload:
            raise ValueError("payload")
    except (JoseError, ValueError, KeyError, TypeError, StopIteration, RecursionError):
        raise RegistryError(Kind.INVALID, "this is no valid receipt of this registry") from None
    return said


def covers(said: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a batch's verified receipt was made over these verdicts."""
    return said.get("verdicts") == _binding(len(verdicts), canonical_list(verdicts))


def optional_timestamp(at: datetime | None) -> str | None:
    """Write a time, or nothing, as a receipt does."""
    return None if at is None else timestamp(at)
