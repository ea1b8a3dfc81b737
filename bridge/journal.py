"""Durable queue of the frames received and not yet known to be committed.

An append-only log in segments on the local disk. A segment is a run of blocks; a block is what one turn of the event
loop received, with a checksum, so that a torn write is found and cut at the next start. Each frame has a position, one
more than the frame before it, that never repeats for this journal. The event loop appends, one lane thread reads and
trims; a lock file keeps a second process out.

Frames that are read soon after they came, which is nearly always, come from memory (`TAIL_BYTES`); a reader that fell
behind reads the segments. So memory stays flat however much is on disk.

Format of a block: magic (4 bytes), length of the body (u32), first position (u64), number of frames (u32), checksum
(xxh3_64, u64), all little-endian, then the body: the frames as a MessagePack array of `Frame` arrays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
import threading
import uuid
from bisect import bisect_left
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
import xxhash

from bridge.errors import ConfigError, Locked
from bridge.frame import EVENT, Frame
from bridge.lanes import unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HEADER: Final = struct.Struct("<4sIQIQ")
MAGIC: Final = b"fbj1"
#: Frames kept in memory for a reader that keeps up (bytes of raw frames).
TAIL_BYTES: Final = 16 << 20
#: A segment is closed when it is this large, or a sixteenth of the limit.
SEGMENT_BYTES: Final = 32 << 20

#: An empty file for each of `Journal.openings`, for the processes to come: ``opened.<number>.<end>.<instance>``. A full disk
#: takes it too.
_OPENED: Final = re.compile(r"opened\.(\d+)\.(\d+)\.(\w+)")
_DECODER: Final = msgspec.msgpack.Decoder(list[Frame])
#: A source that is no frame's, as it is encoded.
_EVENT: Final = msgspec.msgpack.encode(EVENT)
#: So many of them are kept: of processes that die one after the other, those in the middle are forgotten.
MANY_OPENINGS: Final = 16

log = structlog.get_logger(__name__)


class Journal:
    """The journal of one process; see the module. Opened by `Journal.open`, closed by `close`.

    `append` belongs to one thread, `read` and `trim` to one other.
    """

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        max_bytes: int,
        fsync: bool = False,
        locked: bool = False,
        instance: str = "unnamed",
    ) -> Journal:
        """Lock and open the journal in `directory`, made where it is missing.

        max_bytes: the disk it may use; it is `full` beyond. fsync: a batch is on the disk, not just with the operating
        system, when `append` returns. locked: the caller holds the lock of a folder around it. instance: of this
        process, letters and digits.

        Raises `Locked` where another process has it, `ConfigError` where the directory can't be used.
        """
        with opening(directory):
            directory.mkdir(parents=True, exist_ok=True)
            held = None if locked else lock(directory)
            return cls(directory, held, max_bytes=max_bytes, fsync=fsync, instance=instance)

    def __init__(self, directory: Path, lock: int | None, *, max_bytes: int, fsync: bool, instance: str) -> None:
        """Use `open`."""
        self.directory = directory
        self.max_bytes = max_bytes
        self._fsync = fsync
        self._lock_file = lock
        self._segment_bytes = max(min(SEGMENT_BYTES, max_bytes // 16), 4096)
        self._guard = threading.Condition()
        self._encoder = msgspec.msgpack.Encoder()
        #: Identity of this journal: positions of another mean nothing here.
        self.id = _identity(directory)
        self._segments: deque[_Segment] = deque(_scan(directory))
        #: What was lost to a bad checksum at the last stop: bytes cut from the end.
        self.cut = sum(segment.cut for segment in self._segments)
        self._end = self._segments[-1].end if self._segments else 0
        self._trimmed = self._segments[0].first if self._segments else 0
        self._tail: deque[tuple[int, Sequence[Frame], int]] = deque()
        self._tail_bytes = 0
        self._cursor: tuple[int, int, int] | None = None
        self._closed = self._hurried = False
        #: (`end`, process) whenever it was opened, by this process or by one before that is not known to have committed
        #: since. A machine that crashed may have lost frames that were disposed of already; later frames have their
        #: positions.
        self.openings = _opened(directory, self._end, instance)
        self._confirmed = False
        self._file = -1
        self._file = self._roll()

    @property
    def first(self) -> int:
        """Position of the oldest frame that may still be needed."""
        return self._trimmed

    @property
    def end(self) -> int:
        """Position that the next frame gets."""
        return self._end

    @property
    def frames(self) -> int:
        """How many frames wait; what stands between them of connections coming up or going down, and the like, is none."""
        trimmed = self._trimmed
        events = (len(each.events) - bisect_left(each.events, trimmed) for each in tuple(self._segments))
        return max(self._end - trimmed - sum(events), 0)

    @property
    def size(self) -> int:
        """What the segments take on the disk (bytes)."""
        return sum(segment.size for segment in tuple(self._segments))

    @property
    def full(self) -> bool:
        """Whether the limit is reached: stop reading from the sockets."""
        return self.size >= self.max_bytes

    def append(self, frames: Sequence[Frame]) -> int:
        """Write frames as one block; when it returns they have reached the process.

        Returns the position of the first. Raises OSError where the disk refuses (ENOSPC …): then nothing is appended
        and the same call may be made again.
        """
        body = self._encoder.encode(frames)
        header = HEADER.pack(MAGIC, len(body), self._end, len(frames), _checksum(body, self._end, len(frames)))
        segment = self._segments[-1]
        if segment.size >= self._segment_bytes:
            self._file = self._roll()
            segment = self._segments[-1]
        self._write(segment, header + body)
        first = self._end
        size = sum(len(frame.raw) for frame in frames)
        with self._guard:
            segment.events += _events(first, frames)
            segment.size += HEADER.size + len(body)
            segment.end = self._end = first + len(frames)
            self._tail.append((first, frames, size))
            self._tail_bytes += size
            while self._tail_bytes > TAIL_BYTES and len(self._tail) > 1:
                self._tail_bytes -= self._tail.popleft()[2]
            self._guard.notify_all()
        return first

    def wait(self, position: int, timeout: float) -> bool:
        """Wait until there is a frame at `position`; False after `timeout` seconds without, or when `close` is called."""
        with self._guard:
            return (
                self._guard.wait_for(lambda: self._end > position or self._hurried or self._closed, timeout)
                and self._end > position
            )

    def wake(self) -> None:
        """End the `wait` of the other thread, and have none wait from now on: the process is about to stop."""
        with self._guard:
            self._hurried = True
            self._guard.notify_all()

    def read(self, position: int, *, max_frames: int, max_bytes: int) -> tuple[int, list[Frame]]:
        """Return (first, frames): the frames from `position` on, up to about so many frames and bytes; empty at the end.

        first: the position of the first of them. It is beyond `position` only where a damaged block was cut out.
        """
        found: list[Frame] = []
        size = 0
        while size < max_bytes and len(found) < max_frames and position + len(found) < self._end:
            at = position + len(found)
            block = self._from_memory(at) or self._from_disk(at)
            if block is None:
                if found:
                    break
                position = min(segment.first for segment in tuple(self._segments) if segment.first > at)
                continue
            first, frames = block
            for frame in frames[at - first : at - first + max_frames - len(found)]:
                found.append(frame)
                size += len(frame.raw)
                if size >= max_bytes:
                    break
        return position, found

    def trim(self, position: int) -> None:
        """Forget the frames before `position`: they are committed. Whole segments are deleted."""
        with self._guard:
            self._trimmed = max(self._trimmed, min(position, self._end))
            while self._tail and self._tail[0][0] + len(self._tail[0][1]) <= self._trimmed:
                self._tail_bytes -= self._tail.popleft()[2]
        while len(self._segments) > 1 and self._segments[0].end <= self._trimmed:
            self._segments.popleft().path.unlink(missing_ok=True)

    def confirm(self) -> None:
        """Note that this process has committed a position of its own: those that others committed count no more."""
        if not self._confirmed:
            self._confirmed = True
            for path, _ in _openings(self.directory):
                path.unlink(missing_ok=True)

    def oldest(self) -> int | None:
        """When (ms) the oldest frame that waits was received; None if none waits."""
        _, frames = self.read(self._trimmed, max_frames=1, max_bytes=1)
        return frames[0].received if frames else None

    def close(self) -> None:
        """Let the files and the lock go."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._guard.notify_all()
        os.close(self._file)
        if self._lock_file is not None:
            os.close(self._lock_file)

    def sync(self) -> None:
        """Return when what was appended is on the disk."""
        os.fsync(self._file)

    def _write(self, segment: _Segment, data: bytes) -> None:
        try:
            whole = os.write(self._file, data) == len(data)
            if whole and self._fsync:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, segment.size)
            raise
        if not whole:
            # Half a block must not stay in front of the next: a reader would cut both.
            os.ftruncate(self._file, segment.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _roll(self) -> int:
        """Begin a new segment and return its file descriptor."""
        path = self.directory / f"{self._end:020d}.log"
        fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        if self._segments and self._segments[-1].path == path:  # the last one was empty: its file begins anew
            self._segments.pop()
        if self._file >= 0:
            os.close(self._file)
        self._segments.append(_Segment(path, self._end, self._end, 0))
        return fresh

    def _from_memory(self, position: int) -> tuple[int, Sequence[Frame]] | None:
        with self._guard:
            while self._tail and self._tail[0][0] + len(self._tail[0][1]) <= position:
                self._tail_bytes -= self._tail.popleft()[2]
            if self._tail and self._tail[0][0] <= position:
                return self._tail[0][0], self._tail[0][1]
        return None

    def _from_disk(self, position: int) -> tuple[int, Sequence[Frame]] | None:
        segment = next((s for s in tuple(self._segments) if s.first <= position < s.end), None)
        if segment is None:
            return None
        at = 0
        if self._cursor is not None and self._cursor[0] == segment.first and self._cursor[1] <= position:
            at = self._cursor[2]
        with segment.path.open("rb") as file:
            for block in _blocks(file.fileno(), at, segment.size):
                if block.first <= position < block.first + block.count:
                    self._cursor = (segment.first, block.first, block.offset)
                    return block.first, _DECODER.decode(_body(file.fileno(), block))
        return None


@dataclass(slots=True)
class _Segment:
    """One file: positions [first, end), size in bytes as far as it is good, cut: bytes that were not; positions that are no frames."""

    path: Path
    first: int
    end: int
    size: int
    cut: int = 0
    events: list[int] = field(default_factory=list)


def _events(first: int, frames: Sequence[Frame]) -> list[int]:
    """Which positions hold no frame of a gateway, of a block that begins at `first`. A frame that was moved is one."""
    return [at for at, each in enumerate(frames, first) if each.source == EVENT and unwrap(each).source == EVENT]


@dataclass(slots=True, frozen=True)
class _Block:
    offset: int
    length: int
    first: int
    count: int
    checksum: int


def _blocks(file: int, offset: int, size: int) -> Iterator[_Block]:
    """Walk the headers from `offset`; ends at the first that is none."""
    while offset + HEADER.size <= size:
        magic, length, first, count, checksum = HEADER.unpack(os.pread(file, HEADER.size, offset))
        if magic != MAGIC or offset + HEADER.size + length > size:
            return
        yield _Block(offset, length, first, count, checksum)
        offset += HEADER.size + length


def _checksum(body: bytes, first: int, count: int) -> int:
    """The header's numbers are covered too: a wrong count would shift every position after it."""
    return xxhash.xxh3_64_intdigest(body, (first << 24 ^ count) & 0xFFFF_FFFF_FFFF_FFFF)


def _body(file: int, block: _Block) -> bytes:
    return os.pread(file, block.length, block.offset + HEADER.size)


def _scan(directory: Path) -> Iterator[_Segment]:
    """Check the segments that an earlier process left; what follows the first bad block of a segment is cut off.

    The cut part is kept beside it (``*.bad``) for a person to look at.
    """
    for path in sorted(directory.glob("*.log")):
        segment = _Segment(path, int(path.stem), int(path.stem), 0)
        file = os.open(path, os.O_RDWR)
        try:
            size = os.fstat(file).st_size
            for block in _blocks(file, 0, size):
                body = _body(file, block)
                if block.first != segment.end or _checksum(body, block.first, block.count) != block.checksum:
                    break
                if _EVENT in body:  # else nothing in it can be one: most blocks need not be decoded
                    segment.events += _events(block.first, _DECODER.decode(body))
                segment.end = block.first + block.count
                segment.size = block.offset + HEADER.size + block.length
            segment.cut = size - segment.size
            if segment.cut:
                path.with_suffix(".bad").write_bytes(os.pread(file, segment.cut, segment.size))
                os.ftruncate(file, segment.size)
                log.warning("journal_cut", file=path.name, bytes=segment.cut)
        finally:
            os.close(file)
        yield segment


@contextmanager
def opening(directory: Path) -> Iterator[None]:
    """Turn what the system says while a journal is opened into a ConfigError."""
    try:
        yield
    except OSError as error:
        file = isinstance(error, FileExistsError | NotADirectoryError)
        raise ConfigError(
            f"the journal can't be opened: {'there is a file in place of the folder' if file else error.strerror}",
            where=str(directory),
            mend="set journal.path to a directory that feedbridge may write",
        ) from error


def lock(directory: Path) -> int:
    """Take the lock file; the kernel lets it go when the process ends, however it ends."""
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file, 200, 0).decode(errors="replace").strip() or "another process"
        os.close(file)
        raise Locked(
            f"the journal is in use by {holder}",
            where=str(directory),
            mend="stop that process, or give this one a journal.path of its own",
        ) from error
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
    return file


def _opened(directory: Path, end: int, instance: str) -> list[tuple[int, str]]:
    """Note that a process opens the journal; returns all openings that count, its own last."""
    known = _openings(directory)
    for path, _ in known[1 : 2 - MANY_OPENINGS]:
        path.unlink()
    known = known[:1] + known[1:][2 - MANY_OPENINGS :]
    number = 1 + max((int(path.name.split(".")[1]) for path, _ in known), default=0)
    (directory / f"opened.{number}.{end}.{instance}").touch()
    return [*(opening for _, opening in known), (end, instance)]


def _openings(directory: Path) -> list[tuple[Path, tuple[int, str]]]:
    """The files that tell of openings, oldest first, and what each says."""
    found = [
        (int(match[1]), path, (int(match[2]), match[3]))
        for path in directory.iterdir()
        if (match := _OPENED.fullmatch(path.name))
    ]
    return [(path, opening) for _, path, opening in sorted(found)]


def _identity(directory: Path) -> str:
    path = directory / "id"
    try:
        known = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        known = ""
    if not known:
        known = uuid.uuid4().hex
        fresh = path.with_suffix(".new")
        fresh.write_text(known, encoding="ascii")
        fresh.replace(path)
    return known
