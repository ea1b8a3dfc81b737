"""A topic that does not take what it should costs its own records and nothing else, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from bridge import kafka as clients
from bridge import refusal
from bridge.catalog import Catalog
from bridge.check import check
from bridge.config import Config, load
from bridge.frame import Record
from bridge.publisher import Publisher
from bridge.sim import Scripted, Simulator
from tests.chaos.stream import CLEAN, header, judge
from tests.installation import installation
from tests.kafka.conftest import Kafka
from tests.running import BridgeHere, configuration, until
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(120)

#: A topic that takes so much (bytes), and a frame that makes a larger record.
LIMIT = 2000
LARGE = b64encode(Random(1).randbytes(3000)).decode()  # no client makes it small


def kill(seq: int, *, large: bool, ts: str = "2026-05-10T13:42:11.123Z") -> bytes:
    """A frame of one type, small or large; no two have the same content."""
    data = {"match_id": f"match-{seq % 8}", "weapon": f"{seq} {LARGE if large else 'ak'}"}
    return json.dumps({"type": "event.kill", "data": data, "meta": {"ts": ts, "seq": seq}}).encode()


def frames(count: int) -> list[bytes]:
    """Half of them are too large for the topic, in no regular order."""
    return [kill(seq, large=seq * 7 % 13 < 6) for seq in range(1, count + 1)]


def large(raw: bytes) -> bool:
    """Whether a frame is too large for the topic."""
    return LARGE.encode() in raw


def number(raw: bytes) -> int:
    """The sequence number of a frame."""
    return int(json.loads(raw)["meta"]["seq"])


def set_limit(kafka: Kafka, topic: str, **settings: str) -> None:
    """Change a topic that is there."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in settings.items()
    ]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    admin.incremental_alter_configs([resource])[resource].result(timeout=30)


def takes(kafka: Kafka, topic: str, value: bytes) -> bool:
    """Whether a topic takes a record; it is not kept."""
    reports, name = clients.Reports(), f"{topic}.takes"
    config = installation(kafka={"bootstrap.servers": kafka.bootstrap})
    producer = clients.producer(config, transactional_id=name, reports=reports)
    made = Publisher(producer, transactional_id=name, reports=reports, waiting=lambda _: None, give_up=lambda: False)
    with closing(made) as publisher:
        publisher.fence()
        return publisher.first_refused([Record(topic, b"", value, [], 0)]) is None


async def until_refused(kafka: Kafka, topic: str, value: bytes) -> None:
    """Return when the broker goes by a lower limit: it follows the controller a moment later."""

    async def there() -> bool:
        return not await asyncio.to_thread(takes, kafka, topic, value)

    await until(there, what=f"{topic} takes no {len(value)} bytes")


def make_topic(kafka: Kafka, name: str, **settings: str) -> None:
    """Make a topic before the bridge does."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    config = {name.replace("_", "."): value for name, value in settings.items()}
    admin.create_topics([NewTopic(name, 3, config=config)])[name].result(timeout=30)
    while name not in admin.list_topics(timeout=10).topics:  # the controller has it before the broker
        pass


class Aborts:
    """Counts the transactions of this process that are aborted for refused records, or made to find them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on."""
        self.count = 0
        for name in ("_give_back", "first_refused", "refusals"):
            monkeypatch.setattr(Publisher, name, self._counted(getattr(Publisher, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any) -> Any:
            self.count += 1
            return call(*given)

        return counted


@pytest.fixture
def aborts(monkeypatch: pytest.MonkeyPatch) -> Aborts:
    """What is aborted during the test."""
    return Aborts(monkeypatch)


def assert_apart(kafka: Kafka, prefix: str, sent: Iterable[bytes], reason: str) -> None:
    """Each frame that the topic takes is a record, once and in order; each other one a dead letter, whole."""
    sent = list(sent)
    taken = {number(raw) for raw in sent if not large(raw)}
    records = read_topics(kafka.bootstrap, f"{prefix}cs2.event.kill")
    assert judge(records, taken) == CLEAN
    assert {int(header(each, "seq")) for each in records} == taken
    letters: list[Message] = read_topics(kafka.bootstrap, f"{prefix}cs2.dead-letters")
    assert Counter(each.value() for each in letters) == Counter(raw for raw in sent if large(raw))
    assert {header(each, "reason") for each in letters} == {reason.encode()}
    assert all(header(each, "detail") for each in letters)


def words(status: dict[str, Any]) -> str:
    """All that is said of a bridge."""
    return " ".join(each["text"] for each in status["well"])


def say(sim: Simulator, frames: Sequence[bytes]) -> None:
    """Send frames over all connections that are open."""
    for connection in sim.connections:
        connection.write(frames, [None] * len(frames))


def disposed(status: dict[str, Any]) -> int:
    """How many frames are published or dead letters."""
    return sum(each["dead_letters"] + each["published"] for each in status["gateways"])


def loaded(config: dict[str, Any], folder: Path) -> Config:
    """The configuration as a command reads it."""
    file = folder / "check.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")
    return load(file, environ={})


@pytest.mark.parametrize("blind", [False, True])
async def test_a_topic_that_takes_less_than_it_did_costs_a_few_transactions_in_all(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, aborts: Aborts, monkeypatch: pytest.MonkeyPatch, *, blind: bool
) -> None:
    """Thousands of refused frames among thousands of others: each is where it belongs, and no lane is lost to the standby.

    blind: the topic's settings can't be seen, so the limit is found by trying.
    """
    if blind:
        monkeypatch.setattr("bridge.grounds.limits", lambda _config, _names: {})
    # The two share one interpreter: how quick that is must not decide.
    monkeypatch.setattr("bridge.standby.MISSED", 60.0)
    topic = f"{topic_prefix}cs2.event.kill"
    # The first are taken.
    sent = [*(kill(seq, large=False) for seq in range(1, 11)), *frames(6000)[10:]]
    async with Scripted("ticktock", sent[:10], rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration(
            {"cs2": gateway},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            dedupe={"window": "1h"},
            standby={"takeover_after": "10s"},
        )
        async with BridgeHere(config, tmp_path / "a") as bridge:
            await bridge.role("active")
            async with BridgeHere(config, tmp_path / "b") as standby:
                await standby.role("standby")
                await bridge.until(lambda status: disposed(status) >= 10, what="the first")
                set_limit(kafka, topic, max_message_bytes=str(LIMIT))
                await until_refused(kafka, topic, kill(1, large=True))
                begun = aborts.count
                say(sim, sent[10:])
                status = await bridge.until(lambda status: disposed(status) >= len(sent), what="all disposed of")
                assert {each["role"] for each in status["lanes"]} == {"active"}
                assert (await standby.status())["lanes"][0]["role"] == "standby"
                assert aborts.count - begun <= 6
    limit = "that are too large" if blind else f"of more than {LIMIT:,} bytes"
    assert f"Topic {topic} refuses records {limit}: 2,000+ frames became dead letters." in words(status)
    assert "Raise max.message.bytes" in words(status)
    assert_apart(kafka, topic_prefix, sent, "too_large")


async def test_a_small_topic_is_known_before_and_nothing_is_aborted_for_it(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, aborts: Aborts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` names it as a fault; the bridge does not even try. Once it takes more, so does the bridge."""
    monkeypatch.setattr(refusal, "AGAIN", 0.5)
    topic = f"{topic_prefix}cs2.event.kill"
    make_topic(kafka, topic, max_message_bytes=str(LIMIT))
    sent = frames(2000)
    later = [kill(seq, large=True) for seq in range(3001, 3011)]
    async with Scripted("ticktock", sent, rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        found = await check(loaded(config, tmp_path), Catalog.load())
        [fault] = [each.text for each in found if each.name == "kafka" and not each.ok]
        assert re.search(rf"topic {re.escape(topic)} takes .*max\.message\.bytes.*cs2 may have 16MiB", fault)
        async with BridgeHere(config, tmp_path / "a") as bridge:
            status = await bridge.until(lambda status: disposed(status) >= len(sent), what="all disposed of")
            assert f"Topic {topic} refuses records of more than {LIMIT:,} bytes" in words(status)
            assert aborts.count == 0
            assert_apart(kafka, topic_prefix, sent, "too_large")
            set_limit(kafka, topic, max_message_bytes=str(1 << 20))
            await bridge.until(
                lambda status: status["lanes"][0]["refusals"][0]["limit"] == 1 << 20, what="asked again", seconds=20
            )
            say(sim, later)
            await bridge.until(lambda status: disposed(status) >= len(sent) + len(later), what="the later ones too")
    records = read_topics(kafka.bootstrap, topic)
    assert {number(raw) for raw in later} <= {int(header(each, "seq")) for each in records}


@pytest.mark.parametrize("many", [1, 300])
async def test_records_that_a_topic_refuses_for_their_time_are_buried_in_one_go(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, aborts: Aborts, many: int
) -> None:
    """One of a batch or many: a few aborted transactions find them all, and the others are published once."""
    topic = f"{topic_prefix}cs2.event.kill"
    make_topic(kafka, topic, message_timestamp_before_max_ms=str(3_600_000))
    old, new = (f"{datetime.now(UTC) - ago:%Y-%m-%dT%H:%M:%S.000Z}" for ago in (timedelta(hours=2), timedelta(0)))
    late = {seq for seq in range(1, 3001) if seq % (3000 // many) == 1 % many}
    sent = [kill(seq, large=False, ts=old if seq in late else new) for seq in range(1, 3001)]
    async with Scripted("ticktock", sent, rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeHere(config, tmp_path / "a") as bridge:
            status = await bridge.until(lambda status: disposed(status) >= len(sent), what="all disposed of")
    assert aborts.count <= 8
    assert f"Topic {topic} refuses records (Invalid timestamp)" in words(status)
    records = read_topics(kafka.bootstrap, topic)
    taken = set(range(1, 3001)) - late
    assert judge(records, taken) == CLEAN
    assert len(records) == len(taken)
    letters = read_topics(kafka.bootstrap, f"{topic_prefix}cs2.dead-letters")
    assert Counter(each.value() for each in letters) == Counter(sent[seq - 1] for seq in late)
    assert {header(each, "reason") for each in letters} == {b"refused_by_kafka"}
