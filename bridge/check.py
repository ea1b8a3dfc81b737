"""`feedbridge check`: would this configuration run? Gateways, Kafka and registry are asked, and nothing is changed.

A finding that is not ok keeps a bridge from working. What merely differs from the plan is said and is ok.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException

from bridge import kafka, native, topic_requests
from bridge.blots import blots
from bridge.errors import BridgeError
from bridge.finding import Finding
from bridge.rights import Operation, Use, implied, of_topic, sees_defaults
from bridge.settings import write_size
from bridge.topics import Role, TopicPlan, TopicState, compare, plan, transactional_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from confluent_kafka.admin import AclOperation

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.gateways.gateway import Gateway

#: Seconds that Kafka has to answer one request.
TIMEOUT: Final = 10.0
#: A topic that takes less (bytes) refuses frames that come every day, such as an order book or a scoreboard.
SMALL: Final = 64 * 1024


async def check(
    config: Config, catalog: Catalog, gateways: Iterable[Gateway] = (), *, patience: float = TIMEOUT
) -> list[Finding]:
    """Ask everything that `config` names, at once. patience: seconds for one request to Kafka.

    Findings come in the order config, gateways, kafka, registry, telemetry, and name which of them they are about. Whatever fails
    is a finding; only a configuration that makes no plan of topics raises, a ConfigError.
    """
    topics = plan(config, catalog)
    names = ", ".join(config.gateways)
    slow = "" if native.available() else f"; frames take 1.7 times the CPU, since {native.absent}"
    asked = [
        *(_gateway(gateway) for gateway in gateways),
        asyncio.to_thread(_guarded, "kafka", lambda: check_kafka(config, topics, timeout=patience)),
        asyncio.to_thread(_guarded, "registry", lambda: check_registry(config, topics)),
        asyncio.to_thread(_guarded, "telemetry.otlp", lambda: check_telemetry(config)),
    ]
    answers = await asyncio.gather(*asked)
    return [
        Finding("config", ok=True, text=f"{config.name}: gateways {names}; {len(topics)} topics{slow}"),
        *(Finding("config", ok=True, text=f"warning: {text}") for text in blots(config)),
        *(finding for answer in answers for finding in answer),
    ]


def check_kafka(config: Config, topics: Sequence[TopicPlan], *, timeout: float = TIMEOUT) -> list[Finding]:
    """Reachable, topics as planned, rights on topics and cluster, transactions. Blocking; fences nobody.

    Raises Unreachable, Refused or ConfigError where nothing more can be asked.
    """
    admin = kafka.Admin(config, timeout=timeout)
    brokers = admin.metadata().brokers
    states = compare(admin, topics)
    return [
        Finding("kafka", ok=True, text=f"reached: {len(brokers)} broker{'s' if len(brokers) > 1 else ''}"),
        *_topics(config, states),
        *_small(config, states),
        *_rights(admin, config, states),
        _transactions(config, timeout),
    ]


def check_registry(config: Config, topics: Sequence[TopicPlan]) -> list[Finding]:
    """Reachable, every schema registered or to be registered without harm. Blocking.

    Raises Unreachable, Refused or ConfigError where nothing more can be asked.
    """
    settings = config.registry
    if settings is None:
        return [Finding("registry", ok=True, text="none configured: values carry the fingerprint of their schema")]
    from bridge.registry import Registry  # its client takes long to import, and many have no registry

    with Registry(settings, cache=Path(config.journal.path)) as registry:
        registry.reach()
        findings = [Finding("registry", ok=True, text=f"reached: {registry.where}")]
        bad = [finding for finding in registry.check(topics) if not finding.ok]
        missing = registry.unregistered(topics)
    if missing and not bad:
        first, more = missing[0], f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        does = "`run` registers them" if settings.register_schemas else "run `feedbridge schemas register`"
        text = f"not registered: {first.type} under {first.subject!r}{more}; {does}"
        findings.append(Finding("registry", ok=settings.register_schemas, text=text))
    elif not bad:
        findings.append(Finding("registry", ok=True, text="all schemas are registered"))
    return [*findings, *bad]


def check_telemetry(config: Config) -> list[Finding]:
    """Whether the collector takes metrics, where there is one; a bridge works without it. Blocking.

    Raises ConfigError where what it needs is not installed.
    """
    settings = config.telemetry.otlp
    if settings is None:
        return []
    from bridge.ops.otlp import probe

    reason = probe(settings)
    text = "reached" if reason is None else f"takes no metrics now: {reason}"
    return [Finding("telemetry.otlp", ok=True, text=f"{settings.endpoint}: {text}")]


async def _gateway(gateway: Gateway) -> list[Finding]:
    try:
        return await gateway.check()
    except BridgeError as error:
        return [Finding(gateway.name, ok=False, text=str(error).removeprefix(f"{gateway.name}: "))]


def _guarded(name: str, ask: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return ask()
    except BridgeError as error:
        return [Finding(name, ok=False, text=str(error).removeprefix(f"{name}: "))]


def _topics(config: Config, states: Sequence[TopicState]) -> list[Finding]:
    findings = [
        Finding("kafka", ok=False, text=f"topic {state.plan.name}: {state.unusable}")
        for state in states
        if state.unusable
    ]
    findings += [
        Finding("kafka", ok=True, text=f"topic {state.plan.name} is not as planned: {'; '.join(state.differences)}")
        for state in states
        if state.differences and not state.unusable
    ]
    missing = [state.plan.name for state in states if state.state == "missing"]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        does = "`run` makes them" if config.topics.create else "run `feedbridge topics apply`"
        findings.append(Finding("kafka", ok=config.topics.create, text=f"topics missing: {missing[0]}{more}; {does}"))
    elif not findings and all(state.state == "ok" for state in states):
        findings.append(Finding("kafka", ok=True, text=f"all {len(states)} topics are as planned"))
    return findings


def _small(config: Config, states: Sequence[TopicState]) -> list[Finding]:
    """Topics that take less than a frame may have. A fault where that will be met every day; else it is said."""
    smaller: dict[tuple[int, str], list[str]] = {}
    for state in states:
        gateway, limit = state.plan.gateway, state.limit
        if gateway is not None and limit is not None and limit < config.gateways[gateway].max_frame:
            smaller.setdefault((limit, gateway), []).append(state.plan.name)
    findings = []
    for (limit, gateway), names in sorted(smaller.items()):
        which = f"topics {names[0]} and {len(names) - 1} more take" if len(names) > 1 else f"topic {names[0]} takes"
        largest = write_size(config.gateways[gateway].max_frame)
        text = (
            f"{which} {write_size(limit)} at most (max.message.bytes), and a frame of {gateway} may have {largest} "
            "(max_frame): what is too large becomes a dead letter"
        )
        if limit < SMALL:
            text += "; raise max.message.bytes of " + ("these topics" if len(names) > 1 else "the topic")
        findings.append(Finding("kafka", ok=limit >= SMALL, text=text))
    return findings


def _rights(admin: kafka.Admin, config: Config, states: Sequence[TopicState]) -> list[Finding]:
    """What `feedbridge topics acls` prints for `run`, and the user may not do. The transactional id is tried elsewhere.

    A topic that is not there yet tells only whether it may be made: a right by its very name can't be seen before.
    """
    known = topic_requests.rights(admin, [state.plan.name for state in states])
    unseen = [state.plan for state in states if not known[state.plan.name]]
    unmakeable = topic_requests.forbidden(admin, unseen) if config.topics.create else set()
    lacking: dict[tuple[bool, tuple[Operation, ...]], list[str]] = {}
    for state in states:
        topic = state.plan
        may_not = _may_not(of_topic(config, topic, Use.RUN), known[topic.name], makeable=topic.name not in unmakeable)
        harmless = may_not & _HARMLESS[topic.role] if known[topic.name] else frozenset[Operation]()
        fatal = tuple(each for each in Operation if each in may_not - harmless)
        for key in ((False, fatal), *((True, (each,)) for each in harmless)):
            if key[1]:
                lacking.setdefault(key, []).append(topic.name)
    findings = [
        Finding("kafka", ok=ok, text=text)
        for (ok, operations), names in sorted(lacking.items())
        for text in _lacks(operations, names, harmless=ok)
    ]
    if config.topics.create and sees_defaults(config, [state.plan for state in states]):
        findings += _defaults(admin)
    return findings


def _may_not(
    wanted: frozenset[Operation], granted: frozenset[AclOperation] | None, *, makeable: bool
) -> frozenset[Operation]:
    """Which of the wanted operations the user has no right to, as far as that can be told.

    granted: of a topic that exists; nothing: it can't be seen, so that every right lacks which would show it; None: there
    is none.
    """
    if granted:
        names = {each.name for each in granted}
        return frozenset(each for each in wanted if not names & {other.name for other in implied(each)})
    found = wanted & implied(Operation.DESCRIBE) if granted is not None else frozenset[Operation]()
    return found if makeable else found | {Operation.CREATE}


#: Rights that a topic which exists may lack: the bridge runs all the same.
_SPARE: Final = frozenset({Operation.CREATE, Operation.ALTER})
_HARMLESS: Final = {
    # Were the ledger compacted, records could come twice: that must be seen.
    role: _SPARE if role is Role.LEDGER else _SPARE | {Operation.DESCRIBE_CONFIGS}
    for role in Role
}
#: What follows where they lack.
_WITHOUT: Final = {
    Operation.CREATE: "were it deleted, `run` could not make it again",
    Operation.ALTER: "`run` can't give it partitions for more lanes",
    Operation.DESCRIBE_CONFIGS: "how large its records may be can't be seen",
}
#: So many topics with the same lack have a line each.
_FEW: Final = 3


def _lacks(operations: Sequence[Operation], names: Sequence[str], *, harmless: bool) -> list[str]:
    words = ", ".join(operations)
    then = _WITHOUT[operations[0]] if harmless else "grant it on the topic, see `feedbridge topics acls`"
    if len(names) > _FEW:
        return [f"topic {names[0]} and {len(names) - 1} more: the user may not {words}; {then}"]
    return [f"topic {name}: the user may not {words}; {then}" for name in names]


def _defaults(admin: kafka.Admin) -> list[Finding]:
    """Whether who makes topics sees how many replicas they will have."""
    if topic_requests.default_replication(admin) is not None:
        return []
    text = (
        "cluster: the user may not DescribeConfigs; topics that `run` makes have the broker's min.insync.replicas, "
        "whatever the number of replicas"
    )
    return [Finding("kafka", ok=True, text=text)]


def _transactions(config: Config, timeout: float) -> Finding:
    """Begin to be a transactional producer, with an id that no lane has: so nobody is fenced."""
    name = transactional_id(config, "check")
    reports = kafka.Reports()
    producer = kafka.producer(config, transactional_id=name, reports=reports)
    try:
        producer.init_transactions(timeout)
    except KafkaException as error:
        kafka.hear(producer)
        verdict = reports.classify(error, name=name)
        if error.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            begins = transactional_id(config, "")
            mend = f"grant it on all that begin with {begins!r}, see `feedbridge topics acls`"
            text = f"not authorized for transactional id {name!r}: the user may not Write with it; {mend}"
        else:
            text = f"no transactions with the transactional id {name!r}: {verdict.what}"
        return Finding("kafka", ok=False, text=text)
    return Finding("kafka", ok=True, text=f"transactions work (tried with the transactional id {name!r})")
