"""The plan of topics follows from configuration and catalog; what a broker has is compared, never changed."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from bridge.catalog import Catalog
from bridge.errors import BridgeError, ConfigError, Refused, Unreachable
from bridge.kafka import TOPIC_BYTES, Admin
from bridge.topics import (
    Role,
    TopicPlan,
    apply,
    compare,
    own_name,
    plan,
    select,
    subjects,
    topic_name,
    topic_names,
    transactional_id,
)
from tests.installation import installation

CATALOG = Catalog.load()
DAY = 24 * 60 * 60 * 1000


def planned(**arguments: Any) -> dict[str, TopicPlan]:
    """The plan of an installation, by name."""
    return {topic.name: topic for topic in plan(installation(**arguments), CATALOG)}


@pytest.mark.parametrize(
    ("gateway", "frame_type", "layout", "expected"),
    [
        ("cs2", "match.updated", "type", "p.cs2.match.updated"),
        ("cs2", "bet_settlement", "type", "p.cs2.bet-settlement"),
        ("wallet", "vault.deposit_confirmed", "type", "p.wallet.vault.deposit-confirmed"),
        ("cs2", "match.updated", "gateway", "p.cs2"),
    ],
)
def test_names_are_those_users_rely_on(gateway: str, frame_type: str, layout: str, expected: str) -> None:
    """Prefix, gateway, type with hyphens."""
    assert topic_name("p.", gateway, frame_type, layout=layout) == expected


def test_every_published_type_has_its_topic() -> None:
    """What the gateway's kind can send, unknown types too, but nothing that is only consumed."""
    topics = planned(gateways={"cs2": "ticktock", "markets": "predictstreet-market"})
    for gateway, kind in (("cs2", "ticktock"), ("markets", "predictstreet-market")):
        types = CATALOG.kind(kind).types.values()
        expected = {f"{gateway}.{each.type.replace('_', '-')}" for each in types if each.publish}
        assert expected | {f"{gateway}.unknown", f"{gateway}.dead-letters"} == {
            name for name, topic in topics.items() if topic.gateway == gateway
        }
    assert "cs2.alive" not in topics
    assert {name for name, topic in topics.items() if topic.gateway is None} == {
        "feedbridge.main.ledger",
        "feedbridge.main.gaps",
        "feedbridge.main.requests",
    }


def test_partitions_follow_from_the_purpose() -> None:
    """The ledger has one for each lane, gaps and requests one, all else as configured."""
    topics = planned(partitions=9, lanes=4)
    assert {topic.role: topic.partitions for topic in topics.values()} == {
        Role.DATA: 9,
        Role.DEAD_LETTERS: 9,
        Role.LEDGER: 4,
        Role.GAPS: 1,
        Role.REQUESTS: 1,
    }


@pytest.mark.parametrize(("hours", "retention"), [(6, 3 * DAY), (36, 3 * DAY), (48, 4 * DAY), (720, 60 * DAY)])
def test_the_ledger_outlives_its_window(hours: int, retention: int) -> None:
    """Twice the window and at least three days, deleted, by the broker's clock, whatever the broker's defaults."""
    ledger = planned(window=hours * 3600.0)["feedbridge.main.ledger"]
    assert ledger.config["retention.ms"] == str(retention)
    assert ledger.config["cleanup.policy"] == "delete"
    assert ledger.config["retention.bytes"] == "-1"
    assert ledger.config["message.timestamp.type"] == "LogAppendTime"


def test_gaps_and_dead_letters_are_kept_for_90_days() -> None:
    """Deleted by time only."""
    topics = planned()
    for name in ("feedbridge.main.gaps", "cs2.dead-letters"):
        assert topics[name].config["retention.ms"] == str(90 * DAY)
        assert topics[name].config["cleanup.policy"] == "delete"


def test_data_topics_keep_the_brokers_retention() -> None:
    """Nothing but the size of records is set, so that the cluster's own rules hold."""
    assert planned()["cs2.match.updated"].config == {"max.message.bytes": str(TOPIC_BYTES)}


def test_overrides_are_for_data_topics() -> None:
    """A short retention or compaction never reaches the ledger; what the cluster permits holds for all."""
    overrides = {"retention.ms": "3600000", "cleanup.policy": "compact", "max.message.bytes": 1048576}
    topics = planned(config=overrides)
    assert topics["cs2.match.updated"].config == {key: str(value) for key, value in overrides.items()}
    ledger = topics["feedbridge.main.ledger"].config
    assert ledger["retention.ms"] == str(3 * DAY)
    assert ledger["cleanup.policy"] == "delete"
    assert {topic.config["max.message.bytes"] for topic in topics.values()} == {"1048576"}


@pytest.mark.parametrize(("replicas", "expected"), [(None, None), (1, None), (2, None), (3, "2"), (5, "2")])
def test_two_replicas_acknowledge_where_there_are_three(replicas: int | None, expected: str | None) -> None:
    """With fewer, one broker's failure would stop the feed."""
    assert planned()["cs2.match.updated"].settings(replicas).get("min.insync.replicas") == expected
    given = planned(config={"min.insync.replicas": "3"})["feedbridge.main.ledger"]
    assert given.settings(replicas)["min.insync.replicas"] == "3"


def test_subjects_follow_the_layout() -> None:
    """One for each topic, or topic and record name where a topic has several types; none where no registry is needed."""
    topics = planned(layout=["type", "gateway"])
    (by_type,) = topics["cs2.match.updated"].subjects
    assert by_type.subject == "cs2.match.updated-value"
    assert by_type.schema == CATALOG.kind("ticktock").types["match.updated"].schema
    assert "bridge" not in by_type.schema
    assert "cs2-feedbridge.ticktock.MatchUpdated" in [each.subject for each in topics["cs2"].subjects]
    assert [each.subject for each in topics["feedbridge.main.gaps"].subjects] == ["feedbridge.main.gaps-value"]
    for name in ("feedbridge.main.ledger", "feedbridge.main.requests", "cs2.dead-letters"):
        assert topics[name].subjects == ()


def test_no_subject_stands_for_two_schemas() -> None:
    """Every subject is planned once, in every layout."""
    topics = planned(gateways={"a": "ticktock", "b": "ticktock"}, layout=["type", "gateway"])
    names = [each.subject for each in subjects(topics.values())]
    assert len(names) == len(set(names))


def test_a_record_goes_to_a_topic_of_each_layout() -> None:
    """Both layouts: both topics."""
    assert topic_names(installation(layout=["type", "gateway"]), "cs2", "bet_settlement") == (
        "cs2.bet-settlement",
        "cs2",
    )


def test_the_names_of_the_bridges_own() -> None:
    """Ledger and transactional ids carry prefix and name, so that two installations never meet."""
    config = installation(prefix="p.", name="eu-1")
    assert own_name(config, Role.LEDGER) == "p.feedbridge.eu-1.ledger"
    assert transactional_id(config, 3) == "p.feedbridge.eu-1.3"


@pytest.mark.parametrize("prefix", ["a b", "é", "a/"])
def test_names_that_kafka_does_not_take_are_refused(prefix: str) -> None:
    """Before a broker is asked, with the place in the configuration."""
    config = installation()
    object.__setattr__(config.topics, "prefix", prefix)
    with pytest.raises(ConfigError, match=r"topics\.prefix.*no name for a Kafka topic"):
        plan(config, CATALOG)


def test_names_that_are_too_long_are_refused() -> None:
    """Kafka takes 249 characters."""
    config = installation()
    object.__setattr__(config.topics, "prefix", "x" * 240)
    with pytest.raises(ConfigError, match="249"):
        plan(config, CATALOG)


def test_two_types_never_share_a_topic() -> None:
    """Types that differ only in a hyphen, and a type that would lie among the dead letters."""
    kind = CATALOG.kind("ticktock")
    first = next(iter(kind.types.values()))
    for clash in ({"x_y": "x_y", "x-y": "x-y"}, {"dead_letters": "dead_letters"}, {"unknown": "unknown"}):
        types = {
            name: SimpleNamespace(type=each, name="n.X", schema=first.schema, publish=True, private=False)
            for name, each in clash.items()
        }
        fake = SimpleNamespace(
            kind=lambda _, types=types: SimpleNamespace(types=types, unknown=kind.unknown), own=CATALOG.own
        )
        with pytest.raises(ConfigError, match="would share the topic"):
            plan(installation(), cast("Catalog", fake))


def test_private_frames_lie_in_private_topics() -> None:
    """Where a kind belongs to wallets, its data topics and dead letters are marked."""
    kind = CATALOG.kind("ticktock")
    private = SimpleNamespace(type="t", name="n.T", schema={}, publish=True, private=True)
    fake = SimpleNamespace(kind=lambda _: SimpleNamespace(types={"t": private}, unknown=kind.unknown), own=CATALOG.own)
    topics = {topic.name: topic.private for topic in plan(installation(), cast("Catalog", fake))}
    assert topics["cs2.t"]
    assert topics["cs2.dead-letters"]
    assert not topics["cs2.unknown"]
    assert not any(topic.private for topic in planned().values())


def test_a_wallets_topics_are_private_and_no_others() -> None:
    """Data, unknown frames and dead letters of the user gateway; the bridge's own, which tell of its connections and ids."""
    topics = planned(gateways={"markets": "predictstreet-market", "wallet": "predictstreet-user"})
    private = {name for name, topic in topics.items() if topic.private}
    assert {"wallet.user-fill", "wallet.vault.deposit-confirmed", "wallet.unknown", "wallet.dead-letters"} <= private
    assert private == {name for name in topics if not name.startswith("markets.")}
    whole = planned(gateways={"wallet": "predictstreet-user"}, layout=["gateway"])
    assert whole["wallet"].private


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["cs2.match.updated"], {"cs2.match.updated"}),
        (["match.updated"], {"cs2.match.updated"}),
        (["cs2.match.*"], {"cs2.match.created", "cs2.match.updated", "cs2.match.finished"}),
        (["gaps", "dead-letters"], {"feedbridge.main.gaps", "cs2.dead-letters"}),
    ],
)
def test_a_person_names_topics_in_several_ways(words: list[str], expected: set[str]) -> None:
    """By name, pattern, type or purpose."""
    assert {topic.name for topic in select(planned().values(), words)} == expected


def test_a_gateway_and_no_words_mean_data_topics() -> None:
    """Not its dead letters, which are no records."""
    topics = planned(gateways={"a": "ticktock", "b": "ticktock"})
    assert {topic.gateway for topic in select(topics.values(), ["a"])} == {"a"}
    assert {topic.role for topic in select(topics.values(), [])} == {Role.DATA}
    with pytest.raises(ConfigError, match="'nonsense' is no topic"):
        select(topics.values(), ["nonsense"])


class Broker:
    """A broker's admin API as far as `compare` and `apply` use it, to refuse what a real one in a test does not."""

    def __init__(self, *, largest: int | None = None, replication: int = 1, refuse: int | None = None) -> None:
        self.largest = largest
        self.replication = replication
        self.refuse = refuse
        self.topics: dict[str, Any] = {}
        #: Topics, there or not, that the user may not see.
        self.hidden: set[str] = set()
        self.leaderless = 0

    def add(self, name: str, *, partitions: int = 6, replicas: int = 1, **settings: str) -> None:
        """A topic that exists."""
        self.topics[name] = (partitions, replicas, {key.replace("_", "."): value for key, value in settings.items()})

    def list_topics(self, *, timeout: float) -> Any:  # noqa: ARG002
        """The metadata; leaders turn up after so many questions."""
        leader = -1 if self.leaderless > 0 else 1
        self.leaderless -= 1
        found = {
            name: SimpleNamespace(
                error=None,
                partitions={
                    number: SimpleNamespace(leader=leader, error=None, replicas=list(range(replicas)))
                    for number in range(partitions)
                },
            )
            for name, (partitions, replicas, _) in self.topics.items()
            if name not in self.hidden
        }
        return SimpleNamespace(topics=found, brokers={1: "b"})

    def describe_configs(self, resources: list[Any], *, request_timeout: float) -> dict[Any, Future[Any]]:  # noqa: ARG002
        """Settings of topics, or the broker's default replication."""
        answers = {}
        for resource in resources:
            answer: Future[Any] = Future()
            found = (
                self.topics[resource.name][2]
                if resource.name in self.topics
                else {"default.replication.factor": str(self.replication)}
            )
            answer.set_result({key: SimpleNamespace(name=key, value=value) for key, value in found.items()})
            answers[resource] = answer
        return answers

    def describe_topics(
        self,
        names: TopicCollection,
        *,
        include_authorized_operations: bool,  # noqa: ARG002
        request_timeout: float,  # noqa: ARG002
    ) -> dict[str, Future[Any]]:
        """All rights on those that are there; nothing of those that are hidden."""
        answers = {}
        for name in names.topic_names:
            answer: Future[Any] = Future()
            code = KafkaError.TOPIC_AUTHORIZATION_FAILED if name in self.hidden else KafkaError.UNKNOWN_TOPIC_OR_PART
            if name in self.hidden or name not in self.topics:
                answer.set_exception(KafkaException(KafkaError(code)))
            else:
                answer.set_result(SimpleNamespace(authorized_operations=list(AclOperation)))
            answers[name] = answer
        return answers

    def create_topics(self, new: list[Any], *, request_timeout: float) -> dict[str, Future[None]]:  # noqa: ARG002
        """Makes them, unless told to refuse."""
        answers = {}
        for topic in new:
            answer: Future[None] = Future()
            size = int(topic.config.get("max.message.bytes", 0))
            if self.refuse is not None:
                answer.set_exception(KafkaException(KafkaError(self.refuse)))
            elif self.largest is not None and size > self.largest:
                answer.set_exception(
                    KafkaException(KafkaError(KafkaError.POLICY_VIOLATION, "max.message.bytes too large"))
                )
            elif topic.topic in self.topics:
                answer.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS)))
            else:
                replicas = self.replication if topic.replication_factor == -1 else topic.replication_factor
                self.topics[topic.topic] = (topic.num_partitions, replicas, dict(topic.config))
                answer.set_result(None)
            answers[topic.topic] = answer
        return answers

    def poll(self, timeout: float) -> None:
        """Nothing to report."""

    def admin(self) -> Admin:
        """An `Admin` that asks this broker."""
        admin = Admin(installation(), timeout=1.0)
        admin.client = cast("Any", self)
        return admin


def test_applying_twice_changes_nothing() -> None:
    """The first makes all, the second finds all as planned."""
    broker, topics = Broker(replication=3), plan(installation(), CATALOG)
    assert {state.state for state in apply(broker.admin(), topics)} == {"created"}
    before = dict(broker.topics)
    assert {state.state for state in apply(broker.admin(), topics)} == {"ok"}
    assert broker.topics == before
    assert broker.topics["cs2.match.updated"][2]["min.insync.replicas"] == "2"


@pytest.mark.parametrize(("largest", "made"), [(8 * 1024**2, str(8 * 1024**2)), (1024**2, None)])
def test_a_broker_that_refuses_large_records_gets_smaller_ones(largest: int, made: str | None) -> None:
    """8 MiB, then its default; each topic says so."""
    broker = Broker(largest=largest)
    for state in apply(broker.admin(), plan(installation(), CATALOG)):
        assert broker.topics[state.plan.name][2].get("max.message.bytes") == made
        assert any("the broker refused 16 MiB" in note for note in state.notes)


def test_a_size_of_ones_own_is_not_made_smaller() -> None:
    """What was configured is refused with the broker's words."""
    broker = Broker(largest=1024)
    with pytest.raises(ConfigError, match=r"max\.message\.bytes too large"):
        apply(broker.admin(), plan(installation(config={"max.message.bytes": 2048}), CATALOG))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError.POLICY_VIOLATION, ConfigError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Refused),
        (KafkaError.REQUEST_TIMED_OUT, Unreachable),
    ],
)
def test_a_refusal_names_the_topic(code: int, expected: type[BridgeError]) -> None:
    """Also a policy that is not about the size: the first refusal is what is said."""
    with pytest.raises(expected) as caught:
        apply(Broker(refuse=code).admin(), plan(installation(), CATALOG))
    if expected is not Unreachable:
        assert "cs2." in str(caught.value)


@pytest.mark.parametrize("there", [True, False])
def test_a_topic_that_may_not_be_seen_is_no_missing_one(there: bool) -> None:  # noqa: FBT001 - a case
    """It may be there; who could make it and not see it is refused by name, and nobody waits for it to turn up."""
    broker, topics = Broker(), plan(installation(), CATALOG)
    apply(broker.admin(), topics if there else topics[1:])
    broker.hidden = {topics[0].name}
    states = compare(broker.admin(), topics)
    assert [state.state for state in states] == ["hidden", *["ok"] * (len(topics) - 1)]
    with pytest.raises(Refused, match=f"may not see topic '{topics[0].name}'.*feedbridge topics acls"):
        apply(broker.admin(), topics)


def test_a_race_is_no_error() -> None:
    """Another process made the topics between our look and our request: they are there, and not ours."""
    broker, topics = Broker(), plan(installation(), CATALOG)
    create = broker.create_topics

    def late(new: list[Any], *, request_timeout: float) -> dict[str, Future[None]]:
        create(new, request_timeout=request_timeout)
        return create(new, request_timeout=request_timeout)

    broker.create_topics = late  # type: ignore[method-assign]
    assert {state.state for state in apply(broker.admin(), topics)} == {"ok"}


def test_it_waits_for_leaders() -> None:
    """A topic can be written to when each partition has one; after a while that is an error that names one."""
    broker, slept = Broker(), list[float]()
    broker.leaderless = 4
    apply(broker.admin(), plan(installation(), CATALOG), sleep=slept.append)
    assert slept
    stuck = Broker()
    stuck.leaderless = 10**9
    with pytest.raises(Unreachable, match="no leader yet"):
        apply(stuck.admin(), plan(installation(), CATALOG), clock=iter(range(0, 1000, 10)).__next__, sleep=slept.append)


def test_differences_are_told_one_by_one() -> None:
    """Partitions, replicas and settings; more than planned of what may be more is none."""
    broker = Broker()
    topics = plan(installation(replication_factor=3, config={"retention.ms": "1000"}), CATALOG)
    broker.add("cs2.match.updated", partitions=3, replicas=1, max_message_bytes="1048576", retention_ms="2000")
    broker.add(
        "feedbridge.main.gaps",
        partitions=1,
        replicas=3,
        max_message_bytes=str(2 * TOPIC_BYTES),
        cleanup_policy="delete",
        retention_ms="-1",
        retention_bytes="-1",
        min_insync_replicas="2",
    )
    states = {state.plan.name: state for state in compare(broker.admin(), topics)}
    assert states["cs2.match.updated"].differences == (
        "partitions: 3, planned 6",
        "replication factor: 1, planned 3",
        "max.message.bytes: 1048576, planned 16777216",
        "retention.ms: 2000, planned 1000",
    )
    assert states["feedbridge.main.gaps"].state == "ok"
    assert states["cs2.unknown"].state == "missing"


@pytest.mark.parametrize(
    ("partitions", "policy", "words"),
    [(2, "delete", "lanes.count is 4"), (4, "compact,delete", "compacted"), (8, "delete", None)],
)
def test_a_ledger_that_would_break_a_promise_is_unusable(partitions: int, policy: str, words: str | None) -> None:
    """Too few partitions for the lanes, or entries that vanish."""
    broker = Broker()
    broker.add("feedbridge.main.ledger", partitions=partitions, cleanup_policy=policy)
    states = {state.plan.name: state for state in compare(broker.admin(), plan(installation(lanes=4), CATALOG))}
    unusable = states["feedbridge.main.ledger"].unusable
    assert unusable is None if words is None else words in str(unusable)


def test_a_name_that_kafka_takes_for_ours_is_an_error() -> None:
    """To Kafka '.' and '_' are alike in metric names, and it refuses the second."""
    broker = Broker()
    broker.add("cs2_match.updated")
    with pytest.raises(ConfigError, match=r"'cs2\.match\.updated' can't be made beside 'cs2_match\.updated'"):
        compare(broker.admin(), plan(installation(), CATALOG))
