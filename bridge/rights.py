"""Which rights in Kafka each use of an installation needs, and no more. Pure.

A right that another one implies is left out: Kafka lets whoever may read, write or alter a thing describe it too. No
command needs a right to a consumer group (readers assign their partitions themselves) or to write idempotently (whoever
may write with a transactional id may do that).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from bridge.topics import Role, own_name, transactional_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bridge.config import Config
    from bridge.topics import TopicPlan


class Use(StrEnum):
    """What a user of Kafka is for.

    RUN: `run` and `check`; with ``topics.create`` that includes making topics. APPLY: `topics plan` and `topics apply`.
    VERIFY: `verify`. FILL: `gaps list` and `gaps fill` while a bridge runs. REPLAY: `dead-letters`, all
    of it, while a bridge runs. READ: `tail`, `dead-letters list` and `show`, and programs that consume.
    """

    RUN = "run"
    APPLY = "apply"
    VERIFY = "verify"
    FILL = "fill"
    REPLAY = "replay"
    READ = "read"


class Operation(StrEnum):
    """Kafka's operations, as its tools spell them."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    ALTER = "Alter"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


class Kind(StrEnum):
    """Kinds of things that rights are about, as Strimzi spells them."""

    TOPIC = "topic"
    TRANSACTIONAL_ID = "transactionalId"
    GROUP = "group"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Operations on one thing. name: empty for the cluster. prefixed: on all things whose names begin so.

    private: of a topic that holds what belongs to a wallet.
    """

    kind: Kind
    name: str
    operations: frozenset[Operation]
    prefixed: bool = False
    private: bool = False


def rights(
    config: Config,
    topics: Sequence[TopicPlan],
    uses: Iterable[Use],
    *,
    read: Sequence[TopicPlan] = (),
    group: str | None = None,
) -> list[Right]:
    """All rights that these uses need together, topics in the order of the plan.

    topics: all of the installation. read: those that `Use.READ` is about. group: the consumer group of who reads them.
    """
    found: dict[tuple[Kind, str, bool], Right] = {}
    for use in uses:
        for right in _of(config, topics, use, read=read, group=group):
            place = (right.kind, right.name, right.prefixed)
            operations = right.operations | (found[place].operations if place in found else frozenset())
            found[place] = Right(
                kind=right.kind,
                name=right.name,
                operations=_least(operations),
                prefixed=right.prefixed,
                private=right.private,
            )
    order = {topic.name: place for place, topic in enumerate(topics)}
    return sorted(found.values(), key=lambda each: (_ORDER[each.kind], order.get(each.name, 0), each.name))


def of_topic(config: Config, topic: TopicPlan, use: Use) -> frozenset[Operation]:
    """What a use does with one topic."""
    if use is Use.RUN:
        return _least(_RUN[topic.role] | (_made(topic) if config.topics.create else frozenset()))
    if use is Use.APPLY:
        return _least(_made(topic) | {Operation.DESCRIBE})
    if use is Use.FILL:
        return _FILL.get(topic.role, frozenset())
    if use is Use.REPLAY:
        return _REPLAY.get(topic.role, frozenset())
    return frozenset({Operation.READ})


def implied(operation: Operation) -> frozenset[Operation]:
    """Any of these is as good as the operation."""
    return _IMPLYING.get(operation, frozenset()) | {operation}


def sees_defaults(config: Config, topics: Iterable[TopicPlan]) -> bool:
    """Whether who makes the topics must see the broker's replication factor: ``min.insync.replicas`` follows from it."""
    return config.topics.replication_factor is None and any(
        "min.insync.replicas" not in topic.given for topic in topics
    )


_WRITTEN: Final = frozenset({Operation.WRITE, Operation.DESCRIBE_CONFIGS})
#: What a running bridge does with a topic. It looks at settings too: how large a record may be, and that nothing compacts
#: the ledger. It replays dead letters, and tells beside the request what came of them.
_RUN: Final = {
    Role.DATA: _WRITTEN,
    Role.DEAD_LETTERS: _WRITTEN | {Operation.READ},
    Role.GAPS: _WRITTEN,
    Role.LEDGER: _WRITTEN | {Operation.READ},
    Role.REQUESTS: _WRITTEN | {Operation.READ},
}
#: Whoever asks a running bridge reads what it has recorded, and writes a request.
_FILL: Final = {
    Role.LEDGER: frozenset({Operation.READ}),
    Role.GAPS: frozenset({Operation.READ}),
    Role.REQUESTS: frozenset({Operation.WRITE}),
}
#: And whoever asks it to replay dead letters reads these, and what came of it.
_REPLAY: Final = {
    Role.DEAD_LETTERS: frozenset({Operation.READ}),
    Role.LEDGER: frozenset({Operation.READ}),
    Role.REQUESTS: frozenset({Operation.READ, Operation.WRITE}),
}
_IMPLYING: Final = {Operation.DESCRIBE: frozenset({Operation.READ, Operation.WRITE, Operation.ALTER})}
_ORDER: Final = {
    kind: place for place, kind in enumerate((Kind.TOPIC, Kind.TRANSACTIONAL_ID, Kind.GROUP, Kind.CLUSTER))
}


def _of(
    config: Config, topics: Sequence[TopicPlan], use: Use, *, read: Sequence[TopicPlan], group: str | None
) -> Iterable[Right]:
    for topic in read if use is Use.READ else topics:
        if operations := of_topic(config, topic, use):
            yield Right(kind=Kind.TOPIC, name=topic.name, operations=operations, private=topic.private)
    if use is Use.RUN:
        # Of all lanes, of those of plans before (which are fenced), and of `check`.
        yield _transactions(transactional_id(config, ""))
    if use in {Use.FILL, Use.REPLAY}:
        yield _transactions(f"{own_name(config, Role.REQUESTS)}-")
    if use is Use.READ and group is not None:
        yield Right(kind=Kind.GROUP, name=group, operations=frozenset({Operation.READ}))
    makes = use is Use.APPLY or (use is Use.RUN and config.topics.create)
    if makes and sees_defaults(config, topics):
        yield Right(kind=Kind.CLUSTER, name="", operations=frozenset({Operation.DESCRIBE_CONFIGS}))


def _made(topic: TopicPlan) -> frozenset[Operation]:
    """What making a topic takes; the ledger gets further partitions when there are more lanes."""
    found = frozenset({Operation.CREATE, Operation.DESCRIBE_CONFIGS})
    return found | {Operation.ALTER} if topic.role is Role.LEDGER else found


def _transactions(prefix: str) -> Right:
    operations = frozenset({Operation.WRITE})
    return Right(kind=Kind.TRANSACTIONAL_ID, name=prefix, operations=operations, prefixed=True)


def _least(operations: frozenset[Operation]) -> frozenset[Operation]:
    """Without those that others imply."""
    return frozenset(each for each in operations if not _IMPLYING.get(each, frozenset()) & operations)
