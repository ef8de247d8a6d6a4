"""Files that senders keep here as evidence, to whom they concern."""

from uuid import UUID

from flask import Blueprint
from werkzeug.wrappers.response import Response as AnyResponse

from registry import evidence
from registry.errors import Kind, RegistryError
from registry.models import EvidenceFile
from registry.portal.my.consents import find
from registry.routes.uploads import attachment
from registry.runtime import Registry


def add(my: Blueprint, registry: Registry) -> None:
    """Add the downloads to the blueprint of a number."""

    @my.get("/consents/<uuid:consent_id>/file")
    def consent_file(consent_id: UUID) -> AnyResponse:
        """Download the file that the sender keeps here as evidence of a consent."""
        with registry.database.snapshot() as storage:
            found = evidence.file_of(storage, find(registry, storage, consent_id).row)
        return _send(registry, found)

    @my.get("/consents/<uuid:consent_id>/proof")
    def proof_file(consent_id: UUID) -> AnyResponse:
        """Download the file that the sender brought when the consent was disputed."""
        with registry.database.snapshot() as storage:
            proof = evidence.proof_of(storage, find(registry, storage, consent_id).row)
        return _send(registry, None if proof is None else proof.file)


def _send(registry: Registry, row: EvidenceFile | None) -> AnyResponse:
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such file")
    return attachment(registry.files.read(row.sha256), row.name)
