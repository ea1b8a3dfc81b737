"""Prometheus from Debian's package: scrapes bridges, evaluates the alert rules, answers queries."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from tests.servers.fetch import fetch_prometheus
from tests.servers.process import Port, Process, ServerError

_START_TIMEOUT: Final = 60.0
#: How often (s) it scrapes and evaluates.
EVERY: Final = 1


class Prometheus:
    """A server on 127.0.0.1 with rules and targets of its own.

    directory: for its data and log. rules: text of a rule file. targets: address → further labels. Errors are `ServerError`.
    """

    def __init__(self, directory: Path, *, rules: str, targets: Mapping[str, Mapping[str, str]]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "rules.yaml").write_text(rules)
        jobs = [{"targets": [address], "labels": dict(labels)} for address, labels in targets.items()]
        config = {
            "global": {"scrape_interval": f"{EVERY}s", "evaluation_interval": f"{EVERY}s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [{"job_name": "feedbridge", "static_configs": jobs}],
        }
        (directory / "prometheus.json").write_bytes(msgspec.json.encode(config))
        self._port = Port()
        self._process = Process(
            "Prometheus",
            [
                str(fetch_prometheus() / "prometheus"),
                f"--config.file={directory / 'prometheus.json'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port.number}",
            ],
            log=directory / "prometheus.log",
        )

    def query(self, text: str) -> list[dict[str, Any]]:
        """The samples of an instant query: ``metric`` (labels) and ``value`` (time, text)."""
        found: list[dict[str, Any]] = self._ask("query", query=text)["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that fire: ``labels`` and ``annotations``."""
        return [alert for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"]

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._port.number}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10.0) as answer:
                found: dict[str, Any] = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(f"{url}: {error.read().decode()}") from error
        return found

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port.number}/-/ready", timeout=5.0) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        """Start, and return when it answers."""
        self._process.start()
        self._process.wait_ready(self._serves, timeout=_START_TIMEOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill it and give the port back."""
        with closing(self._port):
            self._process.kill()
