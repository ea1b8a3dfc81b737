"""A lane begins with all that may have been published of its keys, and with nothing that was published since elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.beginning import begin
from bridge.dedupe import CONTENT, IDENTIFIED, TRIPLE, Window
from bridge.ledger import ENTRY, FIRST, PLAN, READY, Entry, Memory
from bridge.ledger_reader import LedgerReader
from bridge.plan import Course, Outdated
from bridge.publisher import GivenUp

SINCE = 1000


class Reader:
    """Reads (entry, time) pairs of one partition, a few at a time."""

    def __init__(self, entries: list[tuple[Entry, int]]) -> None:
        self._entries = list(entries)
        self.closed = False

    def seek(self, since: int) -> None:
        """Leave out what is older."""
        self._entries = [(entry, at) for entry, at in self._entries if at >= since]

    def poll(self, _timeout: float) -> Iterator[tuple[Entry, int]]:
        """Two more."""
        found, self._entries = self._entries[:2], self._entries[2:]
        return iter(found)

    def at_end(self) -> bool:
        """Whether all is read."""
        return not self._entries

    def close(self) -> None:
        """Note it."""
        self.closed = True


def seen(identity: int, generation: int, lanes: int) -> Entry:
    """An entry with one frame."""
    return Entry(
        kind=ENTRY,
        instance="x",
        at=0,
        generation=generation,
        lanes=lanes,
        journal="j",
        position=1,
        codes=bytes([IDENTIFIED | CONTENT]),
        hashes=TRIPLE.pack(identity, identity, identity),
    )


def mark(kind: str, generation: int, lanes: int = 2) -> Entry:
    """An entry without frames or position."""
    return Entry(kind=kind, instance="x", at=0, generation=generation, lanes=lanes)


def begun(
    own: list[tuple[Entry, int]], *others: list[tuple[Entry, int]], alive: int = 1000
) -> tuple[set[int], Memory, list[Reader]]:
    """What lane 0 of generation 2 knows when it has begun: which of the identities 1 to 9, its memory, other readers."""
    readers = [Reader(each) for each in others]
    parts = SimpleNamespace(lane=0, lanes=2, generation=2, others=lambda: dict(enumerate(readers, 1)))
    memory = Memory(Window(span=3_600_000, max_identities=1000))
    course = Course(generation=2, lanes=2)
    left = iter(range(alive))
    reader = Reader(own)
    reader.seek(SINCE)
    begin(
        cast("Any", parts),
        course,
        cast("LedgerReader", reader),
        memory,
        since=SINCE,
        alive=lambda: next(left, None) is not None,
    )
    traits = IDENTIFIED | CONTENT
    return {each for each in range(1, 10) if memory.window.judge(traits, each, each, each) & 7 == 4}, memory, readers


def test_it_inherits_from_all_partitions_up_to_the_beginning_and_follows_its_own() -> None:
    """What others publish in the new plan is theirs; readers are let go."""
    own = [(seen(1, 1, 2), 1001), (mark(PLAN, 2), 1002), (mark(READY, 2), 1003), (seen(2, 2, 2), 1004)]
    other = [(seen(3, 1, 2), 1001), (mark(PLAN, 2), 1002), (seen(4, 1, 2), 1002), (mark(READY, 2), 1003)]
    other += [(seen(5, 2, 2), 1004)]
    known, memory, readers = begun(own, other)
    assert known == {1, 2, 3, 4}
    assert memory.last is not None
    assert (memory.last.kind, memory.last.generation) == (ENTRY, 2)
    assert [each.closed for each in readers] == [True]


def test_a_plan_older_than_the_window_inherits_nothing() -> None:
    """Its beginning is not among what is read, or not needed any more: no other partition is asked."""
    assert begun([(mark(FIRST, 1), 1001), (seen(2, 2, 2), 1004)], [(seen(3, 1, 2), 1001)])[0] == {2}
    assert begun([], [(seen(3, 1, 2), 1001)])[0] == set()


def test_a_partition_that_was_made_later_has_nothing_to_leave() -> None:
    """It is not waited for."""
    assert begun([(mark(READY, 2), 1003)], [], [(seen(3, 1, 2), 1001), (mark(READY, 2), 1003)])[0] == {3}


def test_one_that_does_not_show_the_beginning_yet_is_waited_for() -> None:
    """The markers of one transaction reach partitions one after the other."""
    with pytest.raises(GivenUp):
        begun([(mark(READY, 2), 1003)], [(seen(3, 1, 2), 1001)], alive=20)


def test_a_newer_plan_ends_it() -> None:
    """Before anything is taken."""
    with pytest.raises(Outdated):
        begun([(mark(READY, 2), 1003), (mark(PLAN, 3), 1004)], [(mark(READY, 2), 1003)])
