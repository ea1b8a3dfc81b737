"""librdkafka's producer and consumer, as far as the bridge uses them, over the model of Kafka.

They answer and raise as the real ones do: a call that gets no answer in time raises a retriable time-out and goes on where
it was when it is made again; a fenced producer is fatal for ever; a refused record is reported and makes the transaction
abortable.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from tests.model.broker import REFUSED, Denied, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.broker import Broker, Line, Stored
    from tests.model.process import Process

#: An answer that does not come within so many seconds is asked for again.
PATIENCE: Final = 0.3
#: A record that is not taken within so many seconds fails (``message.timeout.ms``), which takes its transaction along.
MESSAGE_TIMEOUT: Final = 2.0
_FENCES: Final = frozenset({KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED})


class Message:
    """What a consumer hands out, and a delivery report is about."""

    def __init__(
        self, stored: Stored | None, error: KafkaError | None = None, sent: dict[str, Any] | None = None
    ) -> None:
        """stored: None where it is an error. sent: what a report is about."""
        self._stored = stored
        self._error = error
        self._sent = sent or {}

    def error(self) -> KafkaError | None:
        """The error it is, if it is one."""
        return self._error

    def value(self) -> bytes:
        """The value."""
        if self._stored is None:
            return bytes(self._sent["value"])
        return self._stored.value

    def key(self) -> bytes:
        """The key of what was sent."""
        return bytes(self._sent["key"])

    def partition(self) -> int:
        """The partition of what was sent."""
        return int(self._sent["partition"])

    def headers(self) -> list[tuple[str, bytes]]:
        """The headers."""
        assert self._stored is not None
        return list(self._stored.headers.items())

    def timestamp(self) -> tuple[int, int]:
        """LogAppendTime."""
        assert self._stored is not None
        return 2, self._stored.at

    def topic(self) -> str | None:
        """Its topic."""
        return self._sent.get("topic")


class _Client:
    def __init__(self, process: Process, broker: Broker, line: Line) -> None:
        self._process = process
        self._broker = broker
        self._line = line
        self._asked = 0
        self._executed = 0

    def _ask(self, what: str, execute: Callable[[], Any], timeout: float) -> Any:
        """Make a request again and again until it is answered. Raises the retriable time-out, or `Denied`."""
        process = self._process
        world = process.world
        deadline = world.now + timeout
        while True:
            process.step(what)
            left = deadline - world.now
            if left <= 0:
                raise failure(KafkaError._TIMED_OUT, retriable=True)
            if not self._line.works:
                process.sleep(min(left, 0.1))
                continue
            answers: list[Any] = []
            self._asked += 1
            number = self._asked

            def once(number: int = number) -> Any:
                if number < self._executed:
                    raise Denied(KafkaError.NETWORK_EXCEPTION)
                self._executed = number
                return execute()

            def hear(result: Any, answers: list[Any] = answers) -> None:
                answers.append(result)
                process.notify()

            self._line.send(once, hear)
            process.wait(min(left, PATIENCE + self._broker.slow * 2), functools.partial(bool, answers))
            if not answers:
                continue
            if isinstance(answers[0], Denied):
                if answers[0].code in {KafkaError.CONCURRENT_TRANSACTIONS, KafkaError.NETWORK_EXCEPTION}:
                    process.sleep(0.01)
                    continue
                raise answers[0]
            return answers[0]


class Producer(_Client):
    """A transactional producer."""

    def __init__(self, process: Process, broker: Broker, line: Line, *, name: str, reports: Any) -> None:
        """name: the transactional id. reports: takes the delivery reports."""
        super().__init__(process, broker, line)
        self._name = name
        self._reports = reports
        self._epoch = -1
        self._fatal: KafkaException | None = None
        self._abortable: KafkaException | None = None
        self._state = "new"
        self._queue: list[dict[str, Any]] = []
        self._since = 0.0
        self._sent = False

    def init_transactions(self, timeout: float) -> None:
        """Fence."""
        self._check("init", at="init")
        self._epoch = self._ask("init_transactions", lambda: self._broker.init(self._name), timeout)
        self._state = "ready"
        self._process.tell(f"fenced, epoch {self._epoch}")

    def begin_transaction(self) -> None:
        """Begin."""
        self._check("begin", at="begin")
        if self._state != "ready":
            raise failure(KafkaError._STATE)
        self._state = "open"
        self._queue, self._sent = [], False
        self._since = self._process.world.now

    def produce(  # noqa: PLR0917 - as the client has them
        self,
        topic: str,
        value: bytes = b"",
        key: bytes = b"",
        partition: int = -1,
        callback: Any = None,
        on_delivery: Any = None,
        timestamp: int = 0,
        headers: Any = (),
    ) -> None:
        """Queue a record."""
        self._check("produce", at="produce")
        if self._abortable is not None:
            raise failure(KafkaError._STATE)
        chance = self._process.world.chance
        if chance.random() < self._process.host.queue_full:
            raise BufferError("Local: Queue full")
        names = dict(headers or ())
        plain = {name: each.encode() if isinstance(each, str) else each for name, each in names.items()}
        assert callback is None
        self._queue.append(
            {
                "topic": topic,
                "value": bytes(value),
                "key": bytes(key),
                "partition": partition,
                "headers": plain,
                "timestamp": timestamp,
                "report": on_delivery,
                "taken": False,
            }
        )
        if len(self._queue) >= 3 and chance.random() < 0.1:
            self._send(0.05)  # its threads do not wait for the commit

    def commit_transaction(self, timeout: float) -> None:
        """Flush and commit."""
        self._check("commit", at="commit")
        if self._state not in {"open", "committing"}:
            raise failure(KafkaError._STATE)
        deadline = self._process.world.now + timeout
        if self._abortable is None and self._queue:
            self._send(timeout)
        if self._abortable is not None:
            raise self._abortable
        if self._queue:
            raise failure(KafkaError._TIMED_OUT, retriable=True)
        self._state = "committing"
        self._end(max(deadline - self._process.world.now, 0.01), commit=True)

    def abort_transaction(self, timeout: float) -> None:
        """Purge and abort."""
        self._check("abort", at="abort")
        if self._state == "ready":
            return
        if self._state not in {"open", "aborting"}:
            raise failure(KafkaError._STATE)
        self._state, self._queue = "aborting", []
        if not self._sent:
            self._done()
            return
        self._end(timeout, commit=False)

    def poll(self, timeout: float = 0) -> int:
        """Serve reports; after a fatal error it raises that."""
        self._check("poll")
        if timeout > 0:
            self._process.sleep(timeout)
        return 0

    def flush(self, timeout: float = 0) -> int:
        """Send what is queued; returns how many records are left."""
        self._check("flush")
        if self._queue:
            self._send(timeout)
        return len(self._queue)

    def purge(self) -> None:
        """Forget what is queued."""
        self._queue = []

    def _send(self, timeout: float) -> None:
        """Hand the queue to the broker; idempotent, so an unanswered batch is sent again and taken once."""
        batch = list(self._queue)

        def execute() -> None:
            for record in batch:
                if not record["taken"]:  # as its sequence number tells the broker
                    self._broker.produce(self._name, self._epoch, self._process.instance, [record])
                    record["taken"] = True

        try:
            self._sent = True
            self._ask("produce", execute, timeout)
        except Denied as denied:
            self._queue = []
            if denied.code in _FENCES and self._process.world.chance.random() < 0.5:
                raise self._die(KafkaError._FENCED) from denied
            self._abortable = failure(denied.code, abort=True)
            if denied.code not in _FENCES:
                refused = next(each for each in batch if not each["taken"])
                report = refused["report"] or self._reports.delivered
                report(KafkaError(denied.code), Message(None, sent=refused))
        except KafkaException:
            if self._process.world.now - self._since > MESSAGE_TIMEOUT:
                self._queue = []
                self._abortable = failure(KafkaError._MSG_TIMED_OUT, abort=True)
        else:
            self._queue = []

    def _end(self, timeout: float, *, commit: bool) -> None:
        name = "commit_transaction" if commit else "abort_transaction"
        try:
            self._ask(name, lambda: self._broker.end(self._name, self._epoch, commit=commit), timeout)
        except Denied as denied:
            if denied.code in _FENCES:
                raise self._die(KafkaError._FENCED) from denied
            raise self._die(denied.code) from denied
        self._done()

    def _done(self) -> None:
        self._state, self._abortable = "ready", None

    def _die(self, code: int) -> KafkaException:
        self._fatal = failure(code, fatal=True)
        return self._fatal

    def _check(self, what: str, *, at: str = "") -> None:
        """A step of the process; raises what a fault has prepared for this call, and a fatal error for ever."""
        self._process.step(what)
        if self._fatal is not None:
            if self._process.world.chance.random() < 0.2:
                error = SystemError("returned a result with an exception set")
                raise error from self._fatal
            raise self._fatal
        prepared = self._process.host.prepared.get(at)
        if not prepared:
            return
        kind = prepared.pop()
        self._process.tell(f"{kind} error in {what}")
        if kind == "fatal":
            raise self._die(KafkaError._FATAL)
        if kind == "abortable":
            if self._state == "open":
                self._abortable = failure(KafkaError.UNKNOWN_PRODUCER_ID, abort=True)
        elif kind == "retriable":
            raise failure(KafkaError._TIMED_OUT, retriable=True)
        elif kind == "doubt":
            raise failure(KafkaError._STATE)


class Consumer(_Client):
    """A consumer of one partition. committed: it reads read_committed."""

    committed = True

    def __init__(self, process: Process, broker: Broker, line: Line) -> None:
        """Nothing is assigned."""
        super().__init__(process, broker, line)
        self._topic = ""
        self._number = 0
        self._at = 0
        self._told = -1
        self._log = broker.partition("", 0)

    def assign(self, places: list[TopicPartition]) -> None:
        """Read from there on."""
        [place] = places
        self._topic, self._number = place.topic, place.partition
        self._at = 0 if place.offset == OFFSET_BEGINNING else place.offset
        self._told = -1
        self._log.readers = [each for each in self._log.readers if each is not self]
        self._log = self._broker.partition(place.topic, place.partition)
        self._log.readers.append(self)

    def offsets_for_times(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The first offset at or after a time (ms)."""
        [place] = places
        log = self._broker.partition(place.topic, place.partition)

        def execute() -> int:
            return next((number for number in range(log.stable) if log.log[number].at >= place.offset), -1)

        return [TopicPartition(place.topic, place.partition, self._ask("offsets", execute, timeout))]

    def get_watermark_offsets(self, place: TopicPartition, timeout: float, *, cached: bool = False) -> tuple[int, int]:
        """First and last stable offset, asked of the broker."""
        assert not cached
        log = self._broker.partition(place.topic, place.partition)
        return 0, int(self._ask("watermarks", lambda: log.stable, timeout))

    def poll(self, timeout: float) -> Message | None:
        """The next record, or the news that there is none."""
        process, line = self._process, self._line
        process.step("poll")
        if not self._ready():
            process.wait(timeout, self._ready)
        if not line.works:
            return None
        if process.world.chance.random() < 0.2:
            process.sleep(self._broker.latency())
        return self._next()

    def consume(self, count: int, _timeout: float) -> list[Message]:
        """What is there already."""
        found: list[Message] = []
        while len(found) < count and self._line.works and (message := self._next()) is not None:
            found.append(message)
        return found

    def close(self) -> None:
        """Let go."""
        self._log.readers = [each for each in self._log.readers if each is not self]

    def notify(self) -> None:
        """Something new is there to be read."""
        self._process.notify()

    def _end(self) -> int:
        return self._log.stable if self.committed else len(self._log.log)

    def _ready(self) -> bool:
        return self._line.works and (self._at < self._end() or self._told != self._at)

    def _next(self) -> Message | None:
        log = self._log.log
        end = self._end()
        while self._at < end:
            stored = log[self._at]
            self._at += 1
            if stored.transaction is not None and (stored.transaction.outcome or not self.committed):
                return Message(stored)
        if self._told != self._at:
            self._told = self._at
            return Message(None, KafkaError(KafkaError._PARTITION_EOF))
        return None


__all__ = ["REFUSED", "Consumer", "Message", "Producer"]
