"""Subscribers take control: codes, sessions, families, requests, challenges, complaints, SMS.

A refusal may be the subscriber's own act, so that no organisation recorded it. Outgoing SMS get
what sending them safely needs; every new column has a default, so the code before this one goes
on queueing.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

FIRST_NOTICES = "notice IN ('consent_asserted', 'refusal_lifted')"
NOTICES = (
    "notice IN ('code', 'consent_asserted', 'refusal_lifted', 'consent_requested',"
    " 'challenge_answered', 'consent_voided', 'family_agreed', 'family_ended', 'complaint_moved',"
    " 'reply')"
)
FIRST_VIAS = "via IN ('hotline', 'sms', 'store', 'sender', 'portal')"
VIAS = "via IN ('hotline', 'sms', 'store', 'sender', 'portal', 'registry')"
STATES = "state IN ('waiting', 'sending', 'sent', 'failed', 'uncertain', 'expired')"
WAITING, SENDING = sa.text("state = 'waiting'"), sa.text("state = 'sending'")
URGENT = sa.text("state = 'waiting' AND notice IN ('code', 'reply')")
UNAGREED = sa.text("agreed_at IS NULL")
STANDING = sa.text("ended_at IS NULL AND reassignment_id IS NULL")


def upgrade() -> None:
    # On PostgreSQL a table that is changed stays locked until the end: refusals, which every
    # lookup reads, come last, and nothing there reads the whole table.
    _widen_outbox()
    _create_tables()
    _let_refusals_be_recorded_by(nobody=True)


def _create_tables() -> None:
    op.create_table(
        "family_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("carer", sa.LargeBinary(16), nullable=False),
        sa.Column("member", sa.LargeBinary(16), nullable=False),
        sa.Column("label", sa.LargeBinary(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("agreed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.String(24), nullable=True),
        sa.CheckConstraint("ended_by IN ('carer', 'member', 'lapsed')", name="ended_by_known"),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="end_has_reason"),
        sa.CheckConstraint("carer <> member", name="two_people"),
        sa.PrimaryKeyConstraint("id", name="pk_family_links"),
    )
    op.create_index("ix_family_links_member", "family_links", ["member"], unique=False)
    op.create_index(
        "ix_family_links_unagreed",
        "family_links",
        ["recorded_at"],
        unique=False,
        sqlite_where=UNAGREED,
        postgresql_where=UNAGREED,
    )
    op.create_index(
        "uq_family_links_standing",
        "family_links",
        ["carer", "member"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "one_time_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(24), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("prefix", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address", sa.LargeBinary(length=32), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("purpose IN ('sign_in', 'family')", name="purpose_known"),
        sa.CheckConstraint("tries >= 0", name="tries_counted"),
        sa.PrimaryKeyConstraint("id", name="pk_one_time_codes"),
    )
    op.create_index(
        "ix_one_time_codes_address", "one_time_codes", ["address", "recorded_at"], unique=False
    )
    op.create_index(
        "ix_one_time_codes_number", "one_time_codes", ["number", "recorded_at"], unique=False
    )
    op.create_index(
        "ix_one_time_codes_prefix", "one_time_codes", ["prefix", "recorded_at"], unique=False
    )
    op.create_index(
        "ix_one_time_codes_recorded_at", "one_time_codes", ["recorded_at"], unique=False
    )
    op.create_table(
        "portal_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_portal_sessions"),
    )
    op.create_index(
        "ix_portal_sessions_expires_at", "portal_sessions", ["expires_at"], unique=False
    )
    op.create_index("ix_portal_sessions_number", "portal_sessions", ["number"], unique=False)
    op.create_table(
        "complaints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("sending_number", sa.LargeBinary(), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=True),
        sa.Column("topic", sa.String(24), nullable=False),
        sa.Column("contacted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("lookup_id", sa.Uuid(), nullable=True),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("forwarded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(24), nullable=True),
        sa.CheckConstraint("channel IN ('sms', 'voice')", name="channel_known"),
        sa.CheckConstraint("outcome IN ('upheld', 'unfounded')", name="outcome_known"),
        sa.CheckConstraint(
            "topic IN ('loans', 'insurance', 'securities', 'real_estate', 'education', 'retail', 'travel', 'health', 'telecom', 'games', 'recruitment', 'other')",
            name="topic_known",
        ),
        sa.CheckConstraint("(outcome IS NULL) = (closed_at IS NULL)", name="close_has_outcome"),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["organisations.id"], name="fk_complaints_sender_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_complaints"),
    )
    op.create_index("ix_complaints_event_id", "complaints", ["event_id"], unique=False)
    op.create_index("ix_complaints_number", "complaints", ["number", "event_id"], unique=False)
    op.create_index(
        "ix_complaints_sender_id", "complaints", ["sender_id", "event_id"], unique=False
    )
    op.create_table(
        "inbound_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("carrier_id", sa.Uuid(), nullable=False),
        sa.Column("message_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("to_number", sa.String(length=20), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String(24), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "action IN ('refusal_asked', 'refused', 'already_refused', 'lift_asked', 'lifted', 'unsubscribed', 'agreed', 'declined', 'withdrawn', 'too_late', 'ambiguous', 'nothing_open', 'help', 'ignored')",
            name="action_known",
        ),
        sa.ForeignKeyConstraint(
            ["carrier_id"], ["organisations.id"], name="fk_inbound_messages_carrier_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_inbound_messages"),
    )
    op.create_index(
        "ix_inbound_messages_number", "inbound_messages", ["number", "recorded_at"], unique=False
    )
    op.create_index(
        "ix_inbound_messages_recorded_at", "inbound_messages", ["recorded_at"], unique=False
    )
    op.create_index(
        "uq_inbound_messages_message",
        "inbound_messages",
        ["carrier_id", "message_digest"],
        unique=True,
    )
    op.create_table(
        "violations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('unproven_consent')", name="kind_known"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_violations_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_violations"),
    )
    op.create_index("ix_violations_event_id", "violations", ["event_id"], unique=False)
    op.create_index("ix_violations_number", "violations", ["number"], unique=False)
    op.create_index(
        "ix_violations_organisation_id", "violations", ["organisation_id", "event_id"], unique=False
    )
    op.create_table(
        "challenges",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("evidence_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("evidence_text", sa.LargeBinary(), nullable=True),
        sa.Column("evidence_sha256", sa.String(length=64), nullable=True),
        sa.Column("evidence_uri", sa.LargeBinary(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(24), nullable=True),
        sa.CheckConstraint("outcome IN ('evidenced', 'voided')", name="outcome_known"),
        sa.CheckConstraint("(outcome IS NULL) = (closed_at IS NULL)", name="close_has_outcome"),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name="fk_challenges_grant_id"),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["organisations.id"], name="fk_challenges_sender_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_challenges"),
        sa.UniqueConstraint("grant_id", name="uq_challenges_grant_id"),
    )
    op.create_index("ix_challenges_number", "challenges", ["number"], unique=False)
    op.create_index(
        "ix_challenges_open",
        "challenges",
        ["evidence_by"],
        unique=False,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_index(
        "ix_challenges_sender_id", "challenges", ["sender_id", "event_id"], unique=False
    )
    op.create_table(
        "consent_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("topics", sa.String(length=200), nullable=False),
        sa.Column("cap_count", sa.Integer(), nullable=False),
        sa.Column("cap_period", sa.String(24), nullable=False),
        sa.Column("valid_for_days", sa.Integer(), nullable=False),
        sa.Column("notice_text", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("covered", sa.Boolean(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(24), nullable=True),
        sa.Column("grant_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("cap_period IN ('day', 'week', 'month')", name="cap_period_known"),
        sa.CheckConstraint("channel IN ('sms', 'voice')", name="channel_known"),
        sa.CheckConstraint("outcome IN ('agreed', 'declined', 'lapsed')", name="outcome_known"),
        sa.CheckConstraint("(outcome IS NULL) = (answered_at IS NULL)", name="answer_has_outcome"),
        sa.CheckConstraint("cap_count > 0", name="cap_positive"),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name="fk_consent_requests_grant_id"),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["organisations.id"], name="fk_consent_requests_sender_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_consent_requests"),
    )
    op.create_index(
        "ix_consent_requests_number",
        "consent_requests",
        ["number", "sender_id", "event_id"],
        unique=False,
    )
    op.create_index(
        "ix_consent_requests_open",
        "consent_requests",
        ["answer_by"],
        unique=False,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "own_contact_hours",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("opens", sa.Time(), nullable=False),
        sa.Column("closes", sa.Time(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_reason", sa.String(24), nullable=True),
        sa.Column("reassignment_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "end_reason IN ('withdrawn', 'superseded', 'voided', 'lifted')", name="end_reason_known"
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="end_has_reason"),
        sa.CheckConstraint("opens < closes", name="hours_in_order"),
        sa.ForeignKeyConstraint(
            ["reassignment_id"], ["reassignments.id"], name="fk_own_contact_hours_reassignment_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_own_contact_hours"),
    )
    op.create_index(
        "ix_own_contact_hours_number", "own_contact_hours", ["number", "event_id"], unique=False
    )
    op.create_index(
        "uq_own_contact_hours_standing",
        "own_contact_hours",
        ["number"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL AND reassignment_id IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL AND reassignment_id IS NULL"),
    )


def _let_refusals_be_recorded_by(*, nobody: bool) -> None:
    """Allow, or forbid again, a refusal that no organisation reported."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    if on_sqlite:  # Its table is made anew, without the index over an expression.
        op.drop_index("uq_refusals_standing", table_name="refusals")
    with op.batch_alter_table("refusals") as batch:
        batch.alter_column("recorded_by", existing_type=sa.Uuid(), nullable=nobody)
        batch.drop_constraint("via_known", type_="check")
        batch.create_check_constraint(
            "via_known", VIAS if nobody else FIRST_VIAS, postgresql_not_valid=nobody
        )
    if on_sqlite:
        op.create_index(
            "uq_refusals_standing",
            "refusals",
            [
                "number",
                "channel",
                "topic",
                sa.text("coalesce(sender_id, '00000000-0000-0000-0000-000000000000')"),
            ],
            unique=True,
            sqlite_where=STANDING,
        )


def _widen_outbox() -> None:
    with op.batch_alter_table("outbox") as batch:
        for column in _new_outbox_columns():
            batch.add_column(column)
        batch.drop_constraint("notice_known", type_="check")
        batch.create_check_constraint("notice_known", NOTICES, postgresql_not_valid=True)
        batch.create_check_constraint("state_known", STATES, postgresql_not_valid=True)
    op.execute(
        "UPDATE outbox SET try_at = recorded_at,"
        " state = CASE WHEN sent_at IS NULL THEN 'waiting' ELSE 'sent' END"
    )
    for name, until, state in (
        ("ix_outbox_due", "try_at", WAITING),
        ("ix_outbox_expiring", "expires_at", WAITING),
        ("ix_outbox_sending", "claimed_at", SENDING),
    ):
        op.create_index(name, "outbox", [until], sqlite_where=state, postgresql_where=state)
    op.create_index(
        "ix_outbox_urgent",
        "outbox",
        ["notice", "try_at"],
        sqlite_where=URGENT,
        postgresql_where=URGENT,
    )
    op.create_index("ix_outbox_recorded_at", "outbox", ["recorded_at"])


def _new_outbox_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("language", sa.String(8), nullable=False, server_default="zh"),
        sa.Column("details", sa.LargeBinary(), nullable=True),
        sa.Column("reply_code", sa.SmallInteger(), nullable=True),
        sa.Column(
            "try_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(24), nullable=False, server_default="waiting"),
        sa.Column("attempts", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("text", sa.LargeBinary(), nullable=True),
        sa.Column("reference", sa.String(100), nullable=True),
    ]


def downgrade() -> None:
    """Go back, unless a person's own refusal would be lost by it."""
    own = sa.text("SELECT count(*) FROM refusals WHERE recorded_by IS NULL")
    if op.get_bind().scalar(own):
        raise RuntimeError("refusals that subscribers recorded themselves cannot be kept in 0001")
    for name in ("recorded_at", "urgent", "sending", "expiring", "due"):
        op.drop_index(f"ix_outbox_{name}", table_name="outbox")
    op.execute(f"DELETE FROM outbox WHERE NOT ({FIRST_NOTICES})")  # noqa: S608 - a constant
    with op.batch_alter_table("outbox") as batch:
        batch.drop_constraint("state_known", type_="check")
        batch.drop_constraint("notice_known", type_="check")
        batch.create_check_constraint("notice_known", FIRST_NOTICES)
        for column in _new_outbox_columns():
            batch.drop_column(column.name)
    _let_refusals_be_recorded_by(nobody=False)
    op.drop_table("own_contact_hours")
    op.drop_table("consent_requests")
    op.drop_table("challenges")
    op.drop_table("violations")
    op.drop_table("inbound_messages")
    op.drop_table("complaints")
    op.drop_table("portal_sessions")
    op.drop_table("one_time_codes")
    op.drop_table("family_links")
