"""Two processes, and a gateway that does all that it should not: drops, silence, repetitions, rubbish, revoked keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import msgspec
import pytest

from bridge.pipeline import LAG
from bridge.sim import TICKTOCK_SCOPES, Key, Sent, TickTockKnobs, TickTockSim
from tests.audit import Audit, Fault, Published, Schemas, collect, stray_faults
from tests.audit.audit import Wanted
from tests.audit.exact import Schema
from tests.audit.frames import FAULTS
from tests.chaos.bridges import RATE, Pair
from tests.chaos.gaps import TRANSIT, Gap, read_gaps
from tests.kafka.conftest import Kafka
from tests.running import BridgeProcess, configuration, now, ticktock

#: Types of which only the newest frame of an entity matters: an older one may be superseded, so is not published late.
STATES: Final = re.compile(r"match\.|market\.|scoreboard\.")
KEYS: Final = ("key-of-a", "key-of-b")


class Unguessed(Audit):
    """An audit that takes no record for a frame that it is only like: where states may be missing it would guess wrong."""

    @staticmethod
    def _alike(schema: Schema, tree: dict[str, Any], left: Sequence[Wanted]) -> None:
        """None of them."""
        del schema, tree, left


class Known(NamedTuple):
    """What excuses a fault.

    received: record → when its frame was, ms. written: see `writings`. late: records of what only the standby had.
    """

    sent: Sequence[Sent]
    received: dict[str, int]
    written: dict[str, list[int]]
    late: set[str]
    gaps: Sequence[Gap]


class Feed:
    """What may be done to the connections of two processes; each is known by its key."""

    def __init__(self, sim: TickTockSim, pair: Pair) -> None:
        """Both are connected."""
        self._sim = sim
        self._pair = pair

    async def both(self) -> tuple[BridgeProcess, BridgeProcess]:
        """(active, standby), once all is well."""
        await self._sim.wait(lambda sim: len({each.key.token for each in sim.connections}) == 2, seconds=90)
        return await self._pair.roles()

    def key(self, bridge: BridgeProcess) -> str:
        """The key that a process uses."""
        return KEYS[self._pair.bridges.index(bridge)]

    def number(self, bridge: BridgeProcess) -> int:
        """The number of its connection."""
        return next(each.number for each in self._sim.connections if each.key.token == self.key(bridge))

    async def standby_is_cut(self) -> None:
        """What the standby misses, the active publishes."""
        _, standby = await self.both()
        await self._sim.drop(connection=self.number(standby), abort=True)

    async def standby_hears_nothing(self) -> None:
        """Its connection stays open, and is given up."""
        _, standby = await self.both()
        await self.unheard(standby)

    async def active_is_dropped(self) -> None:
        """What it misses, the standby has."""
        active, _ = await self.both()
        await self._sim.drop(connection=self.number(active))

    async def active_hears_nothing(self) -> None:
        """The other one takes over."""
        active, _ = await self.both()
        await self.unheard(active)

    async def all_are_dropped(self) -> None:
        """And refused for a while; what is sent meanwhile nobody gets."""
        await self.both()
        self._sim.refuse(status=503)
        await self._sim.drop(code=1012)
        await asyncio.sleep(0.5)
        self._sim.accept()

    async def numbers_begin_anew(self) -> None:
        """As after a restart of the gateway: a collision for each number that was used."""
        await self.both()
        self._sim.reset_seq()

    async def all_is_late(self) -> None:
        """By 0.2 s."""
        await self.both()
        self._sim.set_delay(0.2)
        await asyncio.sleep(1.0)
        self._sim.set_delay(0.0)

    async def standby_is_revoked(self) -> None:
        """It ends; with a good key it comes back."""
        _, standby = await self.both()
        await self.revoked(standby)

    async def active_is_revoked(self) -> None:
        """It ends, and the standby takes over."""
        active, _ = await self.both()
        await self.revoked(active)

    async def unheard(self, bridge: BridgeProcess) -> None:
        """Its connection says nothing, until it has another."""
        number = self.number(bridge)
        self._sim.silence(connection=number)
        await self._sim.wait(lambda sim: number not in {each.number for each in sim.connections}, seconds=90)

    async def revoked(self, bridge: BridgeProcess) -> None:
        """A process without a good key has nothing left to do."""
        assert await self._sim.revoke(self.key(bridge)) == 1
        assert await bridge.end() == 77
        self._sim.restore(self.key(bridge))
        await bridge.start()

    def troubles(self) -> list[Callable[[], Awaitable[None]]]:
        """All of it."""
        return [
            self.standby_is_cut, self.standby_hears_nothing, self.active_is_dropped, self.active_hears_nothing,
            self.all_are_dropped, self.numbers_begin_anew, self.all_is_late, self.standby_is_revoked,
            self.active_is_revoked,
        ]  # fmt: skip


@pytest.mark.timeout(3600)
async def test_faults_of_the_gateway_under_load(
    kafka: Kafka,
    topic_prefix: str,
    java_partitions: Callable[[Sequence[bytes], int], list[int]],
    tmp_path: Path,
    *,
    soak: bool,
) -> None:
    """All faults by rate, and all that a gateway may do to its connections: each frame that either process received is
    published once and right in every respect, in order but for what only the standby had, and only in a gap may a state
    be left out that a newer one has superseded.
    """  # noqa: D205
    rounds = 8 if soak else 1
    rng = Random(7)
    began = now()
    keys = [Key(token=token, scopes=TICKTOCK_SCOPES) for token in KEYS]
    knobs = TickTockKnobs(alive_every=1.0, snapshot=False)
    async with TickTockSim(seed=7, rate=RATE, faults=FAULTS, keys=keys, knobs=knobs, keep=None, wait_for=1) as sim:
        first, second = (config(sim, kafka.bootstrap, topic_prefix, key) for key in KEYS)
        async with Pair(first, tmp_path, second=second) as pair:
            feed = Feed(sim, pair)
            for _ in range(rounds):
                troubles = feed.troubles()
                for trouble in rng.sample(troubles, len(troubles)):
                    await trouble()
            active, standby = await feed.both()
            sim.pause()
            await active.drained()
            assert await active.stop() == 0
            # What the active missed at last, the standby publishes now.
            await standby.role("active")
            await standby.drained()
            assert await standby.stop() == 0
        sent = list(sim.sent)
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    late = {place(one) for one in published if dict(one.headers).get("source") == b"standby"}
    audit = Unguessed(
        gateway="cs2",
        kind="ticktock",
        prefix=topic_prefix,
        sent=sent,
        schemas={"type": Schemas.shipped()},
        partitions=lambda keys: java_partitions(keys, 2),
        began=began,
        ended=now(),
    )
    found = audit.faults([as_live(one) for one in published])
    gaps = read_gaps(kafka.bootstrap, topic_prefix)
    mine = [one for one in published if audit.owns(one.topic)]
    received = {place(one): int(dict(one.headers)["received"] or 0) for one in mine}
    known = Known(sent, received, writings(sent, mine), late, gaps)
    faults = [fault for fault in found if not excused(fault, known)]
    print(  # noqa: T201
        f"{len(audit.wanted)} records wanted, {len(late)} came late, {len(gaps)} gaps; "
        f"excused: {len(found) - len(faults)}, of these states superseded: {sum(each.what == 'missing' for each in found)}; "
        f"states that came late, after a newer one: {outdated(published, late)}"
    )
    assert not faults, "\n".join(
        [f"{len(faults)} faults, the first:", *(told(each, published) for each in faults[:10]), *map(str, gaps)]
    )
    own = [f"{topic_prefix}feedbridge.main.{each}" for each in ("ledger", "gaps")]
    assert stray_faults([audit], own, published) == []
    assert len(received) > RATE * 10


def config(sim: TickTockSim, bootstrap: str, prefix: str, key: str) -> dict[str, Any]:
    """Of a process with that key."""
    gateway = ticktock(sim, api_key=key, silence="3s")
    return configuration({"cs2": gateway}, kafka=bootstrap, prefix=prefix, topics={"partitions": 2})


def as_live(one: Published) -> Published:
    """The record as it would be, had the active received its frame."""
    headers = tuple(
        (name, b"stream" if (name, value) == ("source", b"standby") else value) for name, value in one.headers
    )
    return one._replace(headers=headers)


def place(one: Published) -> str:
    """As the audit names a record."""
    return f"{one.topic}/{one.partition}@{one.offset}"


def told(fault: Fault, published: Sequence[Published]) -> str:
    """The fault with the headers of the records that it names."""
    named = [one for one in published if place(one) in (fault.where, fault.detail.rpartition(" ")[2])]
    return "\n  ".join(
        [str(fault), *(f"{place(one)} {one.key!r} {one.timestamp} {dict(one.headers)}" for one in named)]
    )


def writings(sent: Sequence[Sent], published: Sequence[Published]) -> dict[str, list[int]]:
    """Record → when (ms) frames of its type and number were written; none where they could not be read."""
    times: dict[tuple[bytes, bytes], list[int]] = {}
    for one in sent:
        try:
            frame = msgspec.json.decode(one.raw)
            name = frame["type"].encode(), str(frame["meta"]["seq"]).encode()
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
            continue
        times.setdefault(name, []).append(one.at)
    headers = ((place(one), dict(one.headers)) for one in published)
    return {where: times.get((found.get("type") or b"", found.get("seq") or b""), []) for where, found in headers}


def outdated(published: Sequence[Published], late: set[str]) -> int:
    """How many states were published late, after a newer one of their entity in the same topic.

    Not judged yet: a standby that was away does not know that the ledger shows a newer state than its journal holds.
    """
    newest: dict[tuple[str, str], str] = {}
    found = 0
    for one in published:
        if STATES.search(one.topic):
            _, record = Schemas.shipped().decode(one.topic, one.value)
            entity = (one.topic, record["data"].get("id") or record["data"]["match_id"])
            at = record["meta"]["ts"]
            found += at < newest.get(entity, "") and place(one) in late
            newest[entity] = max(at, newest.get(entity, ""))
    return found


def excused(fault: Fault, known: Known) -> bool:
    """Whether the design allows it.

    Records that only the standby had come late, out of order: those that it had not yet read when it took over, too, which
    are not marked. So does what was repeated after its first copy was missed, and no header tells when a dead letter came
    late. A state that the active missed is left out where a newer one is published; what is compared with it may then come
    out as new, or as unchanged.
    """
    if fault.what == "order":
        times = re.fullmatch(r"received (\d+), an earlier frame (\d+)", fault.detail)
        if times is not None:  # two processes note the same moment by a little differently
            return int(times[2]) - int(times[1]) < LAG or fault.where in known.late
        other = fault.detail.rpartition(" ")[2]
        missed = [known.received[other], *known.written[other]]
        return fault.where in known.late or other in known.late or any(_within(at, known.gaps) for at in missed)
    if fault.what == "missing":
        one = known.sent[int(fault.where.removeprefix("frame "))]
        return _is_state(one.raw) and _within(one.at, known.gaps)
    if fault.what == "header":  # which of two frames of one number collides with the other depends on which came first
        return "collision" in fault.detail and _within(known.received[fault.where], known.gaps)
    if fault.what == "unexpected":
        return bool(STATES.search(fault.where)) and _within(known.received[fault.where], known.gaps)
    return False


def _is_state(raw: bytes) -> bool:
    return bool(STATES.match(msgspec.json.decode(raw)["type"]))


def _within(at: int, gaps: Sequence[Gap]) -> bool:
    return any(gap.begin - TRANSIT <= at and (gap.end is None or at <= gap.end + TRANSIT) for gap in gaps)
