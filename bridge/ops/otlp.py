"""Metrics by OTLP over HTTP, for an OpenTelemetry collector: the extra ``feedbridge[otlp]``.

What is sent is made from the registry that ``/metrics`` is made from, so both have the same names, labels and values. A
thread of its own does it: a collector that is away, slow or wrong costs nothing but log lines, one for each change. Nobody
imports this module where no collector is configured.
"""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import CollectorRegistry

from bridge import __version__
from bridge.errors import ConfigError
from bridge.ops.redaction import redactor

try:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import export as model
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
except ImportError as missing:
    raise ConfigError(
        f"the library {missing.name or 'opentelemetry'} is not installed",
        where="telemetry.otlp",
        mend="pip install 'feedbridge[otlp]'",
    ) from None

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

    from bridge.ops.settings import OtlpSettings

PATH: Final = "/v1/metrics"
#: Seconds for one request with all its repetitions, at most and at least: with less than a second try the exporter does not say
#: why it failed.
_PATIENCE: Final = 10.0
_IMPATIENCE: Final = 3.0
#: Seconds for the last word at the end.
_LAST: Final = 1.5
#: Suffixes of names that tell the unit.
_UNITS: Final = {"seconds": "s", "bytes": "By"}

log = structlog.get_logger(__name__)


class Telemetry:
    """Sends the metrics of a registry again and again.

    name: of the installation; instance: of the process.
    """

    def __init__(
        self,
        settings: OtlpSettings,
        registry: CollectorRegistry,
        *,
        name: str,
        instance: str,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Make the exporter; nothing is sent before `start`. now: ns since the epoch."""
        self._settings = settings
        self._registry = registry
        self._now = now
        self._began = now()
        self._resource = Resource.create(
            {
                "service.name": "feedbridge",
                "service.namespace": name,
                "service.instance.id": instance,
                "service.version": __version__,
            }
        )
        self._said = _Said()
        # The exporter tells its troubles to its logger only; here they become one event for each change.
        _LOGGER.addFilter(self._said)
        self._exporter = OTLPMetricExporter(
            endpoint=endpoint(settings),
            headers={header: value.reveal() for header, value in settings.headers.items()},
            timeout=min(max(settings.interval, _IMPATIENCE), _PATIENCE),
        )
        self._failing = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def close(self) -> None:
        """Send once more and end; both within two seconds, whatever the collector does. For any thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_LAST)
        self._exporter.shutdown()  # a pause between two tries ends
        if self._thread.is_alive():
            self._thread.join(_LAST / 3)
        _LOGGER.removeFilter(self._said)

    def send(self) -> bool:
        """Send all metrics as they are; whether the collector took them. Logs where that is another answer than the last."""
        reason = self.offer()
        self._tell(reason)
        return reason is None

    def offer(self) -> str | None:
        """Send all metrics as they are; None where the collector took them, else why not, in one line without secrets."""
        self._said.forget()
        data = metrics_data(self._registry.collect(), resource=self._resource, began=self._began, now=self._now())
        if self._exporter.export(data) is model.MetricExportResult.SUCCESS:
            return None
        return redactor.text(_in_short(self._said.text or "it did not take the metrics"))

    def _run(self) -> None:
        while not self._over.wait(self._settings.interval):
            self._send()
        self._send()

    def _send(self) -> None:
        """Send, and outlive whatever a library may raise: metrics that nobody gets are no reason to end anything."""
        try:
            self.send()
        except Exception as error:  # noqa: BLE001 - told and counted as a failure, and tried again
            self._tell(redactor.text(f"{type(error).__name__}: {error}"))

    def _tell(self, reason: str | None) -> None:
        failing = reason is not None
        if failing and not self._failing:
            log.warning("telemetry_failing", collector=str(self._settings.endpoint), reason=reason)
        elif self._failing and not failing:
            log.info("telemetry_works", collector=str(self._settings.endpoint))
        self._failing = failing


def probe(settings: OtlpSettings) -> str | None:
    """Send no metrics to a collector: None where it takes them, else why not. Blocking, for ten seconds at most."""
    telemetry = Telemetry(settings, CollectorRegistry(), name="check", instance="check")
    try:
        return telemetry.offer()
    finally:
        telemetry.close()


def endpoint(settings: OtlpSettings) -> str:
    """Return the URL that is asked."""
    text = settings.endpoint.reveal().rstrip("/")
    return text if text.endswith(PATH) else text + PATH


def metrics_data(families: Iterable[Metric], *, resource: Resource, began: int, now: int) -> model.MetricsData:
    """Return what Prometheus' families say in OpenTelemetry's terms. began, now: ns since the epoch.

    A counter's series are sums that only grow, a histogram is one with its bounds; all others are gauges. Names are those
    of the series at ``/metrics``, with ``_total``; units are told by their suffixes.
    """
    metrics = [metric for family in families for metric in _metrics(family, began, now)]
    scope = model.ScopeMetrics(InstrumentationScope("feedbridge", __version__), metrics, schema_url="")
    return model.MetricsData([model.ResourceMetrics(resource, [scope], schema_url=resource.schema_url)])


def _metrics(family: Metric, began: int, now: int) -> Iterator[model.Metric]:
    if family.type == "histogram":
        points = [_distribution(labels, samples, began, now) for labels, samples in _series(family)]
        histogram = model.Histogram(points, model.AggregationTemporality.CUMULATIVE)
        yield model.Metric(family.name, family.documentation, _unit(family.name), histogram)
        return
    names = dict.fromkeys(sample.name for sample in family.samples if not sample.name.endswith("_created"))
    for name in names:
        numbers = [
            model.NumberDataPoint(dict(sample.labels), began if family.type == "counter" else 0, now, sample.value)
            for sample in family.samples
            if sample.name == name
        ]
        data: model.DataT = (
            model.Sum(numbers, model.AggregationTemporality.CUMULATIVE, is_monotonic=True)
            if family.type == "counter"
            else model.Gauge(numbers)
        )
        yield model.Metric(name, family.documentation, _unit(name), data)


def _series(family: Metric) -> Iterator[tuple[dict[str, str], list[Sample]]]:
    """Yield the samples of a histogram by their labels, ``le`` apart."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in family.samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        found.setdefault(labels, []).append(sample)
    for labels, samples in found.items():
        yield dict(labels), samples


def _distribution(labels: dict[str, str], samples: list[Sample], began: int, now: int) -> model.HistogramDataPoint:
    """Return one series: Prometheus counts what is not above a bound, OpenTelemetry what lies between two."""
    buckets = sorted((float(each.labels["le"]), int(each.value)) for each in samples if each.name.endswith("_bucket"))
    total = next((each.value for each in samples if each.name.endswith("_sum")), 0.0)
    below = [0, *(count for _, count in buckets)]
    return model.HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=below[-1],
        sum=total,
        bucket_counts=[after - before for before, after in itertools.pairwise(below)],
        explicit_bounds=[bound for bound, _ in buckets[:-1]],
        # Prometheus knows neither; left out they are absent on the wire.
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
    )


def _in_short(text: str) -> str:
    """Return what a person needs of the exporter's words: the error below three layers of libraries, or the answer."""
    if "timed out" in text:
        return "no answer in time"
    if found := re.search(r"\[Errno -?\d+\] ([^'\")]+)", text):
        return found[1].strip()
    if found := re.search(r"code: (\d+), reason: (.*)", text, re.DOTALL):
        return " ".join(f"answered {found[1]} {found[2]}".split())
    return " ".join(text.split())


def _unit(name: str) -> str:
    return _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")


#: Where the exporter tells its troubles.
_LOGGER: Final = logging.getLogger("opentelemetry.exporter.otlp.proto.http.metric_exporter")


class _Said(logging.Filter):
    """Keeps the first words of the exporter about a request, which say what is wrong, and lets none pass."""

    def __init__(self) -> None:
        super().__init__()
        self.text: str | None = None

    def forget(self) -> None:
        """Another request begins."""
        self.text = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep it."""
        self.text = self.text or record.getMessage()
        return False
