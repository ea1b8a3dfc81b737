"""The shell that every simulated gateway shares: a server with a pace, an operator and a ledger.

What a gateway says is made by a pure `Source`; what it accepts and answers is in `ticktock.py` and
`predictstreet.py`. Here is the life around it: listening, pacing, broadcasting, and all that can be done to a feed at run time.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from aiohttp import WSMsgType, web

from bridge.sim.change import Outgoing
from bridge.sim.connection import Connection
from bridge.sim.expected import Expected, expected
from bridge.sim.faults import MIB, Faults
from bridge.sim.keys import Key, Keyring
from bridge.sim.options import wall_clock
from bridge.sim.pace import ROOM, Pace
from bridge.sim.refusal import Misanswer, Refusal
from bridge.sim.script import Script
from bridge.sim.sent import SentLog

#: Close codes that may be sent, and the bytes that a reason may have (RFC 6455, 5.5 and 7.4).
_LEAST_CODE, _MOST_CODE, _LONGEST_REASON = 1000, 4999, 123


class Source(Protocol):
    """Where frames come from: a pure function of its seed, of the times it is given and of what is asked of it."""

    def take(self, count: int, now: int) -> list[Outgoing]:
        """The next `count` frames, leaving at `now` (ms)."""

    def drain(self) -> list[Outgoing]:
        """What has happened but was not taken yet: to be sent before any snapshot."""

    def set_faults(self, faults: Faults) -> None:
        """Other fault rates from the next frame on."""

    def set_pace(self, rate: float | None) -> None:
        """Frames per second to come (None: as fast as they are taken), so that the story need not hurry."""

    def reset_seq(self) -> None:
        """Sequence numbers begin anew, as after a restart of the server."""


class Simulator(ABC):
    """A simulated gateway, as an async context manager: ``async with TickTockSim(seed=1) as sim: sim.url``.

    host, port: where to listen (port 0: any, see `url`). seed: of the world and of the faults. rate: frames per second of the
    whole gateway, None: as fast as the readers take them. faults: rates, see `Faults`. api_key: a key with all scopes;
    keys: more keys, or others. wait_for: the feed begins when so many connections listen (0: at once).
    limit: the feed ends after so many frames; keep-alive goes on. keep, spool: see `SentLog`. script: send these frames
    instead of a world's. operator: serve `/_sim/` (see `operator.py`). clock: ms since the epoch, written into frames.
    tick: shortest time between two writes, s. backlog_limit: a reader that leaves more bytes than this is cut off
    (at a fixed rate; without one the feed waits for its slowest reader). connection_limit: of all keys together; a handshake
    beyond it gets 429.
    """

    kind: ClassVar[str]
    default_key: ClassVar[str]

    def __init__(
        self,
        source: Source,
        *,
        all_scopes: frozenset[str],
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        rate: float | None = 20.0,
        faults: Faults | Mapping[str, float] | None = None,
        api_key: str | None = None,
        keys: list[Key] | None = None,
        wait_for: int = 0,
        limit: int | None = None,
        keep: int | None = 100_000,
        spool: Path | None = None,
        script: Script | None = None,
        operator: bool = True,
        clock: Callable[[], int] = wall_clock,
        tick: float = 0.004,
        backlog_limit: int = 64 * MIB,
        connection_limit: int | None = None,
    ) -> None:
        """Nothing runs before `start`. Raises ValueError for a rate or a fault rate that makes no sense."""
        self.seed = seed
        self.api_key = api_key or (keys[0].token if keys else self.default_key)
        given = list(keys or [])
        if api_key or not keys:
            given.insert(0, Key(token=self.api_key, scopes=all_scopes))
        self.keys = Keyring(given)
        self.sent = SentLog(keep=keep, spool=spool)
        self.script = script
        self.refusal: Refusal | None = None
        self.misanswer: Misanswer | None = None
        self.clock = clock
        #: Data frames that the world has made so far; connections, handshakes and refusals since the start.
        self.produced = 0
        self.accepted = 0
        self.refused = 0
        self._source = source
        self._host, self._port = host, port
        self._wait_for = wait_for
        self._limit = limit
        self._operator = operator
        self._tick = tick
        self._backlog_limit = backlog_limit
        self._delay = 0.0
        self._connections: dict[int, Connection] = {}
        self._uses: Counter[str] = Counter()
        self._connection_limit = connection_limit
        self._silent_ahead = False
        self._paused = False
        self._alive = True
        self._stopping = False
        self._unsilenced = asyncio.Event()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runner: web.AppRunner | None = None
        source.set_faults(Faults.of(faults))
        self._rate: float | None = None
        self.set_rate(rate)

    # Life

    async def start(self) -> None:
        """Listen and begin; raises OSError where the port is taken."""
        from bridge.sim.operator import routes as operator_routes

        app = web.Application(middlewares=[self._slowed], client_max_size=MIB)
        app.add_routes(self.routes())
        if self._operator:
            app.add_routes(operator_routes(self))
        # No access log: it would print request lines, and keys ride in them.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, backlog=256)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self._spawn(self._pump())
        self._spawn(self.keep_alive())

    async def stop(self) -> None:
        """Close all connections with 1001 and stop listening. May be called twice."""
        self._stopping = True
        self._unsilenced.set()
        await asyncio.gather(*(each.close(1001, "server going away", patience=0.1) for each in self.connections))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.sent.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """``ws://host:port``, what goes into a gateway's `url`."""
        return f"ws://{self._authority()}"

    @property
    def rest_url(self) -> str:
        """``http://host:port``, what goes into a gateway's `rest.url`."""
        return f"http://{self._authority()}"

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port

    @property
    def connections(self) -> list[Connection]:
        """The open connections, oldest first."""
        return [connection for connection in self._connections.values() if connection.open]

    def expected(self) -> list[Expected]:
        """What an exactly-once bridge must have published for the frames in `sent`; see `expected.expected`."""
        return expected(self.kind, self.sent)

    async def wait(self, condition: Callable[[Self], bool], *, seconds: float | None = 10.0) -> None:
        """Return when `condition(self)` holds; it is looked at after each write and each coming or going. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._news.clear()
                await self._news.wait()

    def status(self) -> dict[str, Any]:
        """The state as plain JSON values; no key in it."""
        return {
            "kind": self.kind, "seed": self.seed, "rate": self._rate, "produced": self.produced, "sent": self.sent.total,
            "accepted": self.accepted, "refused": self.refused, "paused": self._paused,
            "connections": [
                {
                    "number": connection.number, "channel": connection.channel, "written": connection.written,
                    "backlog": connection.backlog, "silent": connection.silent, **connection.detail,
                }
                for connection in self.connections
            ],
        }  # fmt: skip

    # Operator: what can be done to a running feed

    async def drop(
        self, *, code: int | None = 1001, reason: str = "", abort: bool = False, connection: int | None = None
    ) -> int:
        """End connections (all, or the one of that number); how many.

        They are closed with `code` after all that was written before; abort (or no code): the line is cut, and what was under way is lost.
        Raises ValueError for a code that may not be sent, or a reason that does not fit.
        """
        if code is not None and (not _LEAST_CODE <= code <= _MOST_CODE or len(reason.encode()) > _LONGEST_REASON):
            raise ValueError(f"no close frame holds code {code} and that reason")
        chosen = [each for each in self.connections if connection in {None, each.number}]
        if abort or code is None:
            for each in chosen:
                each.abort()
        else:
            await asyncio.gather(*(each.close(code, reason) for each in chosen))
        self._told()
        return len(chosen)

    def silence(self, *, on: bool = True, future: bool = False, connection: int | None = None) -> int:
        """Open connections (all, or that one) say nothing more and answer nothing, TCP stays open; how many.

        future: the same for connections to come. on=False ends it for all; frames of the meantime are not sent later.
        """
        if not on:
            self._silent_ahead = False
            self._unsilenced.set()
        else:
            self._unsilenced.clear()
            self._silent_ahead = self._silent_ahead or future
        chosen = [each for each in self.connections if connection in {None, each.number}]
        for each in chosen:
            each.silent = on
        return len(chosen)

    def refuse(
        self, *, status: int | None = None, code: int | None = None, reason: str = "", times: int | None = None,
        abort: bool = False,
    ) -> None:  # fmt: skip
        """Refuse handshakes from now on, `times` of them (None: until `accept`): HTTP status, close code after accepting, or a cut."""
        self.refusal = Refusal(status=status, code=code, reason=reason, left=times, abort=abort)

    def accept(self) -> None:
        """Refuse no more, and answer truly."""
        self.refusal = self.misanswer = None

    @abstractmethod
    async def revoke(self, key: str | None = None, *, state: str | None = None) -> int:
        """The key (default: `api_key`) is good no more, and its connections are closed; how many were. KeyError if unknown."""

    @abstractmethod
    async def rotate(self, fresh: str, *, key: str | None = None) -> int:
        """A new key takes the place of one (default: `api_key`), as this gateway rotates; how many connections were closed."""

    def uses(self, key: str) -> int:
        """How often a connection was opened with that key."""
        return self._uses[key]

    def restore(self, key: str | None = None) -> None:
        """The key is good again."""
        self.keys.set_state(key or self.api_key, "active")

    def set_rate(self, rate: float | None) -> None:
        """Frames per second from now on; None: as fast as the readers take. Raises ValueError unless positive."""
        if rate is not None and rate <= 0:
            raise ValueError(f"rate must be positive, not {rate}; pause() stops the feed")
        self._rate = rate
        self._source.set_pace(rate)
        if self.script is not None:
            self.script.rate = rate
        self._told()

    def set_delay(self, seconds: float) -> None:
        """Everything sent, REST answers too, comes so much later from now on (0: at once)."""
        self._delay = seconds
        for connection in self._connections.values():
            connection.delay = seconds

    def set_faults(self, faults: Faults | Mapping[str, float] | None) -> None:
        """Other fault rates from now on; None: no faults. Raises ValueError for unknown names and bad rates."""
        self._source.set_faults(Faults.of(faults))

    def pause(self) -> None:
        """The world stands still; keep-alive goes on."""
        self._paused = True

    def resume(self) -> None:
        """The world goes on."""
        self._paused = False
        self._told()

    def alive(self, *, on: bool = True) -> None:
        """Whether keep-alive is sent."""
        self._alive = on

    def reset_seq(self) -> None:
        """Sequence numbers begin anew, as after a restart of the server."""
        self._source.reset_seq()

    def send(self, raw: bytes, *, fault: str | None = None, connection: int | None = None) -> int:
        """Send these bytes as a text frame to all listening connections (or that one); how many got it."""
        chosen = [each for each in self._audience() if connection in {None, each.number}]
        for each in chosen:
            each.write((raw,), (fault,))
        self._told()
        return len(chosen)

    # What a gateway is made of

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """WebSocket and REST paths."""

    @abstractmethod
    def broadcast(self, frames: list[Outgoing]) -> None:
        """Write frames to every connection that may see them."""

    @abstractmethod
    async def keep_alive(self) -> None:
        """Send keep-alive for ever, where the gateway does that by itself."""

    @abstractmethod
    def listening(self, connection: Connection) -> bool:
        """Whether the connection gets data (it is subscribed)."""

    async def open(self, request: web.Request, channel: str, key: Key) -> tuple[Connection, web.WebSocketResponse]:
        """Accept the upgrade; raises web.HTTPException where it is none."""
        ws = web.WebSocketResponse(autoclose=False, autoping=False, compress=False, timeout=1.0, max_msg_size=MIB)
        await ws.prepare(request)
        self.accepted += 1
        self._uses[key.token] += 1
        connection = Connection(self.accepted, channel, key, ws, request, record=self.sent.add, clock=self.clock)
        connection.delay = self._delay
        connection.silent = self._silent_ahead
        if self._silent_ahead:
            self._unsilenced.clear()
        self._connections[connection.number] = connection
        self._told()
        return connection, ws

    async def listen(self, connection: Connection, ws: web.WebSocketResponse, on_text: Callable[[str], None]) -> None:
        """Read until the client leaves; text goes to `on_text`. While silent nothing is answered, not even a close."""
        playing: asyncio.Task[None] | None = None
        try:
            if self.script is not None:
                playing = self._spawn(
                    self.script.play(connection, lambda: self._until_listening(connection), self._told)
                )
            while True:
                message = await ws.receive()
                if message.type is WSMsgType.TEXT:
                    if not connection.silent:
                        on_text(message.data)
                elif message.type is WSMsgType.PING:
                    connection.pong(bytes(message.data))
                elif message.type not in {WSMsgType.PONG, WSMsgType.BINARY}:
                    break
            if connection.silent and not connection.leaving and not self._stopping:
                await self._unsilenced.wait()
        finally:
            if playing is not None:
                playing.cancel()
            self._connections.pop(connection.number, None)
            connection.gone()
            self._told()
        if not connection.leaving:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await ws.close()

    def catch_up(self) -> None:
        """Send what the world has already lived through, so that a snapshot taken now is no step ahead of the stream."""
        frames = self._source.drain()
        if self._limit is not None:
            del frames[max(0, self._limit - self.produced) :]
        if frames:
            self.produced += len(frames)
            self.broadcast(frames)

    async def turned_away(self, request: web.Request) -> web.StreamResponse | None:
        """The answer to a handshake while the operator refuses, None where it may go on."""
        refusal = self.refusal
        if refusal is None or not refusal.applies():
            if self._connection_limit is None or len(self.connections) < self._connection_limit:
                return None
            refusal = Refusal(status=429, reason="too many connections")
        self.refused += 1
        self._told()
        if refusal.abort:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if refusal.code is not None:
            return await self.close_at_once(request, refusal.code, refusal.reason)
        return web.json_response({"detail": refusal.reason or "service unavailable"}, status=refusal.status or 503)

    async def close_at_once(self, request: web.Request, code: int, reason: str) -> web.StreamResponse:
        """Accept the upgrade and close it with `code`: the way a refusal looks that comes after the handshake."""
        ws = web.WebSocketResponse(timeout=1.0)
        await ws.prepare(request)
        await ws.close(code=code, message=reason.encode())
        return ws

    # The pump

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        pace = Pace(self._rate, tick=self._tick, now=loop.time())
        while True:
            if not self._flowing():
                self._news.clear()
                await self._news.wait()
                pace.restart(loop.time())
                continue
            pace.rate = self._rate
            room = self._rate is not None or all(each.backlog < ROOM for each in self._audience())
            count, pause = pace.due(loop.time(), room=room)
            if self._limit is not None:
                count = min(count, self._limit - self.produced)
            if count:
                frames = self._source.take(count, self.clock())
                self.produced += len(frames)
                self.broadcast(frames)
                self._cut_slow_readers()
                self._told()
            await asyncio.sleep(pause)

    def _flowing(self) -> bool:
        if self._paused or self.script is not None or (self._limit is not None and self.produced >= self._limit):
            return False
        if self._wait_for or self._rate is None:
            audience = len(self._audience())
            if audience < max(self._wait_for, 1):
                return False
            self._wait_for = 0
        return True

    def _audience(self) -> list[Connection]:
        return [each for each in self.connections if not each.silent and self.listening(each)]

    def _cut_slow_readers(self) -> None:
        if self._rate is not None:
            for connection in self.connections:
                if connection.backlog > self._backlog_limit:
                    connection.abort()

    async def _until_listening(self, connection: Connection) -> None:
        await self.wait(lambda _: self.listening(connection), seconds=None)

    def _told(self) -> None:
        self._news.set()

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _authority(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @web.middleware
    async def _slowed(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        if request.path.startswith("/_sim/"):  # the operator must be able to take it back
            operated: web.StreamResponse = await handler(request)
            return operated
        if self._delay:
            await asyncio.sleep(self._delay)
        if (wrong := self.misanswer) is not None and wrong.applies(request.path):
            await asyncio.sleep(wrong.delay)
            if wrong.body is not None:
                return wrong.response(wrong.body)
        response: web.StreamResponse = await handler(request)
        return response
