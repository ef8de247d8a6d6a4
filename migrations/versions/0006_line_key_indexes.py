"""Indexes for 0005, and checks of the rows from before it: on PostgreSQL beside all traffic.

What works beside traffic cannot be taken back as one. So each step is left alone when it was done
before, and an interrupted upgrade is run again.
"""

from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

CHECKS = ("ck_outbox_notice_known", "ck_outbox_state_known")
INVALID = sa.text(
    "SELECT count(*) FROM pg_index"
    " WHERE indexrelid = to_regclass(CAST(:name AS text)) AND NOT indisvalid"
)


class Index(NamedTuple):
    """An index, of some rows only when it says which."""

    name: str
    table: str
    columns: tuple[str, ...]
    where: str | None = None


INDEXES = (
    *(
        Index(f"uq_{table}_line_key", table, ("line_key",), "line_key IS NOT NULL")
        for table in ("grants", "refusals", "reassignments", "consent_requests")
    ),
    Index("ix_outbox_merged_into", "outbox", ("merged_into",), "merged_into IS NOT NULL"),
    Index("uq_consent_requests_event_id", "consent_requests", ("event_id",)),
    Index("ix_consent_requests_sender_id", "consent_requests", ("sender_id", "event_id")),
    Index("ix_consents_sender_id", "consents", ("sender_id", "recorded_at")),
    Index(
        "ix_consents_ended",
        "consents",
        ("sender_id", "end_recorded_at"),
        "end_reason <> 'superseded'",
    ),
    Index("ix_consents_grant_id", "consents", ("grant_id",)),
    Index("ix_grants_evidence_id", "grants", ("evidence_id",)),
    Index(
        "ix_evidence_needed_at",
        "evidence",
        ("coalesce(needed_at, recorded_at)", "id"),
        "purged_at IS NULL",
    ),
    Index(
        "ix_evidence_sha256",
        "evidence",
        ("sha256",),
        "sha256 IS NOT NULL AND purged_at IS NULL",
    ),
    Index(
        "ix_challenges_evidence_sha256",
        "challenges",
        ("evidence_sha256",),
        "evidence_sha256 IS NOT NULL",
    ),
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        if op.get_bind().dialect.name != "postgresql":
            _create_indexes()
            return  # SQLite has checked all rows already.
        # Each step waits for transactions that began before it, and nobody waits for the step.
        # When it fails, its connection is closed, and the setting with it.
        op.execute("SET lock_timeout = 0")
        _create_indexes()
        for check in CHECKS:
            op.execute(f"ALTER TABLE outbox VALIDATE CONSTRAINT {check}")
        op.execute("RESET lock_timeout")


def _create_indexes() -> None:
    for index in INDEXES:
        _drop_invalid(index)
        only = None if index.where is None else sa.text(index.where)
        op.create_index(
            index.name,
            index.table,
            [sa.text(column) for column in index.columns],
            unique=index.name.startswith("uq_"),
            sqlite_where=only,
            postgresql_where=only,
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def _drop_invalid(index: Index) -> None:
    """Drop what a failed attempt left: it has the name of the index, but finds and refuses nothing."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    if connection.execute(INVALID, {"name": index.name}).scalar_one():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}")


def downgrade() -> None:
    for index in reversed(INDEXES):
        op.drop_index(index.name, table_name=index.table, if_exists=True)
