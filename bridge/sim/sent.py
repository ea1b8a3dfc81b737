"""The ledger of a simulator: every frame it wrote, to whom, when, and what was wrong with it.

Written means handed to the socket: what an aborted connection never delivered is in the ledger too.
Batches are kept as they were written and unfolded when somebody reads, so that keeping the ledger costs nothing per frame.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One frame as written to one connection.

    connection: the connection's number, from 1 in the order they came. channel: its name (``list``,
    ``detail:<match id>``, ``market``). index: the frame's place on that connection, from 0. at: ms since the epoch.
    fault: None, a name of `Faults` (``malformed`` with its variant, as in ``malformed:nan``), or ``control`` for
    what is no data: alive, greeting, acknowledgements, pong.
    """

    connection: int
    channel: str
    index: int
    at: int
    raw: bytes
    fault: str | None = None


class Batch(NamedTuple):
    """Frames written in one go to one connection; `first` is the index of the first of them."""

    connection: int
    channel: str
    first: int
    at: int
    raws: Sequence[bytes]
    faults: Sequence[str | None]

    def unfold(self) -> Iterator[Sent]:
        """One `Sent` for each frame."""
        for offset, (raw, fault) in enumerate(zip(self.raws, self.faults, strict=True)):
            yield Sent(self.connection, self.channel, self.first + offset, self.at, raw, fault)


class SentLog:
    """What was sent, oldest first; iterate it for `Sent` entries.

    keep: how many frames are remembered, whole batches at a time (0: none, None: all). spool: a file that gets each
    frame as a line of JSON, whatever `keep` says; see `as_line`.
    """

    def __init__(self, *, keep: int | None = 100_000, spool: Path | None = None) -> None:
        """An empty ledger; the spool file is made anew."""
        self._keep = keep
        self._batches: deque[Batch] = deque()
        self._held = 0
        self._spool: BinaryIO | None = spool.open("wb") if spool else None
        #: All frames ever written, remembered or not.
        self.total = 0

    def __len__(self) -> int:
        """How many frames are remembered."""
        return self._held

    def __iter__(self) -> Iterator[Sent]:
        """The remembered frames, oldest first; writing meanwhile does no harm."""
        for batch in tuple(self._batches):
            yield from batch.unfold()

    def add(self, batch: Batch) -> None:
        """Remember a batch."""
        size = len(batch.raws)
        self.total += size
        if self._spool is not None:
            self._spool.write(b"".join(as_line(sent) for sent in batch.unfold()))
        if self._keep == 0:
            return
        self._batches.append(batch)
        self._held += size
        while self._keep is not None and self._held - len(self._batches[0].raws) >= self._keep:
            self._held -= len(self._batches.popleft().raws)

    def of(self, connection: int) -> list[Sent]:
        """The remembered frames of one connection."""
        return [sent for batch in tuple(self._batches) if batch.connection == connection for sent in batch.unfold()]

    def flush(self) -> None:
        """Push spooled lines to the file."""
        if self._spool is not None:
            self._spool.flush()

    def close(self) -> None:
        """Close the spool file; what is remembered stays."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None


def as_line(sent: Sent) -> bytes:
    """A line of JSON; the frame is in `raw` as text or, where it is not UTF-8, in `base64`."""
    line: dict[str, Any] = {
        "connection": sent.connection, "channel": sent.channel, "index": sent.index, "at": sent.at, "fault": sent.fault,
    }  # fmt: skip
    try:
        line["raw"] = sent.raw.decode()
    except UnicodeDecodeError:
        line["base64"] = base64.b64encode(sent.raw).decode()
    return msgspec.json.encode(line) + b"\n"


def from_line(line: bytes | str) -> Sent:
    """The inverse of `as_line`; raises msgspec.DecodeError or KeyError for other text."""
    found: dict[str, Any] = msgspec.json.decode(line)
    raw = base64.b64decode(found["base64"]) if "base64" in found else found["raw"].encode()
    return Sent(found["connection"], found["channel"], found["index"], found["at"], raw, found["fault"])
