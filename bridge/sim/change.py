"""What a world yields and what a gateway sends of it.

A `Change` is something that happened in a simulated world, in the gateway's own words but without an envelope.
An `Outgoing` is one frame on its way to all who may see it: the change (perhaps with a fault), its moment and its numbers.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Self

import msgspec


class Change(msgspec.Struct, gc=False):
    """One thing that happened.

    entity: whose it is: the match id (TickTock), the id subscribed to (PredictStreet). `data` belongs to
    the receiver: a world never touches it again. channel, seq, prev_seq, hash: PredictStreet's envelope.
    state: the id whose latest state this is (a match, a market), None for events.
    """

    type: str
    entity: str
    data: dict[str, Any]
    channel: str = ""
    seq: int | None = None
    prev_seq: int | None = None
    hash: str | None = None
    state: str | None = None


class Outgoing(msgspec.Struct, gc=False):
    """One frame for everybody who may see it.

    at: when it left, ms. fault: what is wrong with it, None for a healthy frame. literal: bytes that stand
    for the whole frame (malformed input has no envelope). seq: number on TickTock's list channel (or shared by
    all channels), detail_seq: on the match's own channel. rendered: bytes by view, filled as views ask.
    """

    change: Change
    at: int
    fault: str | None = None
    literal: bytes | None = None
    seq: int = 0
    detail_seq: int = 0
    rendered: dict[Hashable, bytes] = msgspec.field(default_factory=dict)

    def again(self, at: int | None = None) -> Self:
        """The same frame once more, with the same numbers and content: the same bytes, or (`at`) with a new time."""
        if at is None:
            return msgspec.structs.replace(self, fault="duplicate")
        return msgspec.structs.replace(self, fault="duplicate", at=at, rendered={})
