"""On a real Kafka: what a rehearsal says of a dead letter is what its replay then says."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.commands.replaying import follow, rehearse, split
from bridge.receipt import Outcome
from bridge.rehearsal import WOULD
from bridge.requests import send
from bridge.sim import Scripted
from tests.kafka.conftest import Kafka
from tests.kafka.test_dead_letters import buried, config_of, fixed, places  # noqa: F401 - one is a fixture
from tests.patched import FOLDER
from tests.running import BridgeHere, configuration, now

pytestmark = pytest.mark.timeout(300)


def frame(kind: str, seq: int, began: int, **data: object) -> bytes:
    """A frame whose own time is that of its number."""
    ts = f"{datetime.fromtimestamp((began + seq) / 1000, UTC):%FT%T.%f}"[:-3] + "Z"
    return json.dumps({"type": kind, "data": data, "meta": {"ts": ts, "seq": seq}}).encode()


async def test_a_rehearsal_says_what_the_replay_says(
    kafka: Kafka,
    topic_prefix: str,
    tmp_path: Path,
    fixed: Callable[[], Path],  # noqa: F811 - the fixture
) -> None:
    """States behind newer ones, states that say the same, events, and what stays dead; `show` says it too."""
    began = now()
    raws = [
        frame("market.updated", 1, began, id="behind", textEN=1),
        frame("market.updated", 2, began, id="behind", textEN="newer"),
        frame("market.updated", 3, began, id="new", textEN=1),
        frame("market.updated", 4, began, id="twice", textEN=1),
        frame("market.updated", 5, began, id="twice", textEN=1),
        frame("event.kill", 6, began, match_id="m", type=1),
        b"\xff no frame",
    ]
    async with Scripted("ticktock", raws, rate=None) as sim:
        gateway = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key}
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix, topics={"partitions": 1})
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await buried(bridge, 6)
    dead = await asyncio.to_thread(places, bridge)
    environ = {**os.environ, FOLDER: str(fixed())}
    found = config_of(bridge)
    told = await asyncio.to_thread(rehearse, found, dead)
    sent = [send(found, each) for each in split([(place, 0) for place in dead])]
    came = await asyncio.to_thread(follow, found, sent, needed=True, as_json=True)
    foretold = {place: Outcome.PUBLISHED if outcome == WOULD else outcome for place, outcome, _ in told}
    assert foretold == {place: outcome for place, outcome, _ in came}
    wanted = ["superseded", "published", "published", "already there", "published", "still dead"]
    assert [foretold[place] for place in dead] == wanted

    def show(offset: int) -> str:
        place = f"{topic_prefix}cs2.dead-letters[{dead[offset].partition}]@{dead[offset].offset}"
        program = [sys.executable, "-m", "tests.patched", "dead-letters", "show", place]
        done = subprocess.run(
            [*program, "-c", str(bridge.folder / "feedbridge.yaml")],
            capture_output=True, text=True, timeout=60, check=False, env=environ,
        )  # fmt: skip
        return next(line for line in done.stdout.splitlines() if line.startswith("now"))

    assert "superseded: a newer state" in await asyncio.to_thread(show, 0)
    assert "already there" in await asyncio.to_thread(show, 3)
