"""Columns for keys of imported lines, digests of SMS, and what becomes of evidence.

They are empty, and new checks are made for new rows only, so nothing is read while it is locked;
0006 makes the indexes and checks the rows from before.
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


def downgrade() -> None:
    merged = sa.text(
        "SELECT count(*) FROM outbox WHERE notice = 'consents_asserted' OR state = 'merged'"
    )
    if op.get_bind().execute(merged).scalar_one():
        raise RuntimeError("digests of SMS cannot be kept by the schema before")
    with op.batch_alter_table("outbox") as batch:
        batch.drop_column("merged_into")
        for name, words in zip(CHECKS, (FIRST_NOTICES, FIRST_STATES), strict=True):
            batch.drop_constraint(name, type_="check")
            batch.create_check_constraint(name, words)
    op.drop_column("evidence", "purged_at")
    op.drop_column("evidence", "needed_at")
    for table in IMPORTED:
        op.drop_column(table, "line_key")
