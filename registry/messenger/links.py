"""Short links: a request's SMS leads to the page on which that one question is answered.

A link is `{portal}/r/{token}`. The token is 9 bytes of a MAC over the request and 6 of the
request's event, written as 20 letters of base64url. Nothing is stored for it: it is good for as
long as its question is open, and for nothing else (docs/decisions/0019).
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.models import ConsentRequest, number_key
from registry.numbers import NumberKey

PATH = "/r/"
TOKEN = re.compile(r"[A-Za-z0-9_-]{20}")
_MAC_BYTES, _EVENT_BYTES = 9, 6


def token(key: NumberKey, request: ConsentRequest) -> str:
    """Return the token of a request."""
    # The event comes last, its zeros at the end: a token never ends in "-", which phones take
    # for punctuation behind the link.
    event = request.event_id.to_bytes(_EVENT_BYTES, "little")
    # The id is in the MAC: after a restored backup another request may get the same event.
    signed = hmac.new(key.derive(b"request link"), event + request.id.bytes, hashlib.sha256)
    return urlsafe_b64encode(signed.digest()[:_MAC_BYTES] + event).decode()


def find(session: Session, written: str) -> ConsentRequest | None:
    """Return the request of a token; None for one that this registry did not make."""
    if not TOKEN.fullmatch(written):
        return None
    event_id = int.from_bytes(urlsafe_b64decode(written)[_MAC_BYTES:], "little")
    request = session.scalar(select(ConsentRequest).where(ConsentRequest.event_id == event_id))
    if request is None:
        return None
    expected = token(number_key(session.get_bind().dialect), request)
    return request if hmac.compare_digest(expected, written) else None


def without_link(text: str) -> str:
    """Return what an SMS said without the secret of its link."""
    return re.sub(rf"{PATH}{TOKEN.pattern}", "", text)
