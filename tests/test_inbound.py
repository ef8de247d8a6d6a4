"""SMS from subscribers: what one word does, once, and what nothing else ever does."""

import json
import re
import string
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from registry import inbound, ledger, maintenance, senders
from registry.consent import Basis, Channel, MessageClass, Reason, Topic
from registry.errors import Kind, RegistryError
from registry.inbound import Inbound, Keyword, parse_keyword, receiving
from registry.inbound.keywords import WORDS
from registry.messenger.backends import Unavailable
from registry.messenger.delivery import Lane
from registry.messenger.wording import CHINESE
from registry.models import (
    Consent,
    ConsentRequest,
    Event,
    Evidence,
    InboundAction,
    InboundMessage,
    Notice,
    OrganisationKind,
    OutboxItem,
    Refusal,
    RequestOutcome,
)
from registry.numbers import SubscriberNumber, parse_sending, parse_subscriber
from registry.policy import Assertions
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    START,
    VOICE_LINE,
    Clock,
    World,
    count_rows,
    dump,
    make_number,
    make_organisation,
)
from tests.sms_factories import HOUSE, Scripted, make_lane

NUMBER = make_number()
REGISTRY = HOUSE.number or ""
OTHER = make_number(1)


@dataclass
class Phone:
    """A subscriber's phone: it sends SMS through the carrier and shows what the registry sent."""

    world: World
    number: SubscriberNumber = NUMBER
    backend: Scripted = field(default_factory=Scripted)
    ids: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        self.lane: Lane = make_lane(self.world.registry, self.backend)

    def send(
        self,
        text: str,
        to: str = REGISTRY,
        *,
        number: SubscriberNumber | None = None,
        received_at: datetime | None = None,
        message_id: str | None = None,
        carrier: str = "carrier",
    ) -> InboundMessage:
        """Send an SMS, by default to the registry, which the carrier delivers at once."""
        registry = self.world.registry
        message = Inbound(
            number=number or self.number,
            to=to,
            text=text,
            received_at=received_at or registry.clock(),
            message_id=message_id or f"m{next(self.ids)}",
        )
        return self.world.do(
            lambda session: inbound.receive(
                session,
                message,
                carrier_id=getattr(self.world, carrier).id,
                policy=registry.policy,
                clock=registry.clock,
                registry_number=REGISTRY,
            )
        )

    def act(self, text: str, to: str = REGISTRY, **how: Any) -> InboundAction:
        """Send an SMS and return what it led to."""
        return self.send(text, to, **how).action

    def inbox(self) -> list[str]:
        """Let the registry send what waits, and return what it said since the last time."""
        before = len(self.backend.sent)
        while self.lane.step() is not None:
            pass
        return [sent.text for sent in self.backend.sent[before:] if sent.number == self.number]

    def put(self, request: ConsentRequest) -> int:
        """Let a request's SMS go out and return the code that answers it."""
        self.inbox()
        return self.code(request.id)

    def code(self, subject_id: object) -> int:
        with self.world.registry.database.read() as connection:
            code = connection.scalar(
                select(OutboxItem.reply_code)
                .where(OutboxItem.subject_id == subject_id, OutboxItem.reply_code.is_not(None))
                .limit(1)
            )
        assert code is not None
        return code

    def refusals(self) -> list[tuple[str, str, str | None]]:
        """Return what stands refused: channel, topic, sender."""
        names = {self.world.sender.id: "sender", self.world.other_sender.id: "other_sender"}
        with self.world.registry.database.read() as connection:
            rows = connection.execute(
                select(Refusal.channel, Refusal.topic, Refusal.sender_id).where(
                    Refusal.number == self.number,
                    Refusal.ended_at.is_(None),
                    Refusal.reassignment_id.is_(None),
                )
            ).all()
        return sorted((row[0], row[1], names[row[2]] if row[2] else None) for row in rows)

    def reason(self, **question: Any) -> Reason:
        return self.world.verdict(self.number, **question).reason

    def outcome(self, request: ConsentRequest) -> RequestOutcome | None:
        return self.world.do(lambda it: it.get_one(ConsentRequest, request.id)).outcome


@pytest.fixture
def phone(world: World) -> Phone:
    return Phone(world)


def confirmed(world: World, **terms: Any) -> Consent:
    [consent] = world.grant(basis=Basis.CONFIRMED, **terms)
    return consent


def events(world: World) -> list[dict[str, Any]]:
    with world.registry.database.read() as connection:
        payloads = connection.scalars(select(Event.payload).order_by(Event.id)).all()
    return [json.loads(payload) for payload in payloads]


# Words


@pytest.mark.parametrize(
    ("keyword", "spellings"),
    [
        (Keyword.REFUSE_ALL, ["KTFSR", "ktfsr", " Ktfsr。", "ＫＴＦＳＲ", "开通防骚扰", "“KTFSR”"]),
        (Keyword.LIFT_ALL, ["QXFSR", "qxfsr!", "取消防骚扰", "取消防騷擾"]),
        (
            Keyword.UNSUBSCRIBE,
            ["TD", "td", "T", "t.", "R", "退订", "退訂", "【退订】", "拒收！", "STOP", "Stop.",
             "ＴＤ", "quit", "END", "Cancel", "UNSUBSCRIBE", "revoke", "T\u200bD",
             "\ufeffTD\r\n", "TD?"],
        ),
        (Keyword.UNSUBSCRIBE_ALL, ["STOPALL", "StopAll!", "ｓｔｏｐａｌｌ"]),
        (Keyword.DECLINE, ["N", "n。", "Ｎ", "不同意"]),
        (Keyword.AGREE, ["Y", "y", "Ｙ", "YES", "Yes!", "同意", " 同意。", "「Y」", "y~"]),
        (Keyword.HELP, ["HELP", "help!", "?", "？", "??", "帮助", "幫助"]),
    ],
)  # fmt: skip
def test_keyword_is_read_in_every_spelling(keyword: Keyword, spellings: list[str]) -> None:
    assert {spelling: parse_keyword(spelling).keyword for spelling in spellings} == dict.fromkeys(
        spellings, keyword
    )


@pytest.mark.parametrize(
    ("text", "keyword", "code"),
    [
        ("Y12", Keyword.AGREE, 12),
        ("y 12", Keyword.AGREE, 12),
        ("Ｙ１２", Keyword.AGREE, 12),
        ("Y，12", Keyword.AGREE, 12),
        ("Y-7。", Keyword.AGREE, 7),
        ("Y١٢", Keyword.AGREE, 12),
        ("同意 3", Keyword.AGREE, 3),
        ("YES #3", Keyword.AGREE, 3),
        ("N12", Keyword.DECLINE, 12),
        ("TD12", Keyword.UNSUBSCRIBE, 12),
        ("退订 4", Keyword.UNSUBSCRIBE, 4),
        ("STOP 5", Keyword.UNSUBSCRIBE, 5),
    ],
)
def test_answer_names_its_question_by_digits(text: str, keyword: Keyword, code: int) -> None:
    assert parse_keyword(text)[:2] == (keyword, code)


NO_KEYWORDS = [
    "", " ", "no", "NO", "No problem", "stop it", "please stop", "STOP ALL", "T D", "不退订",
    "请退订", "退订谢谢", "我同意", "同意吗", "同意?", "Y?", "Y/N", "Y N", "YN", "yy", "Y!N", "ok",
    "Y1 2", "Y 1 2", "1Y", "12", "Y①", "Y²", "Ⓨ", "Y👍", "👍", "KTFSR1", "KTFSR Y", "HELP 1",
    "Y123456", "Y-1.5", "Y+1", "=Y", "Y_1", "Y" * 99, "Y" + " " * 100, "СТОП", "Т", "Υ", "T\x00D",
    "+8613800138000", "<b>Y</b>", "Y; DROP TABLE refusals", "N\nY", "{y}x",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_KEYWORDS)
def test_anything_but_one_word_is_no_keyword(text: str) -> None:
    assert parse_keyword(text).keyword is Keyword.OTHER


@pytest.mark.parametrize(
    ("text", "language"),
    [("STOP", "en"), ("yes", "en"), ("HELP", "en"), ("退订", "zh"), ("KTFSR", "zh"), ("TD", None),
     ("Y", None), ("N", None), ("?", None), ("hello", None)],
)  # fmt: skip
def test_words_tell_the_language_but_letters_do_not(text: str, language: str | None) -> None:
    assert parse_keyword(text).language == language


def test_hostile_megabyte_is_no_keyword() -> None:
    for text in ("Y" * 1_000_000, " " * 1_000_000 + "Y", "\u200b" * 1_000_000):
        assert parse_keyword(text).keyword is Keyword.OTHER


def letters(text: str) -> str:
    """Return what is left of a text when all is gone that may surround a keyword."""
    plain = unicodedata.normalize("NFKC", text)
    kept = [it for it in plain if unicodedata.category(it)[0] not in "ZCP" and it != "~"]
    return "".join(kept).upper()


TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="YyNnTtDdRr12?.! 同意退订拒收不KTFSRQXstopal\u200b", max_size=8),
    st.builds(
        "{}{}{}".format, st.text(max_size=2), st.sampled_from(sorted(WORDS)), st.text(max_size=2)
    ),
)


@given(TEXTS)
def test_text_is_a_keyword_only_when_its_letters_are_one(text: str) -> None:
    said = parse_keyword(text)
    if said.keyword is Keyword.OTHER or set(letters(text)) == set():
        return
    rest = letters(text)
    assert any(rest == word or (rest[len(word) :].isdecimal() and rest.startswith(word))
               for word in WORDS)  # fmt: skip


@given(
    st.sampled_from(sorted(WORDS)), st.text(alphabet=" \t\n。.!！、，“”()\u200b\ufeff~", max_size=5)
)
def test_keyword_survives_whatever_surrounds_it(word: str, around: str) -> None:
    for spelling in (word, word.lower(), f"{around}{word}{around[::-1]}"):
        assert parse_keyword(spelling) == WORDS[word]


def test_page_about_sms_lists_every_word_action_and_reply() -> None:
    page = (Path(__file__).parents[1] / "docs" / "sms.md").read_text("utf-8")
    table = page.split("| word | spellings |")[1].split("\n\n")[0]
    listed = set(re.findall(r"`([^`]+)`", table))
    assert listed == {*WORDS, "?"}
    actions = re.findall(r"`([a-z_]+)`", page.split("## Actions")[1])
    assert actions == [*InboundAction]
    replies = {it.removeprefix("reply.") for it in CHINESE.texts if it.startswith("reply.")}
    assert replies <= set(re.findall(r"`([a-z_]+)`", page))


# To a sender's number


@pytest.mark.parametrize("word", ["TD", "N", "退订", "STOP"])
@pytest.mark.parametrize("port", [SMS_PORT, f"{SMS_PORT}88", f"+86{SMS_PORT}", "1069 0001 234"])
def test_unsubscribing_ends_all_sms_consents_of_the_sender(
    phone: Phone, word: str, port: str
) -> None:
    world = phone.world
    confirmed(world, topics=(Topic.RETAIL,))
    world.grant(topics=(Topic.LOANS, Topic.TRAVEL))
    voice = {"channel": Channel.VOICE, "sending": VOICE_LINE}
    confirmed(world, channel=Channel.VOICE)
    confirmed(world, sender=world.other_sender)
    phone.inbox()
    assert phone.act(word, port) is InboundAction.UNSUBSCRIBED
    for topic in (Topic.RETAIL, Topic.LOANS, Topic.TRAVEL):
        assert phone.reason(topic=topic) is Reason.CONSENT_WITHDRAWN
    assert phone.reason(**voice) is Reason.CONSENTED
    assert phone.reason(sending=OTHER_PORT) is Reason.CONSENTED
    assert phone.refusals() == [("sms", "any", "sender")]
    [reply] = phone.inbox()
    assert world.sender.name in reply


def test_stopall_ends_the_consents_of_the_sender_on_every_channel(phone: Phone) -> None:
    world = phone.world
    confirmed(world)
    confirmed(world, channel=Channel.VOICE)
    confirmed(world, sender=world.other_sender)
    assert phone.act("STOPALL", SMS_PORT) is InboundAction.UNSUBSCRIBED
    assert phone.reason() is Reason.CONSENT_WITHDRAWN
    voice = phone.reason(channel=Channel.VOICE, sending=VOICE_LINE)
    assert voice is Reason.CONSENT_WITHDRAWN
    assert phone.reason(sending=OTHER_PORT) is Reason.CONSENTED
    assert phone.refusals() == [("sms", "any", "sender"), ("voice", "any", "sender")]


def test_unsubscribing_refuses_a_sender_that_has_no_consent(phone: Phone) -> None:
    assert phone.act("TD", SMS_PORT) is InboundAction.UNSUBSCRIBED
    phone.world.grant(topics=(Topic.GAMES,))
    assert phone.reason(topic=Topic.GAMES) is Reason.NO_CONSENT
    assert phone.reason() is Reason.NO_CONSENT


def test_unsubscribing_says_who_reported_it_and_how(phone: Phone) -> None:
    confirmed(phone.world)
    phone.send("TD", SMS_PORT)
    acts = [it for it in events(phone.world) if it["kind"].startswith(("refusal", "consent_w"))]
    assert len(acts) == 2
    assert {it["actor"] for it in acts} == {str(phone.world.carrier.id)}
    assert {it["via"] for it in acts} == {"sms"}


def test_unsubscribing_goes_to_whoever_held_the_number_when_it_was_sent(
    phone: Phone, clock: Clock
) -> None:
    world, port = phone.world, parse_sending(SMS_PORT)
    sent_at = clock.now
    clock.pass_(days=1)
    holding = senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,))
    world.do(lambda it: senders.release(it, world.sender.id, port, actor_id=None, now=clock.now))
    world.do(
        lambda it: senders.hold(
            it, world.other_sender.id, port, holding, actor_id=None, now=clock.now
        )
    )
    assert phone.send("TD", SMS_PORT, received_at=sent_at).subject_id == world.sender.id
    assert phone.send("TD", SMS_PORT).subject_id == world.other_sender.id


def test_sms_to_a_number_of_no_sender_is_ignored(phone: Phone) -> None:
    world = phone.world
    provider = world.do(lambda it: make_organisation(it, OrganisationKind.PROVIDER, 20))
    holding = senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,))
    world.do(
        lambda it: senders.hold(
            it, provider.id, parse_sending("10691111"), holding, actor_id=None, now=START
        )
    )
    before = count_rows(world.registry)
    for to in ("10699999", "10691111", "10086", "13900001111"):
        for text in ("TD", "Y", "KTFSR", "hello"):
            message = phone.send(text, to)
            assert (message.action, message.text) == (InboundAction.IGNORED, None)
    assert {**count_rows(world.registry), "inbound_messages": 0} == before


@pytest.mark.parametrize("to", ["", "Bank", "1069x", "1" * 65])
def test_sms_to_what_is_no_number_is_invalid(phone: Phone, to: str) -> None:
    with pytest.raises(RegistryError) as error:
        phone.send("TD", to)
    assert (error.value.kind, set(error.value.fields or ())) == (Kind.INVALID, {"to"})


def test_agreeing_answers_the_one_request_of_the_sender(phone: Phone) -> None:
    world = phone.world
    request = world.ask()
    other = world.ask(sender=world.other_sender)
    phone.inbox()
    message = phone.send("Y", SMS_PORT)
    assert (message.action, message.subject_id) == (InboundAction.AGREED, request.id)
    assert phone.reason() is Reason.CONSENTED
    assert phone.outcome(other) is None
    [reply] = phone.inbox()
    assert world.sender.name in reply
    assert f"TD{phone.code(request.id)}" in reply
    agreed = [it for it in events(world) if it["kind"] == "consent_granted"]
    assert [(it["actor"], it["via"]) for it in agreed] == [(str(world.carrier.id), "sms")]


def test_agreeing_is_ambiguous_when_the_sender_asked_twice(phone: Phone) -> None:
    world = phone.world
    sms = world.ask()
    voice = world.ask(channel=Channel.VOICE, notice_text="May we call you?")
    phone.inbox()
    assert phone.act("Y", SMS_PORT) is InboundAction.AMBIGUOUS
    assert (phone.outcome(sms), phone.outcome(voice)) == (None, None)
    codes = [phone.code(request.id) for request in (sms, voice)]
    [reply] = phone.inbox()
    assert all(f"Y{code} " in reply for code in codes)
    assert phone.act(f"Y{codes[1]}", SMS_PORT) is InboundAction.AGREED
    assert (phone.outcome(sms), phone.outcome(voice)) == (None, RequestOutcome.AGREED)


def test_talk_with_a_sender_leads_to_nothing(phone: Phone) -> None:
    world = phone.world
    confirmed(world)
    request = world.ask(sender=world.other_sender)
    code = phone.put(request)
    before = count_rows(world.registry)
    for text in ("Y", f"Y{code}", "Y77", "hello", "How much is it?", "KTFSR", "QXFSR", "HELP", "?"):
        message = phone.send(text, SMS_PORT)
        assert (message.action, message.text) == (InboundAction.IGNORED, None)
    assert {**count_rows(world.registry), "inbound_messages": 0} == before
    assert phone.inbox() == []


# Refusing everything


def test_refusing_everything_takes_a_confirming_second_sms(phone: Phone) -> None:
    confirmed(phone.world)
    assert phone.act("KTFSR") is InboundAction.REFUSAL_ASKED
    assert phone.reason() is Reason.CONSENTED
    [question] = phone.inbox()
    assert "回复Y确认" in question
    assert phone.act("Y") is InboundAction.REFUSED
    assert phone.reason() is Reason.REFUSED
    assert phone.refusals() == [("any", "any", None)]
    [reply] = phone.inbox()
    assert "立即生效" in reply
    refused = events(phone.world)[-1]
    assert (refused["kind"], refused["via"]) == ("refusal_recorded", "sms")
    assert refused["actor"] == str(phone.world.carrier.id)


def test_one_yes_confirms_once(phone: Phone) -> None:
    phone.send("KTFSR")
    assert phone.act("Y") is InboundAction.REFUSED
    before = len(events(phone.world))
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert len(events(phone.world)) == before


def test_yes_of_another_number_changes_nothing(phone: Phone) -> None:
    request = phone.world.ask()
    code = phone.put(request)
    phone.send("KTFSR")
    before = len(events(phone.world))
    for text in ("Y", f"Y{code}", f"N{code}", f"TD{code}"):
        assert phone.act(text, number=OTHER) is InboundAction.NOTHING_OPEN
    assert phone.act("Y", SMS_PORT, number=OTHER) is InboundAction.IGNORED
    assert len(events(phone.world)) == before
    assert phone.act("Y") is InboundAction.REFUSED


@pytest.mark.parametrize(
    ("minutes", "action"),
    [(29.9, InboundAction.REFUSED), (30, InboundAction.REFUSAL_ASKED),
     (23 * 60, InboundAction.REFUSAL_ASKED), (24 * 60, InboundAction.NOTHING_OPEN)],
)  # fmt: skip
def test_yes_confirms_within_half_an_hour_and_is_asked_about_later(
    phone: Phone, clock: Clock, minutes: float, action: InboundAction
) -> None:
    phone.send("KTFSR")
    clock.pass_(minutes=minutes)
    assert phone.act("Y") is action
    if action is InboundAction.REFUSAL_ASKED:
        assert phone.refusals() == []
        assert phone.act("Y") is InboundAction.REFUSED


def test_refusal_that_stands_is_not_asked_for_again(phone: Phone) -> None:
    phone.world.refuse()
    assert phone.act("KTFSR") is InboundAction.ALREADY_REFUSED
    [reply] = phone.inbox()
    assert "继续有效" in reply
    before = len(events(phone.world))
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert len(events(phone.world)) == before


def test_refusal_switched_on_meanwhile_is_not_recorded_twice(phone: Phone) -> None:
    phone.send("KTFSR")
    phone.world.refuse()
    before = len(events(phone.world))
    assert phone.act("Y") is InboundAction.ALREADY_REFUSED
    assert len(events(phone.world)) == before


def test_refusing_again_beats_what_was_agreed_to_since(phone: Phone) -> None:
    phone.world.refuse()
    confirmed(phone.world)
    assert phone.reason() is Reason.CONSENTED
    assert phone.act("KTFSR") is InboundAction.REFUSAL_ASKED
    assert phone.act("Y") is InboundAction.REFUSED
    assert phone.reason() is Reason.REFUSED


@pytest.mark.parametrize("word", ["TD", "STOP", "N", "退订", "STOPALL"])
def test_stopping_with_nothing_open_asks_to_refuse_everything(phone: Phone, word: str) -> None:
    assert phone.act(word) is InboundAction.REFUSAL_ASKED
    assert phone.refusals() == []
    assert phone.act("Y") is InboundAction.REFUSED


def test_no_takes_the_first_sms_back(phone: Phone) -> None:
    phone.send("KTFSR")
    phone.inbox()
    assert phone.act("N") is InboundAction.DECLINED
    assert len(phone.inbox()) == 1
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert phone.refusals() == []


def test_stopping_again_is_no_taking_back(phone: Phone) -> None:
    phone.send("KTFSR")
    assert phone.act("TD") is InboundAction.REFUSAL_ASKED
    assert phone.act("Y") is InboundAction.REFUSED
    assert phone.act("Y") is InboundAction.NOTHING_OPEN


def test_lifting_takes_a_confirming_second_sms_and_is_told(phone: Phone) -> None:
    world = phone.world
    confirmed(world)
    world.refuse()
    world.refuse(scope=ledger.Scope(topic=Topic.LOANS))
    assert phone.act("QXFSR") is InboundAction.LIFT_ASKED
    assert phone.reason() is Reason.REFUSED
    [question] = phone.inbox()
    assert "回复Y确认" in question
    assert phone.act("Y") is InboundAction.LIFTED
    assert phone.reason() is Reason.CONSENTED
    assert phone.refusals() == [("any", "loans", None)]
    [told] = phone.inbox()
    assert "拒收已解除" in told
    assert phone.act("Y") is InboundAction.NOTHING_OPEN


def test_lifting_needs_something_to_lift(phone: Phone) -> None:
    phone.world.refuse(scope=ledger.Scope(topic=Topic.LOANS))
    assert phone.act("QXFSR") is InboundAction.NOTHING_OPEN
    [reply] = phone.inbox()
    assert "没有登记拒收" in reply
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert phone.refusals() == [("any", "loans", None)]


@pytest.mark.parametrize("word", ["N", "TD", "STOP"])
def test_any_no_keeps_the_refusal_that_was_to_be_lifted(phone: Phone, word: str) -> None:
    phone.world.refuse()
    phone.send("QXFSR")
    assert phone.act(word) is InboundAction.DECLINED
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert phone.refusals() == [("any", "any", None)]


@pytest.mark.parametrize(
    ("first", "second", "action", "refusals"),
    [
        ("KTFSR", "QXFSR", InboundAction.LIFTED, []),
        ("QXFSR", "KTFSR", InboundAction.REFUSED, [("any", "any", None)]),
    ],
)
def test_yes_confirms_the_newest_first_sms_only(
    phone: Phone, first: str, second: str, action: InboundAction, refusals: list[Any]
) -> None:
    phone.world.refuse()
    confirmed(phone.world)  # So it makes a difference to refuse again.
    phone.send(first)
    phone.send(second)
    assert phone.act("Y") is action
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert phone.refusals() == refusals


# Answering requests


@pytest.mark.parametrize("named", [True, False])
def test_yes_agrees_to_a_request(phone: Phone, named: bool) -> None:
    request = phone.world.ask()
    code = phone.put(request)
    message = phone.send(f"Y{code}" if named else "同意")
    assert (message.action, message.subject_id) == (InboundAction.AGREED, request.id)
    assert phone.outcome(request) is RequestOutcome.AGREED
    assert phone.reason() is Reason.CONSENTED


@pytest.mark.parametrize("word", ["N{}", "TD{}", "N", "退订"])
def test_no_declines_a_request(phone: Phone, word: str) -> None:
    request = phone.world.ask()
    code = phone.put(request)
    message = phone.send(word.format(code))
    assert (message.action, message.subject_id) == (InboundAction.DECLINED, request.id)
    assert phone.outcome(request) is RequestOutcome.DECLINED
    assert phone.refusals() == [("sms", "retail", "sender")]
    [reply] = phone.inbox()
    assert phone.world.sender.name in reply


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(
    ("word", "action"),
    [
        ("Y{}", InboundAction.AGREED),
        ("Y", InboundAction.AGREED),
        ("N{}", InboundAction.DECLINED),
        ("TD", InboundAction.DECLINED),
    ],
)
def test_question_is_answered_although_the_gateways_answer_was_lost(
    phone: Phone, clock: Clock, word: str, action: InboundAction, repeated: bool
) -> None:
    request = phone.world.ask()
    phone.backend.plan.append(Unavailable("ReadTimeoutError"))
    code = phone.put(request)
    written = clock.pass_(seconds=20)
    if repeated:  # The answer was under way while the question was repeated.
        clock.pass_(minutes=10)
        phone.inbox()
        assert len(phone.backend.sent) == 2
    assert phone.act(word.format(code), received_at=written) is action


@pytest.mark.parametrize("word", ["TD{}", "TD"])
def test_assertion_is_answered_although_the_gateways_answer_was_lost(
    phone: Phone, clock: Clock, word: str
) -> None:
    [consent] = phone.world.grant()
    phone.backend.plan.append(Unavailable("ReadTimeoutError"))
    phone.inbox()
    clock.pass_(seconds=20)
    assert phone.act(word.format(phone.code(consent.grant_id))) is InboundAction.WITHDRAWN
    assert phone.reason() is Reason.CONSENT_WITHDRAWN


@pytest.mark.parametrize("word", ["Y", "N"])
def test_answer_is_ambiguous_when_several_things_are_open(phone: Phone, word: str) -> None:
    requests = [phone.world.ask(), phone.world.ask(sender=phone.world.other_sender)]
    codes = [phone.put(request) for request in requests]
    before = len(events(phone.world))
    assert phone.act(word) is InboundAction.AMBIGUOUS
    assert len(events(phone.world)) == before
    [reply] = phone.inbox()
    for code, sender in zip(codes, (phone.world.sender, phone.world.other_sender), strict=True):
        assert f"{word}{code} {sender.name}" in reply
    assert phone.act(f"{word}{codes[0]}") is not InboundAction.AMBIGUOUS
    assert phone.outcome(requests[0]) is not None
    assert phone.outcome(requests[1]) is None


def test_yes_confirms_the_first_sms_before_any_request(phone: Phone) -> None:
    request = phone.world.ask()
    phone.inbox()
    phone.send("KTFSR")
    assert phone.act("Y") is InboundAction.REFUSED
    assert phone.outcome(request) is None
    assert phone.reason() is not Reason.CONSENTED


def test_yes_that_is_late_for_refusing_never_agrees_to_a_request(
    phone: Phone, clock: Clock
) -> None:
    request = phone.world.ask()
    phone.inbox()
    phone.send("KTFSR")
    clock.pass_(minutes=40)
    assert phone.act("Y") is InboundAction.REFUSAL_ASKED
    assert phone.outcome(request) is None
    assert phone.act("Y") is InboundAction.REFUSED


@pytest.mark.parametrize("word", ["Y{}", "N{}", "Y", "N"])
def test_answer_after_the_last_day_is_too_late(phone: Phone, clock: Clock, word: str) -> None:
    request = phone.world.ask()
    code = phone.put(request)
    clock.now = request.answer_by
    assert phone.act(word.format(code)) is InboundAction.TOO_LATE
    ledger.lapse_due(phone.world.registry.database, clock=clock)
    assert phone.outcome(request) is RequestOutcome.LAPSED
    assert phone.act(word.format(code)) is InboundAction.TOO_LATE
    assert len(phone.inbox()) == 2
    assert phone.reason() is Reason.NO_CONSENT


def test_yes_with_nothing_open_says_so(phone: Phone) -> None:
    before = len(events(phone.world))
    for text in ("Y", "Y12", "N12", "TD12", "Y0", "Y99999"):
        assert phone.act(text) is InboundAction.NOTHING_OPEN
    assert len(events(phone.world)) == before
    assert len(phone.inbox()) == 6


def test_request_that_was_not_put_by_sms_is_not_answered_by_sms(phone: Phone) -> None:
    unsent = phone.world.ask()
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert phone.act("Y", SMS_PORT) is InboundAction.IGNORED
    phone.world.refuse(OTHER)
    covered = phone.world.ask(OTHER)
    phone.inbox()
    assert phone.act("Y", number=OTHER) is InboundAction.NOTHING_OPEN
    assert phone.act("Y", SMS_PORT, number=OTHER) is InboundAction.IGNORED
    assert (phone.outcome(unsent), phone.outcome(covered)) == (None, None)


def test_yes_is_no_answer_to_a_later_question(phone: Phone, clock: Clock) -> None:
    written = clock.now
    clock.pass_(hours=1)
    request = phone.world.ask()
    code = phone.put(request)
    for to in (REGISTRY, SMS_PORT):
        for text in ("Y", f"Y{code}"):
            phone.send(text, to, received_at=written)
    assert phone.outcome(request) is None
    phone.send("KTFSR")
    assert phone.act("Y", received_at=written) is InboundAction.NOTHING_OPEN
    assert phone.refusals() == []


@pytest.mark.parametrize("to", [REGISTRY, SMS_PORT])
def test_what_was_agreed_to_by_sms_is_what_the_sms_said_without_its_link(
    phone: Phone, to: str
) -> None:
    world = phone.world
    code = phone.put(world.ask(notice_text="May we? " * 30))
    [sent] = [it.text for it in phone.backend.sent]
    received = phone.send(f"Y{code}", to)
    with world.registry.database.read() as connection:
        text, language = connection.execute(select(Evidence.notice_text, Evidence.language)).one()
    assert (text, language) == (re.sub(r"/r/[\w-]{20}", "", sent), "zh")
    assert "/r/" in sent
    assert "每天最多10次，为期30天" in text
    [answer] = [it for it in events(world) if it["kind"] == "consent_request_agreed"]
    assert (answer["way"], answer["message"]) == ("sms", str(received.id))


def test_what_was_agreed_to_is_withdrawn_by_its_code(phone: Phone) -> None:
    request = phone.world.ask(topics=(Topic.RETAIL, Topic.TRAVEL))
    code = phone.put(request)
    phone.send(f"Y{code}")
    message = phone.send(f"TD{code}")  # Before the reply that names the code has gone out.
    assert (message.action, message.subject_id) == (InboundAction.WITHDRAWN, request.id)
    for topic in (Topic.RETAIL, Topic.TRAVEL):
        assert phone.reason(topic=topic) is Reason.CONSENT_WITHDRAWN
    assert phone.refusals() == [("sms", "retail", "sender"), ("sms", "travel", "sender")]
    phone.inbox()
    before = len(events(phone.world))
    assert phone.act(f"TD{code}") is InboundAction.WITHDRAWN  # The same again changes nothing.
    assert phone.act(f"Y{code}") is InboundAction.NOTHING_OPEN
    assert len(events(phone.world)) == before


def test_declined_request_cannot_be_agreed_to_any_more(phone: Phone) -> None:
    code = phone.put(phone.world.ask())
    phone.send(f"N{code}")
    assert phone.act(f"Y{code}") is InboundAction.NOTHING_OPEN
    assert phone.reason() is Reason.NO_CONSENT


# Answering assertions


@pytest.mark.parametrize("word", ["TD{}", "N{}", "TD", "N"])
def test_assertion_is_withdrawn_by_its_code_or_alone(phone: Phone, word: str) -> None:
    [retail, _loans] = phone.world.grant(topics=(Topic.RETAIL, Topic.LOANS))
    phone.inbox()
    message = phone.send(word.format(phone.code(retail.grant.id)))
    assert (message.action, message.subject_id) == (InboundAction.WITHDRAWN, retail.grant.id)
    for topic in (Topic.RETAIL, Topic.LOANS):
        assert phone.reason(topic=topic) is Reason.CONSENT_WITHDRAWN
    assert phone.refusals() == [("sms", "loans", "sender"), ("sms", "retail", "sender")]
    [reply] = phone.inbox()
    assert phone.world.sender.name in reply


def test_code_of_an_assertion_ends_what_took_its_place(phone: Phone) -> None:
    [first] = phone.world.grant()
    phone.inbox()
    code = phone.code(first.grant.id)
    phone.world.grant()
    assert phone.act(f"TD{code}") is InboundAction.WITHDRAWN
    assert phone.reason() is Reason.CONSENT_WITHDRAWN
    phone.world.grant()
    assert phone.reason() is Reason.CONSENT_WITHDRAWN


@pytest.mark.parametrize(("word", "reason"), [("Y", "consented"), ("TD", "consent_withdrawn")])
def test_code_of_an_assertion_is_of_its_like_that_was_not_told_again(
    phone: Phone, clock: Clock, word: str, reason: str
) -> None:
    until = clock.now + timedelta(days=90)
    [first] = phone.world.grant(valid_until=until)
    assert len(phone.inbox()) == 1
    code = phone.code(first.grant.id)
    [second] = phone.world.grant(valid_until=until)
    assert phone.inbox() == []
    message = phone.send(f"{word}{code}")
    assert (message.subject_id, phone.reason()) == (second.grant.id, reason)


def test_code_of_an_assertion_refuses_what_the_sender_ended_itself(phone: Phone) -> None:
    [consent] = phone.world.grant()
    phone.inbox()
    phone.world.withdraw(consent, by_subscriber=False)
    assert phone.act(f"TD{phone.code(consent.grant.id)}") is InboundAction.WITHDRAWN
    assert phone.refusals() == [("sms", "retail", "sender")]


def test_assertion_is_confirmed_by_its_code_only(phone: Phone) -> None:
    rules = phone.world.registry.policy
    wanted = replace(rules.consents, asserted=Assertions.NEED_CONFIRMATION)
    phone.world.registry.policy = replace(rules, consents=wanted)
    [consent] = phone.world.grant()
    phone.inbox()
    assert phone.act("Y") is InboundAction.NOTHING_OPEN
    assert phone.act("Y", SMS_PORT) is InboundAction.IGNORED
    assert phone.reason() is Reason.NO_CONSENT
    assert phone.act(f"Y{phone.code(consent.grant.id)}") is InboundAction.AGREED
    assert phone.reason() is Reason.CONSENTED


def test_assertion_of_several_topics_is_confirmed_as_one_grant(phone: Phone) -> None:
    topics = (Topic.RETAIL, Topic.LOANS)
    [retail, _loans] = phone.world.grant(topics=topics)
    phone.inbox()
    assert phone.act(f"Y{phone.code(retail.grant.id)}") is InboundAction.AGREED
    [made] = [it for it in events(phone.world) if it.get("basis") == "confirmed"]
    assert [it["topic"] for it in made["consents"]] == sorted(topics)


def test_disputed_assertion_is_not_confirmed_by_its_code(phone: Phone) -> None:
    [consent] = phone.world.grant()
    phone.inbox()
    phone.world.own(ledger.challenge, consent.id)
    message = phone.send(f"Y{phone.code(consent.grant.id)}")
    assert message.action is InboundAction.NOTHING_OPEN
    assert phone.reason() is Reason.REFUSED
    assert len(phone.inbox()) == 1


def test_old_assertions_do_not_make_a_bare_no_ambiguous(phone: Phone, clock: Clock) -> None:
    phone.world.grant()
    phone.inbox()
    clock.pass_(days=8)
    request = phone.world.ask(sender=phone.world.other_sender)
    phone.inbox()
    assert phone.act("N") is InboundAction.DECLINED
    assert phone.outcome(request) is RequestOutcome.DECLINED
    assert phone.reason() is Reason.CONSENTED


# Tenures


def test_new_subscriber_answers_no_question_of_the_earlier_one(phone: Phone, clock: Clock) -> None:
    world = phone.world
    request = world.ask()
    [consent] = world.grant(topics=(Topic.LOANS,))
    phone.inbox()
    codes = [phone.code(subject) for subject in (request.id, consent.grant.id)]
    phone.send("KTFSR")
    clock.pass_(minutes=10)
    world.reassign(reassigned_at=clock.now - timedelta(minutes=5))
    before = len(events(world))
    texts = ["Y", *(f"{word}{code}" for word in ("Y", "N", "TD") for code in codes)]
    for text in texts:
        assert phone.act(text) is InboundAction.NOTHING_OPEN
    assert phone.act("Y", SMS_PORT) is InboundAction.IGNORED
    assert len(events(world)) == before
    assert phone.act("N") is InboundAction.REFUSAL_ASKED


def test_late_sms_of_the_earlier_subscriber_is_ignored(phone: Phone, clock: Clock) -> None:
    written = clock.now
    clock.pass_(days=1)
    phone.world.reassign()
    confirmed(phone.world)
    before = len(events(phone.world))
    for to, text in ((SMS_PORT, "TD"), (REGISTRY, "KTFSR"), (REGISTRY, "help")):
        message = phone.send(text, to, received_at=written)
        assert (message.action, message.text) == (InboundAction.IGNORED, None)
    assert len(events(phone.world)) == before
    assert phone.inbox() == []


# The same message again


@pytest.mark.parametrize(("text", "to"), [("TD", SMS_PORT), ("KTFSR", REGISTRY), ("Y", REGISTRY)])
def test_message_delivered_again_changes_nothing(phone: Phone, text: str, to: str) -> None:
    confirmed(phone.world)
    phone.put(phone.world.ask(sender=phone.world.other_sender))
    first = phone.send(text, to, message_id="13800000000-1")
    before = count_rows(phone.world.registry)
    for _ in range(9):
        again = phone.send(text, to, message_id="13800000000-1")
        assert (again.id, again.action) == (first.id, first.action)
    assert count_rows(phone.world.registry) == before


def test_message_delivered_again_after_weeks_is_still_known(phone: Phone, clock: Clock) -> None:
    sent_at = clock.now
    first = phone.send("TD", SMS_PORT, message_id="a")
    clock.pass_(days=30)
    assert phone.send("TD", SMS_PORT, message_id="a", received_at=sent_at).id == first.id


def test_confirming_sms_delivered_again_confirms_nothing_newer(phone: Phone) -> None:
    phone.send("KTFSR")
    phone.send("Y", message_id="yes")
    phone.send("QXFSR")
    assert phone.act("Y", message_id="yes") is InboundAction.REFUSED  # What it led to then.
    assert phone.refusals() == [("any", "any", None)]


@pytest.mark.parametrize(
    "other",
    [{"text": "TD1"}, {"to": OTHER_PORT}, {"number": OTHER},
     {"received_at": START + timedelta(seconds=1)}],
)  # fmt: skip
def test_another_message_with_a_known_id_is_refused(phone: Phone, other: dict[str, Any]) -> None:
    first: dict[str, Any] = {"text": "TD", "to": SMS_PORT, "message_id": "a"}
    phone.send(**first)
    before = count_rows(phone.world.registry)
    with pytest.raises(RegistryError) as error:
        phone.send(**{**first, **other})
    assert error.value.kind is Kind.KEY_REUSED
    assert count_rows(phone.world.registry) == before
    assert phone.act(**{**first, **other}, carrier="other_carrier") is InboundAction.UNSUBSCRIBED


def together(*acts: Callable[[], object]) -> list[object]:
    """Do all at once and return what each returned or raised."""
    found: list[object] = []

    def do(act: Callable[[], object]) -> None:
        try:
            found.append(act())
        except RegistryError as error:
            found.append(error.kind)

    threads = [threading.Thread(target=do, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_message_delivered_many_times_at_once_changes_once(phone: Phone) -> None:
    confirmed(phone.world)
    before = len(events(phone.world))
    found = together(*[lambda: phone.send("TD", SMS_PORT, message_id="a").id] * 8)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(events(phone.world)) == before + 2


def test_two_confirming_sms_at_once_confirm_once(phone: Phone) -> None:
    phone.send("KTFSR")
    found = together(*[lambda: phone.act("Y")] * 4)
    assert sorted(map(str, found)) == ["nothing_open"] * 3 + ["refused"]


def test_one_id_for_two_numbers_at_once_is_one_message(phone: Phone) -> None:
    def send(number: SubscriberNumber) -> InboundAction:
        return phone.act("TD", SMS_PORT, message_id="a", number=number)

    found = together(*[partial(send, make_number(index)) for index in range(6)])
    assert sorted(map(str, found)) == ["idempotency_key_reused"] * 5 + ["unsubscribed"]
    with phone.world.registry.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(Refusal)) == 1


@pytest.mark.parametrize("message_id", ["", "x" * 101])
def test_message_id_has_its_length(phone: Phone, message_id: str) -> None:
    with pytest.raises(RegistryError) as error:
        phone.world.do(
            lambda session: inbound.receive(
                session,
                Inbound(NUMBER, REGISTRY, "TD", START, message_id),
                carrier_id=phone.world.carrier.id,
                policy=phone.world.registry.policy,
                clock=phone.world.registry.clock,
                registry_number=REGISTRY,
            )
        )
    assert set(error.value.fields or ()) == {"message_id"}


@pytest.mark.parametrize(
    ("received_at", "accepted"),
    [
        (START + timedelta(seconds=60), True),
        (START + timedelta(seconds=61), False),
        (START - timedelta(days=7), True),
        (START - timedelta(days=7, seconds=1), False),
    ],
)
def test_message_is_received_lately_and_not_in_the_future(
    phone: Phone, received_at: datetime, accepted: bool
) -> None:
    if accepted:
        assert phone.act("KTFSR", received_at=received_at) is InboundAction.REFUSAL_ASKED
        return
    with pytest.raises(RegistryError) as error:
        phone.send("KTFSR", received_at=received_at)
    assert set(error.value.fields or ()) == {"received_at"}


# Replies


def test_what_nobody_understands_is_helped_once_a_day(phone: Phone, clock: Clock) -> None:
    for text in ("hello", "?", "help", "什么意思"):
        assert phone.act(text) is InboundAction.HELP
    [reply] = phone.inbox()
    assert "KTFSR" in reply
    assert phone.act("hello", number=OTHER) is InboundAction.HELP
    clock.pass_(days=1)
    phone.send("hello")
    assert len(phone.inbox()) == 1


def test_replies_to_one_number_end_for_the_day_but_acts_do_not(phone: Phone, clock: Clock) -> None:
    for _ in range(receiving.MOST_REPLIES + 5):
        phone.send("Y")
    assert len(phone.inbox()) == receiving.MOST_REPLIES
    confirmed(phone.world)
    assert phone.act("KTFSR") is InboundAction.REFUSAL_ASKED
    assert phone.act("Y") is InboundAction.REFUSED
    assert phone.reason() is Reason.REFUSED
    assert phone.inbox() == []
    clock.pass_(days=1)
    phone.send("Y")
    assert len(phone.inbox()) == 1


@pytest.mark.parametrize("written", ["+85261234567", "+12025550123", "010 6555 1234"])
def test_foreign_numbers_and_landlines_act_but_are_sent_no_reply(
    phone: Phone, written: str
) -> None:
    phone.number = parse_subscriber(written)
    assert phone.act("KTFSR") is InboundAction.REFUSAL_ASKED
    assert phone.act("Y") is InboundAction.REFUSED
    assert phone.act("TD", SMS_PORT) is InboundAction.UNSUBSCRIBED
    assert phone.refusals() == [("any", "any", None), ("sms", "any", "sender")]
    with phone.world.registry.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(OutboxItem)) == 0


@pytest.mark.parametrize(
    ("texts", "english"),
    [
        (["STOP", "Y"], True),
        (["TD", "Y"], False),
        (["TD", "YES"], True),
        (["KTFSR", "同意"], False),
    ],
)
def test_reply_is_in_the_language_of_the_word_or_of_the_first_sms(
    phone: Phone, texts: list[str], english: bool
) -> None:
    for text in texts:
        phone.send(text)
    reply = phone.inbox()[-1]
    assert reply.isascii() is english


def test_question_to_confirm_is_not_sent_once_it_is_worth_nothing(
    phone: Phone, clock: Clock
) -> None:
    phone.send("KTFSR")
    clock.pass_(minutes=30)
    assert phone.inbox() == []


def test_registry_without_a_number_takes_sms_to_senders_only(phone: Phone) -> None:
    registry = phone.world.registry

    def receive(to: str, message_id: str) -> InboundAction:
        return phone.world.do(
            lambda session: inbound.receive(
                session,
                Inbound(NUMBER, to, "TD", START, message_id),
                carrier_id=phone.world.carrier.id,
                policy=registry.policy,
                clock=registry.clock,
                registry_number=None,
            )
        ).action

    assert receive(REGISTRY, "a") is InboundAction.IGNORED
    assert receive(SMS_PORT, "b") is InboundAction.UNSUBSCRIBED


# What is kept


def test_texts_and_numbers_are_not_kept_in_plain(phone: Phone) -> None:
    phone.send("STOP unterminated-story")
    phone.send("private-talk", SMS_PORT)
    phone.send("TD", "13987654321", message_id="13987654321")
    stored = dump(phone.world.registry)
    for trace in (b"unterminated-story", b"private-talk", b"13987654321", b"13800000000"):
        assert trace not in stored
    kept = phone.world.do(
        lambda it: it.scalars(select(InboundMessage.text).order_by(InboundMessage.id)).all()
    )
    assert kept == ["STOP unterminated-story", None, None]


def test_sms_are_forgotten_with_the_records_of_traffic(phone: Phone, clock: Clock) -> None:
    phone.send("KTFSR")
    phone.send("Y")
    phone.inbox()
    registry = phone.world.registry
    for now, many in ((clock.now, 0), (datetime(2027, 6, 1, tzinfo=UTC), 2)):
        removed = maintenance.purge(registry.database, registry.policy.retention, now)
        assert (removed["inbound_messages"], removed["outbox"]) == (many, many)
    assert phone.refusals() == [("any", "any", None)]


# Nothing else


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(TEXTS.filter(lambda it: parse_keyword(it).keyword is Keyword.OTHER), max_size=15))
def test_no_text_but_a_keyword_changes_anything(phone: Phone, texts: list[str]) -> None:
    """All that can be answered is open, so that whatever is taken for an answer would show."""
    if not phone.backend.sent:
        phone.world.grant()
        phone.world.ask(sender=phone.world.other_sender)
        phone.inbox()
        phone.send("KTFSR")
    registry = phone.world.registry
    kept = ("inbound_messages", "outbox")  # Help is sent, once a day.
    before = {name: rows for name, rows in count_rows(registry).items() if name not in kept}
    for text in [*texts, *NO_KEYWORDS[:3], *(f"{it} please" for it in string.ascii_uppercase[:3])]:
        assert phone.act(text) is InboundAction.HELP
        assert phone.act(text, SMS_PORT) is InboundAction.IGNORED
    after = {name: rows for name, rows in count_rows(registry).items() if name not in kept}
    assert after == before
    with registry.database.read() as connection:
        told = select(func.count()).where(OutboxItem.notice == Notice.REPLY)
        assert connection.scalar(told) == 2
