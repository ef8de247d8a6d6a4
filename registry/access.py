"""Who may do what: API keys and their scopes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Connection, ScalarSelect, bindparam, exists, func, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from registry import bearer, events
from registry.errors import Kind, RegistryError, invalid
from registry.models import ApiKey, Organisation, OrganisationKind, Purpose, SpentBudget, Suspension
from registry.policy import Limits

LONGEST_LABEL = 100
MOST_KEYS = 200


class Scope(StrEnum):
    """What a key may be used for."""

    LOOKUP = "lookup"
    CONSENT = "consent"
    NUMBERS = "numbers"
    WISHES = "wishes"
    TENURE = "tenure"
    DELIVERIES = "deliveries"
    ADMIN = "admin"
    OVERSIGHT = "oversight"
    FEED = "feed"


SCOPES: Mapping[OrganisationKind, frozenset[Scope]] = {
    OrganisationKind.SENDER: frozenset({Scope.LOOKUP, Scope.CONSENT, Scope.NUMBERS}),
    OrganisationKind.PROVIDER: frozenset({Scope.LOOKUP, Scope.NUMBERS}),
    OrganisationKind.CARRIER: frozenset(
        {Scope.LOOKUP, Scope.WISHES, Scope.TENURE, Scope.DELIVERIES}
    ),
    OrganisationKind.REGULATOR: frozenset({Scope.OVERSIGHT}),
    OrganisationKind.OPERATOR: frozenset({Scope.ADMIN, Scope.OVERSIGHT, Scope.FEED}),
}
"""The scopes that keys of each kind of organisation may have."""


@dataclass(frozen=True)
class Caller:
    """The organisation behind a key, and what it may ask for."""

    key_id: UUID
    organisation_id: UUID
    kind: OrganisationKind
    scopes: frozenset[Scope]
    suspended: bool
    requests_per_second: int | None
    budgets: Mapping[Purpose, int | None]
    spent: Mapping[Purpose, int]

    def limits(self, policy: Limits) -> tuple[int, Mapping[Purpose, int]]:
        """Return requests a second, and distinct numbers a day for each purpose."""
        defaults = {
            Purpose.LOOKUP: policy.lookup_numbers_per_day,
            Purpose.ASSERTION: policy.assertion_numbers_per_day,
        }
        budgets = {
            purpose: default if self.budgets[purpose] is None else self.budgets[purpose] or 0
            for purpose, default in defaults.items()
        }
        return self.requests_per_second or policy.requests_per_second, budgets


def issue(
    session: Session,
    organisation: Organisation,
    scopes: Collection[Scope],
    expires_at: datetime | None,
    *,
    actor_id: UUID | None,
    now: datetime,
    label: str | None = None,
    member_id: UUID | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; return it with its text `id.secret`, which is known only now.

    `label` is what people know it by, `member_id` who of the organisation's team makes it.
    """
    if not scopes or not set(scopes) <= SCOPES[organisation.kind]:
        allowed = ", ".join(sorted(SCOPES[organisation.kind]))
        raise invalid("scopes", f"may be, of a {organisation.kind}: {allowed}")
    if expires_at is not None and expires_at <= now:
        raise invalid("expires_at", "lies in the past")
    if label is not None and len(label) > LONGEST_LABEL:
        raise invalid("label", f"has more than {LONGEST_LABEL} characters")
    key_id = uuid7()
    text, digest = bearer.make(key_id)
    key = ApiKey(
        id=key_id,
        organisation_id=organisation.id,
        secret_sha256=digest,
        scopes=" ".join(sorted(scopes)),
        recorded_at=now,
        expires_at=expires_at,
        label=label or None,
    )
    session.add(key)
    data = {"key": key.id, "organisation": organisation.id, "scopes": key.scopes}
    events.record(session, "key_issued", now, actor_id, {**data, **events.by_member(member_id)})
    session.flush()
    return key, text


def revoke(
    session: Session,
    organisation_id: UUID,
    key_id: UUID,
    *,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> None:
    """End a key at once; a revoked one stays revoked."""
    key = _locked(session, organisation_id, key_id)
    if key.revoked_at is None:
        key.revoked_at = now
        data = {"key": key.id, "organisation": organisation_id, **events.by_member(member_id)}
        events.record(session, "key_revoked", now, actor_id, data)
        session.flush()


def rotate(
    session: Session,
    organisation: Organisation,
    key_id: UUID,
    ends_at: datetime,
    *,
    actor_id: UUID | None,
    now: datetime,
    member_id: UUID | None = None,
) -> tuple[ApiKey, str]:
    """Make a key like another one, which ends at a time, if not before; return the new one.

    A key that was good for some time from its making is good for as long again.
    """
    old = _locked(session, organisation.id, key_id)
    if not is_good(old, now):
        raise RegistryError(Kind.CONFLICT, "this key is no longer good; make a new one")
    lasts = None if old.expires_at is None else now + (old.expires_at - old.recorded_at)
    scopes = frozenset(map(Scope, old.scopes.split()))
    key, text = issue(
        session,
        organisation,
        scopes,
        lasts,
        actor_id=actor_id,
        now=now,
        label=old.label,
        member_id=member_id,
    )
    old.expires_at = min(ends_at, old.expires_at or ends_at)
    data = {
        "key": old.id,
        "organisation": organisation.id,
        "replaced_by": key.id,
        "expires_at": old.expires_at,
        **events.by_member(member_id),
    }
    events.record(session, "key_replaced", now, actor_id, data)
    session.flush()
    return key, text


def find(session: Session, organisation_id: UUID, key_id: UUID) -> ApiKey:
    """Return a key of an organisation; another's is `NOT_FOUND`."""
    return _own(session.get(ApiKey, key_id), organisation_id)


def _locked(session: Session, organisation_id: UUID, key_id: UUID) -> ApiKey:
    """Return a key of an organisation, for this transaction alone to change."""
    key = session.get(ApiKey, key_id, with_for_update=True, populate_existing=True)
    return _own(key, organisation_id)


def _own(key: ApiKey | None, organisation_id: UUID) -> ApiKey:
    if key is None or key.organisation_id != organisation_id:
        raise RegistryError(Kind.NOT_FOUND, "there is no such key")
    return key


def keys(session: Session, organisation_id: UUID, limit: int = MOST_KEYS) -> Sequence[ApiKey]:
    """Return the keys of an organisation, the newest first, ended ones included."""
    return session.scalars(
        select(ApiKey)
        .where(ApiKey.organisation_id == organisation_id)
        .order_by(ApiKey.id.desc())
        .limit(limit)
    ).all()


def is_good(key: ApiKey, now: datetime) -> bool:
    """Tell whether a key is taken now."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


_SUSPENDED = exists().where(
    Suspension.organisation_id == ApiKey.organisation_id,
    Suspension.ended_at.is_(None),
    Suspension.starts_at <= bindparam("now", type_=Suspension.starts_at.type),
)


def _spent(purpose: Purpose) -> ScalarSelect[int]:
    """Build the query of what a key's organisation spent of today's budget."""
    return (
        select(SpentBudget.numbers)
        .where(
            SpentBudget.organisation_id == ApiKey.organisation_id,
            SpentBudget.day == bindparam("day", type_=SpentBudget.day.type),
            SpentBudget.purpose == purpose,
        )
        .scalar_subquery()
    )


_KEY = (
    select(
        ApiKey.organisation_id,
        ApiKey.secret_sha256,
        ApiKey.scopes,
        ApiKey.expires_at,
        ApiKey.revoked_at,
        Organisation.kind,
        Organisation.requests_per_second,
        Organisation.lookup_numbers_per_day,
        Organisation.assertion_numbers_per_day,
        _SUSPENDED.label("suspended"),
        *(func.coalesce(_spent(purpose), 0).label(f"{purpose}_spent") for purpose in Purpose),
    )
    .join_from(ApiKey, Organisation, ApiKey.organisation_id == Organisation.id)
    .where(ApiKey.id == bindparam("key_id"))
)


def authenticate(connection: Connection, text: str, now: datetime) -> Caller:
    """Return who a key belongs to. Wrong, expired and revoked ones are told apart to nobody."""
    if (named := bearer.read(text)) is None:
        raise _unknown()
    key_id, secret = named
    key = connection.execute(_KEY, {"key_id": key_id, "now": now, "day": now.date()}).one_or_none()
    if key is None or not bearer.fits(secret, key.secret_sha256):
        raise _unknown()
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise _unknown()
    return Caller(
        key_id=key_id,
        organisation_id=key.organisation_id,
        kind=key.kind,
        scopes=frozenset(map(Scope, key.scopes.split())),
        suspended=bool(key.suspended),
        requests_per_second=key.requests_per_second,
        budgets={
            Purpose.LOOKUP: key.lookup_numbers_per_day,
            Purpose.ASSERTION: key.assertion_numbers_per_day,
        },
        spent={purpose: getattr(key, f"{purpose}_spent") for purpose in Purpose},
    )


def note_use(session: Session, used: Mapping[UUID, datetime]) -> None:
    """Remember when keys were last used."""
    if used:
        session.connection().execute(
            update(ApiKey.__table__)  # type: ignore[arg-type]
            .where(ApiKey.__table__.c.id == bindparam("used_id"))
            .values(last_used_at=bindparam("used_at")),
            # In one order, so that two processes never wait for each other's keys.
            [{"used_id": key_id, "used_at": at} for key_id, at in sorted(used.items())],
        )


def _unknown() -> RegistryError:
    return RegistryError(Kind.UNAUTHENTICATED, "a valid key is needed: Authorization: Bearer")
