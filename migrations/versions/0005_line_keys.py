"""Keys of imported lines, digests of SMS, and requests that a short link finds.

New columns are empty, and on PostgreSQL indexes are made and checks validated beside all traffic.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

IMPORTED = ("grants", "refusals", "reassignments", "consent_requests")
FIRST_NOTICES = (
    "notice IN ('code', 'consent_asserted', 'refusal_lifted', 'consent_requested',"
    " 'challenge_answered', 'consent_voided', 'family_agreed', 'family_ended', 'complaint_moved',"
    " 'reply')"
)
NOTICES = FIRST_NOTICES.replace(")", ", 'consents_asserted')")
FIRST_STATES = "state IN ('waiting', 'sending', 'sent', 'failed', 'uncertain', 'expired')"
STATES = FIRST_STATES.replace(")", ", 'merged')")
CHECKS = ("notice_known", "state_known")


def upgrade() -> None:
    for table in IMPORTED:
        op.add_column(table, sa.Column("line_key", sa.LargeBinary(16), nullable=True))
    for name in ("needed_at", "purged_at"):
        op.add_column("evidence", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("outbox") as batch:
        batch.add_column(sa.Column("merged_into", sa.Uuid(), nullable=True))
        for name, words in zip(CHECKS, (NOTICES, STATES), strict=True):
            batch.drop_constraint(name, type_="check")
            batch.create_check_constraint(name, words, postgresql_not_valid=True)
    with op.get_context().autocommit_block():
        _create_indexes()
        if op.get_bind().dialect.name == "postgresql":
            for name in CHECKS:
                op.execute(f"ALTER TABLE outbox VALIDATE CONSTRAINT ck_outbox_{name}")


def _create_indexes() -> None:
    for table in IMPORTED:
        _create_index(
            f"uq_{table}_line_key", table, ["line_key"], "line_key IS NOT NULL", unique=True
        )
    _create_index("ix_outbox_merged_into", "outbox", ["merged_into"], "merged_into IS NOT NULL")
    _create_index("uq_consent_requests_event_id", "consent_requests", ["event_id"], unique=True)
    _create_index("ix_consent_requests_sender_id", "consent_requests", ["sender_id", "event_id"])
    _create_index("ix_consents_sender_id", "consents", ["sender_id", "recorded_at"])
    _create_index(
        "ix_consents_ended",
        "consents",
        ["sender_id", "end_recorded_at"],
        "end_reason <> 'superseded'",
    )
    _create_index("ix_consents_grant_id", "consents", ["grant_id"])
    _create_index("ix_grants_evidence_id", "grants", ["evidence_id"])
    _create_index(
        "ix_evidence_needed_at",
        "evidence",
        [sa.text("coalesce(needed_at, recorded_at)"), "id"],
        "purged_at IS NULL",
    )
    _create_index(
        "ix_evidence_sha256", "evidence", ["sha256"], "sha256 IS NOT NULL AND purged_at IS NULL"
    )
    _create_index(
        "ix_challenges_evidence_sha256",
        "challenges",
        ["evidence_sha256"],
        "evidence_sha256 IS NOT NULL",
    )


def _create_index(
    name: str,
    table: str,
    columns: list[str | sa.TextClause],
    where: str | None = None,
    *,
    unique: bool = False,
) -> None:
    only = None if where is None else sa.text(where)
    op.create_index(
        name,
        table,
        columns,
        unique=unique,
        sqlite_where=only,
        postgresql_where=only,
        postgresql_concurrently=True,
        if_not_exists=True,
    )


def downgrade() -> None:
    merged = sa.text(
        "SELECT count(*) FROM outbox WHERE notice = 'consents_asserted' OR state = 'merged'"
    )
    if op.get_bind().execute(merged).scalar_one():
        raise RuntimeError("digests of SMS cannot be kept by the schema before")
    op.drop_index("ix_challenges_evidence_sha256", table_name="challenges")
    op.drop_index("ix_evidence_sha256", table_name="evidence")
    op.drop_index("ix_evidence_needed_at", table_name="evidence")
    op.drop_index("ix_grants_evidence_id", table_name="grants")
    op.drop_index("ix_consents_grant_id", table_name="consents")
    op.drop_index("ix_consents_ended", table_name="consents")
    op.drop_index("ix_consents_sender_id", table_name="consents")
    op.drop_index("ix_consent_requests_sender_id", table_name="consent_requests")
    op.drop_index("uq_consent_requests_event_id", table_name="consent_requests")
    op.drop_index("ix_outbox_merged_into", table_name="outbox")
    with op.batch_alter_table("outbox") as batch:
        batch.drop_column("merged_into")
        for name, words in zip(CHECKS, (FIRST_NOTICES, FIRST_STATES), strict=True):
            batch.drop_constraint(name, type_="check")
            batch.create_check_constraint(name, words)
    op.drop_column("evidence", "purged_at")
    op.drop_column("evidence", "needed_at")
    for table in IMPORTED:
        op.drop_index(f"uq_{table}_line_key", table_name=table)
        op.drop_column(table, "line_key")
