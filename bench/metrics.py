"""What metrics cost: the bridge's own pipeline with what it counts after each batch, and what it would be without.

In one process and without Kafka, whose client would only make the share look smaller: what is measured is the time from
the end of a batch until it is counted, for metrics and for the page, beside that of the batch. Batches are those of a busy
feed, and so are the times at which their frames came. A scrape is counted as Prometheus asks by default.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from bench.processes import write_config
from bridge import topics
from bridge.catalog import Catalog
from bridge.codec import SINGLE_OBJECT, fingerprint
from bridge.config import Config
from bridge.dedupe import Window
from bridge.frame import STREAM, Frame
from bridge.gateways import kinds
from bridge.grounds import topics_of
from bridge.journals import Journals
from bridge.ledger import Memory
from bridge.ops.census import Census
from bridge.ops.metrics import Metrics
from bridge.ops.tally import Tally
from bridge.pipeline import Pipeline
from bridge.recovery import GapWriter, Outages
from bridge.route import Route
from bridge.topics import Role

#: Frames of a batch.
EACH: Final = 2000
#: Frames that come in one millisecond, at full speed.
_AT_ONCE: Final = 30
#: How often Prometheus asks (s).
SCRAPE: Final = 15.0


def measure(folder: Path, raws: Sequence[bytes], *, rounds: int) -> dict[str, float]:
    """Return the figures: µs a frame of both, their ratio, and what a scrape costs of a core."""
    ratios, counting, working, scrapes = [], [], [], []
    _, config = write_config(folder, name="metrics", url="ws://127.0.0.1:1", bootstrap="127.0.0.1:1")
    journal = Journals.open(
        folder / "metrics-journal", count=1, lanes=(0,), max_bytes=1 << 30, fsync=False, instance="bench"
    )
    with closing(journal) as journals:
        for _ in range(rounds + 1):
            pipeline, outages = _pipeline(config)
            metrics = Metrics()
            metrics.watch(journals)
            tally = Tally(metrics, Census(metrics, now=_now), lane=0)
            work = count = 0.0
            for first in range(0, len(raws), EACH):
                began = time.process_time()
                now = _now()
                some = raws[first : first + EACH]
                frames = [Frame("cs2", "list", now - at // _AT_ONCE, STREAM, raw) for at, raw in enumerate(some)]
                batch = pipeline.process(first, frames, now)
                made = time.process_time()
                tally.transaction(0.003)
                tally.committed(now)
                tally.batch(pipeline, outages, batch, now)
                work, count = work + made - began, count + time.process_time() - made
            ratios.append(count / work)
            counting.append(count / len(raws) * 1e6)
            working.append(work / len(raws) * 1e6)
            began = time.process_time()
            metrics.exposition()
            scrapes.append(time.process_time() - began)
    # The first round warms up.
    return {
        "share": median(ratios[1:]),
        "us": median(counting[1:]),
        "frame_us": median(working[1:]),
        "scrape_share": median(scrapes[1:]) / SCRAPE,
    }


def _now() -> int:
    return time.time_ns() // 1_000_000


def _pipeline(config: Config) -> tuple[Pipeline, Outages]:
    """One that has seen nothing."""
    catalog = Catalog.load()
    plan = topics.plan(config, catalog)
    framing = {(each.topic, each.type): SINGLE_OBJECT + fingerprint(each.schema) for each in topics.subjects(plan)}
    control = kinds()["ticktock"].control
    letters = topics.dead_letters_name(config, "cs2")
    route = Route("cs2", catalog.kind("ticktock"), control, topics_of("cs2", plan, framing), letters)
    span = round(config.dedupe.window * 1000)
    memory = Memory(Window(span=span, max_identities=config.dedupe.max_identities))
    outages = Outages(GapWriter(topics.own_name(config, Role.GAPS), b"", catalog.own("gap")), lane=0, instance="bench")
    return Pipeline([route], memory=memory, outages=outages), outages
