"""Reads feedbridge's topics with confluent-kafka and its AvroDeserializer, and prints each record as a line of JSON.

Needs ``confluent-kafka[avro,schemaregistry]``. Run: ``python with_registry.py localhost:9092 http://localhost:8081 cs2.match.updated …``.
It ends where the topics end.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def main() -> None:
    """Read all partitions of the topics from their beginning to their present end."""
    bootstrap, registry, *topics = sys.argv[1:]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "example",
            "isolation.level": "read_committed",  # without it, records of aborted transactions show up too
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    with SchemaRegistryClient({"url": registry}) as client:
        decode = AvroDeserializer(client)
        found = consumer.list_topics(timeout=10).topics
        waiting = {(topic, partition) for topic in topics for partition in found[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in waiting])
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
            value = decode(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
            print(line(message, value))  # noqa: T201 - that is what it is for
    consumer.close()


def line(message: Any, value: Any) -> str:
    """One record as JSON, members in alphabetical order."""
    record = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": message.key().decode(),
        "headers": {name: text.decode() for name, text in message.headers()},
        "value": value,
    }
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    main()
