"""The outbox on the command line, as an operator looks after it."""

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from registry import runtime
from registry.config import DEMO_SMS_NUMBER, Settings
from registry.messenger import house, outbox
from registry.messenger.backends import Refused
from registry.messenger.wording import CHINESE
from registry.models import OutboxState
from tests.sms_factories import Scripted, make_lane
from tests.sms_gateway import Answer, HttpGatewayPeer
from tests.test_cli import NO, USAGE, Shell

NUMBER = "13987654321"


@pytest.fixture
def demo(tmp_path: Path) -> Shell:
    """Return a shell whose registry is the demo world, with many notices that wait."""
    shell = Shell(tmp_path / "var")
    shell("demo", "--no-serve")
    return shell


def refuse_one(shell: Shell) -> str:
    """Let the gateway refuse the next message, and return its id."""
    registry = runtime.open_registry(Settings(shell.folder), patience=None)
    backend = Scripted()
    backend.plan.append(Refused("http_400"))
    with closing(registry.database):
        make_lane(registry, backend).step()
    return str(backend.sent[0].id)


def test_sms_of_a_demo_can_be_answered(demo: Shell) -> None:
    for given, number in ((None, DEMO_SMS_NUMBER), ("106900007", "106900007")):
        settings = replace(Settings(demo.folder), sms_number=given)
        registry = runtime.open_registry(settings, patience=None)
        with closing(registry.database):
            make_lane(registry, backend := Scripted(), house=house(registry.settings)).step()
        assert backend.sent[0].sender == number


def test_list_shows_masked_numbers_and_no_text(demo: Shell) -> None:
    lines = demo("outbox", "list", "--state", "waiting", "--most", "5").output.splitlines()
    assert len(lines) == 5
    shape = (
        r"[0-9a-f-]{36}  waiting    consent_asserted    1\d\d\*{4}\d{4}"
        r"  \d{4}-\d\d-\d\dT\d\d:\d\dZ  tried 0"
    )
    assert all(re.fullmatch(shape, line) for line in lines), lines
    assert demo("outbox", "list", "--state", "sent").output == ""


def test_list_says_in_which_sms_a_merged_one_is(demo: Shell) -> None:
    registry, digest_id = runtime.open_registry(Settings(demo.folder), patience=None), uuid4()
    with closing(registry.database), registry.database.write() as session:
        [item, *_] = outbox.newest(session, OutboxState.WAITING, 1)
        outbox.merge(item, digest_id)
        session.flush()
        merged = item.id
    [line] = demo("outbox", "list", "--state", "merged").output.splitlines()
    assert line.startswith(f"{merged}  merged ")
    assert line.endswith(f"  in {digest_id}")


def test_failed_message_waits_again_after_resend(demo: Shell) -> None:
    failed = refuse_one(demo)
    assert demo("outbox", "list", "--state", "failed").output.startswith(failed)
    assert demo("outbox", "resend", failed).output == "waiting\n"
    assert demo("outbox", "list", "--state", "failed").output == ""
    assert "this message is waiting" in demo("outbox", "resend", failed, code=NO).output
    demo("outbox", "resend", "one", code=USAGE)


def test_gateway_is_tried_with_one_sms_past_the_outbox(demo: Shell) -> None:
    with HttpGatewayPeer() as peer:
        settings: Any = {"REGISTRY_SMS_URL": peer.url, "REGISTRY_SMS_SECRET": "s"}
        done = demo("outbox", "test", NUMBER, **settings)
        assert done.output.startswith("accepted: gw-")
        assert peer.texts == [("+86" + NUMBER, "【同意登记】" + CHINESE.texts["test"])]
        peer.plan.append(Answer(401))
        assert demo("outbox", "test", NUMBER, code=NO, **settings).output == (
            "unavailable: http_401\n"
        )
    assert "REGISTRY_SMS_URL is not set" in demo("outbox", "test", NUMBER, code=NO).output
    done = demo("outbox", "test", "010 1234 5678", code=NO, **settings)
    assert "a landline takes no SMS" in done.output
