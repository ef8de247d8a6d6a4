"""All that the registry holds on a number, for its subscriber to take away."""

import json
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, or_, select, true
from sqlalchemy.orm import Session, joinedload

from registry.ledger import tenure_start
from registry.models import (
    AskedNumber,
    Base,
    Challenge,
    Complaint,
    Consent,
    ConsentRequest,
    Event,
    EventOpening,
    FamilyLink,
    Grant,
    InboundMessage,
    Lookup,
    Notice,
    OneTimeCode,
    OutboxItem,
    OwnContactHours,
    PortalSession,
    Reassignment,
    Refusal,
    Violation,
)
from registry.numbers import SubscriberNumber
from registry.subscribers.rows import count, names_of, own_rows, read_id

_OWN_TABLES: tuple[tuple[str, type[Any]], ...] = (
    ("refusals", Refusal),
    ("contact_hours", OwnContactHours),
    ("consents", Consent),
    ("requests", ConsentRequest),
    ("challenges", Challenge),
    ("violations", Violation),
    ("complaints", Complaint),
    ("lookups", Lookup),
    ("messages_sent", OutboxItem),
    ("messages_received", InboundMessage),
    ("codes", OneTimeCode),
    ("sessions", PortalSession),
    ("asked_numbers", AskedNumber),
    ("reassignments", Reassignment),
)


def everything(
    session: Session, number: SubscriberNumber, now: datetime, newest: int | None = None
) -> dict[str, Any]:
    """Return all that the registry holds on a number in this tenure, ready to be written as JSON.

    Digests and secrets are left out: they say nothing about anybody. So is what an SMS with a
    code said, which only a demo keeps. With `newest`, of each kind only so many are returned;
    "counts" says how many there are.
    """
    since = tenure_start(session, number)
    found: dict[str, Any] = {
        "number": number.e164,
        "made_at": now.isoformat(),
        "tenure_since": since.isoformat() if since else None,
    }
    queries = {name: own_rows(table, number, since) for name, table in _OWN_TABLES}
    if since is not None:
        queries["violations"] = queries["violations"].where(_reported_since(since))
    for name, table in _OWN_TABLES:
        found[name] = _rows(session, table, queries[name].limit(newest))
    for message in found["messages_sent"]:
        if message["notice"] == Notice.CODE:
            message["text"] = None
    grants = {consent["grant_id"] for consent in found["consents"]}
    found["grants"] = [
        {**_plain(row), "evidence": _plain(row.evidence)}
        for row in session.scalars(
            select(Grant).options(joinedload(Grant.evidence)).where(Grant.id.in_(map(UUID, grants)))
        )
    ]
    found["family"] = [
        {**_plain(link), "carer": link.carer.dialled, "member": link.member.dialled}
        for link in session.scalars(
            select(FamilyLink).where(
                (FamilyLink.carer == number) | (FamilyLink.member == number),
                true() if since is None else FamilyLink.recorded_at >= since,
            )
        )
    ]
    queries["events"] = (
        select(Event)
        .join(EventOpening, EventOpening.event_id == Event.id)
        .where(
            EventOpening.number == number,
            true() if since is None else Event.recorded_at >= since,
        )
        .order_by(Event.id.desc())
    )
    found["events"] = [
        {"id": row.id, "position": row.position, "event": _own_part(row)}
        for row in session.scalars(queries["events"].limit(newest))
    ]
    if newest is not None:
        found["counts"] = {name: count(session, query) for name, query in queries.items()}
    organisations = names_of(session, map(read_id, _find_ids(found)))
    found["organisations"] = {str(one): name for one, name in organisations.items()}
    return found


def _reported_since(since: datetime) -> ColumnElement[bool]:
    """Select violations of this tenure: whoever reported is whom they were committed against.

    They are recorded days after the challenge or complaint, when the number may have gone to
    somebody else.
    """
    return or_(
        *(
            Violation.subject_id.in_(select(table.id).where(table.recorded_at >= since))
            for table in (Challenge, Complaint)
        )
    )


_OF_THE_ONE_BEFORE = {"consents", "refusals", "contact_hours"}


def _own_part(event: Event) -> dict[str, Any]:
    """Return what an event says, without what a reassignment tells of the earlier subscriber."""
    said: dict[str, Any] = json.loads(event.payload)
    hidden = _OF_THE_ONE_BEFORE if event.kind == "number_reassigned" else set()
    return {name: value for name, value in said.items() if name not in hidden}


_HIDDEN = {"details"}
"""What a message needs besides its subject, such as the code that it brings."""


def _rows(session: Session, table: type[Base], query: Select[Any]) -> list[dict[str, Any]]:
    """Return a table's rows as `_plain` does, in half the time: a number may have thousands."""
    names = [column.key for column in table.__mapper__.column_attrs]
    found = session.execute(query.with_only_columns(*(getattr(table, name) for name in names)))
    return [_shown(zip(names, row, strict=True)) for row in found]


def _plain(row: Base) -> dict[str, Any]:
    """Return a row's columns as JSON knows them, without what is only a digest."""
    return _shown((column.key, getattr(row, column.key)) for column in row.__mapper__.column_attrs)


def _shown(values: Iterable[tuple[str, object]]) -> dict[str, Any]:
    return {
        name: _json(value)
        for name, value in values
        if not isinstance(value, bytes) and name not in _HIDDEN
    }


def _json(value: object) -> object:
    if value is None or isinstance(value, _KNOWN_TO_JSON):
        return value
    if isinstance(value, _TIMES):
        return value.isoformat()
    if isinstance(value, SubscriberNumber):
        return value.e164
    return str(value)


_KNOWN_TO_JSON = (str, int)
_TIMES = (date, time)


def _find_ids(found: object) -> set[str]:
    """Return every id of an organisation that stands anywhere in the data."""
    ids: set[str] = set()
    left = [found]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            named = (one[name] for name in _ORGANISATION_COLUMNS & one.keys())
            ids.update(value for value in named if isinstance(value, str))
            left += [value for value in one.values() if isinstance(value, _HOLDING_MORE)]
        elif isinstance(one, list):
            left += one
    return ids


_HOLDING_MORE = (dict, list)


_ORGANISATION_COLUMNS = {
    "sender_id", "recorded_by", "asker_id", "carrier_id", "organisation_id", "actor", "sender",
}  # fmt: skip
