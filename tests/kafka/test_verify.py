"""What a bridge has published can be proved from Kafka, and what was doctored is refuted in exactly that."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from bridge import kafka as clients
from bridge import topics
from bridge.catalog import Catalog
from bridge.config import Config, load
from bridge.frame import Record
from bridge.ledger import ENTRY, Entry, EntryCodec
from bridge.link import Linker
from bridge.proof import Proof, prove
from bridge.registry import Registry as Schemas
from bridge.sim import PredictStreetKnobs, PredictStreetSim, TickTockSim
from bridge.tail import Decoder
from bridge.topics import Role
from bridge.verdict import Kind, Span
from tests.audit.frames import frames, scripted
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, now, predictstreet, ticktock
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(300)

CATALOG = Catalog.load()


def proved(config: Config, **options: Any) -> Proof:
    """`prove` with the schemas of the package and the registry of the configuration."""
    if config.registry is None:
        return prove(config, CATALOG, Decoder.of(CATALOG), **options)
    with Schemas(config.registry) as registry:
        return prove(config, CATALOG, Decoder.of(CATALOG, registry=registry), **options)


def command(file: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a command as a user runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", *words, "-c", str(file)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


async def eventful(sim: Any, script: Any, bridge: BridgeProcess, *, gateway: str) -> None:
    """The whole script, with a SIGKILL and a cut connection on the way."""
    await bridge.ready()
    await bridge.received(300, gateway=gateway)
    bridge.kill()
    await bridge.start()
    await bridge.ready()
    await bridge.received(300, gateway=gateway)
    await sim.drop()
    await script.script.finished(seconds=90)
    await bridge.drained()


class Doctor:
    """Copies an installation's topics, record by record, to those of another prefix, where each may be changed."""

    def __init__(self, config: Config, file: Path, prefix: str) -> None:
        data = json.loads(file.read_text())
        data["topics"]["prefix"] = prefix
        self.file = file.with_name(f"{prefix}yaml")
        self.file.write_text(json.dumps(data))
        self.config = load(self.file, environ=os.environ)
        old = config.topics.prefix
        plan = topics.plan(config, CATALOG)
        topics.apply(clients.Admin(self.config), topics.plan(self.config, CATALOG))
        self._bootstrap = str(config.kafka["bootstrap.servers"])
        found = [each.name for each in plan if each.role is not Role.REQUESTS]
        self.partitions: dict[tuple[str, int], list[Message]] = {}
        for message in read_topics(self._bootstrap, *found):
            place = (prefix + str(message.topic()).removeprefix(old), message.partition() or 0)
            self.partitions.setdefault(place, []).append(message)

    def largest(self, role: str) -> tuple[str, int]:
        """The partition of a topic whose name ends so that has most records."""
        return max(
            (place for place in self.partitions if place[0].endswith(role)), key=lambda each: len(self.partitions[each])
        )

    def neighbours(self, place: tuple[str, int]) -> int:
        """Where two different records of one key follow each other in a partition."""
        records = self.partitions[place]
        return next(
            at
            for at, (one, two) in enumerate(pairwise(records))
            if one.key() == two.key() and one.value() != two.value()
        )

    def write(self) -> None:
        """Write all as it now is."""
        producer = Producer({"bootstrap.servers": self._bootstrap, "enable.idempotence": True})
        for (topic, partition), messages in self.partitions.items():
            for message in messages:
                producer.produce(
                    topic, message.value(), message.key(), partition,
                    timestamp=message.timestamp()[1], headers=message.headers(),
                )  # fmt: skip
        assert producer.flush(60) == 0


def later(ms: int) -> None:
    """Return when the clock, which is the broker's too, has moved on so far."""
    moment = now() + ms
    while now() <= moment:
        time.sleep(0.001)


def kinds(proof: Proof) -> dict[str, int]:
    """How often which kind of promise is broken."""
    return {str(kind): count for kind, count in proof.verdict.counts.items()}


@pytest.mark.parametrize("layout", [["type"], ["gateway"], ["type", "gateway"]], ids="+".join)
async def test_a_real_run_is_proved_and_doctored_copies_of_it_are_refuted(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, layout: list[str]
) -> None:
    """Duplicates, collisions, malformed frames, a SIGKILL and a reconnect: every promise holds. In a copy of its topics
    one record more, two swapped and a strange one are refuted as just these three.
    """  # noqa: D205
    script = scripted("ticktock", frames("ticktock", 4000, seed=41, now=now()), rate=500.0, overlap=200)
    async with script as sim:
        assert isinstance(sim, TickTockSim)
        settings = ticktock(sim, silence="600s")
        config = configuration(
            {"cs2": settings}, kafka=kafka.bootstrap, prefix=topic_prefix, topics={"layout": layout, "partitions": 3}
        )
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await eventful(sim, script, bridge, gateway="cs2")
            found = load(bridge.file, environ=os.environ)
            running = await asyncio.to_thread(proved, found)
            assert kinds(running) == {}, running.verdict.violations
            assert await bridge.stop() == 0
            file = bridge.file
    proof = await asyncio.to_thread(proved, found)
    assert kinds(proof) == {}, proof.verdict.violations
    verdict = proof.verdict
    assert (verdict.older, verdict.unlinked, verdict.strange, verdict.deleted) == (0, 0, 0, {})
    assert verdict.linked == verdict.records > 2000 * len(layout)
    assert proof.dead.total() > 10
    assert {gap["cause"] for gap in proof.gaps} >= {"crash", "disconnect"}
    code, out = await asyncio.to_thread(command, file, "verify")
    assert code == 0, out
    assert max(map(len, out.splitlines())) <= 80
    code, out = await asyncio.to_thread(command, file, "gaps", "list", "--json")
    assert (code, len(out.splitlines())) == (0, len(proof.gaps))

    doctor = Doctor(found, file, f"{topic_prefix}copy.")
    topic = "cs2" if "gateway" in layout else "cs2.market.updated"
    place = doctor.largest(topic)
    records = doctor.partitions[place]
    at = doctor.neighbours(place)
    records[at], records[at + 1] = records[at + 1], records[at]
    twice = records[len(records) // 2]
    records.insert(len(records) - 1, twice)
    await asyncio.to_thread(doctor.write)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(place[0], b"strange", records[0].key())
    assert producer.flush(30) == 0
    refuted = await asyncio.to_thread(proved, doctor.config)
    assert kinds(refuted) == {"duplicate": 1, "order": 1, "outside": 1}, refuted.verdict.violations
    by_kind = {each.kind: each for each in refuted.verdict.violations}
    assert {each.topic for each in by_kind.values()} == {place[0]}
    assert by_kind[Kind.ORDER].offset in {at, at + 1}
    assert by_kind[Kind.DUPLICATE].key == twice.key()
    code, out = await asyncio.to_thread(command, doctor.file, "verify", "--json")
    assert code == 1
    assert json.loads(out[: out.rindex("}") + 1])["broken"] == {"duplicate": 1, "order": 1, "outside": 1, "missing": 0}


class Forger:
    """Writes to the topics of an installation what no bridge would."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.codec = EntryCodec(CATALOG.own("ledger"))
        self.linker = Linker(config.topics.prefix)
        self.producer = clients.producer(config, transactional_id=f"{config.topics.prefix}forger")
        self.producer.init_transactions(30)

    def commit(self, written: Iterable[Record], *, told: Iterable[Record] | None, abort: bool = False) -> None:
        """One transaction with these records, whose entry tells of others; None: no entry."""
        self.producer.begin_transaction()
        for record in written:
            self.producer.produce(record.topic, record.value, record.key, headers=record.headers)
        if told is not None:
            entry = Entry(kind=ENTRY, instance="forger", at=now(), links=self.linker.links(told))
            ledger = topics.own_name(self.config, Role.LEDGER)
            self.producer.produce(ledger, self.codec.encode(entry), b"0", partition=0)
        if abort:
            self.producer.abort_transaction(30)
        else:
            self.producer.commit_transaction(30)

    def record(self, value: str, topic: str = "cs2.event.kill", key: bytes = b"k") -> Record:
        """A record that was received now."""
        return Record(
            self.config.topics.prefix + topic, key, value.encode(), [("received", str(now()).encode())], now()
        )


@pytest.fixture
def forger(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> Forger:
    """Topics without a bridge."""
    file = tmp_path / "feedbridge.yaml"
    gateway = {"kind": "ticktock", "url": "wss://gateway.invalid", "api_key": "k"}
    file.write_text(json.dumps(configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)))
    config = load(file, environ=os.environ)
    topics.apply(clients.Admin(config), topics.plan(config, CATALOG))
    return Forger(config)


def test_each_kind_of_forgery_is_found(forger: Forger) -> None:
    """By hand, in transactions: good ones and aborted ones hold; doubled, swapped, untold and lost records are refuted."""
    good = [forger.record(f"good {number}") for number in range(20)]
    forger.commit(good, told=good)
    forger.commit([forger.record("aborted")], told=None, abort=True)
    assert kinds(proved(forger.config)) == {}
    a, b, c = (forger.record(name) for name in "abc")
    forger.commit([b, a, c], told=[a, b, c])
    forger.commit([good[3]], told=None)
    forger.commit([forger.record("untold")], told=None)
    lost = forger.record("lost", topic="cs2.market.updated")
    forger.commit([], told=[lost])
    proof = proved(forger.config)
    assert kinds(proof) == {"order": 1, "duplicate": 1, "outside": 1, "missing": 1}
    [missing] = [each for each in proof.verdict.violations if each.kind is Kind.MISSING]
    assert missing.topic.endswith("ledger")
    assert "cs2.market.updated" in missing.text


def test_an_open_transaction_is_no_violation(forger: Forger) -> None:
    """What is not committed yet is neither missing nor outside; what ends meanwhile is waited for."""
    good = [forger.record(f"good {number}") for number in range(5)]
    forger.commit(good, told=good)
    forger.producer.begin_transaction()
    forger.producer.produce(good[0].topic, b"open", b"k")
    forger.producer.flush(30)
    seen: list[str] = []

    def tell(what: str, done: int, _whole: int) -> None:
        if what == "topics" and done and not seen:
            seen.append(what)
            forger.producer.abort_transaction(30)

    proof = proved(forger.config, progress=tell)
    assert seen
    assert kinds(proof) == {}
    assert proof.verdict.records == 5


def test_what_retention_deleted_is_said_and_not_blamed(forger: Forger) -> None:
    """Records that a topic no longer holds are not missing, and those older than the ledger are not strange."""
    first = [forger.record(f"first {number}") for number in range(5)]
    forger.commit(first, told=first)
    later(10)  # entries of one millisecond can't be told apart
    second = [forger.record(f"second {number}") for number in range(5)]
    forger.commit(second, told=second)
    admin = AdminClient({"bootstrap.servers": str(forger.config.kafka["bootstrap.servers"])})
    [partition] = {
        m.partition() or 0 for m in read_topics(str(forger.config.kafka["bootstrap.servers"]), first[0].topic)
    }
    for future in admin.delete_records([TopicPartition(first[0].topic, partition, 5)]).values():
        future.result()
    proof = proved(forger.config)
    assert kinds(proof) == {}
    assert proof.verdict.deleted == {first[0].topic: 5}
    ledger = topics.own_name(forger.config, Role.LEDGER)
    for future in admin.delete_records([TopicPartition(ledger, 0, -1)]).values():
        future.result()
    proof = proved(forger.config)
    assert kinds(proof) == {}
    assert proof.verdict.older == 5


def test_a_span_judges_only_what_was_published_in_it(forger: Forger) -> None:
    """What lies before and after may be as wrong as it likes; records with old event times are found all the same."""
    wrong = [forger.record(name) for name in "ab"]
    forger.commit(reversed(wrong), told=wrong)
    later(50)
    since = now()
    good = [forger.record(f"good {number}") for number in range(20)]
    forger.commit(good, told=good)
    until = now() + 5
    later(50)
    forger.commit([forger.record("untold")], told=None)
    assert kinds(proved(forger.config)) == {"order": 1, "outside": 1}
    proof = proved(forger.config, span=Span(since=since, until=until))
    assert kinds(proof) == {}
    assert proof.verdict.entries == 1
    assert kinds(proved(forger.config, span=Span(since=since))) == {"outside": 1}
    assert kinds(proved(forger.config, span=Span(until=until))) == {"order": 1}


async def test_several_gateways_and_a_registry(
    kafka: Kafka, registry: Registry, topic_prefix: str, tmp_path: Path
) -> None:
    """Confluent's wire format, and PredictStreet's REST rows, books and trades."""
    knobs = PredictStreetKnobs(generation=1, silent_book=False)
    script = scripted("predictstreet", frames("predictstreet", 800, seed=42, now=now(), knobs=knobs), knobs=knobs)
    async with script as sim:
        assert isinstance(sim, PredictStreetSim)
        config = configuration(
            {"markets": predictstreet(sim, silence="600s")},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            registry=registry.url,
        )
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await script.script.finished(seconds=90)
            await bridge.drained()
            assert await bridge.stop() == 0
            found = load(bridge.file, environ=os.environ)
    proof = await asyncio.to_thread(proved, found)
    assert kinds(proof) == {}, proof.verdict.violations
    assert proof.verdict.linked == proof.verdict.records > 400
