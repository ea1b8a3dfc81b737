"""Two processes on one lane: whichever dies, the other goes on without a duplicate and without a gap."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bridge.presence import MARGIN
from bridge.sim import TickTockSim
from bridge.standby import MISSED
from tests.chaos.bridges import RATE, TAKEOVER_AFTER, Outcome, Pair, feed, settings
from tests.chaos.output import Output
from tests.chaos.stream import CLEAN, data_topics, header
from tests.gaps import gap_records
from tests.kafka.conftest import Kafka

#: What a busy machine may add to a stall (s) that the full form does not allow.
BUSY = 2.0


@pytest.mark.timeout(900)
async def test_the_standby_takes_over_when_the_active_is_killed(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """SIGKILL of the active 4 times (50 in full) under 500 frames/s: no duplicate, no missing frame, short stalls."""
    stalls = []
    async with (
        feed() as sim,
        Pair(settings(sim, kafka.bootstrap, topic_prefix), tmp_path) as pair,
    ):
        async with Output(kafka.bootstrap, data_topics(topic_prefix)) as output:
            for _ in range(50 if soak else 4):
                active, standby = await pair.roles()
                await asyncio.sleep(0.5)
                killed = time.monotonic()
                active.kill()
                await standby.role("active", seconds=30)
                await standby.caught_up()
                stalls.append(output.stall(killed))
                await active.start()
            active, standby = await pair.roles()
        assert await standby.stop() == 0
        assert await active.stop() == 0
    outcome = Outcome(sim, kafka.bootstrap, topic_prefix)
    print(f"stalls: longest {max(stalls):.2f} s of {sorted(round(stall, 2) for stall in stalls)}; {outcome}")  # noqa: T201
    assert outcome.verdict() == CLEAN
    assert len(outcome.received) > RATE * len(stalls)
    assert outcome.unexplained == []
    assert max(stalls) < TAKEOVER_AFTER + 1.5 + (0.0 if soak else BUSY)


@pytest.mark.timeout(900)
async def test_a_stopped_active_hands_over_at_once(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """SIGTERM resigns: the standby does not wait for silence, and nothing is missing or doubled."""
    stalls = []
    async with (
        feed() as sim,
        Pair(settings(sim, kafka.bootstrap, topic_prefix), tmp_path) as pair,
    ):
        async with Output(kafka.bootstrap, data_topics(topic_prefix)) as output:
            for _ in range(20 if soak else 3):
                active, standby = await pair.roles()
                await asyncio.sleep(0.5)
                asked = time.monotonic()
                assert await active.stop() == 0
                await standby.role("active", seconds=30)
                await standby.caught_up()
                stalls.append(output.stall(asked))
                await active.start()
            await pair.roles()
        for bridge in pair.bridges:
            bridge.kill()
    outcome = Outcome(sim, kafka.bootstrap, topic_prefix)
    print(f"hand-overs: longest {max(stalls):.2f} s of {sorted(round(stall, 2) for stall in stalls)}")  # noqa: T201
    assert outcome.verdict() == CLEAN
    assert max(stalls) < 1.0 + (0.0 if soak else BUSY)


@pytest.mark.timeout(900)
async def test_a_frozen_active_is_fenced_and_stands_by_when_it_wakes(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """SIGSTOP, takeover, SIGCONT: what the zombie still holds is never published twice, and it becomes the standby."""
    async with (
        feed() as sim,
        Pair(settings(sim, kafka.bootstrap, topic_prefix), tmp_path) as pair,
    ):
        for _ in range(10 if soak else 1):
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
    outcome = Outcome(sim, kafka.bootstrap, topic_prefix)
    assert outcome.verdict() == CLEAN
    assert outcome.unexplained == []


@pytest.mark.timeout(300)
async def test_what_the_active_missed_is_published_by_the_standby(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """The active's socket is cut for 0.3 s, too short for a takeover by silence: the frames that only the standby
    received are published once, as late ones, and the gap is closed; only states that a newer one has superseded are
    left out.
    """  # noqa: D205
    async with (
        feed() as sim,
        Pair(settings(sim, kafka.bootstrap, topic_prefix), tmp_path) as pair,
    ):
        active, standby = await pair.roles()
        # It proves that it missed nothing only where it was connected for longer than two clocks may differ.
        await asyncio.sleep(2 * MARGIN / 1000)
        # The first connection is that of the first process, which became active.
        sim.refuse(abort=True)
        await sim.drop(connection=min(each.number for each in sim.connections), abort=True)
        await asyncio.sleep(0.3)
        sim.accept()
        await standby.role("active", seconds=60)
        await active.role("standby", seconds=60)
        await pair.roles()
        await asyncio.sleep(1.0)
        for bridge in pair.bridges:
            assert await bridge.stop() == 0
    outcome = Outcome(sim, kafka.bootstrap, topic_prefix)
    late = {int(header(each, "seq")) for each in outcome.messages if header(each, "source") == b"standby"}
    print(f"{len(late)} late; {outcome}")  # noqa: T201
    assert late
    found = outcome.verdict()
    assert found.doubled == []
    assert {seq % 3 for seq in found.missing} <= {1}, "an event or a settlement is missing, not only states"
    assert set(found.disordered) <= late
    told = [gap for gap in gap_records(kafka.bootstrap, topic_prefix) if gap["cause"] == "disconnect"]
    assert len({gap["id"] for gap in told}) == 1, "one cut, one gap"
    first, *between, filled = told
    assert first["state"] == "open"
    assert {gap["state"] for gap in between} <= {"lost", "partly"}, "the active alone could not know better"
    assert (filled["state"], filled["how"]) == ("filled", "received by a standby")
    # What came to the standby after the cut, until it had the lane, is late too.
    assert 0 < filled["recovered"] <= len(late)
    assert filled["superseded"] == len(found.missing)
    assert filled["last_seq"] is not None


@pytest.mark.timeout(120)
async def test_a_standby_that_begins_leaves_the_lane_to_the_active(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """It is sent a snapshot, which the active never sees: nothing of it is missed."""
    async with (
        TickTockSim(seed=3, rate=100) as sim,
        Pair(settings(sim, kafka.bootstrap, topic_prefix), tmp_path) as pair,
    ):
        _, standby = await pair.roles()
        await asyncio.sleep(MISSED + 3.0)
        assert "lane_taken_over" not in standby.output()
        assert [(await pair.roles())[1], await standby.stop()] == [standby, 0]
