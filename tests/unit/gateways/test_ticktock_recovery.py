"""bridge.gateways.ticktock_recovery: what is asked for, in which order, and what is said of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import msgspec
import pytest

from bridge.errors import Refused
from bridge.gateways.hole import OVERLAP, Basin, Hole
from bridge.gateways.replay import Outcome
from bridge.gateways.rest import Rest
from bridge.gateways.settlements import Page, Settlements
from bridge.gateways.ticktock import TickTockRecoverySettings
from bridge.gateways.ticktock_recovery import EARLIER, SETTLEMENTS, TickTockRecoverer

HOUR = 3_600_000


class Log:
    """The log of settlements: one entry an hour, its time its id in hours; refused where told."""

    def __init__(self, hours: int, *, refused: bool = False, page: int = 2) -> None:
        self._hours, self._refused, self._page = hours, refused, page

    def of(self, hours: Sequence[int]) -> Page:
        """A page."""
        return Page([b"%d" % each for each in hours], str(hours[-1]), [each * HOUR for each in hours])

    async def newest(self) -> str | None:
        """The last id."""
        return str(self._hours) if self._hours else None

    async def last(self) -> tuple[Page | None, bool]:
        """The last page."""
        first = max(1, self._hours - self._page + 1)
        return (self.of(range(first, self._hours + 1)) if self._hours else None), first == 1

    async def after(self, cursor: str) -> AsyncIterator[Page]:
        """Pages."""
        if self._refused:
            raise Refused("HTTP 403")
        for start in range(int(cursor) + 1, self._hours + 1, self._page):
            yield self.of(range(start, min(start + self._page, self._hours + 1)))


class Bowl(Basin):
    """Remembers what is poured."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.cursors: list[tuple[str, str]] = []

    @property
    def connection(self) -> str:
        """A name."""
        return "fill:x"

    async def pour(
        self, frames: Sequence[bytes], *, hint: str | None = None, cursor: tuple[str, str] | None = None
    ) -> None:
        """Remember."""
        assert hint is None
        self.frames += frames
        if cursor is not None:
            self.cursors.append(cursor)


def recoverer(
    log: Log, outcome: Outcome | None = None, asked: list[tuple[int, str]] | None = None
) -> TickTockRecoverer:
    """Over that log, and a replay with that outcome."""

    async def replay(since: int, *, connection: str) -> Outcome:
        assert outcome is not None
        if asked is not None:
            asked.append((since, connection))
        return outcome

    return TickTockRecoverer(
        TickTockRecoverySettings.model_validate({}),
        cast("Rest", None),
        None if outcome is None else replay,
        interval=60,
        now=lambda: 10 * HOUR,
        log=lambda _: cast("Settlements", log),
    )


def missing(**more: Any) -> Hole:
    """From three to five o'clock."""
    facts: dict[str, Any] = {"cursors": {SETTLEMENTS: "2"}, **more}
    return Hole(id="x", connection="list", since=3 * HOUR, until=5 * HOUR, cause="disconnect", **facts)


COMPLETE = Outcome(complete=True, since=0, after=0, messages=3, requests=["1"])
REST_ONLY = "all settlements over REST; rounds, events and states in between can't be had"


async def test_the_log_is_read_from_the_cursor_to_its_end() -> None:
    """Each page moves the cursor, in the same breath."""
    bowl = Bowl()
    filled = await recoverer(Log(6)).recover(missing(), bowl)
    assert bowl.frames == [b"3", b"4", b"5", b"6"]
    assert bowl.cursors == [(SETTLEMENTS, "4"), (SETTLEMENTS, "6")]
    assert (filled.state, filled.how) == ("partly", REST_ONLY)


async def test_what_may_have_been_published_and_forgotten_is_left_out_and_said() -> None:
    """The cursor passes it all the same."""
    bowl = Bowl()
    filled = await recoverer(Log(6)).recover(missing(floor=4 * HOUR), bowl)
    assert bowl.frames == [b"4", b"5", b"6"]
    assert bowl.cursors[-1] == (SETTLEMENTS, "6")
    assert "so old that nobody can tell" in filled.how


@pytest.mark.parametrize(
    ("page", "frames", "how"),
    [(6, [b"3", b"4", b"5", b"6"], REST_ONLY), (2, [b"5", b"6"], REST_ONLY.replace("all", "the last 2"))],
)
async def test_without_a_cursor_the_newest_entries_are_all_there_is(page: int, frames: list[bytes], how: str) -> None:
    """Whether they reach back to the gap is said; the cursor is there from then on."""
    bowl = Bowl()
    filled = await recoverer(Log(6, page=page)).recover(missing(cursors={}), bowl)
    assert bowl.frames == frames
    assert bowl.cursors == [(SETTLEMENTS, "6")]
    assert filled.how == how


async def test_the_replay_begins_before_the_gap() -> None:
    """Its frames fill the same gap."""
    asked: list[tuple[int, str]] = []
    filled = await recoverer(Log(2), COMPLETE, asked).recover(missing(), Bowl())
    assert asked == [(3 * HOUR - OVERLAP - EARLIER, "fill:x")]
    assert filled.how.startswith("all settlements over REST; replay over AMQP; ")


async def test_one_replay_serves_the_gaps_of_several_connections() -> None:
    """Each match has a stream of its own, and all break together; a later gap, and one by hand, are asked for anew."""
    asked: list[tuple[int, str]] = []
    since = 3 * HOUR - OVERLAP - EARLIER
    one = recoverer(Log(2), msgspec.structs.replace(COMPLETE, after=since), asked)
    await one.recover(missing(), Bowl())
    filled = await one.recover(missing(), Bowl())
    assert "replay over AMQP, for another gap of that time" in filled.how
    assert len(asked) == 1
    later = msgspec.structs.replace(missing(), since=11 * HOUR, until=12 * HOUR)
    for more, count in ((later, 2), (msgspec.structs.replace(missing(), cause="requested"), 3)):
        await one.recover(more, Bowl())
        assert len(asked) == count


async def test_a_refused_log_leaves_the_replay_and_nothing_leaves_it_lost() -> None:
    """A key may lack either scope."""
    filled = await recoverer(Log(6, refused=True), COMPLETE).recover(missing(), Bowl())
    assert filled.state == "partly"
    failed = Outcome(complete=False, since=0, after=0, messages=0, requests=[], reason="HTTP 403")
    filled = await recoverer(Log(6, refused=True), failed).recover(missing(), Bowl())
    assert filled.state == "lost"
    assert filled.how.startswith("settlements over REST refused: HTTP 403; replay over AMQP not complete: HTTP 403")


async def test_the_cursor_is_kept_near_the_end() -> None:
    """Where there is none it begins at the newest entry, and no entry is handed on."""
    bowl = Bowl()
    await recoverer(Log(6)).keep_up({}, bowl, floor=0)
    await recoverer(Log(6)).keep_up({SETTLEMENTS: "4"}, bowl, floor=6 * HOUR)
    await recoverer(Log(0)).keep_up({}, bowl, floor=0)
    assert bowl.frames == [b"6"]
    assert bowl.cursors == [(SETTLEMENTS, "6"), (SETTLEMENTS, "6")]
