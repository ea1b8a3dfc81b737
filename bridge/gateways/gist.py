"""What a frame says, without what only its connection adds: how two connections are known to have got the same one.

Pure. Two sockets of one stream get every change twice: with another subscription id, another server time, perhaps another
sequence number. `nested` is for TickTock's envelope (contract 2.1), `flat` for PredictStreet's (2.2).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import xxhash


class Gist(NamedTuple):
    """What there is to know of a frame to find it again.

    exact: equal where two frames are the same. numbered: so only there, since a number of the gateway's is in it. content:
    equal where they say the same, whatever number each connection gives it. entity: what it is about; None: it stands for
    itself. whole: it says all there is to know of its entity, so that a connection may begin with it, and it is worth nothing
    once later frames of the entity are known.
    """

    exact: int
    content: int
    numbered: bool = False
    entity: str | None = None
    whole: bool = False


def plain(raw: bytes) -> Gist:
    """A frame of which nothing is known."""
    return Gist(exact := xxhash.xxh3_64_intdigest(raw), exact)


def nested(raw: bytes) -> Gist:
    """A frame ``{type, data, meta}``; each connection may have numbers of its own, so meta is not content (contract 2.1)."""
    try:
        frame = _NESTED.decode(raw)
        about = _ABOUT.decode(frame.data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return plain(raw)
    content = _hash(frame.type, frame.data)
    exact, numbered = _hash(frame.type, frame.data, frame.meta), b'"seq"' in bytes(frame.meta)
    family = frame.type.partition(".")[0]
    ident = about.id if family in _BY_ID else about.match_id
    if family not in _STATES or not isinstance(ident, str):
        return Gist(exact, content, numbered)
    return Gist(exact, content, numbered, f"{family} {ident}", whole=True)


def flat(raw: bytes) -> Gist:
    """A frame ``{type, channel, id, seq, data, …}``; subscription id and server time do not count."""
    try:
        frame = _FLAT.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return plain(raw)
    exact = _hash(frame.type, frame.channel, frame.id, frame.seq, frame.prevSeq, frame.hash, frame.data)
    numbered = frame.seq is not None
    family = frame.type.partition("_")[0]
    if family not in _STATES or not isinstance(frame.id, str):
        return Gist(exact, exact, numbered)
    return Gist(exact, exact, numbered, f"{family} {frame.id}", whole=frame.type != _DELTA)


#: Families of types that tell a state (design 7); all else is an event, and no event is worth nothing.
_STATES: Final = frozenset({"match", "market", "scoreboard", "book", "platform"})
#: Those of TickTock whose own entity is `data.id`.
_BY_ID: Final = frozenset({"match", "market"})
_DELTA: Final = "book_delta"


class _Nested(msgspec.Struct):
    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    meta: msgspec.Raw = msgspec.Raw(b"")


class _About(msgspec.Struct):
    id: Any = None
    match_id: Any = None


class _Flat(msgspec.Struct):
    type: str = ""
    channel: Any = None
    id: Any = None
    seq: Any = None
    prevSeq: Any = None  # noqa: N815 - the gateway's name
    hash: Any = None
    data: msgspec.Raw = msgspec.Raw(b"")


_NESTED: Final = msgspec.json.Decoder(_Nested)
_ABOUT: Final = msgspec.json.Decoder(_About)
_FLAT: Final = msgspec.json.Decoder(_Flat)


def _hash(*parts: object) -> int:
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(bytes(part) if isinstance(part, msgspec.Raw) else repr(part).encode())
        digest.update(b"\0")
    return digest.intdigest()
