"""One WebSocket connection, read in bursts: the library `websockets`, and a quick way past its parser.

`connect` opens a connection and returns a `Transport`; that is all the rest of the package knows of the library.
`Transport.receive` returns all messages that have arrived as one list, so that a busy feed costs one turn of the event
loop per read of the socket and not one per message.

The library's parser takes 4 µs for a message of 300 bytes, about as much as everything else the bridge does with it. Most
messages are alike: one text frame, unmasked, not fragmented, below 64 KiB. `_Connection` cuts those out of the bytes as they
arrive (0.5 µs, measured in ``bench/receive.py``) and hands everything else to the library, in order and whole: the
handshake, control frames, fragments, long frames, and whatever breaks the protocol. So all rules stay the library's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as library_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import CloseCode
from websockets.frames import Frame as WireFrame
from websockets.http11 import Response
from websockets.protocol import Event, State

from bridge import __version__

#: Seconds that a closing handshake may take; a peer that is gone does not answer.
CLOSE_TIMEOUT: Final = 1.0
#: A whole text frame: FIN, no reserved bit.
_TEXT: Final = 0x81
_FIN: Final = 0x80
_CONTROL: Final = 0x08
#: The length byte says that 16 bits with the length follow; above it 64 bits, or a mask, which a server must not use.
_LENGTH_16: Final = 126
_END_OF_HEAD: Final = b"\r\n\r\n"


class Closed(Exception):
    """The connection is over; every message that arrived before was returned.

    code: WebSocket close code, 1006 where the line was cut without one. reason: the peer's text, or the library's where
    `ours`. ours: it was we who ended it, because the peer broke the protocol (1002) or a limit (1009).
    """

    def __init__(self, code: int, reason: str, *, ours: bool = False) -> None:
        """Keep the facts."""
        super().__init__(code)
        self.code = code
        self.reason = reason
        self.ours = ours

    def __str__(self) -> str:
        """Code and reason."""
        return f"{self.code} {self.reason}".strip()


class Declined(Exception):
    """The server answered the handshake with an HTTP status instead of a WebSocket.

    body: its first bytes. retry_after: that header, as sent.
    """

    def __init__(self, status: int, *, body: bytes = b"", retry_after: str | None = None) -> None:
        """Keep the facts."""
        super().__init__(status)
        self.status = status
        self.body = body
        self.retry_after = retry_after


class Transport(Protocol):
    """An open connection."""

    async def receive(self) -> list[bytes]:
        """Wait for messages and return all that have arrived; nothing where `wake` was called. Raises `Closed`."""

    async def send(self, text: str) -> None:
        """Send a text message; where the connection is over, `receive` tells."""

    def wake(self) -> None:
        """Make a `receive` that waits return."""

    @property
    def waiting(self) -> bool:
        """Whether a `receive` would have to wait."""

    @property
    def partial(self) -> int:
        """How many bytes of a message that is not complete have arrived: a long one on a slow line is no silence."""

    async def close(self) -> None:
        """End the connection; never raises, takes at most about a second."""


#: What `connect` is, so that a test or a benchmark may put another in its place.
Connect = Callable[..., Awaitable[Transport]]


async def connect(
    url: str,
    *,
    headers: Mapping[str, str],
    open_timeout: float,
    max_size: int,
    tls: ssl.SSLContext | None = None,
) -> Transport:
    """Open a connection: TCP (through the proxy that the environment names), TLS, handshake.

    open_timeout: s, for all of it. max_size: bytes of a message; a longer one ends the connection with 1009. tls: the
    default context where None. A redirect is not followed, it would carry the key to another host. Raises `Declined`,
    TimeoutError, OSError (ssl.SSLError and socket.gaierror among them) or InvalidHandshake.
    """
    options: dict[str, Any] = {"ssl": tls} if tls is not None and url.startswith("wss:") else {}
    try:
        connection = await _Connect(
            url,
            additional_headers=dict(headers),
            user_agent_header=f"feedbridge/{__version__}",
            create_connection=_Connection,
            compression=None,
            open_timeout=open_timeout,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=None,
            max_size=max_size,
            logger=_SILENT,
            **options,
        )
    except InvalidStatus as error:
        raise _declined(error.response) from None
    assert isinstance(connection, _Connection)  # noqa: S101 - for the type checker: the factory above makes no other
    return connection


class _Connect(library_connect):
    """The library's `connect`, following no redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """The library's connection with a quick way for plain messages; a `Transport`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._messages: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._held_back = False
        #: The last bytes of the response's head, where it comes in pieces; then None.
        self._head: bytes | None = b""
        #: The begin of a frame whose rest has not arrived.
        self._tail = b""
        #: Bytes still to come of a frame that the library reads.
        self._owed = 0
        #: Whether the library is in the middle of a fragmented message, and what it has of it.
        self._fragmented = False
        self._fragments = bytearray()
        self._taken_over = 0

    # Transport

    async def receive(self) -> list[bytes]:
        if self.waiting:
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._messages:
            messages, self._messages = self._messages, []
            if self._held_back:
                self._held_back = False
                self.transport.resume_reading()
            return messages
        if self._over:
            raise self._ending()
        return []

    async def send(self, text: str) -> None:  # type: ignore[override] # we send nothing but text
        with contextlib.suppress(ConnectionClosed):
            await super().send(text)

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def waiting(self) -> bool:
        return not self._messages and not self._over

    @property
    def partial(self) -> int:
        return len(self._tail) + self._taken_over + len(self._fragments)

    async def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        try:
            if self._held_back:
                # The peer's close frame lies behind what was not read.
                self._held_back = False
                self.transport.resume_reading()
            await super().close(code, reason)
        finally:
            self.transport.abort()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self._scan(data)
        else:
            self._handshake(data, self._head)
        if self._over:
            self.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.wake()

    # From the library: a response or a frame that it has parsed

    def process_event(self, event: Event) -> None:
        if self.response is None or not isinstance(event, WireFrame) or event.opcode >= _CONTROL:
            super().process_event(event)
            return
        self._taken_over = 0
        if event.fin and not self._fragments:
            self._messages.append(bytes(event.data))
            return
        self._fragments += event.data
        if event.fin:
            self._messages.append(bytes(self._fragments))
            self._fragments.clear()

    # The way of the bytes

    def _handshake(self, data: bytes, before: bytes) -> None:
        """Give the library the response and nothing behind it: frames may come in the same segment."""
        joined = before + data
        end = joined.find(_END_OF_HEAD)
        cut = len(data) if end < 0 else end + len(_END_OF_HEAD) - len(before)
        self._head = joined[-len(_END_OF_HEAD) + 1 :]
        super().data_received(data[:cut])
        if self.protocol.state is State.OPEN:
            self._head = None
            if len(data) > cut:
                self._scan(data[cut:])
        elif len(data) > cut:  # the body of a refusal
            super().data_received(data[cut:])

    def _scan(self, data: bytes) -> None:
        """Cut out plain messages; give the library, in order, what is none."""
        if self._owed:
            data = self._pay(data)
        if self._tail:
            data = self._tail + data
            self._tail = b""
        unread = bool(self._messages)
        at, unusual = 0, False
        while not self._over:
            at, unusual = self._cut(data, at)
            if not unusual:
                self._tail = data[at:]
                break
            at = self._hand_over(data, at)
        else:
            if at < len(data):
                super().data_received(data[at:])
        if self._messages:
            self.wake()
            if unread and not self._held_back:
                # Nobody took what the last read of the socket brought: read no more before that.
                self._held_back = True
                self.transport.pause_reading()

    def _cut(self, data: bytes, at: int) -> tuple[int, bool]:
        """Cut plain messages out of `data` from `at` on; return where that ends, and whether the frame there is unusual.

        Two bytes say what a frame is and how long, and two more where it is longer than 125 bytes (RFC 6455, 5.2).
        """
        append = self._messages.append
        end = len(data)
        usual = None if self._fragmented else _TEXT
        while end - at >= 4:  # noqa: PLR2004 - the longest header of a plain message
            length = data[at + 1]
            start = at + 2
            if length == _LENGTH_16:
                length = data[start] << 8 | data[at + 3]
                start = at + 4
            elif length > _LENGTH_16:
                break
            if data[at] != usual:
                break
            stop = start + length
            if stop > end:
                return at, False
            append(data[start:stop])
            at = stop
        # A plain message of less than two bytes ends here too: the library can read it.
        return at, end - at >= 2 and _size(data, at) is not None  # noqa: PLR2004 - the shortest header

    def _hand_over(self, data: bytes, at: int) -> int:
        """Give the library one frame, as far as it has arrived; return what lies behind it."""
        size = _size(data, at)
        assert size is not None  # noqa: S101 - for the type checker: `_cut` has looked
        if data[at] & 0x0F < _CONTROL:
            self._fragmented = not data[at] & _FIN
        stop = min(at + size, len(data))
        self._owed = at + size - stop
        self._give(data[at:stop])
        if self._over:
            self._owed = 0
        return stop

    def _pay(self, data: bytes) -> bytes:
        """Give the library the rest of its frame; return what lies behind it."""
        part = data[: self._owed]
        self._owed -= len(part)
        self._give(part)
        if self._messages:
            self.wake()
        return data[len(part) :]

    def _give(self, data: bytes) -> None:
        if self._owed:
            self._taken_over += len(data)
        super().data_received(data)

    @property
    def _over(self) -> bool:
        return self.response is not None and self.protocol.state is not State.OPEN

    def _ending(self) -> Closed:
        received, sent = self.protocol.close_rcvd, self.protocol.close_sent
        if received is not None and (sent is None or self.protocol.close_rcvd_then_sent):
            return Closed(received.code, received.reason)
        if sent is not None:
            return Closed(sent.code, sent.reason, ours=True)
        return Closed(CloseCode.ABNORMAL_CLOSURE, "")


def _size(data: bytes, at: int) -> int | None:
    """Return the bytes of the frame at `at`, header included; None where its header is not there yet."""
    length = data[at + 1] & 0x7F
    header = 2 if length < _LENGTH_16 else 4 if length == _LENGTH_16 else 10
    if len(data) - at < header:
        return None
    if length >= _LENGTH_16:
        length = int.from_bytes(data[at + 2 : at + header], "big")
    if data[at + 1] & 0x80:  # masked, which the library refuses; by then it must have the whole header
        header += 4
    return header + length


def _declined(response: Response) -> Declined:
    return Declined(
        response.status_code,
        body=bytes(response.body or b"")[:4096],
        retry_after=response.headers.get("Retry-After"),
    )


#: The library logs request lines at debug level, and TickTock's key is in there. This logger is not in the tree of
#: loggers, so no configuration can make it speak.
_SILENT: Final = logging.Logger("feedbridge.websockets", level=logging.CRITICAL + 1)  # noqa: LOG001 - see above

__all__ = ["CLOSE_TIMEOUT", "Closed", "Connect", "Declined", "InvalidHandshake", "Transport", "connect"]
