"""Two connections tell whether sequence numbers are the gateway's or the connection's."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest

from bridge.catalog import Catalog
from bridge.gateways import kinds
from bridge.ops.metrics import Metrics
from bridge.overlap import overlap
from bridge.settings import Secret, Url
from bridge.sim import TickTockKnobs, TickTockSim

if TYPE_CHECKING:
    from bridge.finding import Finding


Numbering = Literal["new", "same", "reset"]


@pytest.mark.parametrize("snapshot", ["new", "same", "reset"])
async def test_a_sound_feed_passes_however_its_snapshots_are_numbered(snapshot: Numbering) -> None:
    """The snapshot of the later connection repeats states, mostly under numbers of its own: that promises nothing."""
    found = await _find(TickTockKnobs(snapshot_seq=snapshot), scope="global")
    assert "the same on both connections" in found.text
    assert found.ok


async def test_numbers_of_each_connection_are_found_out() -> None:
    """With global scope that is wrong, and the finding says what to set; with the scope it asks for, nothing is."""
    found = await _find(TickTockKnobs(seq_scope="connection"), scope="global")
    assert "set dedupe.seq_scope: connection" in found.text
    assert not found.ok
    found = await _find(TickTockKnobs(seq_scope="connection"), scope="connection")
    assert "as dedupe.seq_scope: connection says" in found.text
    assert found.ok


async def test_a_narrower_scope_than_needed_is_only_said() -> None:
    """It does no harm that the numbers are the same for all."""
    found = await _find(TickTockKnobs(), scope="connection")
    assert "dedupe.seq_scope may be global" in found.text
    assert found.ok


async def test_a_connection_that_was_cut_begins_anew() -> None:
    """The snapshot after it is as little judged as the first one."""
    found = await _find(TickTockKnobs(), scope="global", cut=True)
    assert "the same on both connections" in found.text
    assert found.ok


async def _find(knobs: TickTockKnobs, *, scope: str, cut: bool = False) -> Finding:
    gateway = kinds()["ticktock"]
    async with TickTockSim(seed=3, rate=1000, knobs=knobs) as sim:
        settings = gateway.Settings.model_validate(
            {"kind": "ticktock", "url": Url(sim.url), "api_key": Secret(sim.api_key)}
        )
        make = partial(gateway, "cs2", settings, metrics=Metrics())
        finding = asyncio.create_task(overlap("cs2", Catalog.load().kind("ticktock"), make, scope=scope, seconds=3))
        if cut:
            await sim.wait(lambda it: len(it.connections) == 2)
            await sim.drop(connection=sim.connections[0].number)
        return await finding


async def test_too_few_frames_prove_nothing() -> None:
    """Said as such, and no reason to fail."""
    gateway = kinds()["ticktock"]
    async with TickTockSim(seed=3, rate=1, knobs=TickTockKnobs(snapshot=False)) as sim:
        settings = gateway.Settings.model_validate(
            {"kind": "ticktock", "url": Url(sim.url), "api_key": Secret(sim.api_key)}
        )
        found = await overlap(
            "cs2",
            Catalog.load().kind("ticktock"),
            partial(gateway, "cs2", settings, metrics=Metrics()),
            scope="global",
            seconds=0.5,
        )
    assert found.ok
    assert "only" in found.text
