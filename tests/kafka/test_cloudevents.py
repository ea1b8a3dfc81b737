"""With ``topics.headers: cloudevents`` real records are CloudEvents to the official SDK, and all that was promised still holds."""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka

from bridge import topics
from bridge.catalog import Catalog
from bridge.cloudevents import HEADERS
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.config import load
from bridge.proof import prove
from bridge.registry import Registry as Schemas
from bridge.tail import Decoder
from bridge.topics import Role
from tests.audit.frames import frames, scripted
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, now, ticktock
from tests.servers.reading import read_topics
from tests.unit.test_cloudevents import Bytes

pytestmark = pytest.mark.timeout(300)

CATALOG = Catalog.load()


@pytest.mark.parametrize("with_registry", [True, False], ids=["registry", "no registry"])
async def test_real_records_are_cloud_events(
    kafka: Kafka, registry: Registry, topic_prefix: str, tmp_path: Path, *, with_registry: bool
) -> None:
    """Data, dead letters and gaps of both layouts, before and after a kill; ids are unique, and `verify` finds no fault."""
    script = scripted("ticktock", frames("ticktock", 600, seed=5, now=now()))
    section = {"layout": ["type", "gateway"], "headers": "cloudevents", "partitions": 2, "replication_factor": 1}
    async with script as sim:
        feed: Any = sim
        plain = configuration(
            {"cs2": ticktock(feed, silence="600s")},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            registry=registry.url if with_registry else None,
            topics=section,
        )
        async with BridgeProcess(plain, tmp_path / "bridge") as bridge:
            await script.script.finished(seconds=90)
            await bridge.received(sim.sent.total, gateway="cs2")
            bridge.kill()
            await bridge.start()
            await bridge.drained()
            assert await bridge.stop() == 0
    settings = load(tmp_path / "bridge" / "feedbridge.yaml", environ={})
    plan = topics.plan(settings, CATALOG)
    seen: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for planned in plan:
        topic = planned.name
        for message in read_topics(kafka.bootstrap, topic):
            headers: Any = dict(message.headers() or ())
            if planned.role in {Role.LEDGER, Role.REQUESTS}:  # nobody's business
                assert not HEADERS.keys() & headers.keys()
                continue
            event = from_kafka(KafkaMessage(headers, message.key(), message.value() or b""), Bytes())
            seen[topic].append((event.get_source(), event.get_id()))
            assert event.get_data() == message.value()
            assert event.get_extension("partitionkey") == (message.key() or b"").decode()
            time = event.get_time()
            assert time is not None
            assert round(time.timestamp() * 1000) == message.timestamp()[1]
            if planned.role is Role.DEAD_LETTERS:
                assert event.get_type() == "feedbridge.dead-letter"
                continue
            assert event.get_datacontenttype() == "application/avro"
            assert headers["type"].decode() in {event.get_type().removeprefix("feedbridge.ticktock."), "gap"} or (
                event.get_type().endswith(".unknown")
            )
            assert writer(event.get_dataschema(), message.value()) == event.get_type()
    assert {each.role for each in plan if each.name in seen} == {Role.DATA, Role.DEAD_LETTERS, Role.GAPS}
    assert sum(map(len, seen.values())) > 700
    by_gateway = set(seen.pop(f"{topic_prefix}cs2"))
    by_type = [each for topic, each in seen.items() if not topic.endswith((".dead-letters", ".gaps"))]
    assert len(by_gateway) == sum(map(len, by_type))
    assert by_gateway == {one for each in by_type for one in each}
    every = [one for each in seen.values() for one in each]
    assert len(every) == len(set(every))
    with Schemas(settings.registry) if settings.registry else nullcontext() as client:
        verdict = prove(settings, CATALOG, Decoder.of(CATALOG, registry=client)).verdict
    assert verdict.good, verdict.violations


@cache
def registered(url: str) -> Any:
    """The schema at that address."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - the test's own registry
        return json.loads(json.load(answer)["schema"])


NAMES = {
    **{
        each.name: (kind.name, each) for kind in CATALOG.kinds.values() for each in (*kind.types.values(), kind.unknown)
    },
}
#: Fingerprint → schema.
SHIPPED = {fingerprint(each.schema).hex(): each.schema for _, each in NAMES.values()} | {
    fingerprint(CATALOG.own("gap")).hex(): CATALOG.own("gap")
}


def writer(where: str | None, value: bytes | None) -> str:
    """The ``ce_type`` that belongs to what ``ce_dataschema`` leads to; it must be what the value names too."""
    assert where is not None
    assert value is not None
    if where.startswith("urn:"):
        print_of = where.rpartition(":")[2]
        assert value.startswith(SINGLE_OBJECT + bytes.fromhex(print_of))
        schema: Any = SHIPPED[print_of]
    else:
        assert int(where.rpartition("/")[2]) == int.from_bytes(value[1:5], "big")
        schema = registered(where)
    name = f"{schema['namespace']}.{schema['name']}"
    if name == "feedbridge.bridge.Gap":
        return "feedbridge.gap"
    return f"{schema['namespace']}.{NAMES[name][1].type}"
