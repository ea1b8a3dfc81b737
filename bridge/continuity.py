"""Chains of frames: an entity whose frames name the one before, so that a missing one shows.

Pure. The book of a PredictStreet token is a chain: each delta says which sequence number it follows (contract 5.1). What
is checked is the stream as published, in its order, whichever process and connection it came from: the numbers are the
matcher's own. The last number of each entity stands in the ledger, so that a successor finds the same breaks.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final, NamedTuple

#: Entities whose last number is remembered at most; those longest unseen are forgotten first.
MAX_CHAINS: Final = 50_000
_LINK: Final = struct.Struct("<Qqq")
#: In place of a number: whatever comes next begins anew.
_UNKNOWN: Final = -1


class Break(NamedTuple):
    """Frames are missing after number `seq`, whose frame was received at `at` (ms since the epoch)."""

    seq: int
    at: int


class Chains:
    """entity → number and time of its last published frame. An entity is a 64-bit hash."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._links: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._changed: set[int] = set()

    def __len__(self) -> int:
        """How many entities are known."""
        return len(self._links)

    def follow(self, entity: int, seq: int, previous: int | None, at: int, *, late: bool = False) -> Break | None:
        """Take a published frame; returns the break before it, if there is one.

        previous: the number it says it follows; None: it does not say, and proves nothing. late: of a time that others
        have published already: an older number than the last is then no surprise. at: when received, ms.
        """
        known = self._links.get(entity)
        if known is None or known[0] == _UNKNOWN:
            self.begin(entity, seq, at)
            return None
        last = known[0]
        if seq == last or (seq < last and (late or previous is None)):
            return None  # the same change told by two types, or one of the past
        self.begin(entity, seq, at)
        return Break(*known) if previous is not None and previous != last else None

    def newer(self, entity: int, seq: int | None) -> bool:
        """Whether a number is beyond the last that is known."""
        known = self._links.get(entity)
        return known is None or (seq is not None and seq > known[0])

    def begin(self, entity: int, seq: int, at: int) -> None:
        """Go on from here, whatever was before: the frame holds all that there is."""
        links = self._links
        links[entity] = (seq, at)
        links.move_to_end(entity)
        self._changed.add(entity)
        if len(links) > MAX_CHAINS:
            old, _ = links.popitem(last=False)
            self._changed.discard(old)

    def forget(self, entity: int, at: int) -> None:
        """The next frame begins anew: what came has all that there is, and no number of this chain."""
        self.begin(entity, _UNKNOWN, at)

    def clear(self) -> None:
        """Every next frame begins anew."""
        self._links.clear()
        self._changed.clear()

    def drain(self) -> bytes:
        """Return what changed since the last call, for the ledger entry."""
        if not self._changed:
            return b""
        found = b"".join(_LINK.pack(entity, *self._links[entity]) for entity in sorted(self._changed))
        self._changed.clear()
        return found

    def replay(self, links: bytes) -> None:
        """Take what `drain` returned."""
        for entity, seq, at in _LINK.iter_unpack(links):
            self.begin(entity, seq, at)
        self._changed.clear()
