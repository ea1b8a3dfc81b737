"""Reads one ledger partition, read_committed, from the start of the window on."""

from __future__ import annotations

from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from bridge import kafka
from bridge.errors import BridgeError, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from confluent_kafka import Consumer

    from bridge.ledger import Entry, EntryCodec

#: Messages taken from the client at once.
MANY: Final = 1000
#: How long (s) a proof of being at the end holds.
PROOF: Final = 0.4
#: Longest single call (s).
CALL: Final = 5.0
#: A topic that was just made has no leader yet, or one that does not know of it: how long (s) that is waited out, and how
#: often it is looked at.
SETTLING: Final = 3.0
LOOK: Final = 0.05
_SETTLING: Final = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)


class LedgerReader:
    """A consumer of one partition of the ledger topic. Owned by the lane's thread."""

    def __init__(
        self,
        consumer: Consumer,
        codec: EntryCodec,
        *,
        topic: str,
        partition: int,
        reports: kafka.Reports,
        clock: Callable[[], float] = monotonic,
        pause: Callable[[float], object] = sleep,
    ) -> None:
        """Nothing is read before `seek`. clock: monotonic, s. pause: sleeps so many seconds."""
        self._clock = clock
        self._pause = pause
        self._consumer = consumer
        self._codec = codec
        self._topic = topic
        self._partition = partition
        self._reports = reports
        self._eof = False
        self._proved = 0.0

    def seek(self, since: int) -> bool:
        """Go to the first entry at or after `since` (ms); to the end if there is none.

        Returns whether entries since then may have been deleted, by the topic's retention. Raises the error that says why Kafka does not answer.
        """
        deadline = self._clock() + SETTLING
        while True:
            try:
                offset, cut = self._offset(since)
                self._consumer.assign([TopicPartition(self._topic, self._partition, offset)])
            except KafkaException as error:
                if error.args[0].code() not in _SETTLING or self._clock() >= deadline:
                    raise self._explain(error) from error
                self._pause(LOOK)
            else:
                return cut

    def seek_back(self, many: int) -> bool:
        """Go back so many offsets from the end; whether that is the beginning. Every second offset or so is an entry.

        Raises the error that says why Kafka does not answer.
        """
        deadline = self._clock() + SETTLING
        while True:
            try:
                partition = TopicPartition(self._topic, self._partition)
                low, high = self._consumer.get_watermark_offsets(partition, CALL, cached=False)
                self._eof = False
                self._consumer.assign([TopicPartition(self._topic, self._partition, max(low, high - many))])
            except KafkaException as error:
                if error.args[0].code() not in _SETTLING or self._clock() >= deadline:
                    raise self._explain(error) from error
                self._pause(LOOK)
            else:
                return bool(high - many <= low)

    def _offset(self, since: int) -> tuple[int, bool]:
        """The offset of the first entry at or after `since` (ms), and whether others before it may have been deleted."""
        found = self._consumer.offsets_for_times([TopicPartition(self._topic, self._partition, since)], CALL)[0]
        if found.error:
            raise KafkaException(found.error)
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, self._partition), CALL)
        if found.offset >= 0:
            return int(found.offset), 0 < low >= found.offset
        # No entry that late. The end may move at any time, so begin a little before it: at the last entry.
        return (max(low, high - MANY), 0 < low == high) if high > 0 else (OFFSET_BEGINNING, False)

    def poll(self, timeout: float) -> Iterator[tuple[Entry, int]]:
        """Yield (entry, the broker's time of it in ms) for what has come; waits up to `timeout` (s) for the first.

        Raises BadData for an entry that can't be read, or the error that says why Kafka does not answer.
        """
        message = self._consumer.poll(timeout)
        if message is None:
            return
        # consume() waits until it has as many as asked for, so only what is there already is taken with it.
        for each in [message, *self._consumer.consume(MANY, 0)]:
            error = each.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    self._eof = True
                    continue
                if error.code() in kafka.HARMLESS_TO_READERS:
                    continue
                if error.retriable() or isinstance(kafka.classify(error), Unreachable):
                    continue  # the client goes on by itself
                raise self._explain(KafkaException(error))
            self._eof = False
            yield self._codec.decode(each.value() or b"", each.headers()), each.timestamp()[1]

    def at_end(self) -> bool:
        """Whether all committed entries are read, proved no longer than `PROOF` ago by an answer of the broker.

        An empty poll does not tell a quiet ledger from a cut connection.
        """
        if self._eof and self._clock() - self._proved > PROOF:
            try:
                self._consumer.get_watermark_offsets(TopicPartition(self._topic, self._partition), PROOF, cached=False)
            except KafkaException:
                return False
            self._proved = self._clock()
        return self._eof

    def close(self) -> None:
        """Let the consumer go."""
        self._consumer.close()

    def _explain(self, error: KafkaException) -> BridgeError:
        return self._reports.classify(error, name=self._topic)
