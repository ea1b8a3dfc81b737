"""What an operator may do to a running simulator, and how it keeps its pace."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from bridge.sim import Faults, TickTockKnobs, TickTockSim, from_line
from bridge.sim.faults import MIB
from tests.unit.sim.client import WAIT, decoded, ending, frame, frames, raw_frame, stream

QUIET = TickTockKnobs(alive_every=None)
BARE = TickTockKnobs(alive_every=None, snapshot=False)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4000])
async def test_drop_closes_with_the_code_after_everything_written(http: aiohttp.ClientSession, code: int) -> None:
    """A clean close delivers what was written before it, then the code and reason."""
    async with TickTockSim(seed=1, rate=2000, knobs=QUIET) as sim:
        ws = await stream(http, sim)
        await sim.wait(lambda s: s.sent.total > 200)
        dropping = asyncio.create_task(sim.drop(code=code, reason="maintenance"))
        assert await ending(ws) == (code, "maintenance", [sent.raw.decode() for sent in sim.sent.of(1)])
        assert await dropping == 1
        assert sim.connections == []


async def test_drop_may_cut_the_line(http: aiohttp.ClientSession) -> None:
    """An abort is no close frame: the client sees the line break."""
    async with TickTockSim(seed=1, rate=500, knobs=QUIET) as sim:
        ws = await stream(http, sim)
        await frame(ws)
        assert await sim.drop(abort=True) == 1
        assert (await ending(ws))[0] is None


async def test_one_of_several_connections_can_be_dropped(http: aiohttp.ClientSession) -> None:
    """The others live on."""
    async with TickTockSim(seed=1, rate=500, knobs=BARE) as sim:
        one, two = await stream(http, sim), await stream(http, sim)
        assert await sim.drop(abort=True, connection=1) == 1
        assert (await ending(one))[0] is None
        assert await frame(two)
        assert [each.number for each in sim.connections] == [2]


async def test_codes_that_no_frame_holds_are_refused() -> None:
    """No close frame can say 42."""
    async with TickTockSim() as sim:
        with pytest.raises(ValueError, match="42"):
            await sim.drop(code=42)


async def test_silence_is_an_open_line_without_a_word(http: aiohttp.ClientSession) -> None:
    """Nothing comes, no pong, no answer to a close; when it ends, data flows again and the meantime is lost."""
    async with TickTockSim(seed=1, rate=1000, knobs=TickTockKnobs(alive_every=0.02, snapshot=False)) as sim:
        ws = await stream(http, sim)
        await frame(ws)
        assert sim.silence() == 1
        written, produced = sim.connections[0].written, sim.produced
        await ws.ping()
        await sim.wait(lambda s: s.produced > produced + 100)
        assert sim.connections[0].written == written
        assert sim.connections[0].open
        sim.silence(on=False)
        await sim.wait(lambda s: s.connections[0].written > written)
        assert sim.sent.total < sim.produced


async def test_a_silent_line_does_not_answer_a_close(http: aiohttp.ClientSession) -> None:
    """The client's goodbye stays unanswered, as on a half-open line."""
    async with TickTockSim(seed=1, rate=100, knobs=BARE) as sim:
        ws = await http.ws_connect(
            f"{sim.url}/cs2/v1/stream", params={"api_key": sim.api_key}, timeout=aiohttp.ClientWSTimeout(ws_close=0.2)
        )
        await frame(ws)
        sim.silence()
        await ws.close()
        assert ws.close_code == 1006
        assert len(sim.connections) == 1 or not sim.connections[0].open


async def test_silence_may_await_newcomers(http: aiohttp.ClientSession) -> None:
    """With future, new connections are let in and told nothing."""
    async with TickTockSim(seed=1, rate=1000, knobs=QUIET) as sim:
        sim.silence(future=True)
        client = await stream(http, sim)
        await sim.wait(lambda s: s.produced > 50)
        assert sim.sent.total == 0
        assert not client.closed


async def test_refuse_by_status(http: aiohttp.ClientSession) -> None:
    """So many handshakes get the status, then the next gets in."""
    async with TickTockSim(seed=1, knobs=QUIET) as sim:
        sim.refuse(status=503, times=2)
        for _ in range(2):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await stream(http, sim)
            assert caught.value.status == 503
        assert await frame(await stream(http, sim))
        assert sim.refused == 2


async def test_refuse_by_close_code_until_accepted_again(http: aiohttp.ClientSession) -> None:
    """Accept, then close at once; `accept` ends it."""
    async with TickTockSim(seed=1, knobs=QUIET) as sim:
        sim.refuse(code=1013, reason="try later")
        assert await ending(await stream(http, sim)) == (1013, "try later", [])
        sim.accept()
        assert await frame(await stream(http, sim))


async def test_refuse_by_cutting(http: aiohttp.ClientSession) -> None:
    """No answer at all to the upgrade."""
    async with TickTockSim(seed=1) as sim:
        sim.refuse(abort=True)
        with pytest.raises(aiohttp.ClientConnectionError):
            await stream(http, sim)


async def test_pause_and_resume(http: aiohttp.ClientSession) -> None:
    """A paused world produces nothing, keep-alive goes on."""
    async with TickTockSim(seed=1, rate=1000, knobs=TickTockKnobs(alive_every=0.01, snapshot=False)) as sim:
        sim.pause()
        ws = await stream(http, sim)
        produced = sim.produced
        for each in await frames(ws, 5):
            assert each["data"].get("status") == "ok"
        assert sim.produced == produced
        sim.resume()
        await sim.wait(lambda s: s.produced > produced)


async def test_limit_ends_the_feed(http: aiohttp.ClientSession) -> None:
    """Exactly so many frames, no more."""
    async with TickTockSim(seed=1, rate=None, limit=333, knobs=BARE) as sim:
        ws = await stream(http, sim)
        await sim.wait(lambda s: s.sent.total == 333)
        assert len([await raw_frame(ws) for _ in range(333)]) == 333
        await sim.drop(code=1000)
        assert (await ending(ws))[2] == []
        assert sim.produced == 333


async def test_the_world_waits_for_its_audience(http: aiohttp.ClientSession) -> None:
    """With wait_for nothing is produced before so many listen."""
    async with TickTockSim(seed=1, rate=2000, wait_for=2, knobs=BARE) as sim, await stream(http, sim):
        await asyncio.sleep(0)
        assert sim.produced == 0
        async with await stream(http, sim):
            await sim.wait(lambda s: s.produced > 0)


async def test_rate_is_kept(http: aiohttp.ClientSession) -> None:
    """A thousand frames at 2,000 per second take half a second, not less; a new rate takes effect."""
    async with TickTockSim(seed=1, rate=2000, wait_for=1, knobs=BARE) as sim, await stream(http, sim):
        began = time.monotonic()
        await sim.wait(lambda s: s.produced >= 1000)
        assert 0.4 < time.monotonic() - began < 5
        sim.set_rate(1.0)
        produced = sim.produced
        await asyncio.sleep(0.3)
        assert sim.produced <= produced + 300  # what was owed when the rate changed
        with pytest.raises(ValueError, match="rate"):
            sim.set_rate(0)


async def test_as_fast_as_the_reader_takes(http: aiohttp.ClientSession) -> None:
    """Without a rate a reader that does not read stops the feed; when it reads, the feed goes on."""
    async with TickTockSim(seed=1, rate=None, keep=0, knobs=BARE) as sim:
        ws = await stream(http, sim)
        stalled = -1
        while sim.produced != stalled:
            stalled = sim.produced
            await asyncio.sleep(0.05)
        assert stalled > 0
        for _ in range(stalled // 2):
            await raw_frame(ws)
        await sim.wait(lambda s: s.produced > stalled)


async def test_a_reader_that_lags_too_far_is_cut_off(http: aiohttp.ClientSession) -> None:
    """At a rate the backlog of a client is bounded."""
    async with (
        TickTockSim(seed=1, rate=20_000, knobs=BARE, backlog_limit=100_000, keep=0) as sim,
        await stream(http, sim),
    ):
        await sim.wait(lambda s: s.accepted == 1 and not s.connections)


async def test_delay_holds_everything_back_in_order(http: aiohttp.ClientSession) -> None:
    """With a delay frames come later, in order, and REST answers too."""
    async with TickTockSim(seed=1, rate=300, knobs=BARE) as sim:
        ws = await stream(http, sim)
        sim.set_delay(0.15)
        began = time.monotonic()
        async with http.get(f"{sim.rest_url}/v1/alive", headers={"X-API-Key": sim.api_key}) as answer:
            assert answer.status == 200
        assert time.monotonic() - began >= 0.15
        sim.set_delay(0.0)
        seen = [each["meta"]["seq"] for each in await frames(ws, 60)]
        assert seen == list(range(seen[0], seen[0] + 60))


async def test_faults_can_be_switched_at_run_time(http: aiohttp.ClientSession) -> None:
    """From healthy to faulty and back."""
    async with TickTockSim(seed=1, rate=2000, knobs=BARE) as sim, await stream(http, sim):
        await sim.wait(lambda s: s.sent.total > 50)
        assert {sent.fault for sent in sim.sent} == {None}
        sim.set_faults({"duplicate": 0.5})
        await sim.wait(lambda s: sum(sent.fault == "duplicate" for sent in s.sent) > 10)
        with pytest.raises(ValueError, match="unknown fault"):
            sim.set_faults({"typo": 0.5})


async def test_large_frames_arrive_whole(http: aiohttp.ClientSession) -> None:
    """Frames of megabytes, by rate or by hand, among small ones."""
    faults = Faults(large=1.0, large_bytes=2 * MIB)
    async with TickTockSim(seed=1, rate=200, faults=faults, knobs=BARE) as sim:
        sim.stream.world.chatter = 0.5
        async with http.ws_connect(f"{sim.url}/cs2/v1/stream", params={"api_key": sim.api_key}, max_msg_size=0) as ws:
            while len(raw := await raw_frame(ws)) < 2 * MIB:
                pass
            assert decoded(raw)["type"] == "match.updated"
            sim.pause()
            sim.send(b'"' + b"x" * (5 * MIB) + b'"')
            while len(await raw_frame(ws)) != 5 * MIB + 2:
                pass


async def test_the_ledger_can_be_spooled(http: aiohttp.ClientSession, tmp_path: Path) -> None:
    """Every frame ever sent is a line of the file, though memory forgets."""
    spool = tmp_path / "sent.jsonl"
    faults = {"malformed": 0.3}
    async with (
        TickTockSim(seed=1, rate=None, limit=1500, spool=spool, keep=100, faults=faults, knobs=BARE) as sim,
        await stream(http, sim),
    ):
        await sim.wait(lambda s: s.sent.total == 1500)
        tail = list(sim.sent)
    with spool.open("rb") as lines:
        spooled = [from_line(line) for line in lines]
    assert len(spooled) == 1500
    assert spooled[-len(tail) :] == tail
    assert [sent.index for sent in spooled] == list(range(1500))
    assert 100 <= len(tail) < 1500


async def test_wait_times_out() -> None:
    """What never happens is a TimeoutError."""
    async with TickTockSim() as sim:
        with pytest.raises(TimeoutError):
            await sim.wait(lambda s: s.accepted > 0, seconds=0.05)


async def test_stopping_closes_connections_with_1001(http: aiohttp.ClientSession) -> None:
    """At the end clients are told that the server goes away; stopping twice does no harm."""
    sim = TickTockSim(seed=1, knobs=BARE)
    await sim.start()
    ws = await stream(http, sim)
    stopping = asyncio.create_task(sim.stop())
    assert (await ending(ws))[0] == 1001
    await asyncio.wait_for(stopping, WAIT)
    await sim.stop()


async def test_the_key_is_in_no_log(http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    """At the most talkative level no line has the key in it."""
    caplog.set_level(0)
    async with TickTockSim(seed=1, api_key="marker-5d41", knobs=QUIET) as sim:
        assert await frame(await stream(http, sim))
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await stream(http, sim, key="marker-5d41-wrong")
        assert "marker-5d41" not in str(sim.status())
    assert "marker-5d41" not in caplog.text
