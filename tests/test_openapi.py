"""What the service says of itself: its API document, which is true, its keys, health, metrics."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import jsonschema
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from registry import imports, ledger, senders, worker
from registry.errors import Kind
from registry.runtime import Registry
from registry.schemas.problems import problem_type
from tests.factories import (
    OTHER_PORT,
    SMS_PORT,
    START,
    Client,
    Clock,
    World,
    complaint_body,
    consent_body,
    make_number,
    make_uscc,
)

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""The document, and how requests are read, do not depend on the database."""

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
PROBLEMS = {"400", "401", "403", "404", "409", "413", "415", "422", "429", "503"}


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    answer = app.test_client().get("/openapi.json")
    assert answer.json is not None
    return dict(answer.json)


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the operations of the document by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method != "parameters"
    }


@on_sqlite
def test_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    OPENAPI_31_VALIDATOR.validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)))
    assert references
    assert references <= set(document["components"]["schemas"])


@on_sqlite
def test_document_has_every_route_with_its_scope(app: Flask, document: dict[str, Any]) -> None:
    routes = {
        f"{method} {re.sub('<(uuid:)?', '{', rule.rule).replace('>', '}')}": ", ".join(
            getattr(app.view_functions[rule.endpoint], "scopes", ())
        )
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1/")
    }
    found = operations(document)
    assert {name: operation["x-scope"] for name, operation in found.items()} == routes
    for name, operation in found.items():
        assert operation["security"] == ([] if routes[name] == "public" else [{"key": []}])


@on_sqlite
def test_document_says_of_every_operation_what_it_does_and_how_it_fails(
    document: dict[str, Any],
) -> None:
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for name, operation in operations(document).items():
        assert operation["summary"].endswith("."), name
        answers = operation["responses"]
        assert set(answers) >= PROBLEMS, name
        for status in PROBLEMS:
            assert answers[status]["content"] == {"application/problem+json": problem}, name
        [success] = set(answers) - PROBLEMS
        assert ("content" in answers[success]) is (success != "204"), name


@on_sqlite
def test_document_lists_the_types_of_problems(document: dict[str, Any]) -> None:
    types = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert types == [problem_type(kind) for kind in Kind]


# Whether it is true

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
RIGHT: dict[str, Any] = {
    "from": SMS_PORT,
    "to": "13800000000",
    "channel": "sms",
    "topic": "retail",
    "at": None,
    "contact": False,
    "number": "13800000000",
    "granted_at": START.isoformat(),
    "contacted_at": START.isoformat(),
    "received_at": START.isoformat(),
    "evidence": {"method": "web_form", "notice_text": "I agree."},
    "notice_text": "May we?",
    "text": "Never asked.",
    "uri": None,
    "valid_until": "2027-01-01T00:00:00Z",
    "reassigned_at": START.isoformat(),
    "sender": None,
    "via": "hotline",
    "uscc": make_uscc(77),
    "contact_phone": "4001234567",
    "complaint_phone": "4001234567",
    "contact_name": "Li",
    "licence_number": "B2-1",
    "starts_at": None,
    "scopes": ["lookup"],
    "expires_at": None,
    "cursor": None,
    "held_until": None,
}
"""Values that get a made-up request past the first checks, so that its answer is one, too."""


def cases(operation: Any, ids: dict[str, str]) -> st.SearchStrategy[Any]:
    """Return right and wrong requests, some with ids that exist and values that hold."""
    known = {name: ids[name] for name in ids if f"{{{name}}}" in operation.path}
    right = operation.as_strategy(GenerationMode.POSITIVE, path_parameters=known).map(hold)
    return st.one_of(
        right, *(operation.as_strategy(mode) for mode in (*GenerationMode, GenerationMode.POSITIVE))
    )


def hold(case: Any) -> Any:
    if "Upload-Offset" in (case.headers or {}):
        case.headers = {**case.headers, "Upload-Offset": "0"}
    if isinstance(case.body, dict):
        right = {name: RIGHT[name] for name in case.body if name in RIGHT}
        if "from" in case.body and "channel" in case.body:
            right["topic"] = RIGHT["topic"]
        if "message_id" in case.body:  # It goes from a subscriber to a sender.
            right |= {"from": RIGHT["to"], "to": RIGHT["from"]}
        if isinstance(case.body.get("to"), list):
            right["to"] = [RIGHT["to"]]
        case.body = {**case.body, **right}
    return case


def make_complaints(client: Client) -> dict[str, str]:
    """Have complaints made that each step can be taken with, and one that anybody may see."""
    paths = [f"/v1/complaints/{{complaint_id}}/{step}" for step in ("forward", "answer", "close")]
    shown = dict.fromkeys(["any", *paths], SMS_PORT) | {paths[-1]: None}
    ids = {
        path: client.post(
            "/v1/complaints",
            complaint_body(f"1390000000{index}", **{"from": number}),
            who="carrier",
        ).json["id"]
        for index, (path, number) in enumerate(shown.items())
    }
    for path in ("any", paths[1]):
        client.post(f"/v1/complaints/{ids[path]}/forward", {}, who="operator")
    return ids


def make_applications(client: Client) -> tuple[dict[str, str], str]:
    """Have applications made, one for each decision and one with a document, whose id comes too."""
    decisions = [f"/v1/applications/{{application_id}}/{it}" for it in ("approve", "reject")]
    said = ("licence_number", "contact_name", "contact_phone", "complaint_phone")
    details = {"kind": "sender", "name": "A", **{name: RIGHT[name] for name in said}}
    ids = {}
    for index, path in enumerate([*decisions, "any"], 90):
        made = client.post("/v1/applications", {**details, "uscc": make_uscc(index)}).json
        ids[path] = made["id"]
    pdf = {"key": made["key"], "content_type": "application/pdf"}
    return ids, client.post("/v1/application/documents", b"%PDF-1.7", **pdf).json["id"]


def make_claims(client: Client) -> dict[str, str]:
    """Have numbers claimed, each decision's for itself, and one that waits."""
    decisions = [f"/v1/number-claims/{{claim_id}}/{step}" for step in ("approve", "reject")]
    resource = {"channels": ["sms"], "usages": ["service"]}
    return {
        path: client.post(
            "/v1/number-claims", {**resource, "number": f"1069777{index:04d}"}, who="sender"
        ).json["id"]
        for index, path in enumerate([*decisions, "any"])
    }


def make_imports(client: Client, who: str) -> dict[str, str]:
    """Announce files, one for each thing that can be done with them, and one that waits."""
    kind = {"sender": "consents", "carrier": "reassignments"}.get(who)
    if kind is None:
        return {}
    steps = ["", "/start", "/cancel", "/result"]
    body = {"kind": kind, "format": "ndjson"}
    ids = {
        f"/v1/imports/{{import_id}}{step}": client.post("/v1/imports", body, who=who).json["id"]
        for step in steps
    }
    piece: dict[str, Any] = {
        "headers": {"Upload-Offset": "0"},
        "content_type": "application/offset+octet-stream",
    }
    for step in steps[1:]:
        place = f"/v1/imports/{ids[f'/v1/imports/{{import_id}}{step}']}"
        assert client.call("PATCH", place, b"{}\n", who=who, **piece).status_code == 204
    done = ids["/v1/imports/{import_id}/result"]
    client.post(f"/v1/imports/{done}/start", {}, who=who)
    assert imports.run_next(worker.import_means(client.world.registry))
    return ids


def prove(client: Client) -> tuple[str, str, str]:
    """Have consents proved by a file, one in force and one in a dispute.

    Returns the latter's id, the file's digest, and that of a file which proves nothing.
    """
    pdf = {"who": "sender", "content_type": "application/pdf"}
    digest, other = (
        client.post("/v1/evidence", data, **pdf).json["sha256"] for data in (b"%PDF-1", b"%PDF-2")
    )
    told = {**RIGHT["evidence"], "sha256": digest}
    for number in ("13800000000", "13800000009"):
        made = client.post("/v1/consents", consent_body(number, evidence=told), who="sender").json
    consent = str(made["consents"][0]["id"])
    disputed = client.world.own(ledger.challenge, UUID(consent), number=make_number(9))
    brought = {"text": "Her form.", "sha256": digest}
    client.post(f"/v1/challenges/{disputed.id}/evidence", brought, who="sender")
    return consent, digest, other


def announce(client: Client, who: str) -> str:
    """Announce an organisation's suspension for a day that never comes, and return its id."""
    about = getattr(client.world, who)
    client.world.do(
        lambda session: senders.suspend(
            session,
            about.id,
            "Complaints.",
            starts_at=START + timedelta(days=365),
            actor_id=None,
            now=START,
        )
    )
    shown = client.get("/v1/organisations/me", who=who).json
    assert shown is not None
    return str(shown["suspension"]["id"])


QUICKLY = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@on_sqlite
@pytest.mark.parametrize(
    ("who", "scopes"),
    [
        ("operator", {"admin", "oversight"}),
        ("sender", {"lookup", "consent", "public"}),
        ("carrier", {"lookup", "wishes", "tenure"}),
    ],
)
def test_answers_are_what_the_document_says(
    app: Flask, world: World, who: str, scopes: set[str]
) -> None:
    [consent] = world.grant(make_number(3))
    ids: dict[str, object] = {
        "organisation_id": world.other_sender.id,
        "consent_id": consent.id,
        "request_id": world.ask(make_number(4)).id,
        "challenge_id": world.own(ledger.challenge, consent.id, number=consent.number).id,
        "refusal_id": world.refuse(make_number(1)).id,
        "reassignment_id": world.reassign(make_number(2)).id,
        "key_id": UUID(world.keys["other_sender"].partition(".")[0]),
        "number": OTHER_PORT,
    }
    client = Client(app, world)
    applications, ids["document_id"] = make_applications(client)
    proved, ids["sha256"], unneeded = prove(client)
    ids["suspension_id"] = announce(client, who)
    appeal = f"/v1/suspensions/{announce(client, 'regulator')}/appeals"
    ids["appeal_id"] = client.post(appeal, {"text": "No."}, who="regulator").json["id"]
    known = {name: str(value) for name, value in ids.items()}
    complaints, claims = make_complaints(client), make_claims(client)
    files = make_imports(client, who)
    headers = {"Authorization": f"Bearer {world.keys[who]}"}
    answered: dict[str, set[int]] = {}

    def ask(case: Any) -> None:
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS)
        answered.setdefault(case.operation.label, set()).add(answer.status_code)
        if case.operation.definition.raw["x-scope"] != "public":
            # What has no id where one belongs is no address of the API, whoever asks.
            assert case.call(headers={"Authorization": "Bearer x"}).status_code in (401, 404)

    schema: Any = schemathesis.openapi.from_wsgi("/openapi.json", app)
    for result in schema.get_all_operations():
        operation = result.ok()
        if scopes & set(operation.definition.raw["x-scope"].split(", ")):
            about = {
                "complaint_id": complaints.get(operation.path, complaints["any"]),
                "application_id": applications.get(operation.path, applications["any"]),
                "claim_id": claims.get(operation.path, claims["any"]),
            }
            if operation.path in files:
                about["import_id"] = files[operation.path]
            if "/evidence" in operation.path:
                about["consent_id"] = proved
            if operation.label == "DELETE /v1/evidence/{sha256}":
                about["sha256"] = unneeded
            if operation.path.startswith("/v1/evidence/requests") and who != "carrier":
                continue  # The scope alone does not do.
            QUICKLY(given(cases(operation, {**known, **about}))(ask))()
    # Requests that are never understood would say little about the answers.
    assert {name for name, statuses in answered.items() if min(statuses) >= 300} == set()


# The service


def test_jwks_publishes_public_halves_only(client: Client) -> None:
    published = client.get("/.well-known/jwks.json").json
    assert published is not None
    [key] = published["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "Ed25519")
    assert "d" not in key


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/start.js", "text/javascript; charset=utf-8"),
        ("/docs/assets/swagger-ui.css", "text/css; charset=utf-8"),
        ("/docs/assets/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/healthz", "application/json"),
        ("/metrics", "text/plain; version=1.0.0; charset=utf-8"),
    ],
)
def test_service_routes_answer_without_a_key(client: Client, path: str, content_type: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)


def test_readyz_says_ready_with_the_policy(
    client: Client, registry: Registry, clock: Clock
) -> None:
    clock.now = registry.database.now() or clock.now
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json == {
        "status": "ready", "problems": [], "demo": False, "policy": "cn-2020-draft",
    }  # fmt: skip


def test_metrics_count_requests_by_route_and_verdicts_by_reason(client: Client) -> None:
    def sample(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    requests = 'registry_requests_total{method="POST",route="/v1/lookups",status="200"}'
    verdicts = 'registry_verdicts_total{channel="sms",reason="no_consent"}'
    before = sample(requests), sample(verdicts)
    client.lookup()
    client.batch(["13800000001", "13800000002"])
    assert (sample(requests) - before[0], sample(verdicts) - before[1]) == (1, 3)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/lookups", 405), ("PUT", "/readyz", 405), ("GET", "/v1/nothing", 404)],
)
def test_unknown_routes_and_methods_are_problems(
    client: Client, method: str, path: str, status: int
) -> None:
    answer = client.call(method, path)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert ("Allow" in answer.headers) is (status == 405)
