"""What TickTock has of a time that was missed: the log of settlements over REST, and the replay over AMQP.

Rounds, kills and bombs are not asked for: REST lists them in shapes that nobody has seen (contract 6.14), without an id, and
without the sequence number that identifies the stream's frames; so one that was received could not be told from one that
was missed, and would be published twice. The states of matches and markets come with the stream's own snapshot.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from bridge.errors import Refused
from bridge.gateways.hole import Basin, Filled, Hole, RecoverySettings
from bridge.gateways.replay import Outcome
from bridge.gateways.rest import Rest
from bridge.gateways.settlements import Settlements
from bridge.recovery import REQUESTED

#: The cursor of the log.
SETTLEMENTS: Final = "settlements"
#: The replay holds what changed since then, by the gateway's clock: it begins so much earlier (ms).
EARLIER: Final = 60_000
_MISSING: Final = "rounds, events and states in between can't be had"


class Replayer(Protocol):
    """Has everything published over AMQP since a moment; see `bridge.gateways.amqp.AmqpReplay`."""

    def __call__(self, since: int, *, connection: str) -> Awaitable[Outcome]: ...  # noqa: D102


class TickTockRecoverer:
    """See `bridge.gateways.hole.Recoverer`. replay: None where AMQP is not configured. now: ms since the epoch."""

    def __init__(
        self,
        settings: RecoverySettings,
        rest: Rest,
        replay: Replayer | None,
        *,
        interval: float | None,
        now: Callable[[], int],
        log: Callable[[Rest], Settlements] = Settlements,
    ) -> None:
        """See the class."""
        self.settings = settings
        self.interval = interval
        self._rest = rest
        self._settlements = log(rest)
        self._replay = replay
        self._now = now
        #: Since when the last replay that was complete went back, and when it was asked for (ms).
        self._replayed: tuple[int, int] | None = None

    async def recover(self, hole: Hole, basin: Basin) -> Filled:
        """See `Recoverer`."""
        good, said = await self._log(hole, basin)
        told = [said]
        if self._replay is not None:
            complete, said = await self._over_amqp(self._replay, hole, basin)
            good = good or complete
            told.append(said)
        told.append(_MISSING)
        return Filled("partly" if good else "lost", "; ".join(told))

    async def close(self) -> None:
        """See `Recoverer`."""
        await self._rest.close()

    async def keep_up(self, cursors: Mapping[str, str], basin: Basin, *, floor: int) -> None:
        """Read the log to its end, so that the cursor is never far behind. See `Recoverer`."""
        cursor = cursors.get(SETTLEMENTS)
        if cursor is None:
            newest = await self._settlements.newest()
            if newest is not None:
                await basin.pour([], cursor=(SETTLEMENTS, newest))
            return
        async for page in self._settlements.after(cursor):
            await basin.pour(page.since(floor), cursor=(SETTLEMENTS, page.cursor))

    async def _over_amqp(self, replay: Replayer, hole: Hole, basin: Basin) -> tuple[bool, str]:
        """Have it replayed, unless that was done for another connection's gap of the time; whether it was complete."""
        since = max(hole.begin - EARLIER, 0)
        if self._replayed is not None and hole.cause != REQUESTED:
            began, asked = self._replayed
            if began <= since and hole.until <= asked:
                return True, "replay over AMQP, for another gap of that time"
        asked = self._now()
        outcome = await replay(since, connection=basin.connection)
        if outcome.complete:
            self._replayed = outcome.after, asked
        return outcome.complete, _replayed(outcome)

    async def _log(self, hole: Hole, basin: Basin) -> tuple[bool, str]:
        """Read the log; whether all of it that the hole may have missed was there, or some, and in words."""
        try:
            cursor = hole.cursors.get(SETTLEMENTS)
            if cursor is None:
                return await self._last(hole, basin)
            async for page in self._settlements.after(cursor):
                await basin.pour(page.since(hole.floor), cursor=(SETTLEMENTS, page.cursor))
        except Refused as refused:
            return False, f"settlements over REST refused: {refused}"
        if hole.floor > hole.since:
            return True, "settlements over REST, but for those so old that nobody can tell whether they are published"
        return True, "all settlements over REST"

    async def _last(self, hole: Hole, basin: Basin) -> tuple[bool, str]:
        """Read the newest entries: nothing tells where the log was when the gap began."""
        page, whole = await self._settlements.last()
        if page is None:
            return True, "no settlements over REST"
        await basin.pour(page.since(hole.begin), cursor=(SETTLEMENTS, page.cursor))
        first = page.times[0]
        if whole or (first is not None and first < hole.begin):
            return True, "all settlements over REST"
        return True, f"the last {len(page.frames)} settlements over REST"


def _replayed(outcome: Outcome) -> str:
    if not outcome.complete:
        return f"replay over AMQP not complete: {outcome.reason}"
    return "replay over AMQP" + (" of the last three days" if outcome.clipped else "")
