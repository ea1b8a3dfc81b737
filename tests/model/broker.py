"""A model of Kafka: partitions, transactions, fencing, the last stable offset, markers that come late.

What is modelled is what brokers promise and what they do not: an answer to EndTxn comes before the markers are written, each
partition gets its marker at a time of its own, a new producer of a transactional id waits until the transaction of the
old one has ended, a transaction past its time-out is aborted and its producer fenced.

One assumption: a request of a broken connection is not executed after a later request of the same client was. Kafka's
protection against that (KIP-890) is its own affair.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from confluent_kafka import KafkaError, KafkaException

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.clients import Consumer
    from tests.model.world import World

#: Partitions of each data topic.
PARTITIONS: Final = 2
#: A record that holds these bytes is refused, whatever it is.
REFUSED: Final = b"POISON"


def failure(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaException:
    """An exception as the client raises it."""
    return KafkaException(KafkaError(code, f"simulated {KafkaError(code).name()}", fatal, retriable, abort))


class Denied(Exception):
    """The broker answers a request with an error. code: Kafka's."""

    def __init__(self, code: int) -> None:
        """Keep the code."""
        super().__init__(KafkaError(code).name())
        self.code = code


@dataclass
class Transaction:
    """One transaction. writer: who made it, for the oracle. outcome: True committed, False aborted, None open."""

    id: str
    epoch: int
    writer: str
    outcome: bool | None = None
    #: Partitions whose marker is still to be written.
    partitions: set[tuple[str, int]] = field(default_factory=set)
    number: int = 0


@dataclass
class Stored:
    """One record in a partition. at: the broker's time, ms."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: dict[str, bytes]
    timestamp: int
    at: int
    transaction: Transaction | None
    #: Counts all records of all partitions.
    serial: int = 0


@dataclass
class Partition:
    """A log. stable: the last stable offset. resolved: the transactions that have their marker here."""

    log: list[Stored] = field(default_factory=list)
    stable: int = 0
    unresolved: set[int] = field(default_factory=set)
    readers: list[Consumer] = field(default_factory=list)

    def advance(self) -> None:
        """Move the last stable offset to the first record of an open transaction."""
        log, unresolved = self.log, self.unresolved
        while self.stable < len(log):
            transaction = log[self.stable].transaction
            if transaction is not None and id(transaction) in unresolved:
                return
            self.stable += 1


@dataclass
class Producing:
    """What the coordinator knows of a transactional id. state: empty, ongoing, prepare or complete."""

    epoch: int = -1
    state: str = "empty"
    transaction: Transaction | None = None


class Broker:
    """All brokers as one. slow: seconds that each request takes longer. down: none answers.

    lose_request, lose_answer: the probability of either, for each request.
    """

    def __init__(self, world: World, *, transaction_timeout: float) -> None:
        """transaction_timeout: s."""
        self._world = world
        self._chance = world.chance
        self._timeout = transaction_timeout
        self._ids: dict[str, Producing] = {}
        self.partitions: dict[tuple[str, int], Partition] = {}
        self.slow = 0.0
        self.down = False
        self.lose_request = 0.0
        self.lose_answer = 0.0
        self.markers_late = 0.0
        #: All transactions that were committed, in the order of their commits.
        self.committed: list[Transaction] = []
        self._serial = 0

    def latency(self) -> float:
        """Seconds of one way."""
        return self._chance.uniform(0.0005, 0.003) + (self.slow * self._chance.random() if self.slow else 0.0)

    def partition(self, topic: str, number: int) -> Partition:
        """One log."""
        found = self.partitions.get((topic, number))
        if found is None:
            found = self.partitions[topic, number] = Partition()
        return found

    # What a coordinator does

    def init(self, name: str) -> int:
        """InitProducerId: fence whoever had the transactional id; returns the new epoch."""
        known = self._ids.setdefault(name, Producing())
        if known.state == "ongoing":
            known.epoch += 1
            self._end(known, outcome=False)
        if known.state == "prepare":
            raise Denied(KafkaError.CONCURRENT_TRANSACTIONS)
        known.epoch += 1
        known.state, known.transaction = "empty", None
        return known.epoch

    def produce(self, name: str, epoch: int, writer: str, records: list[dict[str, Any]]) -> None:
        """AddPartitionsToTxn and Produce. The records are all appended or, where one is refused, those before it."""
        known = self._current(name, epoch)
        if known.state == "prepare":
            raise Denied(KafkaError.CONCURRENT_TRANSACTIONS)
        if known.state != "ongoing":
            known.state = "ongoing"
            transaction = known.transaction = Transaction(name, epoch, writer)
            self._world.later(self._timeout, lambda: self._expire(known, transaction))
        assert known.transaction is not None
        for record in records:
            if REFUSED in record["value"] and "reason" not in record["headers"]:
                raise Denied(KafkaError.INVALID_RECORD)
            self._append(known.transaction, record)

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """EndTxn. Asked again for what is done already, it answers as it did."""
        known = self._current(name, epoch)
        if known.state == "ongoing":
            self._end(known, outcome=commit)
        elif known.state == "empty" or known.transaction is None or known.transaction.outcome is not commit:
            raise Denied(KafkaError.INVALID_TXN_STATE)

    def expire_now(self) -> bool:
        """Time out an open transaction, if there is one."""
        for known in self._ids.values():
            if known.state == "ongoing" and known.transaction is not None:
                self._expire(known, known.transaction)
                return True
        return False

    def _expire(self, known: Producing, transaction: Transaction) -> None:
        if known.transaction is transaction and known.state == "ongoing":
            self._world.tell("broker", "a transaction timed out")
            known.epoch += 1
            self._end(known, outcome=False)

    def _current(self, name: str, epoch: int) -> Producing:
        known = self._ids.get(name)
        if known is None or known.epoch != epoch:
            raise Denied(KafkaError.INVALID_PRODUCER_EPOCH)
        return known

    def _append(self, transaction: Transaction, record: dict[str, Any]) -> None:
        topic, number = record["topic"], record["partition"]
        if number < 0:
            number = crc32(record["key"]) % PARTITIONS
        partition = self.partition(topic, number)
        partition.log.append(
            Stored(
                topic,
                number,
                record["key"],
                record["value"],
                record["headers"],
                record["timestamp"],
                self._world.wall(),
                transaction,
                self._serial,
            )
        )
        self._serial += 1
        transaction.partitions.add((topic, number))
        partition.unresolved.add(id(transaction))

    def _end(self, known: Producing, *, outcome: bool) -> None:
        """Decide, then write the markers, each in its own time."""
        transaction = known.transaction
        assert transaction is not None
        transaction.outcome = outcome
        known.state = "prepare" if transaction.partitions else "complete"
        if outcome:
            transaction.number = len(self.committed)
            self.committed.append(transaction)
        for place in sorted(transaction.partitions):
            late = self.markers_late * self._chance.random() if self.markers_late else 0.0
            self._world.later(
                self._chance.uniform(0.0002, 0.006) + late, functools.partial(self._mark, known, transaction, place)
            )

    def _mark(self, known: Producing, transaction: Transaction, place: tuple[str, int]) -> None:
        partition = self.partitions[place]
        # The marker takes an offset of its own.
        partition.log.append(Stored(*place, b"", b"", {}, 0, self._world.wall(), None))
        partition.unresolved.discard(id(transaction))
        partition.advance()
        transaction.partitions.discard(place)
        if not transaction.partitions and known.transaction is transaction:
            known.state = "complete"
        for reader in partition.readers:
            reader.notify()


class Line:
    """The connection of one process's host to the brokers. cut: nothing passes."""

    def __init__(self, world: World, broker: Broker) -> None:
        """It works."""
        self._world = world
        self._broker = broker
        self.cut = False
        #: So many requests are lost, or their answers, from now on.
        self.lose_requests = 0
        self.lose_answers = 0
        self._held: list[Callable[[], None]] = []

    @property
    def works(self) -> bool:
        """Whether a request would be answered."""
        return not self.cut and not self._broker.down

    def heal(self) -> None:
        """Let everything pass again, also what lies in the buffers."""
        self.cut = False
        held, self._held = self._held, []
        for each in held:
            self._world.later(self._broker.latency(), each)

    def send(self, execute: Callable[[], Any], answer: Callable[[Any], None]) -> None:
        """Send a request. It may be executed or not, and answered or not."""
        broker, chance = self._broker, self._world.chance

        def arrive() -> None:
            if not self.works:
                if chance.random() < 0.3:
                    self._held.append(arrive)
                return
            result: Any
            try:
                result = execute()
            except Denied as denied:
                result = denied
            if self.lose_answers > 0:
                self.lose_answers -= 1
                return
            if broker.lose_answer and chance.random() < broker.lose_answer:
                return
            self._world.later(broker.latency(), lambda: answer(result) if self.works else None)

        if self.lose_requests > 0:
            self.lose_requests -= 1
            return
        if broker.lose_request and chance.random() < broker.lose_request:
            return
        self._world.later(broker.latency(), arrive)
