"""Suspensions: announced for a date, appealed against, in effect, ended (R20)."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.orm import Session

from registry import senders
from registry.consent import Reason
from registry.errors import Kind, RegistryError
from registry.models import Appeal, AppealOutcome, Suspension
from registry.policy import Policy
from tests.factories import START, Clock, World

LATER = START + timedelta(days=3)


def suspend(
    world: World, starts_at: datetime | None = None, policy: Policy | None = None
) -> Suspension:
    """Announce the suspension of `sender`, as the operator."""

    def act(session: Session) -> Suspension:
        by: dict[str, Any] = {"actor_id": world.operator.id, "now": world.registry.clock()}
        senders.suspend(
            session, world.sender.id, "complaints", starts_at=starts_at, policy=policy, **by
        )
        found = senders.suspension(session, world.sender.id)
        assert found is not None
        return found

    return world.do(act)


def reinstate(world: World, reason: str | None = None) -> None:
    by: dict[str, Any] = {"actor_id": world.operator.id, "now": world.registry.clock()}
    world.do(lambda it: senders.reinstate(it, world.sender.id, reason=reason, **by))


def appeal(world: World, suspension: Suspension) -> Appeal:
    return world.do(
        lambda it: senders.appeal(
            it,
            suspension.id,
            "We have every consent.",
            organisation_id=world.sender.id,
            now=world.registry.clock(),
        )
    )


def decide(world: World, row: Appeal, *, granted: bool) -> Appeal:
    by: dict[str, Any] = {"actor_id": world.operator.id, "now": world.registry.clock()}
    return world.do(
        lambda it: senders.decide_appeal(it, row.id, granted=granted, reason="checked", **by)
    )


def refused(kind: Kind, act: Callable[[], object]) -> None:
    with pytest.raises(RegistryError) as error:
        act()
    assert error.value.kind is kind


def shown(world: World) -> list[Suspension]:
    return list(world.do(lambda it: senders.suspensions(it, world.sender.id)))


def test_suspension_takes_effect_at_its_date_and_not_before(world: World, clock: Clock) -> None:
    world.grant()
    suspend(world, LATER)
    assert world.verdict().reason is Reason.CONSENTED
    assert world.verdict(at=LATER).reason is Reason.SENDER_SUSPENDED
    assert not world.do(lambda it: senders.suspended(it, world.sender.id, clock.now))
    clock.now = LATER - timedelta(seconds=1)
    assert world.verdict().reason is Reason.CONSENTED
    clock.now = LATER
    assert world.verdict().reason is Reason.SENDER_SUSPENDED
    assert world.do(lambda it: senders.suspended(it, world.sender.id, clock.now))


def test_suspension_without_a_date_takes_effect_after_the_policys_notice(world: World) -> None:
    rules = world.registry.policy
    fortnight = replace(rules, suspensions=replace(rules.suspensions, notice_days=14))
    assert suspend(world, policy=rules).starts_at == START
    reinstate(world)
    assert suspend(world, policy=fortnight).starts_at == START + timedelta(days=14)
    reinstate(world)
    assert suspend(world, LATER, fortnight).starts_at == LATER


def test_suspension_is_not_announced_for_the_past_nor_twice(world: World) -> None:
    refused(Kind.INVALID, lambda: suspend(world, START - timedelta(seconds=1)))
    suspend(world, LATER)
    refused(Kind.CONFLICT, lambda: suspend(world))


def test_announced_suspension_never_takes_effect_when_it_is_called_off(
    world: World, clock: Clock
) -> None:
    world.grant()
    announced = suspend(world, LATER)
    clock.pass_(hours=1)
    reinstate(world, "a mistake")
    clock.now = LATER
    assert world.verdict().reason is Reason.CONSENTED
    [kept] = shown(world)
    assert (kept.id, kept.starts_at, kept.end_reason) == (announced.id, LATER, "a mistake")
    assert kept.ended_at == START + timedelta(hours=1)
    suspend(world)
    assert [row.ended_at is None for row in shown(world)] == [True, False]


@pytest.mark.parametrize("starts_at", [None, LATER], ids=["in effect", "announced"])
def test_granted_appeal_ends_the_suspension(world: World, starts_at: datetime | None) -> None:
    world.grant()
    row = appeal(world, suspend(world, starts_at))
    refused(Kind.CONFLICT, lambda: appeal(world, shown(world)[0]))
    assert decide(world, row, granted=True).outcome is AppealOutcome.GRANTED
    assert world.verdict(at=LATER).reason is Reason.CONSENTED
    assert [each.end_reason for each in shown(world)] == ["checked"]
    refused(Kind.CONFLICT, lambda: decide(world, row, granted=False))
    refused(Kind.CONFLICT, lambda: appeal(world, shown(world)[0]))


def test_dismissed_appeal_leaves_the_suspension_and_another_may_follow(world: World) -> None:
    world.grant()
    suspension = suspend(world)
    decide(world, appeal(world, suspension), granted=False)
    assert world.verdict().reason is Reason.SENDER_SUSPENDED
    second = appeal(world, suspension)
    [waiting] = world.do(senders.open_appeals)
    assert (waiting.id, waiting.suspension.organisation_id) == (second.id, world.sender.id)
    made = world.do(lambda it: senders.appeals(it, suspension.id))
    assert [row.outcome for row in made] == [AppealOutcome.DISMISSED, None]


def test_reinstatement_grants_the_appeal_that_waits(world: World) -> None:
    row = appeal(world, suspend(world))
    reinstate(world, "never mind")
    found = world.do(lambda it: senders.find_appeal(it, row.id))
    assert (found.outcome, found.reason) == (AppealOutcome.GRANTED, "never mind")
    assert world.do(senders.open_appeals) == []


def test_only_its_own_suspension_is_appealed_against(world: World) -> None:
    suspension = suspend(world)
    for suspension_id, organisation in (
        (suspension.id, world.other_sender),
        (uuid4(), world.sender),
    ):
        refused(
            Kind.NOT_FOUND,
            lambda about=suspension_id, who=organisation: world.do(  # type: ignore[misc]
                lambda it: senders.appeal(it, about, "x", organisation_id=who.id, now=START)
            ),
        )
    assert world.do(senders.open_appeals) == []


def test_nobody_decides_in_the_own_case(world: World) -> None:
    now, own = world.registry.clock(), world.operator.id
    for act in (
        lambda it: senders.suspend(it, own, "spite", actor_id=own, now=now),
        lambda it: senders.reinstate(it, own, actor_id=own, now=now),
    ):
        with pytest.raises(RegistryError, match="nobody suspends the own"):
            world.do(act)
