"""bridge.gateways.firehose and market_list: all ids of a channel, from the list of markets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.gateways.firehose import LINGER, MOST_CONNECTIONS, Firehose, within
from bridge.gateways.gateway import Outside
from bridge.gateways.market_list import ROWS, STATUSES, Market, MarketList
from bridge.gateways.predictstreet import PredictStreetMarket, PredictStreetMarketSettings, PredictStreetUserSettings
from bridge.gateways.rest import Rest
from bridge.gateways.subscriptions import Subscription
from bridge.ops.metrics import Metrics
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from tests.unit.gateways.doubles import KEY, MemoryIntake
from tests.unit.gateways.test_predictstreet import running, settings

ONE = Market("A", conditionId="0xAB", yesTokenId="07", noTokenId="8")
TWO = Market("B", conditionId="0xcd", yesTokenId="9")
NONE_YET = Market("C")


def test_all_are_the_ids_of_the_markets_that_have_some() -> None:
    """As the gateway writes them; a market that is not on chain yet has none."""
    firehose = Firehose()
    assert firehose.subscription("token_trades") == []
    firehose.listed([ONE, TWO, NONE_YET], 0.0, cut=False)
    assert firehose.subscription("token_trades") == [Subscription("token_trades", ("7", "8", "9"))]
    assert firehose.subscription("condition_status") == [Subscription("condition_status", ("0xab", "0xcd"))]


@pytest.mark.parametrize("cut", [False, True])
def test_a_market_that_left_the_list_is_kept_for_a_while(cut: bool) -> None:  # noqa: FBT001 - a parameter
    """Its last trades are settled later; and where the list is full, not to be in it means nothing."""
    firehose = Firehose()
    firehose.listed([ONE, TWO], 0.0, cut=False)
    firehose.listed([TWO], LINGER, cut=cut)
    assert firehose.subscription("token_book")[0].ids == ("7", "8", "9")
    firehose.listed([TWO], LINGER + 1, cut=cut)
    assert firehose.subscription("token_book")[0].ids == (("7", "8", "9") if cut else ("9",))


def test_there_is_an_end_to_connections() -> None:
    """What a key may have is not documented; what is left out is counted."""
    each = [Subscription("token_book", ("1",))]
    assert within([each] * 3) == ([each] * 3, 0)
    assert within([each] * (MOST_CONNECTIONS + 2)) == ([each] * MOST_CONNECTIONS, 2)


class Pages(Rest):
    """REST that answers from a table and remembers what it was asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str | int]]] = []

    async def get(self, path: str, **query: str | int) -> bytes:
        """Answer, or an empty list."""
        self.asked.append((path, query))
        place = "?".join([path, *(f"{name}={value}" for name, value in query.items())])
        return json.dumps(self.answers.get(place, {"markets": []})).encode()


def rows(first: int, count: int) -> list[dict[str, Any]]:
    """Rows of the list of markets."""
    return [{"symbol": f"M{number}", "conditionId": f"0x{number}"} for number in range(first, first + count)]


async def test_a_short_list_is_read_once() -> None:
    """One call."""
    rest = Pages({"/api/markets": {"markets": rows(0, 3)}})
    found = MarketList(rest)
    assert len(await found.read()) == 3
    assert (found.cut, len(rest.asked)) == (False, 1)


async def test_a_full_list_is_read_by_status() -> None:
    """Each market once; where no status is full, these are all."""
    rest = Pages(
        {
            "/api/markets": {"markets": rows(0, ROWS)},
            "/api/markets?status=OPEN": {"markets": rows(0, ROWS - 1)},
            "/api/markets?status=CLOSED": {"markets": rows(ROWS - 1, 40)},
        }
    )
    found = MarketList(rest)
    assert len(await found.read()) == ROWS + 39
    assert (found.cut, len(rest.asked)) == (False, 1 + len(STATUSES))


@pytest.mark.parametrize(
    ("events", "count", "cut"),
    [
        ({"events": [{"id": "e", "markets": rows(ROWS, 7)}]}, ROWS + 7, False),
        ({"events": []}, ROWS, True),
        ([1], ROWS, True),
    ],
)
async def test_where_a_status_is_full_too_the_events_are_read(events: Any, count: int, cut: bool) -> None:  # noqa: FBT001
    """Markets are nested in them, in whatever way; where that brings nothing, it is said that there may be more."""
    full = {"markets": rows(0, ROWS)}
    rest = Pages({"/api/markets": full, "/api/markets?status=OPEN": full, "/api/events": events})
    found = MarketList(rest)
    assert len(await found.read()) == count
    assert found.cut is cut


async def test_a_cursor_is_followed_and_one_that_turns_in_circles_ends() -> None:
    """None is documented for this list; other lists have `nextCursor`."""
    rest = Pages(
        {
            "/api/markets": {"markets": rows(0, 2), "nextCursor": "a"},
            "/api/markets?cursor=a": {"markets": rows(2, 2), "nextCursor": "b"},
            "/api/markets?cursor=b": {"markets": rows(4, 2), "nextCursor": "a"},
        }
    )
    found = MarketList(rest)
    assert len(await found.read()) == 6
    assert len(rest.asked) == 3


async def test_a_firehose_follows_the_markets_without_a_new_connection() -> None:
    """Those that are made later are subscribed to on the open connection; frames of what stays go on."""
    async with PredictStreetSim(rate=300, seed=6, knobs=PredictStreetKnobs(markets=4)) as sim:
        wish = [{"channel": "token_trades", "ids": "all"}, {"channel": "condition_status", "ids": "all"}]
        chosen = settings(sim, rest=True, subscribe=wish, markets_interval=1)
        async with running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 5)
            before = set(sim.tokens)
            agreement = gateway._subscribers["market:1"].agreement
            assert {entity for each in agreement.held.values() for entity in each.ids} == before | set(sim.conditions)
            sim.stream.world.restless = 0.1
            await sim.wait(lambda sim: set(sim.tokens) != before, seconds=30)
            sim.stream.world.restless = 0.0
            made = set(sim.tokens) - before
            await intake.until(
                lambda: made <= {entity for each in agreement.held.values() for entity in each.ids}, seconds=20
            )
            await intake.until(lambda: any(json.loads(frame.raw)["id"] in made for frame in intake.frames))
            assert sim.accepted == 1
            assert intake.causes("market:1") == ["up"]
            assert gateway.status().rejected == []
            assert made <= set(intake.learned)


async def test_check_subscribes_to_all_that_is_listed() -> None:
    """Once, and says that it was accepted."""
    async with PredictStreetSim(rate=50, seed=6, knobs=PredictStreetKnobs(markets=3)) as sim:
        chosen = settings(sim, rest=True, subscribe=[{"channel": "token_book", "ids": "all"}])
        found = await PredictStreetMarket("markets", chosen, intake=MemoryIntake(), metrics=Metrics()).check()
        assert [each.ok for each in found] == [True, True]
        assert "all subscriptions are accepted" in found[1].text
        assert sim.accepted == 1


async def test_a_firehose_waits_for_no_list() -> None:
    """Where REST does not answer at the start, connections are opened when it does."""
    async with PredictStreetSim(rate=50, seed=6, knobs=PredictStreetKnobs(markets=3)) as sim:
        from bridge.sim.refusal import Misanswer

        sim.misanswer = Misanswer(path="/api/markets", status=500, body="{}", left=1)
        chosen = settings(sim, rest=True, subscribe=[{"channel": "token_book", "ids": "all"}], markets_interval=1)
        async with running(chosen) as (gateway, intake, metrics):
            assert not gateway.status().connected
            await intake.until(lambda: gateway.status().connected)
            assert metrics.total("gateway_connected", gateway="markets") == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"subscribe": [{"channel": "system", "ids": "all"}], "rest": {"url": "https://h"}}, "tokens and conditions"),
        ({"subscribe": [{"channel": "token_book", "ids": "all"}]}, "needs `rest`"),
        ({"subscribe": [{"channel": "token_book", "ids": "everything"}]}, "ids"),
    ],
)
def test_all_of_something_that_has_no_list_is_refused(given: dict[str, Any], words: str) -> None:
    """In words, before anything is opened."""
    base = {"kind": "predictstreet-market", "url": "wss://host", "api_key": KEY}
    with pytest.raises(ValidationError, match=words):
        PredictStreetMarketSettings.model_validate(base | given)


def test_ids_that_take_too_many_connections_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than left out without a word; half as many fit where the generation is known and a channel is not two."""
    monkeypatch.setattr("bridge.gateways.predictstreet_settings.MOST_CONNECTIONS", 2)
    ids = [str(number) for number in range(1, 2 * 128 * 100 + 2)]
    given: dict[str, Any] = {"kind": "predictstreet-market", "url": "wss://host", "api_key": KEY}
    given |= {"subscribe": [{"channel": "token_trades", "ids": ids}]}
    with pytest.raises(ValidationError, match="3 connections, more than 2"):
        PredictStreetMarketSettings.model_validate(given)
    assert PredictStreetMarketSettings.model_validate(given | {"protocol": 1}).protocol == 1


def test_no_private_channel_has_all_ids() -> None:
    """Nobody lists other people's vaults."""
    given = {"kind": "predictstreet-user", "url": "wss://host", "api_key": KEY, "rest": {"url": "https://h"}}
    with pytest.raises(ValidationError, match="tokens and conditions"):
        PredictStreetUserSettings.model_validate(given | {"subscribe": [{"channel": "vault_positions", "ids": "all"}]})


async def test_a_list_of_thousands_is_read_whole_from_the_simulator() -> None:
    """2,500 markets: the list is full, so is the status, the events have them all."""
    async with PredictStreetSim(rate=1, seed=1, knobs=PredictStreetKnobs(markets=2500, rate_limit=0)) as sim:
        from bridge.settings import Url

        rest = Rest(Url(sim.rest_url), {"X-Api-Key": sim.api_key}, per_minute=60_000, outside=Outside())
        try:
            found = MarketList(rest)
            listed = await found.read()
        finally:
            await rest.close()
        assert {each.conditionId for each in listed} == set(sim.conditions)
        assert not found.cut
