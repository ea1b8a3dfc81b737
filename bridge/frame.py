"""What flows: a frame comes in, a record goes out.

A `Frame` is one message as received. `Record` is one message as published, dead letters included:
a dead letter is a record whose value is the original bytes. Both are plain, frozen values.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeAlias

import msgspec

#: `Frame.source` of entries that are no frames but events of a connection or learned ids, see `bridge.intake`.
EVENT: Final = "event"
STREAM: Final = "stream"
REST: Final = "rest"
AMQP: Final = "amqp"
STANDBY: Final = "standby"
REPLAY: Final = "dead-letter"
#: How `Frame.connection` begins of frames that fill a gap; the id of its record follows.
FILL: Final = "fill:"


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message as received from a gateway, or an event of its connection (source `EVENT`).

    gateway: the user's name for it. connection: which of its sockets or pollers, e.g. ``list``.
    received: ms since the epoch. source: see the constants of this module; it becomes the header.
    raw: the bytes of the message. hint: an entity key that the connection knows of (a detail
    socket's match id), used for the key only where the frame itself carries none.
    """

    gateway: str
    connection: str
    received: int
    source: str
    raw: bytes
    hint: str | None = None


def fills(frame: Frame) -> bool:
    """Whether a frame was asked for, to fill a gap: it says nothing of how a connection of the stream does."""
    return frame.source == AMQP or frame.connection.startswith(FILL)


#: Kafka headers, in the order written.
Headers: TypeAlias = "list[tuple[str, str | bytes | None]]"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One Kafka message: what `publisher` hands to the producer.

    timestamp: ms since the epoch (design: the event time where it is sane, else received).
    """

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    timestamp: int


class Disposition(IntEnum):
    """What became of a frame; the low bits of its byte in a ledger entry."""

    PUBLISHED = 0
    UNCHANGED = 1
    DEAD_LETTER = 2
    SUPERSEDED = 3
    #: Not published: equal to a record that is. In the ledger only where it uses up a match with a REST record.
    DUPLICATE = 4
