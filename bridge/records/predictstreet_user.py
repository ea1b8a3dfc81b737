"""Records of gateways of kind `predictstreet-user`. Made by `python -m bridge.classes`: do not edit."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

from bridge.records.text import Json


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What the envelope says about the frame."""

    sid: int | None = None
    channel: str | None = None
    id: str | None = None
    serverTs: int | None = None
    seq: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class OrderCancelledData(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's payload as it is; its contract is not public.

    The fields are those of the order over REST.
    """

    orderId: str | int | None = None
    id: str | int | None = None
    clientOrderId: str | None = None
    userWallet: str | None = None
    vault: str | None = None
    marketId: str | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    side: str | None = None
    outcome: str | int | None = None
    price: str | None = None
    quantity: str | None = None
    filledQty: str | None = None
    remainingQty: str | None = None
    expiry: str | int | None = None
    type: str | None = None
    timeInForce: str | None = None
    status: str | None = None
    createdAt: str | int | None = None
    updatedAt: str | int | None = None
    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class OrderCancelled(msgspec.Struct, frozen=True, kw_only=True):
    """An order of the wallet was cancelled.

    Keyed by condition id, else token id, else the order.
    """

    TYPE: ClassVar[str] = "order_cancelled"

    meta: Meta
    data: OrderCancelledData


class OrderPlacedData(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's payload as it is; its contract is not public.

    The fields are those of the order over REST.
    """

    orderId: str | int | None = None
    id: str | int | None = None
    clientOrderId: str | None = None
    userWallet: str | None = None
    vault: str | None = None
    marketId: str | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    side: str | None = None
    outcome: str | int | None = None
    price: str | None = None
    quantity: str | None = None
    filledQty: str | None = None
    remainingQty: str | None = None
    expiry: str | int | None = None
    type: str | None = None
    timeInForce: str | None = None
    status: str | None = None
    createdAt: str | int | None = None
    updatedAt: str | int | None = None
    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class OrderPlaced(msgspec.Struct, frozen=True, kw_only=True):
    """An order of the wallet was placed.

    Keyed by condition id, else token id, else the order.
    """

    TYPE: ClassVar[str] = "order_placed"

    meta: Meta
    data: OrderPlacedData


class TradeFailedData(msgspec.Struct, frozen=True, kw_only=True):
    """What failed and why."""

    orderId: str | int | None = None
    reason: str | None = None
    reasonText: str | None = None
    txHash: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class TradeFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A match that failed to settle; its lock is refunded.

    Generation 1. Keyed by the order.
    """

    TYPE: ClassVar[str] = "trade_failed"

    meta: Meta
    data: TradeFailedData


class TradeFillData(msgspec.Struct, frozen=True, kw_only=True):
    """The chain's OrderFilled, as one side of it sees it."""

    side: str | None = None
    orderHash: str | None = None
    makerVault: str | None = None
    takerVault: str | None = None
    makerAssetId: str | int | None = None
    takerAssetId: str | int | None = None
    makerAmount: str | int | None = None
    takerAmount: str | int | None = None
    fee: str | int | None = None
    blockNumber: str | int | None = None
    txHash: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class TradeFill(msgspec.Struct, frozen=True, kw_only=True):
    """A settled fill as the chain reports it, generation 1.

    Keyed by the order on chain.
    """

    TYPE: ClassVar[str] = "trade_fill"

    meta: Meta
    data: TradeFillData


class TradeMatchedData(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's payload and the recipient's side; its contract is not public."""

    tradeId: str | int | None = None
    id: str | int | None = None
    orderId: str | int | None = None
    side: str | None = None
    userWallet: str | None = None
    vaultAddress: str | None = None
    marketId: str | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    price: str | None = None
    quantity: str | None = None
    fee: str | int | None = None
    status: str | None = None
    createdAt: str | int | None = None
    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class TradeMatched(msgspec.Struct, frozen=True, kw_only=True):
    """A match of one of the wallet's orders, not on chain yet.

    Generation 1. Keyed by condition id, else token id or order.
    """

    TYPE: ClassVar[str] = "trade_matched"

    meta: Meta
    data: TradeMatchedData


class UserFillData(msgspec.Struct, frozen=True, kw_only=True):
    """One fill.

    Fee, transaction and order hash are not in it: the settled trade has them.
    """

    walletAddress: str | None = None
    side: str | None = None
    tradeId: str | int | None = None
    orderId: str | int | None = None
    clientOrderId: str | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    price: str | None = None
    quantity: str | None = None
    source: str | None = None
    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class UserFill(msgspec.Struct, frozen=True, kw_only=True):
    """A fill of one of the wallet's orders as the matcher saw it, not yet on chain.

    Generation 2. Keyed by condition id.
    """

    TYPE: ClassVar[str] = "user_fill"

    meta: Meta
    data: UserFillData


class UserPausedData(msgspec.Struct, frozen=True, kw_only=True):
    """Who, and since which block."""

    user: str | None = None
    untilBlock: str | int | None = None
    txHash: str | None = None
    blockNumber: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class UserPaused(msgspec.Struct, frozen=True, kw_only=True):
    """The wallet's trading was paused on chain.

    Generation 1. Keyed by the user.
    """

    TYPE: ClassVar[str] = "user_paused"

    meta: Meta
    data: UserPausedData


class UserUnpausedData(msgspec.Struct, frozen=True, kw_only=True):
    """Who, and since which block."""

    user: str | None = None
    txHash: str | None = None
    blockNumber: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class UserUnpaused(msgspec.Struct, frozen=True, kw_only=True):
    """The wallet's trading was resumed on chain.

    Generation 1. Keyed by the user.
    """

    TYPE: ClassVar[str] = "user_unpaused"

    meta: Meta
    data: UserUnpausedData


class VaultDeployConfirmedData(msgspec.Struct, frozen=True, kw_only=True):
    """The vault and its transaction."""

    vaultAddress: str | None = None
    txHash: str | None = None
    blockNumber: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class VaultDeployConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    """A vault was deployed.

    Keyed by the vault.
    """

    TYPE: ClassVar[str] = "vault.deploy_confirmed"

    meta: Meta
    data: VaultDeployConfirmedData


class VaultDepositConfirmedData(msgspec.Struct, frozen=True, kw_only=True):
    """One deposit."""

    vaultAddress: str | None = None
    token: str | None = None
    amount: str | int | None = None
    ledgerAfter: str | int | None = None
    txHash: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class VaultDepositConfirmed(msgspec.Struct, frozen=True, kw_only=True):
    """A deposit has arrived in a vault.

    Keyed by the vault.
    """

    TYPE: ClassVar[str] = "vault.deposit_confirmed"

    meta: Meta
    data: VaultDepositConfirmedData


class VaultPositionBalanceChangedData(msgspec.Struct, frozen=True, kw_only=True):
    """The absolute balance after a change; by blockNumber the latest wins."""

    vaultAddress: str | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    balanceAfter: str | int | None = None
    reason: str | None = None
    txHash: str | None = None
    blockNumber: str | int | None = None
    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class VaultPositionBalanceChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of a vault in one outcome token changed.

    Generation 2. Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "vault_position_balance_changed"

    meta: Meta
    data: VaultPositionBalanceChangedData


class UnknownData(msgspec.Struct, frozen=True, kw_only=True):
    """The frame as it came."""

    type: str
    json: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """A frame of a type that has no schema yet, whole."""

    TYPE: ClassVar[str] = "unknown"

    meta: Meta
    data: UnknownData


#: Full name of a record → its class.
RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "feedbridge.predictstreet_user.OrderCancelled": OrderCancelled,
    "feedbridge.predictstreet_user.OrderPlaced": OrderPlaced,
    "feedbridge.predictstreet_user.TradeFailed": TradeFailed,
    "feedbridge.predictstreet_user.TradeFill": TradeFill,
    "feedbridge.predictstreet_user.TradeMatched": TradeMatched,
    "feedbridge.predictstreet_user.UserFill": UserFill,
    "feedbridge.predictstreet_user.UserPaused": UserPaused,
    "feedbridge.predictstreet_user.UserUnpaused": UserUnpaused,
    "feedbridge.predictstreet_user.VaultDeployConfirmed": VaultDeployConfirmed,
    "feedbridge.predictstreet_user.VaultDepositConfirmed": VaultDepositConfirmed,
    "feedbridge.predictstreet_user.VaultPositionBalanceChanged": VaultPositionBalanceChanged,
    "feedbridge.predictstreet_user.Unknown": Unknown,
}
