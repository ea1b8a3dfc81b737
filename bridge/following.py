"""Whether a frame follows the one before of its entity, and which gap it opens or closes; see `bridge.continuity`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from bridge.frame import REST
from bridge.recovery import REST_SNAPSHOT, SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.continuity import Chains
    from bridge.frame import Frame, Record
    from bridge.recovery import Outages
    from bridge.route import AnySighting


def follow(
    chains: Chains, outages: Outages, sighting: AnySighting, frame: Frame, *, late: bool
) -> tuple[Sequence[Record], str | None]:
    """Check that a frame follows the one before of its entity. late: it stood in the own journal before a takeover.

    Returns the gap records that stand before it, and the entity where it lies behind what is published of it already:
    it is late.
    """
    way, own = sighting.way, sighting.own
    seq = way.seq(sighting.meta, sighting.data)
    if own is None or way.continuity is None:
        return (), None
    place = xxhash.xxh3_64_intdigest(f"{frame.gateway}\0{own}".encode())
    if way.continuity.snapshot:
        if frame.source == REST:
            # Whether its number is one of the stream's is not stated.
            chains.forget(place, frame.received)
            return outages.whole(frame.gateway, own, REST_SNAPSHOT, frame.received), None
        if not late or chains.newer(place, seq):
            if seq is None:
                chains.forget(place, frame.received)
            else:
                chains.begin(place, seq, frame.received)
            return outages.whole(frame.gateway, own, SNAPSHOT, frame.received), None
    elif seq is not None and frame.source != REST:
        if late and not chains.newer(place, seq):
            return (), own
        broken = chains.follow(place, seq, way.previous(sighting.meta, sighting.data), frame.received, late=late)
        if broken is not None:
            gaps = outages.broken(
                frame.gateway, frame.connection, own, seq=broken.seq, since=broken.at, at=frame.received
            )
            return gaps, None
    return (), None
