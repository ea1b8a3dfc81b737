"""A real Prometheus scrapes two bridges through faults: each fault raises its alert, and the dashboard shows all of it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.chaos.bridges import Pair, feed, settings
from tests.chaos.stream import Frames
from tests.running import until
from tests.servers.kafka import KafkaCluster
from tests.servers.prometheus import Prometheus

OPS: Final = Path(__file__).parents[2] / "ops"
#: The rules' times made short, so that minutes pass in seconds; what is long enough to be a fault is judged by promtool.
SHORT: Final = (
    (r"(_bucket.*) > 0\.5", r"\1 > 60"),  # how fast this machine is tells nothing of faults
    (r"\[1d\]", "[5m]"), (r"\[10m\]", "[10s]"), (r"\[5m\]", "[5s]"), (r"offset 5m", "offset 5s"),
    (r"< 300\b", "< 5"), (r"> 30\b", "> 5"), (r"for: [12]m", "for: 3s"), (r"for: (15s|5m)", "for: 1s"),
)  # fmt: skip


def shortened() -> str:
    """The rules, in seconds."""
    text = (OPS / "alerts.yaml").read_text()
    for long, short in SHORT:
        text, times = re.subn(long, short, text)
        assert times, long
    return text


def panels() -> list[tuple[str, str]]:
    """(title, query) of all panels, with Grafana's variables filled in."""
    found = json.loads((OPS / "dashboard.json").read_text())["panels"]
    queries = [(each["title"], target["expr"]) for each in found for target in each.get("targets", [])]
    for name, value in (("$job", ".*"), ("$gateway", ".*"), ("$__range", "10m"), ("$__rate_interval", "10s")):
        queries = [(title, query.replace(name, value)) for title, query in queries]
    assert not [query for _, query in queries if "$" in query]
    return queries


class Watcher:
    """Looks at what fires."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    async def scrapes(self, count: int) -> None:
        """So many targets answer."""

        async def there() -> bool:
            return len(await asyncio.to_thread(self._prometheus.query, "up == 1")) == count

        await until(there, what=f"{count} are scraped")

    async def firing(self, allowed: Iterable[str]) -> set[str]:
        """The names of what fires now; nothing else may."""
        alerts = await asyncio.to_thread(self._prometheus.alerts)
        found = {alert["labels"]["alertname"].removeprefix("Feedbridge") for alert in alerts}
        assert found <= set(allowed), f"{found} while {allowed} are due: {alerts}"
        assert "no value" not in str([alert["annotations"] for alert in alerts])
        return found

    async def sees(self, *names: str, also: Sequence[str] = ()) -> None:
        """These alerts come, in any order. also: what may fire meanwhile."""
        seen: set[str] = set()

        async def there() -> bool:
            seen.update(await self.firing((*names, *also)))
            return set(names) <= seen

        await until(there, what=lambda: f"{names}, seen {seen}", seconds=60)

    async def calm(self, *fading: str, seconds: int = 3) -> None:
        """What fires ends, and nothing comes for a while. fading: what may still fire, or come once more, before."""

        async def over() -> bool:
            return not await self.firing(fading)

        await until(over, what=f"the end of {fading}", seconds=60)
        for _ in range(seconds):
            await asyncio.sleep(1)
            await self.firing(fading)
        await until(over, what=f"the end of {fading}", seconds=60)


@pytest.mark.timeout(600)
async def test_each_fault_raises_its_alert_and_every_panel_has_data(
    broker: KafkaCluster, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """Quiet, a bad frame, a number used twice, a dead standby, a gateway that is away, a Kafka that is away; between them
    nothing fires.
    """  # noqa: D205
    async with feed(rate=100) as sim, Pair(settings(sim, broker.bootstrap, topic_prefix), tmp_path) as pair:
        targets: dict[str, dict[str, str]] = {urlsplit(bridge.page).netloc: {} for bridge in pair.bridges}
        with Prometheus(tmp_path / "prometheus", rules=shortened(), targets=targets) as prometheus:
            watcher = Watcher(prometheus)
            _, standby = await pair.roles()
            await watcher.scrapes(2)
            await watcher.calm("Absent")
            await watcher.calm(seconds=3600 if soak else 10)
            sim.send(b"no frame", fault="malformed:text")
            await watcher.sees("DeadLetters")
            await watcher.calm("DeadLetters")
            event, state = (json.loads(Frames(9)[index]) for index in (2, 0))
            sim.send(json.dumps({**event, "data": {**event["data"], "weapon": "another"}}).encode(), fault="collision")
            await watcher.sees("Collisions")
            await watcher.calm("Collisions")
            standby.kill()
            await watcher.sees("NoStandby")
            await standby.start()
            await watcher.calm("NoStandby")
            sim.refuse(status=503)
            await sim.drop(abort=True)
            await watcher.sees("GatewayDown", "GapOpened")
            sim.accept()
            # What one of them alone had received is published late; if it takes the lane for that, the other reads the ledger anew.
            fading = ("GatewayDown", "GapOpened", "LatencyHigh", "NoStandby")
            await watcher.sees("GapLost", also=fading)
            await watcher.calm("GapLost", *fading)
            broker.stop()
            await watcher.sees("NoCommits")
            broker.start()
            # What waited is late, and the process that is away for longest may be fenced.
            await watcher.calm("NoCommits", "LatencyHigh", "NoStandby")
            await pair.roles()
            for seq in (10**9, 10**9 + 1):  # the same state once more, then the same frame
                sim.send(json.dumps({**state, "meta": {**state["meta"], "seq": seq}}).encode())
            sim.send(json.dumps({**state, "meta": {**state["meta"], "seq": 10**9}}).encode())
            await watcher.scrapes(2)
            await watcher.calm()
            answers = {query: await asyncio.to_thread(prometheus.query, query) for _, query in panels()}
    empty = [
        title
        for title, query in panels()
        if not any(not math.isnan(float(each["value"][1])) for each in answers[query])
    ]
    assert empty == []
