"""Metrics: names that dashboards depend on, values that add up."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.ops.metrics import BUCKETS, Metrics

#: Design 6.4: others write dashboards and alerts against these.
NAMES = {
    "feedbridge_frames_received_total": {"gateway", "type"},
    "feedbridge_records_published_total": {"gateway", "type"},
    "feedbridge_frames_duplicate_total": {"gateway"},
    "feedbridge_frames_unchanged_total": {"gateway"},
    "feedbridge_seq_collisions_total": {"gateway"},
    "feedbridge_dead_letters_total": {"gateway", "reason"},
    "feedbridge_gaps_total": {"gateway", "cause"},
    "feedbridge_reconnects_total": {"gateway", "cause"},
    "feedbridge_subscriptions_rejected_total": {"gateway"},
    "feedbridge_gateway_connected": {"gateway"},
    "feedbridge_lane_active": {"lane"},
    "feedbridge_waiting": {"service"},
    "feedbridge_journal_frames": set(),
    "feedbridge_journal_bytes": set(),
    "feedbridge_window_identities": {"lane"},
    "feedbridge_window_seconds": {"lane"},
}


def test_names_and_labels_are_those_of_the_design() -> None:
    """Each metric of the contract is exposed under its name with its labels."""
    metrics = Metrics()
    for name, labels in NAMES.items():
        metric = getattr(metrics, name.removeprefix("feedbridge_").removesuffix("_total"))
        child = metric.labels(**dict.fromkeys(labels, "x")) if labels else metric
        child.inc(3)
    text = metrics.exposition()[0].decode()
    samples = {s.name: s for family in text_string_to_metric_families(text) for s in family.samples}
    for name, labels in NAMES.items():
        assert samples[name].value == 3
        assert set(samples[name].labels) == labels
    assert "_created" not in text


def test_process_and_platform_are_exposed() -> None:
    """Memory, file descriptors and the versions are there without an exporter."""
    text = Metrics().exposition()[0].decode()
    for name in ("process_resident_memory_bytes", "process_open_fds", "python_info", "feedbridge_build_info"):
        assert re.search(rf"^{name}\b", text, re.MULTILINE)


def test_histogram_takes_many_at_once() -> None:
    """`observe(v, count=n)` is n observations of v; buckets are cumulative and include their bound."""
    metrics = Metrics()
    metrics.latency_seconds.observe(0.001, count=3)
    metrics.latency_seconds.observe(0.0011)
    metrics.latency_seconds.observe(100.0, count=2)
    text = metrics.exposition()[0].decode()
    (family,) = [f for f in text_string_to_metric_families(text) if f.name == "feedbridge_latency_seconds"]
    values = {(s.name.removeprefix("feedbridge_latency_seconds"), s.labels.get("le")): s.value for s in family.samples}
    assert family.type == "histogram"
    assert values["_bucket", "0.001"] == 3
    assert values["_bucket", "0.002"] == values["_bucket", "60.0"] == 4
    assert values["_bucket", "+Inf"] == values["_count", None] == 6
    assert values["_sum", None] == pytest.approx(0.003 + 0.0011 + 200)
    assert len([key for key in values if key[0] == "_bucket"]) == len(BUCKETS) + 1


def test_buckets_span_one_millisecond_to_a_minute() -> None:
    """The bounds cover what a commit can take, in order."""
    assert BUCKETS[0] == 0.001
    assert BUCKETS[-1] == 60
    assert list(BUCKETS) == sorted(set(BUCKETS))


def test_total_sums_over_the_labels_not_named() -> None:
    """A program in the same process reads sums without parsing text."""
    metrics = Metrics()
    metrics.frames_received.labels("cs2", "match.updated").inc(2)
    metrics.frames_received.labels("cs2", "alive").inc()
    metrics.frames_received.labels("markets", "trade").inc(5)
    assert metrics.total("frames_received_total") == 8
    assert metrics.total("frames_received_total", gateway="cs2") == 3
    assert metrics.total("gaps_total") == 0


def test_two_bridges_in_one_process_do_not_share() -> None:
    """Each has a registry of its own."""
    one, two = Metrics(), Metrics()
    one.frames_duplicate.labels("cs2").inc()
    assert two.total("frames_duplicate_total") == 0
