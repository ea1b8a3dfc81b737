"""A plan is begun once and whole, whoever dies or interferes at whatever step; on a ledger in memory that fences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from bridge.catalog import Catalog
from bridge.errors import Fenced
from bridge.frame import Record
from bridge.ledger import ENTRY, FIRST, PLAN, READY, Connection, Entry, EntryCodec
from bridge.ledger_reader import LedgerReader
from bridge.plan import Course, Outdated
from bridge.planner import Means, Planner
from bridge.publisher import GivenUp, Publisher
from bridge.recovery import GapWriter, Outages

CATALOG = Catalog.load()
CODEC = EntryCodec(CATALOG.own("ledger"))


class Crash(BaseException):
    """The process dies."""


class Ledger:
    """Partitions of committed entries, the epoch of each transactional id, and the records of other topics."""

    def __init__(self, partitions: int) -> None:
        self.partitions: list[list[Entry]] = [[] for _ in range(partitions)]
        self.epochs = dict.fromkeys(range(partitions), 0)
        self.records: list[Record] = []

    def put(self, partition: int, entry: Entry) -> None:
        """An entry that another process has committed."""
        self.partitions[partition].append(entry)

    def kinds(self, partition: int = 0) -> list[tuple[str, int]]:
        """Kind and generation of what stands in a partition, without marks."""
        return [(each.kind, each.generation) for each in self.partitions[partition] if each.kind != FIRST]


class Reader:
    """Reads one partition."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._at = 0

    def seek(self, _since: int) -> None:
        """From the beginning."""

    def seek_back(self, many: int) -> bool:
        """Near the end."""
        self._at = max(len(self._entries) - many, 0)
        return not self._at

    def poll(self, _timeout: float) -> Iterator[tuple[Entry, int]]:
        """All that is new."""
        fresh, self._at = self._entries[self._at :], len(self._entries)
        return ((entry, 1000) for entry in fresh)

    def at_end(self) -> bool:
        """Whether all is read."""
        return self._at == len(self._entries)

    def close(self) -> None:
        """Nothing is held."""


class Writer:
    """The producer of one lane. before: called before each step; it may raise, or do what another process would."""

    def __init__(self, ledger: Ledger, lane: int, before: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._lane = lane
        self._before = before
        self._epoch = -1

    def fence(self) -> None:
        """Be the only one."""
        self._before(f"fence {self._lane}")
        self._ledger.epochs[self._lane] += 1
        self._epoch = self._ledger.epochs[self._lane]

    def announce(self, entries: Mapping[int, Record], records: Sequence[Record] = ()) -> None:
        """All or nothing."""
        kind = CODEC.decode(next(iter(entries.values())).value).kind
        self._before(f"write {kind}")
        if self._epoch != self._ledger.epochs[self._lane]:
            raise Fenced("fenced", where="kafka")
        for partition, record in entries.items():
            self._ledger.put(partition, CODEC.decode(record.value))
        self._ledger.records += records
        self._before(f"wrote {kind}")

    def close(self) -> None:
        """Nothing is held."""


class Process:
    """A process that starts: its steps are noted, and `at` says what happens before which."""

    def __init__(
        self,
        ledger: Ledger,
        count: int,
        name: str,
        at: Mapping[int, Callable[[], None]] | None = None,
        *,
        stopped: bool = False,
    ) -> None:
        self.steps: list[str] = []
        self._at = at or {}
        self._clock = 0.0
        writer = GapWriter("gaps", b"", CATALOG.own("gap"))

        def outages(lane: int, connections: Mapping[tuple[str, str], Connection]) -> Outages:
            return Outages(writer, lane=lane, instance=name, connections=connections)

        self.planner = Planner(
            Means(
                count=count,
                partitions=len(ledger.partitions),
                instance=name,
                ledger_topic="ledger",
                span=3_600_000,
                codec=CODEC,
                links=lambda records: b"" * len(records),
                publisher=lambda lane: cast("Publisher", Writer(ledger, lane, self._step)),
                reader=lambda partition: cast("LedgerReader", Reader(ledger.partitions[partition])),
                outages=outages,
                give_up=lambda: stopped,
                now=lambda: 1_779_000_000_000,
                chance=lambda: 0.0,
                clock=self._now,
                pause=self._pause,
            )
        )

    def _step(self, what: str) -> None:
        self.steps.append(what)
        if (happens := self._at.get(len(self.steps) - 1)) is not None:
            happens()

    def _now(self) -> float:
        return self._clock

    def _pause(self, seconds: float) -> None:
        self._clock += seconds


def crash() -> None:
    """Die."""
    raise Crash


def active(generation: int, lanes: int, **more: Any) -> Entry:
    """What the active of a lane has committed."""
    return Entry(
        kind=ENTRY, instance="old", at=0, generation=generation, lanes=lanes, position=1, journal="old", **more
    )


def running(gap: bool = True, partitions: int = 4) -> Ledger:  # noqa: FBT001, FBT002
    """A ledger with a plan of two lanes; lane 1 has a gap open."""
    ledger = Ledger(partitions)
    Process(ledger, 2, "old").planner.run()
    ledger.put(0, active(1, 2, connections=[Connection("cs2", "list", up=True, last_frame=9)]))
    down = Connection("cs2", "list", up=False, last_frame=5, gap="cs2/list/5/1", gap_from=5, gap_cause="silence")
    ledger.put(1, active(1, 2, connections=[down] if gap else []))
    return ledger


STEPS = [
    "fence 0",
    "write FIRST",
    "wrote FIRST",
    "write PLAN",
    "wrote PLAN",
    "fence 1",
    "fence 2",
    "fence 3",
    "write FIRST",
    "wrote FIRST",
    "write READY",
    "wrote READY",
]


def test_the_first_plan_and_who_joins_it() -> None:
    """Nobody is fenced for joining."""
    ledger = Ledger(2)
    assert Process(ledger, 2, "a").planner.run().generation == 1
    joining = Process(ledger, 2, "b")
    found = joining.planner.run()
    assert (found.generation, found.lanes) == (1, 2)
    assert joining.steps == []
    assert ledger.kinds(0) == ledger.kinds(1) == [(PLAN, 1), (READY, 1)]


def test_another_number_begins_the_next_plan_and_closes_what_was_open() -> None:
    """All ids are fenced between PLAN and READY; PLAN, READY and nothing else stand in every partition."""
    ledger = running()
    process = Process(ledger, 4, "new")
    assert process.planner.run().generation == 2
    assert process.steps == STEPS
    for partition in range(4):
        assert ledger.kinds(partition)[-2:] == [(PLAN, 2), (READY, 2)]
    assert [record.key for record in ledger.records] == [b"cs2/list/5/1"]


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("count", [4, 1])
def test_whoever_comes_next_finishes_what_one_that_died_began(step: int, count: int) -> None:
    """At every step: one plan is ready in the end, its gap is closed exactly once, and no generation is used twice."""
    ledger = running()
    with pytest.raises(Crash):
        Process(ledger, 4, "dies", {step: crash}).planner.run()
    found = Process(ledger, count, "next").planner.run()
    assert found.lanes == count
    assert len(ledger.records) == 1
    for partition in range(4):
        plans = [generation for kind, generation in ledger.kinds(partition) if kind == PLAN]
        assert len(plans) == len(set(plans))
        assert ledger.kinds(partition)[-1] == (READY, found.generation)


@pytest.mark.parametrize("step", range(len(STEPS)))
@pytest.mark.parametrize("count", [4, 1])
def test_two_that_begin_at_once_end_with_one_plan(step: int, count: int) -> None:
    """One interrupts the other at every step. Of the same number: both take part in one plan; else one refuses."""
    ledger = running()
    other: list[int] = []
    first = Process(
        ledger, 4, "first", {step: lambda: other.append(Process(ledger, count, "second").planner.run().generation)}
    )
    try:
        found = first.planner.run()
    except Outdated:
        assert count == 1
        generation = other[0]
    else:
        generation = found.generation
        assert count == 1 or other == [generation]
    assert ledger.kinds()[-1] == (READY, generation)
    assert len(ledger.records) == 1
    for partition in range(4):
        plans = [generation for kind, generation in ledger.kinds(partition) if kind == PLAN]
        assert len(plans) == len(set(plans))


@pytest.mark.parametrize("lane", [0, 1])
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_straggler_publishes_nothing_after_ready(step: int, lane: int) -> None:
    """A standby of the older plan takes the lane over at any step: what it publishes stands before READY, or nowhere."""
    ledger = running(gap=False)
    published: list[int] = []

    def take_over() -> None:
        """As `bridge.lane` does: fence, FIRST, read up to it, and only then publish."""
        ledger.epochs[lane] += 1
        epoch = ledger.epochs[lane]
        ledger.put(lane, Entry(kind=FIRST, instance="straggler", at=0, generation=1, lanes=2, nonce="x"))
        course = Course(generation=1, lanes=2)
        try:
            for entry in list(ledger.partitions[lane]):
                course.hear(entry)
        except Outdated:
            return
        published.append(epoch)

    def publish() -> None:
        if published and ledger.epochs[lane] == published[0]:
            ledger.put(lane, active(1, 2))

    at: dict[int, Callable[[], None]] = dict.fromkeys(range(step + 1, 3 * len(STEPS)), publish)
    Process(ledger, 4, "new", {**at, step: take_over}).planner.run()
    publish()
    kinds = ledger.kinds(lane)
    last = max(place for place, (kind, _) in enumerate(kinds) if kind == READY)
    assert (ENTRY, 1) not in kinds[last:]


def test_a_plan_is_found_behind_any_number_of_entries_that_tell_nothing() -> None:
    """Stragglers that fenced and refused, again and again."""
    ledger = running(partitions=2)
    for partition in range(2):
        for _ in range(5000):
            ledger.put(partition, Entry(kind=FIRST, instance="straggler", at=0, generation=1, lanes=2))
    assert Process(ledger, 2, "new").planner.run().generation == 1


def test_it_can_be_stopped() -> None:
    """Whatever it waits for."""
    ledger = Ledger(1)
    process = Process(ledger, 1, "a", stopped=True)
    with pytest.raises(GivenUp):
        process.planner.run()
