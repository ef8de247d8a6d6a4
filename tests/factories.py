"""Plain functions that make what tests need, with defaults for all that does not matter."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session
from stdnum.cn import uscc
from uuid_utils.compat import uuid7
from werkzeug.test import TestResponse

from registry import access, ledger, lookup, senders
from registry.consent import Basis, Channel, MessageClass, Topic
from registry.ledger import By, CapTerms, Claim, EvidenceClaim
from registry.lookup import Asker, Question, Verdict
from registry.models import (
    Authorisation,
    Base,
    Consent,
    ConsentRequest,
    FamilyLink,
    Method,
    Organisation,
    OrganisationKind,
    Reassignment,
    Refusal,
    SenderNumber,
    Via,
)
from registry.numbers import SubscriberNumber, parse_sending, parse_subscriber
from registry.policy import Period
from registry.runtime import Registry

T = TypeVar("T")

START = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
"""10:00 in China: contacts are allowed."""
SMS_PORT = "10690001234"
VOICE_LINE = "95013"
SERVICE_PORT = "10650009999"
OTHER_PORT = "10690005678"
PROVIDER_PORT = "10691234"


@dataclass
class Clock:
    """A clock that moves only when it is told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **span: float) -> datetime:
        """Let time pass, in the words of `timedelta`."""
        self.now += timedelta(**span)
        return self.now


@dataclass
class World:
    """A registry's organisations, their keys, and ways to act as they do."""

    registry: Registry
    operator: Organisation
    sender: Organisation
    other_sender: Organisation
    carrier: Organisation
    other_carrier: Organisation
    regulator: Organisation
    keys: dict[str, str] = field(default_factory=dict, init=False)

    def grant(
        self,
        number: SubscriberNumber | None = None,
        *,
        sender: Organisation | None = None,
        basis: Basis = Basis.ASSERTED,
        **terms: Any,
    ) -> list[Consent]:
        """Record a consent, by default asserted by `sender` for SMS about retail."""
        holder = sender or self.sender
        return self.do(
            lambda session: ledger.grant(
                session,
                make_claim(number, now=self.registry.clock(), **terms),
                sender_id=holder.id,
                by=By(Via.SENDER, holder.id),
                basis=basis,
                policy=self.registry.policy,
                clock=self.registry.clock,
            )
        )

    def withdraw(self, consent: Consent, *, by_subscriber: bool = True) -> Consent:
        """Withdraw a consent."""
        return self.do(
            lambda session: ledger.withdraw(
                session,
                consent.id,
                by=By(Via.SENDER, consent.sender_id),
                by_subscriber=by_subscriber,
                note=None,
                clock=self.registry.clock,
            )
        )

    def refuse(
        self, number: SubscriberNumber | None = None, scope: ledger.Scope | None = None
    ) -> Refusal:
        """Refuse, by default everything, through the carrier's hotline."""
        return self.do(
            lambda session: ledger.refuse(
                session,
                number or make_number(),
                scope or ledger.Scope(),
                by=By(Via.HOTLINE, self.carrier.id),
                clock=self.registry.clock,
            )
        )

    def lift(self, refusal: Refusal) -> Refusal:
        """Lift a refusal through the carrier that recorded it."""
        return self.do(
            lambda session: ledger.lift(
                session,
                refusal.id,
                by=By(Via.HOTLINE, self.carrier.id),
                clock=self.registry.clock,
            )
        )

    def reassign(
        self, number: SubscriberNumber | None = None, reassigned_at: datetime | None = None
    ) -> Reassignment:
        """Report, as the carrier, that a number went to another subscriber, by default now."""
        return self.do(
            lambda session: ledger.reassign(
                session,
                number or make_number(),
                reassigned_at or self.registry.clock(),
                recorded_by=self.carrier.id,
                clock=self.registry.clock,
            )
        )

    def cancel(self, reassignment: Reassignment) -> Reassignment:
        """Take a reassignment back, as the carrier that reported it."""
        return self.do(
            lambda session: ledger.cancel_reassignment(
                session, reassignment.id, recorded_by=self.carrier.id, clock=self.registry.clock
            )
        )

    def ask(
        self,
        number: SubscriberNumber | None = None,
        *,
        sender: Organisation | None = None,
        channel: Channel = Channel.SMS,
        topics: tuple[Topic, ...] = (Topic.RETAIL,),
        cap: CapTerms | None = None,
        valid_for_days: int = 30,
        notice_text: str = "May we send you 10 offers a day for a month?",
        line_key: bytes | None = None,
    ) -> ConsentRequest:
        """Ask for consent, by default as `sender` for SMS about retail."""
        return self.do(
            lambda session: ledger.ask(
                session,
                sender_id=(sender or self.sender).id,
                number=number or make_number(),
                channel=channel,
                topics=topics,
                cap=cap or CapTerms(10, Period.DAY),
                valid_for_days=valid_for_days,
                notice_text=notice_text,
                policy=self.registry.policy,
                clock=self.registry.clock,
                line_key=line_key,
            )
        )

    def rows(self, table: type[Any]) -> list[Any]:
        """Return the rows of a table in the order in which they were made."""
        query = select(table).order_by(table.id)
        return list(self.do(lambda session: session.scalars(query).all()))

    def look_after(self, carer: SubscriberNumber, member: SubscriberNumber | None = None) -> By:
        """Let one number look after another, and return how its carer acts."""
        now = self.registry.clock()
        link = FamilyLink(
            id=uuid7(), carer=carer, member=member or make_number(), recorded_at=now, agreed_at=now
        )
        self.do(lambda session: session.add(link))
        return By(Via.PORTAL, family_link_id=link.id)

    def own(
        self,
        act: Callable[..., T],
        *about: Any,
        number: SubscriberNumber | None = None,
        by: By | None = None,
        **more: Any,
    ) -> T:
        """Do with a number, by default in the portal, what only its own subscriber may do."""
        if "policy" in signature(act).parameters:
            more["policy"] = self.registry.policy
        who, clock = by or By(Via.PORTAL), self.registry.clock
        mine = number or make_number()
        return self.do(lambda session: act(session, mine, *about, by=who, clock=clock, **more))

    def verdict(self, number: SubscriberNumber | None = None, **question: Any) -> Verdict:
        """Ask as the carrier, which may ask about every sending number."""
        asker = Asker(self.carrier.id, self.carrier.kind)
        with self.registry.database.read() as connection:
            answer = lookup.answer(
                connection,
                question.pop("asker", asker),
                make_question(number, at=question.pop("at", self.registry.clock()), **question),
                now=self.registry.clock(),
                policy=self.registry.policy,
            )
        return answer.verdicts[0]

    def do(self, act: Callable[[Session], T]) -> T:
        """Do something in a transaction."""
        with self.registry.database.write() as session:
            return act(session)


def count_rows(registry: Registry) -> dict[str, int]:
    """Count the rows of every table, to see whether anything was changed.

    Budgets and counts of lookups are left out: a request is counted a moment after its answer.
    """
    with registry.database.read() as connection:
        return {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
            if table.name not in ("asked_numbers", "spent_budgets", "lookup_counts")
        }


def dump(registry: Registry) -> bytes:
    """Return what a thief of the database would read: its files, or every row as text."""
    if registry.database.dialect == "sqlite":
        files = Path(registry.database.url.database or "")
        return b"".join(path.read_bytes() for path in files.parent.glob(f"{files.name}*"))
    with registry.database.read() as connection:
        rows = [
            connection.scalars(text(f"SELECT CAST({name} AS text) FROM {name}")).all()
            for name in Base.metadata.tables
        ]
    return "\n".join(chain.from_iterable(rows)).encode()


def make_number(index: int = 0) -> SubscriberNumber:
    """Return one of many mobile numbers."""
    return parse_subscriber(f"138{index:08d}")


def make_claim(
    number: SubscriberNumber | None = None,
    *,
    now: datetime = START,
    channel: Channel = Channel.SMS,
    topics: tuple[Topic, ...] = (Topic.RETAIL,),
    granted_at: datetime | None = None,
    valid_until: datetime | None = None,
    cap: CapTerms | None = None,
) -> Claim:
    return Claim(
        number=number or make_number(),
        channel=channel,
        topics=topics,
        granted_at=granted_at or now,
        valid_until=valid_until or now + timedelta(days=90),
        cap=cap or CapTerms(10, Period.DAY),
        evidence=EvidenceClaim(Method.WEB_FORM, "I agree to ten messages a day."),
    )


def make_question(
    number: SubscriberNumber | None = None,
    *,
    at: datetime = START,
    sending: str = SMS_PORT,
    channel: Channel = Channel.SMS,
    message_class: MessageClass = MessageClass.COMMERCIAL,
    topic: Topic | None = Topic.RETAIL,
) -> Question:
    return Question(
        sending=parse_sending(sending),
        numbers=[number or make_number()],
        channel=channel,
        message_class=message_class,
        topic=topic,
        at=at,
    )


def make_organisation(
    session: Session, kind: OrganisationKind, index: int, now: datetime = START
) -> Organisation:
    return senders.register(
        session, kind, f"{kind} {index}", make_uscc(index), "4001234567", actor_id=None, now=now
    )


def make_uscc(index: int) -> str:
    """Return a valid unified social credit code."""
    body = f"91110000{index:09d}"
    return body + str(uscc.calc_check_digit(body))


def make_provider(
    world: World, port: str = PROVIDER_PORT, index: int = 90, **dates: Any
) -> Organisation:
    """Register a provider that holds a port; its key is `provider` of the world."""
    now = world.registry.clock()
    usages = MessageClass.COMMERCIAL, MessageClass.SERVICE
    holding = senders.Holding((Channel.SMS,), usages, **dates)
    with world.registry.database.write() as session:
        provider = make_organisation(session, OrganisationKind.PROVIDER, index, now)
        senders.hold(session, provider.id, parse_sending(port), holding, actor_id=None, now=now)
        scopes = access.SCOPES[provider.kind]
        _key, world.keys["provider"] = access.issue(
            session, provider, scopes, None, actor_id=None, now=now
        )
    return provider


def authorise(
    world: World, provider: Organisation, sender: Organisation | None = None
) -> Authorisation:
    """Have `sender` authorise a provider."""
    who, now = sender or world.sender, world.registry.clock()
    return world.do(
        lambda session: senders.authorise(session, who.id, provider.id, actor_id=who.id, now=now)
    )


def assign(
    world: World,
    provider: Organisation,
    number: str,
    *,
    port: str = PROVIDER_PORT,
    sender: Organisation | None = None,
    usages: tuple[MessageClass, ...] = (MessageClass.COMMERCIAL,),
    **terms: Any,
) -> SenderNumber:
    """Assign an extension of a provider's port to `sender`, for commercial SMS."""
    holding = senders.Holding(terms.pop("channels", (Channel.SMS,)), usages, **terms)
    return world.do(
        lambda session: senders.assign_extension(
            session,
            provider.id,
            parse_sending(port),
            parse_sending(number),
            (sender or world.sender).id,
            holding,
            actor_id=provider.id,
            now=world.registry.clock(),
        )
    )


def make_world(registry: Registry) -> World:
    kinds = {
        "operator": OrganisationKind.OPERATOR,
        "sender": OrganisationKind.SENDER,
        "other_sender": OrganisationKind.SENDER,
        "carrier": OrganisationKind.CARRIER,
        "other_carrier": OrganisationKind.CARRIER,
        "regulator": OrganisationKind.REGULATOR,
    }
    now = registry.clock()
    with registry.database.write() as session:
        people = {
            name: make_organisation(session, kind, index, now)
            for index, (name, kind) in enumerate(kinds.items())
        }
        world = World(registry, **people)
        for holder, number, channel, usage in (
            (world.sender, SMS_PORT, Channel.SMS, MessageClass.COMMERCIAL),
            (world.sender, VOICE_LINE, Channel.VOICE, MessageClass.COMMERCIAL),
            (world.sender, SERVICE_PORT, Channel.SMS, MessageClass.SERVICE),
            (world.other_sender, OTHER_PORT, Channel.SMS, MessageClass.COMMERCIAL),
        ):
            senders.hold(
                session,
                holder.id,
                parse_sending(number),
                senders.Holding((channel,), (usage,)),
                actor_id=None,
                now=now,
            )
        for name, organisation in people.items():
            scopes = access.SCOPES[organisation.kind]
            _key, world.keys[name] = access.issue(
                session, organisation, scopes, None, actor_id=None, now=now
            )
    return world


@dataclass
class Client:
    """Speaks HTTP with the app as one of the world's organisations."""

    app: Flask
    world: World

    def post(self, path: str, body: object = None, *, who: str | None = None, **more: Any) -> Any:
        """Post JSON, as `who`; bytes go as they are."""
        return self.call("POST", path, body, who=who, **more)

    def get(self, path: str, *, who: str | None = None) -> TestResponse:
        return self.call("GET", path, who=who)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        who: str | None = None,
        key: str | None = None,
        idempotency_key: str | None = None,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> TestResponse:
        sent = dict(headers or {})
        if who is not None:
            key = self.world.keys[who]
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        return self.app.test_client().open(
            path,
            method=method,
            data=data,
            headers=sent,
            content_type=content_type if data is not None else None,
            buffered=True,
        )

    def lookup(self, number: str = "13800000000", *, who: str = "sender", **question: Any) -> Any:
        """Look one number up, by default for an SMS about retail."""
        return self.post(
            "/v1/lookups",
            lookup_body(number, **question),
            who=who,
            idempotency_key=uuid4().hex if question.get("contact") else None,
        )

    def batch(self, numbers: list[str], *, who: str = "sender", **question: Any) -> Any:
        """Look many numbers up, by default for an SMS about retail."""
        return self.post("/v1/lookups/batch", lookup_body(numbers, **question), who=who)

    def consent(self, number: str = "13800000000", *, who: str = "sender", **claim: Any) -> Any:
        """Record a consent to SMS about retail."""
        return self.post("/v1/consents", consent_body(number, **claim), who=who)


def lookup_body(to: object = "13800000000", **question: Any) -> dict[str, Any]:
    return {"from": SMS_PORT, "to": to, "channel": "sms", "topic": "retail", **question}


def consent_body(number: object = "13800000000", **claim: Any) -> dict[str, Any]:
    return {
        "number": number,
        "channel": "sms",
        "topics": ["retail"],
        "granted_at": START.isoformat(),
        "valid_until": (START + timedelta(days=90)).isoformat(),
        "cap": {"count": 10, "period": "day"},
        "evidence": {"method": "web_form", "notice_text": "I agree to ten messages a day."},
        **claim,
    }


def request_body(number: object = "13800000000", **terms: Any) -> dict[str, Any]:
    return {
        "number": number,
        "channel": "sms",
        "topics": ["retail"],
        "cap": {"count": 10, "period": "day"},
        "valid_for_days": 90,
        "notice_text": "May we send you up to ten offers a day?",
        **terms,
    }


def complaint_body(number: object = "13800000000", **parts: Any) -> dict[str, Any]:
    return {
        "number": number,
        "channel": "sms",
        "from": SMS_PORT,
        "topic": "retail",
        "contacted_at": START.isoformat(),
        "text": "They never asked me.",
        **parts,
    }


def inbound_body(number: object = "13800000000", text: str = "TD", **parts: Any) -> dict[str, Any]:
    return {
        "from": number,
        "to": SMS_PORT,
        "text": text,
        "received_at": START.isoformat(),
        "message_id": "m1",
        **parts,
    }
