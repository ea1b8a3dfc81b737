"""What became of the frames, by type and of late: what the page shows and Prometheus would have to be asked for.

Fed once per transaction with the same counts as the metrics, so it costs nothing more per frame, whoever looks or not.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from bridge.ops.metrics import quantile

if TYPE_CHECKING:
    from bridge.dead_letter import Buried
    from bridge.ops.metrics import Metrics
    from bridge.route import Counts

#: Length (ms) and number of the stretches of which the frames are known.
STRETCH: Final = 2000
STRETCHES: Final = 60
#: What is said of late is said of so many stretches: a minute.
LATE: Final = 30
#: Dead letters that are remembered.
BURIED: Final = 20
#: Dead letters are counted by reason for so many minutes.
MINUTES: Final = 15
_MINUTE: Final = 60_000
#: What is counted of each type.
COUNTED: Final = ("received", "published", "duplicates", "unchanged", "dead_letters")


class Census:
    """Counts since the start of the process. Lanes' threads write, any thread reads. now: ms since the epoch."""

    def __init__(self, metrics: Metrics, *, now: Callable[[], int]) -> None:
        """metrics: whose histograms tell of times."""
        self._now = now
        self._lock = threading.Lock()
        self._types: dict[tuple[str, str], list[int]] = {}
        self._rates: dict[str, dict[int, int]] = {}
        self._buried: deque[Buried] = deque(maxlen=BURIED)
        #: (minute, (gateway, reason) → dead letters), of the last `MINUTES` that had any.
        self._reasons: deque[tuple[int, Counter[tuple[str, str]]]] = deque(maxlen=MINUTES)
        self._times = {"latency": metrics.latency_seconds, "transaction": metrics.transaction_seconds}
        #: (stretch, counts of each histogram when it began).
        self._marks: deque[tuple[int, list[list[int]]]] = deque(maxlen=LATE + 1)

    def take(
        self, found: Iterable[Counts], buried: Iterable[Buried] = (), dead: Mapping[tuple[str, str], int] | None = None
    ) -> None:
        """Add what became of some frames. buried: the last dead letters. dead: (gateway, reason) → how many, all of them."""
        stretch = self._now() // STRETCH
        with self._lock:
            if not self._marks or self._marks[-1][0] < stretch:
                self._marks.append((stretch, [times.counts() for times in self._times.values()]))
            received: Counter[str] = Counter()
            for counts in found:
                totals = self._types.setdefault((counts.gateway, counts.type), [0] * len(COUNTED))
                for place, number in enumerate((
                    counts.received, counts.published, counts.duplicates, counts.unchanged, counts.dead
                )):  # fmt: skip
                    totals[place] += number
                received[counts.gateway] += counts.received
            for gateway, number in received.items():
                rates = self._rates.setdefault(gateway, {})
                rates[stretch] = rates.get(stretch, 0) + number
                if len(rates) > STRETCHES + 1:
                    del rates[next(iter(rates))]
            self._buried.extend(buried)
            if dead:
                minute = self._now() // _MINUTE
                if not self._reasons or self._reasons[-1][0] < minute:
                    self._reasons.append((minute, Counter()))
                self._reasons[-1][1].update(dead)

    def types(self) -> list[dict[str, Any]]:
        """All types of which there was a frame, by gateway and name, with what became of them."""
        with self._lock:
            return [
                {"gateway": gateway, "type": name, **dict(zip(COUNTED, totals, strict=True))}
                for (gateway, name), totals in sorted(self._types.items())
            ]

    def rate(self, gateway: str) -> list[float]:
        """Frames a second in each of the last `STRETCHES` that are over, the oldest first."""
        last = self._now() // STRETCH
        with self._lock:
            found = dict(self._rates.get(gateway, {}))
        return [found.get(each, 0) * 1000 / STRETCH for each in range(last - STRETCHES, last)]

    def times(self) -> dict[str, dict[str, float | None]]:
        """Medians and 99th percentiles (s) of the last minute; None where there was nothing."""
        since = self._now() // STRETCH - LATE
        with self._lock:
            mark = next((before for stretch, before in self._marks if stretch >= since), None)
        found = {}
        for place, (name, times) in enumerate(self._times.items()):
            counts = _less(times.counts(), mark[place]) if mark is not None else []
            found[name] = {"p50": quantile(0.5, counts), "p99": quantile(0.99, counts)}
        return found

    def reasons(self) -> list[dict[str, Any]]:
        """How many dead letters each gateway had for each reason in the last `MINUTES`, the most first."""
        since = self._now() // _MINUTE - MINUTES
        total: Counter[tuple[str, str]] = Counter()
        with self._lock:
            for minute, counts in self._reasons:
                if minute > since:
                    total.update(counts)
        return [
            {"gateway": gateway, "reason": reason, "count": count}
            for (gateway, reason), count in sorted(total.items(), key=lambda each: (-each[1], each[0]))
        ]

    def buried(self) -> list[Buried]:
        """The last dead letters, the newest first."""
        with self._lock:
            return [*reversed(self._buried)]


def _less(counts: Sequence[int], before: Sequence[int]) -> list[int]:
    return [now - then for now, then in zip(counts, before, strict=True)]
