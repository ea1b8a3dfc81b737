"""A frame that does not follow the one before is found, once, in whatever order and process the stream is published."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.continuity import MAX_CHAINS, Break, Chains

BOOK = 7


def test_deltas_that_follow_are_no_break() -> None:
    """The first is taken as it comes: nothing is known before it."""
    chains = Chains()
    assert [chains.follow(BOOK, seq, seq - 1, seq * 10) for seq in range(5, 9)] == [None] * 4


def test_a_delta_that_does_not_follow_is_a_break_after_the_last_good_frame() -> None:
    """Once: the next one follows it again."""
    chains = Chains()
    chains.follow(BOOK, 5, 4, 50)
    assert chains.follow(BOOK, 8, 7, 80) == Break(5, 50)
    assert chains.follow(BOOK, 9, 8, 90) is None


def test_numbers_need_not_be_neighbours() -> None:
    """What counts is what a delta says it follows, not a difference of one."""
    chains = Chains()
    chains.follow(BOOK, 5, 4, 50)
    assert chains.follow(BOOK, 50, 5, 60) is None


def test_what_does_not_say_what_it_follows_proves_nothing() -> None:
    """But it carries the chain on."""
    chains = Chains()
    chains.follow(BOOK, 5, 4, 50)
    assert chains.follow(BOOK, 8, None, 80) is None
    assert chains.follow(BOOK, 9, 8, 90) is None


def test_one_change_told_by_two_types_is_no_break() -> None:
    """An update and a delta of the same number, in either order."""
    for first, second in (((6, None), (6, 5)), ((6, 5), (6, None))):
        chains = Chains()
        chains.follow(BOOK, 5, 4, 50)
        assert chains.follow(BOOK, first[0], first[1], 60) is None
        assert chains.follow(BOOK, second[0], second[1], 60) is None
        assert chains.follow(BOOK, 7, 6, 70) is None


def test_a_counter_that_begins_anew_is_a_break() -> None:
    """Unless a snapshot says so: a matcher that was restarted has another book."""
    chains = Chains()
    chains.follow(BOOK, 500, 499, 50)
    assert chains.follow(BOOK, 1, 0, 60) == Break(500, 50)
    assert chains.follow(BOOK, 2, 1, 70) is None
    chains.begin(BOOK, 100, 80)
    assert chains.follow(BOOK, 101, 100, 90) is None


def test_late_frames_of_the_past_are_no_break() -> None:
    """What only a standby received comes after newer ones; what is newer than all must still follow."""
    chains = Chains()
    chains.begin(BOOK, 8, 80)
    assert chains.follow(BOOK, 6, 5, 60, late=True) is None
    assert chains.follow(BOOK, 9, 8, 90, late=True) is None
    assert chains.follow(BOOK, 12, 11, 120, late=True) == Break(9, 90)


def test_after_forget_the_next_frame_begins_anew() -> None:
    """A snapshot over REST has a number that may not be the stream's."""
    chains = Chains()
    chains.follow(BOOK, 5, 4, 50)
    chains.forget(BOOK, 60)
    successor = Chains()
    successor.replay(chains.drain())
    for each in (chains, successor):
        assert each.follow(BOOK, 90, 89, 90) is None
        assert each.follow(BOOK, 95, 94, 95) == Break(90, 90)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.none() | st.integers(0, 9)), max_size=40), st.data())
def test_a_successor_finds_the_same_breaks(frames: list[tuple[int, int, int | None]], data: st.DataObject) -> None:
    """Wherever the stream is handed over, and however it was cut into transactions."""
    whole, first = Chains(), Chains()
    expected = [whole.follow(*frame[:2], frame[2], at) for at, frame in enumerate(frames)]
    cut = data.draw(st.integers(0, len(frames)))
    ledger, found = [], []
    for at, frame in enumerate(frames[:cut]):
        found.append(first.follow(*frame[:2], frame[2], at))
        if data.draw(st.booleans()):
            ledger.append(first.drain())
    ledger.append(first.drain())
    second = Chains()
    for links in ledger:
        second.replay(links)
    found += [second.follow(*frame[:2], frame[2], at) for at, frame in enumerate(frames[cut:], cut)]
    assert found == expected


def test_the_longest_unseen_are_forgotten_first() -> None:
    """Memory is bounded, and so is what is said of them to the ledger."""
    chains = Chains()
    for entity in range(MAX_CHAINS + 10):
        chains.begin(entity, 1, 1)
    assert len(chains) == MAX_CHAINS
    assert len(chains.drain()) == MAX_CHAINS * 24
    assert chains.drain() == b""
    assert chains.follow(3, 9, 8, 2) is None
    assert chains.follow(MAX_CHAINS, 9, 8, 2) == Break(1, 1)
