"""A simulated TickTock: list and detail streams with `api_key` in the query, and the REST surface beside it.

Written from the contract alone (sections 1 to 4). With a broker it answers recovery requests over AMQP, see `amqp.py`; without,
they are accepted and counted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, ClassVar, Final, Unpack

import msgspec
from aiohttp import web

from bridge.sim.change import Outgoing
from bridge.sim.connection import Connection, text_frames
from bridge.sim.feed import FeedKnobs
from bridge.sim.keys import ACTIVE, TICKTOCK_SCOPES, Key
from bridge.sim.options import Options, wall_clock
from bridge.sim.server import Simulator
from bridge.sim.stamps import iso_millis
from bridge.sim.ticktock_rest import TickTockRest
from bridge.sim.ticktock_stream import LIST, TickTockKnobs, TickTockStream, envelope

if TYPE_CHECKING:
    from bridge.sim.amqp import FeedPublisher

_STREAM_SCOPES: Final = frozenset({"cs2:stream:matches", "cs2:stream:markets", "cs2:stream:scoreboard"})
_POLICY_VIOLATION: Final = 1008


class TickTockSim(Simulator):
    """TickTock on one port. knobs: what the contract leaves open. auth_close: refuse keys by accepting the socket and
    closing it with this code, instead of by HTTP status. revoke_closes: a revoked key's open sockets are closed.
    amqp: URL of a RabbitMQ to publish replays to. exchange: there. feed: what replays are like.

    The rest is `Simulator`'s.
    """  # noqa: D205

    kind = "ticktock"
    default_key: ClassVar[str] = "ttk_live_simulated"

    def __init__(
        self,
        *,
        knobs: TickTockKnobs | None = None,
        auth_close: int | None = None,
        revoke_closes: bool = True,
        amqp: str | None = None,
        exchange: str = "ttfeed",
        feed: FeedKnobs | None = None,
        **options: Unpack[Options],
    ) -> None:
        """See the class."""
        self.knobs = knobs or TickTockKnobs()
        self.stream = TickTockStream(
            options.get("seed", 0), knobs=self.knobs, now=options.get("clock", wall_clock)()
        )  # fmt: skip
        super().__init__(self.stream, all_scopes=TICKTOCK_SCOPES, **options)
        self.feed: FeedPublisher | None = None
        if amqp is not None:
            from bridge.sim.amqp import FeedPublisher  # its client takes a while to import

            self.feed = FeedPublisher(
                self.stream.world, amqp, exchange=exchange, knobs=feed or FeedKnobs(), clock=self.clock
            )  # fmt: skip
        self.rest = TickTockRest(self.stream, self.keys, clock=self.clock, on_recovery=self._recover)
        self._auth_close = auth_close
        self._revoke_closes = revoke_closes

    def routes(self) -> list[web.RouteDef]:
        """The streams and REST."""
        return [
            web.get("/cs2/v1/stream", self._stream, allow_head=False),
            web.get("/cs2/v1/stream/{match_id}", self._stream, allow_head=False),
            *self.rest.routes(),
        ]

    async def start(self) -> None:
        """Listen and begin; with a broker, make the exchange first."""
        if self.feed is not None:
            await self.feed.declare()
        await super().start()
        if self.feed is not None:
            self._spawn(self.feed.alives())

    def _recover(self, after: int, request_id: str) -> None:
        if self.feed is not None:
            self._spawn(self.feed.replay(after, request_id))

    def listening(self, connection: Connection) -> bool:
        """Every connection listens from its snapshot on; a script is played on the list channel only."""
        return "base" in connection.detail and (self.script is None or connection.channel == LIST)

    async def revoke(self, key: str | None = None, *, state: str | None = None) -> int:
        """Deactivate a key (1.1: rotating kills the old one at once); its sockets are closed with 1008."""
        return await self._kill(self.keys.set_state(key or self.api_key, state or "deactivated"))

    async def rotate(self, fresh: str, *, key: str | None = None) -> int:
        """Rotate a key: the old one is dead at once (1.1)."""
        return await self._kill(self.keys.rotate(key or self.api_key, fresh, state="deactivated"))

    async def _kill(self, key: Key) -> int:
        if not self._revoke_closes:
            return 0
        dead = [each.number for each in self.connections if each.key is key]
        return sum([await self.drop(code=_POLICY_VIOLATION, connection=number) for number in dead])

    def broadcast(self, frames: list[Outgoing]) -> None:
        """To each connection what its channel carries and its key may see; the same bytes to equal ones."""
        listening = [connection for connection in self.connections if self.listening(connection)]
        lists: dict[tuple[frozenset[str], int], list[Connection]] = defaultdict(list)
        for connection in listening:
            if connection.channel == LIST:
                lists[connection.key.scopes, connection.detail["base"]].append(connection)
        listed = [frame for frame in frames if self.stream.on_list(frame)] if self.knobs.list_omits else frames
        for (scopes, base), group in lists.items():
            self._write(group, listed, scopes, base=base)
        details = [connection for connection in listening if connection.channel != LIST]
        by_match: dict[str, list[Outgoing]] = defaultdict(list)
        for frame in frames if details else ():
            by_match[frame.change.entity].append(frame)
        for connection in details:
            chosen = by_match.get(connection.detail["match_id"], [])
            self._write([connection], chosen, connection.key.scopes, base=connection.detail["base"], detail=True)

    async def keep_alive(self) -> None:
        """An alive to everybody every `alive_every` seconds (2.3), in the shape or shapes chosen."""
        if self.knobs.alive_every is None:
            return
        for turn in count():
            await asyncio.sleep(self.knobs.alive_every)
            if not self._alive:
                continue
            now = iso_millis(self.clock())
            data = {"status": "ok", "timestamp": now}
            shape = self.knobs.alive_shape
            if shape == "plain" or (shape == "alternate" and turn % 2):
                raw = msgspec.json.encode({"data": data})
            else:
                raw = envelope("alive", data, now.encode(), self.stream.next_seq(None))
            for connection in self.connections:
                connection.control(raw)
            self._told()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        refused = await self.turned_away(request)
        if refused is not None:
            return refused
        key = self.keys.find(request.query.get("api_key"))
        why = self._why_not(request.query.get("api_key"), key)
        match_id = request.match_info.get("match_id")
        if why is None and match_id and self.knobs.hide_unknown_match and self.stream.world.find(match_id) is None:
            why = (404, "match not found")
        if why is not None:
            self.refused += 1
            self._told()
            if self._auth_close is not None:
                return await self.close_at_once(request, self._auth_close, why[1])
            return web.json_response({"detail": why[1]}, status=why[0])
        assert key is not None  # noqa: S101  # `_why_not` says so
        connection, ws = await self.open(request, f"detail:{match_id}" if match_id else LIST, key)
        connection.detail["match_id"] = match_id
        self.catch_up()
        connection.detail["base"] = self.stream.next_seq(None) - 1 if self.knobs.seq_scope == "connection" else 0
        if self.knobs.snapshot and self.script is None:
            snapshot = self.stream.snapshot(match_id, self.clock())
            self._write([connection], snapshot, key.scopes, base=connection.detail["base"], detail=match_id is not None)
        self._told()
        await self.listen(connection, ws, lambda _: None)
        return ws

    def _why_not(self, token: str | None, key: Key | None) -> tuple[int, str] | None:
        """HTTP status and detail of a refused handshake (1.1), None where the key is good."""
        if not token:
            return 401, "api_key query parameter missing"
        if key is None:
            return 403, "invalid API key"
        if key.state != ACTIVE:
            return 403, _REFUSALS.get(key.state, "API key not accepted")
        if not key.scopes & _STREAM_SCOPES:
            return 403, "missing scope cs2:stream:matches; contact your account manager"
        return None

    def _write(
        self,
        group: list[Connection],
        frames: list[Outgoing],
        scopes: frozenset[str],
        *,
        base: int,
        detail: bool = False,
    ) -> None:
        raws: list[bytes] = []
        faults: list[str | None] = []
        render = self.stream.render
        for frame in frames:
            raw = render(frame, scopes, detail=detail, base=base)
            if raw is not None:
                raws.append(raw)
                faults.append(frame.fault)
        wire = text_frames(raws)
        for connection in group:
            connection.write(raws, faults, wire)


_REFUSALS: Final = {
    "deactivated": "API key deactivated",
    "ip_denied": "caller IP not on the key's allowlist",
    "sport_denied": "sport cs2 not in the key's sport_allowlist",
}
