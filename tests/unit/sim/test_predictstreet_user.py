"""The simulated user gateway and its REST keep the contract (1.2 to 1.5, 2.4, 3, 5.3, 6)."""

from __future__ import annotations

from typing import Any, Literal

import aiohttp
import pytest

from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs, PredictStreetSim
from tests.unit.sim.client import command, ending, frame, frames, until

KEY = "ps_live_0123456789abcdef_" + "s" * 43
ONE, TWO = "0x" + "A1" * 20, "0x" + "b2" * 20
HEADER = {"X-Api-Key": KEY}


def key(**more: Any) -> Key:
    """A key with all scopes."""
    return Key(**{"token": KEY, "scopes": PREDICTSTREET_SCOPES, **more})


async def user(
    http: aiohttp.ClientSession, sim: PredictStreetSim, wallet: str | None = None, **query: str
) -> aiohttp.ClientWebSocketResponse:
    """The user gateway, greeting still to be read."""
    headers = HEADER | ({"X-User-Wallet": wallet} if wallet else {})
    return await http.ws_connect(f"{sim.url}/ws/user", headers=headers, params=query)


async def subscribed(
    http: aiohttp.ClientSession, sim: PredictStreetSim, wallet: str, *channels: str
) -> aiohttp.ClientWebSocketResponse:
    """A socket subscribed to those channels; greeting and acknowledgement are read."""
    ws = await user(http, sim, wallet)
    assert (await frame(ws))["type"] == "connected"
    wanted = [
        {"channel": each} | ({"ids": [sim.vault(wallet)]} if each.startswith("vault_") else {}) for each in channels
    ]
    await command(ws, "subscribe", subscriptions=wanted)
    answer = await frame(ws)
    assert [row["sid"] for row in answer["accepted"]] == list(range(1, len(channels) + 1))
    return ws


@pytest.mark.parametrize("generation", [1, 2])
async def test_the_greeting_names_the_wallet(http: aiohttp.ClientSession, generation: Literal[1, 2]) -> None:
    """By header or by query, in lower case; a key of one wallet needs neither."""
    async with PredictStreetSim(keys=[key()], knobs=PredictStreetKnobs(generation=generation)) as sim:
        for given, query in ((ONE, {}), (None, {"user_wallet": ONE})):
            data = (await frame(await user(http, sim, given, **query)))["data"]
            assert (data["gateway"], data["walletAddress"]) == ("user", ONE.lower())
            assert ("protocolVersion" in data) == (generation == 2)
        data = (await frame(await user(http, sim)))["data"]
        assert data["walletAddress"] == sim.stream.world.traders[0]


@pytest.mark.parametrize(
    ("chosen", "wallet", "reason"),
    [
        (key(multi_wallet=True), None, "api_key_no_associated_wallet"),
        (key(multi_wallet=True), "0x12", "api_key_user_wallet_invalid"),
        (key(multi_wallet=True, wallets=(ONE,)), TWO, "api_key_no_associated_wallet"),
        (key(state="api_key_suspended"), ONE, "api_key_suspended"),
    ],
)
async def test_a_wallet_that_can_not_be_is_a_4401_close(
    http: aiohttp.ClientSession, chosen: Key, wallet: str | None, reason: str
) -> None:
    """After the upgrade, before any frame."""
    async with PredictStreetSim(keys=[chosen]) as sim:
        assert await ending(await user(http, sim, wallet)) == (4401, reason, [])


async def test_a_wallet_hears_of_itself_alone(http: aiohttp.ClientSession) -> None:
    """Pushes of wallet channels have no id, those of vault channels the vault's; nobody hears of another's orders."""
    async with PredictStreetSim(keys=[key()], rate=2000, wait_for=2) as sim:
        one = await subscribed(http, sim, ONE, "user_orders", "user_fills", "vault_positions")
        two = await subscribed(http, sim, TWO, "user_orders", "user_fills", "vault_positions")
        for ws, wallet in ((one, ONE), (two, TWO)):
            seen: set[str] = set()
            while seen < {"order_placed", "user_fill", "vault_position_balance_changed", "order_cancelled"}:
                push = await frame(ws)
                seen.add(push["type"])
                data = push["data"]
                assert isinstance(push["serverTs"], int)
                if push["channel"] == "vault_positions":
                    assert push["id"] == data["vaultAddress"] == sim.vault(wallet)
                else:
                    assert "id" not in push
                assert data.get("userWallet", data.get("walletAddress", wallet.lower())) == wallet.lower()


async def test_a_vault_of_another_wallet_is_forbidden(http: aiohttp.ClientSession) -> None:
    """Also by adding it later; public channels are forbidden here."""
    async with PredictStreetSim(keys=[key()]) as sim:
        ws = await subscribed(http, sim, ONE, "vault_positions")
        other = sim.vault(TWO)
        entries = [
            {"channel": "vault_positions", "ids": [sim.vault(ONE), other]},
            {"channel": "token_book", "ids": ["1"]},
        ]
        await command(ws, "subscribe", 2, subscriptions=entries)
        assert [row["code"] for row in (await until(ws, "subscribed"))["rejected"]] == ["forbidden", "forbidden"]
        await command(ws, "update_subscription", 3, sid=1, add_ids=[other])
        assert (await until(ws, "error"))["code"] == "forbidden"


async def test_revoking_a_key_closes_all_its_sockets(http: aiohttp.ClientSession) -> None:
    """Public and private ones, with 4401."""
    async with PredictStreetSim(keys=[key()]) as sim:
        sockets = [await user(http, sim, ONE), await user(http, sim, TWO)]
        sockets.append(await http.ws_connect(f"{sim.url}/ws/market", headers=HEADER))
        for ws in sockets:
            await frame(ws)
        assert await sim.revoke() == 3
        for ws in sockets:
            assert (await ending(ws))[:2] == (4401, "api_key_revoked")


async def test_the_oracle_judges_both_gateways_of_one_simulator(http: aiohttp.ClientSession) -> None:
    """What a socket of one gateway got is no duplicate of what the other's got."""
    async with PredictStreetSim(keys=[key()], rate=2000, wait_for=2, faults={"duplicate": 0.2}) as sim:
        own = await subscribed(http, sim, ONE, "user_orders", "user_fills")
        ws = await http.ws_connect(f"{sim.url}/ws/market", headers=HEADER)
        await command(ws, "subscribe", subscriptions=[{"channel": "token_trade_matches", "ids": sim.tokens}])
        await frames(ws, 50)
        await until(own, "user_fill")
        found = {(each.sent.channel.partition(":")[0], each.type) for each in sim.expected()}
        assert {("market", "trade_matched"), ("user", "order_placed"), ("user", "user_fill")} <= found
        assert ("market", "order_placed") not in found


async def get(
    http: aiohttp.ClientSession, sim: PredictStreetSim, path: str, wallet: str | None = ONE, **query: str
) -> tuple[int, Any, Any]:
    """Status, body and headers."""
    headers = HEADER | ({"X-User-Wallet": wallet} if wallet else {})
    async with http.get(sim.rest_url + path, params=query, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def walked(
    http: aiohttp.ClientSession, sim: PredictStreetSim, path: str, rows: str, **query: str
) -> list[dict[str, Any]]:
    """All rows of a list, page after page."""
    found: list[dict[str, Any]] = []
    while True:
        status, body, _ = await get(http, sim, path, **query)
        assert status == 200, body
        found += body[rows]
        if body["nextCursor"] is None:
            return found
        query["cursor"] = body["nextCursor"]


async def quiet(http: aiohttp.ClientSession, sim: PredictStreetSim) -> list[dict[str, Any]]:
    """Let the wallets ONE and TWO live for a while, then stand still; what ONE was pushed."""
    ws = await subscribed(http, sim, ONE, "user_orders", "user_fills", "vault_positions")
    sim.vault(TWO)
    pushed = await frames(ws, 600)
    sim.pause()
    await command(ws, "ping", 99)
    while (push := await frame(ws))["type"] != "pong":
        pushed.append(push)
    return pushed


async def test_rest_agrees_with_the_pushes(http: aiohttp.ClientSession) -> None:
    """Orders, fills and positions over REST are those of the stream, page by page too."""
    async with PredictStreetSim(
        keys=[key()], rate=4000, seed=4, wait_for=1, knobs=PredictStreetKnobs(rate_limit=0)
    ) as sim:
        pushed = await quiet(http, sim)
        told: dict[str, list[dict[str, Any]]] = {}
        for push in pushed:
            told.setdefault(push["type"], []).append(push["data"])
        history = await walked(http, sim, "/api/orders/history", "orders", limit="50")
        assert {row["id"] for row in history} == {data["id"] for data in told["order_placed"]}
        cancelled = {data["orderId"] for data in told["order_cancelled"]}
        assert {row["id"] for row in history if row["status"] == "CANCELLED"} == cancelled
        still = await walked(http, sim, "/api/me/orders/open", "orders", limit="10")
        assert still == await walked(http, sim, "/api/orders/open", "orders")
        assert {row["status"] for row in still} == {"OPEN"}
        assert not {row["id"] for row in still} & cancelled
        one = told["user_fill"][0]
        assert (await get(http, sim, f"/api/orders/{one['orderId']}"))[1]["id"] == one["orderId"]
        fills = (await get(http, sim, f"/api/orders/{one['orderId']}/fills"))[1]["trades"]
        assert one["tradeId"] in {row["id"] for row in fills}
        trades = await walked(http, sim, "/api/me/trades", "trades", limit="20")
        feed = await walked(
            http, sim, "/api/v1/partner/trades", "trades", modifiedSince="2020-01-01T00:00:00Z", limit="50"
        )
        failed = {row["tradeId"] for row in feed if row["status"] == "settlement_failed"}
        assert {row["id"] for row in trades} == {data["tradeId"] for data in told["user_fill"]} - failed
        assert [row["createdAt"] for row in trades] == sorted((row["createdAt"] for row in trades), reverse=True)
        assert {row["userWallet"] for row in feed} == {ONE.lower(), TWO.lower()}
        since = (await get(http, sim, "/api/me/fills", since="2020-01-01T00:00:00Z"))[1]["fills"]
        assert {row["id"] for row in since} == {data["tradeId"] for data in told["user_fill"]}
        last = {data["tokenId"]: data["balanceAfter"] for data in told["vault_position_balance_changed"]}
        for path in ("/api/me/positions", "/api/me/portfolio/positions", f"/api/vaults/{sim.vault(ONE)}/positions"):
            rows = (await get(http, sim, path))[1]["positions"]
            assert {row["tokenId"]: row["quantity"] for row in rows} == last
        assert (await get(http, sim, "/api/me/balances"))[1]["balances"][0]["token"].startswith("0x")


async def test_the_partners_feed_is_by_time_of_change(http: aiohttp.ClientSession) -> None:
    """`modifiedSince` is required and inclusive; a settlement brings an old trade back."""
    async with PredictStreetSim(
        keys=[key()], rate=4000, seed=4, wait_for=1, knobs=PredictStreetKnobs(rate_limit=0)
    ) as sim:
        await quiet(http, sim)
        path = "/api/v1/partner/trades"
        whole = await walked(http, sim, path, "trades", modifiedSince="2020-01-01T00:00:00Z")
        changes = [row["modifiedAt"] for row in whole]
        assert changes == sorted(changes)
        middle = changes[len(changes) // 2]
        late = await walked(http, sim, path, "trades", modifiedSince=middle)
        assert late == [row for row in whole if row["modifiedAt"] >= middle]
        assert any(row["createdAt"] < middle for row in late)
        assert (await get(http, sim, path))[:2] == (
            400,
            {"code": "invalid_modified_since", "message": "invalid modified since"},
        )


@pytest.mark.parametrize(
    ("chosen", "path", "wallet", "answer"),
    [
        (key(multi_wallet=True), "/api/me/balances", None, (401, "api_key_user_wallet_required")),
        (key(multi_wallet=True), "/api/me/balances", "0x1", (401, "api_key_user_wallet_invalid")),
        (key(state="api_key_revoked"), "/api/me/balances", ONE, (401, "api_key_revoked")),
        (key(scopes=frozenset({"markets:read"})), "/api/orders/open", ONE, (403, "api_key_scope_missing")),
        (key(scopes=frozenset({"portfolio:read"})), "/api/v1/partner/trades", ONE, (403, "api_key_scope_missing")),
        (key(), "/api/orders/nobody", ONE, (404, "order_not_found")),
        (key(), "/api/me/trades?limit=0", ONE, (400, "invalid_limit")),
        (key(), "/api/me/trades?cursor=!", ONE, (400, "invalid_cursor")),
        (key(), "/api/me/trades?before=x", ONE, (400, "invalid_before")),
        (key(), "/api/vaults/0x12/positions", ONE, (404, "forbidden")),
    ],
)
async def test_rest_refuses_in_the_contracts_words(
    http: aiohttp.ClientSession, chosen: Key, path: str, wallet: str | None, answer: tuple[int, str]
) -> None:
    """Status, code and message."""
    async with PredictStreetSim(keys=[chosen]) as sim:
        found, body, _ = await get(http, sim, path, wallet)
        assert (found, body["code"]) == answer
        if found == 403:
            assert body["requiredScope"] not in body["have"]


async def test_each_wallet_has_a_limit_of_its_own(http: aiohttp.ClientSession) -> None:
    """300 order reads a minute; then 429 with Retry-After, for this wallet alone."""
    async with PredictStreetSim(keys=[key()]) as sim:
        for left in (299, 298):
            status, _, headers = await get(http, sim, "/api/orders/open")
            assert (status, headers["X-RateLimit-Remaining"]) == (200, str(left))
        sim.private_rest._wallets[300].requests = 2
        status, body, headers = await get(http, sim, "/api/orders/open")
        assert (status, body["code"], int(headers["Retry-After"]) >= 1) == (429, "rate_limited", True)
        assert (await get(http, sim, "/api/orders/open", TWO))[0] == 200
        assert (await get(http, sim, "/api/me/balances"))[0] == 200
