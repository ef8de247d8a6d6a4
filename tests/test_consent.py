"""The rule: every combination of facts, and how facts come from what the registry knows."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from registry.consent import (
    DECISIONS,
    RULES,
    Basis,
    Cap,
    End,
    Fact,
    Holding,
    MessageClass,
    Reason,
    Wish,
    decide,
    holding_facts,
    under_cap,
    wish_facts,
)
from registry.policy import Period

EVERY = [Fact(facts) for facts in range(4096)]
SENDER = Fact.SENDER_KNOWN | Fact.SENDER_ACTIVE | Fact.NUMBER_HELD | Fact.USAGE_REGISTERED
AGREED = Fact.CONSENT | Fact.SAME_TENURE | Fact.NOT_WITHDRAWN | Fact.NOT_EXPIRED | Fact.NOT_REFUSED
NOW = Fact.IN_HOURS | Fact.UNDER_CAP

AT = datetime(2026, 12, 1, 2, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)
CHINA = "Asia/Shanghai"


def as_written(facts: Fact) -> Reason:  # noqa: PLR0911 - the table, row by row
    """Say the table of the design in other words than `RULES` does."""
    if Fact.SENDER_KNOWN not in facts:
        return Reason.SENDER_UNKNOWN
    if Fact.SENDER_ACTIVE not in facts:
        return Reason.SENDER_SUSPENDED
    if Fact.NUMBER_HELD not in facts:
        return Reason.NUMBER_NOT_HELD
    if Fact.USAGE_REGISTERED not in facts:
        return Reason.USAGE_MISMATCH
    if Fact.EXEMPT_CLASS in facts:
        return Reason.CONSENT_NOT_REQUIRED
    if Fact.CONSENT not in facts:
        return Reason.NO_CONSENT
    if Fact.SAME_TENURE not in facts:
        return Reason.NUMBER_REASSIGNED
    if Fact.NOT_WITHDRAWN not in facts:
        return Reason.CONSENT_WITHDRAWN
    if Fact.NOT_EXPIRED not in facts:
        return Reason.CONSENT_EXPIRED
    if Fact.NOT_REFUSED not in facts:
        return Reason.REFUSED
    if Fact.IN_HOURS not in facts:
        return Reason.QUIET_HOURS
    if Fact.UNDER_CAP not in facts:
        return Reason.FREQUENCY_EXCEEDED
    return Reason.CONSENTED


def test_decide_follows_the_table_for_every_combination_of_facts() -> None:
    for facts in EVERY:
        assert decide(facts) is as_written(facts), facts


def test_decisions_hold_what_decide_returns_for_every_combination_of_facts() -> None:
    assert list(DECISIONS) == [decide(facts) for facts in EVERY]


def test_decide_allows_only_what_has_all_the_facts_that_its_class_needs() -> None:
    exempt = {facts for facts in EVERY if SENDER | Fact.EXEMPT_CLASS in facts}
    assert {facts for facts in EVERY if decide(facts).allowed} == exempt | {SENDER | AGREED | NOW}


def test_decide_denies_when_nothing_is_established() -> None:
    assert decide(Fact(0)) is Reason.SENDER_UNKNOWN
    assert not decide(Fact(0)).allowed


def test_a_further_fact_never_turns_an_allow_into_a_deny() -> None:
    for facts in EVERY:
        if decide(facts).allowed:
            for fact in Fact:
                assert decide(facts | fact).allowed, (facts, fact)


def test_every_reason_but_that_of_an_invalid_number_is_decided_by_one_row() -> None:
    assert {*DECISIONS} == {*Reason} - {Reason.INVALID_NUMBER}
    assert [rule.reason for rule in RULES] == [
        reason for reason in Reason if reason is not Reason.INVALID_NUMBER
    ]


def test_a_reason_allows_only_where_it_says_so() -> None:
    assert {reason.value for reason in Reason if reason.allowed} == {
        "consent_not_required",
        "consented",
    }


HELD = Holding(active=True, held=True, usages=frozenset({MessageClass.COMMERCIAL}))


@pytest.mark.parametrize(
    ("holding", "message_class", "reason"),
    [
        (None, MessageClass.COMMERCIAL, Reason.SENDER_UNKNOWN),
        (None, MessageClass.PUBLIC, Reason.SENDER_UNKNOWN),
        (replace(HELD, active=False), MessageClass.COMMERCIAL, Reason.SENDER_SUSPENDED),
        (replace(HELD, active=False, held=False), MessageClass.COMMERCIAL, Reason.SENDER_SUSPENDED),
        (replace(HELD, held=False), MessageClass.COMMERCIAL, Reason.NUMBER_NOT_HELD),
        (HELD, MessageClass.SERVICE, Reason.USAGE_MISMATCH),
        (HELD, MessageClass.PUBLIC, Reason.USAGE_MISMATCH),
        (replace(HELD, usages=frozenset()), MessageClass.COMMERCIAL, Reason.USAGE_MISMATCH),
        (
            replace(HELD, usages=frozenset({MessageClass.SERVICE, MessageClass.PUBLIC})),
            MessageClass.COMMERCIAL,
            Reason.USAGE_MISMATCH,
        ),
        (
            replace(HELD, usages=frozenset(MessageClass)),
            MessageClass.SERVICE,
            Reason.CONSENT_NOT_REQUIRED,
        ),
        (
            replace(HELD, usages=frozenset({MessageClass.PUBLIC})),
            MessageClass.PUBLIC,
            Reason.CONSENT_NOT_REQUIRED,
        ),
        (replace(HELD, usages=frozenset(MessageClass)), MessageClass.COMMERCIAL, Reason.NO_CONSENT),
        (HELD, MessageClass.COMMERCIAL, Reason.NO_CONSENT),
    ],
)
def test_holding_facts_give_the_reason_on_the_senders_side(
    holding: Holding | None, message_class: MessageClass, reason: Reason
) -> None:
    assert decide(holding_facts(holding, message_class)) is reason


STANDING = Wish(
    event=10, basis=Basis.CONFIRMED, effective_from=AT, valid_until=AT + timedelta(days=1)
)
ASSERTED = replace(STANDING, basis=Basis.ASSERTED)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (Wish(), Reason.NO_CONSENT),
        (STANDING, Reason.CONSENTED),
        (ASSERTED, Reason.CONSENTED),
        # Without a consent, a refusal does not show: a stranger learns nothing.
        (Wish(refused_event=11), Reason.NO_CONSENT),
        # An assertion that has no effect yet, or never had one, is no consent.
        (replace(ASSERTED, effective_from=None), Reason.NO_CONSENT),
        (replace(ASSERTED, effective_from=None, refused_event=9), Reason.NO_CONSENT),
        (replace(ASSERTED, effective_from=AT + TICK), Reason.NO_CONSENT),
        (replace(ASSERTED, effective_from=AT - TICK), Reason.CONSENTED),
        (replace(STANDING, reassigned=True), Reason.NUMBER_REASSIGNED),
        (replace(STANDING, reassigned=True, end=End.WITHDRAWN), Reason.NUMBER_REASSIGNED),
        (replace(STANDING, end=End.WITHDRAWN), Reason.CONSENT_WITHDRAWN),
        (replace(STANDING, end=End.VOIDED), Reason.CONSENT_WITHDRAWN),
        (replace(STANDING, end=End.WITHDRAWN, refused_event=11), Reason.CONSENT_WITHDRAWN),
        (replace(STANDING, end=End.WITHDRAWN, valid_until=AT), Reason.CONSENT_WITHDRAWN),
        (replace(STANDING, valid_until=AT + TICK), Reason.CONSENTED),
        (replace(STANDING, valid_until=AT), Reason.CONSENT_EXPIRED),
        (replace(STANDING, valid_until=AT - TICK), Reason.CONSENT_EXPIRED),
        (replace(STANDING, valid_until=None), Reason.CONSENT_EXPIRED),
        (replace(STANDING, valid_until=AT, refused_event=11), Reason.CONSENT_EXPIRED),
        # A refusal beats what was agreed to before it. What came after it passes only if the
        # subscriber confirmed it: no assertion does.
        (replace(STANDING, refused_event=11), Reason.REFUSED),
        (replace(ASSERTED, refused_event=11), Reason.REFUSED),
        (replace(STANDING, refused_event=9), Reason.CONSENTED),
        (replace(ASSERTED, refused_event=9), Reason.REFUSED),
    ],
)
def test_wish_facts_give_the_reason_on_the_subscribers_side(wish: Wish, reason: Reason) -> None:
    assert decide(SENDER | NOW | wish_facts(wish, AT)) is reason


def test_wish_facts_say_nothing_of_hours_and_caps() -> None:
    assert wish_facts(STANDING, AT) == AGREED


TUESDAY = date(2026, 12, 1)


@pytest.mark.parametrize(
    ("cap", "at", "room"),
    [
        (None, "2026-12-01T02:00Z", True),
        (Cap(1, Period.DAY, 0, None), "2026-12-01T02:00Z", True),
        (Cap(2, Period.DAY, 1, TUESDAY), "2026-12-01T02:00Z", True),
        (Cap(2, Period.DAY, 2, TUESDAY), "2026-12-01T02:00Z", False),
        (Cap(2, Period.DAY, 3, TUESDAY), "2026-12-01T02:00Z", False),
        # The day of the subscriber, which in China ends at 16:00 UTC.
        (Cap(1, Period.DAY, 1, TUESDAY), "2026-12-01T15:59:59.999999Z", False),
        (Cap(1, Period.DAY, 1, TUESDAY), "2026-12-01T16:00Z", True),
        (Cap(1, Period.WEEK, 1, date(2026, 11, 30)), "2026-12-06T15:59:59.999999Z", False),
        (Cap(1, Period.WEEK, 1, date(2026, 11, 30)), "2026-12-06T16:00Z", True),
        (Cap(1, Period.MONTH, 1, TUESDAY), "2026-12-31T15:59:59.999999Z", False),
        (Cap(1, Period.MONTH, 1, TUESDAY), "2026-12-31T16:00Z", True),
    ],
)
def test_under_cap_counts_the_calendar_period_of_the_subscriber(
    cap: Cap | None, at: str, room: bool
) -> None:
    assert under_cap(cap, datetime.fromisoformat(at), CHINA) is room


def test_under_cap_asks_for_the_day_in_the_zone_it_is_given() -> None:
    cap = Cap(1, Period.DAY, 1, TUESDAY)
    evening = datetime(2026, 12, 1, 20, 0, tzinfo=UTC)
    assert under_cap(cap, evening, CHINA)
    assert not under_cap(cap, evening, "America/New_York")
