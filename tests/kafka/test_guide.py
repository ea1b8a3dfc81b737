"""The steps of docs/kubernetes.md, played with processes where pods would be: secured Kafka, secured registry, a feed that goes on.

The configuration is what the chart renders of the guide's values; secrets are files and variables as the kubelet would give
them; commands are those of the guide and of the chart's hooks. Only addresses are others.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bridge.sim import Key, Scripted, TickTockKnobs, TickTockSim
from bridge.sim.keys import TICKTOCK_SCOPES
from tests.chaos.stream import Frames, data_topics, header, judge, numbers
from tests.guide import files, merged, steps
from tests.helm.chart import Rendered
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, until
from tests.servers.guard import Guard
from tests.servers.reading import read_topics
from tests.servers.secured import PASSWORD, SecuredKafka, basic, bindings

pytestmark = pytest.mark.timeout(420)

FILES: Final = files()
MOUNTED: Final = "/etc/feedbridge/secrets"
OLD, NEW = "ttk_live_old", "ttk_live_new"
NEXT_PASSWORD: Final = "XqZjWvKy-next"


class Release:
    """The pods of a release, as processes. folder: for all of them, and for what is mounted into each."""

    def __init__(self, folder: Path, stack: AsyncExitStack, *, prefix: str, addresses: dict[str, Any]) -> None:
        """stack: ends what still runs. addresses: what is otherwise than in the guide, as values of the configuration."""
        self.folder = folder
        self._stack = stack
        self.secrets = folder / "secrets"
        self.pods: dict[int, BridgeProcess] = {}
        self._prefix = prefix
        self._addresses = addresses

    def mount(self, name: str, text: str) -> None:
        """Write a file of a secret as the kubelet renews it: in one step."""
        file = self.secrets / name
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".fresh")
        fresh.write_text(text)
        fresh.replace(file)

    def config(self, *names: str) -> dict[str, Any]:
        """What the chart renders of these files of values, at the tests' addresses."""
        found = Rendered(merged(*(FILES[name] for name in names)))
        assert MOUNTED in found.config
        config = yaml.safe_load(found.config.replace(MOUNTED, str(self.secrets)))
        # The tests give each process a port and a journal of its own, there is one broker, and the feed has no REST.
        del config["http"], config["journal"], config["gateways"]["cs2"]["rest"]
        config["topics"] = {"prefix": self._prefix}
        return merged(config, self._addresses)

    def pod(self, number: int, config: Mapping[str, Any]) -> BridgeProcess:
        """A pod with that ordinal, new or as it was, that has this configuration when it starts next."""
        count = config.get("lanes", {}).get("count", 1)
        given = merged(dict(config), {"lanes": {"count": count, "own": [number % count]}})
        if number not in self.pods:
            environ = {"REGISTRY_PASSWORD": PASSWORD}
            self.pods[number] = BridgeProcess(given, self.folder / f"pod-{number}", environ=environ)
        pod = self.pods[number]
        pod.config.update(lanes=given["lanes"], kafka=given["kafka"])
        return pod

    async def roll(self, config: Mapping[str, Any], *, replicas: int) -> None:
        """A rolling update as the StatefulSet's controller does it: new pods, then the others from the highest number down."""
        for number in [each for each in range(replicas) if each not in self.pods]:
            await self._stack.enter_async_context(self.pod(number, config))
        for number in sorted(self.pods, reverse=True):
            pod = self.pod(number, config)
            if not pod.ended() and pod.file.read_text() != json.dumps(pod.config):
                assert await pod.stop() == 0, pod.last_words()
                await pod.start()
            await pod.ready()
        for number in [each for each in self.pods if each >= replicas]:
            assert await self.pods.pop(number).stop() == 0


async def feedbridge(*words: str, config: Mapping[str, Any], folder: Path) -> str:
    """What a command of the guide or of a hook prints. Fails with what it says."""
    file = folder / "feedbridge.yaml"
    file.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge.cli", *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "FEEDBRIDGE_CONFIG": str(file),
             "REGISTRY_PASSWORD": PASSWORD},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    return out.decode()


def rows(user: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rights of a KafkaUser, as Strimzi's operator reads them."""
    for rule in user["spec"]["authorization"]["acls"]:
        resource = rule["resource"]
        pattern = {"literal": "literal", "prefix": "prefixed"}[resource.get("patternType", "literal")]
        yield {
            "resource": resource["type"],
            "name": resource.get("name", ""),
            "pattern": pattern,
            "operations": rule["operations"],
        }


def turned(status: dict[str, Any]) -> bool:
    """Whether the feed's connection was taken over by one with another key."""
    return any(each["turns"] for each in status["gateways"][0]["connections"])


async def test_the_guide_from_nothing_to_another_cluster(
    secured: SecuredKafka, kafka: Kafka, registry: Registry, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """Install, new keys, upgrade, another Kafka: nothing is published twice, and nothing is missing. At length: more lanes, and back.

    (`test_lanes` changes their number in short.)
    """
    keys = [Key(token=each, scopes=TICKTOCK_SCOPES) for each in (OLD, NEW)]
    script = Scripted(
        "ticktock", Frames(1_000_000), rate=200.0, on_reconnect="continue", keys=keys, knobs=TickTockKnobs(alive_every=1.0)
    )  # fmt: skip
    front = Guard(registry.url, secured.authority.issue("registry"), accepted=[basic("feedbridge", PASSWORD)])
    async with script as sim, AsyncExitStack() as stack:
        assert isinstance(sim, TickTockSim)
        stack.enter_context(front)
        release = Release(
            tmp_path,
            stack,
            prefix=topic_prefix,
            addresses={
                "gateways": {"cs2": {"url": sim.url}},
                "kafka": {"bootstrap.servers": secured.cluster.listener("SASL")},
                "registry": {"url": front.url},
            },
        )
        release.mount("keys/ticktock", OLD)
        release.mount("kafka/password", PASSWORD)
        release.mount("ca/ca.crt", secured.authority.ca.read_text())
        config = release.config("values.yaml")

        # 2. A user and its rights; 4. Install: what the hooks and the test of the release run
        acls = next(step for step in steps() if step.words[:3] == ["feedbridge", "topics", "acls"])
        words = [each for each in acls.words[1:] if each not in {"-c", "feedbridge.yaml"}]
        user = yaml.safe_load(await feedbridge(*words, config=config, folder=tmp_path))
        assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
        secured.grant(bindings(rows(user), user["metadata"]["name"]))
        for hook in Rendered(FILES["values.yaml"]).hooks:
            if hook["kind"] == "Job":
                (container,) = hook["spec"]["template"]["spec"]["containers"]
                await feedbridge(*container["args"], config=config, folder=tmp_path)
        await release.roll(config, replicas=2)
        await until(partial(settled, release), what="one active, one standby")
        await feedbridge("check", config=config, folder=tmp_path)

        # 6. New keys: the gateway's, without a restart
        release.mount("keys/ticktock", NEW)
        for pod in release.pods.values():
            await pod.until(turned, what="the new key")

        # 5. Upgrade: another configuration stands for another image; 6. Kafka's password, with which the pods are rolled
        # too. Until the second pod is rolled it has the old one: if it must take over then, what it received comes late.
        secured.change_password(NEXT_PASSWORD)
        stack.callback(secured.change_password, PASSWORD)
        release.mount("kafka/password", NEXT_PASSWORD)
        await release.roll(merged(config, {"kafka": {"linger.ms": 50}}), replicas=2)

        # 7. More lanes, and back
        plans = [
            (("values.yaml", "values-lanes.yaml"), 4),
            (("values.yaml", "values-back.yaml"), 4),
            (("values.yaml",), 2),
        ]
        for names, replicas in plans if soak else ():
            await release.roll(release.config(*names), replicas=replicas)

        # 8. Another Kafka: a second release beside the first
        plain = release.config("values.yaml", "values-next.yaml")
        plain["kafka"] = {"bootstrap.servers": kafka.bootstrap}
        moved = Release(tmp_path / "next", stack, prefix=topic_prefix, addresses={})
        pod = await stack.enter_async_context(moved.pod(0, plain))
        await pod.received(300, gateway="cs2")
        await pod.drained()
        for running in release.pods.values():
            await running.caught_up()  # the one whose password was old has frames that the other never received
        for running in release.pods.values():
            assert await running.stop() == 0, running.last_words()
        await pod.drained()
        assert await pod.stop() == 0
        await feedbridge("verify", config=config, folder=tmp_path)
    before, after = (
        read_topics(bootstrap, *data_topics(topic_prefix)) for bootstrap in (secured.cluster.bootstrap, kafka.bootstrap)
    )
    for published in (before, after):
        seen = numbers(published)
        found = judge(published, range(min(seen), max(seen) + 1))
        assert found.doubled == []
        # What is late is late by design and says so; of states, one that a newer had replaced is not published late.
        assert [seq for seq in found.missing if seq % 3 != 1] == []
        late = {int(header(each, "seq")) for each in published if header(each, "source") == b"standby"}
        assert set(found.disordered) <= late
    assert min(numbers(after)) < max(numbers(before)), "there is a time that both clusters hold"


async def settled(release: Release) -> bool:
    """Whether one pod is active, the others stand by, and all are ready."""
    try:
        found = [await pod.status() for pod in release.pods.values()]
    except ConnectionError:
        return False
    roles = sorted(lane["role"] for status in found for lane in status["lanes"])
    return all(status["ready"] for status in found) and roles == ["active", *["standby"] * (len(found) - 1)]
