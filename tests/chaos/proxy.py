"""A TCP proxy on loopback that can be a bad line: cut, closed, slow, narrow, or deaf to what the server answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 16 << 10
#: Chunks under way in one direction at most; then the sender has to wait, as with a full socket.
_UNDER_WAY: Final = 64
#: SO_LINGER on with time-out 0: closing sends RST, as a cut line does.
_RESET: Final = struct.pack("ii", 1, 0)


class Proxy:
    """Passes connections on to a port of 127.0.0.1, as an async context manager; all of it may be changed at any time.

    target: the server's port. listen: the proxy's own (0: any, see `port`). All lives in the event loop: while a test
    blocks that, the line stands still.
    """

    def __init__(self, target: int, *, listen: int = 0) -> None:
        """A good line."""
        #: Seconds that each byte is under way, in either direction.
        self.latency = 0.0
        #: Bytes per second of each connection in each direction; None: no limit.
        self.rate: float | None = None
        #: New connections are reset at once.
        self.refusing = False
        #: Connections accepted; reset at once; cut; whose answers were lost.
        self.accepted = self.refused = self.cuts = self.lost = 0
        self.port = listen
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._when: Callable[[bytes], bool] | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def cut(self) -> int:
        """Reset all connections, on both sides; what was under way is lost. Returns how many."""
        links = list(self._links)
        for link in links:
            link.reset()
        self.cuts += len(links)
        return len(links)

    def stall(self) -> None:
        """Pass nothing on, in neither direction; connections stay open, new ones open."""
        self._flowing.clear()

    def flow(self) -> None:
        """End `stall`: what was sent meanwhile arrives."""
        self._flowing.set()

    def lose_answer(self, when: Callable[[bytes], bool]) -> None:
        """Of the connection whose client first sends bytes for which `when` holds, lose all answers from then on.

        The bytes themselves arrive: the server does as it is told, and the client doesn't learn of it until `cut`.
        `lost` counts when an answer came that was thrown away.
        """
        self._when = when

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    # The two ends of a link ask these

    async def ripe(self, due: float) -> None:
        """Return when bytes that may not arrive before `due` (loop time) may arrive."""
        wait = due - asyncio.get_running_loop().time()
        if wait > 0:
            await asyncio.sleep(wait)
        await self._flowing.wait()

    def loses(self, request: bytes) -> bool:
        """Whether the answers to what was sent before and with these bytes are lost."""
        if self._when is None or not self._when(request):
            return False
        self._when = None
        return True

    # Connections

    def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        if self.refusing:
            self.refused += 1
            _reset(writer)
            return
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            self.refused += 1
            _reset(writer)
            return
        link = _Link(self, (reader, writer), there)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.reset()


class _Link:
    """One connection through the proxy: a client here, the server there."""

    def __init__(
        self, proxy: Proxy, here: tuple[StreamReader, StreamWriter], there: tuple[StreamReader, StreamWriter]
    ) -> None:
        self._proxy = proxy
        self._here, self._there = here, there
        self._deaf = False
        self._counted = False

    def reset(self) -> None:
        """Cut both sides."""
        _reset(self._here[1])
        _reset(self._there[1])

    async def run(self) -> None:
        """Pass bytes on until either side ends; what it had said before arrives."""
        ways = [
            asyncio.ensure_future(self._pass(self._here[0], self._there[1], self._request)),
            asyncio.ensure_future(self._pass(self._there[0], self._here[1], self._answer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for _, writer in (self._here, self._there):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: StreamReader, writer: StreamWriter, keep: Callable[[bytes], bool]) -> None:
        """One direction: read at once, write when it is time."""
        loop, proxy = asyncio.get_running_loop(), self._proxy
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

        async def read() -> None:
            data = b"-"
            while data:
                try:
                    data = await reader.read(_CHUNK)
                except OSError:
                    data = b""
                await under_way.put((loop.time() + proxy.latency, data))

        reading = asyncio.ensure_future(read())
        try:
            while True:
                due, data = await under_way.get()
                await proxy.ripe(due)
                if not data:
                    return
                if proxy.rate is not None:
                    await asyncio.sleep(len(data) / proxy.rate)
                if keep(data):
                    writer.write(data)
                    await writer.drain()
        except OSError:
            return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _request(self, data: bytes) -> bool:
        self._deaf = self._deaf or self._proxy.loses(data)
        return True

    def _answer(self, _data: bytes) -> bool:
        if self._deaf and not self._counted:
            self._counted = True
            self._proxy.lost += 1
        return not self._deaf


def _reset(writer: StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
