"""The journal's disk is full: the process lives, the socket waits, and nothing that was received is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.bridges import RATE, Outcome, feed, memory, settings
from tests.chaos.disk import Disk, Quota, Tmpfs
from tests.chaos.stream import CLEAN
from tests.chaos.test_crashes import journaled
from tests.kafka.conftest import Kafka
from tests.running import BridgeProcess


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [Quota, Tmpfs])
async def test_full_disk_under_load(
    kafka: Kafka, topic_prefix: str, tmp_path: Path, kind: type[Disk], *, soak: bool
) -> None:
    """No room for the journal for 60 s (2 in short): status and log tell, memory is flat; the gateway gives up on us, and
    what is missing lies in gaps. Killed while there is no room, and started again, it loses nothing that the journal holds.
    """  # noqa: D205
    away = 60.0 if soak else 2.0
    try:
        disk = kind(tmp_path / "disk")
    except PermissionError as error:
        pytest.skip(f"may not mount: {error}; the same is tested with Quota")
    reached: set[int] = set()
    with disk:
        async with feed() as sim:
            config = settings(
                sim, kafka.bootstrap, topic_prefix, journal={"path": str(disk.folder / "journal"), "max_bytes": "1GiB"}
            )
            async with BridgeProcess(config, tmp_path / "bridge") as bridge:
                await bridge.ready()
                await bridge.received(round(RATE), gateway="cs2")
                pid, before = bridge.pid, memory(bridge)

                disk.fill(bridge)
                await not_read(bridge)
                [told] = [event for event in bridge.events() if event["event"] == "journal_refused"]
                assert told["level"] == "error"
                assert told["reason"] in {"No space left on device", "File too large"}
                await asyncio.sleep(away)  # meanwhile the gateway goes on sending
                during = memory(bridge)
                assert await sim.drop(abort=True) == 1
                disk.free(bridge)
                await sim.wait(lambda _: sim.accepted == 2, seconds=60)
                await flows(bridge)
                after = memory(bridge)
                assert bridge.pid == pid

                disk.fill(bridge)
                await not_read(bridge)
                bridge.kill()
                reached |= journaled(bridge.journal_of(0), tmp_path / "copy")
                await bridge.start()
                if isinstance(disk, Tmpfs):  # a quota was that of the process that died
                    await not_read(bridge)
                    disk.free(bridge)
                await sim.wait(lambda _: sim.accepted == 3, seconds=60)
                await flows(bridge)
                assert await bridge.stop() == 0
        outcome = Outcome(sim, kafka.bootstrap, topic_prefix)
    print(f"MiB before {before}, without room {during}, after {after}; {outcome}")  # noqa: T201
    verdict = outcome.verdict(reached | set(range(min(outcome.received), max(outcome.received) + 1)))
    assert verdict._replace(missing=[]) == CLEAN
    assert verdict.missing, "nothing was missed: the gaps are not put to the test"
    assert not reached & set(verdict.missing)
    assert outcome.unexplained == []
    assert max(during, after) - before < 40


async def not_read(bridge: BridgeProcess) -> None:
    """Return when the socket is no longer read, and the status says so."""
    await bridge.until(
        lambda status: "not read" in str(status["gateways"][0]["connections"][0]["detail"]),
        what="the socket is not read, and says so",
    )


async def flows(bridge: BridgeProcess) -> None:
    """Return when more has been published since, and all is well."""
    had = int((await bridge.until(lambda status: bool(status["gateways"]), what="status"))["gateways"][0]["published"])
    await bridge.until(
        lambda status: (
            bool(status["ready"])
            and status["gateways"][0]["detail"] is None
            and int(status["gateways"][0]["published"]) > had + RATE
            and status["lanes"][0]["behind"] < RATE
        ),
        what="all is well",
    )
