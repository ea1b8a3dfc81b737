"""What repeats is told a few times, then once a minute with a count."""

from __future__ import annotations

import logging

from bridge.ops.repeats import BURST, FIRST, THEN, Held, Repeats


def record(text: str = "same", *, level: int = logging.WARNING) -> logging.LogRecord:
    """Return a record."""
    return logging.LogRecord("x", level, "", 0, text, None, None)


def test_a_night_of_repetitions_is_a_line_a_minute() -> None:
    """Of an event that comes every second for eight hours, five lines, and then one a minute; none is uncounted."""
    repeats = Repeats()
    passed, told = 0, 0
    counted = 0
    for second in range(8 * 3600):
        for held in repeats.ended(float(second)):
            told += 1
            counted += held.__dict__["held"].count
        passed += repeats.admit(record(), float(second))
    counted += sum(held.__dict__["held"].count for held in repeats.ended(float("inf")))
    assert passed == BURST
    assert told <= 8 * 60
    assert passed + counted == 8 * 3600


def test_what_has_not_come_for_a_while_is_new() -> None:
    """After a minute without it, an event is told at once again."""
    repeats = Repeats()
    assert [repeats.admit(record(), 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert repeats.due() == FIRST
    (held,) = repeats.ended(FIRST)
    assert held.__dict__["held"] == Held(2, FIRST)
    assert repeats.due() is None
    assert repeats.ended(FIRST + THEN) == []
    assert repeats.admit(record(), FIRST + THEN)


def test_debug_and_fatal_lines_are_never_held_back() -> None:
    """Who asks for debug gets all of it, and the worst is always told."""
    repeats = Repeats(burst=1)
    for level in (logging.DEBUG, logging.CRITICAL):
        assert all(repeats.admit(record(level=level), 0.0) for _ in range(10))


def test_memory_of_repetitions_is_bounded() -> None:
    """However many kinds there are, only so many are remembered; each new one passes, and what was held is told."""
    repeats = Repeats(limit=10, burst=1)
    for number in range(1000):
        assert repeats.admit(record(f"event {number}"), 0.0)
        assert not repeats.admit(record(f"event {number}"), 0.0)
    assert len(repeats._runs) == 10
    assert len(repeats.ended(0.0)) == 990
