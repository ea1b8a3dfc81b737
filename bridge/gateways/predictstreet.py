"""PredictStreet: the market gateway and the user gateway (contract, sections 1 to 6).

Which subscriptions go where is computed in `bridge.gateways.subscriptions`, what is said on a connection in
`bridge.gateways.subscriber`, what REST adds in `bridge.gateways.orderbook`. Here they become a gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import msgspec
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bridge.errors import BadData, Refused, Unreachable
from bridge.finding import Finding
from bridge.gateways.fleet import Fleet
from bridge.gateways.gateway import (
    REFUSED,
    Gateway,
    GatewaySettings,
    GatewayStatus,
    Intake,
    Outside,
    RejectedSubscription,
)
from bridge.gateways.hole import Recoverer, RecoverySettings
from bridge.gateways.market_recovery import MarketRecoverer
from bridge.gateways.orderbook import BookPoller, Markets
from bridge.gateways.rest import Rest
from bridge.gateways.retry import SLOW, one_line
from bridge.gateways.subscriber import ANSWER_TIMEOUT, CONTROL, Subscriber
from bridge.gateways.subscriptions import BOOK, Generation, Refusal, Subscription, plan
from bridge.gateways.user_recovery import UserRecoverer
from bridge.ops.redaction import redactor
from bridge.settings import Duration, RestSettings, Settings, Text, Token

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from bridge.ops.metrics import Metrics

#: Reads of market data per minute and address that every version of the documentation allows (contract 6).
_CALLS_PER_MINUTE: Final = 240.0
#: Seconds that the first read of the markets may hold up subscribing.
_RESOLVE: Final = 10.0
#: Ids that a log line or a finding names.
_NAMED: Final = 5
_ADDRESS: Final = re.compile(r"0x[0-9a-f]{40}")


class SubscribeSettings(Settings):
    """One wish; it is split as the gateway needs it."""

    channel: Annotated[str, Text("[a-z0-9_.]{1,100}", "a channel's name, such as token_trades")] = Field(
        description="In the names of either generation."
    )
    ids: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        [], description="Token ids, condition ids, vaults, or platform_status; none for channels that take none."
    )


_Wallet = Annotated[str, Text("0x[0-9a-fA-F]{40}", "a wallet's address: 0x and 40 hex digits")]


class PrivateSubscribeSettings(SubscribeSettings):
    """One wish on behalf of all wallets, or of some."""

    wallets: list[_Wallet] = Field(
        [], description="Those of the gateway's `wallets` that it is for, since a vault belongs to one; none: all."
    )


class PredictStreetSettings(GatewaySettings):
    """What both gateways have."""

    api_key: Token | None = Field(None, description="The key; or `bearer`.")
    bearer: Token | None = Field(None, description="A bearer token, instead of a key.")
    protocol: Literal["auto", 1, 2] = Field(
        "auto", description="Generation of protocol and channel names; `auto`: as the greeting says."
    )
    subscribe: list[SubscribeSettings] = Field(min_length=1, description="What to subscribe to.")
    rest: RestSettings | None = Field(None, description="Left out: no look-ups, no polling and no backfill.")
    recovery: RecoverySettings = Field(RecoverySettings(), description="How gaps are filled.")

    @model_validator(mode="after")
    def _one_credential(self) -> PredictStreetSettings:
        if (self.api_key is None) == (self.bearer is None):
            raise PydanticCustomError("credential", "needs either `api_key` or `bearer`")
        return self


class PredictStreetMarketSettings(PredictStreetSettings):
    """`kind: predictstreet-market`."""

    kind: Literal["predictstreet-market"] = Field(description="The kind of gateway.")
    book_wait: Duration = Field(
        10.0, gt=0, description="A book of which nothing comes for so long after subscribing is polled over `rest`."
    )
    book_interval: Duration = Field(
        5.0, gt=0, description="How often each such book is polled, if the rate limit allows."
    )


class PredictStreetUserSettings(PredictStreetSettings):
    """`kind: predictstreet-user`."""

    kind: Literal["predictstreet-user"] = Field(description="The kind of gateway.")
    wallets: list[_Wallet] = Field(
        [], description="One socket for each, where the key serves several wallets; none where it serves one."
    )
    # Settings are frozen, so a list of more special wishes is a list of wishes.
    subscribe: list[PrivateSubscribeSettings] = Field(  # type: ignore[assignment]
        min_length=1, description="What to subscribe to, for each wallet."
    )

    @model_validator(mode="after")
    def _known_wallets(self) -> PredictStreetUserSettings:
        ours = {wallet.lower() for wallet in self.wallets}
        named = {wallet.lower() for wish in self.subscribe for wallet in wish.wallets}
        if named - ours:
            raise PydanticCustomError(
                "wallet", "a subscription names a wallet that is not among the gateway's `wallets`"
            )
        if self.wallets and not all(self.wishes(wallet) for wallet in ours):
            raise PydanticCustomError("wallet", "one of the `wallets` has no subscription")
        return self

    def wishes(self, wallet: str) -> list[Subscription]:
        """What one wallet subscribes to. wallet: in lower case."""
        return [
            Subscription(each.channel, tuple(each.ids))
            for each in self.subscribe
            if not each.wallets or wallet in {one.lower() for one in each.wallets}
        ]


class PredictStreet(Gateway):
    """What both gateways do: one dialect for each connection, refusals by name."""

    control: ClassVar[frozenset[str]] = CONTROL
    path: ClassVar[str]
    #: Whether each connection has a subject of its own; see `Fleet`.
    apart: ClassVar[bool] = False

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
        self._fleet = Fleet(
            name, self.kind, settings,
            intake=intake, metrics=metrics, log=log, outside=outside, tls=tls, apart=self.apart,
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
            async with self._fleet.sail() as group:
                await self._prepare(group)
                for name, subscriber in self._subscribers.items():
                    self._fleet.open(name, subscriber)
                await asyncio.Event().wait()
        finally:
            if self._rest is not None:
                await self._rest.close()

    def status(self) -> GatewayStatus:
        """Return how the connections stand, and what was refused."""
        return msgspec.structs.replace(
            self._fleet.status(),
            rejected=[
                RejectedSubscription(
                    channel=refusal.subscription.channel,
                    ids=list(refusal.subscription.ids),
                    code=refusal.code,
                    message=redactor.text(one_line(refusal.message)),
                    connection=name,
                )
                for name, subscriber in self._subscribers.items()
                for refusal in subscriber.refused
            ],
        )

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

    async def _prepare(self, group: asyncio.TaskGroup) -> None:
        """Do what comes before subscribing; start what runs beside the sockets."""

    async def _check_rest(self, rest: Rest) -> Finding:
        try:
            await rest.get("/api/platform/status")
        except (Refused, Unreachable, BadData) as error:
            return Finding(self.name, ok=False, text=f"REST: {error}")
        return Finding(self.name, ok=True, text="REST answers")

    def _connections(self) -> dict[str, Subscriber]:
        """Return the dialects of all connections by name."""
        return {
            (name := f"{self.path}:{number}"): self._subscriber(name, wanted)
            for number, wanted in enumerate(plan(self._wanted(), generation=self._generation()), 1)
        }

    def _subscriber(self, name: str, wanted: list[Subscription], *, wallet: str | None = None) -> Subscriber:
        settings = self._common
        headers = {"X-User-Wallet": wallet} if wallet else {}
        return Subscriber(
            f"{settings.url.origin}{settings.url.path.rstrip('/')}/ws/{self.path}",
            lambda: self._credential() | headers,
            wanted,
            protocol=settings.protocol,
            told=partial(self._refused, name),
            wallet=wallet,
        )

    def _wanted(self) -> list[Subscription]:
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
        self._fleet.log.warning(
            "subscription_rejected",
            connection=connection,
            channel=refusal.subscription.channel,
            ids=_named(refusal.subscription.ids),
            code=refusal.code,
            message=one_line(refusal.message),
            tried_again=not refusal.lasting,
        )

    async def _probe(self, name: str, subscriber: Subscriber) -> list[Finding]:
        ending = await self._fleet.socket(name, subscriber).probe(3 * ANSWER_TIMEOUT)
        if ending is not None:
            return [Finding(self.name, ok=False, text=redactor.text(f"connection {name}: {ending.text}"))]
        found = [
            Finding(
                self.name,
                ok=False,
                text=redactor.text(
                    f"connection {name}: not accepted: {refusal.subscription.channel} {_named(refusal.subscription.ids)}: "
                    f"{refusal.code} ({one_line(refusal.message)})"
                ),
            )
            for refusal in subscriber.refused
        ]
        return [self._found_open(name, subscriber), *found]

    def _found_open(self, name: str, subscriber: Subscriber) -> Finding:
        text = (
            f"connection {name} is open, generation {subscriber.generation}, the rest of the subscriptions is accepted"
        )
        return Finding(self.name, ok=True, text=text if subscriber.refused else text.replace("the rest of the", "all"))


class PredictStreetMarket(PredictStreet):
    """`/ws/market`: public trades, books, lifecycle, platform status."""

    kind: ClassVar[str] = "predictstreet-market"
    Settings: ClassVar[type[GatewaySettings]] = PredictStreetMarketSettings
    path: ClassVar[str] = "market"

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
        super().__init__(name, settings, intake=intake, metrics=metrics, log=log, outside=outside, tls=tls)
        self._settings = settings
        self._markets = Markets(self._rest) if self._rest is not None else None

    @property
    def recoverer(self) -> Recoverer | None:
        """See `Gateway`."""
        if self._rest is None or self._markets is None:
            return None
        return MarketRecoverer(self._settings.recovery, self._rest, self._markets, self._subscribers)

    async def _prepare(self, group: asyncio.TaskGroup) -> None:
        if self._rest is None or self._markets is None:
            return
        tried = asyncio.Event()
        group.create_task(self._resolve(self._markets, tried), name=f"{self.name} markets")
        # Keys are better known before frames come, but a frame never waits for a look-up.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RESOLVE):
                await tried.wait()
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
            group.create_task(poller.run(), name=f"{self.name} books")

    async def _resolve(self, markets: Markets, tried: asyncio.Event) -> None:
        """Learn the condition of every token; again and again until none that we subscribe to is unknown.

        tried: set after the first time.
        """
        while True:
            try:
                self._fleet.intake.learn(self.name, await markets.read())
            except (Refused, Unreachable, BadData) as error:
                self._fleet.log.warning("gateway_markets_unknown", reason=str(error))
            else:
                unknown = markets.unknown(self._tokens())
                if not unknown:
                    return
                self._fleet.log.warning("gateway_tokens_unknown", count=len(unknown), tokens=_named(unknown))
            finally:
                tried.set()
            await self._fleet.outside.sleep(SLOW)

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
            for token, since in subscriber.silent_books.items()
            if now - since >= wait
        ]

    async def _check_rest(self, rest: Rest) -> Finding:
        markets = Markets(rest)
        try:
            known = await markets.read()
        except (Refused, Unreachable, BadData) as error:
            return Finding(self.name, ok=False, text=f"REST: {error}")
        unknown = markets.unknown(self._tokens())
        if unknown:
            text = f"REST lists no market for {len(unknown)} of the tokens: {', '.join(_named(unknown))}"
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

    async def _prepare(self, group: asyncio.TaskGroup) -> None:
        if self._rest is not None:
            group.create_task(self._learn(Markets(self._rest)), name=f"{self.name} markets")

    async def _learn(self, markets: Markets) -> None:
        """Learn the condition of every token, again and again: wallets trade in markets that are made later."""
        while True:
            try:
                self._fleet.intake.learn(self.name, await markets.read())
            except (Refused, Unreachable, BadData) as error:
                self._fleet.log.warning("gateway_markets_unknown", reason=str(error))
            await self._fleet.outside.sleep(SLOW)

    def _connections(self) -> dict[str, Subscriber]:
        settings = self._user
        if not self._wallets:
            return super()._connections()
        return {
            (name := f"wallet:{wallet}:{number}"): self._subscriber(name, wanted, wallet=wallet)
            for wallet in self._wallets
            for number, wanted in enumerate(plan(settings.wishes(wallet), generation=self._generation()), 1)
        }

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


def _named(ids: tuple[str, ...] | list[str]) -> list[str]:
    return [*ids[:_NAMED], *([f"and {len(ids) - _NAMED} more"] if len(ids) > _NAMED else [])]


KINDS: Final[tuple[type[Gateway], ...]] = (PredictStreetMarket, PredictStreetUser)

__all__ = [
    "KINDS",
    "PredictStreetMarket",
    "PredictStreetMarketSettings",
    "PredictStreetUser",
    "PredictStreetUserSettings",
]
