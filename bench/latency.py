"""How long a frame takes from the sender's socket to a read_committed consumer, at a steady rate.

Beside it, in the same run: the bare loop with the same frames, and the shortest that Kafka allows: one record, one
transaction, one consumer, again and again.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench.processes import Bare, Bridge, write_config
from bench.sender import Sender
from bridge import kafka, topics
from bridge.catalog import Catalog
from bridge.config import Config
from bridge.topics import Role

#: Part of the stretch that is left out at its begin (s).
_SETTLE: Final = 1.0
_PATIENCE: Final = 30.0


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that `part` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def measure(
    folder: Path, sender: Sender, bootstrap: str, *, first: int, seqs: Sequence[int], rate: float, round_trips: int
) -> dict[str, float]:
    """Return the figures in ms. seqs: of the sender's frames from `first` on, which are sent at `rate` a second."""
    path, config = write_config(folder, name="latency", url=sender.url, bootstrap=bootstrap)

    def flow() -> list[float]:
        with _Arrivals(config, at_least=len(seqs) * 9 // 10) as arrivals:
            sender.pace(first, first + len(seqs), rate)
            sent = dict(zip(seqs, sender.times(), strict=True))
            arrived = arrivals.wait()
        begin = min(sent.values()) + _SETTLE
        return [(at - sent[seq]) * 1000 for seq, at in arrived.items() if seq in sent and sent[seq] >= begin]

    with Bridge(path) as bridge:
        bridge.until_live()
        took = {"latency": flow()}
    with Bare(path, sender.url, "--numbered") as bare:
        bare.until_live()
        took["bare_latency"] = flow()
    took["round_trip"] = _round_trips(config, round_trips)
    found = {}
    for name, values in took.items():
        found[f"{name}_p50_ms"] = percentile(values, 0.5)
        found[f"{name}_p99_ms"] = percentile(values, 0.99)
    for part in ("p50", "p99"):
        found[f"latency_{part}_ratio"] = found[f"latency_{part}_ms"] / found[f"bare_latency_{part}_ms"]
    return found


class _Arrivals:
    """A consumer of all data topics, from their ends on; notes when each sequence number comes."""

    def __init__(self, config: Config, *, at_least: int) -> None:
        self._consumer = kafka.consumer(config, role="latency")
        names = {topic.name for topic in topics.plan(config, Catalog.load()) if topic.role is Role.DATA}
        partitions = [
            TopicPartition(topic.topic, number)
            for topic in self._consumer.list_topics(timeout=10).topics.values()
            if topic.topic in names
            for number in topic.partitions
        ]
        for each in partitions:
            each.offset = self._consumer.get_watermark_offsets(each, timeout=10)[1]
        self._consumer.assign(partitions)
        self._at_least = at_least
        self._arrived: dict[int, float] = {}
        self._last = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def wait(self) -> dict[int, float]:
        """Wait until most have come and no more come; returns sequence number → when (s, CLOCK_MONOTONIC)."""
        deadline = time.monotonic() + _PATIENCE
        while len(self._arrived) < self._at_least or time.monotonic() - self._last < 1:
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {len(self._arrived)} records of at least {self._at_least} have come")
            time.sleep(0.05)
        return dict(self._arrived)

    def _read(self) -> None:
        poll, arrived = self._consumer.poll, self._arrived
        while not self._stop.is_set():
            message = poll(0.1)
            if message is None or message.error() is not None:
                continue
            self._last = time.monotonic()
            if (seq := dict(message.headers() or ()).get("seq")) is not None:
                arrived[int(seq)] = self._last


def _round_trips(config: Config, count: int) -> list[float]:
    """Return how long one record in one transaction takes to a consumer (ms), one after the other."""
    topic = f"bench.{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": str(config.kafka["bootstrap.servers"])})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    producer = kafka.producer(config, transactional_id=topic)
    producer.init_transactions(30)
    consumer = kafka.consumer(config, role="round-trip")
    consumer.assign([TopicPartition(topic, 0, 0)])
    took = []
    try:
        for number in range(count + 20):
            began = time.monotonic()
            producer.begin_transaction()
            producer.produce(topic, b"x" * 300, b"key")
            producer.commit_transaction(30)
            _next(consumer)
            if number >= 20:  # the first ones make connections
                took.append((time.monotonic() - began) * 1000)
    finally:
        consumer.close()
    return took


def _next(consumer: Consumer) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            return
    raise KafkaException("no record came")
