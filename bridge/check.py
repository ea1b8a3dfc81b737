"""`feedbridge check`: would this configuration run? Gateways, Kafka and registry are asked, and nothing is changed.

A finding that is not ok keeps a bridge from working. What merely differs from the plan is said and is ok.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from bridge import kafka, native
from bridge.errors import BridgeError
from bridge.finding import Finding
from bridge.registry import Registry
from bridge.topics import Role, TopicPlan, TopicState, compare, plan, transactional_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.gateways.gateway import Gateway

#: Seconds that Kafka has to answer one request.
TIMEOUT: Final = 10.0


async def check(
    config: Config, catalog: Catalog, gateways: Iterable[Gateway] = (), *, patience: float = TIMEOUT
) -> list[Finding]:
    """Ask everything that `config` names, at once. patience: seconds for one request to Kafka.

    Findings come in the order config, gateways, kafka, registry, and name which of them they are about. Whatever fails
    is a finding; only a configuration that makes no plan of topics raises, a ConfigError.
    """
    topics = plan(config, catalog)
    names = ", ".join(config.gateways)
    slow = "" if native.available() else f"; frames take 1.7 times the CPU, since {native.absent}"
    asked = [
        *(_gateway(gateway) for gateway in gateways),
        asyncio.to_thread(_guarded, "kafka", lambda: check_kafka(config, topics, timeout=patience)),
        asyncio.to_thread(_guarded, "registry", lambda: check_registry(config, topics)),
    ]
    answers = await asyncio.gather(*asked)
    return [
        Finding("config", ok=True, text=f"{config.name}: gateways {names}; {len(topics)} topics{slow}"),
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
        *_topics(admin, config, states),
        *_rights(admin, [state.plan for state in states if state.state != "missing"]),
        _transactions(config, timeout),
    ]


def check_registry(config: Config, topics: Sequence[TopicPlan]) -> list[Finding]:
    """Reachable, every schema registered or to be registered without harm. Blocking.

    Raises Unreachable, Refused or ConfigError where nothing more can be asked.
    """
    settings = config.registry
    if settings is None:
        return [Finding("registry", ok=True, text="none configured: values carry the fingerprint of their schema")]
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


def _topics(admin: kafka.Admin, config: Config, states: Sequence[TopicState]) -> list[Finding]:
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
        does = "run `feedbridge topics apply`"
        if config.topics.create:
            does = "`run` makes them" if _may_create(admin) else f"`run` makes them if it may create topics, or {does}"
        findings.append(Finding("kafka", ok=config.topics.create, text=f"topics missing: {missing[0]}{more}; {does}"))
    elif not findings:
        findings.append(Finding("kafka", ok=True, text=f"all {len(states)} topics are as planned"))
    return findings


#: What the bridge does with a topic.
_NEEDED: Final = {
    Role.DATA: frozenset({AclOperation.DESCRIBE, AclOperation.WRITE}),
    Role.DEAD_LETTERS: frozenset({AclOperation.DESCRIBE, AclOperation.WRITE}),
    Role.GAPS: frozenset({AclOperation.DESCRIBE, AclOperation.WRITE}),
    Role.LEDGER: frozenset({AclOperation.DESCRIBE, AclOperation.WRITE, AclOperation.READ}),
    Role.REQUESTS: frozenset({AclOperation.DESCRIBE, AclOperation.READ}),
}


def _rights(admin: kafka.Admin, topics: Sequence[TopicPlan]) -> list[Finding]:
    """What the user may not do with topics that exist. An answer without rights: the broker checks none."""
    if not topics:
        return []
    names = TopicCollection([topic.name for topic in topics])
    futures = admin.call(
        lambda: admin.client.describe_topics(names, include_authorized_operations=True, request_timeout=admin.timeout)
    )
    findings = []
    for topic in topics:
        granted = admin.result(futures[topic.name], name=topic.name).authorized_operations
        lacking = _NEEDED[topic.role] - frozenset(granted or ())
        if granted and lacking:
            words = ", ".join(sorted(operation.name.title() for operation in lacking))
            findings.append(
                Finding("kafka", ok=False, text=f"topic {topic.name}: the user may not {words}; grant it on the topic")
            )
    return findings


def _may_create(admin: kafka.Admin) -> bool:
    """Whether the user may create any topic; without that a right by prefix may still be there, which can't be seen."""
    future = admin.call(
        lambda: admin.client.describe_cluster(include_authorized_operations=True, request_timeout=admin.timeout)
    )
    return AclOperation.CREATE in (admin.result(future).authorized_operations or ())


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
        return Finding("kafka", ok=False, text=f"no transactions with the transactional id {name!r}: {verdict.what}")
    return Finding("kafka", ok=True, text=f"transactions work (tried with the transactional id {name!r})")
