"""Gaps are asked for one after the other, on behalf of active lanes alone, until there is an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from bridge.dedupe import Window
from bridge.errors import BadData, Refused, Unreachable
from bridge.filling import FORGOTTEN, MARGIN, NOTHING_TO_ASK, SETTLING, Filling, hole
from bridge.frame import FILL, REST, STREAM, Frame
from bridge.gateways.gateway import Outside
from bridge.gateways.hole import Basin, Filled, Hole, Recoverer, RecoverySettings
from bridge.ledger import Gap, Memory
from tests.unit.gateways.doubles import MemoryIntake

WINDOW = 6 * 3_600_000
START = 1_779_000_000_000


class Clock:
    """Time that passes when somebody sleeps; monotonic and wall clock go together."""

    def __init__(self) -> None:
        self.now = 0.0

    def outside(self) -> Outside:
        """What the worker is given."""

        async def sleep(seconds: float) -> None:
            self.now += seconds
            await asyncio.sleep(0)

        return Outside(
            wall=lambda: START + round(self.now * 1000), monotonic=lambda: self.now, sleep=sleep, chance=lambda: 0.5
        )


class Answers(Recoverer):
    """A recoverer that does what a test lists, one thing after the other; the last again and again."""

    interval: float | None = None

    def __init__(self, *answers: Filled | Exception | list[bytes] | Literal["hang"]) -> None:
        self.answers = list(answers)
        self.asked: list[Hole] = []
        self.running = self.most = 0
        self.kept_up: list[tuple[dict[str, str], int]] = []

    @property
    def settings(self) -> RecoverySettings:
        """Give up after a minute."""
        return RecoverySettings.model_validate({"give_up": "1m"})

    async def recover(self, hole: Hole, basin: Basin) -> Filled:
        """Do what is next."""
        self.asked.append(hole)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer == "hang":
                await asyncio.Event().wait()
            if isinstance(answer, list):
                await basin.pour(answer, cursor=("log", answer[-1].decode()))
                return Filled("partly", "poured")
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Filled)
            return answer
        finally:
            self.running -= 1

    async def keep_up(self, cursors: Mapping[str, str], basin: Basin, *, floor: int) -> None:
        """Remember where."""
        self.kept_up.append((dict(cursors), floor))
        await basin.pour([], cursor=("log", "1"))

    async def close(self) -> None:
        """Nothing is held."""


class World:
    """A filling at work, with its clock and what it handed in."""

    def __init__(self, recoverer: Recoverer | None) -> None:
        self.clock = Clock()
        self.intake = MemoryIntake()
        self.told: list[int] = []
        self.flows = True
        self.filling = Filling(
            {"cs2": recoverer},
            intake=self.intake,
            outside=self.clock.outside(),
            span=WINDOW,
            connected=lambda: {"cs2": self.flows},
            told=lambda lane, _: self.told.append(lane),
        )

    def want(self, *holes: Hole, lane: int = 0, cursors: Mapping[str, str] | None = None) -> None:
        """What a lane says."""
        self.filling.want(lane, [("cs2", each) for each in holes], {"cs2/log": "7"} if cursors is None else cursors)

    @property
    def judged(self) -> list[dict[str, Any]]:
        """What was said of gaps."""
        return [facts for _, event, facts in self.intake.events if event == "recovered"]

    async def until(self, state: Callable[[], object]) -> None:
        """Let the loop turn until a state holds."""
        async with asyncio.timeout(5):
            while not state():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.001)


@asynccontextmanager
async def at_work(recoverer: Recoverer | None) -> AsyncIterator[World]:
    """A filling that runs."""
    world = World(recoverer)
    task = asyncio.create_task(world.filling.run())
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def missing(number: int = 0, *, lane: int = 0, ago: float = 60.0, cause: str = "disconnect") -> Hole:
    """A hole that ended so many seconds ago."""
    until = START - round(ago * 1000)
    return Hole(
        id=f"cs2/list/{until - 5000 - number}/{lane}", connection="list", since=until - 5000, until=until, cause=cause
    )


GOOD = Filled("partly", "settlements over REST")


async def test_a_gap_is_asked_for_and_what_came_of_it_follows_what_was_found() -> None:
    """Frames first, with the gap's id, then the cursor behind them, then the judgement: so the lane counts all of them."""
    async with at_work(Answers([b"one", b"two"])) as world:
        gap = missing()
        world.want(gap)
        await world.until(lambda: world.judged)
    assert [(each.connection, each.source, each.raw) for each in world.intake.frames] == [
        (FILL + gap.id, REST, b"one"),
        (FILL + gap.id, REST, b"two"),
    ]
    assert [(event, facts) for _, event, facts in world.intake.events] == [
        ("cursor", {"name": "cs2/log", "value": "two"}),
        ("recovered", {"gap": gap.id, "state": "partly", "how": "poured"}),
    ]
    assert world.intake.positions == [2, 2]


async def test_gaps_of_a_gateway_are_filled_one_after_the_other_oldest_first() -> None:
    """Two at once, and one more that comes while they are filled."""
    answers = Answers(GOOD)
    async with at_work(answers) as world:
        first, second, third = missing(ago=90), missing(ago=60), missing(ago=30)
        world.want(second, first)
        await world.until(lambda: answers.asked)
        world.want(second, first, third)
        await world.until(lambda: len(world.judged) == 3)
    assert [each.id for each in answers.asked] == [first.id, second.id, third.id]
    assert answers.most == 1


async def test_nothing_is_asked_for_twice_while_the_judgement_is_under_way() -> None:
    """Until it is committed, however long that takes; a judgement that was lost is asked for again."""
    answers = Answers(GOOD)
    async with at_work(answers) as world:
        world.intake.done = -1
        world.want(missing())
        await world.until(lambda: world.judged)
        world.want(missing())
        world.clock.now += 10 * FORGOTTEN
        await asyncio.sleep(0.05)
        assert len(answers.asked) == 1
        world.intake.done = None
        world.want(missing())
        await asyncio.sleep(0.01)
        world.clock.now += FORGOTTEN + 1
        world.want(missing())
        await world.until(lambda: len(answers.asked) == 2)


async def test_a_gap_that_has_just_ended_is_given_time_to_reach_rest() -> None:
    """What happened at its end may not be there at once."""
    answers = Answers(GOOD)
    async with at_work(answers) as world:
        world.want(missing(ago=SETTLING / 2))
        await asyncio.sleep(0.02)
        assert not answers.asked
        world.clock.now += SETTLING
        world.want(missing(ago=SETTLING / 2))
        await world.until(lambda: answers.asked)


@pytest.mark.parametrize("error", [Unreachable("no answer"), BadData("no JSON")])
async def test_what_fails_is_tried_again(error: Exception) -> None:
    """Down, busy, wrong: until there is an answer."""
    answers = Answers(error, error, error, GOOD)
    async with at_work(answers) as world:
        world.want(missing())
        await world.until(lambda: world.judged)
    assert len(answers.asked) == 4
    assert world.judged[0]["state"] == "partly"


async def test_what_fails_for_too_long_is_given_up_with_the_reason() -> None:
    """A minute, here; another gap is asked for then."""
    async with at_work(Answers(Unreachable("HTTP 503"))) as world:
        world.want(missing())
        await world.until(lambda: world.judged)
        assert 60 <= world.clock.now < 100
    assert world.judged == [{"gap": missing().id, "state": "lost", "how": "given up after 60 s: HTTP 503"}]


async def test_refusals_and_bugs_are_not_tried_again() -> None:
    """Each ends in a state that says so."""
    async with at_work(Answers(Refused("HTTP 403"), ZeroDivisionError(), GOOD)) as world:
        world.want(missing(ago=90), missing(ago=60), missing(ago=30))
        await world.until(lambda: len(world.judged) == 3)
    assert [each["how"] for each in world.judged] == [
        "refused: HTTP 403",
        "internal error: ZeroDivisionError",
        "settlements over REST",
    ]


async def test_a_gateway_without_rest_says_that_there_is_nothing_to_ask() -> None:
    """It was asked for by hand."""
    async with at_work(None) as world:
        world.want(missing(cause="requested"))
        await world.until(lambda: world.judged)
    assert world.judged == [{"gap": missing().id, "state": "lost", "how": NOTHING_TO_ASK}]


async def test_a_lane_that_is_not_active_any_more_has_nothing_asked() -> None:
    """What is under way for it ends at once, and is not judged; active again, it is asked for again."""
    answers = Answers("hang", GOOD)
    async with at_work(answers) as world:
        world.want(missing())
        await world.until(lambda: answers.running)
        world.filling.want(0, None, {})
        await world.until(lambda: not answers.running)
        assert not world.judged
        world.want(missing())
        await world.until(lambda: world.judged)
    assert world.told == [0, 0]


async def test_one_outage_of_several_lanes_is_asked_for_once() -> None:
    """For the whole of the time, and each lane's gap is judged."""
    answers = Answers(GOOD)
    async with at_work(answers) as world:
        one, other = missing(lane=0), missing(1000, lane=1)
        world.filling.want(0, [("cs2", one)], {})
        world.filling.want(1, [("cs2", other)], {})
        await world.until(lambda: len(world.judged) == 2)
    assert len(answers.asked) == 1
    assert {each["gap"] for each in world.judged} == {one.id, other.id}


async def test_what_fills_a_gap_goes_to_active_lanes_alone() -> None:
    """Live frames go to all; so does what an AMQP queue holds for them."""
    world = World(None)
    world.want(lane=1)
    live, found = Frame("cs2", "list", 1, STREAM, b""), Frame("cs2", f"{FILL}x", 1, REST, b"")
    assert world.filling.narrow({0: [live, found], 1: [live, found]}) == {0: [live], 1: [live, found]}


class Log(Answers):
    """A recoverer whose cursor must be moved every ten seconds."""

    interval = 10.0


async def test_the_cursor_is_taken_at_once_where_there_is_none() -> None:
    """Before any gap: what is read from it later is what came since."""
    log = Log(GOOD)
    async with at_work(log) as world:
        world.filling.want(0, [], {})
        await world.until(lambda: log.kept_up)
    assert log.kept_up == [({}, START - WINDOW + MARGIN)]


async def test_cursors_stand_still_while_frames_do_not_flow() -> None:
    """What is read then would count for no gap."""
    log = Log(GOOD)
    async with at_work(log) as world:
        world.flows = False
        world.want()
        world.clock.now += 100
        world.want()
        await asyncio.sleep(0.02)
        world.flows = True
        world.want()
        await asyncio.sleep(0.02)
        assert not log.kept_up
        world.clock.now += 11
        world.want()
        await world.until(lambda: log.kept_up)
    assert log.kept_up[0][0] == {"log": "7"}


async def test_the_cursor_of_the_lane_that_is_furthest_back_counts() -> None:
    """A lane that has none needs all that there is."""
    answers = Answers(GOOD)
    async with at_work(answers) as world:
        world.want(missing(), lane=0, cursors={"cs2/log": "100", "other/log": "1"})
        world.want(lane=1, cursors={"cs2/log": "99"})
        await world.until(lambda: world.judged)
        assert answers.asked[0].cursors == {"log": "99"}
        world.want(lane=2, cursors={})
        world.filling.want(1, None, {})
        assert world.filling.cursors("cs2") == {}


class TestFloor:
    """What nobody can tell to be unpublished is left out."""

    KNOWN = 1_000_000_000

    def at(self, **changes: Any) -> int:
        """The floor of a gap from two hours before the window to one hour before it."""
        facts = {"since": self.KNOWN - 7_200_000, "until": self.KNOWN - 3_600_000, "cause": "stopped", **changes}
        return hole(Gap("i", "cs2", "list", state="open", **facts), self.KNOWN).floor

    def test_a_gap_within_the_window_is_asked_for_whole(self) -> None:
        """Even a little before its begin."""
        assert self.at(since=self.KNOWN + 2 * MARGIN, until=self.KNOWN + 3 * MARGIN) < self.KNOWN + 2 * MARGIN

    def test_what_lies_in_a_gap_was_not_published_however_old_it_is(self) -> None:
        """But for its edge, which may have been received."""
        assert self.at() == self.KNOWN - 7_200_000 + MARGIN

    def test_a_gap_that_was_filled_in_part_before_the_window_is_not_asked_for_again(self) -> None:
        """What was published then is forgotten."""
        assert self.at(recovered=1) == self.KNOWN + MARGIN
        assert self.at(recovered=1, until=self.KNOWN + 1) == self.KNOWN - 7_200_000 + MARGIN

    def test_a_time_that_was_asked_for_is_no_gap(self) -> None:
        """Its frames may have been published."""
        assert self.at(cause="requested") == self.KNOWN + MARGIN


def test_the_window_tells_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its span, by what it had to forget, and by what the ledger had to delete."""
    from bridge.filling import known_since

    memory = Memory(Window(span=WINDOW, max_identities=10))
    assert known_since(memory, START) == START - WINDOW
    memory.known_since = START - 100
    assert known_since(memory, START) == START - 100
    monkeypatch.setattr(Window, "forgotten_after", lambda _self, _count: START - 50)
    assert known_since(memory, START) == START - 50
