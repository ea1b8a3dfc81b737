"""When this process's own connections received, told from its own journal.

Pure. A gap of the active process is filled by a standby only if the standby's own connection was up for all of it. Who
takes over must know that, whether its journal was read as a standby or as the active; so events are fed in the order of
the journal, each once, however often the journal is read. Times are ms since the epoch, by this process's clock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.frame import Frame

#: Spans remembered for each connection.
SPANS: Final = 32
#: Clocks of two machines are taken to agree as well as this (ms).
MARGIN: Final = 1000


class Lapse(NamedTuple):
    """Why a connection does not receive. since: its last frame, ms.

    unread: it is connected, but the journal takes nothing. gone: it ended for good and misses nothing.
    """

    cause: str
    since: int
    unread: bool = False
    gone: bool = False


class Presence:
    """The spans in which each connection received."""

    def __init__(self) -> None:
        """Nothing was looked at yet."""
        self._looked = 0
        #: (gateway, connection) → [begin, end or None]
        self._spans: dict[tuple[str, str], deque[list[int | None]]] = {}
        self._lapses: dict[tuple[str, str], Lapse] = {}
        self._heard: dict[tuple[str, str], int] = {}

    def event(self, position: int, frame: Frame, event: str, facts: Mapping[str, Any]) -> None:
        """Take an event of the own journal; one that was taken before changes nothing."""
        if position < self._looked:
            return
        self._looked = position + 1
        key = (frame.gateway, frame.connection)
        if event == "start":
            # Another process wrote what stands before this.
            self._spans.clear()
            self._lapses.clear()
            self._heard.clear()
        elif event in {"up", "read"}:
            if key not in self._spans or key in self._lapses:
                self._spans.setdefault(key, deque(maxlen=SPANS)).append([frame.received, None])
            self._lapses.pop(key, None)
        elif event in {"down", "unread", "gone"}:
            end = min(facts.get("since", frame.received), frame.received)
            before = self._lapses.get(key)
            if before is not None:
                end = before.since
            elif key in self._spans:
                self._spans[key][-1][1] = end
            cause = facts.get("cause", "journal_full" if event == "unread" else "disconnect")
            self._lapses[key] = Lapse(cause, end, unread=event == "unread", gone=event == "gone")

    def heard(self, gateway: str, connection: str, received: int) -> None:
        """Take note of a frame that came."""
        self._heard[gateway, connection] = received

    def up(self, gateway: str, connection: str) -> bool:
        """Whether the connection receives."""
        key = (gateway, connection)
        return key in self._spans and key not in self._lapses

    def lapse(self, gateway: str, connection: str) -> Lapse | None:
        """Why it does not receive; None where it does, or never was up."""
        return self._lapses.get((gateway, connection))

    def throughout(self, gateway: str, connection: str, begin: int, end: int | None) -> bool:
        """Whether it received from `begin` to `end` (None: to this moment), and that is proved by a frame after it."""
        key = (gateway, connection)
        for since, until in self._spans.get(key, ()):
            if since is not None and since + MARGIN <= begin:
                if end is None:
                    if until is None:
                        return True
                elif (self._heard.get(key, 0) if until is None else until) >= end:
                    return True
        return False
