"""Disks that are full when a test says so: what the journal meets when there is no room.

Two ways, since none does for all. `Tmpfs` is a small file system of its own, filled to the last byte, and answers as a
full disk does (ENOSPC); it must be mounted, which not everybody may do. `Quota` needs no right at all: the kernel lets
the files of one process grow no further (RLIMIT_FSIZE) and answers EFBIG, in the same system call, after the same part
of the data was written.
"""

from __future__ import annotations

import os
import resource
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.running import BridgeProcess

_LIMIT = resource.RLIMIT_FSIZE


class Disk(ABC):
    """A folder that can be full for one bridge; a context manager."""

    def __init__(self, folder: Path) -> None:
        """folder: made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    @abstractmethod
    def fill(self, bridge: BridgeProcess) -> None:
        """From now on there is no room for the bridge's journal, which lies in `folder`."""

    @abstractmethod
    def free(self, bridge: BridgeProcess) -> None:
        """There is room again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027 - a quota ends with its process
        """Undo what would outlast the test."""


class Quota(Disk):
    """The journal's newest segment grows no further."""

    def fill(self, bridge: BridgeProcess) -> None:
        """Allow files as large as the newest segment is now, and a part of a block more."""
        segment = max(bridge.journal_of(0).glob("*.log"))
        _, most = resource.prlimit(bridge.pid, _LIMIT)
        resource.prlimit(bridge.pid, _LIMIT, (segment.stat().st_size + 100, most))

    def free(self, bridge: BridgeProcess) -> None:
        """Allow what was allowed before."""
        _, most = resource.prlimit(bridge.pid, _LIMIT)
        resource.prlimit(bridge.pid, _LIMIT, (most, most))


class Tmpfs(Disk):
    """A file system of so many MiB. Raises PermissionError where this process may not mount one."""

    def __init__(self, folder: Path, *, size: int = 16) -> None:
        """Mount it."""
        super().__init__(folder)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PermissionError(done.stderr.strip())
        self._filler = folder / "filler"

    def fill(self, bridge: BridgeProcess) -> None:
        """Write a file until there is no room for another byte."""
        del bridge
        with self._filler.open("ab", buffering=0) as filler:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        os.write(filler.fileno(), b"-" * size)
                except OSError:
                    continue

    def free(self, bridge: BridgeProcess) -> None:
        """Remove that file."""
        del bridge
        self._filler.unlink()

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", str(self.folder)], check=True)
