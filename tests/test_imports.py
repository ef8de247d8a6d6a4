"""Imports: files of many lines are applied whole and once, however often they are interrupted."""

import gzip
import hashlib
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from registry import imports, senders, worker
from registry.consent import Basis
from registry.errors import Kind, RegistryError
from registry.imports import recording
from registry.models import (
    Consent,
    ConsentRequest,
    Evidence,
    Grant,
    ImportFormat,
    ImportKind,
    ImportState,
    NumberClaim,
    Reassignment,
    Refusal,
)
from tests.factories import START, Clock, World, count_rows, dump, make_number
from tests.import_factories import (
    DEFAULTS,
    GRANTED_AT,
    announce,
    counts,
    imported,
    numbers,
    objects,
    problems,
    read,
    receive,
    result,
    run,
    send,
    table,
)

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""How files are read does not depend on the database."""
on_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
GROUP = 500
"""Lines of consents that one transaction applies on SQLite."""
CSV, NDJSON = ImportFormat


def stored(world: World, what: Any) -> int:
    with world.registry.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(what)) or 0


def several_groups(world: World) -> int:
    """Return how many lines are more than one transaction applies."""
    return recording.group_size(ImportKind.CONSENTS, world.registry.database.dialect) * 6 // 5


# What lines become


def test_lines_of_each_kind_are_applied_once(world: World, clock: Clock) -> None:
    files = {
        ImportKind.CONSENTS: table("13800000001,a", names="number,key"),
        ImportKind.REQUESTS: table(
            "13800000002,voice,retail travel,3,week,30,May we?",
            names="number,channel,topics,cap.count,cap.period,valid_for_days,notice_text",
        ),
        ImportKind.REFUSALS: table(
            f"13800000003,hotline,{world.sender.uscc},1", f"13800000003,store,{world.sender.id},2",
            names="number,via,sender,key",
        ),
        ImportKind.REASSIGNMENTS: table(
            f"13800000004,{GRANTED_AT.isoformat()}", names="number,reassigned_at"
        ),
        ImportKind.NUMBERS: table(
            "1069000777,sms,commercial service,ours", names="number,channels,usages,note"
        ),
    }  # fmt: skip
    for kind, data in files.items():
        first, second = imported(world, data, kind), imported(world, data, kind)
        lines = data.count(b"\n") - 1
        assert (first.state, counts(first)) == (ImportState.DONE, (lines, 0, 0)), kind
        assert (second.state, counts(second)) == (ImportState.DONE, (0, lines, 0)), kind
        assert [row["id"] for row in result(world, first)] == [
            row["id"] for row in result(world, second)
        ]
    tables = (Grant, ConsentRequest, Reassignment, NumberClaim)
    assert [stored(world, each) for each in (*tables, Refusal)] == [1, 1, 1, 1, 2]


@on_sqlite
def test_refusal_without_key_counts_again_in_another_file(world: World) -> None:
    number, data = make_number(), table("13800000000,hotline", names="number,via")
    for _ in range(2):
        world.grant(number, basis=Basis.CONFIRMED)
        row = imported(world, data, ImportKind.REFUSALS)
        assert counts(row) == (1, 0, 0)
        assert not world.verdict().reason.allowed


@on_sqlite
def test_line_nested_without_end_is_rejected(world: World) -> None:
    nested = '{"number": "13800000001", "topics": ' + "[" * 600 + "]" * 600 + "}"
    row = imported(world, nested.encode(), ImportKind.CONSENTS, NDJSON)
    assert (row.state, counts(row)) == (ImportState.DONE, (0, 0, 1))


@on_sqlite
def test_line_says_what_defaults_leave_open(world: World) -> None:
    names = "number,channel,topics,granted_at,valid_until,cap.count,cap.period,evidence.uri"
    until = (START + timedelta(days=9)).isoformat()
    row = f"+86 138-0000-0001,voice,travel;games,{START.isoformat()},{until},2,week,urn:x:1"
    imported(world, table(row, ",,,,,,," * 0 + "13800000002,,,,,,,", names=names))
    with world.registry.database.read() as connection:
        query = (
            select(Consent.channel, Consent.topic, Consent.valid_until, Grant.granted_at)
            .add_columns(Grant.cap_count, Grant.cap_period, Evidence.uri, Evidence.notice_text)
            .join(Consent.grant)
            .join(Grant.evidence)
            .order_by(Consent.event_id, Consent.topic)
        )
        said = [tuple(found) for found in connection.execute(query)]
    text = "I agree to ten messages a day."
    assert said == [
        ("voice", topic, START + timedelta(days=9), START, 2, "week", "urn:x:1", text)
        for topic in ("games", "travel")
    ] + [("sms", "retail", GRANTED_AT + timedelta(days=90), GRANTED_AT, 10, "day", None, text)]


@on_sqlite
def test_line_without_key_is_known_by_what_it_says(world: World) -> None:
    at = GRANTED_AT.isoformat()
    imported(world, table("13800000001", "13800000002"))
    spelled = objects(
        {**DEFAULTS, "number": "+86 138 0000 0001", "granted_at": at.replace("+00:00", "Z")},
        {**DEFAULTS, "number": "13800000001", "cap": {"count": 9, "period": "day"}},
    )
    row = imported(world, spelled, ImportKind.CONSENTS, NDJSON, defaults={})
    assert counts(row) == (1, 1, 0)


@on_sqlite
def test_result_names_lines_by_number_and_harmless_key_and_holds_no_telephone_number(
    world: World,
) -> None:
    keys = ["=1+1", "@SUM(A1)", "\t-1", 'ordinary, but "quoted"', "13800000005", "客户6"]
    quoted = [key.replace('"', '""') for key in keys]
    rows = [f'1380000000{index},"{key}"' for index, key in enumerate(quoted, 1)]
    rows[2:2] = [",", ""]
    row = imported(world, table(*rows, names="number,key"))
    found = result(world, row)
    assert [line["key"] for line in found] == [
        "'=1+1", "'@SUM(A1)", "'-1", keys[3], "", "客户6",
    ]  # fmt: skip
    assert [int(line["line"]) for line in found] == [2, 3, 6, 7, 8, 9]
    assert b"1380000" not in world.registry.imports.result(row.id).read_bytes()


# Bad lines

LINE = "13800000001,sms,retail,2026-11-30T02:00:00Z,2027-01-01T00:00:00Z,3,day,app,I agree."
NAMES = (
    "number,channel,topics,granted_at,valid_until,cap.count,cap.period,"
    "evidence.method,evidence.notice_text"
)
BAD_LINES = [
    (LINE.replace("13800000001", "12345678901"), "number: not in a range"),
    (LINE.replace("13800000001", "95555"), "number: "),
    (LINE.replace("13800000001", "1.38E+10"), "number: "),
    (LINE.replace("13800000001", '"=""13800000001"""'), "number: a character"),
    (LINE.replace("13800000001", "1380000\x000001"), "number: a character"),
    (LINE.replace("13800000001", "01012345678"), "number: a landline takes no SMS"),
    (LINE.replace("13800000001", ""), "number: Missing data"),
    (LINE.replace("sms", "fax"), "channel: Must be one of"),
    (LINE.replace("retail", "retail retail"), "topics: The same value twice"),
    (LINE.replace("retail", ""), "topics: Missing data"),
    (LINE.replace("02:00:00Z", "10:00"), "granted_at: Not a valid datetime"),
    (LINE.replace("2027", "2017"), "valid_until "),
    (LINE.replace("2026-11-30", "2027-11-30"), "granted_at "),
    (LINE.replace(",3,", ",0,"), "cap.count: "),
    (LINE.replace(",3,", ",three,"), "cap.count: Not a valid integer"),
    (LINE.replace(",app,", ",registry,"), "evidence.method: Only the registry"),
    (LINE.replace("I agree.", "I\x00agree."), "evidence.notice_text: Contains"),
    (LINE.replace("I agree.", "x" * 10_001), "evidence.notice_text: Length must be"),
    (LINE + ",more", "the line has 10 cells, the first line 9"),
    (LINE.replace("I agree.", '"I" agree.'), "not proper CSV"),
]


@on_sqlite
def test_bad_line_of_csv_is_rejected_alone(world: World) -> None:
    good = LINE.replace("13800000001", "13800000009")
    lines = [part for bad, _ in BAD_LINES for part in (bad, good)]
    row = imported(world, table(*lines, names=NAMES), defaults={})
    assert (row.state, counts(row)) == (ImportState.DONE, (1, len(BAD_LINES) - 1, len(BAD_LINES)))
    found = problems(world, row)
    for line, (_, problem) in enumerate(BAD_LINES):
        assert problem in found[2 * line + 2], (problem, found[2 * line + 2])
    assert "138000" not in str(found)


BAD_OBJECTS: list[tuple[object, str]] = [
    ("{", "not proper JSON"),
    ('{"number": "13800000001", "number": "13800000002"}', "not proper JSON"),
    ('{"number": NaN}', "not proper JSON"),
    ("[" * 30_000, "not proper JSON"),
    ("[1]", "not a JSON object"),
    ({"number": 13800000001}, "number: a number is written as a string"),
    ({"number": "13800000001", "13800000001": 1}, "#######: Unknown field."),
    ({"number": "13800000001", "cap": {"count": True}}, "cap.count: Not a valid integer."),
    ({"number": "13800000001", "cap": 3}, "cap: Unknown field."),
    ({"number": "13800000001", "topics": "retail"}, "topics: Not a valid list."),
    ({"number": "13800000001", "key": "x" * 201}, "key: Length must be"),
    ({"number": "13800000001", "key": 7}, "key: Not a valid string."),
    ('{"number": "13800000001", "key": "\\ud800"}', "not proper JSON"),
]


@on_sqlite
def test_bad_line_of_ndjson_is_rejected_alone(world: World) -> None:
    good = {"number": "13800000009", "cap": {"count": 1}}
    lines = [part for bad, _ in BAD_OBJECTS for part in (good, bad)]
    row = imported(world, objects(*lines), ImportKind.CONSENTS, NDJSON)
    assert (row.state, row.problem) == (ImportState.DONE, None)
    found = problems(world, row)
    for line, (_, problem) in enumerate(BAD_OBJECTS, 1):
        assert found[2 * line].startswith(problem)
    assert counts(row) == (1, len(BAD_OBJECTS) - 1, len(BAD_OBJECTS))


# How files are written

HEAD = ["number,evidence.notice_text", "13800000001,好的", '13800000002,"a, ""b""\nc"']


@on_sqlite
@pytest.mark.parametrize(
    "data",
    [
        "\n".join(HEAD).encode(),
        ("\ufeff" + "\r\n".join(HEAD) + "\r\n").encode(),
        "\n".join(HEAD).encode("gb18030"),
        "\n".join(HEAD).replace(",", ";", 2).replace("2,", "2;").encode(),
        gzip.compress("\n".join(HEAD[:2]).encode()) + gzip.compress(f"\n{HEAD[2]}\n,\n".encode()),
    ],
    ids=["plain", "bom and crlf", "gb18030", "semicolons", "gzip of two members"],
)
def test_file_is_read_however_it_is_written(world: World, data: bytes) -> None:
    row = imported(world, data)
    assert (row.state, row.problem, counts(row)) == (ImportState.DONE, None, (2, 0, 0))
    with world.registry.database.read() as connection:
        texts = set(connection.scalars(select(Evidence.notice_text)))
    assert {text.replace("\r", "") for text in texts} == {"好的", 'a, "b"\nc'}


@on_sqlite
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (table("1,2", names="number,nix"), "there is no field for the column 'nix'"),
        (b"13800000001,1\n", "there is no field for the column '#######'"),
        (table("x", names="key"), "there is no column 'number', and no default for it"),
        (table("1,2", names="number,number"), "there is more than one column 'number'"),
        (table("13800000001").decode().encode("utf-16"), "the file is UTF-16; save it as UTF-8"),
        (b"PK\x03\x04", "the file is a spreadsheet or a ZIP; save it as CSV"),
        (b"\xff\x80\xff", "the file is neither UTF-8 nor GB18030"),
        (gzip.compress(numbers(3))[:-12], "the gzip file is cut off"),
        (gzip.compress(numbers(3))[:-8] + bytes(8), "the gzip file is damaged"),
        (gzip.compress(bytes(20 * 2**20), 1), "a line is longer than 64 KiB"),
        (gzip.compress(b"number" + b"\n" * 2**21), "nothing but blank lines"),
    ],
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_file_that_cannot_be_read_fails_before_anything_is_applied(
    world: World, data: bytes, problem: str
) -> None:
    before = count_rows(world.registry)
    row = imported(world, data)
    assert (row.state, counts(row)) == (ImportState.FAILED, (0, 0, 0))
    assert problem in (row.problem or "")
    assert count_rows(world.registry) == {**before, "imports": 1}
    assert not world.registry.imports.source(row.id).exists()


@on_sqlite
def test_line_that_never_ends_stops_a_file_with_its_number_after_what_stands_before(
    world: World,
) -> None:
    row = imported(world, numbers(3) + b'"' + b"x" * 70_000 + b"\n" + numbers(3))
    assert (row.state, counts(row)) == (ImportState.FAILED, (3, 0, 0))
    assert row.problem == ("line 5: a line is longer than 64 KiB, or a quote in it is never closed")


@on_sqlite
def test_column_that_a_mapping_names_must_be_there(world: World) -> None:
    data = table("x,13800000001,a", names="姓名,手机号,id")
    row = imported(world, data, columns={"number": "手机号", "key": "id"})
    assert (counts(row), result(world, row)[0]["key"]) == ((1, 0, 0), "a")
    row = imported(world, data, columns={"number": "电话"})
    assert (row.state, row.problem) == (ImportState.FAILED, "there is no column '电话'")


@on_sqlite
def test_file_of_column_names_alone_is_done(world: World) -> None:
    row = imported(world, table())
    assert (row.state, row.lines, result(world, row)) == (ImportState.DONE, 0, [])


@on_sqlite
def test_file_with_another_digest_than_named_is_not_applied(world: World) -> None:
    data = numbers(3)
    row = imported(world, data, sha256=hashlib.sha256(data).hexdigest())
    assert row.state is ImportState.DONE
    row = imported(world, data, sha256=hashlib.sha256(b"").hexdigest())
    assert (row.state, row.problem) == (
        ImportState.FAILED, "the file's SHA-256 is not the one that was named",
    )  # fmt: skip


# Interruptions


@on_sqlite
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_import_goes_on_where_it_stopped(world: World, pack: Any) -> None:
    lines = 2 * GROUP + 100
    row = send(world, pack(numbers(lines)))
    turns = 0
    while run(world, stop=lambda: True):
        turns += 1
        assert counts(read(world, row))[0] == min(turns * GROUP, lines) == stored(world, Grant)
    assert turns == 3
    assert [int(each["line"]) for each in result(world, row)] == list(range(2, lines + 2))


def test_group_that_fails_after_its_report_is_reported_once(world: World, clock: Clock) -> None:
    row = send(world, numbers(30))
    calls = 0

    def failing() -> datetime:
        nonlocal calls
        calls += 1
        # The time is taken last when a group has been reported, before it is committed.
        reported = world.registry.imports.result(row.id)
        if reported.exists() and reported.stat().st_size:
            raise ValueError("a failure")
        return clock()

    with pytest.raises(ValueError, match="a failure"):
        run(world, clock=failing)
    left = read(world, row)
    assert (left.state, left.lines, stored(world, Grant)) == (ImportState.RUNNING, 0, 0)
    assert not run(world)
    clock.pass_(minutes=2)
    assert run(world)
    assert counts(read(world, row)) == (30, 0, 0)
    assert len(result(world, row)) == 30


def test_import_is_never_applied_by_two_workers(world: World, clock: Clock) -> None:
    lines = several_groups(world)
    row = send(world, numbers(lines))
    seen: list[tuple[bool, int]] = []

    def meanwhile() -> bool:
        early = run(world)
        clock.pass_(minutes=2)
        assert run(world)
        seen.append((early, stored(world, Grant)))
        return False

    assert run(world, stop=meanwhile)
    assert seen == [(False, lines)]
    assert counts(read(world, row)) == (lines, 0, 0)
    assert len(result(world, row)) == lines


def test_import_is_applied_whole_by_workers_that_are_killed(
    world: World, url: str, tmp_path: Path
) -> None:
    lines, kills = 5 * several_groups(world), 3
    long_ago = {**DEFAULTS, "granted_at": "2026-01-01T00:00:00Z", "valid_for_days": 3650}
    row = send(world, numbers(lines), defaults=long_ago)
    command = [sys.executable, "-m", "tests.import_factories", url, str(tmp_path)]
    killed = 0
    while read(world, row).state in imports.UNFINISHED:
        with subprocess.Popen([*command, bytes(range(32)).hex()]) as process:
            before = read(world, row).lines
            while process.poll() is None and killed < kills:
                if read(world, row).lines > before:
                    time.sleep(0.02 * killed)
                    process.kill()
                    killed += 1
                time.sleep(0.005)
        found = read(world, row)
        assert found.lines == counts(found)[0] == stored(world, Grant)
        assert len(result(world, row)) == found.lines
    assert (killed, read(world, row).state) == (kills, ImportState.DONE)
    assert [int(each["line"]) for each in result(world, row)] == list(range(2, lines + 2))


def test_cancelled_import_applies_no_more(world: World, clock: Clock) -> None:
    lines = several_groups(world)
    row = send(world, numbers(lines))

    def cancel() -> bool:
        world.do(lambda session: imports.cancel(session, row.id, row.organisation_id, now=clock()))
        return False

    assert run(world, stop=cancel)
    assert not run(world)
    found = read(world, row)
    assert (found.state, found.lines) == (ImportState.CANCELLED, stored(world, Grant))
    assert 0 < found.lines < lines


# Who may, and how many


def test_import_waits_when_the_days_budget_is_used_up(world: World, clock: Clock) -> None:
    world.do(
        lambda session: senders.limit(
            session,
            world.sender.id,
            senders.Limits(None, None, 210),
            actor_id=None,
            now=clock(),
        )
    )
    row = send(world, numbers(300))
    assert run(world)
    assert not run(world)
    found = read(world, row)
    assert (found.state, found.lines, stored(world, Grant)) == (ImportState.WAITING, 210, 210)
    assert found.resume_at == datetime(2026, 12, 2, tzinfo=START.tzinfo)
    assert "budget" in (found.problem or "")
    clock.now = found.resume_at
    while run(world):
        pass
    found = read(world, row)
    assert (found.state, found.problem, counts(found)) == (ImportState.DONE, None, (300, 0, 0))


def test_import_of_a_suspended_organisation_waits_until_it_is_reinstated(
    world: World, clock: Clock
) -> None:
    lines = several_groups(world)
    row = send(world, numbers(lines))

    def act(use_case: Any, *about: Any) -> None:
        world.do(
            lambda session: use_case(session, world.sender.id, *about, actor_id=None, now=clock())
        )

    def suspend() -> bool:
        act(senders.suspend, "complaints")
        return False

    assert run(world, stop=suspend)
    found = read(world, row)
    assert (found.state, found.problem) == (
        ImportState.WAITING, "the organisation is suspended",
    )  # fmt: skip
    assert 0 < found.lines < lines
    assert not run(world)
    act(senders.reinstate)
    assert run(world)
    assert counts(read(world, row)) == (lines, 0, 0)


@on_sqlite
def test_imports_take_turns(world: World, clock: Clock) -> None:
    rows = [send(world, numbers(2 * GROUP, 10_000 * index)) for index in range(2)]
    for _ in range(2):
        run(world, stop=lambda: True)
        clock.pass_(seconds=1)
    assert [read(world, row).lines for row in rows] == [GROUP, GROUP]


@on_sqlite
def test_organisation_sends_only_what_its_kind_may_and_twenty_files_at_a_time(
    world: World, clock: Clock
) -> None:
    with pytest.raises(RegistryError) as refused:
        announce(world, ImportKind.CONSENTS, who=world.carrier)
    assert refused.value.kind is Kind.INVALID
    for _ in range(20):
        announce(world)
    with pytest.raises(RegistryError) as refused:
        announce(world)
    assert refused.value.kind is Kind.CONFLICT


# What is kept


@on_sqlite
def test_file_lies_encrypted_and_only_until_it_is_applied(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    data = numbers(20)
    row = announce(world)
    assert receive(world, row, data[:33]) == 33
    assert receive(world, row, data[33:50], data[50:], offset=33) == len(data)
    source = world.registry.imports.source(row.id)
    assert (source.stat().st_mode & 0o777, source.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert source.stat().st_size == len(data)
    assert b"1380" not in source.read_bytes()
    with world.registry.imports.read(row.id, len(data)) as file:
        assert file.read() == data
    world.do(lambda session: imports.start(session, row.id, row.organisation_id))
    assert run(world)
    assert (counts(read(world, row)), source.exists()) == ((20, 0, 0), False)
    assert b"13800000" not in dump(world.registry)


@on_sqlite
def test_upkeep_removes_results_after_the_days_of_the_policy(world: World, clock: Clock) -> None:
    done, left = imported(world, numbers(1)), announce(world)
    receive(world, left, b"number")
    folder = world.registry.imports.folder
    clock.pass_(days=30)
    worker.upkeep(world.registry, clock())
    assert len(list(folder.iterdir())) == 2
    clock.pass_(seconds=1)
    worker.upkeep(world.registry, clock())
    assert list(folder.iterdir()) == []
    assert (read(world, left).state, read(world, done).state) == (
        ImportState.CANCELLED, ImportState.DONE,
    )  # fmt: skip
    assert read(world, done).purged_at == clock()
    with pytest.raises(RegistryError) as gone:
        result(world, done)
    assert gone.value.kind is Kind.NOT_FOUND
