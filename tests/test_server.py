"""The registry as a process: started by its command, used over HTTP, and stopped."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registry.demo import TOPIC, tomorrow_at_ten

ROOT = Path(__file__).parents[1]
WELCOME_ENDS = "`make run` starts it again"


@contextmanager
def running(folder: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    """Run the demo until it says that it is ready; stop it as an operator would."""
    environment = {
        **os.environ, "REGISTRY_DATA_DIR": str(folder), "REGISTRY_PORT": str(port)
    }  # fmt: skip
    command = [sys.executable, "-m", "registry.cli", "demo"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if WELCOME_ENDS in line:
                    break
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Run one demo for what documents show; lend the folder that they speak of, and its port."""
    folder, port = tmp_path_factory.mktemp("checkout"), free_port()
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    with running(folder / "var", port):
        yield folder, port


def ask(known: dict[str, Any], number: str) -> dict[str, Any]:
    question = {
        "from": known["sender"]["sms_number"],
        "to": known["numbers"][number],
        "channel": "sms",
        "topic": TOPIC,
    }
    request = urllib.request.Request(
        known["url"] + "/v1/lookups",
        json.dumps(question).encode(),
        {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {known['keys']['sender']}",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def rows(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "registry.db")) as connection:
        return connection.execute(query).fetchall()


def test_demo_serves_sequences_stops_cleanly_and_starts_again(tmp_path: Path, port: int) -> None:
    folder = tmp_path / "var"
    with running(folder, port):
        known = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
        assert known["url"] == f"http://127.0.0.1:{port}"
        examples = {row[0] for row in rows(folder, "SELECT id FROM lookups")}
        answers = [ask(known, "absent") for _ in range(20)]
        assert {answer["reason"] for answer in answers} == {"no_consent"}
    audited = {row[0] for row in rows(folder, "SELECT id FROM lookups")}
    assert audited - examples == {answer["id"].replace("-", "") for answer in answers}
    [(events, positions, last)] = rows(
        folder, "SELECT count(*), count(position), max(position) FROM events"
    )
    assert events == positions == last > 400
    with running(folder, port):
        assert ask(known, "withdrawn")["reason"] == "consent_withdrawn"


VOLATILE = {"id", "decided_at", "receipt", "position", "recorded_at", "ended_at"}


def blocks(section: str) -> list[tuple[str, str]]:
    """Return the README's commands below a heading, with the answers that it shows for them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tour = text.partition(f"\n## {section}")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```(?:\n\n```(?:json|text)\n(.*?)\n```)?", tour, re.DOTALL)
    return [(commands, answer) for commands, answer in found]


def lasting(answer: str) -> object:
    """Return what an answer says besides ids, times and signatures."""
    if not answer.startswith("{"):
        return re.findall(r"^\w+|(?<=answer    )\d+ verdicts", answer, re.MULTILINE)
    return {name: value for name, value in json.loads(answer).items() if name not in VOLATILE}


def test_examples_of_the_client_print_what_they_show(demo: tuple[Path, int]) -> None:
    text = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    script, shown = ("".join(parts) for parts in zip(*examples, strict=True))
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=demo[0], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == shown


def test_command_uses_another_registry_over_http(demo: tuple[Path, int]) -> None:
    folder, port = demo
    known = json.loads((folder / "var" / "demo.json").read_text(encoding="utf-8"))
    environment = {
        **os.environ,
        "REGISTRY_URL": f"http://127.0.0.1:{port}",
        "REGISTRY_KEY": known["keys"]["sender"],
    }

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "registry.cli", "remote", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    file, result = folder / "numbers.csv", folder / "numbers-result.csv"
    file.write_text("number\n13900139007\n12\n")
    terms = {
        "channel": "sms", "topics": ["games"], "granted_at": "2026-11-01T00:00:00Z",
        "valid_for_days": 365, "cap": {"count": 1, "period": "week"},
        "evidence": {"method": "app", "notice_text": "One SMS a week."},
    }  # fmt: skip
    sent = run(
        "import", str(file), "--kind", "consents", "--defaults", json.dumps(terms),
        "--result", str(result),
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert re.search(r"1 +applied\n", sent.stdout)
    assert "13900139007" not in result.read_text()
    tomorrow = tomorrow_at_ten(datetime.now(UTC)).isoformat("T", "seconds")
    asked = run(
        "lookup", "13900139007", "13900139008",
        "--from", known["sender"]["sms_number"], "--topic", "games", "--at", tomorrow,
    )  # fmt: skip
    assert re.findall(r"yes|no_consent", asked.stdout) == ["yes", "no_consent"], asked.stderr
    assert asked.returncode == 1


def test_tour_of_the_readme_answers_as_it_shows(demo: tuple[Path, int]) -> None:
    folder, port = demo
    (setup, _), *steps = blocks("A tour in five calls")
    assert len(steps) == 6
    for commands, answer in steps:
        script = (setup + commands).replace("8080", str(port))
        done = subprocess.run(
            ["bash", "-euc", script], cwd=folder, capture_output=True, text=True, check=True
        )
        assert lasting(done.stdout.strip()) == lasting(answer)
