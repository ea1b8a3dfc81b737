"""PredictStreet: the market gateway and the user gateway (contract, sections 1 to 6).

Which subscriptions go where is computed in `bridge.gateways.subscriptions`, what is said on a connection in
`bridge.gateways.subscriber`, what REST adds in `bridge.gateways.orderbook`. Here they become a gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

from bridge.errors import BadData, Refused, Unreachable
from bridge.finding import Finding
from bridge.gateways.agreement import ANSWER_TIMEOUT, Difference
from bridge.gateways.answer import CONTROL
from bridge.gateways.dialect import Dialect
from bridge.gateways.firehose import ALL, Firehose, within
from bridge.gateways.fleet import RELOADABLE, Fleet
from bridge.gateways.gateway import (
    REFUSED,
    Gateway,
    GatewaySettings,
    GatewayStatus,
    Intake,
    Outside,
)
from bridge.gateways.hole import Recoverer
from bridge.gateways.market_recovery import MarketRecoverer
from bridge.gateways.orderbook import BookPoller, Markets
from bridge.gateways.predictstreet_settings import (
    PredictStreetMarketSettings,
    PredictStreetSettings,
    PredictStreetUserSettings,
)
from bridge.gateways.rejected import differing, named, rejected, sentence, told
from bridge.gateways.rest import Rest
from bridge.gateways.retry import SLOW
from bridge.gateways.subscriber import Subscriber
from bridge.gateways.subscriptions import BOOK, Generation, Refusal, Subscription, plan, replan
from bridge.gateways.user_recovery import UserRecoverer
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.ops.metrics import Metrics

#: Reads of market data per minute and address that every version of the documentation allows (contract 6).
_CALLS_PER_MINUTE: Final = 240.0
#: Seconds that the first read of the markets may hold up subscribing.
_RESOLVE: Final = 10.0
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")


class PredictStreet(Gateway):
    """What both gateways do: one dialect for each connection, refusals by name."""

    control: ClassVar[frozenset[str]] = CONTROL
    path: ClassVar[str]
    #: Whether each connection has a subject of its own; see `Fleet`.
    apart: ClassVar[bool] = False
    reloadable: ClassVar[frozenset[str]] = RELOADABLE | {"api_key", "bearer", "subscribe"}

    def __init__(
        self,
        name: str,
        settings: PredictStreetSettings,
        *,
        intake: Intake,
        metrics: Metrics,
        log: FilteringBoundLogger | None = None,
        outside: Outside | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """See `Gateway`."""
        self._common = settings
        self._metrics = metrics
        self._tls = tls
        #: Begin of the names of connections → how many there ever were of them.
        self._opened: Counter[str] = Counter()
        self._amending = asyncio.Lock()
        self._fleet = Fleet(
            name, self.kind, settings,
            intake=intake, metrics=metrics, log=log, outside=outside, tls=tls, apart=self.apart,
            turned=self._turned,
        )  # fmt: skip
        self._subscribers = self._connections()
        self._rest: Rest | None = None
        if settings.rest is not None:
            self._rest = Rest(
                settings.rest.url,
                self._credential() | self._acting(),
                per_minute=_CALLS_PER_MINUTE,
                outside=self._fleet.outside,
                tls=tls,
            )

    @property
    def name(self) -> str:
        """The user's name for it."""
        return self._fleet.name

    async def run(self) -> None:
        """Hold the sockets until cancelled."""
        try:
            async with self._fleet.sail():
                await self._prepare()
                for name, subscriber in self._subscribers.items():
                    self._fleet.open(name, subscriber)
                await asyncio.Event().wait()
        finally:
            if self._rest is not None:
                await self._rest.close()

    def configure(self, settings: PredictStreetSettings) -> None:
        """See `Gateway`."""
        before, parts, self._common = self._credential(), self._parts(), settings
        self._fleet.configure(settings)
        if self._rest is not None:
            self._rest.authenticate(self._credential() | self._acting())
        if not self._fleet.sockets:
            self._subscribers = self._connections()
            return
        if self._credential() != before:
            self._fleet.renew()
        if self._parts() != parts:
            self._replanned()

    def _replanned(self) -> None:
        """Other subscriptions are wanted than before."""
        self._fleet.spawn(self._amend(), "subscriptions")

    def _turned(self, name: str, dialect: Dialect) -> None:
        assert isinstance(dialect, Subscriber)  # noqa: S101 - there are no others here
        before, self._subscribers[name] = self._subscribers[name], dialect
        if dialect.wanted != before.wanted:  # the plan has changed since it was made
            dialect.want(before.wanted)
            self._fleet.nudge(name)

    def status(self) -> GatewayStatus:
        """Return how the connections stand, and what was refused."""
        return msgspec.structs.replace(
            self._fleet.status(),
            rejected=[
                rejected(name, refusal)
                for name, subscriber in self._subscribers.items()
                for refusal in subscriber.refused
            ],
            sees=self._sees(),
        )

    def _sees(self) -> list[str] | None:
        """The channels that are subscribed to, with how many ids; None before the first was answered."""
        ids: dict[str, set[str]] = {}
        for subscriber in self._subscribers.values():
            for each in subscriber.agreement.held.values():
                ids.setdefault(each.channel, set()).update(each.ids)
        return [f"{name} ({len(of):,})" if of else name for name, of in sorted(ids.items())] or None

    async def check(self) -> list[Finding]:
        """Read the markets, then open each connection and subscribe once."""
        found: list[Finding] = []
        try:
            if self._rest is not None:
                found.append(await self._check_rest(self._rest))
            probes = (self._probe(name, subscriber) for name, subscriber in self._connections().items())
            for findings in await asyncio.gather(*probes):
                found += findings
        finally:
            if self._rest is not None:
                await self._rest.close()
        return found

    async def _prepare(self) -> None:
        """Do what comes before subscribing; start what runs beside the sockets."""

    async def _check_rest(self, rest: Rest) -> Finding:
        try:
            await rest.get("/api/platform/status")
        except (Refused, Unreachable, BadData) as error:
            return Finding(self.name, ok=False, text=f"REST: {self._fleet.told(error)}")
        return Finding(self.name, ok=True, text="REST answers")

    def _connections(self) -> dict[str, Subscriber]:
        """Return the dialects of all connections by name."""
        found: dict[str, Subscriber] = {}
        for begin, (wallet, wanted) in self._parts().items():
            connections, _ = within(plan(wanted, generation=self._generation()))
            self._opened[begin] = len(connections)
            for number, each in enumerate(connections, 1):
                name = f"{begin}:{number}"
                found[name] = self._subscriber(name, each, wallet=wallet)
        return found

    def _parts(self) -> dict[str, tuple[str | None, list[Subscription]]]:
        """Return begin of the names of connections → the wallet that they are for, and what they subscribe to together."""
        return {self.path: (None, self._wanted())}

    async def _amend(self) -> None:
        """Subscribe to what is wanted now, on the open connections and on more, and not to what is wanted no more."""
        async with self._amending:
            parts = self._parts()
            for begin in dict.fromkeys([*parts, *(name.rpartition(":")[0] for name in self._subscribers)]):
                wallet, wanted = parts.get(begin, (None, []))
                await self._amend_part(begin, wallet, wanted)

    async def _amend_part(self, begin: str, wallet: str | None, wanted: list[Subscription]) -> None:
        names = [name for name in self._subscribers if name.rpartition(":")[0] == begin]
        before = [self._subscribers[name].wanted for name in names]
        connections, left_out = within(replan(before, wanted, generation=self._generation()))
        if left_out:
            self._fleet.log.error("gateway_needs_more_connections", subscriptions_left_out=left_out)
        for name, old, new in zip(names, before, connections, strict=False):
            if not new:
                await self._fleet.close(name)
                del self._subscribers[name]
            elif new != old:
                self._subscribers[name].want(new)
                self._fleet.nudge(name)
        for each in connections[len(names) :]:
            self._opened[begin] += 1
            name = f"{begin}:{self._opened[begin]}"
            self._subscribers[name] = self._subscriber(name, each, wallet=wallet)
            self._fleet.open(name, self._subscribers[name])

    def _subscriber(self, name: str, wanted: list[Subscription], *, wallet: str | None = None) -> Subscriber:
        settings = self._common
        headers = {"X-User-Wallet": wallet} if wallet else {}
        return Subscriber(
            f"{settings.url.origin}{settings.url.path.rstrip('/')}/ws/{self.path}",
            lambda: self._credential() | headers,
            wanted,
            protocol=settings.protocol,
            told=partial(self._refused, name),
            differs=partial(self._differs, name),
            wallet=wallet,
        )

    def _wanted(self) -> list[Subscription]:
        """What all connections together subscribe to."""
        return [Subscription(each.channel, tuple(each.ids)) for each in self._common.subscribe]

    def _generation(self) -> Generation | None:
        return None if self._common.protocol == "auto" else self._common.protocol

    def _credential(self) -> dict[str, str]:
        """Return the header with the key (contract 1.2)."""
        if self._common.api_key is not None:
            return {"X-Api-Key": self._common.api_key.reveal()}
        assert self._common.bearer is not None  # noqa: S101 - the settings say so
        return {"Authorization": f"Bearer {self._common.bearer.reveal()}"}

    def _acting(self) -> dict[str, str]:
        """Return what REST calls that are about no wallet in particular need beside the key."""
        return {}

    def _refused(self, connection: str, refusal: Refusal) -> None:
        self._metrics.subscriptions_rejected.labels(self.name).inc()
        self._fleet.log.warning("subscription_rejected", **told(connection, refusal))

    def _differs(self, connection: str, difference: Difference) -> None:
        event = "subscriptions_differ" if difference.readable else "subscriptions_not_listed"
        self._fleet.log.warning(event, **differing(connection, difference))

    async def _probe(self, name: str, subscriber: Subscriber) -> list[Finding]:
        ending = await self._fleet.socket(name, subscriber).probe(3 * ANSWER_TIMEOUT)
        if ending is not None:
            return [Finding(self.name, ok=False, text=redactor.text(f"connection {name}: {ending.text}"))]
        found = [Finding(self.name, ok=False, text=sentence(name, refusal)) for refusal in subscriber.refused]
        return [self._found_open(name, subscriber), *found]

    def _found_open(self, name: str, subscriber: Subscriber) -> Finding:
        text = (
            f"connection {name} is open, generation {subscriber.generation}, the rest of the subscriptions is accepted"
        )
        return Finding(
            self.name,
            ok=True,
            text=text
            if subscriber.refused
            else text.replace("the rest of the subscriptions is", "all subscriptions are"),
        )


class PredictStreetMarket(PredictStreet):
    """`/ws/market`: public trades, books, lifecycle, platform status."""

    kind: ClassVar[str] = "predictstreet-market"
    Settings: ClassVar[type[GatewaySettings]] = PredictStreetMarketSettings
    path: ClassVar[str] = "market"
    reloadable: ClassVar[frozenset[str]] = PredictStreet.reloadable | {"book_wait", "markets_interval"}

    def __init__(
        self,
        name: str,
        settings: PredictStreetMarketSettings,
        *,
        intake: Intake,
        metrics: Metrics,
        log: FilteringBoundLogger | None = None,
        outside: Outside | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """See `Gateway`."""
        self._firehose = Firehose()
        self._ready = False
        self._resolving: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        super().__init__(name, settings, intake=intake, metrics=metrics, log=log, outside=outside, tls=tls)
        self._markets = Markets(self._rest) if self._rest is not None else None

    @property
    def _settings(self) -> PredictStreetMarketSettings:
        assert isinstance(self._common, PredictStreetMarketSettings)  # noqa: S101 - what `Settings` makes
        return self._common

    def _replanned(self) -> None:
        self._ready = True
        super()._replanned()
        self._look_up()
        self._poll()

    def _wanted(self) -> list[Subscription]:
        return [
            wish
            for each in self._settings.subscribe
            for wish in (
                self._firehose.subscription(each.channel)
                if each.ids == ALL
                else [Subscription(each.channel, tuple(each.ids))]
            )
        ]

    @property
    def recoverer(self) -> Recoverer | None:
        """See `Gateway`."""
        if self._rest is None or self._markets is None:
            return None
        return MarketRecoverer(self._settings.recovery, self._rest, self._markets, self._subscribers)

    async def _prepare(self) -> None:
        if self._rest is None:
            return
        tried = self._look_up()
        # Keys are better known before frames come, but a frame never waits for a look-up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RESOLVE):
                await tried.wait()
        if self._follows:
            self._subscribers.update(self._connections())
            self._ready = True
        self._poll()

    def _look_up(self) -> asyncio.Event:
        """See that somebody learns the conditions of our tokens; set after the first time."""
        tried = asyncio.Event()
        if self._markets is not None:
            if self._resolving is not None:
                self._resolving.cancel()
            self._resolving = self._fleet.spawn(self._resolve(self._markets, tried), "markets")
        return tried

    def _poll(self) -> None:
        """See that somebody polls silent books, if there are books."""
        if self._rest is None or self._markets is None or self._polling is not None:
            return
        if any(each.channel == BOOK for each in self._wanted()):
            poller = BookPoller(
                self.name,
                self._rest,
                self._markets,
                silent=self._silent_books,
                interval=self._settings.book_interval,
                intake=self._fleet.intake,
                outside=self._fleet.outside,
                log=self._fleet.log,
            )
            self._polling = self._fleet.spawn(poller.run(), "books")

    async def _resolve(self, markets: Markets, tried: asyncio.Event) -> None:
        """Learn the condition of every token; again and again until none that we subscribe to is unknown.

        tried: set after the first time.
        """
        while True:
            try:
                self._fleet.intake.learn(self.name, await self._read(markets))
            except (Refused, Unreachable, BadData) as error:
                self._fleet.log.warning("gateway_markets_unknown", reason=str(error))
            else:
                if self._ready and self._follows:
                    await self._amend()
                unknown = markets.unknown(self._tokens())
                if unknown:
                    self._fleet.log.warning("gateway_tokens_unknown", count=len(unknown), tokens=named(unknown))
                elif not self._follows:
                    return
            finally:
                tried.set()
            await self._fleet.outside.sleep(self._settings.markets_interval if self._follows else SLOW)

    @property
    def _follows(self) -> bool:
        """Whether subscriptions follow the list of markets."""
        return any(each.ids == ALL for each in self._settings.subscribe)

    async def _read(self, markets: Markets) -> dict[str, str]:
        known = await markets.read()
        self._firehose.listed(markets.listed, self._fleet.outside.monotonic(), cut=markets.cut)
        self._fleet.note = "the list of markets is full: there may be more" if markets.cut and self._follows else None
        return known

    def _tokens(self) -> set[str]:
        return {
            entity
            for part in plan(self._wanted(), generation=None)
            for each in part
            if each.channel.startswith("token_")
            for entity in each.ids
        }

    def _silent_books(self, now: float) -> list[str]:
        wait = self._settings.book_wait
        return [
            token
            for subscriber in self._subscribers.values()
            for token, since in subscriber.agreement.books.silent.items()
            if now - since >= wait
        ]

    async def _check_rest(self, rest: Rest) -> Finding:
        markets = Markets(rest)
        try:
            known = await self._read(markets)
        except (Refused, Unreachable, BadData) as error:
            return Finding(self.name, ok=False, text=f"REST: {self._fleet.told(error)}")
        unknown = markets.unknown(self._tokens())
        if unknown:
            text = f"REST lists no market for {len(unknown)} of the tokens: {', '.join(named(unknown))}"
            return Finding(self.name, ok=False, text=text)
        return Finding(
            self.name, ok=True, text=f"REST knows the conditions of {len(known)} tokens, all of ours among them"
        )


class PredictStreetUser(PredictStreet):
    """`/ws/user`: a wallet's own orders, fills and vaults; a socket for each wallet, which its header names (contract 1.2)."""

    kind: ClassVar[str] = "predictstreet-user"
    Settings: ClassVar[type[GatewaySettings]] = PredictStreetUserSettings
    private: ClassVar[bool] = True
    path: ClassVar[str] = "user"
    apart: ClassVar[bool] = True
    reloadable: ClassVar[frozenset[str]] = PredictStreet.reloadable | {"wallets"}

    @property
    def recoverer(self) -> Recoverer | None:
        """See `Gateway`."""
        if self._rest is None:
            return None
        return UserRecoverer(
            self._user.recovery,
            self._rest,
            self._subscribers,
            owner=self.owner,
            acting=self._for_wallet,
        )

    def _for_wallet(self, wallet: str) -> Rest:
        """Return REST that acts for a wallet; for the key's own where it is ""."""
        assert self._user.rest is not None  # noqa: S101 - who calls has looked
        return Rest(
            self._user.rest.url,
            self._credential() | ({"X-User-Wallet": wallet} if wallet else {}),
            per_minute=_CALLS_PER_MINUTE,
            outside=self._fleet.outside,
            tls=self._tls,
        )

    @staticmethod
    def owner(connection: str) -> str:
        """Return the wallet that a connection is for; "" where the key serves only one."""
        found = _ADDRESS.search(connection)
        return found[0] if found else ""

    def status(self) -> GatewayStatus:
        """As `PredictStreet.status`; says how many wallets are refused while others go on."""
        status = super().status()
        refused = [each for each in status.connections if each.state == REFUSED]
        if not refused or status.refused:
            return status
        detail = f"{len(refused)} of {len(status.connections)} connections refused, among them {refused[0].name}"
        return msgspec.structs.replace(status, detail=f"{detail}: {refused[0].detail}")

    async def _prepare(self) -> None:
        if self._rest is not None:
            self._fleet.spawn(self._learn(Markets(self._rest)), "markets")

    async def _learn(self, markets: Markets) -> None:
        """Learn the condition of every token, again and again: wallets trade in markets that are made later."""
        while True:
            try:
                self._fleet.intake.learn(self.name, await markets.read())
            except (Refused, Unreachable, BadData) as error:
                self._fleet.log.warning("gateway_markets_unknown", reason=str(error))
            await self._fleet.outside.sleep(SLOW)

    def _parts(self) -> dict[str, tuple[str | None, list[Subscription]]]:
        if not self._wallets:
            return super()._parts()
        return {f"wallet:{wallet}": (wallet, self._user.wishes(wallet)) for wallet in self._wallets}

    def _acting(self) -> dict[str, str]:
        """A key of several wallets needs one with every authenticated call (contract 1.3)."""
        return {"X-User-Wallet": self._wallets[0]} if self._wallets else {}

    def _found_open(self, name: str, subscriber: Subscriber) -> Finding:
        accepted = ", ".join(
            each.channel + (f" ({len(each.ids)} ids)" if each.ids else "") for each in subscriber.accepted
        )
        text = redactor.text(f"connection {name} is open, generation {subscriber.generation}, accepted: {accepted}")
        return Finding(self.name, ok=bool(accepted), text=text if accepted else f"{text}nothing")

    @property
    def _user(self) -> PredictStreetUserSettings:
        assert isinstance(self._common, PredictStreetUserSettings)  # noqa: S101 - what `Settings` makes
        return self._common

    @property
    def _wallets(self) -> list[str]:
        return list(dict.fromkeys(wallet.lower() for wallet in self._user.wallets))


KINDS: Final[tuple[type[Gateway], ...]] = (PredictStreetMarket, PredictStreetUser)

__all__ = [
    "KINDS",
    "PredictStreetMarket",
    "PredictStreetMarketSettings",
    "PredictStreetUser",
    "PredictStreetUserSettings",
]
