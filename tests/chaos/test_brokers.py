"""Three brokers that die one after the other, and all at once: the bridge goes on by itself."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.chaos.bridges import RATE, Outcome, feed, memory, settings
from tests.chaos.output import Output
from tests.chaos.stream import CLEAN, data_topics
from tests.running import BridgeProcess
from tests.servers.kafka import KafkaCluster


@pytest.mark.timeout(600)
async def test_brokers_killed_in_turn_and_all_at_once(
    trio: KafkaCluster, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """Each broker of three killed and restarted under 500 frames/s, then all away for 60 s (8 in short): nothing lost or
    doubled, order kept, no gap, and the bridge is the same process all the time.
    """  # noqa: D205
    rounds, away = (3, 60.0) if soak else (1, 8.0)
    stalls: dict[str, float] = {}
    async with feed() as sim:
        config = settings(sim, trio.bootstrap, topic_prefix, topics={"partitions": 2})
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            pid = bridge.pid

            async def caught_up() -> None:
                await bridge.until(
                    lambda status: bool(status["ready"]) and status["lanes"][0]["behind"] < RATE, what="caught up"
                )

            before = memory(bridge)
            async with Output(trio.bootstrap, data_topics(topic_prefix)) as output:
                for turn in range(rounds):
                    for node in trio.nodes:
                        killed = time.monotonic()
                        trio.kill(node)
                        # Long enough that the others notice, and go on without it.
                        await bridge.received(await frames(bridge) + round(RATE * 7), gateway="cs2")
                        await caught_up()
                        await asyncio.to_thread(trio.start, node)
                        await asyncio.to_thread(trio.wait_in_sync)
                        await caught_up()
                        stalls[f"{turn + 1}.{node}"] = round(output.stall(killed), 1)
                killed = time.monotonic()
                trio.kill()
                await asyncio.sleep(away)
                waiting = await bridge.until(lambda status: not status["ready"], what="not ready without Kafka")
                assert waiting["journal"]["frames"] > RATE * away / 2
                during = memory(bridge)
                await asyncio.to_thread(trio.start)
                await caught_up()
                stalls["all"] = round(output.stall(killed), 1)
            after = memory(bridge)
            assert bridge.pid == pid
            assert await bridge.stop() == 0
    outcome = Outcome(sim, trio.bootstrap, topic_prefix)
    print(f"stalls {stalls}; MiB before {before}, all away {during}, after {after}; {outcome}")  # noqa: T201
    assert outcome.verdict() == CLEAN
    assert min(outcome.received) == 1
    assert [gap.cause for gap in outcome.gaps] == ["stopped"]
    assert outcome.unexplained == []


async def frames(bridge: BridgeProcess) -> int:
    """How many messages its only connection has got."""
    [gateway] = (await bridge.status())["gateways"]
    return sum(int(each["frames"]) for each in gateway["connections"])
