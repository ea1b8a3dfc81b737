"""A running bridge: what it waits for, what ends it, how it ends, and how the next one goes on."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from bridge.errors import ConfigError, Refused
from bridge.sim import PredictStreetKnobs, PredictStreetSim, Scripted, Sent, TickTockKnobs, TickTockSim
from bridge.sim.replay import Kind
from tests.audit import Audit, Published, Schemas, collect
from tests.audit.frames import frames, scripted
from tests.kafka.conftest import Kafka, Registry
from tests.running import Bridge, BridgeHere, BridgeProcess, configuration, now, predictstreet, ticktock, until
from tests.servers.apicurio import Apicurio
from tests.servers.kafka import KafkaCluster
from tests.servers.process import Port

pytestmark = pytest.mark.timeout(300)

Partitions = Callable[[Sequence[bytes], int], list[int]]


class Judge:
    """Audits one gateway ``cs2`` or ``markets`` of this test."""

    def __init__(self, bootstrap: str, prefix: str, java_partitions: Partitions) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.began = now()
        #: Records that were looked at already.
        self.apart: list[Published] = []
        self._java_partitions = java_partitions

    async def published(self) -> list[Published]:
        """All records of this test, the ledger's apart."""
        found = await asyncio.to_thread(collect, self.bootstrap, self.prefix)
        return [one for one in found if not one.topic.endswith(".ledger") and one not in self.apart]

    async def expect(
        self,
        sent: Sequence[Sent],
        *,
        kind: Kind = "ticktock",
        partitions: int = 6,
        schemas: Mapping[str, Schemas] | None = None,
    ) -> int:
        """Assert that what is published is right for what was sent; returns how many records each layout must have."""
        published = await self.published()
        audit = Audit(
            gateway="cs2" if kind == "ticktock" else "markets",
            kind=kind,
            prefix=self.prefix,
            sent=sent,
            schemas=schemas or {"type": Schemas.shipped()},
            partitions=lambda keys: self._java_partitions(keys, partitions),
            began=self.began,
            ended=now(),
        )
        faults = audit.faults(published)
        assert not faults, f"{len(faults)} faults, the first: {faults[:10]}"
        return len(audit.wanted)


@pytest.fixture
def judge(kafka: Kafka, topic_prefix: str, java_partitions: Partitions) -> Judge:
    """The judge of what is on the shared broker."""
    return Judge(kafka.bootstrap, topic_prefix, java_partitions)


async def pass_all(script: Scripted, bridge: Bridge, *, gateway: str = "cs2") -> list[Sent]:
    """Wait until the script has been sent, received and committed; returns what was sent."""
    await script.script.finished(seconds=90)
    await bridge.received(script.sim.sent.total, gateway=gateway)
    await bridge.drained()
    return list(script.sim.sent)


def plain(count: int, *, seed: int = 1) -> list[Sent]:
    """Frames of TickTock with all faults, from now on."""
    return frames("ticktock", count, seed=seed, now=now())


def settings(sim: Any, **more: Any) -> dict[str, Any]:
    """The gateway of a simulator, not watched for silence."""
    return (predictstreet if isinstance(sim, PredictStreetSim) else ticktock)(sim, silence="600s", **more)


class TestLayouts:
    """Where records go, and how their values are framed."""

    async def test_both_layouts_at_once_without_a_registry(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """Each record is in both topics, of either gateway; the one of the gateway keeps order across types."""
        knobs = PredictStreetKnobs(generation=1, silent_book=False)
        cs2 = scripted("ticktock", plain(600))
        markets = scripted("predictstreet", frames("predictstreet", 600, seed=2, now=now(), knobs=knobs), knobs=knobs)
        async with cs2 as one, markets as other:
            config = configuration(
                {"cs2": settings(one), "markets": settings(other)},
                kafka=kafka.bootstrap,
                prefix=topic_prefix,
                topics={"layout": ["type", "gateway"], "partitions": 3},
            )
            async with BridgeHere(config, tmp_path / "bridge") as bridge:
                sent = await pass_all(cs2, bridge)
                others = await pass_all(markets, bridge, gateway="markets")
        schemas = {"type": Schemas.shipped(), "gateway": Schemas.shipped()}
        assert await judge.expect(sent, partitions=3, schemas=schemas) > 400
        assert await judge.expect(others, kind="predictstreet", partitions=3, schemas=schemas) > 400

    async def test_layout_gateway_names_subjects_by_record(
        self, kafka: Kafka, registry: Registry, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """Several types in one topic: a subject for each, ``<topic>-<record name>``."""
        script = scripted("ticktock", plain(400, seed=3))
        async with script as sim:
            config = configuration(
                {"cs2": settings(sim)},
                kafka=kafka.bootstrap,
                prefix=topic_prefix,
                registry=registry.url,
                topics={"layout": "gateway"},
            )
            async with BridgeHere(config, tmp_path / "bridge") as bridge:
                sent = await pass_all(script, bridge)
        assert await judge.expect(sent, schemas={"gateway": Schemas.registry(registry.url, layout="gateway")}) > 250


class TestWaiting:
    """What is not there yet is waited for, and frames are safe meanwhile."""

    async def test_without_a_registry_frames_wait_in_the_journal(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """Received, not ready, nothing published; all of it once the registry has come. Later starts need it no more."""
        script = scripted("ticktock", plain(400, seed=4))
        with Apicurio(tmp_path / "registry") as late:
            async with script as sim:
                config = configuration(
                    {"cs2": settings(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix, registry=late.url
                )
                async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                    await script.script.finished()
                    await bridge.received(sim.sent.total, gateway="cs2")
                    await until(lambda: not_ready(bridge, b"registry"), what="not ready for want of the registry")
                    assert (await bridge.get("/healthz"))[0] == 200
                    assert (await bridge.status())["journal"]["frames"] >= sim.sent.total
                    told = (await bridge.get("/metrics"))[1].decode()
                    assert (
                        float(re.findall(r"^feedbridge_journal_frames (\S+)$", told, re.MULTILINE)[0]) >= sim.sent.total
                    )
                    assert (
                        float(re.findall(r"^feedbridge_journal_limit_bytes (\S+)$", told, re.MULTILINE)[0]) == 2 << 30
                    )
                    assert await judge.published() == []
                    await asyncio.to_thread(late.start)
                    await bridge.ready()
                    await bridge.drained()
                    assert (await bridge.get("/readyz"))[0] == 200
                    assert await bridge.stop() == 0
                    assert await judge.expect(list(sim.sent), schemas={"type": Schemas.registry(late.url)}) > 250
                    # The ids found are kept beside the journal.
                    await asyncio.to_thread(late.stop)
                    await bridge.start()
                    await bridge.role("active")
                    assert sim.send(board(seq=1, size=1000)) == 1
                    topic = f"{topic_prefix}cs2.scoreboard.frame"
                    await until(lambda: arrived(judge, b"x_noise", topic=topic), what="a record without the registry")

    async def test_without_kafka_frames_wait_in_the_journal(self, java_partitions: Partitions, tmp_path: Path) -> None:
        """Absent at the start: received, not ready; published when it comes."""
        script = scripted("ticktock", plain(400, seed=6))
        with KafkaCluster(tmp_path / "broker") as late:
            judge = Judge(late.bootstrap, "w.", java_partitions)
            async with script as sim:
                config = configuration({"cs2": settings(sim)}, kafka=late.bootstrap, prefix="w.")
                config["kafka"]["reconnect.backoff.max.ms"] = 200
                async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                    await script.script.finished()
                    await bridge.received(sim.sent.total, gateway="cs2")
                    assert (await bridge.get("/readyz"))[0] == 503
                    await asyncio.to_thread(late.start)
                    await bridge.ready()
                    await bridge.drained()
                    assert await bridge.stop() == 0
            assert await judge.expect(list(sim.sent)) > 250

    async def test_a_stop_while_kafka_is_absent_is_graceful(self, tmp_path: Path) -> None:
        """Exit 0 within the time allowed; the frames stay in the journal."""
        script = scripted("ticktock", plain(100, seed=7))
        with_nobody = Port()
        try:
            async with script as sim:
                config = configuration(
                    {"cs2": settings(sim)},
                    kafka=f"127.0.0.1:{with_nobody.number}",
                    prefix="n.",
                    shutdown={"timeout": "3s"},
                )
                async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                    await script.script.finished()
                    await bridge.received(sim.sent.total, gateway="cs2")
                    began = now()
                    assert await bridge.stop() == 0
                    assert now() - began < 3000 + SLACK
                    assert sum(file.stat().st_size for file in bridge.journal_of(0).glob("*.log")) > 10_000
        finally:
            with_nobody.close()


async def not_ready(bridge: BridgeProcess, why: bytes) -> bool:
    """Whether the bridge says that it is not ready, and why."""
    status, reason = await bridge.get("/readyz")
    return status == 503 and why in reason


#: How much longer (ms) than it is allowed a process may take to end on a busy machine.
SLACK = 10_000


class TestRestart:
    """A bridge that is started again goes on where the last one ended."""

    async def test_stops_in_the_middle_of_the_stream(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """SIGTERM: exit 0, the journal is empty; the next start repeats nothing and loses nothing."""
        script = scripted("ticktock", plain(2400, seed=8), rate=800.0, overlap=1000)
        async with script as sim:
            config = configuration({"cs2": settings(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                for turn in range(2):
                    if turn:
                        await bridge.start()
                    await bridge.ready()
                    await bridge.received(400, gateway="cs2")
                    assert await bridge.stop() == 0
                    [end] = [event for event in bridge.events() if event["event"] == "stopped"][turn:]
                    assert end["frames_left"] == 0
                await bridge.start()
                await script.script.finished(seconds=90)
                sim.send(b"the end", fault="malformed:text")
                await until(lambda: arrived(judge, b"the end"), what="the last frame")
                assert await bridge.stop() == 0
        await judge.expect(list(sim.sent))

    async def test_another_process_with_another_journal_repeats_nothing(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """What is published stands in the ledger: the whole stream once more gives nothing new."""
        sent = plain(600, seed=9)
        script = scripted("ticktock", sent)
        async with script as sim:
            config = configuration({"cs2": settings(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeHere(config, tmp_path / "one") as bridge:
                first = await pass_all(script, bridge)
        assert await judge.expect(first) > 400
        again = scripted("ticktock", sent)
        async with again as sim:
            config = configuration({"cs2": settings(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeHere(config, tmp_path / "two") as bridge:
                await pass_all(again, bridge)
                status = await bridge.status()
        await judge.expect(first)
        assert status["gateways"][0]["published"] == 0
        assert status["gateways"][0]["received"] > 400


async def arrived(judge: Judge, text: bytes, *, topic: str | None = None) -> bool:
    """Whether a record (of that topic) has such a text in its value."""
    return any(text in one.value for one in await judge.published() if topic in {None, one.topic})


class TestRefusals:
    """What ends a bridge at once, and what does not."""

    async def test_a_missing_subject_ends_it(
        self, kafka: Kafka, registry: Registry, topic_prefix: str, tmp_path: Path
    ) -> None:
        """Exit 78, and the command that mends it."""
        async with TickTockSim() as sim:
            config = configuration(
                {"cs2": ticktock(sim)},
                kafka=kafka.bootstrap,
                prefix=topic_prefix,
                registry=registry.url,
                register=False,
            )
            async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                assert await bridge.end() == 78
                last = bridge.output().splitlines()[-1]
        assert "feedbridge schemas register" in last
        assert f"{topic_prefix}cs2." in last

    async def test_a_journal_in_use_ends_it(self, kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
        """Exit 78, naming the process that holds it; that one goes on."""
        async with TickTockSim() as sim:
            config = configuration({"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeProcess(config, tmp_path / "one") as one:
                await one.ready()
                config["journal"] = {"path": str(one.journal)}
                async with BridgeProcess(config, tmp_path / "two") as two:
                    assert await two.end() == 78
                    last = two.output().splitlines()[-1]
                assert f"process {one.pid}" in last
                assert str(one.journal) in last
                assert (await one.status())["ready"]

    async def test_when_every_gateway_is_refused_it_ends(self, kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
        """Exit 77; both are named, no key is."""
        async with TickTockSim() as cs2, PredictStreetSim() as markets:
            wrong = {"cs2": ticktock(cs2, api_key="wrong-one"), "markets": predictstreet(markets, api_key="wrong-two")}
            config = configuration(wrong, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                assert await bridge.end() == 77
                output = bridge.output()
        assert "cs2: " in output.splitlines()[-1]
        assert "markets: " in output.splitlines()[-1]
        assert "wrong-" not in output

    async def test_when_one_gateway_is_refused_the_other_goes_on(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """Ready, and status, metrics and one line of the log tell of the refusal; it is not tried again."""
        script = scripted("ticktock", plain(300, seed=10))
        async with script as cs2, PredictStreetSim() as markets:
            gateways = {"cs2": settings(cs2), "markets": predictstreet(markets, api_key="wrong-two")}
            config = configuration(gateways, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                sent = await pass_all(script, bridge)
                await bridge.ready()
                status = await bridge.until(lambda found: found["gateways"][1]["refused"], what="refused")
                assert [each["state"] for each in status["gateways"]] == ["live", "refused"]
                metrics = (await bridge.get("/metrics"))[1].decode()
                assert 'feedbridge_gateway_connected{gateway="markets"} 0.0' in metrics
                assert 'feedbridge_gateway_connected{gateway="cs2"} 1.0' in metrics
                told = [event for event in bridge.events() if event["event"] == "gateway_refused"]
                assert [event["gateway"] for event in told] == ["markets"]
                assert await bridge.stop() == 0
            assert markets.refused == 1
        assert await judge.expect(sent) > 200

    async def test_as_a_library_it_raises(self, kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
        """The errors that the command ends with."""
        async with TickTockSim() as sim:
            sim.refuse(status=403, reason="invalid API key")
            config = configuration({"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            bridge = BridgeHere(config, tmp_path / "bridge")
            await bridge.start()
            with pytest.raises(Refused, match="cs2: HTTP 403"):
                await bridge.end()
            bridge = BridgeHere({**config, "http": {"listen": "192.0.2.1:1"}}, tmp_path / "bridge")
            await bridge.start()
            with pytest.raises(ConfigError, match="can't listen"):
                await bridge.end()


class TestBadInput:
    """What can't be published becomes a dead letter, and the feed goes on."""

    async def test_a_frame_too_large_for_kafka_is_kept_whole(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """Dead letter: the beginning, with size and hash of the whole, which lies beside the journal."""
        before, after = (one for one in plain(2, seed=1) if one.fault is None)
        match = {"id": "m1", "status": "live", "x_padding": "0123456789abcdef" * (1 << 20)}
        meta = {"ts": "2026-05-10T13:42:11.123Z", "seq": 1}
        large = msgspec.json.encode({"type": "match.updated", "data": match, "meta": meta})
        rubbish = b"\xff" * (17 << 20)
        sent = [before, *(before_with(raw) for raw in (large, rubbish)), after]
        script = scripted("ticktock", sent)
        async with script as sim:
            config = configuration(
                {"cs2": settings(sim, max_frame="32MiB")}, kafka=kafka.bootstrap, prefix=topic_prefix
            )
            async with BridgeHere(config, tmp_path / "bridge") as bridge:
                await pass_all(script, bridge)
                kept = {file.name: file.read_bytes() for file in (bridge.journal / "oversize").iterdir()}
        published = await judge.published()
        dead = {dict(one.headers)["reason"]: one for one in published if one.topic.endswith(".dead-letters")}
        assert set(dead) == {b"too_large", b"not_json"}
        for reason, raw in ((b"too_large", large), (b"not_json", rubbish)):
            one, digest = dead[reason], hashlib.sha256(raw).hexdigest()
            headers = dict(one.headers)
            assert headers["size"] == str(len(raw)).encode()
            assert headers["sha256"] == digest.encode()
            assert len(one.value) > 15 << 20
            assert raw.startswith(one.value)
            assert kept[digest] == raw
        assert dead[b"too_large"].key == b"m1"
        assert len(kept) == 2
        assert len(published) == 5  # the two frames around them, and the gap of the stop

    async def test_a_topic_that_takes_less_is_known_from_the_start(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """Only what is too large for its own topic is put aside, whole: the dead letters' topic takes it."""
        make_topic(kafka, f"{topic_prefix}cs2.scoreboard.frame", limit=4000)
        sent = plain(200, seed=14)
        raw = board(seq=1, size=12_000)
        rumour = board(seq=2, size=12_000).replace(b"scoreboard.frame", b"scoreboard.rumour")
        script = scripted("ticktock", [*sent[:120], before_with(raw), before_with(rumour), *sent[120:]])
        async with script as sim:
            config = configuration({"cs2": settings(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeHere(config, tmp_path / "bridge") as bridge:
                await pass_all(script, bridge)
        await self.put_aside(judge, raw, "too_large")
        assert await judge.expect([one for one in sim.sent if one.raw != raw]) > 100

    async def test_a_record_that_kafka_refuses_is_a_dead_letter(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """A topic that takes less than it did: its large frame is put aside, all others go on, once each."""
        sent = plain(200, seed=14)
        raw = board(seq=1, size=12_000)
        script = scripted("ticktock", [*sent[:120], before_with(raw), *sent[120:]])
        async with script as sim:
            sim.refuse(status=503)
            config = configuration({"cs2": settings(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeHere(config, tmp_path / "bridge") as bridge:
                await bridge.role("active")
                limit_topic(kafka, f"{topic_prefix}cs2.scoreboard.frame", limit=4000)
                sim.accept()
                await pass_all(script, bridge)
        await self.put_aside(judge, raw, "too_large")
        assert await judge.expect([one for one in sim.sent if one.raw != raw]) > 100

    @staticmethod
    async def put_aside(judge: Judge, raw: bytes, reason: str) -> None:
        """Assert that a scoreboard has become a dead letter, and take it out of what is still to be judged."""
        [dead] = [one for one in await judge.published() if one.value == raw]
        headers = dict(dead.headers)
        assert headers["reason"] == reason.encode()
        assert headers["type"] == b"scoreboard.frame"
        assert headers["detail"]
        assert "size" not in headers
        assert dead.key == b"m1"
        judge.apart.append(dead)

    async def test_records_that_are_only_together_too_large_go_one_by_one(
        self, kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
    ) -> None:
        """Where a topic takes each record but not the batch that they make, none of them is refused for that."""
        make_topic(kafka, f"{topic_prefix}cs2.scoreboard.frame", limit=8000)
        script = scripted("ticktock", [before_with(board(seq=seq, size=3000)) for seq in range(40)])
        async with script as sim:
            config = configuration({"cs2": settings(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            async with BridgeHere(config, tmp_path / "bridge") as bridge:
                sent = await pass_all(script, bridge)
        assert await judge.expect(sent) == 40


def make_topic(kafka: Kafka, name: str, *, limit: int) -> None:
    """Make a topic that takes no more than `limit` bytes at once."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    topic = NewTopic(name, 6, config={"max.message.bytes": str(limit)})
    admin.create_topics([topic])[name].result(timeout=30)


def limit_topic(kafka: Kafka, name: str, *, limit: int) -> None:
    """Have a topic take no more than `limit` bytes at once from now on."""
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(timeout=30)


def board(*, seq: int, size: int) -> bytes:
    """A scoreboard of so many bytes that no compression makes small."""
    noise = Random(seq).randbytes(size // 2).hex()
    meta = {"ts": "2026-05-10T13:42:11.123Z", "seq": seq}
    return msgspec.json.encode({"type": "scoreboard.frame", "data": {"match_id": "m1", "x_noise": noise}, "meta": meta})


def before_with(raw: bytes) -> Sent:
    """A frame with these bytes, as a script has it."""
    return Sent(1, "list", 0, 0, raw)


async def connected(sim: TickTockSim, times: int) -> None:
    """Return when clients have come so many times."""
    await sim.wait(lambda _: sim.accepted == times, seconds=90)


async def test_a_snapshot_of_what_has_not_changed_is_silent(
    kafka: Kafka, topic_prefix: str, judge: Judge, tmp_path: Path
) -> None:
    """After a reconnect the gateway tells all states again, under new numbers; nothing of it is published."""
    async with TickTockSim(seed=3, rate=300, limit=600, knobs=TickTockKnobs(snapshot_shuffled=True)) as sim:
        config = configuration({"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await sim.wait(lambda _: sim.produced == 600, seconds=90)
            await bridge.received(sim.sent.total, gateway="cs2")
            await bridge.drained()
            before = await judge.published()
            for turn in range(1, 3):
                await sim.drop()
                await connected(sim, turn + 1)
                await bridge.received(sim.sent.total, gateway="cs2")
            again = [one for one in sim.sent if one.connection > 1 and one.fault is None]
            # The world may have moved on by a frame or two that nobody was there to hear.
            news = [record for record in sim.expected() if record.sent.connection > 1]
            assert len(again) - len(news) > 40
            silent = f"{len(again) - len(news)} unchanged frames"
            await bridge.until(lambda status: status["gateways"][0]["unchanged"] >= len(again) - len(news), what=silent)
            after = await judge.published()
    assert len(news) < 5
    more = Counter(one.topic for one in after) - Counter(one.topic for one in before)
    assert more[f"{topic_prefix}feedbridge.main.gaps"] == 4
    assert more.total() == 4 + len(news)
    await judge.expect(list(sim.sent))
