"""bridge.gateways.portfolio: rows of a wallet's REST become the stream's frames, or nothing."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from bridge.errors import BadData
from bridge.gateways.orderbook import Markets
from bridge.gateways.portfolio import TRADES_PAGE, Order, Portfolio, Trade, cancelled, filled, placed
from bridge.gateways.rest import Rest

WALLET = "0x" + "a1" * 20
MARKETS = {
    "markets": [{"symbol": "CS2-A-B", "conditionId": "0xABC", "yesTokenId": "111", "noTokenId": "222"}],
}


def iso(at: int) -> str:
    """A time within one minute, as REST has it."""
    return f"2026-05-10T13:42:{at // 1000:02d}.{at % 1000:03d}Z"


BASE = 1_778_420_520_000


def trade_row(number: int, at: int, **more: Any) -> dict[str, Any]:
    """A row of ``/api/me/trades``."""
    return {
        "id": f"t{number}", "orderId": f"o{number}", "userWallet": WALLET.upper().replace("0X", "0x"), "marketId": "CS2-A-B",
        "price": "0.10", "quantity": "1.10", "side": "buy", "createdAt": iso(at), "status": "settled", "adjustment": "NONE", **more,
    }  # fmt: skip


class Pages:
    """Answers with the pages of a list; cursors: whether it gives them."""

    def __init__(
        self, name: str, pages: list[list[dict[str, Any]]], *, cursors: bool = True, endless: bool = False
    ) -> None:
        self.asked: list[dict[str, str | int]] = []
        self._name, self._pages, self._cursors, self._endless = name, pages, cursors, endless

    async def get(self, path: str, **query: str | int) -> bytes:
        """Answer."""
        if path == "/api/markets":
            return json.dumps(MARKETS).encode()
        self.asked.append(query)
        at = int(query.get("cursor", 0)) if self._cursors else len(self.asked) - 1
        more = at + 1 < len(self._pages)
        cursor = {"nextCursor": str(at + 1) if more else "0" if self._endless else None} if self._cursors else {}
        return json.dumps({self._name: self._pages[at], **cursor}).encode()


def portfolio(pages: Pages) -> Portfolio:
    """Over these pages."""
    return Portfolio(cast("Rest", pages))


async def markets() -> Markets:
    """The one that there is."""
    found = Markets(cast("Rest", Pages("", [])))
    await found.read()
    return found


def order(**more: Any) -> Order:
    """An order of outcome 1."""
    facts: dict[str, Any] = {
        "id": "o1", "text": b'{"id":"o1","price":"0.100"}', "market": "CS2-A-B", "outcome": 1, "client_id": None,
        "status": "OPEN", "created": BASE, "updated": BASE,
    }  # fmt: skip
    return Order(**{**facts, **more})


async def trades(pages: Pages, since: int) -> list[Trade]:
    """All of them."""
    return [each async for page in portfolio(pages).trades(since) for each in page]


async def test_trades_are_read_as_far_back_as_asked() -> None:
    """By cursor, newest first; the page that reaches the moment is the last."""
    pages = Pages("trades", [[trade_row(3, 3000), trade_row(2, 2000)], [trade_row(1, 1000)], [trade_row(0, 0)]])
    found = await trades(pages, BASE + 1500)
    assert [(each.id, each.created, each.wallet) for each in found] == [
        ("t3", BASE + 3000, WALLET),
        ("t2", BASE + 2000, WALLET),
    ]
    assert len(pages.asked) == 2


async def test_trades_without_cursors_are_read_by_time() -> None:
    """Rows may share a moment, and the bound is exclusive: pages overlap, rows come once."""
    full = [trade_row(number, 5000) for number in range(TRADES_PAGE)]
    pages = Pages("trades", [full, [full[-1], trade_row(900, 4000)]], cursors=False)
    found = await trades(pages, BASE)
    assert len(found) == TRADES_PAGE + 1
    assert pages.asked[1]["before"] == iso(5001)


async def test_rows_that_do_not_say_whose_they_are_are_left_out() -> None:
    """Of the partners' feed three members are documented."""
    bare = {"tradeId": "t9", "status": "settlement_failed", "marketSymbol": "CS2-A-B"}
    whole = {**trade_row(1, 0), "tradeId": "t1"}
    pages = Pages("trades", [[bare, whole]])
    found = [each async for page in portfolio(pages).partner_trades(BASE) for each in page]
    assert [each.id for each in found] == ["t1"]
    assert pages.asked == [{"limit": 300, "modifiedSince": iso(0)}]


async def test_orders_come_page_by_page_and_not_without_end() -> None:
    """A cursor that comes again would never end."""
    rows = [{"id": "o1", "outcome": "1", "createdAt": iso(0), "status": "OPEN"}]
    found = [each async for page in portfolio(Pages("orders", [rows, rows])).orders() for each in page]
    assert [(each.id, each.outcome, each.created, each.updated) for each in found] == [("o1", 1, BASE, None)] * 2
    with pytest.raises(BadData, match="without an end"):
        async for _ in portfolio(Pages("orders", [rows], endless=True)).orders():
            pass


def test_an_order_is_told_as_rest_tells_it() -> None:
    """Its values keep their text."""
    assert placed(order(), 2) == b'{"type":"order_placed","channel":"user_orders","data":{"id":"o1","price":"0.100"}}'
    assert b'"type":"order_cancelled","channel":"user_activity"' in cancelled(order(), 1)


async def test_a_fill_has_the_streams_identity_and_key() -> None:
    """Wallet, trade, order and side; token and condition by way of its order."""
    trade = Trade("t1", "o1", WALLET, "buy", BASE, "NONE", trade_row(1, 0))
    raw = filled(trade, order(client_id="c-1"), await markets(), 2)
    assert raw is not None
    assert json.loads(raw) == {
        "type": "user_fill",
        "channel": "user_fills",
        "data": {
            "tradeId": "t1", "walletAddress": WALLET, "orderId": "o1", "tokenId": "222", "outcomeIndex": 1,
            "conditionId": "0xabc", "side": "buy", "price": "0.10", "quantity": "1.10", "source": "matcher", "tsMs": BASE,
            "clientOrderId": "c-1",
        },
    }  # fmt: skip


async def test_a_fill_of_an_unknown_order_says_less() -> None:
    """No token is made up."""
    raw = filled(Trade("t1", "o1", WALLET, "buy", BASE, None, trade_row(1, 0)), None, await markets(), 2)
    assert raw is not None
    assert "tokenId" not in json.loads(raw)["data"]


async def test_a_mint_of_generation_one_is_no_frame() -> None:
    """The stream names neither its order nor its wallet, so the two could not be told to be one."""
    known = await markets()
    mint = Trade("t1", "o1", WALLET, "buy", BASE, "MINT", trade_row(1, 0))
    assert filled(mint, order(), known, 1) is None
    assert filled(mint, order(), known, 2) is not None
    plain = filled(Trade("t1", "o1", WALLET, "buy", BASE, "NONE", trade_row(1, 0)), order(), known, 1)
    assert plain is not None
    assert json.loads(plain)["type"] == "trade_matched"
