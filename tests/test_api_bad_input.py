"""Bad input: each kind has one answer, a problem document that says why, and changes nothing."""

import base64
import io
import json
from datetime import timedelta
from typing import Any

import pytest

from registry.errors import Kind
from registry.schemas.problems import problem_type
from tests.factories import (
    START,
    VOICE_LINE,
    Client,
    World,
    consent_body,
    count_rows,
    lookup_body,
    make_number,
    make_uscc,
)

STATUS = {
    Kind.MALFORMED: 400,
    Kind.SCOPE_MISSING: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA_TYPE: 415,
    Kind.INVALID: 422,
    Kind.INVALID_NUMBER: 422,
}
MEBIBYTE = 1024 * 1024
LIMIT = 2 * MEBIBYTE

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For what is refused before the database is asked, so that one of them is enough."""


def refused(
    client: Client, kind: Kind, path: str, body: object, who: str = "sender", **more: Any
) -> dict[str, Any]:
    """Post, check that the answer is a problem of this kind and changed nothing; return it."""
    before = count_rows(client.world.registry)
    answer = client.post(path, body, who=who, **more)
    assert (answer.status_code, answer.mimetype) == (STATUS[kind], "application/problem+json")
    problem: dict[str, Any] = answer.json
    assert problem["type"] == problem_type(kind)
    assert problem["status"] == STATUS[kind]
    assert problem["title"]
    assert problem["detail"]
    assert count_rows(client.world.registry) == before
    return problem


# What is no JSON


@on_sqlite
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"number": "13800000000"', id="broken"),
        pytest.param(b'{"number": "13800000000",}', id="trailing comma"),
        pytest.param(b"{'number': '13800000000'}", id="single quotes"),
        pytest.param(b'{"number": "13800000000"} {}', id="two documents"),
        pytest.param(b'{"number": "1", "number": "1"}', id="a name twice"),
        pytest.param(b'{"a": {"n": 1, "n": 2}}', id="a name twice within"),
        pytest.param(b'{"number": NaN}', id="NaN"),
        pytest.param(b'{"number": -Infinity}', id="infinity"),
        pytest.param(b'{"number": ' + b"9" * 5_000 + b"}", id="endless number"),
        pytest.param(b"[" * 10_000 + b"]" * 10_000, id="deep lists"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, id="deep objects"),
        pytest.param(b"[" * MEBIBYTE, id="deeper, and broken"),
        pytest.param(b'{"number": "\\ud800"}', id="lone surrogate"),
        pytest.param(b'{"\\udfff\\ud800": 1}', id="surrogates in the wrong order"),
        pytest.param('{"number": "é"}'.encode("latin-1"), id="latin-1"),
        pytest.param('{"number": "1"}'.encode("utf-16"), id="utf-16"),
        pytest.param('\ufeff{"number": "1"}'.encode(), id="byte order mark"),
    ],
)
def test_body_is_malformed_when_it_is_no_strict_json(client: Client, body: bytes) -> None:
    refused(client, Kind.MALFORMED, "/v1/consents/search", body)


@on_sqlite
@pytest.mark.parametrize("body", [b"null", b"[]", b'"text"', b"1", b"true"])
def test_body_is_invalid_when_it_is_no_object(client: Client, body: bytes) -> None:
    refused(client, Kind.INVALID, "/v1/consents/search", body)


@on_sqlite
@pytest.mark.parametrize(
    "content_type",
    [
        "", "text/plain", "application/xml", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x", "application/json-seq", "application/problem+json",
    ],
)  # fmt: skip
def test_body_is_refused_when_it_is_called_something_else(
    client: Client, content_type: str
) -> None:
    body, kind = {"number": "13800000000"}, Kind.UNSUPPORTED_MEDIA_TYPE
    refused(client, kind, "/v1/consents/search", body, content_type=content_type)


@on_sqlite
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"CONTENT_LENGTH": str(10**12)},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    ],
    ids=["declared", "declared only", "chunked"],
)
@pytest.mark.parametrize("path", ["/v1/lookups", "/v1/lookups/batch", "/v1/consents"])
def test_body_is_too_large_when_it_is_longer_than_the_limit(
    client: Client, path: str, overrides: dict[str, Any]
) -> None:
    before = count_rows(client.world.registry)
    answer = client.app.test_client().post(
        path,
        input_stream=io.BytesIO(b" " * (LIMIT + 1)),
        content_type="application/json",
        headers={"Authorization": f"Bearer {client.world.keys['sender']}"},
        environ_overrides=overrides,
    )
    assert (answer.status_code, answer.mimetype) == (413, "application/problem+json")
    assert answer.headers["Connection"] == "close"
    assert count_rows(client.world.registry) == before


@on_sqlite
def test_body_is_read_when_it_just_fits(client: Client) -> None:
    body = json.dumps({"number": "13800000000"}).encode()
    answer = client.post("/v1/consents/search", body.ljust(LIMIT), who="sender")
    assert answer.status_code == 200


# Numbers

NO_NUMBERS = [
    "", " ", "+", "13800138000 ext. 5", "13800138000;ext=5", "13800138000#", "tel:13800138000",
    "1380013800²", "①3800138000", "1380013800a", "1380013800😀", "1_380_013_8000", "1.38E+10",
    "138\x0b00138000", "13800138000\n", "13800138000\x00", "\x0013800138000", "138\t00138000",
    "1380013800", "138001380000", "+86+13800138000", "10086", "12345", "95588", "1069012345678",
    "4008001234", "+999123456789", "1380013800O", "12800138000",
]  # fmt: skip


@on_sqlite
@pytest.mark.parametrize("written", NO_NUMBERS)
def test_number_is_refused_when_it_is_no_subscriber_s(client: Client, written: str) -> None:
    refusal = {"number": written, "via": "hotline"}
    reassignment = {"number": written, "reassigned_at": START.isoformat()}
    for path, body, who in (
        ("/v1/lookups", lookup_body(written), "sender"),
        ("/v1/consents", consent_body(written), "sender"),
        ("/v1/consents/search", {"number": written}, "sender"),
        ("/v1/refusals", refusal, "carrier"),
        ("/v1/reassignments", reassignment, "carrier"),
    ):
        refused(client, Kind.INVALID_NUMBER, path, body, who)


@on_sqlite
def test_landline_is_refused_for_sms_and_read_for_calls(client: Client) -> None:
    landline = "010 6552 9988"
    refused(client, Kind.INVALID_NUMBER, "/v1/lookups", lookup_body(landline))
    refused(client, Kind.INVALID_NUMBER, "/v1/consents", consent_body(landline))
    call = client.lookup(landline, **{"from": VOICE_LINE, "channel": "voice"})
    assert (call.status_code, call.json["to"]) == (200, "+861065529988")


@on_sqlite
@pytest.mark.parametrize("written", ["", "106", "1069000123a", "10690001234\n", "9501", "１０６²"])
def test_sending_number_is_refused_when_it_is_none(client: Client, written: str) -> None:
    refused(client, Kind.INVALID_NUMBER, "/v1/lookups", lookup_body(**{"from": written}))


def test_batch_answers_malformed_numbers_in_their_place(client: Client) -> None:
    answer = client.batch([*NO_NUMBERS, "13800000000"])
    assert answer.status_code == 200
    verdicts = answer.json["verdicts"]
    assert [verdict["to"] for verdict in verdicts] == [*NO_NUMBERS, "+8613800000000"]
    assert {verdict["reason"] for verdict in verdicts[:-1]} == {"invalid_number"}
    assert verdicts[-1]["reason"] == "no_consent"


@pytest.mark.parametrize(
    "numbers",
    [
        [], [make_number(n).e164 for n in range(10_001)], "13800000000", None, {},
        [13800000000], ["13800000000", None], [["13800000000"]],
    ],
    ids=["none", "10,001", "a string", "null", "an object", "a JSON number", "a null", "a list"],
)  # fmt: skip
def test_batch_is_refused_when_it_is_no_list_of_some_numbers(client: Client, numbers: Any) -> None:
    problem = refused(client, Kind.INVALID, "/v1/lookups/batch", lookup_body(numbers))
    assert set(problem["errors"]) == {"to"}


def test_batch_of_ten_thousand_is_answered(client: Client) -> None:
    answer = client.batch([make_number(n).e164 for n in range(10_000)])
    assert answer.status_code == 200
    assert len(answer.json["verdicts"]) == 10_000


@on_sqlite
@pytest.mark.parametrize("mark", ["1", "(", "+", " ", "٣", "a", "\u200b", "1 "])
def test_number_of_a_megabyte_is_refused(client: Client, mark: str) -> None:
    written = mark * (MEBIBYTE // len(json.dumps(mark)))
    refused(client, Kind.INVALID_NUMBER, "/v1/lookups", lookup_body(written))


# Fields

NOBODY = "01900000-0000-7000-8000-000000000000"
EARLIER, LATER = (START - timedelta(days=1)).isoformat(), (START + timedelta(days=1)).isoformat()
SENDER = "organisations/{sender}"
VALID: dict[str, tuple[str, dict[str, Any]]] = {
    "lookups": ("sender", lookup_body()),
    "lookups/batch": ("sender", lookup_body(["13800000000"])),
    "consents": ("sender", consent_body()),
    "consents/search": ("sender", {"number": "13800000000"}),
    "refusals": ("carrier", {"number": "13800000000", "via": "hotline"}),
    "reassignments": ("carrier", {"number": "13800000000", "reassigned_at": EARLIER}),
    "organisations": (
        "operator",
        {"kind": "sender", "name": "A", "uscc": make_uscc(77), "contact_phone": "400 1234567"},
    ),
    f"{SENDER}/suspend": ("operator", {"reason": "Complaints."}),
    f"{SENDER}/limits": ("operator", {"requests_per_second": 10}),
    f"{SENDER}/numbers": (
        "operator",
        {"number": "10690007777", "channels": ["sms"], "usages": ["service"]},
    ),
    f"{SENDER}/keys": ("operator", {"scopes": ["lookup"]}),
}
"""Who may send what to each route; the tables below put one wrong value into these bodies."""


def post_wrong(client: Client, route: str, field: str, value: object) -> None:
    """Post a body with one wrong value; check that the answer names it and nothing else."""
    who, body = VALID[route]
    path = "/v1/" + route.format(sender=client.world.sender.id)
    problem = refused(client, Kind.INVALID, path, {**body, field: value}, who)
    assert set(problem["errors"]) == {field}


@pytest.mark.parametrize("route", VALID)
def test_bodies_that_the_tables_spoil_are_right(client: Client, world: World, route: str) -> None:
    who, body = VALID[route]
    answer = client.post("/v1/" + route.format(sender=world.sender.id), body, who=who)
    assert answer.status_code in (200, 201)


@on_sqlite
@pytest.mark.parametrize("mark", ["\n", "\t", "\u2028"])
def test_name_of_an_organisation_is_one_line(client: Client, world: World, mark: str) -> None:
    post_wrong(client, "organisations", "name", f"A{mark}You agreed")


@on_sqlite
@pytest.mark.parametrize("route", VALID)
def test_unknown_field_is_named(client: Client, route: str) -> None:
    post_wrong(client, route, "colour", "red")


@on_sqlite
@pytest.mark.parametrize(
    ("route", "optional"),
    [(route, {"topic"} if route.startswith("lookups") else set()) for route in VALID],
)
def test_required_fields_are_named_when_they_are_missing(
    client: Client, world: World, route: str, optional: set[str]
) -> None:
    who, body = VALID[route]
    required = set(body) - optional - {"requests_per_second"}
    path = "/v1/" + route.format(sender=world.sender.id)
    for name in required:
        less = {field: value for field, value in body.items() if field != name}
        assert set(refused(client, Kind.INVALID, path, less, who)["errors"]) == {name}


@on_sqlite
@pytest.mark.parametrize(
    ("route", "field", "value"),
    [
        ("lookups", "to", 13800138000), ("lookups", "to", None), ("lookups", "to", ["1"]),
        ("lookups", "to", {}), ("lookups", "to", True), ("lookups", "from", 10690001234),
        ("lookups", "channel", "fax"), ("lookups", "channel", "SMS"),
        ("lookups", "channel", None), ("lookups", "channel", 1), ("lookups", "channel", ["sms"]),
        ("lookups", "topic", "weather"), ("lookups", "topic", ""), ("lookups", "topic", None),
        ("lookups", "topic", "any"), ("lookups", "Topic", "retail"),
        ("lookups", "message_class", "promotion"), ("lookups", "message_class", None),
        ("lookups", "contact", "yes"), ("lookups", "contact", 1), ("lookups", "contact", None),
        ("lookups", "at", "tomorrow"), ("lookups", "at", "2026-12-02"),
        ("lookups", "at", "2026-12-02T10:00:00"), ("lookups", "at", 1796263200),
        ("lookups", "at", "2026-W49-3T10:00:00Z"), ("lookups", "at", "2026-12-02T25:00:00Z"),
        ("lookups", "at", "2026-12-02T10:00:00Z\n"), ("lookups", "at", "0001-01-01T00:00:00+14:00"),
        ("lookups", "at", (START - timedelta(seconds=6)).isoformat()),
        ("lookups", "at", (START + timedelta(days=7, seconds=1)).isoformat()),
        ("consents", "number", 13800138000), ("consents", "sender", NOBODY),
        ("consents", "basis", "confirmed"), ("consents", "topics", []),
        ("consents", "topics", ["retail", "retail"]), ("consents", "topics", ["weather"]),
        ("consents", "topics", "retail"), ("consents", "evidence", None),
        ("consents", "evidence", {}), ("consents", "cap", None),
        ("consents", "cap", {"count": 0, "period": "day"}),
        ("consents", "cap", {"count": 1.5, "period": "day"}),
        ("consents", "cap", {"count": "10", "period": "day"}),
        ("consents", "cap", {"count": True, "period": "day"}),
        ("consents", "cap", {"count": 10**30, "period": "day"}),
        ("consents", "cap", {"count": 1, "period": "hour"}),
        ("consents", "cap", {"count": 1, "period": "day", "colour": "red"}),
        ("refusals", "via", "portal"), ("refusals", "topic", "any"), ("refusals", "sender", "x"),
        ("organisations", "kind", "bank"), ("organisations", "name", "a\x00"),
        ("organisations", "name", "a\u202eb"),
        ("organisations", "contact_phone", "x"), ("organisations", "uscc", "1" * MEBIBYTE),
        ("organisations", "contact_phone", "1" * MEBIBYTE),
        (f"{SENDER}/suspend", "reason", ""), (f"{SENDER}/suspend", "reason", "\x07"),
        (f"{SENDER}/limits", "requests_per_second", 0),
        (f"{SENDER}/limits", "requests_per_second", "10"),
        (f"{SENDER}/limits", "lookup_numbers_per_day", 10**20),
        (f"{SENDER}/numbers", "channels", []), (f"{SENDER}/numbers", "usages", ["any"]),
        (f"{SENDER}/keys", "scopes", []), (f"{SENDER}/keys", "scopes", ["everything"]),
    ],
)  # fmt: skip
def test_field_is_named_when_its_value_is_wrong(
    client: Client, route: str, field: str, value: object
) -> None:
    post_wrong(client, route, field, value)


@on_sqlite
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", "registry"), ("method", "guess"), ("method", None),
        ("notice_text", ""), ("notice_text", "a\x00b"), ("notice_text", "a\x7fb"),
        ("notice_text", "x" * 10_001), ("notice_text", "(" * MEBIBYTE),
        ("notice_version", "\x1b[2J"), ("language", "chinese please"), ("language", "a" * MEBIBYTE),
        ("sha256", "A" * 64), ("sha256", "0" * 63), ("sha256", "0" * 64 + "\n"),
        ("uri", "proof.pdf"), ("uri", "javascript:alert(1)"), ("uri", "https://[::1"),
        ("uri", "https://example.com/\x00"), ("uri", "https://example.com/" + "a" * 2_000),
    ],
)  # fmt: skip
def test_evidence_names_the_field_that_is_wrong(client: Client, field: str, value: Any) -> None:
    evidence = {"method": "web_form", "notice_text": "I agree.", field: value}
    problem = refused(client, Kind.INVALID, "/v1/consents", consent_body(evidence=evidence))
    assert set(problem["errors"]["evidence"]) == {field}


def encoded(cursor: str) -> str:
    return base64.urlsafe_b64encode(cursor.encode()).decode()


@pytest.mark.parametrize(
    ("route", "field", "value"),
    [
        ("consents", "granted_at", (START + timedelta(seconds=61)).isoformat()),
        ("consents", "valid_until", START.isoformat()),
        ("consents/search", "cursor", "x"),
        ("consents/search", "cursor", encoded(f"{10**20}.{NOBODY}")),
        ("consents/search", "cursor", encoded(f"-{10**20}.{NOBODY}")),
        ("refusals", "sender", NOBODY),
        ("reassignments", "reassigned_at", LATER),
        ("organisations", "uscc", "911100000000000770"),
        (f"{SENDER}/numbers", "held_until", START.isoformat()),
        (f"{SENDER}/keys", "scopes", ["admin"]),
        (f"{SENDER}/keys", "expires_at", START.isoformat()),
    ],
)
def test_field_is_named_when_its_value_breaks_a_rule(
    client: Client, route: str, field: str, value: object
) -> None:
    post_wrong(client, route, field, value)


@pytest.mark.parametrize("at", [EARLIER, "2026-12-01T00:59:59Z"])
def test_consent_is_refused_when_it_was_given_by_the_number_s_former_subscriber(
    client: Client, world: World, at: str
) -> None:
    world.reassign(reassigned_at=START - timedelta(hours=1))
    claim = consent_body(granted_at=at)
    problem = refused(client, Kind.INVALID, "/v1/consents", claim)
    assert set(problem["errors"]) == {"granted_at"}


@pytest.mark.parametrize(
    ("who", "more", "idempotency_key", "kind"),
    [
        ("sender", {}, "k", Kind.SCOPE_MISSING),
        ("carrier", {}, None, Kind.INVALID),
        ("carrier", {"at": START.isoformat()}, "k", Kind.INVALID),
    ],
)
def test_contact_is_refused_unless_a_carrier_counts_it_now_and_once(
    client: Client, who: str, more: dict[str, str], idempotency_key: str | None, kind: Kind
) -> None:
    body = lookup_body(contact=True, **more)
    refused(client, kind, "/v1/lookups", body, who, idempotency_key=idempotency_key)


@on_sqlite
@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
def test_idempotency_key_is_refused_when_it_is_no_word(client: Client, key: str) -> None:
    refused(client, Kind.INVALID, "/v1/consents", consent_body(), idempotency_key=key)


@pytest.mark.parametrize(
    ("path", "body", "who"),
    [
        ("/v1/organisations", {**VALID["organisations"][1], "uscc": make_uscc(1)}, "operator"),
        ("/v1/organisations/{suspended}/suspend", {"reason": "Again."}, "operator"),
        ("/v1/organisations/{sender}/reinstate", None, "operator"),
        ("/v1/organisations/{carrier}/numbers", VALID[f"{SENDER}/numbers"][1], "operator"),
        ("/v1/consents/{superseded}/withdraw", {}, "sender"),
        ("/v1/reassignments", {"number": "13800000001", "reassigned_at": EARLIER}, "carrier"),
    ],
)
def test_change_is_a_conflict_when_the_state_does_not_allow_it(
    client: Client, world: World, path: str, body: object, who: str
) -> None:
    [superseded] = world.grant()
    world.grant()
    world.reassign(make_number(1))
    suspension = f"/v1/organisations/{world.other_sender.id}/suspend"
    client.post(suspension, {"reason": "First."}, who="operator")
    path = path.format(
        sender=world.sender.id,
        carrier=world.carrier.id,
        suspended=world.other_sender.id,
        superseded=superseded.id,
    )
    refused(client, Kind.CONFLICT, path, body, who)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/consents/1", 404),
        ("/v1/consents/01900000000070008000000000000000", 404),
        ("/v1/consents/%00", 404),
        ("/v1/numbers/word", 422),
        ("/v1/numbers/10690001234%0a", 422),
        ("/v1/numbers/10690009999", 404),
        ("/v1/organisations?cursor=1", 422),
    ],
)
def test_address_is_a_problem_when_it_names_nothing(client: Client, path: str, status: int) -> None:
    answer = client.get(path, who="operator")
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
