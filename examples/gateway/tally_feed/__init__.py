"""Tally, an imagined exchange with a public feed: a gateway of one's own for feedbridge, see ``docs/gateway-guide.md``.

Tally wants a subscription, and its messages have an envelope of their own::

    > {"op": "subscribe", "symbols": ["BTC-EUR"]}
    < {"event": "subscribed", "symbols": ["BTC-EUR"]}
    < {"event": "trade", "symbol": "BTC-EUR", "n": 17, "time": 1778420531123, "body": {"price": "64210.10", …}}
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from bridge.finding import Finding
from bridge.gateways.dialect import Dialect, Reaction
from bridge.gateways.fleet import Fleet
from bridge.gateways.gateway import Gateway, GatewaySettings, GatewayStatus

STREAM = "stream"


class TallySettings(GatewaySettings):
    """`kind: tally`."""

    kind: Literal["tally"] = Field(description="The kind of gateway.")
    symbols: list[str] = Field(min_length=1, description="What to follow, such as BTC-EUR.")


class Tally(Gateway):
    """One connection for all symbols."""

    kind: ClassVar[str] = "tally"
    Settings: ClassVar[type[GatewaySettings]] = TallySettings
    schemas: ClassVar[Path] = Path(__file__).with_name("schemas")

    def __init__(self, name: str, settings: TallySettings, **parts: Any) -> None:
        """See `Gateway`."""
        self._settings = settings
        self._fleet = Fleet(name, self.kind, settings, **parts)

    @property
    def name(self) -> str:
        """The user's name for it."""
        return self._fleet.name

    async def run(self) -> None:
        """Hold the socket until cancelled."""
        async with self._fleet.sail():
            self._fleet.open(STREAM, Subscription(self._settings))
            await asyncio.Event().wait()

    def status(self) -> GatewayStatus:
        """Return how it stands."""
        return self._fleet.status()

    async def check(self) -> list[Finding]:
        """Connect and subscribe once."""
        ending = await self._fleet.socket(STREAM, Subscription(self._settings)).probe(10.0)
        text = "the feed is open and frames come" if ending is None else ending.text
        return [Finding(self.name, ok=ending is None, text=text)]


class _Message(msgspec.Struct):
    event: str
    symbol: str = ""
    n: int | None = None
    time: int | None = None
    body: msgspec.Raw = msgspec.Raw(b"{}")


class Subscription(Dialect):
    """What is said on the socket: subscribe, then take what comes."""

    def __init__(self, settings: TallySettings) -> None:
        """Nothing is said yet."""
        self._settings = settings

    def url(self) -> str:
        """The feed's address."""
        return f"{self._settings.url.origin}/feed"

    def headers(self) -> dict[str, str]:
        """None: the feed is public."""
        return {}

    def renew(self) -> Subscription:
        """Another for a new connection that takes over from this one."""
        return Subscription(self._settings)

    def on_open(self, now: float) -> Reaction:  # noqa: ARG002 - no deadlines
        """Subscribe."""
        self.up = self.healthy = False
        return Reaction(send=[json.dumps({"op": "subscribe", "symbols": self._settings.symbols})])

    def on_messages(self, messages: list[bytes], now: float) -> Reaction:  # noqa: ARG002 - no deadlines
        """Take the acknowledgement for the sign that frames flow; bring the rest into the form of the schemas."""
        return Reaction([frame for message in messages if (frame := self._frame(message)) is not None])

    def _frame(self, raw: bytes) -> bytes | None:
        try:
            message = msgspec.json.decode(raw, type=_Message)
        except msgspec.DecodeError:
            return raw  # whatever it is, it becomes a dead letter with these bytes
        if message.event == "subscribed":
            self.up = self.healthy = True
            return None
        envelope = {"type": message.event, "id": message.symbol, "seq": message.n, "serverTs": message.time}
        return msgspec.json.encode(envelope | {"data": message.body})
