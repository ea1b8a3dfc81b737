"""What is asked of Kafka about topics: one function for each request, each failure a `BridgeError` that says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, ConfigResource, NewPartitions, NewTopic

from bridge.errors import Refused, Unreachable
from bridge.kafka import TOPIC_BYTES, classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka.admin import TopicMetadata

    from bridge.errors import BridgeError
    from bridge.kafka import Admin
    from bridge.topics import TopicPlan

_LIMIT_REFUSED: Final = frozenset(
    {KafkaError.POLICY_VIOLATION, KafkaError.INVALID_CONFIG, KafkaError.INVALID_REQUEST, KafkaError.TOPIC_EXCEPTION}
)
_MAY_NOT: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART})


def create(
    admin: Admin, topics: Sequence[TopicPlan], *, default: int | None, limit: int | None
) -> tuple[dict[str, KafkaError], set[str]]:
    """Ask for the topics: (those whose size limit the broker may have refused, those that another process made)."""
    requests = []
    for topic in topics:
        settings = topic.settings(topic.replication or default)
        if limit != TOPIC_BYTES and "max.message.bytes" not in topic.given:
            del settings["max.message.bytes"]
            settings |= {"max.message.bytes": str(limit)} if limit else {}
        requests.append(
            NewTopic(
                topic.name, num_partitions=topic.partitions, replication_factor=topic.replication or -1, config=settings
            )
        )
    refused, raced = {}, set()
    given = {topic.name: topic.given for topic in topics}
    futures = admin.call(lambda: admin.client.create_topics(requests, request_timeout=admin.timeout))
    for name, future in futures.items():
        try:
            future.result(timeout=admin.timeout + 5)
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                raced.add(name)
            elif cause.code() in _LIMIT_REFUSED and "max.message.bytes" not in given[name]:
                refused[name] = cause
            else:
                raise _not_made(cause, name) from error
    return refused, raced


def forbidden(admin: Admin, topics: Iterable[TopicPlan]) -> set[str]:
    """Which of these topics the user may not make; asks for all of them without making any."""
    wanted = [NewTopic(topic.name, num_partitions=1, replication_factor=-1) for topic in topics]
    if not wanted:
        return set()
    futures = admin.call(lambda: admin.client.create_topics(wanted, request_timeout=admin.timeout, validate_only=True))
    found = set()
    for name, future in futures.items():
        try:
            future.result(timeout=admin.timeout + 5)
        except KafkaException as error:
            if error.args[0].code() in _MAY_NOT:
                found.add(name)
    return found


def hidden(admin: Admin, names: Sequence[str]) -> set[str]:
    """Which of these topics the user may not see, so that they may be there or not."""
    return {name for name, operations in rights(admin, names).items() if operations == frozenset()}


def rights(admin: Admin, names: Sequence[str]) -> dict[str, frozenset[AclOperation] | None]:
    """What the user may do with each topic; nothing for one that it may not see. None: there is no such topic.

    A broker that checks no rights names all of them.
    """
    if not names:
        return {}
    futures = admin.call(
        lambda: admin.client.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=admin.timeout
        )
    )
    found: dict[str, frozenset[AclOperation] | None] = {}
    for name, future in futures.items():
        try:
            operations = future.result(timeout=admin.timeout + 5).authorized_operations
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.code() not in _MAY_NOT | _ABSENT:
                raise classify(cause, name=name) from error
            found[name] = None if cause.code() in _ABSENT else frozenset()
        else:
            # An answer without rights: the broker does not tell them.
            found[name] = frozenset(operations or AclOperation)
    return found


def _not_made(cause: KafkaError, name: str) -> BridgeError:
    if cause.code() in _MAY_NOT:
        return Refused(f"the user may not make topic {name!r}", where="kafka", mend="grant it Create on the topic")
    return classify(cause, name=name)


def wait(
    admin: Admin,
    topics: Iterable[TopicPlan],
    *,
    until: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    tell: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> None:
    """Return when the metadata shows every topic with a leader for each partition: only then can it be written to."""
    wanted = list(topics)
    while True:
        existing = admin.metadata().topics
        late = [topic.name for topic in wanted if not _ready(existing.get(topic.name), topic.least)]
        tell("waiting for leaders", len(wanted) - len(late), len(wanted))
        if not late:
            return
        if clock() > until:
            raise Unreachable(
                f"{len(late)} topics have no leader yet, among them {late[0]!r}",
                where="kafka",
                mend="see the brokers' logs, then run `feedbridge topics apply` again",
            )
        sleep(0.1)


def exists(topic: TopicMetadata | None) -> bool:
    """Whether the metadata of a topic say that it is there."""
    return topic is not None and (topic.error is None or topic.error.code() == KafkaError.LEADER_NOT_AVAILABLE)


def grow(admin: Admin, topic: TopicPlan) -> None:
    """Give a topic as many partitions as planned; another process may do the same."""
    wanted = [NewPartitions(topic.name, topic.partitions)]
    (future,) = admin.call(lambda: admin.client.create_partitions(wanted, request_timeout=admin.timeout)).values()
    try:
        future.result(timeout=admin.timeout + 5)
    except KafkaException as error:
        code = error.args[0].code()
        if code in _MAY_NOT:
            raise Refused(
                f"the user may not add partitions to topic {topic.name!r}",
                where="kafka",
                mend="grant it Alter on the topic",
            ) from error
        if code != KafkaError.INVALID_PARTITIONS:  # it has them by now
            raise classify(error, name=topic.name) from error


def _ready(topic: TopicMetadata | None, partitions: int) -> bool:
    return (
        topic is not None
        and topic.error is None
        and len(topic.partitions) >= partitions
        and all(part.leader >= 0 and part.error is None for part in topic.partitions.values())
    )


def settings(admin: Admin, names: Sequence[str]) -> dict[str, dict[str, str] | None]:
    """Each topic's settings; None where the user may not see them."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    futures = admin.call(lambda: admin.client.describe_configs(resources, request_timeout=admin.timeout))
    found: dict[str, dict[str, str] | None] = {}
    for resource, future in futures.items():
        try:
            entries = future.result(timeout=admin.timeout + 5)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue  # deleted a moment ago: missing
            if code != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise classify(error, name=resource.name) from error
            found[resource.name] = None
        else:
            found[resource.name] = {entry.name: str(entry.value) for entry in entries.values()}
    return found


def default_replication(admin: Admin) -> int | None:
    """The broker's ``default.replication.factor``; None where the user may not see it."""
    broker = str(min(admin.metadata().brokers))
    resource = ConfigResource(ConfigResource.Type.BROKER, broker)
    (future,) = admin.call(lambda: admin.client.describe_configs([resource], request_timeout=admin.timeout)).values()
    try:
        value = future.result(timeout=admin.timeout + 5)["default.replication.factor"].value
    except KafkaException as error:
        if error.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED:
            return None
        raise classify(error, name=f"broker {broker}") from error
    except KeyError:
        return None
    return int(value)
