"""Evidence over the API: files kept, shown to whom they concern, and to nobody else."""

import io
import json
from dataclasses import replace
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from registry import ledger
from registry.models import Event, EvidenceFile
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    START,
    Client,
    Clock,
    World,
    consent_body,
    count_rows,
    make_number,
)
from tests.portal import on_sqlite
from tests.test_evidence import after_months, purge

PDF = b"%PDF-1.7 her signature, 13912345678"
DIGEST = sha256(PDF).hexdigest()
NUMBER = "13800000000"
STRANGERS = ("other_sender", "carrier", "other_carrier")
ASKED = {"from": SMS_PORT, "number": NUMBER, "channel": "sms", "topic": "retail"}


def upload(
    client: Client,
    data: bytes = PDF,
    *,
    who: str = "sender",
    name: str = "attachment; filename*=UTF-8''%E5%90%8C%E6%84%8F.pdf",
    content_type: str = "application/pdf",
) -> Any:
    return client.post(
        "/v1/evidence",
        data,
        who=who,
        content_type=content_type,
        headers={"Content-Disposition": name},
    )


def proved(client: Client, **claim: Any) -> str:
    """Have a consent asserted whose evidence names the file; return its id."""
    told = {"method": "paper", "notice_text": "I agree.", "sha256": DIGEST}
    answer = client.post("/v1/consents", consent_body(NUMBER, evidence=told, **claim), who="sender")
    assert answer.status_code == 201
    return str(answer.json["consents"][0]["id"])


def looks(world: World, kind: str) -> list[dict[str, Any]]:
    with world.registry.database.snapshot() as session:
        rows = session.scalars(select(Event).where(Event.kind == kind).order_by(Event.id))
        return [json.loads(row.payload) for row in rows]


# A sender's own files


@on_sqlite
def test_file_is_kept_once_listed_and_its_senders_alone(client: Client) -> None:
    facts = {
        "sha256": DIGEST, "size": len(PDF), "media_type": "application/pdf", "name": "同意.pdf",
    }  # fmt: skip
    for _ in range(2):
        answer = upload(client)
        assert (answer.status_code, answer.json) == (201, facts)
    assert client.get("/v1/evidence", who="sender").json == {"files": [facts], "cursor": None}
    assert client.get("/v1/evidence", who="other_sender").json == {"files": [], "cursor": None}
    found = client.get(f"/v1/evidence/{DIGEST}", who="sender").json
    assert found == {**facts, "recorded_at": "2026-12-01T02:00:00Z", "named": False}
    answer = client.get(f"/v1/evidence/{DIGEST}/file", who="sender")
    assert (answer.data, answer.mimetype) == (PDF, "application/octet-stream")
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename*=UTF-8''%E5%90%8C%E6%84%8F.pdf"
    )
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    for path in (f"/v1/evidence/{DIGEST}", f"/v1/evidence/{DIGEST}/file"):
        assert client.get(path, who="other_sender").status_code == 404
    for bad in ("..%2F..%2Fkeys%2Fnumber.key", DIGEST.upper(), "a"):
        assert client.get(f"/v1/evidence/{bad}/file", who="sender").status_code == 404


@on_sqlite
def test_files_are_listed_page_by_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("registry.evidence.keeping", "registry.evidence"):
        monkeypatch.setattr(f"{module}.PAGE", 2)
    sent = [upload(client, b"form %d" % index).json["sha256"] for index in range(3)]
    first = client.get("/v1/evidence", who="sender").json
    assert first is not None
    rest = client.get(f"/v1/evidence?cursor={first['cursor']}", who="sender").json
    assert rest is not None
    assert [row["sha256"] for row in first["files"] + rest["files"]] == sent[::-1]
    assert rest["cursor"] is None


@on_sqlite
@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"", "application/pdf", 422),
        (b"PK\x03\x04 an archive", "application/pdf", 415),
        (b"text with a \x00 in it", "text/plain", 415),
        (PDF, "application/zip", 415),
        (b"--x\r\n\r\n" + PDF, "multipart/form-data; boundary=x", 415),
    ],
)
def test_file_of_no_use_is_refused_and_nothing_is_kept(
    client: Client, world: World, data: bytes, content_type: str, status: int
) -> None:
    before = count_rows(world.registry)
    assert upload(client, data, content_type=content_type).status_code == status
    assert count_rows(world.registry) == before
    assert not world.registry.files.folder.exists()


@on_sqlite
@pytest.mark.parametrize("declared", [True, False])
def test_file_may_be_as_large_as_the_policy_says(client: Client, declared: bool) -> None:
    opened = client.world.registry
    rules = replace(opened.policy.files, evidence_mebibytes=3)  # More than any other body.
    opened.policy = replace(opened.policy, files=rules)
    for more, status in ((0, 201), (1, 413)):
        data = PDF.ljust(3 * 2**20 + more)
        sent = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        answer = client.app.test_client().post(
            "/v1/evidence",
            input_stream=io.BytesIO(data),
            content_type="application/pdf",
            headers={"Authorization": f"Bearer {client.world.keys['sender']}"},
            environ_overrides={"CONTENT_LENGTH": str(len(data))} if declared else sent,
        )
        assert answer.status_code == status


@on_sqlite
@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('attachment; filename="../../etc/passwd"', "passwd.pdf"),
        ("attachment; filename*=UTF-8''a%00b%0D%0Ac%E2%80%AE.html", "abc.html.pdf"),
        ('attachment; filename="=1+1<b>.pdf"', "=1+1<b>.pdf"),
        ("inline", "file.pdf"),
        ("\x7f;;=", "file.pdf"),
    ],
)
def test_name_of_a_file_is_made_harmless(client: Client, written: str, name: str) -> None:
    answer = upload(client, name=written)
    assert (answer.status_code, answer.json["name"]) == (201, name)


@on_sqlite
def test_file_goes_with_its_senders_wish_only_while_nothing_names_it(client: Client) -> None:
    upload(client)
    proved(client)
    path = f"/v1/evidence/{DIGEST}"
    shown = client.get(path, who="sender").json
    assert shown is not None
    assert shown["named"] is True
    assert client.call("DELETE", path, who="sender").status_code == 409
    other = upload(client, b"the wrong form").json["sha256"]
    assert client.call("DELETE", f"/v1/evidence/{other}", who="other_sender").status_code == 404
    assert client.call("DELETE", f"/v1/evidence/{other}", who="sender").status_code == 204
    assert client.get(f"/v1/evidence/{other}", who="sender").status_code == 404


# Evidence of a consent


@pytest.mark.parametrize("first", ["file", "consent"])
def test_evidence_of_a_consent_is_shown_with_its_file(
    client: Client, world: World, first: str
) -> None:
    if first == "file":
        upload(client)
    path = f"/v1/consents/{proved(client)}/evidence"
    if first == "consent":
        unproved = client.get(path, who="sender").json
        assert unproved is not None
        assert unproved["file"] is None
        assert client.get(f"{path}/file", who="sender").status_code == 404
        upload(client)
    for who in ("sender", "regulator", "operator"):
        shown = client.get(path, who=who).json
        assert shown is not None
        assert (shown["notice_text"], shown["sha256"]) == ("I agree.", DIGEST)
        assert shown["file"]["name"] == "同意.pdf"
        assert (shown["kept_until"], shown["removed_at"]) == ("2027-08-01T02:00:00Z", None)
        assert client.get(f"{path}/file", who=who).data == PDF
        assert client.get(f"{path}/proof", who=who).status_code == 404
    assert len(looks(world, "consent_overseen")) == 6
    for who in STRANGERS:
        for part in ("", "/file", "/proof"):
            status = client.get(path + part, who=who).status_code
            assert status == (404 if who == "other_sender" else 403)


@on_sqlite
def test_proof_that_was_brought_to_a_dispute_is_shown_with_its_file(
    client: Client, world: World
) -> None:
    consent = proved(client)
    disputed = world.own(ledger.challenge, UUID(consent))
    proof = b"OggS a recording"
    brought = {"text": "She said so.", "sha256": sha256(proof).hexdigest()}
    upload(client, proof, content_type="audio/ogg")
    client.post(f"/v1/challenges/{disputed.id}/evidence", brought, who="sender")
    for who in ("sender", "regulator"):
        shown = client.get(f"/v1/consents/{consent}/evidence", who=who).json
        assert shown is not None
        assert (shown["proof"]["text"], shown["proof"]["file"]["size"]) == ("She said so.", 16)
        assert client.get(f"/v1/consents/{consent}/evidence/proof", who=who).data == proof


def test_carrier_has_a_consent_proved_and_the_look_is_recorded(
    client: Client, world: World
) -> None:
    upload(client)
    consent = proved(client)
    for asked in (ASKED, {**ASKED, "from": None, "sender": str(world.sender.id)}):
        shown = client.post("/v1/evidence/requests", asked, who="carrier")
        assert shown.status_code == 200
        assert (shown.json["consent"], shown.json["state"]) == (consent, "active")
        assert shown.json["file"]["sha256"] == DIGEST
    answer = client.post("/v1/evidence/requests/file", ASKED, who="carrier")
    assert answer.data == PDF
    said = looks(world, "evidence_shown")
    assert [(look["actor"], look["consent"]) for look in said] == [
        (str(world.carrier.id), consent)
    ] * 3
    assert all("commitment" in look for look in said)


@on_sqlite
@pytest.mark.parametrize(
    ("asked", "who", "status"),
    [
        ({}, "sender", 403),
        ({}, "regulator", 403),
        ({"number": "13800000001"}, "carrier", 404),
        ({"topic": "loans"}, "carrier", 404),
        ({"channel": "voice"}, "carrier", 404),
        ({"from": OTHER_PORT}, "carrier", 404),
        ({"from": "10690007777"}, "carrier", 404),
        ({"from": None}, "carrier", 422),
        ({"sender": "00000000-0000-0000-0000-000000000001"}, "carrier", 422),
        ({"number": "12"}, "carrier", 422),
        ({"more": 1}, "carrier", 422),
    ],
)
def test_evidence_is_shown_to_carriers_that_name_what_it_is_about(
    client: Client, world: World, asked: dict[str, Any], who: str, status: int
) -> None:
    upload(client)
    proved(client)
    for path in ("/v1/evidence/requests", "/v1/evidence/requests/file"):
        assert client.post(path, {**ASKED, **asked}, who=who).status_code == status
    assert looks(world, "evidence_shown") == []


@on_sqlite
def test_carrier_is_shown_what_decides_and_nothing_of_an_earlier_subscriber(
    client: Client, world: World, clock: Clock
) -> None:
    [first] = world.grant(make_number())
    clock.pass_(hours=1)
    [renewed] = world.grant(make_number())
    shown = client.post("/v1/evidence/requests", ASKED, who="carrier").json
    assert shown["consent"] == str(renewed.id)
    world.withdraw(renewed)
    shown = client.post("/v1/evidence/requests", ASKED, who="carrier").json
    assert (shown["consent"], shown["state"]) == (str(renewed.id), "withdrawn")
    clock.pass_(hours=1)
    world.reassign()
    assert client.post("/v1/evidence/requests", ASKED, who="carrier").status_code == 404
    assert first.id != renewed.id


@on_sqlite
def test_numbers_that_a_carrier_asks_of_are_counted_whatever_it_hears(
    client: Client, world: World
) -> None:
    opened = world.registry
    limits = replace(opened.policy.limits, lookup_numbers_per_day=2)
    opened.policy = replace(opened.policy, limits=limits)
    for index, status in ((1, 404), (2, 404), (2, 404), (3, 429)):
        asked = {**ASKED, "number": f"1380000000{index}"}
        answer = client.post("/v1/evidence/requests/file", asked, who="carrier")
        assert answer.status_code == status


@on_sqlite
def test_removed_evidence_is_shown_empty_and_says_since_when(
    client: Client, world: World, clock: Clock
) -> None:
    upload(client)
    consent = proved(client)
    clock.now = after_months(START, 9)
    assert purge(world).files == (DIGEST,)
    shown = client.get(f"/v1/consents/{consent}/evidence", who="sender").json
    assert shown is not None
    gone = ("notice_text", "file", "kept_until", "removed_at", "sha256")
    assert [shown[name] for name in gone] == ["", None, None, "2027-09-01T02:00:00Z", DIGEST]
    assert client.get(f"/v1/consents/{consent}/evidence/file", who="sender").status_code == 404
    told = client.get(f"/v1/consents/{consent}", who="sender").json
    assert told is not None
    assert told["evidence"]["notice_text"] == ""
    assert told["evidence"]["removed_at"] == "2027-09-01T02:00:00Z"


@on_sqlite
def test_damaged_or_lost_file_is_an_error_and_never_shown(client: Client, world: World) -> None:
    upload(client)
    path = world.registry.files.folder / DIGEST[:2] / DIGEST
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    answer = client.get(f"/v1/evidence/{DIGEST}/file", who="sender")
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    path.unlink()
    assert client.get(f"/v1/evidence/{DIGEST}/file", who="sender").status_code == 404
    upload(client)
    assert client.get(f"/v1/evidence/{DIGEST}/file", who="sender").data == PDF
    with world.registry.database.snapshot() as session:
        assert len(session.scalars(select(EvidenceFile)).all()) == 1
