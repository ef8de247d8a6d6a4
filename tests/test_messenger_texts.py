"""What SMS say: in two languages, short, true when they are sent, and safe to read."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from uuid_utils.compat import uuid7

from registry import ledger, messenger
from registry.consent import Channel, Topic
from registry.ledger import CapTerms, Scope
from registry.messenger import outbox, sms
from registry.messenger.texts import MOST_PARTS, House, harmless
from registry.messenger.wording import CHINESE, ENGLISH, LANGUAGES
from registry.models import (
    CodePurpose,
    Complaint,
    ComplaintOutcome,
    FamilyEnd,
    FamilyLink,
    Notice,
    Organisation,
    OrganisationKind,
    OutboxItem,
    OutboxState,
)
from registry.numbers import parse_subscriber
from registry.policy import Period
from registry.runtime import Registry
from tests.factories import START, Clock, World, make_number, make_organisation
from tests.sms_factories import (
    CODE,
    HOUSE,
    Scripted,
    make_lane,
    queue_code,
    queue_notice,
    queue_reply,
    row,
)

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""Words do not depend on the database; what they are read from is tested on both."""
OTHER = make_number(7)
LONG_PORTAL = House("https://consent-registry.operator.example", "106900009")
SENDER = "星河百货有限责任公司上海分公司第一营业部及其全资子公司"


def subject_item(world: World, subject: UUID, language: str = "zh") -> UUID:
    """Return the message about a subject, put into a language."""

    def find(session: Any) -> UUID:
        item: OutboxItem = session.scalars(
            select(OutboxItem)
            .where(OutboxItem.subject_id == subject)
            .order_by(OutboxItem.id.desc())
            .limit(1)
        ).one()
        item.language = language
        return item.id

    return world.do(find)


def queue(world: World, notice: Notice, subject: UUID, **more: Any) -> UUID:
    now = world.registry.clock()
    return world.do(
        lambda s: messenger.queue(s, notice, make_number(), subject, now=now, **more).id
    )


def asserted(world: World, **terms: Any) -> UUID:
    [consent, *_] = world.grant(**terms)
    return subject_item(world, consent.grant_id)


def requested(world: World, **terms: Any) -> UUID:
    return subject_item(world, world.ask(**terms).id)


def lifted(world: World) -> UUID:
    refusal = world.refuse(scope=Scope(Channel.SMS, Topic.LOANS, world.sender.id))
    return subject_item(world, world.lift(refusal).id)


def challenged(world: World, *, evidence: bool) -> UUID:
    [consent] = world.grant()
    dispute = world.own(ledger.challenge, consent.id)
    if evidence:
        world.do(
            lambda session: ledger.bring_evidence(
                session, dispute.id, sender_id=world.sender.id, text="a form", sha256=None,
                uri=None, clock=world.registry.clock,
            )
        )  # fmt: skip
    else:
        world.registry.clock.pass_(days=6)  # type: ignore[attr-defined]
        assert ledger.void_due(world.registry.database, clock=world.registry.clock) == 1
    return subject_item(world, dispute.id)


def family(world: World, *, carer: bool = False, ended: bool = False) -> UUID:
    me, now = make_number(), world.registry.clock()
    link = FamilyLink(
        id=uuid7(),
        carer=me if carer else OTHER,
        member=OTHER if carer else me,
        recorded_at=now,
        agreed_at=now,
        ended_at=now if ended else None,
        ended_by=FamilyEnd.CARER if ended else None,
    )
    world.do(lambda session: session.add(link))
    return queue(world, Notice.FAMILY_ENDED if ended else Notice.FAMILY_AGREED, link.id)


def complaint(world: World, step: str, outcome: ComplaintOutcome | None = None) -> UUID:
    now = world.registry.clock()
    filed = Complaint(
        id=uuid7(),
        number=make_number(),
        channel=Channel.SMS,
        sending_number="10690001234",
        sender_id=world.sender.id,
        topic=Topic.LOANS,
        contacted_at=now - timedelta(days=40),
        text="They never asked me.",
        event_id=1,
        recorded_at=now,
        forwarded_at=now,
        answered_at=None if step == "forwarded" else now,
        closed_at=now if outcome else None,
        outcome=outcome,
    )
    world.do(lambda session: session.add(filed))
    return queue(world, Notice.COMPLAINT_MOVED, filed.id, details={"step": step})


def replying(key: str, **details: Any) -> Callable[[World], UUID]:
    return lambda world: queue_reply(world, key=key, **details)


def digest(world: World, senders: int, **terms: Any) -> UUID:
    """Put what some senders assert, or one does three times, into one message; return its id."""
    many = max(senders, 3)
    names = [SENDER if senders > 1 else ""] * many
    topics = list(Topic)[:many]
    digest_id, now = uuid7(), world.registry.clock()

    def merge(session: Any) -> None:
        for part in session.scalars(select(OutboxItem)):
            outbox.merge(part, digest_id)
        notice = Notice.CONSENTS_ASSERTED
        messenger.queue(session, notice, make_number(), digest_id, now=now, item_id=digest_id)

    for index, (name, topic) in enumerate(zip(names, topics, strict=True)):
        sender = another_sender(world, index, name) if name else world.sender
        world.grant(sender=sender, topics=(topic,), **terms)
    world.do(merge)
    return digest_id


def another_sender(world: World, index: int, name: str) -> Organisation:
    def register(session: Any) -> Organisation:
        made = make_organisation(session, OrganisationKind.SENDER, 100 + index)
        made.name = f"{index}{name}"
        return made

    return world.do(register)


MANY = [{"word": "N", "code": code, "sender": SENDER, "more": code - 1} for code in range(1, 9)]
TERMS: dict[str, Any] = {
    "topics": tuple(Topic), "cap": CapTerms(2, Period.WEEK), "channel": Channel.VOICE,
}  # fmt: skip
QUOTE = "我们只发送会员专享的优惠信息，绝不打扰。" * 10

Make = Callable[[World], UUID]
MESSAGES: dict[str, Make] = {
    "code.sign_in": queue_code,
    "code.family": lambda w: queue_code(w, purpose=CodePurpose.FAMILY, carer=str(OTHER)),
    "consent_asserted": asserted,
    "consent_asserted of all": lambda world: asserted(world, **TERMS),
    "consents_asserted.one": lambda world: digest(world, 1),
    "consents_asserted.many": lambda world: digest(world, 3),
    "consents_asserted.many at length": lambda world: digest(world, 12),
    "consent_requested": lambda world: requested(world, notice_text="May we?"),
    "consent_requested at length": lambda w: requested(w, notice_text=QUOTE, **TERMS),
    "refusal_lifted": lifted,
    "challenge_answered": lambda world: challenged(world, evidence=True),
    "consent_voided": lambda world: challenged(world, evidence=False),
    "family_agreed.member": family,
    "family_ended.member": lambda world: family(world, ended=True),
    "family_ended.carer": lambda world: family(world, carer=True, ended=True),
    "complaint_moved.forwarded": lambda world: complaint(world, "forwarded"),
    "complaint_moved.answered": lambda world: complaint(world, "answered"),
    "complaint_moved.upheld": lambda world: complaint(world, "closed", ComplaintOutcome.UPHELD),
    "complaint_moved.unfounded": lambda w: complaint(w, "closed", ComplaintOutcome.UNFOUNDED),
    **{
        f"reply.{key}": replying(key)
        for key in (
            "refusal_asked", "lift_asked", "refusal_on", "refusal_already_on", "no_refusal",
            "unchanged", "nothing_open", "too_late", "help",
        )
    },
    **{
        f"reply.{key}": replying(key, sender=SENDER)
        for key in ("unsubscribed", "unsubscribed_all", "withdrawn", "agreed", "declined")
    },
    "reply.withdrawn_many": replying("withdrawn_many", many=3),
    "reply.which_one": replying("which_one", list=MANY),
}  # fmt: skip


def sent_text(world: World, item: UUID, house: House = HOUSE) -> str | None:
    """Deliver what waits and return what one message said; None when it was dropped."""
    lane = make_lane(world.registry, backend := Scripted(), house=house)
    while lane.step() is not None:
        pass
    return next((sent.text for sent in backend.sent if sent.id == item), None)


FAMILY = {Notice.FAMILY_AGREED, Notice.FAMILY_ENDED}


def in_language(world: World, item: UUID, language: str) -> None:
    world.do(lambda session: setattr(session.get_one(OutboxItem, item), "language", language))


def rename_sender(world: World, name: str) -> None:
    world.do(lambda session: setattr(session.merge(world.sender), "name", name))


@on_sqlite
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("make", MESSAGES.values(), ids=MESSAGES.keys())
def test_every_message_is_signed_short_and_says_what_to_do(
    world: World, make: Make, language: str
) -> None:
    rename_sender(world, SENDER)
    item = make(world)
    in_language(world, item, language)
    text = sent_text(world, item, LONG_PORTAL)
    assert text is not None
    assert text.startswith(LANGUAGES[language].signature)
    assert len(sms.encode(text).parts) <= MOST_PARTS
    assert "{" not in text
    assert "None" not in text
    with world.registry.database.snapshot() as session:
        notice = session.get_one(OutboxItem, item).notice
    # Only the two sides of a family link are told each other's number.
    assert notice in FAMILY or "138000000" not in text
    says_what_to_do = {
        "zh": rf"https://|回复|无需|发送|{CODE}",
        "en": rf"https://|Reply|[Nn]othing|Send|{CODE}",
    }
    assert re.search(says_what_to_do[language], text)
    if language == "en":
        assert set(re.findall(r"[一-鿿]", text)) <= set(SENDER)


def test_every_text_is_used_and_both_languages_have_the_same() -> None:
    assert CHINESE.texts.keys() == ENGLISH.texts.keys()
    made = {name.split(" ")[0] for name in MESSAGES}
    clauses = {".no_effect", ".answer", ".portal"}
    assert {name for name in CHINESE.texts if not name.endswith(tuple(clauses))} == {*made, "test"}
    assert {notice.value for notice in Notice} == {name.split(".")[0] for name in made}
    for name in CHINESE.texts:
        chinese, english = (
            set(re.findall(r"{(\w+)}", each.texts[name])) for each in (CHINESE, ENGLISH)
        )
        assert chinese == english, name


WORDS: list[tuple[str, Make, list[str]]] = [
    ("zh", queue_code, ["【同意登记】验证码704518", "5分钟", "登录 https://portal.example"]),
    ("en", queue_code, ["[Consent Registry] 704518", "5 minutes", "Never pass it on"]),
    ("zh", MESSAGES["code.family"], ["138****0007想照看本号码", "验证码704518", "切勿告诉其他人"]),
    ("en", MESSAGES["code.family"], ["138****0007 wants to look after this number", "704518"]),
    (
        "zh",
        lambda world: asserted(world, cap=CapTerms(3, Period.MONTH)),
        ["sender 1称您已同意", "营销短信：零售", "每月最多3次", "至2027年3月1日", "回复TD1即拒收"],
    ),
    (
        "en",
        asserted,
        ["sender 1 says", "SMS about retail", "at most 10 a day", "1 Mar 2027", "Reply TD1"],
    ),
    (
        "zh",
        lambda world: requested(world, valid_for_days=90, topics=(Topic.LOANS, Topic.GAMES)),
        ["贷款、游戏", "每天最多10次", "为期90天", "同意回复Y1，拒绝回复N1",
         "或打开 https://portal.example/r/", " 选择；截至2026年12月8日10:00不答复即为拒绝"],
    ),
    (
        "en",
        requested,
        ["asks consent to SMS: retail", "at most 10 a day", "30 days",
         "Reply Y1 or N1 by 8 Dec 10:00", 'They say: "May we send you', "else no. https://portal.example/r/"],
    ),
    ("zh", lambda world: asserted(world, **TERMS), ["贷款、保险、证券等12类", "营销电话"]),
    ("en", lambda world: asserted(world, **TERMS), ["loans, insurance, securities and 9 more"]),
    (
        "zh",
        lambda world: digest(world, 1),
        ["sender 1称您已3次同意接收其营销短信或电话：贷款、保险、证券", "回复TD1即全部拒收",
         "https://portal.example/my/consents 逐项查看"],
    ),
    (
        "zh",
        lambda world: digest(world, 3),
        [f"0{SENDER[:18]}…、1{SENDER[:18]}…、2{SENDER[:18]}…（共3家企业）称您已同意"],
    ),
    (
        "en",
        lambda world: digest(world, 12),
        ["and 9 more (12 companies) say you agreed", "Reply TD1 to stop all"],
    ),
    ("zh", replying("withdrawn_many", many=3), ["您撤回了对3家企业的同意，立即生效"]),
    ("zh", replying("which_one", list=MANY), ["N1 ", "N2 ", "等2家"]),
    ("zh", lifted, ["您对sender 1的营销短信（贷款）的拒收已解除", "重新拒收"]),
    ("en", lifted, ["Your refusal of SMS (loans) from sender 1 was lifted"]),
    ("zh", MESSAGES["consent_voided"], ["sender 1未能证明", "作废", "拒收"]),
    ("en", MESSAGES["complaint_moved.upheld"], ["about 22 Oct 2026 is closed: it was upheld"]),
    (
        "zh",
        replying("which_one", list=[{"word": "Y", "code": 12, "sender": "星河"}]),
        ["Y12 星河"],
    ),
    (
        "zh",
        replying("unsubscribed", sender="星河百货"),
        ["您拒收星河百货的营销短信，立即生效", "连电话一并拒收", "STOPALL"],
    ),
    (
        "zh",
        replying("unsubscribed_all", sender="星河百货"),
        ["您拒收星河百货的营销短信和电话，立即生效", "请发送KTFSR至106900009"],
    ),
    ("en", replying("unsubscribed", sender="evil.example"), ["refuse SMS from the sender at once"]),
    ("en", replying("help"), ["Send KTFSR to 106900009 to refuse all"]),
    ("zh", replying("refusal_asked"), ["回复Y确认"]),
]  # fmt: skip


@on_sqlite
@pytest.mark.parametrize(("language", "make", "words"), WORDS)
def test_message_says(world: World, language: str, make: Make, words: list[str]) -> None:
    item = make(world)
    in_language(world, item, language)
    text = sent_text(world, item)
    assert text is not None
    for said in words:
        assert said in text, text


def test_unknown_language_is_chinese(world: World) -> None:
    item = queue_code(world, language="tlh")
    assert (sent_text(world, item) or "").startswith("【同意登记】")


def test_dates_are_those_of_the_subscribers_zone(world: World, clock: Clock) -> None:
    clock.now = START.replace(hour=17)  # It is 01:00 of the next day in China.
    item = requested(world)
    world.do(lambda s: setattr(s.get_one(OutboxItem, item), "try_at", clock.now))
    assert "截至2026年12月9日01:00" in (sent_text(world, item) or "")


# What is not called for any more


def answered(world: World) -> UUID:
    request = world.ask()
    world.own(ledger.decline, request.id)
    return subject_item(world, request.id)


def refused_since(world: World) -> UUID:
    item = requested(world)
    world.own(ledger.refuse, Scope())
    return item


def refused_topic_since(world: World) -> UUID:
    item = requested(world, topics=(Topic.LOANS, Topic.GAMES))
    world.own(ledger.refuse, Scope(Channel.SMS, Topic.GAMES, world.sender.id))
    return item


def withdrawn(world: World) -> UUID:
    [consent] = world.grant()
    world.withdraw(consent)
    return subject_item(world, consent.grant_id)


def disputed(world: World) -> UUID:
    [consent] = world.grant()
    world.own(ledger.challenge, consent.id)
    return subject_item(world, consent.grant_id)


def refused_again(world: World) -> UUID:
    lift = world.lift(world.refuse())
    world.refuse()
    return subject_item(world, lift.id)


def reassigned(world: World) -> UUID:
    item = queue_reply(world)
    world.registry.clock.pass_(seconds=1)  # type: ignore[attr-defined]
    world.reassign()
    return item


def late_request(world: World) -> UUID:
    item = requested(world)
    world.registry.clock.pass_(days=7)  # type: ignore[attr-defined]
    return item


def superseded_step(world: World) -> UUID:
    item = complaint(world, "answered")

    def close(session: Any) -> None:
        filed = session.scalars(select(Complaint)).one()
        filed.closed_at, filed.outcome = world.registry.clock(), ComplaintOutcome.UPHELD

    world.do(close)
    return item


def landline(world: World) -> UUID:
    [consent] = world.grant(parse_subscriber("010 1234 5678"), channel=Channel.VOICE)
    return subject_item(world, consent.grant_id)


NOT_CALLED_FOR: dict[str, Make] = {
    "the request was answered": answered,
    "the time to answer is over": late_request,
    "the consent was withdrawn": withdrawn,
    "the consent is disputed": disputed,
    "it was refused again": refused_again,
    "such requests were refused since": refused_since,
    "the request's topic was refused since": refused_topic_since,
    "the number went to somebody else": reassigned,
    "a later step was taken": superseded_step,
    "a landline takes no SMS": landline,
    "the subject is gone": lambda world: queue(world, Notice.FAMILY_AGREED, uuid7()),
}


@pytest.mark.parametrize("make", NOT_CALLED_FOR.values(), ids=NOT_CALLED_FOR.keys())
def test_message_is_not_sent_when(world: World, registry: Registry, make: Make) -> None:
    item = make(world)
    assert sent_text(world, item) is None
    found = row(registry, item)
    assert (found.state, found.text, found.details) == (OutboxState.EXPIRED, None, None)


@pytest.mark.parametrize("lifted", [False, True])
def test_refusal_of_something_else_or_that_was_lifted_stops_no_request(
    world: World, lifted: bool
) -> None:
    item = requested(world, topics=(Topic.LOANS,))
    if lifted:
        world.lift(world.refuse())
    other = world.other_sender.id
    for scope in (Scope(Channel.VOICE), Scope(topic=Topic.GAMES), Scope(sender_id=other)):
        world.own(ledger.refuse, scope)
    assert sent_text(world, item) is not None


def test_cancelled_reassignment_stops_nothing(world: World, clock: Clock) -> None:
    item = queue_notice(world)
    clock.pass_(seconds=1)
    world.cancel(world.reassign())
    assert sent_text(world, item) is not None


def test_message_of_what_is_left_of_an_assertion(world: World) -> None:
    loans, games = world.grant(topics=(Topic.LOANS, Topic.GAMES))
    item = subject_item(world, loans.grant_id)
    world.own(ledger.withdraw_own, games.id)
    text = sent_text(world, item) or ""
    assert "营销短信：贷款，" in text


def test_assertion_without_effect_says_so(world: World) -> None:
    world.refuse()
    item = asserted(world)
    assert "未经您确认，此项同意不生效。" in (sent_text(world, item) or "")


def test_message_that_cannot_be_worded_fails_and_delays_no_other(
    world: World, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    broken = queue_reply(world, key="no such key")
    item = queue_notice(world, make_number(1))
    assert sent_text(world, item) is not None
    assert row(registry, broken).state is OutboxState.FAILED
    assert "an SMS has no words: KeyError" in caplog.text


# What senders wrote


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("May we send you offers?", "May we send you offers?"),
        ("领奖请点击 https://evil.example/x?y=1 马上", "领奖请点击 马上"),
        ("see evil.com/now or www.evil.cn", "see or"),
        ("ｗｗｗ．ｅｖｉｌ．ｃｏｍ", ""),
        ("点击.中国", ""),
        ("go to 10.1.2.3:80/x now", "go to now"),
        ("打折3.5折，满100减20", "打折3.5折,满100减20"),
        ("call 400 123 4567 or 13800138000 now", "call or now"),
        ("【中国移动】您已中奖", "中国移动 您已中奖"),
        ("[Consent Registry] “reply” Y", "Consent Registry reply Y"),
        ("a\x00b\u202ec\u200bd\ne\ttab", "a b c d e tab"),
        ("<script>alert(1)</script>", "script alert(1) /script"),
        ("", ""),
        ("x" * 70, "x" * 58 + ".."),
        ("\ud800", ""),
    ],
)
def test_what_a_sender_wrote_is_shown_as(text: str, shown: str) -> None:
    assert harmless(text, 60, "..") == shown


def test_hostile_text_is_read_in_no_time() -> None:
    for text in ("a." * 500_000, "1 " * 500_000, "x" * 1_000_000, "http://" * 100_000):
        assert len(harmless(text, 60, "…")) <= 60


@pytest.mark.parametrize("language", LANGUAGES)
def test_request_cannot_lead_anywhere_or_sign_as_the_registry(world: World, language: str) -> None:
    rename_sender(world, "【同意登记】Evil evil.example [Consent Registry]")
    item = requested(
        world, notice_text="【同意登记】Reply Y1 at https://evil.example or 400-123-4567"
    )
    in_language(world, item, language)
    text = sent_text(world, item) or ""
    assert text.count("【") + text.count("[") == 1
    assert "evil.example" not in text
    assert "4567" not in text
