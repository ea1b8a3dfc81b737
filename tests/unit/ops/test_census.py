"""What became of the frames: sums by type, rates of the last stretches, times of the last minute."""

from __future__ import annotations

import pytest

from bridge.dead_letter import Buried
from bridge.ops.census import BURIED, LATE, MINUTES, STRETCH, STRETCHES, Census
from bridge.ops.metrics import Metrics, quantile
from bridge.route import Counts


class Clock:
    """Milliseconds, to be set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        """The time."""
        return self.now


def counts(received: int, *, gateway: str = "cs2", name: str = "a", **others: int) -> Counts:
    """The counts of one batch."""
    return Counts(gateway, name, received=received, **others)


def test_types_add_up() -> None:
    """By gateway and type, in order, everything that became of the frames."""
    census = Census(Metrics(), now=Clock())
    census.take([counts(3, published=1, duplicates=1, unchanged=1), counts(1, name="b", dead=1)])
    census.take([counts(2, published=2), counts(5, gateway="a", name="z")])
    assert [tuple(each.values()) for each in census.types()] == [
        ("a", "z", 5, 0, 0, 0, 0),
        ("cs2", "a", 5, 3, 1, 1, 0),
        ("cs2", "b", 1, 0, 0, 0, 1),
    ]


def test_rates_are_of_the_stretches_that_are_over() -> None:
    """Oldest first, 0 where nothing came, and never more than are shown."""
    clock = Clock()
    census = Census(Metrics(), now=clock)
    assert census.rate("cs2") == [0.0] * STRETCHES
    for number in range(STRETCHES + 5):
        if number != STRETCHES:
            census.take([counts(number), counts(number, name="b")])
        clock.now += STRETCH
    found = census.rate("cs2")
    assert len(found) == STRETCHES
    assert found[0] == 5 * 2 * 1000 / STRETCH
    assert found[-5] == 0
    assert found[-1] == (STRETCHES + 4) * 2 * 1000 / STRETCH
    clock.now += STRETCHES * STRETCH
    assert census.rate("cs2") == [0.0] * STRETCHES


def test_dead_letters_are_counted_by_reason_for_a_while() -> None:
    """All of them, whatever is remembered of each; the most first, and none of long ago."""
    clock = Clock()
    census = Census(Metrics(), now=clock)
    census.take([], dead={("cs2", "not_json"): 30})
    clock.now += 60_000
    census.take([], dead={("cs2", "wrong_type"): 100})
    census.take([], dead={("cs2", "not_json"): 1, ("a", "no_type"): 2})
    wanted = [("cs2", "wrong_type", 100), ("cs2", "not_json", 31), ("a", "no_type", 2)]
    assert [tuple(each.values()) for each in census.reasons()] == wanted
    clock.now += (MINUTES - 1) * 60_000
    assert [tuple(each.values()) for each in census.reasons()] == [
        ("cs2", "wrong_type", 100), ("a", "no_type", 2), ("cs2", "not_json", 1),
    ]  # fmt: skip
    clock.now += 60_000
    assert census.reasons() == []


def test_times_are_those_of_the_last_minute() -> None:
    """What was slow an hour ago is not said of now; with nothing lately there is nothing to say."""
    clock, metrics = Clock(), Metrics()
    census = Census(metrics, now=clock)

    def batch(seconds: float) -> None:
        census.take([counts(1)])
        metrics.latency_seconds.observe(seconds, count=100)

    batch(9.0)
    clock.now += (LATE + 2) * STRETCH
    assert census.times() == {"latency": {"p50": None, "p99": None}, "transaction": {"p50": None, "p99": None}}
    batch(0.004)
    latency = census.times()["latency"]
    assert latency["p50"] == pytest.approx(0.004)
    assert latency["p99"] == pytest.approx(0.005, rel=0.01)


def test_the_last_dead_letters_are_kept() -> None:
    """The newest first, and only so many."""
    census = Census(Metrics(), now=Clock())
    for at in range(BURIED + 5):
        census.take([], [Buried(at, "cs2", "a", "not_json", None)])
    assert [each.at for each in census.buried()] == list(range(BURIED + 4, 4, -1))


@pytest.mark.parametrize(
    ("part", "numbers", "expected"),
    [
        (0.5, [], None), (0.5, [0, 0, 0], None), (0.5, [0, 10, 0], 1.5), (1.0, [0, 10, 0], 2.0), (0.5, [10, 10, 0], 1.0),
        (0.99, [0, 0, 7], 2.0),
    ],
)  # fmt: skip
def test_quantiles(part: float, numbers: list[int], expected: float | None) -> None:
    """Within a bucket in proportion; beyond the last bound that bound."""
    assert quantile(part, numbers, bounds=[1.0, 2.0]) == expected
