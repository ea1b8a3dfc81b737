"""Pairs of numbers in bounded memory: parted by the first, kept in memory up to a limit and in temporary files beyond.

What must be looked up by a hash is put in first and taken out part by part: all pairs of one hash are in the same part, in
the order put in, and a part is small enough for a dictionary.
"""

from __future__ import annotations

import tempfile
from array import array
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

#: How many parts there are: a part of 100 million pairs has less than a million.
PARTS: Final = 128


class Spool:
    """Pairs of integers of 64 bits, unsigned; close it, or use it as a context.

    limit: how many pairs are kept in memory, of 16 bytes each.
    """

    def __init__(self, *, limit: int) -> None:
        """Nothing is written before the limit is reached."""
        self._limit = self._room = max(limit, 1)
        self._parts = [array("Q") for _ in range(PARTS)]
        self._files: list[IO[bytes]] = []
        self._count = 0

    def __len__(self) -> int:
        """How many pairs there are."""
        return self._count + self._limit - self._room

    def put(self, first: int, second: int) -> None:
        """Add a pair."""
        part = self._parts[first % PARTS]
        part.append(first)
        part.append(second)
        self._room -= 1
        if not self._room:
            self._spill()

    def part(self, number: int) -> tuple[array[int], array[int]]:
        """The pairs whose first number is `number` modulo `PARTS`, as their firsts and their seconds."""
        pairs = array("Q")
        if self._files:
            file = self._files[number]
            file.seek(0)
            pairs.frombytes(file.read())
            file.seek(0, 2)
        pairs.extend(self._parts[number])
        return pairs[::2], pairs[1::2]

    def close(self) -> None:
        """Forget all; the files are gone with it."""
        for file in self._files:
            file.close()
        self._files = []
        self._parts = [array("Q") for _ in range(PARTS)]

    def _spill(self) -> None:
        if not self._files:
            self._files = [tempfile.TemporaryFile(buffering=0) for _ in range(PARTS)]  # noqa: SIM115 - see close
        for part, file in zip(self._parts, self._files, strict=True):
            written = memoryview(part).cast("B")
            while written:
                # An unbuffered file may take less than it is given.
                written = written[file.write(written) :]
            del written
            del part[:]
        self._count += self._limit
        self._room = self._limit

    def __enter__(self) -> Self:
        """The spool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
