"""The window of identities: tells whether a frame is new, a duplicate, unchanged or a collision.

Pure: it is fed with hashes and a time and answers with a code; no clock, no I/O. What it answers is what
the ledger stores, and `Window.replay` rebuilds the very same window from it, so that a restarted or another
process judges the next frame exactly as this one would have (design section 7).

Three 64-bit hashes stand for a frame. *identity*: gateway, type and identity values. *content*: gateway, type
and the canonical ``data``. *entity*: gateway, family and the frame's own entity.
"""

from __future__ import annotations

import struct
from array import array
from collections import OrderedDict, deque
from typing import Final

from bridge.frame import Disposition

#: A code is one byte: a `Disposition` in the low three bits, traits above.
DISPOSITION_MASK: Final = 0b111
TRIPLE: Final = struct.Struct("<QQQ")
ORDER: Final = struct.Struct("<q")
#: A slice of the window is closed at this many identities or after 1/64 of the span; it expires as a whole.
SLICE_IDENTITIES: Final = 4096
SLICES_PER_SPAN: Final = 64


# Traits: what the window must know of a frame beside its hashes; stored with the disposition. Plain integers: an
# enum's operators cost more than all the rest of this module.
#: A state: compared with, and becomes, the last published record of its entity.
STATE: Final = 0x08
#: The identity hash identifies: it is looked up in, and enters, the window.
IDENTIFIED: Final = 0x10
#: Equality needs identity and content; without it identity alone decides.
CONTENT: Final = 0x20
#: An event that REST may repeat without its identity: content alone is matched between the two sources.
MATCHED: Final = 0x40
#: The frame came over REST; with `MATCHED` and a duplicate: a record from REST absorbed this live frame.
FROM_REST: Final = 0x80

PUBLISHED: Final = int(Disposition.PUBLISHED)
UNCHANGED: Final = int(Disposition.UNCHANGED)
DUPLICATE: Final = int(Disposition.DUPLICATE)


class Window:
    """What is published and when, as far back as both limits allow.

    span: ms. max_identities: how many identities are remembered at most. keep_unchanged: publish a state even if the
    last record of its entity was the same.
    """

    def __init__(self, *, span: int, max_identities: int, keep_unchanged: bool = False) -> None:
        """Start empty."""
        self.span = span
        self.max_identities = max_identities
        self.keep_unchanged = keep_unchanged
        # native/stages.c looks into the dictionaries too, and enters what is new in every respect.
        #: identity → content of the first record that had it
        self._seen: dict[int, int] = {}
        #: identity → the other contents that came with it, oldest first; rare
        self._variants: dict[int, list[int]] = {}
        #: content → [how many records have it, how many of those came over REST and no live frame has matched yet]
        self._contents: dict[int, list[int]] = {}
        #: entity → (content, time, order) of its last published state, least recently published first
        self._last: OrderedDict[int, tuple[int, int, int]] = OrderedDict()
        self._slices: deque[_Slice] = deque()
        self._slice = _Slice(0)
        #: The slice is closed at the first frame later than this (ms).
        self._until = 0.0
        #: Set by `admit`: the frame it admitted has a known identity but other content.
        self.collision = False
        #: What came before this time (ms) may have been forgotten; None: nothing was yet.
        self._forgotten: int | None = None

    def __len__(self) -> int:
        """How many identities are remembered."""
        return len(self._seen)

    def oldest(self) -> int | None:
        """Since when (ms) the window is complete; None while it is empty."""
        first = self._slices[0] if self._slices else self._slice
        return first.start if first.identities or first.contents else None

    def forgotten_after(self, count: int) -> int | None:
        """Up to when (ms) something is forgotten once `count` more identities have come; None: nothing."""
        over = len(self._seen) + count - self.max_identities
        forgotten = self._forgotten
        for old in self._slices if over > 0 else ():
            if over <= 0:
                break
            over -= len(old.identities)
            forgotten = old.end
        return forgotten

    def admit(self, traits: int, identity: int, content: int, entity: int, now: int) -> int:
        """Judge one frame and remember the answer.

        Returns the code for the ledger: `traits` plus a `Disposition`. A plain duplicate leaves no trace.
        """
        code = self.judge(traits, identity, content, entity)
        if code & DISPOSITION_MASK != DUPLICATE or code & FROM_REST:
            self.remember(code, identity, content, entity, now)
        return code

    def judge(self, traits: int, identity: int, content: int, entity: int) -> int:
        """What `admit` would answer; nothing is remembered.

        After PUBLISHED, `collision` says whether the identity was known with other content.
        """
        self.collision = False
        if traits & IDENTIFIED:
            known = self._seen.get(identity)
            if known is not None:
                if not traits & CONTENT or known == content or content in self._variants.get(identity, ()):
                    return (traits | DUPLICATE) & ~FROM_REST
                self.collision = True
        if traits & MATCHED:
            records = self._contents.get(content)
            if records is not None:
                if traits & FROM_REST:
                    return (traits | DUPLICATE) & ~FROM_REST
                if records[1]:
                    # One live frame for each REST record: the match is used up, which the ledger must know.
                    return traits | FROM_REST | DUPLICATE
        if traits & STATE and not self.keep_unchanged:
            last = self._last.get(entity)
            if last is not None and last[0] == content:
                return traits | UNCHANGED
        return traits

    def newest(self, entity: int) -> int:
        """The gateway's time (ms) of the last state of an entity that the ledger told; 0: not known, or not from there."""
        last = self._last.get(entity)
        return 0 if last is None else last[2]

    def last(self, entity: int) -> tuple[int, int] | None:
        """Content of the last published state of an entity, and when (ms) that was; None: not known."""
        last = self._last.get(entity)
        return None if last is None else last[:2]

    def remember(  # noqa: PLR0917 - keywords would cost as much as what it does
        self, code: int, identity: int, content: int, entity: int, now: int, order: int = 0
    ) -> None:
        """Take in one disposed frame: the one way into the window, live and from the ledger.

        order: of a state, its time by the gateway (ms); 0: not known. What is published live has none: states that this
        process received are ordered by its journal.
        """
        current = self._slice
        if now > self._until or len(current.identities) >= SLICE_IDENTITIES:
            current = self._turn(now)
        if code & IDENTIFIED:
            known = self._seen.setdefault(identity, content)
            if known != content and code & CONTENT:
                self._variants.setdefault(identity, []).append(content)
            current.identities.append(identity)
        disposition = code & DISPOSITION_MASK
        if code & MATCHED:
            records = self._contents.setdefault(content, [0, 0])
            if disposition == DUPLICATE:
                records[1] = max(records[1] - 1, 0)
            elif code & FROM_REST:
                records[1] += 1
            records[0] += 1
            current.contents.append(content)
        if code & STATE:
            if disposition == PUBLISHED:
                self._last[entity] = (content, now, order)
                self._last.move_to_end(entity)
            elif order and (last := self._last.get(entity)) is not None and order > last[2]:
                self._last[entity] = (last[0], last[1], order)  # it still was so at that time

    def place(self, now: int) -> tuple[array[int], array[int], int]:
        """The slice for a frame to be remembered: its identities, its contents, for how many more it has room."""
        current = self._slice
        if now > self._until or len(current.identities) >= SLICE_IDENTITIES:
            current = self._turn(now)
        return current.identities, current.contents, SLICE_IDENTITIES - len(current.identities)

    def replay(self, codes: bytes, hashes: bytes, at: int, orders: bytes = b"") -> None:
        """Take in the frames of one ledger entry, in order. at: the entry's time (ms). orders: of those that are states."""
        if not orders:
            for code, (identity, content, entity) in zip(codes, TRIPLE.iter_unpack(hashes), strict=True):
                self.remember(code, identity, content, entity, at)
            return
        told = ORDER.iter_unpack(orders)
        for code, (identity, content, entity) in zip(codes, TRIPLE.iter_unpack(hashes), strict=True):
            order = next(told)[0] if code & STATE else 0
            self.remember(code, identity, content, entity, at, order)

    def expire(self, now: int) -> None:
        """Forget what is older than the span. now: when the oldest frame not yet judged was received (ms)."""
        horizon = now - self.span
        slices = self._slices
        while slices and slices[0].end < horizon:
            self._forget(slices.popleft())
        last = self._last
        while last:
            entity, (_, at, _) = next(iter(last.items()))
            if at >= horizon and len(last) <= self.max_identities:
                break
            del last[entity]

    def _turn(self, now: int) -> _Slice:
        """Begin the next slice, close the present if it has begun; forget what is beyond the number allowed."""
        self._until = now + self.span / SLICES_PER_SPAN
        if not self._slice.start:
            self._slice.start = now
            return self._slice
        self._slice.end = now
        self._slices.append(self._slice)
        self._slice = _Slice(now)
        while self._slices and len(self._seen) > self.max_identities:
            self._forget(self._slices.popleft())
        return self._slice

    def _forget(self, old: _Slice) -> None:
        self._forgotten = old.end
        for identity in old.identities:
            variants = self._variants.get(identity)
            if variants:
                # The identity stands in a later slice too, with other content: that is now its first.
                self._seen[identity] = variants.pop(0)
                if not variants:
                    del self._variants[identity]
            else:
                self._seen.pop(identity, None)
        for content in old.contents:
            records = self._contents[content]
            records[0] -= 1
            if not records[0]:
                del self._contents[content]


class _Slice:
    """What entered the window in one stretch of time, to be forgotten together."""

    __slots__ = ("contents", "end", "identities", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.identities = array("Q")
        self.contents = array("Q")
