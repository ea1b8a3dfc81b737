"""Where nobody listens, every command says so soon and in one line, and a running bridge at once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.commands.command import LIBRDKAFKA
from bridge.config import load
from bridge.service import Service
from tests.running import until

#: A command took 15 to 40 s before; its own work is a second or two on a busy machine.
SOON = 10.0
_SPAN = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T01:00:00Z")


@pytest.fixture
def closed() -> Iterator[str]:
    """A port that nobody listens at, and nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def file(folder: Path, kafka: str) -> Path:
    """A configuration file."""
    gateway = {"kind": "ticktock", "url": "ws://127.0.0.1:1", "api_key": "k"}
    config: dict[str, Any] = {"name": "main", "gateways": {"cs2": gateway}, "kafka": {"bootstrap.servers": kafka}}
    config |= {"journal": {"path": str(folder / "journal")}, "http": {"listen": None}}
    path = folder / "feedbridge.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


Invoke = Callable[..., tuple[int, str, float]]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Invoke]:
    """Return a function that runs a command against a Kafka: (exit code, what it said, how long it took in s)."""
    logger = logging.getLogger(LIBRDKAFKA)
    level = logger.level

    def run(kafka: str, *words: str) -> tuple[int, str, float]:
        began = time.monotonic()
        with pytest.raises(SystemExit) as ended:
            main([*words, "-c", str(file(tmp_path, kafka))])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err, time.monotonic() - began

    yield run
    logger.setLevel(level)


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("verify",),
        ("tail",),
        ("gaps", "list"),
        ("gaps", "fill", "--gateway", "cs2", *_SPAN),
        ("dead-letters", "list"),
        ("dead-letters", "show", "cs2.dead-letters[0]@1"),
        ("dead-letters", "replay", "--gateway", "cs2"),
        ("profile",),
        ("topics", "plan"),
        ("topics", "apply"),
    ],
    ids=" ".join,
)
def test_a_command_says_soon_that_nobody_takes_connections(words: tuple[str, ...], closed: str, invoke: Invoke) -> None:
    """With the address, librdkafka's reason and what to check."""
    code, said, seconds = invoke(closed, *words)
    assert code == (1 if words == ("check",) else 69), said
    line = next(each for each in said.splitlines() if "Connection refused" in each)
    assert closed in line
    assert "check kafka: bootstrap.servers" in line
    assert seconds < SOON


def test_a_host_that_has_no_address_is_named_soon(invoke: Invoke) -> None:
    """The name is to blame, not the broker."""
    code, said, seconds = invoke("nowhere.invalid:9092", "tail")
    assert code == 69
    assert "nowhere.invalid" in said
    assert "check the host names in kafka: bootstrap.servers" in said
    assert seconds < SOON


async def test_a_bridge_says_soon_that_nobody_takes_connections(closed: str, tmp_path: Path) -> None:
    """Its status, and with it the page: not that it is still starting."""
    service, stop = Service(load(file(tmp_path, closed), environ=os.environ)), asyncio.Event()
    running = asyncio.create_task(service.run(stop))

    def said() -> str:
        return " ".join(each["text"] for each in service.status()["well"])

    try:
        await until(lambda: closed in said(), what=said, seconds=SOON)
        assert "Nothing is published yet: Kafka does not answer: " in said()
        assert "Connection refused" in said()
        assert "What comes waits in the journal." in said()
    finally:
        stop.set()
        await running
