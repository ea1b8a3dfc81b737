"""The HTTP side: answers right, reads only, trusts nobody."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from bridge.errors import ConfigError
from bridge.ops import http
from bridge.ops.metrics import Metrics
from bridge.ops.redaction import redactor

PATHS = ["/", "/api/status", "/metrics", "/healthz", "/readyz", "/page/main.js", "/runbooks/FeedbridgeNoCommits"]


class Bridge:
    """What the server asks, to be set by a test."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"name": "main", "instance": "i", "version": "1", "lanes": [], "gateways": []}
        self.readiness = (True, "active and committing")
        self.health = True

    def status(self) -> dict[str, Any]:
        """Return the facts."""
        return self.facts

    def ready(self) -> tuple[bool, str]:
        """Return the readiness."""
        return self.readiness

    def healthy(self) -> bool:
        """Return the health."""
        return self.health


@pytest.fixture
def bridge() -> Bridge:
    """Return a bridge that is well."""
    return Bridge()


@pytest.fixture
async def client(bridge: Bridge) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client of a server that listens on a free port."""
    runner = await http.serve(
        "127.0.0.1:0", status=bridge.status, ready=bridge.ready, healthy=bridge.healthy, metrics=Metrics()
    )
    async with aiohttp.ClientSession(http.address(runner)) as session:
        yield session
    await runner.cleanup()


async def test_health_and_readiness_follow_the_bridge(client: aiohttp.ClientSession, bridge: Bridge) -> None:
    """200 or 503, with one line that says why."""
    for path in ("/healthz", "/readyz"):
        async with client.get(path) as answer:
            assert answer.status == 200
    bridge.readiness = (False, "registry\nunreachable")
    bridge.health = False
    async with client.get("/readyz") as answer:
        assert (answer.status, await answer.text()) == (503, "registry unreachable\n")
    async with client.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (503, "no progress\n")


async def test_status_is_json(client: aiohttp.ClientSession, bridge: Bridge) -> None:
    """`/api/status` is what the bridge says of itself, as JSON."""
    async with client.get("/api/status") as answer:
        assert answer.content_type == "application/json"
        assert await answer.json() == bridge.facts


async def test_metrics_are_prometheus_text(client: aiohttp.ClientSession) -> None:
    """`/metrics` has the content type and the metrics that Prometheus expects."""
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "feedbridge_journal_frames 0.0" in await answer.text()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
async def test_read_only(client: aiohttp.ClientSession, method: str, path: str) -> None:
    """Whatever is no reading is refused with 405, on each path."""
    async with client.request(method, path) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET,HEAD"


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
async def test_security_headers_on_every_answer(client: aiohttp.ClientSession, path: str) -> None:
    """Each answer, errors too, forbids guessing, framing and foreign resources, and names no software version."""
    async with client.get(path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "feedbridge"
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


async def test_head_is_answered(client: aiohttp.ClientSession) -> None:
    """Load balancers that ask with HEAD get the same status."""
    async with client.head("/readyz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("host", ["evil.example", "<script>", "127.0.0.1:1"])
async def test_host_is_not_trusted(client: aiohttp.ClientSession, host: str) -> None:
    """Whatever the client calls us, the answer is the same and does not repeat it."""
    for path in PATHS[:2]:
        async with client.get(path, headers={"Host": host, "X-Forwarded-Host": host}) as answer:
            assert answer.status == 200
            assert host not in await answer.text() or host == "<script>"
            assert host not in str(answer.headers)


async def test_events_are_a_stream_of_the_status(client: aiohttp.ClientSession, bridge: Bridge) -> None:
    """`/api/events` says at once what `/api/status` would, as a server-sent event."""
    async with client.get("/api/events") as answer:
        assert answer.content_type == "text/event-stream"
        assert await answer.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        told = await answer.content.readuntil(b"\n\n")
    assert msgspec.json.decode(told.removeprefix(b"data: ")) == bridge.facts


async def test_open_pages_do_not_hold_up_the_end(bridge: Bridge) -> None:
    """A bridge that stops ends its streams at once, whoever listens."""
    runner = await http.serve(
        "127.0.0.1:0", status=bridge.status, ready=bridge.ready, healthy=bridge.healthy, metrics=Metrics()
    )
    async with aiohttp.ClientSession(http.address(runner)) as session, session.get("/api/events") as answer:
        async with asyncio.timeout(0.9):  # what the server would wait
            await runner.cleanup()
        assert b"data: " in await answer.read()


@pytest.mark.parametrize(
    "path", ["/page/index.html", "/page/..%2fhttp.py", "/page/", "/runbooks/README", "/runbooks/x"]
)
async def test_only_the_page_s_own_files(client: aiohttp.ClientSession, path: str) -> None:
    """A name is looked up among the files that were read at the start, never on the disk."""
    async with client.get(path) as answer:
        assert answer.status == 404


async def test_known_secrets_do_not_leave(client: aiohttp.ClientSession, bridge: Bridge) -> None:
    """Should a secret get into the status or the reason, it is masked on the way out."""
    secret = 'marker"of/http'
    redactor.add(secret)
    bridge.facts["detail"] = secret
    bridge.readiness = (False, f"refused {secret}")
    for path in ("/api/status", "/readyz"):
        async with client.get(path) as answer:
            text = await answer.text()
            assert "***" in text
            assert "of/http" not in text


async def test_error_of_the_status_is_a_bare_500(client: aiohttp.ClientSession, bridge: Bridge) -> None:
    """A bug behind the page shows nothing of itself to the client."""
    bridge.facts = {"bad": object()}
    async with client.get("/api/status") as answer:
        assert answer.status == 500
        assert "object" not in await answer.text()


async def test_taken_address_is_a_config_error(bridge: Bridge) -> None:
    """One line that names the address, the reason and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError) as raised:
            await http.serve(
                listen, status=bridge.status, ready=bridge.ready, healthy=bridge.healthy, metrics=Metrics()
            )
    assert str(raised.value).startswith(f"http.listen: can't listen on {listen}: the address is in use; ")


@pytest.mark.parametrize("listen", ["8080", "host:", "host:port", ":", "", "127.0.0.1:70000", "no.such.host.invalid:1"])
async def test_bad_address_is_a_config_error(bridge: Bridge, listen: str) -> None:
    """What can't be listened on is named, never a traceback."""
    with pytest.raises(ConfigError, match=r"^http\.listen: "):
        await http.serve(listen, status=bridge.status, ready=bridge.ready, healthy=bridge.healthy, metrics=Metrics())


async def test_ipv6_address(bridge: Bridge) -> None:
    """An IPv6 address is written in brackets, in the configuration and in what is shown."""
    runner = await http.serve(
        "[::1]:0", status=bridge.status, ready=bridge.ready, healthy=bridge.healthy, metrics=Metrics()
    )
    assert re.fullmatch(r"http://\[::1\]:\d+", http.address(runner))
    await runner.cleanup()
