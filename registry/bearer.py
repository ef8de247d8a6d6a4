"""What a bearer shows: `id.secret`, of which only the secret's digest is kept.

Keys of the API and the sessions of subscribers and members are all made and read by this.
"""

import hashlib
import hmac
import secrets
from uuid import UUID


def make(row_id: UUID) -> tuple[str, bytes]:
    """Return a new text for a row's bearer, which is known only now, and the digest to be kept."""
    secret = secrets.token_urlsafe(32)
    return f"{row_id.hex}.{secret}", _digest(secret)


def read(text: str) -> tuple[UUID, str] | None:
    """Return the id that a text names, and its secret; None when it names none."""
    identifier, _, secret = text.partition(".")
    try:
        return UUID(hex=identifier), secret
    except ValueError:
        return None


def fits(secret: str, kept: bytes) -> bool:
    """Tell whether this is the secret of which a digest was kept."""
    return hmac.compare_digest(kept, _digest(secret))


def _digest(secret: str) -> bytes:
    """SHA-256 is enough for a secret of 256 random bits, and costs a request nothing."""
    return hashlib.sha256(secret.encode()).digest()
