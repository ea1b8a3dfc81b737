"""An OpenTelemetry collector on loopback: keeps what it is sent, as plain numbers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import threaded

#: name of a series at ``/metrics``, with its labels.
Key = tuple[str, tuple[tuple[str, str], ...]]


class Collector(threaded.Threaded):
    """Listens within its block. status: what it answers; requests: (path, headers with their names in lower case, message) so far."""

    def __init__(self) -> None:
        self.status = 200
        self.requests: list[tuple[str, dict[str, str], ExportMetricsServiceRequest]] = []
        self._news = threading.Condition()
        collector = self

        class Handler(threaded.Handler):
            def do_POST(self) -> None:  # noqa: N802 - as the base class calls it
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector._take(self.path, headers, ExportMetricsServiceRequest.FromString(body))
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        self.url = f"http://127.0.0.1:{self.port}"

    def _take(self, path: str, headers: dict[str, str], message: ExportMetricsServiceRequest) -> None:
        with self._news:
            self.requests.append((path, headers, message))
            self._news.notify_all()

    def wait(self, count: int, *, seconds: float = 30.0) -> None:
        """Return when so many requests have come."""
        with self._news:
            if not self._news.wait_for(lambda: len(self.requests) >= count, seconds):
                message = f"only {len(self.requests)} of {count} requests in {seconds:g} s"
                raise TimeoutError(message)

    def resource(self) -> dict[str, str]:
        """Whose metrics the last request brought."""
        (found,) = self.requests[-1][2].resource_metrics
        return {each.key: each.value.string_value for each in found.resource.attributes}

    def series(self) -> dict[Key, float]:
        """What the last request said, as Prometheus would expose it."""
        found: dict[Key, float] = {}
        for metric in self.metrics().values():
            for point in metric.gauge.data_points:
                found[_key(metric.name, point)] = point.as_double
            for point in metric.sum.data_points:
                found[_key(metric.name, point)] = point.as_double
            for point in metric.histogram.data_points:
                below = 0
                for bound, count in zip((*map(str, point.explicit_bounds), "+Inf"), point.bucket_counts, strict=True):
                    below += count
                    found[_key(f"{metric.name}_bucket", point, le=bound)] = below
                found[_key(f"{metric.name}_count", point)] = point.count
                found[_key(f"{metric.name}_sum", point)] = point.sum
        return found

    def metrics(self) -> dict[str, Any]:
        """The metrics of the last request, by name."""
        (found,) = self.requests[-1][2].resource_metrics
        (scope,) = found.scope_metrics
        return {metric.name: metric for metric in scope.metrics}


def exposed(text: str) -> dict[Key, float]:
    """What ``/metrics`` says."""
    return {
        (sample.name, tuple(sorted(_labels(sample.labels).items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Bounds as Python writes numbers, infinity apart."""
    return {name: str(float(value)) if name == "le" and value != "+Inf" else value for name, value in labels.items()}


def _key(name: str, point: Any, **more: str) -> Key:
    labels = {each.key: each.value.string_value for each in point.attributes} | more
    return name, tuple(sorted(labels.items()))
