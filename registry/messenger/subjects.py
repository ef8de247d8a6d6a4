"""What a message says, read from the rows that it is about, at the time it is sent.

A message whose subject no longer calls for it says nothing: the question is answered, the code
is used, the number went to somebody else.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, joinedload

from registry.consent import End, Topic
from registry.ledger.refusals import refused_topics
from registry.messenger import links
from registry.messenger.outbox import details, merged
from registry.models import (
    ANY,
    Challenge,
    ChallengeOutcome,
    Complaint,
    Consent,
    ConsentRequest,
    FamilyLink,
    Notice,
    OneTimeCode,
    Organisation,
    OutboxItem,
    Reassignment,
    Refusal,
    number_key,
)

Facts = dict[str, Any]
"""What a text is made of, the same in every language."""


def facts(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    """Return what a message says; None when it is not called for any more."""
    found = _found(session, item, now)
    if found is None or item.notice is not Notice.CONSENT_REQUESTED:
        return found
    # Who refused such questions since is not asked. Who was asked before may still answer.
    refused = refused_topics(session, item.number, found["sender_id"], found["channel"])
    return None if refused & {*found["topics"], ANY} else found


def still_asked(session: Session, item: OutboxItem, now: datetime) -> bool:
    """Tell whether a message that was sent is a question that still waits for its answer."""
    return _found(session, item, now) is not None


def _found(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    if item.expires_at is not None and item.expires_at <= now:
        return None
    if not item.number.takes_sms or _reassigned_since(session, item):
        return None
    return _FACTS[item.notice](session, item, now)


def _reassigned_since(session: Session, item: OutboxItem) -> bool:
    query = exists().where(
        Reassignment.number == item.number,
        Reassignment.cancelled_at.is_(None),
        Reassignment.recorded_at > item.recorded_at,
    )
    return bool(session.scalar(select(query)))


def _name(session: Session, organisation_id: object) -> str | None:
    return session.scalar(select(Organisation.name).where(Organisation.id == organisation_id))


def _code(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(OneTimeCode, item.subject_id)
    told = details(item)
    if row is None or row.number != item.number or row.used_at is not None:
        return None
    if row.expires_at <= now or "code" not in told:
        return None
    return {
        "kind": row.purpose,
        "secret": told["code"],
        "minutes": round((row.expires_at - row.recorded_at) / timedelta(minutes=1)),
        "carer": told.get("carer"),
    }


def _consent_asserted(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    rows = session.scalars(
        select(Consent)
        .options(joinedload(Consent.grant))
        .where(
            Consent.grant_id == item.subject_id,
            Consent.number == item.number,
            Consent.ended_at.is_(None),
            Consent.reassignment_id.is_(None),
            Consent.valid_until > now,
        )
    ).all()
    challenged = exists().where(Challenge.grant_id == item.subject_id)
    if not rows or session.scalar(select(challenged)):
        return None
    return {
        "sender_id": rows[0].sender_id,
        "sender": _name(session, rows[0].sender_id),
        "channel": rows[0].channel,
        "topics": _in_order([row.topic for row in rows]),
        "cap": (rows[0].grant.cap_count, rows[0].grant.cap_period),
        "until": rows[0].valid_until,
        "effective": any(row.effective_from is not None for row in rows),
    }


def _consents_asserted(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    """Say who asserts what a digest tells of; where that is one assertion only, say that one."""
    parts = merged(session, item.id)
    found = [told for part in parts if (told := _consent_asserted(session, part, now))]
    if len(found) < 2:
        return {**found[0], "as": Notice.CONSENT_ASSERTED} if found else None
    senders = {told["sender_id"]: told["sender"] for told in found}
    return {
        "kind": "one" if len(senders) == 1 else "many",
        "sender": found[0]["sender"],
        "senders": list(senders.values()),
        "many": len(found),
        "topics": _in_order([topic for told in found for topic in told["topics"]]),
        "effective": any(told["effective"] for told in found),
    }


def _in_order(topics: list[Topic]) -> list[Topic]:
    return [topic for topic in Topic if topic in topics]


def _consent_requested(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(ConsentRequest, item.subject_id)
    if row is None or row.number != item.number or row.covered:
        return None
    if row.outcome is not None or row.answer_by <= now:
        return None
    return {
        "sender_id": row.sender_id,
        "sender": _name(session, row.sender_id),
        "channel": row.channel,
        "topics": _in_order([Topic(word) for word in row.topics.split()]),
        "cap": (row.cap_count, row.cap_period),
        "days": row.valid_for_days,
        "answer_by": row.answer_by,
        "asked": row.notice_text,
        "token": links.token(number_key(session.get_bind().dialect), row),
    }


def _refusal_lifted(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(Refusal, item.subject_id)
    if row is None or row.end_reason is not End.LIFTED or row.reassignment_id is not None:
        return None
    again = exists().where(
        Refusal.number == row.number,
        Refusal.channel == row.channel,
        Refusal.topic == row.topic,
        Refusal.sender_id.is_(None)
        if row.sender_id is None
        else Refusal.sender_id == row.sender_id,
        Refusal.ended_at.is_(None),
        Refusal.reassignment_id.is_(None),
    )
    if session.scalar(select(again)):
        return None
    return {
        "channel": None if row.channel == ANY else row.channel,
        "topic": None if row.topic == ANY else row.topic,
        "sender": _name(session, row.sender_id) if row.sender_id else None,
    }


def _challenge_answered(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(Challenge, item.subject_id)
    if row is None or row.answered_at is None or row.outcome is ChallengeOutcome.VOIDED:
        return None
    return {"sender": _name(session, row.sender_id)}


def _consent_voided(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(Challenge, item.subject_id)
    if row is None or row.outcome is not ChallengeOutcome.VOIDED:
        return None
    return {"sender": _name(session, row.sender_id)}


def _family_agreed(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(FamilyLink, item.subject_id)
    if row is None or row.agreed_at is None or row.ended_at is not None:
        return None
    return _other_of(row, item)


def _family_ended(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(FamilyLink, item.subject_id)
    return None if row is None or row.ended_at is None else _other_of(row, item)


def _other_of(link: FamilyLink, item: OutboxItem) -> Facts:
    looked_after = item.number == link.member
    return {
        "kind": "member" if looked_after else "carer",
        "other": (link.carer if looked_after else link.member).dialled,
    }


def _complaint_moved(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    row = session.get(Complaint, item.subject_id)
    if row is None or row.number != item.number:
        return None
    steps = {"forwarded": row.forwarded_at, "answered": row.answered_at, "closed": row.closed_at}
    reached = [step for step, at in steps.items() if at is not None]
    if not reached or details(item).get("step", reached[-1]) != reached[-1]:
        return None  # The message of a later step says more.
    accused = row.sender_id or row.provider_id
    return {
        "kind": row.outcome or reached[-1],
        "day": row.contacted_at,
        "sender": _name(session, accused) if accused else None,
    }


def _reply(session: Session, item: OutboxItem, now: datetime) -> Facts | None:
    told = details(item)
    return {**told, "kind": told["key"]} if "key" in told else None


_FACTS: dict[Notice, Callable[[Session, OutboxItem, datetime], Facts | None]] = {
    Notice.CODE: _code,
    Notice.CONSENT_ASSERTED: _consent_asserted,
    Notice.CONSENTS_ASSERTED: _consents_asserted,
    Notice.CONSENT_REQUESTED: _consent_requested,
    Notice.REFUSAL_LIFTED: _refusal_lifted,
    Notice.CHALLENGE_ANSWERED: _challenge_answered,
    Notice.CONSENT_VOIDED: _consent_voided,
    Notice.FAMILY_AGREED: _family_agreed,
    Notice.FAMILY_ENDED: _family_ended,
    Notice.COMPLAINT_MOVED: _complaint_moved,
    Notice.REPLY: _reply,
}
