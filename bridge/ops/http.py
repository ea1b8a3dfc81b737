"""The HTTP side: health, readiness, status, metrics and a page for people (design 6.4). Read only.

Nothing here depends on what the client says of itself: the ``Host`` header is not looked at, no link is absolute, no
body is read, and every answer forbids the browser to guess, frame or load anything from elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from bridge.errors import ConfigError
from bridge.ops import pages
from bridge.ops.events import Events
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from bridge.ops.metrics import Metrics

_SHUTDOWN_SECONDS: Final = 1.0
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "feedbridge",
    "Content-Security-Policy": pages.POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def serve(
    listen: str,
    *,
    status: Callable[[], dict[str, Any]],
    ready: Callable[[], tuple[bool, str]],
    healthy: Callable[[], bool],
    metrics: Metrics,
) -> web.AppRunner:
    """Listen and answer until the runner that is returned is cleaned up (``await runner.cleanup()``).

    listen: ``HOST:PORT`` (``[::1]:8080`` for IPv6, ``:8080`` for all addresses; port 0: any free one, see `address`). status: what ``/api/status``
    shows. ready: whether the bridge is ready, and one line why. healthy: whether the process makes progress.
    Raises ConfigError if the address can't be used.
    """
    host, port = _split(listen)
    runner = web.AppRunner(
        _application(status, ready, healthy, metrics),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host or None, port).start()
    except OSError as error:
        await runner.cleanup()
        why = (error.strerror or str(error)).lower()
        if "address already in use" in str(error).lower():
            why = "the address is in use"
        message = f"can't listen on {listen}: {why}"
        raise ConfigError(message, where="http.listen", mend="name another address, or null for none") from error
    except OverflowError as error:
        await runner.cleanup()
        raise ConfigError(f"port {port} is out of range", where="http.listen") from error
    return runner


def address(runner: web.AppRunner) -> str:
    """Return where the runner listens, as a URL for people: ``http://127.0.0.1:8080``."""
    host, port = runner.addresses[0][:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _split(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit():
        what = f"{listen!r} is no address"
        raise ConfigError(what, where="http.listen", mend="write HOST:PORT, such as 127.0.0.1:8080")
    return host, int(port)


def _application(
    status: Callable[[], dict[str, Any]],
    ready: Callable[[], tuple[bool, str]],
    healthy: Callable[[], bool],
    metrics: Metrics,
) -> web.Application:
    def snapshot() -> str:
        # Last line of defence: no field of a status may hold a secret, and none that is known leaves here.
        return redactor.known(msgspec.json.encode(status()).decode())

    events = Events(snapshot)

    async def show_status(_: web.Request) -> web.Response:
        return web.Response(text=snapshot(), content_type="application/json")

    async def show_metrics(_: web.Request) -> web.Response:
        text, kind = metrics.exposition()
        return web.Response(body=redactor.known(text.decode()).encode(), headers={"Content-Type": kind})

    async def show_health(_: web.Request) -> web.Response:
        good = healthy()
        return _line("ok" if good else "no progress", good=good)

    async def show_ready(_: web.Request) -> web.Response:
        good, why = ready()
        return _line(why or ("ready" if good else "not ready"), good=good)

    async def finish(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(_HEADERS)

    app = web.Application(middlewares=[_read_only])
    app.router.add_routes(pages.routes(snapshot))
    app.router.add_get("/api/status", show_status)
    app.router.add_get("/api/events", events.serve)
    app.router.add_get("/metrics", show_metrics)
    app.router.add_get("/healthz", show_health)
    app.router.add_get("/readyz", show_ready)
    app.on_response_prepare.append(finish)

    async def close(_: web.Application) -> None:
        await events.close()

    app.on_shutdown.append(close)
    return app


@web.middleware
async def _read_only(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if request.method not in {"GET", "HEAD"}:
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
    return await handler(request)


def _line(text: str, *, good: bool) -> web.Response:
    return web.Response(text=" ".join(redactor.text(text).split()) + "\n", status=200 if good else 503)
