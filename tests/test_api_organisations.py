"""Onboarding and suspensions over the API: who may do what, in which state, and what is shown."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from registry import access, senders
from registry.errors import Kind
from registry.models import OrganisationKind
from registry.schemas.problems import problem_type
from tests.factories import (
    START,
    Client,
    Clock,
    World,
    count_rows,
    make_organisation,
    make_uscc,
)

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""The use cases themselves are tried on both databases in test_applications, test_suspensions."""

PDF = b"%PDF-1.7\n1 0 obj"
MEBIBYTE = 2**20
LATER = "2026-12-08T10:00:00+08:00"
APPLYING = {
    "kind": "provider",
    "name": "青鸟短信",
    "uscc": make_uscc(77),
    "licence_number": "B2-20260001",
    "contact_name": "Li Qingniao",
    "contact_phone": "135 1234 5678",
    "complaint_phone": "400-765-4321",
}
CHANGES = {"contact_name": "Wang", "name": "New name", "licence_number": "B2-1"}


@dataclass
class Scene:
    """Something of each kind that waits for a decision, and a key for everybody."""

    client: Client
    keys: dict[str, str | None]
    ids: dict[str, str] = field(default_factory=dict)

    def call(self, who: str, method: str, path: str, body: object = None, **more: Any) -> Any:
        return self.client.call(method, path.format(**self.ids), body, key=self.keys[who], **more)

    def do(self, who: str, path: str, body: object = None, **more: Any) -> dict[str, Any]:
        """Post as somebody who may."""
        answer = self.call(who, "POST", path, body, **more)
        assert answer.status_code in (200, 201), answer.json
        made: dict[str, Any] = answer.json
        return made

    def see(self, who: str, path: str) -> dict[str, Any]:
        answer = self.call(who, "GET", path)
        assert answer.status_code == 200, answer.json
        shown: dict[str, Any] = answer.json
        return shown


@pytest.fixture
def scene(client: Client, world: World) -> Scene:
    """Return a world in which an application, changes and an appeal wait."""
    keys: dict[str, str | None] = {**world.keys, "nobody": None}
    ids = {"sender": str(world.sender.id), "other": str(world.other_sender.id)}
    kinds = {"provider": OrganisationKind.PROVIDER, "suspended": OrganisationKind.SENDER}
    with world.registry.database.write() as session:
        for index, (name, kind) in enumerate(kinds.items(), 50):
            row = make_organisation(session, kind, index)
            act: dict[str, Any] = {"actor_id": None, "now": START}
            _key, keys[name] = access.issue(session, row, access.SCOPES[kind], None, **act)
            ids[name] = str(row.id)
        senders.suspend(session, row.id, "complaints", **act)
    made = Scene(client, keys, ids)
    applied = made.do("nobody", "/v1/applications", {**APPLYING, "uscc": make_uscc(78)})
    keys["applicant"], ids["application"] = applied["key"], applied["id"]
    ids["document"] = upload(made, "applicant", "/v1/application/documents").json["id"]
    ids["change"] = made.do("sender", "/v1/organisations/me/changes", CHANGES)["id"]
    made.do("operator", "/v1/organisations/{sender}/suspend", {"reason": "x", "starts_at": LATER})
    own = made.see("sender", "/v1/organisations/me")["suspension"]
    ids["suspension"] = own["id"]
    return made


def upload(
    scene: Scene, who: str, path: str, data: bytes = PDF, content_type: str = "application/pdf"
) -> Any:
    named = {"Content-Disposition": "attachment; filename*=UTF-8''%E6%89%A7%E7%85%A7.pdf"}
    return scene.call(who, "POST", path, data, content_type=content_type, headers=named)


def is_problem(answer: Any, status: int, kind: Kind) -> bool:
    return bool(answer.status_code == status and answer.json["type"] == problem_type(kind))


# Who may do what


EVERYBODY = (
    "nobody", "applicant", "operator", "sender", "other_sender", "provider", "carrier",
    "regulator", "suspended",
)  # fmt: skip
ORGANISATIONS = EVERYBODY[2:]


@dataclass(frozen=True)
class Act:
    """A change, who may make it, and what the others hear who are not simply turned away."""

    path: str
    body: object
    may: tuple[str, ...]
    hears: dict[str, int] = field(default_factory=dict)
    before: Callable[[Scene], object] = lambda scene: None
    again: int | None = 409
    content_type: str = "application/json"


def appealed(scene: Scene) -> None:
    path = "/v1/suspensions/{suspension}/appeals"
    scene.ids["appeal"] = scene.do("sender", path, {"text": "We have consents."})["id"]


def unchanged(scene: Scene) -> None:
    scene.do("sender", "/v1/organisations/me/changes/{change}/withdraw")


REASON = {"reason": "Checked."}
STRANGERS = {"other_sender": 404, "provider": 404}
ACTS = {
    "apply": Act("/v1/applications", APPLYING, EVERYBODY[:1]),
    "withdraw an application": Act("/v1/application/withdraw", None, ("applicant",)),
    "add a document": Act(
        "/v1/application/documents", PDF, ("applicant",),
        again=201, content_type="application/pdf",
    ),
    "approve": Act("/v1/applications/{application}/approve", None, ("operator",)),
    "reject": Act("/v1/applications/{application}/reject", REASON, ("operator",)),
    "approve changes": Act("/v1/applications/{change}/approve", {}, ("operator",)),
    "ask for changes": Act(
        "/v1/organisations/me/changes", CHANGES, ("sender",),
        {"provider": 201, "other_sender": 201}, before=unchanged,
    ),
    "withdraw changes": Act(
        "/v1/organisations/me/changes/{change}/withdraw", None, ("sender",), STRANGERS
    ),
    "add a document to changes": Act(
        "/v1/organisations/me/changes/{change}/documents", PDF, ("sender",), STRANGERS,
        again=201, content_type="application/pdf",
    ),
    "correct details": Act(
        "/v1/organisations/{sender}/details", {"name": "B"}, ("operator",),
        before=unchanged, again=200,
    ),
    "suspend": Act("/v1/organisations/{other}/suspend", REASON, ("operator",)),
    "reinstate": Act("/v1/organisations/{suspended}/reinstate", None, ("operator",)),
    "call off": Act("/v1/organisations/{sender}/reinstate", REASON, ("operator",)),
    "appeal": Act(
        "/v1/suspensions/{suspension}/appeals", {"text": "No."}, ("sender",),
        dict.fromkeys(set(ORGANISATIONS) - {"sender"}, 404),
    ),
    "grant an appeal": Act(
        "/v1/appeals/{appeal}/decide", {**REASON, "outcome": "granted"}, ("operator",),
        before=appealed,
    ),
    "dismiss an appeal": Act(
        "/v1/appeals/{appeal}/decide", {**REASON, "outcome": "dismissed"}, ("operator",),
        before=appealed,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTS)
def test_change_is_made_by_whoever_may_once_and_by_nobody_else(scene: Scene, name: str) -> None:
    act = ACTS[name]
    act.before(scene)

    def attempt(who: str) -> Any:
        return scene.call(who, "POST", act.path, act.body, content_type=act.content_type)

    closed = {"nobody": 401, "applicant": 401, **dict.fromkeys(ORGANISATIONS, 403)}
    before = count_rows(scene.client.world.registry)
    for who in EVERYBODY if act.path != "/v1/applications" else ():
        hears = {**closed, **act.hears}[who]
        if who not in act.may and hears > 400:
            assert attempt(who).status_code == hears, who
    assert count_rows(scene.client.world.registry) == before
    for who in act.may:
        assert attempt(who).status_code in (200, 201), who
    if act.again is not None:
        assert attempt(act.may[0]).status_code == act.again


READING: dict[str, dict[str, int]] = {
    "/v1/application": {"applicant": 200},
    "/v1/applications": {"operator": 200},
    "/v1/applications/{application}": {"operator": 200},
    "/v1/applications/{application}/documents/{document}": {"operator": 200},
    "/v1/organisations/me": dict.fromkeys(ORGANISATIONS, 200),
    "/v1/organisations/me/history": dict.fromkeys(ORGANISATIONS, 200),
    "/v1/organisations/{sender}/history": {"operator": 200, "regulator": 200},
    "/v1/organisations/{sender}/suspensions": {"operator": 200, "regulator": 200},
    "/v1/appeals": {"operator": 200},
    "/v1/organisations/me/changes": dict.fromkeys(
        ("sender", "other_sender", "provider", "suspended"), 200
    ),
    "/v1/organisations/me/changes/{change}": {
        "sender": 200,
        **dict.fromkeys(("other_sender", "provider", "suspended"), 404),
    },
}


def test_reading_is_for_whom_it_concerns(scene: Scene) -> None:
    closed = {"nobody": 401, "applicant": 401, **dict.fromkeys(ORGANISATIONS, 403)}
    for path, may in READING.items():
        found = {who: scene.call(who, "GET", path).status_code for who in EVERYBODY}
        assert found == {**closed, **may}, path


def test_unknown_ids_are_not_found(scene: Scene) -> None:
    for path, body in (
        ("/v1/applications/{no}/approve", {}),
        ("/v1/applications/{no}/reject", REASON),
        ("/v1/organisations/{no}/details", {"name": "B"}),
        ("/v1/organisations/{no}/suspend", REASON),
        ("/v1/organisations/{no}/reinstate", None),
        ("/v1/appeals/{no}/decide", {**REASON, "outcome": "granted"}),
        ("/v1/suspensions/{no}/appeals", {"text": "No."}),
    ):
        scene.ids["no"] = str(uuid4())
        answer = scene.call("operator", "POST", path, body)
        assert is_problem(answer, 404, Kind.NOT_FOUND), path


# What is shown


def test_applicant_follows_the_application_to_the_organisation(scene: Scene) -> None:
    shown = scene.see("applicant", "/v1/application")
    assert (shown["id"], shown["state"]) == (scene.ids["application"], "submitted")
    assert [each["name"] for each in shown["documents"]] == ["执照.pdf"]
    assert "key" not in shown
    queue = scene.see("operator", "/v1/applications?state=submitted")["applications"]
    assert [row["id"] for row in queue] == [scene.ids["application"], scene.ids["change"]]
    assert queue[0]["contact_name"] == "Li Qingniao"
    approved = scene.do(
        "operator", "/v1/applications/{application}/approve", {"reason": "Welcome."}
    )
    shown = scene.see("applicant", "/v1/application")
    assert (shown["state"], shown["reason"]) == ("approved", "Welcome.")
    assert shown["organisation_id"] == approved["organisation_id"]
    made = scene.see("operator", f"/v1/organisations/{approved['organisation_id']}")
    assert (made["kind"], made["licence_number"]) == ("provider", "B2-20260001")
    assert made["complaint_phone"] == "400-765-4321"
    [version] = scene.see("operator", f"/v1/organisations/{made['id']}/history")["versions"]
    assert version["application_id"] == scene.ids["application"]


def test_application_with_a_wrong_field_is_told_which(scene: Scene) -> None:
    for part, value in {
        "kind": "carrier",
        "uscc": "911100006000373411",
        "complaint_phone": None,
        "contact_phone": "x",
        "name": "a\nb",
        "licence_number": "",
        "state": "approved",
    }.items():
        answer = scene.call("nobody", "POST", "/v1/applications", {**APPLYING, part: value})
        assert is_problem(answer, 422, Kind.INVALID)
        assert set(answer.json["errors"]) == {part}


def test_organisation_sees_its_suspension_announced_and_in_effect(
    scene: Scene, clock: Clock
) -> None:
    appealed(scene)
    own = scene.see("sender", "/v1/organisations/me")
    assert own["suspended"] is None
    assert own["announced"] == {"reason": "x", "starts_at": "2026-12-08T02:00:00Z"}
    [appeal] = own["suspension"]["appeals"]
    assert (appeal["text"], appeal["outcome"]) == ("We have consents.", None)
    [waiting] = scene.see("operator", "/v1/appeals")["appeals"]
    assert (waiting["id"], waiting["organisation_id"]) == (appeal["id"], scene.ids["sender"])
    assert scene.client.consent().status_code == 201
    clock.pass_(days=7)
    assert is_problem(scene.client.consent(), 403, Kind.ORGANISATION_SUSPENDED)
    decision = {"outcome": "dismissed", "reason": "We asked your customers."}
    scene.do("operator", f"/v1/appeals/{appeal['id']}/decide", decision)
    own = scene.see("sender", "/v1/organisations/me")
    assert (own["announced"], own["suspended"]["reason"]) == (None, "x")
    assert own["suspension"]["appeals"][0]["reason"] == "We asked your customers."
    appealed(scene)
    scene.do("operator", "/v1/organisations/{sender}/reinstate", {"reason": "Settled."})
    [ended] = scene.see("regulator", "/v1/organisations/{sender}/suspensions")["suspensions"]
    assert ended["end_reason"] == "Settled."
    assert [each["outcome"] for each in ended["appeals"]] == ["dismissed", "granted"]
    assert scene.see("sender", "/v1/organisations/me")["suspension"] is None


def test_suspension_is_not_announced_for_the_past(scene: Scene) -> None:
    past = {"reason": "x", "starts_at": (START - timedelta(seconds=1)).isoformat()}
    answer = scene.call("operator", "POST", "/v1/organisations/{other}/suspend", past)
    assert set(answer.json["errors"]) == {"starts_at"}


# Documents


def test_document_comes_back_as_it_was_and_as_nothing_that_opens(scene: Scene) -> None:
    large = PDF + bytes(3 * MEBIBYTE)
    document = upload(scene, "applicant", "/v1/application/documents", large).json
    assert (document["media_type"], document["size"]) == ("application/pdf", len(large))
    path = f"/v1/applications/{{application}}/documents/{document['id']}"
    answer = scene.call("operator", "GET", path)
    assert answer.data == large
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''%E6")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    foreign = f"/v1/applications/{{change}}/documents/{document['id']}"
    assert scene.call("operator", "GET", foreign).status_code == 404


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"", "application/pdf", 422),
        (b"<html></html>", "application/pdf", 415),
        (PDF, "text/html", 415),
        (PDF, "multipart/form-data; boundary=x", 415),
    ],
)
def test_document_that_is_none_is_refused(
    scene: Scene, data: bytes, content_type: str, status: int
) -> None:
    before = count_rows(scene.client.world.registry)
    answer = upload(scene, "applicant", "/v1/application/documents", data, content_type)
    assert answer.status_code == status
    assert count_rows(scene.client.world.registry) == before


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_document_is_too_large_when_it_is_longer_than_the_policy_allows(
    scene: Scene, chunked: bool
) -> None:
    registry = scene.client.world.registry
    rules = replace(registry.policy.files, evidence_mebibytes=1)
    registry.policy = replace(registry.policy, files=rules)
    for extra, status in ((0, 201), (1, 413)):
        data = PDF.ljust(MEBIBYTE + extra)
        overrides = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
        answer = scene.client.app.test_client().post(
            "/v1/application/documents",
            input_stream=io.BytesIO(data),
            content_type="application/pdf",
            headers={"Authorization": f"Bearer {scene.keys['applicant']}"},
            environ_overrides=overrides if chunked else {"CONTENT_LENGTH": str(len(data))},
        )
        assert answer.status_code == status
    assert answer.headers["Connection"] == "close"
