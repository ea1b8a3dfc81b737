"""Bad lines between bridge and Kafka, and between bridge and gateway: cut, closed, slow, narrow, answers lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.chaos.bridges import RATE, Outcome, feed, memory, settings
from tests.chaos.proxy import Proxy
from tests.chaos.stream import CLEAN
from tests.running import BridgeProcess, until
from tests.servers.kafka import KafkaCluster

#: Requests of Kafka's protocol (https://kafka.apache.org/protocol#protocol_api_keys) that a transaction is made of.
REQUESTS: Final = {"Produce": 0, "AddPartitionsToTxn": 24, "EndTxn": 26}


def requests(data: bytes) -> Iterator[int]:
    """The API keys of the requests in bytes that begin with one: size (4 bytes), API key (2), and the rest."""
    while len(data) >= 6:
        yield int.from_bytes(data[4:6], "big")
        data = data[4 + int.from_bytes(data[:4], "big") :]


def asks(name: str) -> Callable[[bytes], bool]:
    """Whether bytes of a client hold such a request."""
    return lambda data: REQUESTS[name] in requests(data)


async def flows(bridge: BridgeProcess, *, beyond: int = 0) -> int:
    """Return when the bridge has caught up and published more than `beyond` records; returns how many it has."""
    status = await bridge.until(
        lambda status: (
            bool(status["ready"])
            and status["lanes"][0]["behind"] < RATE / 2
            and int(status["gateways"][0]["published"]) > beyond
        ),
        what=f"more than {beyond} published, and caught up",
    )
    return int(status["gateways"][0]["published"])


class Trouble:
    """What may be done to a line; each ends with a good line again. pause: how long some take, s."""

    def __init__(self, line: Proxy, bridge: BridgeProcess, *, pause: float) -> None:
        """The line is good, and of this bridge."""
        self.line = line
        self._bridge = bridge
        self._pause = pause

    async def cut(self) -> None:
        """Cut all connections."""
        assert self.line.cut()

    async def closed(self) -> None:
        """Cut, and refuse for a while."""
        self.line.refusing = True
        self.line.cut()
        await asyncio.sleep(self._pause)
        self.line.refusing = False

    async def stalled(self) -> None:
        """Nothing passes for a while, then all of it."""
        self.line.stall()
        await asyncio.sleep(self._pause)
        self.line.flow()

    async def silent(self) -> None:
        """Nothing passes until the gateway is given up and called anew."""
        accepted = self.line.accepted
        self.line.stall()
        await self._bridge.until(lambda status: not status["gateways"][0]["connected"], what="silence is noticed")
        self.line.flow()
        await until(lambda: self.line.accepted > accepted, what="another connection")

    async def slow(self) -> None:
        """A tenth of a second each way; the bridge must keep up."""
        self.line.latency = 0.1
        await asyncio.sleep(self._pause)
        await self._bridge.until(lambda status: status["lanes"][0]["behind"] < RATE * 2, what="keeps up, more slowly")
        self.line.latency = 0.0

    async def narrow(self) -> None:
        """Less passes for a while than comes."""
        self.line.rate = 60_000
        await asyncio.sleep(self._pause)
        self.line.rate = None

    async def unheard(self, name: str, pause: float) -> None:
        """A request is executed, its answer is lost, and the line is cut some time (s) later."""
        had = self.line.lost
        self.line.lose_answer(asks(name))
        await until(lambda: self.line.lost > had, what=f"an answer to {name} is lost")
        await asyncio.sleep(pause)
        self.line.cut()

    async def all(self, troubles: Sequence[Callable[[], Awaitable[None]]], *, rounds: int, rng: Random) -> None:
        """Each trouble once a round, in any order; frames must flow before each and after the last."""
        published = 0
        for _ in range(rounds):
            for trouble in rng.sample(troubles, len(troubles)):
                published = await flows(self._bridge, beyond=published)
                await trouble()
        await flows(self._bridge, beyond=published)


@pytest.mark.timeout(1800)
async def test_a_bad_line_to_kafka(detoured: KafkaCluster, topic_prefix: str, tmp_path: Path, *, soak: bool) -> None:
    """Cut, closed, stalled, slow and narrow, and transactions that are executed while their answers are lost: nothing
    lost or doubled, order kept, no gap, and the bridge is the same process all the time.
    """  # noqa: D205
    rounds, pause = (25, 5.0) if soak else (1, 1.0)
    rng = Random(5)
    detour = detoured.detour()
    async with feed() as sim, Proxy(detour.inner, listen=detour.outer) as line:
        config = settings(sim, detour.bootstrap, topic_prefix, topics={"partitions": 2})
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            pid, before = bridge.pid, memory(bridge)
            trouble = Trouble(line, bridge, pause=pause)
            unheard = [partial(trouble.unheard, name, rng.uniform(0.0, 0.3)) for name in REQUESTS for _ in range(2)]
            await trouble.all(
                [trouble.cut, trouble.closed, trouble.stalled, trouble.slow, trouble.narrow, *unheard],
                rounds=rounds,
                rng=rng,
            )
            after = memory(bridge)
            assert bridge.pid == pid
            assert await bridge.stop() == 0
    outcome = Outcome(sim, detoured.bootstrap, topic_prefix)
    print(f"{line.cuts} cuts, {line.lost} answers lost; MiB before {before}, after {after}; {outcome}")  # noqa: T201
    assert line.lost >= 6 * rounds
    assert outcome.verdict() == CLEAN
    assert min(outcome.received) == 1
    assert [gap.cause for gap in outcome.gaps] == ["stopped"]
    assert outcome.unexplained == []
    assert after - before < 60


@pytest.mark.timeout(1800)
async def test_a_bad_line_to_the_gateway(
    detoured: KafkaCluster, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """Cut, closed, stalled for longer than silence is borne, slow and narrow: what arrived is published once and in
    order, and what is missing lies within gaps.
    """  # noqa: D205
    rounds = 20 if soak else 2
    async with feed() as sim, Proxy(sim.port) as line:
        config = settings(sim, detoured.bootstrap, topic_prefix, url=f"ws://127.0.0.1:{line.port}")
        config["gateways"]["cs2"]["silence"] = "2s"
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            pid = bridge.pid
            trouble = Trouble(line, bridge, pause=1.0)
            await trouble.all(
                [trouble.cut, trouble.closed, trouble.silent, trouble.slow, trouble.narrow],
                rounds=rounds,
                rng=Random(6),
            )
            assert bridge.pid == pid
            assert await bridge.stop() == 0
    # What a narrow line holds back may be cut off before it arrives.
    outcome = Outcome(sim, detoured.bootstrap, topic_prefix, transit=2000)
    print(f"{line.cuts} cuts; {outcome}")  # noqa: T201
    verdict = outcome.verdict()
    assert verdict._replace(missing=[]) == CLEAN
    assert verdict.missing, "nothing was missed: the gaps are not put to the test"
    assert outcome.unexplained == []
    assert {gap.cause for gap in outcome.gaps} == {"disconnect", "silence", "stopped"}
