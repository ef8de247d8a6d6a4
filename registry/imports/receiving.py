"""Receiving files: an import is announced, its file comes in pieces, and then it waits.

The database says how much of a file is there; what lies beyond that was never acknowledged.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from marshmallow import Schema
from sqlalchemy import func, select, true, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import access
from registry.database import Database
from registry.errors import Kind, RegistryError, invalid
from registry.imports.forms import Form, shown_name
from registry.imports.kinds import SCOPES
from registry.imports.reading import Encoding
from registry.imports.store import Store
from registry.ledger.bulk import Outcome
from registry.models import Import, ImportFormat, ImportKind, ImportState, Organisation

PAGE = 50
LONGEST_KEY = 200
"""Characters of a line's key."""
LONGEST_NAME = 200
MOST_OPEN = 20
"""Imports of one organisation that are under way at a time."""
MEBIBYTE = 1024 * 1024
UNFINISHED = (ImportState.RECEIVING, ImportState.WAITING, ImportState.RUNNING)


@dataclass(frozen=True)
class Options:
    """How the rows of a file are to be read: see `options`, which checks it."""

    columns: Mapping[str, str] | None
    defaults: Mapping[str, Any]
    encoding: Encoding

    def written(self) -> str:
        """Return the options as they are stored."""
        return json.dumps(vars(self))


def read_options(row: Import) -> Options:
    """Return an import's options."""
    stored = json.loads(row.options)
    return Options(stored["columns"], stored["defaults"], Encoding(stored["encoding"]))


def options(
    schema: Schema,
    format_: ImportFormat,
    *,
    columns: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    encoding: Encoding = Encoding.AUTO,
) -> Options:
    """Check how the rows of a file are to be read, by the schema of its lines.

    Raises `INVALID` for a column of a field that there is not, and for a default that is wrong.
    """
    form = Form(schema)
    if columns is not None and format_ is not ImportFormat.CSV:
        raise invalid("columns", "are of CSV only")
    for name in columns or ():
        if name not in form.known:
            raise invalid("columns", f"name a field that there is not: {shown_name(name)}")
    form.check_defaults(defaults or {})
    return Options(columns, defaults or {}, encoding)


def create(
    session: Session,
    organisation_id: UUID,
    kind: ImportKind,
    format_: ImportFormat,
    name: str | None,
    options: Options,
    *,
    now: datetime,
) -> Import:
    """Announce a file. Raises `INVALID` when an organisation's kind does not send such lines,
    and `CONFLICT` when too many files of it are under way."""
    organisation = session.get_one(Organisation, organisation_id, with_for_update=True)
    if SCOPES[kind] not in access.SCOPES[organisation.kind]:
        raise invalid("kind", f"a {organisation.kind} imports no {kind}")
    under_way = select(func.count(Import.id)).where(
        Import.organisation_id == organisation_id, Import.state.in_(UNFINISHED)
    )
    if (session.scalar(under_way) or 0) >= MOST_OPEN:
        raise RegistryError(
            Kind.CONFLICT, f"{MOST_OPEN} imports are under way; finish or cancel one"
        )
    row = Import(
        id=uuid7(),
        organisation_id=organisation_id,
        kind=kind,
        format=format_,
        name=name,
        options=options.written(),
        state=ImportState.RECEIVING,
        recorded_at=now,
    )
    session.add(row)
    session.flush()
    return row


def receive(
    database: Database,
    store: Store,
    import_id: UUID,
    organisation_id: UUID,
    offset: int,
    pieces: Iterable[bytes],
    *,
    most: int,
) -> int:
    """Append to a file and return its size, which is durable then.

    Raises `CONFLICT` when the file does not go on at this byte, and `TOO_LARGE` beyond `most`
    mebibytes. When the pieces end with an error, those that came before are kept.
    """
    _check_place(database, import_id, organisation_id, offset)
    with store.receiving(import_id) as receiver:
        # Another piece may have come before this one was the only one.
        _check_place(database, import_id, organisation_id, offset)
        try:
            return receiver.append(offset, _limited(pieces, most * MEBIBYTE - offset))
        except OSError:
            raise RegistryError(
                Kind.UNAVAILABLE, "the file could not be stored", retry_after=30
            ) from None
        finally:
            _note_size(database, import_id, receiver.durable)


def _check_place(database: Database, import_id: UUID, organisation_id: UUID, offset: int) -> None:
    with database.snapshot() as session:
        row = own_import(session, import_id, organisation_id)
    if row.state is not ImportState.RECEIVING:
        raise RegistryError(Kind.CONFLICT, "this import takes no more of its file")
    if row.size != offset:
        raise RegistryError(Kind.CONFLICT, f"the file goes on at byte {row.size}")


def _limited(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            raise RegistryError(Kind.TOO_LARGE, "the file is larger than is taken")
        yield piece


def _note_size(database: Database, import_id: UUID, size: int) -> None:
    with database.write() as session:
        known = update(Import).where(Import.id == import_id, Import.state == ImportState.RECEIVING)
        session.execute(known.values(size=size))


def start(
    session: Session, import_id: UUID, organisation_id: UUID, *, sha256: str | None = None
) -> Import:
    """Say that a file is complete; it is applied in its turn. Said again, nothing changes."""
    row = own_import(session, import_id, organisation_id, lock=True)
    if row.state in (ImportState.FAILED, ImportState.CANCELLED):
        raise RegistryError(Kind.CONFLICT, "this import has ended")
    if row.state is ImportState.RECEIVING:
        if row.size == 0:
            raise RegistryError(Kind.CONFLICT, "nothing of the file was received")
        row.state, row.sha256 = ImportState.WAITING, sha256
        session.flush()
    return row


def cancel(session: Session, import_id: UUID, organisation_id: UUID, *, now: datetime) -> Import:
    """End an import; what it has applied stays. One that has ended stays as it is.

    The caller removes its file once that is committed.
    """
    row = own_import(session, import_id, organisation_id, lock=True)
    if row.state in UNFINISHED:
        row.state, row.finished_at, row.resume_at = ImportState.CANCELLED, now, None
        session.flush()
    return row


def own_import(
    session: Session, import_id: UUID, organisation_id: UUID, *, lock: bool = False
) -> Import:
    """Return an import of an organisation; another's is `NOT_FOUND`."""
    row = session.get(Import, import_id, with_for_update=lock or None)
    if row is None or row.organisation_id != organisation_id:
        raise _unknown()
    return row


def find(session: Session, import_id: UUID) -> Import:
    """Return an import, whosever it is."""
    row = session.get(Import, import_id)
    if row is None:
        raise _unknown()
    return row


def _unknown() -> RegistryError:
    return RegistryError(Kind.NOT_FOUND, "there is no such import")


def page(
    session: Session,
    organisation_id: UUID | None,
    after: UUID | None = None,
    kinds: Collection[ImportKind] = tuple(ImportKind),
) -> Sequence[Import]:
    """Return a page of an organisation's imports, or of everybody's, the newest first."""
    query = select(Import).where(
        true() if organisation_id is None else Import.organisation_id == organisation_id,
        Import.kind.in_(kinds),
        true() if after is None else Import.id < after,
    )
    return session.scalars(query.order_by(Import.id.desc()).limit(PAGE)).all()


@dataclass(frozen=True)
class Progress:
    """How far an import has got: `share` is 0 to 1 of its file's bytes."""

    share: float
    lines_per_second: int | None
    counts: Mapping[str, int]
    has_result: bool


def progress(row: Import) -> Progress:
    """Return how far an import has got."""
    counts = json.loads(row.counts)
    return Progress(
        share=1.0 if row.state is ImportState.DONE else row.bytes_read / max(row.size, 1),
        lines_per_second=row.lines * 1000 // row.milliseconds if row.milliseconds else None,
        counts={outcome.value: counts.get(outcome.value, 0) for outcome in Outcome},
        has_result=row.result_size > 0 and row.purged_at is None,
    )
