"""How many frames are due when: rates, catching up, request limits."""

from __future__ import annotations

from bridge.sim.limits import Limit
from bridge.sim.pace import CHUNK, Pace
from bridge.sim.refusal import Refusal


def test_the_rate_is_exact_over_time() -> None:
    """Whatever the ticks, after ten seconds ten times the rate is due."""
    for tick in (0.001, 0.0037, 0.02):
        pace = Pace(777.0, tick=0.001, now=0.0)
        total = sum(pace.due(step * tick, room=True).frames for step in range(1, int(10 / tick) + 1))
        assert abs(total - 7770) <= 777 * tick + 2


def test_a_slow_rate_sleeps_until_the_next_frame() -> None:
    """Not busy, yet never asleep for long: a new rate must take effect."""
    pace = Pace(10.0, tick=0.001, now=0.0)
    due = pace.due(0.05, room=True)
    assert due.frames == 0
    assert abs(due.pause - 0.05) < 1e-9
    assert Pace(0.01, tick=0.001, now=0.0).due(0.0, room=True).pause <= 0.2


def test_a_stall_is_not_answered_by_a_flood() -> None:
    """After a minute asleep one second is made up for, in portions."""
    pace = Pace(3000.0, tick=0.001, now=0.0)
    assert [pace.due(60.0, room=True).frames for _ in range(4)] == [1000, 1000, 1000, 0]
    pace.restart(120.0)
    assert pace.due(120.0, room=True).frames == 0


def test_without_a_rate_the_reader_decides() -> None:
    """A chunk where there is room, else a short sleep."""
    pace = Pace(None, tick=0.001, now=0.0)
    assert pace.due(1.0, room=True) == (CHUNK, 0.0)
    assert pace.due(2.0, room=False).frames == 0
    assert pace.due(2.0, room=False).pause > 0


def test_a_limit_counts_per_caller_and_window() -> None:
    """So many a minute each; the refused ones do not count; the next window is fresh."""
    now = 100.0
    limit = Limit(2, clock=lambda: now)
    assert [limit.take("a").passes for _ in range(3)] == [True, True, False]
    assert limit.take("b") == (True, 2, 1, 60)
    now = 130.5
    assert limit.take("a").resets == 30
    now = 160.0
    assert limit.take("a") == (True, 2, 1, 60)
    assert all(Limit(0, clock=lambda: now).take("a").passes for _ in range(1000))


def test_a_refusal_wears_off() -> None:
    """So many times, or until taken back."""
    twice = Refusal(status=503, left=2)
    assert [twice.applies() for _ in range(4)] == [True, True, False, False]
    assert all(Refusal().applies() for _ in range(10))
