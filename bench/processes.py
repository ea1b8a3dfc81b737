"""The processes under test: the bridge as its users run it, and the bare loop. Both are measured from outside."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil

from bridge import topics
from bridge.catalog import Catalog
from bridge.config import Config, load

_TIMEOUT: Final = 120.0
_TICK: Final = 0.02
#: Asking for the status costs the bridge a millisecond or more: often enough for `until_done` is once in a heartbeat.
_SELDOM: Final = 0.25


def write_config(
    folder: Path,
    *,
    name: str,
    url: str,
    bootstrap: str,
    lanes: Mapping[str, Any] | None = None,
    process: str = "",
) -> tuple[Path, Config]:
    """Write a configuration with everything on and the ids of all schemas pinned: no registry is asked.

    process: tells apart those of one name. Returns the file and what it says. Bridges of different names share the data
    topics, and nothing else.
    """
    path = folder / f"{name}{process}.yaml"
    text: dict[str, Any] = {
        "name": name,
        "gateways": {"cs2": {"kind": "ticktock", "url": url, "api_key": "bench"}},
        "kafka": {"bootstrap.servers": bootstrap},
        "registry": {"url": "http://127.0.0.1:1", "ids": {}},
        "journal": {"path": str(folder / f"{name}{process}-journal")},
        "lanes": dict(lanes or {}),
        "http": {"listen": "127.0.0.1:0"},
        "log": {"level": "info", "format": "json"},
    }
    path.write_text(json.dumps(text))
    plan = topics.plan(load(path, environ={}), Catalog.load())
    text["registry"]["ids"] = {each.subject: 100 + n for n, each in enumerate(topics.subjects(plan))}
    path.write_text(json.dumps(text))
    return path, load(path, environ={})


class Measured:
    """A process with its CPU and memory."""

    def __init__(self, command: list[str], *, log: Path) -> None:
        self.began = time.monotonic()
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True
            )
        self._watched = psutil.Process(self._process.pid)
        self.pid = self._process.pid

    def cpu(self) -> float:
        """CPU seconds used so far, by all threads."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Resident memory now (bytes)."""
        return int(self._watched.memory_info().rss)

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._dead()
        return line.strip()

    def said(self) -> str:
        """What it has written to its log."""
        return self._log.read_text()

    def _dead(self) -> RuntimeError:
        return RuntimeError(f"a process under test has ended:\n{self.said()[-2000:]}")

    def check(self) -> None:
        """Raise if it has ended."""
        if self._process.poll() is not None:
            raise self._dead()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Bridge(Measured):
    """``feedbridge run``. Its page's address is in its log."""

    def __init__(self, config: Path) -> None:
        super().__init__(["-m", "bridge.cli", "run", "-c", str(config)], log=config.with_suffix(".log"))
        self._address = ""

    def until_live(self) -> float:
        """Wait until it is subscribed, active and committing; returns the seconds since its process began."""
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            if '"role": "active"' in self.said() or '"role":"active"' in self.said():
                now = time.monotonic()
                if self.status()["ready"]:
                    return now - self.began
            self.check()
            time.sleep(_TICK)
        raise self._dead()

    def until_done(self, received: int) -> float:
        """Wait until so many frames in all are disposed of and committed; returns when (s, CLOCK_MONOTONIC)."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            status = self.status()
            now = time.monotonic()
            so_far = status["gateways"][0]["received"]
            if so_far >= received:
                # An idle lane writes its first heartbeat half a second later: this commit is that of the last frames.
                return float(now - status["lanes"][0]["last_commit_seconds_ago"])
            if now > deadline:
                raise RuntimeError(f"only {so_far} of {received} frames after {_TIMEOUT} s\n{self.said()[-2000:]}")
            self.check()
            time.sleep(_SELDOM)

    def received(self) -> int:
        """Frames disposed of so far."""
        return int(self.status()["gateways"][0]["received"])

    def status(self) -> dict[str, Any]:
        """``/api/status``."""
        page = f"{self.page()}/api/status"
        with urllib.request.urlopen(page, timeout=10) as answer:  # noqa: S310 - its own page, over HTTP
            found: dict[str, Any] = json.load(answer)
        return found

    def page(self) -> str:
        """Where its page is: scheme, host, port."""
        while not self._address:
            self.check()
            for line in self.said().splitlines():
                if line.startswith("{") and (page := json.loads(line).get("page")):
                    self._address = page if page.startswith("http") else f"http://{page}"
            time.sleep(_TICK)
        return self._address.rstrip("/")


class Bare(Measured):
    """The bare loop of `bench.bare`."""

    def __init__(self, config: Path, url: str, *options: str) -> None:
        super().__init__(["-m", "bench.bare", str(config), url, *options], log=config.with_suffix(".bare.log"))

    def until_live(self) -> None:
        """Wait until it is connected and has its producer."""
        assert self.line() == "ready"

    def until_done(self, received: int) -> float:
        """Wait until so many frames in all are committed; returns when (s, CLOCK_MONOTONIC)."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{received}\n")
        self._process.stdin.flush()
        self.line()
        return time.monotonic()
