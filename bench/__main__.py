"""All benchmarks, in one run on one machine: ``make bench``, or ``python -m bench [--short] [--json FILE]``.

The processes are three, as in real life: the sender, the bridge, the broker. Machines differ, so what must hold are ratios
against something measured in the same run (``bench/bounds.toml``); the exit code is 1 where one is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import codec, feed, lanes, latency, layouts, metrics, page, receive, restart, throughput, verify
from bench.sender import Sender
from tests.servers.kafka import KafkaCluster

_BOUNDS: Final = Path(__file__).with_name("bounds.toml")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured. frames: of each stretch. rounds: bare loop and bridge in turn. seconds: of steady flow."""

    warm: int
    frames: int
    rounds: int
    seconds: int
    round_trips: int
    many: int


FULL: Final = Size(warm=30_000, frames=300_000, rounds=2, seconds=10, round_trips=300, many=1_000_000)
SHORT: Final = Size(warm=10_000, frames=60_000, rounds=1, seconds=4, round_trips=100, many=100_000)
_RATE: Final = 1000.0
#: Frames in a ledger entry: of a feed at full speed, and of a quiet one.
_BUSY, _QUIET = 4000, 5


def main() -> int:
    """Run all, print the figures, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="All benchmarks, with their bounds.")
    parser.add_argument("--short", action="store_true", help="about a minute; the figures are rough")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    size = SHORT if options.short else FULL
    report = _Report(tomllib.loads(_BOUNDS.read_text()))
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="feedbridge-bench-"))
    try:
        _measure(folder, size, report)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(report.figures, indent=2) + "\n")
    print(f"\n{time.monotonic() - began:.0f} s in all; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return report.verdict()


def _measure(folder: Path, size: Size, report: _Report) -> None:
    flow = feed.frames(size.seconds * int(_RATE))
    mean_size = sum(map(len, flow)) / len(flow)
    report.section("Codec and reader (ns a frame, one thread)")
    times = codec.measure() | receive.measure()
    for what, ns in times.items():
        report.figure(what, ns, f"{ns:,.0f} ns")
    ratios = codec.ratios(times)
    report.ratio("codec_encode_ratio", "compiled encoder to fastavro", ratios["encode"])
    report.ratio("codec_frame_ratio", "frame to Avro, compiled to fastavro", ratios["frame to Avro"])
    report.ratio("receive_ratio", "plain frames, ours to the library's parser", receive.ratio(times))

    with KafkaCluster(folder / "broker") as broker, Sender(size.warm + size.frames) as sender:
        broker.start()
        bootstrap = broker.bootstrap
        report.section(f"Throughput (three processes, frames of {mean_size:.0f} bytes)")
        found = throughput.measure(folder, sender, bootstrap, warm=size.warm, frames=size.frames, rounds=size.rounds)
        for what, text in (("", "feedbridge, everything on"), ("bare_", "bare loop")):
            rate, cpu = found[f"{what}frames_per_second"], found[f"{what}cpu_us_per_frame"]
            report.figure(f"{what}frames_per_second", rate, f"{rate:,.0f} frames/s", text)
            report.figure(f"{what}cpu_us_per_frame", cpu, f"{cpu:.1f} µs", "  CPU of the process a frame")
        report.ratio("throughput_ratio", "frames/s, feedbridge to bare loop", found["throughput_ratio"])
        report.ratio("cpu_ratio", "CPU a frame, bare loop to feedbridge", found["cpu_ratio"])

        _layouts(bootstrap, size, report)
        _watching(folder, sender, bootstrap, size, report)

        report.section("Lanes (all processes and the broker on the cores of this machine)")
        with Sender(size.warm + size.frames) as second:
            shapes = lanes.measure(
                folder, [sender, second], bootstrap, warm=size.warm, frames=size.frames // 2, rounds=size.rounds
            )
        for (count, processes), shape in shapes.items():
            name = f"{count} lane{'s' * (count > 1)}, {processes} process{'es' * (processes > 1)}"
            key = f"lanes_{count}_{processes}"
            report.figure(f"{key}_frames_per_second", shape["rate"], f"{shape['rate']:,.0f} frames/s", name)
            report.figure(f"{key}_cpu_us_per_frame", shape["cpu_us"], f"{shape['cpu_us']:.1f} µs", "  CPU a frame, all")
            report.figure(
                f"{key}_ceiling",
                shape["ceiling"],
                f"{shape['ceiling']:,.0f} frames/s",
                "  by the CPU of the busiest process",
            )

        report.section(f"Latency at {_RATE:,.0f} frames/s, socket to read_committed consumer (aim: 5 and 20 ms)")
        found = latency.measure(
            folder,
            sender,
            bootstrap,
            first=0,
            seqs=[feed.seq_of(raw) for raw in flow],
            rate=_RATE,
            round_trips=size.round_trips,
        )
        for key, text in (
            ("latency", "feedbridge"),
            ("bare_latency", "bare loop"),
            ("round_trip", "one record, one transaction, alone"),
        ):
            for part in ("p50", "p99"):
                ms = found[f"{key}_{part}_ms"]
                report.figure(f"{key}_{part}_ms", ms, f"{ms:.1f} ms", f"{part}, {text}")
        report.ratio("latency_p50_ratio", "p50, feedbridge to bare loop", found["latency_p50_ratio"])
        report.ratio("latency_p99_ratio", "p99, feedbridge to bare loop", found["latency_p99_ratio"])

        report.section("Start with a ledger (aim: 3 s with 1,000,000 identities)")

        def start(identities: int, each: int) -> dict[str, float]:
            return restart.measure(
                folder,
                sender,
                bootstrap,
                identities=identities,
                frames_per_entry=each,
                name=f"restart-{identities}-{each}",
            )

        found = start(100_000, _BUSY)
        report.figure("memory_100k_mb", found["mb"], f"{found['mb']:.0f} MB", "resident, 100,000 identities")
        report.figure(
            "restart_100k_seconds", found["seconds"], f"{found['seconds']:.1f} s", "to live, 100,000 identities"
        )
        for each, text in ((_BUSY, "busy feed: large entries"), (_QUIET, "quiet feed: small entries")):
            found = start(size.many, each)
            name = f"{size.many:,} identities, {text}"
            report.figure(f"memory_many_mb_{each}", found["mb"], f"{found['mb']:.0f} MB", f"resident, {name}")
            report.figure(
                f"restart_many_seconds_{each}", found["seconds"], f"{found['seconds']:.1f} s", f"to live, {name}"
            )

        report.section("feedbridge verify, the whole command (reads all topics and the ledger)")
        found = verify.measure(folder, bootstrap, records=size.many)
        what = f"{found['records']:,.0f} records"
        report.figure("verify_seconds", found["seconds"], f"{found['seconds']:.1f} s", what)
        report.figure("verify_mb", found["mb"], f"{found['mb']:.0f} MB", "  memory at most")


def _layouts(bootstrap: str, size: Size, report: _Report) -> None:
    report.section("Layouts and headers (CPU of the lane and the Kafka client, with links and transactions)")
    costs = layouts.measure(bootstrap, frames=size.frames // 10, rounds=4 * size.rounds + 1)
    for form, cost in costs.items():
        name = f"{form}, {cost.records:.2f} records a frame" if form != "cloudevents" else "type, CloudEvents headers"
        report.figure(
            f"layout_{form}_us_per_record",
            cost.whole / cost.records,
            f"{cost.whole / cost.records:.1f} µs",
            f"a record, {name}",
        )
        report.figure(
            f"layout_{form}_us_per_frame",
            cost.whole,
            f"{cost.whole:.1f} µs",
            f"  a frame; {cost.made:.1f} µs up to the records",
        )
    report.ratio("layout_gateway_ratio", "a frame, layout gateway to type", costs["gateway"].ratio)
    report.ratio("layout_both_ratio", "a frame, both layouts to type", costs["both"].ratio)
    report.ratio("cloudevents_ratio", "a frame, with CloudEvents headers to without", costs["cloudevents"].ratio)


def _watching(folder: Path, sender: Sender, bootstrap: str, size: Size, report: _Report) -> None:
    report.section("Metrics and the live page")
    found = metrics.measure(folder, feed.frames(size.frames // 10), rounds=2 * size.rounds + 1)
    whole = report.figures["cpu_us_per_frame"]
    report.figure("metrics_us_per_frame", found["us"], f"{found['us']:.2f} µs", "what is counted, CPU a frame")
    report.share("metrics_share", "  of all the CPU of a frame", found["us"] / whole)
    report.share("scrape_share", f"  of a core, one scrape every {metrics.SCRAPE:.0f} s", found["scrape_share"])
    found = page.measure(
        folder, sender, bootstrap, warm=size.warm, frames=size.frames, seconds=size.seconds // 2, rounds=2 * size.rounds
    )
    report.share("page_share", f"{page.PAGES} open pages, share of a core", found["share"])
    report.ratio("page_cpu_ratio", f"  CPU a frame at full speed, {page.PAGES} pages to none", found["cpu_ratio"])
    report.ratio("page_rate_ratio", f"  frames/s, {page.PAGES} pages to none", found["rate_ratio"])


class _Report:
    """Prints figures as they come and keeps them, and which bounds are broken."""

    def __init__(self, bounds: dict[str, dict[str, float]]) -> None:
        self.figures: dict[str, float] = {}
        self._broken: list[str] = []
        self._open = {*bounds["at_least"], *bounds["at_most"]}
        self._least = bounds["at_least"]
        self._most = bounds["at_most"]

    def section(self, title: str) -> None:
        print(f"\n{title}", flush=True)

    def ratio(self, key: str, what: str, value: float) -> None:
        self.figure(key, value, f"{value:.2f} x", what)

    def share(self, key: str, what: str, value: float) -> None:
        self.figure(key, value, f"{value:.2%}", what)

    def figure(self, key: str, value: float, text: str, what: str | None = None) -> None:
        """Keep and print one figure, and judge it where it has a bound."""
        self.figures[key] = value
        line = f"  {key if what is None else what:68s} {text:>22s}"
        for kind, bound in (("at least", self._least.get(key)), ("at most", self._most.get(key))):
            if bound is None:
                continue
            self._open.discard(key)
            good = value >= bound if kind == "at least" else value <= bound
            line += f"   {kind} {bound:g}: {'good' if good else 'BROKEN'}"
            if not good:
                self._broken.append(f"{key} is {value:.3g}, must be {kind} {bound:g}")
        print(line.rstrip(), flush=True)

    def verdict(self) -> int:
        """Say which bounds are broken; 1 if any, or if one was never measured."""
        for key in sorted(self._open):
            self._broken.append(f"{key} was not measured")
        for line in self._broken:
            print(f"broken: {line}")
        return 1 if self._broken else 0


if __name__ == "__main__":
    sys.exit(main())
