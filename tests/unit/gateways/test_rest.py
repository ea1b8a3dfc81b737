"""bridge.gateways.rest: calls with a key, a pace, and clear errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BadData, BridgeError, Refused, Unreachable
from bridge.gateways.rest import Bucket, Rest, decode
from bridge.settings import Url
from tests.unit.gateways.doubles import outside

Answer = Callable[[web.Request], Awaitable[web.Response]]


class Server:
    """A REST interface that gives the answers of a list, then 200."""

    def __init__(self) -> None:
        self.answers: list[web.Response] = []
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.methods: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Answer, and remember what was asked."""
        self.requests.append((request.path_qs, dict(request.headers)))
        self.methods.append(request.method)
        return self.answers.pop(0) if self.answers else web.json_response({"ok": 1})


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server that listens."""
    made = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def pauses() -> list[float]:
    """The pauses that were made."""
    return []


@pytest.fixture
async def rest(server: Server, pauses: list[float]) -> AsyncIterator[Rest]:
    """A client of the server."""
    made = Rest(Url(f"{server.url}/base/"), {"X-API-Key": "s3cr3t-marker"}, per_minute=600, outside=outside(pauses))
    yield made
    await made.close()


async def test_calls_carry_the_key_in_a_header_and_nowhere_else(server: Server, rest: Rest) -> None:
    """Path and query are as given, below the URL's own path."""
    assert await rest.get("/v1/matches", status="live", limit=200) == b'{"ok": 1}'
    path, headers = server.requests[0]
    assert path == "/base/v1/matches?status=live&limit=200"
    assert headers["X-API-Key"] == "s3cr3t-marker"
    assert headers["Accept"] == "application/json"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, Refused),
        (403, Refused),
        (404, BadData),
        (400, BadData),
        (406, BadData),
        (409, BadData),
        (422, BadData),
        (302, BadData),
        (500, Unreachable),
        (502, Unreachable),
    ],
)
async def test_statuses_become_the_errors_that_callers_care_about(
    server: Server, rest: Rest, status: int, error: type[BridgeError]
) -> None:
    """Each says the status and what the server says; a redirect is not followed."""
    headers = {"Location": "/elsewhere"} if status == 302 else None
    server.answers = [web.json_response({"detail": "because"}, status=status, headers=headers)]
    with pytest.raises(error, match=rf"{status}: because"):
        await rest.get("/v1/x")
    assert len(server.requests) == 1


async def test_a_post_has_its_arguments_in_the_query(server: Server, rest: Rest) -> None:
    """As Oddin's clients send them (contract 3.4). What was started may be answered with 202 or 204."""
    server.answers = [web.Response(status=202, body=b"{}"), web.Response(status=204)]
    assert await rest.post("/start", after=5, request_id="7") == b"{}"
    assert await rest.post("/start", after=5, request_id="8") == b""
    assert [path for path, _ in server.requests] == [f"/base/start?after=5&request_id={each}" for each in (7, 8)]
    assert server.methods == ["POST", "POST"]


async def test_a_429_is_asked_again_when_the_server_says(server: Server, rest: Rest, pauses: list[float]) -> None:
    """Retry-After is waited for; the third refusal is an error."""
    server.answers = [web.Response(status=429, headers={"Retry-After": "9"})]
    assert await rest.get("/v1/x") == b'{"ok": 1}'
    assert 9 in pauses
    server.answers = [web.Response(status=429, headers={"Retry-After": "2"}) for _ in range(3)]
    with pytest.raises(Unreachable, match="429"):
        await rest.get("/v1/x")
    server.answers = [web.Response(status=429, headers={"Retry-After": "86400"})]
    with pytest.raises(Unreachable):
        await rest.get("/v1/x")


async def test_nobody_there_is_unreachable_without_the_url() -> None:
    """One line that names the host and the path."""
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    rest = Rest(Url(f"http://127.0.0.1:{port}"), {}, per_minute=600, outside=outside())
    with pytest.raises(Unreachable) as error:
        await rest.get("/v1/x", key="s3cr3t-marker")
    await rest.close()
    assert str(error.value) == "127.0.0.1/v1/x: no answer (ClientConnectorError)"


def test_an_answer_of_another_shape_is_bad_data() -> None:
    """Whatever the server is, it can't stop us."""

    class Shape(msgspec.Struct):
        data: list[int]

    for body in (b"[]", b"<html>", b'{"data": "x"}', b"\xff"):
        with pytest.raises(BadData):
            decode(body, Shape)
    assert decode(b'{"data": [1], "more": 2}', Shape) == Shape([1])


@given(st.floats(1, 6000), st.lists(st.floats(0, 5), min_size=1, max_size=200))
def test_a_bucket_never_lets_more_through_than_its_rate(per_minute: float, gaps: list[float]) -> None:
    """In any minute at most the rate, and five seconds' worth more at once."""
    bucket, now = Bucket(per_minute), 0.0
    turns = []
    for gap in gaps:
        now += gap
        turns.append(now + bucket.take(now))
    for index, start in enumerate(turns):
        within = sum(1 for turn in turns[index:] if turn < start + 60)
        assert within <= per_minute + per_minute / 12 + 2
