"""Policies: what the files hold, what is refused, and the arithmetic of hours and periods."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import policy
from registry.errors import Kind, RegistryError
from registry.policy import Assertions, ContactHours, Period

CHINA = "Asia/Shanghai"
NEW_YORK = "America/New_York"
LOS_ANGELES = "America/Los_Angeles"
LONDON = "Europe/London"
HOURS = ContactHours(time(8), time(21))
TICK = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# The files


def test_both_policies_are_there_and_the_draft_is_the_default() -> None:
    assert policy.names() == ["cn-2020-draft", "cn-2026"]
    assert policy.load() == policy.load("cn-2020-draft")


@pytest.mark.parametrize(("name", "traffic_months"), [("cn-2020-draft", 5), ("cn-2026", 6)])
def test_a_policy_holds_what_its_texts_and_the_design_say(name: str, traffic_months: int) -> None:
    rules = policy.load(name)
    assert rules.name == name
    assert rules.default_region == "CN"
    assert rules.contact_hours == HOURS
    assert (rules.verdicts.lookup_minutes, rules.verdicts.scrub_hours) == (10, 24)
    assert rules.verdicts.forecast_days == 7
    assert rules.consents.asserted is Assertions.COUNT
    assert rules.consents.assertion_delay_minutes == 0
    assert rules.requests.ask_again_days == 0
    assert rules.retention.evidence_after_end == 5
    assert rules.retention.traffic == traffic_months
    clocks = rules.complaints
    assert (clocks.forward, clocks.answer, clocks.inform) == (3, 15, 3)


DRAFT = (policy.FOLDER / "cn-2020-draft.toml").read_text("utf-8")


def test_load_reads_a_file_by_its_path(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        DRAFT.replace('"cn-2020-draft"', '"own"').replace('"counts"', '"needs_confirmation"')
    )
    rules = policy.load(str(own))
    assert rules.name == "own"
    assert rules.consents.asserted is Assertions.NEED_CONFIRMATION


@pytest.mark.parametrize(
    ("written", "instead", "told"),
    [
        ("lookup_minutes = 10", "lookup_minutes = 0", "lookup_minutes"),
        ("lookup_minutes = 10", "lookup_minutes = -10", "lookup_minutes"),
        ("lookup_minutes = 10", "lookup_minutes = 10.0", "lookup_minutes"),
        ("lookup_minutes = 10", 'lookup_minutes = "10"', "lookup_minutes"),
        ("lookup_minutes = 10", "lookup_minutes = true", "lookup_minutes"),
        ("lookup_minutes = 10", "", "lookup_minutes"),
        ("lookup_minutes = 10", "lookup_minutes = 10\nlookup_hours = 1", "lookup_hours"),
        ("assertion_delay_minutes = 0", "assertion_delay_minutes = -1", "assertion_delay_minutes"),
        ('asserted = "counts"', 'asserted = "sometimes"', "asserted"),
        ('start = "08:00"', 'start = "8 o\'clock"', "start"),
        ('start = "08:00"', 'start = "21:00"', "start before they end"),
        ('start = "08:00"', 'start = "22:00"', "start before they end"),
        ('start = "08:00"', 'start = "08:00+08:00"', "without an offset"),
        ('end = "21:00"', 'end = "24:00"', "end"),
        ('default_region = "CN"', 'default_region = "ZZ"', "region 'ZZ'"),
        ('name = "cn-2020-draft"', 'name = ""', "name"),
        ("[limits]", "[caps]", "caps"),
        ("[verdicts]", "[verdicts", "line 11"),
    ],
)
def test_load_refuses_a_wrong_file_and_names_what_is_wrong(
    tmp_path: Path, written: str, instead: str, told: str
) -> None:
    assert DRAFT.count(written) == 1
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(DRAFT.replace(written, instead))
    with pytest.raises(RegistryError, match=told) as refusal:
        policy.load(str(wrong))
    assert refusal.value.kind is Kind.UNAVAILABLE
    assert "wrong.toml" in refusal.value.detail


def test_load_names_the_policies_there_are_when_it_knows_none_of_that_name() -> None:
    with pytest.raises(RegistryError, match=r"no policy 'cn-1999'; .*cn-2020-draft, cn-2026"):
        policy.load("cn-1999")


def test_load_refuses_what_is_no_text_and_what_is_no_file(tmp_path: Path) -> None:
    noise, folder, missing = (tmp_path / name for name in ("noise.toml", "dir.toml", "none.toml"))
    noise.write_bytes(DRAFT.encode() + b"\xff")
    folder.mkdir()
    for path in (noise, folder, missing):
        with pytest.raises(RegistryError, match=path.name):
            policy.load(str(path))


# Contact hours: the first of the hours is in, the end is out


@pytest.mark.parametrize(
    ("instant", "zones", "allowed"),
    [
        ("2026-12-01T00:00:00Z", [CHINA], True),
        ("2026-11-30T23:59:59.999999Z", [CHINA], False),
        ("2026-12-01T12:59:59.999999Z", [CHINA], True),
        ("2026-12-01T13:00:00Z", [CHINA], False),
        ("2026-12-01T16:00:00Z", [CHINA], False),
        # From 8:00 in Los Angeles until 21:00 in New York, in winter and in summer.
        ("2026-12-01T15:59:59.999999Z", [NEW_YORK, LOS_ANGELES], False),
        ("2026-12-01T16:00:00Z", [NEW_YORK, LOS_ANGELES], True),
        ("2026-12-02T01:59:59.999999Z", [LOS_ANGELES, NEW_YORK], True),
        ("2026-12-02T02:00:00Z", [LOS_ANGELES, NEW_YORK], False),
        ("2026-07-01T15:00:00Z", [NEW_YORK, LOS_ANGELES], True),
        ("2026-07-02T01:00:00Z", [NEW_YORK, LOS_ANGELES], False),
        # A number that is in no known zone may not be contacted at any hour.
        ("2026-12-01T04:00:00Z", [], False),
    ],
)
def test_contact_hours_allow_what_lies_within_them_in_every_zone(
    instant: str, zones: list[str], allowed: bool
) -> None:
    assert HOURS.allow(at(instant), tuple(zones)) is allowed


@pytest.mark.parametrize(
    ("instant", "zones", "opens"),
    [
        ("2026-12-01T04:00:00Z", [CHINA], "2026-12-01T04:00:00Z"),
        ("2026-12-01T12:59:59.999999Z", [CHINA], "2026-12-01T12:59:59.999999Z"),
        ("2026-12-01T13:00:00Z", [CHINA], "2026-12-02T00:00:00Z"),
        ("2026-11-30T23:59:59.999999Z", [CHINA], "2026-12-01T00:00:00Z"),
        ("2026-12-31T20:00:00Z", [CHINA], "2027-01-01T00:00:00Z"),
        ("2026-12-01T13:00:00Z", [NEW_YORK, LOS_ANGELES], "2026-12-01T16:00:00Z"),
        ("2026-12-02T02:00:00Z", [NEW_YORK, LOS_ANGELES], "2026-12-02T16:00:00Z"),
        ("2026-12-01T02:00:00Z", [LONDON, CHINA], "2026-12-01T08:00:00Z"),
        # The clocks of New York go forward on 8 March 2026 and back on 1 November.
        ("2026-03-07T12:00:00Z", [NEW_YORK], "2026-03-07T13:00:00Z"),
        ("2026-03-08T02:00:00Z", [NEW_YORK], "2026-03-08T12:00:00Z"),
        ("2026-10-31T11:00:00Z", [NEW_YORK], "2026-10-31T12:00:00Z"),
        ("2026-11-01T01:00:00Z", [NEW_YORK], "2026-11-01T13:00:00Z"),
        # China and New York share two hours; with London between them there is none.
        ("2026-12-01T04:00:00Z", [CHINA, NEW_YORK], "2026-12-02T00:00:00Z"),
        ("2026-12-01T04:00:00Z", [CHINA, LONDON, NEW_YORK], None),
        ("2026-12-01T04:00:00Z", [], None),
    ],
)
def test_contact_hours_open_at_the_first_instant_that_is_allowed(
    instant: str, zones: list[str], opens: str | None
) -> None:
    assert HOURS.opens(at(instant), tuple(zones)) == (None if opens is None else at(opens))


@pytest.mark.parametrize(
    ("instant", "zones", "closes"),
    [
        ("2026-12-01T00:00:00Z", [CHINA], "2026-12-01T13:00:00Z"),
        ("2026-12-01T12:59:59.999999Z", [CHINA], "2026-12-01T13:00:00Z"),
        ("2026-12-01T16:00:00Z", [NEW_YORK, LOS_ANGELES], "2026-12-02T02:00:00Z"),
        ("2026-12-01T12:00:00Z", [LONDON, CHINA], "2026-12-01T13:00:00Z"),
        ("2026-03-07T20:00:00Z", [NEW_YORK], "2026-03-08T02:00:00Z"),
        ("2026-03-08T20:00:00Z", [NEW_YORK], "2026-03-09T01:00:00Z"),
        ("2026-11-01T20:00:00Z", [NEW_YORK], "2026-11-02T02:00:00Z"),
    ],
)
def test_contact_hours_close_at_the_first_end_in_any_zone(
    instant: str, zones: list[str], closes: str
) -> None:
    assert HOURS.closes(at(instant), tuple(zones)) == at(closes)


@pytest.mark.parametrize(
    ("start", "end"),
    [(time(21), time(8)), (time(8), time(8)), (time(8, tzinfo=UTC), time(21, tzinfo=UTC))],
)
def test_contact_hours_refuse_to_span_midnight_or_to_have_a_zone(start: time, end: time) -> None:
    with pytest.raises(ValueError, match="contact hours"):
        ContactHours(start, end)


ZONES = [CHINA, NEW_YORK, LOS_ANGELES, LONDON, "Asia/Kolkata", "Africa/Cairo", "Pacific/Auckland"]
instants = st.floats(0, 1).map(lambda share: at("2024-01-01T00:00Z") + share * timedelta(days=2000))


@settings(deadline=None)
@given(instants, st.lists(st.sampled_from(ZONES), min_size=1, max_size=3), st.floats(0, 1))
def test_nothing_is_allowed_between_now_and_the_opening(
    instant: datetime, zones: list[str], share: float
) -> None:
    opens = HOURS.opens(instant, tuple(zones))
    if opens is None:
        assert not HOURS.allow(instant + share * timedelta(days=2), tuple(zones))
    else:
        assert HOURS.allow(opens, tuple(zones))
        before = instant + share * (opens - instant)
        assert before == opens or not HOURS.allow(before, tuple(zones))


@settings(deadline=None)
@given(instants, st.lists(st.sampled_from(ZONES), min_size=1, max_size=3), st.floats(0, 1))
def test_everything_is_allowed_from_the_opening_until_the_end(
    instant: datetime, zones: list[str], share: float
) -> None:
    opens = HOURS.opens(instant, tuple(zones))
    if opens is not None:
        closes = HOURS.closes(opens, tuple(zones))
        assert not HOURS.allow(closes, tuple(zones))
        within = min(opens + share * (closes - opens), closes - TICK)
        assert HOURS.allow(within, tuple(zones))


# Calendar periods, in the zone of the subscriber


@pytest.mark.parametrize(
    ("period", "instant", "zone", "start", "end"),
    [
        (Period.DAY, "2026-12-01T15:59:59.999999Z", CHINA, "2026-12-01", "2026-12-01T16:00Z"),
        (Period.DAY, "2026-12-01T16:00:00Z", CHINA, "2026-12-02", "2026-12-02T16:00Z"),
        (Period.DAY, "2026-12-31T15:59:59Z", CHINA, "2026-12-31", "2026-12-31T16:00Z"),
        (Period.DAY, "2026-12-31T16:00:00Z", CHINA, "2027-01-01", "2027-01-01T16:00Z"),
        (Period.DAY, "2027-01-01T04:59:59Z", NEW_YORK, "2026-12-31", "2027-01-01T05:00Z"),
        (Period.DAY, "2028-02-28T16:00:00Z", CHINA, "2028-02-29", "2028-02-29T16:00Z"),
        # Weeks begin on Monday; 1 January 2027 is a Friday.
        (Period.WEEK, "2026-11-29T15:59:59Z", CHINA, "2026-11-23", "2026-11-29T16:00Z"),
        (Period.WEEK, "2026-11-29T16:00:00Z", CHINA, "2026-11-30", "2026-12-06T16:00Z"),
        (Period.WEEK, "2027-01-01T00:00:00Z", CHINA, "2026-12-28", "2027-01-03T16:00Z"),
        (Period.MONTH, "2026-11-30T15:59:59Z", CHINA, "2026-11-01", "2026-11-30T16:00Z"),
        (Period.MONTH, "2026-11-30T16:00:00Z", CHINA, "2026-12-01", "2026-12-31T16:00Z"),
        (Period.MONTH, "2026-12-31T16:00:00Z", CHINA, "2027-01-01", "2027-01-31T16:00Z"),
        (Period.MONTH, "2027-02-10T00:00:00Z", CHINA, "2027-02-01", "2027-02-28T16:00Z"),
        (Period.MONTH, "2028-02-10T00:00:00Z", CHINA, "2028-02-01", "2028-02-29T16:00Z"),
        # A day of 23 hours and one of 25, a week and a month over the change.
        (Period.DAY, "2026-03-08T05:00:00Z", NEW_YORK, "2026-03-08", "2026-03-09T04:00Z"),
        (Period.DAY, "2026-11-01T04:00:00Z", NEW_YORK, "2026-11-01", "2026-11-02T05:00Z"),
        (Period.WEEK, "2026-03-05T05:00:00Z", NEW_YORK, "2026-03-02", "2026-03-09T04:00Z"),
        (Period.MONTH, "2026-11-01T04:00:00Z", NEW_YORK, "2026-11-01", "2026-12-01T05:00Z"),
        # In Cairo the clocks skip the first hour of 24 April 2026: it begins at 1:00.
        (Period.DAY, "2026-04-23T12:00:00Z", "Africa/Cairo", "2026-04-23", "2026-04-23T22:00Z"),
    ],
)
def test_a_period_starts_and_ends_where_the_calendar_of_the_zone_says(
    period: Period, instant: str, zone: str, start: str, end: str
) -> None:
    assert period.start(at(instant), zone) == date.fromisoformat(start)
    assert period.end(at(instant), zone) == at(end)


@settings(deadline=None)
@given(st.sampled_from(Period), instants, st.sampled_from(ZONES))
def test_a_period_ends_where_the_next_one_starts(
    period: Period, instant: datetime, zone: str
) -> None:
    end = period.end(instant, zone)
    assert end > instant
    assert period.start(end - TICK, zone) == period.start(instant, zone)
    assert period.start(end, zone) > period.start(instant, zone)
