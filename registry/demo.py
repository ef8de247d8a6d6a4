"""The demo world: invented organisations, numbers and wishes to try a registry out with."""

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session
from stdnum.cn import uscc

from registry import access, audit, ledger, lookup, members, senders
from registry.config import Settings
from registry.consent import Basis, Channel, MessageClass, Topic
from registry.errors import Kind, RegistryError
from registry.ledger import By, CapTerms, Claim, EvidenceClaim, Scope
from registry.lookup import Asker, Question
from registry.models import Consent, MemberRole, Method, Organisation, OrganisationKind, State, Via
from registry.numbers import SubscriberNumber, parse_sending, parse_subscriber
from registry.policy import Period
from registry.runtime import Registry

CAMPAIGN = Path(__file__).parents[1] / "examples" / "campaign.csv"
TOPIC = Topic.RETAIL
SMS_NUMBER = "10690001234"
OTHER_SMS_NUMBER = "10690005678"
VOICE_NUMBER = "95013"
SERVICE_NUMBER = "10650009999"
PROVIDER_NUMBER = "106912345"
EXTENSION = PROVIDER_NUMBER + "01"
CLAIMED_NUMBER = "10690004321"
NUMBERS = {
    "consented": "+8613800138001",
    "withdrawn": "+8613800138002",
    "refused": "+8613800138003",
    "absent": "+8613800138004",
}
COMMERCIAL = (MessageClass.COMMERCIAL,)
PEOPLE = {
    "operator": "王芳 Wang Fang",
    "sender": "李明 Li Ming",
    "other_sender": "陈静 Chen Jing",
    "carrier": "赵磊 Zhao Lei",
    "regulator": "孙悦 Sun Yue",
    "provider": "周敏 Zhou Min",
}
"""Who looks after each organisation of the demo in the console."""
PASSWORD = "only for a first look"  # noqa: S105 (a demo's; it opens invented data)


@dataclass(frozen=True)
class _World:
    """The demo's organisations while it is filled."""

    registry: Registry
    session: Session
    now: datetime
    sender: Organisation
    other_sender: Organisation
    carrier: Organisation
    provider: Organisation

    def consent(self, number: SubscriberNumber, basis: Basis) -> list[Consent]:
        """Record a consent to the sender, as its subscriber or as the sender would."""
        return ledger.grant(
            self.session,
            Claim(
                number=number,
                channel=Channel.SMS,
                topics=(TOPIC,),
                granted_at=self.now,
                valid_until=self.now + timedelta(days=365),
                cap=CapTerms(2, Period.WEEK),
                evidence=EvidenceClaim(
                    Method.REGISTRY if basis is Basis.CONFIRMED else Method.WEB_FORM,
                    "我同意星河百货每周最多发送两条促销短信,为期一年,可随时退订。",
                    notice_version="2026-11",
                    language="zh-CN",
                ),
            ),
            sender_id=self.sender.id,
            by=By(Via.PORTAL) if basis is Basis.CONFIRMED else By(Via.SENDER, self.sender.id),
            basis=basis,
            policy=self.registry.policy,
            clock=self.registry.clock,
        )

    def withdraw(self, consent: Consent) -> None:
        """Withdraw a consent at its subscriber's wish."""
        ledger.withdraw(
            self.session,
            consent.id,
            by=By(Via.SENDER, self.sender.id),
            by_subscriber=True,
            note="asked by SMS",
            clock=self.registry.clock,
        )

    def claim(self, number: SubscriberNumber) -> None:
        """Record a consent that the other sender claims to have, for its subscriber to dispute."""
        ledger.grant(
            self.session,
            Claim(
                number=number,
                channel=Channel.VOICE,
                topics=(Topic.INSURANCE, Topic.LOANS),
                granted_at=self.now - timedelta(days=30),
                valid_until=self.now + timedelta(days=335),
                cap=CapTerms(4, Period.MONTH),
                evidence=EvidenceClaim(
                    Method.VOICE_RECORDING,
                    "来电中客户口头同意接听远山保险的产品介绍电话。",
                    language="zh-CN",
                ),
            ),
            sender_id=self.other_sender.id,
            by=By(Via.SENDER, self.other_sender.id),
            basis=Basis.ASSERTED,
            policy=self.registry.policy,
            clock=self.registry.clock,
        )

    def request(self, number: SubscriberNumber) -> None:
        """Ask, as the other sender, for a consent that waits for its answer."""
        ledger.ask(
            self.session,
            sender_id=self.other_sender.id,
            number=number,
            channel=Channel.SMS,
            topics=(Topic.INSURANCE,),
            cap=CapTerms(1, Period.MONTH),
            valid_for_days=180,
            notice_text="远山保险希望每月向您发送一条保险产品短信,为期半年,可随时撤回。",
            policy=self.registry.policy,
            clock=self.registry.clock,
        )

    def look_up(self, number: SubscriberNumber) -> None:
        """Ask about a number: as the sender about the own port, as a carrier for the other one."""
        for asker, port, topic in (
            (self.sender, SMS_NUMBER, TOPIC),
            (self.carrier, OTHER_SMS_NUMBER, Topic.INSURANCE),
        ):
            answer = lookup.answer(
                self.session.connection(),
                Asker(asker.id, asker.kind),
                Question(
                    sending=parse_sending(port),
                    numbers=[number],
                    channel=Channel.SMS,
                    message_class=MessageClass.COMMERCIAL,
                    topic=topic,
                    at=self.now,
                ),
                now=self.now,
                policy=self.registry.policy,
            )
            audit.write(self.session, [answer])

    def refuse(self, number: SubscriberNumber) -> None:
        """Refuse everything, on the carrier's hotline."""
        ledger.refuse(
            self.session,
            number,
            Scope(),
            by=By(Via.HOTLINE, self.carrier.id),
            clock=self.registry.clock,
        )


def fill(registry: Registry) -> None:
    """Fill an empty embedded registry with the demo world and write `demo.json` beside it."""
    if not registry.settings.embedded:
        raise RegistryError(
            Kind.CONFLICT, "a registry with REGISTRY_DATABASE_URL never becomes a demo"
        )
    with registry.database.write() as session:
        if session.scalar(select(Organisation.id).limit(1)) is not None:
            raise RegistryError(Kind.CONFLICT, "this registry has data; a demo needs an empty one")
        session.add(State(name="demo", value="yes"))
        facts = _people(registry, session)
    _write_private(registry.settings.data_dir / "demo.json", facts)
    registry.demo = True


def _people(registry: Registry, session: Session) -> dict[str, object]:
    now = registry.clock()
    by_kind = {
        name: senders.register(
            session,
            kind,
            title,
            _uscc(index),
            "4001234567",
            licence_number=f"B2-2026{index:04d}",
            actor_id=None,
            now=now,
        )
        for index, (name, kind, title) in enumerate(
            (
                ("operator", OrganisationKind.OPERATOR, "示例运营方 Demo operator"),
                ("sender", OrganisationKind.SENDER, "星河百货 Xinghe Stores"),
                ("other_sender", OrganisationKind.SENDER, "远山保险 Yuanshan Insurance"),
                ("carrier", OrganisationKind.CARRIER, "示例电信 Demo Telecom"),
                ("regulator", OrganisationKind.REGULATOR, "示例监管机构 Demo regulator"),
                ("provider", OrganisationKind.PROVIDER, "云桥短信 Yunqiao Messaging"),
            )
        )
    }
    holders = ("sender", "other_sender", "carrier", "provider")
    world = _World(registry, session, now, *(by_kind[name] for name in holders))
    _resources(world)
    _extension(world)
    _wishes(world)
    senders.apply(session, _applicant(), now=now)
    keys = {
        name: access.issue(
            session,
            organisation,
            access.SCOPES[organisation.kind],
            None,
            actor_id=by_kind["operator"].id,
            now=now,
        )[1]
        for name, organisation in by_kind.items()
    }
    emails = {
        name: _settle(session, organisation, name, now)
        for name, organisation in by_kind.items()
        if name in PEOPLE
    }
    return {
        "url": _url(registry.settings),
        "keys": keys,
        "members": {"password": PASSWORD, "emails": emails},
        "sender": {
            "id": str(world.sender.id),
            "sms_number": SMS_NUMBER,
            "voice_number": VOICE_NUMBER,
            "service_number": SERVICE_NUMBER,
        },
        "other_sender": {"id": str(world.other_sender.id), "sms_number": OTHER_SMS_NUMBER},
        "provider": {
            "id": str(world.provider.id),
            "sms_number": PROVIDER_NUMBER,
            "extension": EXTENSION,
        },
        "topic": TOPIC.value,
        "numbers": NUMBERS,
    }


def _applicant() -> senders.Details:
    """Return who waits to be registered, so that the operator has something to decide."""
    return senders.Details(
        kind=OrganisationKind.PROVIDER,
        name="青鸟短信 Qingniao Messaging",
        uscc=_uscc(50),
        licence_number="B2-20260050",
        contact_name="林晓 Lin Xiao",
        contact_phone="4001234567",
        complaint_phone="4001234567",
    )


def _settle(session: Session, organisation: Organisation, name: str, now: datetime) -> str:
    """Give an organisation an admin who is there with both factors; return the e-mail."""
    account = members.read_account(f"{name}@demo.example", PEOPLE[name], PASSWORD)
    row, code = members.invite(
        session,
        organisation.id,
        account.email,
        account.name,
        MemberRole.ADMIN,
        actor_id=None,
        now=now,
    )
    invited = members.begin_join(session, account.email, code, address="demo", now=now)
    if invited is None:
        raise RegistryError(Kind.INTERNAL, "the demo's own code is not good")
    token = members.join(session, invited, account.password_hash, address="demo", now=now)
    here = members.find_session(session.connection(), token, now)
    if here is not None and row.totp_secret is not None:
        first = members.demo_code(row.totp_secret, now)
        members.confirm_second_factor(session, here, first, now)
    row.totp_step = None  # The code of now is to be good for whoever looks at once.
    members.end_all(session, row.id, now)
    return account.email


def _resources(world: _World) -> None:
    for owner, number, channel, usages in (
        (world.sender, SMS_NUMBER, Channel.SMS, COMMERCIAL),
        (world.sender, VOICE_NUMBER, Channel.VOICE, COMMERCIAL),
        (world.sender, SERVICE_NUMBER, Channel.SMS, (MessageClass.SERVICE,)),
        (world.other_sender, OTHER_SMS_NUMBER, Channel.SMS, COMMERCIAL),
        (world.provider, PROVIDER_NUMBER, Channel.SMS, COMMERCIAL),
    ):
        senders.hold(
            world.session,
            owner.id,
            parse_sending(number),
            senders.Holding((channel,), usages),
            actor_id=None,
            now=world.now,
        )


def _extension(world: _World) -> None:
    """Have the other sender send through the provider too, and the sender claim a number."""
    session, now, sender = world.session, world.now, world.other_sender
    holding = senders.Holding((Channel.SMS,), COMMERCIAL)
    senders.authorise(session, sender.id, world.provider.id, actor_id=sender.id, now=now)
    senders.assign_extension(
        session,
        world.provider.id,
        parse_sending(PROVIDER_NUMBER),
        parse_sending(EXTENSION),
        sender.id,
        holding,
        actor_id=world.provider.id,
        now=now,
    )
    senders.claim(
        session,
        world.sender.id,
        parse_sending(CLAIMED_NUMBER),
        holding,
        note="许可证第三页 page 3 of the licence",
        actor_id=world.sender.id,
        now=now,
    )


def _wishes(world: _World) -> None:
    """Give the four named numbers their wishes, and the example campaign's some of each."""
    consented = parse_subscriber(NUMBERS["consented"])
    world.consent(consented, Basis.CONFIRMED)
    world.claim(consented)
    world.request(consented)
    world.look_up(consented)
    _consent_then(world, [NUMBERS["withdrawn"]], withdraw=True)
    _consent_then(world, [NUMBERS["refused"]], withdraw=False)
    people = campaign_people()
    for number in people[: len(people) // 3]:
        world.consent(parse_subscriber(number), Basis.ASSERTED)
    _consent_then(world, people[-80:-40], withdraw=True)
    _consent_then(world, people[-40:], withdraw=False)


def _consent_then(world: _World, numbers: Iterable[str], *, withdraw: bool) -> None:
    for written in numbers:
        number = parse_subscriber(written)
        [consent] = world.consent(number, Basis.ASSERTED)
        if withdraw:
            world.withdraw(consent)
        else:
            world.refuse(number)


def campaign_people() -> list[str]:
    """Return the different mobiles of the example campaign, as E.164, in its order."""
    people: dict[str, None] = {}
    with CAMPAIGN.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            try:
                number = parse_subscriber(row["phone"])
            except RegistryError:
                continue
            if number.takes_sms:
                people[number.e164] = None
    return list(people)


def facts(settings: Settings) -> dict[str, Any]:
    """Return what `demo.json` says, with the address that the registry has now."""
    path = settings.data_dir / "demo.json"
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    current = {**known, "url": _url(settings)}
    if current != known:
        _write_private(path, current)
    return current


def welcome(settings: Settings, now: datetime) -> str:
    """Return what a person sees who started the demo: where it is, and what to try."""
    known = facts(settings)
    keys, numbers = known["keys"], known["numbers"]
    tomorrow = tomorrow_at_ten(now)

    def ask(key: str, number: str) -> str:
        question = {
            "from": SMS_NUMBER,
            "to": numbers[number],
            "channel": "sms",
            "topic": TOPIC.value,
            "at": tomorrow.isoformat(),
        }
        return _curl(known["url"], keys[key], "/v1/lookups", question)

    refusal = {"number": numbers["consented"], "via": "hotline"}
    return f"""
Consent Registry, DEMO: its people, numbers and wishes are invented.
  {known["url"]}        API documentation: {known["url"]}/docs
  Keys and numbers are also in {settings.data_dir / "demo.json"}.

Subscribers: open {known["url"]}/ and sign in with {numbers["consented"].removeprefix("+86")}.
  The SMS with the code, and all others, can be read at {known["url"]}/demo/outbox.

{_console(known)}A marketer asks before it sends, for tomorrow 10:00 in China (consented):
{ask("sender", "consented")}

... and about somebody who withdrew, who refused, who never agreed:
{ask("sender", "withdrawn")}
{ask("sender", "refused")}
{ask("sender", "absent")}

A carrier records that the first one now refuses everything; then ask again as the marketer:
{_curl(known["url"], keys["carrier"], "/v1/refusals", refusal)}

A regulator looks at who is registered, and anybody at who is behind a sending number:
{_curl(known["url"], keys["regulator"], "/v1/organisations")}
curl -s {known["url"]}/v1/numbers/{SMS_NUMBER}

A campaign of a thousand lines, as people keep them:
.venv/bin/consent-registry lookup --file examples/campaign.csv

Stop with Ctrl-C; `make run` starts it again with what it has.
"""


def _console(known: dict[str, Any]) -> str:
    """Return how to see the console; a demo from before there was one has nobody for it."""
    if "members" not in known:
        return ""
    emails, password = known["members"]["emails"], known["members"]["password"]
    return f"""Organisations: open {known["url"]}/console/ and sign in as {emails["sender"]} or
  {emails["operator"]} with the password "{password}".
  The codes that an authenticator app would show are at {known["url"]}/demo/totp.

"""


def tomorrow_at_ten(now: datetime) -> datetime:
    """Return a time at which contacts are allowed in China, so that examples hold at night."""
    tomorrow = now.astimezone(ZoneInfo("Asia/Shanghai")) + timedelta(days=1)
    return tomorrow.replace(hour=10, minute=0, second=0, microsecond=0)


def _curl(url: str, key: str, path: str, body: object = None) -> str:
    data = f" -H 'Content-Type: application/json' -d '{json.dumps(body)}'" if body else ""
    return f"curl -s -H 'Authorization: Bearer {key}' {url}{path}{data}"


def _url(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.port}"


def _uscc(index: int) -> str:
    """Return a valid code of an invented legal entity."""
    body = f"91110000DEM0DEM{index:02d}"
    return body + str(uscc.calc_check_digit(body))


def _write_private(path: Path, content: object) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
