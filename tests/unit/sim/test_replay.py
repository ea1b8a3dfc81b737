"""Frames without a server are a function of the seed."""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal

import msgspec
import pytest

from bridge.sim import PredictStreetKnobs, TickTockKnobs, frames, play
from bridge.sim.replay import Kind

KINDS: tuple[Kind, ...] = ("ticktock", "predictstreet")
FAULTS = {
    "duplicate": 0.1,
    "collision": 0.05,
    "malformed": 0.05,
    "wrong_type": 0.05,
    "unknown_type": 0.05,
    "number_form": 0.05,
}


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes(kind: Kind) -> None:
    """Byte for byte, faults and all; another seed gives other bytes."""
    assert frames(kind, 3000, seed=7, faults=FAULTS) == frames(kind, 3000, seed=7, faults=FAULTS)
    assert frames(kind, 500, seed=7) != frames(kind, 500, seed=8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_run_begins_as_a_shorter_one(kind: Kind) -> None:
    """The number asked for changes nothing but the end."""
    assert frames(kind, 1000, seed=1, faults=FAULTS) == frames(kind, 2000, seed=1, faults=FAULTS)[:1000]


@pytest.mark.parametrize("kind", KINDS)
def test_faults_leave_the_world_alone(kind: Kind) -> None:
    """Every healthy frame's data is there, in the same order, with and without added frames."""
    added = {"duplicate": 0.1, "malformed": 0.1, "wrong_type": 0.1, "unknown_type": 0.1}

    def contents(faults: dict[str, float] | None) -> list[Any]:
        healthy = (sent.raw for sent in play(kind, seed=3, faults=faults) if sent.fault is None)
        return [msgspec.json.decode(raw)["data"] for raw in islice(healthy, 1500)]

    # The clock moves per frame sent, so times differ: compare what has none.
    def timeless(data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value for name, value in data.items() if name not in {"tsMs", "time", "created_at", "at", "startMs"}
        }

    one, two = contents(None), contents(added)
    same = sum(timeless(a) == timeless(b) for a, b in zip(one, two, strict=True))
    assert same > 1300  # candles and match times depend on the clock


@pytest.mark.parametrize("kind", KINDS)
def test_time_goes_at_the_rate(kind: Kind) -> None:
    """A thousand frames at 100 per second take ten simulated seconds."""
    sent = list(islice(play(kind, start=1_000_000, rate=100.0, snapshot=False), 1000))
    assert sent[0].at == 1_000_000
    assert 9_000 <= sent[-1].at - sent[0].at <= 10_000
    assert [one.index for one in sent] == list(range(1000))


def test_without_a_snapshot_the_increments_begin_at_once() -> None:
    """The snapshot can be left out."""
    first = msgspec.json.decode(frames("predictstreet", 1, snapshot=False)[0])
    assert first["type"] != "book_snapshot"
    assert msgspec.json.decode(frames("predictstreet", 1)[0])["type"] == "book_snapshot"


def test_knobs_must_fit() -> None:
    """The other gateway's knobs are refused; one's own hold."""
    with pytest.raises(TypeError):
        frames("ticktock", 1, knobs=PredictStreetKnobs())
    with pytest.raises(TypeError):
        frames("predictstreet", 1, knobs=TickTockKnobs())
    assert msgspec.json.decode(frames("ticktock", 1, knobs=TickTockKnobs(first_seq=5))[0])["meta"]["seq"] == 5


@pytest.mark.parametrize("generation", [1, 2])
def test_both_generations_replay(generation: Literal[1, 2]) -> None:
    """Each with its own names."""
    kinds = {
        msgspec.json.decode(raw)["type"]
        for raw in frames("predictstreet", 2000, knobs=PredictStreetKnobs(generation=generation))
    }
    assert ("trade" in kinds, "trade_matched" in kinds) == (generation == 1, generation == 2)
