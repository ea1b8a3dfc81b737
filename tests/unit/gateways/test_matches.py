"""bridge.gateways.matches and offers: which streams to hold, and whose a market is."""

from __future__ import annotations

import json

import pytest

from bridge.gateways.matches import LINGER, Matches, Turn
from bridge.gateways.offers import homeless
from bridge.sim.refusal import Misanswer
from bridge.sim.ticktock import TickTockSim
from bridge.sim.ticktock_stream import TickTockKnobs
from tests.unit.gateways.test_ticktock import running, settings


def test_live_matches_are_held_and_those_that_are_over_for_a_while() -> None:
    """Their last settlements come late."""
    matches = Matches(10)
    assert matches.listed(["a", "b"], 0) == Turn(["a", "b"], [], [])
    assert matches.listed(["b"], 100) == Turn(["b"], [], [])
    assert matches.listed(["b"], LINGER) == Turn(["b"], [], [])
    assert matches.listed(["b"], LINGER + 1) == Turn(["b"], ["a"], [])
    assert matches.listed(["a"], LINGER + 2).hold == ["a"]


def test_no_more_streams_are_held_than_may_be() -> None:
    """The first in the list; who is held stays; who is over makes room first."""
    matches = Matches(2)
    assert matches.listed(["a", "b", "c"], 0) == Turn(["a", "b"], [], ["c"])
    assert matches.listed(["c", "b", "a"], 1) == Turn(["a", "b"], [], ["c"])
    assert matches.listed(["c", "b"], 2) == Turn(["b", "c"], ["a"], [])
    assert matches.listed([], 3) == Turn([], [], [])
    assert matches.listed(["d"], 4) == Turn(["d"], ["b"], [])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"type":"market.updated","data":{"id":"ofr_1"},"meta":{}}', True),
        (b'{"type":"market.updated","data":{"id":"ofr_1","match_id":"m"},"meta":{}}', False),
        (b'{"type":"match.updated","data":{"id":"m"},"meta":{}}', False),
    ],
)
def test_a_market_that_does_not_say_whose_it_is(raw: bytes, expected: bool) -> None:  # noqa: FBT001 - a parameter
    """Seen from the bytes alone."""
    assert homeless(raw) is expected


async def test_streams_of_live_matches_stay_within_the_limit() -> None:
    """Two sockets of six matches; when one is over, the next is opened."""
    async with (
        TickTockSim(rate=100, seed=4, knobs=TickTockKnobs(matches=6)) as sim,
        running(settings(sim, matches="live", live_interval=1, live_limit=2)) as (gateway, intake, _),
    ):
        first, second, third = sim.stream.world.live[:3]
        await intake.until(lambda: {frame.hint for frame in intake.frames} >= {first.id, second.id})
        assert {each.name for each in gateway.status().connections} == {f"match:{first.id}", f"match:{second.id}"}
        first.status = "finished"
        sim.stream.world.live.remove(first)
        await intake.until(lambda: any(frame.hint == third.id for frame in intake.frames))
        assert len(sim.connections) == 2


async def test_whose_a_market_is_is_looked_up_where_frames_do_not_say() -> None:
    """Over REST, once there is a reason; a wrong answer is tried again."""
    knobs = TickTockKnobs(market_match_id=False)
    async with TickTockSim(rate=200, seed=4, knobs=knobs) as sim:
        sim.misanswer = Misanswer(path="/cs2/v1/matches", status=500, body="oops", left=3)
        async with running(settings(sim, live_interval=1)) as (_, intake, _):
            await intake.until(lambda: len(intake.learned) > 10, seconds=20)
        live = {match.id for match in sim.stream.world.live}
        assert set(intake.learned.values()) <= live
        offers = {offer.id for match in sim.stream.world.live for offer in match.active_offers()}
        assert offers & set(intake.learned)


async def test_where_frames_say_whose_they_are_nothing_is_looked_up() -> None:
    """The rate limit is the customer's too."""
    async with TickTockSim(rate=400, seed=4) as sim, running(settings(sim, live_interval=1)) as (_, intake, _):
        await intake.until(
            lambda: sum(json.loads(frame.raw)["type"].startswith("market.") for frame in intake.frames) > 50
        )
        assert intake.learned == {}


async def test_a_list_that_is_full_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """200 matches and no page after them (contract 5.1): there may be more that nobody can ask for."""
    knobs = TickTockKnobs(matches=205, snapshot=False)
    async with (
        TickTockSim(rate=1, seed=4, knobs=knobs) as sim,
        running(settings(sim, matches="live", live_limit=1)) as (gateway, intake, _),
    ):
        await intake.until(lambda: bool(gateway.status().connections))
    said = capsys.readouterr().out
    assert "gateway_matches_cut" in said
    assert "gateway_matches_left_out" in said
