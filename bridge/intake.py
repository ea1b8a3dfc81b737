"""Where the gateways hand in what they received: the event loop's side of the journal.

Frames that arrive within one turn of the event loop are appended to the journal of their lane as one block. Beside frames the journal
holds *events*: a connection went down or came up, ids were learned, a process began. They stand in the same order as the
frames, survive a crash with them and reach the lane the same way, which turns them into gap records and ledger entries.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bridge.frame import EVENT, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bridge.journals import Journals

#: How often (s) a full journal, or a disk that refuses, is looked at again.
RETRY: Final = 0.1
#: A journal that was at its limit is full until it is down to this part of it: each stop of a socket is a gap, so a journal
#: that wavers at its limit must not make many.
RESUME: Final = 0.75
#: Frames of one turn of the loop that wait for the journal at most, before the gateways are asked to wait.
PENDING: Final = 4096

log = structlog.get_logger(__name__)


class Mark:
    """A place behind frames that were handed in. ends: where they end in each journal, once they are appended."""

    def __init__(self) -> None:
        self.ends: dict[int, int] | None = None


class Intake:
    """What gateways feed, on the event loop. now: ms since the epoch."""

    def __init__(
        self,
        journals: Journals,
        *,
        now: Callable[[], int],
        spread: Callable[[list[Frame]], dict[int, list[Frame]]] | None = None,
    ) -> None:
        """Feed `journals`. spread: frames over lanes (`bridge.lanes.Router`); None: all are the only lane's."""
        self._journals = journals
        self._spread = spread or (lambda frames: dict.fromkeys(journals, frames))
        #: What is spread and was refused by the disk.
        self._owed: dict[int, list[Frame]] = {}
        #: Marks behind what is not appended yet.
        self._marks: list[Mark] = []
        self._now = now
        self._pending: list[Frame] = []
        self._scheduled = False
        self._refused: str | None = None
        self._room = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        #: The journal was at its limit, and has not been emptied to `RESUME` since.
        self._at_limit = journals.full
        self._known: dict[tuple[str, str], str] = {}

    @property
    def full(self) -> bool:
        """Whether the gateways must stop reading until `room` returns."""
        return self.stalled or len(self._pending) >= PENDING

    @property
    def stalled(self) -> bool:
        """Whether that is because the journal is at its limit or its disk refuses."""
        return self._refused is not None or self._at_limit

    @property
    def trouble(self) -> str | None:
        """Why the disk refuses the journal, or None."""
        return self._refused

    def put(self, frame: Frame) -> None:
        """Hand in one frame. O(1); it has reached the process when this turn of the loop has ended."""
        self._pending.append(frame)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def mark(self) -> Mark:
        """Return a mark behind all that was handed in so far."""
        mark = Mark()
        if self._pending or self._owed:
            self._marks.append(mark)
        else:
            mark.ends = self._ends()
        return mark

    def committed(self, mark: Mark, lanes: Collection[int] | None = None) -> bool:
        """Whether all that lies before a mark is committed, of these lanes or of all: then a queue may forget it."""
        return mark.ends is not None and all(
            self._journals[lane].first >= end for lane, end in mark.ends.items() if lanes is None or lane in lanes
        )

    def event(self, gateway: str, connection: str, event: str, **facts: Any) -> None:
        """Hand in an event of a connection: ``down`` (cause, since), ``up`` …; see `bridge.recovery`."""
        raw = msgspec.json.encode({"event": event, **facts})
        self.put(Frame(gateway, connection, self._now(), EVENT, raw))

    def learn(self, gateway: str, pairs: dict[str, str]) -> None:
        """Hand in ids found over REST: market id → match id, token id → condition id."""
        fresh = {key: value for key, value in pairs.items() if self._known.get((gateway, key)) != value}
        if fresh:
            self._known.update({(gateway, key): value for key, value in fresh.items()})
            self.event(gateway, "", "learn", pairs=fresh)

    def known(self, gateway: str, key: str) -> str | None:
        """What `learn` was told of an id."""
        return self._known.get((gateway, key))

    async def room(self) -> None:
        """Wait until the journal takes frames again."""
        if not self.full:
            return
        self._look()
        await self._room.wait()

    def flush(self) -> None:
        """Append what is pending. A disk that refuses keeps it pending: nothing is lost, the sockets wait."""
        self._scheduled = False
        if not (self._pending or self._owed):
            return
        if not self._owed:
            # What was refused goes first, so that each lane keeps its order.
            self._owed, self._pending = self._spread(self._pending), []
        frames = max(map(len, self._owed.values()))
        try:
            for lane in tuple(self._owed):
                if self._owed[lane]:
                    self._journals[lane].append(self._owed[lane])
                del self._owed[lane]
        except OSError as error:
            if self._refused is None:
                log.error(  # noqa: TRY400 - the disk is to blame, no traceback helps
                    "journal_refused", reason=error.strerror, frames=frames
                )
            self._refused = error.strerror or "write failed"
            self._look()
            return
        if self._refused is not None:
            log.info("journal_accepts", frames=frames)
            self._refused = None
            if self._pending:
                self.flush()
                return
        self._appended()

    def _appended(self) -> None:
        """All that was handed in is in the journals."""
        if not self._at_limit and self._journals.full:
            self._at_limit = True
            log.warning("journal_full", bytes=self._journals.size, max_bytes=self._journals.max_bytes)
            self._look()
        for mark in self._marks:
            mark.ends = self._ends()
        self._marks.clear()

    def _ends(self) -> dict[int, int]:
        return {lane: self._journals[lane].end for lane in self._journals}

    def _look(self) -> None:
        """See to it that somebody looks for room."""
        if self._watch is None or self._watch.done():
            self._room.clear()
            self._watch = asyncio.create_task(self._until_room())

    async def _until_room(self) -> None:
        while True:
            await asyncio.sleep(RETRY)
            if self._pending or self._owed:
                self.flush()
            if self._at_limit and self._journals.size <= self._journals.max_bytes * RESUME:
                self._at_limit = False
                log.info("journal_has_room", bytes=self._journals.size)
            if not self.full:
                self._room.set()
                return
