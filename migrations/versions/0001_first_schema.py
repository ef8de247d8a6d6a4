"""The first schema: organisations, numbers, keys, consents, refusals, events, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

EVENT_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "asked_numbers",
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("purpose", sa.String(24), nullable=False),
        sa.PrimaryKeyConstraint(
            "number", "organisation_id", "day", "purpose", name="pk_asked_numbers"
        ),
        # Emptied by a crash, after which numbers count once more: on the safe side.
        prefixes=["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else [],
    )
    op.create_table(
        "events",
        sa.Column("id", EVENT_ID, sa.Identity(always=False), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index(
        "ix_events_waiting",
        "events",
        ["id"],
        unique=False,
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    )
    op.create_index("uq_events_position", "events", ["position"], unique=True)
    op.create_table(
        "evidence",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("method", sa.String(24), nullable=False),
        sa.Column("notice_text", sa.LargeBinary(), nullable=False),
        sa.Column("notice_version", sa.LargeBinary(), nullable=True),
        sa.Column("language", sa.String(length=35), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("uri", sa.LargeBinary(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "method IN ('web_form', 'sms_reply', 'voice_recording', 'paper', 'app', 'registry')",
            name="method_known",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_evidence"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "key_sha256", name="pk_idempotency_keys"),
    )
    op.create_index(
        "ix_idempotency_keys_recorded_at", "idempotency_keys", ["recorded_at"], unique=False
    )
    op.create_table(
        "lookups",
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("item", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("asker_id", sa.Uuid(), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=True),
        sa.Column("sending_number", sa.String(length=20), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("message_class", sa.String(24), nullable=False),
        sa.Column("topic", sa.String(24), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("contact", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(24), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("decided_at", "id", "item", name="pk_lookups"),
        postgresql_partition_by="RANGE (decided_at)",
    )
    op.create_index("ix_lookups_number", "lookups", ["number", "decided_at"], unique=False)
    op.create_table(
        "organisations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("uscc", sa.String(length=18), nullable=False),
        sa.Column("contact_phone", sa.String(length=20), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests_per_second", sa.BigInteger(), nullable=True),
        sa.Column("lookup_numbers_per_day", sa.BigInteger(), nullable=True),
        sa.Column("assertion_numbers_per_day", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('sender', 'provider', 'carrier', 'regulator', 'operator')",
            name="kind_known",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
        sa.UniqueConstraint("uscc", name="uq_organisations_uscc"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("notice", sa.String(24), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("notice IN ('consent_asserted', 'refusal_lifted')", name="notice_known"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_number", "outbox", ["number"], unique=False)
    op.create_table(
        "registry_state",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_registry_state"),
    )
    op.create_table(
        "spent_budgets",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("purpose", sa.String(24), nullable=False),
        sa.Column("numbers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("organisation_id", "day", "purpose", name="pk_spent_budgets"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.String(length=200), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_api_keys_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_organisation_id", "api_keys", ["organisation_id"], unique=False)
    op.create_table(
        "event_openings",
        sa.Column("event_id", EVENT_ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name="fk_event_openings_event_id"),
        sa.PrimaryKeyConstraint("event_id", name="pk_event_openings"),
    )
    op.create_index("ix_event_openings_number", "event_openings", ["number"], unique=False)
    op.create_table(
        "grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("evidence_id", sa.Uuid(), nullable=False),
        sa.Column("basis", sa.String(24), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cap_count", sa.Integer(), nullable=False),
        sa.Column("cap_period", sa.String(24), nullable=False),
        sa.Column("cap_used", sa.Integer(), nullable=False),
        sa.Column("cap_used_in", sa.Date(), nullable=True),
        sa.CheckConstraint("basis IN ('confirmed', 'asserted')", name="basis_known"),
        sa.CheckConstraint("cap_period IN ('day', 'week', 'month')", name="cap_period_known"),
        sa.CheckConstraint("cap_count > 0", name="cap_positive"),
        sa.CheckConstraint("cap_used BETWEEN 0 AND cap_count", name="cap_kept"),
        sa.ForeignKeyConstraint(["evidence_id"], ["evidence.id"], name="fk_grants_evidence_id"),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
    )
    op.create_table(
        "reassignments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("reassigned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["recorded_by"], ["organisations.id"], name="fk_reassignments_recorded_by"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_reassignments"),
    )
    op.create_index("ix_reassignments_number", "reassignments", ["number"], unique=False)
    op.create_table(
        "sender_numbers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=20), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("sms", sa.Boolean(), nullable=False),
        sa.Column("voice", sa.Boolean(), nullable=False),
        sa.Column("commercial", sa.Boolean(), nullable=False),
        sa.Column("service", sa.Boolean(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("held_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("release_recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('port', '95', '96', '950', '400', 'landline', 'mobile')",
            name="kind_known",
        ),
        sa.CheckConstraint("commercial OR service OR public", name="has_usage"),
        sa.CheckConstraint("held_until IS NULL OR held_until > held_from", name="dates_in_order"),
        sa.CheckConstraint("sms OR voice", name="has_channel"),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_sender_numbers_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_sender_numbers"),
    )
    op.create_index("ix_sender_numbers_number", "sender_numbers", ["number"], unique=False)
    op.create_index(
        "ix_sender_numbers_organisation_id", "sender_numbers", ["organisation_id"], unique=False
    )
    op.create_index(
        "uq_sender_numbers_held",
        "sender_numbers",
        ["number"],
        unique=True,
        sqlite_where=sa.text("released_at IS NULL"),
        postgresql_where=sa.text("released_at IS NULL"),
    )
    op.create_table(
        "suspensions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.LargeBinary(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_suspensions_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_suspensions"),
    )
    op.create_index(
        "uq_suspensions_open",
        "suspensions",
        ["organisation_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(24), nullable=False),
        sa.Column("topic", sa.String(24), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("latest", sa.Boolean(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_reason", sa.String(24), nullable=True),
        sa.Column("end_note", sa.LargeBinary(), nullable=True),
        sa.Column("reassignment_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("channel IN ('sms', 'voice')", name="channel_known"),
        sa.CheckConstraint(
            "end_reason IN ('withdrawn', 'superseded', 'voided', 'lifted')",
            name="end_reason_known",
        ),
        sa.CheckConstraint(
            "topic IN ('loans', 'insurance', 'securities', 'real_estate', 'education', 'retail', 'travel', 'health', 'telecom', 'games', 'recruitment', 'other')",
            name="topic_known",
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="end_has_reason"),
        sa.CheckConstraint("NOT latest OR effective_from IS NOT NULL", name="latest_effective"),
        sa.CheckConstraint(
            "latest OR effective_from IS NULL OR ended_at IS NOT NULL OR reassignment_id IS NOT NULL",
            name="active_is_latest",
        ),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name="fk_consents_grant_id"),
        sa.ForeignKeyConstraint(
            ["reassignment_id"], ["reassignments.id"], name="fk_consents_reassignment_id"
        ),
        sa.ForeignKeyConstraint(["sender_id"], ["organisations.id"], name="fk_consents_sender_id"),
        sa.PrimaryKeyConstraint("id", name="pk_consents"),
    )
    op.create_index(
        "ix_consents_number", "consents", ["number", "sender_id", "event_id"], unique=False
    )
    op.create_index(
        "uq_consents_latest",
        "consents",
        ["number", "sender_id", "channel", "topic"],
        unique=True,
        sqlite_where=sa.text("latest"),
        postgresql_where=sa.text("latest"),
    )
    op.create_index(
        "uq_consents_unconfirmed",
        "consents",
        ["number", "sender_id", "channel", "topic"],
        unique=True,
        sqlite_where=sa.text("effective_from IS NULL AND ended_at IS NULL"),
        postgresql_where=sa.text("effective_from IS NULL AND ended_at IS NULL"),
    )
    op.create_table(
        "refusals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.LargeBinary(16), nullable=False),
        sa.Column("channel", sa.String(length=24), nullable=False),
        sa.Column("topic", sa.String(length=24), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=True),
        sa.Column("via", sa.String(24), nullable=False),
        sa.Column("recorded_by", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_reason", sa.String(24), nullable=True),
        sa.Column("reassignment_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("channel IN ('sms', 'voice', 'any')", name="channel_known"),
        sa.CheckConstraint(
            "end_reason IN ('withdrawn', 'superseded', 'voided', 'lifted')",
            name="end_reason_known",
        ),
        sa.CheckConstraint(
            "topic IN ('loans', 'insurance', 'securities', 'real_estate', 'education', 'retail', 'travel', 'health', 'telecom', 'games', 'recruitment', 'other', 'any')",
            name="topic_known",
        ),
        sa.CheckConstraint(
            "via IN ('hotline', 'sms', 'store', 'sender', 'portal')", name="via_known"
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="end_has_reason"),
        sa.ForeignKeyConstraint(
            ["reassignment_id"], ["reassignments.id"], name="fk_refusals_reassignment_id"
        ),
        sa.ForeignKeyConstraint(
            ["recorded_by"], ["organisations.id"], name="fk_refusals_recorded_by"
        ),
        sa.ForeignKeyConstraint(["sender_id"], ["organisations.id"], name="fk_refusals_sender_id"),
        sa.PrimaryKeyConstraint("id", name="pk_refusals"),
    )
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
        sqlite_where=sa.text("ended_at IS NULL AND reassignment_id IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL AND reassignment_id IS NULL"),
    )
    op.create_index("ix_refusals_number", "refusals", ["number", "event_id"], unique=False)
    if op.get_bind().dialect.name == "postgresql":
        # Months are attached by the worker; a late one finds its rows here and moves them.
        op.execute("CREATE TABLE lookups_default PARTITION OF lookups DEFAULT")


def downgrade() -> None:
    op.drop_index("ix_refusals_number", table_name="refusals")
    op.drop_table("refusals")
    op.drop_index("uq_consents_unconfirmed", table_name="consents")
    op.drop_index("uq_consents_latest", table_name="consents")
    op.drop_index("ix_consents_number", table_name="consents")
    op.drop_table("consents")
    op.drop_index("uq_suspensions_open", table_name="suspensions")
    op.drop_table("suspensions")
    op.drop_index("uq_sender_numbers_held", table_name="sender_numbers")
    op.drop_index("ix_sender_numbers_organisation_id", table_name="sender_numbers")
    op.drop_index("ix_sender_numbers_number", table_name="sender_numbers")
    op.drop_table("sender_numbers")
    op.drop_index("ix_reassignments_number", table_name="reassignments")
    op.drop_table("reassignments")
    op.drop_table("grants")
    op.drop_index("ix_event_openings_number", table_name="event_openings")
    op.drop_table("event_openings")
    op.drop_index("ix_api_keys_organisation_id", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("spent_budgets")
    op.drop_table("registry_state")
    op.drop_index("ix_outbox_number", table_name="outbox")
    op.drop_table("outbox")
    op.drop_table("organisations")
    op.drop_index("ix_lookups_number", table_name="lookups")
    op.drop_table("lookups")
    op.drop_index("ix_idempotency_keys_recorded_at", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("evidence")
    op.drop_index("uq_events_position", table_name="events")
    op.drop_index("ix_events_waiting", table_name="events")
    op.drop_table("events")
    op.drop_table("asked_numbers")
