"""One replay over AMQP, from the request to its `snapshot_complete`: the sans-I/O half (contract, sections 3.4 to 4.3).

The shell in `bridge.gateways.amqp` tells what happened and asks what follows. A replay may need several connections, and
several requests: what a broker held in memory only is gone when it restarts, and a terminator may never come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from bridge import markup
from bridge.errors import BadFrame

#: How far back (ms) the gateway replays (contract 3.4), less a minute for clocks that differ.
WINDOW: Final = 3 * 24 * 3600 * 1000
MARGIN: Final = 60_000
#: Requests without an end before the replay is given up.
TRIES: Final = 2
#: Seconds that a replay may take in all, whatever comes.
LONGEST: Final = 3600.0
#: What is routed so is live: it says nothing of a replay.
_LIVE: Final = "hi."
_ALIVE: Final = "alive"
_END: Final = "snapshot_complete"
#: Messages that may be one of the two, by their bytes: all others need not be parsed here.
_MARKS: Final = (b"alive", b"snapshot_complete")
_LONGEST_CONTROL: Final = 4096


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a replay ended.

    complete: the gateway said so; all that it published is committed. since: what was asked for, after: what the gateway
    was asked for (ms since the epoch); after is later where since lies beyond the gateway's window (`clipped`).
    messages: handed on, repeated ones and live ones too. requests: ids of the requests, the last one is the one that
    counts. reason: why it is not complete, None where it is.
    """

    complete: bool
    since: int
    after: int
    messages: int
    requests: list[str]
    reason: str | None = None

    @property
    def clipped(self) -> bool:
        """Whether a part of the time asked for can't be replayed any more."""
        return self.after > self.since


class Replay:
    """A replay of what happened since `since` (ms since the epoch).

    wall: now, ms since the epoch. now: s, monotonic. patience: s without a message of the replay, after which it is asked
    for again, and then given up. chance: uniform in [0, 1).
    """

    def __init__(self, since: int, *, wall: int, now: float, patience: float, chance: Callable[[], float]) -> None:
        """Nothing is asked for yet."""
        self.since = since
        self.after = min(max(since, wall - WINDOW + MARGIN), wall)
        self.requests: list[str] = []
        self.messages = 0
        self.complete = False
        #: When (s, monotonic) it has taken too long, whatever comes.
        self.until = now + LONGEST
        #: Whether the gateway must be asked (again).
        self.wanting = True
        self._patience = patience
        self._chance = chance
        self._quiet_at = now + patience
        self._silences = 0
        #: Whether all that came since the last request survives a restart of the broker; None: nothing came.
        self._persistent: bool | None = None

    @property
    def due(self) -> float:
        """When (s, monotonic) `wait_is_over` wants to be called, unless something comes before."""
        return min(self._quiet_at, self.until)

    def request(self, *, wall: int, now: float) -> str:
        """Return the id of the next request: digits, since other clients of the vhost may take nothing else."""
        self.wanting = False
        self._persistent = None
        self._quiet_at = now + self._patience
        self.requests.append(f"{wall}{int(self._chance() * 10_000):04d}")
        return self.requests[-1]

    def take(self, body: bytes, *, routing_key: str, persistent: bool, now: float) -> bool:
        """A message came. Returns whether it is one to hand on: everything is but `alive`."""
        root = _control(body)
        name = None if root is None else root[0]
        if name == _ALIVE:
            return False
        self.messages += 1
        if not routing_key.startswith(_LIVE):
            self._quiet_at = now + self._patience
            self._persistent = persistent and self._persistent is not False
        if root is not None and name == _END and self.requests and root[1] == self.requests[-1]:
            self.complete = True
        return True

    def busy(self, now: float) -> None:
        """What came is not committed yet, so that nothing more may come: that is no silence of the gateway."""
        self._quiet_at = now + self._patience

    def connected(self, *, queue_kept: bool, now: float) -> None:
        """A connection is there, with its queue. queue_kept: the queue was there already."""
        self._quiet_at = now + self._patience
        if not self.requests or self.complete:
            return
        if not queue_kept or self._persistent is not True:
            # The broker may have lost what it had not delivered yet.
            self.wanting = True

    def wait_is_over(self, now: float) -> bool:
        """`due` is reached. Returns whether it is worth to ask again; else the replay has failed, see `outcome`."""
        if now >= self.until:
            return False
        self._silences += 1
        self.wanting = True
        return self._silences < TRIES

    def outcome(self, reason: str | None = None) -> Outcome:
        """Return how it ended. reason: why it could not go on, where it is not for want of an end."""
        if not self.complete and reason is None:
            tried = f"{len(self.requests)} requests" if len(self.requests) > 1 else "one request"
            reason = f"no snapshot_complete for {tried}, nothing came for {self._patience:g} s"
        return Outcome(
            complete=self.complete,
            since=self.since,
            after=self.after,
            messages=self.messages,
            requests=list(self.requests),
            reason=None if self.complete else reason,
        )


def _control(body: bytes) -> tuple[str, str | None] | None:
    """Return root and request id of a message that may be `alive` or the end; None for all others."""
    if len(body) > _LONGEST_CONTROL or not any(mark in body for mark in _marks(body)):
        return None
    try:
        root = markup.parse(body)
    except BadFrame:
        return None
    return markup.name(root), root.get("request_id")


def _marks(body: bytes) -> tuple[bytes, ...]:
    """What to look for, in the message's own encoding: UTF-16 has a zero byte at its beginning."""
    return _MARKS if b"\0" not in body[:4] else (b"<\0", b"\0<")
