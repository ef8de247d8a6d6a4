"""The contract of the API, route by route: what each answers when all is well."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from registry import access, feed, receipts
from registry.consent import Basis, Topic
from registry.models import Lookup, Notice, OrganisationKind, OutboxItem
from registry.runtime import Registry
from tests.factories import (
    OTHER_PORT,
    SERVICE_PORT,
    SMS_PORT,
    START,
    VOICE_LINE,
    Client,
    Clock,
    World,
    count_rows,
    make_number,
    make_organisation,
    make_uscc,
)

UNSCOPED = {
    "/healthz", "/readyz", "/metrics", "/openapi.json", "/.well-known/jwks.json",
    "/docs", "/docs/start.js", "/docs/assets/<name>",
}  # fmt: skip
"""The routes of the service itself, which ask for no key."""
PAGES = {
    "static", "public", "signin", "my", "member", "own", "links", "demo", "door", "console",
}  # fmt: skip
"""The blueprints of pages: people sign in there, and test_console.py tries who may do what."""

ORGANISATION = "/v1/organisations/<uuid:organisation_id>"
APPLICATION = "/v1/applications/<uuid:application_id>"
CHANGE = "/v1/organisations/me/changes/<uuid:application_id>"
ANY_SCOPE = " ".join(access.Scope)
IMPORTING = "consent wishes tenure numbers"
"""Each kind of import asks for its own of these besides."""

SCOPES = {
    "POST /v1/lookups": "lookup",
    "POST /v1/lookups/batch": "lookup",
    "POST /v1/consents": "consent",
    "POST /v1/consents/search": "consent",
    "GET /v1/consents/<uuid:consent_id>": "consent oversight",
    "POST /v1/consents/<uuid:consent_id>/withdraw": "consent",
    "POST /v1/consent-requests": "consent",
    "GET /v1/consent-requests/<uuid:request_id>": "consent",
    "GET /v1/challenges": "consent",
    "GET /v1/challenges/<uuid:challenge_id>": "consent",
    "POST /v1/challenges/<uuid:challenge_id>/evidence": "consent",
    "GET /v1/consent-requests": "consent",
    "POST /v1/consent-requests/search": "consent",
    "POST /v1/evidence": "consent",
    "GET /v1/evidence": "consent",
    "GET /v1/evidence/<sha256>": "consent",
    "GET /v1/evidence/<sha256>/file": "consent",
    "DELETE /v1/evidence/<sha256>": "consent",
    "GET /v1/consents/<uuid:consent_id>/evidence": "consent oversight",
    "GET /v1/consents/<uuid:consent_id>/evidence/file": "consent oversight",
    "GET /v1/consents/<uuid:consent_id>/evidence/proof": "consent oversight",
    "POST /v1/evidence/requests": "wishes lookup",
    "POST /v1/evidence/requests/file": "wishes lookup",
    "POST /v1/imports": IMPORTING,
    "GET /v1/imports": IMPORTING,
    "GET /v1/imports/<uuid:import_id>": IMPORTING,
    "PATCH /v1/imports/<uuid:import_id>": IMPORTING,
    "POST /v1/imports/<uuid:import_id>/start": IMPORTING,
    "POST /v1/imports/<uuid:import_id>/cancel": IMPORTING,
    "GET /v1/imports/<uuid:import_id>/result": IMPORTING,
    "POST /v1/refusals": "wishes",
    "POST /v1/refusals/<uuid:refusal_id>/lift": "wishes",
    "POST /v1/inbound-sms": "wishes",
    "POST /v1/reassignments": "tenure",
    "POST /v1/reassignments/<uuid:reassignment_id>/cancel": "tenure",
    "POST /v1/complaints": "wishes",
    "GET /v1/complaints": "admin oversight consent numbers",
    "GET /v1/complaints/<uuid:complaint_id>": "admin oversight consent numbers wishes",
    "POST /v1/complaints/<uuid:complaint_id>/forward": "admin",
    "POST /v1/complaints/<uuid:complaint_id>/answer": "consent numbers",
    "POST /v1/complaints/<uuid:complaint_id>/close": "admin",
    "GET /v1/violations": "oversight",
    "POST /v1/organisations": "admin",
    "GET /v1/organisations": "admin oversight",
    f"GET {ORGANISATION}": "admin oversight",
    f"GET {ORGANISATION}/history": "admin oversight",
    f"POST {ORGANISATION}/details": "admin",
    f"POST {ORGANISATION}/suspend": "admin",
    f"POST {ORGANISATION}/reinstate": "admin",
    f"GET {ORGANISATION}/suspensions": "admin oversight",
    "GET /v1/organisations/me": ANY_SCOPE,
    "GET /v1/organisations/me/history": ANY_SCOPE,
    "POST /v1/suspensions/<uuid:suspension_id>/appeals": ANY_SCOPE,
    "GET /v1/appeals": "admin",
    "POST /v1/appeals/<uuid:appeal_id>/decide": "admin",
    "POST /v1/applications": "public",
    "GET /v1/application": "applicant",
    "POST /v1/application/withdraw": "applicant",
    "POST /v1/application/documents": "applicant",
    "GET /v1/applications": "admin",
    f"GET {APPLICATION}": "admin",
    f"GET {APPLICATION}/documents/<uuid:document_id>": "admin",
    f"POST {APPLICATION}/approve": "admin",
    f"POST {APPLICATION}/reject": "admin",
    "POST /v1/organisations/me/changes": "numbers",
    "GET /v1/organisations/me/changes": "numbers",
    f"GET {CHANGE}": "numbers",
    f"POST {CHANGE}/withdraw": "numbers",
    f"POST {CHANGE}/documents": "numbers",
    f"POST {ORGANISATION}/limits": "admin",
    f"POST {ORGANISATION}/numbers": "admin",
    f"GET {ORGANISATION}/numbers": "admin oversight",
    f"POST {ORGANISATION}/numbers/<number>/release": "admin",
    f"POST {ORGANISATION}/keys": "admin",
    f"DELETE {ORGANISATION}/keys/<uuid:key_id>": "admin",
    "GET /v1/numbers/<number>": "public",
    "GET /v1/numbers": "numbers",
    "POST /v1/numbers/<number>/release": "numbers",
    "GET /v1/numbers/<number>/extensions": "numbers",
    "POST /v1/numbers/<number>/extensions": "numbers",
    "POST /v1/number-claims": "numbers",
    "GET /v1/number-claims": "numbers admin",
    "GET /v1/number-claims/<uuid:claim_id>": "numbers admin",
    "POST /v1/number-claims/<uuid:claim_id>/withdraw": "numbers",
    "POST /v1/number-claims/<uuid:claim_id>/approve": "admin",
    "POST /v1/number-claims/<uuid:claim_id>/reject": "admin",
    "GET /v1/providers": "numbers admin oversight",
    "POST /v1/authorisations": "numbers",
    "GET /v1/authorisations": "numbers",
    "POST /v1/authorisations/<uuid:authorisation_id>/end": "numbers",
}


def test_every_route_declares_the_scope_that_the_contract_names(app: Flask) -> None:
    declared = {
        f"{method} {rule.rule}": " ".join(getattr(app.view_functions[rule.endpoint], "scopes", ()))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in UNSCOPED and rule.endpoint.partition(".")[0] not in PAGES
    }
    assert declared == SCOPES


# Lookups


def receipt_of(client: Client, answer: Any) -> dict[str, Any]:
    """Check the receipt of an answer with the published keys, and return what it says."""
    jwks = client.get("/.well-known/jwks.json").json
    assert jwks is not None
    return receipts.verify(answer.json["receipt"], jwks)


def test_lookup_answers_with_a_verdict_its_validity_and_its_position(
    client: Client, world: World
) -> None:
    world.grant()
    events = world.do(feed.sequence)
    answer = client.lookup("138 0000 0000")
    body = answer.json
    assert answer.status_code == 200
    assert {name: body[name] for name in body if name not in ("id", "receipt")} == {
        "to": "+8613800000000",
        "allowed": True,
        "reason": "consented",
        "valid_until": "2026-12-01T02:10:00Z",
        "retry_at": None,
        "forecast": False,
        "decided_at": "2026-12-01T02:00:00Z",
        "position": events,
    }


@pytest.mark.parametrize("who", ["sender", "carrier"])
def test_lookup_receipt_says_what_the_answer_says(client: Client, world: World, who: str) -> None:
    world.grant()
    answer = client.lookup(who=who)
    body = answer.json
    assert receipt_of(client, answer) == {
        "v": 1,
        "id": body["id"],
        "policy": "cn-2020-draft",
        "asker": str(getattr(world, who).id),
        "sender": str(world.sender.id),
        "from": SMS_PORT,
        "channel": "sms",
        "message_class": "commercial",
        "topic": "retail",
        "at": "2026-12-01T02:00:00Z",
        "contact": False,
        **{name: body[name] for name in ("forecast", "decided_at", "position")},
        "verdict": {
            name: body[name] for name in ("to", "allowed", "reason", "valid_until", "retry_at")
        },
    }


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({}, "consented"),
        ({"from": SMS_PORT + "77"}, "consented"),
        ({"from": SERVICE_PORT, "message_class": "service", "topic": None}, "consent_not_required"),
        ({"from": "10690009876"}, "sender_unknown"),
        ({"from": OTHER_PORT}, "number_not_held"),
        ({"from": VOICE_LINE}, "number_not_held"),
        ({"from": SERVICE_PORT}, "usage_mismatch"),
        ({"topic": "loans"}, "no_consent"),
        ({"from": VOICE_LINE, "channel": "voice"}, "no_consent"),
    ],
)
def test_lookup_gives_the_reason_of_its_question(
    client: Client, world: World, question: dict[str, Any], reason: str
) -> None:
    world.grant()
    body = client.lookup(**question).json
    assert (body["reason"], body["allowed"]) == (reason, reason.startswith("consent"))


def test_lookup_beyond_its_validity_is_a_forecast_in_the_receipt_too(
    client: Client, world: World, clock: Clock
) -> None:
    world.grant()
    answer = client.lookup(at=(clock.now + timedelta(days=1)).isoformat())
    said = receipt_of(client, answer)
    assert (answer.json["allowed"], answer.json["forecast"]) == (True, True)
    assert (answer.json["valid_until"], said["verdict"]["valid_until"]) == (None, None)
    assert (said["forecast"], said["at"]) == (True, "2026-12-02T02:00:00Z")


def test_lookup_at_night_says_when_contact_is_allowed_again(client: Client, world: World) -> None:
    world.grant()
    body = client.lookup(at="2026-12-01T23:00:00+08:00").json
    assert (body["allowed"], body["reason"]) == (False, "quiet_hours")
    assert body["retry_at"] == "2026-12-02T00:00:00Z"


def test_lookup_leaves_an_audit_row_behind(
    client: Client, world: World, app: Flask, registry: Registry
) -> None:
    asked = client.lookup().json
    app.extensions["recorder"].close()
    with registry.database.read() as connection:
        [row] = connection.execute(select(Lookup.__table__)).all()
    assert (str(row.id), row.number, row.reason) == (asked["id"], make_number(), "no_consent")
    assert (row.asker_id, row.sender_id, row.contact) == (world.sender.id, world.sender.id, False)


def test_contact_is_counted_and_audited_before_it_is_answered(
    client: Client, registry: Registry
) -> None:
    client.consent(cap={"count": 1, "period": "day"})
    first = client.lookup(who="carrier", contact=True)
    with registry.database.read() as connection:
        assert connection.execute(select(Lookup.id, Lookup.contact)).all()[0].contact
    second = client.lookup(who="carrier", contact=True).json
    assert first.json["reason"] == "consented"
    assert receipt_of(client, first)["contact"] is True
    assert (second["reason"], second["allowed"]) == ("frequency_exceeded", False)
    assert second["retry_at"] == "2026-12-02T00:00:00Z"


def test_batch_answers_in_the_order_asked_with_one_receipt_over_all(
    client: Client, world: World, registry: Registry
) -> None:
    world.grant()
    asked = ["13800000001", "not a number", "+86 138-0000-0000", "13800000001", "010 6552 9988"]
    answer = client.batch(asked)
    verdicts = answer.json["verdicts"]
    assert [(verdict["to"], verdict["reason"]) for verdict in verdicts] == [
        ("+8613800000001", "no_consent"),
        ("not a number", "invalid_number"),
        ("+8613800000000", "consented"),
        ("+8613800000001", "no_consent"),
        ("010 6552 9988", "invalid_number"),
    ]
    assert verdicts[0] == verdicts[3]
    said = receipt_of(client, answer)
    assert receipts.covers(said, verdicts)
    assert said["id"] == answer.json["id"]
    with registry.database.read() as connection:
        rows = connection.execute(select(Lookup.item).order_by(Lookup.item)).all()
    assert [row.item for row in rows] == [0, 2, 3]


# Consents


def test_consents_are_recorded_one_a_topic_as_asserted(client: Client, world: World) -> None:
    terms: dict[str, Any] = {
        "cap": {"count": 3, "period": "week"},
        "valid_until": "2027-01-31T08:00:00+08:00",
    }
    evidence = {
        "method": "app", "notice_text": "I agree.", "notice_version": "7",
        "language": "zh-Hans", "sha256": "0" * 64, "uri": "https://example.com/proof/1",
    }  # fmt: skip
    answer = client.consent(
        "0086 138 0000 0000", topics=["retail", "games"], **terms, evidence=evidence
    )
    consents = answer.json["consents"]
    assert answer.status_code == 201
    assert {consent["topic"] for consent in consents} == {"retail", "games"}
    for consent in consents:
        assert {name: consent[name] for name in consent if name not in ("id", "topic")} == {
            "number": "+8613800000000",
            "sender": str(world.sender.id),
            "channel": "sms",
            "basis": "asserted",
            "state": "active",
            "granted_at": "2026-12-01T02:00:00Z",
            "recorded_at": "2026-12-01T02:00:00Z",
            "valid_until": "2027-01-31T00:00:00Z",
            "cap": terms["cap"],
            "evidence": {**evidence, "removed_at": None},
            "history": [
                {"event": "granted", "at": "2026-12-01T02:00:00Z"},
                {"event": "recorded", "at": "2026-12-01T02:00:00Z"},
            ],
        }


def test_consents_tell_the_subscriber(client: Client, registry: Registry) -> None:
    client.consent()
    with registry.database.read() as connection:
        told = connection.execute(select(OutboxItem.notice, OutboxItem.number)).all()
    assert [tuple(row) for row in told] == [(Notice.CONSENT_ASSERTED, make_number())]


def test_sender_asserts_ten_times_a_day_that_a_number_consents(
    client: Client, world: World, clock: Clock
) -> None:
    world.grant(sender=world.other_sender)
    world.grant(basis=Basis.CONFIRMED, topics=(Topic.GAMES,))
    for made in range(10):
        assert client.consent(topics=["retail", "loans"]).status_code == 201
        if made == 5:
            world.reassign(reassigned_at=START)
    before = count_rows(world.registry)
    refused = client.consent(topics=["travel"])
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3600")
    assert refused.json["type"].endswith("rate_limited")
    assert count_rows(world.registry) == before
    assert client.consent("13800000001").status_code == 201
    assert client.consent(who="other_sender").status_code == 201
    clock.pass_(hours=24)
    assert client.consent().status_code == 201


def test_withdrawal_ends_a_consent_and_stays_in_its_history(client: Client, clock: Clock) -> None:
    [consent] = client.consent().json["consents"]
    clock.pass_(hours=1)
    path = f"/v1/consents/{consent['id']}"
    withdrawn = client.post(f"{path}/withdraw", {"reason": "by letter"}, who="sender")
    assert withdrawn.status_code == 200
    assert withdrawn.json["state"] == "withdrawn"
    assert withdrawn.json["history"][-1] == {"event": "withdrawn", "at": "2026-12-01T03:00:00Z"}
    assert client.lookup().json["reason"] == "consent_withdrawn"
    assert client.get(path, who="sender").json == withdrawn.json
    assert client.get(path, who="regulator").json == withdrawn.json
    assert client.post(f"{path}/withdraw", {}, who="sender").json == withdrawn.json


def test_withdrawal_by_the_subscriber_is_not_asserted_away(client: Client) -> None:
    [consent] = client.consent().json["consents"]
    client.post(f"/v1/consents/{consent['id']}/withdraw", {}, who="sender")
    assert client.consent().status_code == 201
    assert client.lookup().json["allowed"] is False


def test_search_lists_own_consents_newest_first_page_by_page(client: Client, world: World) -> None:
    topics = list(Topic)
    recorded = [client.consent(topics=topics).json["consents"] for _ in range(9)]
    client.consent("13800000001")
    world.grant(sender=world.other_sender)
    found: list[dict[str, Any]] = []
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        search = {"number": "13800000000", "cursor": cursor}
        page = client.post("/v1/consents/search", search, who="sender").json
        found, cursor, pages = found + page["consents"], page["cursor"], pages + 1
    assert pages == 2
    ids = [consent["id"] for consent in found]
    assert len(set(ids)) == len(ids) == 108
    assert {consent["id"] for consent in recorded[-1]} == set(ids[:12])
    assert {consent["id"] for consent in recorded[0]} == set(ids[-12:])
    assert {consent["state"] for consent in found[:12]} == {"active"}
    assert {consent["state"] for consent in found[12:]} == {"superseded"}


# Subscribers' wishes


def test_refusal_stops_contacts_until_it_is_lifted(client: Client, registry: Registry) -> None:
    client.consent()
    refusal = client.post("/v1/refusals", {"number": "13800000000", "via": "store"}, who="carrier")
    assert refusal.status_code == 201
    assert {name: refusal.json[name] for name in refusal.json if name != "id"} == {
        "number": "+8613800000000",
        "channel": None,
        "topic": None,
        "sender": None,
        "via": "store",
        "recorded_at": "2026-12-01T02:00:00Z",
        "ended_at": None,
    }
    assert client.lookup().json["reason"] == "refused"
    lifted = client.post(f"/v1/refusals/{refusal.json['id']}/lift", who="carrier")
    assert (lifted.status_code, lifted.json["ended_at"]) == (200, "2026-12-01T02:00:00Z")
    assert client.lookup().json["reason"] == "consented"
    with registry.database.read() as connection:
        assert Notice.REFUSAL_LIFTED in connection.scalars(select(OutboxItem.notice)).all()


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"channel": "sms"}, "refused"),
        ({"channel": "voice"}, "consented"),
        ({"topic": "retail"}, "refused"),
        ({"topic": "games"}, "consented"),
        ({"sender": "sender"}, "refused"),
        ({"sender": "other_sender"}, "consented"),
        ({"channel": "sms", "topic": "retail", "sender": "sender"}, "refused"),
    ],
)
def test_refusal_covers_what_it_names(
    client: Client, world: World, wish: dict[str, str], reason: str
) -> None:
    client.consent()
    if "sender" in wish:
        wish = {**wish, "sender": str(getattr(world, wish["sender"]).id)}
    said = {"number": "13800000000", "via": "sms", **wish}
    answer = client.post("/v1/refusals", said, who="carrier").json
    assert {name: answer[name] for name in wish} == wish
    assert client.lookup().json["reason"] == reason


def test_reassignment_ends_consents_until_it_is_cancelled(client: Client) -> None:
    [consent] = client.consent().json["consents"]
    report = {"number": "13800000000", "reassigned_at": "2026-11-30T10:00:00+08:00"}
    answer = client.post("/v1/reassignments", report, who="carrier")
    assert answer.status_code == 201
    assert {name: answer.json[name] for name in answer.json if name != "id"} == {
        "number": "+8613800000000",
        "reassigned_at": "2026-11-30T02:00:00Z",
        "recorded_at": "2026-12-01T02:00:00Z",
        "cancelled_at": None,
    }
    assert client.lookup().json["reason"] == "number_reassigned"
    shown = client.get(f"/v1/consents/{consent['id']}", who="sender").json
    assert shown is not None
    assert shown["state"] == "reassigned"
    assert shown["history"][-1] == {"event": "reassigned", "at": "2026-11-30T02:00:00Z"}
    cancelled = client.post(f"/v1/reassignments/{answer.json['id']}/cancel", who="carrier")
    assert (cancelled.status_code, cancelled.json["cancelled_at"]) == (200, "2026-12-01T02:00:00Z")
    assert client.lookup().json["reason"] == "consented"


# Organisations and the numbers they hold


def test_organisation_is_registered_and_shown(client: Client) -> None:
    entity = {
        "kind": "sender", "name": "青鸟", "uscc": make_uscc(77), "contact_phone": "400 123 4567",
    }  # fmt: skip
    answer = client.post("/v1/organisations", entity, who="operator")
    assert answer.status_code == 201
    assert {name: answer.json[name] for name in answer.json if name != "id"} == {
        **entity,
        "licence_number": None,
        "complaint_phone": "400 123 4567",
        "recorded_at": "2026-12-01T02:00:00Z",
        "suspended": None,
        "announced": None,
        "limits": {
            "requests_per_second": None,
            "lookup_numbers_per_day": None,
            "assertion_numbers_per_day": None,
        },
    }
    path = f"/v1/organisations/{answer.json['id']}"
    assert client.get(path, who="operator").json == answer.json
    assert client.get(path, who="regulator").json == answer.json
    assert client.post("/v1/organisations", entity, who="operator").status_code == 409


def test_organisations_are_listed_page_by_page(client: Client, world: World) -> None:
    kind = OrganisationKind.SENDER
    world.do(lambda session: [make_organisation(session, kind, n) for n in range(6, 120)])
    first = client.get("/v1/organisations", who="regulator").json
    assert first is not None
    rest = client.get(f"/v1/organisations?cursor={first['cursor']}", who="regulator").json
    assert rest is not None
    listed = [each["uscc"] for each in first["organisations"] + rest["organisations"]]
    assert listed == [make_uscc(n) for n in range(120)]
    assert (len(first["organisations"]), rest["cursor"]) == (100, None)


def test_holding_appears_in_the_public_register_until_its_release(
    client: Client, world: World, clock: Clock
) -> None:
    path = f"/v1/organisations/{world.sender.id}/numbers"
    resource = {
        "number": "1069-0007", "channels": ["sms"], "usages": ["commercial", "public"],
        "held_until": "2027-12-01T00:00:00+08:00",
    }  # fmt: skip
    held = client.post(path, resource, who="operator")
    assert held.status_code == 201
    assert held.json == {
        "number": "10690007",
        "kind": "port",
        "holder": {
            "id": str(world.sender.id),
            "name": "sender 1",
            "contact_phone": "4001234567",
            "complaint_phone": "4001234567",
        },
        "provider": None,
        "channels": ["sms"],
        "usages": ["commercial", "public"],
        "held_from": "2026-12-01T02:00:00Z",
        "held_until": "2027-11-30T16:00:00Z",
        "released_at": None,
    }
    listed = client.get(path, who="regulator").json
    assert listed is not None
    assert held.json in listed["numbers"]
    assert len(listed["numbers"]) == 4
    # An extension that nobody was assigned belongs to the holder of the port.
    assert client.get("/v1/numbers/10690007123").json == held.json
    clock.pass_(days=1)
    released = client.post(f"{path}/10690007/release", who="operator")
    assert released.json == {**held.json, "released_at": "2026-12-02T02:00:00Z"}
    assert client.get("/v1/numbers/10690007").status_code == 404


@pytest.mark.parametrize(
    ("number", "holder"), [(SMS_PORT, "sender"), (OTHER_PORT, "sender"), ("10695555", "carrier")]
)
def test_holding_is_refused_where_it_is_taken_or_not_for_this_kind(
    client: Client, world: World, number: str, holder: str
) -> None:
    resource = {"number": number, "channels": ["sms"], "usages": ["service"]}
    path = f"/v1/organisations/{getattr(world, holder).id}/numbers"
    assert client.post(path, resource, who="operator").status_code == 409
