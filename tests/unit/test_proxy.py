"""The proxy of the chaos tests is the bad line that it claims to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import Proxy
from tests.running import until


@asynccontextmanager
async def shouting() -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """A proxy to a server that answers each line in capitals, and the lines that reached the server."""
    heard: list[bytes] = []
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while line := await reader.readline():
                heard.append(line)
                writer.write(line.upper())
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy, heard
    for writer in writers:
        writer.transport.abort()


class Client:
    """A client of the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, line: bytes, *, seconds: float = 5.0) -> bytes:
        """Send a line; return the answer, b"" where the connection ended."""
        self.writer.write(line)
        return await asyncio.wait_for(self.reader.readline(), seconds)


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Client]:
    """A client that is connected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def test_a_good_line_passes_everything_on() -> None:
    """Many bytes arrive as they were sent, in order."""
    async with shouting() as (proxy, _), connected(proxy) as client:
        for size in (1, 1000, 60_000):
            assert await client.ask(b"x" * size + b"\n") == b"X" * size + b"\n"
        assert proxy.connections == 1


async def test_cut_resets_what_is_open_and_nothing_else() -> None:
    """The client sees a reset; who comes again is served."""
    async with shouting() as (proxy, heard):
        async with connected(proxy) as client:
            await client.ask(b"one\n")
            assert proxy.cut() == 1
            with pytest.raises(ConnectionResetError):
                await client.ask(b"two\n")
        async with connected(proxy) as client:
            assert await client.ask(b"three\n") == b"THREE\n"
        assert heard == [b"one\n", b"three\n"]


async def test_refusing_resets_who_comes() -> None:
    """Until it ends."""
    async with shouting() as (proxy, heard):
        proxy.refusing = True
        async with connected(proxy) as client:
            with pytest.raises(ConnectionResetError):
                await client.ask(b"one\n")
        assert proxy.refused == 1
        proxy.refusing = False
        async with connected(proxy) as client:
            assert await client.ask(b"two\n") == b"TWO\n"
        assert heard == [b"two\n"]


async def test_latency_delays_each_way_and_keeps_many_under_way() -> None:
    """A round trip takes it twice; lines sent together come back together."""
    loop = asyncio.get_running_loop()
    async with shouting() as (proxy, _), connected(proxy) as client:
        proxy.latency = 0.1
        began = loop.time()
        for line in (b"a\n", b"b\n", b"c\n"):
            client.writer.write(line)
            await asyncio.sleep(0)
        assert [await client.reader.readline() for _ in range(3)] == [b"A\n", b"B\n", b"C\n"]
        assert 0.2 <= loop.time() - began < 2.0


async def test_rate_is_bytes_per_second() -> None:
    """10,000 bytes to and fro at 50,000 a second take at least 0.4 s."""
    loop = asyncio.get_running_loop()
    async with shouting() as (proxy, _), connected(proxy) as client:
        proxy.rate = 50_000
        began = loop.time()
        assert len(await client.ask(b"x" * 9_999 + b"\n")) == 10_000
        assert 0.4 <= loop.time() - began < 3.0


async def test_stalled_nothing_passes_until_it_flows() -> None:
    """The connection stays open, and what was sent meanwhile arrives."""
    async with shouting() as (proxy, heard), connected(proxy) as client:
        proxy.stall()
        with pytest.raises(TimeoutError):
            await client.ask(b"one\n", seconds=0.1)
        assert heard == []
        proxy.flow()
        assert await client.reader.readline() == b"ONE\n"


async def test_a_lost_answer_belongs_to_a_request_that_was_served() -> None:
    """The server hears the request that matches, the client no answer from then on; other connections get theirs."""
    async with shouting() as (proxy, heard), connected(proxy) as client:
        proxy.lose_answer(lambda data: data.startswith(b"commit"))
        assert await client.ask(b"begin\n") == b"BEGIN\n"
        with pytest.raises(TimeoutError):
            await client.ask(b"commit\n", seconds=0.1)
        with pytest.raises(TimeoutError):
            await client.ask(b"more\n", seconds=0.1)
        assert proxy.lost == 1
        async with connected(proxy) as other:
            assert await other.ask(b"commit\n") == b"COMMIT\n"
        assert heard == [b"begin\n", b"commit\n", b"more\n", b"commit\n"]
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await client.reader.readline()


async def test_the_end_of_one_side_ends_the_other() -> None:
    """What it had said before arrives."""
    async with shouting() as (proxy, heard):
        async with connected(proxy) as client:
            client.writer.write(b"last\n")
            await client.writer.drain()
            client.writer.close()
        await until(lambda: not proxy.connections and heard == [b"last\n"], what="the end", seconds=5)


async def test_a_server_that_is_away_looks_like_a_reset() -> None:
    """Nobody listens behind the proxy."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with Proxy(port) as proxy, connected(proxy) as client:
        with pytest.raises(ConnectionResetError):
            await client.ask(b"one\n")
        assert proxy.refused == 1
