"""Carries what the lanes did into the metrics, once per transaction and never once per frame."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Counter

    from bridge.batch import Batch
    from bridge.ops.census import Census
    from bridge.ops.metrics import Metrics
    from bridge.pipeline import Pipeline
    from bridge.recovery import Outages


class _Children(dict[tuple[str, ...], Any]):
    """Labels → the metric of them. To have the library look it up each time costs more than all the rest."""

    def __init__(self, family: Counter) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, labels: tuple[str, ...]) -> Any:
        found = self[labels] = self._family.labels(*labels)
        return found


class Tally:
    """Called by a lane's thread; metrics and census themselves are thread-safe."""

    def __init__(self, metrics: Metrics, census: Census, *, lane: int) -> None:
        """Feed `metrics`; a counter that never counted is 0 there, so that its first step shows as an increase."""
        self._metrics = metrics
        self._census = census
        metrics.lane_fenced.labels(lane)
        self._lane = lane
        self._received, self._published = _Children(metrics.frames_received), _Children(metrics.records_published)
        self._duplicate, self._unchanged = _Children(metrics.frames_duplicate), _Children(metrics.frames_unchanged)

    def role(self, *, active: bool, standby: bool) -> None:
        """Say whether this process publishes the lane, or could take it."""
        self._metrics.lane_active.labels(self._lane).set(active)
        self._metrics.lane_standby.labels(self._lane).set(standby)

    def taken_over(self, reason: str) -> None:
        """The lane was taken."""
        self._metrics.lane_takeovers.labels(self._lane, reason).inc()

    def fenced(self) -> None:
        """The lane was lost to another process."""
        self._metrics.lane_fenced.labels(self._lane).inc()

    def committed(self, now: int) -> None:
        """A transaction is committed, be it a heartbeat. now: ms since the epoch."""
        self._metrics.last_commit.labels(self._lane).set(now / 1000)

    def transaction(self, seconds: float) -> None:
        """Take the time of one transaction, begin to committed."""
        self._metrics.transaction_seconds.observe(seconds)

    def observed(self, pipeline: Pipeline) -> None:
        """Take what a standby has read."""
        found = pipeline.drain()
        for counts in found:
            self._received[counts.gateway, counts.type].inc(counts.received)
        self._census.take(found)

    def batch(self, pipeline: Pipeline, outages: Outages, batch: Batch, now: int) -> None:
        """Take what one committed batch did. now: ms since the epoch."""
        metrics = self._metrics
        found = pipeline.drain()
        for counts in found:
            self._received[counts.gateway, counts.type].inc(counts.received)
            if counts.published:
                self._published[counts.gateway, counts.type].inc(counts.published)
            if counts.duplicates:
                self._duplicate[counts.gateway,].inc(counts.duplicates)
            if counts.unchanged:
                self._unchanged[counts.gateway,].inc(counts.unchanged)
            if counts.collisions:
                metrics.seq_collisions.labels(counts.gateway).inc(counts.collisions)
        dead = pipeline.drain_dead()
        for (gateway, reason), number in dead.items():
            metrics.dead_letters.labels(gateway, reason).inc(number)
        for (gateway, cause), number in outages.drain_opened().items():
            metrics.gaps.labels(gateway, cause).inc(number)
        for (gateway, state), number in outages.drain_judged().items():
            metrics.gaps_judged.labels(gateway, state).inc(number)
        times = collections.Counter(batch.received)
        metrics.latency_seconds.observe_all((max(now - at, 0) / 1000, number) for at, number in times.items())
        self._census.take(found, pipeline.drain_buried(), dead)
        self._replayed(pipeline)
        window = pipeline.window
        metrics.window_identities.labels(self._lane).set(len(window))
        oldest = window.oldest()
        metrics.window_seconds.labels(self._lane).set(0 if oldest is None else max(now - oldest, 0) / 1000)

    def _replayed(self, pipeline: Pipeline) -> None:
        for (gateway, outcome), number in pipeline.drain_replayed().items():
            self._metrics.dead_letters_replayed.labels(gateway, outcome.replace(" ", "_")).inc(number)
