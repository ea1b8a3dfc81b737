"""How far recovery has read what it reads by cursor: TickTock's settlements, the requests of commands.

Pure. Cursors stand in the ledger, in the same transaction as what was read up to them, or a later one: a cursor that is behind
costs reading again, one that is ahead would lose something.
"""

from __future__ import annotations

from typing import Final

#: The place in the topic of requests, an offset: what is before has opened its gap, or was carried out (`REPLAYS`).
REQUESTS: Final = "requests"
REPLAYS: Final = "replays"


class Cursors(dict[str, str]):
    """name → cursor, as the ledger tells it and as it has moved since."""

    def __init__(self, known: dict[str, str] | None = None) -> None:
        """Begin with what the ledger tells."""
        super().__init__(known or {})
        self._said: dict[str, int] = {}
        self._moved: set[str] = set()

    def move(self, name: str, value: str) -> None:
        """Take note of a cursor that moved; `drain` gives it to the ledger."""
        self[name] = value
        self._moved.add(name)

    def drain(self, now: int, span: int) -> dict[str, str]:
        """Return what the next ledger entry must say: what moved, and what was last said half a window ago.

        A successor reads no more of the ledger than one window. now: ms since the epoch. span: of the window, ms.
        """
        due = [name for name in self if name in self._moved or self._said.get(name, 0) + span // 2 <= now]
        self._said.update(dict.fromkeys(due, now))
        self._moved.clear()
        return {name: self[name] for name in due}
