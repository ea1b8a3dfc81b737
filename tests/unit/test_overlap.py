"""Two connections tell whether sequence numbers are the gateway's or the connection's."""

from __future__ import annotations

from functools import partial
from typing import Literal

import pytest

from bridge.catalog import Catalog
from bridge.gateways import kinds
from bridge.ops.metrics import Metrics
from bridge.overlap import overlap
from bridge.settings import Secret, Url
from bridge.sim import TickTockKnobs, TickTockSim


@pytest.mark.parametrize(
    ("scope", "ok", "says"),
    [
        ("shared", True, "the same on both connections"),
        ("connection", False, "set dedupe.seq_scope: connection"),
    ],
)
async def test_the_scope_of_seq_is_found_out(scope: Literal["shared", "connection"], says: str, *, ok: bool) -> None:
    """Both ways the contract may be meant, on a simulated gateway that can do either."""
    gateway = kinds()["ticktock"]
    # The snapshot of the later connection would be numbered anew in either case.
    knobs = TickTockKnobs(seq_scope=scope, snapshot=False)
    async with TickTockSim(seed=3, rate=200, knobs=knobs) as sim:
        settings = gateway.Settings.model_validate(
            {"kind": "ticktock", "url": Url(sim.url), "api_key": Secret(sim.api_key)}
        )
        found = await overlap(
            "cs2",
            Catalog.load().kind("ticktock"),
            partial(gateway, "cs2", settings, metrics=Metrics()),
            seconds=3,
        )
    assert says in found.text
    assert found.ok is ok


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
            seconds=0.5,
        )
    assert found.ok
    assert "only" in found.text
