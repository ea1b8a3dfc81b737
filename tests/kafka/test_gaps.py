"""Gaps on a real Kafka: what was not read, and what can't be proved unpublished, is recorded once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from bridge.frame import STREAM, Frame
from bridge.journal import Journal
from bridge.sim import Scripted, TickTockKnobs
from tests.chaos.stream import CLEAN, Frames, data_topics, header, judge, numbers
from tests.gaps import gap_records
from tests.kafka.conftest import Kafka
from tests.running import BridgeHere, configuration, now
from tests.servers.process import Port
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(300)

COUNT = 4000


def published(status: dict[str, Any]) -> int:
    """How many records of frames a bridge has published."""
    return sum(gateway["published"] for gateway in status["gateways"])


async def test_a_journal_at_its_limit_is_a_gap(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """While Kafka can't be reached the socket is no longer read: one gap from the last frame to the first after it, though
    the connection held and, as it turns out, the server dropped nothing.
    """  # noqa: D205
    port, knobs = Port(), TickTockKnobs(alive_every=1.0)
    async with Scripted("ticktock", Frames(COUNT), rate=1000, knobs=knobs) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, "silence": "600s"}
        config = configuration(
            {"cs2": gateway},
            kafka=f"127.0.0.1:{port.number}",
            prefix=topic_prefix,
            journal={"max_bytes": 256 << 10},
        )
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await bridge.until(lambda status: "journal is full" in str(status["gateways"]), what="not read")
            stopped = now()
            async with forwarding(port, kafka):
                resumed = now()
                await bridge.until(lambda status: published(status) >= COUNT, what="all published")
    port.close()
    assert judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), range(1, COUNT + 1)) == CLEAN
    told = [gap for gap in gap_records(kafka.bootstrap, topic_prefix) if gap["cause"] == "journal_full"]
    ids = list(dict.fromkeys(gap["id"] for gap in told))
    # The last may wait for a frame, where all were read before the socket was.
    assert [gap["state"] for gap in told] == (["open", "lost"] * len(ids))[: len(told)]
    first = told[1]
    assert first["from"] <= stopped
    assert first["to"] >= resumed
    assert first["last_seq"] is not None


async def test_what_can_not_be_proved_unpublished_is_set_aside(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """The ledger's retention deleted what would tell whether a frame left in the journal is published: it is not
    published, but kept, and its time is a gap; frames that came since go on.
    """  # noqa: D205
    raws = Frames(60)
    async with Scripted("ticktock", raws[:40], rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix, dedupe={"window": "1h"})
        async with BridgeHere(config, tmp_path / "one") as bridge:
            await bridge.until(lambda status: published(status) == 40, what="published")
        old = now() - 2 * 3_600_000
        bridge = BridgeHere(config, tmp_path / "other")
        journal = Journal.open(bridge.journal_of(0), max_bytes=1 << 30)
        kept = [Frame("cs2", "list", old + each, STREAM, raw) for each, raw in enumerate(raws[30:50])]
        position = journal.append(kept)
        journal.close()
        await asyncio.to_thread(delete_all, kafka, f"{topic_prefix}feedbridge.main.ledger")
    async with Scripted("ticktock", raws[50:], rate=None) as sim:
        config["gateways"]["cs2"].update(url=sim.url, api_key=sim.api_key)
        async with BridgeHere(config, tmp_path / "other") as bridge:
            await bridge.until(lambda status: published(status) == 10, what="published")
    found = read_topics(kafka.bootstrap, *data_topics(topic_prefix))
    assert numbers(found) == {*range(1, 41), *range(51, 61)}
    assert judge(found, []).doubled == []
    [gap] = [gap for gap in gap_records(kafka.bootstrap, topic_prefix) if gap["cause"] == "expired"]
    assert (gap["state"], gap["from"], gap["to"]) == ("lost", old, old + 19)
    [file] = (bridge.journal / "expired").iterdir()
    assert gap["how"] == f"not published, kept in expired/{file.name}"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["raw"].encode() for line in lines] == raws[30:50]
    assert lines[0]["position"] == position


async def test_a_state_is_not_published_behind_a_newer_one_of_another_process(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """One process published the newer state, the other has only the older, and an event that the first missed: when it
    takes over the event goes out, late, and the older state does not.
    """  # noqa: D205
    began = now()

    def made(kind: str, seq: int, ms: int, **data: object) -> bytes:
        ts = f"{datetime.fromtimestamp((began + ms) / 1000, UTC):%FT%T.%f}"[:-3] + "Z"
        return json.dumps({"type": kind, "data": data, "meta": {"ts": ts, "seq": seq}}).encode()

    older = made("match.updated", 1, 100, id="m", score_a=1)
    kill = made("event.kill", 2, 150, id="k", match_id="m")
    newer = made("match.updated", 3, 200, id="m", score_a=2)
    async with Scripted("ticktock", [newer], rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeHere(config, tmp_path / "one") as bridge:
            await bridge.until(lambda status: published(status) == 1, what="published")
        other = BridgeHere(config, tmp_path / "other")
        journal = Journal.open(other.journal_of(0), max_bytes=1 << 30)
        journal.append([Frame("cs2", "list", began, STREAM, raw) for raw in (older, kill)])
        journal.close()
    async with Scripted("ticktock", [], rate=None) as sim:
        config["gateways"]["cs2"].update(url=sim.url, api_key=sim.api_key)
        async with BridgeHere(config, tmp_path / "other") as bridge:
            await bridge.until(lambda status: published(status) == 1, what="published")
    found = read_topics(kafka.bootstrap, f"{topic_prefix}cs2.match.updated", f"{topic_prefix}cs2.event.kill")
    assert {header(each, "seq"): header(each, "source") for each in found} == {b"3": b"stream", b"2": b"standby"}


@asynccontextmanager
async def forwarding(port: Port, kafka: Kafka) -> AsyncIterator[None]:
    """Let clients reach Kafka by another port; it then names them its own."""
    host, _, number = kafka.bootstrap.rpartition(":")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection(host, int(number))
        await asyncio.gather(pass_on(reader, downstream), pass_on(upstream, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", port.number, reuse_address=True)
    async with server:
        yield


def delete_all(kafka: Kafka, topic: str) -> None:
    """Do what retention does."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for future in admin.delete_records([TopicPartition(topic, 0, -1)]).values():
        future.result(30)
