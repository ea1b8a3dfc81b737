"""Stand-ins for what gateways talk to: an intake that remembers, time that a test moves, connections that a test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from bridge.frame import Frame
from bridge.gateways.gateway import Outside
from bridge.gateways.transport import Closed, Transport

KEY = "ps_test_0123456789abcdef_simulatedsimulatedsimulatedsimulatedsimulat"


class MemoryIntake:
    """Remembers what it was given; `full` and `stalled` are the test's to set, `make_room` ends both."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        #: How many frames were there when each event came.
        self.positions: list[int] = []
        self.learned: dict[str, str] = {}
        self.full = self.stalled = False
        #: How many frames are committed; None: all.
        self.done: int | None = None
        self.waiting = asyncio.Event()
        self._room = asyncio.Event()
        self._news = asyncio.Event()

    async def room(self) -> None:
        """Wait for `make_room`."""
        self.waiting.set()
        await self._room.wait()

    def make_room(self) -> None:
        """Take frames again."""
        self.full = self.stalled = False
        self._room.set()

    def put(self, frame: Frame) -> None:
        """Remember a frame."""
        self.frames.append(frame)
        self._news.set()

    def mark(self) -> int:
        """Count what was put."""
        return len(self.frames)

    def committed(self, mark: int) -> bool:
        """Tell whether the test has let so many frames be committed."""
        return self.done is None or self.done >= mark

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:
        """Remember an event."""
        assert gateway
        self.events.append((connection, event, facts))
        self.positions.append(len(self.frames))
        self._news.set()

    def learn(self, gateway: str, pairs: dict[str, str]) -> None:
        """Remember ids."""
        assert gateway
        self.learned.update(pairs)

    def known(self, gateway: str, key: str) -> str | None:
        """Tell what was learned."""
        assert gateway
        return self.learned.get(key)

    def causes(self, connection: str) -> list[str]:
        """The events of a connection as text: ``up``, ``down:silence``."""
        return [
            f"{event}:{facts['cause']}" if "cause" in facts else event
            for name, event, facts in self.events
            if name == connection
        ]

    async def until(self, condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
        """Return when the condition holds; it is looked at after each frame and event, and every now and then."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                asyncio.get_running_loop().call_later(0.02, self._news.set)
                await self._news.wait()


@dataclass
class Script:
    """A connection that says what a test wrote: lists of messages, exceptions to raise, seconds to be quiet."""

    steps: list[list[bytes] | Exception | float]
    sent: list[str] = field(default_factory=list)
    closed: bool = False
    partial: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def waiting(self) -> bool:
        """Whether the next step is no list of messages."""
        return not self.steps or not isinstance(self.steps[0], list)

    async def receive(self) -> list[bytes]:
        """Play the next step."""
        if not self.steps or isinstance(self.steps[0], float):
            seconds = self.steps.pop(0) if self.steps else 3600.0
            assert isinstance(seconds, float)
            alarm = asyncio.get_running_loop().call_later(seconds, self._wake.set)
            await self._wake.wait()
            alarm.cancel()
            self._wake.clear()
            return []
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, list)
        await asyncio.sleep(0)
        return step

    async def send(self, text: str) -> None:
        """Remember what is sent."""
        self.sent.append(text)

    def wake(self) -> None:
        """End a quiet step."""
        self._wake.set()

    async def close(self) -> None:
        """Remember that."""
        self.closed = True


class Scripts:
    """A `Connect` that opens one script after the other; an exception in the list is raised instead."""

    def __init__(self, scripts: Iterable[Script | Exception]) -> None:
        self._left = list(scripts)
        self.opened: list[Script] = []
        self.urls: list[str] = []

    async def __call__(self, url: str, **_: Any) -> Transport:
        """Open the next script, or fail as it says."""
        self.urls.append(url)
        script = self._left.pop(0) if self._left else Script([])
        if isinstance(script, Exception):
            raise script
        self.opened.append(script)
        return script


def outside(pauses: list[float] | None = None, *, chance: float = 0.5) -> Outside:
    """Real clocks, pauses that are noted down instead of slept, and chance without chance."""
    noted = [] if pauses is None else pauses

    async def sleep(seconds: float) -> None:
        noted.append(seconds)
        await asyncio.sleep(0)

    return Outside(sleep=sleep, chance=lambda: chance)


def cut(code: int = 1006, reason: str = "") -> Closed:
    """What a connection raises at its end."""
    return Closed(code, reason)
