"""PredictStreet's public REST surface (contract 5.3, 6): markets, order book, tape, candles, platform status.

Reads need no key; a bad key is refused all the same. Errors are ``{"code": …, "message": …}``; every answer has the
rate-limit headers and `X-Server-Time`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from bridge.sim.book import price_text, quantity_text
from bridge.sim.exchange import Market, Trade
from bridge.sim.keys import ACTIVE, Keyring
from bridge.sim.limits import Limit, Verdict
from bridge.sim.predictstreet_stream import PredictStreetStream
from bridge.sim.stamps import iso_millis, parse_iso

_MAX_TRADES: Final = 200
_MAX_MARKETS: Final = 500
_MAX_CANDLES: Final = 2000
_EVENTS: Final = 100
_FULL_DEPTH: Final = 100


class PredictStreetRest:
    """Handlers over the stream's world."""

    def __init__(self, stream: PredictStreetStream, keys: Keyring, *, clock: Callable[[], int]) -> None:
        """REST over that world; `clock` is ms since the epoch."""
        self._stream = stream
        self._keys = keys
        self._clock = clock
        self._limit = Limit(stream.knobs.rate_limit, clock=time.monotonic)

    def routes(self) -> list[web.RouteDef]:
        """Paths of the contract."""
        return [
            web.get("/api/markets", self._guard(self._markets)),
            web.get("/api/markets/{name}", self._guard(self._market)),
            web.get("/api/markets/{symbol}/orderbook", self._guard(self._orderbook)),
            web.get("/api/markets/{symbol}/trades", self._guard(self._trades)),
            web.get("/api/markets/{symbol}/ohlc", self._guard(self._ohlc)),
            web.get("/api/markets/{symbol}/price-history", self._guard(self._prices)),
            web.get("/api/events", self._guard(self._events)),
            web.get("/api/matches", self._guard(self._matches)),
            web.get("/api/tags", self._guard(lambda _: {"tags": [{"id": "cs2", "label": "CS2"}]})),
            web.get("/api/platform/status", self._guard(self._platform)),
        ]

    def _guard(self, answer: Callable[[web.Request], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Check the key if one is sent, count, answer."""

        async def handle(request: web.Request) -> web.Response:
            token = request.headers.get("X-Api-Key")
            key = self._keys.find(token)
            if token is not None and (key is None or key.state != ACTIVE):
                return self._refusal(401, "api_key_unknown_key" if key is None else key.state)
            verdict = self._limit.take(token or request.remote or "")
            headers = self._headers(verdict)
            if not verdict.passes:
                return self._refusal(429, "rate_limited", headers | {"Retry-After": str(verdict.resets)})
            try:
                return _json(answer(request), 200, headers)
            except _Refused as refused:
                return self._refusal(refused.status, refused.code, headers)

        return handle

    def _markets(self, request: web.Request) -> Any:
        status = request.query.get("status")
        rows = [self._row(market) for market in self._stream.world.markets if status in {None, market.status}]
        return {"markets": rows[:_MAX_MARKETS]}

    def _market(self, request: web.Request) -> Any:
        name = request.match_info["name"]
        market = self._stream.world.find(name)
        if market is None or name != getattr(market, self._stream.knobs.detail_name):
            raise _Refused(404, "market_not_found")
        return self._row(market)

    def _orderbook(self, request: web.Request) -> Any:
        market = self._by_symbol(request)
        outcome = _integer(request, "outcome", range(2), default=0)
        depth = _integer(request, "depth", range(1, _FULL_DEPTH + 1), default=20)
        book = market.books[outcome]
        answer = {
            "marketId": market.symbol,
            "outcome": str(outcome),
            **book.sides(depth),
            "seq": book.seq,
            "ts": iso_millis(self._clock()),
        }
        if self._stream.knobs.second:
            answer["hash"] = book.hash()
        return answer

    def _trades(self, request: web.Request) -> Any:
        market = self._by_symbol(request)
        limit = _integer(request, "limit", range(1, _MAX_TRADES + 1), default=50, clamp=True)
        before, after = _moment(request, "before"), _moment(request, "after")
        rows = [
            trade for trade in reversed(market.trades)
            if (before is None or trade.created < before) and (after is None or trade.created > after)
        ]  # fmt: skip
        return {"symbol": market.symbol, "trades": [self._tape(trade) for trade in rows[:limit]]}

    def _ohlc(self, request: web.Request) -> Any:
        market = self._by_symbol(request)
        outcome = _integer(request, "outcome", range(2), default=0)
        if request.query.get("interval", "s5") != "s5":
            raise _Refused(400, "invalid_interval")
        before = _moment(request, "before")
        candles = [candle for candle in market.candles[outcome] if before is None or candle["startMs"] < before]
        return {"symbol": market.symbol, "interval": "s5", "candles": candles[-_MAX_CANDLES:]}

    def _prices(self, request: web.Request) -> Any:
        market = self._by_symbol(request)
        candles = market.candles[_integer(request, "outcome", range(2), default=0)]
        return {
            "symbol": market.symbol,
            "points": [{"ts": each["startMs"], "price": each["close"]} for each in candles],
        }

    def _events(self, request: web.Request) -> Any:
        """The catalogue, markets and all; by pages, whose shape the contract does not give."""
        markets = self._stream.world.markets
        start = _integer(request, "cursor", range(len(markets) + 1), default=0)
        end = start + _integer(request, "limit", range(1, _EVENTS + 1), default=_EVENTS)
        events = [
            {"id": each.event_id, "title": each.title, "markets": [self._row(each)]} for each in markets[start:end]
        ]
        return {"events": events, "nextCursor": str(end) if end < len(markets) else None}

    def _matches(self, request: web.Request) -> Any:
        events = self._events(request)
        return {"matches": [{"id": each["id"], "events": [each]} for each in events["events"]]}

    def _platform(self, _: web.Request) -> Any:
        return self._stream.world.platform_data()

    def _tape(self, trade: Trade) -> dict[str, Any]:
        return {
            "id": trade.id, "price": price_text(trade.price), "quantity": quantity_text(trade.quantity),
            "createdAt": iso_millis(trade.created), "settledAt": None if trade.settled is None else iso_millis(trade.settled),
            "maker": trade.maker, "taker": trade.taker, "makerFee": "0", "takerFee": "0.01", "outcomeIndex": trade.outcome,
            "outcomeLabel": ("YES", "NO")[trade.outcome],
        }  # fmt: skip

    def _row(self, market: Market) -> dict[str, Any]:
        fair = [price_text(book.fair) for book in market.books]
        row = {
            "id": market.id, "eventId": market.event_id, "symbol": market.symbol, "slug": market.slug, "title": market.title,
            "groupItemTitle": None, "conditionId": market.condition, "questionId": market.question,
            "yesTokenId": market.tokens[0], "noTokenId": market.tokens[1], "status": market.status, "currentReviewRound": 0,
            "outcomeCount": 2, "outcomeLabels": ["YES", "NO"], "initialFairValue": "0.5", "initialOutcomePrices": ["0.5", "0.5"],
            "feeTakerBps": 100, "opensAt": iso_millis(market.created), "closesAt": iso_millis(market.created + 86_400_000),
            "kickoff": iso_millis(market.created + 3_600_000), "resolutionWindowHours": 24,
            "pausedAt": None if market.paused_at is None else iso_millis(market.paused_at),
            "resolvedAt": None if market.resolved_at is None else iso_millis(market.resolved_at), "payoutNumerators": None,
            "officialDataSource": "tournament organiser", "sourceMatchId": None, "resolutionCriteria": "official result",
            "negRiskEligible": None, "isNewMarketType": False, "createdAt": iso_millis(market.created),
            "updatedAt": iso_millis(max(book.at for book in market.books) or market.created), "outcomePrices": fair,
        }  # fmt: skip
        if not self._stream.knobs.second:
            del row["slug"]
        return row

    def _by_symbol(self, request: web.Request) -> Market:
        name = request.match_info["symbol"]
        market = self._stream.world.find(name)
        if market is None or market.symbol != name:
            raise _Refused(404, "market_not_found")
        return market

    def _headers(self, verdict: Verdict) -> dict[str, str]:
        headers = {"X-Server-Time": str(self._clock())}
        if verdict.limit:
            headers["X-RateLimit-Limit"] = str(verdict.limit)
            headers["X-RateLimit-Remaining"] = str(verdict.remaining)
            headers["X-RateLimit-Reset"] = str(self._clock() // 1000 + verdict.resets)
        return headers

    def _refusal(self, status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
        return _json(
            {"code": code, "message": code.replace("_", " ")}, status, headers or {"X-Server-Time": str(self._clock())}
        )


class _Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


def _integer(request: web.Request, name: str, allowed: range, *, default: int, clamp: bool = False) -> int:
    """A query parameter within `allowed`; `clamp`: above it counts as its largest."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise _Refused(400, f"invalid_{name}")
    value = min(int(text), allowed[-1]) if clamp else int(text)
    if value not in allowed:
        raise _Refused(400, f"invalid_{name}")
    return value


def _moment(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError as error:
        raise _Refused(400, f"invalid_{name}") from error


def _json(body: Any, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, headers=headers, content_type="application/json")
