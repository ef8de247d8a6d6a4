"""Imports over the API and from the command line: files in pieces, followed, and reported."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from registry import runtime
from registry.cli import main
from registry.config import Settings
from registry.observe import JsonLines
from registry.web import LARGEST_BODY
from tests.factories import Client, World, make_uscc
from tests.import_factories import DEFAULTS, numbers, run, table

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""What is asked and answered does not depend on the database."""

PIECE = "application/offset+octet-stream"
NEW = {"kind": "consents", "format": "csv", "name": "list.csv", "defaults": DEFAULTS}


def announce(client: Client, who: str = "sender", **parts: Any) -> str:
    answer = client.post("/v1/imports", {**NEW, **parts}, who=who)
    assert answer.status_code == 201, answer.json
    assert answer.json["state"] == "receiving"
    return f"/v1/imports/{answer.json['id']}"


def append(client: Client, path: str, offset: object, data: bytes, **more: Any) -> Any:
    headers = {"Upload-Offset": str(offset)}
    more = {"who": "sender", "content_type": PIECE, "headers": headers, **more}
    return client.call("PATCH", path, data, **more)


def send(client: Client, data: bytes, who: str = "sender", **parts: Any) -> str:
    path = announce(client, who, **parts)
    assert append(client, path, 0, data, who=who).status_code == 204
    assert client.post(f"{path}/start", {}, who=who).status_code == 200
    return path


def test_file_is_sent_in_pieces_applied_and_reported(client: Client, world: World) -> None:
    data = numbers(9)
    path = announce(client)
    assert append(client, path, 0, data[:40]).headers["Upload-Offset"] == "40"
    late = append(client, path, 0, data[:40])
    assert (late.status_code, late.headers["Upload-Offset"]) == (409, "40")
    assert client.call("HEAD", path, who="sender").headers["Upload-Offset"] == "40"
    assert append(client, path, 40, data[40:]).status_code == 204
    digest = hashlib.sha256(data).hexdigest()
    for _ in range(2):
        started = client.post(f"{path}/start", {"sha256": digest}, who="sender")
        assert (started.status_code, started.json["state"]) == (200, "waiting")
    assert append(client, path, len(data), b"13900000000\n").status_code == 409
    assert client.get(f"{path}/result", who="sender").text.splitlines() == [
        "line,key,outcome,id,problem"
    ]
    assert run(world)
    shown = client.get(path, who="sender").json
    assert shown is not None
    assert (shown["state"], shown["lines"], shown["share"], shown["size"]) == (
        "done", 9, 1.0, len(data),
    )  # fmt: skip
    assert shown["counts"] == {"applied": 9, "repeated": 0, "rejected": 0}
    answer = client.get(f"{path}/result", who="sender")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert len(answer.text.splitlines()) == 10
    consent = client.post("/v1/consents/search", {"number": "13800000003"}, who="sender").json
    assert [each["state"] for each in consent["consents"]] == ["active"]


def test_piece_may_be_larger_than_other_bodies(client: Client) -> None:
    path, data = announce(client), bytes(LARGEST_BODY + 2)
    assert append(client, path, 0, data).status_code == 204
    assert client.get(path, who="sender").headers["Upload-Offset"] == str(len(data))


def test_own_imports_are_listed_by_pages_the_newest_first(client: Client) -> None:
    paths = []
    for _ in range(51):
        paths.append(announce(client))
        client.post(f"{paths[-1]}/cancel", who="sender")
    first = client.get("/v1/imports", who="sender").json
    assert first is not None
    rest = client.get(f"/v1/imports?cursor={first['cursor']}", who="sender").json
    assert rest is not None
    listed = [f"/v1/imports/{row['id']}" for row in first["imports"] + rest["imports"]]
    assert (listed, rest["cursor"]) == (paths[::-1], None)
    for who in ("other_sender", "carrier"):
        assert client.get("/v1/imports", who=who).json == {"imports": [], "cursor": None}


@pytest.mark.parametrize(
    ("parts", "who", "status"),
    [
        ({"kind": "refusals", "defaults": {"via": "store"}}, "carrier", 201),
        ({"kind": "refusals", "defaults": {}}, "sender", 403),
        ({"kind": "consents"}, "carrier", 403),
        ({"kind": "numbers", "defaults": {"usages": ["service"]}}, "sender", 201),
        ({"format": "xlsx"}, "sender", 422),
        ({"defaults": {"channel": "fax"}}, "sender", 422),
        ({"defaults": {"number": "13800000001"}}, "sender", 422),
        ({"defaults": {"evidence": {"nix": 1}}}, "sender", 422),
        ({"columns": {"nix": "a"}}, "sender", 422),
        ({"format": "ndjson", "columns": {"number": "a"}}, "sender", 422),
        ({"encoding": "utf-7"}, "sender", 422),
    ],
)
def test_announcement_is_checked(
    client: Client, parts: dict[str, Any], who: str, status: int
) -> None:
    answer = client.post("/v1/imports", {**NEW, **parts}, who=who)
    assert answer.status_code == status, answer.json


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"headers": {}}, 422),
        ({"headers": {"Upload-Offset": "-1"}}, 422),
        ({"headers": {"Upload-Offset": "1"}}, 409),
        ({"headers": {"Upload-Offset": str(20480 * 2**20)}}, 413),
        ({"content_type": "application/json"}, 415),
        ({"who": "other_sender"}, 404),
        ({"who": "carrier"}, 404),
        ({"who": "operator"}, 403),
    ],
)
def test_piece_is_refused(client: Client, change: dict[str, Any], status: int) -> None:
    path = announce(client)
    assert append(client, path, 0, b"number\n", **change).status_code == status
    assert client.get(path, who="sender").headers["Upload-Offset"] == "0"


def test_import_of_others_is_not_there(client: Client) -> None:
    path = announce(client)
    ends: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("GET", "/result", None),
        ("POST", "/start", {}),
    ]
    for method, end, body in [*ends, ("POST", "/cancel", None)]:
        assert client.call(method, path + end, body, who="other_sender").status_code == 404
    unknown = f"/v1/imports/{uuid4()}"
    assert client.get(unknown, who="sender").status_code == 404


def test_suspended_organisation_sends_nothing_but_may_look_and_cancel(client: Client) -> None:
    path = announce(client)
    organisation = f"/v1/organisations/{client.world.sender.id}"
    starts = {"reason": "complaints", "starts_at": client.world.registry.clock().isoformat()}
    assert client.post(f"{organisation}/suspend", starts, who="operator").status_code == 200
    assert client.post("/v1/imports", NEW, who="sender").status_code == 403
    assert append(client, path, 0, b"number\n").status_code == 403
    assert client.post(f"{path}/start", {}, who="sender").status_code == 403
    assert client.get(path, who="sender").status_code == 200
    assert client.post(f"{path}/cancel", who="sender").json["state"] == "cancelled"


def test_import_starts_with_something_and_ends_for_good(client: Client, world: World) -> None:
    path = announce(client)
    assert client.post(f"{path}/start", {}, who="sender").status_code == 409
    assert append(client, path, 0, numbers(2)).status_code == 204
    for _ in range(2):
        assert client.post(f"{path}/cancel", who="sender").json["state"] == "cancelled"
    assert client.post(f"{path}/start", {}, who="sender").status_code == 409
    assert append(client, path, 0, b"").status_code == 409
    assert not run(world)
    assert not world.registry.imports.source(UUID(path.rpartition("/")[2])).exists()


def test_numbers_of_a_file_are_in_no_answer_result_log_or_problem(
    client: Client, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = "13987654321"
    files = [
        table(canary, f"{canary}1", f"{canary},{canary}"),
        table(f"{canary},{canary}", f"{canary}9,{canary}9", names="number,key"),
        table(canary, names=canary),
    ]
    paths = [send(client, data) for data in files]
    while run(world):
        pass
    for path in paths:
        for end in ("", "/result"):
            assert canary not in client.get(path + end, who="sender").text
    assert canary not in client.get("/v1/imports", who="sender").text
    lines = [JsonLines().format(record) for record in caplog.records]
    assert canary not in "\n".join(lines)
    for file in world.registry.imports.folder.rglob("*.csv"):
        assert canary.encode() not in file.read_bytes()


# From the command line


@pytest.fixture
def command(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs `consent-registry` on a registry of its own, with a sender."""
    folder = tmp_path / "data"
    monkeypatch.setenv("REGISTRY_DATA_DIR", str(folder))
    runtime.initialise(Settings(folder))

    def call(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, [str(each) for each in arguments])
        assert done.exit_code == code, done.output
        return done.output

    return call


def test_command_imports_a_file_and_shows_its_result(command: Any, tmp_path: Path) -> None:
    sender = command("organisation", "add", "sender", "Shop", make_uscc(5), "4001234567").strip()
    file, defaults = tmp_path / "list.csv", tmp_path / "defaults.json"
    file.write_bytes(table("x,13800000001,a", "y,13800000002,b", "z,1,c", names="name,phone,id"))
    long_ago = {**DEFAULTS, "granted_at": "2026-01-01T00:00:00Z", "valid_for_days": 3650}
    defaults.write_text(json.dumps(long_ago), encoding="utf-8")
    about = (
        "import", file, "--kind", "consents", "--for", sender, "--columns", "number=phone",
        "--columns", "key=id", "--defaults", f"@{defaults}",
    )  # fmt: skip
    said = command(*about)
    assert "done: 3 lines" in said
    assert "2  applied" in said
    assert "2  repeated" in command(*about)
    listed = command("imports", "list", "--for", sender).splitlines()
    assert len(listed) == 2
    import_id = listed[-1].split()[0]
    assert "100% read" in command("imports", "show", import_id)
    result = command("imports", "result", import_id).splitlines()
    assert [line.split(",")[1:3] for line in result[1:]] == [
        ["a", "applied"], ["b", "applied"], ["c", "rejected"],
    ]  # fmt: skip
    assert command("imports", "cancel", import_id).strip() == "done"


def test_command_fails_when_a_file_cannot_be_read(command: Any, tmp_path: Path) -> None:
    sender = command("organisation", "add", "sender", "Shop", make_uscc(5), "4001234567").strip()
    file = tmp_path / "list.csv"
    file.write_bytes(table("1", names="nix"))
    said = command("import", file, "--kind", "consents", "--for", sender, code=1)
    assert "failed: 0 lines" in said
    assert "there is no field for the column 'nix'" in said
    file.write_bytes(b"")
    said = command("import", file, "--kind", "consents", "--for", sender, code=1)
    assert "nothing of the file was received" in said
