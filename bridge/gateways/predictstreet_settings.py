"""What PredictStreet's gateways have in the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bridge.gateways.firehose import ALL, MOST_CONNECTIONS, connections, follows
from bridge.gateways.gateway import GatewaySettings
from bridge.gateways.hole import RecoverySettings
from bridge.gateways.subscriptions import Subscription
from bridge.settings import Duration, RestSettings, Settings, Text, Token


class SubscribeSettings(Settings):
    """One wish; it is split as the gateway needs it."""

    channel: Annotated[str, Text("[a-z0-9_.]{1,100}", "a channel's name, such as token_trades")] = Field(
        description="In the names of either generation."
    )
    ids: Literal["all"] | list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        [],
        description="Token ids, condition ids, vaults, or platform_status; none for channels that take none. `all`: those of "
        "every market that `rest` lists, now and later.",
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

    @model_validator(mode="after")
    def _all_of_a_list(self) -> PredictStreetSettings:
        for each in self.subscribe:
            if each.ids == ALL and not follows(each.channel):
                raise PydanticCustomError("all", "`ids: all` is for channels of tokens and conditions")
            if each.ids == ALL and self.rest is None:
                raise PydanticCustomError("all_rest", "`ids: all` needs `rest`, which lists the markets")
        return self

    @model_validator(mode="after")
    def _few_connections(self) -> PredictStreetSettings:
        wanted = [Subscription(each.channel, tuple(each.ids)) for each in self.subscribe if each.ids != ALL]
        count = connections(wanted, self.protocol)
        if count > MOST_CONNECTIONS:
            raise PydanticCustomError(
                "connections",
                "so many ids take {count} connections, more than {most}: share them out among several gateways",
                {"count": count, "most": MOST_CONNECTIONS},
            )
        return self


class PredictStreetMarketSettings(PredictStreetSettings):
    """`kind: predictstreet-market`."""

    kind: Literal["predictstreet-market"] = Field(description="The kind of gateway.")
    book_wait: Duration = Field(
        10.0, gt=0, description="A book of which nothing comes for so long after subscribing is polled over `rest`."
    )
    markets_interval: Duration = Field(
        60.0, ge=1, description="How often the list of markets is read where `ids` is `all`."
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
