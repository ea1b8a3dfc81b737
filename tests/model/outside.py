"""What `bridge.intake` and `bridge.journal` take from the standard library, simulated: the event loop and the disk.

Both modules run unchanged; their names ``asyncio`` and ``os`` stand for `Loop` and `Disk` while a model runs. Which
process they serve is `Current.process`.
"""

from __future__ import annotations

import errno
import inspect
import os
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from tests.model.process import Process


class Current:
    """The process whose event loop runs at this moment."""

    process: Process


class Event:
    """An asyncio.Event."""

    def __init__(self) -> None:
        """Not set."""
        self._set = False
        self._waiting: list[Callable[[], None]] = []

    def set(self) -> None:
        """Let the waiting go on."""
        self._set = True
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each()

    def clear(self) -> None:
        """Have them wait again."""
        self._set = False

    @types.coroutine
    def wait(self) -> Generator[Event, None, bool]:
        """Wait until it is set."""
        if not self._set:
            yield self
        return True

    def notify(self, do: Callable[[], None]) -> None:
        """Call when it is set."""
        self._waiting.append(do)


class Task:
    """A coroutine on the simulated loop of one process."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], process: Process) -> None:
        """Begins at the next turn."""
        self._coroutine = coroutine
        self._process = process
        self._done = False
        process.tasks.append(self)
        process.soon(0, self._step)

    def close(self) -> None:
        """The process is gone."""
        if (
            inspect.getcoroutinestate(self._coroutine) != inspect.CORO_RUNNING
        ):  # else it is where the process was killed
            self._coroutine.close()

    def done(self) -> bool:
        """Whether it has ended."""
        return self._done

    def _step(self) -> None:
        try:
            wanted = self._coroutine.send(None)
        except StopIteration:
            self._done = True
            return
        if isinstance(wanted, Event):
            wanted.notify(lambda: self._process.soon(0, self._step))
        else:
            self._process.soon(wanted, self._step)


class Loop:
    """Stands for the module asyncio in `bridge.intake`."""

    Event = Event

    @staticmethod
    def get_running_loop() -> type[Loop]:
        """Itself."""
        return Loop

    @staticmethod
    def call_soon(do: Callable[[], None]) -> None:
        """The end of this turn of the loop; a slow disk makes turns long."""
        process = Current.process
        process.soon(process.host.disk.pause(), do)

    @staticmethod
    def create_task(coroutine: Coroutine[Any, Any, None]) -> Task:
        """Run it beside."""
        return Task(coroutine, Current.process)

    @staticmethod
    @types.coroutine
    def sleep(seconds: float) -> Generator[float, None, None]:
        """Wait."""
        yield seconds


class Disk:
    """Stands for the module os in `bridge.journal`: everything is real but writing, which may fail or be cut short.

    refuses: every write fails, some half done. slow: seconds that a write may take.
    """

    def __init__(self) -> None:
        """It works."""
        self.refuses = False
        self.slow = 0.0

    def __getattr__(self, name: str) -> Any:
        """Everything else is the operating system's."""
        return getattr(os, name)

    def pause(self) -> float:
        """How long the writes of this turn take."""
        return Current.process.world.chance.random() * self.slow if self.slow else 0.0

    def write(self, file: int, data: bytes) -> int:
        """Write, or do not, or do in part; the process may be killed before, amid or after it."""
        process = Current.process
        if self.refuses:
            if process.world.chance.random() < 0.5:
                return os.write(file, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if process.fuse is not None and process.fuse <= 1:
            os.write(file, data[: process.world.chance.randrange(len(data) + 1)])
        process.step("write")
        return os.write(file, data)


class Disks:
    """The module os for whatever process runs now."""

    def __getattr__(self, name: str) -> Any:
        """The disk of the current process."""
        return getattr(Current.process.host.disk, name)
