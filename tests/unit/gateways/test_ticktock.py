"""bridge.gateways.ticktock against the simulated TickTock."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.gateways.gateway import Outside
from bridge.gateways.ticktock import SCOPES, Stream, TickTock, TickTockSettings
from bridge.ops.metrics import Metrics
from bridge.settings import Url
from bridge.sim.keys import TICKTOCK_SCOPES, Key
from bridge.sim.ticktock import TickTockSim
from bridge.sim.ticktock_stream import TickTockKnobs
from tests.unit.gateways.doubles import MemoryIntake

MARKER = "ttk_live_s3cr3t-marker/+&"


def settings(sim: TickTockSim, *, rest: bool = True, **more: Any) -> TickTockSettings:
    """Settings for a simulator."""
    given = {"kind": "ticktock", "url": sim.url, "api_key": sim.api_key, **more}
    return TickTockSettings.model_validate(given | ({"rest": {"url": sim.rest_url}} if rest else {}))


@contextlib.asynccontextmanager
async def running(
    chosen: TickTockSettings, *, outside: Outside | None = None
) -> AsyncIterator[tuple[TickTock, MemoryIntake, Metrics]]:
    """A gateway at work, with what it fed."""
    intake, metrics = MemoryIntake(), Metrics()
    gateway = TickTock("cs2", chosen, intake=intake, metrics=metrics, outside=outside or Outside(chance=lambda: 0.01))
    task = asyncio.create_task(gateway.run())
    try:
        yield gateway, intake, metrics
        assert not task.done(), "a gateway runs until it is cancelled"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_list_stream_gives_every_frame_that_was_sent_in_order() -> None:
    """`alive` too, through a dozen cuts of all kinds; what one connection carried is there without a hole."""
    async with TickTockSim(rate=500, seed=3, knobs=TickTockKnobs(alive_every=0.05)) as sim:
        async with running(settings(sim, silence=5)) as (gateway, intake, metrics):
            for number in range(12):
                await intake.until(lambda number=number: intake.causes("list").count("up") == number + 1)  # type: ignore[misc]
                count = len(intake.frames)
                await intake.until(lambda count=count: len(intake.frames) > count + 20)  # type: ignore[misc]
                if number < 11:
                    await sim.drop(code=(1001, 1011, 1012)[number % 3], abort=number % 4 == 3)
            assert gateway.status().connected
            assert metrics.total("gateway_connected", gateway="cs2") == 1
            assert metrics.total("reconnects_total", gateway="cs2") == 11
            last, begin = sim.connections[-1].number, intake.positions[-1]
            await intake.until(lambda: len(intake.frames) > begin + 200)
        received = [frame.raw for frame in intake.frames]
        carried = [sent.raw for sent in sim.sent if sent.connection == last]
        assert received[begin:] == carried[: len(received) - begin]
        assert any(b'"alive"' in raw or raw.startswith(b'{"data":{"status"') for raw in received)
        assert {(frame.connection, frame.hint) for frame in intake.frames} == {("list", None)}
        assert intake.causes("list") == [*["up", "down:disconnect"] * 11, "up", "down:stopped"]
        assert sim.status()["sent"] > 0


async def test_detail_streams_carry_their_match_as_a_hint() -> None:
    """One socket for each id; one that does not exist is absent and keeps nobody from being connected."""
    async with TickTockSim(rate=300, seed=4) as sim:
        ids = [match.id for match in sim.stream.world.live[:2]]
        async with running(settings(sim, rest=False, matches=[*ids, "no-such", ids[0]])) as (gateway, intake, _):
            await intake.until(lambda: {frame.hint for frame in intake.frames} == set(ids))
            await intake.until(lambda: gateway.status().connected)
            states = {each.name: each.state for each in gateway.status().connections}
        assert states == {f"match:{ids[0]}": "live", f"match:{ids[1]}": "live", "match:no-such": "absent"}
        assert all(frame.connection == f"match:{frame.hint}" for frame in intake.frames)
        assert intake.causes("match:no-such") == []


async def test_live_follows_the_list_of_live_matches() -> None:
    """A stream opens when a match goes live; when it is over, its stream is closed a while later, and is no gap."""
    async with TickTockSim(rate=50, seed=4) as sim:
        hours = [0.0]

        async def sleep(seconds: float) -> None:
            hours[0] += 60 if seconds == 15 else 0
            await asyncio.sleep(0.02)

        outside = Outside(
            sleep=sleep, chance=lambda: 0.01, monotonic=lambda: asyncio.get_running_loop().time() + hours[0]
        )
        chosen = settings(sim, matches="live", silence=1e9)
        async with running(chosen, outside=outside) as (gateway, intake, _):
            first = {match.id for match in sim.stream.world.live}
            await intake.until(lambda: {frame.hint for frame in intake.frames} >= first)
            over = sim.stream.world.live[0]
            over.status = "finished"
            sim.stream.world.live.remove(over)
            await intake.until(lambda: "gone" in intake.causes(f"match:{over.id}"))
            assert intake.causes(f"match:{over.id}") == ["up", "gone"]
            assert f"match:{over.id}" not in {each.name for each in gateway.status().connections}


async def test_a_live_match_whose_stream_is_not_there_yet_is_looked_for_soon() -> None:
    """The list may be ahead of the stream: not five minutes, but the next reading of the list."""
    async with TickTockSim(rate=50, seed=4) as sim:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await asyncio.sleep(3600 if seconds > 60 else 0.02)

        sim.refuse(status=404, times=len(sim.stream.world.live))
        outside = Outside(sleep=sleep, chance=lambda: 0.01)
        async with running(settings(sim, matches="live"), outside=outside) as (gateway, intake, _):
            await intake.until(lambda: gateway.status().connected)
            assert gateway.status().connections
        assert max(slept) > 60


@pytest.mark.parametrize("auth_close", [None, 1008, 4401, 4403])
async def test_a_revoked_key_is_refused_and_not_tried_again(auth_close: int | None) -> None:
    """By HTTP status or by a close right after the upgrade."""
    async with (
        TickTockSim(rate=200, seed=1, auth_close=auth_close) as sim,
        running(settings(sim)) as (gateway, intake, metrics),
    ):
        await intake.until(lambda: len(intake.frames) > 5)
        await sim.revoke()
        await intake.until(lambda: gateway.status().refused, seconds=20)
        refused = sim.refused
        status = gateway.status()
        assert (status.state, status.connected) == ("refused", False)
        assert "deactivated" in (status.detail or "")
        assert (status.detail or "").endswith("; the key is gateways.cs2.api_key")
        assert metrics.total("gateway_connected", gateway="cs2") == 0
        await asyncio.sleep(0.1)
        assert sim.refused == refused
    assert len(intake.causes("list")) == 2


async def test_silence_and_a_half_open_line_are_noticed() -> None:
    """TCP stays open, nothing comes: a new connection, and the gap says silence."""
    async with (
        TickTockSim(rate=200, seed=1) as sim,
        running(settings(sim, rest=False, silence=0.3)) as (_, intake, metrics),
    ):
        await intake.until(lambda: len(intake.frames) > 5)
        sim.silence()
        await intake.until(lambda: intake.causes("list") == ["up", "down:silence", "up"])
        assert metrics.total("reconnects_total", gateway="cs2", cause="silence") == 1


async def test_a_snapshot_longer_than_the_limit_is_named_and_tried_again_less_and_less_often() -> None:
    """Never a silent loop: cause oversize in gap, metric and status."""
    async with TickTockSim(rate=None, seed=1, faults={"large": 1.0, "large_bytes": 200_000}) as sim:
        async with running(settings(sim, rest=False, max_frame="64KiB")) as (gateway, intake, metrics):
            await intake.until(lambda: metrics.total("reconnects_total", gateway="cs2", cause="oversize") >= 2)
            await intake.until(lambda: "max_frame" in (gateway.status().detail or ""))
        assert "down:oversize" in intake.causes("list")


async def test_check_says_what_the_key_may_see() -> None:
    """Scopes that are missing are named with the frames that will never come; nothing is fed."""
    key = Key(token=MARKER, scopes=TICKTOCK_SCOPES - {"cs2:stream:scoreboard"})
    async with TickTockSim(rate=100, seed=1, keys=[key]) as sim:
        intake = MemoryIntake()
        live = sim.stream.world.live[0].id
        for matches, streams in (("all", 1), ([live, "no-such"], 2), ("live", 1)):
            gateway = TickTock("cs2", settings(sim, matches=matches), intake=intake, metrics=Metrics())
            found = await gateway.check()
            text = " | ".join(each.text for each in found)
            assert "scoreboard.frame: such frames will never come" in text
            assert text.count("is open and frames come") == 1
            assert text.count("stream of") == streams
            assert MARKER not in text
            assert [each.ok for each in found if "does not exist" in each.text] == [False] * (streams - 1)
        bad = settings(sim).model_copy(update={"api_key": settings(sim, api_key="ttk_wrong").api_key})
        found = await TickTock("cs2", bad, intake=intake, metrics=Metrics()).check()
        assert [each.ok for each in found] == [False, False]
        assert all("403" in each.text for each in found)
        assert all(each.text.endswith("; the key is gateways.cs2.api_key") for each in found)
        assert (intake.frames, intake.events) == ([], [])


async def test_no_log_status_or_finding_holds_the_key(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """At debug level, through connects, cuts and a refusal."""
    key = Key(token=MARKER, scopes=TICKTOCK_SCOPES)
    shown = []
    with caplog.at_level(logging.DEBUG):
        async with (
            TickTockSim(rate=200, seed=1, keys=[key]) as sim,
            running(settings(sim)) as (gateway, intake, _),
        ):
            await intake.until(lambda: len(intake.frames) > 5)
            shown.append(str(gateway.status()))
            await sim.drop(abort=True)
            await intake.until(lambda: intake.causes("list")[-1] == "up" and len(intake.events) == 3)
            await sim.revoke()
            await intake.until(lambda: gateway.status().refused, seconds=20)
            shown += [str(gateway.status()), str(await gateway.check()), repr(gateway._settings)]
    everything = (
        caplog.text + "".join(capsys.readouterr()) + "".join(shown) + json.dumps([str(each) for each in intake.events])
    )
    assert "gateway_refused" in everything
    assert "s3cr3t" not in everything


def test_the_key_is_quoted_in_the_url() -> None:
    """And so is a match id, which comes from REST."""
    stream = Stream(Url("wss://host:8443/base/"), lambda: MARKER, "a/b?c")
    assert stream.url() == "wss://host:8443/base/cs2/v1/stream/a%2Fb%3Fc?api_key=ttk_live_s3cr3t-marker%2F%2B%26"
    assert stream.headers() == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"matches": "live"}, "needs `rest`"),
        ({"matches": []}, "at least 1"),
        ({"matches": "some"}, "matches"),
        ({"url": "https://host"}, "wss://"),
        ({"api_key": "two words"}, "api_key"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    """Before anything is opened, in words."""
    with pytest.raises(ValidationError, match=words):
        TickTockSettings.model_validate({"kind": "ticktock", "url": "wss://host", "api_key": "k", **given})


def test_the_example_of_the_design_is_accepted() -> None:
    """Recovery settings too, which another part reads."""
    chosen = TickTockSettings.model_validate(
        {
            "kind": "ticktock",
            "url": "wss://ticktock.bet",
            "api_key": "k",
            "rest": {"url": "https://ticktock.bet"},
            "recovery": {"amqp": {"url": "amqps://user:pass@host:5671/vhost", "exchange": "ttfeed"}},
        }
    )
    assert chosen.matches == "all"
    assert (chosen.silence, chosen.max_frame) == (30, 16 * 1024 * 1024)
    assert sum(map(len, SCOPES.values())) == 15
