"""The order books of one connection: of which nothing comes, and of which something is missing. Pure.

Contract 4.6 and 5: a subscription brings a `book_snapshot`; each delta says in `prevSeq` which `seq` of its token it
follows. One that does not is a hole, and only a new snapshot makes the book whole.

The lane finds the same holes (`bridge.continuity`) and records them as gaps. They are looked for here as well, since to ask
for a snapshot is a matter of this one connection, at once: a standby has its own socket with its own holes, and a lane
knows only what is published, later, in another thread, from whichever process. The rule is the same on purpose: a hole that
this side does not see would leave the lane's gap open.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from bridge.gateways.dialect import NEVER

SNAPSHOT: Final = "book_snapshot"
FAILED: Final = "book_snapshot_failed"
#: Seconds within which a snapshot that was asked for, or that a subscription brings, has come.
PATIENCE: Final = 5.0
#: Seconds after a failure; it doubles too.
FAILED_PAUSE: Final = 0.5
#: Seconds between two demands for one book at most; it doubles up to this.
LONGEST: Final = 60.0


class Books:
    """Those that are subscribed to. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        """Nothing is subscribed to."""
        #: Token → since when nothing that tells its book has come: for whoever has it from elsewhere.
        self.silent: dict[str, float] = {}
        #: When `take` has something, if nothing comes before.
        self.due: float = NEVER
        self._tokens: set[str] = set()
        self._seqs: dict[str, int] = {}
        self._awaited: dict[str, _Wait] = {}

    def clear(self) -> None:
        """The connection is gone."""
        self.silent.clear()
        self._tokens.clear()
        self._seqs.clear()
        self._awaited.clear()
        self.due = NEVER

    def begin(self, tokens: Iterable[str], now: float) -> None:
        """These are subscribed to: a snapshot of each is to come."""
        for token in tokens:
            self._tokens.add(token)
            self.silent[token] = now
            self._await(token, now + PATIENCE)

    def end(self, tokens: Iterable[str]) -> None:
        """These are not subscribed to any more."""
        for token in tokens:
            self._tokens.discard(token)
            self.silent.pop(token, None)
            self._seqs.pop(token, None)
            self._awaited.pop(token, None)

    def follow(self, raw: bytes, kind: str, now: float) -> None:
        """Take a frame whose type begins with ``book_``. What can't be read is for the pipeline to judge."""
        try:
            push = _decode(raw)
            follows = kind in {SNAPSHOT, FAILED} or _follows(push, raw, self._seqs.get(push.id))
        except msgspec.MsgspecError:
            return
        if push.id not in self._tokens:
            return
        if kind == FAILED:
            self._failed(push.id, now)
            return
        if kind == SNAPSHOT:
            self._awaited.pop(push.id, None)
            self.silent.pop(push.id, None)
            if not self._awaited:
                self.due = NEVER
        elif push.id not in self._awaited:
            if not follows:
                self._await(push.id, now)
        elif push.id not in self._seqs:
            self.silent.pop(push.id, None)  # the channel speaks, though it still owes the snapshot
        if push.seq is not None:
            self._seqs[push.id] = push.seq

    def take(self, now: float) -> list[str]:
        """Return the tokens whose books are to be asked for now; each is asked for again later, more and more seldom."""
        if now < self.due:
            return []
        asked = []
        self.due = NEVER
        for token, wait in self._awaited.items():
            if wait.ask_at <= now:
                asked.append(token)
                wait.ask_at = now + wait.pause
                wait.pause = min(LONGEST, 2 * wait.pause)
                # Not whole until it comes: meanwhile REST may know it.
                self.silent.setdefault(token, now)
            self.due = min(self.due, wait.ask_at)
        return asked

    def whole(self, token: str) -> bool:
        """Whether no snapshot of it is awaited."""
        return token not in self._awaited

    def spoke(self, token: str) -> bool:
        """Whether anything with a number has come of it: the channel does serve this book."""
        return token in self._seqs

    def _await(self, token: str, ask_at: float) -> None:
        if token not in self._awaited:
            self._awaited[token] = _Wait(ask_at)
            self.due = min(self.due, ask_at)

    def _failed(self, token: str, now: float) -> None:
        wait = self._awaited.setdefault(token, _Wait(NEVER))
        wait.ask_at = now + wait.retry
        wait.retry = min(LONGEST, 2 * wait.retry)
        self.due = min(self.due, wait.ask_at)


class _Wait(msgspec.Struct):
    """A snapshot that is awaited. ask_at: when to ask for it. pause, retry: s until the next time, if nothing or a failure comes."""

    ask_at: float
    pause: float = PATIENCE
    retry: float = FAILED_PAUSE


class _Push(msgspec.Struct, gc=False):
    id: str = ""
    seq: int | None = None
    prevSeq: int | None = None  # noqa: N815 - the gateway's name


class _Data(msgspec.Struct, frozen=True, gc=False):
    prevSeq: int | None = None  # noqa: N815 - the gateway's name


class _Nested(msgspec.Struct, gc=False):
    data: _Data = _Data()


_decode: Final = msgspec.json.Decoder(_Push).decode
_decode_data: Final = msgspec.json.Decoder(_Nested).decode


def _follows(push: _Push, raw: bytes, last: int | None) -> bool:
    """Whether nothing is missing between the frame of number `last` and this; who does not say what it follows, proves nothing."""
    if last is None or push.seq == last:
        return True
    previous = push.prevSeq
    if previous is None:
        previous = _decode_data(raw).data.prevSeq
    return previous is None or previous == last
