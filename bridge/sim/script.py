"""A given list of frames, sent to whoever connects: for tests that must know every byte.

The list is the whole truth: no snapshot, no faults by rate, no world. When it is over, the keep-alive goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from bridge.sim.connection import Connection
from bridge.sim.pace import ROOM, Pace


class Script:
    """Frames to send, at `rate` per second (None: as fast as the reader takes).

    on_reconnect, where a new connection begins: ``resume`` after the last frame written to any connection before it
    (less `overlap` frames, which then come twice), ``restart`` with the first frame, ``continue`` where the list would be by now
    had nobody been away (the frames of the meantime are never sent; without a rate it is the same as resume).
    faults: what is wrong with each frame, for the ledger; as long as `frames`.
    """

    def __init__(
        self,
        frames: Sequence[bytes],
        *,
        rate: float | None = None,
        on_reconnect: Literal["resume", "restart", "continue"] = "resume",
        overlap: int = 0,
        faults: Sequence[str | None] | None = None,
        tick: float = 0.004,
    ) -> None:
        """Raises ValueError where `faults` and `frames` differ in length."""
        if faults is not None and len(faults) != len(frames):
            raise ValueError(f"{len(faults)} faults for {len(frames)} frames")
        self.frames = frames
        self.faults: Sequence[str | None] = faults if faults is not None else [None] * len(frames)
        self.rate = rate
        self.on_reconnect = on_reconnect
        self.overlap = overlap
        #: The furthest that any connection has got: the number of frames written to it, or skipped before it.
        self.position = 0
        self._tick = tick
        self._began: float | None = None
        self._over = asyncio.Event()

    async def finished(self, *, seconds: float | None = 30.0) -> None:
        """Return when a connection has been sent the last frame; raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._over.wait()

    async def play(
        self, connection: Connection, ready: Callable[[], Awaitable[None]], told: Callable[[], None]
    ) -> None:
        """Send what is this connection's, from when `ready` returns; `told` is called after each write."""
        await ready()
        loop = asyncio.get_running_loop()
        pace = Pace(self.rate, tick=self._tick, now=loop.time())
        position = self._begin(loop.time())
        while position < len(self.frames) and connection.open:
            pace.rate = self.rate
            count, pause = pace.due(loop.time(), room=connection.backlog < ROOM)
            if count and (not connection.silent or self.on_reconnect == "continue"):
                following = min(position + count, len(self.frames))
                connection.write(self.frames[position:following], self.faults[position:following])
                position = following
                self.position = max(self.position, position)
                told()
            await asyncio.sleep(pause)
        if position == len(self.frames):
            self._over.set()
            told()

    def _begin(self, now: float) -> int:
        if self._began is None:
            self._began = now
            return 0
        match self.on_reconnect:
            case "restart":
                return 0
            case "continue" if self.rate is not None:
                self.position = max(self.position, min(int((now - self._began) * self.rate), len(self.frames)))
                return self.position
            case _:
                return max(0, self.position - self.overlap)
