"""Connections that change hands: a successor is opened beside a connection, and takes over without a gap.

Make before break. The successor must be up, and the old connection must have said something since: else it may have been
dead for a while, and only its own watchdog knows since when. Both are read for a moment; what the successor has beyond
the other then goes on (`bridge.gateways.splice`). A successor that is refused changes nothing: the old connection stays,
its status says why, and it is tried again slowly. If the old one ends first, a successor that is up takes over at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from bridge.gateways.gateway import ABSENT, LIVE, Intake
from bridge.gateways.retry import DISCONNECT, SILENCE, SLOW, Ending, Verdict
from bridge.gateways.splice import Splice
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.frame import Frame
    from bridge.gateways.fleet import Fleet
    from bridge.gateways.socket import Socket

#: Why connections turn.
KEY: Final = "key"
AGE: Final = "age"
PLAN: Final = "plan"
#: What holds up a turn while nothing is wrong.
OPENING: Final = "opening"
#: Seconds that both connections are read at least, and how long it is waited for a frame that comes over both.
OVERLAP: Final = 1.0
LONGEST: Final = 10.0
#: Seconds that a successor has to come up.
PATIENCE: Final = 60.0
#: Connections of a gateway that turn at the same time.
AT_ONCE: Final = 8
#: Bytes of a successor's frames that are held; with more, both are not read together any longer.
MOST: Final = 32 << 20
#: The part of `max_age` by which a connection turns earlier, at least and at most; and how often (s) ages are looked at.
LEAST: Final = 0.02
SPREAD: Final = 0.2
_LOOK: Final = 0.05
_AGES: Final = 1.0


class Relay:
    """The turns of one gateway's connections."""

    def __init__(self, fleet: Fleet) -> None:
        """No connection turns yet."""
        self._fleet = fleet
        self._turns: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        #: Connections that may be there twice at this moment.
        self._twice = 0
        self._lots: dict[str, tuple[float, float]] = {}
        self._counts: dict[str, int] = {}
        self._notes: dict[str, str] = {}

    def turn(self, name: str, reason: str) -> None:
        """Have another connection take over from the one of that name. A turn under way for another reason than age begins anew."""
        if name in self._turns:
            if reason == AGE:
                return
            self.leave(name)
        task = self._fleet.group.create_task(self._turn(name, reason), name=f"{self._fleet.name} {name} {reason}")
        self._turns[name] = (reason, task)

    def leave(self, name: str) -> asyncio.Task[None] | None:
        """Give up the turn of a connection, if one is under way; returns what is to be waited for."""
        self._notes.pop(name, None)
        _, task = self._turns.pop(name, (None, None))
        if task is not None:
            task.cancel()
        return task

    def turning(self, name: str) -> bool:
        """Whether another connection is being opened to take over; not while one that was refused waits to be tried again."""
        return name in self._turns and self._notes.get(name, OPENING) == OPENING

    def turns(self, name: str) -> int:
        """How often the connection has turned without a gap."""
        return self._counts.get(name, 0)

    def note(self, name: str) -> str | None:
        """What holds up a turn that is under way."""
        return self._notes.get(name)

    async def watch(self) -> None:
        """Turn what is too old, for ever."""
        while True:
            now, longest = self._fleet.outside.monotonic(), self._fleet.settings.max_age
            for name, socket in list(self._fleet.sockets.items()):
                if longest is not None and socket.state == LIVE and now >= socket.opened + longest * self._lot(socket):
                    self.turn(name, AGE)
            await asyncio.sleep(_AGES if longest is None else min(_AGES, longest * SPREAD / 4))

    def _lot(self, socket: Socket) -> float:
        """The part of `max_age` that this very connection gets."""
        opened, lot = self._lots.get(socket.name, (None, 0.0))
        if opened != socket.opened:
            lot = 1 - LEAST - (SPREAD - LEAST) * self._fleet.outside.chance()
            self._lots[socket.name] = (socket.opened, lot)
        return lot

    async def _turn(self, name: str, reason: str) -> None:
        fleet = self._fleet
        log = fleet.log.bind(connection=name, reason=reason)
        tried = False
        while True:
            async with self._room:
                old = fleet.sockets[name]
                if old.state != LIVE:
                    # Nothing to lose. After a first try it goes on by itself, with what it then finds.
                    if not tried:
                        await self._again(old)
                    break
                if self._crowded():
                    log.warning(
                        "connection_broken_off", why="max_connections leaves no room for a second one beside it"
                    )
                    await self._break_off(old)
                    break
                self._notes[name] = OPENING
                self._twice += 1
                try:
                    ending = await _Attempt(fleet, old, self._switched, log).run()
                finally:
                    self._twice -= 1
                if ending is None:
                    break
                if ending.crowded and reason != AGE:
                    log.warning("connection_broken_off", why=redactor.text(ending.text))
                    await self._break_off(old)
                    break
            self._notes[name] = redactor.text(ending.text)
            fleet.metrics.turns.labels(fleet.name, reason, "refused").inc()
            log.warning("connection_not_turned", why=self._notes[name], again_in=SLOW)
            tried = True
            await fleet.outside.sleep(SLOW)
        self._notes.pop(name, None)
        if self._turns.get(name, (None, None))[1] is asyncio.current_task():
            del self._turns[name]

    def _crowded(self) -> bool:
        most = self._fleet.settings.max_connections
        return most is not None and len(self._fleet.sockets) + self._twice >= most

    def _switched(self, new: Socket, task: asyncio.Task[Ending]) -> None:
        self._fleet.replace(new, task)
        self._counts[new.name] = self._counts.get(new.name, 0) + 1
        self._notes.pop(new.name, None)
        reason = self._turns[new.name][0] if new.name in self._turns else KEY
        self._fleet.metrics.turns.labels(self._fleet.name, reason, "done").inc()

    async def _again(self, old: Socket) -> None:
        """Begin anew with a connection that is down, without waiting for its next try."""
        fleet = self._fleet
        new = fleet.socket(old.name, old.dialect.renew(), hint=old.hint)
        task = fleet.tasks[old.name]
        new.follow(old)
        old.retire()
        task.cancel()
        await asyncio.wait([task])
        fleet.replace(new, fleet.group.create_task(new.run(), name=f"{fleet.name} {new.name}"))

    async def _break_off(self, old: Socket) -> None:
        """Close, then open: a gap, as short as can be."""
        old.cut(DISCONNECT)
        await self._again(old)


class _Attempt:
    """One successor. switched: told when it has taken over."""

    def __init__(
        self, fleet: Fleet, old: Socket, switched: Callable[[Socket, asyncio.Task[Ending]], None], log: Any
    ) -> None:
        self._fleet = fleet
        self._old = old
        self._switched = switched
        self._log = log
        self._splice = Splice(old.dialect.gist)
        self._held = Held(fleet.intake, self._splice)
        self._new = fleet.socket(old.name, old.dialect.renew(), hint=old.hint, intake=self._held, successor=True)
        self._task: asyncio.Task[Ending] | None = None
        self._over = False
        #: Frames that the old connection had told when the new one came up; None: it is not up.
        self._told: int | None = None

    async def run(self) -> Ending | None:
        """Return None when the new connection has taken over, or the old one is gone; else why it can't."""
        fleet, old, new = self._fleet, self._old, self._new
        began = fleet.outside.monotonic()
        old.feed(Tap(fleet.intake, self._splice))
        old.relief = self._relieve
        self._task = fleet.group.create_task(new.run(), name=f"{fleet.name} {old.name} successor")
        try:
            while not self._over:
                if self._task.done():
                    return self._task.result()
                if new.state != LIVE and new.ending is not None and (new.ending.crowded or new.state == ABSENT):
                    return new.ending
                if new.state != LIVE and fleet.outside.monotonic() - began > PATIENCE:
                    return new.ending or Ending(Verdict.RETRY, SILENCE, f"it was not up within {PATIENCE:g} s")
                if old.state != LIVE:
                    # It ended before the new one was up: the gap is open, and ends when the new one is.
                    await self._take_over()
                elif self._ready():
                    await self._take_over()
                else:
                    await asyncio.wait([self._task], timeout=_LOOK)
            return None
        finally:
            if old.relief == self._relieve:  # else another attempt has begun
                old.relief = _nobody
                old.feed(fleet.intake)
            if not self._over:
                self._task.cancel()
                await asyncio.wait([self._task])

    def _ready(self) -> bool:
        """Whether the new connection may take over."""
        old, new, now = self._old, self._new, self._fleet.outside.monotonic()
        if new.state != LIVE:
            self._told = None
            return False
        if self._told is None:
            self._told = self._splice.told
            old.hurry()
        both = now - new.risen
        if old.heard <= new.risen or old.down or self._fleet.intake.full:
            return False
        if self._held.crowded:
            return True
        quiet = self._splice.told == self._told
        return both >= OVERLAP and (self._splice.overlaps or quiet or both >= LONGEST)

    async def _take_over(self) -> None:
        task = self._fleet.tasks[self._old.name]
        self._switch()
        task.cancel()
        await asyncio.wait([task])

    def _relieve(self, ending: Ending) -> bool:
        """The old connection has ended by itself; returns whether the new one has taken over."""
        old, new = self._old, self._new
        if new.state != LIVE or old.down or (ending.cause == SILENCE and old.heard <= new.risen):
            # Where it fell silent before the new one was up, nobody knows what was missed between.
            return False
        self._log.info("connection_relieved", why=redactor.text(ending.text))
        self._switch()
        return True

    def _switch(self) -> None:
        """Have the new connection speak for both. No frame of either can come in between."""
        fleet, old, new = self._fleet, self._old, self._new
        assert self._task is not None  # noqa: S101 - set before anything can end
        self._over = True
        gap = old.down
        overlap = self._splice.overlaps
        frames = self._held.release()
        new.follow(old)
        old.retire()
        if gap and new.state == LIVE:
            fleet.intake.event(fleet.name, new.name, "up")
        for frame in frames:
            fleet.intake.put(frame)
        new.feed(fleet.intake)
        self._switched(new, self._task)
        self._log.info("connection_turned", gap=gap, overlap=overlap, doubles=self._held.doubles, beyond=len(frames))


class _Through:
    """An intake before another one."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    @property
    def full(self) -> bool:
        return self._intake.full

    @property
    def stalled(self) -> bool:
        return self._intake.stalled

    async def room(self) -> None:
        await self._intake.room()

    def put(self, frame: Frame) -> None:
        self._intake.put(frame)

    def mark(self) -> Any:
        return self._intake.mark()

    def committed(self, mark: Any) -> bool:
        return self._intake.committed(mark)

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:
        self._intake.event(gateway, connection, event, **facts)

    def learn(self, gateway: str, pairs: dict[str, str]) -> None:
        self._intake.learn(gateway, pairs)

    def known(self, gateway: str, key: str) -> str | None:
        return self._intake.known(gateway, key)


class Tap(_Through):
    """The intake of a connection that is to be followed: its frames are noted on their way."""

    def __init__(self, intake: Intake, splice: Splice) -> None:
        """Note them in `splice`."""
        super().__init__(intake)
        self._splice = splice

    def put(self, frame: Frame) -> None:
        """Hand on a frame."""
        self._splice.old(frame.raw)
        self._intake.put(frame)


class Held(_Through):
    """The intake of a successor until it takes over: keeps its frames, and its events to itself."""

    def __init__(self, intake: Intake, splice: Splice, *, most: int = MOST) -> None:
        """most: bytes that are held before reading stops."""
        super().__init__(intake)
        self._splice = splice
        self._most = most
        self._frames: list[Frame] = []
        self._size = 0
        self._released = asyncio.Event()
        #: Frames that the other connection told as well, known when they are released.
        self.doubles = 0

    @property
    def crowded(self) -> bool:
        """Whether no more is held."""
        return self._size >= self._most

    @property
    def full(self) -> bool:
        """Whether the successor is not to be read."""
        return self.crowded or self._intake.full

    async def room(self) -> None:
        """Wait until all is released, or the successor begins anew."""
        if self.crowded:
            await self._released.wait()
        await self._intake.room()

    def put(self, frame: Frame) -> None:
        """Hold a frame back."""
        self._frames.append(frame)
        self._size += len(frame.raw)
        self._splice.new(frame.raw)

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:  # noqa: ARG002 - see below
        """Keep it: the bridge knows of the old connection only. What was held before a loss has a hole behind it."""
        if event in {"down", "gone"}:
            self._clear()
            self._splice.again()

    def release(self) -> list[Frame]:
        """Return what the other connection has not told; nothing is held any more."""
        found = [self._frames[index] for index in self._splice.remainder()]
        self.doubles = len(self._frames) - len(found)
        self._clear()
        return found

    def _clear(self) -> None:
        self._frames.clear()
        self._size = 0
        self._released.set()


def _nobody(_: Ending) -> bool:
    return False


__all__ = ["AGE", "KEY", "OPENING", "PLAN", "Held", "Relay", "Tap"]
