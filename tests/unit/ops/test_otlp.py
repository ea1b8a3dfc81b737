"""Metrics by OTLP: the same as at /metrics, for a collector that may be away."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.check import check_telemetry
from bridge.config import Config, known_kinds, masked, parse
from bridge.errors import ConfigError
from bridge.ops.metrics import Metrics
from bridge.ops.otlp import Telemetry, endpoint
from bridge.ops.redaction import redactor
from bridge.ops.settings import OtlpSettings
from bridge.settings import Secret, secrets
from tests.collector import Collector, exposed

ROOT = Path(__file__).parents[3]
TOKEN = "otlp-secret-marker"
TEXT = """
name: main
gateways: {cs2: {kind: ticktock, url: "wss://gateway.invalid", api_key: k}}
kafka: {bootstrap.servers: "localhost:9092"}
"""


def settings(url: str, **more: Any) -> OtlpSettings:
    """Return settings as the file gives them."""
    return OtlpSettings.model_validate({"endpoint": url, **more})


def busy() -> Metrics:
    """Return metrics of all kinds, with values."""
    metrics = Metrics()
    metrics.frames_received.labels("cs2", "match.updated").inc(7)
    metrics.frames_received.labels("cs2", 'a "type"\\').inc(1)
    metrics.gateway_connected.labels("cs2").set(1)
    metrics.journal_bytes.set(12345)
    for value, count in ((0.0005, 3), (0.004, 10), (2.0, 1), (100.0, 2)):
        metrics.latency_seconds.observe(value, count=count)
    return metrics


@contextmanager
def telemetry(found: OtlpSettings, metrics: Metrics) -> Iterator[Telemetry]:
    """One that is closed at the end."""
    made = Telemetry(found, metrics.registry, name="main", instance="abc")
    try:
        yield made
    finally:
        made.close()


def test_a_collector_has_what_prometheus_has() -> None:
    """Each series at /metrics, with its labels and its value; counters are sums that only grow, whose units are told."""
    metrics = busy()
    with Collector() as collector, telemetry(settings(collector.url), metrics) as sender:
        assert sender.send()
        sent, there = collector.series(), exposed(metrics.exposition()[0].decode())
        found = collector.metrics()
    assert sent.keys() == there.keys()
    ours = {key: value for key, value in there.items() if key[0].startswith("feedbridge_")}
    assert len(ours) > 40
    assert {key: sent[key] for key in ours} == ours
    assert collector.requests[0][0] == "/v1/metrics"
    received = found["feedbridge_frames_received_total"]
    assert (received.sum.is_monotonic, received.sum.aggregation_temporality) == (True, 2)
    assert received.description == "Frames received, by gateway and type."
    assert [found[f"feedbridge_{name}"].unit for name in ("latency_seconds", "journal_bytes", "gateway_connected")] == [
        "s",
        "By",
        "",
    ]
    (point,) = found["feedbridge_latency_seconds"].histogram.data_points
    assert point.count == 16
    assert not point.HasField("min")
    assert point.start_time_unix_nano <= point.time_unix_nano


def test_it_says_whose_they_are_and_brings_its_headers() -> None:
    """Service, installation, process and version; what the collector wants to let us in."""
    with (
        Collector() as collector,
        telemetry(
            settings(collector.url, headers={"Authorization": f"Bearer {TOKEN}", "X-Scope": "x"}), busy()
        ) as sender,
    ):
        assert sender.send()
        assert collector.resource().items() >= {
            "service.name": "feedbridge", "service.namespace": "main", "service.instance.id": "abc", "service.version": "0.1.0",
        }.items()  # fmt: skip
        headers = collector.requests[0][1]
    assert (headers["authorization"], headers["x-scope"]) == (f"Bearer {TOKEN}", "x")


def test_it_sends_again_and_again_and_once_more_at_the_end() -> None:
    """What happened after the last interval is not lost with an orderly end."""
    metrics = busy()
    with Collector() as collector:
        sender = Telemetry(settings(collector.url, interval="1s"), metrics.registry, name="main", instance="abc")
        sender.start()
        collector.wait(2)
        metrics.frames_received.labels("cs2", "match.updated").inc(100)
        sender.close()
        (point,) = [
            each
            for each in collector.metrics()["feedbridge_frames_received_total"].sum.data_points
            if any(label.value.string_value == "match.updated" for label in each.attributes)
        ]
    assert point.as_double == 107


def test_a_collector_that_is_away_is_one_line() -> None:
    """And one when it is back; no line holds a header."""
    with (
        Collector() as collector,
        capture_logs() as logs,
        telemetry(settings(collector.url, interval="1s", headers={"Authorization": TOKEN}), busy()) as sender,
    ):
        collector.status = 400
        assert [sender.send() for _ in range(3)] == [False] * 3
        collector.status = 200
        assert sender.send()
    assert [each["event"] for each in logs] == ["telemetry_failing", "telemetry_works"]
    assert "400" in logs[0]["reason"]
    assert TOKEN not in str(logs)


def test_nobody_listening_harms_nobody() -> None:
    """Sending fails within its time."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with telemetry(settings(url, interval="1s"), busy()) as sender, capture_logs() as logs:
            began = time.monotonic()
            assert not sender.send()
            assert time.monotonic() - began < 5
    assert [(each["event"], each["reason"]) for each in logs] == [("telemetry_failing", "Connection refused")]


def test_a_collector_that_never_answers_does_not_hold_up_the_end() -> None:
    """Two seconds, and the process may go."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        sender = Telemetry(settings(url, interval="1s"), busy().registry, name="main", instance="abc")
        sender.start()
        connection, _ = silent.accept()
        with connection:
            began = time.monotonic()
            sender.close()
            assert time.monotonic() - began < 4


def test_check_tells_of_the_collector() -> None:
    """Whether it takes metrics; a bridge works without, so it is no failure. Without one nothing is said."""
    with Collector() as collector:
        config = configured(f"telemetry: {{otlp: {{endpoint: '{collector.url}', interval: 1s}}}}")
        (good,) = check_telemetry(config)
        collector.status = 401
        (bad,) = check_telemetry(config)
    assert (good.name, good.ok, good.text) == ("telemetry.otlp", True, f"{collector.url}: reached")
    assert bad.ok
    assert bad.text.startswith(f"{collector.url}: takes no metrics now: answered 401")
    assert check_telemetry(configured("")) == []


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://collector:4318", "http://collector:4318/v1/metrics"),
        ("http://collector:4318/", "http://collector:4318/v1/metrics"),
        ("https://host/otlp", "https://host/otlp/v1/metrics"),
        ("https://host/otlp/v1/metrics", "https://host/otlp/v1/metrics"),
    ],
)
def test_where_it_is_sent(url: str, asked: str) -> None:
    """The path that OTLP has is added, as the variable of the specification has it."""
    assert endpoint(settings(url)) == asked


def configured(more: str) -> Config:
    """Return a configuration with this section."""
    return parse(TEXT + more, where="f.yaml", environ={"TOKEN": TOKEN}, folder=Path(), kinds=known_kinds())


def test_headers_are_secrets() -> None:
    """Masked where the configuration is shown, known to the redactor."""
    text = 'telemetry: {otlp: {endpoint: "http://c:4318", headers: {Authorization: "${TOKEN}"}}}'
    config = configured(text)
    assert config.telemetry.otlp is not None
    assert config.telemetry.otlp.headers == {"Authorization": Secret(TOKEN)}
    assert TOKEN not in str(masked(config))
    assert TOKEN in set(secrets(config))
    redactor.add(*secrets(config))
    assert redactor.text(f"refused {TOKEN}") == "refused ***"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{otlp: {endpoint: 'grpc://c:4317'}}", "starts with https:// or http://"),
        ("{otlp: {endpoint: 'http://c', headers: {'a b': x}}}", "the name of a header"),
        ("{otlp: {endpoint: 'http://c', interval: 10ms}}", "interval"),
        ("{otlp: {endpoint: 'http://c', headers: {Authorization: ''}}}", "headers.Authorization: is empty"),
        ("{otlp: {}}", "endpoint"),
    ],
)
def test_what_can_not_be_is_refused(section: str, words: str) -> None:
    """With the key and what would be right."""
    with pytest.raises(ConfigError) as caught:
        configured(f"telemetry: {section}")
    assert words in redactor.text(str(caught.value))


#: Without the extra: hides the library and makes a service.
PROGRAM = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.http.metric_exporter"] = None
from bridge.config import known_kinds, parse
from bridge.errors import BridgeError
from bridge.service import Service
import pathlib
text = sys.argv[1]
try:
    Service(parse(text, where="f", environ={}, folder=pathlib.Path(), kinds=known_kinds()))
except BridgeError as error:
    print(error.exit_code, error)
print(any(name.startswith("opentelemetry") and found for name, found in sys.modules.items()))
"""


@pytest.mark.parametrize("section", ["", "telemetry: {otlp: {endpoint: 'http://c:4318'}}"])
def test_without_the_extra(section: str) -> None:
    """Nothing of it is imported where it is off; else one line says what to install, and the exit code is 78."""
    lines = subprocess.run(
        [sys.executable, "-c", PROGRAM, TEXT + section],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    if section:
        assert lines[0].startswith("78 telemetry.otlp: the library opentelemetry")
        assert lines[0].endswith("is not installed; pip install 'feedbridge[otlp]'")
    else:
        assert lines == ["False"]
