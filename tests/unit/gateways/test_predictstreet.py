"""bridge.gateways.predictstreet against the simulated PredictStreet."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from pydantic import ValidationError

from bridge.gateways.gateway import Outside
from bridge.gateways.predictstreet import (
    PredictStreetMarket,
    PredictStreetMarketSettings,
    PredictStreetUser,
    PredictStreetUserSettings,
)
from bridge.ops.metrics import Metrics
from bridge.settings import RestSettings
from bridge.sim.keys import PREDICTSTREET_SCOPES, Key
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from tests.unit.gateways.doubles import KEY, MemoryIntake


def wishes(sim: PredictStreetSim) -> list[dict[str, Any]]:
    """A subscription to everything, in the names of generation 1."""
    return [
        {"channel": "token_trades", "ids": sim.tokens},
        {"channel": "token_book", "ids": sim.tokens},
        {"channel": "condition_status", "ids": sim.conditions},
        {"channel": "system", "ids": ["platform_status"]},
    ]


def settings(sim: PredictStreetSim, *, rest: bool = False, **more: Any) -> PredictStreetMarketSettings:
    """Settings for a simulator."""
    given = {"kind": "predictstreet-market", "url": sim.url, "subscribe": wishes(sim), **more}
    if "bearer" not in given:
        given.setdefault("api_key", sim.api_key)
    return PredictStreetMarketSettings.model_validate(given | ({"rest": {"url": sim.rest_url}} if rest else {}))


@contextlib.asynccontextmanager
async def running(
    chosen: PredictStreetMarketSettings,
) -> AsyncIterator[tuple[PredictStreetMarket, MemoryIntake, Metrics]]:
    """A gateway at work, with what it fed."""
    intake, metrics = MemoryIntake(), Metrics()
    gateway = PredictStreetMarket(
        "markets", chosen, intake=intake, metrics=metrics, outside=Outside(chance=lambda: 0.01)
    )
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway, intake, metrics
        assert not task.done(), "a gateway runs until it is cancelled"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def types(intake: MemoryIntake) -> Counter[str]:
    """How many frames of each type there are."""
    return Counter(json.loads(frame.raw)["type"] for frame in intake.frames)


@pytest.mark.parametrize(
    ("generation", "expected"),
    [(1, {"trade"}), (2, {"trade_matched", "trade_settled", "book_snapshot", "book_delta"})],
)
async def test_either_generation_is_served_from_one_configuration(
    generation: Literal[1, 2], expected: set[str]
) -> None:
    """Channel names follow the greeting; no control frame gets through; cuts are survived."""
    async with PredictStreetSim(rate=400, seed=2, knobs=PredictStreetKnobs(generation=generation)) as sim:
        async with running(settings(sim)) as (gateway, intake, metrics):
            await intake.until(lambda: expected <= set(types(intake)))
            await sim.drop(code=1012)
            await intake.until(lambda: intake.causes("market:1") == ["up", "down:disconnect", "up"])
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 50)
            assert gateway.status().connected
            assert gateway.status().rejected == []
            assert metrics.total("reconnects_total", gateway="markets") == 1
        assert not set(types(intake)) & {"connected", "subscribed", "pong", "error"}
        assert {frame.connection for frame in intake.frames} == {"market:1"}


async def test_ids_over_the_limits_are_split_over_subscriptions_and_connections() -> None:
    """30,000 tokens: 300 subscriptions, two connections, nothing rejected."""
    async with PredictStreetSim(rate=50, seed=2) as sim:
        tokens = [str(number) for number in range(1, 30_001)]
        chosen = settings(sim, subscribe=[{"channel": "token_book", "ids": [*tokens, *sim.tokens]}], protocol=2)
        async with running(chosen) as (gateway, intake, _):
            await intake.until(lambda: gateway.status().connected)
            assert [each.detail["subscriptions"] for each in sim.connections] == [256, 45]
            await intake.until(lambda: len(intake.frames) > 5)
            assert gateway.status().rejected == []
        assert {name for name, event, _ in intake.events if event == "up"} == {"market:1", "market:2"}


async def test_rejected_subscriptions_are_named_counted_and_the_rest_goes_on() -> None:
    """And asked for once only with this key."""
    async with PredictStreetSim(rate=200, seed=2) as sim:
        more = [{"channel": "user_orders"}, {"channel": "bogus", "ids": ["1"]}]
        chosen = settings(sim, subscribe=[*wishes(sim), *more])
        async with running(chosen) as (gateway, intake, metrics):
            await intake.until(lambda: len(intake.frames) > 20)
            rejected = {(each.channel, tuple(each.ids), each.code) for each in gateway.status().rejected}
            assert rejected == {("user_orders", (), "forbidden"), ("bogus", ("1",), "invalid_params")}
            assert gateway.status().connected
            await sim.drop()
            await intake.until(lambda: intake.causes("market:1")[-1] == "up" and len(intake.causes("market:1")) == 3)
            assert metrics.total("subscriptions_rejected_total", gateway="markets") == 2


@pytest.mark.parametrize("reason", ["api_key_revoked", "api_key_suspended", "api_key_expired"])
async def test_a_refused_key_is_a_state(reason: str) -> None:
    """4401 while running: refused, not tried again."""
    async with PredictStreetSim(rate=200, seed=2) as sim:
        async with running(settings(sim)) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 5)
            await sim.revoke(state=reason)
            await intake.until(lambda: gateway.status().refused)
            assert reason in (gateway.status().detail or "")
            accepted = sim.accepted
            await asyncio.sleep(0.1)
            assert sim.accepted == accepted
        assert intake.causes("market:1") == ["up", "down:refused"]


async def test_trouble_of_the_gateway_itself_is_no_refusal() -> None:
    """api_key_auth_disabled passes: the gateway says so and will try again."""
    async with PredictStreetSim(rate=200, seed=2) as sim, running(settings(sim)) as (gateway, intake, _):
        await intake.until(lambda: len(intake.frames) > 5)
        await sim.revoke(state="api_key_auth_disabled")
        await intake.until(lambda: "auth_disabled" in (gateway.status().detail or ""))
        assert (gateway.status().state, gateway.status().refused) == ("reconnecting", False)


async def test_a_bearer_token_goes_into_the_authorization_header() -> None:
    """Where the gateway takes it."""
    key = Key(token="a.b.c", scopes=PREDICTSTREET_SCOPES, bearer=True)
    async with (
        PredictStreetSim(rate=200, seed=2, keys=[key]) as sim,
        running(settings(sim, bearer="a.b.c")) as (_, intake, _),
    ):
        await intake.until(lambda: len(intake.frames) > 5)


async def test_ids_are_learned_before_subscribing_and_silent_books_are_polled() -> None:
    """Generation 1 pushes nothing on token_book: REST does; trades go on as ever."""
    async with PredictStreetSim(rate=200, seed=2, knobs=PredictStreetKnobs(generation=1)) as sim:
        chosen = settings(sim, rest=True, book_wait=0.1, book_interval=0.2)
        async with running(chosen) as (_, intake, _):
            await intake.until(lambda: bool(intake.frames))
            assert set(intake.learned) == set(sim.tokens)
            assert set(intake.learned.values()) == set(sim.conditions)
            await intake.until(lambda: types(intake)["book_snapshot"] >= 20)
        polled = [frame for frame in intake.frames if frame.source == "rest"]
        assert {json.loads(frame.raw)["id"] for frame in polled} == set(sim.tokens)
        assert {frame.connection for frame in polled} == {"orderbook"}
        assert types(intake)["trade"] > 0


async def test_a_book_that_is_pushed_is_not_polled() -> None:
    """Generation 2 sends a snapshot at once."""
    async with PredictStreetSim(rate=200, seed=2) as sim:
        async with running(settings(sim, rest=True, book_wait=2, book_interval=0.1)) as (gateway, intake, _):
            await intake.until(lambda: types(intake)["book_snapshot"] >= len(sim.tokens))
            await asyncio.sleep(0.5)
            assert gateway._silent_books(1e12) == []
        assert {frame.source for frame in intake.frames} == {"stream"}


async def test_without_rest_a_frame_comes_all_the_same() -> None:
    """Where REST does not answer, that is said in the log, and subscribing does not wait for it."""
    async with PredictStreetSim(rate=200, seed=2) as gone:
        nowhere = gone.rest_url
    async with PredictStreetSim(rate=200, seed=2) as sim:
        chosen = settings(sim).model_copy(update={"rest": RestSettings.model_validate({"url": nowhere})})
        async with running(chosen) as (_, intake, _):
            await intake.until(lambda: len(intake.frames) > 5)
            assert intake.learned == {}


async def test_check_subscribes_once_and_feeds_nothing() -> None:
    """Everything in plain words, no key among them."""
    async with PredictStreetSim(rate=100, seed=2) as sim:
        intake = MemoryIntake()
        chosen = settings(
            sim, rest=True, subscribe=[*wishes(sim), {"channel": "token_book", "ids": ["7"]}, {"channel": "x"}]
        )
        found = await PredictStreetMarket("markets", chosen, intake=intake, metrics=Metrics()).check()
        text = " | ".join(each.text for each in found)
        assert [each.ok for each in found] == [False, True, False]
        assert "1 of the tokens: 7" in text
        assert "generation 2" in text
        assert "not accepted: x" in text
        bad = settings(sim, api_key=KEY.replace("0123", "9999"))
        found = await PredictStreetMarket("markets", bad, intake=intake, metrics=Metrics()).check()
        assert [each.ok for each in found] == [False]
        assert "api_key_unknown_key" in found[0].text
        assert found[0].text.endswith("; the key is gateways.markets.api_key")
        assert (intake.frames, intake.events) == ([], [])


def test_a_wallet_is_a_socket_of_its_own() -> None:
    """The user gateway's header names it; without wallets there is one socket and no header."""
    given: dict[str, Any] = {
        "kind": "predictstreet-user",
        "url": "wss://host",
        "api_key": KEY,
        "subscribe": [{"channel": "user_activity"}],
    }

    def subscribers(**more: Any) -> dict[str, dict[str, str]]:
        chosen = PredictStreetUserSettings.model_validate(given | more)
        gateway = PredictStreetUser("wallet", chosen, intake=MemoryIntake(), metrics=Metrics())
        assert all(each.url() == "wss://host/ws/user" for each in gateway._subscribers.values())
        return {name: each.headers() for name, each in gateway._subscribers.items()}

    one, two = "0x" + "A1" * 20, "0x" + "b2" * 20
    assert subscribers() == {"user:1": {"X-Api-Key": KEY}}
    assert subscribers(wallets=[one, two, one.lower()]) == {
        f"wallet:{one.lower()}:1": {"X-Api-Key": KEY, "X-User-Wallet": one.lower()},
        f"wallet:{two}:1": {"X-Api-Key": KEY, "X-User-Wallet": two},
    }
    assert PredictStreetUser.private


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bearer": "t"}, "either `api_key` or `bearer`"),
        ({"api_key": None}, "either `api_key` or `bearer`"),
        ({"subscribe": []}, "at least 1"),
        ({"subscribe": [{"channel": "Bad Channel"}]}, "a channel's name"),
        ({"protocol": 3}, "protocol"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    """Before anything is opened, in words."""
    base: dict[str, Any] = {
        "kind": "predictstreet-market",
        "url": "wss://host",
        "api_key": "k",
        "subscribe": [{"channel": "system"}],
    }
    with pytest.raises(ValidationError, match=words):
        PredictStreetMarketSettings.model_validate(base | given)


def test_token_ids_may_be_written_as_numbers() -> None:
    """YAML reads digits as a number; a uint256 stays exact."""
    huge = 2**256 - 1
    chosen = PredictStreetMarketSettings.model_validate(
        {
            "kind": "predictstreet-market",
            "url": "wss://host",
            "api_key": "k",
            "subscribe": [{"channel": "token_book", "ids": [huge]}],
        }
    )
    assert chosen.subscribe[0].ids == [str(huge)]
