"""A registry that is gone stops nothing that is known, and what needs it waits, says so, and goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.catalog import Catalog
from bridge.registry import Registry
from bridge.sim import Sent
from bridge.topics import plan
from tests.audit import Audit, Schemas, collect
from tests.audit.frames import frames, scripted
from tests.installation import installation
from tests.kafka.conftest import Kafka
from tests.kafka.conftest import Registry as Server
from tests.kafka.test_verify import command
from tests.running import BridgeProcess, configuration, now
from tests.servers.apicurio import Apicurio

pytestmark = pytest.mark.timeout(300)

Partitions = Callable[[Sequence[bytes], int], list[int]]


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    """A registry that may be killed, and whose schemas outlive it."""
    with Apicurio(tmp_path_factory.mktemp("registry") / "data") as server:
        yield server


def gateway(sim: Any) -> dict[str, Any]:
    """The settings of a TickTock gateway that is not watched for silence."""
    return {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, "silence": "600s"}


class Judge:
    """Audits gateways of this test; the registry must run."""

    def __init__(self, kafka: Kafka, prefix: str, java_partitions: Partitions) -> None:
        self.kafka = kafka
        self.prefix = prefix
        self.began = now()
        self._java_partitions = java_partitions

    async def expect(self, sent: Mapping[str, Sequence[Sent]], registry: Apicurio | Server) -> None:
        """Assert that each gateway's frames are published as they must be."""
        published = await asyncio.to_thread(collect, self.kafka.bootstrap, self.prefix)
        for name, frames_of in sent.items():
            audit = Audit(
                gateway=name,
                kind="ticktock",
                prefix=self.prefix,
                sent=frames_of,
                schemas={"type": Schemas.registry(registry.url)},
                partitions=lambda keys: self._java_partitions(keys, 6),
                began=self.began,
                ended=now(),
            )
            assert audit.faults(published) == []
            assert len(audit.wanted) > 0.6 * len(frames_of)


@pytest.fixture
def judge(kafka: Kafka, topic_prefix: str, java_partitions: Partitions) -> Judge:
    """The judge of what is on the shared broker."""
    return Judge(kafka, topic_prefix, java_partitions)


def waited(bridge: BridgeProcess) -> list[str]:
    """What the log says of waiting for the registry. A topic that was just made may be waited for as well."""
    return [each["reason"] for each in bridge.events() if each["event"] == "waiting" and "registry" in each["reason"]]


async def not_ready(bridge: BridgeProcess) -> bool:
    """Whether the bridge is not ready for want of the registry."""
    status, reason = await bridge.get("/readyz")
    return status == 503 and b"registry" in reason


async def test_killed_while_running_it_is_not_missed_before_a_schema_is_new(
    kafka: Kafka, mortal: Apicurio, topic_prefix: str, judge: Judge, tmp_path: Path
) -> None:
    """Known types are published on, also by the next process, from the ids beside the journal; gaps are listed and all is verified.

    A gateway that was added has subjects whose ids nobody knows: the bridge receives, says in one line, in `/readyz` and in a
    metric what it waits for, and publishes all of it when the registry is back.
    """
    await asyncio.to_thread(mortal.start)
    script = scripted("ticktock", frames("ticktock", 500, seed=41, now=now()), rate=250.0)
    added = scripted("ticktock", frames("ticktock", 100, seed=42, now=now()))
    async with script as sim, added as other:
        config = configuration(
            {"cs2": gateway(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix, registry=mortal.url, register=True
        )
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            await bridge.received(100, gateway="cs2")
            await asyncio.to_thread(mortal.kill)
            await script.script.finished()
            await bridge.received(sim.sent.total, gateway="cs2")
            await bridge.drained()
            assert (await bridge.get("/readyz"))[0] == 200
            assert await bridge.stop() == 0
            await bridge.start()
            await bridge.role("active")
            assert b'feedbridge_waiting{service="registry"} 0.0' in (await bridge.get("/metrics"))[1]
            assert await bridge.stop() == 0
            assert not waited(bridge)
            code, out = await asyncio.to_thread(command, bridge.file, "gaps", "list")
            assert (code, "cs2/list/" in out) == (0, True), out
            assert (await asyncio.to_thread(command, bridge.file, "verify"))[0] == 0

            bridge.config["gateways"]["more"] = gateway(other)
            await bridge.start()
            await bridge.until(lambda status: "registry" in status["reason"], what="not ready for want of the registry")
            assert await not_ready(bridge)
            await added.script.finished()
            await bridge.received(other.sent.total, gateway="more")
            assert (await bridge.status())["journal"]["frames"] >= other.sent.total
            assert (await bridge.get("/healthz"))[0] == 200
            assert b'feedbridge_waiting{service="registry"} 1.0' in (await bridge.get("/metrics"))[1]
            await asyncio.to_thread(mortal.start)
            await bridge.ready()
            await bridge.drained()
            assert b'feedbridge_waiting{service="registry"} 0.0' in (await bridge.get("/metrics"))[1]
            assert await bridge.stop() == 0
            [line] = waited(bridge)
            assert mortal.url in line
            assert bridge.events()[-1]["event"] == "stopped"
            assert "no_longer_waiting" in {each["event"] for each in bridge.events()}
        await judge.expect({"cs2": list(sim.sent), "more": list(other.sent)}, mortal)


async def test_with_pinned_ids_no_registry_is_needed_at_all(
    kafka: Kafka, registry: Server, topic_prefix: str, judge: Judge, tmp_path: Path
) -> None:
    """Nobody answers at its address, nor is there anything beside the journal: ready, and the records carry these ids."""
    subjects = installation(prefix=topic_prefix, registry={"url": registry.url})
    assert subjects.registry is not None
    with Registry(subjects.registry) as client:
        made = await asyncio.to_thread(client.register, plan(subjects, Catalog.load()))
    pinned = {each.subject: each.id for each in made}
    script = scripted("ticktock", frames("ticktock", 200, seed=43, now=now()))
    async with script as sim:
        config = configuration(
            {"cs2": gateway(sim)},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
            registry="http://127.0.0.1:1",
            register=False,
        )
        config["registry"]["ids"] = pinned
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            await script.script.finished()
            await bridge.received(sim.sent.total, gateway="cs2")
            await bridge.drained()
            assert await bridge.stop() == 0
            assert not waited(bridge)
    await judge.expect({"cs2": list(sim.sent)}, registry)
