"""A real bridge on a real Kafka: an OpenTelemetry collector has what Prometheus has."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.sim import TickTockSim
from tests.collector import Collector, Key, exposed
from tests.kafka.conftest import Kafka
from tests.running import BridgeProcess, configuration, ticktock, until

pytestmark = pytest.mark.timeout(120)

FRAMES = 300
TOKEN = "otlp-secret-marker"


def settled(series: dict[Key, float]) -> dict[Key, float]:
    """What does not change any more once all frames are published: heartbeats and the process itself go on."""
    names = (
        "frames_",
        "records_",
        "dead_",
        "gaps",
        "seq_",
        "turns",
        "latency_",
        "build_info",
        "lane_",
        "journal_limit",
        "waiting",
    )
    return {key: value for key, value in series.items() if key[0].removeprefix("feedbridge_").startswith(names)}


async def test_a_collector_has_what_prometheus_has(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """The same series with the same values, and whose they are; a collector that goes away harms nothing."""
    with Collector() as collector:
        async with TickTockSim(seed=1, rate=300, limit=FRAMES, faults={"duplicate": 0.1}, wait_for=1) as sim:
            config = configuration({"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
            config["telemetry"] = {
                "otlp": {"endpoint": collector.url, "interval": "1s", "headers": {"Authorization": f"Bearer {TOKEN}"}}
            }
            async with BridgeProcess(config, tmp_path / "bridge", level="debug") as bridge:
                await bridge.received(FRAMES, gateway="cs2")
                await bridge.until(lambda status: status["journal"]["frames"] == 0, what="all published")
                there: dict[Key, float] = {}

                async def equal() -> bool:
                    there.clear()
                    there.update(exposed((await bridge.get("/metrics"))[1].decode()))
                    return bool(collector.requests) and settled(collector.series()) == settled(there)

                await until(equal, what="the same in both")
                assert collector.series().keys() == there.keys()
                assert len(settled(there)) > 30
                (received,) = {
                    value for key, value in there.items() if key[0].endswith("last_commit_timestamp_seconds")
                }
                assert received > 0
                instance = (await bridge.status())["instance"]
                assert collector.resource()["service.instance.id"] == instance
                assert collector.requests[-1][1]["authorization"] == f"Bearer {TOKEN}"
                collector.status = 503
                await until(
                    lambda: any(event["event"] == "telemetry_failing" for event in bridge.events()), what="a line"
                )
                assert (await bridge.get("/readyz"))[0] == 200
                assert await bridge.stop() == 0
                assert TOKEN not in bridge.output()
