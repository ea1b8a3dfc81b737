"""What the page shows: two bridges of one installation, fed by two simulated gateways that say nothing before `flow`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.sim import PredictStreetSim, TickTockKnobs, TickTockSim
from tests.running import BridgeProcess, configuration, predictstreet, ticktock
from tests.servers.kafka import KafkaCluster


class World:
    """`bridge` publishes; `standby` runs only where it is asked for."""

    def __init__(self, kafka: KafkaCluster, folder: Path) -> None:
        """Nothing runs yet, Kafka neither."""
        self.kafka = kafka
        self.cs2 = TickTockSim(
            seed=3, rate=60, faults={"duplicate": 0.05}, knobs=TickTockKnobs(snapshot=False, alive_every=0.5)
        )
        self.markets = PredictStreetSim(seed=3, rate=40)
        self._folder = folder
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """The bridge is connected, and nothing comes."""
        kafka = asyncio.create_task(asyncio.to_thread(self.kafka.start))
        for sim in (self.cs2, self.markets):
            sim.pause()
            await self._stack.enter_async_context(sim)
        self.bridge = await self._stack.enter_async_context(self._process("a"))
        await kafka
        await self.bridge.ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing runs on."""
        await self._stack.aclose()

    def flow(self) -> None:
        """Both gateways send."""
        for sim in (self.cs2, self.markets):
            sim.resume()

    @asynccontextmanager
    async def standby(self) -> AsyncIterator[BridgeProcess]:
        """A second process of the same installation."""
        async with self._process("b") as bridge:
            await bridge.role("standby")
            yield bridge

    def _process(self, name: str) -> BridgeProcess:
        # No books: their snapshots come at once, and nothing is to come before `flow`.
        trades = [{"channel": each, "ids": self.markets.tokens} for each in ("token_trades", "token_ohlc")]
        gateways = {
            "cs2": ticktock(self.cs2, rest={"url": self.cs2.rest_url}),
            "markets": predictstreet(self.markets, subscribe=trades),
        }
        return BridgeProcess(configuration(gateways, kafka=self.kafka.bootstrap, prefix="page."), self._folder / name)
