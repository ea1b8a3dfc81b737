"""What every simulator takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypedDict

from bridge.sim.faults import Faults
from bridge.sim.keys import Key
from bridge.sim.script import Script


class Options(TypedDict, total=False):
    """See `bridge.sim.server.Simulator`."""

    host: str
    port: int
    seed: int
    rate: float | None
    faults: Faults | Mapping[str, float] | None
    api_key: str | None
    keys: list[Key]
    wait_for: int
    limit: int | None
    keep: int | None
    spool: Path | None
    script: Script | None
    operator: bool
    clock: Callable[[], int]
    tick: float
    backlog_limit: int
    connection_limit: int | None


def wall_clock() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
