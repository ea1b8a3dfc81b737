"""The frames of the benchmarks: a seeded TickTock stream, mostly odds that change, as bytes of WebSocket frames."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Final

from bridge.sim import play

#: Text in a second language, and most of the largest frames, are left out: a frame then has about 350 bytes.
_SECOND_LANGUAGE: Final = re.compile(rb',"textRU":"[^"]*"')
_SCOREBOARD: Final = b'{"type":"scoreboard.frame"'
_ONE_IN: Final = 4
_SEQ: Final = re.compile(rb'"seq":(\d+)\}\}$')
#: Bytes written to the socket at once.
_CHUNK: Final = 256 << 10
#: A keep-alive: by it a client knows that the stream is up.
ALIVE: Final = b'{"type":"alive","data":{"status":"ok"},"meta":{"ts":"2026-05-10T13:42:11.123Z","seq":1}}'


def frames(count: int, *, seed: int = 1) -> list[bytes]:
    """Return distinct frames, each with a sequence number of its own; their times begin now."""
    found: list[bytes] = []
    boards = 0
    for sent in play("ticktock", seed=seed, start=time.time_ns() // 1_000_000, rate=20_000):
        raw = sent.raw
        if raw.startswith(_SCOREBOARD):
            boards += 1
            if boards % _ONE_IN:
                continue
        if not raw.startswith(b'{"type":"alive"') and _SEQ.search(raw):
            found.append(_SECOND_LANGUAGE.sub(b"", raw))
            if len(found) == count:
                break
    return found


def seq_of(raw: bytes) -> int:
    """Return a frame's sequence number."""
    found = _SEQ.search(raw)
    assert found is not None
    return int(found[1])


def wire(raw: bytes) -> bytes:
    """Return a frame as the bytes of an unmasked, whole WebSocket text frame (RFC 6455, 5.2)."""
    size = len(raw)
    if size < 126:
        return bytes((0x81, size)) + raw
    assert size < 1 << 16
    return bytes((0x81, 126, size >> 8, size & 0xFF)) + raw


def chunks(raws: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the wire bytes of many frames in large pieces."""
    parts: list[bytes] = []
    size = 0
    for raw in raws:
        parts.append(wire(raw))
        size += len(parts[-1])
        if size >= _CHUNK:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)
