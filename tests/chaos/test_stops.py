"""However a bridge is stopped, it ends in time, and nothing that reached it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tests.chaos.bridges import RATE, Outcome, feed, settings
from tests.chaos.stream import CLEAN, data_topics, numbers
from tests.chaos.test_crashes import journaled
from tests.kafka.conftest import Kafka
from tests.running import BridgeProcess, until
from tests.servers.kafka import KafkaCluster
from tests.servers.reading import read_topics

#: What a busy machine may add (s) to the time in which a process must end.
BUSY = 5.0


@pytest.mark.timeout(900)
async def test_stopped_under_load(kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool) -> None:
    """SIGTERM 3 times (30 in full) under 500 frames/s: exit 0, nothing left in the journal, nothing doubled; what is
    missing was sent while it was down.
    """  # noqa: D205
    ends = []
    async with (
        feed() as sim,
        BridgeProcess(settings(sim, kafka.bootstrap, topic_prefix), tmp_path / "bridge") as bridge,
    ):
        for turn in range(30 if soak else 3):
            if turn:
                await bridge.start()
            await bridge.ready()
            await bridge.received(round(RATE / 2), gateway="cs2")
            asked = time.monotonic()
            assert await bridge.stop() == 0
            ends.append(round(time.monotonic() - asked, 2))
            assert journaled(bridge.journal_of(0), tmp_path / "copy") <= await published(kafka.bootstrap, topic_prefix)
    left = [event["frames_left"] for event in bridge.events() if event["event"] == "stopped"]
    assert left == [0] * len(ends)
    outcome = Outcome(sim, kafka.bootstrap, topic_prefix)
    print(f"ends within {ends} s; {outcome}")  # noqa: T201
    assert outcome.verdict()._replace(missing=[]) == CLEAN
    assert outcome.unexplained == []
    assert {gap.cause for gap in outcome.gaps} == {"stopped"}
    assert max(ends) < 2.0 + BUSY


@pytest.mark.timeout(900)
async def test_stopped_while_kafka_does_not_answer(
    broker: KafkaCluster, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """Kafka frozen or away: SIGTERM ends it with 0 within shutdown.timeout, a second SIGTERM at once; the rest stays in
    the journal, and the next start publishes it, once.
    """  # noqa: D205
    timeout = 4.0
    reached: set[int] = set()
    ends: dict[str, list[float]] = {"one signal": [], "two signals": []}
    async with feed() as sim:
        config = settings(
            sim, broker.bootstrap, topic_prefix, shutdown={"timeout": f"{timeout}s"}, topics={"partitions": 2}
        )
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            for turn in range(8 if soak else 2):
                how, frozen = list(ends)[turn % 2], turn % 4 in {1, 2}
                if turn:
                    await bridge.start()
                await bridge.ready()
                await bridge.received(round(RATE / 2), gateway="cs2")
                await asyncio.to_thread(broker.pause if frozen else broker.stop)
                await bridge.until(lambda status: status["journal"]["frames"] > RATE, what="frames wait")
                asked = time.monotonic()
                os.kill(bridge.pid, signal.SIGTERM)
                if how == "two signals":
                    await until(lambda: not sim.connections, what="the first signal ends the reading")
                    asked = time.monotonic()
                    os.kill(bridge.pid, signal.SIGTERM)
                    assert await bridge.end() == 128 + signal.SIGTERM
                else:
                    assert await bridge.end() == 0
                ends[how].append(round(time.monotonic() - asked, 2))
                left = await asyncio.to_thread(journaled, bridge.journal_of(0), tmp_path / "copy")
                assert len(left) > RATE
                reached |= left
                await asyncio.to_thread(broker.resume if frozen else broker.start)
            await bridge.start()
            await bridge.ready()
            await bridge.caught_up()
            assert await bridge.stop() == 0
        outcome = Outcome(sim, broker.bootstrap, topic_prefix)
    print(f"ends within {ends} s; {outcome}")  # noqa: T201
    assert outcome.verdict(reached) == CLEAN
    assert outcome.unexplained == []
    assert max(ends["one signal"]) < timeout + BUSY
    assert max(ends["two signals"]) < 0.5 + BUSY


async def published(bootstrap: str, prefix: str) -> set[int]:
    """The numbers of all frames that are published."""
    return numbers(await asyncio.to_thread(read_topics, bootstrap, *data_topics(prefix)))
