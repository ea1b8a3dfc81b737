"""Layout ``gateway`` keeps the order of a match across its types, whatever happens to the bridge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.audit import Audit, Published, Schemas, collect
from tests.audit.frames import frames, scripted
from tests.audit.published import shipped
from tests.chaos.bridges import Outcome, Pair, feed, settings
from tests.chaos.stream import CLEAN, judge
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, now
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(300)


async def test_order_across_types_survives_kills_and_another_process(
    kafka: Kafka,
    registry: Registry,
    topic_prefix: str,
    java_partitions: Callable[[Sequence[bytes], int], list[int]],
    tmp_path: Path,
) -> None:
    """Both layouts: each record once in each, and in the gateway's topic a match's frames lie in the order sent.

    One process is killed and started again; then it is killed for good, and another with a journal of its own goes on.
    """
    began = now()
    script = scripted("ticktock", frames("ticktock", 2000, seed=21, now=began), rate=1000.0, overlap=2000)
    async with script as sim:
        config = configuration(
            {"cs2": {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, "silence": "600s"}},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            registry=registry.url,
            topics={"layout": ["type", "gateway"], "partitions": 3},
        )
        async with BridgeProcess(config, tmp_path / "one") as one:
            await one.ready()
            await one.received(300, gateway="cs2")
            one.kill()
            await one.start()
            await one.ready()
            await one.received(300, gateway="cs2")
            one.kill()
        async with BridgeProcess(config, tmp_path / "two") as two:
            await two.role("active")
            # Who comes again gets everything once more.
            await two.received(2000, gateway="cs2")
            await two.drained()
            assert await two.stop() == 0
        sent = list(sim.sent)
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    audit = Audit(
        gateway="cs2",
        kind="ticktock",
        prefix=topic_prefix,
        sent=sent,
        schemas={layout: Schemas.registry(registry.url, layout=layout) for layout in ("type", "gateway")},
        partitions=lambda keys: java_partitions(keys, 3),
        began=began,
        ended=now(),
    )
    assert audit.faults(published) == []
    assert len(audit.wanted) > 1000
    assert turns(one for one in published if one.topic == f"{topic_prefix}cs2") > 300
    names_are_those_of_the_records(registry, topic_prefix)


async def test_order_across_types_survives_a_takeover(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """The active is killed, the standby goes on with what it received: each topic has each frame once, in the order sent.

    Events, states and settlements of a match follow one another; only the gateway's topic tells their order.
    """
    async with feed() as sim:
        config = settings(sim, kafka.bootstrap, topic_prefix, topics={"layout": ["type", "gateway"], "partitions": 3})
        async with Pair(config, tmp_path) as pair:
            active, standby = await pair.roles()
            await standby.received(300, gateway="cs2")
            active.kill()
            await standby.role("active")
            await standby.drained()
            assert await standby.stop() == 0
        outcome = Outcome(sim, kafka.bootstrap, topic_prefix)
    assert outcome.verdict() == CLEAN
    together = read_topics(kafka.bootstrap, f"{topic_prefix}cs2")
    assert judge(together, outcome.received) == CLEAN
    assert len(together) == len(outcome.messages) > 300
    assert outcome.unexplained == []


def turns(published: Iterable[Published]) -> int:
    """How often a key's record is of another type than the one before it: what only this layout keeps in order."""
    last: dict[bytes | None, bytes | None] = {}
    count = 0
    for one in published:
        kind = dict(one.headers)["type"]
        count += last.get(one.key, kind) != kind
        last[one.key] = kind
    return count


def names_are_those_of_the_records(registry: Registry, prefix: str) -> None:
    """Assert that the registry has a subject ``<topic>-<record>`` for each type, with that one schema."""
    context = SerializationContext(f"{prefix}cs2", MessageField.VALUE)
    with SchemaRegistryClient({"url": registry.url}) as client:
        for schema in shipped():
            record = f"{schema['namespace']}.{schema['name']}"
            # What is consumed and not published has no subject.
            if schema["namespace"] != "feedbridge.ticktock" or schema["name"] == "Alive":
                continue
            # Named by Confluent's own code for TopicRecordNameStrategy.
            subject = topic_record_subject_name_strategy(context, record)
            assert subject == f"{prefix}cs2-{record}"
            found = client.get_latest_version(subject)
            assert json.loads(found.schema.schema_str or "") == schema
