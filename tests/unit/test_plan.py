"""The plan of lanes: who begins one, who joins, who refuses, and what a plan inherits from the one before."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.dedupe import CONTENT, IDENTIFIED, STATE, TRIPLE, Window
from bridge.ledger import ENTRY, FIRST, HEARTBEAT, PLAN, READY, Connection, Entry, Learned, Memory
from bridge.plan import Course, Heritage, Outdated, Plan, Search, Step, merged, newest

PATIENCE = 10.0


def entry(kind: str, generation: int, lanes: int = 1, **more: Any) -> Entry:
    """An entry; one of frames has a position."""
    if kind in {ENTRY, HEARTBEAT}:
        more.setdefault("position", 1)
    return Entry(kind=kind, instance=more.pop("instance", "other"), at=0, generation=generation, lanes=lanes, **more)


def search(count: int) -> Search:
    """A process that starts."""
    return Search(count=count, instance="me", patience=PATIENCE)


def plan(generation: int, lanes: int, *, ready: bool = True, instance: str = "other") -> Plan:
    """A plan as found."""
    return Plan(generation, ready=ready, lanes=lanes, instance=instance)


class TestNewest:
    """What the ledger tells, whichever partition is read first."""

    def test_the_highest_generation_counts(self) -> None:
        """In any order; READY after its PLAN."""
        entries = [entry(ENTRY, 1), entry(PLAN, 2, 2), entry(READY, 2, 2), entry(PLAN, 3, 4)]
        for found in (newest(entries), newest(reversed(entries))):
            assert found is not None
            assert (found.generation, found.lanes, found.ready) == (3, 4, False)

    def test_who_publishes_proves_that_its_plan_is_ready(self) -> None:
        """Where READY is no longer kept."""
        found = newest([entry(HEARTBEAT, 7, 3)])
        assert found is not None
        assert (found.generation, found.lanes, found.ready) == (7, 3, True)

    def test_who_only_fenced_proves_nothing(self) -> None:
        """It may be about to learn that its plan is no more; generation 0 is of no plan at all."""
        assert newest([entry(FIRST, 7), entry(FIRST, 0), entry(ENTRY, 0)]) is None


class TestSearch:
    """The last to start decides, and who was overtaken does not fight."""

    def test_nothing_there(self) -> None:
        """The first plan."""
        assert search(2).look(None, 0.0) is Step.BEGIN

    def test_the_same_number_is_joined_and_another_begins(self) -> None:
        """Whoever made it."""
        assert search(2).look(plan(3, 2), 0.0) is Step.JOIN
        assert search(4).look(plan(3, 2), 0.0) is Step.BEGIN
        assert search(4).look(plan(3, 2, ready=False), 0.0) is Step.BEGIN

    def test_one_that_is_overtaken_refuses(self) -> None:
        """A newer plan of another number than it saw at first; of its own number, it joins."""
        overtaken = search(4)
        assert overtaken.look(plan(3, 2), 0.0) is Step.BEGIN
        assert overtaken.look(plan(4, 8, ready=False), 1.0) is Step.REFUSE
        joining = search(4)
        assert joining.look(plan(3, 2), 0.0) is Step.BEGIN
        assert joining.look(plan(4, 4), 1.0) is Step.JOIN

    def test_a_plan_that_is_not_ready_is_waited_for_and_then_made_anew(self) -> None:
        """Its beginner may have died; each new try is waited for again. What this process began itself it goes on with."""
        waiting = search(4)
        assert waiting.look(plan(4, 4, ready=False), 0.0) is Step.WAIT
        assert waiting.look(plan(4, 4, ready=False), PATIENCE - 0.1) is Step.WAIT
        assert waiting.look(plan(5, 4, ready=False), PATIENCE) is Step.WAIT
        assert waiting.look(plan(5, 4, ready=False), 2 * PATIENCE) is Step.BEGIN
        assert search(4).look(plan(4, 4, ready=False, instance="me"), 0.0) is Step.BEGIN


class TestCourse:
    """A partition, read by a lane of generation 2."""

    def course(self) -> Course:
        """Of two lanes."""
        return Course(generation=2, lanes=2)

    def test_only_its_own_entries_are_its(self) -> None:
        """Those of older plans, and of who is about to begin one, are nobody's."""
        course = self.course()
        heard = [
            course.hear(each)
            for each in (
                entry(ENTRY, 1),
                entry(PLAN, 2, 2),
                entry(ENTRY, 1),
                entry(READY, 2, 2),
                entry(FIRST, 1),
                entry(FIRST, 2, 2),
                entry(ENTRY, 2, 2),
                entry(FIRST, 0),
            )
        ]
        assert heard == [False, False, False, True, False, True, True, False]

    def test_it_has_begun_with_ready_or_with_what_only_comes_after(self) -> None:
        """READY may be no longer kept; a writer that only fenced proves nothing."""
        for kind, begun in ((READY, True), (ENTRY, True), (HEARTBEAT, True), (FIRST, False), (PLAN, False)):
            course = self.course()
            course.hear(entry(kind, 2, 2))
            assert course.begun() is begun
            assert course.begins(entry(kind, 2, 2)) is (kind == READY)

    @pytest.mark.parametrize("kind", [PLAN, READY, ENTRY, HEARTBEAT])
    def test_a_newer_plan_ends_it(self, kind: str) -> None:
        """Whatever of it is read first."""
        with pytest.raises(Outdated, match=r"a plan of 4 lanes \(generation 3\), this configuration has 2"):
            self.course().hear(entry(kind, 3, 4))

    def test_once_it_has_begun_any_other_plan_is_newer(self) -> None:
        """Generations begin anew where the ledger was empty for longer than it keeps anything."""
        course = self.course()
        course.hear(entry(PLAN, 1))
        course.hear(entry(READY, 2, 2))
        with pytest.raises(Outdated):
            course.hear(entry(PLAN, 1))


def memory() -> Memory:
    """An empty one."""
    return Memory(Window(span=3_600_000, max_identities=1000))


def state(content: int, generation: int, lanes: int, **more: Any) -> Entry:
    """An entry with one state of entity 9."""
    hashes = TRIPLE.pack(100 * generation + content, content, 9)
    return entry(ENTRY, generation, lanes, codes=bytes([STATE | IDENTIFIED | CONTENT]), hashes=hashes, **more)


class TestHeritage:
    """What a lane of a new plan knows."""

    def test_the_newest_plan_has_the_last_word_on_a_state(self) -> None:
        """Though the clock of its partition's broker lies behind, and whichever partition is read first."""
        parts = {
            0: [(state(1, 1, 2), 5000), (entry(READY, 2, 2), 5001)],
            1: [(entry(READY, 2, 2), 100), (state(2, 2, 2), 101)],
        }
        for order in ((0, 1), (1, 0)):
            heritage = Heritage()
            for partition in order:
                for each, at in parts[partition]:
                    heritage.take(partition, each, at)
            found = memory()
            heritage.into(found)
            probe = STATE | CONTENT
            assert found.window.judge(probe, 0, 2, 9) & 7 == 1  # unchanged
            assert found.window.judge(probe, 0, 1, 9) & 7 == 0
            assert len(found.window) == 2

    def test_positions_and_learned_ids_of_all_lanes_are_kept(self) -> None:
        """And who wrote last before: only others make what waits here late."""
        heritage = Heritage()
        heritage.take(0, entry(ENTRY, 1, 2, journal="a", position=7, learned=[Learned("cs2", "offer", "match")]), 1000)
        heritage.take(1, entry(HEARTBEAT, 1, 2, journal="b", position=9), 1000)
        found = memory()
        heritage.into(found)
        assert {name: position for name, (position, _) in found.positions.items()} == {"a": 7, "b": 9}
        assert found.learned.get("cs2", "offer") == "match"

    def test_a_cursor_is_that_of_the_lane_that_is_furthest_back(self) -> None:
        """None where one lane has none: it has read nothing."""
        heritage = Heritage()
        heritage.take(0, entry(ENTRY, 1, 2, cursors={"settlements": "100", "trades": "5"}), 0)
        heritage.take(1, entry(ENTRY, 1, 2, cursors={"settlements": "99"}), 0)
        found = memory()
        heritage.into(found)
        assert found.cursors == {"settlements": "99"}

    def test_a_lane_that_nobody_had_leaves_what_it_inherited(self) -> None:
        """Generation 2 was never active in lane 1: what may be missing there began in generation 1."""
        heritage = Heritage()
        for each in (entry(ENTRY, 1, 1, connections=[up(50)]), entry(READY, 2, 2)):
            heritage.take(0, each, 0)
        heritage.take(1, entry(READY, 2, 2), 0)
        heritage.take(0, entry(ENTRY, 2, 2, connections=[up(900)]), 0)
        found = memory()
        heritage.into(found)
        assert found.connections["cs2", "list"].last_frame == 50

    def test_gaps_are_those_that_the_last_plan_left_open(self) -> None:
        """Those of plans before it were closed when it began."""
        heritage = Heritage()
        heritage.take(0, entry(ENTRY, 1, 1, connections=[down(10)]), 0)
        assert heritage.open_gaps() == {0: [down(10)]}
        heritage.take(0, entry(READY, 2, 2), 0)
        heritage.take(1, entry(READY, 2, 2), 0)
        assert heritage.open_gaps() == {}
        heritage.take(1, entry(ENTRY, 2, 2, connections=[down(30)]), 0)
        assert heritage.open_gaps() == {1: [down(30)]}


def up(last_frame: int | None) -> Connection:
    """A connection that flows."""
    return Connection("cs2", "list", up=True, last_frame=last_frame)


def down(since: int) -> Connection:
    """One with an open gap."""
    return Connection("cs2", "list", up=False, last_frame=since, gap=f"g{since}", gap_from=since, gap_cause="silence")


GONE = Connection("cs2", "list", up=False)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([up(50), up(40)], up(40)),
        ([up(50), down(45)], up(45)),
        ([down(45), down(30)], up(30)),
        ([GONE, GONE], GONE),
        ([GONE, up(50)], up(50)),
        ([up(50), GONE], up(50)),
        ([up(None), up(50)], up(50)),
    ],
)
def test_a_connection_is_known_by_the_lane_that_is_furthest_behind(
    states: list[Connection], expected: Connection
) -> None:
    """Frames may be missing since its last frame, or since its gap began; one that ended for good misses nothing."""
    found = merged({lane: {("cs2", "list"): each} for lane, each in enumerate(states)})
    assert found == {("cs2", "list"): expected}
