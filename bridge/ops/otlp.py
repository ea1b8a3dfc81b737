"""Metrics by OTLP over HTTP, for an OpenTelemetry collector: the extra ``feedbridge[otlp]``.

What is sent is made from the registry that ``/metrics`` is made from, so both have the same names, labels and values. A
thread of its own does it: a collector that is away, slow or wrong costs nothing but log lines, one for each change. Nobody
imports this module where no collector is configured.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import structlog

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
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric
    from prometheus_client.samples import Sample

    from bridge.ops.settings import OtlpSettings

PATH: Final = "/v1/metrics"
#: Seconds at most for one request with all its repetitions.
_PATIENCE: Final = 10.0
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
            timeout=min(settings.interval, _PATIENCE),
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
        """Send all metrics as they are; whether the collector took them."""
        self._said.text = None
        data = metrics_data(self._registry.collect(), resource=self._resource, began=self._began, now=self._now())
        taken = self._exporter.export(data) is model.MetricExportResult.SUCCESS
        self._tell(failing=not taken)
        return taken

    def _run(self) -> None:
        while not self._over.wait(self._settings.interval):
            self._send()
        self._send()

    def _send(self) -> None:
        """Send, and outlive whatever a library may raise: metrics that nobody gets are no reason to end anything."""
        try:
            self.send()
        except Exception as error:  # noqa: BLE001 - told and counted as a failure, and tried again
            self._said.text = f"{type(error).__name__}: {error}"
            self._tell(failing=True)

    def _tell(self, *, failing: bool) -> None:
        if failing != self._failing:
            if failing:
                reason = redactor.text(self._said.text or "it did not take the metrics")
                log.warning("telemetry_failing", collector=str(self._settings.endpoint), reason=reason)
            else:
                log.info("telemetry_works", collector=str(self._settings.endpoint))
        self._failing = failing


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


def _unit(name: str) -> str:
    return _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")


#: Where the exporter tells its troubles.
_LOGGER: Final = logging.getLogger("opentelemetry.exporter.otlp.proto.http.metric_exporter")


class _Said(logging.Filter):
    """Keeps the first words of the exporter about a request, which say what is wrong, and lets none pass."""

    def __init__(self) -> None:
        super().__init__()
        self.text: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep it."""
        self.text = self.text or record.getMessage()
        return False
