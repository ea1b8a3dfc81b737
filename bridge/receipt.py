"""What came of dead letters that were replayed, in the topic of requests beside the request.

A lane writes a receipt in the same transaction as the records that it speaks of. Receipts are kept longer than dead letters,
so that they prove, also after the window of identities has passed, which places were replayed already. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from bridge.errors import BadData

if TYPE_CHECKING:
    from bridge.frame import Headers

#: Header of a record in the topic of requests that is a receipt; a request has no header.
RECEIPT: Final[Headers] = [("kind", b"receipt")]
#: Before the first record that is still there, receipts may have been deleted; two clocks agree as well as this (ms).
MARGIN: Final = 60_000


class Outcome(StrEnum):
    """What came of one dead letter."""

    PUBLISHED = "published"
    #: The frame is published, or as the last record of its entity.
    THERE = "already there"
    #: A newer state of its entity is published.
    SUPERSEDED = "superseded"
    DEAD = "still dead"
    #: Retention has deleted the dead letter, or there is none at the place.
    GONE = "gone"
    #: It is too old to prove that its frame is not published.
    OLD = "too old"
    #: The dead letter does not hold all of the frame.
    CUT = "cut"


#: After these a dead letter is never replayed again.
FINAL: Final = frozenset({Outcome.PUBLISHED, Outcome.THERE, Outcome.SUPERSEDED})


class Place(NamedTuple):
    """Where a dead letter lies. gateway: whose dead letters."""

    gateway: str
    partition: int
    offset: int


class Line(msgspec.Struct, frozen=True, array_like=True):
    """What came of one place. why: of a frame that is still dead, the reason and the path; else empty."""

    partition: int
    offset: int
    outcome: Outcome
    why: str = ""


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one transaction of a lane did for a request.

    request: its offset. lanes: of the plan. done: the lane has carried out all that is its own.
    """

    request: int
    gateway: str
    lane: int
    lanes: int
    lines: list[Line] = []
    done: bool = False


def encode(receipt: Receipt) -> bytes:
    """The value of its record."""
    return msgspec.json.encode(receipt)


def decode(value: bytes) -> Receipt:
    """Read one back. Raises BadData."""
    try:
        return msgspec.json.decode(value, type=Receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadData(f"is no receipt: {error}", where="requests") from None


def is_receipt(headers: Any) -> bool:
    """Whether a record of the topic of requests is one. headers: as the client gives them."""
    return any(name == "kind" and value in {b"receipt", "receipt"} for name, value in dict(headers or ()).items())


class Receipts:
    """All receipts that were read; fed in order with `take`.

    since: when (ms) the oldest record of the topic was written, where older ones have been deleted; None: all are there.
    """

    def __init__(self, since: int | None = None) -> None:
        """None so far."""
        self.since = since
        #: What ended it for a place, for good.
        self._final: dict[Place, Outcome] = {}
        self._of: dict[int, dict[Place, Line]] = {}
        self._done: dict[int, set[tuple[int, int]]] = {}

    def take(self, receipt: Receipt) -> None:
        """Add one."""
        found = self._of.setdefault(receipt.request, {})
        for line in receipt.lines:
            place = Place(receipt.gateway, line.partition, line.offset)
            if line.outcome in FINAL:
                self._final.setdefault(place, line.outcome)
            if place not in found or line.outcome is Outcome.PUBLISHED:
                found[place] = line
        if receipt.done:
            self._done.setdefault(receipt.request, set()).add((receipt.lane, receipt.lanes))

    def final(self, place: Place) -> Outcome | None:
        """What came of a place that is not to be replayed again."""
        return self._final.get(place)

    def of(self, request: int) -> dict[Place, Line]:
        """What came of the places of one request so far."""
        return self._of.get(request, {})

    def done(self, request: int) -> set[tuple[int, int]]:
        """(lane, lanes) that have carried a request out."""
        return self._done.get(request, set())

    def whole(self, request: int) -> bool:
        """Whether all lanes of some plan have."""
        done = self.done(request)
        return any(all((lane, lanes) in done for lane in range(lanes)) for lanes in {each[1] for each in done})

    def proves(self, received: int) -> bool:
        """Whether a replay of a frame received then (ms) would be told by a receipt that is still there."""
        return self.since is None or received > self.since + MARGIN
