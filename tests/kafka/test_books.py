"""Order books on a real Kafka: whoever reads the topic ends with the gateway's own books, whatever was lost on the way."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from bridge.sim import PredictStreetKnobs, PredictStreetSim
from tests.audit import Published, Schemas, collect
from tests.gaps import gap_records
from tests.kafka.conftest import Kafka
from tests.running import BridgeHere, configuration, until

pytestmark = pytest.mark.timeout(300)

Levels = dict[str, dict[Decimal, Decimal]]


def rebuilt(published: list[Published], topic: str) -> dict[str, Levels]:
    """Token → book, from the records of a topic in their order."""
    books: dict[str, Levels] = {}
    for one in published:
        kind = (dict(one.headers).get("type") or b"").decode()
        if one.topic != topic or not kind.startswith("book_") or kind == "book_snapshot_failed":
            continue
        record: dict[str, Any] = Schemas.shipped().decode(topic, one.value)[1]
        token = record["meta"]["id"]
        if kind == "book_snapshot":
            books[token] = {"bids": {}, "asks": {}}
        for side, levels in books.get(token, {}).items():
            for sent in record["data"][side] or []:
                level = json.loads(sent) if isinstance(sent, str) else sent
                levels[Decimal(level["price"])] = Decimal(level["quantity"])
    return {
        token: {side: {price: size for price, size in levels.items() if size} for side, levels in book.items()}
        for token, book in books.items()
    }


def true_books(sim: PredictStreetSim) -> dict[str, Levels]:
    """Token → book, as the simulator has it."""
    return {
        token: {
            side: {Decimal(level["price"]): Decimal(level["quantity"]) for level in levels}
            for side, levels in book.sides(1000).items()
        }
        for market in sim.stream.world.markets
        for token, book in zip(market.tokens, market.books, strict=True)
    }


@pytest.mark.parametrize("generation", [1, 2])
async def test_books_are_whole_at_the_end_and_every_gap_of_theirs_is_filled(
    generation: Literal[1, 2], kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Changes that are lost, and a reconnect: each hole is a gap of its token, and the snapshot that was asked for fills it."""
    knobs = PredictStreetKnobs(generation=generation, silent_book=False, markets=3, book_losses=0.01)
    async with PredictStreetSim(seed=8, rate=1000, knobs=knobs, keep=None) as sim:
        sim.stream.world.restless = 0.0
        wish = [{"channel": "token_book", "ids": sim.tokens}]
        settings = {"kind": "predictstreet-market", "url": sim.url, "api_key": sim.api_key, "subscribe": wish}
        config = configuration(
            {"markets": settings}, kafka=kafka.bootstrap, prefix=topic_prefix, topics={"layout": "gateway"}
        )
        async with BridgeHere(config, tmp_path / "bridge") as bridge:
            await sim.wait(lambda sim: sim.produced > 3000, seconds=60)
            await sim.drop(code=1012)
            accepted = sim.accepted
            await sim.wait(lambda sim: sim.accepted > accepted, seconds=60)
            count = sim.produced
            await sim.wait(lambda sim: sim.produced > count + 3000, seconds=60)
            sim.stream.book_losses = 0.0
            # Later changes of every token show its last hole, and its snapshot comes.
            count = sim.produced
            await sim.wait(lambda sim: sim.produced > count + 2000, seconds=60)
            sim.pause()
            sim.catch_up()

            async def equal() -> bool:
                found = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
                return rebuilt(found, f"{topic_prefix}markets") == true_books(sim)

            await until(equal, what="books equal to the gateway's", seconds=60)
            assert await bridge.stop() == 0
    last = {gap["id"]: gap for gap in gap_records(kafka.bootstrap, topic_prefix)}
    holes = [gap for gap in last.values() if gap["cause"] == "book_sequence"]
    assert len(holes) > 10
    assert {gap["state"] for gap in holes} == {"filled"}
    assert {gap["entity"] for gap in holes} <= set(sim.tokens)
