"""Reading topics: committed records only, from any place, without a group, decoded."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fastavro
import msgspec
import pytest
from confluent_kafka import Producer

from bridge import kafka as clients
from bridge.catalog import Catalog
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.config import Config
from bridge.errors import ConfigError, Unreachable
from bridge.kafka import Admin
from bridge.registry import Registry
from bridge.tail import Decoder, Seen, line, tail
from bridge.topics import Role, SubjectPlan, TopicPlan, apply
from tests.installation import installation
from tests.kafka.conftest import Kafka
from tests.kafka.conftest import Registry as Server
from tests.servers.kafka import KafkaCluster

#: Servers may have to be fetched and started first, and the machine may be busy.
pytestmark = pytest.mark.timeout(240)

SCHEMA = {
    "type": "record",
    "name": "Numbered",
    "fields": [{"name": "n", "type": "long"}, {"name": "price", "type": {"type": "string", "json": "number"}}],
}


def encoded(number: int) -> bytes:
    """A value with that number, without framing."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, json.loads(json.dumps(SCHEMA)), {"n": number, "price": f"{number}.10"})
    return out.getvalue()


class Feed:
    """A topic with a transactional writer."""

    def __init__(self, kafka: Kafka | KafkaCluster, prefix: str, *, partitions: int = 2, name: str = "feed") -> None:
        self.config: Config = installation(kafka={"bootstrap.servers": kafka.bootstrap}, prefix=prefix)
        self.topic = f"{prefix}{name}"
        plan = TopicPlan(
            name=self.topic, role=Role.DATA, gateway="cs2", partitions=partitions, replication=None, config={}
        )
        apply(Admin(self.config), [plan])
        self.partitions = partitions
        self.producer: Producer = clients.producer(self.config, transactional_id=self.topic)
        self.producer.init_transactions(30)

    def write(
        self,
        *numbers: int,
        commit: bool = True,
        framing: bytes = SINGLE_OBJECT + fingerprint(SCHEMA),
        at: int | None = None,
    ) -> None:
        """One transaction with these numbers, each its ms after `at`; the partition follows from the number."""
        self.producer.begin_transaction()
        for number in numbers:
            headers: list[tuple[str, str | bytes | None]] = [("type", b"numbered"), ("seq", str(number).encode())]
            partition = number % self.partitions
            self.producer.produce(
                self.topic,
                framing + encoded(number),
                b"k",
                partition=partition,
                timestamp=number + (time.time_ns() // 1_000_000 if at is None else at),
                headers=headers,
            )
        self.producer.flush(30)
        if commit:
            self.producer.commit_transaction(30)
        else:
            self.producer.abort_transaction(30)

    def read(self, **options: Any) -> list[int]:
        """The numbers that `tail` yields, to the end of what is there."""
        return [seen.data["n"] for seen in self.tail(**{"start": "beginning", "follow": False, **options})]

    def tail(self, **options: Any) -> Iterator[Seen]:
        """`tail` of the topic."""
        return tail(self.config, [self.topic], Decoder([SCHEMA]), **options)


def test_only_committed_records_are_seen(kafka: Kafka, topic_prefix: str) -> None:
    """Neither aborted records nor the markers between transactions; it ends at the end by itself."""
    feed = Feed(kafka, topic_prefix)
    feed.write(0, 1, 2)
    feed.write(100, 101, commit=False)
    feed.write(3)
    found = feed.read()
    assert sorted(found) == [0, 1, 2, 3]
    assert [number for number in found if number % 2 == 0] == [0, 2]


def test_an_open_transaction_ends_the_view(kafka: Kafka, topic_prefix: str) -> None:
    """What is not committed yet is not waited for."""
    feed = Feed(kafka, topic_prefix, partitions=1)
    feed.write(0)
    feed.producer.begin_transaction()
    feed.producer.produce(feed.topic, encoded(9), b"k", partition=0)
    feed.producer.flush(30)
    assert feed.read(patience=10.0) == [0]
    feed.producer.abort_transaction(30)


def test_an_empty_topic_ends_at_once(kafka: Kafka, topic_prefix: str) -> None:
    """Nothing there is an answer."""
    feed = Feed(kafka, topic_prefix)
    assert feed.read() == []
    assert feed.read(last=5) == []


def test_it_starts_at_a_time(kafka: Kafka, topic_prefix: str) -> None:
    """Records of that moment and later; a time after the last record is the end."""
    now = time.time_ns() // 1_000_000 - 100_000
    feed = Feed(kafka, topic_prefix)
    feed.write(*range(10), at=now)
    assert sorted(feed.read(start=now + 6)) == [6, 7, 8, 9]
    assert feed.read(start=now + 50_000) == []


def test_the_last_records_are_found_behind_holes(kafka: Kafka, topic_prefix: str) -> None:
    """Aborted transactions and markers take offsets, so it looks back until it has enough."""
    feed = Feed(kafka, topic_prefix)
    feed.write(*range(10), at=time.time_ns() // 1_000_000 - 1000)
    for _ in range(30):
        feed.write(100, 101, commit=False)
    assert feed.read(last=3) == [7, 8, 9]
    assert feed.read(last=100) == list(range(10))
    assert feed.read(last=0) == []


def test_it_ends_after_a_count(kafka: Kafka, topic_prefix: str) -> None:
    """Also where more would follow, and where none is asked for."""
    feed = Feed(kafka, topic_prefix, partitions=1)
    feed.write(*range(10))
    assert [seen.data["n"] for seen in feed.tail(start="beginning", count=4)] == [0, 1, 2, 3]
    assert list(feed.tail(start="beginning", count=0)) == []


@contextmanager
def following(feed: Feed, **options: Any) -> Iterator[tuple[list[int], Callable[[int], list[int]]]]:
    """A thread that tails; the second value waits until so many are seen."""
    found: list[int] = []
    changed, stop = threading.Condition(), threading.Event()

    def run() -> None:
        for seen in feed.tail(stop=stop.is_set, **options):
            with changed:
                found.append(seen.data["n"])
                changed.notify_all()

    def wait(count: int) -> list[int]:
        with changed:
            assert changed.wait_for(lambda: len(found) >= count, timeout=20), found
        return found

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found, wait
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def test_it_follows_what_comes(kafka: Kafka, topic_prefix: str) -> None:
    """What was there, then what comes, once each, in order, until it is told to stop."""
    feed = Feed(kafka, topic_prefix, partitions=1)
    feed.write(0, 1)
    with following(feed, start="beginning") as (_, wait):
        assert wait(2) == [0, 1]
        feed.write(2, 3, commit=False)
        feed.write(4, 5)
        assert wait(4) == [0, 1, 4, 5]


def test_it_survives_a_broker_that_was_away(broker: KafkaCluster, topic_prefix: str) -> None:
    """A reader that follows shows all, once, when Kafka comes back; one that starts meanwhile ends with exit 69."""
    feed = Feed(broker, topic_prefix, partitions=1)
    feed.write(0)
    with following(feed, start="beginning") as (_, wait):
        assert wait(1) == [0]
        broker.stop()
        with pytest.raises(Unreachable, match="Connection refused"):
            feed.read(patience=1.0)
        broker.start()
        again = Feed(broker, topic_prefix, partitions=1)
        again.write(1)
        assert wait(2) == [0, 1]


def test_a_value_is_read_by_the_registrys_schema(kafka: Kafka, registry: Server, topic_prefix: str) -> None:
    """The wire format's id leads to the schema, and numbers keep their digits."""
    feed = Feed(kafka, topic_prefix, partitions=1)
    subject = SubjectPlan(subject=f"{feed.topic}-value", topic=feed.topic, gateway="cs2", type="t", schema=SCHEMA)
    plan = TopicPlan(
        name=feed.topic, role=Role.DATA, gateway="cs2", partitions=1, replication=None, config={}, subjects=(subject,)
    )
    settings = installation(registry={"url": registry.url}).registry
    assert settings is not None
    with Registry(settings) as client:
        (made,) = client.register([plan])
        feed.write(5, framing=b"\0" + made.id.to_bytes(4, "big"))
        (seen,) = tail(feed.config, [feed.topic], Decoder([], registry=client), start="beginning", follow=False)
    shown: Mapping[str, Any] = msgspec.json.decode(line(seen))
    assert b'"price":5.10' in line(seen)
    assert shown["value"]["n"] == 5
    assert shown["headers"] == {"type": "numbered", "seq": "5"}
    assert shown["key"] == "k"


def test_dead_letters_and_rubbish_are_shown(kafka: Kafka, topic_prefix: str) -> None:
    """Bytes that happen to look framed are not decoded in a dead-letter topic; elsewhere the fault is named."""
    for name, error in (("cs2.dead-letters", None), ("feed", "schema id")):
        feed = Feed(kafka, topic_prefix, partitions=1, name=name)
        feed.write(1, framing=b"\0\0\0\0\1")
        (seen,) = feed.tail(start="beginning", follow=False)
        assert seen.value == b"\0\0\0\0\1" + encoded(1)
        assert seen.schema is None
        assert (seen.error is None) if error is None else (error in str(seen.error))


def test_a_missing_topic_is_named(kafka: Kafka, topic_prefix: str) -> None:
    """Exit 78; passed over where others exist and one asked so."""
    feed = Feed(kafka, topic_prefix)
    feed.write(1)
    names = [f"{topic_prefix}nothing", feed.topic]
    with pytest.raises(ConfigError, match=r"nothing' does not exist.*feedbridge topics apply"):
        list(tail(feed.config, names, Decoder([SCHEMA]), start="beginning", follow=False))
    found = tail(feed.config, names, Decoder([SCHEMA]), start="beginning", follow=False, skip_missing=True)
    assert [seen.data["n"] for seen in found] == [1]


def test_every_schema_of_the_package_is_readable() -> None:
    """The decoder parses each, so that no record of ours stays dark."""
    catalog = Catalog.load()
    decoder = Decoder.of(catalog)
    for kind in catalog.kinds.values():
        for frame_type in (*kind.types.values(), kind.unknown):
            framing = SINGLE_OBJECT + fingerprint(frame_type.schema)
            assert decoder._schema(framing)[0] == frame_type.schema
