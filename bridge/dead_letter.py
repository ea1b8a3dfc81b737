"""The record that a frame becomes which can't be one of its own type (design 6.3)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.frame import Record

if TYPE_CHECKING:
    from bridge.errors import BadFrame
    from bridge.frame import Frame, Headers

#: Longest `detail` and `path`, in characters.
DETAIL: Final = 500


class Buried(msgspec.Struct, frozen=True):
    """What may be shown of a dead letter: nothing that the gateway sent but the names on the way to the field to blame.

    at: when it was received, ms since the epoch. type: of the catalog.
    """

    at: int
    gateway: str
    type: str
    reason: str
    path: str | None


def dead_letter(
    frame: Frame, bad: BadFrame, *, topic: str, key: str, frame_type: str | None, limit: int
) -> tuple[Record, str | None]:
    """Return the dead letter of a frame, and the SHA-256 of its bytes where they had to be cut.

    key: the entity's. frame_type: as far as it could be made out. limit: bytes that the value may have.
    """
    headers: Headers = [
        ("gateway", frame.gateway.encode()),
        ("reason", bad.reason.encode()),
        ("detail", bad.detail[:DETAIL].encode(errors="replace")),
        ("received", b"%d" % frame.received),
    ]
    if bad.path:
        headers.append(("path", bad.path[:DETAIL].encode(errors="replace")))
    if frame_type:
        headers.append(("type", frame_type.encode(errors="replace")))
    value, digest = frame.raw, None
    if len(value) > limit:
        digest = hashlib.sha256(value).hexdigest()
        headers += [("size", b"%d" % len(value)), ("sha256", digest.encode())]
        value = value[:limit]
    return Record(topic, key.encode(errors="replace"), value, headers, frame.received), digest
