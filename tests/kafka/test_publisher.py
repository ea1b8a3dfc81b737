"""The transactional producer on a real broker: what is committed, aborted, fenced and refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bridge import kafka as clients
from bridge.errors import Fenced, LaneError
from bridge.frame import Record
from bridge.publisher import Aborted, GivenUp, Publisher
from tests.installation import installation
from tests.kafka.conftest import Kafka
from tests.servers.kafka import KafkaCluster
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(120)

Make = Callable[..., Publisher]


def record(topic: str, value: bytes, key: bytes = b"k") -> Record:
    """A record with one header."""
    return Record(topic, key, value, [("type", b"t")], 1_700_000_000_000)


@pytest.fixture
def topics(kafka: Kafka, topic_prefix: str) -> tuple[str, str]:
    """A data topic and a ledger topic."""
    return make_topics(kafka.bootstrap, topic_prefix)


def make_topics(bootstrap: str, prefix: str) -> tuple[str, str]:
    """Create both with one partition."""
    names = (f"{prefix}data", f"{prefix}ledger")
    limits = {"max.message.bytes": "20000"}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    fresh = [NewTopic(names[0], num_partitions=1, config=limits), NewTopic(names[1], num_partitions=1)]
    for made in admin.create_topics(fresh).values():
        made.result(timeout=30)
    return names


@pytest.fixture
def make(kafka: Kafka, topic_prefix: str) -> Iterator[Make]:
    """Make publishers of one transactional id; all are closed in the end."""
    made = []

    def publisher(bootstrap: str = kafka.bootstrap, **options: object) -> Publisher:
        config = installation(kafka={"bootstrap.servers": bootstrap})
        reports = clients.Reports()
        name = f"{topic_prefix}lane"
        producer = clients.producer(config, transactional_id=name, reports=reports)
        waiting = options.get("waiting", lambda _text: None)
        give_up = options.get("give_up", lambda: False)
        made.append(
            Publisher(producer, transactional_id=name, reports=reports, waiting=waiting, give_up=give_up)  # type: ignore[arg-type]
        )
        return made[-1]

    yield publisher
    for each in made:
        each.close()


def values(bootstrap: str, topic: str) -> list[bytes | None]:
    """What a read_committed consumer sees."""
    return [message.value() for message in read_topics(bootstrap, topic)]


def test_records_and_entry_become_visible_together(kafka: Kafka, topics: tuple[str, str], make: Make) -> None:
    """One transaction: both topics."""
    data, ledger = topics
    publisher = make()
    publisher.fence()
    seconds = publisher.commit([record(data, b"1"), record(data, b"2")], record(ledger, b"entry"), 0)
    assert seconds > 0
    assert values(kafka.bootstrap, data) == [b"1", b"2"]
    assert values(kafka.bootstrap, ledger) == [b"entry"]
    [first, _] = read_topics(kafka.bootstrap, data)
    assert first.headers() == [("type", b"t")]
    assert first.timestamp()[1] == 1_700_000_000_000


def test_a_successor_fences_and_the_old_one_publishes_nothing(
    kafka: Kafka, topics: tuple[str, str], make: Make
) -> None:
    """Whatever the old one had in flight is aborted; its next commit says that it is fenced."""
    data, ledger = topics
    old, new = make(), make()
    old.fence()
    old.commit([record(data, b"1")], record(ledger, b"a"), 0)
    new.fence()
    with pytest.raises(Fenced):
        old.commit([record(data, b"zombie")], record(ledger, b"zombie"), 0)
    new.commit([record(data, b"2")], record(ledger, b"b"), 0)
    assert values(kafka.bootstrap, data) == [b"1", b"2"]
    assert values(kafka.bootstrap, ledger) == [b"a", b"b"]


def test_records_that_are_too_large_are_found_in_one_transaction(
    kafka: Kafka, topics: tuple[str, str], make: Make
) -> None:
    """The smallest that is refused, of records in the order of their sizes; nothing is doubled by the search."""
    data, ledger = topics
    publisher = make()
    publisher.fence()
    chance = Random(1)
    batch = [record(data, chance.randbytes(size)) for size in (1, 18_000, 30_000, 50_000)]
    with pytest.raises(Aborted) as aborted:
        publisher.commit(batch, record(ledger, b"a"), 0)
    assert aborted.value.poison
    assert aborted.value.code == KafkaError.MSG_SIZE_TOO_LARGE
    searching = make()
    searching.fence()
    assert searching.first_refused(batch) == 2
    searching = make()
    searching.fence()
    assert searching.first_refused(batch[:2]) is None
    fresh = make()
    fresh.fence()
    fresh.commit(batch[:2], record(ledger, b"b"), 0)
    assert values(kafka.bootstrap, data) == [each.value for each in batch[:2]]
    assert values(kafka.bootstrap, ledger) == [b"b"]


def test_a_record_that_is_refused_for_its_time_is_told_from_its_batch(
    kafka: Kafka, topic_prefix: str, make: Make
) -> None:
    """Kafka's answer alone does not: one invalid record of a batch fails all of it."""
    name = f"{topic_prefix}timed"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    timed = NewTopic(name, num_partitions=1, config={"message.timestamp.before.max.ms": "3600000"})
    admin.create_topics([timed])[name].result(timeout=30)
    now = time.time_ns() // 1_000_000
    batch = [Record(name, b"k", b"%d" % number, [], now) for number in range(100)]
    batch[50] = Record(name, b"k", b"late", [], now - 7_200_000)
    publisher = make()
    publisher.fence()
    with pytest.raises(Aborted) as aborted:
        publisher.commit(batch, batch[0], 0)
    assert aborted.value.poison
    assert not any(each.certain for each in aborted.value.refused)
    searching = make()
    searching.fence()
    assert {each.value for each in searching.refusals(batch)} == {b"late"}
    assert values(kafka.bootstrap, name) == []


def test_a_record_larger_than_the_client_takes_aborts_too(kafka: Kafka, topics: tuple[str, str], make: Make) -> None:
    """The client refuses it before it is sent: the same answer, which names it."""
    data, ledger = topics
    publisher = make()
    publisher.fence()
    batch = [record(data, b"1"), record(data, bytes(clients.MESSAGE_BYTES + 1))]
    with pytest.raises(Aborted) as aborted:
        publisher.commit(batch, record(ledger, b"a"), 0)
    assert aborted.value.poison
    assert [each.value for each in aborted.value.refused] == [batch[1].value]
    searching = make()
    searching.fence()
    assert searching.first_refused(batch) == 1
    assert values(kafka.bootstrap, data) == []


def test_a_missing_topic_is_named(kafka: Kafka, topics: tuple[str, str], make: Make, topic_prefix: str) -> None:
    """The transaction is aborted and the error says what to do."""
    publisher = make()
    publisher.fence()
    with pytest.raises(LaneError, match="topics apply"):
        publisher.commit([record(f"{topic_prefix}absent", b"1")], record(topics[1], b"a"), 0)
    assert values(kafka.bootstrap, topics[1]) == []


def test_it_gives_up_when_told_and_says_why_it_waits(make: Make) -> None:
    """No broker at all: each attempt is reported, and `give_up` ends it."""
    told: list[str | None] = []
    publisher = make("127.0.0.1:1", waiting=told.append, give_up=lambda: len(told) >= 2)
    with pytest.raises(GivenUp):
        publisher.fence()
    assert told
    assert "127.0.0.1:1" in (told[-1] or "")


def test_a_commit_waits_for_a_stopped_broker_and_is_done_once(broker: KafkaCluster, topic_prefix: str) -> None:
    """The outcome of a commit that was not answered is asked for until it is known."""
    data, ledger = make_topics(broker.bootstrap, topic_prefix)
    reports = clients.Reports()
    told: list[str | None] = []

    def waiting(text: str | None) -> None:
        told.append(text)
        if len(told) == 2:
            broker.start()

    config = installation(kafka={"bootstrap.servers": broker.bootstrap})
    producer: Producer = clients.producer(config, transactional_id=f"{topic_prefix}lane", reports=reports)
    publisher = Publisher(
        producer, transactional_id=f"{topic_prefix}lane", reports=reports, waiting=waiting, give_up=lambda: False
    )
    publisher.fence()
    publisher.commit([record(data, b"1")], record(ledger, b"a"), 0)
    broker.stop()
    publisher.commit([record(data, b"2")], record(ledger, b"b"), 0)
    assert told[-1] is None
    assert values(broker.bootstrap, data) == [b"1", b"2"]
    assert values(broker.bootstrap, ledger) == [b"a", b"b"]
    publisher.close()
