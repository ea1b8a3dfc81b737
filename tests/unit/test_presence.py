"""Whether an own connection received throughout a gap is told from the journal's events, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.frame import EVENT, Frame
from bridge.presence import MARGIN, SPANS, Presence

KEY = ("cs2", "list")


class Life:
    """A presence fed with events of one connection, at growing positions."""

    def __init__(self) -> None:
        """Nothing happened."""
        self.presence = Presence()
        self.position = 0

    def event(self, at: int, event: str, **facts: Any) -> None:
        """The next event of the journal."""
        self.presence.event(self.position, Frame(*KEY, at, EVENT, b""), event, facts)
        self.position += 1

    def heard(self, at: int) -> None:
        """A frame came."""
        self.presence.heard(*KEY, at)


def test_a_connection_that_was_up_before_and_heard_after_received_throughout() -> None:
    """The margin stands for what two clocks may differ; the end is proved by a frame."""
    life = Life()
    life.event(10_000, "up")
    life.heard(50_000)
    assert life.presence.throughout(*KEY, 10_000 + MARGIN, 50_000)
    assert not life.presence.throughout(*KEY, 10_000 + MARGIN - 1, 50_000)
    assert not life.presence.throughout(*KEY, 20_000, 50_001)
    assert life.presence.throughout(*KEY, 20_000, None)


@pytest.mark.parametrize(("gone", "back"), [("down", "up"), ("unread", "read")])
def test_an_outage_in_between_breaks_it(gone: str, back: str) -> None:
    """It counts from its last frame, also if it was noticed later; before and after are spans of their own."""
    life = Life()
    life.event(0, "up")
    life.event(60_000, gone, since=30_000)
    assert not life.presence.up(*KEY)
    assert not life.presence.throughout(*KEY, 20_000, None)
    life.event(70_000, back)
    life.heard(99_000)
    assert life.presence.up(*KEY)
    assert life.presence.throughout(*KEY, 20_000, 30_000)
    assert not life.presence.throughout(*KEY, 20_000, 30_001)
    assert not life.presence.throughout(*KEY, 69_000, 80_000)
    assert life.presence.throughout(*KEY, 71_000, 80_000)


def test_an_event_counts_once_however_often_the_journal_is_read() -> None:
    """A lane reads its journal again after it was fenced."""
    life = Life()
    life.event(0, "up")
    life.event(30_000, "down")
    life.event(40_000, "up")
    life.position = 1
    life.event(30_000, "down")
    assert life.presence.up(*KEY)


def test_a_new_process_begins_anew() -> None:
    """What the journal holds of the one before says nothing of its connections."""
    life = Life()
    life.event(0, "up")
    life.event(50_000, "start")
    assert not life.presence.up(*KEY)
    assert life.presence.lapse(*KEY) is None
    assert not life.presence.throughout(*KEY, 10_000, None)


def test_a_lapse_says_why_and_whether_it_is_for_good() -> None:
    """A takeover opens the gap with that cause; what is gone makes none."""
    life = Life()
    life.event(0, "up")
    life.event(9, "down", cause="silence", since=5)
    lapse = life.presence.lapse(*KEY)
    assert lapse is not None
    assert (lapse.cause, lapse.since, lapse.gone) == ("silence", 5, False)
    life.event(12, "gone")
    lapse = life.presence.lapse(*KEY)
    assert lapse is not None
    assert lapse.gone
    life.event(20, "up")
    life.event(30, "unread", since=25)
    lapse = life.presence.lapse(*KEY)
    assert lapse is not None
    assert (lapse.cause, lapse.since) == ("journal_full", 25)


def test_it_stays_small() -> None:
    """A line that flaps for ever takes no more memory than one that did so for a while; the newest spans are kept."""
    life = Life()
    for at in range(0, 100_000, 100):
        life.event(at, "up")
        life.event(at + 50, "down")
    assert [len(spans) for spans in life.presence._spans.values()] == [SPANS]
