"""bridge.gateways.books: which books have a hole, and when to ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.gateways.books import FAILED_PAUSE, LONGEST, PATIENCE, Books
from bridge.gateways.dialect import NEVER


class Channel:
    """Books, and the frames that come."""

    def __init__(self, *tokens: str) -> None:
        self.books = Books()
        self.now = 100.0
        self.books.begin(tokens, self.now)

    def push(self, kind: str, seq: int | None = None, previous: int | None = None, **more: Any) -> list[str]:
        """A frame of token 1 comes; returns what is then asked for."""
        frame: dict[str, Any] = {"type": kind, "id": "1", "data": {}, **more}
        frame |= {"seq": seq} if seq is not None else {}
        frame |= {"prevSeq": previous} if previous is not None else {}
        self.books.follow(json.dumps(frame).encode(), kind, self.now)
        return self.books.take(self.now)


def test_a_chain_without_a_hole_asks_for_nothing() -> None:
    """Snapshot, then deltas that follow; an update may tell the same number as a delta."""
    channel = Channel("1")
    assert channel.push("book_snapshot", 7) == []
    assert channel.push("book_delta", 8, 7) == []
    assert channel.push("book_update", 8) == []
    assert channel.push("book_update", 9, 8) == []
    assert channel.push("book_delta", 12, 9) == []
    assert channel.books.due == NEVER
    assert channel.books.silent == {}


@pytest.mark.parametrize("place", ["envelope", "data"])
def test_a_delta_that_does_not_follow_is_a_hole(place: str) -> None:
    """Wherever prevSeq sits (contract 8.2); asked for at once, then more and more seldom, until the snapshot is there."""
    channel = Channel("1")
    channel.push("book_snapshot", 7)
    asked = (
        channel.push("book_delta", 9, 8) if place == "envelope" else channel.push("book_delta", 9, data={"prevSeq": 8})
    )
    assert asked == ["1"]
    assert not channel.books.whole("1")
    assert channel.push("book_delta", 11, 10) == []
    pauses = []
    for _ in range(6):
        before, channel.now = channel.now, channel.books.due
        assert channel.books.take(channel.now) == ["1"]
        pauses.append(channel.now - before)
    assert pauses == [PATIENCE, 2 * PATIENCE, 4 * PATIENCE, 8 * PATIENCE, LONGEST, LONGEST]
    assert channel.books.silent == {"1": 100.0}
    assert channel.push("book_snapshot", 20) == []
    assert (channel.books.whole("1"), channel.books.silent) == (True, {})
    channel.now += 3600
    assert channel.books.take(channel.now) == []
    assert channel.push("book_delta", 21, 20) == []


def test_a_matcher_that_counts_anew_is_a_hole() -> None:
    """Numbers of the past say that something else happened (contract 8.2: unknown)."""
    channel = Channel("1")
    channel.push("book_snapshot", 7000)
    assert channel.push("book_delta", 1, 0) == ["1"]


def test_a_snapshot_that_does_not_come_is_asked_for() -> None:
    """After a subscription; a delta that comes instead tells that the channel speaks, but not the book."""
    channel = Channel("1", "2")
    channel.now += PATIENCE - 1
    assert channel.books.take(channel.now) == []
    assert channel.push("book_delta", 5, 4) == []
    assert channel.books.silent == {"2": 100.0}
    channel.now += 1
    assert channel.books.take(channel.now) == ["1", "2"]
    assert (channel.books.spoke("1"), channel.books.spoke("2")) == (True, False)


def test_a_snapshot_that_failed_is_asked_for_again_after_a_while() -> None:
    """`book_snapshot_failed` (contract 4.6), asked for or not."""
    channel = Channel("1")
    channel.push("book_snapshot", 7)
    assert channel.push("book_snapshot_failed") == []
    assert not channel.books.whole("1")
    channel.now += FAILED_PAUSE
    assert channel.books.take(channel.now) == ["1"]
    assert channel.push("book_snapshot_failed") == []
    assert channel.books.due == channel.now + 2 * FAILED_PAUSE


def test_what_can_not_be_read_or_was_not_asked_for_is_left_to_others() -> None:
    """Rubbish, numbers that are none, tokens of nobody."""
    channel = Channel("1")
    channel.push("book_snapshot", 7)
    for raw in (b"{", b'{"type":"book_delta","id":7}', b'{"type":"book_delta","id":"1","seq":"8","prevSeq":3}'):
        channel.books.follow(raw, "book_delta", channel.now)
    channel.books.follow(b'{"type":"book_snapshot_failed","id":"9"}', "book_snapshot_failed", channel.now)
    assert channel.books.take(channel.now) == []


def test_what_is_not_subscribed_to_any_more_is_forgotten() -> None:
    """Token by token, or all with the connection."""
    channel = Channel("1", "2")
    channel.books.end(["1"])
    assert channel.books.silent == {"2": 100.0}
    channel.now += PATIENCE
    assert channel.books.take(channel.now) == ["2"]
    channel.books.clear()
    assert (channel.books.silent, channel.books.due) == ({}, NEVER)
