"""What one transaction holds, as the pipeline fills it and the lane publishes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.errors import LaneError

if TYPE_CHECKING:
    from bridge.frame import Frame, Record
    from bridge.ledger import Learned


@dataclass
class Batch:
    """What one transaction holds.

    position: all frames of the journal before it are disposed of with it. now: when it was made, ms since the epoch.
    """

    position: int
    now: int
    records: list[Record] = field(default_factory=list)
    #: For each record the position of its frame.
    owners: list[int] = field(default_factory=list)
    codes: bytearray = field(default_factory=bytearray)
    hashes: bytearray = field(default_factory=bytearray)
    learned: list[Learned] = field(default_factory=list)
    #: When (ms) the published frames were received, for the latency.
    received: list[int] = field(default_factory=list)
    #: (sha256, bytes) of frames that not even a dead letter can hold.
    oversize: list[tuple[str, bytes]] = field(default_factory=list)
    #: Since when (ms) frames must have been received to be provably unpublished, mostly 0.
    provable: int = 0
    #: (position, frame) that nobody can prove unpublished: set aside, not published.
    expired: list[tuple[int, Frame]] = field(default_factory=list)
    #: The file that keeps them: one name for each, whatever the journal.
    kept: str = ""
    #: Of the first records, see `bridge.link`; the lane's to make.
    links: bytearray = field(default_factory=bytearray)
    #: What the ledger must know of chains, see `bridge.continuity`.
    chains: bytes = b""
    #: For each state among the codes, its time by the gateway, see `bridge.route.Sighting`.
    orders: bytearray = field(default_factory=bytearray)
    #: Topic → how many frames are dead letters since it does not take them.
    refused: dict[str, int] = field(default_factory=dict)
    frames: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything that only a transaction can settle."""
        return bool(self.codes or self.records or self.learned or self.chains)


class Undisposed(LaneError):
    """Our own code failed on a frame. position: of the frame in the journal."""

    def __init__(self, position: int, error: Exception) -> None:
        """error: what was raised; its text may quote the frame, so only its type is told."""
        super().__init__(f"{type(error).__name__} on the frame at {position}")
        self.position = position
