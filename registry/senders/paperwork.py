"""Documents that go with an application or a claim: licences, letters, contracts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import events
from registry.database import lock_file
from registry.errors import Kind, RegistryError, conflict
from registry.files import Content, FileStore, file_name
from registry.models import Application, ApplicationState, Document, NumberClaim

MEDIA_TYPES = ("application/pdf", "image/png", "image/jpeg")
MOST = 10
"""Documents of one application or claim."""
UNKNOWN_A_DAY = 1024**3
"""Bytes of documents a day from all who are not registered yet: nobody fills the disk unknown."""


def add_document(
    session: Session,
    files: FileStore,
    about: Application | NumberClaim,
    content: Content,
    name: str | None,
    *,
    actor_id: UUID | None,
    member_id: UUID | None = None,
    now: datetime,
) -> Document:
    """Keep a document of an application or claim that waits; the same one again is the first.

    What it is, is seen from its content, and the name that it is given ends accordingly.
    """
    media_type = content.media_type
    if media_type not in MEDIA_TYPES:
        raise RegistryError(Kind.UNSUPPORTED_MEDIA_TYPE, "a document is a PDF, PNG or JPEG file")
    if about.state is not ApplicationState.SUBMITTED:
        raise conflict(f"this is {about.state} already")
    present = documents(session, about)
    for row in present:
        if row.sha256 == content.sha256:
            return row
    _check_room(session, about, len(present), len(content.data), now)
    lock_file(session, content.sha256)
    stored = files.keep(content)
    row = Document(
        id=uuid7(),
        **_of(about),
        name=file_name(name, media_type),
        media_type=media_type,
        size=stored.size,
        sha256=stored.sha256,
        recorded_at=now,
    )
    session.add(row)
    data = {
        "document": row.id,
        "application": row.application_id,
        "claim": row.claim_id,
        "sha256": row.sha256,
        **events.by_member(member_id),
    }
    events.record(session, "document_added", now, actor_id, data)
    session.flush()
    return row


def documents(session: Session, about: Application | NumberClaim) -> Sequence[Document]:
    """Return the documents of an application or claim, the oldest first."""
    query = select(Document).filter_by(**_of(about)).order_by(Document.id)
    return session.scalars(query).all()


def find_document(
    session: Session, about: Application | NumberClaim, document_id: UUID
) -> Document:
    """Return a document of this application or claim; any other is `NOT_FOUND`."""
    query = select(Document).filter_by(**_of(about), id=document_id)
    row = session.scalar(query)
    if row is None:
        raise RegistryError(Kind.NOT_FOUND, "there is no such document")
    return row


def _of(about: Application | NumberClaim) -> dict[str, UUID]:
    return {"application_id" if isinstance(about, Application) else "claim_id": about.id}


def _check_room(
    session: Session, about: Application | NumberClaim, present: int, size: int, now: datetime
) -> None:
    """Raise when there are too many documents, here or of all who are not registered yet."""
    if present >= MOST:
        raise conflict(f"{MOST} documents are the most")
    if about.organisation_id is not None:
        return
    query = (
        select(func.coalesce(func.sum(Document.size), 0))
        .join(Application, Application.id == Document.application_id)
        .where(Application.organisation_id.is_(None), Document.recorded_at > now - timedelta(1))
    )
    if (session.scalar(query) or 0) + size > UNKNOWN_A_DAY:
        raise RegistryError(
            Kind.RATE_LIMITED, "too many documents came today; try again later", retry_after=3600
        )
