"""Topics on a real broker: made as planned, once, and never changed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic

from bridge import kafka as clients
from bridge.catalog import Catalog
from bridge.config import Config
from bridge.errors import ConfigError
from bridge.kafka import MESSAGE_BYTES, TOPIC_BYTES, Admin
from bridge.topics import Role, TopicPlan, apply, compare, own_name, plan, transactional_id
from tests.installation import installation
from tests.kafka.conftest import Kafka
from tests.servers.kafka import KafkaCluster

#: Servers may have to be fetched and started first, and the machine may be busy.
pytestmark = pytest.mark.timeout(240)

CATALOG = Catalog.load()


def config_for(kafka: Kafka | KafkaCluster, prefix: str, **given: object) -> Config:
    """An installation on that broker."""
    return installation(kafka={"bootstrap.servers": kafka.bootstrap}, prefix=prefix, **given)  # type: ignore[arg-type]


def settings(admin: Admin, topic: str) -> dict[str, str]:
    """The broker's settings of a topic."""
    (answer,) = admin.client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    return {entry.name: entry.value for entry in answer.result(timeout=10).values()}


def create(admin: Admin, *topics: NewTopic) -> None:
    """Make topics by hand; returns when the broker shows them."""
    for answer in admin.client.create_topics(list(topics)).values():
        answer.result(timeout=10)
    deadline = time.monotonic() + 10
    while not {topic.topic for topic in topics} <= admin.metadata().topics.keys():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_the_ledger_grows_with_the_lanes(kafka: Kafka, topic_prefix: str) -> None:
    """By several at once, never back, and nothing is amiss with a ledger of more partitions than lanes."""
    admin = Admin(config_for(kafka, topic_prefix, partitions=2))
    apply(admin, plan(config_for(kafka, topic_prefix, partitions=2), CATALOG))
    more = plan(config_for(kafka, topic_prefix, partitions=3, lanes=4), CATALOG)
    ledger = next(state for state in compare(admin, more) if state.plan.role is Role.LEDGER)
    assert "topics apply" in (ledger.unusable or "")
    with ThreadPoolExecutor(3) as several:
        for states in several.map(lambda _: apply(admin, more), range(3)):
            (found,) = [state for state in states if state.plan.role is Role.LEDGER]
            assert (found.partitions, found.state, found.unusable) == (4, "ok", None)
    existing = admin.metadata().topics
    assert {len(existing[topic.name].partitions) for topic in more if topic.role is Role.DATA} == {2}
    (fewer,) = [
        state
        for state in apply(admin, plan(config_for(kafka, topic_prefix, partitions=2), CATALOG))
        if state.plan.role is Role.LEDGER
    ]
    assert (fewer.partitions, fewer.state, fewer.unusable) == (4, "ok", None)


def test_what_is_missing_is_made_as_planned(kafka: Kafka, topic_prefix: str) -> None:
    """Partitions and settings of every topic; a second run finds nothing to do."""
    config = config_for(kafka, topic_prefix, partitions=3, lanes=2, layout=["type", "gateway"])
    admin, topics = Admin(config), plan(config, CATALOG)
    assert {state.state for state in compare(admin, topics)} == {"missing"}
    made = apply(admin, topics)
    assert {(state.state, state.differences, state.notes) for state in made} == {("created", (), ())}
    existing = admin.metadata().topics
    assert {topic.name: len(existing[topic.name].partitions) for topic in topics} == {
        topic.name: topic.partitions for topic in topics
    }
    ledger = settings(admin, own_name(config, Role.LEDGER))
    assert ledger["cleanup.policy"] == "delete"
    assert ledger["message.timestamp.type"] == "LogAppendTime"
    assert ledger["retention.ms"] == str(3 * 24 * 3600 * 1000)
    assert settings(admin, f"{topic_prefix}cs2.match.updated")["max.message.bytes"] == str(TOPIC_BYTES)
    assert {state.state for state in apply(admin, topics)} == {"ok"}


def test_what_exists_is_never_changed(kafka: Kafka, topic_prefix: str) -> None:
    """It is told how it differs, and stays as it is while the others are made."""
    config = config_for(kafka, topic_prefix)
    admin, topics = Admin(config), plan(config, CATALOG)
    name = f"{topic_prefix}cs2.match.updated"
    create(admin, NewTopic(name, 2, config={"max.message.bytes": "1000000", "retention.ms": "77"}))
    states = {state.plan.name: state for state in apply(admin, topics)}
    assert states[name].state == "differs"
    assert states[name].differences == ("partitions: 2, planned 6", "max.message.bytes: 1000000, planned 16777216")
    assert {state.state for each, state in states.items() if each != name} == {"created"}
    assert settings(admin, name)["retention.ms"] == "77"
    assert len(admin.metadata().topics[name].partitions) == 2


def test_processes_that_start_together_make_each_topic_once(kafka: Kafka, topic_prefix: str) -> None:
    """Four at once: no error, every topic usable, each made by one of them."""
    config = config_for(kafka, topic_prefix, partitions=1)
    topics = plan(config, CATALOG)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: apply(Admin(config), topics), range(4)))
    created = [state.plan.name for answer in answers for state in answer if state.state == "created"]
    assert sorted(created) == sorted(topic.name for topic in topics)


def test_a_name_that_the_broker_takes_for_ours_is_told(kafka: Kafka, topic_prefix: str) -> None:
    """Kafka would refuse ours beside it; we say so before."""
    config = config_for(kafka, topic_prefix)
    admin = Admin(config)
    create(admin, NewTopic(f"{topic_prefix}cs2_unknown", 1))
    with pytest.raises(ConfigError, match="can't be made beside"):
        apply(admin, plan(config, CATALOG))


def test_a_factor_that_the_broker_has_no_brokers_for_is_told(kafka: Kafka, topic_prefix: str) -> None:
    """Exit 78, with the broker's words and the topic."""
    config = config_for(kafka, topic_prefix, replication_factor=1001)
    with pytest.raises(ConfigError, match=rf"{topic_prefix}cs2.*replic"):
        apply(Admin(config), plan(config, CATALOG))


def test_with_three_brokers_two_acknowledge(cluster3: KafkaCluster, topic_prefix: str) -> None:
    """The broker's own default factor decides, ours where it is set."""
    config = config_for(cluster3, topic_prefix, partitions=1)
    admin = Admin(config)
    assert {state.state for state in apply(admin, plan(config, CATALOG))} == {"created"}
    name = f"{topic_prefix}cs2.match.updated"
    assert settings(admin, name)["min.insync.replicas"] == "2"
    assert [len(each.replicas) for each in partitions(admin, name)] == [3]
    single = config_for(cluster3, f"{topic_prefix}one.", partitions=1, replication_factor=1)
    apply(admin, plan(single, CATALOG))
    assert [len(each.replicas) for each in partitions(admin, f"{topic_prefix}one.cs2.unknown")] == [1]


def partitions(admin: Admin, topic: str) -> list[Any]:
    """The partitions of a topic; each broker hears of a new one in its own time."""
    deadline = time.monotonic() + 30
    while topic not in (found := admin.metadata().topics):
        assert time.monotonic() < deadline, f"{topic} is not there"
    return list(found[topic].partitions.values())


def test_the_largest_record_is_taken(kafka: Kafka, topic_prefix: str) -> None:
    """What the client lets pass, bytes that don't compress included, our topics take; more is refused here."""
    config = config_for(kafka, topic_prefix)
    topic = TopicPlan(
        name=f"{topic_prefix}large",
        role=Role.DATA,
        gateway="cs2",
        partitions=1,
        replication=None,
        config={"max.message.bytes": str(TOPIC_BYTES)},
    )
    apply(Admin(config), [topic])
    value = Random(1).randbytes(MESSAGE_BYTES - 1000)
    headers: list[tuple[str, str | bytes | None]] = [("type", b"x"), ("received", b"1700000000000")]
    producer = clients.producer(config, transactional_id=transactional_id(config, 0))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic.name, value, b"key", headers=headers)
    producer.commit_transaction(30)
    reader = clients.consumer(config)
    try:
        reader.assign([TopicPartition(topic.name, 0, 0)])
        message = reader.poll(20)
        # The transaction is committed before its last mark is in the partition: until then its end may be told.
        while message is not None and (error := message.error()) is not None:
            assert error.code() == KafkaError._PARTITION_EOF, error.str()
            message = reader.poll(20)
        assert message is not None
        assert message.value() == value
    finally:
        reader.close()
