"""The simulated PredictStreet keeps the market gateway's contract (sections 1 to 4)."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any, Literal

import aiohttp
import pytest

from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs, PredictStreetSim
from tests.unit.sim.client import WAIT, command, decoded, ending, frame, frames, market, raw_frame, subscribed, until

KNOWN = "ps_live_0123456789abcdef_" + "s" * 43
STRANGER = "ps_live_fedcba9876543210_" + "s" * 43


def first(**knobs: Any) -> PredictStreetKnobs:
    """Knobs of generation 1."""
    return PredictStreetKnobs(**{"generation": 1} | knobs)


async def test_the_greeting_tells_the_generation(http: aiohttp.ClientSession) -> None:
    """The first frame is `connected`; protocolVersion 2 and serverTs are there in generation 2 and absent in 1."""
    async with PredictStreetSim() as sim:
        greeting = await frame(await market(http, sim))
        assert greeting["type"] == "connected"
        assert greeting["data"]["gateway"] == "market"
        assert greeting["data"]["authMethod"] == "api_key"
        assert greeting["data"]["protocolVersion"] == 2
        assert isinstance(greeting["serverTs"], int)
    async with PredictStreetSim(knobs=first()) as sim:
        assert await frame(await market(http, sim)) == {
            "type": "connected",
            "data": {"gateway": "market", "authMethod": "api_key"},
        }


@pytest.mark.parametrize(
    ("headers", "query", "reason"),
    [
        ({}, {}, "auth_required"),
        ({"X-Api-Key": "rubbish"}, {}, "api_key_bad_format"),
        ({"X-Api-Key": STRANGER}, {}, "api_key_unknown_key"),
        ({"X-Api-Key": KNOWN[:-1] + "x"}, {}, "api_key_bad_secret"),
        ({}, {"key": STRANGER}, "api_key_unknown_key"),
        ({"Authorization": "Bearer nobody"}, {}, "auth_required"),
    ],
)
async def test_a_bad_credential_is_a_4401_close(
    http: aiohttp.ClientSession, headers: dict[str, str], query: dict[str, str], reason: str
) -> None:
    """The upgrade succeeds; then 4401 with the reason, and not one frame before it."""
    async with PredictStreetSim(api_key=KNOWN) as sim:
        ws = await http.ws_connect(f"{sim.url}/ws/market", headers=headers, params=query)
        assert await ending(ws) == (4401, reason, [])


@pytest.mark.parametrize(
    "state", ["api_key_revoked", "api_key_expired", "api_key_suspended", "api_key_ip_denied", "api_key_auth_disabled"]
)
async def test_the_state_of_a_key_is_its_close_reason(http: aiohttp.ClientSession, state: str) -> None:
    """A known key that may not come in is told why."""
    async with PredictStreetSim(keys=[Key(token=KNOWN, scopes=PREDICTSTREET_SCOPES, state=state)]) as sim:
        assert await ending(await market(http, sim)) == (4401, state, [])


async def test_other_ways_in(http: aiohttp.ClientSession) -> None:
    """The key may ride in the query; a bearer token is let in as such."""
    async with PredictStreetSim(
        api_key=KNOWN, keys=[Key(token="jwt", scopes=PREDICTSTREET_SCOPES, bearer=True)]
    ) as sim:
        assert (await frame(await http.ws_connect(f"{sim.url}/ws/market", params={"key": KNOWN})))[
            "type"
        ] == "connected"
        ws = await http.ws_connect(f"{sim.url}/ws/market", headers={"Authorization": "Bearer jwt"})
        assert (await frame(ws))["data"]["authMethod"] == "bearer"


async def test_a_foreign_origin_is_1008(http: aiohttp.ClientSession) -> None:
    """An Origin header outside the allowlist closes with 1008."""
    async with PredictStreetSim(api_key=KNOWN) as sim:
        ws = await http.ws_connect(
            f"{sim.url}/ws/market", headers={"X-Api-Key": KNOWN, "Origin": "https://evil.example"}
        )
        assert await ending(ws) == (1008, "forbidden origin", [])


async def test_revoking_closes_live_sockets_of_that_key_only(http: aiohttp.ClientSession) -> None:
    """4401 api_key_revoked on every socket of the key; another key's socket lives on."""
    async with PredictStreetSim(api_key=KNOWN, keys=[Key(token="other", scopes=PREDICTSTREET_SCOPES)]) as sim:
        mine = await market(http, sim)
        other = await http.ws_connect(f"{sim.url}/ws/market", headers={"X-Api-Key": "other"})
        assert await sim.revoke() == 1
        assert (await ending(mine))[:2] == (4401, "api_key_revoked")
        await frame(other)
        await command(other, "ping")
        assert (await frame(other))["type"] == "pong"


async def test_nothing_comes_before_a_subscription(http: aiohttp.ClientSession) -> None:
    """Data flows on subscribed channels and ids only."""
    async with PredictStreetSim(rate=2000) as sim:
        ws = await market(http, sim)
        await frame(ws)
        await sim.wait(lambda s: s.produced > 200)
        await command(ws, "ping", 9)
        pong = await frame(ws)
        assert pong["type"] == "pong"
        assert pong["id"] == 9
        assert isinstance(pong["ts"], int)


async def test_a_subscription_gets_its_ids_alone(http: aiohttp.ClientSession) -> None:
    """Pushes carry the sid, the channel and the id that matched."""
    async with PredictStreetSim(rate=3000) as sim:
        ws = await market(http, sim)
        await frame(ws)
        entries = [
            {"channel": "token_trade_matches", "ids": sim.tokens[:2]},
            {"channel": "token_book", "ids": sim.tokens[2:3]},
        ]
        await command(ws, "subscribe", subscriptions=entries)
        acknowledged = await frame(ws)
        sids = {each["channel"]: each["sid"] for each in acknowledged["accepted"]}
        for push in await frames(ws, 200):
            assert push["sid"] == sids[push["channel"]]
            assert push["id"] in (sim.tokens[:2] if push["channel"] == "token_trade_matches" else sim.tokens[2:3])
            assert push["data"]["tokenId"] == push["id"]


async def test_every_event_of_generation_2(http: aiohttp.ClientSession) -> None:
    """All public events come, each on its channel, with the common fields and decimal strings."""
    async with PredictStreetSim(seed=3, rate=None) as sim:
        sim.stream.world.restless = 0.05
        channels = (
            "token_trade_matches",
            "token_trade_settlements",
            "token_book",
            "token_ohlc",
            "condition_lifecycle",
            "system",
        )
        ws = await subscribed(http, sim, *channels)
        seen: dict[str, dict[str, Any]] = {}
        on: dict[str, set[str]] = defaultdict(set)
        while len(seen) < 11:
            push = await frame(ws)
            seen.setdefault(push["type"], push)
            on[push["channel"]].add(push["type"])
        assert on == {
            "token_book": {"book_snapshot", "book_update", "book_delta"},
            "token_trade_matches": {"trade_matched"},
            "token_trade_settlements": {"trade_settled"},
            "token_ohlc": {"ohlc_update"},
            "condition_lifecycle": {"market_paused", "market_unpaused", "market_resolved", "market_status"},
            "system": {"platform_status"},
        }
        for kind in ("book_delta", "trade_matched", "trade_settled", "ohlc_update"):
            assert {"tokenId", "conditionId", "outcomeIndex", "tsMs"} <= set(seen[kind]["data"])
        assert isinstance(seen["trade_matched"]["data"]["price"], str)
        assert seen["ohlc_update"]["data"]["interval"] == "s5"
        assert seen["platform_status"]["id"] == "platform_status"
        assert {"seq", "prevSeq", "hash"} <= set(seen["book_update"])
        assert "hash" not in seen["book_delta"]
        assert all("seq" not in push for kind, push in seen.items() if not kind.startswith("book_"))
        assert all(isinstance(push["serverTs"], int) for push in seen.values())


async def test_generation_1_has_its_own_names_and_a_silent_book(http: aiohttp.ClientSession) -> None:
    """token_trades carries `trade`, token_book is accepted and silent, no serverTs anywhere."""
    async with PredictStreetSim(seed=3, rate=None, limit=3000, knobs=first()) as sim:
        ws = await subscribed(http, sim, "token_trades", "token_book", "condition_status", "system")
        pushes = await frames(ws, 2000)
        assert {push["channel"] for push in pushes} <= {"token_trades", "condition_status", "system"}
        assert {"trade"} == {push["type"] for push in pushes if push["channel"] == "token_trades"}
        assert not [push for push in pushes if "serverTs" in push]


async def test_generation_1_with_a_book_that_speaks(http: aiohttp.ClientSession) -> None:
    """Without silent_book, generation 1 pushes a snapshot and deltas, and no hash."""
    async with PredictStreetSim(rate=2000, knobs=first(silent_book=False)) as sim:
        ws = await subscribed(http, sim, "token_book")
        pushes = await frames(ws, 100)
        assert {push["type"] for push in pushes} == {"book_snapshot", "book_delta"}
        assert not [push for push in pushes if "hash" in push]


def applied(levels: dict[str, str], changes: list[dict[str, str]]) -> None:
    """Apply absolute quantities to a side of a book; 0 removes the level."""
    for level in changes:
        if level["quantity"] == "0":
            levels.pop(level["price"], None)
        else:
            levels[level["price"]] = level["quantity"]


@pytest.mark.parametrize("place", ["envelope", "data"])
async def test_snapshot_and_deltas_give_the_book(http: aiohttp.ClientSession, place: Any) -> None:
    """Per token: prevSeq is the last seq, never a gap; applied to the snapshot, the changes give the world's book."""
    async with PredictStreetSim(
        seed=2, rate=4000, limit=3000, knobs=PredictStreetKnobs(markets=2, prev_seq=place)
    ) as sim:
        await sim.wait(lambda s: s.produced > 500)
        ws = await subscribed(http, sim, "token_book")
        await sim.wait(lambda s: s.produced == 3000)
        await command(ws, "ping")
        last: dict[str, int] = {}
        books: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        while (push := await frame(ws))["type"] != "pong":
            token = push["id"]
            if push["type"] == "book_snapshot":
                books[token] = ({}, {})
            else:
                assert (push if place == "envelope" else push["data"])["prevSeq"] == last[token]
                assert push["seq"] == last[token] + 1
            last[token] = push["seq"]
            applied(books[token][0], push["data"]["bids"])
            applied(books[token][1], push["data"]["asks"])
        assert set(books) == set(sim.tokens)
        for token, (bids, asks) in books.items():
            found = sim.stream.world.by_token(token)
            assert found is not None
            sides = found[0].books[found[1]].sides(100)
            assert bids == {level["price"]: level["quantity"] for level in sides["bids"]}
            assert asks == {level["price"]: level["quantity"] for level in sides["asks"]}


async def test_equal_books_have_equal_hashes_on_socket_and_rest(http: aiohttp.ClientSession) -> None:
    """The snapshot's hash and seq are those of the REST order book while nothing moves."""
    async with PredictStreetSim(seed=2) as sim:
        sim.pause()
        ws = await subscribed(http, sim, "token_book")
        snapshot = await frame(ws)
        market_of = sim.stream.world.by_token(snapshot["id"])
        assert market_of is not None
        url = f"{sim.rest_url}/api/markets/{market_of[0].symbol}/orderbook"
        async with http.get(url, params={"outcome": str(market_of[1]), "depth": "100"}) as answer:
            book = await answer.json()
        assert (book["hash"], book["seq"]) == (snapshot["hash"], snapshot["seq"])
        assert book["bids"] == [
            {name: level[name] for name in ("price", "quantity")} for level in snapshot["data"]["bids"]
        ]
        assert all(isinstance(level["count"], int) for level in snapshot["data"]["bids"])


async def test_get_book_snapshot_and_its_failure(http: aiohttp.ClientSession) -> None:
    """Generation 2 sends a fresh snapshot on demand, or says that it can't."""
    async with PredictStreetSim(seed=2) as sim:
        sim.pause()
        ws = await subscribed(http, sim, "token_book")
        earlier = await frames(ws, len(sim.tokens))
        await command(ws, "get_book_snapshot", 7, sid=1)
        assert (await frame(ws))["id"] == 7
        again = await frames(ws, len(sim.tokens))
        assert [push["data"] for push in again] == [push["data"] for push in earlier]
    async with PredictStreetSim(seed=2, knobs=PredictStreetKnobs(snapshot_failures=1.0)) as sim:
        sim.pause()
        failed = await frame(await subscribed(http, sim, "token_book"))
        assert failed["type"] == "book_snapshot_failed"
        assert failed["data"]["tokenId"] == failed["id"] == sim.tokens[0]


async def test_two_clients_see_the_same_pushes(http: aiohttp.ClientSession) -> None:
    """Same content, seq and serverTs for both; only the sid, and the moment of a snapshot, are a connection's own."""
    async with PredictStreetSim(seed=5, rate=2000, wait_for=2, limit=400) as sim:
        one = await subscribed(http, sim, "token_trade_matches", "token_book")
        two = await subscribed(http, sim, "token_book", "token_trade_matches")
        await sim.wait(lambda s: s.produced == 400)
        count = sim.connections[0].written - 2  # greeting and acknowledgement are read

        def bare(push: dict[str, Any]) -> dict[str, Any]:
            own = {"sid", "serverTs"} if push["type"] == "book_snapshot" else {"sid"}
            return {name: value for name, value in push.items() if name not in own}

        assert count > 300
        assert [bare(push) for push in await frames(one, count)] == [bare(push) for push in await frames(two, count)]


async def test_a_token_under_two_sids_comes_twice_or_once(http: aiohttp.ClientSession) -> None:
    """Duplicate subscriptions: a copy for each sid, or one, as the knob says."""
    cases: tuple[tuple[Literal["each", "once"], set[int]], ...] = (("each", {1, 2}), ("once", {1}))
    for copies, sids in cases:
        async with PredictStreetSim(rate=2000, knobs=PredictStreetKnobs(copies=copies, markets=1)) as sim:
            ws = await subscribed(http, sim, "token_trade_matches", "token_trade_matches")
            assert {push["sid"] for push in await frames(ws, 20)} == sids


async def test_reset_seq_is_a_matcher_restart(http: aiohttp.ClientSession) -> None:
    """Book numbers begin anew."""
    async with PredictStreetSim(seed=2, rate=2000) as sim:
        ws = await subscribed(http, sim, "token_book")
        assert (await until(ws, "book_delta"))["seq"] > 10_000
        sim.reset_seq()
        while (await until(ws, "book_delta"))["seq"] > 10_000:
            pass


async def test_rubbish_gets_an_error_frame_and_the_socket_lives(http: aiohttp.ClientSession) -> None:
    """Bad JSON and unknown commands are answered, not punished."""
    async with PredictStreetSim() as sim:
        ws = await market(http, sim)
        await frame(ws)
        await ws.send_str("{nope")
        assert (await frame(ws))["type"] == "error"
        await command(ws, "dance", 4)
        assert (await frame(ws))["id"] == 4
        await command(ws, "ping", 5)
        assert (await frame(ws))["id"] == 5


async def test_the_wire_is_the_ledger(http: aiohttp.ClientSession) -> None:
    """What a client receives is, byte for byte and in order, what the ledger says was sent to it."""
    faults = {"duplicate": 0.1, "unknown_type": 0.05, "unknown_field": 0.1, "malformed": 0.05}
    async with PredictStreetSim(seed=4, rate=None, limit=1500, faults=faults) as sim:
        ws = await subscribed(http, sim, "token_trade_matches", "token_book")
        await sim.wait(lambda s: s.produced == 1500)
        rest = sim.sent.of(1)[2:]  # greeting and acknowledgement are read
        for sent in rest:
            message = await ws.receive(timeout=WAIT)
            if sent.fault == "malformed:not_utf8":
                assert message.type is aiohttp.WSMsgType.ERROR  # this client is strict, and gives up
                break
            assert message.data.encode() == sent.raw
        assert len(rest) > 700
        assert decoded(rest[0].raw)["type"] == "book_snapshot"


async def test_raw_frames_can_be_sent_by_hand(http: aiohttp.ClientSession) -> None:
    """`send` reaches whoever listens, and the ledger."""
    async with PredictStreetSim() as sim:
        sim.pause()
        ws = await subscribed(http, sim, "system")
        assert sim.send(b'{"type":"by_hand","data":{}}', fault="unknown_type") == 1
        assert await raw_frame(ws) == '{"type":"by_hand","data":{}}'
        assert [sent.fault for sent in sim.sent][-1] == "unknown_type"


async def test_a_key_may_have_so_many_sockets(http: aiohttp.ClientSession) -> None:
    """More are answered 429, with Retry-After, until one is closed (contract 8.7: no limit is documented)."""
    async with PredictStreetSim(knobs=PredictStreetKnobs(connections=1)) as sim:
        ws = await market(http, sim)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await market(http, sim)
        assert caught.value.status == 429
        assert caught.value.headers is not None
        assert caught.value.headers["Retry-After"] == "1"
        await ws.close()
        await sim.wait(lambda sim: not sim.connections)
        await frame(await market(http, sim))


async def test_changes_of_a_book_may_be_lost(http: aiohttp.ClientSession) -> None:
    """Then a delta does not follow the one before; snapshots and all else come."""
    async with PredictStreetSim(rate=1000, seed=3, knobs=PredictStreetKnobs(book_losses=0.5, markets=1)) as sim:
        ws = await subscribed(http, sim, "token_book")
        book = [each for each in await frames(ws, 60) if each["id"] == sim.tokens[0]]
        assert any(each.get("prevSeq", before["seq"]) != before["seq"] for before, each in pairwise(book))
