"""Frames that have it all: what the simulators' worlds and faults give, and some more that only a careful reader keeps."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec

from bridge.sim import PredictStreetKnobs, Scripted, Sent, TickTockKnobs, play, play_private
from bridge.sim.replay import Kind, Knobs

FAULTS: Final = {
    "duplicate": 0.10,
    "collision": 0.02,
    "malformed": 0.02,
    "wrong_type": 0.02,
    "unknown_type": 0.02,
    "unknown_field": 0.03,
    "missing_field": 0.03,
    "number_form": 0.03,
}
#: How many ms the event times of some frames lie off: too far back, and too far ahead.
_BACK: Final = 8 * 24 * 3600 * 1000
_AHEAD: Final = 3600 * 1000


def private_frames(count: int, *, seed: int, now: int, knobs: PredictStreetKnobs | None = None) -> list[Sent]:
    """`frames` of the user gateway, as the sockets of two wallets receive them."""
    played = islice(play_private(seed=seed, faults=FAULTS, knobs=knobs, start=now - 60_000), count)
    return [_varied("predictstreet", sent) for sent in played]


def frames(kind: Kind, count: int, *, seed: int, now: int, knobs: Knobs | None = None) -> list[Sent]:
    """`count` frames as one client receives them from about `now` (ms since the epoch) on, a minute old at most.

    What is changed beyond the simulators' faults depends on the frame's own bytes where a repetition has the same, so
    that a repetition stays one. Frames that are to become dead letters stay as they are.
    """
    played = islice(play(kind, seed=seed, faults=FAULTS, knobs=knobs, start=now - 60_000, rate=1000.0), count)
    return [_varied(kind, sent) for sent in played]


def scripted(
    kind: Kind, frames: Sequence[Sent], *, rate: float | None = None, overlap: int = 0, knobs: Knobs | None = None
) -> Scripted:
    """A simulator that sends just these frames and no keep-alive between them, and remembers all of it.

    rate: frames per second; None: as fast as they are read. overlap: how many frames are repeated to who comes again.
    """
    if kind == "ticktock":
        knobs = msgspec.structs.replace(knobs or TickTockKnobs(), alive_every=None)
    return Scripted(
        kind,
        [one.raw for one in frames],
        frame_faults=[one.fault for one in frames],
        rate=rate,
        overlap=overlap,
        knobs=knobs,
        keep=None,
    )


def _varied(kind: Kind, sent: Sent) -> Sent:
    if sent.fault is not None and sent.fault.startswith(("malformed", "wrong_type")):
        return sent
    raw = sent.raw
    for change in _CHANGES[kind]:
        raw = change(raw)
    return msgspec.structs.replace(sent, raw=raw)


def _share(of: bytes, parts: int) -> int:
    """One of `parts` numbers, always the same for the same bytes."""
    return zlib.crc32(of) % parts


def _without_match(raw: bytes) -> bytes:
    """Some markets are told of without their match, as the contract leaves open; another frame may have told it."""
    found = re.search(rb'"id":"(ofr_\w+)"', raw)
    if raw.startswith(b'{"type":"market.updated"') and found and _share(found[1], 5) == 0:
        return re.sub(rb'"match_id":"[^"]*",', b"", raw, count=1)
    return raw


def _without_condition(raw: bytes) -> bytes:
    """Some tokens' deltas are told of without their condition."""
    found = re.search(rb'"id":"(\d+)"', raw)
    if raw.startswith(b'{"type":"book_delta"') and found and _share(found[1], 5) == 0:
        return re.sub(rb'"conditionId":"[^"]*",', b"", raw, count=1)
    return raw


def _other_times(raw: bytes) -> bytes:
    """Event times that no record may have: eight days back, an hour ahead, no time at all. Equal ones stay equal."""
    mark = _mark(raw)

    def iso(found: re.Match[bytes]) -> bytes:
        changed = {0: b"2001-01-01T00:00:00.000Z", 1: b"2099-01-01T00:00:00+00:00", 2: b"yesterday"}
        return found[1] + changed.get(_share(found[2] + mark, 40), found[2]) + b'"'

    def epoch(found: re.Match[bytes]) -> bytes:
        off = {0: -_BACK, 1: _AHEAD}.get(_share(found[2] + mark, 40), 0)
        return found[1] + b"%d" % (int(found[2]) + off)

    raw = re.sub(rb'("(?:ts|time)":")([^"]*)"', iso, raw)
    return re.sub(rb'("tsMs":)(\d+)', epoch, raw)


def _nulls(raw: bytes) -> bytes:
    """A known member that is null is as good as absent; an unknown one that is null is kept."""
    if _by_seq(raw, 15):
        raw = re.sub(rb'"(textRU|maker|map_name)":"[^"]*"', rb'"\1":null,"x_\1":null', raw, count=1)
    return raw


def _odd_envelope(raw: bytes) -> bytes:
    """Members that no envelope has, beside data and within meta."""
    if _by_seq(raw, 16):
        raw = raw[:-1] + b',"hop":[1,2.50,{"via":"eu\\u002dwest"}],"prio":-0.0}'
    if _by_seq(raw, 17):
        raw = raw.replace(b'"meta":{', b'"meta":{"shard":7,"envelope.x":"a","meta.y":1E+2,')
    return raw


def _roomy(raw: bytes) -> bytes:
    """The same JSON with white space: nothing may depend on a server that writes none."""
    return msgspec.json.format(raw, indent=1) if _by_seq(raw, 18) else raw


def _by_seq(raw: bytes, parts: int) -> bool:
    """One frame in `parts`, told by its mark."""
    mark = _mark(raw)
    return bool(mark) and _share(mark + bytes([parts]), parts) == 0


def _mark(raw: bytes) -> bytes:
    """A frame's seq or trade id, which its repetitions share; nothing where it has neither."""
    found = re.search(rb'"(?:seq|tradeId)":\s*("[^"]*"|\d+)', raw)
    return found[1] if found else b""


_CHANGES: Final[dict[Kind, tuple[Callable[[bytes], bytes], ...]]] = {
    "ticktock": (_without_match, _other_times, _nulls, _odd_envelope, _roomy),
    "predictstreet": (_without_condition, _other_times, _nulls, _odd_envelope, _roomy),
}
