"""What several lanes bring: frames a second and CPU a frame with 1, 2 and 4 lanes, in one process and over two.

Each process receives every frame, as in life, from a sender of its own, and drops what is another's lane. Where sender, broker
and bridges share few cores, two processes can't show twice the rate: the CPU a frame then says what they would do.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

from bench import throughput
from bench.processes import Bridge, write_config
from bench.sender import Sender

#: (lanes, processes)
SHAPES: Final = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2))
_LOOK: Final = 0.1
_TIMEOUT: Final = 180.0


@dataclass(frozen=True)
class Leg(throughput.Leg):
    """One measured stretch of several processes; cpu is that of all. busiest: CPU s of the one that used most."""

    busiest: float

    @property
    def ceiling(self) -> float:
        """Frames a second if the busiest process had a core of its own and nothing else held it up."""
        return self.frames / self.busiest


def leg(
    folder: Path,
    senders: list[Sender],
    bootstrap: str,
    name: str,
    *,
    lanes: int,
    processes: int,
    warm: int,
    frames: int,
) -> Leg:
    """Measure one shape, with a ledger and journals of its own."""
    with ExitStack() as running:
        bridges = []
        for number, sender in enumerate(senders[:processes]):
            own = [lane for lane in range(lanes) if lane % processes == number]
            path, _ = write_config(
                folder,
                name=name,
                url=sender.url,
                bootstrap=bootstrap,
                lanes={"count": lanes, "own": own},
                process=f"-{number}",
            )
            bridge = running.enter_context(Bridge(path))
            bridge.until_live()
            bridges.append((bridge, sender))
        before = sum(bridge.received() for bridge, _ in bridges)
        _flood(bridges, 0, warm)
        _until(bridges, before + warm)
        cpu = [bridge.cpu() for bridge, _ in bridges]
        began = _flood(bridges, warm, warm + frames)
        done = _until(bridges, before + warm + frames)
        used = [bridge.cpu() - then for (bridge, _), then in zip(bridges, cpu, strict=True)]
        return Leg(frames, done - began, sum(used), max(used))


def measure(
    folder: Path, senders: list[Sender], bootstrap: str, *, warm: int, frames: int, rounds: int
) -> dict[tuple[int, int], dict[str, float]]:
    """Return for each of `SHAPES` its figures: rate, cpu_us, ceiling."""
    legs: dict[tuple[int, int], list[Leg]] = {shape: [] for shape in SHAPES}
    for number in range(rounds):
        for lanes, processes in SHAPES:
            legs[lanes, processes].append(
                leg(
                    folder,
                    senders,
                    bootstrap,
                    f"bench-lanes-{lanes}-{processes}-{number}",
                    lanes=lanes,
                    processes=processes,
                    warm=warm,
                    frames=frames,
                )
            )
    return {
        shape: {
            "rate": mean(each.rate for each in found),
            "cpu_us": mean(each.cpu_us for each in found),
            "ceiling": mean(each.ceiling for each in found),
        }
        for shape, found in legs.items()
    }


def _flood(bridges: list[tuple[Bridge, Sender]], first: int, end: int) -> float:
    """Send to all at once; returns when the first began (s, CLOCK_MONOTONIC)."""
    began = min([sender.flood(first, end) for _, sender in bridges])
    for _, sender in bridges:
        sender.wait()
    return began


def _until(bridges: list[tuple[Bridge, Sender]], received: int) -> float:
    """Wait until all processes together have disposed of so many frames; returns when (s, CLOCK_MONOTONIC)."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        so_far = sum(bridge.received() for bridge, _ in bridges)
        now = time.monotonic()
        if so_far >= received:
            return now
        if now > deadline:
            raise RuntimeError(f"only {so_far} of {received} frames after {_TIMEOUT} s")
        time.sleep(_LOOK)
