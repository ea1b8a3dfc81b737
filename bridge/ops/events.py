"""Server-sent events: one snapshot for each tick, shared by all pages that are open; nothing is made while none is.

A page that is slow never has more than one snapshot waiting, the newest; one that takes nothing at all is dropped. A page
that is dropped, or turned away because too many are open, asks again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiohttp import web

#: Between two snapshots (s).
EVERY: Final = 1.0
#: Pages that may be open at once.
LIMIT: Final = 50
#: A page that takes nothing for so long (s) is dropped.
PATIENCE: Final = 10.0
#: After so long (s) without a snapshot a comment tells that the connection still stands.
QUIET: Final = 15.0
#: After so long (ms) a page asks again.
RETRY: Final = 2000

KEEP_ALIVE: Final = b": still here\n\n"
_BEGIN: Final = b"retry: %d\n\n" % RETRY
_KIND: Final = "text/event-stream"

log = structlog.get_logger(__name__)


def event(data: str) -> bytes:
    """One event in its wire format; the data may have several lines."""
    return "".join(f"data: {line}\n" for line in data.splitlines() or [""]).encode() + b"\n"


class Mailbox:
    """Holds the newest event for one page until it is taken."""

    def __init__(self) -> None:
        """Nothing is there yet."""
        self._news = asyncio.Event()
        self._newest: bytes | None = None

    def put(self, newest: bytes | None) -> None:
        """Replace what was not taken; None: there will be nothing more."""
        self._newest = newest
        self._news.set()

    async def take(self, quiet: float) -> bytes | None:
        """Wait for the newest event and return it; a comment if none comes for so long (s), None at the end."""
        try:
            async with asyncio.timeout(quiet):
                await self._news.wait()
        except TimeoutError:
            return KEEP_ALIVE
        self._news.clear()
        return self._newest


class Events:
    """All pages that listen. snapshot: returns the data of one event. every, patience, quiet: s, see the constants."""

    def __init__(
        self,
        snapshot: Callable[[], str],
        *,
        every: float = EVERY,
        limit: int = LIMIT,
        patience: float = PATIENCE,
        quiet: float = QUIET,
    ) -> None:
        """Nobody listens yet."""
        self._snapshot = snapshot
        self._every = every
        self._limit = limit
        self._patience = patience
        self._quiet = quiet
        self._boxes: set[Mailbox] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._last: bytes | None = None
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many pages are open."""
        return len(self._boxes)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a page until it goes, is dropped, or `close` is called. 503 where too many are open."""
        if self._closed or len(self._boxes) >= self._limit:
            return web.Response(status=503, text="too many pages are open\n", headers={"Retry-After": "10"})
        response = web.StreamResponse(headers={"Content-Type": _KIND, "X-Accel-Buffering": "no"})
        if request.method == "HEAD":
            return web.Response(headers={"Content-Type": _KIND})
        box = Mailbox()
        self._boxes.add(box)
        try:
            await response.prepare(request)
            await response.write(_BEGIN)
            self._begin(box)
            while (news := await box.take(self._quiet)) is not None:
                async with asyncio.timeout(self._patience):
                    await response.write(news)
        except ConnectionError:
            pass  # the page was closed
        except TimeoutError:
            log.info("page_dropped", reason="it takes nothing")
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._boxes.discard(box)
        return response

    async def close(self) -> None:
        """End all streams."""
        self._closed = True
        self._end()
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    def _begin(self, box: Mailbox) -> None:
        """Have a page told at once how things stand."""
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick(), name="page")
        elif self._last is not None:
            box.put(self._last)

    async def _tick(self) -> None:
        """Make snapshots while anybody listens."""
        try:
            while self._boxes:
                self._last = event(self._snapshot())
                for box in self._boxes:
                    box.put(self._last)
                await asyncio.sleep(self._every)
        except Exception:  # the pages say that there is no contact, and the bridge goes on
            log.exception("page_failed")
            self._end()
        finally:
            self._ticking = self._last = None

    def _end(self) -> None:
        for box in self._boxes:
            box.put(None)
