"""The operator over HTTP does what the methods do, and a simulator runs as a process of its own."""

from __future__ import annotations

import asyncio
import base64
import signal
import sys
from typing import Any

import aiohttp
import pytest

from bridge.sim import PredictStreetKnobs, Simulator, TickTockKnobs, TickTockSim, from_line, run_simulator
from bridge.sim.operator import OPERATIONS
from bridge.sim.run import knobs_of
from tests.unit.sim.client import ending, frame, raw_frame, stream

BARE = TickTockKnobs(alive_every=None, snapshot=False)


async def post(http: aiohttp.ClientSession, sim: Simulator, operation: str, **arguments: Any) -> tuple[int, Any]:
    """Status and answer of an operation."""
    async with http.post(f"{sim.rest_url}/_sim/{operation}", json=arguments) as answer:
        return answer.status, await answer.json()


async def test_drop(http: aiohttp.ClientSession) -> None:
    """The code and reason reach the client; how many were dropped is told."""
    async with TickTockSim(seed=1, knobs=BARE) as sim:
        ws = await stream(http, sim)
        dropping = asyncio.create_task(post(http, sim, "drop", code=1012, reason="restart"))
        assert (await ending(ws))[:2] == (1012, "restart")
        assert await dropping == (200, {"done": True, "connections": 1})


async def test_refuse_revoke_restore(http: aiohttp.ClientSession) -> None:
    """Handshakes are refused by status, by key, and let in again."""

    async def status(sim: Simulator) -> int:
        try:
            await (await stream(http, sim)).close()
        except aiohttp.WSServerHandshakeError as error:
            return error.status
        return 101

    async with TickTockSim(seed=1, knobs=BARE) as sim:
        await post(http, sim, "refuse", status=502)
        assert await status(sim) == 502
        await post(http, sim, "accept")
        assert await status(sim) == 101
        await post(http, sim, "revoke")
        assert await status(sim) == 403
        await post(http, sim, "restore")
        assert await status(sim) == 101
        assert (await post(http, sim, "revoke", key="nobody"))[0] == 400


async def test_answers_are_wrong_or_late_as_often_as_told(http: aiohttp.ClientSession) -> None:
    """A body, status and Retry-After in place of the truth, on paths that begin so; then the truth again."""
    async with TickTockSim(seed=1, knobs=BARE) as sim:

        async def ask(path: str) -> tuple[int, str | None, str]:
            async with http.get(f"{sim.rest_url}{path}", headers={"X-API-Key": sim.api_key}) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.text()

        await post(http, sim, "answer", path="/cs2/", status=429, body="{", retry_after="7", times=2)
        assert await ask("/cs2/v1/matches") == (429, "7", "{")
        assert (await ask("/v1/whoami"))[0] == 200
        assert (await ask("/cs2/v1/settlements"))[0] == 429
        assert (await ask("/cs2/v1/settlements"))[0] == 200
        await post(http, sim, "answer", path="/v1/", delay=0.01)
        assert (await ask("/v1/whoami"))[0] == 200
        await post(http, sim, "accept")
        assert sim.misanswer is None


async def test_a_wrong_answer_to_everything_can_be_taken_back(http: aiohttp.ClientSession) -> None:
    """The operator's own paths are not among those that begin with the path that is meant by default."""
    async with TickTockSim(seed=1, knobs=BARE) as sim:
        assert (await post(http, sim, "answer", status=500, body="oops"))[0] == 200
        async with http.get(f"{sim.rest_url}/_sim/status") as answer:
            assert answer.status == 200
        assert (await post(http, sim, "accept"))[0] == 200
        assert sim.misanswer is None


async def test_the_feed_is_steered(http: aiohttp.ClientSession) -> None:
    """Pause, rate, faults, reset-seq, send, silence, alive, delay: each as its method."""
    async with TickTockSim(seed=1, rate=100, knobs=BARE) as sim:
        await post(http, sim, "pause")
        ws = await stream(http, sim)
        await post(http, sim, "send", base64=base64.b64encode(b"not json").decode(), fault="malformed:text")
        assert await raw_frame(ws) == "not json"
        await post(http, sim, "send", raw='{"type":"x"}')
        assert await frame(ws) == {"type": "x"}
        await post(http, sim, "reset-seq")
        await post(http, sim, "faults", unknown_field=1.0)
        await post(http, sim, "rate", rate=1000.0)
        await post(http, sim, "alive", on=False)
        await post(http, sim, "resume")
        first = await frame(ws)
        assert first["meta"]["seq"] == 1
        assert any(name.startswith("x_") for name in first["data"])
        assert (await post(http, sim, "silence"))[1]["connections"] == 1
        assert [each.silent for each in sim.connections] == [True]
        await post(http, sim, "silence", on=False)
        assert [each.silent for each in sim.connections] == [False]
        await post(http, sim, "delay", seconds=0.01)
        assert sim.connections[0].delay == 0.01


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("dance", {}), ("drop", {"cod": 1}), ("drop", {"code": 7}), ("rate", {"rate": -1}), ("faults", {"duplicate": 2}),
        ("faults", {"typo": 0.1}), ("send", {}), ("send", {"base64": "?"}), ("silence", {"on": "maybe"}),
    ],
)  # fmt: skip
async def test_nonsense_is_refused(http: aiohttp.ClientSession, operation: str, arguments: dict[str, Any]) -> None:
    """Unknown operations are 404, bad arguments 400, and both say what is wrong."""
    async with TickTockSim(seed=1) as sim:
        status, body = await post(http, sim, operation, **arguments)
        assert status == (400 if operation in OPERATIONS else 404)
        assert body["error"]


async def test_sent_and_expected_are_lines(http: aiohttp.ClientSession) -> None:
    """The ledger and the oracle can be read over HTTP."""
    async with (
        TickTockSim(seed=1, rate=None, limit=3000, faults={"duplicate": 0.1, "malformed": 0.1}, knobs=BARE) as sim,
        await stream(http, sim),
    ):
        await sim.wait(lambda s: s.sent.total == 3000)
        async with http.get(f"{sim.rest_url}/_sim/sent") as answer:
            assert [from_line(line) for line in (await answer.read()).splitlines()] == list(sim.sent)
        async with http.get(f"{sim.rest_url}/_sim/sent", params={"connection": "2"}) as answer:
            assert await answer.read() == b""
        async with http.get(f"{sim.rest_url}/_sim/expected") as answer:
            assert [from_line(line) for line in (await answer.read()).splitlines()] == [
                record.sent for record in sim.expected()
            ]
        async with http.get(f"{sim.rest_url}/_sim/status") as answer:
            assert (await answer.json())["sent"] == 3000


async def test_the_operator_can_be_left_out(http: aiohttp.ClientSession) -> None:
    """Without it the paths do not exist."""
    async with TickTockSim(operator=False) as sim, http.get(f"{sim.rest_url}/_sim/status") as answer:
        assert answer.status == 404


async def test_run_simulator_until_told_to_stop(http: aiohttp.ClientSession) -> None:
    """It serves from `ready` on until `stop` is set; knobs and faults may be plain mappings."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        run_simulator(
            "ticktock",
            knobs={"first_seq": 5, "alive_every": None},
            faults={"duplicate": 0.1},
            api_key="k",
            stop=stop,
            ready=ready.set_result,
        )
    )
    sim = await asyncio.wait_for(ready, 5)
    assert (await frame(await stream(http, sim, key="k")))["meta"]["seq"] == 5
    stop.set()
    await asyncio.wait_for(running, 5)


def test_bad_knobs_are_named() -> None:
    """A misspelt or impossible knob is a ValueError."""
    for bad in ({"first_sequence": 1}, {"seq_scope": "planet"}):
        with pytest.raises(ValueError, match=r"first_sequence|planet"):
            knobs_of("ticktock", bad)
    assert knobs_of("predictstreet", {"generation": 1}) == PredictStreetKnobs(generation=1)


async def test_a_process_ends_on_sigterm(http: aiohttp.ClientSession) -> None:
    """As a process of its own it prints where it listens, can be steered over HTTP, and ends with 0 on SIGTERM."""
    code = "import asyncio; from bridge.sim import run_simulator; asyncio.run(run_simulator('predictstreet', ready=lambda sim: print(sim.rest_url, flush=True)))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        async with http.get(f"{url}/_sim/status") as answer:
            assert (await answer.json())["kind"] == "predictstreet"
    finally:
        process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
