"""What is known needs no registry; what a registry answers, or that it does not, is said in one line."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from confluent_kafka.schema_registry.error import SchemaRegistryError

from bridge.catalog import Catalog
from bridge.config import RegistrySettings
from bridge.errors import BridgeError, CheckFailed, ConfigError, Refused, Unreachable
from bridge.registry import CACHE_FILE, Registry, classify
from bridge.topics import plan
from tests.installation import installation

NOWHERE = "http://127.0.0.1:1"
SECRET = "s3cr3t-marker"
SCHEMA = {"type": "record", "name": "R", "fields": []}


def settings(**given: Any) -> RegistrySettings:
    """Settings as the configuration file would give them."""
    return RegistrySettings(**{"url": NOWHERE, "timeout": 2.0, **given})


class Answers:
    """A port that answers every request alike and keeps what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""


@contextmanager
def answering(status: int, body: Any) -> Iterator[Answers]:
    """Serve on loopback until the end of the block. body: JSON, or bytes as they are."""
    answers = Answers(status, body if isinstance(body, bytes) else json.dumps(body).encode())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        known: ClassVar[Answers] = answers

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.known.asked.append((self.command, self.path, headers))
            self.send_response(self.known.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(self.known.body)))
            self.end_headers()
            self.wfile.write(self.known.body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        answers.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield answers
        finally:
            server.shutdown()
            thread.join()


Connect = Callable[..., Registry]


@pytest.fixture
def registry() -> Iterator[Connect]:
    """Makes clients: of settings, and of a folder for the ids; closes them all."""
    with ExitStack() as stack:
        yield lambda given, cache=None: stack.enter_context(Registry(given, cache=cache))


def test_a_pinned_id_needs_no_registry(registry: Connect) -> None:
    """Nothing listens at the address."""
    found = registry(settings(ids={"a-value": 7}))
    assert found.resolve("a-value", SCHEMA) == 7
    with pytest.raises(Unreachable):
        found.resolve("b-value", SCHEMA)


def test_an_id_once_found_needs_no_registry(registry: Connect, tmp_path: Path) -> None:
    """The file beside the journal answers a later process, for the same schema at the same registry only."""
    with answering(200, {"subject": "a-value", "id": 12, "version": 3, "schema": json.dumps(SCHEMA)}) as answers:
        given = settings(url=answers.url)
        assert registry(given, tmp_path).resolve("a-value", SCHEMA) == 12
        assert len(answers.asked) == 1
        later = registry(given, tmp_path)
        assert later.resolve("a-value", SCHEMA) == 12
        assert later.known("a-value", {**SCHEMA, "doc": "another"}) is None
        assert later.known("b-value", SCHEMA) is None
        assert registry(settings(), tmp_path).known("a-value", SCHEMA) is None
        assert len(answers.asked) == 1


def test_several_registries_share_the_file(registry: Connect, tmp_path: Path) -> None:
    """A second address does not forget the first."""
    answer = {"subject": "a-value", "id": 1, "version": 1, "schema": json.dumps(SCHEMA)}
    with answering(200, answer) as one, answering(200, {**answer, "id": 2}) as two:
        for each in (one, two):
            registry(settings(url=each.url), tmp_path).resolve("a-value", SCHEMA)
        assert [registry(settings(url=each.url), tmp_path).known("a-value", SCHEMA) for each in (one, two)] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == [CACHE_FILE]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'"x"', b"\xff\xfe"])
def test_a_damaged_file_only_costs_look_ups(registry: Connect, tmp_path: Path, damage: bytes) -> None:
    """It is written anew."""
    (tmp_path / CACHE_FILE).write_bytes(damage)
    with answering(200, {"subject": "a-value", "id": 5, "version": 1, "schema": json.dumps(SCHEMA)}) as answers:
        assert registry(settings(url=answers.url), tmp_path).resolve("a-value", SCHEMA) == 5
        assert registry(settings(url=answers.url), tmp_path).known("a-value", SCHEMA) == 5


def test_all_ids_known_means_no_request(registry: Connect, tmp_path: Path) -> None:
    """A whole plan starts without the registry once it was resolved, also where `register` is set."""
    topics = plan(installation(layout=["type", "gateway"]), Catalog.load())
    with answering(200, {"subject": "x", "id": 9, "version": 1, "schema": json.dumps(SCHEMA)}) as answers:
        given = settings(url=answers.url, register=True)
        first = registry(given, tmp_path).resolve_all(topics)
        asked = len(answers.asked)
    assert asked == len(first)
    assert registry(given, tmp_path).resolve_all(topics) == first


def test_a_missing_subject_names_the_command_that_mends_it(registry: Connect) -> None:
    """Exit 78."""
    with answering(404, {"error_code": 40401, "message": "Subject not found."}) as answers:
        client = registry(settings(url=answers.url))
        with pytest.raises(ConfigError, match=r"'a-value'.*run `feedbridge schemas register`"):
            client.resolve("a-value", SCHEMA)
        with pytest.raises(ConfigError, match=r"and \d+ more; run `feedbridge schemas register`"):
            client.resolve_all(plan(installation(), Catalog.load()))
        assert {method for method, _, _ in answers.asked} == {"POST"}
        assert not any("versions" in path for _, path, _ in answers.asked)


@pytest.mark.parametrize(
    ("status", "code", "expected", "words"),
    [
        (401, 40101, Refused, "credentials refused"),
        (403, 40301, Refused, "credentials refused"),
        (404, -1, ConfigError, "check registry.url"),
        (409, 409, CheckFailed, "incompatible"),
        (422, 42201, ConfigError, "words"),
        (429, 42901, Unreachable, "429"),
        (500, 50001, Unreachable, "500"),
        (503, -1, Unreachable, "503"),
    ],
)
def test_every_answer_has_its_class(status: int, code: int, expected: type[BridgeError], words: str) -> None:
    """The class decides exit code and whether to try again."""
    verdict = classify(SchemaRegistryError(status, code, "words\nof the registry"), where="http://r")
    assert type(verdict) is expected
    assert words in str(verdict)
    assert str(verdict).startswith("registry: ")
    assert "\n" not in str(verdict)


def test_what_is_no_registry_is_said(registry: Connect) -> None:
    """A page that answers everything with HTML, or with other JSON."""
    for body in (b"<html>", b"[]", b'{"hello": 1}'):
        with answering(200, body) as answers, pytest.raises(ConfigError):
            registry(settings(url=answers.url)).resolve("a-value", SCHEMA)


def test_the_second_address_is_asked_where_the_first_is_silent(registry: Connect) -> None:
    """Addresses of one cluster stand in for each other."""
    with answering(200, {"subject": "a-value", "id": 4, "version": 1, "schema": json.dumps(SCHEMA)}) as answers:
        assert registry(settings(url=[NOWHERE, answers.url])).resolve("a-value", SCHEMA) == 4


@pytest.mark.parametrize(
    ("given", "header"),
    [
        (
            {"basic": {"username": "u", "password": SECRET}},
            "Basic " + base64.b64encode(f"u:{SECRET}".encode()).decode(),
        ),
        ({"bearer": SECRET}, f"Bearer {SECRET}"),
    ],
)
def test_credentials_are_sent_and_never_shown(
    registry: Connect, given: dict[str, Any], header: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """They are in the request's header, and not in error, log, file or address."""
    caplog.set_level(0)
    with answering(401, {"error_code": 401, "message": "no"}) as answers, pytest.raises(Refused) as caught:
        registry(settings(url=answers.url, **given), tmp_path).resolve("a-value", SCHEMA)
    assert answers.asked[0][2]["authorization"] == header
    assert SECRET not in str(caught.value) + caplog.text


def test_credentials_in_the_address_are_not_logged(
    registry: Connect, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The HTTP library logs addresses, so the userinfo travels as a header."""
    caplog.set_level(0)
    with answering(200, {"subject": "a-value", "id": 4, "version": 1, "schema": json.dumps(SCHEMA)}) as answers:
        client = registry(settings(url=answers.url.replace("//", f"//u:{SECRET}@")), tmp_path)
        assert client.resolve("a-value", SCHEMA) == 4
    assert answers.asked[0][2]["authorization"].startswith("Basic ")
    assert SECRET not in caplog.text + client.where + (tmp_path / CACHE_FILE).read_text()


def test_certificates_that_can_not_be_read_are_the_configurations_fault(registry: Connect, tmp_path: Path) -> None:
    """Exit 78, before anything is sent."""
    (tmp_path / "ca.pem").write_text("no certificate")
    for ca in (tmp_path / "ca.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match="readable PEM"):
            registry(settings(ca=ca))
