"""The simulated PredictStreet keeps the REST contract (sections 2.5, 5.3, 6)."""

from __future__ import annotations

from typing import Any

import aiohttp

from bridge.sim import PredictStreetKnobs, PredictStreetSim
from bridge.sim.stamps import parse_iso


async def get(
    http: aiohttp.ClientSession, sim: PredictStreetSim, path: str, key: str | None = None, **query: str
) -> tuple[int, Any, Any]:
    """Status, body and headers."""
    async with http.get(sim.rest_url + path, params=query, headers={"X-Api-Key": key} if key else {}) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_markets_need_no_key_and_tell_ids(http: aiohttp.ClientSession) -> None:
    """The list maps symbols to condition and token ids; the status filter holds."""
    async with PredictStreetSim(seed=1) as sim:
        _, body, headers = await get(http, sim, "/api/markets", status="OPEN")
        rows = body["markets"]
        assert [token for row in rows for token in (row["yesTokenId"], row["noTokenId"])] == sim.tokens
        assert [row["conditionId"] for row in rows] == sim.conditions
        assert all(int(row["yesTokenId"]) > 2**64 for row in rows)
        assert headers["X-Server-Time"].isdigit()
        assert (await get(http, sim, "/api/markets", status="RESOLVED"))[1] == {"markets": []}


async def test_detail_is_by_slug_and_by_symbol_where_so_set(http: aiohttp.ClientSession) -> None:
    """Generation 2 answers 404 to a symbol; generation 1 takes it."""
    async with PredictStreetSim(seed=1) as sim:
        one = sim.stream.world.markets[0]
        assert (await get(http, sim, f"/api/markets/{one.slug}"))[1]["symbol"] == one.symbol
        status, body, _ = await get(http, sim, f"/api/markets/{one.symbol}")
        assert (status, body["code"]) == (404, "market_not_found")
    async with PredictStreetSim(seed=1, knobs=PredictStreetKnobs(generation=1)) as sim:
        one = sim.stream.world.markets[0]
        assert (await get(http, sim, f"/api/markets/{one.symbol}"))[0] == 200


async def test_orderbook(http: aiohttp.ClientSession) -> None:
    """Best levels first, cut to depth, with seq; the hash is generation 2's."""
    async with PredictStreetSim(seed=1) as sim:
        sim.pause()
        symbol = sim.stream.world.markets[0].symbol
        _, book, _ = await get(http, sim, f"/api/markets/{symbol}/orderbook", outcome="1", depth="3")
        assert (book["marketId"], book["outcome"]) == (symbol, "1")
        prices = [float(level["price"]) for level in book["bids"]]
        assert prices == sorted(prices, reverse=True)
        assert len(prices) == len(book["asks"]) == 3
        assert float(book["asks"][0]["price"]) > prices[0]
        assert len(book["hash"]) == 16
        assert (await get(http, sim, f"/api/markets/{symbol}/orderbook", outcome="7"))[0] == 400
        assert (await get(http, sim, "/api/markets/none/orderbook"))[0] == 404
    async with PredictStreetSim(seed=1, knobs=PredictStreetKnobs(generation=1)) as sim:
        symbol = sim.stream.world.markets[0].symbol
        assert "hash" not in (await get(http, sim, f"/api/markets/{symbol}/orderbook"))[1]


async def test_the_tape_pages_by_time(http: aiohttp.ClientSession) -> None:
    """Newest first, limit clamped to 200 and refused below 1, before and after exclusive."""
    async with PredictStreetSim(seed=1, rate=None, limit=4000, knobs=PredictStreetKnobs(markets=1)) as sim:
        sim.stream.take(6000, sim.clock())
        path = f"/api/markets/{sim.stream.world.markets[0].symbol}/trades"
        _, tape, _ = await get(http, sim, path, limit="1000")
        rows = tape["trades"]
        assert len(rows) == 200
        assert [row["createdAt"] for row in rows] == sorted((row["createdAt"] for row in rows), reverse=True)
        assert {row["id"] for row in rows} <= {trade.id for trade in sim.stream.world.markets[0].trades}
        assert any(row["settledAt"] for row in rows)
        moment = rows[0]["createdAt"]
        assert (await get(http, sim, path, after=moment))[1]["trades"] == []
        _, older, _ = await get(http, sim, path, before=moment)
        assert all(parse_iso(row["createdAt"]) < parse_iso(moment) for row in older["trades"])
        status, body, _ = await get(http, sim, path, limit="0")
        assert (status, body["code"]) == (400, "invalid_limit")
        assert (await get(http, sim, path, after="yesterday"))[0] == 400


async def test_candles_and_platform(http: aiohttp.ClientSession) -> None:
    """Five-second candles with high not below low; the platform's status is the world's."""
    async with PredictStreetSim(seed=1, knobs=PredictStreetKnobs(markets=1)) as sim:
        sim.pause()
        now = sim.clock()
        for tick in range(20):
            sim.stream.take(100, now + tick * 1000)
        symbol = sim.stream.world.markets[0].symbol
        _, body, _ = await get(http, sim, f"/api/markets/{symbol}/ohlc", interval="s5")
        assert len(body["candles"]) >= 4
        assert all(float(candle["low"]) <= float(candle["open"]) <= float(candle["high"]) for candle in body["candles"])
        assert all(candle["startMs"] % 5000 == 0 for candle in body["candles"])
        assert (await get(http, sim, f"/api/markets/{symbol}/ohlc", interval="m1"))[0] == 400
        assert (await get(http, sim, "/api/platform/status"))[1] == sim.stream.world.platform_data()


async def test_rate_limit_headers_and_429(http: aiohttp.ClientSession) -> None:
    """Every answer tells limit, remaining and reset; over the limit 429 and Retry-After; a key has its own bucket."""
    async with PredictStreetSim(seed=1, knobs=PredictStreetKnobs(rate_limit=2)) as sim:
        _, _, headers = await get(http, sim, "/api/platform/status")
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "1")
        await get(http, sim, "/api/platform/status")
        status, body, headers = await get(http, sim, "/api/platform/status")
        assert (status, body["code"]) == (429, "rate_limited")
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert (await get(http, sim, "/api/platform/status", sim.api_key))[0] == 200


async def test_a_bad_key_is_401(http: aiohttp.ClientSession) -> None:
    """No key is fine, a bad one is not."""
    async with PredictStreetSim(seed=1) as sim:
        status, body, _ = await get(http, sim, "/api/markets", "wrong")
        assert (status, body["code"]) == (401, "api_key_unknown_key")
        await sim.revoke()
        assert (await get(http, sim, "/api/markets", sim.api_key))[1]["code"] == "api_key_revoked"


async def test_the_catalogue_nests_markets_page_by_page(http: aiohttp.ClientSession) -> None:
    """Events and matches hold all markets; the cursor of one page leads to the next, the last has none."""
    async with PredictStreetSim(seed=1) as sim:
        sim.pause()
        found: list[str] = []
        query = {"limit": "3"}
        while "cursor" not in query or query["cursor"]:
            _, body, _ = await get(http, sim, "/api/events", **query)
            found += [row["conditionId"] for event in body["events"] for row in event["markets"]]
            query["cursor"] = body["nextCursor"] or ""
        assert found == sim.conditions
        _, body, _ = await get(http, sim, "/api/matches")
        assert [event["id"] for match in body["matches"] for event in match["events"]]
        assert (await get(http, sim, "/api/tags"))[1]["tags"]


async def test_prices_of_a_market(http: aiohttp.ClientSession) -> None:
    """A point for each candle."""
    async with PredictStreetSim(seed=1, knobs=PredictStreetKnobs(markets=1)) as sim:
        sim.pause()
        sim.stream.take(500, sim.clock())
        symbol = sim.stream.world.markets[0].symbol
        assert (await get(http, sim, f"/api/markets/{symbol}/price-history"))[1]["points"]
