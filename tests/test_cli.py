"""The command line, as an operator uses it."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy.engine import URL

from registry import cli, feed, receipts, runtime, senders
from registry.config import Settings
from registry.database import Database, utc_now
from registry.demo import CAMPAIGN
from tests.factories import make_uscc

NO, USAGE, UNUSABLE = 1, 2, 3


@dataclass
class Shell:
    """Runs `consent-registry` with a data folder of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, code: int = 0, **more: str) -> Result:
        environment: dict[str, str | None] = {
            "REGISTRY_DATA_DIR": str(self.folder), **self.environment, **more
        }  # fmt: skip
        done = CliRunner().invoke(cli.main, list(arguments), env=environment)
        assert done.exit_code == code, done.output
        return done

    def open(self) -> Database:
        """Open the registry's database, as another process may."""
        url = self.environment.get("REGISTRY_DATABASE_URL")
        return runtime.open_registry(Settings(self.folder, database_url=url)).database


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "var")


@pytest.fixture(params=["sqlite", "postgresql"])
def ready(request: pytest.FixtureRequest, shell: Shell) -> Shell:
    """Return a shell whose registry is set up, embedded or on PostgreSQL."""
    if request.param == "postgresql":
        url: URL = request.getfixturevalue("new_postgresql")
        shell.environment["REGISTRY_DATABASE_URL"] = url.render_as_string(hide_password=False)
    shell("init")
    return shell


@pytest.fixture
def demo(shell: Shell) -> Shell:
    """Return a shell whose registry is the demo world."""
    shell("demo", "--no-serve")
    return shell


def test_help_describes_every_command() -> None:
    def commands(group: click.Group) -> list[click.Command]:
        found = list(group.commands.values())
        return found + [
            below for one in found if isinstance(one, click.Group) for below in commands(one)
        ]

    assert all((command.help or "").strip() for command in commands(cli.main))


def test_init_makes_a_registry_that_is_ready_and_keeps_its_keys(ready: Shell) -> None:
    keys = {path.name: path.read_bytes() for path in (ready.folder / "keys").iterdir()}
    assert set(keys) == {"number.key", "signing.json"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (ready.folder / "keys").iterdir())
    ready("init")
    assert keys == {path.name: path.read_bytes() for path in (ready.folder / "keys").iterdir()}
    assert ready("db", "check").output == "ready\n"
    ready("db", "upgrade")


def test_registry_stays_closed_when_its_number_key_is_lost_or_another(ready: Shell) -> None:
    key = ready.folder / "keys" / "number.key"
    ready("db", "check", REGISTRY_NUMBER_KEY=key.read_text())
    lost = key.read_text()
    key.unlink()
    for command in (("init",), ("db", "check"), ("organisation", "list")):
        assert "number key cannot be read" in ready(*command, code=UNUSABLE).output
    assert not key.exists()
    key.write_text(f"{int(lost, 16) ^ 1:064x}")
    for command in (("init",), ("db", "check"), ("worker",), ("organisation", "list")):
        assert "another number key" in ready(*command, code=UNUSABLE).output


def test_check_names_what_is_missing_when_the_signing_key_is_gone(ready: Shell) -> None:
    (ready.folder / "keys" / "signing.json").unlink()
    assert "signing key" in ready("db", "check", code=NO).output


def test_operator_registers_an_organisation_with_number_and_key(ready: Shell) -> None:
    name = ("星河百货", make_uscc(1), "4001234567")
    organisation = ready("organisation", "add", "sender", *name).output.strip()
    assert "registered" in ready("organisation", "add", "sender", *name, code=NO).output
    ready("organisation", "add", "sender", "x", "not a code", "4001234567", code=NO)
    channel = ("--channel", "sms", "--usage", "commercial")
    ready("number", "hold", organisation, "1069 0001 234", *channel)
    assert organisation in ready("number", "show", "1069000123499").output
    key = ready("key", "issue", organisation, "--scope", "lookup").output.strip()
    ready("key", "issue", organisation, "--scope", "admin", code=NO)
    ready("organisation", "limits", organisation, "--requests-per-second", "5")
    ready("organisation", "suspend", organisation, "--reason", "complaints")
    assert "suspended" in ready("organisation", "list").output
    ready("organisation", "reinstate", organisation)
    assert "suspended" not in ready("organisation", "list").output
    ready("key", "revoke", organisation, key.partition(".")[0])
    ready("number", "release", organisation, "10690001234")
    ready("number", "show", "10690001234", code=NO)


def test_operator_decides_an_application_that_came_on_paper(ready: Shell, tmp_path: Path) -> None:
    licence = tmp_path / "licence.pdf"
    licence.write_bytes(b"%PDF-1.7")
    said = (
        "星河百货", make_uscc(1), "--licence", "B2-1", "--contact-name", "Li",
        "--contact-phone", "4001234567", "--complaint-phone", "95533", "--document", str(licence),
    )  # fmt: skip
    first = ready("organisation", "apply", "sender", *said).output.strip()
    ready("organisation", "apply", "sender", *said, code=NO)
    ready("organisation", "apply", "carrier", *said, code=USAGE)
    ready("organisation", "reject", first, code=USAGE)
    ready("organisation", "reject", first, "--reason", "The copy cannot be read.")
    second = ready("organisation", "apply", "sender", *said).output.strip()
    listed = ready("organisation", "applications").output
    assert (first in listed, second in listed) == (False, True)
    [document] = [line.split()[1] for line in listed.splitlines() if "document" in line]
    ready("organisation", "document", second, document, str(tmp_path / "copy.pdf"))
    assert (tmp_path / "copy.pdf").read_bytes() == b"%PDF-1.7"
    organisation = ready("organisation", "approve", second).output.strip()
    ready("organisation", "approve", second, code=NO)
    ready("organisation", "correct", organisation, "--name", "星河超市")
    shown = ready("organisation", "show", organisation).output
    assert shown.index("星河百货") < shown.index("星河超市")


def test_operator_announces_a_suspension_and_decides_the_appeal(ready: Shell) -> None:
    organisation = ready("organisation", "add", "sender", "x", make_uscc(1), "10086").output.strip()
    suspend = ("organisation", "suspend", organisation, "--reason", "complaints", "--from")
    ready(*suspend, "2020-01-01T00:00:00+0800", code=NO)
    assert "2999-12-31T16:00:00Z" in ready(*suspend, "3000-01-01T00:00:00+0800").output
    assert "active" in ready("organisation", "list").output
    with closing(ready.open()) as database, database.write() as session:
        [row] = senders.suspensions(session, UUID(organisation))
        appeal = senders.appeal(
            session, row.id, "We ask first.", organisation_id=row.organisation_id, now=utc_now()
        )
    assert "We ask first." in ready("organisation", "appeals").output
    ready("organisation", "decide-appeal", str(appeal.id), "granted", "--reason", "They do.")
    shown = ready("organisation", "show", organisation).output
    assert "granted: We ask first." in shown
    assert "ended: They do." in shown
    assert ready("organisation", "appeals").output == ""


def test_demo_answers_the_four_numbers_as_it_says(demo: Shell) -> None:
    known = json.loads((demo.folder / "demo.json").read_text(encoding="utf-8"))
    reasons = {
        "consented": "consented",
        "withdrawn": "consent_withdrawn",
        "refused": "refused",
        "absent": "no_consent",
    }
    for name, number in known["numbers"].items():
        shown = demo("lookup", number, code=0 if name == "consented" else NO).output
        assert f"{reasons[name]:20}  {number}" in shown
    assert set(known["keys"]) == {
        "operator", "sender", "other_sender", "carrier", "regulator", "provider",
    }  # fmt: skip
    extension = demo("number", "show", known["provider"]["extension"]).output
    assert known["other_sender"]["id"] in extension
    assert f"through  {known['provider']['id']}" in extension
    assert (demo.folder / "demo.json").stat().st_mode & 0o077 == 0


def test_demo_keeps_its_world_when_started_again(demo: Shell) -> None:
    first = (demo.folder / "demo.json").read_text(encoding="utf-8")
    demo("demo", "--no-serve")
    assert (demo.folder / "demo.json").read_text(encoding="utf-8") == first
    demo("demo", "--no-serve", REGISTRY_PORT="9999")
    assert ":9999" in (demo.folder / "demo.json").read_text(encoding="utf-8")


def test_registry_with_data_never_becomes_a_demo(shell: Shell, new_postgresql: URL) -> None:
    shell("init")
    shell("organisation", "add", "carrier", "x", make_uscc(1), "10086")
    assert "empty" in shell("demo", "--no-serve", code=NO).output
    other = new_postgresql.render_as_string(hide_password=False)
    shell("demo", "--no-serve", code=NO, REGISTRY_DATABASE_URL=other)


def test_lookup_shows_a_verdict_for_every_line_of_the_campaign(demo: Shell) -> None:
    shown = demo("lookup", "--file", str(CAMPAIGN)).output
    lines = shown.partition("\n\n")[0].splitlines()
    assert len(lines) == 1000
    assert [int(line.split()[0]) for line in lines] == list(range(1, 1001))
    excel = [line for line in lines if "E+10" in line]
    assert len(excel) > 20
    assert all("invalid_number" in line for line in excel)
    summary = shown.partition("\n\n")[2]
    for reason in ("consented", "no_consent", "consent_withdrawn", "refused", "invalid_number"):
        assert f"  {reason}\n" in summary
    assert sum(int(line.split()[0]) for line in summary.splitlines()[1:]) == 1000


def test_lookup_says_how_it_is_used_when_used_wrongly(demo: Shell, tmp_path: Path) -> None:
    demo("lookup", code=USAGE)
    demo("lookup", "--file", str(CAMPAIGN), "--column", "none", code=USAGE)
    demo("lookup", "13800138001", "--channel", "fax", code=USAGE)
    demo("lookup", "13800138001", "--from", "10691111111", code=NO)
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    demo("lookup", "--file", str(empty), code=USAGE)


@pytest.fixture
def receipt(tmp_path: Path, shell: Shell) -> Callable[..., Path]:
    """Return a maker of receipt files; its keys are published in `jwks.json`."""
    keys = tmp_path / "signing.json"
    receipts.create_key_file(keys)
    signer = receipts.Signer.load(keys)
    (tmp_path / "jwks.json").write_text(json.dumps(signer.jwks))

    def make(text: Callable[[str], str] = str) -> Path:
        question = {
            "id": "0", "policy": "p", "asker": "a", "sender": None, "from": "10690001234",
            "channel": "sms", "message_class": "commercial", "topic": "retail",
            "at": "2026-12-01T02:00:00Z", "forecast": False, "contact": True,
            "decided_at": "2026-12-01T02:00:00Z", "position": 7,
        }  # fmt: skip
        verdict = {
            "to": "+8613800138001", "allowed": True, "reason": "consented",
            "valid_until": "2026-12-01T02:10:00Z", "retry_at": None,
        }  # fmt: skip
        path = tmp_path / "receipt"
        path.write_text(text(signer.sign(receipts.payload(question, verdict))))
        return path

    return make


def test_verify_receipt_prints_what_it_proves(
    shell: Shell, receipt: Callable[..., Path], tmp_path: Path
) -> None:
    jwks = str(tmp_path / "jwks.json")
    for path in (receipt(), receipt(lambda text: json.dumps({"receipt": text}))):
        shown = shell("verify-receipt", str(path), "--jwks", jwks).output
        for word in ("valid", "+8613800138001", "allowed: consented", "10690001234", "position 7"):
            assert word in shown


@pytest.mark.parametrize(
    "spoil", [lambda text: text[:-1], lambda text: "x" + text, lambda _: "", lambda _: "{}"]
)
def test_verify_receipt_fails_when_anything_was_changed(
    shell: Shell, receipt: Callable[..., Path], tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    jwks = str(tmp_path / "jwks.json")
    assert (
        "no valid receipt"
        in shell("verify-receipt", str(receipt(spoil)), "--jwks", jwks, code=NO).output
    )


def test_rotated_signing_key_is_published_beside_the_old_one(ready: Shell) -> None:
    path = ready.folder / "keys" / "signing.json"
    [old] = json.loads(path.read_text())["keys"]
    new = ready("key", "rotate-signing").output.strip()
    kept = json.loads(path.read_text())["keys"]
    assert [key["kid"] for key in kept] == [new, old["kid"]]
    assert [("d" in key) for key in kept] == [True, False]


def test_policies_are_listed_and_shown(shell: Shell) -> None:
    assert "cn-2020-draft" in shell("policy", "list").output
    assert json.loads(shell("policy", "show", "cn-2026").output)["retention"]["traffic"] == 6
    shell("policy", "show", "none", code=UNUSABLE)
    shell("init")
    shell("db", "check", code=UNUSABLE, REGISTRY_POLICY="none")


def test_openapi_document_is_exported(ready: Shell, tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    ready("export-openapi", str(path))
    assert json.loads(path.read_text())["openapi"] == "3.1.0"


def test_settings_that_make_no_sense_are_refused(shell: Shell) -> None:
    for variable in ("REGISTRY_PORT", "REGISTRY_WORKERS"):
        for value in ("x", "0", "70000", "-1", "²"):
            shell("init", code=NO, **{variable: value})


def test_events_are_printed_from_a_position_on_without_numbers(demo: Shell) -> None:
    with closing(demo.open()) as opened, opened.write() as session:
        given = feed.sequence(session)
    lines = [json.loads(line) for line in demo("events").output.splitlines()]
    assert [line["position"] for line in lines] == list(range(1, given + 1))
    assert {"consent_granted", "refusal_recorded"} <= {line["event"]["kind"] for line in lines}
    known = json.loads((demo.folder / "demo.json").read_text(encoding="utf-8"))
    assert not any(number[3:] in json.dumps(lines) for number in known["numbers"].values())
    assert demo("events", "--after", str(given - 2)).output.count("\n") == 2
