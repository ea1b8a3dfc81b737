"""Reads topics from their beginning to their present end, as a consumer of the bridge's records would."""

from __future__ import annotations

import time
from typing import Final, Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from tests.servers.process import ServerError

_BATCH: Final = 10_000


def read_topics(
    bootstrap: str,
    *topics: str,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    timeout: float = 60.0,
) -> list[Message]:
    """Return all messages of the topics; those of one partition lie in their order.

    The end is where the broker says so (``partition EOF``), which with read_committed is the last stable offset: what
    an open transaction holds is not waited for. Offsets have holes (control records), so no count is expected.
    Raises KafkaException (an unknown topic, a refused read) and ServerError after timeout seconds.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests-reading",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            "fetch.wait.max.ms": 50,
            "message.max.bytes": 32 * 1024 * 1024,
        }
    )
    try:
        known = consumer.list_topics(timeout=timeout).topics
        if missing := [topic for topic in topics if topic not in known]:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {', '.join(missing)}"))
        unread = {(topic, partition) for topic in topics for partition in known[topic].partitions}
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in sorted(unread)])
        return _read(consumer, unread, timeout=timeout)
    finally:
        consumer.close()


def _read(consumer: Consumer, unread: set[tuple[str, int]], *, timeout: float) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + timeout
    while unread:
        if time.monotonic() > deadline:
            raise ServerError(f"not read to the end within {timeout:g} s: {sorted(unread)}")
        for message in consumer.consume(_BATCH, timeout=0.1):
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard((message.topic() or "", message.partition() or 0))
            elif not error.retriable():
                raise KafkaException(error)
    return messages
