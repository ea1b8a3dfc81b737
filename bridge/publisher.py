"""The transactional producer of a lane, owned by the lane's thread.

Contract of librdkafka, in this order: a *fatal* error ends the producer (fenced, or spent); one that *requires an abort*
ends the transaction, and the same records may go into the next; a *retriable* one asks for the same call again, a
time-out of a commit included, whose outcome is unknown until that call returns; anything else leaves the producer in
doubt, and a doubtful producer is thrown away: fence, read the ledger, go on from the journal.

Delivery reports are asked for failures only: a commit fails if any record of its transaction did, and the report says why.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException

from bridge import kafka
from bridge.errors import BridgeError, Fenced, LaneError, Refused, Restart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from confluent_kafka import Message, Producer

    from bridge.frame import Record

#: Longest single call (s); between calls `give_up` is asked and the lane shows that it lives.
CALL: Final = 1.0
#: A call that takes longer (s) is worth a word; a busy broker may take a second or two.
PATIENCE: Final = 3.0
#: What a call of the client may raise. A fatal error that surfaces while delivery reports are served comes as a
#: SystemError whose cause it is.
FAILURES: Final = (KafkaException, SystemError)
#: Refusals of a record, not of the transaction: trying the same again is no use.
POISON: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_TIMESTAMP,
    }
)


class Aborted(LaneError):
    """The transaction is aborted, nothing of it is visible; the same records may be tried again.

    error: why, as one of our errors. code: librdkafka's. poison: a record was refused for what it is.
    """

    def __init__(self, error: BridgeError, code: int) -> None:
        """Keep the facts."""
        super().__init__(str(error))
        self.error = error
        self.code = code

    @property
    def poison(self) -> bool:
        """Whether some record of the transaction can never be published."""
        return self.code in POISON


class GivenUp(LaneError):
    """`give_up` said so while a call had to be repeated; the outcome of the transaction is unknown."""


class Publisher:
    """One producer of one transactional id, from `fence` to its end.

    producer: transactional, not yet initialised. reports: what its threads report. waiting: called with a line of text
    while a call has to be repeated (Kafka does not answer), with None when calls succeed again. give_up: asked between
    repeated calls. clock: monotonic, s.
    """

    def __init__(
        self,
        producer: Producer,
        *,
        transactional_id: str,
        reports: kafka.Reports,
        waiting: Callable[[str | None], None],
        give_up: Callable[[], bool],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Nothing is sent yet."""
        self._clock = clock
        self._producer = producer
        self._id = transactional_id
        self._reports = reports
        self._waiting = waiting
        self._give_up = give_up
        #: Of the open transaction: when it began, how many of its records were handed over, what aborted it before its
        #: commit was asked for.
        self._began: float | None = None
        self._sent = 0
        self._aborted: Aborted | None = None

    def fence(self) -> None:
        """Become the only producer of the transactional id; its predecessor's open transaction is aborted.

        Raises `Restart`, `GivenUp`, or the error that says what Kafka refuses.
        """
        try:
            self._repeat(lambda: self._producer.init_transactions(CALL * 5))
        except Aborted as aborted:
            raise aborted.error from aborted
        except Restart as restart:
            # Another producer would be refused as well: who waits must be told why.
            named = kafka.classify(_failure(restart.__cause__ or restart), name=self._id)
            raise named if isinstance(named, Refused) else restart from restart.__cause__

    def send(self, records: Sequence[Record]) -> None:
        """Hand over records of the next transaction before it is complete: the broker takes them meanwhile.

        records: all of it so far; those that an earlier call handed over stay before them and are not sent again. Where
        the transaction had to be aborted, `commit` says so. Raises `Fenced`, `Restart` or `GivenUp`.
        """
        if self._aborted is None and len(records) > self._sent:
            try:
                self._hand_over(records)
            except Aborted as aborted:
                self._aborted = aborted

    def commit(self, records: Sequence[Record], entry: Record, partition: int) -> float:
        """Publish records and their ledger entry in one transaction.

        records: all of them, those that `send` took included. Returns the seconds from the first of them to the commit.
        Raises `Aborted` (then nothing is sent, all may be tried again), `Fenced`, `Restart` or `GivenUp`.
        """
        if self._aborted is not None:
            earlier, self._aborted = self._aborted, None
            raise earlier
        self._hand_over(records)
        producer = self._producer
        try:
            self._when_room(entry, partition=partition)
            self._repeat(lambda: producer.commit_transaction(CALL))
        except FAILURES as error:  # of produce()
            raise self._abort(_failure(error)) from error
        except Aborted as aborted:
            self._end()
            raise self._blame(aborted) from aborted
        assert self._began is not None  # noqa: S101 - for the type checker
        seconds = self._clock() - self._began
        self._began, self._sent = None, 0
        return seconds

    def abort(self) -> None:
        """Give up what `send` began; nothing of it is visible. Raises `Fenced`, `Restart` or `GivenUp`."""
        self._aborted = None
        if self._began is not None:
            self._end()

    def announce(self, entries: Mapping[int, Record], records: Sequence[Record] = ()) -> None:
        """Publish ledger entries in several partitions, partition → entry, and records, in one transaction.

        Raises `Aborted`, `Fenced`, `Restart` or `GivenUp`.
        """
        try:
            self._repeat(self._producer.begin_transaction)
            for partition, record in (*((-1, each) for each in records), *entries.items()):
                self._when_room(record, partition=partition)
            self._repeat(lambda: self._producer.commit_transaction(CALL))
        except FAILURES as error:  # of produce()
            raise self._abort(_failure(error)) from error
        except Aborted:
            self._end()
            raise

    def culprit(self, records: Sequence[Record]) -> tuple[int, BridgeError] | None:
        """Find the record that Kafka refuses, by sending each alone in a transaction that is aborted.

        Returns its index and the reason; None if each alone is taken. Ask a fresh, fenced producer, and use it for
        nothing else: a refused record leaves a hole in the sequence numbers of the one that sent it.
        """
        for index, record in enumerate(records):
            if self._give_up():
                raise GivenUp("stopped while a refused record was sought", where="kafka")
            found: list[KafkaError] = []
            try:
                self._repeat(self._producer.begin_transaction)
                self._when_room(record, on_delivery=_into(found))
                while not found and self._producer.flush(CALL):
                    if self._give_up():
                        raise GivenUp("stopped while a refused record was sought", where="kafka")
            except FAILURES as error:
                found.append(_failure(error))
            except Aborted as aborted:
                found.append(KafkaError(aborted.code))
            self._end()
            if found and found[0].code() in POISON:
                return index, kafka.classify(found[0], name=record.topic)
        return None

    def close(self) -> None:
        """Let the producer go without waiting for what it still holds: an open transaction is fenced by the next.

        Nothing is polled or flushed: after a fatal error these calls raise it, whatever they are made for.
        """
        self._producer.purge()

    def _hand_over(self, records: Sequence[Record]) -> None:
        """Give the client what it does not have; begin a transaction where none is open."""
        if self._began is None:
            self._reports.refused()  # what an earlier transaction left is not this one's
            self._repeat(self._producer.begin_transaction)
            self._began = self._clock()
        produce = self._producer.produce
        try:
            for record in records[self._sent :] if self._sent else records:
                try:
                    # By position (the two None are callbacks): keywords cost as much as the rest of the call.
                    produce(record.topic, record.value, record.key, -1, None, None, record.timestamp, record.headers)
                except BufferError:
                    self._when_room(record)
        except FAILURES as error:
            raise self._abort(_failure(error)) from error
        self._sent = len(records)

    def _when_room(self, record: Record, **options: Any) -> None:
        """Hand a record to the client; if its queue is full, wait until the broker has taken some of it."""
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    headers=record.headers,
                    timestamp=record.timestamp,
                    **options,
                )
            except BufferError:
                if self._give_up():
                    raise GivenUp("stopped while the queue was full", where="kafka") from None
                self._producer.poll(0.05)
                continue
            return

    def _abort(self, error: KafkaError) -> LaneError:
        """End the transaction after produce() failed; returns what to raise."""
        verdict = self._judge(error)
        if isinstance(verdict, (Fenced, Restart)) and error.fatal():
            return verdict
        self._end()
        return self._blame(Aborted(kafka.classify(error), error.code()))

    def _blame(self, aborted: Aborted) -> Aborted:
        """Name the record that was refused, if one was: produce and commit only say that the transaction has failed."""
        refused = self._reports.refused()
        if refused is None:
            return aborted
        cause, topic = refused
        return Aborted(kafka.classify(cause, name=topic), cause.code())

    def _end(self) -> None:
        """Abort the open transaction."""
        self._began, self._sent = None, 0
        try:
            self._repeat(lambda: self._producer.abort_transaction(CALL))
        except Aborted as aborted:
            raise Restart("a transaction could not be aborted", where="kafka") from aborted

    def _repeat(self, call: Callable[[], None]) -> None:
        """Make a call until it is answered."""
        started = self._clock()
        told = False
        while True:
            try:
                call()
            except FAILURES as error:
                failure = _failure(error)
                verdict = self._judge(failure)
                if verdict is not None:
                    raise verdict from error
                kafka.hear(self._producer)  # its threads say why nothing is answered
                if told or self._clock() - started > PATIENCE:
                    told = True
                    self._waiting(str(self._reports.classify(failure)))
                if self._give_up():
                    raise GivenUp("stopped while Kafka did not answer", where="kafka") from error
                continue
            if told:
                self._waiting(None)
                self._reports.forget()
            return

    def _judge(self, error: KafkaError) -> LaneError | None:
        """What an error of the producer asks for; None: the same call again."""
        named = kafka.classify(error, name=self._id)
        if isinstance(named, Fenced):
            return named
        if error.fatal():
            return Restart(str(named), where=None)
        if error.txn_requires_abort():
            return Aborted(named, error.code())
        if error.retriable():
            return None
        return Restart(str(named), where=None)


def _failure(error: BaseException) -> KafkaError:
    """The client's error behind what was raised; one that ends the producer where there is none."""
    while not isinstance(error, KafkaException):
        if error.__cause__ is None:
            return KafkaError(KafkaError._FATAL, str(error), True)  # noqa: FBT003, SLF001 - as the client takes it
        error = error.__cause__
    found = error.args[0]
    assert isinstance(found, KafkaError)  # noqa: S101 - for the type checker
    return found


def _into(found: list[KafkaError]) -> Callable[[KafkaError | None, Message], None]:
    """A delivery report that keeps the error, if there is one."""

    def report(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            found.append(error)

    return report
