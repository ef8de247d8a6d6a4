"""The tables: typed models, constraints and indexes. No queries and no rendering."""

import os
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Time,
    TypeDecorator,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from uuid_utils.compat import uuid7

from registry.consent import Basis, Channel, End, MessageClass, Reason, Topic
from registry.numbers import NumberKey, ResourceKind, SubscriberNumber
from registry.policy import Period

ANY = "any"
"""What stands in a refusal's channel or topic when it covers all of them."""


class OrganisationKind(StrEnum):
    """What an organisation is to the registry."""

    SENDER = "sender"
    PROVIDER = "provider"
    CARRIER = "carrier"
    REGULATOR = "regulator"
    OPERATOR = "operator"


class Via(StrEnum):
    """How a subscriber's wish reached the registry; to it, no answer is one, too (R5)."""

    HOTLINE = "hotline"
    SMS = "sms"
    STORE = "store"
    SENDER = "sender"
    PORTAL = "portal"
    REGISTRY = "registry"


class Method(StrEnum):
    """How a consent was given to a sender."""

    WEB_FORM = "web_form"
    SMS_REPLY = "sms_reply"
    VOICE_RECORDING = "voice_recording"
    PAPER = "paper"
    APP = "app"
    REGISTRY = "registry"


class Purpose(StrEnum):
    """What a daily budget of distinct numbers is for."""

    LOOKUP = "lookup"
    ASSERTION = "assertion"


class Notice(StrEnum):
    """What a subscriber is told by SMS."""

    CODE = "code"
    CONSENT_ASSERTED = "consent_asserted"
    REFUSAL_LIFTED = "refusal_lifted"
    CONSENT_REQUESTED = "consent_requested"
    CHALLENGE_ANSWERED = "challenge_answered"
    CONSENT_VOIDED = "consent_voided"
    FAMILY_AGREED = "family_agreed"
    FAMILY_ENDED = "family_ended"
    COMPLAINT_MOVED = "complaint_moved"
    REPLY = "reply"
    CONSENTS_ASSERTED = "consents_asserted"


class OutboxState(StrEnum):
    """What became of an outgoing SMS. Of an uncertain one nobody knows whether it went out; a
    digest said what a merged one had to say."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"
    MERGED = "merged"


class CodePurpose(StrEnum):
    """The one act that a one-time code is good for."""

    SIGN_IN = "sign_in"
    FAMILY = "family"


class FamilyEnd(StrEnum):
    """Who ended the looking after of a number; `lapsed` was never agreed to."""

    CARER = "carer"
    MEMBER = "member"
    LAPSED = "lapsed"


class RequestOutcome(StrEnum):
    """What a subscriber answered to a consent request; no answer is refusal (R5)."""

    AGREED = "agreed"
    DECLINED = "declined"
    LAPSED = "lapsed"


class ChallengeOutcome(StrEnum):
    """How a dispute about an asserted consent ended."""

    EVIDENCED = "evidenced"
    VOIDED = "voided"


class ViolationKind(StrEnum):
    """What the registry established against an organisation."""

    UNPROVEN_CONSENT = "unproven_consent"
    UPHELD_COMPLAINT = "upheld_complaint"


class ComplaintOutcome(StrEnum):
    """What the registry found of a complaint."""

    UPHELD = "upheld"
    UNFOUNDED = "unfounded"


class ApplicationState(StrEnum):
    """How far an application, of an organisation or for a number, has got."""

    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


class AppealOutcome(StrEnum):
    """What an operator decided of an appeal against a suspension (R20)."""

    GRANTED = "granted"
    DISMISSED = "dismissed"


class ImportKind(StrEnum):
    """What the lines of an imported file are."""

    CONSENTS = "consents"
    REQUESTS = "requests"
    REFUSALS = "refusals"
    REASSIGNMENTS = "reassignments"
    NUMBERS = "numbers"


class ImportFormat(StrEnum):
    """How an imported file is written; either may be compressed with gzip."""

    CSV = "csv"
    NDJSON = "ndjson"


class ImportState(StrEnum):
    """How far an import has got. A failed or cancelled one keeps what it had applied."""

    RECEIVING = "receiving"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class MemberRole(StrEnum):
    """What somebody may do in the console: look, act, or also look after team and keys."""

    VIEWER = "viewer"
    AGENT = "agent"
    ADMIN = "admin"


class InboundAction(StrEnum):
    """What an SMS from a subscriber led to."""

    REFUSAL_ASKED = "refusal_asked"
    REFUSED = "refused"
    ALREADY_REFUSED = "already_refused"
    LIFT_ASKED = "lift_asked"
    LIFTED = "lifted"
    UNSUBSCRIBED = "unsubscribed"
    AGREED = "agreed"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    TOO_LATE = "too_late"
    AMBIGUOUS = "ambiguous"
    NOTHING_OPEN = "nothing_open"
    HELP = "help"
    IGNORED = "ignored"


class NumberToken(TypeDecorator[SubscriberNumber]):
    """A subscriber's number, stored as its token under the key that the engine was given."""

    impl = LargeBinary(16)
    cache_ok = True

    def process_bind_param(self, value: SubscriberNumber | None, dialect: Dialect) -> bytes | None:
        return None if value is None else number_key(dialect).token(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> SubscriberNumber | None:
        return None if value is None else number_key(dialect).number(bytes(value))


class Sealed(TypeDecorator[str]):
    """Text that may name a person, stored encrypted."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else number_key(dialect).seal(value.encode(), os.urandom(12))

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else number_key(dialect).unseal(bytes(value)).decode()


class Instant(TypeDecorator[datetime]):
    """A point in time, always UTC; SQLite has no zones, so there it is stored without."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def number_key(dialect: Dialect) -> NumberKey:
    """Return the number key of the engine that `dialect` belongs to (`database.py` sets it)."""
    key = getattr(dialect, "number_key", None)
    if not isinstance(key, NumberKey):
        raise TypeError("this engine was given no number key")
    return key


def _words(words: type[StrEnum]) -> Enum:
    """Return the column type for a vocabulary: its values as text, checked by the database."""
    return Enum(
        words,
        native_enum=False,
        create_constraint=False,
        length=24,
        values_callable=lambda enum: [word.value for word in enum],
    )


def _one_of(column: str, words: type[StrEnum], *more: str) -> CheckConstraint:
    values = ", ".join(f"'{word}'" for word in [*words, *more])
    return CheckConstraint(f"{column} IN ({values})", name=f"{column}_known")


def _once_a_line(table: str) -> Index:
    """Return the index by which one line of an import leads to one row."""
    imported = text("line_key IS NOT NULL")
    return Index(
        f"uq_{table}_line_key",
        "line_key",
        unique=True,
        sqlite_where=imported,
        postgresql_where=imported,
    )


_VOCABULARIES: dict[Any, Enum] = {
    words: _words(words)
    for words in (
        AppealOutcome, ApplicationState, Basis, ChallengeOutcome, Channel, CodePurpose,
        ComplaintOutcome, End, FamilyEnd, ImportFormat, ImportKind, ImportState, InboundAction,
        MemberRole, MessageClass, Method, Notice, OrganisationKind, OutboxState, Period, Purpose,
        Reason, RequestOutcome, ResourceKind, Topic, Via, ViolationKind,
    )
}  # fmt: skip

EVENT_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts rows up by itself only in a column that is called INTEGER."""


class Base(DeclarativeBase):
    """The declarative base; constraints are named, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: Instant,
        date: Date,
        time: Time,
        SubscriberNumber: NumberToken,
        int: BigInteger,
        str: String,
        bytes: LargeBinary,
        **_VOCABULARIES,
    }


class State(Base):
    """What the registry must remember of itself: its key's check value, whether it is a demo."""

    __tablename__ = "registry_state"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(String(200))


class Organisation(Base):
    """A legal entity known to the registry."""

    __tablename__ = "organisations"
    __table_args__ = (_one_of("kind", OrganisationKind),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[OrganisationKind]
    name: Mapped[str] = mapped_column(String(200))
    uscc: Mapped[str] = mapped_column(String(18), unique=True)
    licence_number: Mapped[str | None] = mapped_column(String(100))
    contact_phone: Mapped[str] = mapped_column(String(20))
    complaint_phone: Mapped[str | None] = mapped_column(String(20))
    recorded_at: Mapped[datetime]
    requests_per_second: Mapped[int | None]
    lookup_numbers_per_day: Mapped[int | None]
    assertion_numbers_per_day: Mapped[int | None]


class OrganisationVersion(Base):
    """What an organisation's details were from `recorded_at` on, until its next version."""

    __tablename__ = "organisation_versions"
    __table_args__ = (Index("ix_organisation_versions_organisation_id", "organisation_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    name: Mapped[str] = mapped_column(String(200))
    licence_number: Mapped[str | None] = mapped_column(String(100))
    contact_phone: Mapped[str] = mapped_column(String(20))
    complaint_phone: Mapped[str | None] = mapped_column(String(20))
    application_id: Mapped[UUID | None] = mapped_column(ForeignKey("applications.id"))
    recorded_at: Mapped[datetime]


class Application(Base):
    """What a legal entity asks to be registered as, or, with an organisation, to be changed to.

    An operator decides; an approved one of a new entity leads to its organisation.
    """

    __tablename__ = "applications"
    __table_args__ = (
        _one_of("kind", OrganisationKind),
        _one_of("state", ApplicationState),
        CheckConstraint("(state = 'submitted') = (decided_at IS NULL)", name="decision_has_time"),
        Index(
            "uq_applications_submitted", "uscc", unique=True,
            sqlite_where=text("state = 'submitted'"), postgresql_where=text("state = 'submitted'"),
        ),
        Index("ix_applications_organisation_id", "organisation_id"),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[OrganisationKind]
    name: Mapped[str] = mapped_column(String(200))
    uscc: Mapped[str] = mapped_column(String(18))
    licence_number: Mapped[str] = mapped_column(String(100))
    contact_name: Mapped[str] = mapped_column(Sealed)
    contact_phone: Mapped[str] = mapped_column(String(20))
    complaint_phone: Mapped[str] = mapped_column(String(20))
    organisation_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    state: Mapped[ApplicationState]
    recorded_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    reason: Mapped[str | None] = mapped_column(Sealed)


class Document(Base):
    """A file that goes with an application or a claim; its content is kept by its digest."""

    __tablename__ = "documents"
    __table_args__ = (
        CheckConstraint(
            "(application_id IS NULL) <> (claim_id IS NULL)", name="belongs_to_one"
        ),
        Index("ix_documents_application_id", "application_id"),
        Index("ix_documents_claim_id", "claim_id"),
        Index("ix_documents_sha256", "sha256"),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    application_id: Mapped[UUID | None] = mapped_column(ForeignKey("applications.id"))
    claim_id: Mapped[UUID | None] = mapped_column(ForeignKey("number_claims.id"))
    name: Mapped[str] = mapped_column(Sealed)
    media_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    recorded_at: Mapped[datetime]


class Suspension(Base):
    """The time during which an organisation may not send (R20).

    It is announced when it is recorded and takes effect when it starts, which may be later.
    """

    __tablename__ = "suspensions"
    __table_args__ = (
        Index(
            "uq_suspensions_open", "organisation_id", unique=True,
            sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    reason: Mapped[str] = mapped_column(Sealed)
    starts_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_recorded_at: Mapped[datetime | None]
    end_reason: Mapped[str | None] = mapped_column(Sealed)


class Appeal(Base):
    """What a suspended organisation says against its suspension, and what was decided (R20)."""

    __tablename__ = "appeals"
    __table_args__ = (
        _one_of("outcome", AppealOutcome),
        CheckConstraint("(outcome IS NULL) = (decided_at IS NULL)", name="decision_has_outcome"),
        Index(
            "uq_appeals_open", "suspension_id", unique=True,
            sqlite_where=text("outcome IS NULL"), postgresql_where=text("outcome IS NULL"),
        ),
        Index("ix_appeals_suspension_id", "suspension_id"),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    suspension_id: Mapped[UUID] = mapped_column(ForeignKey("suspensions.id"))
    text: Mapped[str] = mapped_column(Sealed)
    recorded_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    outcome: Mapped[AppealOutcome | None]
    reason: Mapped[str | None] = mapped_column(Sealed)

    suspension: Mapped[Suspension] = relationship(lazy="raise")


class SenderNumber(Base):
    """A number resource that an organisation holds, for some channels and usages (R12, R13).

    What lies beneath another holding (`parent`) is an extension of it, one deeper. Two holdings
    of one depth never share a number at any time: the migrations say so to the database, by an
    exclusion constraint on PostgreSQL and by triggers on SQLite.
    """

    __tablename__ = "sender_numbers"
    __table_args__ = (
        _one_of("kind", ResourceKind),
        CheckConstraint("sms OR voice", name="has_channel"),
        CheckConstraint("commercial OR service OR public", name="has_usage"),
        CheckConstraint("held_until IS NULL OR held_until > held_from", name="dates_in_order"),
        CheckConstraint("(depth = 0) = (parent_id IS NULL)", name="extension_has_parent"),
        Index(
            "uq_sender_numbers_held", "number", unique=True,
            sqlite_where=text("released_at IS NULL"), postgresql_where=text("released_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[str] = mapped_column(String(20), index=True)
    kind: Mapped[ResourceKind]
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"), index=True)
    sms: Mapped[bool]
    voice: Mapped[bool]
    commercial: Mapped[bool]
    service: Mapped[bool]
    public: Mapped[bool]
    held_from: Mapped[datetime]
    held_until: Mapped[datetime | None]
    recorded_at: Mapped[datetime]
    released_at: Mapped[datetime | None]
    release_recorded_at: Mapped[datetime | None]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("sender_numbers.id"), index=True)
    depth: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")

    holder: Mapped[Organisation] = relationship(lazy="raise")
    parent: Mapped["SenderNumber | None"] = relationship(
        lazy="raise", remote_side="SenderNumber.id"
    )


class NumberClaim(Base):
    """What an organisation says that it holds; an operator decides, and then it holds it."""

    __tablename__ = "number_claims"
    __table_args__ = (
        _one_of("kind", ResourceKind),
        _one_of("state", ApplicationState),
        CheckConstraint("sms OR voice", name="has_channel"),
        CheckConstraint("commercial OR service OR public", name="has_usage"),
        CheckConstraint("(state = 'submitted') = (decided_at IS NULL)", name="decision_has_time"),
        Index(
            "uq_number_claims_submitted", "organisation_id", "number", unique=True,
            sqlite_where=text("state = 'submitted'"), postgresql_where=text("state = 'submitted'"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[str] = mapped_column(String(20))
    kind: Mapped[ResourceKind]
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"), index=True)
    sms: Mapped[bool]
    voice: Mapped[bool]
    commercial: Mapped[bool]
    service: Mapped[bool]
    public: Mapped[bool]
    held_from: Mapped[datetime | None]
    held_until: Mapped[datetime | None]
    note: Mapped[str | None] = mapped_column(Sealed)
    state: Mapped[ApplicationState]
    recorded_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    reason: Mapped[str | None] = mapped_column(Sealed)
    holding_id: Mapped[UUID | None] = mapped_column(ForeignKey("sender_numbers.id"))

    claimant: Mapped[Organisation] = relationship(lazy="raise", foreign_keys=[organisation_id])


class Authorisation(Base):
    """A sender lets a provider send for it and ask for it, until either ends that."""

    __tablename__ = "authorisations"
    __table_args__ = (
        CheckConstraint("sender_id <> provider_id", name="two_organisations"),
        CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="end_has_author"),
        Index(
            "uq_authorisations_standing", "sender_id", "provider_id", unique=True,
            sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_authorisations_provider_id", "provider_id"),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    recorded_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))

    sender: Mapped[Organisation] = relationship(lazy="raise", foreign_keys=[sender_id])
    provider: Mapped[Organisation] = relationship(lazy="raise", foreign_keys=[provider_id])


class ApiKey(Base):
    """A key of an organisation; of its secret only the digest is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"), index=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    scopes: Mapped[str] = mapped_column(String(200))
    recorded_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    label: Mapped[str | None] = mapped_column(Sealed)


class Member(Base):
    """Somebody who works for an organisation in the console, or who applied for one.

    An invited one has no password yet, and joins with the invitation's secret, of which only
    the digest is kept.
    """

    __tablename__ = "members"
    __table_args__ = (
        _one_of("role", MemberRole),
        CheckConstraint(
            "organisation_id IS NOT NULL OR application_id IS NOT NULL", name="belongs_somewhere"
        ),
        Index("ix_members_organisation_id", "organisation_id"),
        Index("ix_members_application_id", "application_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    organisation_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    application_id: Mapped[UUID | None] = mapped_column(ForeignKey("applications.id"))
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    email: Mapped[str] = mapped_column(Sealed)
    name: Mapped[str] = mapped_column(Sealed)
    role: Mapped[MemberRole]
    password_hash: Mapped[str | None] = mapped_column(Sealed)
    totp_secret: Mapped[str | None] = mapped_column(Sealed)
    totp_confirmed_at: Mapped[datetime | None]
    totp_step: Mapped[int | None]
    invitation_sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    invitation_expires_at: Mapped[datetime | None]
    recorded_at: Mapped[datetime]
    joined_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    organisation: Mapped[Organisation | None] = relationship(lazy="raise")


class MemberSession(Base):
    """A member at a browser; before `verified_at` only the password was right."""

    __tablename__ = "member_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[UUID] = mapped_column(ForeignKey("members.id"), index=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    recorded_at: Mapped[datetime]
    verified_at: Mapped[datetime | None]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]


class Attempt(Base):
    """How often somebody tried in vain to get into the console, and when it may go on.

    `subject` is a keyed digest: of an e-mail, known here or not, of a member's second factor, or
    of a network address.
    """

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_tried_at", "tried_at"),)

    subject: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    tried_at: Mapped[datetime]
    locked_until: Mapped[datetime | None]


class EvidenceFile(Base):
    """A file that a sender keeps here as evidence; its content is kept by its digest.

    Evidence that names the digest is about this file. `needed_at` is the last time at which it
    is known to have been needed.
    """

    __tablename__ = "evidence_files"
    __table_args__ = (
        Index("uq_evidence_files_sha256", "organisation_id", "sha256", unique=True),
        Index("ix_evidence_files_sha256", "sha256"),
        Index("ix_evidence_files_needed_at", "needed_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(Sealed)
    media_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]
    recorded_at: Mapped[datetime]
    needed_at: Mapped[datetime]


class Import(Base):
    """A file of many lines, and how far it has been applied.

    Lines are applied in groups, each in a transaction that also moves `lines`, `offset` and
    `result_size`: what was read, applied and reported always agree, whenever it is interrupted.
    `offset` counts what is read once unpacked, `bytes_read` the file as it was sent, and
    `milliseconds` the time that it took.
    """

    __tablename__ = "imports"
    __table_args__ = (
        _one_of("kind", ImportKind),
        _one_of("format", ImportFormat),
        _one_of("state", ImportState),
        Index("ix_imports_organisation_id", "organisation_id", "id"),
        Index(
            "ix_imports_to_do", "id",
            sqlite_where=text("state IN ('waiting', 'running')"),
            postgresql_where=text("state IN ('waiting', 'running')"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    kind: Mapped[ImportKind]
    format: Mapped[ImportFormat]
    name: Mapped[str | None] = mapped_column(Sealed)
    options: Mapped[str] = mapped_column(Sealed)
    state: Mapped[ImportState]
    problem: Mapped[str | None] = mapped_column(String(300))
    size: Mapped[int] = mapped_column(default=0)
    sha256: Mapped[str | None] = mapped_column(String(64))
    lines: Mapped[int] = mapped_column(default=0)
    offset: Mapped[int] = mapped_column(default=0)
    bytes_read: Mapped[int] = mapped_column(default=0)
    milliseconds: Mapped[int] = mapped_column(default=0)
    counts: Mapped[str] = mapped_column(String(1000), default="{}")
    result_size: Mapped[int] = mapped_column(default=0)
    recorded_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    resume_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class Evidence(Base):
    """How a consent was given, and the text that was shown (R8).

    When it is kept no longer its texts are emptied, and `purged_at` says when (R7, R11).
    `needed_at` is the last time, after it was recorded, at which it is known that a consent still
    rested on it: it is not looked at again before it can be due.
    """

    __tablename__ = "evidence"
    __table_args__ = (
        _one_of("method", Method),
        Index(
            "ix_evidence_needed_at", func.coalesce(text("needed_at"), text("recorded_at")), "id",
            sqlite_where=text("purged_at IS NULL"), postgresql_where=text("purged_at IS NULL"),
        ),
        Index(
            "ix_evidence_sha256", "sha256",
            sqlite_where=text("sha256 IS NOT NULL AND purged_at IS NULL"),
            postgresql_where=text("sha256 IS NOT NULL AND purged_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    method: Mapped[Method]
    notice_text: Mapped[str] = mapped_column(Sealed)
    notice_version: Mapped[str | None] = mapped_column(Sealed)
    language: Mapped[str | None] = mapped_column(String(35))
    sha256: Mapped[str | None] = mapped_column(String(64))
    uri: Mapped[str | None] = mapped_column(Sealed)
    recorded_at: Mapped[datetime]
    needed_at: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class Grant(Base):
    """One act of consenting: its topics share evidence, end date and cap (R4).

    Grants that were imported together share a row of evidence where they claim the same.
    `line_key`, here and elsewhere, is the digest of the imported line that led to the row: the
    same line never does so twice.
    """

    __tablename__ = "grants"
    __table_args__ = (
        _one_of("basis", Basis),
        _one_of("cap_period", Period),
        CheckConstraint("cap_count > 0", name="cap_positive"),
        CheckConstraint("cap_used BETWEEN 0 AND cap_count", name="cap_kept"),
        Index("ix_grants_evidence_id", "evidence_id"),
        _once_a_line("grants"),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    evidence_id: Mapped[UUID] = mapped_column(ForeignKey("evidence.id"))
    basis: Mapped[Basis]
    granted_at: Mapped[datetime]
    cap_count: Mapped[int] = mapped_column(Integer)
    cap_period: Mapped[Period]
    cap_used: Mapped[int] = mapped_column(Integer, default=0)
    cap_used_in: Mapped[date | None]
    line_key: Mapped[bytes | None] = mapped_column(LargeBinary(16))

    evidence: Mapped[Evidence] = relationship(lazy="raise")


class Consent(Base):
    """The consent of one number to one sender, for one channel and topic.

    `latest` marks, among the consents of one number, sender, channel and topic that ever had
    effect, the one recorded last: it alone decides, so the active one is always it. A consent
    without `effective_from` has no effect until the subscriber confirms it.
    """

    __tablename__ = "consents"
    __table_args__ = (
        _one_of("channel", Channel),
        _one_of("topic", Topic),
        _one_of("end_reason", End),
        CheckConstraint("NOT latest OR effective_from IS NOT NULL", name="latest_effective"),
        CheckConstraint(
            "latest OR effective_from IS NULL OR ended_at IS NOT NULL"
            " OR reassignment_id IS NOT NULL",
            name="active_is_latest",
        ),
        CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="end_has_reason"),
        Index(
            "uq_consents_latest", "number", "sender_id", "channel", "topic", unique=True,
            sqlite_where=text("latest"), postgresql_where=text("latest"),
        ),
        Index(
            "uq_consents_unconfirmed", "number", "sender_id", "channel", "topic", unique=True,
            sqlite_where=text("effective_from IS NULL AND ended_at IS NULL"),
            postgresql_where=text("effective_from IS NULL AND ended_at IS NULL"),
        ),
        Index("ix_consents_number", "number", "sender_id", "event_id"),
        Index("ix_consents_grant_id", "grant_id"),
        Index("ix_consents_sender_id", "sender_id", "recorded_at"),
        Index(
            "ix_consents_ended", "sender_id", "end_recorded_at",
            sqlite_where=text("end_reason <> 'superseded'"),
            postgresql_where=text("end_reason <> 'superseded'"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[SubscriberNumber]
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    channel: Mapped[Channel]
    topic: Mapped[Topic]
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id"))
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]
    effective_from: Mapped[datetime | None]
    valid_until: Mapped[datetime]
    latest: Mapped[bool]
    ended_at: Mapped[datetime | None]
    end_recorded_at: Mapped[datetime | None]
    end_reason: Mapped[End | None]
    end_note: Mapped[str | None] = mapped_column(Sealed)
    reassignment_id: Mapped[UUID | None] = mapped_column(ForeignKey("reassignments.id"))

    grant: Mapped[Grant] = relationship(lazy="raise")
    reassignment: Mapped["Reassignment | None"] = relationship(lazy="raise")
    sender: Mapped[Organisation] = relationship(lazy="raise")


class Refusal(Base):
    """A subscriber's "no": for all, or for a channel, a topic, a sender.

    `recorded_by` is the organisation that reported it, or nobody when it is an act of the
    subscriber in the registry itself.
    """

    __tablename__ = "refusals"
    __table_args__ = (
        _one_of("channel", Channel, ANY),
        _one_of("topic", Topic, ANY),
        _one_of("via", Via),
        _one_of("end_reason", End),
        CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="end_has_reason"),
        Index(
            "uq_refusals_standing", "number", "channel", "topic",
            func.coalesce(text("sender_id"), text("'00000000-0000-0000-0000-000000000000'")),
            unique=True,
            sqlite_where=text("ended_at IS NULL AND reassignment_id IS NULL"),
            postgresql_where=text("ended_at IS NULL AND reassignment_id IS NULL"),
        ),
        Index("ix_refusals_number", "number", "event_id"),
        _once_a_line("refusals"),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[SubscriberNumber]
    channel: Mapped[str] = mapped_column(String(24))
    topic: Mapped[str] = mapped_column(String(24))
    sender_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    via: Mapped[Via]
    recorded_by: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_recorded_at: Mapped[datetime | None]
    end_reason: Mapped[End | None]
    reassignment_id: Mapped[UUID | None] = mapped_column(ForeignKey("reassignments.id"))
    line_key: Mapped[bytes | None] = mapped_column(LargeBinary(16))

    sender: Mapped[Organisation | None] = relationship(lazy="raise", foreign_keys=[sender_id])


class Reassignment(Base):
    """The end of a tenure: the number went to another subscriber (R31)."""

    __tablename__ = "reassignments"
    __table_args__ = (_once_a_line("reassignments"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[SubscriberNumber] = mapped_column(index=True)
    reassigned_at: Mapped[datetime]
    recorded_by: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]
    line_key: Mapped[bytes | None] = mapped_column(LargeBinary(16))


class Event(Base):
    """One change. `payload` is its canonical bytes; `position` its place in the log."""

    __tablename__ = "events"
    __table_args__ = (
        Index("uq_events_position", "position", unique=True),
        Index(
            "ix_events_waiting", "id",
            sqlite_where=text("position IS NULL"), postgresql_where=text("position IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(EVENT_ID, Identity(), primary_key=True)
    position: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(40))
    recorded_at: Mapped[datetime]
    payload: Mapped[bytes]


class EventOpening(Base):
    """The personal part of an event, which can be erased: what the payload commits to."""

    __tablename__ = "event_openings"

    event_id: Mapped[int] = mapped_column(
        EVENT_ID, ForeignKey("events.id"), primary_key=True, autoincrement=False
    )
    number: Mapped[SubscriberNumber] = mapped_column(index=True)
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))


class Lookup(Base):
    """The audit of one answer; a batch has an item for every number. By month on PostgreSQL."""

    __tablename__ = "lookups"
    __table_args__ = (
        Index("ix_lookups_number", "number", "decided_at"),
        {"postgresql_partition_by": "RANGE (decided_at)"},
    )

    decided_at: Mapped[datetime] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    item: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    asker_id: Mapped[UUID]
    sender_id: Mapped[UUID | None]
    sending_number: Mapped[str] = mapped_column(String(20))
    number: Mapped[SubscriberNumber]
    channel: Mapped[Channel]
    message_class: Mapped[MessageClass]
    topic: Mapped[Topic | None]
    at: Mapped[datetime]
    contact: Mapped[bool]
    reason: Mapped[Reason]
    position: Mapped[int]


class LookupCount(Base):
    """How many numbers an organisation asked about on a day, by what it was told."""

    __tablename__ = "lookup_counts"
    __table_args__ = (_one_of("reason", Reason), Index("ix_lookup_counts_day", "day"))

    asker_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    reason: Mapped[Reason] = mapped_column(primary_key=True)
    numbers: Mapped[int]


class AskedNumber(Base):
    """A number that an organisation asked about or asserted on a day; the first time counts.

    Not written to PostgreSQL's log, so a crash forgets it; what was spent is kept.
    """

    __tablename__ = "asked_numbers"

    number: Mapped[SubscriberNumber] = mapped_column(primary_key=True)
    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    purpose: Mapped[Purpose] = mapped_column(primary_key=True)


class SpentBudget(Base):
    """How many distinct numbers an organisation used up on a day."""

    __tablename__ = "spent_budgets"

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    purpose: Mapped[Purpose] = mapped_column(primary_key=True)
    numbers: Mapped[int]


class IdempotencyKey(Base):
    """The first answer to a write, sealed, to be given again to whoever repeats it."""

    __tablename__ = "idempotency_keys"

    organisation_id: Mapped[UUID] = mapped_column(primary_key=True)
    key_sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    request_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[int] = mapped_column(SmallInteger)
    answer: Mapped[str] = mapped_column(Sealed)
    recorded_at: Mapped[datetime] = mapped_column(index=True)


class OutboxItem(Base):
    """An SMS to a subscriber; queued counts as told.

    Its text is made when it is sent, from the subject and from `details`, which are wiped once
    they are of no more use. `reply_code` names the question that an answer by SMS is to, and
    `tried_at` is when it was first handed over, from when on it may have been read. One that a
    digest says as well is `merged_into` that one.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        _one_of("notice", Notice),
        _one_of("state", OutboxState),
        # One index a state: SQLite uses none over two states for a question about one.
        Index(
            "ix_outbox_due", "try_at",
            sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_outbox_expiring", "expires_at",
            sqlite_where=text("state = 'waiting'"), postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_outbox_sending", "claimed_at",
            sqlite_where=text("state = 'sending'"), postgresql_where=text("state = 'sending'"),
        ),
        Index(
            "ix_outbox_urgent", "notice", "try_at",
            sqlite_where=text("state = 'waiting' AND notice IN ('code', 'reply')"),
            postgresql_where=text("state = 'waiting' AND notice IN ('code', 'reply')"),
        ),
        Index("ix_outbox_recorded_at", "recorded_at"),
        Index(
            "ix_outbox_merged_into", "merged_into",
            sqlite_where=text("merged_into IS NOT NULL"),
            postgresql_where=text("merged_into IS NOT NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    notice: Mapped[Notice]
    number: Mapped[SubscriberNumber] = mapped_column(index=True)
    subject_id: Mapped[UUID]
    language: Mapped[str] = mapped_column(String(8), default="zh", server_default="zh")
    details: Mapped[str | None] = mapped_column(Sealed)
    reply_code: Mapped[int | None] = mapped_column(SmallInteger)
    recorded_at: Mapped[datetime]
    try_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    state: Mapped[OutboxState] = mapped_column(
        default=OutboxState.WAITING, server_default=OutboxState.WAITING
    )
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    tried_at: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    text: Mapped[str | None] = mapped_column(Sealed)
    reference: Mapped[str | None] = mapped_column(String(100))
    merged_into: Mapped[UUID | None]


class InboundMessage(Base):
    """An SMS from a subscriber, as a carrier delivered it; its id makes a repetition known."""

    __tablename__ = "inbound_messages"
    __table_args__ = (
        _one_of("action", InboundAction),
        Index("uq_inbound_messages_message", "carrier_id", "message_digest", unique=True),
        Index("ix_inbound_messages_number", "number", "recorded_at"),
        Index("ix_inbound_messages_recorded_at", "recorded_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    carrier_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    message_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    request_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    number: Mapped[SubscriberNumber]
    to_number: Mapped[str] = mapped_column(String(20))
    text: Mapped[str | None] = mapped_column(Sealed)
    received_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    action: Mapped[InboundAction]
    subject_id: Mapped[UUID | None]
    answered_at: Mapped[datetime | None]


class OneTimeCode(Base):
    """A code that was sent by SMS, kept as a keyed digest, for one act.

    `prefix` and `address` are keyed digests of the number's block of ten thousand and of the
    asker's network address: what is counted against floods, and names nobody.
    """

    __tablename__ = "one_time_codes"
    __table_args__ = (
        _one_of("purpose", CodePurpose),
        CheckConstraint("tries >= 0", name="tries_counted"),
        Index("ix_one_time_codes_number", "number", "recorded_at"),
        Index("ix_one_time_codes_prefix", "prefix", "recorded_at"),
        Index("ix_one_time_codes_address", "address", "recorded_at"),
        Index("ix_one_time_codes_recorded_at", "recorded_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    purpose: Mapped[CodePurpose]
    number: Mapped[SubscriberNumber]
    subject_id: Mapped[UUID | None]
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    prefix: Mapped[bytes] = mapped_column(LargeBinary(32))
    address: Mapped[bytes] = mapped_column(LargeBinary(32))
    recorded_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(SmallInteger, default=0)
    used_at: Mapped[datetime | None]


class PortalSession(Base):
    """A subscriber who is signed in; of the session's secret only the digest is kept."""

    __tablename__ = "portal_sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[SubscriberNumber] = mapped_column(index=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    recorded_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]


class FamilyLink(Base):
    """One subscriber (`carer`) looks after the number of another (`member`), who agreed."""

    __tablename__ = "family_links"
    __table_args__ = (
        _one_of("ended_by", FamilyEnd),
        CheckConstraint("carer <> member", name="two_people"),
        CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="end_has_reason"),
        Index(
            "uq_family_links_standing", "carer", "member", unique=True,
            sqlite_where=text("ended_at IS NULL"), postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_family_links_member", "member"),
        Index(
            "ix_family_links_unagreed", "recorded_at",
            sqlite_where=text("agreed_at IS NULL"), postgresql_where=text("agreed_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    carer: Mapped[SubscriberNumber]
    member: Mapped[SubscriberNumber]
    label: Mapped[str | None] = mapped_column(Sealed)
    recorded_at: Mapped[datetime]
    agreed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[FamilyEnd | None]


class OwnContactHours(Base):
    """The hours, inside the policy's, in which a subscriber wants to be contacted at all."""

    __tablename__ = "own_contact_hours"
    __table_args__ = (
        _one_of("end_reason", End),
        CheckConstraint("opens < closes", name="hours_in_order"),
        CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="end_has_reason"),
        Index(
            "uq_own_contact_hours_standing", "number", unique=True,
            sqlite_where=text("ended_at IS NULL AND reassignment_id IS NULL"),
            postgresql_where=text("ended_at IS NULL AND reassignment_id IS NULL"),
        ),
        Index("ix_own_contact_hours_number", "number", "event_id"),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[SubscriberNumber]
    opens: Mapped[time]
    closes: Mapped[time]
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_recorded_at: Mapped[datetime | None]
    end_reason: Mapped[End | None]
    reassignment_id: Mapped[UUID | None] = mapped_column(ForeignKey("reassignments.id"))


class ConsentRequest(Base):
    """A sender's question whether it may contact a number, with its terms (R4).

    No answer is refusal, and the same or a similar question is not put again (R5). Where a
    refusal `covered` the number, no SMS was sent; the sender sees no difference.
    """

    __tablename__ = "consent_requests"
    __table_args__ = (
        _one_of("channel", Channel),
        _one_of("cap_period", Period),
        _one_of("outcome", RequestOutcome),
        CheckConstraint("cap_count > 0", name="cap_positive"),
        CheckConstraint("(outcome IS NULL) = (answered_at IS NULL)", name="answer_has_outcome"),
        Index("ix_consent_requests_number", "number", "sender_id", "event_id"),
        Index("ix_consent_requests_sender_id", "sender_id", "event_id"),
        Index("uq_consent_requests_event_id", "event_id", unique=True),
        _once_a_line("consent_requests"),
        Index(
            "ix_consent_requests_open", "answer_by",
            sqlite_where=text("outcome IS NULL"), postgresql_where=text("outcome IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[SubscriberNumber]
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    channel: Mapped[Channel]
    topics: Mapped[str] = mapped_column(String(200))
    cap_count: Mapped[int] = mapped_column(Integer)
    cap_period: Mapped[Period]
    valid_for_days: Mapped[int] = mapped_column(Integer)
    notice_text: Mapped[str] = mapped_column(Sealed)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    covered: Mapped[bool]
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]
    answer_by: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    outcome: Mapped[RequestOutcome | None]
    grant_id: Mapped[UUID | None] = mapped_column(ForeignKey("grants.id"))
    line_key: Mapped[bytes | None] = mapped_column(LargeBinary(16))

    sender: Mapped[Organisation] = relationship(lazy="raise")


class Challenge(Base):
    """A subscriber's "I never agreed to this": without evidence in time the consent is void."""

    __tablename__ = "challenges"
    __table_args__ = (
        _one_of("outcome", ChallengeOutcome),
        CheckConstraint("(outcome IS NULL) = (closed_at IS NULL)", name="close_has_outcome"),
        Index("ix_challenges_number", "number"),
        Index("ix_challenges_sender_id", "sender_id", "event_id"),
        Index(
            "ix_challenges_evidence_sha256", "evidence_sha256",
            sqlite_where=text("evidence_sha256 IS NOT NULL"),
            postgresql_where=text("evidence_sha256 IS NOT NULL"),
        ),
        Index(
            "ix_challenges_open", "evidence_by",
            sqlite_where=text("outcome IS NULL"), postgresql_where=text("outcome IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("grants.id"), unique=True)
    number: Mapped[SubscriberNumber]
    sender_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]
    evidence_by: Mapped[datetime]
    answered_at: Mapped[datetime | None]
    evidence_text: Mapped[str | None] = mapped_column(Sealed)
    evidence_sha256: Mapped[str | None] = mapped_column(String(64))
    evidence_uri: Mapped[str | None] = mapped_column(Sealed)
    closed_at: Mapped[datetime | None]
    outcome: Mapped[ChallengeOutcome | None]

    sender: Mapped[Organisation] = relationship(lazy="raise")
    grant: Mapped[Grant] = relationship(lazy="raise")


class Violation(Base):
    """What the registry established against an organisation, and whose number it sent from."""

    __tablename__ = "violations"
    __table_args__ = (
        _one_of("kind", ViolationKind),
        Index("ix_violations_organisation_id", "organisation_id", "event_id"),
        Index("ix_violations_event_id", "event_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[ViolationKind]
    organisation_id: Mapped[UUID] = mapped_column(ForeignKey("organisations.id"))
    provider_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    number: Mapped[SubscriberNumber] = mapped_column(index=True)
    subject_id: Mapped[UUID]
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]


class Complaint(Base):
    """What a subscriber reports of an SMS or a call, and how far it has got (R22).

    It accuses the sender whose message it was and, where that came from an extension of a
    provider's port, the provider too; of an extension that nobody was assigned, the provider.
    The number that was shown is sealed, since it may be a person's own.
    """

    __tablename__ = "complaints"
    __table_args__ = (
        _one_of("channel", Channel),
        _one_of("topic", Topic),
        _one_of("outcome", ComplaintOutcome),
        CheckConstraint("(outcome IS NULL) = (closed_at IS NULL)", name="close_has_outcome"),
        Index("ix_complaints_number", "number", "event_id"),
        Index("ix_complaints_sender_id", "sender_id", "event_id"),
        Index("ix_complaints_provider_id", "provider_id", "event_id"),
        Index("ix_complaints_event_id", "event_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    number: Mapped[SubscriberNumber]
    channel: Mapped[Channel]
    sending_number: Mapped[str] = mapped_column(Sealed)
    sender_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    provider_id: Mapped[UUID | None] = mapped_column(ForeignKey("organisations.id"))
    topic: Mapped[Topic]
    contacted_at: Mapped[datetime]
    text: Mapped[str] = mapped_column(Sealed)
    lookup_id: Mapped[UUID | None]
    event_id: Mapped[int]
    recorded_at: Mapped[datetime]
    forwarded_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    answer: Mapped[str | None] = mapped_column(Sealed)
    closed_at: Mapped[datetime | None]
    outcome: Mapped[ComplaintOutcome | None]

    sender: Mapped[Organisation | None] = relationship(lazy="raise", foreign_keys=[sender_id])
    provider: Mapped[Organisation | None] = relationship(lazy="raise", foreign_keys=[provider_id])

    @property
    def addressee(self) -> Organisation | None:
        """Whoever it is forwarded to and answered by: the sender, or the provider without one."""
        return self.sender or self.provider
