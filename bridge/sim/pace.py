"""How many frames are due, and how long to sleep until more are: pure, fed with monotonic seconds."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Frames at a time where there is no rate.
CHUNK: Final = 256
#: Where there is no rate, a reader has room while less than this lies in our buffer (bytes).
ROOM: Final = 256 * 1024
#: Who fell behind makes up for at most this many seconds: the rate holds on a busy machine, but no stall ends in a flood.
_CATCH_UP: Final = 1.0
#: Frames at a time at most, so that a loop that catches up still listens.
_MOST: Final = 1000
#: Longest pause, s: a new rate takes effect that soon.
_LONGEST: Final = 0.2


class Due(NamedTuple):
    """So many `frames` now, then sleep `pause` seconds."""

    frames: int
    pause: float


class Pace:
    """Frames per second (`rate`, None: as many as the reader takes); `tick` is the shortest pause at a rate."""

    def __init__(self, rate: float | None, *, tick: float, now: float) -> None:
        """A pace that begins at `now`."""
        self.rate = rate
        self.tick = tick
        self._owed = 0.0
        self._last = now

    def restart(self, now: float) -> None:
        """Nothing is owed for the time before `now`."""
        self._owed, self._last = 0.0, now

    def due(self, now: float, *, room: bool) -> Due:
        """What is due at `now`; `room` says whether the reader keeps up (it matters where there is no rate)."""
        rate = self.rate
        if rate is None:
            self._last = now
            return Due(CHUNK, 0.0) if room else Due(0, 0.001)
        self._owed = min(self._owed + (now - self._last) * rate, max(rate * _CATCH_UP, 1.0))
        self._last = now
        count = min(int(self._owed), _MOST)
        self._owed -= count
        if self._owed >= 1.0:
            return Due(count, 0.0)
        return Due(count, min(max(self.tick, (1.0 - self._owed) / rate), _LONGEST))
