"""Cursors reach the ledger when they move, and often enough for a successor who reads one window of it."""

from __future__ import annotations

from bridge.cursors import Cursors

HOUR = 3_600_000


def test_what_moved_is_said_once() -> None:
    """And is the latest value, however often it moved."""
    cursors = Cursors()
    cursors.move("a", "1")
    cursors.move("a", "2")
    assert cursors.drain(0, HOUR) == {"a": "2"}
    assert cursors.drain(1, HOUR) == {}


def test_what_stands_still_is_said_again_before_a_window_has_passed() -> None:
    """Half a window after it was said last; what a ledger told, at once: nobody knows how long ago that was."""
    cursors = Cursors({"a": "1"})
    now = 1_779_000_000_000
    assert cursors.drain(now, HOUR) == {"a": "1"}
    assert cursors.drain(now + HOUR // 2 - 1, HOUR) == {}
    assert cursors.drain(now + HOUR // 2, HOUR) == {"a": "1"}
