"""Subscribers' sessions: wrong tokens, idleness, signing out, and the end of a tenure."""

import pytest

from registry import sessions
from registry.numbers import SubscriberNumber
from registry.runtime import Registry
from registry.sessions import SignedIn
from tests.factories import Clock, World, dump, make_number


def start(registry: Registry, number: SubscriberNumber | None = None) -> str:
    with registry.database.write() as session:
        return sessions.start(session, number or make_number(), registry.clock())[1]


def find(registry: Registry, token: str) -> SignedIn | None:
    with registry.database.read() as connection:
        return sessions.find(connection, token, registry.clock())


def test_token_tells_who_signed_in(registry: Registry) -> None:
    found = find(registry, start(registry))
    assert found is not None
    assert found.number == make_number()


def test_wrong_token_is_nobodys(registry: Registry) -> None:
    token = start(registry)
    identifier, _, secret = token.partition(".")
    other = start(registry, make_number(1)).partition(".")[2]
    wrong = [
        "",
        ".",
        "x.y",
        identifier,
        f"{identifier}.",
        f"{identifier}.{other}",
        f"{identifier}.密",
    ]
    wrong += [f"{identifier}.{secret[:-1]}", f"{secret}.{identifier}"]
    assert [find(registry, text) for text in wrong] == [None] * len(wrong)


def test_session_ends_when_idle_and_lasts_while_used(registry: Registry, clock: Clock) -> None:
    token = start(registry)
    for _ in range(5):
        clock.pass_(minutes=14)
        found = find(registry, token)
        assert found is not None
        with registry.database.write() as session:
            sessions.seen(session, found.session_id, clock())
    clock.pass_(minutes=15)
    assert find(registry, token) is None


def test_session_ends_after_twelve_hours_even_when_used(registry: Registry, clock: Clock) -> None:
    token = start(registry)
    for _ in range(12 * 6 - 1):
        clock.pass_(minutes=10)
        found = find(registry, token)
        assert found is not None
        with registry.database.write() as session:
            sessions.seen(session, found.session_id, clock())
    clock.pass_(minutes=10)
    assert find(registry, token) is None


def test_signing_out_ends_one_session(registry: Registry, clock: Clock) -> None:
    here, there = start(registry), start(registry)
    found = find(registry, here)
    assert found is not None
    with registry.database.write() as session:
        sessions.end(session, found.session_id, clock())
    assert find(registry, here) is None
    assert find(registry, there) is not None


def test_signing_out_everywhere_ends_all_of_the_number(registry: Registry, clock: Clock) -> None:
    mine, other = [start(registry) for _ in range(3)], start(registry, make_number(1))
    with registry.database.write() as session:
        assert len(sessions.standing(session, make_number(), clock())) == 3
        sessions.end_all(session, make_number(), clock())
        assert sessions.standing(session, make_number(), clock()) == []
    assert [find(registry, token) for token in mine] == [None] * 3
    assert find(registry, other) is not None


def test_session_of_an_earlier_tenure_is_over(
    registry: Registry, world: World, clock: Clock
) -> None:
    old = start(registry)
    clock.pass_(minutes=1)
    reassigned_at = clock()
    clock.pass_(minutes=1)
    new = start(registry)
    report = world.reassign(reassigned_at=reassigned_at)
    assert find(registry, old) is None
    assert find(registry, new) is not None
    world.cancel(report)
    assert find(registry, old) is not None


def test_ended_session_is_not_revived_by_use(registry: Registry, clock: Clock) -> None:
    token = start(registry)
    found = find(registry, token)
    assert found is not None
    with registry.database.write() as session:
        sessions.end(session, found.session_id, clock())
        sessions.seen(session, found.session_id, clock())
    assert find(registry, token) is None


@pytest.mark.parametrize("part", [0, 1])
def test_secret_is_in_no_dump(registry: Registry, part: int) -> None:
    secret = start(registry).partition(".")[2]
    assert secret[part * 20 : part * 20 + 20].encode() not in dump(registry)
