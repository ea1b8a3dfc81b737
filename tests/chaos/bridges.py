"""Bridges that are fed `Frames` by a simulated TickTock: one, or two that share a lane."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import psutil

from bridge.sim import Scripted, Simulator, TickTockKnobs
from tests.chaos.gaps import TRANSIT, Gap, read_gaps, sent_at, unexplained
from tests.chaos.stream import Frames, Verdict, data_topics, header, judge
from tests.running import BridgeProcess, configuration, until
from tests.servers.reading import read_topics

#: Frames per second, where a test says no other.
RATE: Final = 500.0
#: `standby.takeover_after` where the configuration says nothing, s.
TAKEOVER_AFTER: Final = 1.5


def feed(
    count: int = 5_000_000, *, rate: float = RATE, on_reconnect: Literal["resume", "continue"] = "continue"
) -> Scripted:
    """A gateway that sends `Frames` at a rate, keeps a log of all of it, and goes on while nobody listens."""
    knobs = TickTockKnobs(alive_every=1.0)
    return Scripted("ticktock", Frames(count), rate=rate, on_reconnect=on_reconnect, knobs=knobs, keep=None)


def settings(sim: Simulator, bootstrap: str, prefix: str, *, url: str | None = None, **more: Any) -> dict[str, Any]:
    """The configuration of a bridge with one TickTock gateway ``cs2``. url: another way to it. more: further sections."""
    gateway = {"kind": "ticktock", "url": url or sim.url, "api_key": sim.api_key}
    return configuration({"cs2": gateway}, kafka=bootstrap, prefix=prefix, **more)


def memory(bridge: BridgeProcess) -> int:
    """MiB that the process has in memory."""
    return int(psutil.Process(bridge.pid).memory_info().rss) >> 20


class Outcome:
    """What came of a run, read when all has ended."""

    def __init__(self, sim: Simulator, bootstrap: str, prefix: str, *, transit: int = TRANSIT) -> None:
        """transit: see `unexplained`."""
        self.messages = read_topics(bootstrap, *data_topics(prefix))
        #: Number of each frame → when it was first sent, ms.
        self.sent = sent_at(sim.sent)
        #: Number of each record → when its frame was received, ms.
        self.received = {int(header(each, "seq")): int(header(each, "received")) for each in self.messages}
        self.gaps: list[Gap] = read_gaps(bootstrap, prefix)
        #: Frames that are lost silently.
        self.unexplained = unexplained(self.sent, self.received, self.gaps, transit=transit)

    def verdict(self, must: set[int] | range | None = None) -> Verdict:
        """Judge the records; must: these are there. Default: all between the first and the last that are there."""
        if must is None:
            must = range(min(self.received), max(self.received) + 1)
        return judge(self.messages, must)

    def __str__(self) -> str:
        lengths = [gap.end - gap.begin for gap in self.gaps if gap.end is not None]
        missing = sum(seq not in self.received for seq in range(min(self.received), max(self.sent) + 1))
        return (
            f"{len(self.messages)} records, {missing} frames missing, "
            f"{len(self.gaps)} gaps of {sum(lengths) / 1000:.1f} s in all"
        )


class Pair:
    """Two processes of one installation, each with a journal of its own."""

    def __init__(self, config: dict[str, Any], folder: Path, *, second: dict[str, Any] | None = None) -> None:
        """Nothing runs yet. config: of both, or of the first where the second has its own."""
        self._stack = AsyncExitStack()
        self.bridges = [BridgeProcess(config, folder / "a"), BridgeProcess(second or config, folder / "b")]

    async def __aenter__(self) -> Self:
        """One becomes active, then the other stands by."""
        for bridge, role in zip(self.bridges, ("active", "standby"), strict=True):
            await self._stack.enter_async_context(bridge)
            await bridge.role(role)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing runs on."""
        await self._stack.aclose()

    async def roles(self) -> tuple[BridgeProcess, BridgeProcess]:
        """(active, standby), once there is one of each and both are ready."""
        found: dict[str, BridgeProcess] = {}

        async def settled() -> bool:
            found.clear()
            for bridge in self.bridges:
                try:
                    status = await bridge.status()
                except ConnectionError:
                    return False
                if status["ready"]:
                    found[status["lanes"][0]["role"]] = bridge
            return set(found) == {"active", "standby"}

        await until(settled, what="one active and one standby")
        return found["active"], found["standby"]
