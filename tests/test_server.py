"""The registry as a process: started by its command, used over HTTP, and stopped."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry.demo import TOPIC

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
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


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
        answers = [ask(known, "absent") for _ in range(20)]
        assert {answer["reason"] for answer in answers} == {"no_consent"}
    audited = {row[0] for row in rows(folder, "SELECT id FROM lookups")}
    assert audited == {answer["id"].replace("-", "") for answer in answers}
    [(events, positions, last)] = rows(
        folder, "SELECT count(*), count(position), max(position) FROM events"
    )
    assert events == positions == last > 400
    with running(folder, port):
        assert ask(known, "withdrawn")["reason"] == "consent_withdrawn"
