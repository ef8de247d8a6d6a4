"""Senders: applications, number claims, providers, members of organisations, imports, evidence.

No two holdings of one depth share a number at any time, and the database sees to it: an
exclusion constraint on PostgreSQL, triggers on SQLite. What lay beneath another holding becomes
its extension; what still shares a number with another at one depth stops the upgrade.
"""

from collections import defaultdict
from itertools import chain

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

FIRST_VIOLATIONS = "kind IN ('unproven_consent')"
VIOLATIONS = "kind IN ('unproven_consent', 'upheld_complaint')"
EXTENSION = "(depth = 0) = (parent_id IS NULL)"
EXTENDABLE = ("port", "95", "96", "950")
"""Kinds of numbers that longer ones lie beneath."""
HOLDINGS = sa.table(
    "sender_numbers",
    sa.column("id", sa.Uuid()),
    sa.column("number", sa.String()),
    sa.column("kind", sa.String()),
    sa.column("held_from", sa.DateTime(timezone=True)),
    sa.column("held_until", sa.DateTime(timezone=True)),
    sa.column("released_at", sa.DateTime(timezone=True)),
)
PLACE = sa.text("UPDATE sender_numbers SET parent_id = :parent, depth = :depth WHERE id = :id")
PLACE = PLACE.bindparams(
    sa.bindparam("id", type_=sa.Uuid()), sa.bindparam("parent", type_=sa.Uuid())
)

Holding = sa.Row[tuple[object, ...]]
Place = dict[str, object]

# Digits as a range: an extendable number stands for all numbers of up to 20 digits that begin
# with it. Built-in range operators do, so no extension of PostgreSQL is needed.
NO_OVERLAP = f"""
    ALTER TABLE sender_numbers ADD CONSTRAINT ex_sender_numbers_overlap EXCLUDE USING gist (
        int4range(depth, depth, '[]') WITH &&,
        numrange(
            CASE WHEN kind IN {EXTENDABLE} THEN rpad(number, 20, '0') ELSE number END::numeric,
            CASE WHEN kind IN {EXTENDABLE} THEN rpad(number, 20, '9') ELSE number END::numeric,
            '[]'
        ) WITH &&,
        tstzrange(
            held_from,
            CASE WHEN LEAST(released_at, held_until) < held_from THEN held_from
                 ELSE LEAST(released_at, held_until) END
        ) WITH &&
    )
"""


def _end(row: str) -> str:
    last = "'9999-12-31'"
    return f"min(coalesce({row}.released_at, {last}), coalesce({row}.held_until, {last}))"


OVERLAPS = f"""
    SELECT 1 FROM sender_numbers AS other
    WHERE other.id <> NEW.id AND other.depth = NEW.depth
      AND other.number BETWEEN substr(NEW.number, 1, 5) AND substr(NEW.number, 1, 5) || 'a'
      AND (
          other.number = NEW.number
          OR (other.kind IN {EXTENDABLE}
              AND substr(NEW.number, 1, length(other.number)) = other.number)
          OR (NEW.kind IN {EXTENDABLE}
              AND substr(other.number, 1, length(NEW.number)) = NEW.number)
      )
      AND max(NEW.held_from, other.held_from) < min({_end("NEW")}, {_end("other")})
"""  # noqa: S608
TRIGGERS = {
    "tr_sender_numbers_overlap_insert": "BEFORE INSERT",
    "tr_sender_numbers_overlap_update": "BEFORE UPDATE",
}


def upgrade() -> None:
    # On PostgreSQL a table that is changed stays locked until the end: what every lookup reads
    # comes last. Whatever may stop the upgrade comes first, as SQLite takes nothing back.
    places = _place_holdings(_read_holdings())
    _create_tables()
    _name_providers()
    _make_extensions(places)
    for name, kind in (("licence_number", sa.String(100)), ("complaint_phone", sa.String(20))):
        op.add_column("organisations", sa.Column(name, kind, nullable=True))
    op.add_column("api_keys", sa.Column("label", sa.LargeBinary(), nullable=True))
    op.add_column("suspensions", sa.Column("end_reason", sa.LargeBinary(), nullable=True))


def _name_providers() -> None:
    with op.batch_alter_table("complaints") as batch:
        batch.add_column(sa.Column("provider_id", sa.Uuid(), nullable=True))
        batch.create_foreign_key(
            "fk_complaints_provider_id", "organisations", ["provider_id"], ["id"]
        )
    op.create_index("ix_complaints_provider_id", "complaints", ["provider_id", "event_id"])
    with op.batch_alter_table("violations") as batch:
        batch.add_column(sa.Column("provider_id", sa.Uuid(), nullable=True))
        batch.create_foreign_key(
            "fk_violations_provider_id", "organisations", ["provider_id"], ["id"]
        )
        batch.drop_constraint("kind_known", type_="check")
        batch.create_check_constraint("kind_known", VIOLATIONS)


def _make_extensions(places: list[Place]) -> None:
    with op.batch_alter_table("sender_numbers") as batch:
        batch.add_column(sa.Column("parent_id", sa.Uuid(), nullable=True))
        batch.add_column(sa.Column("depth", sa.SmallInteger(), server_default="0", nullable=False))
        batch.create_foreign_key(
            "fk_sender_numbers_parent_id", "sender_numbers", ["parent_id"], ["id"]
        )
    if places:
        op.get_bind().execute(PLACE, places)
    with op.batch_alter_table("sender_numbers") as batch:
        batch.create_check_constraint("extension_has_parent", EXTENSION)
    op.create_index("ix_sender_numbers_parent_id", "sender_numbers", ["parent_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(NO_OVERLAP)
        return
    for name, when in TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER {name} {when} ON sender_numbers WHEN EXISTS ({OVERLAPS})"
            " BEGIN SELECT RAISE(ABORT, 'holdings overlap'); END"
        )


def _read_holdings() -> list[Holding]:
    """Return all holdings, short numbers first; none changes until the end, but all are read."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.execute("LOCK TABLE sender_numbers IN SHARE ROW EXCLUSIVE MODE")
    rows = connection.execute(sa.select(HOLDINGS)).all()
    return sorted(rows, key=lambda row: (len(row.number), row.number, row.held_from))


def _place_holdings(rows: list[Holding]) -> list[Place]:
    """Put each holding beneath the longest, latest one that covers it, in digits and in time.

    Two that then share a number at one depth were both accepted by the schema before, and no
    upgrade can tell whose the number was: that is for people to say.
    """
    before: dict[str, list[Holding]] = defaultdict(list)
    depths: dict[object, int] = {}
    places: list[Place] = []
    clashes: dict[str, None] = {}
    for row in rows:
        covering = _covering(row, before)
        depths[row.id] = depths[covering[-1].id] + 1 if covering else 0
        if covering:
            places.append({"id": row.id, "parent": covering[-1].id, "depth": depths[row.id]})
        same = (other for other in before[row.number] if _meet(row, other))
        for other in chain(covering, same):
            if depths[other.id] == depths[row.id]:
                clashes.update(dict.fromkeys((other.number, row.number)))
        before[row.number].append(row)
    if clashes:
        raise RuntimeError(
            f"holdings of {', '.join(clashes)} share a number at a time, which the newer schema"
            " refuses: end the older one before the newer begins, and upgrade again;"
            " nothing was changed"
        )
    return places


def _covering(row: Holding, before: dict[str, list[Holding]]) -> list[Holding]:
    """Return the holdings of its prefixes at its time, short ones first.

    It looks prefixes up, as comparing all holdings with each other takes hours when there are
    many.
    """
    return [
        other
        for length in range(1, len(row.number))
        for other in before.get(row.number[:length], ())
        if other.kind in EXTENDABLE and _meet(row, other)
    ]


def _meet(one: Holding, other: Holding) -> bool:
    """Tell whether two holdings share a time; one that ended before it began shares none."""
    begin = max(one.held_from, other.held_from)
    ends = (one.released_at, one.held_until, other.released_at, other.held_until)
    return all(begin < end for end in ends if end is not None)


def _create_tables() -> None:
    op.create_table(
        "applications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("uscc", sa.String(length=18), nullable=False),
        sa.Column("licence_number", sa.String(length=100), nullable=False),
        sa.Column("contact_name", sa.LargeBinary(), nullable=False),
        sa.Column("contact_phone", sa.String(length=20), nullable=False),
        sa.Column("complaint_phone", sa.String(length=20), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "(state = 'submitted') = (decided_at IS NULL)", name="decision_has_time"
        ),
        sa.CheckConstraint(
            "kind IN ('sender', 'provider', 'carrier', 'regulator', 'operator')", name="kind_known"
        ),
        sa.CheckConstraint(
            "state IN ('submitted', 'approved', 'rejected', 'withdrawn')", name="state_known"
        ),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["organisations.id"], name="fk_applications_decided_by"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_applications_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_applications"),
    )
    op.create_index(
        "ix_applications_organisation_id", "applications", ["organisation_id"], unique=False
    )
    op.create_index(
        "uq_applications_submitted",
        "applications",
        ["uscc"],
        unique=True,
        sqlite_where=sa.text("state = 'submitted'"),
        postgresql_where=sa.text("state = 'submitted'"),
    )
    op.create_table(
        "authorisations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="end_has_author"),
        sa.CheckConstraint("sender_id <> provider_id", name="two_organisations"),
        sa.ForeignKeyConstraint(
            ["ended_by"], ["organisations.id"], name="fk_authorisations_ended_by"
        ),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["organisations.id"], name="fk_authorisations_provider_id"
        ),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["organisations.id"], name="fk_authorisations_sender_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_authorisations"),
    )
    op.create_index(
        "ix_authorisations_provider_id", "authorisations", ["provider_id"], unique=False
    )
    op.create_index(
        "uq_authorisations_standing",
        "authorisations",
        ["sender_id", "provider_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "evidence_files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("needed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_evidence_files_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_evidence_files"),
    )
    op.create_index("ix_evidence_files_needed_at", "evidence_files", ["needed_at"], unique=False)
    op.create_index("ix_evidence_files_sha256", "evidence_files", ["sha256"], unique=False)
    op.create_index(
        "uq_evidence_files_sha256", "evidence_files", ["organisation_id", "sha256"], unique=True
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("format", sa.String(24), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=True),
        sa.Column("options", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("problem", sa.String(length=300), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("bytes_read", sa.BigInteger(), nullable=False),
        sa.Column("milliseconds", sa.BigInteger(), nullable=False),
        sa.Column("counts", sa.String(length=1000), nullable=False),
        sa.Column("result_size", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resume_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purged_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("format IN ('csv', 'ndjson')", name="format_known"),
        sa.CheckConstraint(
            "kind IN ('consents', 'requests', 'refusals', 'reassignments', 'numbers')",
            name="kind_known",
        ),
        sa.CheckConstraint(
            "state IN ('receiving', 'waiting', 'running', 'done', 'failed', 'cancelled')",
            name="state_known",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_imports_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_imports"),
    )
    op.create_index(
        "ix_imports_organisation_id", "imports", ["organisation_id", "id"], unique=False
    )
    op.create_index(
        "ix_imports_to_do",
        "imports",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state IN ('waiting', 'running')"),
        postgresql_where=sa.text("state IN ('waiting', 'running')"),
    )
    op.create_table(
        "appeals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("suspension_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.String(24), nullable=True),
        sa.Column("reason", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("outcome IN ('granted', 'dismissed')", name="outcome_known"),
        sa.CheckConstraint("(outcome IS NULL) = (decided_at IS NULL)", name="decision_has_outcome"),
        sa.ForeignKeyConstraint(["decided_by"], ["organisations.id"], name="fk_appeals_decided_by"),
        sa.ForeignKeyConstraint(
            ["suspension_id"], ["suspensions.id"], name="fk_appeals_suspension_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_appeals"),
    )
    op.create_index("ix_appeals_suspension_id", "appeals", ["suspension_id"], unique=False)
    op.create_index(
        "uq_appeals_open",
        "appeals",
        ["suspension_id"],
        unique=True,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "members",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=True),
        sa.Column("application_id", sa.Uuid(), nullable=True),
        sa.Column("email_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("email", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.String(24), nullable=False),
        sa.Column("password_hash", sa.LargeBinary(), nullable=True),
        sa.Column("totp_secret", sa.LargeBinary(), nullable=True),
        sa.Column("totp_confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), nullable=True),
        sa.Column("invitation_sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("invitation_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'agent', 'admin')", name="role_known"),
        sa.CheckConstraint(
            "organisation_id IS NOT NULL OR application_id IS NOT NULL", name="belongs_somewhere"
        ),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name="fk_members_application_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_members_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
        sa.UniqueConstraint("email_digest", name="uq_members_email_digest"),
    )
    op.create_index("ix_members_application_id", "members", ["application_id"], unique=False)
    op.create_index("ix_members_organisation_id", "members", ["organisation_id"], unique=False)
    op.create_table(
        "number_claims",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.String(length=20), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("sms", sa.Boolean(), nullable=False),
        sa.Column("voice", sa.Boolean(), nullable=False),
        sa.Column("commercial", sa.Boolean(), nullable=False),
        sa.Column("service", sa.Boolean(), nullable=False),
        sa.Column("public", sa.Boolean(), nullable=False),
        sa.Column("held_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.LargeBinary(), nullable=True),
        sa.Column("holding_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(state = 'submitted') = (decided_at IS NULL)", name="decision_has_time"
        ),
        sa.CheckConstraint(
            "kind IN ('port', '95', '96', '950', '400', 'landline', 'mobile')", name="kind_known"
        ),
        sa.CheckConstraint(
            "state IN ('submitted', 'approved', 'rejected', 'withdrawn')", name="state_known"
        ),
        sa.CheckConstraint("commercial OR service OR public", name="has_usage"),
        sa.CheckConstraint("sms OR voice", name="has_channel"),
        sa.ForeignKeyConstraint(
            ["decided_by"], ["organisations.id"], name="fk_number_claims_decided_by"
        ),
        sa.ForeignKeyConstraint(
            ["holding_id"], ["sender_numbers.id"], name="fk_number_claims_holding_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"], ["organisations.id"], name="fk_number_claims_organisation_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_number_claims"),
    )
    op.create_index(
        "ix_number_claims_organisation_id", "number_claims", ["organisation_id"], unique=False
    )
    op.create_index(
        "uq_number_claims_submitted",
        "number_claims",
        ["organisation_id", "number"],
        unique=True,
        sqlite_where=sa.text("state = 'submitted'"),
        postgresql_where=sa.text("state = 'submitted'"),
    )
    op.create_table(
        "organisation_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("licence_number", sa.String(length=100), nullable=True),
        sa.Column("contact_phone", sa.String(length=20), nullable=False),
        sa.Column("complaint_phone", sa.String(length=20), nullable=True),
        sa.Column("application_id", sa.Uuid(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name="fk_organisation_versions_application_id"
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_organisation_versions_organisation_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_organisation_versions"),
    )
    op.create_index(
        "ix_organisation_versions_organisation_id",
        "organisation_versions",
        ["organisation_id", "id"],
        unique=False,
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application_id", sa.Uuid(), nullable=True),
        sa.Column("claim_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(application_id IS NULL) <> (claim_id IS NULL)", name="belongs_to_one"),
        sa.ForeignKeyConstraint(
            ["application_id"], ["applications.id"], name="fk_documents_application_id"
        ),
        sa.ForeignKeyConstraint(["claim_id"], ["number_claims.id"], name="fk_documents_claim_id"),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
    )
    op.create_index("ix_documents_application_id", "documents", ["application_id"], unique=False)
    op.create_index("ix_documents_claim_id", "documents", ["claim_id"], unique=False)
    op.create_index("ix_documents_sha256", "documents", ["sha256"], unique=False)
    op.create_table(
        "member_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_member_sessions_member_id"),
        sa.PrimaryKeyConstraint("id", name="pk_member_sessions"),
    )
    op.create_index(
        "ix_member_sessions_expires_at", "member_sessions", ["expires_at"], unique=False
    )
    op.create_index("ix_member_sessions_member_id", "member_sessions", ["member_id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("subject", sa.LargeBinary(length=32), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("subject", name="pk_attempts"),
    )
    op.create_index("ix_attempts_tried_at", "attempts", ["tried_at"], unique=False)
    op.create_table(
        "lookup_counts",
        sa.Column("asker_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("reason", sa.String(24), nullable=False),
        sa.Column("numbers", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "reason IN ('sender_unknown', 'sender_suspended', 'number_not_held', 'usage_mismatch',"
            " 'consent_not_required', 'no_consent', 'number_reassigned', 'consent_withdrawn',"
            " 'consent_expired', 'refused', 'quiet_hours', 'frequency_exceeded', 'consented',"
            " 'invalid_number')",
            name="reason_known",
        ),
        sa.PrimaryKeyConstraint("asker_id", "day", "reason", name="pk_lookup_counts"),
    )
    op.create_index("ix_lookup_counts_day", "lookup_counts", ["day"], unique=False)


def downgrade() -> None:
    connection = op.get_bind()
    found = connection.execute(
        sa.text("SELECT count(*) FROM violations WHERE kind = 'upheld_complaint'")
    ).scalar_one()
    if found:
        raise RuntimeError("violations by complaint cannot be kept by the schema before")
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE sender_numbers DROP CONSTRAINT ex_sender_numbers_overlap")
    else:
        for name in TRIGGERS:
            op.execute(f"DROP TRIGGER {name}")
    for table in (
        "lookup_counts", "attempts", "member_sessions", "documents", "number_claims",
        "organisation_versions", "members", "appeals", "imports", "evidence_files",
        "authorisations", "applications",
    ):  # fmt: skip
        op.drop_table(table)
    op.drop_index("ix_sender_numbers_parent_id", table_name="sender_numbers")
    with op.batch_alter_table("sender_numbers") as batch:
        batch.drop_constraint("extension_has_parent", type_="check")
        batch.drop_constraint("fk_sender_numbers_parent_id", type_="foreignkey")
        batch.drop_column("depth")
        batch.drop_column("parent_id")
    with op.batch_alter_table("violations") as batch:
        batch.drop_constraint("fk_violations_provider_id", type_="foreignkey")
        batch.drop_column("provider_id")
        batch.drop_constraint("kind_known", type_="check")
        batch.create_check_constraint("kind_known", FIRST_VIOLATIONS)
    op.drop_index("ix_complaints_provider_id", table_name="complaints")
    with op.batch_alter_table("complaints") as batch:
        batch.drop_constraint("fk_complaints_provider_id", type_="foreignkey")
        batch.drop_column("provider_id")
    op.drop_column("suspensions", "end_reason")
    op.drop_column("api_keys", "label")
    for name in ("complaint_phone", "licence_number"):
        op.drop_column("organisations", name)
