"""Members: invitations, two factors, guesses, roles; storage and rules, without pages."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import members, runtime
from registry.config import Settings
from registry.errors import Kind, RegistryError
from registry.members import accounts, attempts, passwords, second_factor
from registry.models import Event, Member, MemberRole
from tests.console import PASSWORD, make_member, password_hash
from tests.factories import Clock, World, dump, make_uscc
from tests.test_cli import NO, Shell

T = TypeVar("T")
ADDRESS = "192.0.2.7"


def invite(world: World, email: str = "li@example.cn", **more: MemberRole) -> tuple[Member, str]:
    role = more.get("role", MemberRole.AGENT)
    return world.do(
        lambda session: members.invite(
            session, world.sender.id, email, "Li Ming", role, actor_id=None,
            now=world.registry.clock(),
        )
    )  # fmt: skip


def join(world: World, email: str, code: str) -> str | None:
    now = world.registry.clock()

    def act(session: Session) -> str | None:
        found = members.begin_join(session, email, code, address=ADDRESS, now=now)
        if found is None:
            return None
        return members.join(session, found, password_hash(), address=ADDRESS, now=now)

    return world.do(act)


def here(world: World, token: str) -> members.Here | None:
    with world.registry.database.read() as connection:
        return members.find_session(connection, token, world.registry.clock())


def begin(world: World, email: str) -> members.signin.Try:
    return world.do(
        lambda session: members.begin(session, email, address=ADDRESS, now=world.registry.clock())
    )


def act(world: World, name: str, member: Member, *more: object) -> object:
    """Do to a member of the sender's what an admin does."""
    use_case: Callable[..., object] = getattr(members, name)
    return world.do(
        lambda session: use_case(
            session, world.sender.id, member.id, *more, actor_id=None, now=world.registry.clock()
        )
    )


def outcome(action: Callable[[], T]) -> T | Kind:
    try:
        return action()
    except RegistryError as error:
        return error.kind


def at_once(action: Callable[[], T], times: int) -> list[T | Kind]:
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: outcome(action), range(times)))


def test_invitation_is_good_once_for_its_email_and_for_three_days(
    world: World, clock: Clock
) -> None:
    _row, code = invite(world)
    assert join(world, "other@example.cn", code) is None
    assert join(world, "li@example.cn", "AAAA-BBBB-CCCC-DDDD") is None
    token = join(world, "li@example.cn", code.lower().replace("-", " "))
    assert token is not None
    found = here(world, token)
    assert found is not None
    assert not found.verified
    assert join(world, "li@example.cn", code) is None
    _row, late = invite(world, "wang@example.cn")
    clock.pass_(hours=72)
    assert join(world, "wang@example.cn", late) is None
    _row, again = invite(world, "wang@example.cn")
    _row, newest = invite(world, "wang@example.cn")
    assert join(world, "wang@example.cn", again) is None
    assert join(world, "wang@example.cn", newest) is not None


def test_email_belongs_to_one_member_until_that_one_ends(world: World, clock: Clock) -> None:
    member = make_member(world, role=MemberRole.AGENT, email="li@example.cn")
    with pytest.raises(RegistryError) as raised:
        invite(world, " LI@Example.cn ")
    assert raised.value.fields == {"email": [accounts.TAKEN]}
    act(world, "end", member)
    _row, code = invite(world)
    assert join(world, "li@example.cn", code) is not None
    # An invitation that was let lapse elsewhere does not stand in the way either.
    world.do(
        lambda session: members.invite(
            session, world.other_sender.id, "zhao@example.cn", "Zhao", MemberRole.ADMIN,
            actor_id=None, now=clock.now,
        )
    )  # fmt: skip
    assert outcome(lambda: invite(world, "zhao@example.cn")) is Kind.INVALID
    clock.pass_(hours=73)
    invite(world, "zhao@example.cn")


def test_parallel_guesses_are_counted_before_they_are_made(world: World) -> None:
    make_member(world, email="li@example.cn")
    for email in ("li@example.cn", "nobody@example.cn"):
        tries = at_once(lambda email=email: begin(world, email), 12)  # type: ignore[misc]
        assert sum(one is Kind.RATE_LIMITED for one in tries) == 12 - attempts.FREE, email


def test_waits_grow_end_and_are_forgotten(world: World, clock: Clock) -> None:
    waits: list[int] = []
    for _ in range(attempts.FREE + 9):
        while (tried := outcome(lambda: begin(world, "li@example.cn"))) is Kind.RATE_LIMITED:
            waits[-1] += 30
            clock.pass_(seconds=30)
        assert not isinstance(tried, Kind)
        waits.append(0)
    assert waits[: attempts.FREE - 1] == [0] * (attempts.FREE - 1)
    assert waits[attempts.FREE - 1 :] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 0]
    clock.pass_(days=1)
    begin(world, "li@example.cn")
    begin(world, "li@example.cn")


def test_right_password_ends_the_count_of_the_email_but_not_of_others(world: World) -> None:
    member = make_member(world, email="li@example.cn")
    for _ in range(attempts.FREE - 1):
        assert not begin(world, member.email).is_right("wrong password")
    tried = begin(world, member.email)
    assert tried.is_right(PASSWORD)
    assert world.do(lambda session: members.finish(session, tried, world.registry.clock()))
    begin(world, member.email)
    # An address is one for many people: its count goes on.
    for index in range(attempts.FREE_OF_ADDRESS - attempts.FREE):
        begin(world, f"person{index}@example.cn")
    assert outcome(lambda: begin(world, "last@example.cn")) is Kind.RATE_LIMITED


def half(world: World, member: Member) -> members.Here:
    """Return a member's session that waits for the second factor."""
    tried = begin(world, member.email)
    token = world.do(lambda session: members.finish(session, tried, world.registry.clock()))
    found = here(world, token or "")
    assert found is not None
    return found


def test_code_is_good_once_also_at_the_same_time(world: World, clock: Clock) -> None:
    member = make_member(world)
    waiting = half(world, member)
    code = second_factor.demo_code(member.totp_secret or "", clock.now)

    def enter() -> str | None:
        return world.do(lambda session: members.check_code(session, waiting, code, clock.now))

    entered = at_once(enter, attempts.FREE)
    assert sum(isinstance(one, str) for one in entered) == 1
    clock.pass_(seconds=30)
    assert world.do(lambda session: members.check_code(session, waiting, code, clock.now)) is None


def test_code_may_be_one_step_off_and_no_more(world: World, clock: Clock) -> None:
    member = make_member(world)
    secret, now = member.totp_secret or "", clock.now
    steps = {
        seconds: second_factor.step_of(
            secret, second_factor.demo_code(secret, now + timedelta(seconds=seconds)), now, None
        )
        for seconds in (-60, -30, 0, 30, 60)
    }
    assert [seconds for seconds, step in steps.items() if step is not None] == [-30, 0, 30]
    assert second_factor.step_of(secret, "１２３４５６", now, None) is None


def test_guesses_of_codes_make_the_member_wait(world: World, clock: Clock) -> None:
    waiting = half(world, make_member(world))
    wrong = [
        outcome(
            lambda: world.do(
                lambda session: members.check_code(session, waiting, "000000", clock.now)
            )
        )
        for _ in range(attempts.FREE + 1)
    ]
    assert wrong == [None] * attempts.FREE + [Kind.RATE_LIMITED]


def test_last_admin_stays_also_when_two_leave_at_once(world: World) -> None:
    first = make_member(world, email="a@example.cn")
    assert outcome(lambda: act(world, "end", first)) is Kind.CONFLICT
    assert outcome(lambda: act(world, "change_role", first, MemberRole.VIEWER)) is Kind.CONFLICT
    invite(world, "c@example.cn", role=MemberRole.ADMIN)  # She has not come yet.
    assert outcome(lambda: act(world, "end", first)) is Kind.CONFLICT
    second = make_member(world, email="b@example.cn")
    with ThreadPoolExecutor(2) as pool:
        ended = pool.map(lambda one: outcome(lambda: act(world, "end", one)), (first, second))
    assert sorted(map(str, ended)).count(str(Kind.CONFLICT)) == 1


@pytest.mark.parametrize(
    ("name", "more"),
    [("end", ()), ("change_role", (MemberRole.VIEWER,)), ("reset_second_factor", ())],
)
def test_whoever_is_changed_is_signed_out_at_once(
    world: World, clock: Clock, name: str, more: tuple[object, ...]
) -> None:
    make_member(world)
    member = make_member(world, role=MemberRole.AGENT)
    waiting = half(world, member)
    code = second_factor.demo_code(member.totp_secret or "", clock.now)
    token = world.do(lambda session: members.check_code(session, waiting, code, clock.now))
    assert here(world, token or "") is not None
    act(world, name, member, *more)
    assert here(world, token or "") is None


def test_events_and_storage_name_nobody(world: World) -> None:
    member = make_member(world, email="canary@example.cn", name="Canary Zhang")
    act(world, "new_code", member)
    with world.registry.database.snapshot() as session:
        kinds = select(Event).where(Event.kind.like("member%")).order_by(Event.id)
        events = {row.kind: json.loads(row.payload) for row in session.scalars(kinds)}
    assert list(events) == [
        "member_invited", "member_joined", "member_second_factor_set", "member_code_issued",
    ]  # fmt: skip
    assert {UUID(event["member"]) for event in events.values()} == {member.id}
    stored = dump(world.registry)
    for text in ("canary", "Canary", member.totp_secret or "", password_hash()):
        assert text.encode() not in stored


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("short words", passwords.TOO_SHORT),
        ("x" * 201, passwords.TOO_LONG),
        ("Password2026!", passwords.TOO_COMMON),
        ("123456789012", passwords.TOO_COMMON),
        ("abababababab", passwords.TOO_COMMON),
        ("qwertyuiop123", passwords.TOO_COMMON),
        ("li.ming@example.cn 7", passwords.TOO_CLOSE),
        ("herons of Li Ming", passwords.TOO_CLOSE),
        ("seven quiet herons", None),
        ("七只安静的苍鹭在水边站立着", None),
    ],
)
def test_password_may_be_anything_long_that_nobody_tries_first(
    password: str, problem: str | None
) -> None:
    def choose() -> str:
        return passwords.choose(password, email="li.ming@example.cn", name="Li Ming")

    if problem is None:
        assert passwords.verify(choose(), password)
    else:
        with pytest.raises(RegistryError) as raised:
            choose()
        assert raised.value.fields == {"password": [problem]}


def test_no_password_is_right_where_there_is_nobody() -> None:
    assert not passwords.verify(None, "")
    assert not passwords.verify(None, PASSWORD)
    assert not passwords.verify(password_hash(), PASSWORD + " ")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (" Li.Ming@Example.CN ", "li.ming@example.cn"),
        ("ｌｉ@example.cn", "li@example.cn"),
        ("李明@例子.中国", "李明@例子.中国"),
        ("li@example", None),
        ("li@@example.cn", None),
        ("li@example.cn\nBcc: x@y.cn", None),
        ("<b>@example.cn", None),
        ("l" * 250 + "@example.cn", None),
        ("", None),
    ],
)
def test_email_is_read_in_one_form(written: str, read: str | None) -> None:
    assert outcome(lambda: members.read_email(written)) == (read or Kind.INVALID)


def test_first_member_is_invited_and_helped_on_the_command_line(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "var")
    shell("init")
    own = shell("organisation", "add", "sender", "x", make_uscc(1), "4001234567").output.strip()
    code = shell("member", "invite", own, "li@example.cn", "Li Ming").output.strip()
    assert re.fullmatch(r"([A-Z2-9]{4}-){3}[A-Z2-9]{4}", code)
    shell("member", "invite", own, "no address", "Li Ming", code=NO)
    shell("member", "invite", str(uuid4()), "wang@example.cn", "Wang", code=NO)
    listed = shell("member", "list", own).output
    assert "admin   invited  li@example.cn  Li Ming" in listed
    member = listed.split()[0]
    assert shell("member", "code", own, member).output.strip() != code
    assert shell("member", "reset", own, member).output == "reset\n"
    assert shell("member", "end", own, member).output == "ended\n"
    shell("member", "end", own, member, code=NO)
    assert shell("member", "list", own).output == ""


def test_people_of_the_demo_are_in_with_both_factors(tmp_path: Path) -> None:
    shell = Shell(tmp_path / "var")
    shown = shell("demo", "--no-serve").output
    known = json.loads((shell.folder / "demo.json").read_text(encoding="utf-8"))["members"]
    assert known["emails"]["sender"] in shown
    assert known["password"] in shown
    opened = runtime.open_registry(Settings(shell.folder), patience=None)
    with closing(opened.database), opened.database.write() as session:
        tried = members.begin(
            session, known["emails"]["operator"], address=ADDRESS, now=opened.clock()
        )
        assert tried.is_right(known["password"])
        row = session.get_one(Member, tried.member_id)
        assert (row.totp_confirmed_at is not None, row.totp_step) == (True, None)
