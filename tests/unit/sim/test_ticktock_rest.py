"""The simulated TickTock keeps the REST contract (sections 1.2, 3.4, 5)."""

from __future__ import annotations

from typing import Any, Literal

import aiohttp
import pytest

from bridge.sim import TICKTOCK_SCOPES, Key, TickTockKnobs, TickTockSim


async def get(
    http: aiohttp.ClientSession,
    sim: TickTockSim,
    path: str,
    key: str | None = "",
    headers: dict[str, str] | None = None,
    **query: Any,
) -> tuple[int, Any, aiohttp.ClientResponse]:
    """Status, JSON body and response; key "" is the simulator's own, None: no key."""
    sent = dict(headers or {})
    if key is not None:
        sent["X-API-Key"] = key or sim.api_key
    async with http.get(sim.rest_url + path, headers=sent, params=query) as answer:
        return answer.status, await answer.json(), answer


async def test_whoami_and_alive(http: aiohttp.ClientSession) -> None:
    """Any valid key learns its scopes and sports, and that the server lives."""
    async with TickTockSim(seed=1) as sim:
        _, who, _ = await get(http, sim, "/v1/whoami")
        assert set(who["data"]["scopes"]) == TICKTOCK_SCOPES
        assert who["data"]["sport_allowlist"] == ["cs2"]
        _, alive, _ = await get(http, sim, "/v1/alive")
        assert alive["data"]["status"] == "ok"


async def test_refusals(http: aiohttp.ClientSession) -> None:
    """401 without the header, 403 for a bad key or a missing scope (which it names), 404, 406, 422: {"detail": …}."""
    few = Key(token="few", scopes=frozenset({"cs2:matches:list"}))
    async with TickTockSim(seed=1, keys=[few], api_key="own") as sim:
        assert (await get(http, sim, "/v1/alive", None))[0] == 401
        assert (await get(http, sim, "/v1/alive", "wrong"))[0] == 403
        status, body, _ = await get(http, sim, "/cs2/v1/settlements", "few")
        assert status == 403
        assert "cs2:markets:settlements" in body["detail"]
        status, body, _ = await get(http, sim, "/cs2/v1/matches/nope")
        assert (status, body) == (404, {"detail": "match not found"})
        assert (await get(http, sim, "/v1/alive", headers={"Accept": "text/html"}))[0] == 406
        status, body, _ = await get(http, sim, "/cs2/v1/matches", limit="0")
        assert status == 422
        assert body["detail"][0]["loc"] == ["query", "limit"]
        assert (await get(http, sim, "/cs2/v1/matches", status="asleep"))[0] == 422


async def test_matches_are_listed_by_status(http: aiohttp.ClientSession) -> None:
    """Live first, then upcoming; a status filter and a limit hold; count and limit are in meta."""
    async with TickTockSim(seed=1, knobs=TickTockKnobs(matches=4, upcoming=2)) as sim:
        _, body, _ = await get(http, sim, "/cs2/v1/matches")
        assert [row["status"] for row in body["data"]] == ["live"] * 4 + ["upcoming"] * 2
        _, body, _ = await get(http, sim, "/cs2/v1/matches", status="live", limit="3")
        assert body["meta"] == {"count": 3, "limit": 3}
        assert {row["status"] for row in body["data"]} == {"live"}
        assert all("markets" not in row for row in body["data"])


async def test_a_match_and_its_parts(http: aiohttp.ClientSession) -> None:
    """The match with markets, its rounds, timeline, summary and settlements agree on what happened."""
    async with TickTockSim(seed=1) as sim:
        sim.pause()
        match_id = sim.stream.world.log.entries[-1].match_id
        base = f"/cs2/v1/matches/{match_id}"
        _, match, _ = await get(http, sim, base)
        assert match["data"]["id"] == match_id
        assert match["data"]["markets"]
        _, rounds, _ = await get(http, sim, f"{base}/rounds")
        assert [row["round_number"] for row in rounds["data"]] == list(range(1, len(rounds["data"]) + 1))
        _, timeline, _ = await get(http, sim, f"{base}/timeline")
        assert timeline["data"]["rounds"] == rounds["data"]
        assert {event["match_id"] for event in timeline["data"]["events"]} == {match_id}
        _, summary, _ = await get(http, sim, f"{base}/summary")
        assert summary["data"]["score_a"] == match["data"]["score_a"]
        _, settled, _ = await get(http, sim, f"{base}/settlements")
        assert {entry["match_id"] for entry in settled["data"]} == {match_id}


async def test_fields_follow_scopes(http: aiohttp.ClientSession) -> None:
    """Without the detail and market scopes those members are absent."""
    reader = Key(token="reader", scopes=frozenset({"cs2:matches:read"}))
    async with TickTockSim(seed=1, keys=[reader]) as sim:
        _, body, _ = await get(http, sim, f"/cs2/v1/matches/{sim.stream.world.live[0].id}")
        assert {"maps", "started_at"} <= set(body["data"])
        assert {"markets", "events", "rounds", "oddin_match_id"}.isdisjoint(body["data"])


@pytest.mark.parametrize("ids", ["int", "uuid"])
async def test_settlements_page_by_id(http: aiohttp.ClientSession, ids: Literal["int", "uuid"]) -> None:
    """From a cursor, page by page until fewer than `limit` come: every entry after it, once, in order."""
    async with TickTockSim(seed=1, knobs=TickTockKnobs(settlement_ids=ids, matches=30)) as sim:
        sim.pause()
        entries = sim.stream.world.log.entries
        assert len(entries) > 10
        cursor, seen = str(entries[0].id), []
        while True:
            _, body, _ = await get(http, sim, "/cs2/v1/settlements", since_id=cursor, limit="4")
            seen += [row["id"] for row in body["data"]]
            assert body["meta"]["count"] == len(body["data"])
            if len(body["data"]) < 4:
                break
            cursor = str(seen[-1])
        assert seen == [entry.id for entry in entries[1:]]


async def test_settlements_may_come_newest_first(http: aiohttp.ClientSession) -> None:
    """The order within a page is not documented: it may be descending."""
    async with TickTockSim(seed=1, knobs=TickTockKnobs(settlements_order="desc", matches=30)) as sim:
        sim.pause()
        _, body, _ = await get(http, sim, "/cs2/v1/settlements", limit="5")
        ids = [row["id"] for row in body["data"]]
        assert ids == sorted(ids, reverse=True)
        assert ids[0] == sim.stream.world.log.entries[-1].id


async def test_rate_limit(http: aiohttp.ClientSession) -> None:
    """Over the limit: 429 with Retry-After in whole seconds, per key."""
    other = Key(token="other", scopes=TICKTOCK_SCOPES)
    async with TickTockSim(seed=1, api_key="own", keys=[other], knobs=TickTockKnobs(rate_limit=3)) as sim:
        assert [(await get(http, sim, "/v1/alive"))[0] for _ in range(3)] == [200] * 3
        status, body, answer = await get(http, sim, "/v1/alive")
        assert status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert "detail" in body
        assert (await get(http, sim, "/v1/alive", "other"))[0] == 200


async def test_recovery_is_accepted_within_the_window(http: aiohttp.ClientSession) -> None:
    """A recovery request answers {}; `after` too old, ahead or missing, or a request_id too long, is 422."""
    async with TickTockSim(seed=1) as sim:
        now = sim.clock()

        async def post(**query: str) -> tuple[int, Any]:
            url = f"{sim.rest_url}/cs2/v1/recovery/initiate_request"
            async with http.post(url, headers={"X-API-Key": sim.api_key}, params=query) as answer:
                return answer.status, await answer.json()

        assert await post(after=str(now - 1000), request_id="r1") == (200, {})
        assert sim.rest.recoveries == [(now - 1000, "r1")]
        assert (await post(after=str(now - 4 * 86_400_000), request_id="r"))[0] == 422
        assert (await post(after=str(now + 60_000), request_id="r"))[0] == 422
        assert (await post(request_id="r"))[0] == 422
        assert (await post(after=str(now - 1000), request_id="x" * 65))[0] == 422


async def test_tournaments_and_search(http: aiohttp.ClientSession) -> None:
    """What the matches belong to, and matches by the name of a team."""
    async with TickTockSim(seed=1) as sim:
        sim.pause()
        match = sim.stream.world.live[0]
        _, body, _ = await get(http, sim, "/cs2/v1/tournaments")
        assert match.event in {row["name"] for row in body["data"]}
        _, body, _ = await get(http, sim, "/cs2/v1/search", q=match.teams[0][0])
        assert match.id in {row["id"] for row in body["data"]}
