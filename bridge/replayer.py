"""Carries out requests to replay dead letters, for the lanes that are active in this process.

One request after the other, in the order written. For each: the lanes are told that it begins, and when that is committed,
what receipts, ledger and dead-letter topics tell is read (`bridge.mortuary`): from then on the lanes' own windows tell the rest.
Then each dead letter goes through the journal to the lane that its frame would come to live (`bridge.revival`), some at a
time, so that live frames do not wait. Whoever takes a lane meanwhile finds the request again, since the lane's cursor has not
passed it, and carries out what no receipt tells.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from bridge.cursors import REPLAYS
from bridge.errors import BridgeError
from bridge.lanes import lane_of
from bridge.revival import BEGIN, END, Letter, event
from bridge.witness import home

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from bridge.filling import Filling
    from bridge.intake import Intake, Mark
    from bridge.receipt import Outcome, Place, Receipts
    from bridge.requests import Request
    from bridge.route import Ways
    from bridge.witness import Laid

#: Dead letters that stand in the journal before they are committed, and their bytes.
CHUNK: Final = 200
CHUNK_BYTES: Final = 4 << 20
#: Seconds between looks at what is committed.
TICK: Final = 0.02
#: Between tries of what can't be read (s).
RETRY: Final = 5.0

log = structlog.get_logger(__name__)


class Lore(Protocol):
    """What is known of dead letters; blocking calls, see `bridge.mortuary.Mortuary`."""

    def check(self) -> None:
        """Raise Refused where receipts can't be written."""

    def receipts(self, since: int = 0) -> Receipts:
        """All receipts of requests from an offset on."""

    def judged(
        self, request: Request, receipts: Receipts, ways: Ways, skip: Collection[Place]
    ) -> list[tuple[Laid, Outcome | None]]:
        """The letters of a request but those to be skipped, in order, with what is known to come of them."""


class Replayer:
    """Of one process. count: of lanes. ways: of a gateway, compiled when it is first wanted; None: there is no such one.

    now: ms since the epoch.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        filling: Filling,
        lore: Lore,
        ways: Callable[[str], Ways | None],
        count: int,
        now: Callable[[], int],
    ) -> None:
        """Nothing is read before a request comes."""
        self._intake = intake
        self._filling = filling
        self._lore = lore
        self._ways_of = ways
        self._ways: dict[str, Ways | None] = {}
        self._count = count
        self._now = now
        self._wanted: dict[int, Request] = {}
        self._news = asyncio.Event()
        #: (life, request) that were carried out, as far as the cursors may not tell yet.
        self._done: set[tuple[str, int]] = set()
        self._trouble: str | None = None

    @property
    def busy(self) -> bool:
        """Whether letters may be on their way to the journal."""
        return bool(self._wanted)

    def want(self, offset: int, request: Request) -> None:
        """A request was read; also one that was carried out before."""
        self._wanted[offset] = request
        self._news.set()

    async def run(self) -> None:
        """Carry out until cancelled."""
        while True:
            self._news.clear()
            while self._wanted:
                offset = min(self._wanted)
                lanes = self._lanes(offset)
                if not lanes:
                    # Done, or nobody's here: whoever takes a lane is given the request again.
                    del self._wanted[offset]
                    continue
                try:
                    await self._carry_out(offset, self._wanted[offset], lanes)
                except BridgeError as error:
                    if str(error) != self._trouble:
                        self._trouble = str(error)
                        log.warning("replay_waits", request=offset, reason=self._trouble)
                    await asyncio.sleep(RETRY)
            await self._news.wait()

    def _lanes(self, offset: int) -> dict[int, str]:
        """The active lanes, with their lives, that have not carried a request out."""
        filling = self._filling
        return {
            lane: life
            for lane, life in filling.lives.items()
            if (life, offset) not in self._done and int(filling.cursor(lane, REPLAYS) or "0") <= offset
        }

    async def _carry_out(self, offset: int, request: Request, lanes: Mapping[int, str]) -> None:
        """Have lanes publish what is theirs; returns early where one of them is lost."""
        intake, gateway, began = self._intake, request.gateway, self._now()
        if gateway not in self._ways:
            self._ways[gateway] = await asyncio.to_thread(self._ways_of, gateway)
        ways, token = self._ways[gateway], uuid.uuid4().hex
        await asyncio.to_thread(self._lore.check)
        intake.event(gateway, "", BEGIN, token=token, request=offset, lives=sorted(lanes.values()))
        if not await self._committed(intake.mark(), lanes):
            return
        receipts = await asyncio.to_thread(self._lore.receipts)
        todo = {lane for lane in lanes if (lane, self._count) not in receipts.done(offset)}
        letters: list[tuple[Laid, Outcome | None]] = []
        if todo and ways is not None:
            skip = receipts.of(offset)
            letters = await asyncio.to_thread(self._lore.judged, request, receipts, ways, skip)
            log.info("replay_begins", request=offset, gateway=gateway, letters=len(letters), lanes=sorted(todo))
        for chunk in _chunks(letters):
            for letter, verdict in chunk:
                while intake.full:
                    await intake.room()
                self._put(letter, verdict, token, ways, todo)
            if not await self._committed(intake.mark(), lanes):
                return
        if todo:
            intake.event(gateway, "", END, token=token)
            if not await self._committed(intake.mark(), lanes):
                return
            found = await asyncio.to_thread(self._lore.receipts, offset)
            came = Counter(str(line.outcome) for line in found.of(offset).values())
            seconds = round((self._now() - began) / 1000, 3)
            log.info("replay_ends", request=offset, gateway=gateway, seconds=seconds, **_words(came))
        self._trouble = None
        self._done.update((life, offset) for life in lanes.values())

    def _put(
        self, letter: Laid, verdict: Outcome | None, token: str, ways: Ways | None, lanes: Collection[int]
    ) -> None:
        """Hand in one letter, if it is one of these lanes'."""
        frame = letter.frame()
        lane = 0 if self._count == 1 or ways is None else home(ways, frame, self._count, lane_of)
        if lane not in lanes:
            return
        place = letter.place
        told = Letter(token=token, partition=place.partition, offset=place.offset, verdict=verdict)
        if verdict is None:
            told = Letter(
                token=token,
                partition=place.partition,
                offset=place.offset,
                received=letter.received,
                raw=frame.raw,
                hint=frame.hint,
            )
        self._intake.put(event(place.gateway, told, lane=lane, now=self._now()))

    async def _committed(self, mark: Mark, lanes: Mapping[int, str]) -> bool:
        """Wait until what was handed in is committed; False where a lane is lost before."""
        while not self._intake.committed(mark, lanes):
            if any(self._filling.lives.get(lane) != life for lane, life in lanes.items()):
                return False
            await asyncio.sleep(TICK)
        return all(self._filling.lives.get(lane) == life for lane, life in lanes.items())


def _chunks(letters: list[tuple[Laid, Outcome | None]]) -> Iterator[list[tuple[Laid, Outcome | None]]]:
    chunk: list[tuple[Laid, Outcome | None]] = []
    size = 0
    for each in letters:
        if chunk and (len(chunk) >= CHUNK or size >= CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += len(each[0].value or b"")
    if chunk:
        yield chunk


def _words(counts: Mapping[str, int]) -> dict[str, int]:
    """Fields of a log line."""
    return {name.replace(" ", "_"): number for name, number in sorted(counts.items())}
