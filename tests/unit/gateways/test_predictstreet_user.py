"""PredictStreet's user gateway against the simulated one: wallets, keys, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from bridge.frame import Frame
from bridge.gateways.gateway import Outside
from bridge.gateways.predictstreet import PredictStreetUser, PredictStreetUserSettings
from bridge.ops.metrics import Metrics
from bridge.ops.redaction import redactor
from bridge.sim import PREDICTSTREET_SCOPES, Key, PredictStreetKnobs, PredictStreetSim
from tests.unit.gateways.doubles import MemoryIntake

KEY = "ps_live_0123456789abcdef_" + "s" * 43
ONE, TWO = "0x" + "A1" * 20, "0x" + "b2" * 20
PRIVATE = {
    1: {"order_placed", "order_cancelled", "trade_matched", "trade_fill", "trade_failed", "user_paused"}
    | {"vault.deploy_confirmed", "vault.deposit_confirmed"},
    2: {"order_placed", "order_cancelled", "user_fill", "vault_position_balance_changed"},
}


def multi() -> Key:
    """A key of several wallets."""
    return Key(token=KEY, scopes=PREDICTSTREET_SCOPES, multi_wallet=True)


def settings(sim: PredictStreetSim, *wallets: str, **more: Any) -> PredictStreetUserSettings:
    """Settings for everything that the wallets have, in the names of generation 1."""
    vaults = [{"channel": "vault_activity", "ids": [sim.vault(each)], "wallets": [each]} for each in wallets]
    given = {
        "kind": "predictstreet-user",
        "url": sim.url,
        "wallets": wallets,
        "subscribe": [{"channel": "user_activity"}, *vaults],
        **more,
    }
    if "bearer" not in given:
        given.setdefault("api_key", sim.api_key)
    return PredictStreetUserSettings.model_validate(given)


@contextlib.asynccontextmanager
async def running(
    chosen: PredictStreetUserSettings,
) -> AsyncIterator[tuple[PredictStreetUser, MemoryIntake, Metrics]]:
    """A gateway at work, with what it fed."""
    intake, metrics = MemoryIntake(), Metrics()
    gateway = PredictStreetUser("wallet", chosen, intake=intake, metrics=metrics, outside=Outside(chance=lambda: 0.01))
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway, intake, metrics
        assert not task.done(), "a gateway runs until it is cancelled"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def types(intake: MemoryIntake, connection: str) -> set[str]:
    """The types of a connection's frames."""
    return {frame.raw.split(b'"', 4)[3].decode() for frame in intake.frames if frame.connection == connection}


def connections(*wallets: str) -> set[str]:
    """Names of the wallets' connections."""
    return {f"wallet:{wallet.lower()}:1" for wallet in wallets}


@pytest.mark.parametrize("generation", [1, 2])
async def test_each_wallet_has_a_socket_and_all_its_events(generation: Literal[1, 2]) -> None:
    """Either generation from one configuration; no control frame gets through."""
    async with PredictStreetSim(
        rate=800, wait_for=2, seed=2, keys=[multi()], knobs=PredictStreetKnobs(generation=generation)
    ) as sim:
        async with running(settings(sim, ONE, TWO)) as (gateway, intake, _):
            for wallet in connections(ONE, TWO):
                await intake.until(lambda wallet=wallet: types(intake, wallet) >= PRIVATE[generation])  # type: ignore[misc]
            assert gateway.status().connected
            assert gateway.status().rejected == []
            assert {each.channel for each in sim.connections} == {f"user:{ONE.lower()}", f"user:{TWO.lower()}"}
        assert not {json.loads(each.raw)["type"] for each in intake.frames} & {"connected", "subscribed", "pong"}
        assert {each.connection for each in intake.frames} == connections(ONE, TWO)


async def test_fifty_wallets_are_all_subscribed_soon() -> None:
    """One socket each, three subscriptions each, nothing rejected; each hears of itself alone."""
    wallets = [f"0x{number:040x}" for number in range(1, 51)]
    async with PredictStreetSim(rate=1000, seed=2, keys=[multi()], wait_for=50) as sim:
        chosen = settings(sim, *wallets)
        began = time.monotonic()
        async with running(chosen) as (gateway, intake, metrics):
            await intake.until(lambda: gateway.status().connected, seconds=30)
            took = time.monotonic() - began
            assert took < 10
            assert metrics.total("gateway_connected", gateway="wallet") == 1
            assert [each.detail["subscriptions"] for each in sim.connections] == [3] * 50
            assert gateway.status().rejected == []
            await intake.until(lambda: {each.connection for each in intake.frames} == connections(*wallets), seconds=30)
        for frame in intake.frames:
            told = json.loads(frame.raw)["data"]
            named = told.get("userWallet") or told.get("walletAddress")
            assert named is None or named in frame.connection


@pytest.mark.parametrize("reason", ["api_key_revoked", "api_key_suspended", "api_key_expired"])
async def test_a_refused_key_ends_all_sockets_without_another_try(reason: str) -> None:
    """4401 to each socket: the gateway is refused, and nobody knocks again."""
    async with PredictStreetSim(rate=500, seed=2, keys=[multi()]) as sim:
        async with running(settings(sim, ONE, TWO)) as (gateway, intake, metrics):
            await intake.until(lambda: gateway.status().connected and len(intake.frames) > 5)
            assert await sim.revoke(state=reason) == 2
            await intake.until(lambda: gateway.status().refused)
            assert gateway.status().state == "refused"
            assert reason in (gateway.status().detail or "")
            assert metrics.total("gateway_connected", gateway="wallet") == 0
            assert metrics.total("connections_refused", gateway="wallet") == 2
            seen = sim.accepted, sim.refused
            await asyncio.sleep(0.2)
            assert (sim.accepted, sim.refused) == seen == (2, 0)
        for name in connections(ONE, TWO):
            assert intake.causes(name) == ["up", "down:refused"]


async def test_trouble_of_the_gateway_is_waited_for() -> None:
    """api_key_auth_disabled passes: not refused, and the next try is minutes away."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.Event().wait()

    key = Key(token=KEY, scopes=PREDICTSTREET_SCOPES, multi_wallet=True, state="api_key_auth_unconfigured")
    async with PredictStreetSim(seed=2, keys=[key]) as sim:
        intake = MemoryIntake()
        gateway = PredictStreetUser(
            "wallet", settings(sim, ONE, TWO), intake=intake, metrics=Metrics(), outside=Outside(sleep=sleep)
        )
        task = asyncio.create_task(gateway.run())
        await sim.wait(lambda _: len(pauses) == 2)
        assert all(270 <= pause <= 330 for pause in pauses)
        assert (gateway.status().state, gateway.status().refused) == ("connecting", False)
        assert "auth_unconfigured" in (gateway.status().detail or "")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_wallet_that_the_key_does_not_serve_leaves_the_others_alone() -> None:
    """It is named, the gateway stays live for the rest, and it is not tried again."""
    key = Key(token=KEY, scopes=PREDICTSTREET_SCOPES, multi_wallet=True, wallets=(ONE,))
    async with PredictStreetSim(rate=500, seed=2, keys=[key]) as sim:
        chosen = settings(sim, ONE, TWO)
        async with running(chosen) as (gateway, intake, metrics):
            await intake.until(lambda: gateway.status().connected and sim.refused == 1 and len(intake.frames) > 20)
            status = gateway.status()
            assert (status.state, status.refused) == ("live", False)
            assert "1 of 2 connections refused" in (status.detail or "")
            assert "api_key_no_associated_wallet" in (status.detail or "")
            assert {each.name: each.state for each in status.connections} == {
                f"wallet:{ONE.lower()}:1": "live",
                f"wallet:{TWO.lower()}:1": "refused",
            }
            assert metrics.total("gateway_connected", gateway="wallet") == 1
            assert metrics.total("connections_refused", gateway="wallet") == 1
            await sim.drop()
            await intake.until(lambda: intake.causes(f"wallet:{ONE.lower()}:1") == ["up", "down:disconnect", "up"])
            assert (gateway.status().state, sim.refused) == ("live", 1)


async def test_a_key_of_several_wallets_needs_one() -> None:
    """Without `wallets` in the configuration the socket is refused for good."""
    async with PredictStreetSim(seed=2, keys=[multi()]) as sim, running(settings(sim)) as (gateway, intake, _):
        await intake.until(lambda: gateway.status().refused)
        assert "api_key_no_associated_wallet" in (gateway.status().detail or "")
        assert sim.refused == 1


async def test_a_key_of_one_wallet_and_a_bearer_name_none() -> None:
    """One socket without the header; its greeting says whose it is."""
    bearer = Key(token="a.b.c", scopes=frozenset(), bearer=True, wallets=(TWO,))
    async with PredictStreetSim(rate=500, seed=2, keys=[bearer]) as sim:
        async with running(settings(sim, bearer="a.b.c")) as (_, intake, _):
            await intake.until(lambda: len(intake.frames) > 5)
            assert [each.channel for each in sim.connections] == [f"user:{TWO.lower()}"]
        assert {each.connection for each in intake.frames} == {"user:1"}


async def test_what_is_rejected_is_told_for_each_wallet_and_addresses_are_short() -> None:
    """A vault that is another wallet's: that wallet's entry is rejected, its orders and the other wallet go on."""
    async with PredictStreetSim(rate=500, seed=2, keys=[multi()]) as sim:
        vault = sim.vault(ONE)
        chosen = settings(
            sim, ONE, TWO, subscribe=[{"channel": "user_orders"}, {"channel": "vault_positions", "ids": [vault]}]
        )
        with capture_logs() as logs:
            async with running(chosen) as (gateway, intake, metrics):
                await intake.until(
                    lambda: (
                        gateway.status().connected
                        and {each.connection for each in intake.frames} == connections(ONE, TWO)
                    )
                )
                (rejected,) = gateway.status().rejected
                assert (rejected.channel, rejected.code) == ("vault_positions", "forbidden")
                assert rejected.connection == f"wallet:{TWO.lower()}:1"
                assert metrics.total("subscriptions_rejected_total", gateway="wallet") == 1
        (line,) = [each for each in logs if each["event"] == "subscription_rejected"]
        assert line["connection"] == f"wallet:{TWO.lower()}:1"
        assert vault not in str(redactor.value(line))
        found = await PredictStreetUser("wallet", chosen, intake=MemoryIntake(), metrics=Metrics()).check()
        text = [(each.ok, each.text) for each in found]
        refusal = f"vault_positions ['{short(vault)}']: forbidden (forbidden: vault is not the key's associated_vault)"
        assert text == [
            (
                True,
                f"connection wallet:{short(ONE)}:1 is open, generation 2, accepted: user_orders, vault_positions (1 ids)",
            ),
            (True, f"connection wallet:{short(TWO)}:1 is open, generation 2, accepted: user_orders"),
            (
                False,
                f"connection wallet:{short(TWO)}:1: not accepted: {refusal}",
            ),
        ]


def short(address: str) -> str:
    """As people are shown it."""
    return f"{address[:6]}..{address[-4:]}".lower()


async def test_check_says_which_wallet_is_refused() -> None:
    """And what a scope that is missing costs."""
    keys = [Key(token=KEY, scopes=frozenset({"markets:read"}), multi_wallet=True, wallets=(ONE,))]
    async with PredictStreetSim(seed=2, keys=keys) as sim:
        intake = MemoryIntake()
        found = await PredictStreetUser("wallet", settings(sim, ONE, TWO), intake=intake, metrics=Metrics()).check()
        told = " | ".join(each.text for each in found)
        assert not any(each.ok for each in found)
        assert f"wallet:{short(ONE)}:1 is open, generation 2, accepted: nothing" in told
        assert told.count("api_key_scope_missing") == 6  # three channels, code and message
        assert f"wallet:{short(TWO)}:1: credentials refused (4401: api_key_no_associated_wallet)" in told
        assert (intake.frames, intake.events) == ([], [])
        assert ONE.lower() not in told


async def test_conditions_are_learned_from_the_markets() -> None:
    """With a wallet in the header, without which a key of several is refused over REST too."""
    async with PredictStreetSim(rate=500, seed=2, keys=[multi()]) as sim:
        chosen = settings(sim, ONE, rest={"url": sim.rest_url})
        async with running(chosen) as (_, intake, _):
            await intake.until(lambda: set(intake.learned) == set(sim.tokens))


def test_a_wallet_of_many_vaults_is_split_by_the_limits() -> None:
    """100 vaults to a subscription, 256 subscriptions to a connection, a socket more where that does not do."""
    vaults = [f"0x{number:040x}" for number in range(26_000)]
    given = {
        "kind": "predictstreet-user",
        "url": "wss://host",
        "api_key": KEY,
        "protocol": 2,
        "wallets": [ONE, TWO],
        "subscribe": [
            {"channel": "user_activity"},
            {"channel": "vault_positions", "ids": vaults, "wallets": [ONE]},
            {"channel": "vault_activity", "ids": vaults[:350], "wallets": [TWO]},
        ],
    }
    chosen = PredictStreetUserSettings.model_validate(given)
    gateway = PredictStreetUser("wallet", chosen, intake=MemoryIntake(), metrics=Metrics())
    sizes = {name: [len(each.ids) for each in one.wanted] for name, one in gateway._subscribers.items()}
    first, second, other = f"wallet:{ONE.lower()}:1", f"wallet:{ONE.lower()}:2", f"wallet:{TWO.lower()}:1"
    assert sizes == {first: [0, 0, *[100] * 254], second: [100] * 6, other: [0, 0, 100, 100, 100, 50]}
    headers = {name: one.headers().get("X-User-Wallet") for name, one in gateway._subscribers.items()}
    assert headers == {first: ONE.lower(), second: ONE.lower(), other: TWO.lower()}


def test_frames_that_do_not_say_belong_to_their_sockets_wallet() -> None:
    """The connection's name tells; a key of one wallet has no need to."""
    assert PredictStreetUser.owner(f"wallet:{ONE.lower()}:2") == ONE.lower()
    assert PredictStreetUser.owner("user:1") == ""


def notices(intake: MemoryIntake) -> list[Frame]:
    """The frames that name nobody."""
    return [frame for frame in intake.frames if frame.raw.startswith(b'{"type":"account_notice"')]


async def test_equal_words_to_two_wallets_come_over_both_sockets() -> None:
    """A frame may name nobody at all: the gateway hands on both, with the connection that tells them apart."""
    async with PredictStreetSim(rate=2000, seed=2, keys=[multi()]) as sim:
        async with running(settings(sim, ONE, TWO)) as (_, intake, _):
            await intake.until(lambda: len(notices(intake)) >= 10)
        found = notices(intake)
        contents = Counter(json.dumps(json.loads(frame.raw)["data"]) for frame in found)
        assert max(contents.values()) == 2
        assert {frame.connection for frame in found} == connections(ONE, TWO)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"wallets": ["0x12"]}, "a wallet's address"),
        ({"subscribe": [{"channel": "user_activity", "wallets": [TWO]}]}, "not among the gateway's `wallets`"),
        ({"wallets": [ONE, TWO], "subscribe": [{"channel": "user_activity", "wallets": [TWO]}]}, "has no subscription"),
        ({"subscribe": []}, "at least 1"),
        ({"bearer": "t"}, "either `api_key` or `bearer`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    """Before anything is opened, in words."""
    base: dict[str, Any] = {
        "kind": "predictstreet-user",
        "url": "wss://host",
        "api_key": "k",
        "wallets": [ONE],
        "subscribe": [{"channel": "user_activity"}],
    }
    with pytest.raises(ValidationError, match=words):
        PredictStreetUserSettings.model_validate(base | given)
