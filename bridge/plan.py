"""The plan of lanes: how many there are, told by the ledger, and what one plan leaves to the next.

A key belongs to another lane when the number of lanes changes, so two numbers must never be in force at once. A *plan* is a
generation and a number of lanes. Who begins one (`bridge.planner`)

1. fences lane 0, so that plans are begun one after another, and reads what plan there is;
2. commits PLAN in every partition, in one transaction;
3. fences every lane. A writer of an older plan fenced its lane either before that, so it can't commit any more, or
   after: then PLAN stands before its own FIRST, which it reads before it publishes anything, and it refuses (`Course`);
4. commits READY in every partition, with the records that close the gaps which were open in the older plan. All that older
   plans ever published stands before READY, and nobody of the new one publishes before it has read that (`Heritage`).

Whoever dies in between leaves PLAN without READY. The next one takes the next generation and does it all again: 3 holds for
each generation by itself, and gaps are closed in the transaction of READY only, so they are closed once.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.cursors import Cursors
from bridge.errors import LaneError
from bridge.ledger import PLAN, READY, Connection, Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bridge.ledger import Memory

#: The clocks of brokers may differ by this much (ms).
SKEW: Final = 10 * 60 * 1000


class Plan(msgspec.Struct, frozen=True):
    """A plan as the ledger shows it. ready: every lane of it may be taken. instance: the process that began it."""

    generation: int
    ready: bool
    lanes: int
    instance: str = ""


class Outdated(LaneError):
    """Another process has begun a newer plan: this one must not publish before it is started anew."""

    def __init__(self, plan: Plan, own: int) -> None:
        """own: lanes of this configuration."""
        super().__init__(
            f"another process made a plan of {plan.lanes} lanes (generation {plan.generation}), this configuration has {own}",
            where="lanes.count",
            mend="start it again with the number that all are to have",
        )


def newest(entries: Iterable[Entry], known: Plan | None = None) -> Plan | None:
    """The newest plan that entries tell of, in any order of partitions. known: what was found before."""
    for entry in entries:
        if not entry.generation:
            continue  # of no plan: who is about to begin one
        if entry.kind == PLAN:
            found = Plan(entry.generation, ready=False, lanes=entry.lanes, instance=entry.instance)
        elif entry.kind == READY or entry.position is not None:
            found = Plan(entry.generation, ready=True, lanes=entry.lanes, instance=entry.instance)
        else:
            continue  # a writer that has not yet read whether it may
        if known is None or (found.generation, found.ready) > (known.generation, known.ready):
            known = found
    return known


class Step(Enum):
    """What a process that starts does next."""

    JOIN = "join"
    BEGIN = "begin"
    WAIT = "wait"
    REFUSE = "refuse"


class Search:
    """Decides what a process does that starts with `count` lanes. instance: its name. patience: s.

    The last one to start decides: it begins a plan where the newest has another number. One that has been overtaken
    since does not fight: it refuses.
    """

    def __init__(self, *, count: int, instance: str, patience: float) -> None:
        """Nothing was looked at yet."""
        self._count = count
        self._instance = instance
        self._patience = patience
        self._first: int | None = None
        self._waits_for: int | None = None
        self._since = 0.0

    def look(self, plan: Plan | None, now: float) -> Step:
        """Take the newest plan in the ledger. now: monotonic, s."""
        generation = plan.generation if plan is not None else 0
        if self._first is None:
            self._first = generation
        if plan is None:
            return Step.BEGIN
        if plan.lanes != self._count:
            return Step.BEGIN if generation <= self._first else Step.REFUSE
        if plan.ready:
            return Step.JOIN
        if plan.instance == self._instance:
            return Step.BEGIN
        if self._waits_for != generation:
            self._waits_for, self._since = generation, now
        return Step.WAIT if now - self._since < self._patience else Step.BEGIN


class Course:
    """One partition as a lane of a plan reads it: which entries are this plan's."""

    def __init__(self, *, generation: int, lanes: int) -> None:
        """Nothing was read yet."""
        self._generation = generation
        self._lanes = lanes
        self._begun = False

    def begun(self) -> bool:
        """Whether READY was read, or an entry that stands after it."""
        return self._begun

    def begins(self, entry: Entry) -> bool:
        """Whether an entry is the READY of this plan."""
        return entry.kind == READY and entry.generation == self._generation

    def hear(self, entry: Entry) -> bool:
        """Whether an entry is this plan's. Raises `Outdated` where it shows that a newer one has begun."""
        own = entry.generation == self._generation
        if entry.kind == PLAN and not own and (self._begun or entry.generation > self._generation):
            raise self._outdated(entry)
        if entry.generation > self._generation and (entry.kind == READY or entry.position is not None):
            raise self._outdated(entry)
        if own and (entry.kind == READY or entry.position is not None):
            self._begun = True
        return own and entry.kind != PLAN

    def _outdated(self, entry: Entry) -> Outdated:
        return Outdated(Plan(entry.generation, ready=False, lanes=entry.lanes), self._lanes)


@dataclass
class _Stage:
    """What was published by one plan. lanes: how many it has. entries: by partition, each with the broker's time (ms)."""

    lanes: int
    entries: dict[int, list[tuple[Entry, int]]] = field(default_factory=dict)


class Heritage:
    """What older plans leave: fed with each partition in order, up to the READY of the plan that inherits.

    An entity is one lane's within a plan and may be another's in the next, so the entries are taken plan by plan.
    """

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._stages: dict[int, _Stage] = {}

    def take(self, partition: int, entry: Entry, at: int) -> None:
        """Add an entry. at: the broker's time of it (ms)."""
        if entry.kind == PLAN or (entry.kind != READY and entry.position is None):
            return  # its writer has published nothing yet
        stage = self._stages.setdefault(entry.generation, _Stage(entry.lanes))
        stage.entries.setdefault(partition, []).append((entry, at))

    def into(self, memory: Memory) -> None:
        """Have `memory` know all that was left; it must be empty."""
        connections: dict[tuple[str, str], Connection] = {}
        cursors: dict[str, str] = {}
        for stage, states, found in self._folded():
            entries = [pair for part in stage.entries.values() for pair in part]
            entries.sort(key=lambda pair: pair[1])
            for entry, at in entries:
                memory.take(entry, at)
            connections, cursors = merged(states), _least(found)
        memory.connections = connections
        memory.cursors = Cursors(cursors)

    def open_gaps(self) -> dict[int, list[Connection]]:
        """Partition → the connections whose gap the last plan left open."""
        plans = [states for _, states, _ in self._folded()]
        gaps = {
            lane: [each for each in state.values() if each.gap is not None]
            for lane, state in (plans[-1] if plans else {}).items()
        }
        return {lane: found for lane, found in gaps.items() if found}

    def _folded(
        self,
    ) -> Iterator[tuple[_Stage, dict[int, dict[tuple[str, str], Connection]], dict[int, dict[str, str]]]]:
        """Yield plan by plan: what its lanes told of connections and cursors, by partition, from what they inherited on."""
        connections: dict[tuple[str, str], Connection] = {}
        cursors: dict[str, str] = {}
        for _, stage in sorted(self._stages.items()):
            states = {lane: dict(connections) for lane in range(stage.lanes)}
            found = {lane: dict(cursors) for lane in range(stage.lanes)}
            for lane in range(stage.lanes):
                for entry, _ in stage.entries.get(lane, ()):
                    states[lane].update({(each.gateway, each.connection): each for each in entry.connections})
                    found[lane].update(entry.cursors)
            yield stage, states, found
            connections, cursors = merged(states), _least(found)


def merged(states: Mapping[int, Mapping[tuple[str, str], Connection]]) -> dict[tuple[str, str], Connection]:
    """What a lane that inherits knows of each connection.

    Any of the older lanes may have left a key to it, so frames may be missing since the oldest of what they tell: where a
    gap is open since its beginning, else since the last frame. It is told to be up since then: who has been connected
    longer closes nothing, who connects later records the gap (`bridge.recovery.Outages`).
    """
    found: dict[tuple[str, str], Connection] = {}
    for state in states.values():
        for key, each in state.items():
            if not each.up and each.gap is None:
                found.setdefault(key, Connection(*key, up=False, gone=each.gone))
                continue
            since = each.gap_from if each.gap is not None else each.last_frame
            known = found.get(key)
            if known is None or not known.up or _before(since, known.last_frame):
                found[key] = Connection(*key, up=True, last_frame=since, last_seq=each.last_seq)
    return found


def _before(time: int | None, other: int | None) -> bool:
    return time is not None and (other is None or time < other)


def _least(found: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """The cursor that is furthest back of those of all lanes; none where a lane has none.

    A cursor is a number in decimal or a time of fixed length: the shorter, then the smaller text is further back.
    """
    if not found:
        return {}
    shared = set.intersection(*(set(each) for each in found.values()))
    return {name: min((each[name] for each in found.values()), key=lambda text: (len(text), text)) for name in shared}
