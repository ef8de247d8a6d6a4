"""Check the words that rows from before 0002 hold, which PostgreSQL does beside all traffic.

0002 made these checks for new rows only, so that no table was read while it was locked.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

CHECKS = (
    ("outbox", "ck_outbox_notice_known"),
    ("outbox", "ck_outbox_state_known"),
    ("refusals", "ck_refusals_via_known"),
)


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return  # SQLite has checked them already.
    for table, check in CHECKS:
        op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {check}")


def downgrade() -> None:
    """A check that all rows have passed is none the worse for it."""
