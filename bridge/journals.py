"""The journals of one process: one for each lane that it takes part in, in one folder under one lock.

``<path>/lane-<n>-of-<count>``: a plan of lanes has folders of its own, so that a change of the count finds what the plan
before has left (`Journals.move`).
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Final

import structlog

from bridge.frame import EVENT, Frame
from bridge.journal import Journal, lock, opening
from bridge.lanes import Origin, unwrap, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_FOLDER: Final = re.compile(r"lane-(\d+)-of-(\d+)")
#: Frames read and written at once while they are moved.
_CHUNK: Final = 1000
_CHUNK_BYTES: Final = 8 << 20

log = structlog.get_logger(__name__)


def folder_of(path: Path, lane: int, count: int) -> Path:
    """The folder of a lane's journal, of a plan with `count` lanes."""
    return path / f"lane-{lane}-of-{count}"


class Journals:
    """See the module. Opened by `open`, closed by `close`."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        count: int,
        lanes: Iterable[int],
        max_bytes: int,
        fsync: bool = False,
        instance: str = "unnamed",
    ) -> Journals:
        """Lock the folder and open the journals of `lanes`, of a plan with `count` lanes.

        max_bytes: the disk that all may use together. instance: of this process. Raises `Locked` and ConfigError as `Journal.open` does.
        """
        lanes = tuple(lanes)
        with opening(path):
            path.mkdir(parents=True, exist_ok=True)
            held = lock(path)
        found = cls(path, held, count=count, max_bytes=max_bytes, share=max_bytes // max(len(lanes), 1), fsync=fsync)
        found.instance = instance
        try:
            for lane in lanes:
                found.hold(lane)
        except BaseException:
            found.close()
            raise
        return found

    def __init__(self, path: Path, held: int, *, count: int, max_bytes: int, share: int, fsync: bool) -> None:
        """Use `open`."""
        self.path = path
        self.max_bytes = max_bytes
        #: Ids of the journals of other plans that were moved by this process.
        self.former: frozenset[str] = frozenset()
        self.instance = ""
        self._lock_file = held
        self._count = count
        self._share = share
        self._fsync = fsync
        self._journals: dict[int, Journal] = {}

    def __getitem__(self, lane: int) -> Journal:
        """The journal of a lane; KeyError where this process does not hold it."""
        return self._journals[lane]

    def __iter__(self) -> Iterator[int]:
        """The lanes, in order."""
        return iter(sorted(self._journals))

    def __len__(self) -> int:
        """How many lanes have a journal here."""
        return len(self._journals)

    @property
    def frames(self) -> int:
        """How many frames wait."""
        return sum(journal.frames for journal in self._journals.values())

    @property
    def size(self) -> int:
        """What all take on the disk (bytes)."""
        return sum(journal.size for journal in self._journals.values())

    @property
    def full(self) -> bool:
        """Whether the limit is reached: stop reading from the sockets."""
        return self.size >= self.max_bytes

    def hold(self, lane: int) -> Journal:
        """Open the journal of one more lane; the one that is open where there is one."""
        if lane not in self._journals:
            folder = folder_of(self.path, lane, self._count)
            self._journals[lane] = Journal.open(
                folder, max_bytes=self._share, fsync=self._fsync, locked=True, instance=self.instance
            )
        return self._journals[lane]

    def left(self) -> list[int]:
        """The lanes of this plan that have frames in a journal which nobody has opened: they were held before."""
        found = []
        for lane, count, folder in _folders(self.path):
            if count == self._count and lane not in self._journals:
                found += [lane] if any(each.stat().st_size for each in folder.glob("*.log")) else []
        return found

    def move(self, spread: Callable[[Sequence[Frame]], dict[int, list[Frame]]]) -> int:
        """Move what the journals of other plans hold into those of this one, then delete them; returns how many frames.

        spread: over all lanes of the plan. Each frame says where it stood, so that whoever publishes can tell from the
        ledger whether it is disposed of. A crash in between moves some a second time, which the window knows.
        Raises ConfigError where the disk takes no more.
        """
        with opening(self.path):
            return self._move(spread)

    def _move(self, spread: Callable[[Sequence[Frame]], dict[int, list[Frame]]]) -> int:
        others = [folder for _, count, folder in _folders(self.path) if count != self._count]
        known: set[tuple[str, str, int, bytes]] = set()
        former = set()
        number = 0
        for folder in others:
            journal = Journal.open(folder, max_bytes=self.max_bytes, locked=True, instance=self.instance)
            try:
                former.add(journal.id)
                for chunk in _left(journal, known):
                    self._append(spread(chunk))
                    number += len(chunk)
            finally:
                journal.close()
        for lane in self:
            self._journals[lane].sync()
        for folder in others:
            shutil.rmtree(folder)
        self.former = frozenset(former)
        if number:
            log.info("journal_moved", frames=number, journals=len(others), lanes=self._count)
        return number

    def close(self) -> None:
        """Let the files and the lock go."""
        for journal in self._journals.values():
            journal.close()
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def _append(self, parts: dict[int, list[Frame]]) -> None:
        for lane, frames in parts.items():
            # It takes part in a lane that it holds frames of, until they are disposed of; events alone are no reason.
            if frames and (lane in self._journals or any(unwrap(frame).source != EVENT for frame in frames)):
                self.hold(lane).append(frames)


def _left(journal: Journal, known: set[tuple[str, str, int, bytes]]) -> Iterator[list[Frame]]:
    """The frames of a journal, each with where it stood.

    Events stand in the journals of all lanes and are taken once. known: those that were.
    """
    position, openings = journal.first, tuple(journal.openings[:-1])
    while position < journal.end:
        first, frames = journal.read(position, max_frames=_CHUNK, max_bytes=_CHUNK_BYTES)
        found = []
        for at, frame in enumerate(frames, first):
            inner = unwrap(frame)
            if inner.source == EVENT:
                event = (inner.gateway, inner.connection, inner.received, inner.raw)
                if event in known:
                    continue
                known.add(event)
            found.append(wrap(frame, Origin(journal.id, at, openings)))
        position = first + len(frames)
        if found:
            yield found


def _folders(path: Path) -> list[tuple[int, int, Path]]:
    """(lane, count, folder) of all journals there are."""
    found = []
    for folder in sorted(path.iterdir()):
        match = _FOLDER.fullmatch(folder.name)
        if match and folder.is_dir():
            found.append((int(match[1]), int(match[2]), folder))
    return sorted(found)
