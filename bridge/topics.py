"""Which topics an installation has, and how they are made.

`plan` is pure: configuration and catalog in, topics out (design 6.3). `compare` looks at the broker, `apply` makes what
is missing. What exists is never changed: how it differs is said, and what to do about it is the operator's decision.

``topics.config`` is meant for the data topics: frame types and unknown frames. Of its settings the bridge's own topics
(ledger, gaps, requests, dead letters) take only those that state what the cluster permits, `SHARED`: a shorter
retention or compaction of the ledger would let duplicates pass, and one of the dead letters would lose them.
"""

from __future__ import annotations

import fnmatch
import re
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from bridge import topic_requests
from bridge.errors import ConfigError, Refused
from bridge.kafka import TOPIC_BYTES, classify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from confluent_kafka.admin import TopicMetadata

    from bridge.catalog import Catalog, FrameType
    from bridge.config import Config
    from bridge.kafka import Admin

#: Settings of ``topics.config`` that the bridge's own topics take too.
SHARED: Final = frozenset({"max.message.bytes", "min.insync.replicas"})
#: Kafka's limits of a topic's name (``org.apache.kafka.common.internals.Topic``).
NAME_LENGTH: Final = 249
NAME: Final = re.compile(r"[A-Za-z0-9._-]+")


class Role(StrEnum):
    """What a topic is for."""

    DATA = "data"
    DEAD_LETTERS = "dead-letters"
    LEDGER = "ledger"
    GAPS = "gaps"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPlan:
    """A subject of the schema registry: the schema of one type of record in one topic.

    type: the frame type, ``unknown`` or ``gap``. schema: as registered, without the ``bridge`` attribute.
    """

    subject: str
    topic: str
    gateway: str | None
    type: str
    schema: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """One topic as it should be.

    partitions: a number. replication: None where the broker decides. config: Kafka's topic settings, without
    ``min.insync.replicas`` where that follows from the replicas, see `settings`. given: those of ``topics.config``.
    private: holds what belongs to a wallet. types: frame types in it. subjects: empty where values carry no schema id.
    """

    name: str
    role: Role
    gateway: str | None
    partitions: int
    replication: int | None
    config: Mapping[str, str]
    given: frozenset[str] = frozenset()
    private: bool = False
    types: tuple[str, ...] = ()
    subjects: tuple[SubjectPlan, ...] = ()

    @property
    def least(self) -> int:
        """How many partitions it must have for the bridge to run."""
        return self.partitions if self.role is Role.LEDGER else 1

    def settings(self, replicas: int | None) -> dict[str, str]:
        """Kafka's settings for a topic with that many replicas; None: not known, so nothing that depends on them."""
        settings = dict(self.config)
        if replicas is not None and replicas >= _REPLICAS:
            # One broker may fail: two acknowledge each record, so that no committed one is lost with a disk.
            settings.setdefault("min.insync.replicas", "2")
        return settings


def plan(config: Config, catalog: Catalog) -> list[TopicPlan]:
    """All topics of an installation: for each gateway every type its kind can send, then the bridge's own.

    Raises ConfigError for names that Kafka does not take, or that two topics would share.
    """
    topics = []
    for gateway, settings in config.gateways.items():
        kind = catalog.kind(settings.kind)
        types = [*(each for each in kind.types.values() if each.publish), kind.unknown]
        for layout in config.topics.layout:
            if layout == "gateway":
                topics.append(_data(config, gateway, types, layout))
            else:
                topics.extend(_data(config, gateway, [each], layout) for each in types)
        topics.append(_dead_letters(config, gateway, private=any(each.private for each in types)))
    topics.extend(_own(config, catalog))
    _check_names(topics)
    return topics


def topic_names(config: Config, gateway: str, frame_type: str) -> tuple[str, ...]:
    """The topics that a record of `frame_type` goes to, one for each layout."""
    return tuple(topic_name(config.topics.prefix, gateway, frame_type, layout=each) for each in config.topics.layout)


def topic_name(prefix: str, gateway: str, frame_type: str, *, layout: str = "type") -> str:
    """One topic's name (design 6.3): ``cs2.bet-settlement``, or ``cs2`` in layout ``gateway``."""
    return f"{prefix}{gateway}" if layout == "gateway" else f"{prefix}{gateway}.{frame_type.replace('_', '-')}"


def dead_letters_name(config: Config, gateway: str) -> str:
    """The dead-letter topic of a gateway."""
    return f"{config.topics.prefix}{gateway}.dead-letters"


def own_name(config: Config, role: Role) -> str:
    """The ledger, gap or request topic."""
    return f"{config.topics.prefix}feedbridge.{config.name}.{role}"


def transactional_id(config: Config, lane: int | str) -> str:
    """The transactional id of a lane; `check` has one of its own, ``….check``."""
    return f"{config.topics.prefix}feedbridge.{config.name}.{lane}"


def subjects(topics: Iterable[TopicPlan]) -> list[SubjectPlan]:
    """All subjects of these topics, in their order."""
    return [subject for topic in topics for subject in topic.subjects]


def select(topics: Iterable[TopicPlan], words: Sequence[str]) -> list[TopicPlan]:
    """The topics that a person means by `words`: a topic's name or a pattern of it, a gateway, a frame type.

    No words: all data topics. Raises ConfigError for a word that means none of them.
    """
    every = list(topics)
    if not words:
        return [topic for topic in every if topic.role is Role.DATA]
    chosen: dict[str, TopicPlan] = {}
    for word in words:
        found = (
            [topic for topic in every if fnmatch.fnmatchcase(topic.name, word)]
            or [topic for topic in every if topic.gateway == word and topic.role is Role.DATA]
            or [topic for topic in every if word in topic.types or topic.role == word]
        )
        if not found:
            raise ConfigError(
                f"{word!r} is no topic, gateway or frame type of this configuration",
                mend="`feedbridge topics plan` lists the topics",
            )
        chosen |= {topic.name: topic for topic in found}
    return list(chosen.values())


# --- the plan ---------------------------------------------------------------------------------------------------------

_REPLICAS: Final = 3
_DAY_MS: Final = 24 * 60 * 60 * 1000
_KEPT: Final = {"cleanup.policy": "delete", "retention.bytes": "-1"}


def _data(config: Config, gateway: str, types: Sequence[FrameType], layout: str) -> TopicPlan:
    name = topic_name(config.topics.prefix, gateway, types[0].type, layout=layout)
    given = config.topics.config
    return TopicPlan(
        name=name,
        role=Role.DATA,
        gateway=gateway,
        partitions=config.topics.partitions,
        replication=config.topics.replication_factor,
        config={"max.message.bytes": str(TOPIC_BYTES)} | given,
        given=frozenset(given),
        private=any(each.private for each in types),
        types=tuple(each.type for each in types),
        subjects=tuple(
            SubjectPlan(
                subject=f"{name}-{each.name}" if layout == "gateway" else f"{name}-value",
                topic=name,
                gateway=gateway,
                type=each.type,
                schema=each.schema,
            )
            for each in types
        ),
    )


def _dead_letters(config: Config, gateway: str, *, private: bool) -> TopicPlan:
    return _kept(
        config,
        dead_letters_name(config, gateway),
        Role.DEAD_LETTERS,
        gateway=gateway,
        partitions=config.topics.partitions,
        retention=90 * _DAY_MS,
        private=private,
    )


def _own(config: Config, catalog: Catalog) -> list[TopicPlan]:
    ledger, gaps, requests = (own_name(config, role) for role in (Role.LEDGER, Role.GAPS, Role.REQUESTS))
    window = round(config.dedupe.window * 1000)
    private = any(catalog.kind(each.kind).unknown.private for each in config.gateways.values())
    gap = SubjectPlan(subject=f"{gaps}-value", topic=gaps, gateway=None, type="gap", schema=catalog.own("gap"))
    return [
        _kept(
            config,
            ledger,
            Role.LEDGER,
            partitions=config.lanes.count,
            retention=max(2 * window, 3 * _DAY_MS),
            # The window is read from a point in time: the broker's clock is the one that all writers share.
            more={"message.timestamp.type": "LogAppendTime"},
            private=private,
        ),
        _kept(config, gaps, Role.GAPS, partitions=1, retention=90 * _DAY_MS, subjects=(gap,), private=private),
        # It tells which dead letters were replayed, so it must outlive them; a segment of theirs is kept up to a week longer.
        _kept(config, requests, Role.REQUESTS, partitions=1, retention=104 * _DAY_MS, private=private),
    ]


def _kept(
    config: Config,
    name: str,
    role: Role,
    *,
    partitions: int,
    retention: int,
    gateway: str | None = None,
    more: Mapping[str, str] | None = None,
    subjects: tuple[SubjectPlan, ...] = (),
    private: bool = False,
) -> TopicPlan:
    """A topic of the bridge's own: kept for a time, whatever the broker's defaults are."""
    given = {key: value for key, value in config.topics.config.items() if key in SHARED}
    return TopicPlan(
        name=name,
        role=role,
        gateway=gateway,
        partitions=partitions,
        replication=config.topics.replication_factor,
        config={
            "max.message.bytes": str(TOPIC_BYTES),
            **_KEPT,
            "retention.ms": str(retention),
            **(more or {}),
            **given,
        },
        given=frozenset(given),
        private=private,
        subjects=subjects,
    )


def _check_names(topics: Sequence[TopicPlan]) -> None:
    seen: dict[str, TopicPlan] = {}
    for topic in topics:
        name = topic.name
        if not NAME.fullmatch(name) or name in {".", ".."}:
            raise ConfigError(
                f"{name!r} is no name for a Kafka topic (letters, digits, '.', '_' and '-')",
                where="topics.prefix",
                mend="change the prefix",
            )
        if len(name) > NAME_LENGTH:
            raise ConfigError(
                f"the topic name {name!r} has {len(name)} characters, and Kafka takes {NAME_LENGTH}",
                where="topics.prefix",
                mend="shorten the prefix or the gateway's name",
            )
        other = seen.setdefault(_metric_name(name), topic)
        if other is not topic:
            raise ConfigError(
                f"{_owner(other)} and {_owner(topic)} would share the topic {name!r}",
                where="topics",
                mend="choose another prefix or gateway name",
            )


def _owner(topic: TopicPlan) -> str:
    types = ", ".join(topic.types) if topic.types else topic.role
    return f"{types} of gateway {topic.gateway}" if topic.gateway else str(topic.role)


def _metric_name(name: str) -> str:
    """Kafka refuses a topic whose name differs from another's only in ``.`` and ``_``: their metrics would collide."""
    return name.replace(".", "_")


# --- the broker -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """How a topic is on the broker.

    state: ``missing``, ``hidden`` (the user may not see whether it is there), ``differs``, ``ok`` or ``created``. differences: one line each. notes: what could not be seen or had to be made otherwise. unusable: why the bridge must
    not run with it, or None. limit: its ``max.message.bytes``, None where that can't be seen. partitions: how many it has.
    """

    plan: TopicPlan
    state: str
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    unusable: str | None = None
    limit: int | None = None
    partitions: int | None = None


def compare(admin: Admin, topics: Sequence[TopicPlan]) -> list[TopicState]:
    """How the broker's topics differ from the plan, in the plan's order.

    Raises Unreachable or Refused, and ConfigError where another topic's name leaves no room for one of ours.
    """
    existing = admin.metadata().topics
    _check_collisions(topics, existing)
    found = [topic for topic in topics if topic_requests.exists(existing.get(topic.name))]
    settings = topic_requests.settings(admin, [topic.name for topic in found])
    hidden = topic_requests.hidden(admin, [topic.name for topic in topics if topic.name not in settings])
    return [
        _judge(topic, existing[topic.name], settings[topic.name])
        if topic.name in settings
        else TopicState(plan=topic, state="hidden" if topic.name in hidden else "missing")
        for topic in topics
    ]


def apply(
    admin: Admin,
    topics: Sequence[TopicPlan],
    *,
    wait: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> list[TopicState]:
    """Make the missing topics and wait until every broker asked knows them; what exists stays as it is.

    Only the ledger is given more partitions where it has too few, one for each lane; none is ever taken away.

    wait: seconds. tell: see `bridge.proof.Progress`. May be repeated, and run by several processes at once. Raises Unreachable, Refused, or ConfigError
    where the broker refuses a topic for good.
    """
    before = compare(admin, topics)
    hidden = {state.plan.name for state in before if state.state == "hidden"}
    missing = [state.plan for state in before if state.state in {"missing", "hidden"}]
    short = [state.plan for state in before if _short(state)]
    if short:
        for topic in short:
            topic_requests.grow(admin, topic)
        topic_requests.wait(admin, short, until=clock() + wait, clock=clock, sleep=sleep)
        before = compare(admin, topics)
    if not missing:
        return before
    tell(f"making {len(missing)} topics", 0, 0)
    default = topic_requests.default_replication(admin) if any(topic.replication is None for topic in missing) else None
    notes = {topic.name: _unknown_replicas(topic, default) for topic in missing}
    asked, raced = missing, set[str]()
    for limit in (TOPIC_BYTES, *_SMALLER):
        refused, made_elsewhere = topic_requests.create(admin, asked, default=default, limit=limit)
        raced |= made_elsewhere
        if limit != TOPIC_BYTES:
            notes |= {
                topic.name: (*notes[topic.name], _made_smaller(limit)) for topic in asked if topic.name not in refused
            }
        asked = [topic for topic in asked if topic.name in refused]
        if not asked:
            break
        if limit is None:  # it was not the size
            raise classify(refused[asked[0].name], name=asked[0].name)
    if hidden:
        raise unseen(min(hidden))
    topic_requests.wait(admin, topics, until=clock() + wait, clock=clock, sleep=sleep, tell=tell)
    created = {topic.name for topic in missing} - raced
    return [
        _created(state, notes[state.plan.name]) if state.plan.name in created else state
        for state in compare(admin, topics)
    ]


def unseen(topic: str) -> Refused:
    """What to raise for a topic that the user has no right to see."""
    return Refused(
        f"the user may not see topic {topic!r}", where="kafka", mend="grant what `feedbridge topics acls` prints"
    )


#: What is tried where a broker's policy refuses `TOPIC_BYTES`: the largest that hosted clusters often allow, then the
#: broker's own default (None).
_SMALLER: Final = (8 * 1024 * 1024, None)
#: Settings of which more than planned does no harm. -1 stands for "no limit" in retention.
_AT_LEAST: Final = frozenset({"max.message.bytes", "retention.ms", "min.insync.replicas", "retention.bytes"})


def _short(state: TopicState) -> bool:
    """Whether a topic exists and has too few partitions: only the ledger needs a number of them."""
    return state.partitions is not None and state.partitions < state.plan.least


def _judge(topic: TopicPlan, found: TopicMetadata, settings: Mapping[str, str] | None) -> TopicState:
    partitions = len(found.partitions)
    replicas = min((len(part.replicas) for part in found.partitions.values()), default=0)
    differences = []
    # A ledger keeps the partitions that an earlier plan of lanes had.
    if partitions != topic.partitions and (topic.role is not Role.LEDGER or partitions < topic.partitions):
        differences.append(f"partitions: {partitions}, planned {topic.partitions}")
    if topic.replication is not None and replicas != topic.replication:
        differences.append(f"replication factor: {replicas}, planned {topic.replication}")
    if settings is not None:
        for key, planned in topic.settings(replicas).items():
            actual = settings.get(key)
            if not _suits(key, planned, actual, exact=key in topic.given):
                differences.append(f"{key}: {actual}, planned {planned}")
    return TopicState(
        plan=topic,
        state="differs" if differences else "ok",
        differences=tuple(differences),
        notes=() if settings is not None else ("its settings can't be seen: no right to describe its configuration",),
        unusable=_unusable(topic, partitions, settings or {}),
        limit=int(settings["max.message.bytes"]) if settings and "max.message.bytes" in settings else None,
        partitions=partitions,
    )


def _unusable(topic: TopicPlan, partitions: int, settings: Mapping[str, str]) -> str | None:
    if topic.role is not Role.LEDGER:
        return None
    if partitions < topic.partitions:
        return (
            f"the ledger has {partitions} partitions, and lanes.count is {topic.partitions}; "
            "run `feedbridge topics apply`, which adds the others"
        )
    if "compact" in settings.get("cleanup.policy", ""):
        return "the ledger is compacted: entries that prove what is published would vanish"
    return None


def _suits(key: str, planned: str, actual: str | None, *, exact: bool) -> bool:
    if actual is None or exact or key not in _AT_LEAST:
        return actual == planned
    if key.startswith("retention.") and "-1" in (planned, actual):
        return actual == "-1"
    return int(actual) >= int(planned)


def _check_collisions(topics: Sequence[TopicPlan], existing: Mapping[str, TopicMetadata]) -> None:
    taken = {_metric_name(name): name for name in existing}
    for topic in topics:
        other = taken.get(_metric_name(topic.name))
        if other is not None and other != topic.name and topic.name not in existing:
            raise ConfigError(
                f"the topic {topic.name!r} can't be made beside {other!r}: to Kafka '.' and '_' in names are alike",
                where="kafka",
                mend="choose another topics.prefix",
            )


def _unknown_replicas(topic: TopicPlan, default: int | None) -> tuple[str, ...]:
    if topic.replication is None and default is None and "min.insync.replicas" not in topic.given:
        return ("min.insync.replicas left to the broker: its default replication factor can't be seen",)
    return ()


def _made_smaller(limit: int | None) -> str:
    size = f"{limit // 1024**2} MiB" if limit else "the broker's default"
    return (
        f"max.message.bytes: the broker refused {TOPIC_BYTES // 1024**2} MiB, made with {size}; larger frames are cut"
    )


def _created(state: TopicState, notes: tuple[str, ...]) -> TopicState:
    return replace(state, state="created", notes=(*notes, *state.notes))
