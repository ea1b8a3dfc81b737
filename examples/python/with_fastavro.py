"""Reads feedbridge's topics with fastavro alone: both wire formats, no deserializer of a vendor.

Needs ``confluent-kafka`` and ``fastavro``. With a registry, ``python with_fastavro.py localhost:9092 http://localhost:8081 cs2.match.updated …``;
where feedbridge runs without one, give a folder of schemas in its place, as ``feedbridge schemas show TYPE --avsc``
prints them. It ends where the topics end.
"""

from __future__ import annotations

import io
import json
import sys
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaError, TopicPartition
from fastavro.schema import fingerprint, to_parsing_canonical_form


def main() -> None:
    """Read all partitions of the topics from their beginning to their present end."""
    bootstrap, schemas, *topics = sys.argv[1:]
    find = from_registry(schemas) if "://" in schemas else from_folder(Path(schemas))
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
        print(line(message, decode(message.value(), find)))  # noqa: T201 - that is what it is for
    consumer.close()


def decode(value: bytes, find: Any) -> Any:
    """The record of a value: what comes before the Avro bytes names the schema."""
    if value[:1] == b"\x00":  # Confluent: 0, then the schema's id in 4 bytes
        schema, body = find(int.from_bytes(value[1:5], "big")), value[5:]
    elif value[:2] == b"\xc3\x01":  # Avro single object: then the schema's fingerprint in 8 bytes
        schema, body = find(value[2:10].hex()), value[10:]
    else:
        raise ValueError("neither wire format: a dead letter?")
    return fastavro.schemaless_reader(io.BytesIO(body), schema, None)


def from_registry(url: str) -> Any:
    """Schemas by id, each asked for once."""

    @cache
    def find(number: int) -> Any:
        with urllib.request.urlopen(f"{url}/schemas/ids/{number}") as answer:  # noqa: S310 - the user's own registry
            return fastavro.parse_schema(json.loads(json.load(answer)["schema"]))

    return find


def from_folder(folder: Path) -> Any:
    """Schemas by fingerprint (CRC-64-AVRO, least significant byte first), from all ``.avsc`` files of a folder."""
    schemas = {}
    for path in folder.rglob("*.avsc"):
        schema = json.loads(path.read_text())
        schemas[fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")] = fastavro.parse_schema(schema)
    return schemas.__getitem__


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
