"""Connections that change hands under load, on a real Kafka: keys, ages, restarts of servers, reloads of the configuration."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge.sim import Key, PredictStreetSim, Scripted, Simulator, TickTockSim
from bridge.sim.keys import PREDICTSTREET_SCOPES, TICKTOCK_SCOPES
from tests.audit import Audit, Schemas, collect
from tests.audit.frames import frames
from tests.chaos.stream import CLEAN, Frames, data_topics, judge
from tests.gaps import gap_records
from tests.kafka.conftest import Kafka, Registry
from tests.running import BridgeProcess, configuration, now, predictstreet, ticktock, until
from tests.servers.reading import read_topics

pytestmark = pytest.mark.timeout(300)

Partitions = Callable[[Sequence[bytes], int], list[int]]
MARKER = "XqZjWvKy"
OLD, NEW = f"ttk_live_{MARKER}old", f"ttk_live_{MARKER}new"
PS_OLD, PS_NEW = (f"ps_test_0123456789abcde{each}_{MARKER}{'x' * 35}" for each in "01")
RATE = 1000


def has_turned(times: int, status: dict[str, Any]) -> bool:
    """Whether the connections of the first gateway have turned so often."""
    return bool(status["gateways"]) and sum(each["turns"] for each in status["gateways"][0]["connections"]) >= times


def uses_only(sim: Simulator, token: str) -> bool:
    """Whether there is one connection, with that key."""
    return [each.key.token for each in sim.connections] == [token]


def reloaded_since(last: object, status: dict[str, Any]) -> bool:
    """Whether there was a reload after that one."""
    return status["reload"] is not None and status["reload"] != last


@asynccontextmanager
async def fed(count: int, *keys: str) -> AsyncIterator[tuple[Scripted, TickTockSim]]:
    """A stream of numbered frames that goes on whoever listens, at 1,000 a second."""
    known = [Key(token=each, scopes=TICKTOCK_SCOPES) for each in keys]
    script = Scripted("ticktock", Frames(count), rate=RATE, on_reconnect="continue", keys=known)
    async with script as sim:
        assert isinstance(sim, TickTockSim)
        yield script, sim


def key_file(bridge: BridgeProcess, name: str = "key") -> Path:
    """Where a configuration that says ``${file:key}`` has its key."""
    return bridge.file.parent / name


def swap(file: Path, text: str) -> None:
    """Replace a file in one step, as a mounted secret changes."""
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(file)


async def used_up(script: Scripted, bridge: BridgeProcess) -> None:
    """Return when all frames are sent and committed, and the bridge has ended well."""
    await script.script.finished(seconds=120)
    await bridge.drained()
    assert await bridge.stop() == 0, bridge.last_words()


def gaps(kafka: Kafka, prefix: str, *, gateway: str = "cs2") -> list[dict[str, Any]]:
    """The last word on each gap but the one that stopping the bridge opens."""
    found = {gap["id"]: gap for gap in gap_records(kafka.bootstrap, prefix) if gap["gateway"] == gateway}
    return [gap for gap in found.values() if gap["cause"] != "stopped"]


async def nothing_told(bridge: BridgeProcess, *secrets: str) -> None:
    """No page and no line of the log holds a key."""
    pages = [(await bridge.get(path))[1].decode() for path in ("/", "/api/status", "/metrics")]
    for text in (*pages, bridge.output()):
        assert not any(secret in text for secret in (MARKER, *secrets))


async def test_a_changed_key_file_rotates_without_gap_or_duplicate(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, *, soak: bool
) -> None:
    """At 1,000 frames a second: each frame is published once, no gap is recorded, the old key is not used again."""
    turns = 20 if soak else 3
    tokens = [f"{NEW}{number}" for number in range(turns + 1)]
    async with fed((turns + 1) * 3 * RATE, *tokens) as (script, sim):
        config = configuration(
            {"cs2": ticktock(sim, api_key="${file:key}")}, kafka=kafka.bootstrap, prefix=topic_prefix
        )
        bridge = BridgeProcess(config, tmp_path / "bridge", level="debug")
        swap(key_file(bridge), tokens[0])
        async with bridge:
            await bridge.ready()
            for number, token in enumerate(tokens[1:], 1):
                await bridge.received(number * RATE, gateway="cs2")
                swap(key_file(bridge), token)
                await until(partial(uses_only, sim, token), what=f"key {number}")
                await bridge.until(partial(has_turned, number), what=f"turn {number}")
            status = await bridge.status()
            assert status["reload"]["outcome"] == "applied"
            assert status["reload"]["changed"] == ["gateways.cs2.api_key"]
            assert status["gateways"][0]["connections"][0]["reconnects"] == 0
            await nothing_told(bridge)
            await used_up(script, bridge)
        assert [sim.uses(token) for token in tokens] == [1] * (turns + 1)
    count = len(script.script.frames)
    assert judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), range(1, count + 1)) == CLEAN
    assert gaps(kafka, topic_prefix) == []


async def test_every_record_is_right_when_a_key_of_predictstreet_rotates(
    kafka: Kafka, registry: Registry, topic_prefix: str, java_partitions: Partitions, tmp_path: Path
) -> None:
    """By SIGHUP, both keys being good for a while; the old one is revoked when the new one is used."""
    count, began = 6 * RATE, now()
    sent = frames("predictstreet", count, seed=12, now=began)
    keys = [Key(token=each, scopes=PREDICTSTREET_SCOPES) for each in (PS_OLD, PS_NEW)]
    script = Scripted(
        "predictstreet",
        [each.raw for each in sent],
        frame_faults=[each.fault for each in sent],
        rate=RATE,
        on_reconnect="continue",
        keys=keys,
    )
    async with script as sim:
        assert isinstance(sim, PredictStreetSim)
        gateway = predictstreet(sim, api_key=PS_OLD)
        config = configuration({"markets": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix, registry=registry.url)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.received(RATE, gateway="markets")
            bridge.file.write_text(
                json.dumps({**bridge.config, "gateways": {"markets": {**gateway, "api_key": PS_NEW}}})
            )
            os.kill(bridge.pid, signal.SIGHUP)
            await until(partial(uses_only, sim, PS_NEW), what="the new key")
            assert await sim.revoke(PS_OLD) == 0
            await nothing_told(bridge)
            await used_up(script, bridge)
        assert (sim.uses(PS_OLD), sim.uses(PS_NEW)) == (1, 1)
    published = await asyncio.to_thread(collect, kafka.bootstrap, topic_prefix)
    schemas = Schemas.registry(registry.url)
    audit = Audit(
        gateway="markets",
        kind="predictstreet",
        prefix=topic_prefix,
        sent=sent,
        schemas={"type": schemas},
        partitions=lambda keys: java_partitions(keys, 6),
        began=began,
        ended=now(),
    )
    faults = audit.faults(published)
    assert not faults, f"{len(faults)} faults, the first: {faults[:10]}"
    told = f"{topic_prefix}feedbridge.main.gaps"
    found = [schemas.decode(told, one.value)[1] for one in published if one.topic == told]
    assert {each["cause"] for each in found} == {"stopped"}


async def test_connections_that_get_old_turn_without_gap_or_duplicate(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Again and again, with the same key."""
    async with fed(10 * RATE, OLD) as (script, sim):
        config = configuration({"cs2": ticktock(sim, max_age="2s")}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.until(partial(has_turned, 2), what="two turns")
            await used_up(script, bridge)
    assert judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), range(1, 10 * RATE + 1)) == CLEAN
    assert gaps(kafka, topic_prefix) == []


async def test_a_server_that_restarts_is_called_again_at_once(kafka: Kafka, topic_prefix: str, tmp_path: Path) -> None:
    """1012 comes without notice: one gap, of the time that a handshake takes; what is missing lies in it."""
    async with fed(4 * RATE, OLD) as (script, sim):
        config = configuration({"cs2": ticktock(sim)}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.received(RATE, gateway="cs2")
            await sim.drop(code=1012, reason="service restart")
            await bridge.until(lambda status: status["gateways"][0]["connections"][0]["reconnects"] == 1, what="again")
            await used_up(script, bridge)
            ended = [each for each in bridge.events() if each["event"] == "gateway_disconnected"]
    assert [each["retry_in"] for each in ended] == [0.0]
    (gap,) = gaps(kafka, topic_prefix)
    assert gap["cause"] == "disconnect"
    assert gap["to"] - gap["from"] < 1000
    verdict = judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), range(1, 4 * RATE + 1))
    assert (verdict.doubled, verdict.disordered) == ([], [])
    assert len(verdict.missing) <= gap["to"] - gap["from"] + 50


async def test_where_rotation_kills_the_old_key_at_once_one_short_gap_is_recorded(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """As TickTock does. The gateway is refused until the new key is in its file, and comes back by itself."""
    async with fed(8 * RATE, OLD) as (script, sim), TickTockSim(rate=20) as other:
        config = configuration(
            {"cs2": ticktock(sim, api_key="${file:key}"), "other": ticktock(other)},
            kafka=kafka.bootstrap,
            prefix=topic_prefix,
        )
        bridge = BridgeProcess(config, tmp_path / "bridge", level="debug")
        swap(key_file(bridge), OLD)
        async with bridge:
            await bridge.received(RATE, gateway="cs2")
            assert await sim.rotate(NEW, key=OLD) == 1
            await bridge.until(lambda status: status["gateways"][0]["refused"], what="refused")
            refused = sim.refused
            swap(key_file(bridge), NEW)
            await bridge.until(lambda status: status["gateways"][0]["connected"], what="connected again")
            assert sim.refused == refused == 1, "a refused key is not tried again"
            await nothing_told(bridge)
            await used_up(script, bridge)
    (gap,) = gaps(kafka, topic_prefix)
    assert (gap["state"], gap["cause"]) == ("lost", "disconnect")
    assert gap["to"] - gap["from"] < 5000
    verdict = judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), range(1, 8 * RATE + 1))
    assert (verdict.doubled, verdict.disordered) == ([], [])
    assert len(verdict.missing) <= gap["to"] - gap["from"] + 50


async def test_a_reload_that_can_not_be_leaves_everything_as_it_was(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """A broken file, and one that changes what can't be changed, beside a key that could: frames flow on."""
    async with fed(6 * RATE, OLD, NEW) as (script, sim):
        gateway = ticktock(sim, api_key=OLD)
        config = configuration({"cs2": gateway}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.ready()
            other = {**bridge.config, "gateways": {"cs2": {**gateway, "api_key": NEW}}, "lanes": {"count": 2}}
            last = None
            for text, error in (
                ("name: [", "a bracket"),
                (json.dumps(other), "lanes.count can't be changed while it runs: nothing was changed"),
            ):
                bridge.file.write_text(text)
                os.kill(bridge.pid, signal.SIGHUP)
                status = await bridge.until(partial(reloaded_since, last), what="a reload")
                last = status["reload"]
                assert last["outcome"] == "refused"
                assert error in last["error"]
            await used_up(script, bridge)
            logged = [each["reason"] for each in bridge.events() if each["event"] == "reload_refused"]
            assert len(logged) == 2
        assert (sim.uses(OLD), sim.uses(NEW)) == (1, 0)
    assert judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), range(1, 6 * RATE + 1)) == CLEAN
    assert gaps(kafka, topic_prefix) == []


async def test_a_refused_key_is_told_and_the_old_connection_goes_on(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Status, page and log say what holds up the turn; the next good key takes over."""
    async with fed(8 * RATE, OLD, NEW) as (script, sim):
        config = configuration(
            {"cs2": ticktock(sim, api_key="${file:key}")}, kafka=kafka.bootstrap, prefix=topic_prefix
        )
        bridge = BridgeProcess(config, tmp_path / "bridge", level="debug")
        swap(key_file(bridge), OLD)
        async with bridge:
            await bridge.received(RATE, gateway="cs2")
            swap(key_file(bridge), f"{MARKER}-wrong")

            def held_up(status: dict[str, Any]) -> bool:
                return "403" in str(status["gateways"][0]["connections"][0]["turning"])

            status = await bridge.until(held_up, what="the turn held up")
            gateway = status["gateways"][0]
            assert (gateway["state"], gateway["refused"]) == ("live", False)
            assert gateway["detail"] == "list can't turn: HTTP 403: invalid API key"
            swap(key_file(bridge), NEW)
            await bridge.until(partial(has_turned, 1), what="turned")
            await nothing_told(bridge)
            await used_up(script, bridge)
    assert judge(read_topics(kafka.bootstrap, *data_topics(topic_prefix)), range(1, 8 * RATE + 1)) == CLEAN
    assert gaps(kafka, topic_prefix) == []


async def test_other_subscriptions_by_signal_need_no_other_connection(
    kafka: Kafka, topic_prefix: str, tmp_path: Path
) -> None:
    """Frames of a token that is new come over the same connection, those of one that is gone come no more; no gap."""
    async with PredictStreetSim(rate=RATE, seed=4) as sim:
        one, two, three = sim.tokens[0], sim.tokens[2], sim.tokens[4]

        def wish(*tokens: str) -> dict[str, Any]:
            return predictstreet(sim, subscribe=[{"channel": "token_trades", "ids": list(tokens)}])

        config = configuration({"markets": wish(one, two)}, kafka=kafka.bootstrap, prefix=topic_prefix)
        async with BridgeProcess(config, tmp_path / "bridge") as bridge:
            await bridge.received(200, gateway="markets")
            bridge.file.write_text(json.dumps({**bridge.config, "gateways": {"markets": wish(two, three)}}))
            os.kill(bridge.pid, signal.SIGHUP)
            status = await bridge.until(partial(reloaded_since, None), what="a reload")
            assert status["reload"]["changed"] == ["gateways.markets.subscribe"]

            def tokens_of(frames: int) -> set[str]:
                pushes = [json.loads(sent.raw) for sent in sim.sent if sent.fault != "control"]
                return {each["id"] for each in pushes[-frames:]}

            await until(lambda: tokens_of(100) == {two, three}, what="the new subscriptions")
            await bridge.received(sim.sent.total, gateway="markets")
            await bridge.drained()
            connections = (await bridge.status())["gateways"][0]["connections"]
            assert [(each["reconnects"], each["turns"]) for each in connections] == [(0, 0)]
            assert await bridge.stop() == 0, bridge.last_words()
        assert sim.accepted == 1
        wanted = {json.loads(sent.raw)["id"] for sent in sim.sent if sent.fault != "control"}
    assert wanted == {one, two, three}
    assert gaps(kafka, topic_prefix, gateway="markets") == []
