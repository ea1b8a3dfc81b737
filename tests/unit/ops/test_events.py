"""Server-sent events: right in their format, shared by all, nothing for nobody, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from bridge.ops.events import KEEP_ALIVE, Events, Mailbox, event
from tests.running import until


class Snapshots:
    """Counts how often it is asked."""

    def __init__(self, text: str = "status") -> None:
        self.taken = 0
        self.text = text
        self.broken = False

    def __call__(self) -> str:
        """A new text each time."""
        self.taken += 1
        if self.broken:
            raise RuntimeError("a bug behind the page")
        return f"{self.text} {self.taken}"


@asynccontextmanager
async def serving(events: Events) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client of a server that has nothing but these events at ``/``."""
    app = web.Application()
    app.router.add_get("/", events.serve)

    async def close(_: web.Application) -> None:
        await events.close()

    app.on_shutdown.append(close)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        yield session
        await runner.cleanup()


def next_of(answer: aiohttp.ClientResponse) -> Awaitable[bytes]:
    """The next block of a stream."""
    return answer.content.readuntil(b"\n\n")


@pytest.mark.parametrize(
    ("data", "wire"),
    [
        ("{}", b"data: {}\n\n"),
        ("a\nb", b"data: a\ndata: b\n\n"),
        ("a\r\nb", b"data: a\ndata: b\n\n"),
        ("a\n\nid: 7", b"data: a\ndata: \ndata: id: 7\n\n"),
        ("", b"data: \n\n"),
        ("ä", "data: ä\n\n".encode()),
    ],
)
def test_format(data: str, wire: bytes) -> None:
    """Each line is a line of data, so that no text can end an event or begin another field."""
    assert event(data) == wire


async def test_only_the_newest_waits() -> None:
    """Whoever is slow skips what is old: one event is all that is ever held for a page."""
    box = Mailbox()
    for newest in (b"1", b"2", b"3"):
        box.put(newest)
    assert await box.take(1) == b"3"
    assert await box.take(0) == KEEP_ALIVE
    box.put(None)
    assert await box.take(1) is None


async def test_all_pages_share_one_snapshot() -> None:
    """Ten pages cost as many snapshots as one; each is told at once how things stand."""
    snapshots = Snapshots()
    events = Events(snapshots, every=3600)
    async with serving(events) as client:
        answers = [await client.get("/") for _ in range(10)]
        for answer in answers:
            assert await next_of(answer) == b"retry: 2000\n\n"
            assert await next_of(answer) == b"data: status 1\n\n"
        assert snapshots.taken == 1
        for answer in answers:
            answer.close()


async def test_nothing_is_made_while_no_page_is_open() -> None:
    """Not before the first, not after the last, and anew with the next."""
    snapshots = Snapshots()
    events = Events(snapshots, every=0.01)
    async with serving(events) as client:
        assert snapshots.taken == 0
        for _ in range(2):
            answer = await client.get("/")
            await until(lambda before=snapshots.taken: snapshots.taken > before + 2, what="ticks")  # type: ignore[misc]
            answer.close()
            await until(lambda: events.listeners == 0 and events._ticking is None, what="the end of the ticks")


async def test_too_many_pages_are_turned_away() -> None:
    """With 503, and when to come again; a place that is free is given anew."""
    events = Events(Snapshots(), limit=2)
    async with serving(events) as client:
        first, second = await client.get("/"), await client.get("/")
        async with client.get("/") as third:
            assert (third.status, third.headers["Retry-After"]) == (503, "10")
        first.close()
        await until(lambda: events.listeners == 1, what="a free place")
        async with client.get("/") as third:
            assert third.status == 200
        second.close()


async def test_a_page_that_takes_nothing_is_dropped() -> None:
    """Its connection ends and its place is free, whatever fits into the network's buffers; others are told all the while."""
    snapshots = Snapshots("x" * 4_000_000)
    events = Events(snapshots, every=0.01, patience=0.05)
    async with serving(events) as client:
        host, port = client._base_url.host, client._base_url.port  # type: ignore[union-attr]
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: events.listeners == 1, what="a page")
        await until(lambda: events.listeners == 0, what="its end", seconds=10)
        writer.close()
        del reader


async def test_quiet_streams_say_that_they_stand() -> None:
    """Proxies cut what says nothing."""
    async with serving(Events(Snapshots(), every=3600, quiet=0.01)) as client, client.get("/") as answer:
        await next_of(answer)
        await next_of(answer)
        assert await next_of(answer) == KEEP_ALIVE


async def test_head_gets_no_stream() -> None:
    """It is answered at once, and nothing is made for it."""
    snapshots = Snapshots()
    async with serving(Events(snapshots)) as client, client.head("/") as answer:
        assert (answer.status, answer.content_type, snapshots.taken) == (200, "text/event-stream", 0)


@pytest.mark.parametrize("ending", ["bug", "stop"])
async def test_streams_end_with_what_they_show(ending: str) -> None:
    """A bug in the snapshot, or the end of the bridge, ends them: a page then says that there is no contact."""
    snapshots = Snapshots()
    events = Events(snapshots, every=0.01)
    async with serving(events) as client, client.get("/") as answer:
        await next_of(answer)
        if ending == "bug":
            snapshots.broken = True
        else:
            await events.close()
        async with asyncio.timeout(5):
            await answer.content.read()
        assert events.listeners == 0
    act: Callable[[], bool] = lambda: events._ticking is None  # noqa: E731
    await until(act, what="the end of the ticks")
