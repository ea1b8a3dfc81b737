"""A script is sent byte for byte, at its rate, and goes on after a reconnect as told."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

import aiohttp
import pytest

from bridge.sim import PredictStreetKnobs, Scripted, TickTockKnobs, TickTockSim, frames, play, simulator
from bridge.sim.predictstreet import PredictStreetSim
from bridge.sim.script import Script
from tests.unit.sim.client import command, ending, frame, raw_frame, stream, subscribed

QUIET = TickTockKnobs(alive_every=None)


async def texts(ws: aiohttp.ClientWebSocketResponse, count: int) -> list[bytes]:
    """The next frames, as bytes."""
    return [(await raw_frame(ws)).encode() for _ in range(count)]


async def test_exactly_these_frames_and_then_keep_alive(http: aiohttp.ClientSession) -> None:
    """Every byte in order, no snapshot before it; afterwards only alive."""
    script = frames("ticktock", 2000, seed=9, faults={"duplicate": 0.1})
    async with Scripted("ticktock", script, knobs=TickTockKnobs(alive_every=0.05)) as sim:
        ws = await stream(http, sim)
        received: list[bytes] = []
        while len(received) < len(script):
            raw = await raw_frame(ws)
            if '"timestamp"' not in raw:
                received.append(raw.encode())
        assert received == script
        assert sim.script is not None
        await sim.script.finished()
        for _ in range(3):
            assert (await frame(ws))["data"]["status"] == "ok"


async def test_the_ledger_and_the_oracle_know_the_script(http: aiohttp.ClientSession) -> None:
    """Faults given with the frames are in the ledger, so `expected` can be asked."""
    played = [
        sent
        for sent, _ in zip(
            play("ticktock", seed=3, faults={"malformed": 0.1, "duplicate": 0.1}), range(1000), strict=False
        )
    ]
    script = [sent.raw for sent in played]
    async with (
        Scripted("ticktock", script, frame_faults=[sent.fault for sent in played], knobs=QUIET) as sim,
        await stream(http, sim),
    ):
        assert sim.script is not None
        await sim.script.finished()
        assert [sent.fault for sent in sim.sent] == [sent.fault for sent in played]
        outcomes = [record.outcome for record in sim.expected()]
        assert len(outcomes) == len({(sent.raw) for sent in played})
        assert outcomes.count("dead_letter") == len(
            {sent.raw for sent in played if (sent.fault or "").startswith("malformed")}
        )


async def test_the_rate_holds(http: aiohttp.ClientSession) -> None:
    """500 frames at 1,000 per second take half a second."""
    async with Scripted("ticktock", frames("ticktock", 500), rate=1000, knobs=QUIET) as sim, await stream(http, sim):
        began = time.monotonic()
        assert sim.script is not None
        await sim.script.finished()
        assert time.monotonic() - began > 0.4


@pytest.mark.parametrize(("overlap", "repeated"), [(0, 0), (25, 25)])
async def test_resume_after_a_clean_close(http: aiohttp.ClientSession, overlap: int, repeated: int) -> None:
    """The second connection begins after the last frame of the first, less the overlap: together, every frame."""
    script = frames("ticktock", 3000)
    async with Scripted("ticktock", script, rate=4000, overlap=overlap, knobs=QUIET) as sim:
        ws = await stream(http, sim)
        first = await texts(ws, 300)
        dropping = asyncio.create_task(sim.drop(code=1012))
        first += [text.encode() for text in (await ending(ws))[2]]
        await dropping
        assert len(first) < len(script)
        second = await texts(await stream(http, sim), len(script) - len(first) + repeated)
        assert first[: len(first) - repeated] + second == script


async def test_restart(http: aiohttp.ClientSession) -> None:
    """Every connection gets the script from its beginning."""
    script = frames("ticktock", 400)
    async with Scripted("ticktock", script, on_reconnect="restart", knobs=QUIET) as sim:
        one, two = await stream(http, sim), await stream(http, sim)
        assert await texts(one, 400) == script
        assert await texts(two, 400) == script


async def test_continue_skips_what_nobody_heard(http: aiohttp.ClientSession) -> None:
    """The script's clock runs on while nobody is connected."""
    script = frames("ticktock", 20_000)
    async with Scripted("ticktock", script, rate=2000, on_reconnect="continue", knobs=QUIET) as sim:
        ws = await stream(http, sim)
        assert await texts(ws, 10) == script[:10]
        await sim.drop(abort=True)
        left = sim.script.position if sim.script else 0
        await asyncio.sleep(0.2)  # time itself is what passes here
        (raw,) = await texts(await stream(http, sim), 1)
        assert script.index(raw) > left + 100


async def test_detail_channels_only_keep_alive(http: aiohttp.ClientSession) -> None:
    """The script is the list channel's."""
    async with Scripted("ticktock", frames("ticktock", 100), knobs=TickTockKnobs(alive_every=0.02)) as sim:
        assert isinstance(sim, TickTockSim)
        ws = await stream(http, sim, sim.stream.world.live[0].id)
        assert (await frame(ws))["data"]["status"] == "ok"
        assert sim.script is not None
        assert sim.script.position == 0


async def test_predictstreet_begins_with_the_subscription(http: aiohttp.ClientSession) -> None:
    """Greeting and commands work as ever; the script begins once something is subscribed, with no snapshot of the world."""
    script = frames("predictstreet", 500, seed=2)
    async with Scripted("predictstreet", script, seed=2) as sim:
        assert isinstance(sim, PredictStreetSim)
        ws = await subscribed(http, sim, "token_book", "system")
        assert await texts(ws, 500) == script
        await command(ws, "ping")
        assert (await frame(ws))["type"] == "pong"


@pytest.mark.parametrize("kind", ["ticktock", "predictstreet"])
def test_knobs_must_fit(kind: Literal["ticktock", "predictstreet"]) -> None:
    """The other gateway's knobs are refused."""
    with pytest.raises(TypeError):
        simulator(kind, knobs=PredictStreetKnobs() if kind == "ticktock" else TickTockKnobs())


def test_faults_must_match_frames() -> None:
    """One fault, or None, for each frame."""
    with pytest.raises(ValueError, match="1 faults for 2 frames"):
        Script([b"{}", b"[]"], faults=[None])
