"""The demo runs with nothing set up, ends by itself, and adds up."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from bridge.config import masked
from bridge.demo import Reader, StandIn, free_port, make_config, run
from bridge.errors import Unreachable
from bridge.sim import PredictStreetSim, TickTockSim

pytestmark = pytest.mark.timeout(120)


async def test_demo_adds_up() -> None:
    """All parts are real: frames flow from both gateways, duplicates are dropped, and a consumer counts what the bridge
    says that it published; the screen says that its Kafka is a stand-in and how to use a real one.
    """  # noqa: D205
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=80, height=24, color_system=None)
    last = await run(seconds=5, rate=400, out=terminal)
    counts = last.counts
    assert counts.frames > 400
    assert counts.duplicates > 0
    assert counts.records + counts.duplicates + counts.unchanged <= counts.frames
    assert sum(counts.topics.values()) == counts.records + counts.dead_letters
    assert {topic.partition(".")[0] for topic in counts.topics} == {"cs2", "markets"}
    assert last.record is not None
    for text in ("Kafka is a stand-in", "feedbridge demo --kafka HOST:PORT", "A consumer has counted", "decoded"):
        assert text in out.getvalue()
    assert "records, dead letters included." in " ".join(out.getvalue().split())


async def test_demo_serves_its_page_and_ends_at_a_signal() -> None:
    """The page's address is shown and answers; without a terminal there are lines; Ctrl-C ends it without an error."""
    out = io.StringIO()
    running = asyncio.create_task(run(rate=100, out=Console(file=out, width=200)))
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while (page := re.search(r"http://127\.0\.0\.1:\d+", out.getvalue())) is None:
            assert not running.done()
            await asyncio.sleep(0.05)
        async with session.get(f"{page[0]}/api/status") as answer:
            status = await answer.json()
        assert [gateway["name"] for gateway in status["gateways"]] == ["cs2", "markets"]
        os.kill(os.getpid(), signal.SIGINT)
        last = await running
    assert last.state
    assert "\x1b" not in out.getvalue()


def test_stand_in_makes_topics_and_ends() -> None:
    """It serves an address of this machine, makes the topics it is told to, and is gone when it is closed."""
    stand_in = StandIn()
    stand_in.create(["a", "b.c"])
    assert set(stand_in._ask(None).topics) == {"a", "b.c"}
    host, _, port = stand_in.bootstrap.rpartition(":")
    stand_in.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5).close()


def test_taken_port_is_passed_over() -> None:
    """The page's usual port where it is free, else any."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) == 0
    assert free_port(port) == port


def test_configuration_of_the_demo_is_a_usual_one(tmp_path: Path) -> None:
    """It could stand in a file: two gateways, no registry, a journal in the folder given, keys masked."""
    sims = TickTockSim(), PredictStreetSim()
    config = make_config(*sims, bootstrap="127.0.0.1:1", prefix="demo.", folder=tmp_path)
    assert {name: gateway.kind for name, gateway in config.gateways.items()} == {
        "cs2": "ticktock", "markets": "predictstreet-market",
    }  # fmt: skip
    assert config.registry is None
    assert config.journal.path.parent == tmp_path
    assert config.topics.prefix == "demo."
    assert not any(sim.api_key in str(masked(config)) for sim in sims)


def test_reader_keeps_what_ended_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka that refuses or is away ends the reading with an error that the demo raises, not a dead thread."""

    def away(*_: object, **__: object) -> None:
        raise Unreachable("away", where="kafka")

    config = make_config(TickTockSim(), PredictStreetSim(), bootstrap="127.0.0.1:1", prefix="", folder=tmp_path)
    monkeypatch.setattr("bridge.tail.consumer", away)
    reader = Reader(config, ["a"], start="beginning")
    reader.start()
    reader.join(10)
    assert isinstance(reader.failed, Unreachable)
