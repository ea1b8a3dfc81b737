"""Reads feedbridge's topics into typed classes (`bridge.records`), and prints each record as a line of JSON.

Needs ``feedbridge``, for the classes, and ``confluent-kafka[schemaregistry]``. Run:
``python with_records.py localhost:9092 http://localhost:8081 cs2.market.updated …``; where feedbridge runs without a registry, give ``-`` in
its place. It ends where the topics end.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient

from bridge.records import Decoder, by_fingerprint, by_registry, ticktock


def main() -> None:
    """Read all partitions of the topics from their beginning to their present end."""
    bootstrap, registry, *topics = sys.argv[1:]
    decoder = Decoder(by_fingerprint() if registry == "-" else by_registry(SchemaRegistryClient({"url": registry})))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "example",
            "isolation.level": "read_committed",  # without it, records of aborted transactions show up too
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    found = consumer.list_topics(timeout=10).topics
    waiting = {(topic, partition) for topic in topics for partition in found[topic].partitions}
    consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in waiting])
    suspended = 0
    while waiting:
        message: Any = consumer.poll(1.0)
        if message is None:
            continue
        error = message.error()
        if error is not None:
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - that is how the library calls it
                raise RuntimeError(error)
            waiting.discard((message.topic(), message.partition()))
            continue
        record = decoder.decode(message.value())
        if isinstance(record, ticktock.MarketSuspended) and record.data.suspended:  # a type checker knows the fields
            suspended += 1
        print(line(message, record))  # noqa: T201 - that is what it is for
    consumer.close()
    print(f"{suspended} markets were suspended", file=sys.stderr)  # noqa: T201 - as above


def line(message: Any, record: msgspec.Struct) -> str:
    """One record as JSON, members in alphabetical order."""
    shown = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": message.key().decode(),
        "headers": {name: text.decode() for name, text in message.headers()},
        "value": msgspec.to_builtins(record),
    }
    return json.dumps(shown, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    main()
