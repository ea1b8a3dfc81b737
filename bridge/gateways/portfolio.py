"""A wallet's orders and trades over REST, as frames of the user gateway (PredictStreet's contract 4.1, 4.10, 5.2, 5.3).

A row becomes a frame where the contract's table of keys tells which: an order placed or cancelled by the order's id, a fill by
wallet, trade, order and side. All rows keep their values' text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from bridge.errors import BadData
from bridge.gateways.rest import decode

if TYPE_CHECKING:
    from bridge.gateways.orderbook import Markets
    from bridge.gateways.rest import Rest
    from bridge.gateways.subscriptions import Generation

#: Rows of one page at most (contract 6).
ORDERS_PAGE: Final = 500
TRADES_PAGE: Final = 200
PARTNER_PAGE: Final = 300
#: Pages of one list at most: a cursor that never ends must end here.
MOST_PAGES: Final = 400
CANCELLED: Final = "CANCELLED"
#: An adjustment of a trade that is none (contract 4.7).
_PLAIN: Final = frozenset({None, "", "NONE"})
#: Channel of orders and of fills, by generation; and the type of a fill.
_ORDERS: Final[dict[Generation, str]] = {1: "user_activity", 2: "user_orders"}
_FILLS: Final[dict[Generation, tuple[str, str]]] = {
    1: ("trade_matched", "user_activity"),
    2: ("user_fill", "user_fills"),
}


class Order(msgspec.Struct, frozen=True):
    """A row of the orders. created, updated: ms since the epoch, None where it does not say."""

    id: str
    text: bytes
    market: str | None
    outcome: int | None
    client_id: str | None
    status: str | None
    created: int | None
    updated: int | None


class Trade(msgspec.Struct, frozen=True):
    """A wallet's side of a match. row: as REST has it. created: ms since the epoch."""

    id: str
    order: str
    wallet: str
    side: str
    created: int
    adjustment: str | None
    row: dict[str, Any]


class Portfolio:
    """Orders and trades of the wallet that `rest` acts for."""

    def __init__(self, rest: Rest) -> None:
        """Nothing is read yet."""
        self._rest = rest

    async def orders(self) -> AsyncIterator[list[Order]]:
        """Yield all orders, page by page; one may come more than once (contract 4.10). Raises as `Rest.get` does."""
        async for body in self._pages("/api/orders/history", limit=ORDERS_PAGE):
            yield [_order(text) for text in decode(body, _Orders).orders]

    async def trades(self, since: int) -> AsyncIterator[list[Trade]]:
        """Yield the trades since a moment (ms), newest page first. Raises as `Rest.get` does."""
        seen: set[tuple[str, str, str]] = set()
        cursor: str | None = None
        before: int | None = None
        for _ in range(MOST_PAGES):
            query: dict[str, str | int] = {"limit": TRADES_PAGE}
            if cursor is not None:
                query["cursor"] = cursor
            elif before is not None:
                query["before"] = _iso(before + 1)  # exclusive, and rows may share a moment
            answer = decode(await self._rest.get("/api/me/trades", **query), _Trades)
            rows = [each for row in answer.trades if (each := _trade(row)) is not None]
            fresh = [each for each in rows if (each.id, each.order, each.side) not in seen]
            seen.update((each.id, each.order, each.side) for each in fresh)
            yield [each for each in fresh if each.created >= since]
            cursor = answer.nextCursor
            before = min((each.created for each in rows), default=None)
            if not fresh or before is None or before < since or (cursor is None and len(answer.trades) < TRADES_PAGE):
                return
        raise BadData(f"more than {MOST_PAGES} pages of trades", where="/api/me/trades")

    async def partner_trades(self, since: int) -> AsyncIterator[list[Trade]]:
        """Yield the trades of all the partner's wallets that changed since a moment (ms). Raises as `Rest.get` does.

        Rows that do not say whose they are are left out: more than three of their members are not documented.
        """
        async for body in self._pages("/api/v1/partner/trades", limit=PARTNER_PAGE, modifiedSince=_iso(since)):
            yield [each for row in decode(body, _Trades).trades if (each := _trade(row)) is not None]

    async def _pages(self, path: str, **query: str | int) -> AsyncIterator[bytes]:
        cursors: set[str] = set()
        for _ in range(MOST_PAGES):
            body = await self._rest.get(path, **query)
            yield body
            cursor = decode(body, _Cursor).nextCursor
            if cursor is None:
                return
            if cursor in cursors:
                break
            cursors.add(cursor)
            query["cursor"] = cursor
        raise BadData("pages without an end", where=path)


def placed(order: Order, generation: Generation) -> bytes:
    """Return the frame of an order's placement: the order as it is now."""
    return _frame("order_placed", _ORDERS[generation], Raw(order.text))


def cancelled(order: Order, generation: Generation) -> bytes:
    """Return the frame of an order's cancellation."""
    return _frame("order_cancelled", _ORDERS[generation], Raw(order.text))


def filled(trade: Trade, order: Order | None, markets: Markets, generation: Generation) -> bytes | None:
    """Return the frame of a fill; None where nothing says that it is the stream's.

    Of a match that mints generation 1 names neither order nor wallet on the stream (contract 4.4), so that its frame could
    not be told from this one. order: of the trade, tells which outcome it is about.
    """
    if generation == 1 and trade.adjustment not in _PLAIN:
        return None
    row = trade.row
    found = None
    if order is not None and order.market is not None and order.outcome is not None:
        found = markets.token(order.market, order.outcome)
    market: dict[str, object] = {}
    if found is not None:
        market["tokenId"], place = found
        if generation != 1:
            market["outcomeIndex"] = place.outcome
            if place.condition is not None:
                market["conditionId"] = place.condition
    kept: dict[str, object] = {name: row[name] for name in ("side", "price", "quantity") if name in row}
    kind, channel = _FILLS[generation]
    data: dict[str, object] = {"tradeId": trade.id}
    if generation == 1:
        data |= {name: row[name] for name in ("orderId", "userWallet", "marketId", "createdAt") if name in row}
        data |= kept | {"status": "matched"} | market
    else:
        data |= {"walletAddress": trade.wallet, "orderId": trade.order} | market | kept
        data |= {"source": "matcher", "tsMs": trade.created}
        if order is not None and order.client_id is not None:
            data["clientOrderId"] = order.client_id
    return _frame(kind, channel, data)


def _frame(kind: str, channel: str, data: object) -> bytes:
    return msgspec.json.encode({"type": kind, "channel": channel, "data": data})


class _Cursor(msgspec.Struct):
    nextCursor: str | None = None  # noqa: N815 - the gateway's name


class _Orders(msgspec.Struct):
    orders: list[Raw]


class _Trades(msgspec.Struct):
    trades: list[dict[str, Any]]
    nextCursor: str | None = None  # noqa: N815 - the gateway's name


class _OrderRow(msgspec.Struct):
    id: str | int
    marketId: str | None = None  # noqa: N815 - the gateway's name
    outcome: str | int | None = None
    clientOrderId: str | None = None  # noqa: N815 - the gateway's name
    status: str | None = None
    createdAt: str | None = None  # noqa: N815 - the gateway's name
    updatedAt: str | None = None  # noqa: N815 - the gateway's name


def _order(text: Raw) -> Order:
    raw = bytes(text)
    row = decode(raw, _OrderRow)
    outcome = str(row.outcome) if row.outcome is not None else ""
    return Order(
        str(row.id),
        raw,
        row.marketId,
        int(outcome) if outcome.isdecimal() else None,
        row.clientOrderId,
        row.status,
        _moment(row.createdAt),
        _moment(row.updatedAt),
    )


def _trade(row: dict[str, Any]) -> Trade | None:
    ident = row.get("tradeId", row.get("id"))
    created = _moment(row.get("createdAt"))
    order, wallet, side = row.get("orderId"), row.get("userWallet"), row.get("side")
    if created is None or not ident or not order or not isinstance(wallet, str) or not isinstance(side, str):
        return None
    adjustment = row.get("adjustment")
    return Trade(str(ident), str(order), wallet.lower(), side, created, adjustment, row)


def _moment(text: object) -> int | None:
    """A time of REST in ms since the epoch; None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
