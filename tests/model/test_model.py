"""The promises hold in every run: five hundred in the short form, twelve thousand in the full one."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.model import run as model

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Runs of the short form; the full one has so many, each of other seeds.
SHORT: Final = 500
FULL: Final = 12_000


def _some(seeds: range) -> list[model.Outcome]:
    with model.simulated() as folder:
        return [model.run(seed, folder) for seed in seeds]


def _all(seeds: range) -> Iterator[model.Outcome]:
    """Spread over the processors."""
    parts = [range(first, min(first + 25, seeds.stop)) for first in range(seeds.start, seeds.stop, 25)]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for outcomes in pool.imap_unordered(_some, parts):
            yield from outcomes


@pytest.mark.timeout(900)
def test_no_promise_is_broken_whatever_fails(*, soak: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Crashes, pauses, partitions, lost answers, full disks, cut gateways …, at least five in each run."""
    began, faults = time.monotonic(), Counter[str]()
    runs, broken, least = 0, [], 99
    for outcome in _all(range(FULL if soak else SHORT)):
        runs += 1
        faults.update(outcome.faults)
        least = min(least, len(outcome.faults))
        if outcome.wrong:
            broken.append(outcome)
    took = time.monotonic() - began
    with capsys.disabled():
        print(  # noqa: T201 - the figures are what the test is for
            f"\n{runs} runs, {faults.total()} faults of {len(faults)} kinds, {60 * runs / took:.0f} runs a minute"
        )
    assert not broken, "\n".join(
        f"python -m tests.model --seed {each.seed} --trace: {each.wrong[0]}" for each in broken[:10]
    )
    assert least >= 5


def test_a_seed_decides_everything() -> None:
    """The same seed, the same run, step by step."""
    with model.simulated() as folder:
        first, second = (model.run(5, folder, trace=True) for _ in range(2))
    assert first.trace == second.trace
    assert len(first.trace) > 50
