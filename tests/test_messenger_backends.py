"""Backends against real peers on loopback: what becomes of a message under every fault."""

import datetime as dt
import logging
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from registry.config import Settings
from registry.errors import Kind, RegistryError
from registry.messenger import delivery, sms
from registry.messenger.backends import (
    Accepted,
    Message,
    Outcome,
    Refused,
    Unavailable,
    Unknown,
    reference,
)
from registry.messenger.gateway import HttpGateway
from registry.messenger.smpp import Smpp
from registry.messenger.smpp_link import Link
from registry.numbers import parse_subscriber
from tests import smpp_peer, sms_gateway
from tests.factories import START, make_number
from tests.smpp_peer import SmppPeer
from tests.sms_gateway import Answer, HttpGatewayPeer

CHINESE = "【同意登记】星河百货请求向您发送营销短信：零售，每周最多2次。"
ENGLISH = "[Consent Registry] 123456 is your code, good for 5 minutes: ~{sign} in^ €"


def message(text: str = CHINESE, index: int = 1, sender: str | None = "106900001") -> Message:
    return Message(UUID(int=index), make_number(index), text, sender)


# Over HTTP


@pytest.fixture
def gateway() -> Iterator[HttpGatewayPeer]:
    with HttpGatewayPeer() as peer:
        yield peer


@pytest.fixture
def http(gateway: HttpGatewayPeer) -> Iterator[HttpGateway]:
    with closing(HttpGateway(gateway.url, "the-secret", clock=lambda: START)) as backend:
        yield backend


def test_gateway_is_posted_the_message_under_its_own_key(
    http: HttpGateway, gateway: HttpGatewayPeer
) -> None:
    sent = message()
    assert http.send(sent) == Accepted("gw-0001")
    [request] = gateway.requests
    assert request["key"] == str(sent.id)
    assert request["headers"]["Authorization"] == "Bearer the-secret"
    assert request["body"] == {
        "id": str(sent.id), "to": sent.number.e164, "from": "106900001", "text": CHINESE,
    }  # fmt: skip


HTTP_OUTCOMES: list[tuple[Answer, Outcome]] = [
    (Answer(200), Accepted(None)),
    (Answer(204), Accepted(None)),
    (Answer(200, body=b'{"id": 77}'), Accepted("77")),
    (Answer(200, body=b'{"id": "x\\n' + b"y" * 200 + b'"}'), Accepted("x" + "y" * 99)),
    (Answer(200, body=b'{"id": "sms-13800000001-1"}'), Accepted(None)),
    (Answer(202, body=b"no JSON"), Accepted(None)),
    (Answer(202, body=b"[" * 50_000), Accepted(None)),
    (Answer(202, body=b"x" * 300_000), Accepted(None)),
    (Answer(400), Refused("http_400")),
    (Answer(422), Refused("http_422")),
    (Answer(410, body=b"x" * 300_000), Refused("http_410")),
    (Answer(401), Unavailable("http_401")),
    (Answer(404), Unavailable("http_404")),
    (Answer(408), Unavailable("http_408")),
    (Answer(409), Unavailable("http_409")),
    (Answer(429, {"Retry-After": "120"}), Unavailable("http_429", 120)),
    (Answer(503, {"Retry-After": "Tue, 01 Dec 2026 02:01:00 GMT"}), Unavailable("http_503", 60)),
    (Answer(503, {"Retry-After": "Tue, 01 Dec 2020 02:01:00 GMT"}), Unavailable("http_503")),
    (Answer(503, {"Retry-After": "soon"}), Unavailable("http_503")),
    (Answer(500), Unavailable("http_500")),
    (Answer(302, {"Location": "http://127.0.0.1:1/"}), Unavailable("http_302")),
]


@pytest.mark.parametrize(("answer", "outcome"), HTTP_OUTCOMES)
def test_gateway_answer_means(
    http: HttpGateway, gateway: HttpGatewayPeer, answer: Answer, outcome: Outcome
) -> None:
    gateway.plan.append(answer)
    assert http.send(message()) == outcome
    # Whatever it answered, the next message goes out.
    assert http.send(message(index=2)) == Accepted("gw-0002")


@pytest.mark.parametrize("fault", sms_gateway.Fault)
def test_lost_answer_is_asked_for_again_and_one_sms_is_made(
    http: HttpGateway, gateway: HttpGatewayPeer, fault: sms_gateway.Fault
) -> None:
    gateway.plan.append(fault)
    assert isinstance(http.send(message()), Unavailable)
    assert http.send(message()) == Accepted("gw-0001")
    assert len(gateway.requests) == 2
    assert gateway.texts == [(make_number(1).e164, CHINESE)]


def test_gateway_that_is_not_there_is_unavailable(gateway: HttpGatewayPeer) -> None:
    with closing(HttpGateway("http://127.0.0.1:1/sms", None)) as backend:
        assert isinstance(backend.send(message()), Unavailable)


def test_connections_to_the_gateway_are_kept(http: HttpGateway, gateway: HttpGatewayPeer) -> None:
    for index in range(5):
        gateway.plan.extend([Answer(503)] if index == 2 else [])
        http.send(message(index=index))
    assert gateway.connections == 1


def test_gateway_without_a_trusted_certificate_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    with HttpGatewayPeer() as peer:
        serve_tls(peer, certificate)
        url = peer.url.replace("http://127.0.0.1", "https://localhost")
        with closing(HttpGateway(url, "secret")) as backend:
            assert isinstance(backend.send(message()), Unavailable)
        assert peer.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with closing(HttpGateway(url, "secret")) as backend:
            assert backend.send(message()) == Accepted("gw-0001")


# Over SMPP


@pytest.fixture
def smsc() -> Iterator[SmppPeer]:
    with SmppPeer() as peer:
        yield peer


@pytest.fixture
def smpp(smsc: SmppPeer) -> Iterator[Smpp]:
    with closing(connect(smsc)) as backend:
        yield backend


def connect(smsc: SmppPeer, **options: Any) -> Smpp:
    chosen = {"answer": 5.0, "part_again": 0.01, **options}
    return Smpp("localhost", smsc.port, smsc.user, "secret", **chosen)


def test_smsc_is_handed_the_message_by_a_transmitter(smpp: Smpp, smsc: SmppPeer) -> None:
    assert smpp.send(message()) == Accepted("m1")
    assert smsc.seen == ["bind_transmitter", "submit"]
    [part] = smsc.parts
    assert (part.source, part.destination) == ("106900001", "8613800000001")
    assert smsc.messages() == [("8613800000001", CHINESE)]


LONG_TEXTS = {
    "Chinese": "【同意登记】" + "星河百货请求向您发送营销短信，同意回复Y1，拒绝回复N1。" * 8,
    "English": "[Consent Registry] " + "Reply Y1 to agree {or not}, " * 20,
    "escapes at every border": "€" * 400,
    "letters beyond the basic plane": "登" + "😀" * 150,
    "one letter too many": "a" * 161,
    "one Chinese letter too many": "登" * 71,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
def test_long_text_arrives_whole_over_smpp(smpp: Smpp, smsc: SmppPeer, text: str) -> None:
    assert smpp.send(message(text)) == Accepted("m1")
    assert len(smsc.parts) > 1
    assert all(len(part.body) <= (140 if part.coding == 8 else 160) for part in smsc.parts)
    assert smsc.messages() == [("8613800000001", text)]


@pytest.mark.parametrize(
    ("text", "coding", "parts"),
    [
        (ENGLISH, sms.GSM, 1),
        ("a" * 160, sms.GSM, 1),
        ("a" * 161, sms.GSM, 2),
        ("€" * 80, sms.GSM, 1),
        ("€" * 81, sms.GSM, 2),
        ("a" * 153 * 3, sms.GSM, 3),
        (CHINESE, sms.UCS2, 1),
        ("登" * 70, sms.UCS2, 1),
        ("登" * 71, sms.UCS2, 2),
        ("登" * 201, sms.UCS2, 3),
        ("`", sms.UCS2, 1),
        ("\x1b", sms.UCS2, 1),
        ("§", sms.GSM, 1),
        ("", sms.GSM, 1),
        ("\ud800", sms.UCS2, 1),
    ],
)
def test_text_takes_the_fewest_parts(text: str, coding: int, parts: int) -> None:
    encoded = sms.encode(text)
    assert (encoded.coding, len(encoded.parts)) == (coding, parts)


def test_every_letter_of_the_alphabet_arrives(smpp: Smpp, smsc: SmppPeer) -> None:
    letters = smpp_peer.GSM.replace("\x1b", "") + "".join(smpp_peer.GSM_MORE.values())
    smpp.send(message(letters))
    assert smsc.messages() == [("8613800000001", letters)]
    assert smsc.parts[0].coding == 0


SMPP_OUTCOMES: list[tuple[int | smpp_peer.Fault, Outcome]] = [
    (smpp_peer.THROTTLED, Unavailable("smpp_0x58")),
    (smpp_peer.QUEUE_FULL, Unavailable("smpp_0x14")),
    (smpp_peer.INVALID_DESTINATION, Refused("smpp_0x0b")),
    (0x8, Unavailable("smpp_0x08")),
    (0x4, Unavailable("smpp_0x04")),
    (0x45, Refused("smpp_0x45")),
    (0x4FF, Refused("smpp_0x4ff")),
    (smpp_peer.Fault.NACK, Refused("smpp_0x03")),
    (smpp_peer.Fault.DROP, Unknown("no_answer")),
    (smpp_peer.Fault.TAKE_AND_DROP, Unknown("no_answer")),
    (smpp_peer.Fault.UNBIND, Unknown("no_answer")),
    (smpp_peer.Fault.GARBAGE, Unknown("no_answer")),
]


@pytest.mark.parametrize(("planned", "outcome"), SMPP_OUTCOMES)
def test_smsc_answer_means(
    smpp: Smpp, smsc: SmppPeer, planned: int | smpp_peer.Fault, outcome: Outcome
) -> None:
    smsc.plan.append(planned)
    assert smpp.send(message()) == outcome
    # Whatever happened, the next message goes out, over a new connection where it must.
    assert isinstance(smpp.send(message(index=2)), Accepted)
    assert ("8613800000002", CHINESE) in smsc.messages()


def test_silence_of_the_smsc_is_unknown_and_a_late_answer_is_nobody_elses(smsc: SmppPeer) -> None:
    with closing(connect(smsc, answer=0.2)) as smpp:
        assert smpp.send(message(index=9)) == Accepted("m1")
        smsc.hold = threading.Event()
        assert smpp.send(message()) == Unknown("no_answer")
        smsc.plan.append(smpp_peer.INVALID_DESTINATION)
        smsc.hold.set()
        assert smpp.send(message(index=2)) == Refused("smpp_0x0b")


def test_part_that_is_throttled_is_handed_over_again_and_no_other(
    smpp: Smpp, smsc: SmppPeer
) -> None:
    smsc.plan.extend([0, smpp_peer.THROTTLED, smpp_peer.QUEUE_FULL])
    text = "登" * 140
    assert smpp.send(message(text)) == Accepted("m1")
    assert smsc.messages() == [("8613800000001", text)]
    assert len(smsc.parts) == 3


@pytest.mark.parametrize(
    ("plan", "outcome", "accepted"),
    [
        ([smpp_peer.THROTTLED], Unavailable("smpp_0x58"), 0),
        ([smpp_peer.INVALID_DESTINATION], Refused("smpp_0x0b"), 0),
        ([0, smpp_peer.INVALID_DESTINATION], Unknown("incomplete"), 1),
        ([0, smpp_peer.Fault.DROP], Unknown("no_answer"), 1),
        ([0, 0, smpp_peer.Fault.TAKE_AND_DROP], Unknown("no_answer"), 3),
    ],
)
def test_message_of_which_a_part_fails(
    smpp: Smpp, smsc: SmppPeer, plan: list[Any], outcome: Outcome, accepted: int
) -> None:
    smsc.plan.extend(plan)
    assert smpp.send(message("登" * 140)) == outcome
    assert len(smsc.parts) == accepted


def test_many_messages_are_under_way_on_one_connection(smpp: Smpp, smsc: SmppPeer) -> None:
    outcomes: dict[int, Outcome] = {}

    def send(index: int) -> None:
        for place in range(20):
            number = index * 20 + place
            outcomes[number] = smpp.send(message(f"text {number}", number))

    threads = [threading.Thread(target=send, args=[index]) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 160
    assert all(isinstance(outcome, Accepted) for outcome in outcomes.values())
    expected = {(make_number(index).e164[1:], f"text {index}") for index in range(160)}
    assert (set(smsc.messages()), len(smsc.messages())) == (expected, 160)
    assert smsc.seen.count("bind_transmitter") == 1


def test_connection_is_made_anew_when_the_smsc_ended_it(smpp: Smpp, smsc: SmppPeer) -> None:
    for index in range(3):
        assert smpp.send(message(index=index)) == Accepted(f"m{index + 1}")
        link = smpp._link
        assert link is not None
        smsc.cut()
        link.close()
    assert smsc.seen.count("bind_transmitter") == 3


def test_smsc_gets_answers_to_what_it_asks(smpp: Smpp, smsc: SmppPeer) -> None:
    smpp.send(message())
    smsc.ask(smpp_peer.ENQUIRE)
    smsc.ask(smpp_peer.DELIVER, b"\0\1\1one\0\1\1two\0\0\0\0\0\0\0\0\0\0\0\0")
    smsc.ask(0x00010203)
    smsc.ask(smpp_peer.UNBIND)
    smsc.wait_for(lambda peer: "response 0x6 0x0" in peer.seen)
    # What a subscriber sent is not acknowledged: nobody here would read it.
    assert smsc.seen[2:] == [
        "response 0x15 0x0", "response 0x5 0x4", "response 0x0 0x3", "response 0x6 0x0",
    ]  # fmt: skip
    assert isinstance(smpp.send(message(index=2)), Accepted)


def test_silent_connection_is_tried_and_given_up_when_nothing_comes(smsc: SmppPeer) -> None:
    with closing(Link(socket.create_connection(("localhost", smsc.port)), keepalive=0.05)):
        smsc.wait_for(lambda peer: peer.seen.count("enquire_link") >= 3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        link = Link(socket.create_connection(deaf.getsockname()), keepalive=0.05)
        link._thread.join(10)
        assert link.ended


def test_closing_unbinds(smsc: SmppPeer) -> None:
    smpp = connect(smsc)
    smpp.send(message())
    smpp.close()
    assert smsc.seen == ["bind_transmitter", "submit", "unbind"]


@pytest.mark.parametrize("password", ["", "wrong"])
def test_smsc_that_knows_another_password_is_unavailable(smsc: SmppPeer, password: str) -> None:
    with closing(Smpp("localhost", smsc.port, "registry", password)) as smpp:
        assert smpp.send(message()) == Unavailable("bind_0x0e")
        assert smpp.send(message()) == Unavailable("bind_0x0e")
    assert smsc.seen == ["wrong password"] * 2


def test_smsc_that_is_not_there_is_unavailable() -> None:
    with closing(Smpp("localhost", 1, "registry", "secret")) as smpp:
        assert smpp.send(message()) == Unavailable("ConnectionRefusedError")


def test_password_that_smpp_would_cut_is_refused() -> None:
    with pytest.raises(RegistryError) as refused:
        Smpp("localhost", 1, "registry", "secret-of-9")
    assert "secret-of-9" not in str(refused.value)


def test_smpp_over_tls_checks_the_certificate(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with SmppPeer(tls=server_context(certificate)) as smsc:
        trusting = ssl.create_default_context(cafile=certificate)
        with closing(connect(smsc, tls=trusting)) as smpp:
            text = "登" * 500
            assert smpp.send(message(text)) == Accepted("m1")
            assert smsc.messages() == [("8613800000001", text)]
        with closing(connect(smsc, tls=ssl.create_default_context())) as smpp:
            assert smpp.send(message(index=2)) == Unavailable("SSLCertVerificationError")
        assert len(smsc.messages()) == 1


# What both promise


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("abc-1", "abc-1"),
        ("", None),
        (None, None),
        (True, None),
        (["x"], None),
        (12, "12"),
        ("13800000001", None),
        ("+8613800000001/4", None),
        ("a\x00b\u202e", "ab"),
    ],
)
def test_reference_is_kept_unless_it_shows_the_number(said: object, kept: str | None) -> None:
    assert reference(said, make_number(1)) == kept


CANARY = parse_subscriber("13987654321")
CODE = "704518"


@pytest.mark.parametrize("kind", ["http", "smpp"])
def test_no_number_and_no_text_is_in_any_log_line_or_outcome(
    gateway: HttpGatewayPeer, smsc: SmppPeer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = Message(UUID(int=1), CANARY, f"[Consent Registry] {CODE}", "106900001")
    plans: dict[str, list[Any]] = {
        "http": [None, Answer(400, body=CANARY.e164.encode()), Answer(500), *sms_gateway.Fault],
        "smpp": [0, 0xB, 0x58, *(set(smpp_peer.Fault) - {smpp_peer.Fault.SILENCE})],
    }
    make: dict[str, Callable[[], HttpGateway | Smpp]] = {
        "http": lambda: HttpGateway(gateway.url, "the-secret"),
        "smpp": lambda: connect(smsc),
    }
    outcomes = []
    with closing(make[kind]()) as backend:
        for planned in plans[kind]:
            gateway.plan = deque([planned] if planned else [])
            smsc.plan = deque([planned] if planned else [])
            outcomes.append(backend.send(sent))
    assert {type(outcome) for outcome in outcomes} >= {Accepted, Refused, Unavailable}
    told = caplog.text + repr(outcomes) + repr(sent)
    octets = f"8613987654321 {CODE}".encode().hex()
    for trace in ("13987654321", CODE, "the-secret", octets[4:26], CODE.encode().hex()):
        assert trace not in told


# Chosen by settings


def settings(**environment: str) -> Settings:
    return Settings.from_environment(
        {f"REGISTRY_{name}": value for name, value in environment.items()}
    )


@pytest.mark.parametrize(
    ("environment", "demo", "name"),
    [
        ({}, False, None),
        ({}, True, "demo"),
        ({"SMS_URL": "https://gateway.example/sms"}, False, "http"),
        ({"SMS_URL": "http://127.0.0.1:9/sms", "SMS_SECRET": "s"}, False, "http"),
        ({"SMS_URL": "http://127.0.0.1:9/sms", "SMS_SECRET": "s"}, True, "demo"),
        ({"SMS_URL": "smpp://me@127.0.0.1:2775", "SMS_SECRET": "s"}, False, "smpp"),
        ({"SMS_URL": "smpps://me@smsc.example", "SMS_SECRET": "s"}, False, "smpp"),
    ],
)
def test_settings_choose_how_sms_are_sent(
    environment: dict[str, str], demo: bool, name: str | None
) -> None:
    backend = delivery.open_backend(settings(**environment), demo=demo)
    assert (backend.name if backend else None) == name
    if backend is not None:
        backend.close()


@pytest.mark.parametrize(
    "environment",
    [
        {"SMS_URL": "ftp://gateway.example"},
        {"SMS_URL": "gateway.example"},
        {"SMS_URL": "https://"},
        {"SMS_URL": "http://[::1"},
        {"SMS_URL": "http://h:99999"},
        {"SMS_URL": "https://me:hunter2@gateway.example"},
        {"SMS_URL": "smpp://me:hunter2@gateway.example"},
        {"SMS_URL": "smpp://127.0.0.1:2775", "SMS_SECRET": "hunter2"},
        {"SMS_URL": "smpp://me@127.0.0.1:2775"},
        {"SMS_URL": "https://gateway.example", "SMS_SECRET_FILE": "/nowhere/hunter2"},
        {"SMS_NUMBER": "a port"},
        {"PORTAL_URL": "portal.example"},
    ],
)
def test_settings_that_make_no_sense_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(RegistryError) as refused:
        delivery.open_backend(settings(**environment), demo=False)
    assert refused.value.kind in (Kind.INVALID, Kind.UNAVAILABLE)
    assert "hunter2" not in refused.value.detail.replace("/nowhere/hunter2", "")


def test_secret_comes_from_its_file_and_is_never_shown(
    gateway: HttpGatewayPeer, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-a-file\n")
    chosen = settings(SMS_URL=gateway.url, SMS_SECRET_FILE=str(secret))
    backend = delivery.open_backend(chosen, demo=False)
    assert backend is not None
    with closing(backend):
        backend.send(message())
    assert gateway.requests[0]["headers"]["Authorization"] == "Bearer from-a-file"
    assert "in-the-environment" not in repr(settings(SMS_SECRET="in-the-environment"))


# Certificates


def make_certificate(folder: Path) -> Path:
    """Write a certificate of `localhost` with its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def serve_tls(peer: HttpGatewayPeer, certificate: Path) -> None:
    server = peer._server
    server.socket = server_context(certificate).wrap_socket(server.socket, server_side=True)
