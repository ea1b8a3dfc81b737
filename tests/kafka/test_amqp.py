"""The AMQP replay from a real RabbitMQ to a real Kafka: nothing lost, nothing twice, dead letters where due."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aio_pika
import psutil
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bridge.config import load
from bridge.frame import AMQP
from bridge.gateways.amqp import PREFETCH, QUEUE_EXPIRES
from bridge.gateways.gateway import Outside
from bridge.gateways.replay import Outcome
from bridge.gateways.ticktock import TickTock, TickTockSettings
from bridge.ops.metrics import Metrics
from bridge.sim import TICKTOCK_SCOPES, FeedKnobs, Key, TickTockSim
from bridge.sim.amqp import FeedPublisher
from tests.audit import Published, Schemas, collect
from tests.kafka.conftest import Kafka
from tests.replaying import replay
from tests.running import BridgeHere, BridgeProcess, configuration, now, ticktock, until
from tests.servers.kafka import KafkaCluster
from tests.servers.rabbitmq import PASSWORD, RabbitMQ
from tests.unit.gateways.doubles import MemoryIntake

pytestmark = pytest.mark.timeout(300)

HOUR = 3_600_000
#: Elements that are objects in a record; all others are arrays.
ONCE = {"odds", "outcomes", "sport_event_status"}
#: What can become no record.
DEAD = {"malformed": "not_xml", "bomb": "not_xml"}


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A broker for the tests that leave it running."""
    folder = tmp_path_factory.mktemp("rabbitmq")
    with RabbitMQ(folder, certificate=certificate(folder)) as broker:
        broker.start()
        yield broker


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RabbitMQ]:
    """A broker of the test's own, to be stopped and killed."""
    with RabbitMQ(tmp_path / "rabbitmq") as broker:
        broker.start()
        yield broker


class Feed:
    """A simulated TickTock with a broker, and the configuration of a bridge for it."""

    def __init__(self, sim: TickTockSim, broker: RabbitMQ, *, kafka: str, prefix: str, patience: str) -> None:
        self.sim = sim
        self.kafka = kafka
        self.prefix = prefix
        #: Its own name, so that no test meets another's queue.
        self.gateway = prefix.rstrip(".")
        amqp = {"url": broker.url, "exchange": self.gateway, "patience": patience}
        # Gaps are not filled by themselves here: each replay is one that a test asked for.
        recovery = {"amqp": amqp, "gaps": False}
        settings = ticktock(sim, silence="600s", rest={"url": sim.rest_url}, recovery=recovery)
        self.config = configuration({self.gateway: settings}, kafka=kafka, prefix=prefix)
        assert sim.feed is not None
        self.publisher: FeedPublisher = sim.feed

    async def published(self) -> list[Published]:
        """The records that came over AMQP, dead letters too."""
        found = await asyncio.to_thread(collect, self.kafka, f"{self.prefix}{self.gateway}.")
        return [
            one for one in found if dict(one.headers).get("source") == b"amqp" or one.topic.endswith(".dead-letters")
        ]

    async def expect_all(self) -> None:
        """Assert that each distinct message that was sent is published, whole, once; and nothing else."""
        published = await self.published()
        wanted, dead = Counter[str](), Counter[tuple[bytes, str]]()
        for body, fault in {message.body: message.fault for message in self.publisher.sent}.items():
            if fault in DEAD:
                dead[body, DEAD[fault]] += 1
            elif b"<alive" not in body:
                wanted[meaning(body)] += 1
        buried = [one for one in published if one.topic.endswith(".dead-letters")]
        assert Counter((one.value, (dict(one.headers)["reason"] or b"").decode()) for one in buried) == dead
        schemas = Schemas.shipped()
        records = Counter(said(one, schemas) for one in published if not one.topic.endswith(".dead-letters"))
        assert sum(records.values()) == sum(wanted.values())
        assert records == wanted


@asynccontextmanager
async def feed(
    broker: RabbitMQ, kafka: str, prefix: str, *, patience: str = "60s", **knobs: Any
) -> AsyncIterator[Feed]:
    """A feed whose replays are like that."""
    exchange = prefix.rstrip(".")
    async with TickTockSim(seed=1, rate=50, amqp=broker.url, exchange=exchange, feed=FeedKnobs(**knobs)) as sim:
        yield Feed(sim, broker, kafka=kafka, prefix=prefix, patience=patience)


def meaning(body: bytes) -> str:
    """What a message says, as canonical JSON: type, key and all its facts. Written for the test alone."""
    root = ET.fromstring(body)  # noqa: S314 - ours
    data = _facts(root)
    if "timestamp" in data:
        data["timestamp"] = int(data["timestamp"])
    own = data.get("tt_match_id") or data.get("request_id")
    return json.dumps([f"feed.{root.tag}", own, data], sort_keys=True)


def _facts(element: ET.Element) -> dict[str, Any]:
    found: dict[str, Any] = dict(element.attrib)
    if element.text and element.text.strip():
        found["#text"] = element.text
    for child in element:
        if child.tag in ONCE:
            found[child.tag] = _facts(child)
        else:
            found.setdefault(child.tag, []).append(_facts(child))
    return found


def said(record: Published, schemas: Schemas) -> str:
    """The same of a record."""
    kind = (dict(record.headers)["type"] or b"").decode()
    _, value = schemas.decode(record.topic, record.value)
    data = json.loads(value["data"]["json"])["data"] if record.topic.endswith(".unknown") else _plain(value["data"])
    return json.dumps([kind, (record.key or b"").decode(), data], sort_keys=True)


def _plain(value: Any) -> Any:
    """A record without nulls, its extensions where they stood in the message."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: _plain(each) for name, each in value.items() if each is not None and name != "extensions"}
    return found | {name: json.loads(text) for name, text in value["extensions"].items()}


async def queue_of(feed: Feed, broker: RabbitMQ) -> int | None:
    """How many messages wait in the bridge's queue and are not delivered; None where there is no such queue."""
    async with await aio_pika.connect(broker.url) as connection:
        channel = await connection.channel()
        try:
            found = await channel.declare_queue(f"feedbridge.{feed.gateway}", passive=True)
        except ChannelNotFoundEntity:
            return None
        return found.declaration_result.message_count or 0


async def test_everything_of_a_replay_is_published(
    kafka: Kafka, rabbit: RabbitMQ, topic_prefix: str, tmp_path: Path
) -> None:
    """All types, unknown attributes and roots, repeated and live messages; malformed ones and bombs are dead letters.

    The end of another's replay ends nothing. Afterwards the queue is gone.
    """
    spoilt: dict[str, Any] = {"malformed": 3, "bombs": 3, "strange": 20, "unknown": 3, "duplicates": 20}
    async with (
        feed(rabbit, kafka.bootstrap, topic_prefix, extra=300, live=100, stray_complete=True, **spoilt) as fed,
        BridgeHere(fed.config, tmp_path / "bridge") as bridge,
    ):
        await fed.sim.wait(lambda sim: len(sim.stream.world.log.entries) > 30, seconds=60)
        since = now() - HOUR
        outcome = await replay(bridge.service, since)
        assert outcome.complete
        assert not outcome.clipped
        assert [fed.sim.rest.recoveries[-1]] == [(since, outcome.requests[-1])]
        await fed.expect_all()
        kinds = Counter((dict(each.headers).get("type") or b"").decode() for each in await fed.published())
        assert kinds.keys() >= {f"feed.{name}" for name in ("odds_change", "bet_settlement", "snapshot_complete")}
        assert await queue_of(fed, rabbit) is None
        # Another: nothing is left over from the first, and three days are all that can be asked for.
        fed.publisher.knobs = FeedKnobs()
        outcome = await replay(bridge.service, now() - 100 * HOUR)
        assert outcome.complete
        assert outcome.clipped
        await fed.expect_all()
        assert bridge.service.metrics.total("gaps_total", gateway=fed.gateway) == 0


@pytest.mark.parametrize("ending", ["kill", "stop"])
async def test_a_broker_that_restarts_in_mid_replay_loses_nothing(
    kafka: Kafka, own: RabbitMQ, topic_prefix: str, tmp_path: Path, ending: str
) -> None:
    """What is persistent is delivered after it; the replay goes on and ends with the request it began with."""
    async with (
        feed(own, kafka.bootstrap, topic_prefix, extra=3000) as fed,
        BridgeHere(fed.config, tmp_path / "bridge") as bridge,
    ):
        replaying = asyncio.create_task(replay(bridge.service, now() - HOUR))
        for part in (500, 1500):
            await until(lambda part=part: came(bridge, fed) > part, what=f"{part} messages")  # type: ignore[misc]
            await asyncio.to_thread(getattr(own, ending))
            await asyncio.to_thread(own.start)
        outcome = await replaying
        assert outcome.complete
        assert len(outcome.requests) == 1
        await fed.expect_all()


async def test_a_broker_that_forgets_is_asked_again(
    kafka: Kafka, own: RabbitMQ, topic_prefix: str, tmp_path: Path
) -> None:
    """Transient messages are gone after a restart: the replay is asked for again, and only that one's end counts."""
    async with (
        feed(own, kafka.bootstrap, topic_prefix, extra=3000, persistent=False) as fed,
        BridgeHere(fed.config, tmp_path / "bridge") as bridge,
    ):
        replaying = asyncio.create_task(replay(bridge.service, now() - HOUR))
        await until(lambda: came(bridge, fed) > 500, what="some messages")
        await asyncio.to_thread(own.kill)
        await asyncio.to_thread(own.start)
        outcome = await replaying
        assert outcome.complete
        assert len(outcome.requests) == 2
        again = [message.body for message in fed.publisher.sent if outcome.requests[-1].encode() in message.body]
        published = await fed.published()
        assert len(again) > 3000
        have = Counter(said(each, Schemas.shipped()) for each in published)
        assert all(have[meaning(body)] == 1 for body in again)
        assert max(have.values()) == 1


async def test_a_replay_without_an_end_ends_in_a_time_out_that_says_so(
    kafka: Kafka, rabbit: RabbitMQ, topic_prefix: str, tmp_path: Path
) -> None:
    """It is asked for twice; what came is published all the same."""
    async with (
        feed(rabbit, kafka.bootstrap, topic_prefix, complete=False, patience="2s") as fed,
        BridgeHere(fed.config, tmp_path / "bridge") as bridge,
    ):
        outcome = await replay(bridge.service, now() - HOUR)
        assert not outcome.complete
        assert outcome.reason == "no snapshot_complete for 2 requests, nothing came for 2 s"
        assert len(outcome.requests) == 2
        await bridge.drained()
        await fed.expect_all()
        assert await queue_of(fed, rabbit) is None


async def test_nothing_is_acknowledged_before_it_is_committed(
    rabbit: RabbitMQ, topic_prefix: str, tmp_path: Path, broker: KafkaCluster
) -> None:
    """While Kafka stands still, the broker keeps every message, and no more than the prefetch limit is delivered."""
    async with (
        feed(rabbit, broker.bootstrap, topic_prefix, extra=3 * PREFETCH) as fed,
        BridgeHere(fed.config, tmp_path / "bridge") as bridge,
    ):
        await bridge.ready()
        await asyncio.to_thread(broker.pause)
        replaying = asyncio.create_task(replay(bridge.service, now() - HOUR))
        await until(lambda: bool(fed.sim.rest.recoveries), what="the request")
        await until(
            lambda: len(fed.publisher.sent) > 3 * PREFETCH and fed.publisher.idle, what="the whole replay", seconds=120
        )
        sent = sum(b"<alive" not in message.body for message in fed.publisher.sent)

        async def stands_still() -> bool:
            return (await queue_of(fed, rabbit) or 0) <= sent - PREFETCH + 10

        await until(stands_still, what="as many delivered as may be")
        assert not replaying.done()
        assert (await queue_of(fed, rabbit) or 0) >= sent - PREFETCH
        await asyncio.to_thread(broker.resume)
        assert (await replaying).complete
        await fed.expect_all()


async def test_a_bridge_that_is_killed_gets_again_what_it_had_not_committed(
    kafka: Kafka, rabbit: RabbitMQ, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """Killed in mid-replay, and started again: each message is published once, whichever life it came in."""
    async with (
        feed(rabbit, kafka.bootstrap, topic_prefix, extra=20_000 if soak else 1500) as fed,
        process(fed, tmp_path) as bridge,
    ):
        for life in range(10 if soak else 2):
            await until(took(bridge, 200 * (life + 1)), what="messages")
            bridge.kill()
            await bridge.start()
        outcome = await ended(bridge, seconds=600 if soak else 120)
        assert outcome.complete
        assert "replay_requested" in bridge.output()
        assert not any(spelling in bridge.output() for spelling in (PASSWORD, quote(PASSWORD)))
        await fed.expect_all()


async def test_a_long_replay_takes_no_memory(
    kafka: Kafka, rabbit: RabbitMQ, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """5,000 messages, 100,000 in full: all of them published, with no more memory at the end than early on."""
    count = 100_000 if soak else 5000
    spoilt: dict[str, Any] = {"malformed": 5, "bombs": 5, "strange": 50, "duplicates": 500, "live": 100}
    async with feed(rabbit, kafka.bootstrap, topic_prefix, extra=count, **spoilt) as fed:
        async with process(fed, tmp_path) as bridge:
            await until(took(bridge, 2500), what="the first messages", seconds=120)
            resident = psutil.Process(bridge.pid).memory_info
            before, most = resident().rss, 0
            began = time.monotonic()
            while not bridge_outcome(bridge):
                most = max(most, resident().rss)
                assert not bridge.ended(), bridge.last_words()
                await asyncio.sleep(0.1)
                assert time.monotonic() - began < (3600 if soak else 200)
            assert (await ended(bridge)).complete
            grown = (most - before) / 2**20
        print(f"{count} messages in {time.monotonic() - began:.0f} s, {grown:.1f} MiB more at the most")  # noqa: T201
        assert grown < 32
        await fed.expect_all()


class TestGateway:
    """The gateway alone, with no Kafka behind it."""

    async def test_a_queue_of_the_operators_is_used_and_kept(self, rabbit: RabbitMQ, topic_prefix: str) -> None:
        """Where the bridge may make no queue; it changes nothing about the one that it is given."""
        async with feed(rabbit, "", topic_prefix) as fed, await aio_pika.connect(rabbit.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(f"ops.{fed.gateway}", durable=True)
            await queue.bind(fed.gateway, "#")
            async with only(fed, queue=queue.name) as (gateway, intake):
                outcome = await gateway.replay(now() - HOUR)
            assert outcome is not None
            assert outcome.complete
            sent = Counter(message.body for message in fed.publisher.sent if b"<alive" not in message.body)
            assert Counter(frame.raw for frame in intake.frames if frame.source == AMQP) == sent
            assert await queue_of(fed, rabbit) is None
            await queue.delete()

    async def test_two_do_not_share_a_replay(self, rabbit: RabbitMQ, topic_prefix: str) -> None:
        """While another reads the queue, the bridge waits: each would get a part."""
        paused = asyncio.Event()

        async def sleep(seconds: float) -> None:
            paused.set()
            await asyncio.sleep(min(seconds, 0.1))

        async def leave(_: object) -> None:
            """Acknowledge nothing."""

        async with feed(rabbit, "", topic_prefix) as fed, await aio_pika.connect(rabbit.url) as connection:
            channel = await connection.channel()
            arguments: Any = {"x-expires": QUEUE_EXPIRES}
            queue = await channel.declare_queue(f"feedbridge.{fed.gateway}", durable=True, arguments=arguments)
            tag = await queue.consume(leave, exclusive=True)
            async with only(fed, outside=Outside(sleep=sleep)) as (gateway, _):
                paused.clear()
                replaying = asyncio.create_task(gateway.replay(now() - HOUR))
                await paused.wait()
                assert not fed.sim.rest.recoveries
                await queue.cancel(tag)
                outcome = await replaying
            assert outcome is not None
            assert outcome.complete

    async def test_a_refusal_ends_it(self, rabbit: RabbitMQ, topic_prefix: str) -> None:
        """A key without the scope, a wrong user: named, and not tried again and again."""
        async with feed(rabbit, "", topic_prefix) as fed:
            async with only(fed, url=rabbit.url.replace("guest:", "stranger:")) as (gateway, _):
                outcome = await gateway.replay(now() - HOUR)
            assert outcome is not None
            assert "user, password or virtual host refused" in (outcome.reason or "")
            assert PASSWORD not in (outcome.reason or "")
            fed.sim.keys.add(Key(token=fed.sim.api_key, scopes=TICKTOCK_SCOPES - {"cs2:recovery:initiate"}))
            async with only(fed) as (gateway, _):
                outcome = await gateway.replay(now() - HOUR)
            assert outcome is not None
            assert "missing scope cs2:recovery:initiate" in (outcome.reason or "")


@asynccontextmanager
async def only(
    fed: Feed, *, outside: Outside | None = None, **amqp: Any
) -> AsyncIterator[tuple[TickTock, MemoryIntake]]:
    """A gateway of that feed at work, and what it hands in."""
    config = json.loads(json.dumps(fed.config["gateways"][fed.gateway]))
    config["recovery"]["amqp"] |= amqp
    intake = MemoryIntake()
    settings = TickTockSettings.model_validate(config)
    gateway = TickTock(fed.gateway, settings, intake=intake, metrics=Metrics(), outside=outside)
    running = asyncio.create_task(gateway.run())
    try:
        yield gateway, intake
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_check_says_what_it_found(
    kafka: Kafka, rabbit: RabbitMQ, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reached, over TLS or not, the exchange; each mistake in plain words, and the password in none of them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(rabbit.directory / "chain.pem"))
    async with feed(rabbit, kafka.bootstrap, topic_prefix) as fed:
        marker = "hunter2-s3cr3t"

        async def found(**changes: Any) -> tuple[bool, str]:
            config = json.loads(json.dumps(fed.config))
            gateway = config["gateways"][fed.gateway]
            if not changes.pop("rest", True):
                del gateway["rest"]
            gateway["recovery"]["amqp"] |= changes
            file = tmp_path / "feedbridge.yaml"
            file.write_text(json.dumps(config))
            settings: Any = load(file, environ=os.environ).gateways[fed.gateway]
            gate = TickTock("cs2", settings, intake=MemoryIntake(), metrics=Metrics())
            *_, last = await gate.check()
            assert marker not in last.text
            return last.ok, last.text

        assert await found() == (
            True,
            f"AMQP: connected to 127.0.0.1 without TLS; the exchange {fed.gateway} exists, a queue may be made and bound",
        )
        over_tls = await found(url=rabbit.tls_url)
        assert over_tls[0]
        assert "connected to localhost over TLS" in over_tls[1]
        assert await found(rest=False) == (False, "AMQP: a replay is asked for over REST; set `rest`")
        wrong = rabbit.url.replace(quote(PASSWORD), marker)
        ok, text = await found(url=wrong)
        assert not ok
        assert "user, password or virtual host refused" in text
        ok, text = await found(url=rabbit.url.replace("%2F", "elsewhere"))
        assert not ok
        assert "virtual host" in text
        ok, text = await found(exchange="nothing")
        assert not ok
        assert "no exchange 'nothing'" in text
        ok, text = await found(queue="nothing")
        assert not ok
        assert "no queue 'nothing'" in text
        ok, text = await found(url=f"amqp://u:{marker}@127.0.0.1:1/x")
        assert (ok, text) == (False, "AMQP: 127.0.0.1 refuses connections")
        monkeypatch.delenv("SSL_CERT_FILE")
        ok, text = await found(url=rabbit.tls_url)
        assert not ok
        assert "certificate of localhost is not accepted" in text


def came(bridge: BridgeHere, fed: Feed) -> int:
    """Messages of the replay that are committed."""
    return sum(
        int(bridge.service.metrics.total(name, gateway=fed.gateway, type="feed.odds_change"))
        for name in ("records_published_total", "frames_duplicate_total")
    )


@asynccontextmanager
async def process(fed: Feed, folder: Path) -> AsyncIterator[BridgeProcess]:
    """A bridge in a process of its own that replays the last hour when it starts, and again whenever it is started."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    program = ("tests.replaying", str(now() - HOUR))
    async with BridgeProcess(
        fed.config, folder / "bridge", environ={"PYTHONPATH": paths}, program=program, level="debug"
    ) as bridge:
        yield bridge


def took(bridge: BridgeProcess, least: int) -> Callable[[], Awaitable[bool]]:
    """Whether the running process has received at least so many messages of the type that fills a replay."""

    async def enough() -> bool:
        try:
            _, page = await bridge.get("/metrics")
        except ConnectionError:
            return False
        lines = re.findall(
            rb'^feedbridge_frames_received_total\{.*type="feed.odds_change".*\} (\S+)$', page, re.MULTILINE
        )
        return sum(map(float, lines)) >= least

    return enough


def bridge_outcome(bridge: BridgeProcess) -> list[dict[str, Any]]:
    """The outcomes that it wrote."""
    return [each["outcome"] for each in bridge.events() if each.get("event") == "outcome"]


async def ended(bridge: BridgeProcess, *, seconds: float = 120.0) -> Outcome:
    """The outcome of the last replay."""
    await until(
        lambda: bool(bridge_outcome(bridge)), what=lambda: f"an outcome\n{bridge.last_words()}", seconds=seconds
    )
    fields = {name: value for name, value in bridge_outcome(bridge)[-1].items() if name != "clipped"}
    return Outcome(**fields)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for ``localhost``: files of chain and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret
