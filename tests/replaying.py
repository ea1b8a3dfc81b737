"""A bridge that is told to replay: ``python -m tests.replaying SINCE FILE``, for tests that kill it.

It runs as ``feedbridge run`` does. When it is ready it has its first gateway replay what happened since SINCE (ms since the
epoch), and then writes a line of JSON with the outcome.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from bridge.config import load
from bridge.gateways.replay import Outcome
from bridge.ops import logs
from bridge.service import Service
from tests.running import until


async def replay(service: Service, since: int) -> Outcome:
    """Have the first gateway of a running bridge replay; it must be one that can."""
    await until(lambda: service.ready()[0], what="ready")
    gateway: Any = service._gateways[0]  # by itself it replays only what a gap needs
    outcome: Outcome = await gateway.replay(since)
    return outcome


async def main() -> None:
    """Run until SIGTERM."""
    since, file = sys.argv[1:]
    config = load(Path(file), environ=os.environ)
    logs.configure(config.log)
    service, stop = Service(config), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as group:
        group.create_task(service.run(stop))
        outcome = await replay(service, int(since))
        sys.stdout.write(msgspec.json.encode({"event": "outcome", "outcome": outcome}).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
