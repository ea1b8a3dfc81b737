"""bridge.gateways.orderbook: markets and books over REST."""

from __future__ import annotations

import asyncio
import json

import structlog

from bridge.frame import REST
from bridge.gateways.orderbook import BookPoller, Markets, Place, book_frame
from bridge.gateways.rest import Rest
from bridge.settings import Url
from bridge.sim.predictstreet import PredictStreetSim
from tests.unit.gateways.doubles import MemoryIntake, outside

HUGE = str(2**256 - 1)
PLACE = Place("CS2-A-B", 1, "0xabc")


def test_a_book_becomes_the_frame_that_the_channel_would_have_sent() -> None:
    """Every value keeps its text; seq, hash and ts are envelope, all else and our ids are data."""
    body = (
        b'{"marketId":"CS2-A-B","outcome":"1","bids":[{"price":"0.10","quantity":1.10}],"asks":[],'
        b'"seq":18446744073709551616,"hash":"00ff","ts":"2026-05-10T13:42:11.000Z","new":1e2}'
    )
    raw = book_frame(HUGE, PLACE, body)
    assert raw == (
        b'{"type":"book_snapshot","channel":"token_book","id":"%b","seq":18446744073709551616,"hash":"00ff",'
        b'"ts":"2026-05-10T13:42:11.000Z","data":{"marketId":"CS2-A-B","outcome":"1",'
        b'"bids":[{"price":"0.10","quantity":1.10}],"asks":[],"new":1e2,"tokenId":"%b","outcomeIndex":1,'
        b'"conditionId":"0xabc"}}' % (HUGE.encode(), HUGE.encode())
    )


def test_a_book_that_did_not_change_is_the_same_content_at_each_poll() -> None:
    """Else every poll would be published."""
    one = json.loads(book_frame("1", PLACE, b'{"bids":[],"asks":[],"seq":5,"ts":"a"}'))
    two = json.loads(book_frame("1", PLACE, b'{"bids":[],"asks":[],"seq":5,"ts":"b"}'))
    assert (one["data"], one["seq"]) == (two["data"], two["seq"])


async def test_silent_books_are_polled_until_the_channel_speaks() -> None:
    """Each silent token, again and again; one that spoke no more; what is not listed is no reason to stop."""
    async with PredictStreetSim(rate=20, seed=5) as sim:
        rest = Rest(Url(sim.rest_url), {"X-Api-Key": sim.api_key}, per_minute=60_000, outside=outside())
        markets, intake = Markets(rest), MemoryIntake()
        known = await markets.read()
        assert set(known) == set(sim.tokens)
        assert set(known.values()) == set(sim.conditions)
        assert markets.unknown(["7", sim.tokens[0]]) == ["7"]
        silent = ["7", *sim.tokens[:2]]
        poller = BookPoller(
            "markets",
            rest,
            markets,
            silent=lambda _: silent,
            interval=0.01,
            intake=intake,
            outside=outside(),
            log=structlog.get_logger(),
        )
        task = asyncio.create_task(poller.run())

        def polled(token: str) -> int:
            return sum(json.loads(frame.raw)["id"] == token for frame in intake.frames)

        try:
            await intake.until(lambda: all(polled(token) >= 2 for token in sim.tokens[:2]))
            del silent[1]
            before = polled(sim.tokens[0])
            await intake.until(lambda: polled(sim.tokens[1]) >= 5)
            assert polled(sim.tokens[0]) <= before + 1
            silent.clear()
            await intake.until(lambda: "gone" in intake.causes("orderbook"))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await rest.close()
        frame = intake.frames[0]
        data = json.loads(frame.raw)["data"]
        assert (frame.source, frame.connection, frame.hint) == (REST, "orderbook", data["conditionId"])
        assert known[data["tokenId"]] == data["conditionId"]
        assert data["bids"]
        assert intake.causes("orderbook") == ["up", "gone"]


async def test_a_full_journal_holds_up_polling() -> None:
    """What is polled is no different from what is received."""
    async with PredictStreetSim(rate=20, seed=5) as sim:
        rest = Rest(Url(sim.rest_url), {"X-Api-Key": sim.api_key}, per_minute=60_000, outside=outside())
        markets, intake = Markets(rest), MemoryIntake()
        await markets.read()
        intake.full = True
        poller = BookPoller(
            "markets",
            rest,
            markets,
            silent=lambda _: sim.tokens[:1],
            interval=0.01,
            intake=intake,
            outside=outside(),
            log=structlog.get_logger(),
        )
        task = asyncio.create_task(poller.run())
        try:
            await asyncio.wait_for(intake.waiting.wait(), 5)
            assert intake.frames == []
            intake.make_room()
            await intake.until(lambda: len(intake.frames) >= 2)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await rest.close()
