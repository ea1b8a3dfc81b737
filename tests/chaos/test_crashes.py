"""Killed at any moment, a bridge publishes every frame that reached it, once and in order."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from random import Random

import psutil
import pytest

from bridge.frame import STREAM
from bridge.journal import Journal
from bridge.sim import Scripted, Simulator, TickTockKnobs
from tests.chaos.stream import frames, judge, number, numbers
from tests.kafka.conftest import Kafka
from tests.running import BridgeProcess, configuration
from tests.servers.kafka import KafkaCluster
from tests.servers.reading import read_topics

RATE = 500.0
KNOBS = TickTockKnobs(alive_every=1.0)
TYPES = ("event.kill", "market.updated", "bet-settlement")


def bridge(sim: Simulator, bootstrap: str, prefix: str, folder: Path) -> BridgeProcess:
    """A bridge with one TickTock gateway."""
    gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
    return BridgeProcess(configuration({"cs2": gateway}, kafka=bootstrap, prefix=prefix), folder)


def data_topics(prefix: str) -> list[str]:
    """The topics of `frames`."""
    return [f"{prefix}cs2.{name}" for name in TYPES]


def journaled(folder: Path, scratch: Path) -> set[int]:
    """The frames whose append had returned when the process died: what a copy of its journal holds."""
    shutil.rmtree(scratch, ignore_errors=True)
    if not folder.exists():
        return set()
    shutil.copytree(folder, scratch)
    journal = Journal.open(scratch, max_bytes=1 << 30)
    found: set[int] = set()
    position = journal.first
    while position < journal.end:
        position, part = journal.read(position, max_frames=10_000, max_bytes=1 << 30)
        position += len(part)
        found |= {seq for frame in part if frame.source == STREAM and (seq := number(frame.raw)) is not None}
    journal.close()
    return found


@pytest.mark.timeout(1200)
async def test_killed_again_and_again_under_load(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """SIGKILL twenty times (100 in full) under 500 frames/s: nothing twice, nothing lost that was in the journal, in order.

    What was sent while it was down lies in a gap record of its own for each kill.
    """
    kills = 100 if soak else 20
    rng = Random(20)
    reached: set[int] = set()
    async with (
        Scripted("ticktock", frames(200_000), rate=RATE, on_reconnect="continue", knobs=KNOBS) as sim,
        bridge(sim, kafka.bootstrap, topic_prefix, tmp_path / "bridge") as running,
    ):
        for _ in range(kills):
            await running.received(1, gateway="cs2")
            # From the first frames, still recovering, to well after: every stage is hit.
            await asyncio.sleep(rng.uniform(0.0, 1.5))
            running.kill()
            reached |= journaled(running.journal_of(0), tmp_path / "copy")
            await running.start()
        await running.ready()
        assert await running.stop() == 0
        reached |= journaled(running.journal_of(0), tmp_path / "copy")
    verdict = judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), reached)
    assert verdict == ([], [], [])
    assert len(reached) > kills * RATE / 8
    gaps = read_topics(kafka.bootstrap, f"{topic_prefix}feedbridge.main.gaps")
    assert len({message.key() for message in gaps}) >= kills


@pytest.mark.timeout(600)
async def test_kafka_away_under_load(broker: KafkaCluster, topic_prefix: str, tmp_path: Path, *, soak: bool) -> None:
    """Kafka stopped for 30 s (10 in short) under load and started again: nothing lost or doubled, memory flat."""
    away = 30.0 if soak else 10.0
    async with Scripted("ticktock", frames(200_000), rate=RATE, knobs=KNOBS) as sim:
        async with bridge(sim, broker.bootstrap, topic_prefix, tmp_path / "bridge") as running:
            await running.ready()
            await running.received(round(RATE * 2), gateway="cs2")

            def memory() -> int:
                return int(psutil.Process(running.pid).memory_info().rss) >> 20

            before = memory()
            await asyncio.to_thread(broker.stop)
            await asyncio.sleep(away)
            status = await running.until(lambda status: not status["ready"], what="not ready without Kafka")
            assert status["journal"]["frames"] > RATE * away / 2
            during = memory()
            await asyncio.to_thread(broker.start)
            await running.until(
                lambda status: bool(status["ready"]) and status["lanes"][0]["behind"] < RATE, what="caught up"
            )
            after = memory()
            assert await running.stop() == 0
        sent = {seq for each in sim.sent if (seq := number(each.raw)) is not None}
    published = read_topics(broker.bootstrap, *data_topics(topic_prefix))
    assert judge(published, range(1, round(RATE * away))) == ([], [], [])
    assert numbers(published) <= sent
    assert max(during, after) - before < 40, f"MiB before {before}, while Kafka was away {during}, after {after}"


@pytest.mark.timeout(300)
async def test_journal_at_its_limit(broker: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    """Kafka away for longer than the journal has room: the socket is no longer read, memory stays flat, and when Kafka
    is back all is published, once and in order.
    """  # noqa: D205
    limit = 1 << 20
    async with Scripted("ticktock", frames(20_000), rate=2000, knobs=KNOBS) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration(
            {"cs2": gateway}, kafka=broker.bootstrap, prefix=topic_prefix, journal={"max_bytes": limit}
        )
        async with BridgeProcess(config, tmp_path / "bridge") as running:
            await running.ready()
            await asyncio.to_thread(broker.stop)
            before = psutil.Process(running.pid).memory_info().rss
            full = await running.until(lambda status: bool(status["journal"]["full"]), what="journal full")
            assert full["journal"]["bytes"] < limit * 1.3
            await running.until(
                lambda status: "journal is full" in str(status["gateways"][0]),
                what="the socket is not read, and says so",
            )
            size = full["journal"]["bytes"]
            await asyncio.sleep(3)  # meanwhile the gateway goes on sending
            assert (await running.status())["journal"]["bytes"] <= size + (64 << 10)
            assert psutil.Process(running.pid).memory_info().rss - before < 40 << 20
            await asyncio.to_thread(broker.start)
            await running.until(lambda status: status["gateways"][0]["published"] >= 20_000, what="all published")
            assert await running.stop() == 0
    assert judge(read_topics(broker.bootstrap, *data_topics(topic_prefix)), range(1, 20_001)) == ([], [], [])
