"""The simulated TickTock keeps the stream contract (sections 1.1, 1.4, 2, 3)."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import aiohttp
import pytest

from bridge.sim import TICKTOCK_SCOPES, Key, TickTockKnobs, TickTockSim
from tests.unit.sim.client import WAIT, decoded, ending, frame, frames, raw_frame, stream, until


def quiet(**knobs: Any) -> TickTockKnobs:
    """No keep-alive unless asked for."""
    return TickTockKnobs(**{"alive_every": None} | knobs)


async def refused(http: aiohttp.ClientSession, url: str) -> int:
    """The HTTP status that a handshake is refused with."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await http.ws_connect(url)
    return caught.value.status


async def test_a_missing_key_is_401_and_a_wrong_one_403(http: aiohttp.ClientSession) -> None:
    """The handshake is refused by HTTP status: 401 without api_key, 403 with an unknown one."""
    async with TickTockSim(seed=1) as sim:
        assert await refused(http, f"{sim.url}/cs2/v1/stream") == 401
        assert await refused(http, f"{sim.url}/cs2/v1/stream?api_key=wrong") == 403
        assert sim.refused == 2
        assert sim.accepted == 0


@pytest.mark.parametrize("state", ["deactivated", "ip_denied", "sport_denied"])
async def test_a_key_in_a_bad_state_is_403(http: aiohttp.ClientSession, state: str) -> None:
    """Deactivated, from a foreign IP, or not for this sport: 403, whatever the cause."""
    async with TickTockSim(keys=[Key(token="k", scopes=TICKTOCK_SCOPES, state=state)]) as sim:
        assert await refused(http, f"{sim.url}/cs2/v1/stream?api_key=k") == 403


async def test_a_key_without_any_stream_scope_is_403(http: aiohttp.ClientSession) -> None:
    """A key that may see no frame at all is refused, not left in silence."""
    async with TickTockSim(keys=[Key(token="k", scopes=frozenset({"cs2:matches:list"}))]) as sim:
        assert await refused(http, f"{sim.url}/cs2/v1/stream?api_key=k") == 403


async def test_refusal_after_accepting(http: aiohttp.ClientSession) -> None:
    """With auth_close a bad key sees a socket that opens and closes at once."""
    async with TickTockSim(auth_close=1008) as sim:
        ws = await stream(http, sim, key="wrong")
        assert await ending(ws) == (1008, "invalid API key", [])


async def test_an_unknown_match_is_404(http: aiohttp.ClientSession) -> None:
    """The detail stream of a match nobody knows is not found."""
    async with TickTockSim(seed=1) as sim:
        assert await refused(http, f"{sim.url}/cs2/v1/stream/nope?api_key={sim.api_key}") == 404


async def test_the_snapshot_comes_first_and_covers_live_matches_and_active_markets(http: aiohttp.ClientSession) -> None:
    """On connect: each live match, each active market, nothing else."""
    async with TickTockSim(seed=1, rate=0.1, knobs=quiet(matches=3)) as sim:
        live = {match.id for match in sim.stream.world.live}
        offers = {offer.id for match in sim.stream.world.live for offer in match.active_offers()}
        ws = await stream(http, sim)
        snapshot = await frames(ws, len(live) + len(offers))
        assert {each["data"]["id"] for each in snapshot if each["type"] == "match.updated"} == live
        assert {each["data"]["id"] for each in snapshot if each["type"] == "market.updated"} == offers
        assert len({each["meta"]["seq"] for each in snapshot}) == len(snapshot)


async def test_envelope(http: aiohttp.ClientSession) -> None:
    """Every frame has type, data and meta with ts (ISO, milliseconds, Z) and an integer seq."""
    async with TickTockSim(seed=1, rate=2000, knobs=quiet()) as sim:
        ws = await stream(http, sim)
        for each in await frames(ws, 200):
            assert set(each) == {"type", "data", "meta"}
            assert isinstance(each["data"], dict)
            assert isinstance(each["meta"]["seq"], int)
            assert each["meta"]["ts"].endswith("Z")
            assert len(each["meta"]["ts"]) == len("2026-05-10T13:42:11.123Z")


async def test_a_detail_stream_carries_its_match_alone(http: aiohttp.ClientSession) -> None:
    """All frames of a detail channel are of the match in its URL."""
    async with TickTockSim(seed=1, rate=3000, knobs=quiet(matches=3)) as sim:
        match_id = sim.stream.world.live[0].id
        ws = await stream(http, sim, match_id)
        seen = await frames(ws, 150)
        assert {
            each["data"]["id"] if each["type"].startswith("match.") else each["data"]["match_id"] for each in seen
        } == {match_id}


async def test_scopes_filter_silently(http: aiohttp.ClientSession) -> None:
    """Types outside the key's scopes are left out, without an error; match fields outside are absent, not null."""
    few = Key(token="few", scopes=frozenset({"cs2:stream:matches"}))
    async with TickTockSim(seed=1, rate=5000, keys=[few], knobs=quiet()) as sim:
        sim.stream.world.chatter = 1.0
        ws = await stream(http, sim)
        seen = await frames(ws, 60)
        assert {each["type"].split(".")[0] for each in seen} <= {"match", "round", "event"}
        matches = [each["data"] for each in seen if each["type"] == "match.updated"]
        assert matches
        assert all({"maps", "started_at", "oddin_match_id"}.isdisjoint(match) for match in matches)


async def test_keep_alive_comes_in_both_shapes(http: aiohttp.ClientSession) -> None:
    """Alive comes with type and meta and, in turn, as bare data: a client must take both."""
    async with TickTockSim(seed=1, rate=0.1, knobs=TickTockKnobs(alive_every=0.02, snapshot=False)) as sim:
        ws = await stream(http, sim)
        one, two, three = await frames(ws, 3)
        assert "type" in one
        assert "type" not in two
        assert one["type"] == three["type"] == "alive"
        assert all(each["data"]["status"] == "ok" for each in (one, two, three))
        assert all(sent.fault == "control" for sent in sim.sent)


async def test_keep_alive_can_stop_while_data_flows(http: aiohttp.ClientSession) -> None:
    """Without alive the data goes on."""
    async with TickTockSim(seed=1, rate=500, knobs=TickTockKnobs(alive_every=0.01)) as sim:
        ws = await stream(http, sim)
        await until(ws, "alive")
        sim.alive(on=False)
        sent = sim.sent.total
        await sim.wait(lambda s: s.sent.total > sent + 100)
        assert not [each for each in itertools.islice(sim.sent, sent, None) if each.fault == "control"]


async def test_two_clients_see_the_same_frames(http: aiohttp.ClientSession) -> None:
    """Live frames are the same bytes for all clients of a channel, seq included."""
    async with TickTockSim(seed=1, rate=2000, wait_for=2, limit=300, knobs=quiet(snapshot=False)) as sim:
        one, two = await stream(http, sim), await stream(http, sim)
        assert [await raw_frame(one) for _ in range(300)] == [await raw_frame(two) for _ in range(300)]


@pytest.mark.parametrize("scope", ["shared", "channel"])
async def test_seq_of_list_and_detail(http: aiohttp.ClientSession, scope: Literal["shared", "channel"]) -> None:
    """The same change has the same seq on both channels, or one of each channel's own, as the knob says."""
    knobs = quiet(snapshot=False, matches=1, seq_scope=scope, first_seq=1)
    async with TickTockSim(seed=1, rate=2000, wait_for=3, limit=50, knobs=knobs) as sim:
        match_id = sim.stream.world.live[0].id
        detail, listed = await stream(http, sim, match_id), await stream(http, sim)
        if scope == "channel":
            sim.stream._detail_seq[match_id] = 900
        async with await stream(http, sim):  # the third, for which the world waits
            on_detail, on_list = await frames(detail, 40), await frames(listed, 40)
        assert [each["data"] for each in on_detail] == [each["data"] for each in on_list]
        assert ([each["meta"] for each in on_detail] == [each["meta"] for each in on_list]) is (scope == "shared")


async def test_seq_per_connection_begins_at_one(http: aiohttp.ClientSession) -> None:
    """With seq_scope=connection every connection counts from 1."""
    async with TickTockSim(seed=1, rate=1000, knobs=quiet(seq_scope="connection")) as sim:
        first = await stream(http, sim)
        await frames(first, 100)
        second = await stream(http, sim)
        assert [each["meta"]["seq"] for each in await frames(second, 50)] == list(range(1, 51))


@pytest.mark.parametrize("mode", ["new", "same", "reset"])
async def test_seq_of_a_second_snapshot(http: aiohttp.ClientSession, mode: Literal["new", "same", "reset"]) -> None:
    """A reconnect's snapshot has new numbers, the old ones, or begins anew at 1."""
    async with TickTockSim(seed=1, knobs=quiet(snapshot_seq=mode, matches=2)) as sim:
        sim.pause()
        size = (
            len(sim.stream.snapshot(None, 0))
            if mode == "new"
            else sum(1 + len(m.active_offers()) for m in sim.stream.world.live)
        )
        first = {each["data"]["id"]: each["meta"]["seq"] for each in await frames(await stream(http, sim), size)}
        second = {each["data"]["id"]: each["meta"]["seq"] for each in await frames(await stream(http, sim), size)}
        if mode == "new":
            assert min(second.values()) > max(first.values())
        elif mode == "same":
            assert second == first
        else:
            assert sorted(second.values()) == list(range(1, size + 1))


async def test_reset_seq(http: aiohttp.ClientSession) -> None:
    """After reset_seq the numbers begin anew at 1 while the connection stays."""
    async with TickTockSim(seed=1, rate=500, knobs=quiet()) as sim:
        ws = await stream(http, sim)
        assert (await frame(ws))["meta"]["seq"] >= 481_234
        sim.reset_seq()
        while (seen := await frame(ws))["meta"]["seq"] > 100_000:
            pass
        assert (await frame(ws))["meta"]["seq"] == seen["meta"]["seq"] + 1


async def test_knobs_of_shape(http: aiohttp.ClientSession) -> None:
    """Markets without match_id and with status as text, settlements with result and uuid, snapshot as created: all as set."""
    knobs = quiet(
        market_match_id=False, market_status="text", settlement_ids="uuid", result_key="result", snapshot_type="created",
        snapshot_shuffled=True, rounds_to_win=2,
    )  # fmt: skip
    async with TickTockSim(seed=1, rate=3000, knobs=knobs) as sim:
        sim.stream.world.chatter = 2.0
        ws = await stream(http, sim)
        assert (await frame(ws))["type"].endswith(".created")
        offer = (await until(ws, "market.updated"))["data"]
        assert "match_id" not in offer
        assert offer["status"] in {"active", "suspended"}
        settled = (await until(ws, "bet_settlement"))["data"]
        assert {"result", "market_offer_id", "created_at"} <= set(settled)
        assert "outcome" not in settled
        assert len(settled["id"]) == 36


async def test_full_mirror_makes_large_match_frames(http: aiohttp.ClientSession) -> None:
    """With mirror=full a match.updated carries rounds, events and markets, as REST does."""
    async with TickTockSim(seed=1, rate=0.1, knobs=quiet(mirror="full")) as sim:
        ws = await stream(http, sim)
        data = (await until(ws, "match.updated"))["data"]
        assert data["markets"]
        assert {"rounds", "events"} <= set(data)


async def test_what_the_list_omits_is_on_the_detail_stream(http: aiohttp.ClientSession) -> None:
    """Types that the list channel lacks still come on the detail channel."""
    knobs = quiet(list_omits=("scoreboard.", "event."), snapshot=False, matches=1)
    async with TickTockSim(seed=1, rate=3000, wait_for=2, knobs=knobs) as sim:
        listed = await stream(http, sim)
        detailed = await stream(http, sim, sim.stream.world.live[0].id)
        assert (await until(detailed, "scoreboard.frame"))["type"] == "scoreboard.frame"
        assert not {each["type"] for each in await frames(listed, 100)} & {"scoreboard.frame", "event.kill"}


async def test_revoking_a_key_closes_its_sockets_and_refuses_it(http: aiohttp.ClientSession) -> None:
    """A rotated key is dead at once: open sockets close, new ones are refused, until it is restored."""
    async with TickTockSim(seed=1) as sim:
        ws = await stream(http, sim)
        assert await sim.revoke() == 1
        assert (await ending(ws))[0] == 1008
        assert await refused(http, f"{sim.url}/cs2/v1/stream?api_key={sim.api_key}") == 403
        sim.restore()
        assert await frame(await stream(http, sim))


async def test_revoking_may_leave_sockets_open(http: aiohttp.ClientSession) -> None:
    """Whether a revoked key's open socket closes is not documented: it may stay."""
    async with TickTockSim(seed=1, rate=200, revoke_closes=False) as sim:
        ws = await stream(http, sim)
        assert await sim.revoke() == 0
        written = sim.connections[0].written
        await sim.wait(lambda s: s.connections[0].written > written + 5)
        assert (await ws.receive(timeout=WAIT)).type is aiohttp.WSMsgType.TEXT


async def test_a_plain_get_is_no_handshake(http: aiohttp.ClientSession) -> None:
    """A request without an upgrade is a bad request, not a socket."""
    async with (
        TickTockSim() as sim,
        http.get(f"{sim.rest_url}/cs2/v1/stream", params={"api_key": sim.api_key}) as answer,
    ):
        assert answer.status == 400


async def test_the_wire_is_the_ledger(http: aiohttp.ClientSession) -> None:
    """What a client receives is, byte for byte and in order, what the ledger says was sent to it."""
    faults = {"duplicate": 0.1, "collision": 0.05, "unknown_field": 0.1, "unknown_type": 0.05, "number_form": 0.05}
    async with TickTockSim(seed=4, rate=None, limit=2000, faults=faults) as sim:
        ws = await stream(http, sim)
        await sim.wait(lambda s: s.produced == 2000)
        received = [(await raw_frame(ws)).encode() for _ in range(sim.sent.total)]
        assert received == [sent.raw for sent in sim.sent.of(1)]
        assert [sent.index for sent in sim.sent.of(1)] == list(range(sim.sent.total))
        assert {sent.fault for sent in sim.sent} >= {None, "duplicate", "collision", "unknown_field"}
        assert all(decoded(raw) for raw in received)
