"""What a request says, as use cases want it."""

from typing import Any

from registry.consent import Channel
from registry.errors import Kind, RegistryError
from registry.numbers import SendingNumber, SubscriberNumber, parse_sending, parse_subscriber
from registry.web import caller, registry

Body = dict[str, Any]
"""A JSON object, on its way in or out."""


def subscriber(written: str, channel: Channel | None = None) -> SubscriberNumber:
    """Return a subscriber's number; for SMS it must be one that takes them."""
    number = parse_subscriber(written, registry().policy.default_region)
    if channel is Channel.SMS and not number.takes_sms:
        raise RegistryError(Kind.INVALID_NUMBER, "a landline takes no SMS")
    return number


def sending(written: str) -> SendingNumber:
    """Return a sending number."""
    return parse_sending(written, registry().policy.default_region)


def acting() -> Body:
    """Return who acts, and when."""
    return {"actor_id": caller().organisation_id, "now": registry().clock()}
