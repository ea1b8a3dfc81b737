"""A consumer that watches what comes out, to measure how long nothing did."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable
from itertools import pairwise
from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_END, Consumer, TopicPartition


class Output(threading.Thread):
    """Reads topics that exist, read_committed, from now on, as an async context manager. All times are monotonic seconds."""

    def __init__(self, bootstrap: str, topics: Iterable[str]) -> None:
        """Nothing is read before `start`."""
        super().__init__(name="output", daemon=True)
        self._topics = list(topics)
        self._arrivals: list[float] = []
        self._first = threading.Event()
        self._stop_now = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "tests-output",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "fetch.error.backoff.ms": 20,
                # A broker that is away is what the test is about
                "log_level": 0,
            }
        )

    def run(self) -> None:
        """Note when records come."""
        known = self._consumer.list_topics(timeout=30).topics
        self._consumer.assign(
            [TopicPartition(topic, each, OFFSET_END) for topic in self._topics for each in known[topic].partitions]
        )
        while not self._stop_now.is_set():
            if any(message.error() is None for message in self._consumer.consume(1000, timeout=0.02)):
                self._arrivals.append(time.monotonic())
                self._first.set()

    def stall(self, since: float) -> float:
        """The longest time without a record from `since` until now."""
        moments = [since, *(each for each in self._arrivals if each > since), time.monotonic()]
        return max(after - before for before, after in pairwise(moments))

    async def __aenter__(self) -> Self:
        """Return when the first record has come."""
        self.start()
        if not await asyncio.to_thread(self._first.wait, 30):
            raise TimeoutError("no record came within 30 s")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_now.set()
        await asyncio.to_thread(self.join)
        self._consumer.close()
