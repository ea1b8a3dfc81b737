"""A simulator as a process of its own: what ``feedbridge simulate`` runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import msgspec

from bridge.sim.feed import Broker
from bridge.sim.options import Options
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from bridge.sim.replay import Kind, Knobs
from bridge.sim.scripted import simulator
from bridge.sim.server import Simulator
from bridge.sim.ticktock_stream import TickTockKnobs


async def run_simulator(
    kind: Kind,
    *,
    knobs: Knobs | Mapping[str, Any] | None = None,
    broker: Broker | None = None,
    stop: asyncio.Event | None = None,
    ready: Callable[[Simulator], None] | None = None,
    **options: Unpack[Options],
) -> None:
    """Serve until `stop` is set or, where none is given, until SIGINT or SIGTERM.

    options: host, port, rate, seed, api_key, faults, …: see `Simulator`. knobs: a value or a plain mapping of names. broker:
    where TickTock's odds feed and replays are published.
    ready: told once, when the port is open (`sim.url`). Raises ValueError (and msgspec.ValidationError, which is one)
    for bad knobs and fault rates, OSError where the port is taken.
    """
    ended = stop or asyncio.Event()
    async with simulator(kind, knobs=knobs_of(kind, knobs), broker=broker, **options) as sim:
        with contextlib.ExitStack() as stack:
            if stop is None:
                loop = asyncio.get_running_loop()
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, ended.set)
                    stack.callback(loop.remove_signal_handler, number)
            if ready is not None:
                ready(sim)
            await ended.wait()


def knobs_of(kind: Kind, given: Knobs | Mapping[str, Any] | None) -> Knobs:
    """Knobs from a mapping of names; raises ValueError for unknown names and bad values."""
    if isinstance(given, TickTockKnobs | PredictStreetKnobs):
        return given
    made: type[TickTockKnobs | PredictStreetKnobs] = TickTockKnobs if kind == "ticktock" else PredictStreetKnobs
    known = [field.name for field in msgspec.structs.fields(made)]
    if unknown := [name for name in given or () if name not in known]:
        message = f"there is no knob {unknown[0]!r}, known: {', '.join(known)}"
        raise ValueError(message)
    return msgspec.convert(dict(given or {}), made, strict=False)
