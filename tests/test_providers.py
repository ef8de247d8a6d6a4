"""Providers: what they assign, for whom they ask, and that nobody sees or takes another's."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from registry import senders
from registry.consent import Channel, MessageClass, Reason
from registry.events import timestamp
from registry.lookup import Asker
from registry.models import Event, Lookup, Organisation
from registry.numbers import parse_sending
from tests.factories import (
    OTHER_PORT,
    PROVIDER_PORT,
    SMS_PORT,
    START,
    Client,
    Clock,
    World,
    assign,
    authorise,
    complaint_body,
    count_rows,
    make_provider,
)

on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
EXTENSION = PROVIDER_PORT + "01"
SERVICE: dict[str, Any] = {"message_class": MessageClass.SERVICE, "topic": None}


@pytest.fixture
def provider(world: World) -> Organisation:
    """Return a provider that holds a port for commercial and service SMS, for three years."""
    return make_provider(world, held_until=START + timedelta(days=1000))


def extend(client: Client, number: str = EXTENSION, *, who: str = "provider", **more: Any) -> Any:
    """Assign an extension of the provider's port to `sender` over the API."""
    body = {
        "number": number,
        "sender": str(client.world.sender.id),
        "channels": ["sms"],
        "usages": ["commercial"],
        **more,
    }
    return client.post(f"/v1/numbers/{PROVIDER_PORT}/extensions", body, who=who)


def asked(world: World, who: Organisation, sending: str = EXTENSION, **more: Any) -> Reason:
    """Return the reason that an organisation is given for a sending number."""
    return world.verdict(sending=sending, asker=Asker(who.id, who.kind), **more).reason


def holder(client: Client, number: str) -> tuple[str, str | None] | None:
    """Return the names that the public register gives: of the holder and the provider."""
    found = client.get(f"/v1/numbers/{number}").json
    if found is None or "holder" not in found:
        return None
    provider = found["provider"]
    return found["holder"]["name"], provider and provider["name"]


def suspend(world: World, who: Organisation) -> None:
    now = world.registry.clock()
    world.do(lambda it: senders.suspend(it, who.id, "complaints", actor_id=None, now=now))


# Extensions


def test_extension_is_its_senders_and_the_rest_of_the_port_the_providers(
    client: Client, world: World, provider: Organisation
) -> None:
    authorise(world, provider)
    made = extend(client)
    assert made.status_code == 201
    assert made.json["holder"]["id"] == str(world.sender.id)
    assert made.json["provider"]["id"] == str(provider.id)
    sender, platform = world.sender.name, provider.name
    assert {
        number: holder(client, PROVIDER_PORT + number) for number in ("", "0", "01", "012")
    } == {
        "": (platform, None),
        "0": (platform, None),
        "01": (sender, platform),
        "012": (sender, platform),
    }
    for who, path, count in (
        ("provider", f"/v1/numbers/{PROVIDER_PORT}/extensions", 1),
        ("provider", "/v1/numbers", 1),
        ("sender", "/v1/numbers", 4),
    ):
        listed = client.get(path, who=who).json
        assert listed is not None
        assert len(listed["numbers"]) == count
        assert (made.json in listed["numbers"]) is not (path == "/v1/numbers" and who == "provider")


@on_sqlite
def test_extension_puts_no_senders_name_to_what_was_sent_before(
    client: Client, world: World, provider: Organisation, clock: Clock
) -> None:
    clock.pass_(days=3)
    authorise(world, provider)
    made = extend(client, held_from=(clock.now - timedelta(days=2)).isoformat())
    assert made.json["held_from"] == timestamp(clock.now)


@on_sqlite
@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"number": PROVIDER_PORT}, 422, "is no extension of this port"),
        ({"number": "10690009999"}, 422, "is no extension of this port"),
        ({"number": PROVIDER_PORT + "0x"}, 422, "no telephone number has"),
        ({"channels": ["sms", "voice"]}, 422, "may be of this port: sms"),
        ({"usages": ["public"]}, 422, "may be of this port: commercial, service"),
        ({"held_until": "2030-01-01T00:00:00Z"}, 422, "lies after that of the number"),
        ({"held_from": "2026-11-30T00:00:00Z"}, 422, "lies before that of the number"),
        ({"held_until": "2026-12-01T00:00:00Z"}, 422, "lies before held_from"),
        ({"sender": "operator"}, 409, "no sender with this id authorises this provider"),
        ({"sender": str(uuid4())}, 409, "no sender with this id authorises this provider"),
        ({"number": EXTENSION}, 409, "assigned already"),
        ({"number": EXTENSION + "5"}, 409, "part of an extension that is assigned already"),
        ({"number": PROVIDER_PORT + "7"}, 409, "a longer number that begins with this one"),
    ],
)
def test_extension_is_refused_beyond_what_the_provider_holds_and_who_authorises_it(
    client: Client, world: World, provider: Organisation, change: dict[str, Any], status: int,
    said: str,
) -> None:  # fmt: skip
    for who, number in ((world.sender, EXTENSION), (world.other_sender, PROVIDER_PORT + "77")):
        authorise(world, provider, who)
        assign(world, provider, number, sender=who)
    if change.get("sender") == "operator":
        change = {"sender": str(world.operator.id)}
    rows = count_rows(world.registry)
    answer = extend(client, **{"number": PROVIDER_PORT + "88", **change})
    assert answer.status_code == status
    assert said in answer.json["detail"]
    assert count_rows(world.registry) == rows


@on_sqlite
def test_extension_ends_with_the_port_at_the_latest(
    client: Client, world: World, provider: Organisation
) -> None:
    authorise(world, provider)
    made = extend(client).json
    assert made["held_until"] == "2029-08-27T02:00:00Z"
    shorter = extend(client, PROVIDER_PORT + "02", held_until="2027-01-01T00:00:00Z").json
    assert shorter["held_until"] == "2027-01-01T00:00:00Z"


@on_sqlite
def test_nobody_captures_a_part_of_a_port_by_a_longer_number(
    client: Client, world: World, provider: Organisation
) -> None:
    """Neither a stranger, nor whoever was assigned an extension, nor the operator for them."""
    authorise(world, provider)
    assign(world, provider, EXTENSION)
    rows = count_rows(world.registry)
    resource = {"channels": ["sms"], "usages": ["commercial"]}
    for number in (PROVIDER_PORT + "9", EXTENSION + "9", PROVIDER_PORT[:-1] + "4"):
        for who in ("sender", "other_sender"):
            held = f"/v1/organisations/{getattr(world, who).id}/numbers"
            extensions = f"/v1/numbers/{PROVIDER_PORT}/extensions"
            given = {**resource, "number": number}
            for path, by, more, status in (
                ("/v1/number-claims", who, {}, 409),
                (held, "operator", {}, 409),
                (extensions, who, {"sender": str(world.sender.id)}, 404),
            ):
                assert client.post(path, {**given, **more}, who=by).status_code == status
    assert count_rows(world.registry) == rows


def test_extension_is_ended_by_its_sender_and_by_the_provider_and_nobody_else(
    client: Client, world: World, provider: Organisation
) -> None:
    authorise(world, provider)
    path = f"/v1/numbers/{EXTENSION}/release"
    for who in ("sender", "provider"):
        assign(world, provider, EXTENSION)
        for stranger in ("other_sender", "operator", "carrier"):
            answer = client.post(path, who=stranger)
            assert answer.status_code == (404 if stranger == "other_sender" else 403)
        released = client.post(path, who=who)
        assert (released.status_code, released.json["number"]) == (200, EXTENSION)
        assert holder(client, EXTENSION) == (provider.name, None)
    assert client.post(f"/v1/numbers/{PROVIDER_PORT}/release", who="sender").status_code == 404


def test_port_takes_its_extensions_along_when_it_is_released(
    client: Client, world: World, provider: Organisation
) -> None:
    authorise(world, provider)
    assign(world, provider, EXTENSION + "5")
    assign(world, provider, EXTENSION)
    assert client.post(f"/v1/numbers/{PROVIDER_PORT}/release", who="provider").status_code == 200
    assert [holder(client, number) for number in (PROVIDER_PORT, EXTENSION)] == [None, None]
    query = select(Event.payload).where(Event.kind == "sending_number_released").order_by(Event.id)
    with world.registry.database.read() as connection:
        told = [json.loads(payload) for payload in connection.scalars(query)]
    port = told[-1]["holding"]
    assert [(event["number"], event.get("with")) for event in told] == [
        (EXTENSION + "5", port), (EXTENSION, port), (PROVIDER_PORT, None),
    ]  # fmt: skip
    assert {event["actor"] for event in told} == {str(provider.id)}


# Authorisations


def test_authorisation_is_seen_and_ended_by_its_two_and_nobody_else(
    client: Client, world: World, provider: Organisation
) -> None:
    """Who may do what about an authorisation, and what each is shown."""
    path = "/v1/authorisations"
    for who, status in {"sender": 201, "provider": 409, "operator": 403, "carrier": 403}.items():
        made = client.post(path, {"provider": str(provider.id)}, who=who)
        assert made.status_code == status, who
    for wrong, status in {world.other_sender.id: 409, provider.id: 409, uuid4(): 404}.items():
        assert client.post(path, {"provider": str(wrong)}, who="sender").status_code == status
    listed = {
        who: client.get(path, who=who).json["authorisations"]  # type: ignore[index]
        for who in ("sender", "provider", "other_sender")
    }
    [row] = listed["sender"]
    assert listed["provider"] == [row]
    assert listed["other_sender"] == []
    assert (row["sender"]["id"], row["provider"]["id"]) == (str(world.sender.id), str(provider.id))
    end = f"{path}/{row['id']}/end"
    for who, status in {"other_sender": 404, "operator": 403, "carrier": 403}.items():
        assert client.post(end, who=who).status_code == status
    ended = client.post(end, who="sender").json
    assert ended["ended_by"] == str(world.sender.id)
    assert client.post(end, who="provider").status_code == 409
    authorise(world, provider)
    again = client.get(path, who="provider").json["authorisations"][0]  # type: ignore[index]
    assert client.post(f"{path}/{again['id']}/end", who="provider").status_code == 200
    query = select(Event.payload).where(Event.kind.startswith("provider_auth")).order_by(Event.id)
    with world.registry.database.read() as connection:
        told = [json.loads(payload) for payload in connection.scalars(query)]
    assert [(event["kind"], event["actor"]) for event in told] == [
        ("provider_authorised", str(world.sender.id)),
        ("provider_authorisation_ended", str(world.sender.id)),
        ("provider_authorised", str(world.sender.id)),
        ("provider_authorisation_ended", str(provider.id)),
    ]


def test_extensions_end_with_the_authorisation_that_they_were_for(
    client: Client, world: World, provider: Organisation
) -> None:
    mine = authorise(world, provider)
    authorise(world, provider, world.other_sender)
    assign(world, provider, EXTENSION + "5")
    assign(world, provider, EXTENSION)
    assign(world, provider, PROVIDER_PORT + "02", sender=world.other_sender)
    assert client.post(f"/v1/authorisations/{mine.id}/end", who="sender").status_code == 200
    assert holder(client, EXTENSION + "5") == (provider.name, None)
    assert holder(client, PROVIDER_PORT + "02") == (world.other_sender.name, provider.name)
    assert holder(client, SMS_PORT) == (world.sender.name, None)
    assert extend(client).status_code == 409


@on_sqlite
def test_providers_are_listed_with_where_to_complain(
    client: Client, provider: Organisation
) -> None:
    listed = client.get("/v1/providers", who="sender").json
    assert listed == {
        "providers": [
            {
                "id": str(provider.id),
                "name": provider.name,
                "contact_phone": "4001234567",
                "complaint_phone": "4001234567",
            }
        ],
        "cursor": None,
    }


# Lookups


def test_provider_asks_for_the_senders_that_authorise_it_and_nobody_else(
    client: Client, world: World, provider: Organisation
) -> None:
    world.grant()
    authorisation = authorise(world, provider)
    assign(world, provider, EXTENSION)
    assert asked(world, provider) is Reason.CONSENTED
    assert asked(world, provider, SMS_PORT) is Reason.CONSENTED
    assert asked(world, provider, PROVIDER_PORT + "9") is Reason.NO_CONSENT
    assert asked(world, provider, PROVIDER_PORT + "9", **SERVICE) is Reason.CONSENT_NOT_REQUIRED
    assert asked(world, provider, OTHER_PORT) is Reason.NUMBER_NOT_HELD
    assert asked(world, world.sender) is Reason.CONSENTED
    assert asked(world, world.carrier) is Reason.CONSENTED
    assert asked(world, world.other_sender) is Reason.NUMBER_NOT_HELD
    assert asked(world, world.sender, PROVIDER_PORT + "9") is Reason.NUMBER_NOT_HELD
    question = {"from": SMS_PORT}
    assert client.lookup(who="provider", **question).json["allowed"] is True
    end = f"/v1/authorisations/{authorisation.id}/end"
    assert client.post(end, who="sender").status_code == 200
    refused = client.lookup(who="provider", **question).json
    assert (refused["allowed"], refused["reason"]) == (False, "number_not_held")
    # Its extension is the provider's own again, for which nobody consented.
    assert asked(world, provider) is Reason.NO_CONSENT


def test_stranger_hears_the_same_of_whom_it_does_not_serve_whoever_consented(
    world: World, provider: Organisation
) -> None:
    world.grant(sender=world.other_sender)
    other = make_provider(world, "10695678", 91)
    authorise(world, other, world.other_sender)
    for asker in (provider, world.sender):
        assert asked(world, asker, OTHER_PORT) is Reason.NUMBER_NOT_HELD
    assert asked(world, other, OTHER_PORT) is Reason.CONSENTED


@pytest.mark.parametrize("who", ["holder", "provider above", "provider that asks"])
def test_suspension_of_anybody_in_the_chain_allows_nothing(
    world: World, provider: Organisation, who: str
) -> None:
    world.grant()
    authorise(world, provider)
    assign(world, provider, EXTENSION, usages=(MessageClass.COMMERCIAL, MessageClass.SERVICE))
    suspend(world, world.sender if who == "holder" else provider)
    sending = SMS_PORT if who == "provider that asks" else EXTENSION
    assert asked(world, provider, sending) is Reason.SENDER_SUSPENDED
    if who == "provider that asks":  # What does not go through it is not touched.
        assert asked(world, world.carrier, sending) is Reason.CONSENTED
        return
    for asker in (world.carrier, world.sender):
        assert asked(world, asker) is Reason.SENDER_SUSPENDED
        assert asked(world, asker, **SERVICE) is Reason.SENDER_SUSPENDED


def test_longest_holding_in_force_decides_and_one_that_lapsed_hides_nothing(
    world: World, provider: Organisation, clock: Clock
) -> None:
    """It may have lapsed, or not have begun; where none is in force the number is not held."""
    authorise(world, provider)
    assign(world, provider, EXTENSION, held_until=START + timedelta(days=2))
    later = {"held_from": START + timedelta(days=4), "held_until": START + timedelta(days=6)}
    world.do(
        lambda session: senders.hold(
            session,
            world.sender.id,
            parse_sending("10690007777"),
            senders.Holding((Channel.SMS,), (MessageClass.COMMERCIAL,), **later),
            actor_id=None,
            now=clock.now,
        )
    )
    world.grant()
    assert asked(world, world.carrier) is Reason.CONSENTED
    assert asked(world, world.carrier, "10690007777") is Reason.NUMBER_NOT_HELD
    clock.pass_(days=2)
    assert asked(world, world.carrier) is Reason.NO_CONSENT
    assert asked(world, world.sender) is Reason.NUMBER_NOT_HELD
    clock.pass_(days=3)
    assert asked(world, world.carrier, "10690007777") is Reason.CONSENTED
    clock.pass_(days=1)
    assert asked(world, world.carrier, "10690007777") is Reason.NUMBER_NOT_HELD


def test_audit_of_a_contact_names_the_sender_of_the_extension(
    client: Client, world: World, provider: Organisation
) -> None:
    world.grant()
    authorise(world, provider)
    assign(world, provider, EXTENSION)
    counted = client.lookup(who="carrier", contact=True, **{"from": EXTENSION + "3"})
    assert counted.json["allowed"] is True
    query = select(Lookup.sender_id, Lookup.contact)
    with world.registry.database.read() as connection:
        assert connection.execute(query).all() == [(world.sender.id, True)]


@on_sqlite
def test_complaint_about_the_providers_own_number_is_answered_by_it(
    client: Client, world: World, provider: Organisation
) -> None:
    body = complaint_body(**{"from": PROVIDER_PORT + "99"})
    filed = client.post("/v1/complaints", body, who="carrier").json
    assert (filed["sender"], filed["provider"]) == (None, str(provider.id))
    path = f"/v1/complaints/{filed['id']}"
    assert client.get(path, who="provider").status_code == 404
    client.post(f"{path}/forward", {}, who="operator")
    [listed] = client.get("/v1/complaints", who="provider").json["complaints"]  # type: ignore[index]
    assert (listed["number"], listed["provider"]) == ("138****0000", str(provider.id))
    for who, status in {"sender": 404, "provider": 200}.items():
        assert client.post(f"{path}/answer", {"text": "A client."}, who=who).status_code == status
    client.post(f"{path}/close", {"outcome": "upheld"}, who="operator")
    [violation] = client.get("/v1/violations", who="regulator").json["violations"]  # type: ignore[index]
    assert (violation["kind"], violation["organisation"], violation["provider"]) == (
        "upheld_complaint", str(provider.id), str(provider.id),
    )  # fmt: skip


@on_sqlite
def test_senders_key_for_numbers_alone_is_shown_no_complaint(client: Client, world: World) -> None:
    made = client.post(
        f"/v1/organisations/{world.sender.id}/keys", {"scopes": ["numbers"]}, who="operator"
    )
    for method, path in (("GET", "/v1/complaints"), ("GET", f"/v1/complaints/{uuid4()}")):
        assert client.call(method, path, key=made.json["key"]).status_code == 403
