"""The transactional producer of a lane, owned by the lane's thread.

Contract of librdkafka, in this order: a *fatal* error ends the producer (fenced, or spent); one that *requires an abort*
ends the transaction, and the same records may go into the next; a *retriable* one asks for the same call again, a
time-out of a commit included, whose outcome is unknown until that call returns; anything else leaves the producer in
doubt, and a doubtful producer is thrown away: fence, read the ledger, go on from the journal.

Delivery reports are asked for failures only: a commit fails if any record of its transaction did, and the report says why.
"""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException

from bridge import kafka
from bridge.errors import BridgeError, Fenced, LaneError, Refused, Restart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from confluent_kafka import Message, Producer

    from bridge.frame import Record

#: Longest single call (s); between calls `give_up` is asked and the lane shows that it lives.
CALL: Final = 1.0
#: Longest wait (s) for a commit before it is asked whether a record was refused: the client may go on with others meanwhile.
COMMIT: Final = 0.5
#: Longest try (s) to abort the transaction of a producer that is of no more use.
SPENT: Final = 0.2
#: A call that takes longer (s) is worth a word; a busy broker may take a second or two.
PATIENCE: Final = 3.0
#: What a call of the client may raise. A fatal error that surfaces while delivery reports are served comes as a
#: SystemError whose cause it is.
FAILURES: Final = (KafkaException, SystemError)
#: Refusals of what is larger than its topic takes: a record, or a batch of those that are not.
SIZES: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
#: Refusals of a record, not of the transaction: trying the same again is no use.
POISON: Final = SIZES | {KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG, KafkaError.INVALID_TIMESTAMP}
#: What the client says of the others in a batch of which some records were refused.
_INNOCENT: Final = KafkaError._INVALID_DIFFERENT_RECORD  # noqa: SLF001


class Refusal(NamedTuple):
    """A record that was not taken. code: librdkafka's. why: in Kafka's words.

    certain: it is refused for itself; else Kafka blames a batch that it was in, and perhaps another of that.
    """

    topic: str
    key: bytes
    value: bytes
    code: int
    why: str
    certain: bool


class Aborted(LaneError):
    """The transaction is aborted, nothing of it is visible; the same records may be tried again.

    Where a record was refused, the producer is spent, and its transaction is aborted when the next one fences it.

    error: why, as one of our errors. code: librdkafka's. poison: a record was refused for what it is. refused: what Kafka
    blames for that, as far as it was reported.
    """

    def __init__(self, error: BridgeError, code: int, refused: Sequence[Refusal] = ()) -> None:
        """Keep the facts."""
        super().__init__(str(error))
        self.error = error
        self.code = code
        self.refused = refused

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
            self._repeat(lambda: producer.commit_transaction(COMMIT))
        except FAILURES as error:  # of produce()
            raise self._abort(_failure(error)) from error
        except Aborted as aborted:
            blamed = self._blame(aborted)
            self._give_back(blamed)
            raise blamed from aborted
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

    def first_refused(self, records: Sequence[Record]) -> int | None:
        """Send each alone, one after the other, in a transaction that is aborted, until Kafka refuses one; its index.

        Ask a fresh, fenced producer, and use it for nothing else: a refused record leaves a hole in the sequence numbers
        of the one that sent it.
        """
        self._repeat(self._producer.begin_transaction)
        for index, record in enumerate(records):
            found: list[KafkaError] = []
            try:
                self._when_room(record, on_delivery=_into(found))
                while not found and self._producer.flush(CALL):
                    if self._give_up():
                        raise GivenUp("stopped while a refused record was sought", where="kafka")
            except FAILURES as error:
                found.append(_failure(error))
            if found:
                self._end()
                return index if found[0].code() in POISON else None
        self._end()
        return None

    def refusals(self, records: Iterable[Record]) -> Sequence[Refusal]:
        """Send records in a transaction that is aborted; return those that Kafka refuses.

        Each is sent three times. The client tells which records of a batch were to blame only where there were several of
        them; so there always are. Ask a fresh, fenced producer, as in `first_refused`.
        """
        self._reports.undelivered()
        try:
            self._repeat(self._producer.begin_transaction)
            for record in records:
                for _ in range(3):
                    self._when_room(record)
            while self._producer.flush(COMMIT) and not self._reports.failed(POISON):
                if self._give_up():
                    raise GivenUp("stopped while refused records were sought", where="kafka")
        except FAILURES:  # a refusal is met before all is sent
            kafka.hear(self._producer)
        found = _refusals(self._reports.undelivered())
        self._give_back(Aborted(BridgeError("only tried"), found[0].code if found else 0))
        return found

    def close(self) -> None:
        """Let the producer go without waiting for what it still holds: an open transaction is fenced by the next.

        Nothing is polled or flushed: after a fatal error these calls raise it, whatever they are made for.
        """
        self._producer.purge()

    def _hand_over(self, records: Sequence[Record]) -> None:
        """Give the client what it does not have; begin a transaction where none is open."""
        if self._began is None:
            self._reports.undelivered()  # what an earlier transaction left is not this one's
            self._repeat(self._producer.begin_transaction)
            self._began = self._clock()
        produce = self._producer.produce
        record: Record | None = None
        try:
            for record in records[self._sent :] if self._sent else records:
                try:
                    # By position (the two None are callbacks): keywords cost as much as the rest of the call.
                    produce(record.topic, record.value, record.key, -1, None, None, record.timestamp, record.headers)
                except BufferError:
                    self._when_room(record)
        except FAILURES as error:
            raise self._abort(_failure(error), record) from error
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

    def _abort(self, error: KafkaError, record: Record | None = None) -> LaneError:
        """End the transaction after produce() failed, on a record where one is given; returns what to raise."""
        verdict = self._judge(error)
        if isinstance(verdict, (Fenced, Restart)) and error.fatal():
            return verdict
        kafka.hear(self._producer)  # which record it was
        if record is not None and error.code() in POISON:  # the client itself does not take it
            refusal = Refusal(record.topic, record.key, record.value, error.code(), error.str(), certain=True)
            aborted = Aborted(kafka.classify(error, name=record.topic), error.code(), [refusal])
        else:
            aborted = self._blame(Aborted(kafka.classify(error), error.code()))
        self._give_back(aborted)
        return aborted

    def _blame(self, aborted: Aborted) -> Aborted:
        """Name the records that were refused, if some were: produce and commit only say that the transaction has failed."""
        undelivered = self._reports.undelivered()
        refused = _refusals(undelivered)
        if aborted.code in POISON and aborted.code != KafkaError.INVALID_RECORD:
            # The client calls the records of a batch invalid, and only the transaction's error says in what.
            why = KafkaError(aborted.code).str()
            refused = [each._replace(why=why) if each.code == KafkaError.INVALID_RECORD else each for each in refused]
        first = refused[0].code if refused else None
        for cause, message in undelivered:
            if cause.code() == first or (first is None and cause.code() != _INNOCENT):
                return Aborted(kafka.classify(cause, name=message.topic()), cause.code(), refused)
        return aborted

    def _give_back(self, aborted: Aborted) -> None:
        """Abort the open transaction; where a record was refused, try to.

        That may take as long as a record may: what was sent behind the refused one is out of order, and tried again. The
        producer is of no more use anyway, and the next one ends the transaction; only quicker if it is ended already.
        """
        if not aborted.poison:
            self._end()
            return
        self._began, self._sent = None, 0
        with contextlib.suppress(*FAILURES):
            self._producer.abort_transaction(SPENT)

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
                if self._reports.failed(POISON):
                    raise Aborted(kafka.classify(failure), failure.code()) from error
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


def _refusals(undelivered: Iterable[tuple[KafkaError, Message]]) -> list[Refusal]:
    """Which records are to blame, by the reports of one transaction."""
    told = {(message.topic(), message.partition()) for error, message in undelivered if error.code() == _INNOCENT}
    found = [(error, message) for error, message in undelivered if error.code() in POISON]
    return [
        Refusal(
            message.topic() or "",
            _bytes(message.key()),
            _bytes(message.value()),
            error.code(),
            error.str(),
            certain=len(found) == 1 or (message.topic(), message.partition()) in told,
        )
        for error, message in found
    ]


def _bytes(value: str | bytes | None) -> bytes:
    return value if isinstance(value, bytes) else b""
