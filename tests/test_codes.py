"""One-time codes: limits, tries, single use, and one act only."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from registry import codes
from registry.errors import Kind, RegistryError
from registry.models import CodePurpose, OneTimeCode, OutboxItem
from registry.numbers import SubscriberNumber, parse_subscriber
from registry.runtime import Registry
from tests.factories import Clock, dump, make_number

CODE = "042137"


def issue(
    registry: Registry,
    number: SubscriberNumber | None = None,
    *,
    address: str = "192.0.2.1",
    purpose: CodePurpose = CodePurpose.SIGN_IN,
    draw: Callable[[], str] = lambda: CODE,
    **more: Any,
) -> OneTimeCode:
    with registry.database.write() as session:
        return codes.issue(
            session,
            number or make_number(),
            purpose,
            address=address,
            limits=registry.policy.codes,
            clock=registry.clock,
            region=registry.policy.default_region,
            draw=draw,
            **more,
        )


def check(
    registry: Registry,
    code: OneTimeCode,
    text: str = CODE,
    purpose: CodePurpose = CodePurpose.SIGN_IN,
) -> OneTimeCode | codes.Failure:
    with registry.database.write() as session:
        return codes.check(
            session, code.id, purpose, text, limits=registry.policy.codes, clock=registry.clock
        )


def sent(registry: Registry) -> list[OutboxItem]:
    with registry.database.snapshot() as session:
        return list(session.scalars(select(OutboxItem).order_by(OutboxItem.id)))


def with_limits(registry: Registry, **limits: int) -> Registry:
    """Return the registry with other limits of codes."""
    rules = replace(registry.policy, codes=replace(registry.policy.codes, **limits))
    return replace(registry, policy=rules)


def wait_of(act: Callable[[], object]) -> int:
    """Return how many seconds an act is refused for."""
    with pytest.raises(RegistryError) as raised:
        act()
    assert raised.value.kind is Kind.RATE_LIMITED
    assert raised.value.retry_after is not None
    return raised.value.retry_after


def test_code_is_sent_by_sms_and_used_once(registry: Registry) -> None:
    code = issue(registry, details={"carer": "138****0001"})
    [message] = sent(registry)
    assert message.number == make_number()
    assert message.expires_at == code.expires_at
    assert json.loads(message.details or "") == {
        "carer": "138****0001", "purpose": "sign_in", "code": CODE
    }  # fmt: skip
    used = check(registry, code)
    assert isinstance(used, OneTimeCode)
    assert used.number == make_number()
    assert check(registry, code) is codes.Failure.EXPIRED


def test_codes_are_six_digits_that_differ() -> None:
    drawn = {codes.random_code() for _ in range(50)}
    assert {len(code) for code in drawn} == {6}
    assert all(code.isascii() and code.isdigit() for code in drawn)
    assert len(drawn) > 40


@pytest.mark.parametrize("typed", ["042137", " 042 137 ", "042-137", "０４２１３７", "042137\n"])
def test_code_is_read_as_people_type_it(registry: Registry, typed: str) -> None:
    assert isinstance(check(registry, issue(registry), typed), OneTimeCode)


@pytest.mark.parametrize(
    "typed", ["", "42137", "0421370", "o42137", "²42137", "0" * 5000, "04213\x007"]
)
def test_what_is_no_code_is_wrong_and_is_no_try(registry: Registry, typed: str) -> None:
    code = issue(registry)
    for _ in range(20):
        assert check(registry, code, typed) is codes.Failure.WRONG
    assert isinstance(check(registry, code), OneTimeCode)


def test_code_is_worthless_after_five_minutes(registry: Registry, clock: Clock) -> None:
    code = issue(registry)
    clock.pass_(minutes=5)
    assert check(registry, code) is codes.Failure.EXPIRED


def test_code_is_worthless_after_five_wrong_tries(registry: Registry) -> None:
    code = issue(registry)
    answers = [check(registry, code, "000000") for _ in range(5)]
    assert answers == [codes.Failure.WRONG] * 4 + [codes.Failure.TRIED_TOO_OFTEN]
    assert check(registry, code) is codes.Failure.TRIED_TOO_OFTEN


def test_new_code_does_not_give_new_tries_of_the_day(registry: Registry, clock: Clock) -> None:
    issued = []
    for seconds in (60, 120, 0):
        issued.append(issue(registry))
        clock.pass_(seconds=seconds)
    for code in issued[:2]:
        for _ in range(5):
            check(registry, code, "000000")
    assert check(registry, issued[2]) is codes.Failure.TRIED_TOO_OFTEN


def test_number_without_tries_gets_no_further_code(registry: Registry, clock: Clock) -> None:
    for _ in range(2):
        code = issue(registry)
        for _ in range(5):
            check(registry, code, "000000")
        clock.pass_(hours=1)
    assert wait_of(lambda: issue(registry)) == 22 * 3600
    assert len(sent(registry)) == 2
    clock.pass_(hours=22)
    assert isinstance(check(registry, issue(registry)), OneTimeCode)


def test_code_is_good_for_its_purpose_only(registry: Registry) -> None:
    code = issue(registry, purpose=CodePurpose.FAMILY)
    assert check(registry, code) is codes.Failure.EXPIRED
    assert isinstance(check(registry, code, purpose=CodePurpose.FAMILY), OneTimeCode)


def test_code_of_another_is_not_mine(registry: Registry) -> None:
    mine = issue(registry, draw=lambda: "111111")
    issue(registry, make_number(1), draw=lambda: "222222")
    assert check(registry, mine, "222222") is codes.Failure.WRONG


def test_unknown_code_id_is_expired(registry: Registry) -> None:
    assert check(registry, OneTimeCode(id=uuid4())) is codes.Failure.EXPIRED


def test_fifty_right_answers_at_once_succeed_once(registry: Registry) -> None:
    code = issue(registry)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: check(registry, code), range(50)))
    assert sum(isinstance(answer, OneTimeCode) for answer in answers) == 1


def test_fifty_wrong_answers_at_once_are_five_tries(registry: Registry) -> None:
    code = issue(registry)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: check(registry, code, "000000"), range(50)))
    with registry.database.snapshot() as session:
        assert session.scalar(select(OneTimeCode.tries)) == 5


def test_wait_for_the_next_code_doubles(registry: Registry, clock: Clock) -> None:
    waits = []
    for _ in range(9):
        issue(registry)
        waits.append(wait_of(lambda: issue(registry)))
        clock.pass_(seconds=waits[-1])
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_nobody_waits_for_a_code_that_was_used(registry: Registry, clock: Clock) -> None:
    check(registry, issue(registry))
    issue(registry)
    assert wait_of(lambda: issue(registry)) == 60
    clock.pass_(seconds=60)
    check(registry, issue(registry))
    issue(registry)
    assert wait_of(lambda: issue(registry)) == 120


def test_codes_that_were_used_count_for_the_day(registry: Registry) -> None:
    for _ in range(10):
        check(registry, issue(registry))
    assert wait_of(lambda: issue(registry)) == timedelta(days=1).total_seconds()


def test_number_gets_ten_codes_a_day(registry: Registry, clock: Clock) -> None:
    for _ in range(10):
        issue(registry)
        clock.pass_(hours=1)
    assert wait_of(lambda: issue(registry)) == timedelta(hours=14).total_seconds()
    clock.pass_(hours=14, seconds=1)
    issue(registry)


def test_address_gets_a_limited_number_of_codes(registry: Registry) -> None:
    few = with_limits(registry, per_address_per_hour=3)
    for index in range(3):
        issue(few, make_number(index * 10_000), address=f"2001:db8::{index}")
    assert wait_of(lambda: issue(few, make_number(90_000), address="2001:db8::ffff")) == 3600
    issue(few, make_number(90_000), address="2001:db8:0:1::1")


def test_block_of_numbers_gets_a_limited_number_of_codes(registry: Registry) -> None:
    few = with_limits(registry, per_prefix_per_hour=3)
    for index in range(3):
        issue(few, make_number(index), address=f"192.0.2.{index}")
    assert wait_of(lambda: issue(few, make_number(3), address="192.0.2.3")) == 3600
    issue(few, make_number(10_000), address="192.0.2.3")


def succeeds(registry: Registry, index: int) -> bool:
    """Ask for a code for one of many numbers from one of many addresses."""
    try:
        issue(registry, make_number(index * 10_000), address=f"10.0.{index // 250}.{index % 250}")
    except RegistryError as error:
        if error.kind is not Kind.RATE_LIMITED:
            raise
        return False
    return True


def test_flood_stays_inside_the_budget(registry: Registry) -> None:
    few = with_limits(registry, breaker_after=20, per_hour=300)
    assert sum(succeeds(few, index) for index in range(1000)) == 30
    assert len(sent(registry)) == 30


def test_breaker_stays_closed_while_codes_are_used(registry: Registry) -> None:
    few = with_limits(registry, breaker_after=20, per_hour=60)
    for index in range(60):
        number = make_number(index * 10_000)
        code = issue(few, number, address=f"10.0.0.{index}")
        if index % 2:
            check(few, code)
    assert wait_of(lambda: issue(few, make_number(990_000), address="10.0.1.1")) == 3600


def test_codes_at_once_keep_the_limit(registry: Registry) -> None:
    few = with_limits(registry, per_hour=5)
    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(lambda index: succeeds(few, index), range(30))) == 5


@pytest.mark.parametrize("number", ["010-62345678", "+1 650 253 0000", "+44 7400 123456"])
def test_code_goes_to_no_landline_and_to_no_other_country(registry: Registry, number: str) -> None:
    with pytest.raises(RegistryError) as raised:
        issue(registry, parse_subscriber(number))
    assert raised.value.kind is Kind.INVALID_NUMBER
    assert sent(registry) == []


def test_code_and_address_are_in_no_dump(registry: Registry) -> None:
    issue(registry, address="203.0.113.77")
    taken = dump(registry)
    for secret in (CODE, "203.0.113.77"):
        assert secret.encode() not in taken
        assert secret.encode().hex().encode() not in taken


def test_refused_code_is_not_counted(registry: Registry, clock: Clock) -> None:
    issue(registry)
    for _ in range(30):
        wait_of(lambda: issue(registry))
    with registry.database.snapshot() as session:
        assert session.scalar(select(func.count(OneTimeCode.id))) == 1
    clock.pass_(seconds=60)
    issue(registry)
