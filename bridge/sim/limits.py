"""Request limits as gateways keep them: so many per period and caller, in fixed windows."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import NamedTuple


class Verdict(NamedTuple):
    """Whether a request may pass; `remaining` of `limit`; `resets` is seconds until the window ends (at least 1)."""

    passes: bool
    limit: int
    remaining: int
    resets: int


class Limit:
    """At most `requests` per `period` seconds for each caller; `clock` is monotonic seconds. requests 0: no limit."""

    def __init__(self, requests: int, *, period: float = 60.0, clock: Callable[[], float]) -> None:
        """A limit nobody has used yet."""
        self.requests = requests
        self.period = period
        self._clock = clock
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, caller: str) -> Verdict:
        """Count one request of `caller`."""
        now = self._clock()
        began, used = self._windows.get(caller, (now, 0))
        if now - began >= self.period:
            began, used = now, 0
        resets = max(1, ceil(began + self.period - now))
        if not self.requests:
            return Verdict(passes=True, limit=0, remaining=0, resets=resets)
        passes = used < self.requests
        used += passes
        self._windows[caller] = (began, used)
        return Verdict(passes=passes, limit=self.requests, remaining=self.requests - used, resets=resets)
