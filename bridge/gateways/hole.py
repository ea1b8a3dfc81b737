"""What a gateway is asked for when a gap is to be filled, and what it answers with.

`bridge.filling` asks, one hole of a gateway at a time; the gateway's `Recoverer` reads REST or a queue and pours what it
finds into a `Basin`, which hands it on like any frame. What was not missing is known by its identity, and published once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec
from pydantic import Field

from bridge.settings import Duration, Settings

#: In place of a connection: all that the gateway has, of a span that was asked for by hand.
ALL: Final = "*"
#: What is asked for begins so much earlier and ends so much later (ms) than the hole: clocks differ, and what happened at its
#: edge may or may not have come.
OVERLAP: Final = 5_000


class RecoverySettings(Settings):
    """What all gateways have below `recovery`."""

    gaps: bool = Field(
        default=True,
        description="Fill gaps over `rest` as soon as they are over; else only `feedbridge gaps fill` does.",
    )
    give_up: Duration = Field(
        900.0, gt=0, description="A gap is given up when nothing could be had for so long, because nobody answers."
    )


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """A time for which frames of a connection may be missing.

    id: of its gap record. connection: its name, or `ALL`. since, until: ms since the epoch. floor: what happened before
    (ms) must be left out, for nobody could tell whether it is published. cursors: where the gateway's reading stands, by
    name.
    """

    id: str
    connection: str
    since: int
    until: int
    cause: str
    floor: int = 0
    cursors: Mapping[str, str] = {}

    @property
    def begin(self) -> int:
        """From when on (ms) there is something to ask for."""
        return max(self.since - OVERLAP, self.floor)

    @property
    def end(self) -> int:
        """Until when (ms) there is something to ask for."""
        return self.until + OVERLAP

    def covers(self, at: int) -> bool:
        """Whether what happened at `at` (ms) is asked for."""
        return self.begin <= at <= self.end


class Filled(msgspec.Struct, frozen=True):
    """What came of a hole.

    state: ``filled``: nothing is missing any more. ``partly``: all that can be had was asked for, but not all can.
    ``lost``: nothing could be had. how: what was asked for, and what can't be had; one line, no secrets.
    """

    state: Literal["filled", "partly", "lost"]
    how: str


class Basin(Protocol):
    """Takes what a recoverer finds."""

    async def pour(
        self, frames: Sequence[bytes], *, hint: str | None = None, cursor: tuple[str, str] | None = None
    ) -> None:
        """Hand on frames as the stream would have sent them, and wait until they are committed.

        hint: as in `Frame`. cursor: (name, value) to go on from when these are committed.
        """

    @property
    def connection(self) -> str:
        """`Frame.connection` of what fills this hole, for who hands on frames by himself."""


class Recoverer(Protocol):
    """What a gateway can do about missing frames. settings: see `RecoverySettings`.

    interval: s between calls of `keep_up`, None: none are wanted.
    """

    @property
    def settings(self) -> RecoverySettings: ...  # noqa: D102

    @property
    def interval(self) -> float | None: ...  # noqa: D102

    async def recover(self, hole: Hole, basin: Basin) -> Filled:
        """Have all that can be had poured, from the beginning: what was poured before is known by its identity.

        Raises Unreachable, BadData (it is tried again), Refused (it is not).
        """

    async def keep_up(self, cursors: Mapping[str, str], basin: Basin, *, floor: int) -> None:
        """Move cursors while nothing is missing. floor: as in `Hole`. Raises as `recover`."""

    async def close(self) -> None:
        """Let connections go."""
