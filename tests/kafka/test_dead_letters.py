"""Dead letters on a real Kafka: after a fix each is replayed once, whatever happens meanwhile, and what can't be stays dead."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from bridge import catalog
from bridge.catalog import Catalog
from bridge.commands import letters as commands
from bridge.commands.filling import runs
from bridge.commands.replaying import follow, rehearse, split
from bridge.config import Config, load
from bridge.proof import prove
from bridge.receipt import Place
from bridge.replayer import CHUNK
from bridge.requests import send
from bridge.sim import Scripted
from bridge.tail import Decoder
from tests.chaos.stream import Frames, header
from tests.kafka.conftest import Kafka
from tests.patched import FOLDER, LETTERS, LOOSE, loosened
from tests.running import Bridge, BridgeHere, BridgeProcess, configuration
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(300)


def bad(raw: bytes) -> bytes:
    """The frame with a number where no schema of this release takes one."""
    frame = json.loads(raw)
    frame["data"][LOOSE[frame["type"]]] = frame["meta"]["seq"]
    return json.dumps(frame).encode()


def frames(count: int) -> list[bytes]:
    """Of `Frames` every kill bad, and at the end one frame that will never be right."""
    return [bad(raw) if b"event.kill" in raw else raw for raw in Frames(count)] + [b"\xff no frame"]


def published(kafka: Kafka, prefix: str, *types: str) -> list[Message]:
    """The records of types."""
    return read_topics(kafka.bootstrap, *(f"{prefix}cs2.{each}" for each in types))


def numbers(messages: Iterable[Message]) -> Counter[int]:
    """How often each sequence number is there."""
    return Counter(int(header(each, "seq")) for each in messages)


def letters(kafka: Kafka, prefix: str) -> list[Message]:
    """The dead letters."""
    return read_topics(kafka.bootstrap, f"{prefix}cs2.dead-letters")


def kills(count: int) -> dict[int, int]:
    """The number of each kill, once."""
    return dict.fromkeys(range(3, count + 1, 3), 1)


@pytest.fixture
def fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Return what installs the later release; it returns the folder of its schemas."""

    def install() -> Path:
        folder = loosened(tmp_path / "schemas")
        monkeypatch.setattr(catalog, "_shipped", lambda: folder)
        return folder

    return install


def config_of(bridge: Bridge) -> Config:
    """The configuration that a command beside a bridge reads."""
    return load(bridge.folder / "feedbridge.yaml", environ=os.environ)


def places(bridge: Bridge, **chosen: Any) -> list[Place]:
    """Where dead letters lie."""
    config = config_of(bridge)
    found = commands.dead(config, (), **chosen)
    return [commands.place_of(config, f"{each.topic}[{each.partition}]@{each.offset}") for each in found]


def replay(bridge: Bridge, wanted: Sequence[Place], *, needed: bool | None = None) -> Counter[str]:
    """How many of each outcome a replay has, carried out as the command does it. needed: no bridge runs; None: look."""
    config = config_of(bridge)
    none = not runs(config) if needed is None else needed
    sent = [send(config, each) for each in split([(place, 0) for place in wanted])]
    return Counter(str(outcome) for _, outcome, _ in follow(config, sent, needed=none, as_json=True))


async def buried(bridge: Bridge, count: int) -> None:
    """Return when so many dead letters were made since its start."""
    await bridge.until(
        lambda status: sum(each["dead_letters"] for each in status["gateways"]) >= count, what=f"{count} dead letters"
    )


def assert_proved(bridge: Bridge) -> None:
    """`verify` finds nothing wrong."""
    verdict = prove(config_of(bridge), Catalog.load(), Decoder.of(Catalog.load())).verdict
    assert verdict.good, verdict.violations
    assert not verdict.strange


async def test_a_fix_brings_each_dead_letter_back_once(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, fixed: Callable[[], Path]
) -> None:
    """With no bridge running, then twice more beside one that gets the same frames live: each kill is one record."""
    async with Scripted("ticktock", frames(60), rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await buried(bridge, 21)
            # Without the fix all of them stay dead, and make no second dead letter.
            every = await asyncio.to_thread(places, bridge)
            assert await asyncio.to_thread(replay, bridge, every, needed=False) == {"still dead": 21}
    dead = await asyncio.to_thread(places, bridge, reasons=["wrong_type"], types=["event.kill"])
    assert len(dead) == 20
    fixed()
    told = await asyncio.to_thread(rehearse, config_of(bridge), dead[:2])
    assert [each[1:] for each in told] == [("would be published", f"{topic_prefix}cs2.event.kill")] * 2
    beyond = dead[0]._replace(offset=10_000)
    assert await asyncio.to_thread(replay, bridge, [*dead[:5], beyond]) == {"published": 5, "gone": 1}
    first = published(kafka, topic_prefix, "event.kill")
    async with Scripted("ticktock", frames(60), rate=None) as sim:
        config["gateways"]["cs2"].update(url=sim.url, api_key=sim.api_key)
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await bridge.until(lambda status: duplicates(status) >= 45, what="all came again")
            assert await asyncio.to_thread(replay, bridge, every, needed=False) == {
                "already there": 20,
                "still dead": 1,
            }
    found = published(kafka, topic_prefix, "event.kill")
    assert numbers(found) == kills(60)
    assert Counter(header(each, "source") for each in found) == {b"dead-letter": 5, b"stream": 15}
    received = {header(each, "received") for each in letters(kafka, topic_prefix)}
    assert {header(each, "received") for each in first} <= received
    assert len(letters(kafka, topic_prefix)) == 21
    await asyncio.to_thread(assert_proved, bridge)


def duplicates(status: dict[str, Any]) -> int:
    """How many frames were duplicates."""
    return sum(each["duplicates"] for each in status["gateways"])


async def test_each_is_replayed_once_though_the_active_is_killed(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, fixed: Callable[[], Path]
) -> None:
    """Two lanes, two processes, two shells at once; whoever is active in both lanes is killed when some are committed and some
    are under way, and the other goes on: each kill is one record.
    """  # noqa: D205
    count = 1500
    async with Scripted("ticktock", frames(count), rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration(
            {"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix, lanes={"count": 2}, topics={"partitions": 2}
        )
        async with BridgeHere(config, tmp_path / "before") as bridge:
            await buried(bridge, count // 3 + 1)
        dead = await asyncio.to_thread(places, bridge)
    schemas, dies = {FOLDER: str(fixed())}, {LETTERS: str(CHUNK * 3 // 2)}
    async with Scripted("ticktock", [], rate=None) as sim:
        config["gateways"]["cs2"].update(url=sim.url, api_key=sim.api_key)
        program = ("tests.patched", "run", "-c")
        one = BridgeProcess(config, tmp_path / "one", environ=schemas | dies, program=program)
        two = BridgeProcess(config, tmp_path / "two", environ=schemas, program=program)
        async with one:
            await one.role("active")
            async with two:
                await two.role("standby")
                shells = [asyncio.to_thread(replay, two, dead, needed=False) for _ in range(2)]
                outcomes = await asyncio.gather(*shells)
                assert one.exit_code == signal.SIGKILL
                assert await two.stop() == 0, two.last_words()
    found = published(kafka, topic_prefix, "event.kill")
    assert numbers(found) == kills(count)
    assert {header(each, "source") for each in found} == {b"dead-letter"}
    total = sum(outcomes, Counter())
    assert total == {"published": count // 3, "already there": count // 3, "still dead": 2}
    assert len(letters(kafka, topic_prefix)) == count // 3 + 1
    assert len({each["request"] for each in two.events() if each["event"] == "replay_begins"}) == 2
    await asyncio.to_thread(assert_proved, bridge)
