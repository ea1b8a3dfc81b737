"""Events that repeat: the first few are told, then one line a minute says how many more there were.

Pure: fed with log records and the time. A record may bear what makes it the same as another (``likeness``, a text) and how
many of its kind are told at once (``burst``); else that is found in its fields.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

#: Of a kind, so many are told in so many seconds; while more keep coming, one line for each so many seconds.
BURST: Final = 5
FIRST: Final = 10.0
THEN: Final = 60.0

#: Fields that make two events different ones; others (counts, texts, ids of frames) do not.
_TELLING: Final = (
    "event", "gateway", "connection", "cause", "channel", "file", "lane", "reason", "role", "state", "subject", "topic",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Held:
    """How many records one stands for, itself among them, and in how many seconds they came."""

    count: int
    seconds: float


@dataclass(slots=True)
class _Run:
    """One event that keeps coming: since when and for how long it is counted, how often it was told and held back."""

    since: float
    seconds: float
    left: int
    held: int = 0
    last: logging.LogRecord | None = None


class Repeats:
    """Lets an event through a few times, holds back and counts the rest.

    What was held back is told when the time is up: the last record, with `Held` as its attribute ``held``. While an event
    keeps coming, nothing else of it is told; once it has not come for a while, it counts as new. At most `limit` kinds are
    remembered; the oldest of them go first, and one that holds something back is told with the next that ended.
    """

    def __init__(self, *, burst: int = BURST, first: float = FIRST, then: float = THEN, limit: int = 1000) -> None:
        """first, then: seconds, see `FIRST` and `THEN`."""
        self._burst = burst
        self._first = first
        self._then = then
        self._limit = limit
        self._runs: dict[tuple[object, ...], _Run] = {}
        self._crowded_out: list[logging.LogRecord] = []

    def admit(self, record: logging.LogRecord, now: float) -> bool:
        """Return whether the record is to be written. Debug lines and what is worse than an error always are."""
        if not logging.DEBUG < record.levelno < logging.CRITICAL:
            return True
        kind = _kind(record)
        run = self._runs.get(kind)
        if run is None:
            if len(self._runs) >= self._limit:
                self._crowd_out(now)
            run = self._runs[kind] = _Run(now, self._first, getattr(record, "burst", self._burst))
        if run.left > 0:
            run.left -= 1
            return True
        run.held += 1
        run.last = record
        return False

    def ended(self, now: float) -> list[logging.LogRecord]:
        """Return the last record of each kind whose time is up and that was held back, with its `Held`."""
        told, self._crowded_out = self._crowded_out, []
        for kind in [kind for kind, run in self._runs.items() if now - run.since >= run.seconds]:
            run = self._runs.pop(kind)
            if run.last is not None:
                told.append(_told(run.last, run, now))
                self._runs[kind] = _Run(now, self._then, 0)
        return told

    def due(self) -> float | None:
        """When something that is held back is to be told; None: nothing is."""
        if self._crowded_out:
            return 0.0
        return min((run.since + run.seconds for run in self._runs.values() if run.held), default=None)

    def _crowd_out(self, now: float) -> None:
        run = self._runs.pop(next(iter(self._runs)))
        if run.last is not None:
            self._crowded_out.append(_told(run.last, run, now))


def _told(record: logging.LogRecord, run: _Run, now: float) -> logging.LogRecord:
    record.held = Held(run.held, run.seconds if now == float("inf") else now - run.since)
    return record


def _kind(record: logging.LogRecord) -> tuple[object, ...]:
    """Return what makes two records the same event: not the time, not the numbers in it."""
    likeness = getattr(record, "likeness", None)
    if likeness is not None:
        return (record.levelno, record.name, likeness)
    if isinstance(record.msg, dict):
        return (record.levelno, record.name, *(str(record.msg.get(name)) for name in _TELLING))
    return (record.levelno, record.name, str(record.msg))
