"""Clients get the properties the promises need, and errors say what is wrong in one line."""

from __future__ import annotations

import io
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge.config import Config
from bridge.errors import BadData, BridgeError, ConfigError, Fenced, Refused, Unreachable
from bridge.kafka import (
    MESSAGE_BYTES,
    TOPIC_BYTES,
    Admin,
    Likeness,
    Reports,
    classify,
    consumer,
    consumer_config,
    hear,
    producer,
    producer_config,
)
from bridge.ops.repeats import Held, Repeats
from bridge.settings import Secret
from tests.installation import installation

PASSWORD = "s3cr3t-marker"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transactional.id", "t.feedbridge.main.0"),
        ("enable.idempotence", True),
        ("acks", "all"),
        ("partitioner", "murmur2_random"),
        ("allow.auto.create.topics", False),
        ("message.max.bytes", MESSAGE_BYTES),
        ("compression.type", "lz4"),
    ],
)
def test_a_producer_has_what_the_promises_need(key: str, value: object) -> None:
    """Transactional, every replica, Java's partitioner, large records."""
    assert producer_config(installation(), transactional_id="t.feedbridge.main.0")[key] == value


def test_what_the_promises_need_wins_over_the_file() -> None:
    """Even a property that slipped through the configuration's checks can't weaken a client."""
    config = installation(kafka={"bootstrap.servers": "x:1", "acks": 1, "isolation.level": "read_uncommitted"})
    assert producer_config(config, transactional_id="x")["acks"] == "all"
    assert consumer_config(config)["isolation.level"] == "read_committed"


def test_a_record_is_never_retried_beyond_its_transaction() -> None:
    """message.timeout.ms stays below transaction.timeout.ms, whatever that is set to."""
    for timeout in (10_000, 60_000, 900_000):
        config = installation(kafka={"bootstrap.servers": "x:1", "transaction.timeout.ms": timeout})
        properties = producer_config(config, transactional_id="x")
        assert properties["message.timeout.ms"] < properties["transaction.timeout.ms"] == timeout


def test_the_largest_record_fits_a_topic_with_its_framing() -> None:
    """What the client lets pass is not refused by the broker, which would cost the whole transaction."""
    assert TOPIC_BYTES - MESSAGE_BYTES >= 1024


def test_a_reader_sees_committed_records_and_commits_nothing() -> None:
    """No positions in a group, ends of partitions reported, short waits at the end."""
    properties = consumer_config(installation())
    assert properties["isolation.level"] == "read_committed"
    assert properties["enable.auto.commit"] is False
    assert properties["auto.offset.reset"] == "earliest"
    assert properties["enable.partition.eof"] is True
    assert properties["fetch.wait.max.ms"] <= 50


def test_librdkafka_takes_all_that_is_set(caplog: pytest.LogCaptureFixture) -> None:
    """No client is refused, and none warns of a property that is not its own."""
    config = installation(
        kafka={
            "bootstrap.servers": "127.0.0.1:1",
            "compression.codec": "zstd",
            "linger.ms": 1,
            "fetch.min.bytes": 1,
            "socket.nagle.disable": True,
            "sasl.password": Secret(PASSWORD),
        }
    )
    clients = (producer(config, transactional_id="x"), consumer(config), Admin(config).client)
    for client in clients:
        client.poll(0)
    clients[1].close()
    assert "CONFWARN" not in caplog.text
    assert PASSWORD not in caplog.text


def test_a_secret_reaches_librdkafka_and_no_error() -> None:
    """The client gets the text; an error that quotes the value shows stars."""
    config = installation(kafka={"bootstrap.servers": "x:1", "sasl.password": Secret(PASSWORD)})
    assert producer_config(config, transactional_id="x")["sasl.password"] == PASSWORD
    wrong = installation(kafka={"bootstrap.servers": "x:1", "compression.type": Secret(PASSWORD)})
    with pytest.raises(ConfigError) as caught:
        producer(wrong, transactional_id="x")
    assert PASSWORD not in str(caught.value)
    assert "***" in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unknown_property_is_named() -> None:
    """ConfigError, exit 78, with librdkafka's words."""
    config = installation(kafka={"bootstrap.servers": "x:1", "linger.msec": 5})
    with pytest.raises(ConfigError, match=r"No such configuration property.*linger\.msec"):
        producer(config, transactional_id="x")


@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        (KafkaError._AUTHENTICATION, Refused, "sasl"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, Refused, "sasl"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Refused, "topic 'thing'"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, Refused, "transactional id 'thing'"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, Refused, "Create"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, Refused, "group"),
        (KafkaError._TRANSPORT, Unreachable, "bootstrap.servers"),
        (KafkaError._ALL_BROKERS_DOWN, Unreachable, "bootstrap.servers"),
        (KafkaError._TIMED_OUT, Unreachable, "kafka"),
        (KafkaError.NOT_ENOUGH_REPLICAS, Unreachable, "kafka"),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, Unreachable, "kafka"),
        (KafkaError.THROTTLING_QUOTA_EXCEEDED, Unreachable, "kafka"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ConfigError, "feedbridge topics apply"),
        (KafkaError.POLICY_VIOLATION, ConfigError, "thing"),
        (KafkaError.INVALID_REPLICATION_FACTOR, ConfigError, "thing"),
        (KafkaError.UNSUPPORTED_VERSION, ConfigError, "kafka"),
        (KafkaError.MSG_SIZE_TOO_LARGE, BadData, "thing"),
        (KafkaError._FENCED, Fenced, "thing"),
        (KafkaError.PRODUCER_FENCED, Fenced, "thing"),
        (KafkaError.UNKNOWN, BridgeError, "thing"),
    ],
)
def test_every_error_has_its_class_and_one_line(code: int, expected: type[BridgeError], words: str) -> None:
    """The class decides exit code and whether to try again; the line names the service and the thing."""
    for error in (KafkaError(code), KafkaException(KafkaError(code))):
        verdict = classify(error, name="thing")
        assert type(verdict) is expected
        text = str(verdict)
        assert text.startswith("kafka: ")
        assert words in text
        assert "\n" not in text


def test_librdkafkas_bookkeeping_is_left_out() -> None:
    """A person reads the reason, not the state machine."""
    error = KafkaError(
        KafkaError._TRANSPORT,
        "b:9092/bootstrap: Connect to ipv4#10.0.0.1:9092 failed: Connection refused (after 12ms in state CONNECT, 3 "
        "identical error(s) suppressed)",
    )
    assert classify(error).what == "b:9092: Connect to ipv4#10.0.0.1:9092 failed: Connection refused"


def test_a_bare_time_out_is_explained_by_what_was_reported() -> None:
    """The refused password beats the closed connections around it, until a call succeeds."""
    reports = Reports()
    timed_out = KafkaError(KafkaError._TIMED_OUT)
    assert isinstance(reports.classify(timed_out), Unreachable)
    for code in (
        KafkaError._TRANSPORT,
        KafkaError._AUTHENTICATION,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
    ):
        reports(KafkaError(code, f"code {code}"))
    assert isinstance(reports.classify(timed_out), Refused)
    reports.forget()
    assert isinstance(reports.classify(timed_out), Unreachable)


def test_an_answer_is_not_explained_away() -> None:
    """An error that says what is wrong stands, whatever the connections said before."""
    reports = Reports()
    reports(KafkaError(KafkaError._AUTHENTICATION))
    assert isinstance(reports.classify(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), name="t"), ConfigError)


def test_a_broker_that_is_away_is_logged_once_a_minute() -> None:
    """Lines that differ only in counters and thread names are one kind, told once and then counted; another passes."""
    repeats, mark = Repeats(), Likeness()

    def passes(text: str, at: float) -> bool:
        record = logging.LogRecord("bridge.kafka", logging.ERROR, "", 0, text, (), None)
        return bool(mark.filter(record)) and repeats.admit(record, at)

    line = "FAIL [main-admin#producer-%d] [thrd:b:1/bootstrap]: b:1/bootstrap: refused (after %dms in state CONNECT)"
    assert passes(line % (1, 0), 1000.0)
    assert not passes(line % (1, 7), 1000.1)
    assert not passes(line % (2, 0), 1009.9)
    assert passes("FAIL [main-admin#producer-1] [thrd:c:1]: c:1: refused", 1001.0)
    (told,) = repeats.ended(1010.0)
    assert told.__dict__["held"] == Held(2, 10.0)


def test_lines_of_librdkafka_name_client_and_lane() -> None:
    """What a client's own threads log says whose client it is."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(client)s %(lane)s %(message)s"))
    logger = logging.getLogger("bridge.kafka")
    logger.addHandler(handler)
    try:
        made = producer(
            installation(kafka={"bootstrap.servers": "127.0.0.1:1"}), transactional_id="t", lane=3, reports=Reports()
        )
        deadline = time.monotonic() + 20
        while "refused" not in stream.getvalue() and time.monotonic() < deadline:
            hear(made, wait=0.1)
    finally:
        logger.removeHandler(handler)
    assert "feedbridge-main-producer 3 " in stream.getvalue()


def test_nothing_listens_is_unreachable() -> None:
    """Exit 69, with the address."""
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1: .*Connection refused"):
        Admin(installation(), timeout=1.0).metadata()


def test_a_host_that_does_not_exist_is_named() -> None:
    """Exit 69, with the name that can't be resolved."""
    with pytest.raises(Unreachable, match=r"nowhere\.invalid:9092.*check the host names"):
        Admin(installation(kafka={"bootstrap.servers": "nowhere.invalid:9092"}), timeout=1.0).metadata()


class Certificates:
    """A CA of its own, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = self._make("ca", None)
        self.other = self._make("other", None)

    def broker(self, *, host: str = "localhost", days: int = 10) -> Path:
        """A certificate for a broker on that host, valid for so many days from now."""
        return self._make(f"{host}{days}", self.ca, host=host, days=days)

    def _make(self, name: str, issuer: Path | None, *, host: str = "localhost", days: int = 30) -> Path:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer, issued_by = key, subject
        if issuer is not None:
            signer = serialization.load_pem_private_key(issuer.read_bytes(), None)  # type: ignore[assignment]
            issued_by = x509.load_pem_x509_certificate(issuer.read_bytes()).subject
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issued_by)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )
        path = self.folder / f"{name}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One CA for all tests here."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def tls_server(certificate: Path, *, clients: Path | None = None) -> Iterator[int]:
    """A port that speaks TLS as a broker would, up to the handshake's end. clients: the CA theirs must be of."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED

    def serve() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listening.accept()
                plain.settimeout(5)
                with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


@pytest.mark.parametrize(
    ("broker", "trusted", "words"),
    [
        (lambda made: made.broker(), "other", "unknown CA"),
        (lambda made: made.broker(days=-1), "ca", "out of date.*expired"),
        (lambda made: made.broker(host="elsewhere"), "ca", "for another host"),
    ],
    ids=["unknown-ca", "expired", "wrong-host"],
)
def test_an_untrusted_broker_is_explained(
    certificates: Certificates, broker: Callable[[Certificates], Path], trusted: str, words: str
) -> None:
    """librdkafka has one text for three different faults; ours tells them apart. Exit 69: it may be mended there."""
    ca: Path = getattr(certificates, trusted)
    with tls_server(broker(certificates)) as port, pytest.raises(Unreachable, match=words) as caught:
        Admin(_over_tls(port, ca), timeout=1.0).metadata()
    assert f"localhost:{port}" in str(caught.value)


def test_a_broker_that_wants_a_certificate_refuses(certificates: Certificates) -> None:
    """Exit 77: our certificate is our credential."""
    with (
        tls_server(certificates.broker(), clients=certificates.ca) as port,
        pytest.raises(Refused, match=r"refused our TLS certificate.*ssl\.certificate\.location"),
    ):
        Admin(_over_tls(port, certificates.ca), timeout=1.0).metadata()


def _over_tls(port: int, ca: Path) -> Config:
    return installation(
        kafka={
            "bootstrap.servers": f"localhost:{port}",
            "broker.address.family": "v4",
            "security.protocol": "ssl",
            "ssl.ca.location": str(ca),
        }
    )
