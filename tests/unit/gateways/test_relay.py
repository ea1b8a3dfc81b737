"""bridge.gateways.relay: connections that change hands, against simulated gateways."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, Literal

import msgspec
import pytest
import xxhash

from bridge.frame import Frame
from bridge.gateways import relay
from bridge.gateways.gateway import Gateway, Outside
from bridge.gateways.gist import nested
from bridge.gateways.predictstreet import PredictStreetMarketSettings
from bridge.gateways.relay import Held
from bridge.gateways.splice import Splice
from bridge.gateways.ticktock import TickTockSettings
from bridge.settings import Secret
from bridge.sim.keys import PREDICTSTREET_SCOPES, TICKTOCK_SCOPES, Key
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.predictstreet_stream import PredictStreetKnobs
from bridge.sim.server import Simulator
from bridge.sim.ticktock import TickTockSim
from bridge.sim.ticktock_stream import TickTockKnobs
from tests.unit.gateways import test_predictstreet, test_predictstreet_user, test_ticktock
from tests.unit.gateways.doubles import MemoryIntake

FRESH = "ttk_live_another"
PS_FRESH = "ps_test_0123456789abcdee_simulatedsimulatedsimulatedsimulatedsimulat"


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter overlap: these are many tests."""
    monkeypatch.setattr(relay, "OVERLAP", 0.2)
    monkeypatch.setattr(relay, "LONGEST", 1.0)


def turns(gateway: Gateway) -> int:
    """How often its connections have turned."""
    return sum(each.turns for each in gateway.status().connections)


def rekeyed(chosen: TickTockSettings, key: str) -> TickTockSettings:
    """The same with another key."""
    return chosen.model_copy(update={"api_key": Secret(key)})


def numbers(frames: list[Frame]) -> list[int]:
    """The sequence numbers of TickTock frames, in order; alive has none of its own in every shape."""
    found = (msgspec.json.decode(frame.raw) for frame in frames)
    return [each["meta"]["seq"] for each in found if each.get("type", "alive") != "alive"]


def carried(sim: Simulator, connection: int) -> list[bytes]:
    """What a connection was sent, but for control frames."""
    return [sent.raw for sent in sim.sent if sent.connection == connection and sent.fault != "control"]


async def test_a_new_key_takes_over_without_a_gap_and_without_a_frame_lost_or_doubled() -> None:
    """The old connection is read until the new one is proved; then only the new key is used."""
    keys = [Key(token=each, scopes=TICKTOCK_SCOPES) for each in ("ttk_live_one", FRESH)]
    async with TickTockSim(rate=1000, seed=3, keys=keys) as sim:
        chosen = test_ticktock.settings(sim)
        async with test_ticktock.running(chosen) as (gateway, intake, metrics):
            await intake.until(lambda: len(intake.frames) > 300)
            gateway.configure(rekeyed(chosen, FRESH))
            await sim.wait(lambda sim: [each.key.token for each in sim.connections] == [FRESH])
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 300)
            status = gateway.status().connections[0]
            seqs = numbers(intake.frames)
        assert intake.causes("list") == ["up", "down:stopped"]
        assert (status.state, status.turns, status.reconnects, status.turning) == ("live", 1, 0, None)
        assert metrics.total("turns_total", gateway="cs2", reason="key", outcome="done") == 1
        assert metrics.total("reconnects_total", gateway="cs2") == 0
        assert (sim.uses("ttk_live_one"), sim.uses(FRESH)) == (1, 1)
        assert max(Counter(seqs).values()) == 1
        sent = {json.loads(raw)["meta"]["seq"] for raw in carried(sim, 1)}
        first, last = min(sent), max(seqs)
        later = {json.loads(raw)["meta"]["seq"] for raw in carried(sim, 2) if b'"alive"' not in raw}
        # The snapshot of the second connection has numbers of its own; all that came over the first is there.
        assert sent - {seq for seq in sent if seq > last} - set(seqs) <= {seq for seq in later if seq > last}
        assert set(range(first, last + 1)) & (sent | later) >= set(seqs)
        assert [seq for seq in seqs if seq in later or seq in sent] == seqs


async def test_a_refused_key_leaves_the_old_connection_and_says_so() -> None:
    """It is tried again slowly, and a key that is good takes over then."""
    slept: list[float] = []
    again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await (again.wait() if seconds > 60 else asyncio.sleep(seconds))

    async with TickTockSim(rate=300, seed=3) as sim:
        chosen = test_ticktock.settings(sim, rest=False)
        outside = Outside(sleep=sleep, chance=lambda: 0.01)
        async with test_ticktock.running(chosen, outside=outside) as (gateway, intake, metrics):
            await intake.until(lambda: len(intake.frames) > 50)
            gateway.configure(rekeyed(chosen, FRESH))
            await intake.until(lambda: slept[-1:] == [300.0])
            status = gateway.status()
            assert (status.state, status.connected, status.refused) == ("live", True, False)
            assert status.connections[0].turning == "HTTP 403: invalid API key"
            assert metrics.total("turns_total", gateway="cs2", reason="key", outcome="refused") == 1
            sim.keys.add(Key(token=FRESH, scopes=TICKTOCK_SCOPES))
            again.set()
            await sim.wait(lambda sim: [each.key.token for each in sim.connections] == [FRESH])
            await intake.until(lambda: turns(gateway) == 1)
            assert gateway.status().connections[0].turning is None
        assert intake.causes("list") == ["up", "down:stopped"]


async def test_the_old_connection_may_end_once_the_new_one_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No gap: the new one takes over in that moment, with all that only it has got."""
    async with TickTockSim(rate=500, seed=3, keys=[Key(token=each, scopes=TICKTOCK_SCOPES) for each in "ab"]) as sim:
        chosen = test_ticktock.settings(sim, rest=False)
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 100)
            monkeypatch.setattr(relay, "OVERLAP", 1000.0)  # it would wait for ever
            gateway.configure(rekeyed(chosen, "b"))
            await sim.wait(lambda sim: len(sim.connections) == 2 and sim.connections[1].written > 100)
            await sim.drop(connection=1, abort=True)
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 100)
            seqs = numbers(intake.frames)
        assert intake.causes("list") == ["up", "down:stopped"]
        assert max(Counter(seqs).values()) == 1
        both = {json.loads(raw)["meta"]["seq"] for number in (1, 2) for raw in carried(sim, number)}
        broadcast = {json.loads(raw)["meta"]["seq"] for raw in carried(sim, 1)}
        assert {seq for seq in both if seq <= max(seqs)} - set(seqs) <= both - broadcast, "only snapshots are left out"


async def test_a_key_that_dies_at_once_costs_one_short_gap() -> None:
    """As TickTock rotates: the new connection is opened without a pause, and closes the gap."""
    async with TickTockSim(rate=500, seed=3) as sim:
        chosen = test_ticktock.settings(sim, rest=False)
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 100)
            rotating = asyncio.create_task(sim.rotate(FRESH))
            await intake.until(lambda: "down:disconnect" in intake.causes("list"))
            gateway.configure(rekeyed(chosen, FRESH))
            await intake.until(lambda: intake.causes("list") == ["up", "down:disconnect", "up"])
            assert await rotating == 1
            assert gateway.status().connections[0].state == "live"


async def test_a_refused_gateway_comes_back_with_another_key() -> None:
    """Whether a socket found out or REST did."""
    async with TickTockSim(rate=300, seed=3) as sim:
        chosen = test_ticktock.settings(sim, matches="live")
        async with test_ticktock.running(rekeyed(chosen, "bad")) as (gateway, intake, _):
            await intake.until(lambda: gateway.status().refused)
            gateway.configure(chosen)
            await intake.until(lambda: gateway.status().connected and len(intake.frames) > 50)
            assert not gateway.status().refused
    async with TickTockSim(rate=300, seed=3) as sim:
        chosen = test_ticktock.settings(sim, rest=False)
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 50)
            await sim.revoke()
            await intake.until(lambda: gateway.status().refused)
            sim.keys.add(Key(token=FRESH, scopes=TICKTOCK_SCOPES))
            gateway.configure(rekeyed(chosen, FRESH))
            await intake.until(lambda: intake.causes("list") == ["up", "down:disconnect", "up"])
            assert sim.uses(FRESH) == 1


async def test_no_connection_is_older_than_max_age_and_none_of_its_ends_is_a_gap() -> None:
    """One turn after the other, for as long as it runs."""
    async with TickTockSim(rate=500, seed=3) as sim:
        chosen = test_ticktock.settings(sim, rest=False, max_age=1)
        async with test_ticktock.running(chosen) as (gateway, intake, metrics):
            await intake.until(lambda: turns(gateway) == 3)
            seqs = numbers(intake.frames)
            assert metrics.total("turns_total", gateway="cs2", reason="age", outcome="done") == 3
        assert intake.causes("list") == ["up", "down:stopped"]
        assert max(Counter(seqs).values()) == 1


async def test_a_half_open_connection_is_not_taken_for_a_good_one() -> None:
    """Nobody knows since when it is dead: its own watchdog ends it, and what it missed is a gap."""
    async with TickTockSim(rate=300, seed=3, keys=[Key(token=each, scopes=TICKTOCK_SCOPES) for each in "ab"]) as sim:
        chosen = test_ticktock.settings(sim, rest=False, silence=1.5)
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 50)
            sim.silence(connection=1)
            gateway.configure(rekeyed(chosen, "b"))
            await intake.until(lambda: intake.causes("list") == ["up", "down:silence", "up"])
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 50)
            sim.silence(on=False)


async def test_a_quiet_feed_is_asked_for_a_sign_of_life() -> None:
    """PredictStreet answers a ping: the turn need not wait for the next frame."""
    keys = [Key(token=each, scopes=PREDICTSTREET_SCOPES) for each in (PredictStreetSim.default_key, PS_FRESH)]
    async with PredictStreetSim(rate=100, seed=2, keys=keys) as sim:
        chosen = test_predictstreet.settings(sim)
        async with test_predictstreet.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 50)
            sim.pause()
            gateway.configure(ps_rekeyed(chosen, PS_FRESH))
            await sim.wait(lambda sim: [each.key.token for each in sim.connections] == [PS_FRESH])
            sim.resume()
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 100)
        assert intake.causes("market:1") == ["up", "down:stopped"]


async def test_books_never_go_back_when_a_connection_turns() -> None:
    """Each delta follows the frame of its book before it, right through the turns."""
    async with PredictStreetSim(rate=1000, seed=2) as sim:
        chosen = test_predictstreet.settings(sim, max_age=1)
        async with test_predictstreet.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: turns(gateway) == 3)
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 200)
            frames = [json.loads(frame.raw) for frame in intake.frames]
        last: dict[str, int] = {}
        deltas = 0
        for frame in frames:
            if frame["type"].startswith("book_"):
                if frame["type"] == "book_delta":
                    assert frame["prevSeq"] == last[frame["id"]], frame
                    deltas += 1
                last[frame["id"]] = frame["seq"]
        assert deltas > 100
        assert intake.causes("market:1") == ["up", "down:stopped"]


@pytest.mark.parametrize("most", [1, None])
async def test_where_the_limit_leaves_no_room_the_old_connection_is_closed_first(most: int | None) -> None:
    """A gap, and a line that says why; whether the limit is configured or the server says so."""
    keys = [Key(token=each, scopes=TICKTOCK_SCOPES) for each in "ab"]
    async with TickTockSim(rate=300, seed=3, keys=keys, connection_limit=1) as sim:
        chosen = test_ticktock.settings(sim, rest=False, max_connections=most)
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 50)
            gateway.configure(rekeyed(chosen, "b"))
            await intake.until(lambda: intake.causes("list") == ["up", "down:disconnect", "up"])
            assert [each.key.token for each in sim.connections] == ["b"]
            assert (sim.refused > 0) is (most is None)


async def test_a_second_new_key_counts_not_the_first() -> None:
    """Whatever the turn to the first was doing."""
    keys = [Key(token=each, scopes=TICKTOCK_SCOPES) for each in "abc"]
    async with TickTockSim(rate=300, seed=3, keys=keys) as sim:
        chosen = test_ticktock.settings(sim, rest=False)
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 50)
            gateway.configure(rekeyed(chosen, "b"))
            await sim.wait(lambda sim: len(sim.connections) == 2)
            gateway.configure(rekeyed(chosen, "c"))
            await sim.wait(lambda sim: [each.key.token for each in sim.connections] == ["c"])
            await intake.until(lambda: turns(gateway) == 1)
        assert intake.causes("list") == ["up", "down:stopped"]


async def test_other_matches_are_followed_without_touching_those_that_stay() -> None:
    """A stream that is wanted no more goes when the new ones are there, and is no gap."""
    async with TickTockSim(rate=300, seed=4, knobs=TickTockKnobs(alive_every=0.1)) as sim:
        one, two, three = [match.id for match in sim.stream.world.live[:3]]
        chosen = test_ticktock.settings(sim, matches=[one, two])
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: {frame.hint for frame in intake.frames} == {one, two})
            gateway.configure(chosen.model_copy(update={"matches": [two, three]}))
            await intake.until(lambda: intake.causes(f"match:{one}") == ["up", "gone"])
            assert intake.causes(f"match:{two}") == ["up"]
            assert intake.causes(f"match:{three}") == ["up"]
            gateway.configure(chosen.model_copy(update={"matches": "all"}))
            await intake.until(lambda: [each.name for each in gateway.status().connections] == ["list"])
            gateway.configure(chosen.model_copy(update={"matches": "live"}))
            await intake.until(lambda: intake.causes("list") == ["up", "gone"])
            await intake.until(lambda: intake.causes(f"match:{two}") == ["up", "gone", "up"])


async def test_what_is_held_is_bounded_and_cleared_where_the_successor_is_lost() -> None:
    """Beyond the limit it is not read; what lies before a hole must not be handed on as if there were none."""
    intake = MemoryIntake()
    held = Held(intake, Splice(nested), most=100)
    frame = Frame("cs2", "list", 1, "stream", b"x" * 60, None)
    seen = []
    for _ in range(2):
        held.put(frame)
        seen.append(held.full)
    assert seen == [False, True]
    waiting = asyncio.create_task(held.room())
    held.event("cs2", "list", "down", cause="disconnect")
    intake.make_room()
    await waiting
    assert (held.full, held.release(), intake.frames, intake.events) == (False, [], [], [])


def ps_rekeyed(chosen: PredictStreetMarketSettings, key: str) -> PredictStreetMarketSettings:
    """The same with another key."""
    found: Any = chosen.model_copy(update={"api_key": Secret(key)})
    assert isinstance(found, PredictStreetMarketSettings)
    return found


async def test_a_revoked_key_ends_the_user_gateway_without_a_storm_and_another_revives_it() -> None:
    """One refusal for each wallet, then nothing; with the new key each wallet's connection is up again."""
    wallets = [f"0x{number:040x}" for number in range(1, 6)]
    async with PredictStreetSim(rate=200, seed=2, keys=[test_predictstreet_user.multi()]) as sim:
        chosen = test_predictstreet_user.settings(sim, *wallets)
        async with test_predictstreet_user.running(chosen) as (gateway, intake, metrics):
            await intake.until(lambda: gateway.status().connected)
            assert await sim.revoke(state="api_key_suspended") == len(wallets)
            await intake.until(lambda: gateway.status().refused)
            assert "api_key_suspended" in str(gateway.status().detail)
            assert (sim.accepted, sim.refused) == (len(wallets), 0), "it is not tried again"
            sim.keys.add(Key(token=PS_FRESH, scopes=PREDICTSTREET_SCOPES, multi_wallet=True))
            gateway.configure(chosen.model_copy(update={"api_key": Secret(PS_FRESH)}))
            await intake.until(lambda: gateway.status().connected)
            assert (sim.uses(PS_FRESH), sim.refused) == (len(wallets), 0)
            assert not gateway.status().refused
            assert metrics.total("connections_refused", gateway="wallet") == 0
        for wallet in wallets:
            assert intake.causes(f"wallet:{wallet}:1") == ["up", "down:refused", "up", "down:stopped"]


async def test_fifty_wallets_turn_within_seconds_and_never_many_at_once() -> None:
    """Each connection without a gap; at most eight are there twice."""
    wallets = [f"0x{number:040x}" for number in range(1, 51)]
    keys = [test_predictstreet_user.multi(), Key(token=PS_FRESH, scopes=PREDICTSTREET_SCOPES, multi_wallet=True)]
    most = 0

    def seen(sim: Simulator) -> bool:
        nonlocal most
        most = max(most, len(sim.connections))
        return {each.key.token for each in sim.connections} == {PS_FRESH}

    async with PredictStreetSim(rate=100, seed=2, keys=keys) as sim:
        chosen = test_predictstreet_user.settings(sim, *wallets)
        async with test_predictstreet_user.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: gateway.status().connected, seconds=30)
            gateway.configure(chosen.model_copy(update={"api_key": Secret(PS_FRESH)}))
            began = asyncio.get_running_loop().time()
            await sim.wait(seen, seconds=45)
            assert asyncio.get_running_loop().time() - began < 45
            await intake.until(lambda: turns(gateway) == len(wallets))
            causes = {each.name: intake.causes(each.name) for each in gateway.status().connections}
        assert len(wallets) < most <= len(wallets) + relay.AT_ONCE
        assert set(map(tuple, causes.values())) == {("up",)}


@pytest.mark.parametrize(
    "knobs",
    [
        TickTockKnobs(seq_scope="connection"),
        TickTockKnobs(snapshot_seq="same"),
        TickTockKnobs(snapshot_seq="reset"),
        TickTockKnobs(snapshot_shuffled=True, snapshot_type="created"),
    ],
    ids=["numbers of each connection", "old numbers", "numbers begin anew", "shuffled"],
)
async def test_no_state_goes_back_or_is_left_out_whatever_numbers_mean(knobs: TickTockKnobs) -> None:
    """An observer whose connection never turns sees the same changes of each match and market, in the same order."""
    async with TickTockSim(rate=1500, seed=5, knobs=knobs) as sim:
        chosen = test_ticktock.settings(sim, rest=False)
        async with (
            test_ticktock.running(chosen) as (_, observed, _),
            test_ticktock.running(chosen.model_copy(update={"max_age": 1.0})) as (gateway, intake, _),
        ):
            await intake.until(lambda: turns(gateway) == 3)
            count = len(intake.frames)
            await intake.until(lambda: len(intake.frames) > count + 500)
            sim.pause()
            observer = sim.connections[0]
            await observed.until(lambda: len(observed.frames) == observer.written)
        assert intake.causes("list") == ["up", "down:stopped"]
        truth, seen = changes(observed.frames), changes(intake.frames)
        assert len(seen) > 50
        for entity, states in seen.items():
            assert any(truth[entity][start : start + len(states)] == states for start in range(len(truth[entity]))), (
                entity
            )


def changes(frames: list[Frame]) -> dict[str, list[int]]:
    """For each entity what its states say, one after the other; what does not change counts once."""
    found: dict[str, list[int]] = {}
    for frame in frames:
        gist = nested(frame.raw)
        if gist.entity is not None:
            states = found.setdefault(gist.entity, [])
            # A snapshot may have another type than the change had; the state is what its data says.
            content = xxhash.xxh3_64_intdigest(bytes(msgspec.json.decode(frame.raw, type=Told).data))
            if states[-1:] != [content]:
                states.append(content)
    return found


class Told(msgspec.Struct):
    """A frame's data."""

    data: msgspec.Raw


@pytest.mark.parametrize("generation", [1, 2])
async def test_other_subscriptions_need_no_other_connection(generation: Literal[1, 2]) -> None:
    """What stays is not touched, what is new is subscribed to and what is gone is not: on the open connection."""
    knobs = PredictStreetKnobs(generation=generation)
    trades = "token_trades" if generation == 1 else "token_trade_matches"
    async with PredictStreetSim(rate=500, seed=2, knobs=knobs) as sim:
        one, two, three = sim.tokens[0], sim.tokens[2], sim.tokens[4]

        def wish(*tokens: str) -> list[dict[str, Any]]:
            return [{"channel": trades, "ids": list(tokens)}]

        chosen = test_predictstreet.settings(sim, subscribe=wish(one, two))
        async with test_predictstreet.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: about(intake.frames) == {one, two})
            gateway.configure(test_predictstreet.settings(sim, subscribe=wish(two, three)))
            await intake.until(lambda: three in about(intake.frames))
            await intake.until(lambda: one not in about(intake.frames[-50:]) and two in about(intake.frames[-50:]))
            assert (sim.accepted, len(sim.connections)) == (1, 1)
            assert turns(gateway) == 0
        assert intake.causes("market:1") == ["up", "down:stopped"]


async def test_a_turn_under_way_takes_the_new_subscriptions_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key and subscriptions may change in one reload, or one while the other is under way."""
    monkeypatch.setattr(relay, "OVERLAP", 1.0)
    keys = [Key(token=each, scopes=PREDICTSTREET_SCOPES) for each in (PredictStreetSim.default_key, PS_FRESH)]
    async with PredictStreetSim(rate=500, seed=2, keys=keys) as sim:
        one, two = sim.tokens[0], sim.tokens[2]
        chosen = test_predictstreet.settings(sim, subscribe=[{"channel": "token_trades", "ids": [one]}])
        async with test_predictstreet.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: about(intake.frames) == {one})
            gateway.configure(ps_rekeyed(chosen, PS_FRESH))
            await sim.wait(lambda sim: len(sim.connections) == 2)
            both = [{"channel": "token_trades", "ids": [one, two]}]
            gateway.configure(ps_rekeyed(test_predictstreet.settings(sim, subscribe=both), PS_FRESH))
            await intake.until(lambda: turns(gateway) == 1)
            count = len(intake.frames)
            await intake.until(lambda: about(intake.frames[count:]) == {one, two})
            assert [each.key.token for each in sim.connections] == [PS_FRESH]
        assert intake.causes("market:1") == ["up", "down:stopped"]


async def test_wallets_come_and_go_without_touching_the_others() -> None:
    """One that goes is no gap."""
    async with PredictStreetSim(rate=300, seed=2, keys=[test_predictstreet_user.multi()]) as sim:
        one, two, three = (f"0x{number:040x}" for number in range(1, 4))
        chosen = test_predictstreet_user.settings(sim, one, two)
        async with test_predictstreet_user.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: gateway.status().connected)
            gateway.configure(test_predictstreet_user.settings(sim, two, three))
            await intake.until(lambda: intake.causes(f"wallet:{three}:1") == ["up"])
            await intake.until(lambda: intake.causes(f"wallet:{one}:1") == ["up", "gone"])
            assert intake.causes(f"wallet:{two}:1") == ["up"]
            await intake.until(lambda: len(sim.connections) == 2)
            assert {each.name for each in gateway.status().connections} == {f"wallet:{two}:1", f"wallet:{three}:1"}


def about(frames: list[Frame]) -> set[str]:
    """The tokens that frames are about."""
    return {json.loads(frame.raw)["id"] for frame in frames}


async def test_a_gateway_is_not_refused_while_another_key_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process must not end because the last old key died in mid-turn; only when the new one is refused too."""
    monkeypatch.setattr(relay, "OVERLAP", 1000.0)
    states: set[str] = set()
    async with TickTockSim(rate=300, seed=3) as sim:
        chosen = test_ticktock.settings(sim, rest=False)
        async with test_ticktock.running(chosen) as (gateway, intake, _):
            await intake.until(lambda: len(intake.frames) > 50)
            sim.refuse(status=503)
            sim.keys.add(Key(token=FRESH, scopes=TICKTOCK_SCOPES))
            gateway.configure(rekeyed(chosen, FRESH))
            await intake.until(lambda: sim.refused > 0)
            sim.keys.set_state(sim.api_key, "deactivated")
            await sim.drop(code=4401, reason="forbidden", connection=1)

            def back() -> bool:
                states.add(gateway.status().state)
                return "down:refused" in intake.causes("list") and gateway.status().connected

            sim.accept()
            await intake.until(back)
            assert "refused" not in states
        assert intake.causes("list") == ["up", "down:refused", "up", "down:stopped"]
