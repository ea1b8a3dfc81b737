"""The whole way of a frame: simulated gateways, the bridge as a process, a real Kafka, a real schema registry.

What is published is judged by `tests.audit`, with nothing of the bridge's own code; that the audit finds each fault is
shown in ``tests/unit/test_audit.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.sim import PredictStreetSim, TickTockSim
from tests.audit import Audit, Schemas, collect, ledger_faults, stray_faults
from tests.audit.frames import frames, scripted
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, now, predictstreet, ticktock, until
from tests.servers.kafka import KafkaCluster

pytestmark = pytest.mark.timeout(900)

Partitions = Callable[[Sequence[bytes], int], list[int]]
PARTITIONS = 6


async def test_every_frame_becomes_its_record_once_and_nothing_else_does(
    kafka: Kafka, registry: Registry, topic_prefix: str, java_partitions: Partitions, tmp_path: Path, *, soak: bool
) -> None:
    """Both gateways at once, with all faults: exactly the expected records, each right in every respect."""
    given = {"bootstrap.servers": kafka.bootstrap}
    count = 60_000 if soak else 20_000
    await accepted(
        given,
        reading=kafka,
        registry=registry,
        topic_prefix=topic_prefix,
        java_partitions=java_partitions,
        folder=tmp_path,
        count=count,
    )


async def accepted(
    given: Mapping[str, Any],
    *,
    reading: Kafka | KafkaCluster,
    registry: Registry,
    topic_prefix: str,
    java_partitions: Partitions,
    folder: Path,
    count: int,
) -> None:
    """Run a bridge, and judge what it has published. given: its `kafka`. reading: where. count: frames of each gateway."""
    began = now()
    cs2 = scripted("ticktock", frames("ticktock", count, seed=11, now=began))
    markets = scripted("predictstreet", frames("predictstreet", count, seed=12, now=began))
    async with cs2 as ticktock_sim, markets as predictstreet_sim:
        assert isinstance(ticktock_sim, TickTockSim)
        assert isinstance(predictstreet_sim, PredictStreetSim)
        config = configuration(
            {"cs2": ticktock(ticktock_sim, silence="600s"), "markets": predictstreet(predictstreet_sim)},
            kafka=reading.bootstrap,
            prefix=topic_prefix,
            registry=registry.url,
        )
        config["kafka"] = dict(given)
        async with BridgeProcess(config, folder / "bridge") as bridge:
            for name, script, sim in (("cs2", cs2, ticktock_sim), ("markets", markets, predictstreet_sim)):
                await script.script.finished(seconds=300)
                await bridge.received(sim.sent.total, gateway=name, seconds=300)
            await bridge.drained(seconds=300)
            assert await bridge.stop() == 0, bridge.last_words()
        sent = {"cs2": list(ticktock_sim.sent), "markets": list(predictstreet_sim.sent)}
    ended = now()
    published = await asyncio.to_thread(collect, reading.bootstrap, topic_prefix)
    schemas = Schemas.registry(registry.url)
    audits = [
        Audit(
            gateway=name,
            kind=kind,
            prefix=topic_prefix,
            sent=sent[name],
            schemas={"type": schemas},
            partitions=lambda keys: java_partitions(keys, PARTITIONS),
            began=began,
            ended=ended,
        )
        for name, kind in (("cs2", "ticktock"), ("markets", "predictstreet"))
    ]
    for audit in audits:
        faults = audit.faults(published)
        assert not faults, f"{len(faults)} faults of {audit.gateway}, the first: {faults[:10]}"
        assert len(audit.wanted) > 0.85 * count
    ledger, gaps = (f"{topic_prefix}feedbridge.main.{each}" for each in ("ledger", "gaps"))
    assert stray_faults(audits, (ledger, gaps), published) == []
    assert ledger_faults(ledger, published, disposed=sum(len(audit.wanted) for audit in audits)) == []
    ends = [schemas.decode(gaps, one.value)[1] for one in published if one.topic == gaps]
    assert Counter((each["gateway"], each["cause"]) for each in ends) == {
        ("cs2", "stopped"): 1,
        ("markets", "stopped"): 1,
    }


async def test_cut_lines_neither_repeat_nor_lose_nor_reorder(
    kafka: Kafka, registry: Registry, topic_prefix: str, java_partitions: Partitions, tmp_path: Path, *, soak: bool
) -> None:
    """The gateway's line is cut again and again; what it then repeats is known, and each cut is a recorded gap."""
    cuts = 20 if soak else 3
    began = now()
    # What is lost with a line is among what is repeated: a second's worth, more than the reader is ever behind.
    overlap = 1500
    count = 2 * overlap + 300 * cuts
    cs2 = scripted("ticktock", frames("ticktock", count, seed=13, now=began), rate=1500.0, overlap=overlap)
    async with cs2 as sim:
        assert isinstance(sim, TickTockSim)
        config = configuration(
            {"cs2": ticktock(sim, silence="600s")}, kafka=kafka.bootstrap, prefix=topic_prefix, registry=registry.url
        )
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            for cut in range(1, cuts + 1):
                await _written(sim, sim.sent.total + overlap + 300)
                assert await sim.drop(abort=cut % 2 == 0) == 1
                await _accepted(sim, cut + 1)
            await cs2.script.finished(seconds=300)
            # The last frame of all is known when it is seen.
            sim.send(b"the end", fault="malformed:text")
            await until(lambda: _is_there(kafka, f"{topic_prefix}cs2.dead-letters", b"the end"), what="the last frame")
            await bridge.drained(seconds=300)
            assert await bridge.stop() == 0, bridge.last_words()
        sent = list(sim.sent)
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    schemas = Schemas.registry(registry.url)
    audit = Audit(
        gateway="cs2",
        kind="ticktock",
        prefix=topic_prefix,
        sent=sent,
        schemas={"type": schemas},
        partitions=lambda keys: java_partitions(keys, PARTITIONS),
        began=began,
        ended=now(),
    )
    faults = audit.faults(published)
    assert not faults, f"{len(faults)} faults, the first: {faults[:10]}"
    gaps = f"{topic_prefix}feedbridge.main.gaps"
    found = [schemas.decode(gaps, one.value)[1] for one in published if one.topic == gaps]
    causes = Counter((each["cause"], each["to"] is None) for each in found)
    assert causes == {("disconnect", True): cuts, ("disconnect", False): cuts, ("stopped", True): 1}


async def _written(sim: TickTockSim, count: int) -> None:
    await sim.wait(lambda _: sim.sent.total >= count, seconds=90)


async def _accepted(sim: TickTockSim, count: int) -> None:
    await sim.wait(lambda _: sim.accepted >= count, seconds=90)


async def _is_there(kafka: Kafka, topic: str, value: bytes) -> bool:
    found = await asyncio.to_thread(collect, kafka.bootstrap, topic)
    return any(one.value == value for one in found)
