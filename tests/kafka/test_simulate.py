"""``feedbridge simulate ticktock --amqp``: the odds feed on a real RabbitMQ, from a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from bridge.gateways.ticktock import TickTock, TickTockSettings
from bridge.ops.metrics import Metrics
from bridge.sim import TickTockSim
from tests.servers.rabbitmq import PASSWORD, RabbitMQ
from tests.unit.gateways.doubles import MemoryIntake

pytestmark = pytest.mark.timeout(300)


async def test_a_replay_takes_one_connection_and_leaves_no_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the ten connections and ten queues that TickTock allows (contract 1.3)."""
    opened = []
    connect = aio_pika.connect

    async def counted(*args: Any, **options: Any) -> AbstractConnection:
        if "client_properties" in options:  # the bridge's; the simulator's have none
            opened.append(options["client_properties"])
        connection: AbstractConnection = await connect(*args, **options)
        return connection

    monkeypatch.setattr(aio_pika, "connect", counted)
    with RabbitMQ(tmp_path / "rabbitmq") as broker:
        broker.start()
        async with TickTockSim(seed=1, rate=50, amqp=broker.url) as sim:
            given = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, "rest": {"url": sim.rest_url}}
            chosen = TickTockSettings.model_validate(given | {"recovery": {"amqp": {"url": broker.url}}})
            gateway = TickTock("cs2", chosen, intake=MemoryIntake(), metrics=Metrics())
            outcome = await gateway.replay(sim.clock() - 60_000)
            assert outcome is not None
            assert outcome.complete
            assert gateway._rest is not None
            await gateway._rest.close()
            async with await connect(broker.url) as connection:
                channel = await connection.channel()
                with pytest.raises(ChannelNotFoundEntity):
                    await channel.declare_queue("feedbridge.cs2", passive=True)
    assert len(opened) == 1


async def test_a_simulated_ticktock_publishes_what_is_asked_for(tmp_path: Path) -> None:
    """Heartbeats at once, and for each request of a recovery its replay, ended by snapshot_complete; no password is shown."""
    with RabbitMQ(tmp_path / "rabbitmq") as broker:
        broker.start()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge.cli", "simulate", "ticktock", "--listen", "127.0.0.1:0", "--json",
            "--exchange", "feed", "--feed", "live=3",
            env={**os.environ, "FEEDBRIDGE_AMQP": broker.url},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        facts = json.loads(line)
        try:
            async with await aio_pika.connect(broker.url) as connection, aiohttp.ClientSession() as http:
                channel = await connection.channel()
                queue = await channel.declare_queue(exclusive=True)
                await queue.bind("feed", "#")
                url = f"{facts['rest_url']}/cs2/v1/recovery/initiate_request"
                query = {"after": str(time.time_ns() // 1_000_000 - 60_000), "request_id": "r-1"}
                async with http.post(url, params=query, headers={"X-API-Key": facts["api_key"]}) as answer:
                    assert answer.status == 200
                found = []
                async with queue.iterator(timeout=60) as messages:
                    async for message in messages:
                        await message.ack()
                        root = ET.fromstring(message.body)  # noqa: S314 - ours
                        found.append(root.tag)
                        if root.tag == "snapshot_complete":
                            assert root.get("request_id") == "r-1"
                            break
                assert "odds_change" in found
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, err) == (0, b"")
        assert PASSWORD not in (line + out).decode()
