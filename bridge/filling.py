"""Filling of gaps: what the active lanes miss is asked of the gateways, one gap of a gateway after the other.

The lane's thread hands in what is missing at its `Desk`; the event loop asks (`bridge.gateways.hole`). What is found goes the way
of any frame, into the journal, and so does what came of it: the event ``recovered``. The lane therefore judges a gap
after everything that was found for it, and a process that dies in between leaves it to be asked for again. Nothing is
asked on behalf of a lane that is not active.

Live frames never wait: no more than a page of what was found stands in the journal before it is committed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bridge.errors import BadData, Refused, Unreachable
from bridge.frame import FILL, REST, Frame, fills
from bridge.gateways.hole import Basin, Filled, Hole, Recoverer
from bridge.gateways.retry import DISCONNECT, Backoff, Ending, Verdict
from bridge.ops.redaction import redactor
from bridge.recovery import REQUESTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.gateways.gateway import Intake, Outside
    from bridge.ledger import Gap, Memory
    from bridge.recovery import Outages

#: Nothing is asked for before a gap is over for so long (s): what happened at its end must have reached REST.
SETTLING: Final = 2.0
#: Seconds between looks at what is committed, while something is not.
TICK: Final = 0.02
#: A gap that nobody judged so long (s) after all that was said of it is committed is asked for again.
FORGOTTEN: Final = 5.0
#: The window and the broker's clock are taken to agree as well as this (ms).
MARGIN: Final = 60_000
#: A log that is empty when its cursor is wanted is looked at again after so long (s).
RETRY: Final = 5.0
#: Longest `how` of a gap record, in characters.
HOW: Final = 500
NOTHING_TO_ASK: Final = "there is nothing to ask: `rest` is not configured"

log = structlog.get_logger(__name__)


class Desk:
    """Where a lane's thread hands in the gaps that it wants filled. This one takes none; see `Filling.desk`."""

    def look(self, outages: Outages, memory: Memory, now: Callable[[], int]) -> None:
        """See whether something new is wanted; called often. now: ms since the epoch."""

    def leave(self) -> None:
        """The lane is not active any more: it wants nothing."""


class Filling:
    """Of one process.

    recoverers: gateway → what it can do, None: nothing. connected: gateway → whether frames flow. span: of the window, ms. told: called on the event loop with a
    lane and its cursors when the lane has become active.
    """

    def __init__(
        self,
        recoverers: Mapping[str, Recoverer | None],
        *,
        intake: Intake,
        outside: Outside,
        span: int,
        connected: Callable[[], Mapping[str, bool]],
        told: Callable[[int, Mapping[str, str]], None] = lambda _lane, _cursors: None,
    ) -> None:
        """Nothing is asked for before `run`."""
        self._recoverers = recoverers
        self._intake = intake
        self._outside = outside
        self._span = span
        self._connected = connected
        self._told = told
        #: lane → since when (ms) its window told what is published, when it last said so.
        self._known: dict[int, int] = {}
        #: lane → what it wants, by gateway; only lanes that are active are here.
        self._wanted: dict[int, dict[str, dict[str, Hole]]] = {}
        self._cursors: dict[int, Mapping[str, str]] = {}
        #: lane → what tells its present life from others, see `bridge.revival`.
        self.lives: dict[int, str] = {}
        self._workers = {name: _Worker(name, each, self) for name, each in recoverers.items()}
        self._loop: asyncio.AbstractEventLoop | None = None

    def desk(self, lane: int) -> Desk:
        """The desk of a lane; for its thread. To be called on the event loop."""
        return _Desk(lane, self, asyncio.get_running_loop())

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            for worker in self._workers.values():
                group.create_task(worker.run(), name=f"filling {worker.gateway}")

    async def close(self) -> None:
        """Let the connections of the recoverers go; for where no gateway runs that would."""
        for each in self._recoverers.values():
            if each is not None:
                await each.close()

    def status(self, gateway: str) -> dict[str, Any]:
        """What is being filled: for `/api/status`."""
        now = self._workers[gateway].now
        return {"waiting": len(self.wanted(gateway)), "gap": None if now is None else now.id}

    def narrow(self, spread: dict[int, list[Frame]]) -> dict[int, list[Frame]]:
        """Keep what fills gaps from the lanes that are not active here: whoever is fills them for himself."""
        return {
            lane: frames
            if lane in self._wanted
            else [each for each in frames if not fills(each) or each.source != REST]
            for lane, frames in spread.items()
        }

    def want(
        self,
        lane: int,
        holes: Iterable[tuple[str, Hole]] | None,
        cursors: Mapping[str, str],
        known: int = 0,
        life: str = "",
    ) -> None:
        """A lane says all that it wants; None: it is not active. known: see `known_since`. life: see `bridge.revival`."""
        if holes is None:
            self._wanted.pop(lane, None)
            self._cursors.pop(lane, None)
            self._known.pop(lane, None)
            self.lives.pop(lane, None)
        else:
            entered = lane not in self._wanted
            self.lives[lane] = life
            found: dict[str, dict[str, Hole]] = {}
            for gateway, hole in holes:
                found.setdefault(gateway, {})[hole.id] = hole
            self._wanted[lane], self._cursors[lane], self._known[lane] = found, cursors, known
            if entered:
                self._told(lane, cursors)
        for worker in self._workers.values():
            worker.look()

    def cursor(self, lane: int, name: str) -> str | None:
        """One cursor of an active lane, as it last said."""
        return self._cursors.get(lane, {}).get(name)

    @property
    def active(self) -> bool:
        """Whether a lane is active here."""
        return bool(self._wanted)

    def known(self) -> int:
        """Since when (ms) the windows of all lanes tell what is published."""
        return max([self._outside.wall() - self._span, *self._known.values()])

    def connected(self, gateway: str) -> bool:
        """Whether frames of a gateway flow."""
        return self._connected().get(gateway, False)

    def wanted(self, gateway: str) -> dict[str, Hole]:
        """What all lanes want of a gateway."""
        return {ident: hole for each in self._wanted.values() for ident, hole in each.get(gateway, {}).items()}

    def cursors(self, gateway: str) -> dict[str, str]:
        """Where reading of a gateway stands, by the lane that is furthest back; none where a lane has none."""
        prefix = f"{gateway}/"
        own = [
            {name.removeprefix(prefix): value for name, value in each.items() if name.startswith(prefix)}
            for each in self._cursors.values()
        ]
        shared = set.intersection(*map(set, own)) if own else set()
        return {name: min((each[name] for each in own), key=lambda text: (len(text), text)) for name in shared}


class _Desk(Desk):
    """Of one lane; called from its thread."""

    def __init__(self, lane: int, filling: Filling, loop: asyncio.AbstractEventLoop) -> None:
        self._lane = lane
        self._filling = filling
        self._loop = loop
        self._seen: tuple[Outages, int] | None = None
        self._said: dict[str, str] = {}

    def look(self, outages: Outages, memory: Memory, now: Callable[[], int]) -> None:
        if (
            self._seen is not None
            and self._seen[0] is outages
            and self._seen[1] == outages.said_so_far
            and self._said == memory.cursors
        ):
            return
        self._seen, self._said = (outages, outages.said_so_far), dict(memory.cursors)
        known = known_since(memory, now())
        life = memory.last.nonce if memory.last is not None else ""
        self._post([(gap.gateway, hole(gap, known)) for gap in outages.unjudged], self._said, known, life)

    def leave(self) -> None:
        if self._seen is not None:
            self._seen = None
            self._post(None, {})

    def _post(
        self, holes: list[tuple[str, Hole]] | None, cursors: Mapping[str, str], known: int = 0, life: str = ""
    ) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._filling.want, self._lane, holes, cursors, known, life)


def known_since(memory: Memory, now: int) -> int:
    """Since when (ms) the window tells what is published. now: ms since the epoch."""
    return max(now - memory.window.span, memory.window.forgotten_after(0) or 0, memory.known_since or 0)


def hole(gap: Gap, known: int) -> Hole:
    """What is to be asked for because of a gap. known: see `known_since`.

    Of what happened before that nobody can tell whether it is published, unless it lies in the gap itself, which nobody
    has tried to fill before that.
    """
    until = gap.until or gap.since
    floor = known + MARGIN
    untried = gap.cause != REQUESTED and (not gap.recovered or until >= known)
    if untried:
        floor = min(floor, gap.since + MARGIN)
    return Hole(id=gap.id, connection=gap.connection, since=gap.since, until=until, cause=gap.cause, floor=floor)


class _Worker:
    """Asks one gateway, for one hole after the other."""

    def __init__(self, gateway: str, recoverer: Recoverer | None, filling: Filling) -> None:
        self.gateway = gateway
        #: What is being filled.
        self.now: Hole | None = None
        self._recoverer = recoverer
        self._filling = filling
        self._intake = filling._intake  # noqa: SLF001 - one module
        self._outside = filling._outside  # noqa: SLF001
        self._news = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        #: id → a mark behind what was said of it, and since when (monotonic) that is committed.
        self._said: dict[str, tuple[Any, float | None]] = {}
        #: When (monotonic) cursors are to be moved; None: not before frames flow.
        self._keep_up_at: float | None = None
        self._log = log.bind(gateway=gateway)

    def look(self) -> None:
        """Something else is wanted."""
        wanted = self._filling.wanted(self.gateway)
        for ident in self._said.keys() - wanted.keys():
            del self._said[ident]
        if self._task is not None:
            # Cursors are moved while nothing is missing only: what is missing comes first.
            useful = not wanted if self.now is None else self._same(self.now, wanted.values())
            if not self._filling.active or not useful:
                self._task.cancel()
        self._news.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self._news.clear()
            hole, wait = self._next()
            if hole is not None:
                await self._do(self._fill(hole), hole)
            elif wait > 0:
                try:
                    async with asyncio.timeout(wait):
                        await self._news.wait()
                except TimeoutError:
                    continue
            else:
                await self._do(self._keep_up(), None)

    async def _do(self, work: Any, hole: Hole | None) -> None:
        """Work that ends when it is not wanted any more."""
        self.now, self._task = hole, asyncio.create_task(work)
        try:
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.result()
        finally:
            self._task.cancel()
            await asyncio.wait([self._task])
            self.now = self._task = None

    def _next(self) -> tuple[Hole | None, float]:
        """The hole that is next, else how long (s) there is nothing to do; 0: cursors are to be moved."""
        now, wall = self._outside.monotonic(), self._outside.wall()
        wait = 3600.0
        wanted = self._filling.wanted(self.gateway)
        for hole in sorted(wanted.values(), key=lambda each: (each.until, each.since, each.id)):
            if (said := self._said.get(hole.id)) is not None:
                mark, since = said
                if since is None and self._intake.committed(mark):
                    self._said[hole.id] = mark, now
                elif since is not None and now - since >= FORGOTTEN:
                    del self._said[hole.id]
                    self._log.warning("gap_not_judged", gap=hole.id, connection=hole.connection)
                wait = min(wait, 1.0)
                continue
            due = hole.until / 1000 + SETTLING - wall / 1000
            if due <= 0 or hole.cause == REQUESTED:
                return self._merged(hole, wanted.values()), 0.0
            wait = min(wait, due)
        interval = None if self._recoverer is None else self._recoverer.interval
        if interval is not None and self._filling.active and not wanted:
            if not self._filling.cursors(self.gateway):
                self._keep_up_at = now if self._keep_up_at is None else min(self._keep_up_at, now + RETRY)
            elif not self._filling.connected(self.gateway):
                self._keep_up_at = None  # what is read now would count for no gap
            elif self._keep_up_at is None:
                self._keep_up_at = now + interval
            wait = min(wait, RETRY if self._keep_up_at is None else max(self._keep_up_at - now, 0.0))
        else:
            self._keep_up_at = None
        return None, wait

    async def _fill(self, hole: Hole) -> None:
        """Fill a hole, and those of the same connection that other lanes have."""
        self._log.info("gap_asked_for", gap=hole.id, connection=hole.connection, cause=hole.cause)
        basin = _Basin(self.gateway, hole.id, self._intake, self._outside)
        filled = await self._recovered(hole, basin)
        how = redactor.text(filled.how)[:HOW]
        say = self._log.info if filled.state != "lost" else self._log.warning
        say("gap_judged", gap=hole.id, connection=hole.connection, state=filled.state, frames=basin.frames, how=how)
        mine = [each for each in self._filling.wanted(self.gateway).values() if _alike(each, hole)]
        for each in mine:
            self._intake.event(self.gateway, "", "recovered", gap=each.id, state=filled.state, how=how)
        mark = self._intake.mark()
        self._said.update((each.id, (mark, None)) for each in mine)

    async def _recovered(self, hole: Hole, basin: _Basin) -> Filled:
        """Ask until there is an answer, or none for too long."""
        recoverer, outside = self._recoverer, self._outside
        if recoverer is None:
            return Filled("lost", NOTHING_TO_ASK)
        backoff = Backoff(outside.chance)
        patience = recoverer.settings.give_up
        heard, poured = outside.monotonic(), 0
        while True:
            cursors = {**self._filling.cursors(self.gateway), **basin.cursors}
            try:
                return await recoverer.recover(msgspec.structs.replace(hole, cursors=cursors), basin)
            except Refused as error:
                return Filled("lost", f"refused: {error}")
            except (Unreachable, BadData) as error:
                now = outside.monotonic()
                if basin.frames > poured:
                    heard, poured = now, basin.frames
                    backoff.reset()
                if now - heard >= patience:
                    return Filled("lost", f"given up after {patience:g} s: {error}")
                self._log.warning("gap_waits", gap=hole.id, connection=hole.connection, reason=str(error))
                await outside.sleep(backoff.pause(Ending(Verdict.RETRY, DISCONNECT, "")))
            except Exception as error:  # noqa: BLE001 - a bug of ours must not stop the feed; the gap says so
                self._log.exception("gap_failed", gap=hole.id, connection=hole.connection)
                return Filled("lost", f"internal error: {type(error).__name__}")

    async def _keep_up(self) -> None:
        """Have cursors moved."""
        assert self._recoverer is not None and self._recoverer.interval is not None  # noqa: S101, PT018 - see `_next`
        self._keep_up_at = self._outside.monotonic() + self._recoverer.interval
        basin = _Basin(self.gateway, "", self._intake, self._outside)
        try:
            await self._recoverer.keep_up(
                self._filling.cursors(self.gateway), basin, floor=self._filling.known() + MARGIN
            )
        except (Refused, Unreachable, BadData) as error:
            self._log.warning("cursor_not_moved", reason=str(error))
        except Exception:  # noqa: BLE001 - as above; the gap that finds the cursor behind reads more
            self._log.exception("cursor_failed")

    def _merged(self, hole: Hole, wanted: Iterable[Hole]) -> Hole:
        """What is missing in this hole and in those that other lanes have of the same connection and time."""
        alike = [each for each in wanted if _alike(each, hole)]
        floor = max(each.floor for each in alike)
        if floor > hole.since + MARGIN:
            floor = max(floor, self._filling.known() + MARGIN)  # it may have waited for long
        since, until = min(each.since for each in alike), max(each.until for each in alike)
        return msgspec.structs.replace(hole, since=since, until=until, floor=floor)

    @staticmethod
    def _same(hole: Hole, wanted: Iterable[Hole]) -> bool:
        """Whether what is being filled is still wanted by somebody."""
        return any(_alike(each, hole) for each in wanted)


class _Basin(Basin):
    """Hands on what fills one hole. frames: how many so far. cursors: those that moved."""

    def __init__(self, gateway: str, ident: str, intake: Intake, outside: Outside) -> None:
        self.frames = 0
        self.cursors: dict[str, str] = {}
        self._gateway = gateway
        self._name = f"{FILL}{ident}"
        self._intake = intake
        self._outside = outside

    @property
    def connection(self) -> str:
        return self._name

    async def pour(
        self, frames: Sequence[bytes], *, hint: str | None = None, cursor: tuple[str, str] | None = None
    ) -> None:
        intake = self._intake
        for raw in frames:
            while intake.full:
                await intake.room()
            intake.put(Frame(self._gateway, self._name, self._outside.wall(), REST, raw, hint))
        self.frames += len(frames)
        if cursor is not None:
            intake.event(self._gateway, "", "cursor", name=f"{self._gateway}/{cursor[0]}", value=cursor[1])
        mark = intake.mark()
        while not intake.committed(mark):
            await self._outside.sleep(TICK)
        if cursor is not None:
            self.cursors[cursor[0]] = cursor[1]


def _alike(hole: Hole, other: Hole) -> bool:
    """Whether two lanes have the same hole: each begins with the last frame of its own."""
    return hole.id == other.id or (
        hole.connection == other.connection
        and (hole.cause == REQUESTED) == (other.cause == REQUESTED)
        and hole.since <= other.until
        and other.since <= hole.until
        and hole.id.rpartition("/")[2] != other.id.rpartition("/")[2]
    )
