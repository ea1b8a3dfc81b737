"""Many wallets, subscriptions and ids: split by the limits, all of them confirmed by the gateway, soon."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from bridge.gateways.predictstreet import PredictStreetUser, PredictStreetUserSettings
from bridge.ops.metrics import Metrics
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from tests.unit.gateways.doubles import MemoryIntake
from tests.unit.gateways.test_predictstreet import running, settings

#: Seconds for everything, on two busy cores; alone it takes about two.
BOUND = 30.0
WALLETS = 50
MARKETS = 2500


async def test_fifty_wallets_three_hundred_subscriptions_and_five_thousand_tokens() -> None:
    """Every subscription is accepted and listed by the gateway; no limit is broken; no book is asked for twice."""
    async with PredictStreetSim(rate=50, seed=3, knobs=PredictStreetKnobs(markets=MARKETS, rate_limit=0)) as sim:
        wallets = [f"0x{number:040x}" for number in range(1, WALLETS + 1)]
        private = PredictStreetUserSettings.model_validate(
            {
                "kind": "predictstreet-user",
                "url": sim.url,
                "api_key": sim.api_key,
                "wallets": wallets,
                "subscribe": [
                    {"channel": "user_activity"},
                    *({"channel": "vault_activity", "ids": [sim.vault(one)], "wallets": [one]} for one in wallets),
                ],
            }
        )
        channels = ("token_trade_matches", "token_trade_settlements", "token_book")
        public = settings(sim, subscribe=[{"channel": channel, "ids": sim.tokens} for channel in channels])
        user = PredictStreetUser("wallets", private, intake=MemoryIntake(), metrics=Metrics())
        began = time.monotonic()
        async with running(public) as (market, intake, _):
            task = asyncio.create_task(user.run())
            try:
                agreements = [each.agreement for one in (market, user) for each in one._subscribers.values()]
                await intake.until(lambda: all(each.confirmed for each in agreements), seconds=4 * BOUND)
                took = time.monotonic() - began
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            held = [each for agreement in agreements for each in agreement.held.values()]
            print(  # noqa: T201 - the figure is what is to be shown
                f"{len(agreements)} connections, {len(held)} subscriptions confirmed within {took:.1f} s (bound {BOUND:g} s)"
            )
            assert Counter(each.channel for each in held) == Counter(
                dict.fromkeys(channels, len(sim.tokens) // 100)
                | dict.fromkeys(("user_orders", "user_fills", "vault_positions"), WALLETS)
            )
            assert (len(agreements), len(held)) == (WALLETS + 1, 300)
            assert {entity for each in held for entity in each.ids if each.channel == "token_book"} == set(sim.tokens)
            assert all(len(each.ids) <= 100 for each in held)
            assert market.status().rejected == user.status().rejected == []
            assert took < BOUND
