"""A client of the registry's API: typed, patient, and checking every receipt.

    with Client("https://registry.example", key) as registry:
        verdict = registry.lookup(
            "138 0013 8000", sending="1069012345678", channel=Channel.SMS, topic=Topic.RETAIL
        )
        if verdict.allowed: ...

Whatever the registry refuses is raised as `RegistryError` with the kind of its problem document
(RFC 9457). What may pass by itself (no connection, 429, 503) is tried again; a write carries an
Idempotency-Key, so that trying again changes nothing twice. No answer is an allow unless its
receipt was signed by the registry and says the same.
"""

from registry.client.answers import (
    Asserted,
    ConsentRequestState,
    EvidenceFile,
    ImportProgress,
    Verdict,
    Verdicts,
)
from registry.client.api import Client
from registry.errors import Kind, RegistryError
from registry.models import ImportFormat, ImportKind, ImportState

__all__ = [
    "Asserted",
    "Client",
    "ConsentRequestState",
    "EvidenceFile",
    "ImportFormat",
    "ImportKind",
    "ImportProgress",
    "ImportState",
    "Kind",
    "RegistryError",
    "Verdict",
    "Verdicts",
]
