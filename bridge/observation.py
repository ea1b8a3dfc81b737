"""Frames as a standby reads them: nothing is judged or remembered but what its own connections heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import xxhash

from bridge import dedupe
from bridge.frame import EVENT, Frame
from bridge.lanes import MOVED
from bridge.lanes import moved as read_moved
from bridge.standby import Outage, Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.ledger import Memory
    from bridge.presence import Presence
    from bridge.route import Ways

#: Events that begin or end an outage of an own connection, see `bridge.recovery`.
_OUTAGE: Final = frozenset({"down", "up", "unread", "read"})
#: What stands in place of a frame that is disposed of.
_NOTHING: Final = Frame("", "", 0, EVENT, b'{"event":"nothing"}')


def observe(
    ways: Mapping[str, Ways], presence: Presence, first: int, frames: Sequence[Frame], memory: Memory
) -> list[Seen | Outage]:
    """What the window must know of each frame, at the positions from `first` on. presence: hears of them.

    memory: what the standby has read; by it a frame that was moved here from another journal may be disposed of.
    """
    found: list[Seen | Outage] = []
    for position, each in enumerate(frames, first):
        frame = each if each.source != EVENT else arrived(each, memory)
        gateway = ways.get(frame.gateway)
        if frame.source == EVENT:
            facts = msgspec.json.decode(frame.raw)
            event = facts.pop("event")
            if event == "seen":
                presence.heard(frame.gateway, frame.connection, frame.received)
            presence.event(position, frame, event, facts)
            if event in _OUTAGE:
                found.append(Outage(position, frame.gateway, frame.connection, frame.received))
        elif gateway is not None:
            presence.heard(frame.gateway, frame.connection, frame.received)
            buried = xxhash.xxh3_64_intdigest(frame.raw, gateway.dead_seed)
            try:
                one = gateway.sight(frame)
            except Exception:  # noqa: BLE001 - the active too makes a dead letter of a frame that meets a bug
                found.append(Seen(position, buried, 0, 0, dedupe.IDENTIFIED))
                continue
            if one is not None:
                order = one.order(frame.received) if one.traits & dedupe.STATE else 0
                found.append(
                    Seen(position, one.identity, one.content, one.entity, one.traits, buried, frame.received, order)
                )
    return found


def arrived(frame: Frame, memory: Memory) -> Frame:
    """The frame that an event brings from the journal of another plan; one that is nothing if it is disposed of; any other is itself."""
    while frame.raw.startswith(MOVED):
        moved = read_moved(frame.raw)
        origin = moved.origin
        if origin.position < memory.resume(origin.journal, first=0, openings=origin.openings):
            return _NOTHING
        frame = moved.frame
        if frame.source != EVENT:
            break
    return frame
