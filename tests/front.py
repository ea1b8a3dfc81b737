"""A gateway's REST behind a front that a test makes slow, wrong or deaf: ``async with Front(sim.rest_url) as rest: rest.url``."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Literal, Self

import aiohttp
from aiohttp import web

#: ``pass``: answers come from behind. ``down``: 503. ``busy``: 429 with Retry-After. ``garbage``: no JSON. ``hang``: none comes.
Mood = Literal["pass", "down", "busy", "garbage", "hang"]
_KEPT: Final = ("X-API-Key", "X-Api-Key", "X-User-Wallet", "Authorization", "Accept")


class Front:
    """Between a bridge and a simulator's REST. about: the mood is for paths that hold this; all others pass."""

    def __init__(self, behind: str, *, about: str = "") -> None:
        self.mood: Mood = "pass"
        #: So many calls it is about pass whatever the mood.
        self.spare = 0
        #: Calls that it is about, and how many of them were not answered well.
        self.asked = self.spoilt = 0
        self.url = ""
        self._behind = behind
        self._about = about
        self._news = asyncio.Event()
        self._over = asyncio.Event()

    async def until_spoilt(self, count: int = 1, *, seconds: float = 60.0) -> None:
        """Wait until so many calls were not answered well."""
        async with asyncio.timeout(seconds):
            while self.spoilt < count:
                self._news.clear()
                await self._news.wait()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        mood: Mood = "pass"
        if self._about in request.path:
            self.asked += 1
            mood = "pass" if self.asked <= self.spare else self.mood
        if mood != "pass":
            self.spoilt += 1
            self._news.set()
        match mood:
            case "down":
                return web.Response(status=503)
            case "busy":
                return web.Response(status=429, headers={"Retry-After": "1"})
            case "garbage":
                return web.Response(text="<html>upstream connect error</html>")
            case "hang":
                await self._over.wait()
                return web.Response(status=503)
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        async with self._session.request(request.method, self._behind + request.path_qs, headers=headers) as answer:
            body = await answer.read()
            return web.Response(body=body, status=answer.status, content_type="application/json")
