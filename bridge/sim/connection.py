"""One client of a simulated gateway: writing to its socket in batches, going silent, being cut off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from aiohttp import web

from bridge.sim.keys import Key
from bridge.sim.sent import Batch

#: SO_LINGER on with time-out 0: closing sends RST, as a crashed peer or a cut line does.
_RESET: Final = struct.pack("ii", 1, 0)
_SHORT, _MEDIUM = 126, 65536
CONTROL: Final = "control"


class Connection:
    """A WebSocket that was accepted.

    number: from 1 in the order of arrival. channel: what it listens to, see `Sent.channel`. key: its credential.
    Frames are written straight to the transport, many at a time and never awaited; who writes looks at `backlog`.
    """

    def __init__(
        self,
        number: int,
        channel: str,
        key: Key,
        ws: web.WebSocketResponse,
        request: web.Request,
        *,
        record: Callable[[Batch], None],
        clock: Callable[[], int],
    ) -> None:
        """A connection whose WebSocket is prepared. `record` gets each batch written, `clock` is ms since the epoch."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left during the handshake")
        self.number = number
        self.channel = channel
        self.key = key
        self.opened = clock()
        self.written = 0
        self.silent = False
        #: Set when we ended it ourselves: nothing more is written.
        self.leaving = False
        #: Seconds that each write is held back, and the loop time before which nothing may overtake.
        self.delay = 0.0
        self.detail: dict[str, Any] = {}
        self._not_before = 0.0
        self._gone = asyncio.Event()
        self._ws = ws
        self._transport = transport
        self._record = record
        self._clock = clock
        self._loop = asyncio.get_running_loop()

    @property
    def open(self) -> bool:
        """Whether frames may still be written."""
        return not (self.leaving or self._ws.closed or self._transport.is_closing())

    @property
    def backlog(self) -> int:
        """Bytes that the client has not yet taken from us."""
        return self._transport.get_write_buffer_size()

    def write(self, raws: Sequence[bytes], faults: Sequence[str | None], wire: bytes | None = None) -> None:
        """Send text frames in order. `wire` is `text_frames(raws)`, where the caller has it already."""
        if not raws or self.silent or not self.open:
            return
        self._put(text_frames(raws) if wire is None else wire)
        self._record(Batch(self.number, self.channel, self.written, self._clock(), raws, faults))
        self.written += len(raws)

    def control(self, *raws: bytes) -> None:
        """Send frames that carry no data: alive, greeting, acknowledgements."""
        self.write(raws, (CONTROL,) * len(raws))

    def pong(self, payload: bytes) -> None:
        """Answer a ping of the protocol, unless silent: a half-open line answers nothing."""
        if not self.silent and self.open:
            self._put(bytes((0x8A, len(payload))) + payload)

    async def close(self, code: int, reason: str = "", *, patience: float = 1.0) -> None:
        """Say goodbye properly: what was written before arrives, then the close frame. Waits `patience` s for the answer."""
        if not self.open:
            return
        self.leaving = True
        payload = code.to_bytes(2, "big") + reason.encode()
        self._put(bytes((0x88, len(payload))) + payload)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), patience + self.delay)
        self._transport.close()

    def gone(self) -> None:
        """The client has answered our goodbye, or left."""
        self._gone.set()

    def abort(self) -> None:
        """Cut the line: no goodbye, and what is still in our buffer is lost."""
        self.leaving = True
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _put(self, data: bytes) -> None:
        now = self._loop.time()
        due = max(now + self.delay, self._not_before)
        if due <= now:
            self._transport.write(data)
            return
        # Not even equal times: the loop's heap is not stable, and frames must not overtake each other.
        self._not_before = due + 1e-6
        self._loop.call_at(due, self._late, data)

    def _late(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def text_frames(raws: Iterable[bytes]) -> bytes:
    """The bytes of unmasked, unfragmented text frames (RFC 6455, 5.2), one behind the other."""
    parts: list[bytes] = []
    for raw in raws:
        size = len(raw)
        if size < _SHORT:
            parts.append(_HEADS[size])
        elif size < _MEDIUM:
            parts.append(b"\x81\x7e" + size.to_bytes(2, "big"))
        else:
            parts.append(b"\x81\x7f" + size.to_bytes(8, "big"))
        parts.append(raw)
    return b"".join(parts)


_HEADS: Final = tuple(bytes((0x81, size)) for size in range(_SHORT))
