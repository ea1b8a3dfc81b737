"""Several lanes: in one process, spread over two, and with their number changed under load; on a real Kafka."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from bridge.catalog import Catalog
from bridge.journals import Journals
from bridge.ledger import PLAN, READY, Entry, EntryCodec
from bridge.sim import Scripted, Simulator, TickTockKnobs, play
from tests.audit import Audit, Schemas, collect
from tests.audit.frames import FAULTS, scripted
from tests.chaos.stream import Frames, Verdict, data_topics, judge, number, numbers
from tests.kafka.conftest import Kafka
from tests.running import BridgeHere, BridgeProcess, configuration, now, until
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(420)

RATE = 300.0
KNOBS = TickTockKnobs(alive_every=1.0)
#: Faults that make a frame differ from others of its key or number in what decides its lane: equal numbers on two entities,
#: and keys that only a look-up finds.
ACROSS = ("collision", "missing_field", "wrong_type")


def stream() -> Scripted:
    """Frames that are all different, of eight matches, to everyone who listens."""
    return Scripted("ticktock", Frames(200_000), rate=RATE, on_reconnect="continue", knobs=KNOBS)


def gateway_of(sim: Simulator) -> dict[str, Any]:
    """The settings of a gateway that listens to a simulator."""
    return {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}


def config_of(sim: Simulator, kafka: Kafka, prefix: str, **lanes: Any) -> dict[str, Any]:
    """A configuration with these lanes."""
    return configuration({"cs2": gateway_of(sim)}, kafka=kafka.bootstrap, prefix=prefix, lanes=lanes)


def verdict(kafka: Kafka, prefix: str) -> Verdict:
    """What the topics say, held against all numbers between the first and the last that were published."""
    published = read_topics(kafka.bootstrap, *data_topics(prefix))
    seen = numbers(published)
    return judge(published, range(min(seen), max(seen) + 1))


def entries(kafka: Kafka, prefix: str) -> dict[int, list[Entry]]:
    """Partition → the entries of the ledger."""
    codec = EntryCodec(Catalog.load().own("ledger"))
    found: dict[int, list[Entry]] = {}
    for message in read_topics(kafka.bootstrap, f"{prefix}feedbridge.main.ledger"):
        found.setdefault(message.partition() or 0, []).append(codec.decode(message.value() or b""))
    return found


@pytest.mark.parametrize("count", [2, 4])
async def test_the_lanes_of_one_process_publish_as_one_would(
    kafka: Kafka,
    topic_prefix: str,
    tmp_path: Path,
    java_partitions: Callable[[Sequence[bytes], int], list[int]],
    count: int,
) -> None:
    """Every record, key, header, partition and order is right, and every lane has its share of the frames."""
    began = now()
    faults: Mapping[str, float] = {name: share for name, share in FAULTS.items() if name not in ACROSS}
    sent = list(islice(play("ticktock", seed=5, faults=dict(faults), start=began - 60_000, rate=1000.0), 1500))
    script = scripted("ticktock", sent)
    async with script as sim:
        config = configuration(
            {"cs2": gateway_of(sim) | {"silence": "600s"}},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            lanes={"count": count},
        )
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await script.script.finished(seconds=90)
            await bridge.received(sim.sent.total, gateway="cs2")
            await bridge.drained()
            await bridge.roles(*["active"] * count)
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    audit = Audit(
        gateway="cs2",
        kind="ticktock",
        prefix=topic_prefix,
        sent=list(sim.sent),
        schemas={"type": Schemas.shipped()},
        partitions=lambda keys: java_partitions(keys, 6),
        began=began,
        ended=now(),
    )
    assert audit.faults([one for one in published if not one.topic.endswith(".ledger")]) == []
    shares = {lane: sum(len(entry.codes) for entry in part) for lane, part in entries(kafka, topic_prefix).items()}
    assert sorted(shares) == list(range(count))
    assert min(shares.values()) > 0, shares


async def test_two_processes_share_the_lanes_and_cover_each_other(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Each is active in its own lane and stands by in the other; one dies, the other has both."""
    async with stream() as sim, AsyncExitStack() as stack:
        bridges = []
        for own in (0, 1):
            config = config_of(sim, kafka, topic_prefix, count=2, own=[own], cover="all")
            bridges.append(await stack.enter_async_context(BridgeProcess(config, tmp_path / f"owner-{own}")))
        one, other = bridges
        await asyncio.gather(
            one.until(lambda status: status["reason"] == "active in lane 0, standby in lane 1", what="own and covered"),
            other.until(
                lambda status: status["reason"] == "active in lane 1, standby in lane 0", what="own and covered"
            ),
        )
        both = max(seq for sent in sim.sent if (seq := number(sent.raw)) is not None)
        other.kill()
        await one.roles("active", "active")
        await other.start()
        await other.roles("standby", "standby")
        await other.ready()
        assert await one.stop() == 0
        await other.roles("active", "active")
        assert await other.stop() == 0
    found = verdict(kafka, topic_prefix)
    # Before, one received frames of a lane that had no owner yet: it publishes them late.
    assert found.doubled == []
    assert [seq for seq in (*found.missing, *found.disordered) if seq > both] == []


async def test_the_number_of_lanes_changes_under_load(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """From 1 to 2 to 4 to 1, one process restarted after the other: nothing twice, nothing missing, each key in order."""
    async with stream() as sim, AsyncExitStack() as stack:
        config = config_of(sim, kafka, topic_prefix, count=1)
        one, other = [BridgeProcess(config, tmp_path / name) for name in "ab"]
        await stack.enter_async_context(one)
        await one.role("active")
        await stack.enter_async_context(other)
        await other.role("standby")
        for count in (2, 4, 1) * (4 if soak else 1):
            for bridge, role in ((one, "active"), (other, "standby")):
                assert await bridge.stop() == 0
                if bridge is one:
                    await other.role("active")
                bridge.config["lanes"] = {"count": count}
                await bridge.start()
                await bridge.roles(*[role] * count)
                if bridge is one:
                    # Who has the older plan does not publish, and says why.
                    said = f"a plan of {count} lanes"
                    await other.until(partial(refuses, said), what="outdated")
        await one.drained()
        assert await other.stop() == 0
        assert await one.stop() == 0
    assert verdict(kafka, topic_prefix) == ([], [], [])
    plans = [entry for entry in entries(kafka, topic_prefix)[0] if entry.kind in {PLAN, READY}]
    assert Counter(entry.kind for entry in plans) == Counter({PLAN: 4, READY: 4} if not soak else {PLAN: 13, READY: 13})


async def test_who_has_an_older_plan_and_was_frozen_publishes_nothing_when_it_wakes(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """SIGSTOP of the only active, a new plan by another process, SIGCONT: nothing is published twice.

    What only the frozen one had received is published when it is started with the new plan: late, and but for states that
    newer ones have superseded.
    """
    async with stream() as sim, AsyncExitStack() as stack:
        frozen = await stack.enter_async_context(
            BridgeProcess(config_of(sim, kafka, topic_prefix, count=1), tmp_path / "frozen")
        )
        await frozen.role("active")
        await frozen.ready()
        await until(lambda: _some(kafka, topic_prefix), what="records")
        frozen.pause()
        config = config_of(sim, kafka, topic_prefix, count=2)
        fresh = await stack.enter_async_context(BridgeProcess(config, tmp_path / "fresh"))
        await fresh.roles("active", "active")
        await fresh.ready()
        frozen.resume()
        await frozen.until(lambda status: "a plan of 2 lanes" in str(status["lanes"][0]["trouble"]), what="outdated")
        assert (await frozen.get("/readyz"))[0] == 503
        assert [each["role"] for each in (await fresh.status())["lanes"]] == ["active", "active"]
        assert await frozen.stop() == 0
        assert verdict(kafka, topic_prefix).doubled == []
        frozen.config["lanes"] = {"count": 2}
        await frozen.start()

        def nothing_missing() -> bool:
            return all(seq % 3 == 1 for seq in verdict(kafka, topic_prefix).missing)

        await until(lambda: asyncio.to_thread(nothing_missing), what="what only one had received")
        assert await fresh.stop() == 0
        assert await frozen.stop() == 0
    found = verdict(kafka, topic_prefix)
    assert found.doubled == []
    assert all(seq % 3 == 1 for seq in found.missing)


async def test_what_waits_in_the_journal_is_moved_to_the_new_lanes(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """SIGKILL and start with another number of lanes, again and again: what was in the journal is published, once."""
    reached: set[int] = set()
    async with stream() as sim:
        bridge = BridgeProcess(config_of(sim, kafka, topic_prefix, count=1), tmp_path / "bridge")
        async with bridge:
            for count in (3, 2, 1):
                await bridge.role("active")
                await until(lambda: _some(kafka, topic_prefix), what="records")
                bridge.kill()
                reached |= journaled(bridge, tmp_path / "copy")
                bridge.config["lanes"] = {"count": count}
                await bridge.start()
                await bridge.roles(*["active"] * count)
            await bridge.drained()
            assert await bridge.stop() == 0
        assert [folder.name for folder in sorted(bridge.journal.glob("lane-*"))] == ["lane-0-of-1"]
    found = verdict(kafka, topic_prefix)
    assert found.doubled == []
    assert found.disordered == []
    assert reached, "no frame was in a journal"
    assert reached & set(found.missing) == set()


def journaled(bridge: BridgeProcess, scratch: Path) -> set[int]:
    """The frames whose append had returned when the process died: what a copy of its journals holds."""
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(bridge.journal, scratch)
    count = bridge.config["lanes"]["count"]
    journals = Journals.open(scratch, count=count, lanes=range(count), max_bytes=1 << 30)
    found: set[int] = set()
    for lane in journals:
        journal = journals[lane]
        position = journal.first
        while position < journal.end:
            position, part = journal.read(position, max_frames=10_000, max_bytes=1 << 30)
            found |= {seq for frame in part if (seq := number(frame.raw)) is not None}
            position += len(part)
    journals.close()
    return found


def refuses(said: str, status: dict[str, Any]) -> bool:
    """Whether a process is not ready because of that."""
    return not status["ready"] and said in status["reason"]


async def _some(kafka: Kafka, prefix: str) -> bool:
    """Whether something is published."""
    return bool(await asyncio.to_thread(read_topics, kafka.bootstrap, f"{prefix}cs2.event.kill"))
