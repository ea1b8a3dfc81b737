"""PredictStreet's market gateway against a simulator that loses, forgets and misspells."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Literal

import pytest

from bridge.frame import Frame
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from tests.unit.gateways.test_predictstreet import running, settings, types

Levels = dict[str, dict[Decimal, Decimal]]


def rebuilt(frames: list[Frame]) -> dict[str, Levels]:
    """Token → book, as a reader of these frames has it: snapshots replace it, deltas set levels, zero takes one away."""
    books: dict[str, Levels] = {}
    for frame in frames:
        push = json.loads(frame.raw)
        kind = push["type"]
        if kind == "book_snapshot":
            books[push["id"]] = {"bids": {}, "asks": {}}
        if kind in {"book_snapshot", "book_delta", "book_update"} and push["id"] in books:
            for side, levels in books[push["id"]].items():
                for level in push["data"][side]:
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


def books_only(sim: PredictStreetSim) -> list[dict[str, Any]]:
    """A subscription to all books."""
    return [{"channel": "token_book", "ids": sim.tokens}]


@pytest.mark.parametrize(
    ("generation", "commands", "failures"),
    [(2, "all", 0.0), (2, "all", 0.3), (2, "fewest", 0.0), (1, "all", 0.0)],
    ids=["on demand", "on demand, not at once", "subscribed anew", "generation 1"],
)
async def test_books_end_equal_to_the_gateways_though_changes_were_lost(
    generation: Literal[1, 2], commands: Literal["all", "fewest"], failures: float
) -> None:
    """Every hole is seen on the socket, and a snapshot asked for: on demand, or by subscribing once more; a reconnect too."""
    knobs = PredictStreetKnobs(
        generation=generation,
        silent_book=False,
        book_losses=0.02,
        commands=commands,
        snapshot_failures=failures,
        markets=4,
    )
    async with PredictStreetSim(rate=2000, seed=4, knobs=knobs) as sim:
        sim.stream.world.restless = 0.0
        async with running(settings(sim, subscribe=books_only(sim))) as (gateway, intake, _):
            await intake.until(lambda: types(intake)["book_snapshot"] > len(sim.tokens) + 10, seconds=30)
            await sim.drop(code=1012)
            await intake.until(lambda: intake.causes("market:1")[-1] == "up" and len(intake.causes("market:1")) == 3)
            sim.stream.book_losses = 0.0
            whole = gateway._subscribers["market:1"].agreement.books.whole
            # Later changes show the last holes; then all that is missing is asked for, and comes.
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 1000, seconds=30)
            await intake.until(lambda: all(map(whole, sim.tokens)), seconds=60)
            sim.pause()
            sim.catch_up()
            await intake.until(lambda: rebuilt(intake.frames) == true_books(sim))
            assert gateway.status().rejected == []
            if commands == "all":
                # What was subscribed to for a moment is given up again.
                await sim.wait(lambda sim: sim.connections[0].detail["subscriptions"] == 1)


async def test_a_book_without_a_snapshot_is_had_from_rest() -> None:
    """Where neither the subscription nor a demand brings it: the order book of REST."""
    knobs = PredictStreetKnobs(snapshot_failures=1.0, markets=2)
    async with PredictStreetSim(rate=100, seed=4, knobs=knobs) as sim:
        chosen = settings(sim, rest=True, subscribe=books_only(sim), book_wait=0.1, book_interval=0.2)
        async with running(chosen) as (_, intake, _):
            await intake.until(lambda: types(intake)["book_snapshot"] >= len(sim.tokens))
        assert types(intake)["book_snapshot_failed"] >= len(sim.tokens)
        assert {json.loads(frame.raw)["id"] for frame in intake.frames if frame.source == "rest"} == set(sim.tokens)


@pytest.mark.parametrize(("generation", "greets"), [(1, 2), (2, 1)])
async def test_the_generation_is_learned_from_rejects_where_the_greeting_lies(
    generation: Literal[1, 2], greets: Literal[1, 2]
) -> None:
    """Channels that are unknown under one name are asked for under the other; the next connection knows at once."""
    knobs = PredictStreetKnobs(generation=generation, greets=greets)
    async with PredictStreetSim(rate=400, seed=2, knobs=knobs) as sim, running(settings(sim)) as (gateway, intake, _):
        kind = "trade" if generation == 1 else "trade_matched"
        await intake.until(lambda: types(intake)[kind] > 2)
        assert gateway.status().rejected == []
        assert gateway._subscribers["market:1"].generation == generation
        await sim.drop()
        await intake.until(lambda: len(intake.causes("market:1")) == 3)
        assert gateway._subscribers["market:1"].generation == generation
        count = types(intake)[kind]
        await intake.until(lambda: types(intake)[kind] > count)


async def test_what_the_gateway_forgot_is_found_by_its_list_and_asked_for_again() -> None:
    """Accepted is not held: `list_subscriptions` shows it; a difference is logged."""
    knobs = PredictStreetKnobs(forgets=5)
    async with PredictStreetSim(rate=200, seed=2, knobs=knobs) as sim, running(settings(sim)) as (gateway, intake, _):
        agreement = gateway._subscribers["market:1"].agreement
        await intake.until(lambda: agreement.confirmed is True)
        (held,) = [each.subscriptions for each in sim._sessions.values()]
        assert {each.channel for each in held.values()} == {
            "token_trade_matches", "token_trade_settlements", "token_book", "condition_lifecycle", "system",
        }  # fmt: skip


@pytest.mark.parametrize("commands", ["fewest", "mute"])
async def test_a_gateway_that_can_only_subscribe_is_enough(commands: Literal["fewest", "mute"]) -> None:
    """What is not documented may be answered with an error, or not at all: frames flow."""
    knobs = PredictStreetKnobs(commands=commands)
    async with PredictStreetSim(rate=200, seed=2, knobs=knobs) as sim, running(settings(sim)) as (gateway, intake, _):
        await intake.until(lambda: len(intake.frames) > 20)
        assert gateway._subscribers["market:1"].agreement.confirmed is None
        assert gateway.status().connected
