"""What a standby knows: what the ledger has shown of its own frames, and when the lane is its to take.

Pure. A standby receives the same frames as the active process, into a journal of its own. `Pending` ticks them off as the
ledger shows them, so that what is left at a takeover is exactly what the active had not published. `Watch` decides when
to take over, from what was heard and by the standby's own monotonic clock: no two clocks are ever compared, and a wrong
suspicion costs a fencing, never a duplicate (design section 8).
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from bridge import dedupe
from bridge.dedupe import ORDER, TRIPLE
from bridge.frame import Disposition
from bridge.ledger import READY, RESIGN
from bridge.presence import MARGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.ledger import Entry, Memory

#: Frames that the ledger has not shown for so long (s) were missed by the active.
MISSED: Final = 5.0
#: After a takeover because of missed frames, the next for that reason comes no sooner (s).
MISSED_AGAIN: Final = 60.0
#: Patience grows with each lost duel up to so many times `takeover_after`, and shrinks back after calm (s).
MOST_PATIENCE: Final = 3.0
CALM: Final = 60.0
#: A state that says what the ledger shows is unchanged only if the ledger still shows that so long (s) and two entries later:
#: the active may have been waiting for Kafka with another state, older than this one.
SETTLED: Final = 0.5
#: So many states are remembered with the position at which they came first.
PASSED: Final = 4096
#: The order of a state in an entry that tells none.
_UNKNOWN: Final = (0,)

_Place = TypeVar("_Place")


class Handover(msgspec.Struct, frozen=True):
    """What a takeover must know of the own journal.

    until: the journal was looked through up to here. waiting: positions of the frames before that which are not disposed
    of; what the ledger then said of the others holds, whatever it says now. superseded: those of them that are states and
    must not be published late. outages: positions of the own outages that the active did not cover; the others made no gap.
    proved: each own frame was shown by the ledger or is still there to be published.
    """

    until: int = 0
    waiting: frozenset[int] = frozenset()
    superseded: frozenset[int] = frozenset()
    outages: frozenset[int] = frozenset()
    proved: bool = True


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A frame of the own journal as the window sees it.

    buried: its identity as a dead letter, should it become one. at: when it was received, ms since the epoch. order: of a
    state, its time by the gateway (ms); 0: not known.
    """

    position: int
    identity: int
    content: int
    entity: int
    traits: int
    buried: int = 0
    at: int = 0
    order: int = 0


class Outage(msgspec.Struct, frozen=True, gc=False):
    """An event of an own connection that stands in the journal. at: ms since the epoch."""

    position: int
    gateway: str
    connection: str
    at: int


class Pending:
    """The frames and outages of the own journal, from `first` on, that the ledger has not shown."""

    def __init__(self, memory: Memory, first: int) -> None:
        """first: everything in the journal before it is disposed of."""
        self._memory = memory
        self._end = first
        #: position → (frame, when it came), in order; and where each stands by identity and content, and by entity
        self._frames: dict[int, tuple[Seen, float]] = {}
        self._places: dict[tuple[int, int], deque[int]] = {}
        self._states: dict[int, deque[int]] = {}
        self._outages: list[Outage] = []
        #: entity → position of its newest state that the ledger has shown, while older ones are pending
        self._shown: dict[int, int] = {}
        #: (identity, content) → where in the own journal a state stood first that is disposed of
        self._passed: dict[tuple[int, int], int] = {}
        #: States that wait though they say what the ledger shows: position → how many entries had been shown when each came.
        self._unsettled: dict[int, int] = {}
        self._entries = 0
        #: Own frames that the ledger showed, and those it showed before they came here.
        self.matched = 0
        #: Of the events that wait, how many have a content; and those with another identity that the ledger showed of one.
        #: A state says again and again what was said before, and is known by what it says: see `show`.
        self._contents: dict[int, int] = {}
        self._twins = 0
        self._forgot = False

    def __len__(self) -> int:
        """How many frames the ledger has not shown."""
        return len(self._frames)

    @property
    def strange(self) -> bool:
        """Whether the ledger never shows an own frame, but what one says under another number: each connection has its own.

        Where it shows nothing that waits here, the active may as well have missed all of it.
        """
        return not self.matched and self._twins > 0

    @property
    def end(self) -> int:
        """The journal is looked through up to here."""
        return self._end

    @property
    def first(self) -> int:
        """All that stands in the journal before this position is disposed of."""
        waiting = [next(iter(self._frames))] if self._frames else []
        waiting += [self._outages[0].position] if self._outages else []
        return min(waiting, default=self._end)

    def receive(self, seen: Sequence[Seen | Outage], end: int, now: float) -> None:
        """Take what the own sockets brought. end: the journal is looked through up to here. now: monotonic, s."""
        window = self._memory.window
        for each in seen:
            if isinstance(each, Outage):
                if not self._covered(each):
                    self._outages.append(each)
                continue
            before = self._states.get(each.entity) if each.traits & dedupe.STATE else None
            code = window.judge(each.traits, each.identity, each.content, each.entity)
            disposition = code & dedupe.DISPOSITION_MASK
            if disposition == dedupe.PUBLISHED and self._is_buried(each):
                disposition = dedupe.DUPLICATE
            if disposition not in {dedupe.PUBLISHED, dedupe.UNCHANGED}:
                self._tick(each)
                continue
            # Behind a state that waits, one that is as the last published is a change again.
            change = disposition == dedupe.PUBLISHED or (before and before[-1] not in self._unsettled)
            if self._wait(each, before, now) and not change:
                self._unsettled[each.position] = self._entries
        self._end = end

    def show(self, entry: Entry, now: float) -> None:
        """Take an entry of the ledger, after the memory took it. now: monotonic, s."""
        self._entries += 1
        orders = ORDER.iter_unpack(entry.orders)
        for code, (identity, content, entity) in zip(entry.codes, TRIPLE.iter_unpack(entry.hashes), strict=True):
            order = next(orders, _UNKNOWN)[0] if code & dedupe.STATE else 0
            found = self._places.get((identity, content))
            if found is not None:
                self._tick(self._take(found[0]))
                continue
            self._twins += (
                not code & dedupe.STATE and content != 0 and content in self._contents
            )  # dead letters have none
            if code & dedupe.STATE and (states := self._states.get(entity)):
                # The first that waits is the change that this process saw next; a snapshot may have numbered it anew, later.
                first = self._frames[states[0]][0]
                if first.content == content and not 0 < order < first.order:
                    self._tick(self._take(first.position))
            elif code & dedupe.DISPOSITION_MASK == Disposition.DEAD_LETTER:
                # Kafka refused the record of a good frame.
                for seen, _ in list(self._frames.values()):
                    if seen.buried == identity:
                        self._tick(self._take(seen.position))
        if entry.connections:
            self._outages = [each for each in self._outages if not self._covered(each)]
        self._settle(now)
        if not self._frames:
            self._shown.clear()

    def _settle(self, now: float) -> None:
        """Dispose of states that say what the ledger shows, once it is known to have caught up with them."""
        due = []
        for position, entries in self._unsettled.items():
            if position in self._frames:
                seen, came = self._frames[position]
                if now - came < SETTLED or self._entries - entries < 2:  # noqa: PLR2004 - explained at SETTLED
                    break
                if self._states[seen.entity][0] != position:
                    continue  # what it says depends on the one before
            due.append(position)
        window = self._memory.window
        for position in due:
            del self._unsettled[position]
            if position not in self._frames:
                continue  # the ledger showed it
            seen, _ = self._frames[position]
            code = window.judge(seen.traits, seen.identity, seen.content, seen.entity)
            disposition = code & dedupe.DISPOSITION_MASK
            if disposition == dedupe.PUBLISHED and 0 < window.newest(seen.entity) < seen.order:
                continue  # the ledger was behind: this is a change
            if disposition == dedupe.UNCHANGED:
                # Should it come again, it is a duplicate, whatever its entity has become by then.
                window.remember(code, seen.identity, seen.content, seen.entity, seen.at)
            self._tick(self._take(position))

    def missed_since(self) -> float | None:
        """Since when (monotonic, s) the oldest frame waits to be shown; None if none does.

        A state that lies in no gap, behind a newer one that the ledger shows, waits no longer: it is never published, and
        there is nothing that it would count for. Such are those of a snapshot that this process alone was sent, as it began.
        """
        while self._frames:
            seen, came = next(iter(self._frames.values()))
            if not seen.traits & dedupe.STATE or not self._is_behind(seen) or self._in_gap(seen.at):
                return came
            self._take(seen.position)
        return None

    def handover(self) -> Handover:
        """What is left, for the pipeline: a pending state is superseded where the ledger shows a newer of its entity."""
        return Handover(
            self._end,
            frozenset(self._frames),
            frozenset(
                seen.position
                for seen, _ in self._frames.values()
                if seen.traits & dedupe.STATE and self._is_behind(seen)
            ),
            frozenset(outage.position for outage in self._outages),
            proved=not self._forgot,
        )

    def _is_behind(self, seen: Seen) -> bool:
        """Whether the ledger shows a newer state of the entity: by the gateway's time, else by the own journal's order."""
        shown = self._memory.window.newest(seen.entity)
        if shown and seen.order and shown != seen.order:
            return shown > seen.order
        return self._shown.get(seen.entity, -1) > seen.position

    def _in_gap(self, at: int) -> bool:
        """Whether a moment (ms) lies in a gap that is recorded; by the clock of another machine, hence the margin."""
        return any(
            gap.since - MARGIN <= at and (gap.until is None or at <= gap.until + MARGIN)
            for gap in self._memory.gaps.values()
        )

    def forget(self, before: float) -> int:
        """Give up waiting for frames that came before (monotonic, s); returns how many. For frames that never match."""
        old = [position for position, (_, came) in self._frames.items() if came < before]
        for position in old:
            self._take(position)
        self._forgot = self._forgot or bool(old)
        return len(old)

    def _wait(self, seen: Seen, before: deque[int] | None, now: float) -> bool:
        """Have a frame wait, unless one that is the same does; returns whether it waits."""
        place = (seen.identity, seen.content)
        if seen.traits & dedupe.IDENTIFIED:
            if place in self._places:
                return False
        elif before and self._frames[before[-1]][0].content == seen.content:
            return False  # a state without a number, unchanged
        self._frames[seen.position] = seen, now
        self._places.setdefault(place, deque()).append(seen.position)
        if seen.traits & dedupe.STATE:
            self._states.setdefault(seen.entity, deque()).append(seen.position)
        else:
            self._contents[seen.content] = self._contents.get(seen.content, 0) + 1
        return True

    def _take(self, position: int) -> Seen:
        """Have a frame wait no longer."""
        seen, _ = self._frames.pop(position)
        _without(self._places, (seen.identity, seen.content), position)
        if seen.traits & dedupe.STATE:
            _without(self._states, seen.entity, position)
        elif alike := self._contents.pop(seen.content) - 1:
            self._contents[seen.content] = alike
        return seen

    def _tick(self, seen: Seen) -> None:
        self.matched += 1
        if not seen.traits & dedupe.STATE:
            return
        position, passed = seen.position, self._passed
        if seen.traits & dedupe.IDENTIFIED:
            # One that comes again is as old as when it came first.
            position = passed.setdefault((seen.identity, seen.content), position)
            if len(passed) > PASSED:
                del passed[next(iter(passed))]
        if self._frames:
            self._shown[seen.entity] = max(position, self._shown.get(seen.entity, -1))

    def _is_buried(self, seen: Seen) -> bool:
        """Whether the ledger shows a dead letter of a frame that is good by itself: Kafka refused its record."""
        code = self._memory.window.judge(dedupe.IDENTIFIED, seen.buried, 0, 0)
        return bool(seen.buried) and code & dedupe.DISPOSITION_MASK == dedupe.DUPLICATE

    def _covered(self, outage: Outage) -> bool:
        """Whether the active's own connection had frames after the outage began: then nothing was missed by it."""
        known = self._memory.connections.get((outage.gateway, outage.connection))
        return known is not None and known.up and known.last_frame is not None and known.last_frame >= outage.at


def _without(places: dict[_Place, deque[int]], place: _Place, position: int) -> None:
    """Take a position out of an index; nearly always it is the first."""
    found = places[place]
    if len(found) == 1:
        del places[place]
    elif found[0] == position:
        found.popleft()
    else:
        found.remove(position)


class Watch:
    """Decides when to take over. instance: this process. takeover_after: s. chance: uniform in [0, 1).

    covers: the lane is another's, so that one comes first where nobody has it. All times are seconds of the own monotonic
    clock.
    """

    def __init__(
        self, *, instance: str, takeover_after: float, chance: Callable[[], float], covers: bool = False
    ) -> None:
        """Nothing was heard yet."""
        self._covers = covers
        #: The last entry when this life had read all there was; it tells nothing of who is about to come.
        self._found: tuple[Entry | None] | None = None
        self._instance = instance
        self._after = takeover_after
        self._chance = chance
        self._patience = takeover_after
        self._heard: float | None = None
        self._last: Entry | None = None
        self._behind: dict[str, float] = {}
        self._fenced_at: float | None = None
        #: Whether the lane was taken by another since this process last took it.
        self._lost = False
        self._missed_at: float | None = None

    def begin(self, now: float, last: Entry | None = None) -> None:
        """A life as standby begins: silence counts from here. last: the last entry that was read before."""
        self._heard = now
        self._last = last
        self._found = None
        self._behind.clear()

    def hear(self, entry: Entry, now: float) -> None:
        """An entry came."""
        self._last, self._heard = entry, now
        if self._fenced_at is not None and now - self._fenced_at > CALM:
            self._fenced_at, self._patience = None, self._after

    def blind(self, now: float) -> None:
        """It can't be proved that the end of the ledger is read: silence does not count."""
        self._heard = now

    def fenced(self, now: float) -> None:
        """The lane was taken from this process: be more patient, and not as patient as the other."""
        self._fenced_at, self._lost = now, True
        longest = self._after * MOST_PATIENCE
        self._patience = min(self._patience * (1.2 + 0.8 * self._chance()), longest)

    def taken(self) -> None:
        """The own process fenced whoever had the lane, and has read all of theirs: the last entry is its own."""
        self._lost = False

    def gateway(self, name: str, *, own: bool, active: bool, now: float) -> None:
        """Say whether a gateway is up here and, by the ledger, at the active."""
        if own and not active:
            self._behind.setdefault(name, now)
        else:
            self._behind.pop(name, None)

    def decide(self, now: float, *, journal: str, missed_since: float | None = None, alike: bool = True) -> str | None:
        """Why to take over now, in one word; None: stand by.

        journal: the own journal's id. missed_since: see `Pending`. alike: the own frames match the active's.
        """
        last = self._last
        if self._found is None:
            self._found = (last,)
        if self._covers and last is self._found[0] and (self._heard is None or now - self._heard < self._patience):
            return None
        if last is None or last.kind == READY:
            return "vacant" if self._heard is not None else None
        if last.kind == RESIGN:
            return "resigned"
        if last.journal == journal and not self._lost:
            return "own"  # its writer held the journal that this process holds now, so it is gone
        if self._heard is not None and now - self._heard >= self._patience:
            return "silent"
        if any(now - since >= self._patience for since in self._behind.values()):
            return "gateway_down"
        rested = self._missed_at is None or now - self._missed_at >= MISSED_AGAIN
        if alike and rested and missed_since is not None and now - missed_since >= MISSED:
            self._missed_at = now
            return "missed"
        return None
