"""bridge.gateways.tape: the trades of a span, each once, as the stream would have sent them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.errors import BadData
from bridge.gateways.rest import Rest
from bridge.gateways.tape import Market, Tape
from bridge.settings import Url
from bridge.sim.predictstreet import PredictStreetSim
from tests.unit.gateways.doubles import outside

START = 1_779_000_000_000
MARKET = Market("CS2-A-B", {0: "111", 1: "222"}, "0xabc")


def iso(moment: int) -> str:
    """A time as the tape has it."""
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Rows:
    """Answers as the tape does: newest first, both bounds exclusive. moments: createdAt of each trade, ms."""

    def __init__(self, moments: list[int]) -> None:
        self.rows = [
            {"id": f"t{n}", "price": "0.10", "quantity": "1.10", "createdAt": iso(at), "outcomeIndex": n % 2}
            for n, at in enumerate(moments)
        ]

    async def get(self, _path: str, **query: Any) -> bytes:
        """Answer."""
        rows = [row for row in self.rows if query["after"] < row["createdAt"] < query["before"]]
        return json.dumps({"symbol": "CS2-A-B", "trades": rows[::-1][: query["limit"]]}).encode()


async def read(rows: Rows, begin: int, end: int, *, page: int = 5, market: Market = MARKET) -> list[dict[str, Any]]:
    """All frames of a span."""
    tape = Tape(rows, generation=2, page=page)  # type: ignore[arg-type]
    return [json.loads(raw) async for part in tape.between(market, begin, end) for raw in part]


@pytest.mark.parametrize("count", [0, 4, 5, 6, 23])
async def test_every_trade_of_the_span_comes_once(count: int) -> None:
    """Also those that share a moment with the last of a page, and those on the bounds."""
    moments = [START + n // 3 for n in range(count)]
    found = await read(Rows([START - 1, *moments, START + 1000]), START, START + 999)
    assert sorted(each["data"]["tradeId"] for each in found) == sorted(f"t{n + 1}" for n in range(count))


async def test_a_row_becomes_the_frame_of_its_token() -> None:
    """Identity and key as on the stream; all else as the row says it."""
    [found] = await read(Rows([START]), START, START)
    assert found == {
        "type": "trade_matched",
        "channel": "token_trade_matches",
        "id": "111",
        "data": {
            "tradeId": "t0", "tokenId": "111", "conditionId": "0xabc", "price": "0.10", "quantity": "1.10",
            "createdAt": iso(START), "outcomeIndex": 0,
        },
    }  # fmt: skip


async def test_tokens_that_are_not_wanted_are_left_out() -> None:
    """The tape is of the market, the subscription of a token."""
    found = await read(Rows([START, START]), START, START, market=Market("CS2-A-B", {1: "222"}))
    assert [each["id"] for each in found] == ["222"]
    assert "conditionId" not in found[0]["data"]


async def test_more_trades_in_one_millisecond_than_a_page_holds_are_reported() -> None:
    """They can't be had, and asking again would never end."""
    with pytest.raises(BadData, match="one millisecond"):
        await read(Rows([START] * 12), START, START)


async def test_the_simulated_tape_gives_what_the_stream_sent() -> None:
    """Against the simulator's REST: the same trades under the same identity."""
    async with PredictStreetSim(seed=7) as sim:  # nobody listens, so its world moves only here
        for moment in range(START, START + 3000):
            sim.stream.take(1, moment)
        rest = Rest(Url(sim.rest_url), {"X-Api-Key": sim.api_key}, per_minute=60_000, outside=outside())
        try:
            market = max(sim.stream.world.markets, key=lambda each: len(each.trades))
            tape = Tape(rest, generation=2, page=3)
            begin, end = market.trades[0].created, market.trades[-1].created
            place = Market(market.symbol, dict(enumerate(market.tokens)), market.condition)
            found = [json.loads(raw)["data"] async for part in tape.between(place, begin, end) for raw in part]
        finally:
            await rest.close()
        assert len(found) == len(market.trades) > 3
        assert {(each["tradeId"], each["tokenId"]) for each in found} == {
            (trade.id, market.tokens[trade.outcome]) for trade in market.trades
        }
