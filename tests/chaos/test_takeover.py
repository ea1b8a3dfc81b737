"""Two processes on one lane: whichever dies, the other goes on without a duplicate and without a gap."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from bridge.sim import Scripted, Simulator, TickTockKnobs
from tests.chaos.stream import frames, judge, numbers
from tests.gaps import gap_records
from tests.kafka.conftest import Kafka
from tests.running import BridgeProcess, configuration, until
from tests.servers.reading import read_topics

RATE = 500.0
KNOBS = TickTockKnobs(alive_every=1.0)
TYPES = ("event.kill", "market.updated", "bet-settlement")
TAKEOVER_AFTER = 1.5


class Pair:
    """Two processes of one installation, each with a journal of its own."""

    def __init__(self, sim: Simulator, bootstrap: str, prefix: str, folder: Path) -> None:
        """Nothing runs yet."""
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration({"cs2": gateway}, kafka=bootstrap, prefix=prefix)
        self._stack = AsyncExitStack()
        self.bridges = [BridgeProcess(config, folder / name) for name in ("a", "b")]

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


def data_topics(prefix: str) -> list[str]:
    """The topics of `frames`."""
    return [f"{prefix}cs2.{name}" for name in TYPES]


def verdict(bootstrap: str, prefix: str) -> tuple[object, int]:
    """What the topics say, held against all numbers between the first and the last that were published."""
    published = read_topics(bootstrap, *data_topics(prefix))
    seen = numbers(published)
    return judge(published, range(min(seen), max(seen) + 1)), len(seen)


@pytest.mark.timeout(900)
async def test_the_standby_takes_over_when_the_active_is_killed(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """SIGKILL of the active 4 times (50 in full) under 500 frames/s: no duplicate, no missing frame, short stalls."""
    stalls = []
    async with (
        Scripted("ticktock", frames(200_000), rate=RATE, on_reconnect="continue", knobs=KNOBS) as sim,
        Pair(sim, kafka.bootstrap, topic_prefix, tmp_path) as pair,
    ):
        for _ in range(50 if soak else 4):
            active, standby = await pair.roles()
            await asyncio.sleep(0.5)
            active.kill()
            killed = time.monotonic()
            await standby.role("active", seconds=30)
            stalls.append(time.monotonic() - killed)
            await active.start()
        active, standby = await pair.roles()
        assert await standby.stop() == 0
        assert await active.stop() == 0
    found, count = verdict(kafka.bootstrap, topic_prefix)
    assert found == ([], [], [])
    assert count > RATE * 4
    print("stalls", [round(stall, 2) for stall in stalls])  # noqa: T201
    assert max(stalls) < TAKEOVER_AFTER + 1.5 + 2.0


@pytest.mark.timeout(300)
async def test_a_stopped_active_hands_over_at_once(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """SIGTERM resigns: the standby does not wait for silence, and nothing is missing or doubled."""
    handovers = []
    async with (
        Scripted("ticktock", frames(200_000), rate=RATE, on_reconnect="continue", knobs=KNOBS) as sim,
        Pair(sim, kafka.bootstrap, topic_prefix, tmp_path) as pair,
    ):
        for _ in range(3):
            active, standby = await pair.roles()
            await asyncio.sleep(0.5)
            assert await active.stop() == 0
            stopped = time.monotonic()
            await standby.role("active", seconds=30)
            handovers.append(time.monotonic() - stopped)
            await active.start()
        for bridge in await pair.roles():
            bridge.kill()
    found, _ = verdict(kafka.bootstrap, topic_prefix)
    assert found == ([], [], [])
    print("handovers", [round(each, 2) for each in handovers])  # noqa: T201


@pytest.mark.timeout(300)
async def test_a_frozen_active_is_fenced_and_stands_by_when_it_wakes(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """SIGSTOP, takeover, SIGCONT: what the zombie still holds is never published twice, and it becomes the standby."""
    async with (
        Scripted("ticktock", frames(200_000), rate=RATE, on_reconnect="continue", knobs=KNOBS) as sim,
        Pair(sim, kafka.bootstrap, topic_prefix, tmp_path) as pair,
    ):
        active, standby = await pair.roles()
        active.pause()
        await standby.role("active", seconds=30)
        await asyncio.sleep(1.0)
        active.resume()
        await active.role("standby", seconds=60)
        assert (await standby.status())["lanes"][0]["role"] == "active"
        await pair.roles()
        for bridge in pair.bridges:
            assert await bridge.stop() == 0
    found, _ = verdict(kafka.bootstrap, topic_prefix)
    assert found == ([], [], [])


@pytest.mark.timeout(300)
async def test_what_the_active_missed_is_published_by_the_standby(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The active's socket is cut, too short for a takeover by silence: the frames that only the standby received are
    published once, as late ones; only states that a newer one has superseded are left out.
    """  # noqa: D205
    async with (
        Scripted("ticktock", frames(200_000), rate=RATE, on_reconnect="continue", knobs=KNOBS) as sim,
        Pair(sim, kafka.bootstrap, topic_prefix, tmp_path) as pair,
    ):
        active, standby = await pair.roles()
        # The first connection is that of the first process, which became active.
        await sim.drop(connection=min(each.number for each in sim.connections))
        await standby.role("active", seconds=60)
        await active.role("standby", seconds=60)
        await pair.roles()
        await asyncio.sleep(1.0)
        for bridge in pair.bridges:
            assert await bridge.stop() == 0
    published = read_topics(kafka.bootstrap, *data_topics(topic_prefix))
    late = [message for message in published if dict(message.headers() or []).get("source") == b"standby"]
    assert late
    seen = numbers(published)
    found = judge(published, range(min(seen), max(seen) + 1))
    assert found.doubled == []
    assert {seq % 3 for seq in found.missing} <= {1}, "an event or a settlement is missing, not only states"
    assert set(found.disordered) <= numbers(late)
    told = [gap for gap in gap_records(kafka.bootstrap, topic_prefix) if gap["cause"] == "disconnect"]
    assert len({gap["id"] for gap in told}) == 1, "one cut, one gap"
    assert [gap["state"] for gap in told][:2] == ["open", "lost"], "the active alone could not know better"
    filled = told[-1]
    assert (filled["state"], filled["how"]) == ("filled", "received by a standby")
    assert filled["recovered"] + filled["superseded"] == len(late) + len(found.missing)
    assert filled["last_seq"] is not None
