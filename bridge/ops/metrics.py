"""Metrics: what Prometheus reads at ``/metrics`` (names: design 6.4, prefix ``feedbridge_``).

One `Metrics` per running bridge, with a registry of its own, so that several can live in one process (the demo, tests).
The data path touches them once per batch, never once per frame: counters take the number of a batch, and the two
histograms take a value and how many frames had it.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from bridge import __version__

if TYPE_CHECKING:
    from bridge.journals import Journals

PREFIX: Final = "feedbridge_"

#: Seconds. A commit takes 2 to 4 ms and a frame 4 to 6 ms on a calm broker: the buckets are close together there.
BUCKETS: Final = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


class Described(NamedTuple):
    """What a metric is, for the reference. name: as exposed. kind: counter, gauge or histogram."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class Metrics:
    """All metrics of one bridge. Attributes are named as in design 6.4, without prefix and ``_total``.

    The label ``type`` is a type of the catalog or ``unknown``, never what a gateway sent: labels must stay few.
    """

    def __init__(self) -> None:
        """Make the metrics, all in a registry of their own, with those of the process and the interpreter."""
        # Otherwise each counter has a second series that says when it was made: nobody reads it.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types there
        self.registry: Final = CollectorRegistry()
        self._families: Final[dict[str, Counter | Gauge]] = {}
        #: All metrics of ours, in the order made.
        self.described: Final[list[Described]] = []
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._gauge("build_info", "Always 1; the version is a label.", ["version"]).labels(__version__).set(1)

        self.frames_received: Final = self._counter(
            "frames_received", "Frames received, by gateway and type.", ["gateway", "type"]
        )
        self.records_published: Final = self._counter(
            "records_published", "Records committed to Kafka, by gateway and type.", ["gateway", "type"]
        )
        self.frames_duplicate: Final = self._counter(
            "frames_duplicate", "Frames dropped because an equal one is published.", ["gateway"]
        )
        self.frames_unchanged: Final = self._counter(
            "frames_unchanged", "State frames dropped because nothing changed since the last one.", ["gateway"]
        )
        self.seq_collisions: Final = self._counter(
            "seq_collisions", "Frames with a known sequence number and other content; published.", ["gateway"]
        )
        self.dead_letters: Final = self._counter(
            "dead_letters", "Frames that could not become a record, by reason.", ["gateway", "reason"]
        )
        self.dead_letters_replayed: Final = self._counter(
            "dead_letters_replayed", "Dead letters that were replayed, by what came of them.", ["gateway", "outcome"]
        )
        self.gaps: Final = self._counter(
            "gaps", "Time spans for which frames may be missing, by cause.", ["gateway", "cause"]
        )
        self.gaps_judged: Final = self._counter(
            "gaps_judged",
            "What became of gaps: filled, partly or lost; one that is filled later counts again.",
            ["gateway", "state"],
        )
        self.reconnects: Final = self._counter(
            "reconnects", "Connections to a gateway that ended and were made anew, by cause.", ["gateway", "cause"]
        )
        self.turns: Final = self._counter(
            "turns",
            "Connections that another was opened for beside them, by reason (key, age, plan) and outcome (done, refused).",
            ["gateway", "reason", "outcome"],
        )
        self.reloads: Final = self._counter("reloads", "Reloads of the configuration, by outcome.", ["outcome"])
        self.subscriptions_rejected: Final = self._counter(
            "subscriptions_rejected", "Subscriptions that a gateway did not accept.", ["gateway"]
        )
        self.gateway_connected: Final = self._gauge(
            "gateway_connected",
            "1 while all connections of the gateway that are not refused are up, else 0.",
            ["gateway"],
        )
        self.connections_refused: Final = self._gauge(
            "connections_refused", "Connections that are refused, a wallet's for one, and not tried again.", ["gateway"]
        )
        self.lane_active: Final = self._gauge(
            "lane_active", "1 while this process publishes the lane, else 0.", ["lane"]
        )
        self.lane_standby: Final = self._gauge(
            "lane_standby", "1 while this process stands by for the lane and could take over, else 0.", ["lane"]
        )
        self.lane_takeovers: Final = self._counter(
            "lane_takeovers", "Times that this process took the lane, by reason.", ["lane", "reason"]
        )
        self.lane_fenced: Final = self._counter(
            "lane_fenced", "Times that another process took the lane from this one.", ["lane"]
        )
        self.last_commit: Final = self._gauge(
            "last_commit_timestamp_seconds", "When this process last committed to Kafka, heartbeats included.", ["lane"]
        )
        self.last_frame: Final = self._gauge(
            "last_frame_timestamp_seconds", "When the gateway last sent anything, keep-alives included.", ["gateway"]
        )
        self.journal_limit_bytes: Final = self._gauge(
            "journal_limit_bytes", "Bytes of the journal beyond which the sockets are not read."
        )
        self.waiting: Final = self._gauge(
            "waiting",
            "1 while nothing is published yet, since this service (kafka, registry) does not answer.",
            ["service"],
        )
        self.waits_for(None)
        self.journal_frames: Final = self._gauge("journal_frames", "Frames received and not yet known to be committed.")
        self.journal_bytes: Final = self._gauge("journal_bytes", "Bytes that the journal takes on disk.")
        self.window_identities: Final = self._gauge(
            "window_identities", "Identities in the dedupe window of the lane.", ["lane"]
        )
        self.window_seconds: Final = self._gauge(
            "window_seconds", "Time that the dedupe window of the lane really spans.", ["lane"]
        )
        self.transaction_seconds: Final = self._histogram(
            "transaction_seconds", "Time of a Kafka transaction, begin to committed."
        )
        self.latency_seconds: Final = self._histogram("latency_seconds", "Time of a frame from received to committed.")

    def watch(self, journals: Journals) -> None:
        """Tell from now on, whenever somebody asks, how full the journal is: also while no lane has begun."""
        self.journal_limit_bytes.set(journals.max_bytes)
        self.journal_frames.set_function(lambda: journals.frames)
        self.journal_bytes.set_function(lambda: journals.size)

    def waits_for(self, service: str | None) -> None:
        """The start waits for a service; None: for none, or no longer."""
        for each in ("kafka", "registry"):
            self.waiting.labels(each).set(each == service)

    def exposition(self) -> tuple[bytes, str]:
        """Return the text that Prometheus reads, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def total(self, name: str, /, **labels: str) -> float:
        """Return the sum of a metric's values that have these labels; 0 where there is none yet.

        name: of a counter or gauge, as exposed without the prefix, e.g. ``frames_received_total``. Raises KeyError
        for a name that no metric has.
        """
        families = self._families[name.removesuffix("_total")].collect()
        return sum(
            sample.value for family in families for sample in family.samples if labels.items() <= sample.labels.items()
        )

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        self.described.append(Described(f"{PREFIX}{name}_total", "counter", tuple(labels), text))
        made = self._families[name] = Counter(PREFIX + name, text, labels, registry=self.registry)
        return made

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        self.described.append(Described(PREFIX + name, "gauge", tuple(labels), text))
        made = self._families[name] = Gauge(PREFIX + name, text, labels, registry=self.registry)
        return made

    def _histogram(self, name: str, text: str) -> Histogram:
        self.described.append(Described(PREFIX + name, "histogram", (), text))
        return Histogram(PREFIX + name, text, registry=self.registry)


def quantile(part: float, counts: Sequence[int], bounds: Sequence[float] = BUCKETS) -> float | None:
    """The value (s) below which `part` (0 to 1) of the counted ones lie, as Prometheus reckons; None of nothing."""
    rank, below, lower = part * sum(counts), 0, 0.0
    if not rank:
        return None
    for count, bound in zip(counts, bounds, strict=False):
        if below + count >= rank:
            return lower + (bound - lower) * (rank - below) / count
        below, lower = below + count, bound
    return lower


class Histogram(Collector):
    """A histogram that takes many equal values at once; prometheus_client's own takes one at a time.

    One such call for each frame would cost more than encoding it.
    """

    def __init__(
        self, name: str, text: str, *, registry: CollectorRegistry, buckets: Sequence[float] = BUCKETS
    ) -> None:
        """buckets: upper bounds in seconds, ascending, without the last, infinite one."""
        self._name = name
        self._text = text
        self._bounds = tuple(buckets)
        self._lock = threading.Lock()
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: float, *, count: int = 1) -> None:
        """Take a value that `count` things had."""
        place = bisect.bisect_left(self._bounds, seconds)
        with self._lock:
            self._counts[place] += count
            self._sum += seconds * count

    def observe_all(self, values: Iterable[tuple[float, int]]) -> None:
        """Take many values (s), each with how many things had it."""
        counts, bounds, place = self._counts, self._bounds, bisect.bisect_left
        total = 0.0
        with self._lock:
            for seconds, count in values:
                counts[place(bounds, seconds)] += count
                total += seconds * count
            self._sum += total

    def counts(self) -> list[int]:
        """How many values lay in each bucket, so far; the last is the one without end."""
        with self._lock:
            return self._counts.copy()

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Name the family without reading it, so that the registry can refuse a second of the same name."""
        return [HistogramMetricFamily(self._name, self._text)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the family as it stands: cumulative counts per bound, and the sum."""
        with self._lock:
            counts, total = self._counts.copy(), self._sum
        buckets, running = [], 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        return [HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=total)]
