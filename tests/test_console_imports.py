"""The console's imports: sending a file, saying what is in it, watching it, reading the result."""

import gzip
import io
import re
import tempfile
import tracemalloc
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from sqlalchemy import select

from registry import imports, senders
from registry.consent import Reason
from registry.models import (
    Import,
    ImportKind,
    ImportState,
    MemberRole,
    OrganisationKind,
)
from registry.runtime import Registry
from registry.worker import import_means
from tests.console import Console, make_member
from tests.factories import START, Clock, World, make_number, make_organisation
from tests.portal import HOST, on_sqlite

pytestmark = on_sqlite
VIEWER, AGENT, ADMIN = MemberRole
Open = Callable[..., Console]

HEADER = "手机号,同意时间,topics,备注\r\n"
LINES = "".join(
    f"{make_number(index).dialled},2026-11-30T10:00:00+08:00,retail,x\r\n" for index in range(6)
)
TERMS = {
    "channel": "sms",
    "cap.count": "4",
    "cap.period": "month",
    "evidence.method": "web_form",
    "evidence.notice_text": "I agree to four SMS a month.",
    "valid_for_days": "90",
}


@pytest.fixture
def enter(app: Flask, registry: Registry) -> Open:
    """Return what opens a browser in which a member is signed in."""
    return lambda member, **more: Console(app, registry, **more).enter(member)


def send(
    browser: Console, content: str | bytes, name: str = "people.csv", **form: Any
) -> UUID | None:
    """Send a file by the page, and return the id of its import where there is one."""
    browser.get("/console/imports/new")
    data = content.encode() if isinstance(content, str) else content
    fields = {"kind": "consents", "name": "", "encoding": "auto", **form}
    browser.post("/console/imports", {**fields, "file": (io.BytesIO(data), name)})
    found = re.search(r"/console/imports/([0-9a-f-]{36})", browser.page.request.path)
    return UUID(found.group(1)) if found else None


def start(browser: Console, import_id: UUID | None, **form: Any) -> None:
    """Start an import with the columns that its page suggests, and with what is said else."""
    chosen = {
        name: re.findall(r'<option value="(\d*)" selected>', options)
        for name, options in re.findall(
            r'(?s)<select id="[^"]+-column" name="([^"]+)">(.*?)</select>', browser.page.text
        )
    }
    columns = {name: values[0] for name, values in chosen.items() if values}
    browser.post(f"/console/imports/{import_id}/columns", {**columns, **TERMS, **form})


def work(registry: Registry) -> None:
    """Apply what waits, as the worker does."""
    while imports.run_next(import_means(registry)):
        pass


def rows(world: World) -> list[Import]:
    return list(world.do(lambda session: session.scalars(select(Import)).all()))


def test_file_is_sent_looked_at_started_and_its_result_read(
    enter: Open, world: World, registry: Registry
) -> None:
    browser = enter(make_member(world, role=AGENT))
    import_id = send(
        browser, "\ufeff" + HEADER + LINES + "12,2026-11-30T10:00:00+08:00,retail,\r\n"
    )
    assert browser.page.request.path == f"/console/imports/{import_id}/columns"
    for said in ("手机号", "138****0004", "2026-11-30T10:00:00+08:00", "people.csv · Consents"):
        assert said in browser.shown, said
    assert make_number(4).dialled not in browser.page.text
    assert "138****0005" not in browser.shown
    start(browser, import_id)
    assert "The import has started." in browser.shown
    assert "Waiting to begin" in browser.shown
    assert f'hx-get="/console/imports/{import_id}" hx-trigger="every 2s"' in browser.page.text
    work(registry)
    browser.get(f"/console/imports/{import_id}")
    assert "Lines 7 Applied 6 Applied before 0 Rejected 1" in browser.shown
    assert "Line 8 number: " in browser.shown
    assert "hx-get" not in browser.page.text
    assert world.verdict(make_number(5)).reason is Reason.CONSENTED
    result = browser.get(f"/console/imports/{import_id}/result")
    assert result.headers["Content-Disposition"].startswith("attachment;")
    assert len(result.text.splitlines()) == 8
    assert browser.get("/console/imports").status_code == 200
    assert "people.csv" in browser.shown


@pytest.mark.parametrize(
    ("content", "name", "more", "said"),
    [
        ((HEADER + LINES).encode("gb18030"), "people.csv", {}, "手机号"),
        ('{"number": "13800000001", "topics": ["retail"]}\n', "people.ndjson", {}, "138****0001"),
        ("13800000001;13800000002\n13800000003;x\n", "a.csv", {}, "Has the file no names"),
        (b"PK\x03\x04xxxx", "people.xlsx", {}, "a spreadsheet or a ZIP"),
        (gzip.compress(LINES.encode())[:40], "people.csv.gz", {}, "The gzip file is cut off"),
        ("", "people.csv", {}, "choose a file that is not empty"),
        (HEADER + LINES, "", {}, "choose a file that is not empty"),
        (HEADER, "people.csv", {"kind": "refusals"}, "Please choose one"),
        ('手机号,note\n"138 0000 0001","call 138-0000-0002, <b>"\n', "a.csv", {}, "call #######"),
    ],
    ids=[
        "gb18030",
        "ndjson",
        "no header",
        "xlsx",
        "cut gzip",
        "empty",
        "no name",
        "kind",
        "formula",
    ],
)
def test_beginning_of_any_file_is_shown_or_why_not(
    enter: Open, world: World, content: str | bytes, name: str, more: dict[str, str], said: str
) -> None:
    browser = enter(make_member(world))
    send(browser, content, name, **more)
    assert said in browser.shown, browser.shown
    assert "13800000001" not in browser.page.text
    assert "<b>" not in browser.page.text


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"column number": ""}, "Please choose a column."),
        ({"channel": ""}, "Please choose a column, or write what holds for all lines."),
        ({"valid_for_days": ""}, "Please choose a column, or write what holds for all lines."),
        ({"cap.count": "0"}, "Please check this."),
        ({"evidence.method": "registry"}, "Please check this."),
        ({"valid_until": "31.12."}, "Please check this."),
    ],
)
def test_import_is_not_started_while_something_is_missing(
    enter: Open, world: World, form: dict[str, str], said: str
) -> None:
    browser = enter(make_member(world))
    import_id = send(browser, HEADER + LINES)
    start(browser, import_id, **form)
    assert (browser.page.status_code, said in browser.shown) == (422, True), browser.shown
    assert "I agree to four SMS a month." in browser.page.text
    assert rows(world)[0].state is ImportState.RECEIVING


def test_many_are_asked_and_many_numbers_claimed(
    enter: Open, world: World, registry: Registry
) -> None:
    browser = enter(make_member(world))
    asked = send(browser, "number\n13800000001\n13800000002\n", kind="requests")
    text = {"topics": ["retail", "travel"], "notice_text": "May we write?"}
    start(browser, asked, **text)
    claimed = send(browser, "number,备注\n10690007777,p. 3\n10690007778,\n", kind="numbers")
    start(browser, claimed, channels=["sms"], usages=["commercial"], held_until="2027-12-31")
    work(registry)
    browser.get("/console/requests")
    assert browser.shown.count("SMS · Shops and retail, Travel") == 2
    assert [row.note for row in world.do(senders.claims)] == ["p. 3", None]
    assert {row.state for row in rows(world)} == {ImportState.DONE}


def test_every_kind_of_organisation_imports_its_own(enter: Open, world: World) -> None:
    provider = world.do(lambda session: make_organisation(session, OrganisationKind.PROVIDER, 77))
    for where, kinds in (
        (world.sender, {ImportKind.CONSENTS, ImportKind.REQUESTS, ImportKind.NUMBERS}),
        (provider, {ImportKind.NUMBERS}),
        (world.carrier, {ImportKind.REFUSALS, ImportKind.REASSIGNMENTS}),
    ):
        page = enter(make_member(world, where)).get("/console/imports/new").text
        assert set(re.findall(r'name="kind" value="(\w+)"', page)) == kinds
    assert enter(make_member(world, world.regulator)).get("/console/imports").status_code == 404


def test_import_is_cancelled_and_its_file_removed(
    enter: Open, world: World, registry: Registry
) -> None:
    browser = enter(make_member(world, role=AGENT))
    import_id = send(browser, HEADER + LINES)
    assert import_id is not None
    start(browser, import_id)
    browser.get(f"/console/imports/{import_id}/cancel")
    browser.post(f"/console/imports/{import_id}/cancel")
    assert "The import is cancelled." in browser.shown
    assert not registry.imports.source(import_id).exists()
    work(registry)
    assert world.verdict(make_number(5)).reason is Reason.NO_CONSENT


def test_roles_and_strangers_import_nothing(enter: Open, world: World) -> None:
    agent = enter(make_member(world, role=AGENT))
    import_id = send(agent, HEADER + LINES)
    viewer = enter(make_member(world, role=VIEWER))
    stranger = enter(make_member(world, world.other_sender))
    assert viewer.get("/console/imports").status_code == 200
    assert "/console/imports/new" not in viewer.page.text
    assert viewer.get(f"/console/imports/{import_id}").status_code == 200
    assert "/cancel" not in viewer.page.text
    for path in ("new", f"{import_id}/columns", f"{import_id}/cancel"):
        assert viewer.get(f"/console/imports/{path}").status_code == 403, path
    for path in ("", "/columns", "/cancel", "/result"):
        assert stranger.get(f"/console/imports/{import_id}{path}").status_code == 404, path
    for browser, status in ((viewer, 403), (stranger, 404)):
        for path in ("columns", "cancel"):
            browser.get("/console/team")
            browser.get("/console/account")
            browser.post(f"/console/imports/{import_id}/{path}", TERMS)
            assert browser.page.status_code == status, path
    viewer.get("/console/account")
    viewer.post("/console/imports", {"kind": "consents", "file": (io.BytesIO(b"x"), "a.csv")})
    assert viewer.page.status_code == 403
    assert len(rows(world)) == 1


def test_suspended_sender_sends_no_file_and_may_cancel_one(enter: Open, world: World) -> None:
    browser = enter(make_member(world))
    import_id = send(browser, HEADER + LINES)
    world.do(
        lambda session: senders.suspend(
            session, world.sender.id, "Spam.", starts_at=START, actor_id=None, now=START
        )
    )
    start(browser, import_id)
    assert browser.page.status_code == 403
    send(browser, HEADER + LINES)
    assert browser.page.status_code == 403
    browser.get(f"/console/imports/{import_id}/cancel")
    browser.post(f"/console/imports/{import_id}/cancel")
    assert [row.state for row in rows(world)] == [ImportState.CANCELLED]


def test_form_is_checked_before_the_file_is_taken(enter: Open, world: World) -> None:
    browser = enter(make_member(world))
    browser.get("/console/imports/new")
    for token in ("forged", ""):
        fields = {"csrf_token": token, "kind": "consents", "encoding": "auto"}
        browser.post("/console/imports", {**fields, "file": (io.BytesIO(b"number\n1\n"), "a.csv")})
        assert (browser.page.status_code, "This page is old" in browser.shown) == (400, True)
        browser.get("/console/imports/new")
    browser.post("/console/imports", {"kind": "consents"})
    assert browser.page.status_code == 400
    assert rows(world) == []


BOUNDARY = "----form"


def _head(fields: dict[str, str]) -> str:
    """Return a form up to the first byte of its file, as a browser sends it."""
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
    said = "".join(f'{head}name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    return f'{said}{head}name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'


def _multipart() -> dict[str, Any]:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return {"base_url": HOST, "content_type": kind, "headers": {"Referer": HOST + "/"}}


def test_file_that_breaks_off_is_cancelled(enter: Open, world: World, registry: Registry) -> None:
    browser = enter(make_member(world))
    browser.get("/console/imports/new")
    head = _head({"csrf_token": browser.token(), "kind": "consents", "encoding": "auto"})
    answer = browser.client.post("/console/imports", data=head + "number\n" * 100, **_multipart())
    assert answer.status_code == 400
    [row] = rows(world)
    assert row.state is ImportState.CANCELLED
    assert not registry.imports.source(row.id).exists()


class Endless(io.RawIOBase):
    """A form whose file is many times as large as what is kept of it in memory."""

    def __init__(self, head: bytes, line: bytes, lines: int, tail: bytes) -> None:
        self.parts = chain([head], repeat(line, lines), [tail])
        self.size = len(head) + lines * len(line) + len(tail)
        self.left = b""
        self.at_end = False

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to the end or the beginning, as whoever measures it does."""
        self.at_end = whence == io.SEEK_END
        return self.tell()

    def tell(self) -> int:
        return self.size if self.at_end else 0

    def readinto(self, buffer: Any) -> int:
        while len(self.left) < len(buffer) and (part := next(self.parts, None)):
            self.left += part
        count = min(len(buffer), len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count


def test_large_file_takes_little_memory_and_lies_nowhere_in_the_clear(
    enter: Open, world: World, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = enter(make_member(world))
    browser.get("/console/imports/new")
    line = f"{make_number().dialled},2026-11-30T10:00:00+08:00,retail,x\r\n".encode() * 1000
    head = _head({"csrf_token": browser.token(), "kind": "consents", "encoding": "auto"}) + HEADER
    form = Endless(head.encode(), line, 400, f"\r\n--{BOUNDARY}--\r\n".encode())
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    tracemalloc.start()
    answer = browser.client.post(
        "/console/imports", input_stream=form, content_length=form.size, **_multipart()
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 302
    [row] = rows(world)
    assert row.size == len(HEADER.encode()) + 400 * len(line)
    assert peak < row.size / 3
    with registry.imports.source(row.id).open("rb") as file:
        assert make_number().dialled.encode() not in file.read(1_000_000)


def test_signed_out_window_is_led_to_the_door(enter: Open, world: World, clock: Clock) -> None:
    browser = enter(make_member(world))
    import_id = send(browser, HEADER + LINES)
    clock.pass_(hours=1)
    browser.get(f"/console/imports/{import_id}", HX_Request="true")
    assert browser.page.headers["HX-Redirect"] == "/console/sign-in"
