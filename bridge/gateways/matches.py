"""Which of TickTock's matches to hold a stream for: those that are live, as many as may be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

#: Seconds that a match's stream is kept after the match has left the list: its last settlements come late.
LINGER: Final = 120.0


class Turn(NamedTuple):
    """What follows from a reading of the list: streams to hold, streams to close, matches that find no room."""

    hold: list[str]
    close: list[str]
    left_out: list[str]


class Matches:
    """limit: streams at a time. held: matches whose stream is open already. Times are seconds of a monotonic clock."""

    def __init__(self, limit: int, *, held: Sequence[str] = (), now: float = 0.0) -> None:
        """Hold what is held."""
        self._limit = limit
        self._seen: dict[str, float] = dict.fromkeys(held, now)

    def listed(self, live: Sequence[str], now: float) -> Turn:
        """Take the list of live matches, in its order.

        A match that is held stays held; one that has left the list is held on for a while, unless its room is needed.
        """
        wanted = set(live)
        stay = [match for match in self._seen if match in wanted]
        new = [match for match in live if match not in self._seen]
        hold = [*stay, *new][: self._limit]
        left_out = [*stay, *new][self._limit :]
        gone = [match for match, seen in self._seen.items() if match not in wanted]
        # Those that left first go first.
        linger = sorted(
            (match for match in gone if now - self._seen[match] <= LINGER), key=lambda each: self._seen[each]
        )
        room = self._limit - len(hold)
        kept = linger[len(linger) - room :] if room < len(linger) else linger
        close = [match for match in gone if match not in kept]
        for match in close:
            del self._seen[match]
        self._seen.update(dict.fromkeys(hold, now))
        return Turn(hold, close, left_out)
