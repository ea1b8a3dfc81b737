"""Layout ``gateway`` keeps the order of a match across its types, whatever happens to the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.audit import Audit, Published, Schemas, collect
from tests.audit.frames import frames, scripted
from tests.audit.published import shipped
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, now

pytestmark = pytest.mark.timeout(300)


async def test_order_across_types_survives_kills_and_a_takeover(
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
    script = scripted("ticktock", frames("ticktock", 2000, seed=21, now=began), rate=500.0, overlap=1000)
    async with script as sim:
        config = configuration(
            {"cs2": {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, "silence": "600s"}},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            registry=registry.url,
            topics={"layout": ["type", "gateway"], "partitions": 3},
        )
        async with BridgeProcess(config, tmp_path / "one") as one, BridgeProcess(config, tmp_path / "two") as two:
            await one.ready()
            await one.received(300, gateway="cs2")
            one.kill()
            await one.start()
            await one.ready()
            await one.received(300, gateway="cs2")
            one.kill()
            await two.role("active")
            await script.script.finished(seconds=90)
            await two.received(1000, gateway="cs2")
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
    with SchemaRegistryClient({"url": registry.url}) as client:
        mine = [each for each in client.get_subjects() if each.startswith(f"{prefix}cs2-")]
        records = {
            f"{each['namespace']}.{each['name']}" for each in shipped() if each["namespace"] == "feedbridge.ticktock"
        }
        # What is consumed and not published has no subject.
        context = SerializationContext(f"{prefix}cs2", MessageField.VALUE)
        # Named by Confluent's own code for TopicRecordNameStrategy.
        named = {topic_record_subject_name_strategy(context, each) for each in records - {"feedbridge.ticktock.Alive"}}
        assert set(mine) == named
        assert all(client.get_versions(each) == [1] for each in mine)
