"""Records of gateways of kind `predictstreet-market`. Made by `python -m bridge.classes`: do not edit."""

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
    prevSeq: int | None = None
    hash: str | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BookDeltaData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: whether a quantity replaces or adds is not stated."""

    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    prevSeq: int | None = None
    bids: list[Json] | None = None
    asks: list[Json] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BookDelta(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a token's order book; one was lost if prevSeq is not the last seq.

    Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "book_delta"

    meta: Meta
    data: BookDeltaData


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """The orders of one side of a book at one price."""

    price: str | None = None
    quantity: str | None = None
    count: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BookSnapshotData(msgspec.Struct, frozen=True, kw_only=True):
    """The book.

    Levels by the contract; its other names are not public.
    """

    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    bids: list[Level] | None = None
    asks: list[Level] | None = None
    marketId: str | None = None
    outcome: str | int | None = None
    seq: int | None = None
    hash: str | None = None
    ts: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BookSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The order book of a token: on subscribing, on demand, or from REST.

    Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "book_snapshot"

    meta: Meta
    data: BookSnapshotData


class BookSnapshotFailedData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the reason in extensions."""

    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BookSnapshotFailed(msgspec.Struct, frozen=True, kw_only=True):
    """A token's book could not be had; it is uncertain until the next snapshot.

    Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "book_snapshot_failed"

    meta: Meta
    data: BookSnapshotFailedData


class BookUpdateData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: all levels or the changed ones is not stated."""

    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    bids: list[Json] | None = None
    asks: list[Json] | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class BookUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a token's order book, with the hash of the result, generation 2.

    Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "book_update"

    meta: Meta
    data: BookUpdateData


class MarketPausedData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the rest as in the one sample seen."""

    conditionId: str | None = None
    tokenId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    symbol: str | None = None
    oldStatus: str | int | None = None
    newStatus: str | int | None = None
    reason: str | int | dict[str, Json] | None = None
    at: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketPaused(msgspec.Struct, frozen=True, kw_only=True):
    """Trading in a market is paused.

    Keyed by condition id.
    """

    TYPE: ClassVar[str] = "market_paused"

    meta: Meta
    data: MarketPausedData


class MarketResolvedData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the rest as in the one sample seen."""

    conditionId: str | None = None
    tokenId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    symbol: str | None = None
    oldStatus: str | int | None = None
    newStatus: str | int | None = None
    reason: str | int | dict[str, Json] | None = None
    at: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketResolved(msgspec.Struct, frozen=True, kw_only=True):
    """A market is resolved: its outcome is known and its open orders end.

    Keyed by condition id.
    """

    TYPE: ClassVar[str] = "market_resolved"

    meta: Meta
    data: MarketResolvedData


class MarketStatusData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the rest as in the one sample seen."""

    conditionId: str | None = None
    tokenId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    symbol: str | None = None
    oldStatus: str | int | None = None
    newStatus: str | int | None = None
    reason: str | int | dict[str, Json] | None = None
    at: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a market has changed, such as OPEN to SUSPENDED.

    Keyed by condition id.
    """

    TYPE: ClassVar[str] = "market_status"

    meta: Meta
    data: MarketStatusData


class MarketUnpausedData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the rest as in the one sample seen."""

    conditionId: str | None = None
    tokenId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    symbol: str | None = None
    oldStatus: str | int | None = None
    newStatus: str | int | None = None
    reason: str | int | dict[str, Json] | None = None
    at: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class MarketUnpaused(msgspec.Struct, frozen=True, kw_only=True):
    """Trading in a market goes on.

    Keyed by condition id.
    """

    TYPE: ClassVar[str] = "market_unpaused"

    meta: Meta
    data: MarketUnpausedData


class OhlcUpdateData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: prices, volume and start of the candle are in extensions."""

    interval: str | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class OhlcUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """A candle of a token, new or changed; the last version of one wins.

    Generation 2. Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "ohlc_update"

    meta: Meta
    data: OhlcUpdateData


class PlatformStatusData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: all but the time is in extensions."""

    tsMs: int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class PlatformStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the platform; the latest wins.

    Keyed by the word platform_status.
    """

    TYPE: ClassVar[str] = "platform_status"

    meta: Meta
    data: PlatformStatusData


class TradeData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the rest as on the REST tape."""

    tradeId: str | int | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    price: str | None = None
    quantity: str | None = None
    maker: str | int | dict[str, Json] | None = None
    taker: str | int | dict[str, Json] | None = None
    makerFee: str | int | None = None
    takerFee: str | int | None = None
    outcomeLabel: str | None = None
    createdAt: str | int | None = None
    settledAt: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """A public trade, generation 1.

    Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "trade"

    meta: Meta
    data: TradeData


class TradeMatchedData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the rest as on the REST tape."""

    tradeId: str | int | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    price: str | None = None
    quantity: str | None = None
    maker: str | int | dict[str, Json] | None = None
    taker: str | int | dict[str, Json] | None = None
    makerFee: str | int | None = None
    takerFee: str | int | None = None
    outcomeLabel: str | None = None
    createdAt: str | int | None = None
    settledAt: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class TradeMatched(msgspec.Struct, frozen=True, kw_only=True):
    """A public trade as matched, not yet on chain, generation 2.

    Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "trade_matched"

    meta: Meta
    data: TradeMatchedData


class TradeSettledData(msgspec.Struct, frozen=True, kw_only=True):
    """Its contract is not public: common members by rule, the rest as on the REST tape."""

    tradeId: str | int | None = None
    tokenId: str | None = None
    conditionId: str | None = None
    outcomeIndex: str | int | None = None
    tsMs: int | None = None
    price: str | None = None
    quantity: str | None = None
    maker: str | int | dict[str, Json] | None = None
    taker: str | int | dict[str, Json] | None = None
    txHash: str | None = None
    orderHash: str | None = None
    blockNumber: str | int | None = None
    makerFee: str | int | None = None
    takerFee: str | int | None = None
    outcomeLabel: str | None = None
    createdAt: str | int | None = None
    settledAt: str | int | None = None
    extensions: dict[str, Json] = msgspec.field(default_factory=dict)


class TradeSettled(msgspec.Struct, frozen=True, kw_only=True):
    """A public trade as settled on chain, generation 2.

    Keyed by condition id, else token id.
    """

    TYPE: ClassVar[str] = "trade_settled"

    meta: Meta
    data: TradeSettledData


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
    "feedbridge.predictstreet_market.BookDelta": BookDelta,
    "feedbridge.predictstreet_market.BookSnapshot": BookSnapshot,
    "feedbridge.predictstreet_market.BookSnapshotFailed": BookSnapshotFailed,
    "feedbridge.predictstreet_market.BookUpdate": BookUpdate,
    "feedbridge.predictstreet_market.MarketPaused": MarketPaused,
    "feedbridge.predictstreet_market.MarketResolved": MarketResolved,
    "feedbridge.predictstreet_market.MarketStatus": MarketStatus,
    "feedbridge.predictstreet_market.MarketUnpaused": MarketUnpaused,
    "feedbridge.predictstreet_market.OhlcUpdate": OhlcUpdate,
    "feedbridge.predictstreet_market.PlatformStatus": PlatformStatus,
    "feedbridge.predictstreet_market.Trade": Trade,
    "feedbridge.predictstreet_market.TradeMatched": TradeMatched,
    "feedbridge.predictstreet_market.TradeSettled": TradeSettled,
    "feedbridge.predictstreet_market.Unknown": Unknown,
}
