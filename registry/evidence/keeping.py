"""The files that a sender keeps here, and whether anything names them."""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session
from uuid_utils.compat import uuid7

from registry import events
from registry.database import lock_file
from registry.errors import Kind, RegistryError
from registry.files import ENDINGS, Content, FileStore, file_name
from registry.models import Challenge, Consent, Document, Evidence, EvidenceFile, Grant

log = logging.getLogger(__name__)

PAGE = 100


def keep(
    session: Session,
    files: FileStore,
    content: Content,
    name: str | None,
    *,
    organisation_id: UUID,
    now: datetime,
    member_id: UUID | None = None,
) -> EvidenceFile:
    """Keep a file of a sender; the same content again is the file that is there already, anew.

    What kind it is of, its content says, and its name is made to end accordingly. It is durable
    before the transaction ends.
    """
    media_type = content.media_type
    if media_type is None:
        known = ", ".join(ENDINGS)
        raise RegistryError(Kind.UNSUPPORTED_MEDIA_TYPE, f"evidence is one of: {known}")
    lock_file(session, content.sha256)
    row = _find(session, organisation_id, content.sha256)
    files.keep(content)
    if row is not None:
        row.recorded_at = row.needed_at = now
        session.flush()
        return row
    row = EvidenceFile(
        id=uuid7(),
        organisation_id=organisation_id,
        sha256=content.sha256,
        name=file_name(name, media_type),
        media_type=media_type,
        size=len(content.data),
        recorded_at=now,
        needed_at=now,
    )
    session.add(row)
    _record(session, "evidence_file_kept", row, organisation_id, member_id, now)
    session.flush()
    return row


def own_file(session: Session, organisation_id: UUID, sha256: str) -> EvidenceFile:
    """Return a sender's own file; another's is as if it were not."""
    row = _find(session, organisation_id, sha256)
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such file")
    return row


def own_files(
    session: Session, organisation_id: UUID, after: UUID | None = None
) -> Sequence[EvidenceFile]:
    """Return a page of a sender's own files, the newest first."""
    query = (
        select(EvidenceFile)
        .where(
            EvidenceFile.organisation_id == organisation_id,
            true() if after is None else EvidenceFile.id < after,
        )
        .order_by(EvidenceFile.id.desc())
        .limit(PAGE)
    )
    return session.scalars(query).all()


def delete(
    session: Session,
    files: FileStore,
    organisation_id: UUID,
    sha256: str,
    *,
    now: datetime,
    member_id: UUID | None = None,
) -> None:
    """Delete a sender's own file; raises `CONFLICT` while evidence that is kept names it (R7)."""
    lock_file(session, sha256)
    row = own_file(session, organisation_id, sha256)
    if named(session, row):
        raise RegistryError(Kind.CONFLICT, "evidence that must be kept names this file")
    if not drop(session, files, row):
        raise RegistryError(Kind.UNAVAILABLE, "the file could not be removed", retry_after=30)
    _record(session, "evidence_file_deleted", row, organisation_id, member_id, now)
    session.flush()


def named(session: Session, row: EvidenceFile) -> bool:
    """Tell whether evidence of its sender that is still kept names a file."""
    consents = exists().where(
        Evidence.sha256 == row.sha256,
        Evidence.purged_at.is_(None),
        Grant.evidence_id == Evidence.id,
        Consent.grant_id == Grant.id,
        Consent.sender_id == row.organisation_id,
    )
    challenges = exists().where(
        Challenge.evidence_sha256 == row.sha256,
        Challenge.sender_id == row.organisation_id,
        Grant.id == Challenge.grant_id,
        Evidence.id == Grant.evidence_id,
        Evidence.purged_at.is_(None),
    )
    return bool(session.scalar(select(or_(consents, challenges))))


def drop(session: Session, files: FileStore, row: EvidenceFile) -> bool:
    """Remove a sender's file, and its content where that is nobody else's file, too.

    The caller holds the file's lock. The content goes first: should the transaction fail then,
    the row is removed the next time. Returns False when the disk does not let it go.
    """
    others = or_(
        _has(EvidenceFile.sha256, row.sha256, EvidenceFile.id != row.id),
        _has(Document.sha256, row.sha256),
    )
    if not session.scalar(select(others)) and not remove(files, row.sha256):
        return False
    session.delete(row)
    session.flush()
    return True


def remove(files: FileStore, sha256: str) -> bool:
    """Remove a content; returns False when the disk does not let it go."""
    try:
        files.remove(sha256)
    except OSError as error:
        log.error("file %s cannot be removed: %s", sha256, error.strerror)
        return False
    return True


def _has(
    column: InstrumentedAttribute[str], sha256: str, *where: ColumnElement[bool]
) -> ColumnElement[bool]:
    return exists().where(column == sha256, *where)


def _find(session: Session, organisation_id: UUID, sha256: str) -> EvidenceFile | None:
    return session.scalar(
        select(EvidenceFile).where(
            EvidenceFile.organisation_id == organisation_id, EvidenceFile.sha256 == sha256
        )
    )


def _record(
    session: Session,
    what: str,
    row: EvidenceFile,
    actor_id: UUID,
    member_id: UUID | None,
    now: datetime,
) -> None:
    by = {} if member_id is None else {"member": member_id}
    events.record(session, what, now, actor_id, {"file": row.id, "sha256": row.sha256, **by})
