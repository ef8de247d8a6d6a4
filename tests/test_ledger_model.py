"""The ledger and the rule against a small model of them, over random histories.

The model is written from design.md's rule, not from the code: it keeps what was said about a
number, in order, and reads the reason from that.
"""

from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import ledger, lookup
from registry.consent import Basis, Channel, Reason, Topic
from registry.errors import RegistryError
from registry.ledger import Scope
from registry.lookup import Asker
from registry.models import Consent, ConsentRequest, Reassignment, Refusal
from registry.numbers import SubscriberNumber
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    START,
    VOICE_LINE,
    Clock,
    World,
    make_number,
    make_question,
)

Place = tuple[str, Channel, Topic]
PORTS = {
    ("sender", Channel.SMS): SMS_PORT,
    ("sender", Channel.VOICE): VOICE_LINE,
    ("other_sender", Channel.SMS): OTHER_PORT,
}
HERE: Place = ("sender", Channel.SMS, Topic.RETAIL)
"""Where most things happen, so that they meet; each other place differs in one word."""
PLACES: list[Place] = [
    HERE,
    ("sender", Channel.SMS, Topic.LOANS),
    ("sender", Channel.VOICE, Topic.RETAIL),
    ("other_sender", Channel.SMS, Topic.RETAIL),
]
FRESH = count()
"""Every history is about numbers of its own, so that nothing need be removed after it."""


# What can happen to a number


@dataclass(frozen=True)
class Grant:
    place: Place
    confirmed: bool
    days: int


@dataclass(frozen=True)
class Refuse:
    sender: str | None
    channel: Channel | None
    topic: Topic | None

    def covers(self, place: Place) -> bool:
        words = (self.sender, self.channel, self.topic)
        return all(word in (None, there) for word, there in zip(words, place, strict=True))


@dataclass(frozen=True)
class Withdraw:
    which: int
    by_subscriber: bool
    own: bool
    """In the portal, by whoever has the number by then; else as its sender reports it."""


@dataclass(frozen=True)
class Lift:
    which: int
    own: bool


@dataclass(frozen=True)
class Confirm:
    which: int


@dataclass(frozen=True)
class Reassign:
    days_ago: int


@dataclass(frozen=True)
class Cancel:
    which: int


@dataclass(frozen=True)
class Ask:
    place: Place


@dataclass(frozen=True)
class Answer:
    which: int
    yes: bool


Act = Grant | Refuse | Withdraw | Lift | Confirm | Reassign | Cancel | Ask | Answer
WHICH = st.integers(1, 3)
GRANTS = st.builds(
    Grant,
    st.sampled_from([HERE, HERE, HERE, *PLACES]),
    st.sampled_from([False, False, True]),
    st.sampled_from([2, 90]),
)
REFUSALS = st.builds(
    Refuse,
    st.sampled_from([None, "sender", "sender", "other_sender"]),
    st.sampled_from([None, Channel.SMS, Channel.SMS, Channel.VOICE]),
    st.sampled_from([None, Topic.RETAIL, Topic.RETAIL, Topic.LOANS]),
)
KINDS: dict[str, st.SearchStrategy[Act]] = {
    "g": GRANTS,
    "r": REFUSALS,
    "w": st.builds(Withdraw, WHICH, st.booleans(), st.booleans()),
    "l": st.builds(Lift, WHICH, st.booleans()),
    "k": st.builds(Confirm, WHICH),
    "m": st.builds(Reassign, st.integers(0, 2)),
    "c": st.builds(Cancel, WHICH),
    "q": st.builds(Ask, st.sampled_from(PLACES)),
    "a": st.builds(Answer, WHICH, st.booleans()),
}
ACTS = st.sampled_from("ggggrrwlkmcqqaa").flatmap(KINDS.__getitem__)
"""Grants and refusals are drawn more often: without them there is nothing to end."""
HISTORIES = st.lists(st.tuples(st.sampled_from([0, 0, 0, 0, 1]), ACTS), min_size=10, max_size=25)
AGREED_DAYS = 20
"""What happens, day by day, to one of two numbers."""


# The model


@dataclass(eq=False)
class Agreed:
    """A consent, and what became of it."""

    act: Grant
    at: datetime
    order: int
    effective: bool
    withdrawn: bool = False
    replaced: bool = False

    @property
    def own_act(self) -> bool:
        return self.act.confirmed

    @property
    def open(self) -> bool:
        return not (self.withdrawn or self.replaced)

    def in_time(self, now: datetime) -> bool:
        return now < self.at + timedelta(days=self.act.days)


@dataclass(eq=False)
class Refused:
    """A refusal, and what became of it."""

    act: Refuse
    at: datetime
    order: int
    own_act: bool = True
    reported: bool = False
    """By a carrier, and not by the subscriber in the registry."""
    lifted: bool = False
    replaced: bool = False

    @property
    def open(self) -> bool:
        return not (self.lifted or self.replaced)


@dataclass(eq=False)
class Moved:
    """A reported reassignment."""

    at: datetime
    order: int
    cancelled: bool = False


@dataclass(eq=False)
class Asked:
    """A request for consent, and how it was answered: "" while it is open."""

    act: Ask
    at: datetime
    answer: str = ""


class Model:
    """What was said about one number, and the reason that follows from it for each place."""

    def __init__(self) -> None:
        self.order = count()
        self.agreed: list[Agreed] = []
        self.refused: list[Refused] = []
        self.moved: list[Moved] = []
        self.asked: list[Asked] = []

    def of_this_tenure(self, said: Agreed | Refused) -> bool:
        """A reassignment ends what was recorded before it, save own acts since it took place."""
        return not any(
            moved.order > said.order and not (said.own_act and said.at >= moved.at)
            for moved in self.moved
            if not moved.cancelled
        )

    def stands(self, said: Agreed | Refused) -> bool:
        return said.open and self.of_this_tenure(said)

    def covering(self, place: Place) -> list[Refused]:
        return [it for it in self.refused if it.act.covers(place) and self.stands(it)]

    def of(self, place: Place) -> list[Agreed]:
        return [it for it in self.agreed if it.act.place == place]

    def latest(self, place: Place) -> Agreed | None:
        return next((it for it in reversed(self.of(place)) if it.effective), None)

    def reason(self, place: Place, now: datetime) -> Reason:
        consent = self.latest(place)
        if consent is None:
            return Reason.NO_CONSENT
        if not self.of_this_tenure(consent):
            return Reason.NUMBER_REASSIGNED
        if consent.withdrawn:
            return Reason.CONSENT_WITHDRAWN
        if not consent.in_time(now):
            return Reason.CONSENT_EXPIRED
        passes = all(consent.own_act and it.order < consent.order for it in self.covering(place))
        return Reason.CONSENTED if passes else Reason.REFUSED

    def may_be_contacted(self, place: Place, now: datetime) -> bool:
        """Tell whether a live consent of this tenure was, where a "no" stands, confirmed after."""
        live = [it for it in self.of(place) if self.stands(it) and it.in_time(now)]
        return any(
            all(it.own_act and no.order < it.order for no in self.covering(place)) for it in live
        )

    def confirmed(self, place: Place, now: datetime) -> Agreed | None:
        """Return the consent in force that the subscriber confirmed."""
        latest = self.latest(place)
        if latest and latest.own_act and self.stands(latest) and latest.in_time(now):
            return latest
        return None

    def grant(self, act: Grant, now: datetime) -> Agreed:
        confirmed = self.confirmed(act.place, now)
        effective = act.confirmed or not (confirmed or self.covering(act.place))
        for other in self.of(act.place):
            # What waits for a confirmation gives way to whatever is newer, in any tenure.
            waits = other.open and not other.effective
            other.replaced |= waits or (effective and self.stands(other))
        self.agreed.append(Agreed(act, now, next(self.order), effective))
        return self.agreed[-1]

    def refuse(self, act: Refuse, now: datetime, *, reported: bool = False) -> Refused:
        for other in self.refused:
            other.replaced |= other.act == act and self.stands(other)
        self.refused.append(Refused(act, now, next(self.order), reported=reported))
        return self.refused[-1]

    def refuse_place(self, place: Place, now: datetime) -> None:
        """Refuse as the subscriber; what was said before and beats all is not said again."""
        act = Refuse(*place)
        said = [it for it in self.refused if it.act == act and self.stands(it) and not it.reported]
        passed = any(
            it.own_act and self.stands(it) and any(it.order > no.order for no in said)
            for it in self.of(place)
        )
        if not said or passed:
            self.refuse(act, now)

    def is_todays(self, asked: Asked) -> bool:
        since = max((moved.at for moved in self.moved if not moved.cancelled), default=None)
        return since is None or asked.at >= since

    def barred(self, place: Place, now: datetime) -> bool:
        """Tell whether a sender may not ask: never again what was not agreed to (R5)."""
        refused = any(it.answer != "agreed" for it in self.asked if it.act.place == place)
        return refused or self.confirmed(place, now) is not None

    def lapse(self, now: datetime, days: int) -> None:
        """Let what went unanswered count as refused, unless it was confirmed in another way."""
        for asked in self.asked:
            if not asked.answer and now >= asked.at + timedelta(days=days):
                asked.answer = "lapsed"
                if self.is_todays(asked) and not self.confirmed(asked.act.place, now):
                    self.refuse_place(asked.act.place, now)

    def withdraw(self, consent: Agreed, by_subscriber: bool, now: datetime) -> None:
        """Withdraw; a subscriber who does what the sender did before still leaves a refusal."""
        refusal = Refuse(*consent.act.place)
        said = any(it.act == refusal and self.stands(it) for it in self.refused)
        again = consent.withdrawn
        consent.withdrawn = True
        if by_subscriber and (not again or (self.of_this_tenure(consent) and not said)):
            self.refuse(refusal, now)

    def reassign(self, at: datetime) -> Moved:
        self.moved.append(Moved(at, next(self.order)))
        return self.moved[-1]

    def cancel(self, moved: Moved) -> None:
        """Restore what one reassignment ended, save where something newer has its place."""
        moved.cancelled = True
        newer: dict[object, bool] = defaultdict(bool)
        for refusal in reversed(self.refused):
            if self.stands(refusal):
                refusal.replaced = newer[refusal.act]
                newer[refusal.act] = True
        for consent in self.agreed:
            if self.stands(consent) and consent.effective:
                consent.replaced = consent is not self.latest(consent.act.place)


# Doing the same in the registry


class History:
    """Does to a number, in the registry and in the model, what a history says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = make_number(next(FRESH))
        self.model = Model()
        self.consents: list[tuple[Agreed, Consent]] = []
        self.refusals: list[tuple[Refused, Refusal]] = []
        self.reassignments: list[tuple[Moved, Reassignment]] = []
        self.requests: list[tuple[Asked, ConsentRequest]] = []

    def do(self, act: Act, now: datetime) -> None:
        match act:
            case Grant():
                self.grant(act, now)
            case Refuse(sender, channel, topic):
                scope = Scope(channel, topic, getattr(self.world, sender).id if sender else None)
                refusal = self.world.refuse(self.number, scope)
                self.refusals.append((self.model.refuse(act, now, reported=True), refusal))
            case Withdraw(which) if self.consents:
                self.withdraw(*self.consents[-which % len(self.consents)], act, now)
            case Lift(which, own) if self.refusals:
                self.lift(*self.refusals[-which % len(self.refusals)], own)
            case Confirm(which) if self.consents:
                self.confirm(*self.consents[-which % len(self.consents)], now)
            case Reassign(days_ago):
                self.reassign(now - timedelta(days=days_ago))
            case Cancel(which) if self.reassignments:
                moved, reassignment = self.reassignments[-which % len(self.reassignments)]
                self.world.cancel(reassignment)
                self.model.cancel(moved)
            case Ask():
                self.ask(act, now)
            case Answer(which, yes) if self.requests:
                self.answer(*self.requests[-which % len(self.requests)], yes, now)

    def grant(self, act: Grant, now: datetime) -> None:
        sender, channel, topic = act.place
        [consent] = self.world.grant(
            self.number,
            sender=getattr(self.world, sender),
            basis=Basis.CONFIRMED if act.confirmed else Basis.ASSERTED,
            channel=channel,
            topics=(topic,),
            valid_until=now + timedelta(days=act.days),
        )
        self.consents.append((self.model.grant(act, now), consent))

    def withdraw(self, said: Agreed, consent: Consent, act: Withdraw, now: datetime) -> None:
        with self.fails(said, not said.withdrawn and not self.model.stands(said), own=act.own):
            if act.own:
                self.world.own(ledger.withdraw_own, consent.id, number=self.number)
            else:
                self.world.withdraw(consent, by_subscriber=act.by_subscriber)
            self.model.withdraw(said, act.own or act.by_subscriber, now)

    def lift(self, said: Refused, refusal: Refusal, own: bool) -> None:
        with self.fails(said, not said.lifted and not self.model.stands(said), own=own):
            if own:
                self.world.own(ledger.lift_own, refusal.id, number=self.number)
            else:
                self.world.lift(refusal)
            said.lifted = True

    def confirm(self, said: Agreed, consent: Consent, now: datetime) -> None:
        """Confirm what a sender asserted: a grant on the same terms, unless it is one already."""
        place, days = said.act.place, (said.at - now).days + said.act.days
        confirmed = said.own_act or said.replaced
        known = self.model.confirmed(place, now) if confirmed else None
        over = known is None and not (self.model.stands(said) and said.in_time(now))
        with self.fails(said, over, own=True):
            [found] = self.world.own(ledger.confirm, consent.id, number=self.number)
            if known is None:
                act = Grant(place, confirmed=True, days=days)
                self.consents.append((self.model.grant(act, now), found))

    def ask(self, act: Ask, now: datetime) -> None:
        sender, channel, topic = act.place
        with conflict(self.model.barred(act.place, now)):
            request = self.world.ask(
                self.number,
                sender=getattr(self.world, sender),
                channel=channel,
                topics=(topic,),
                valid_for_days=AGREED_DAYS,
                notice_text=_words(next(FRESH)),
            )
            self.model.asked.append(Asked(act, now))
            self.requests.append((self.model.asked[-1], request))

    def answer(self, asked: Asked, request: ConsentRequest, yes: bool, now: datetime) -> None:
        answer = "agreed" if yes else "declined"
        over = asked.answer not in ("", answer)
        not_found = pytest.raises(RegistryError, match="no such")
        with conflict(over) if self.model.is_todays(asked) else not_found:
            if yes:
                [consent] = self.world.own(ledger.agree, request.id, number=self.number)
            else:
                self.world.own(ledger.decline, request.id, number=self.number)
            if asked.answer:
                return  # Said twice; nothing changes.
            asked.answer = answer
            if yes:
                act = Grant(asked.act.place, confirmed=True, days=AGREED_DAYS)
                self.consents.append((self.model.grant(act, now), consent))
            else:
                self.model.refuse_place(asked.act.place, now)

    def fails(
        self, said: Agreed | Refused, over: bool, *, own: bool
    ) -> AbstractContextManager[object]:
        """Expect that a subscriber finds nothing of an earlier tenure, and nobody what is over."""
        if own and not self.model.of_this_tenure(said):
            return pytest.raises(RegistryError, match="no such")
        return conflict(over)

    def reassign(self, at: datetime) -> None:
        known = any(it.at >= at and not it.cancelled for it in self.model.moved)
        with conflict(known):
            reassignment = self.world.reassign(self.number, at)
            self.reassignments.append((self.model.reassign(at), reassignment))


def conflict(expected: bool) -> AbstractContextManager[object]:
    problem = r"already|recorded|answered|in force|agreed to|waits for its answer"
    return pytest.raises(RegistryError, match=problem) if expected else nullcontext()


def _words(number: int) -> str:
    """Return a text like no other: of letters, since digits make no difference."""
    return "May we write? " + "".join("abcdefghij"[int(digit)] for digit in str(number))


def reasons(world: World, numbers: list[SubscriberNumber], place: Place) -> list[Reason]:
    """Ask the registry about one place of all numbers at once."""
    sender, channel, topic = place
    now = world.registry.clock()
    question = make_question(at=now, sending=PORTS[sender, channel], channel=channel, topic=topic)
    with world.registry.database.read() as connection:
        answer = lookup.answer(
            connection,
            Asker(world.carrier.id, world.carrier.kind),
            replace(question, numbers=numbers),
            now=now,
            policy=world.registry.policy,
        )
    return [verdict.reason for verdict in answer.verdicts]


EXAMPLES = {"sqlite": 120, "postgresql": 30}


def test_verdicts_follow_the_model_over_random_histories(world: World, clock: Clock) -> None:
    @settings(
        max_examples=EXAMPLES[world.registry.database.dialect],
        derandomize=True,
        database=None,
        deadline=None,
    )
    @given(HISTORIES)
    def play(history: list[tuple[int, Act]]) -> None:
        """Compare, after every act, each verdict with the model."""
        subjects = [History(world), History(world)]
        models = [subject.model for subject in subjects]
        clock.now = START
        for which, act in history:
            now = clock.pass_(days=1)
            ledger.lapse_due(world.registry.database, clock=clock)
            for model in models:
                model.lapse(now, world.registry.policy.requests.answer_days)
            subjects[which].do(act, now)
            for place in PLACES:
                answers = reasons(world, [subject.number for subject in subjects], place)
                assert answers == [model.reason(place, clock.now) for model in models]
                for answer, model in zip(answers, models, strict=True):
                    assert not answer.allowed or model.may_be_contacted(place, clock.now)

    play()
