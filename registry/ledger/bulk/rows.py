"""The rows that a group of assertions leads to, table by table."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from os import urandom
from typing import Any, cast
from uuid import UUID

import uuid_utils
from sqlalchemy import bindparam, update
from sqlalchemy.orm import Session

from registry import events
from registry.consent import Basis, End
from registry.ledger import grants
from registry.ledger.acts import By
from registry.ledger.bulk import payloads, reading
from registry.ledger.bulk.deciding import Applied, Group
from registry.ledger.bulk.writing import Block, Column, Id, Same, blocks, insert_many, with_id
from registry.models import Consent, Evidence, Grant, Notice, OutboxItem, Via, number_key


def write(session: Session, group: Group) -> None:
    """Write what was decided."""
    if not group.applied:
        return
    _write_evidence(session, group)
    # The keys' order is that in which every group writes them: see `once`.
    insert_many(session, Grant, _grants(sorted(group.applied, key=lambda line: line.key)))
    _write_displaced(session, group)
    event_ids = payloads.record(session, grants.GRANTED, group.now, list(_said(group)))
    insert_many(session, Consent, _consent_rows(group, event_ids))
    insert_many(session, OutboxItem, _notices(group))
    _write_retold(session, group)


def _write_evidence(session: Session, group: Group) -> None:
    seal = number_key(session.get_bind().dialect).seal

    @cache
    def sealed(value: str | None) -> bytes | None:
        """Seal a text once: it tells no more than a shared row of evidence does."""
        return None if value is None else seal(value.encode(), urandom(12))

    def made() -> Iterator[Block]:
        for block in blocks(list(group.evidence.items())):
            claims = [claim for claim, _ in block]
            yield {
                "id": [evidence_id for _, evidence_id in block],
                "method": [claim.method for claim in claims],
                "notice_text": [sealed(claim.notice_text) for claim in claims],
                "notice_version": [sealed(claim.notice_version) for claim in claims],
                "language": [claim.language for claim in claims],
                "sha256": [claim.sha256 for claim in claims],
                "uri": [sealed(claim.uri) for claim in claims],
                "recorded_at": Same(group.now),
            }

    insert_many(session, Evidence, made())


def _grants(applied: Sequence[Applied]) -> Iterator[Block]:
    for block in blocks(applied):
        yield {
            "id": [line.grant_id for line in block],
            "evidence_id": [line.evidence_id for line in block],
            "basis": Same(Basis.ASSERTED),
            "granted_at": [line.claim.granted_at for line in block],
            "cap_count": [line.claim.cap.count for line in block],
            "cap_period": [line.claim.cap.period for line in block],
            "cap_used": Same(0),
            "line_key": [line.key for line in block],
        }


def _write_displaced(session: Session, group: Group) -> None:
    """Take what lost its place out of it, before another row has it: the indexes are unique."""
    ends = {
        "ended_at": group.now,
        "end_recorded_at": group.now,
        "end_reason": End.SUPERSEDED,
    }
    connection = session.connection()
    for superseded, changed in ((True, {"latest": False, **ends}), (False, {"latest": False})):
        ids = [cast(UUID, held.id) for held in group.displaced if held.superseded is superseded]
        if ids:
            this = with_id(connection, Consent.id, ids)
            with reading.by_index(connection):
                connection.execute(update(Consent).where(this).values(changed))


def _said(group: Group) -> Iterator[payloads.Said]:
    """Yield what the events say, in the order of the lines."""
    patterns: dict[Any, str] = {}
    last: datetime | None = None
    until = ""
    for line in group.applied:
        claim = line.claim
        cap = claim.cap
        shape = (claim.channel, claim.topics, cap.count, cap.period, line.counts)
        pattern = patterns.get(shape)
        if pattern is None:
            pattern = patterns[shape] = _pattern(group, line)
        if claim.valid_until != last:  # In most files each line ends with the one before.
            last, until = claim.valid_until, events.timestamp(claim.valid_until)
        values = (
            *(str(consent.id) for consent in line.consents),
            str(line.evidence_id),
            _json(claim.evidence.sha256),
            str(line.grant_id),
            events.timestamp(claim.granted_at),
            _json_list(line.superseded),
            until,
        )
        yield payloads.Said(claim.number, line.token, pattern, values)


def _json(value: str | None) -> str:
    return "null" if value is None else json.dumps(value, ensure_ascii=False)


def _json_list(ids: Sequence[Id]) -> str:
    return "[" + ",".join([f'"{each}"' for each in ids]) + "]"


def _pattern(group: Group, line: Applied) -> str:
    hole: Any = payloads.HOLE
    consents = [
        (hole, topic, group.counts_from if counts else None)
        for topic, counts in zip(line.claim.topics, line.counts, strict=True)
    ]
    evidence = replace(line.claim.evidence, sha256=payloads.OPEN_HOLE)
    data = grants.granted_data(
        replace(line.claim, granted_at=hole, valid_until=hole, evidence=evidence),
        group.sender_id,
        Basis.ASSERTED,
        hole,
        hole,
        consents,
        payloads.OPEN_HOLE,
    )
    by = By(Via.SENDER, group.sender_id)
    return payloads.pattern(grants.GRANTED, group.now, by, data)


def _consent_rows(group: Group, event_ids: Sequence[int]) -> Iterator[Block]:
    rows = [
        (consent, line, event_id, counts)
        for line, event_id in zip(group.applied, event_ids, strict=True)
        for consent, counts in zip(line.consents, line.counts, strict=True)
    ]
    counts_from = group.counts_from
    for block in blocks(rows):
        ended, end_reason = _ends([consent.superseded for consent, *_ in block], group.now)
        yield {
            "id": [consent.id for consent, *_ in block],
            "number": [line.token for _, line, *_ in block],
            "sender_id": Same(group.sender_id),
            "channel": [line.claim.channel for _, line, *_ in block],
            "topic": [consent.topic for consent, *_ in block],
            "grant_id": [line.grant_id for _, line, *_ in block],
            "event_id": [event_id for _, _, event_id, _ in block],
            "recorded_at": Same(group.now),
            "effective_from": [counts_from if counts else None for *_, counts in block],
            "valid_until": [line.claim.valid_until for _, line, *_ in block],
            "latest": [consent.latest for consent, *_ in block],
            "ended_at": ended,
            "end_recorded_at": ended,
            "end_reason": end_reason,
        }


def _ends(superseded: list[bool], now: datetime) -> tuple[Column, Column]:
    """Return when and why rows end that others of their group take the places of: most do not."""
    if not any(superseded):
        return Same(None), Same(None)
    return (
        [now if ends else None for ends in superseded],
        [End.SUPERSEDED if ends else None for ends in superseded],
    )


def _notices(group: Group) -> Iterator[Block]:
    for block in blocks([line for line in group.applied if line.tells]):
        yield {
            "id": [uuid_utils.uuid7() for _ in block],
            "notice": Same(Notice.CONSENT_ASSERTED),
            "number": [line.token for line in block],
            "subject_id": [line.grant_id for line in block],
            "recorded_at": Same(group.now),
            "try_at": Same(group.now),
        }


def _write_retold(session: Session, group: Group) -> None:
    """Let answers to earlier SMS be about the newest assertion that they said."""
    newest = {sms.item_id: sms.subject_id for sms in group.retold}
    if newest:
        session.connection().execute(
            update(OutboxItem)
            .where(OutboxItem.id == bindparam("item"))
            .values(subject_id=bindparam("subject")),
            [{"item": item, "subject": UUID(str(subject))} for item, subject in newest.items()],
        )
