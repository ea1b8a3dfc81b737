"""The example of a gateway of one's own works as the guide says: installed beside feedbridge, and nothing else."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.audit import Published, Schemas, collect
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, until
from tests.servers.process import Port, Process

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "gateway"
SYMBOLS = ["BTC-EUR", "ETH-EUR"]


@pytest.fixture
def tally(tmp_path: Path) -> Iterator[str]:
    """The address of a simulated Tally."""
    port = Port()
    simulator = Process(
        "Tally",
        [sys.executable, "-m", "tally_feed.simulator", str(port.number)],
        log=tmp_path / "tally.log",
        environ={"PYTHONPATH": str(EXAMPLE)},
    )
    try:
        simulator.start()
        yield f"ws://127.0.0.1:{port.number}"
    finally:
        simulator.kill()
        port.close()


def installed(site: Path) -> dict[str, str]:
    """The environment in which the example's package is installed: its module, and metadata with the entry point."""
    meta = site / "feedbridge_tally-0.1.0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: feedbridge-tally\nVersion: 0.1.0\n")
    (meta / "entry_points.txt").write_text("[feedbridge.gateways]\ntally = tally_feed:Tally\n")
    return {"PYTHONPATH": os.pathsep.join([str(site), str(EXAMPLE), str(ROOT)])}


def said(symbol: str, number: int) -> dict[str, Any]:
    """The n-th message of a symbol, as the simulator makes it."""
    spec = importlib.util.spec_from_file_location("tally_simulator", EXAMPLE / "tally_feed" / "simulator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.message(symbol, number)
    return found


async def test_its_records_are_in_the_topics_once(
    kafka: Kafka, registry: Registry, topic_prefix: str, tally: str, tmp_path: Path
) -> None:
    """By its own schemas, keyed by symbol, in order, without a hole; the process is killed on the way.

    Who connects again hears everything from the first message on: what was published is known and not published again.
    """
    exchange = {"kind": "tally", "url": tally, "symbols": SYMBOLS}
    config = configuration({"exchange": exchange}, kafka=kafka.bootstrap, prefix=topic_prefix, registry=registry.url)

    async def published() -> dict[str, list[Published]]:
        found: dict[str, list[Published]] = defaultdict(list)
        for one in await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix):
            found[one.topic.removeprefix(topic_prefix)].append(one)
        return found

    async def enough(count: int) -> bool:
        return len((await published())["exchange.trade"]) >= count

    async with BridgeProcess(config, tmp_path / "bridge", environ=installed(tmp_path / "site")) as bridge:
        await bridge.ready()
        await until(lambda: enough(40), what="trades")
        bridge.kill()
        before = len((await published())["exchange.trade"])
        await bridge.start()
        await until(lambda: enough(before + 40), what=f"more than {before} trades")
        assert await bridge.stop() == 0
    topics = await published()
    assert not topics["exchange.dead-letters"]
    assert not topics["exchange.unknown"]
    schemas = Schemas.registry(registry.url)
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for name in ("trade", "ticker"):
        for one in sorted(topics[f"exchange.{name}"], key=lambda one: one.offset):
            schema, record = schemas.decode(one.topic, one.value)
            symbol, number = record["meta"]["id"], record["meta"]["seq"]
            message = said(symbol, number)
            assert schema.name == f"feedbridge.tally.{name.capitalize()}"
            assert (one.key, message["event"]) == (symbol.encode(), name)
            body = {field: str(value) for field, value in message["body"].items()}
            assert record["data"] == {**body, "extensions": {}}
            numbers[name, symbol].append(number)
    for symbol in SYMBOLS:
        trades, tickers = numbers["trade", symbol], numbers["ticker", symbol]
        assert trades == [each for each in range(1, trades[-1] + 1) if each % 10]
        assert tickers == list(range(10, tickers[-1] + 1, 10))
        assert len(trades) > 30
