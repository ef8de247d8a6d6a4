"""Evidence: senders keep files here, and show them to carriers, subscribers and overseers."""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from flask import Response, jsonify
from sqlalchemy.orm import Session

from registry import evidence, ledger, senders
from registry.access import Scope
from registry.errors import Kind, RegistryError
from registry.evidence import Asked, Shown
from registry.files import ENDINGS, Content
from registry.models import Consent, EvidenceFile, OrganisationKind, Purpose
from registry.numbers import SubscriberNumber
from registry.routes.blueprint import v1
from registry.routes.reading import Body, sending, subscriber
from registry.routes.showing import columns, dump
from registry.routes.spending import near_the_end, spend, spend_later
from registry.routes.uploads import answers_file, attachment, takes_file
from registry.schemas.evidence import (
    AskingSchema,
    EvidenceSchema,
    FilePageSchema,
    FileSchema,
    FilesSchema,
    OwnFileSchema,
)
from registry.web import caller, commit, idempotent, registry, requires

T = TypeVar("T")

# A sender's own files


@v1.post("/evidence")
@requires(Scope.CONSENT, suspended=True)
@takes_file(*ENDINGS, "text/html")
@v1.response(201, FileSchema)
def post_file(content: Content, name: str | None) -> Response:
    """Keep a file that proves consents: those whose evidence names its digest, before or after.

    A file is about one person: whoever it concerns may download it. Again, it is the same file.
    """
    opened = registry()
    with opened.database.write() as session:
        row = evidence.keep(
            session,
            opened.files,
            content,
            name,
            organisation_id=caller().organisation_id,
            now=opened.clock(),
        )
        body = dump(FileSchema, row)
    response = jsonify(body)
    response.status_code = 201
    return response


@v1.get("/evidence")
@requires(Scope.CONSENT, suspended=True)
@v1.arguments(FilePageSchema, location="query")
@v1.response(200, FilesSchema)
def get_files(data: Body) -> Response:
    """List the sender's own files, the newest first."""
    with registry().database.snapshot() as session:
        rows = evidence.own_files(session, caller().organisation_id, data["cursor"])
        full = len(rows) == evidence.PAGE
        return jsonify(dump(FilesSchema, {"files": rows, "cursor": rows[-1].id if full else None}))


@v1.get("/evidence/<sha256>")
@requires(Scope.CONSENT, suspended=True)
@v1.response(200, OwnFileSchema)
def get_file(sha256: str) -> Response:
    """Show the facts of a file of the sender's own, found by its digest."""
    with registry().database.snapshot() as session:
        row = evidence.own_file(session, caller().organisation_id, sha256)
        return jsonify(dump(OwnFileSchema, {**columns(row), "named": evidence.named(session, row)}))


@v1.get("/evidence/<sha256>/file")
@requires(Scope.CONSENT, suspended=True)
@answers_file
def get_own_content(sha256: str) -> Response:
    """Download a file of the sender's own."""
    with registry().database.snapshot() as session:
        row = evidence.own_file(session, caller().organisation_id, sha256)
    return _send(row)


@v1.delete("/evidence/<sha256>")
@requires(Scope.CONSENT)
@v1.response(204)
def delete_file(sha256: str) -> Response:
    """Delete a file of the sender's own that no evidence names which must be kept (R7)."""
    opened = registry()
    with opened.database.write() as session:
        evidence.delete(session, opened.files, caller().organisation_id, sha256, now=opened.clock())
    return Response(status=204)


# Evidence of a consent


@v1.get("/consents/<uuid:consent_id>/evidence")
@requires(Scope.CONSENT, Scope.OVERSIGHT, suspended=True)
@v1.response(200, EvidenceSchema)
def get_evidence(consent_id: UUID) -> Response:
    """Show what proves a consent: a sender's own, and any to an overseer.

    What an overseer looks at is an event of the log.
    """
    return jsonify(_about(consent_id, _object))


@v1.get("/consents/<uuid:consent_id>/evidence/file")
@requires(Scope.CONSENT, Scope.OVERSIGHT, suspended=True)
@answers_file
def get_evidence_file(consent_id: UUID) -> Response:
    """Download the file that the evidence of a consent is about."""
    return _send(_about(consent_id, evidence.file_of))


@v1.get("/consents/<uuid:consent_id>/evidence/proof")
@requires(Scope.CONSENT, Scope.OVERSIGHT, suspended=True)
@answers_file
def get_proof_file(consent_id: UUID) -> Response:
    """Download the file that its sender brought when the consent was disputed."""
    return _send(_about(consent_id, _proof_file))


def _about(consent_id: UUID, show: Callable[[Session, Consent], T]) -> T:
    """Return what `show` makes of a consent that the caller may see."""
    who, opened = caller(), registry()
    if Scope.OVERSIGHT not in who.scopes:
        with opened.database.snapshot() as session:
            return show(session, evidence.own(session, consent_id, who.organisation_id))
    with opened.database.write() as session:
        found = evidence.oversee(
            session, consent_id, overseer_id=who.organisation_id, clock=opened.clock
        )
        return show(session, found)


# What carriers ask


@v1.post("/evidence/requests")
@requires(Scope.WISHES, Scope.LOOKUP)
@idempotent
@v1.arguments(AskingSchema)
@v1.response(200, EvidenceSchema)
def post_request(data: Body) -> Response:
    """Have it proved, as a carrier, that a contact was consented to (R8).

    The look is an event of the number, and the number counts as one that was asked about.
    """
    number = subscriber(data["number"], data["channel"])
    _count(number)
    return commit(lambda session: _object(session, _asked(session, data, number)))


@v1.post("/evidence/requests/file")
@requires(Scope.WISHES, Scope.LOOKUP)
@v1.arguments(AskingSchema)
@answers_file
def post_file_request(data: Body) -> Response:
    """Download the file of such a proof, as a carrier; that is recorded and counted alike."""
    number = subscriber(data["number"], data["channel"])
    _count(number)
    with registry().database.write() as session:
        return _send(evidence.file_of(session, _asked(session, data, number)))


def _count(number: SubscriberNumber) -> None:
    """Count a number that a carrier asks about, also where it then hears of nothing.

    Raises when the caller is no carrier, or has no budget left.
    """
    if caller().kind is not OrganisationKind.CARRIER:
        raise RegistryError(Kind.SCOPE_MISSING, "only a carrier has consents proved to it")
    if near_the_end(Purpose.LOOKUP):
        with registry().database.write() as session:
            spend(session, Purpose.LOOKUP, [number])
    spend_later(Purpose.LOOKUP, number)


def _asked(session: Session, data: Body, number: SubscriberNumber) -> Consent:
    opened = registry()
    sender_id = data["sender"]
    if sender_id is None:
        holding = senders.holder(session, sending(data["sending"]), opened.clock())
        sender_id = holding.organisation_id
    asked = Asked(sender_id, number, data["channel"], data["topic"])
    return evidence.show_carrier(
        session, asked, carrier_id=caller().organisation_id, clock=opened.clock
    )


def _object(session: Session, consent: Consent) -> Body:
    opened = registry()
    shown: Shown = evidence.shown(session, consent, opened.policy.retention)
    grant = consent.grant
    return dump(
        EvidenceSchema,
        {
            **vars(shown),
            "evidence": grant.evidence,
            "state": ledger.state(consent, opened.clock()),
            "cap": {"count": grant.cap_count, "period": grant.cap_period},
        },
    )


def _proof_file(session: Session, consent: Consent) -> EvidenceFile | None:
    proof = evidence.proof_of(session, consent)
    return None if proof is None else proof.file


def _send(row: EvidenceFile | None) -> Response:
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such file")
    return attachment(registry().files.read(row.sha256), row.name)
