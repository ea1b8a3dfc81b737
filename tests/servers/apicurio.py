"""Apicurio Registry (version in ``pom-apicurio.xml``), used through the API it shares with Confluent's registry."""

from __future__ import annotations

import urllib.error
import urllib.request
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.servers.fetch import fetch, java
from tests.servers.process import Port, Process

_START_TIMEOUT: Final = 90.0


class Apicurio:
    """A schema registry on 127.0.0.1 that keeps its port and its schemas through any stop, kill and start.

    directory: for its database and log; created, must be empty or new. Errors are `ServerError`.
    """

    def __init__(self, directory: Path) -> None:
        archive = fetch("apicurio")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._port = Port()
        runner = next(archive.glob("apicurio-registry-app-*-runner.jar"))
        self._process = Process(
            "Apicurio Registry",
            [java(), "-Xmx512m", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1", "-jar", str(runner)],
            log=directory / "apicurio.log",
            environ={
                "HTTP_PORT": str(self._port.number),
                "QUARKUS_HTTP_HOST": "127.0.0.1",
                # A file, written at once: the default lives in memory and would be empty after a restart
                "REGISTRY_DATASOURCE_URL": f"jdbc:h2:file:{directory.resolve() / 'schemas'};WRITE_DELAY=0",
                "QUARKUS_DATASOURCE_JDBC_INITIAL_SIZE": "2",
                "QUARKUS_DATASOURCE_JDBC_MIN_SIZE": "2",
                "LOG_LEVEL": "WARN",
                "REGISTRY_LOG_LEVEL": "WARN",
            },
        )

    @property
    def url(self) -> str:
        """Address of the API that Confluent's clients speak, without a slash at its end."""
        return f"http://127.0.0.1:{self._port.number}/apis/ccompat/v7"

    @property
    def pid(self) -> int:
        """Pid of the running JVM."""
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file with what it says."""
        return self._process.log

    @property
    def running(self) -> bool:
        """Tell whether its process lives (paused is alive)."""
        return self._process.running

    def start(self) -> None:
        """Start, and return when it lists its subjects. Nothing if it is running."""
        if not self.running:
            self._process.start()
            self._process.wait_ready(self._serves, timeout=_START_TIMEOUT)

    def stop(self) -> None:
        """SIGTERM."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._process.resume()

    def close(self) -> None:
        """Kill what runs and give the port back; the directory is left to its owner."""
        with closing(self._port):
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=5.0) as answer:  # noqa: S310 - http, see url
                return bool(answer.status == HTTPStatus.OK)
        except (urllib.error.URLError, OSError):
            return False
