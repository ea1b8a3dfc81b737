"""Simulated time: one queue of things to do, and greenlets that wait in it instead of sleeping."""

from __future__ import annotations

import heapq
from random import Random
from typing import TYPE_CHECKING, Final

from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable

#: Wall time (ms since the epoch) at which every run begins.
EPOCH: Final = 1_779_000_000_000


class Killed(BaseException):
    """Ends a greenlet where it stands, as SIGKILL ends a process: no `except Exception` catches it."""


class World:
    """Time, chance and the trace of one run. now: s since its begin."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        """Nothing is planned yet."""
        self.seed = seed
        self.chance = Random(seed)
        self.now = 0.0
        self.traced: list[str] | None = [] if trace else None
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something so many seconds from now."""
        self._number += 1
        heapq.heappush(self._planned, (self.now + seconds, self._number, do))

    def run(self, until: float) -> None:
        """Let time pass."""
        planned = self._planned
        while planned and planned[0][0] <= until:
            self.now, _, do = heapq.heappop(planned)
            do()
        self.now = until

    def wall(self) -> int:
        """Wall time, ms since the epoch."""
        return EPOCH + int(self.now * 1000)

    def tell(self, who: str, what: str) -> None:
        """Note a step in the trace, if one is kept."""
        if self.traced is not None:
            self.traced.append(f"{self.now:9.4f}  {who:<8} {what}")


class Strand:
    """A thread of the product, as a greenlet that waits in simulated time. Everything it waits for is `notify`-ed."""

    def __init__(self, world: World, body: Callable[[], None]) -> None:
        """Make it; `start` it. frozen: it is not scheduled, as a process under SIGSTOP."""
        self._world = world
        self._hub = getcurrent()
        self._greenlet = greenlet(body)
        self._turn = 0
        self._waiting = False
        self._due = False
        self._missed = False
        self._ready: Callable[[], object] | None = None
        self.frozen = False

    @property
    def running(self) -> bool:
        """Whether it has begun and not ended."""
        return bool(self._greenlet)

    @property
    def current(self) -> bool:
        """Whether it is what runs at this moment."""
        return getcurrent() is self._greenlet

    def start(self) -> None:
        """Begin."""
        self._greenlet.switch()

    def wait(self, seconds: float, ready: Callable[[], object] | None = None) -> bool:
        """Let others run until `ready`, for so many seconds at most; whether it is ready. Only from within."""
        if ready is not None and ready():
            return True
        self._turn += 1
        turn = self._turn
        self._ready, self._waiting, self._due, self._missed = ready, True, False, False
        # Any wait takes some time, else a rest of a rounding error could be waited for for ever.
        self._world.later(max(seconds, 0.0001), lambda: self._wake(turn))
        self._hub.switch()
        return ready is not None and bool(ready())

    def notify(self) -> None:
        """Something changed that it may wait for."""
        if self._waiting and not self._due and self._ready is not None and self._ready():
            self._due = True
            turn = self._turn
            self._world.later(0, lambda: self._wake(turn))

    def thaw(self) -> None:
        """Let a frozen one go on, at once if what it waited for came meanwhile."""
        self.frozen = False
        if self._waiting and self._missed:
            self._missed = False
            turn = self._turn
            self._world.later(0, lambda: self._wake(turn))

    def kill(self) -> None:
        """End it where it stands."""
        if self._greenlet and not self.current:
            self._waiting = False
            self._greenlet.throw(Killed)

    def _wake(self, turn: int) -> None:
        if turn == self._turn and self._waiting:
            if self.frozen:
                self._missed = True
                return
            self._waiting = False
            self._greenlet.switch()
