"""A simulated PredictStreet: the gateways ``/ws/market`` and ``/ws/user`` with their commands, and REST beside them.

Written from the contract alone. A wallet comes to life with the first socket or request for it, and goes on living.
"""

from __future__ import annotations

import re
from functools import partial
from typing import ClassVar, Final, Unpack

from aiohttp import hdrs, web

from bridge.sim.change import Outgoing
from bridge.sim.connection import Connection
from bridge.sim.keys import ACTIVE, PREDICTSTREET_SCOPES, Key, NoWallet, acting_wallet
from bridge.sim.options import Options, wall_clock
from bridge.sim.portfolio_rest import PortfolioRest
from bridge.sim.predictstreet_rest import PredictStreetRest
from bridge.sim.predictstreet_stream import PredictStreetKnobs, PredictStreetStream
from bridge.sim.server import Simulator
from bridge.sim.session import Gateway, Session

#: ``ps_live_<16 hex>_<43 base64url>`` (1.2).
_KEY_FORM: Final = re.compile(r"(ps_(?:live|test)_[0-9a-f]{16})_[A-Za-z0-9_-]{43}")
_REFUSED: Final = 4401
_POLICY_VIOLATION: Final = 1008


class PredictStreetSim(Simulator):
    """PredictStreet on one port. knobs: what the contract leaves open. The rest is `Simulator`'s."""

    kind = "predictstreet"
    default_key: ClassVar[str] = "ps_test_0123456789abcdef_simulatedsimulatedsimulatedsimulatedsimulat"

    def __init__(self, *, knobs: PredictStreetKnobs | None = None, **options: Unpack[Options]) -> None:
        """See the class."""
        self.knobs = knobs or PredictStreetKnobs()
        self.stream = PredictStreetStream(
            options.get("seed", 0), knobs=self.knobs, now=options.get("clock", wall_clock)()
        )  # fmt: skip
        super().__init__(self.stream, all_scopes=PREDICTSTREET_SCOPES, **options)
        self.rest = PredictStreetRest(self.stream, self.keys, clock=self.clock)
        self.private_rest = PortfolioRest(
            self.stream.portfolio, self.keys, per_address=self.knobs.rate_limit, clock=self.clock
        )
        self._sessions: dict[int, Session] = {}

    def routes(self) -> list[web.RouteDef]:
        """Both gateways and REST."""
        return [
            web.get("/ws/market", partial(self._socket, gateway="market"), allow_head=False),
            web.get("/ws/user", partial(self._socket, gateway="user"), allow_head=False),
            *self.private_rest.routes(),
            *self.rest.routes(),
        ]

    @property
    def tokens(self) -> list[str]:
        """The token ids of all open markets: what to subscribe to."""
        return [token for market in self.stream.world.markets for token in market.tokens]

    @property
    def conditions(self) -> list[str]:
        """The condition ids of all open markets."""
        return [market.condition for market in self.stream.world.markets]

    def vault(self, wallet: str) -> str:
        """The vault of a wallet: what to subscribe to."""
        return self.stream.portfolio.adopt(wallet.lower()).vault

    def listening(self, connection: Connection) -> bool:
        """Whether it has subscribed to anything."""
        session = self._sessions.get(connection.number)
        return session is not None and bool(session.subscriptions)

    async def revoke(self, key: str | None = None, *, state: str | None = None) -> int:
        """Revoke a key: every live socket of it closes with 4401 and the reason (1.2, 1.5)."""
        found = self.keys.set_state(key or self.api_key, state or "api_key_revoked")
        return sum([
            await self.drop(code=_REFUSED, reason=found.state, connection=each.number)
            for each in self.connections
            if each.key is found
        ])  # fmt: skip

    async def rotate(self, fresh: str, *, key: str | None = None) -> int:
        """Rotate a key: both are good until the old one is revoked, and open sockets stay (1.2)."""
        self.keys.rotate(key or self.api_key, fresh, state=ACTIVE)
        return 0

    def broadcast(self, frames: list[Outgoing]) -> None:
        """To each connection what it subscribed to, once for each of its sids that match."""
        render = self.stream.render
        for connection in self.connections:
            session = self._sessions.get(connection.number)
            if session is None or not session.routes:
                continue
            routes = session.routes
            raws: list[bytes] = []
            faults: list[str | None] = []
            for frame in frames:
                change = frame.change
                sids = routes.get((change.channel, change.entity))
                if sids is not None:
                    for sid in sids:
                        raws.append(render(frame, sid))
                        faults.append(frame.fault)
            connection.write(raws, faults)

    async def keep_alive(self) -> None:
        """Nothing: here the client pings (1.6)."""

    async def _socket(self, request: web.Request, gateway: Gateway) -> web.StreamResponse:
        refused = await self.turned_away(request)
        if refused is not None:
            return refused
        code, reason, key = self._judged(request)
        most = self.knobs.connections
        if key is not None and most and sum(each.key is key for each in self.connections) >= most:
            self.refused += 1
            self._told()
            return web.json_response({"code": "too_many_connections"}, status=429, headers={"Retry-After": "1"})
        channel, wallet, vaults = "market", None, None
        if key is not None and gateway == "user":
            asked = request.headers.get("X-User-Wallet") or request.query.get("user_wallet")
            try:
                wallet = acting_wallet(key, asked, first=self.stream.portfolio.first)
            except NoWallet as error:
                code, reason, key = _REFUSED, str(error), None
            else:
                channel, vaults = f"user:{wallet}", (self.vault(wallet),)
        if key is None:
            self.refused += 1
            self._told()
            return await self.close_at_once(request, code, reason)
        connection, ws = await self.open(request, channel, key)
        session = self._sessions[connection.number] = Session(
            gateway, self.knobs, key, clock=self.clock, wallet=wallet, vaults=vaults
        )
        connection.control(session.greeting())
        try:
            await self.listen(connection, ws, lambda text: self._command(connection, session, text))
        finally:
            self._sessions.pop(connection.number, None)
        return ws

    def _command(self, connection: Connection, session: Session, text: str) -> None:
        # Before the subscription exists: what is older than its snapshot must not come after it.
        self.catch_up()
        reply = session.receive(text)
        connection.control(*reply.messages)
        if self.script is None:
            now = self.clock()
            found = [(sid, self.stream.snapshot(token, now)) for sid, token in reply.snapshots]
            raws = [self.stream.render(frame, sid) for sid, frame in found if frame is not None]
            connection.write(raws, [None] * len(raws))
        connection.detail["subscriptions"] = len(session.subscriptions)
        self._told()

    def _judged(self, request: web.Request) -> tuple[int, str, Key | None]:
        """Close code and reason of a refused handshake, or the key (1.2, 1.5)."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin not in self.knobs.origins:
            return _POLICY_VIOLATION, "forbidden origin", None
        scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        token = request.headers.get("X-Api-Key") or request.query.get("key")
        if token is None and scheme.lower() == "bearer":
            key = self.keys.find(bearer.strip())
            if key is None or not key.bearer:
                return _REFUSED, "auth_required", None
        else:
            key = self.keys.find(token)
        if key is None:
            return _REFUSED, self._unknown(token), None
        return (0, "", key) if key.state == ACTIVE else (_REFUSED, key.state, None)

    def _unknown(self, token: str | None) -> str:
        if not token:
            return "auth_required"
        form = _KEY_FORM.fullmatch(token)
        if form is None:
            return "api_key_bad_format"
        same_id = any(known.startswith(f"{form.group(1)}_") for known in self.keys.tokens())
        return "api_key_bad_secret" if same_id else "api_key_unknown_key"
