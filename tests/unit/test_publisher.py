"""What the client raises is told apart: fenced, spent, abort, the same call again. The rest is tested on a real Kafka."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from bridge import kafka
from bridge.errors import BridgeError, Fenced, Refused, Restart
from bridge.frame import Record
from bridge.publisher import Aborted, Publisher


class Scripted:
    """A client whose calls raise what a test says, once each, and then succeed."""

    def __init__(self, *failures: BaseException) -> None:
        """failures: of `init_transactions`, in order."""
        self.failures = list(failures)

    def init_transactions(self, _timeout: float) -> None:
        """Raise the next failure, if there is one."""
        if self.failures:
            raise self.failures.pop(0)

    def poll(self, _timeout: float) -> int:
        """After a fatal error the client raises it from here too."""
        raise KafkaException(KafkaError(KafkaError._FATAL, "fatal", True))  # noqa: FBT003


def fence(*failures: BaseException) -> None:
    """Have a publisher fence, with these failures on the way."""
    producer: Any = Scripted(*failures)
    Publisher(
        producer, transactional_id="lane", reports=kafka.Reports(), waiting=lambda _: None, give_up=lambda: False
    ).fence()


def error(code: int, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaException:
    """An exception of the client."""
    return KafkaException(KafkaError(code, "text", fatal, retriable, abort))


def behind(failure: BaseException) -> SystemError:
    """How a fatal error comes out of a call that was serving delivery reports."""
    outer = SystemError("returned a result with an exception set")
    outer.__cause__ = failure
    return outer


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (error(KafkaError._FENCED, fatal=True), Fenced),
        (error(KafkaError.INVALID_PRODUCER_EPOCH), Fenced),
        (behind(error(KafkaError._FENCED, fatal=True)), Fenced),
        (error(KafkaError._FATAL, fatal=True), Restart),
        (behind(error(KafkaError._FATAL, fatal=True)), Restart),
        (SystemError("of unknown cause"), Restart),
        (error(KafkaError._STATE), Restart),
        (error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, fatal=True), Refused),
    ],
)
def test_what_ends_a_producer_is_told_apart(failure: BaseException, expected: type[BridgeError]) -> None:
    """In the order of librdkafka's contract: fatal first, doubt ends the producer. A right that lacks is told as such."""
    with pytest.raises(expected):
        fence(failure)


def test_a_time_out_asks_for_the_same_call() -> None:
    """The outcome is unknown until the call returns."""
    fence(error(KafkaError._TIMED_OUT, retriable=True), error(KafkaError._TIMED_OUT, retriable=True))


def test_an_abort_is_no_end() -> None:
    """The records may go into the next transaction; here the reason is told as it is."""
    with pytest.raises(Exception, match="text") as raised:
        fence(error(KafkaError._TIMED_OUT, abort=True))
    assert not isinstance(raised.value, (Fenced, Restart, Aborted))


class Recording:
    """A client that notes what it is asked; `failing` names the calls that raise, each once."""

    def __init__(self, **failing: BaseException) -> None:
        """failing: call → what it raises the first time."""
        self.calls: list[str] = []
        self._failing = failing

    def begin_transaction(self) -> None:
        """See the client."""
        self._called("begin")

    def produce(self, topic: str, value: bytes, *_: object, **__: object) -> None:
        """See the client."""
        self._called(f"{topic} {value.decode()}")

    def commit_transaction(self, _timeout: float) -> None:
        """See the client."""
        self._called("commit")

    def abort_transaction(self, _timeout: float) -> None:
        """See the client."""
        self._called("abort")

    def poll(self, _timeout: float) -> int:
        """Nothing to report."""
        return 0

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if (failure := self._failing.pop(call.replace(" ", "_"), None)) is not None:
            raise failure


def record(value: bytes, topic: str = "t") -> Record:
    """A record that is told by its value."""
    return Record(topic, b"key", value, [], 1)


class Sent:
    """What a delivery report is about."""

    def __init__(self, value: bytes, topic: str, partition: int) -> None:
        """See the client."""
        self.value = lambda: value
        self.key = lambda: b"key"
        self.topic = lambda: topic
        self.partition = lambda: partition


def message(value: bytes, topic: str = "t", partition: int = 0) -> Any:
    """As the client's."""
    return Sent(value, topic, partition)


ENTRY = record(b"entry", "ledger")


def publisher(client: Any, reports: kafka.Reports | None = None) -> Publisher:
    """A publisher of a client that needs no fencing."""
    return Publisher(
        client,
        transactional_id="lane",
        reports=reports or kafka.Reports(),
        waiting=lambda _: None,
        give_up=lambda: False,
    )


class TestSending:
    """Records are handed over while the transaction still grows."""

    def test_each_record_is_sent_once_and_in_order(self) -> None:
        """What was handed over before is part of the transaction; the commit adds the rest and the entry."""
        client = Recording()
        lane = publisher(client)
        records: list[Record] = []
        lane.send(records)
        assert client.calls == []  # a batch without records begins no transaction
        for value in (b"1", b"2", b"3"):
            records.append(record(value))
            lane.send(records)
            lane.send(records)
        records.append(record(b"4"))
        lane.commit(records, ENTRY, 0)
        assert client.calls == ["begin", "t 1", "t 2", "t 3", "t 4", "ledger entry", "commit"]

    def test_the_next_transaction_begins_anew(self) -> None:
        """Nothing of the last one is taken for its own."""
        client = Recording()
        lane = publisher(client)
        for value in (b"1", b"2"):
            lane.send([record(value)])
            lane.commit([record(value)], ENTRY, 0)
        assert client.calls == ["begin", "t 1", "ledger entry", "commit", "begin", "t 2", "ledger entry", "commit"]

    def test_an_abort_on_the_way_is_told_by_the_commit_and_all_is_sent_again(self) -> None:
        """The one who fills the batch need not know: nothing more is sent until the commit was asked for."""
        client = Recording(t_2=error(KafkaError._STATE))
        reports = kafka.Reports()
        lane = publisher(client, reports)
        records = [record(b"1")]
        lane.send(records)
        records.append(record(b"2"))
        lane.send(records)
        records.append(record(b"3"))
        lane.send(records)
        assert client.calls == ["begin", "t 1", "t 2", "abort"]
        with pytest.raises(Aborted):
            lane.commit(records, ENTRY, 0)
        client.calls.clear()
        lane.commit(records, ENTRY, 0)
        assert client.calls == ["begin", "t 1", "t 2", "t 3", "ledger entry", "commit"]

    def test_an_abort_on_the_way_says_which_record_was_refused(self) -> None:
        """A delivery report may come while the transaction still grows: then produce fails without a reason."""
        reports = kafka.Reports()
        client = Recording(t_2=error(KafkaError._STATE))
        lane = publisher(client, reports)
        lane.send([record(b"1")])
        reports.delivered(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), message(b"1"))
        lane.send([record(b"1"), record(b"2")])
        with pytest.raises(Aborted) as aborted:
            lane.commit([record(b"1"), record(b"2")], ENTRY, 0)
        assert aborted.value.poison

    def test_what_was_begun_can_be_given_up(self) -> None:
        """Only where something was begun; the next transaction has nothing of it."""
        client = Recording()
        lane = publisher(client)
        lane.abort()
        assert client.calls == []
        lane.send([record(b"1")])
        lane.abort()
        lane.commit([], ENTRY, 0)
        assert client.calls == ["begin", "t 1", "abort", "begin", "ledger entry", "commit"]

    def test_a_lost_lane_is_told_at_once(self) -> None:
        """Fenced while the transaction grows: no use to encode more."""
        lane = publisher(Recording(begin=error(KafkaError._FENCED, fatal=True)))
        with pytest.raises(Fenced):
            lane.send([record(b"1")])


class Refusing:
    """A client that does not take every record at once. full: it has room after so many tries."""

    def __init__(self, reports: kafka.Reports, *, full: int = 0, refused: bool = False) -> None:
        """refused: the broker refuses the first record before the second is handed over."""
        self.reports = reports
        self.full = full
        self.refused = refused
        self.taken: list[str] = []
        self.committed = False

    def begin_transaction(self) -> None:
        """Begin."""

    def produce(self, topic: str, *_: Any, **__: Any) -> None:
        """Take a record, or not."""
        if self.full:
            self.full -= 1
            raise BufferError
        if self.refused and self.taken:
            raise error(KafkaError._STATE)
        self.taken.append(topic)
        if self.refused:
            self.reports.delivered(KafkaError(KafkaError.INVALID_RECORD), message(b"v", topic))

    def poll(self, _timeout: float) -> int:
        """Nothing to report."""
        return 0

    def commit_transaction(self, _timeout: float) -> None:
        """Commit."""
        self.committed = True

    def abort_transaction(self, _timeout: float) -> None:
        """Abort."""


def commit(*, full: int = 0, refused: bool = False) -> Refusing:
    """Have a publisher commit one record and its entry."""
    reports = kafka.Reports()
    client: Any = Refusing(reports, full=full, refused=refused)
    publisher = Publisher(
        client, transactional_id="lane", reports=reports, waiting=lambda _: None, give_up=lambda: False
    )
    publisher.commit([Record("data", b"k", b"v", [], 1)], Record("ledger", b"0", b"entry", [], 1), 0)
    assert isinstance(client, Refusing)
    return client


@pytest.mark.parametrize("full", [1, 2, 3])
def test_a_plan_waits_for_a_full_queue_too(full: int) -> None:
    """An error there would end the process."""
    reports = kafka.Reports()
    client: Any = Refusing(reports, full=full)
    publisher = Publisher(
        client, transactional_id="lane", reports=reports, waiting=lambda _: None, give_up=lambda: False
    )
    entry = Record("ledger", b"0", b"entry", [], 1)
    publisher.announce({0: entry, 1: entry}, [Record("gaps", b"k", b"v", [], 1)])
    assert (client.taken, client.committed) == (["gaps", "ledger", "ledger"], True)


@pytest.mark.parametrize("full", [1, 2, 3])
def test_a_full_queue_is_waited_for(full: int) -> None:
    """For the records and for the ledger entry."""
    client = commit(full=full)
    assert (client.taken, client.committed) == (["data", "ledger"], True)


def test_a_refusal_is_told_also_where_the_next_record_meets_it() -> None:
    """The client refuses what follows with an error that says nothing; tried again and again it would never pass."""
    with pytest.raises(Aborted) as aborted:
        commit(refused=True)
    assert aborted.value.poison


def blamed(*reports: tuple[int, Any]) -> Aborted:
    """What a commit says that failed with these delivery reports."""
    told = kafka.Reports()
    client = Recording(commit=error(KafkaError.INVALID_TIMESTAMP, abort=True))
    lane = publisher(client, told)
    lane.send([record(b"1"), record(b"2"), record(b"3")])
    for code, about in reports:
        told.delivered(KafkaError(code), about)
    with pytest.raises(Aborted) as aborted:
        lane.commit([record(b"1"), record(b"2"), record(b"3")], ENTRY, 0)
    return aborted.value


class TestBlame:
    """Of a batch that fails as a whole the records that are to blame are told from the others."""

    def test_where_the_client_names_the_others_all_that_it_blames_are_to_blame(self) -> None:
        """It does so where several records of a batch are invalid; the transaction's error says in what."""
        aborted = blamed(
            (KafkaError.INVALID_RECORD, message(b"1")),
            (KafkaError._INVALID_DIFFERENT_RECORD, message(b"2")),
            (KafkaError.INVALID_RECORD, message(b"3")),
            (KafkaError._PURGE_QUEUE, message(b"4")),
        )
        assert aborted.poison
        assert [(each.value, each.certain, each.why) for each in aborted.refused] == [
            (b"1", True, "Broker: Invalid timestamp"),
            (b"3", True, "Broker: Invalid timestamp"),
        ]

    def test_where_it_blames_a_whole_batch_nobody_knows(self) -> None:
        """One record of it may be to blame; a batch of one record is that record."""
        whole = blamed(*((KafkaError.INVALID_TIMESTAMP, message(value)) for value in (b"1", b"2", b"3")))
        assert [each.certain for each in whole.refused] == [False] * 3
        [single] = blamed((KafkaError.INVALID_TIMESTAMP, message(b"2"))).refused
        assert (single.topic, single.key, single.value, single.certain) == ("t", b"key", b"2", True)

    def test_what_is_told_of_one_partition_is_not_told_of_another(self) -> None:
        """Each partition has batches of its own."""
        aborted = blamed(
            (KafkaError.INVALID_RECORD, message(b"1", partition=0)),
            (KafkaError._INVALID_DIFFERENT_RECORD, message(b"2", partition=0)),
            (KafkaError.INVALID_RECORD, message(b"3", partition=1)),
        )
        assert [(each.value, each.certain) for each in aborted.refused] == [(b"1", True), (b"3", False)]

    def test_a_record_that_was_late_is_not_to_blame(self) -> None:
        """It may be tried again."""
        aborted = blamed((KafkaError._MSG_TIMED_OUT, message(b"1")))
        assert not aborted.poison
        assert not aborted.refused


def test_a_commit_does_not_wait_for_what_was_sent_behind_a_refused_record() -> None:
    """The client tries that again for as long as a record may take."""
    told = kafka.Reports()

    class Stuck(Recording):
        """Its commit never ends."""

        def commit_transaction(self, _timeout: float) -> None:
            """Time out."""
            self._called("commit")
            told.delivered(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), message(b"1"))
            raise error(KafkaError._TIMED_OUT, retriable=True)

        def abort_transaction(self, timeout: float) -> None:
            """Time out too."""
            super().abort_transaction(timeout)
            raise error(KafkaError._TIMED_OUT, retriable=True)

    client = Stuck()
    with pytest.raises(Aborted) as aborted:
        publisher(client, told).commit([record(b"1")], ENTRY, 0)
    assert aborted.value.poison
    assert client.calls == ["begin", "t 1", "ledger entry", "commit", "abort"]
