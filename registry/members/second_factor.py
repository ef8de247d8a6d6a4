"""The second factor: codes of six digits by time (TOTP), each good once."""

import hmac
import re
from datetime import datetime

import pyotp

ISSUER = "Consent Registry"
DRIFT = 1
"""Steps of 30 seconds by which a clock may be off."""


def new_secret() -> str:
    """Draw a secret of 160 bits, in the letters that apps take."""
    return pyotp.random_base32(length=32)


def uri(secret: str, email: str) -> str:
    """Return what an app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def step_of(secret: str, written: str, now: datetime, used: int | None) -> int | None:
    """Return the step that a code is of; None when it is wrong, or of a step not after `used`."""
    code = re.sub(r"\s", "", written)
    if not re.fullmatch(r"[0-9]{6}", code):
        return None
    totp = pyotp.TOTP(secret)
    current = totp.timecode(now)
    for step in range(current - DRIFT, current + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step), code) and step > (used or 0):
            return step
    return None


def demo_code(secret: str, now: datetime) -> str:
    """Return the code of now, as an app would show it."""
    return pyotp.TOTP(secret).at(for_time=now)
