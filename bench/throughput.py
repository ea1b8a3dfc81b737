"""How many frames a second, and at what CPU, against the bare loop in the same run (A, B, A, B …)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench.processes import Bare, Bridge, write_config
from bench.sender import Sender


@dataclass(frozen=True)
class Leg:
    """One measured stretch. seconds: from the first byte sent to the last frame committed. cpu: s of the process."""

    frames: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU µs a frame."""
        return self.cpu / self.frames * 1e6


def bridge_leg(folder: Path, sender: Sender, bootstrap: str, number: int, *, warm: int, frames: int) -> Leg:
    """Measure the bridge as a process of its own, with a ledger and a journal of its own."""
    path, _ = write_config(folder, name=f"bench-{number}", url=sender.url, bootstrap=bootstrap)
    with Bridge(path) as bridge:
        bridge.until_live()
        return _leg(bridge, sender, bridge.received(), warm=warm, frames=frames)


def bare_leg(folder: Path, sender: Sender, bootstrap: str, number: int, *, warm: int, frames: int) -> Leg:
    """Measure the bare loop."""
    path, _ = write_config(folder, name=f"bench-{number}", url=sender.url, bootstrap=bootstrap)
    with Bare(path, sender.url) as bare:
        bare.until_live()
        return _leg(bare, sender, 1, warm=warm, frames=frames)


def _leg(process: Bridge | Bare, sender: Sender, before: int, *, warm: int, frames: int) -> Leg:
    sender.flood(0, warm)
    sender.wait()
    process.until_done(before + warm)
    cpu = process.cpu()
    began = sender.flood(warm, warm + frames)
    sender.wait()
    done = process.until_done(before + warm + frames)
    return Leg(frames, done - began, process.cpu() - cpu)


def measure(folder: Path, sender: Sender, bootstrap: str, *, warm: int, frames: int, rounds: int) -> dict[str, float]:
    """Return the figures; see the keys."""
    legs: dict[str, list[Leg]] = {"bridge": [], "bare": []}
    # The first bridge makes the topics, whose first use costs the broker a second or two.
    bridge_leg(folder, sender, bootstrap, 0, warm=warm, frames=warm)
    for number in range(1, rounds + 1):
        legs["bare"].append(bare_leg(folder, sender, bootstrap, number, warm=warm, frames=frames))
        legs["bridge"].append(bridge_leg(folder, sender, bootstrap, number, warm=warm, frames=frames))
    bridge, bare = legs["bridge"], legs["bare"]
    return {
        "frames_per_second": mean(leg.rate for leg in bridge),
        "bare_frames_per_second": mean(leg.rate for leg in bare),
        "cpu_us_per_frame": mean(leg.cpu_us for leg in bridge),
        "bare_cpu_us_per_frame": mean(leg.cpu_us for leg in bare),
        "throughput_ratio": mean(leg.rate for leg in bridge) / mean(leg.rate for leg in bare),
        "cpu_ratio": mean(leg.cpu_us for leg in bare) / mean(leg.cpu_us for leg in bridge),
    }
